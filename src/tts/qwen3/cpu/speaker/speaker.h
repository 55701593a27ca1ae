/* Speaker encoder of Qwen3-TTS: reference waveform to x-vector (ECAPA-TDNN over a log-mel spectrogram).
 *
 * After `speaker_encoder.*` of the official checkpoint.
 */
#ifndef TMB_TTS_QWEN3_CPU_SPEAKER_SPEAKER_H
#define TMB_TTS_QWEN3_CPU_SPEAKER_SPEAKER_H

#include "base/team.h"
#include "timbre/timbre.h"

typedef struct tmb_safetensors tmb_safetensors;
typedef struct tmb_qwen3_speaker_config tmb_qwen3_speaker_config;

/* Weights: immutable, shared between threads. */
typedef struct tmb_speaker_encoder tmb_speaker_encoder;

/* Reads the tensors `speaker_encoder.*`; errors as tmb_codec_decoder_load. */
tmb_status tmb_speaker_encoder_load(const tmb_qwen3_speaker_config *config, const tmb_safetensors *weights,
                                    tmb_speaker_encoder **out, tmb_error *error);
void tmb_speaker_encoder_destroy(tmb_speaker_encoder **encoder);

/* Bytes that the encoder takes, before it is loaded and after. */
size_t tmb_speaker_encoder_estimate(const tmb_safetensors *weights);
size_t tmb_speaker_encoder_bytes(const tmb_speaker_encoder *encoder);
size_t tmb_speaker_size(const tmb_speaker_encoder *encoder); /* of an embedding [1024] */

/* embedding: [tmb_speaker_size], the x-vector of `count` mono samples at 24 kHz. TMB_ERROR_ARGUMENT for fewer than the
 * widest layer can reflect [1280], as the official implementation, and for values that are not finite.
 * Thread-safe with a team (NULL: one thread) of one's own. */
tmb_status tmb_speaker_embed(const tmb_speaker_encoder *encoder, tmb_team *team, const float *samples, size_t count,
                             float *embedding, tmb_error *error);

/* What the network goes over, for those that have it elsewhere: *mel [*rows, bands], free() it. Errors and threads as
 * above. */
tmb_status tmb_speaker_mel(const tmb_speaker_encoder *encoder, tmb_team *team, const float *samples, size_t count,
                           float **mel, size_t *rows, tmb_error *error);

#endif
