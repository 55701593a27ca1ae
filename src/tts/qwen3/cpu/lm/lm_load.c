#include "tts/qwen3/cpu/lm/lm_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "cpu/cpu.h"

#include <math.h>
#include <stdlib.h>

static tmb_status open_stack(const tmb_lm *lm, tmb_lm_stack *stack, const tmb_qwen3_transformer_config *config,
                             const tmb_lm_stack_entries *entries, tmb_lm_precision precision, tmb_error *error) {
    stack->config = *config;
    tmb_vector_kernels_init(&stack->vector, config->head_dim % TMB_VECTOR_UNIT == 0 ? tmb_cpu_flags() : 0);
    tmb_activation_kernels_init(&stack->activation, tmb_cpu_flags());
    stack->bf16_dot = precision == TMB_LM_BF16;
    stack->norm = tmb_lm_vector(lm, entries->norm);
    stack->layers = tmb_calloc(config->layers, sizeof *stack->layers);
    stack->frequencies = tmb_calloc(config->head_dim / 2, sizeof *stack->frequencies);
    if (stack->layers == NULL || stack->frequencies == NULL) {
        return tmb_fail_memory(error, "the language model's layers", 0);
    }
    for (size_t i = 0; i < config->head_dim / 2; i++) {
        stack->frequencies[i] = 1.0f / powf((float)config->rope_theta, (float)(2 * i) / (float)config->head_dim);
    }
    for (size_t i = 0; i < config->layers; i++) {
        size_t first = entries->first_layer + i * TMB_ENTRIES_OF_LAYER;
        stack->layers[i] = (tmb_lm_layer){
            .qkv = tmb_lm_entry(lm, first + TMB_ENTRY_QKV)->matrix,
            .output = tmb_lm_entry(lm, first + TMB_ENTRY_OUTPUT)->matrix,
            .gate_up = tmb_lm_entry(lm, first + TMB_ENTRY_GATE_UP)->matrix,
            .down = tmb_lm_entry(lm, first + TMB_ENTRY_DOWN)->matrix,
            .attention_norm = tmb_lm_vector(lm, first + TMB_ENTRY_INPUT_NORM),
            .mlp_norm = tmb_lm_vector(lm, first + TMB_ENTRY_MLP_NORM),
            .query_norm = tmb_lm_vector(lm, first + TMB_ENTRY_QUERY_NORM),
            .key_norm = tmb_lm_vector(lm, first + TMB_ENTRY_KEY_NORM),
        };
    }
    return TMB_OK;
}

static tmb_kv_shape kv_shape(const tmb_qwen3_transformer_config *config, size_t page_positions, bool half) {
    return (tmb_kv_shape){.layers = config->layers,
                          .heads = config->key_value_heads,
                          .head_size = config->head_dim,
                          .page_positions = page_positions,
                          .half = half};
}

tmb_status tmb_lm_load(const tmb_qwen3_config *config, const tmb_safetensors *weights, const tmb_lm_options *options,
                       tmb_lm **out, tmb_error *error) {
    *out = NULL;
    tmb_lm *lm = tmb_calloc(1, sizeof *lm);
    if (lm == NULL) {
        return tmb_fail_memory(error, "the language model", sizeof *lm);
    }
    tmb_status status = tmb_lm_plan_make(config, weights, options->talker, options->predictor, &lm->plan, error);
    if (status == TMB_OK) {
        status =
            tmb_pack_fill(&lm->plan.pack, options->pack_directory, options->team, options->logger, &lm->arena, error);
    }
    lm->talker_config = config->talker;
    lm->predictor_config = config->predictor;
    /* The predictor's sequence is one frame. */
    lm->predictor_config.transformer.max_positions = config->predictor.code_groups + 1;
    if (status != TMB_OK ||
        (status = open_stack(lm, &lm->talker, &lm->talker_config.transformer, &lm->plan.entries.talker, options->talker,
                             error)) != TMB_OK ||
        (status = open_stack(lm, &lm->predictor, &lm->predictor_config.transformer, &lm->plan.entries.predictor,
                             options->predictor, error)) != TMB_OK) {
        tmb_lm_destroy(&lm);
        return status;
    }
    lm->talker_kv = kv_shape(&lm->talker.config, TMB_LM_PAGE_POSITIONS, options->talker != TMB_LM_F32);
    lm->predictor_kv = kv_shape(&lm->predictor.config, lm->predictor.config.max_positions, false);
    *out = lm;
    return TMB_OK;
}

void tmb_lm_destroy(tmb_lm **lm_address) {
    tmb_lm *lm = *lm_address;
    *lm_address = NULL;
    if (lm != NULL) {
        free(lm->talker.layers);
        free(lm->talker.frequencies);
        free(lm->predictor.layers);
        free(lm->predictor.frequencies);
        tmb_pack_plan_free(&lm->plan.pack);
        tmb_pack_arena_free(&lm->arena);
        free(lm);
    }
}

tmb_status tmb_lm_estimate(const tmb_qwen3_config *config, const tmb_safetensors *weights,
                           const tmb_lm_options *options, size_t *bytes, tmb_error *error) {
    *bytes = 0;
    tmb_lm *lm = tmb_calloc(1, sizeof *lm);
    if (lm == NULL) {
        return tmb_fail_memory(error, "the language model", sizeof *lm);
    }
    tmb_status status = tmb_lm_plan_make(config, weights, options->talker, options->predictor, &lm->plan, error);
    *bytes = status == TMB_OK ? lm->plan.pack.bytes : 0;
    tmb_lm_destroy(&lm);
    return status;
}

size_t tmb_lm_bytes(const tmb_lm *lm) { return lm->arena.mapped; }
size_t tmb_lm_hidden_size(const tmb_lm *lm) { return lm->talker_config.transformer.hidden_size; }
size_t tmb_lm_code_groups(const tmb_lm *lm) { return lm->talker_config.code_groups; }
size_t tmb_lm_max_positions(const tmb_lm *lm) { return lm->talker_config.transformer.max_positions; }
