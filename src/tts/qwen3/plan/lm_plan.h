/* Which tensors of a checkpoint the language model consists of, in which types and in which order: what every backend
 * reads. The data itself is in an arena that pack.h fills.
 */
#ifndef TMB_TTS_QWEN3_PLAN_LM_PLAN_H
#define TMB_TTS_QWEN3_PLAN_LM_PLAN_H

#include "tts/qwen3/config.h"
#include "tts/qwen3/plan/pack.h"
#include "tts/qwen3/precision.h"

/* Where one stack's weights are in the plan: the first layer's entries, each layer's the same distance apart. */
enum {
    TMB_ENTRY_INPUT_NORM,
    TMB_ENTRY_QKV, /* [query rows, key rows, value rows] */
    TMB_ENTRY_QUERY_NORM,
    TMB_ENTRY_KEY_NORM,
    TMB_ENTRY_OUTPUT,
    TMB_ENTRY_MLP_NORM,
    TMB_ENTRY_GATE_UP, /* 16 rows of gate, 16 of up, and so on */
    TMB_ENTRY_DOWN,
    TMB_ENTRIES_OF_LAYER
};
typedef struct tmb_lm_stack_entries {
    size_t first_layer, norm;
} tmb_lm_stack_entries;

typedef struct tmb_lm_entries {
    tmb_lm_stack_entries talker, predictor;
    size_t codec_head, codec_embedding;
    size_t text1, text1_bias, text2, text2_bias;
    size_t projection, projection_bias; /* if the predictor has another width */
    size_t heads, books;                /* the first of 15 each */
} tmb_lm_entries;

typedef struct tmb_lm_plan {
    tmb_pack_plan pack; /* everything in the order in which a frame reads it */
    tmb_lm_entries entries;
    bool projects;                    /* small_to_mtp_projection is there */
    const tmb_tensor *text_embedding; /* read row by row, not packed */
} tmb_lm_plan;

/* From the configuration and the tensors' headers alone. TMB_ERROR_MODEL if a tensor is missing or has another shape.
 * Freed by tmb_pack_plan_free(&out->pack), after a failure too. */
tmb_status tmb_lm_plan_make(const tmb_qwen3_config *config, const tmb_safetensors *weights, tmb_lm_precision talker,
                            tmb_lm_precision predictor, tmb_lm_plan *out, tmb_error *error);

#endif
