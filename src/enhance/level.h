/* How loud the speech in a recording is, and the gain that brings it to where the networks of the denoiser work.
 *
 * DeepFilterNet3 takes speech that is quiet for noise: its features have a floor, begin with fixed running means, and
 * one of them grows with the square root of the level. The gain is therefore applied to what the networks hear and to
 * nothing else: their masks and filters work on the recording as it is, so there is no gain to take out again, and a
 * gain that changes leaves no trace in the sound. While the speech is within [TMB_LEVEL_LOWEST, TMB_LEVEL_HIGHEST] the
 * gain is exactly 1. Outside it is what brings the speech to TMB_LEVEL_USUAL.
 *
 * The level is the mean power of those frames of 10 ms that stand out of the noise floor. A frame's power is taken
 * above 120 Hz, so that an offset or a hum's fundamental does not count, and is the median of five frames, in which a
 * click has no part. The floor follows within two seconds, so that steady noise has no level, and what is below
 * TMB_LEVEL_SILENCE never counts. The gain moves only when the level has moved by TMB_LEVEL_STEP: to louder speech
 * within a fifth of a second, to speech that is more than 20 dB quieter after four seconds without any louder, so that
 * a pause is not mistaken for it.
 */
#ifndef TMB_ENHANCE_LEVEL_H
#define TMB_ENHANCE_LEVEL_H

#include "timbre/timbre.h"

/* dB of full scale, root mean square. */
#define TMB_LEVEL_LOWEST (-38.0)
#define TMB_LEVEL_HIGHEST (-6.0)
#define TMB_LEVEL_USUAL (-26.0)
#define TMB_LEVEL_STEP 6.0
#define TMB_LEVEL_SILENCE (-92.0)
/* The largest gain. */
#define TMB_LEVEL_MOST 60.0

/* tmb_level_create, tmb_level_push, tmb_level_decibel and tmb_level_destroy are in the public header. That kind
 * measures a whole recording before the first gain is asked for, and each level counts from where it began instead of
 * from where it was noticed. */

/* The same for a stream: a gain is decided by what came until a given time, and at most the last TMB_LEVEL_MEMORY
 * changes are remembered. Pushing never fails. */
#define TMB_LEVEL_MEMORY 64
tmb_status tmb_level_create_live(int rate, int channels, tmb_level **out, tmb_error *error);

/* What the networks should hear the recording multiplied by, `seconds` after its start. For a stream: by what came
 * until `known` decides. */
float tmb_level_gain(const tmb_level *level, double seconds, double known);

/* Back to the start, for another recording. */
void tmb_level_reset(tmb_level *level);

#endif
