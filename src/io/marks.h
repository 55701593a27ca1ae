/* Tags that programs put before, behind and between audio, whatever the format: ID3, APE, Lyrics3, runs of zeros. */
#ifndef TMB_IO_MARKS_H
#define TMB_IO_MARKS_H

#include "io/source.h"

/* Bytes of the tag that begins at `place`, at most up to `end`; 0: none begins there. A tag that says it is longer than
 * the file counts as far as `end`. */
uint64_t tmb_mark_at(tmb_source *source, uint64_t place, uint64_t end);

/* The first place at or behind `place` at which no tag and no run of zeros begins. */
uint64_t tmb_marks_skip(tmb_source *source, uint64_t place, uint64_t end);

/* Where the audio ends when the tags at the end of [start, end) are taken away. Zeros stay: they may be audio. */
uint64_t tmb_marks_strip(tmb_source *source, uint64_t start, uint64_t end);

#endif
