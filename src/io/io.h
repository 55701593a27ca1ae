/* Audio files: any format in, any format out, as streams. */
#ifndef TMB_IO_IO_H
#define TMB_IO_IO_H

#include "base/log.h"
#include "timbre/timbre.h"

/* Opening, reading, creating, writing, finishing and aborting files is in the public header
 * (tmb_audio_*). This header has what only the rest of the library needs. */

/* Everything, mixed to mono (mean of the channels); *samples is allocated (free()). */
tmb_status tmb_audio_read_mono(tmb_audio_reader *reader, const tmb_audio_info *info, float **samples, size_t *count,
                               tmb_error *error);

/* The same into memory that grows up to `max_bytes`. */
tmb_status tmb_audio_create_memory(tmb_container container, tmb_encoding encoding, int rate, int channels,
                                   size_t max_bytes, tmb_audio_writer **out, tmb_error *error);
/* The same for a writer into memory; *data is allocated (free()). */
tmb_status tmb_audio_finish_memory(tmb_audio_writer **writer, void **data, size_t *size, tmb_error *error);

#endif
