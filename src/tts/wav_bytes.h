/* Samples as a WAV file in memory, for services that are sent one. */
#ifndef TMB_TTS_WAV_BYTES_H
#define TMB_TTS_WAV_BYTES_H

#include "timbre/timbre.h"

/* 16-bit mono of `count` samples at `rate` Hz; what is beyond full scale is clipped. *out is allocated (free()).
 * TMB_ERROR_LIMIT for more than the format's sizes hold, TMB_ERROR_MEMORY. */
tmb_status tmb_wav_bytes(const float *samples, size_t count, int rate, unsigned char **out, size_t *bytes,
                         tmb_error *error);

#endif
