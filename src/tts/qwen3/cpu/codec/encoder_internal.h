/* What the files of the codec encoder share. */
#ifndef TMB_TTS_QWEN3_CPU_CODEC_ENCODER_INTERNAL_H
#define TMB_TTS_QWEN3_CPU_CODEC_ENCODER_INTERNAL_H

#include "kernels/activation.h"
#include "kernels/conv.h"
#include "tts/qwen3/config.h"
#include "tts/qwen3/cpu/codec/encoder.h"
#include "tts/qwen3/cpu/codec/history.h"
#include "tts/qwen3/cpu/codec/transformer.h"

enum { TMB_CODEC_RESIDUALS_MAX = 8 };

/* x + pointwise(elu(wide(elu(x)))) */
typedef struct tmb_codec_residual {
    tmb_conv wide, pointwise;
    tmb_codec_history memory; /* of wide */
} tmb_codec_residual;

/* Residual layers, then elu and a convolution of stride `ratio` that doubles the channels. */
typedef struct tmb_codec_stage {
    size_t channels, ratio;
    size_t residuals;
    tmb_codec_residual residual[TMB_CODEC_RESIDUALS_MAX];
    tmb_conv down;
    tmb_codec_history memory; /* of down */
} tmb_codec_stage;

/* A quantizer: its projection, then books of the residual's nearest entries. */
typedef struct tmb_codec_quantizer {
    tmb_conv projection;
    size_t count;
    tmb_conv *books; /* [count]: entries as the outputs of a linear layer, so that it makes all inner products */
    float **norms;   /* [count][size]: squared lengths of the entries */
} tmb_codec_quantizer;

struct tmb_codec_encoder {
    tmb_qwen3_codec_encoder_config config;
    size_t books;       /* in a frame */
    tmb_conv_type type; /* F32, or EMPTY if the tensors are only checked */
    tmb_activation_kernels activation;
    tmb_conv first;
    tmb_codec_history first_memory;
    tmb_codec_stage stages[TMB_QWEN3_STAGES_MAX];
    tmb_conv last;
    tmb_codec_history last_memory;
    tmb_codec_transformer_config transformer_config;
    tmb_codec_transformer *transformer;
    tmb_conv downsample;
    tmb_codec_quantizer semantic, acoustic;

    /* The first stages have little weights and many rows: they take short slices of the signal. */
    size_t split;
    size_t hop; /* samples in a row of the transformer: the product of all ratios */
    size_t memory_floats;
    size_t bytes;
};

/* Samples to rows of the transformer's input: convolve [ceil(count / hop), hidden]. TMB_ERROR_MEMORY. */
tmb_status tmb_codec_encoder_convolve(const tmb_codec_encoder *encoder, tmb_team *team, const float *samples,
                                      size_t count, float *out, tmb_error *error);
/* Bytes that it allocates, whatever the count. */
size_t tmb_codec_encoder_convolve_bytes(const tmb_codec_encoder *encoder);

/* Codes of latent rows: latent [frames, hidden], codes [frames, books]. */
tmb_status tmb_codec_encoder_quantize(const tmb_codec_encoder *encoder, tmb_team *team, const float *latent,
                                      size_t frames, int16_t *codes, tmb_error *error);

#endif
