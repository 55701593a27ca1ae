/* The log-mel spectrogram that the speaker encoder looks at.
 *
 * 24 kHz; reflected by 384 samples at both ends, frames of 1024 samples every 256 with a periodic Hann window;
 * magnitude sqrt(re^2 + im^2 + 1e-9); triangles of equal area (Slaney's scale) from 0 to 12 kHz; log(max(mel, 1e-5)).
 * These numbers are constants of the official package (qwen-tts 0.1.1), except how many bands there are.
 */
#ifndef TMB_TTS_QWEN3_CPU_SPEAKER_MEL_H
#define TMB_TTS_QWEN3_CPU_SPEAKER_MEL_H

#include "base/team.h"
#include "timbre/timbre.h"

typedef struct tmb_mel tmb_mel;

/* Tables; immutable, shared between threads. TMB_ERROR_MEMORY. */
tmb_status tmb_mel_create(size_t bands, tmb_mel **out, tmb_error *error);
void tmb_mel_destroy(tmb_mel **mel);

/* Samples that the reflection at the ends needs, and frames of `count` samples. */
#define TMB_MEL_SAMPLES_MIN 385
size_t tmb_mel_frames(size_t count);
/* Bytes of the spectrogram of `count` samples, and of what is allocated while it is made. */
size_t tmb_mel_bytes(size_t count, size_t bands);

/* out: [tmb_mel_frames(count), bands]; count >= TMB_MEL_SAMPLES_MIN. Fails with TMB_ERROR_MEMORY only. */
tmb_status tmb_mel_compute(const tmb_mel *mel, tmb_team *team, const float *samples, size_t count, float *out,
                           tmb_error *error);

#endif
