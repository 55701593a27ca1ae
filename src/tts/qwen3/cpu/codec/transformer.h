/* The transformer that codec encoder and decoder have between their convolutions.
 *
 * Pre-norm, causal, RoPE ("rotate half"), branches scaled per channel before they are added:
 *   x += attention_scale * o(attention(norm(x)));  x += mlp_scale * mlp(norm(x))
 * Encoder: LayerNorm with bias, fc2(gelu(fc1 x)), every row sees all before it. Decoder: RMSNorm,
 * down(silu(gate x) * up x), a window of rows. The caller applies input and output layers.
 */
#ifndef TMB_TTS_QWEN3_CPU_CODEC_TRANSFORMER_H
#define TMB_TTS_QWEN3_CPU_CODEC_TRANSFORMER_H

#include "base/team.h"
#include "kernels/conv.h"
#include "timbre/timbre.h"
#include "weights/safetensors.h"

typedef struct tmb_codec_transformer_config {
    size_t layers, hidden, intermediate;
    size_t heads, key_value_heads, head_dim;
    size_t window; /* rows that a row sees, itself included; 0 = all */
    double theta, eps;
    bool gated;         /* the decoder's kind */
    tmb_conv_type type; /* of the weights */
} tmb_codec_transformer_config;

typedef struct tmb_codec_transformer tmb_codec_transformer;

/* `prefix` is what comes before "layers.0..." in the tensors' names. */
tmb_status tmb_codec_transformer_load(const tmb_codec_transformer_config *config, const tmb_safetensors *weights,
                                      const char *prefix, tmb_codec_transformer **out, tmb_error *error);
void tmb_codec_transformer_destroy(tmb_codec_transformer **transformer);

/* Bytes of weights; SIZE_MAX if the sizes are absurd. */
size_t tmb_codec_transformer_bytes(const tmb_codec_transformer_config *config);

/* Floats of the keys and values of one stream that keeps `capacity` rows. */
size_t tmb_codec_cache_size(const tmb_codec_transformer_config *config, size_t capacity);

/* Rows of one stream, consecutive in the matrix of all rows. */
typedef struct tmb_codec_rows {
    size_t rows;
    float *cache;      /* [layers, keys and values, key_value_heads, capacity, head_dim] */
    size_t capacity;   /* >= filled + rows */
    size_t filled;     /* rows in the cache before these */
    uint64_t position; /* of the first of these rows in the stream */
} tmb_codec_rows;

/* Makes room in a cache for `rows` more: keeps the last window - 1 rows if they would not fit. Returns the new
 * number of filled rows. */
size_t tmb_codec_cache_room(const tmb_codec_transformer_config *config, float *cache, size_t capacity, size_t filled,
                            size_t rows);

/* Buffers for tmb_codec_transformer_forward: at most `rows` rows in all, each seeing at most `keys` rows (of
 * its own stream, itself included), `threads` threads. */
typedef struct tmb_codec_transformer_buffers tmb_codec_transformer_buffers;
tmb_status tmb_codec_transformer_buffers_create(const tmb_codec_transformer *transformer, size_t rows, size_t keys,
                                                int threads, tmb_codec_transformer_buffers **out, tmb_error *error);
size_t tmb_codec_transformer_buffers_bytes(const tmb_codec_transformer_config *config, size_t rows, size_t keys,
                                           int threads);
void tmb_codec_transformer_buffers_destroy(tmb_codec_transformer_buffers **buffers);

/* What `scratch` of forward must have for each thread (see tmb_conv_apply_scratch); 0 for f32. */
size_t tmb_codec_transformer_scratch_bytes(const tmb_codec_transformer *transformer);

/* All layers over x [sum of rows, hidden], in place. Fills the caches; `filled` and `position` are the caller's
 * to advance. */
void tmb_codec_transformer_forward(const tmb_codec_transformer *transformer, tmb_codec_transformer_buffers *buffers,
                                   float *x, const tmb_codec_rows *streams, size_t count, tmb_team *team,
                                   void *scratch);

/* y = weight * x / sqrt(mean x^2 + eps), and y = (x - mean) / sqrt(variance + eps) * weight + bias, for one row;
 * x and y may be the same. */
void tmb_codec_rms_norm(const float *x, const float *weight, double eps, float *y, size_t count);
void tmb_codec_layer_norm(const float *x, const float *weight, const float *bias, double eps, float *y, size_t count);

#endif
