/* What a container says of its own length, before ffmpeg reads it. */
#ifndef TMB_IO_CONTAINERS_H
#define TMB_IO_CONTAINERS_H

#include "io/notes.h"
#include "io/source.h"

/* Walks the container that ffmpeg's `demuxer` reads. A recording behind the first one is noted. TMB_ERROR_FORMAT if it
 * is cut short (with notes->salvage that is a note, too); what is wrong in another way is ffmpeg's to say. */
tmb_status tmb_container_check(tmb_source *source, const char *demuxer, tmb_notes *notes, tmb_error *error);

/* Bytes of a frame of MPEG audio's layer I or II; 0: none begins here, or in free format. */
uint64_t tmb_mpeg_frame(const uint8_t bytes[4]);

#endif
