/* What the transformer's layers are made of: for those that run them elsewhere. */
#ifndef TMB_TTS_QWEN3_CPU_CODEC_TRANSFORMER_INTERNAL_H
#define TMB_TTS_QWEN3_CPU_CODEC_TRANSFORMER_INTERNAL_H

#include "kernels/activation.h"
#include "tts/qwen3/cpu/codec/transformer.h"

typedef struct tmb_codec_layer {
    float *attention_norm, *attention_norm_bias; /* [hidden], the bias NULL for RMSNorm */
    float *mlp_norm, *mlp_norm_bias;
    float *attention_scale, *mlp_scale; /* [hidden] */
    tmb_conv query_key_value;           /* hidden -> heads * d, key_value_heads * d twice */
    tmb_conv output;
    tmb_conv mlp_in; /* gate and up one after the other, or fc1 */
    tmb_conv mlp_out;
} tmb_codec_layer;

struct tmb_codec_transformer {
    tmb_codec_transformer_config config;
    tmb_activation_kernels activation;
    double *frequencies; /* [head_dim / 2] of RoPE */
    tmb_codec_layer layers[];
};

#endif
