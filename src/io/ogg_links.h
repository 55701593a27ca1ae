/* The links of a chained Ogg file. */
#ifndef TMB_IO_OGG_LINKS_H
#define TMB_IO_OGG_LINKS_H

#include "io/notes.h"
#include "io/parts.h"

/* Walks through all pages from `start` on and compares their checksums and numbers: a part for each logical file that
 * was appended to the ones before it. Radio recordings and plain concatenation make them, and libsndfile reads the
 * first only. A damaged or missing page, or a file that ends inside one, is a loss. */
tmb_status tmb_ogg_scan(tmb_source *source, uint64_t start, tmb_notes *notes, tmb_parts *parts, tmb_error *error);

/* What the link at `place` is: NULL if its first stream is Vorbis or Opus, which libsndfile reads; otherwise what it is
 * called, one text for all of a kind. */
const char *tmb_ogg_foreign(tmb_source *source, uint64_t place);

/* Whether the Opus stream that begins at `place` says for which loudspeakers its channels are (mapping family 1). */
bool tmb_ogg_opus_has_speakers(tmb_source *source, uint64_t place);

#endif
