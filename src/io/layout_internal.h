/* What the files that walk through chunks share. */
#ifndef TMB_IO_LAYOUT_INTERNAL_H
#define TMB_IO_LAYOUT_INTERNAL_H

#include "io/bytes.h"
#include "io/layout.h"

#include <string.h>

/* A chunk's contents that are looked at: heads are short, lists of texts are not. */
#define TMB_LAYOUT_CONTENTS ((size_t)64 << 10)
#define TMB_LAYOUT_NOT_SAID UINT64_MAX

/* How a family of containers writes its chunks. */
typedef struct tmb_layout_family {
    size_t name, size;   /* bytes of a chunk's name and of its length */
    bool big_endian;     /* lengths and heads */
    bool counts_itself;  /* a chunk's length has its head in it */
    unsigned alignment;  /* of chunks */
    const char *samples; /* the chunk with the samples */
} tmb_layout_family;

typedef struct tmb_layout_walk {
    tmb_source *source;
    uint64_t start, end; /* of the file */
    tmb_layout_family family;
    tmb_notes *notes;
    tmb_layout *out;
    uint64_t form_end;  /* where the head says that all ends; NOT_SAID: it does not */
    uint64_t long_size; /* of the samples, from ds64 */
    bool narrow;        /* lengths have 32 bits */
    bool has_format;
    bool has_samples;
    uint64_t promised;    /* bytes of samples */
    uint64_t frames;      /* AIFF: samples per channel by COMM */
    unsigned bits, block; /* bytes of a sample of all channels */
    uint8_t *data;        /* [TMB_LAYOUT_CONTENTS] of a chunk */
} tmb_layout_walk;

typedef struct tmb_layout_chunk {
    uint8_t name[4];
    uint64_t contents; /* place */
    uint64_t size;     /* of the contents */
} tmb_layout_chunk;

static inline uint64_t tmb_layout_number(const tmb_layout_walk *w, const uint8_t *bytes, size_t count) {
    return w->family.big_endian ? tmb_big(bytes, count) : tmb_little(bytes, count);
}

static inline bool tmb_layout_is_printable(const uint8_t name[4]) {
    for (int i = 0; i < 4; i++) {
        if (name[i] < 0x20 || name[i] > 0x7e) {
            return false;
        }
    }
    return true;
}

static inline bool tmb_layout_chunk_is(const tmb_layout_chunk *c, const char *name) {
    return memcmp(c->name, name, 4) == 0;
}

/* The samples are of a codec that has only a number: "WAV with format number 17". */
void tmb_layout_name_codec(tmb_layout *out, const char *what, unsigned code);

/* The samples are libsndfile's `subtype`; 0: PCM of an odd width. */
void tmb_layout_set_samples(tmb_layout_walk *w, int subtype, bool little);

/* Takes note of what a chunk says; every chunk but the samples comes here. */
tmb_status tmb_layout_read_contents(tmb_layout_walk *w, const tmb_layout_chunk *c, tmb_error *error);

#endif
