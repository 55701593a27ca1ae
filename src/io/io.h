/* Audio files: any format in, any format out, as streams. */
#ifndef TMB_IO_IO_H
#define TMB_IO_IO_H

#include "base/log.h"
#include "timbre/timbre.h"

/* Opening, reading, creating, writing, finishing and aborting files is in the public header
 * (tmb_audio_*). This header has what only the rest of the library needs. */

/* What is read and written. */
#define TMB_AUDIO_MIN_RATE 4000
#define TMB_AUDIO_MAX_RATE 192000
#define TMB_AUDIO_MAX_CHANNELS 8

/* Whether a container can be written here: AAC needs an installed ffmpeg. */
bool tmb_audio_can_write(tmb_container container);

/* Everything, mixed to mono (mean of the channels); *samples is allocated (free()). */
tmb_status tmb_audio_read_mono(tmb_audio_reader *reader, const tmb_audio_info *info, float **samples, size_t *count,
                               tmb_error *error);

/* tmb_audio_create into memory that grows up to `max_bytes`. */
tmb_status tmb_audio_create_memory(tmb_container container, tmb_encoding encoding, int rate, int channels,
                                   size_t max_bytes, tmb_audio_writer **out, tmb_error *error);
/* The same for a writer into memory; *data is allocated (free()). */
tmb_status tmb_audio_finish_memory(tmb_audio_writer **writer, void **data, size_t *size, tmb_error *error);

/* Receives the next bytes of a file (size > 0); a status that is not TMB_OK ends the writing. */
typedef tmb_status (*tmb_audio_write_callback)(void *user, const void *data, size_t size, tmb_error *error);

/* tmb_audio_create into a callback, as a stream: bytes leave as soon as the container lets them, and
 * what was given is never changed. WAV has sizes of 0xffffffff, FLAC no total, MP3 a constant bit rate.
 * tmb_audio_finish sends the rest. */
tmb_status tmb_audio_create_sink(tmb_container container, tmb_encoding encoding, int rate, int channels,
                                 tmb_audio_write_callback callback, void *user, tmb_audio_writer **out,
                                 tmb_error *error);

#endif
