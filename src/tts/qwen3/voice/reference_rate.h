/* A reference at the encoders' rate. */
#ifndef TMB_TTS_QWEN3_VOICE_REFERENCE_RATE_H
#define TMB_TTS_QWEN3_VOICE_REFERENCE_RATE_H

#include "timbre/timbre.h"

/* *out [*out_count] = the samples at `to` Hz, allocated (free()): as librosa's default resampling, which the official
 * implementation uses. libsoxr HQ, the length rounded up, missing samples zero. Equal rates: a copy. */
tmb_status tmb_reference_resample(const float *samples, size_t count, int from, int to, float **out, size_t *out_count,
                                  tmb_error *error);

#endif
