/* Resampling as a stream: a cascade of three resamplers behind one interface.
 *
 * soxr (libsoxr VHQ), polyphase (as scipy.signal.resample_poly with its default window) and windowed
 * sinc (as torchaudio.functional.resample with its defaults). Equal rates pass through bit for bit.
 * What comes out does not depend on how the input was cut into pushes.
 */
#ifndef TMB_RESAMPLE_RESAMPLE_H
#define TMB_RESAMPLE_RESAMPLE_H

#include "base/log.h"
#include "timbre/timbre.h"

/* One stream, one channel. A handle is used by one thread at a time; handles are independent. */
typedef struct tmb_resampler tmb_resampler;

/* Rates in Hz, 1 to 768000 each. `logger` (may be NULL) is told why a stage of the cascade was
 * passed over; it must outlive the handle. */
tmb_status tmb_resampler_create(int input_rate, int output_rate, tmb_resampler_kind kind, tmb_logger *logger,
                                tmb_resampler **out, tmb_error *error);

/* Feeds `count` samples. */
tmb_status tmb_resampler_push(tmb_resampler *resampler, const float *samples, size_t count, tmb_error *error);

/* Takes up to `capacity` samples that are ready; returns how many. */
size_t tmb_resampler_pull(tmb_resampler *resampler, float *out, size_t capacity);

/* The input is complete: everything that remains becomes ready to pull. No push after it until reset. */
tmb_status tmb_resampler_flush(tmb_resampler *resampler, tmb_error *error);

/* Back to the state after create, for another stream. */
tmb_status tmb_resampler_reset(tmb_resampler *resampler, tmb_error *error);
void tmb_resampler_destroy(tmb_resampler **resampler);

/* Which one runs now (never AUTO), and its name: "soxr", "polyphase", "sinc", "none" at equal rates. */
tmb_resampler_kind tmb_resampler_active(const tmb_resampler *resampler);
const char *tmb_resampler_name(const tmb_resampler *resampler);

/* Samples that `kind` makes of `count`: soxr floor(count * out / in + 1/2), the others
 * ceil(count * out / in). */
size_t tmb_resampler_output_length(tmb_resampler_kind kind, int input_rate, int output_rate, size_t count);

/* Whole signal at once; *out is allocated (free()), *out_count its samples. */
tmb_status tmb_resample(const float *samples, size_t count, int input_rate, int output_rate, tmb_resampler_kind kind,
                        tmb_logger *logger, float **out, size_t *out_count, tmb_error *error);

#endif
