/* What the rest of io needs of a reader. */
#ifndef TMB_IO_READER_H
#define TMB_IO_READER_H

#include "io/tags.h"

/* As tmb_audio_open reported it. */
void tmb_audio_describe(const tmb_audio_reader *reader, tmb_audio_info *info);

/* Borrowed until close. */
const tmb_tags *tmb_audio_tags(const tmb_audio_reader *reader);

#endif
