/* Splitting a long text into pieces that are spoken one after the other. */
#ifndef TMB_TTS_QWEN3_TEXT_SENTENCES_H
#define TMB_TTS_QWEN3_TEXT_SENTENCES_H

#include "timbre/timbre.h"

/* Longest silence that one tag, or several in a row, may ask for; more is refused. */
#define TMB_PAUSE_SECONDS_MAX 30.0

/* A piece of the text. Pieces follow each other without gap: concatenated they are the text. */
typedef struct tmb_text_piece {
    size_t begin, end; /* bytes of the text, at code points */
    size_t content_begin,
        content_end;    /* what to speak: without white space around it and without pause tags; may be empty */
    double pause_after; /* seconds of silence that follow, from tags */
} tmb_text_piece;

typedef struct tmb_split_options {
    /* Longest piece, in letters; a Chinese, Japanese or Korean character counts as three, since it takes about as long
     * to say. A text that is no longer is one piece. At least TMB_SPLIT_LENGTH_MIN. Default 400. */
    size_t max_length;
    bool pauses; /* understand [pause:1.5s], [pause:500ms], [pause:2]; default false */
} tmb_split_options;

#define TMB_SPLIT_LENGTH_MIN 8

void tmb_split_options_default(tmb_split_options *options);

/* Cuts at the last end of a sentence that fits, otherwise at the last end of a clause, at white space, between
 * characters, in this order; the headings of a text that is cut (see chapters.h) are pieces of their own. Marks that
 * end a sentence stay with it, even beyond the length. What has no letter or digit of any script is no piece of its own
 * and is not spoken, unless nothing else is in the text. *pieces is allocated (free()), at least one for a text that is
 * not empty. TMB_ERROR_ARGUMENT for invalid UTF-8 and for pauses that are too long. Takes linear time. */
tmb_status tmb_text_split(const char *text, size_t bytes, const tmb_split_options *options, tmb_text_piece **pieces,
                          size_t *count, tmb_error *error);

#endif
