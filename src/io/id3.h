/* Texts in the tags of MP3 files. */
#ifndef TMB_IO_ID3_H
#define TMB_IO_ID3_H

#include "io/source.h"
#include "io/tags.h"

/* From an ID3v2 tag at the source's beginning and, for what that does not say, an ID3v1 tag at its end. */
void tmb_id3_read(tmb_source *source, tmb_tags *tags);

#endif
