/* What a recording says of itself in addition to its samples, carried from one file to the next. */
#ifndef TMB_IO_TAGS_H
#define TMB_IO_TAGS_H

#include "timbre/timbre.h"

/* Longer texts are cut, more cue points dropped. */
#define TMB_TAG_BYTES 4096
#define TMB_TAGS_MAX_CUES 1024
#define TMB_BEXT_FIXED 602
#define TMB_BEXT_MAX ((size_t)64 << 10)

typedef enum tmb_tag {
    TMB_TAG_TITLE,
    TMB_TAG_ARTIST,
    TMB_TAG_ALBUM,
    TMB_TAG_DATE,
    TMB_TAG_GENRE,
    TMB_TAG_TRACK,
    TMB_TAG_COMMENT,
    TMB_TAG_COPYRIGHT,
    TMB_TAG_COUNT
} tmb_tag;

typedef struct tmb_cue {
    uint32_t id;
    uint64_t place; /* in samples */
    char *label;    /* owned; NULL: none */
} tmb_cue;

/* Zero-initialise. */
typedef struct tmb_tags {
    char *text[TMB_TAG_COUNT]; /* owned, UTF-8; NULL: none */
    uint8_t *bext;             /* owned: a chunk as in EBU Tech 3285, at least TMB_BEXT_FIXED bytes; NULL: none */
    size_t bext_size;
    tmb_cue *cues; /* owned */
    size_t cue_count;
} tmb_tags;

/* Keeps a text of `size` bytes (a 0 ends it sooner) unless there is one already or it is empty. What is not UTF-8 is
 * read as Latin-1. Without memory it is left out: a tag is no reason to fail. */
void tmb_tags_set(tmb_tags *tags, tmb_tag tag, const void *text, size_t size);
void tmb_tags_set_bext(tmb_tags *tags, const uint8_t *data, size_t size);
void tmb_tags_add_cue(tmb_tags *tags, uint32_t id, uint64_t place);
void tmb_tags_label_cue(tmb_tags *tags, uint32_t id, const void *text, size_t size);

/* A copy with places and time reference at `output_rate`. False: no memory; then *out is empty. */
bool tmb_tags_copy(const tmb_tags *tags, int input_rate, int output_rate, tmb_tags *out);
void tmb_tags_free(tmb_tags *tags);

/* The chunks of a WAV file that say all this, each of even size; *out is allocated (free()), NULL when there is nothing
 * to say. False: no memory. */
bool tmb_tags_chunks(const tmb_tags *tags, uint8_t **out, size_t *size);

/* The four letters of a tag in a WAV file's INFO list, and back: TMB_TAG_COUNT when there is no such tag. */
tmb_tag tmb_tag_of_info(const uint8_t letters[4]);

#endif
