/* What a precision's words mean for each network. */
#ifndef TMB_TTS_QWEN3_PRECISION_H
#define TMB_TTS_QWEN3_PRECISION_H

#include "tts/qwen3/cpu/codec/decoder.h"
#include "tts/qwen3/cpu/lm/lm.h"

typedef struct tmb_qwen3_precisions {
    tmb_lm_precision talker, predictor;
    tmb_codec_precision codec;
} tmb_qwen3_precisions;

/* As tmb_qwen3_options describes them. "auto": 8-bit language model, and the codec in 16 bits where the CPU has
 * fast kernels for that. */
tmb_status tmb_qwen3_parse_precision(const char *text, tmb_qwen3_precisions *out, tmb_error *error);

#endif
