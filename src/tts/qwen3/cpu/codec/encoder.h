/* Codec encoder of Qwen3-TTS: waveform to codes (the Mimi encoder and its residual vector quantizer).
 *
 * Causal strided convolutions to 25 Hz, a causal transformer, a convolution to 12.5 Hz, then the nearest
 * entries of the codebooks. Always f32: with less, one code in eight differs. After `encoder.*` of the official
 * speech_tokenizer checkpoint.
 */
#ifndef TMB_TTS_QWEN3_CPU_CODEC_ENCODER_H
#define TMB_TTS_QWEN3_CPU_CODEC_ENCODER_H

#include "base/team.h"
#include "timbre/timbre.h"

typedef struct tmb_safetensors tmb_safetensors;
typedef struct tmb_qwen3_codec_config tmb_qwen3_codec_config;

/* Weights: immutable, shared between threads. */
typedef struct tmb_codec_encoder tmb_codec_encoder;

/* Reads the tensors `encoder.*`; errors as tmb_codec_decoder_load. */
tmb_status tmb_codec_encoder_load(const tmb_qwen3_codec_config *config, const tmb_safetensors *weights,
                                  tmb_codec_encoder **out, tmb_error *error);
/* The same without weights: the tensors are only checked. It knows its sizes and cannot encode. */
tmb_status tmb_codec_encoder_check(const tmb_qwen3_codec_config *config, const tmb_safetensors *weights,
                                   tmb_codec_encoder **out, tmb_error *error);
void tmb_codec_encoder_destroy(tmb_codec_encoder **encoder);

size_t tmb_codec_encoder_estimate(const tmb_qwen3_codec_config *config);
size_t tmb_codec_encoder_bytes(const tmb_codec_encoder *encoder);

/* Temporary bytes that encoding `count` samples needs, at most. */
size_t tmb_codec_encode_bytes(const tmb_codec_encoder *encoder, size_t count);

/* Whether it takes these samples; errors as below. */
tmb_status tmb_codec_encode_check(const float *samples, size_t count, tmb_error *error);
/* Encodes mono samples at the encoder's rate [24 kHz]. *codes: [*frames, books], to be freed with free();
 * *frames = ceil(count / samples per frame). TMB_ERROR_ARGUMENT for no samples or values that are not
 * finite. Thread-safe with a team (NULL: one thread) of one's own. */
tmb_status tmb_codec_encode(const tmb_codec_encoder *encoder, tmb_team *team, const float *samples, size_t count,
                            int16_t **codes, size_t *frames, tmb_error *error);

/* For tests: also what goes into the quantizer, *latent [frames, hidden], free(). */
tmb_status tmb_codec_encode_latent(const tmb_codec_encoder *encoder, tmb_team *team, const float *samples, size_t count,
                                   float **latent, size_t *frames, tmb_error *error);

#endif
