/* Precisions of the networks, and what their words mean. */
#ifndef TMB_TTS_QWEN3_PRECISION_H
#define TMB_TTS_QWEN3_PRECISION_H

#include "timbre/timbre.h"

/* Talker and code predictor. F32: every product exactly as the checkpoint's weights have it. BF16: weights rounded
 * to bf16 (the released ones are), products with rounded vectors if the CPU has them. INT8, INT4: matmul.h's Q8 and Q4;
 * embeddings, norms, the text projection and the head of the first code stay as in F32, the predictor's heads have at
 * least 8 bits. */
typedef enum tmb_lm_precision { TMB_LM_F32 = 0, TMB_LM_BF16, TMB_LM_INT8, TMB_LM_INT4 } tmb_lm_precision;

/* The codec decoder: how convolutions and matrix products are computed; everything between them, the codebooks and
 * the last convolution are f32. F32 is the reference. BF16 keeps weights in half the memory and multiplies operands of
 * 16 bits: whole numbers of 12 bits with a scale for each row (44 dB from f32 on full-size random weights), or bf16 if
 * only that is fast (30 dB). Its results differ a little between these two, and in last bits between CPUs. */
typedef enum tmb_codec_precision { TMB_CODEC_F32 = 0, TMB_CODEC_BF16 } tmb_codec_precision;

typedef struct tmb_qwen3_precisions {
    tmb_lm_precision talker, predictor;
    tmb_codec_precision codec;
} tmb_qwen3_precisions;

/* As tmb_qwen3_options describes them. "auto": 8-bit language model, and the codec in 16 bits if the CPU has fast
 * kernels for that. */
tmb_status tmb_qwen3_parse_precision(const char *text, tmb_qwen3_precisions *out, tmb_error *error);

#endif
