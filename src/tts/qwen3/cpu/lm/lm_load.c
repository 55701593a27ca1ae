#include "tts/qwen3/cpu/lm/lm_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "cpu/cpu.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef char tensor_name[TMB_PACK_NAME_MAX];

/* What a network's precision means for its layers. */
static tmb_weight_type layer_type(tmb_lm_precision precision) {
    switch (precision) {
    case TMB_LM_INT8: return TMB_WEIGHT_Q8;
    case TMB_LM_INT4: return TMB_WEIGHT_Q4;
    default: return TMB_WEIGHT_BF16;
    }
}

/* Adds NAME.weight of one tensor as a matrix. */
static tmb_status add_linear(tmb_pack_plan *plan, tmb_weight_type type, bool exact, size_t rows, size_t columns,
                             const char *name, size_t *index, tmb_error *error) {
    tensor_name names[1];
    (void)snprintf(names[0], sizeof names[0], "%s.weight", name);
    return tmb_pack_add_matrix(plan, type, exact, columns, false, 1, (const char(*)[TMB_PACK_NAME_MAX])names, &rows,
                               index, error);
}

static tmb_status add_named_vector(tmb_pack_plan *plan, size_t size, const char *prefix, const char *name,
                                   size_t *index, tmb_error *error) {
    tensor_name full;
    (void)snprintf(full, sizeof full, "%s.%s", prefix, name);
    return tmb_pack_add_vector(plan, full, size, index, error);
}

/* Adds a layer's entries in the order of ENTRY_*. */
static tmb_status add_layer(tmb_pack_plan *plan, const tmb_qwen3_transformer_config *config, tmb_lm_precision precision,
                            const char *prefix, tmb_error *error) {
    tmb_weight_type type = layer_type(precision);
    bool exact = precision == TMB_LM_F32;
    size_t hidden = config->hidden_size;
    size_t queries = config->attention_heads * config->head_dim;
    size_t keys = config->key_value_heads * config->head_dim;
    size_t index = 0;
    tensor_name names[TMB_PACK_SOURCES];
    const char(*list)[TMB_PACK_NAME_MAX] = (const char(*)[TMB_PACK_NAME_MAX])names;
    tmb_status status = add_named_vector(plan, hidden, prefix, "input_layernorm.weight", &index, error);
    if (status != TMB_OK) {
        return status;
    }
    (void)snprintf(names[0], sizeof names[0], "%s.self_attn.q_proj.weight", prefix);
    (void)snprintf(names[1], sizeof names[1], "%s.self_attn.k_proj.weight", prefix);
    (void)snprintf(names[2], sizeof names[2], "%s.self_attn.v_proj.weight", prefix);
    const size_t qkv_rows[] = {queries, keys, keys};
    status = tmb_pack_add_matrix(plan, type, exact, hidden, false, 3, list, qkv_rows, &index, error);
    if (status != TMB_OK ||
        (status = add_named_vector(plan, config->head_dim, prefix, "self_attn.q_norm.weight", &index, error)) !=
            TMB_OK ||
        (status = add_named_vector(plan, config->head_dim, prefix, "self_attn.k_norm.weight", &index, error)) !=
            TMB_OK) {
        return status;
    }
    tensor_name name;
    (void)snprintf(name, sizeof name, "%s.self_attn.o_proj", prefix);
    status = add_linear(plan, type, exact, hidden, queries, name, &index, error);
    if (status != TMB_OK ||
        (status = add_named_vector(plan, hidden, prefix, "post_attention_layernorm.weight", &index, error)) != TMB_OK) {
        return status;
    }
    (void)snprintf(names[0], sizeof names[0], "%s.mlp.gate_proj.weight", prefix);
    (void)snprintf(names[1], sizeof names[1], "%s.mlp.up_proj.weight", prefix);
    const size_t mlp_rows[] = {config->intermediate_size, config->intermediate_size};
    status = tmb_pack_add_matrix(plan, type, exact, hidden, true, 2, list, mlp_rows, &index, error);
    if (status != TMB_OK) {
        return status;
    }
    (void)snprintf(name, sizeof name, "%s.mlp.down_proj", prefix);
    return add_linear(plan, type, exact, hidden, config->intermediate_size, name, &index, error);
}

static tmb_status add_stack(tmb_pack_plan *plan, const tmb_qwen3_transformer_config *config, tmb_lm_precision precision,
                            const char *prefix, tmb_lm_stack_entries *entries, tmb_error *error) {
    entries->first_layer = plan->count;
    for (size_t layer = 0; layer < config->layers; layer++) {
        tensor_name name;
        (void)snprintf(name, sizeof name, "%s.layers.%zu", prefix, layer);
        tmb_status status = add_layer(plan, config, precision, name, error);
        if (status != TMB_OK) {
            return status;
        }
    }
    return add_named_vector(plan, config->hidden_size, prefix, "norm.weight", &entries->norm, error);
}

/* The predictor's heads and books. */
static tmb_status add_books(tmb_lm *lm, tmb_lm_precision precision, tmb_error *error) {
    const tmb_qwen3_predictor_config *config = &lm->predictor_config;
    size_t index = 0;
    tmb_status status = TMB_OK;
    tmb_weight_type type = precision >= TMB_LM_INT8 ? TMB_WEIGHT_Q8 : TMB_WEIGHT_BF16;
    for (size_t k = 0; k + 1 < config->code_groups && status == TMB_OK; k++) {
        tensor_name name;
        (void)snprintf(name, sizeof name, "talker.code_predictor.lm_head.%zu", k);
        status = add_linear(&lm->plan, type, precision == TMB_LM_F32, config->vocab_size,
                            config->transformer.hidden_size, name, k == 0 ? &lm->entries.heads : &index, error);
    }
    for (size_t k = 0; k + 1 < config->code_groups && status == TMB_OK; k++) {
        tensor_name name;
        (void)snprintf(name, sizeof name, "talker.code_predictor.model.codec_embedding.%zu.weight", k);
        status = tmb_pack_add_table(&lm->plan, name, config->vocab_size, lm->talker_config.transformer.hidden_size,
                                    k == 0 ? &lm->entries.books : &index, error);
    }
    return status;
}

static tmb_status add_ends(tmb_lm *lm, tmb_error *error) {
    tmb_pack_plan *plan = &lm->plan;
    tmb_lm_entries *entries = &lm->entries;
    size_t hidden = lm->talker_config.transformer.hidden_size;
    size_t text = lm->talker_config.text_hidden_size;
    size_t narrow = lm->predictor_config.transformer.hidden_size;
    tmb_status status = add_linear(plan, TMB_WEIGHT_F32, true, lm->talker_config.vocab_size, hidden,
                                   "talker.codec_head", &entries->codec_head, error);
    if (status != TMB_OK ||
        (status = tmb_pack_add_table(plan, "talker.model.codec_embedding.weight", lm->talker_config.vocab_size, hidden,
                                     &entries->codec_embedding, error)) != TMB_OK ||
        (status = add_linear(plan, TMB_WEIGHT_F32, true, text, text, "talker.text_projection.linear_fc1",
                             &entries->text1, error)) != TMB_OK ||
        (status = tmb_pack_add_vector(plan, "talker.text_projection.linear_fc1.bias", text, &entries->text1_bias,
                                      error)) != TMB_OK ||
        (status = add_linear(plan, TMB_WEIGHT_F32, true, hidden, text, "talker.text_projection.linear_fc2",
                             &entries->text2, error)) != TMB_OK ||
        (status = tmb_pack_add_vector(plan, "talker.text_projection.linear_fc2.bias", hidden, &entries->text2_bias,
                                      error)) != TMB_OK) {
        return status;
    }
    const char *projection = "talker.code_predictor.small_to_mtp_projection";
    tensor_name name;
    (void)snprintf(name, sizeof name, "%s.weight", projection);
    lm->projects = narrow != hidden || tmb_safetensors_find(plan->weights, name) != NULL;
    if (lm->projects) {
        status = add_linear(plan, TMB_WEIGHT_F32, true, narrow, hidden, projection, &entries->projection, error);
        if (status == TMB_OK) {
            status = add_named_vector(plan, narrow, projection, "bias", &entries->projection_bias, error);
        }
    }
    return status;
}

/* The plan: everything in the order in which a frame reads it. */
static tmb_status make_plan(tmb_lm *lm, const tmb_qwen3_config *config, const tmb_safetensors *weights,
                            const tmb_lm_options *options, tmb_error *error) {
    lm->talker_config = config->talker;
    lm->predictor_config = config->predictor;
    lm->plan.weights = weights;
    size_t dims[2] = {config->talker.text_vocab_size, config->talker.text_hidden_size};
    tmb_status status =
        tmb_tensor_require(weights, "talker.model.text_embedding.weight", 2, dims, &lm->text_embedding, error);
    if (status == TMB_OK) {
        float first = 0; /* whether its dtype can be read */
        status = tmb_tensor_read_f32(lm->text_embedding, 0, 1, &first, error);
    }
    lm->plan.looked_through = lm->text_embedding;
    if (status != TMB_OK ||
        (status = add_stack(&lm->plan, &config->talker.transformer, options->talker, "talker.model",
                            &lm->entries.talker, error)) != TMB_OK ||
        (status = add_ends(lm, error)) != TMB_OK ||
        (status = add_stack(&lm->plan, &config->predictor.transformer, options->predictor,
                            "talker.code_predictor.model", &lm->entries.predictor, error)) != TMB_OK) {
        return status;
    }
    return add_books(lm, options->predictor, error);
}

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
        size_t first = entries->first_layer + i * ENTRIES_OF_LAYER;
        stack->layers[i] = (tmb_lm_layer){
            .qkv = tmb_lm_entry(lm, first + ENTRY_QKV)->matrix,
            .output = tmb_lm_entry(lm, first + ENTRY_OUTPUT)->matrix,
            .gate_up = tmb_lm_entry(lm, first + ENTRY_GATE_UP)->matrix,
            .down = tmb_lm_entry(lm, first + ENTRY_DOWN)->matrix,
            .attention_norm = tmb_lm_vector(lm, first + ENTRY_INPUT_NORM),
            .mlp_norm = tmb_lm_vector(lm, first + ENTRY_MLP_NORM),
            .query_norm = tmb_lm_vector(lm, first + ENTRY_QUERY_NORM),
            .key_norm = tmb_lm_vector(lm, first + ENTRY_KEY_NORM),
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
    tmb_status status = make_plan(lm, config, weights, options, error);
    if (status == TMB_OK) {
        status = tmb_pack_fill(&lm->plan, options->pack_directory, options->team, options->logger, &lm->arena, error);
    }
    /* The predictor's sequence is one frame. */
    lm->predictor_config.transformer.max_positions = config->predictor.code_groups + 1;
    if (status != TMB_OK ||
        (status = open_stack(lm, &lm->talker, &lm->talker_config.transformer, &lm->entries.talker, options->talker,
                             error)) != TMB_OK ||
        (status = open_stack(lm, &lm->predictor, &lm->predictor_config.transformer, &lm->entries.predictor,
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
        tmb_pack_plan_free(&lm->plan);
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
    tmb_status status = make_plan(lm, config, weights, options, error);
    *bytes = status == TMB_OK ? lm->plan.bytes : 0;
    tmb_lm_destroy(&lm);
    return status;
}

size_t tmb_lm_bytes(const tmb_lm *lm) { return lm->arena.mapped; }
size_t tmb_lm_hidden_size(const tmb_lm *lm) { return lm->talker_config.transformer.hidden_size; }
size_t tmb_lm_code_groups(const tmb_lm *lm) { return lm->talker_config.code_groups; }
size_t tmb_lm_max_positions(const tmb_lm *lm) { return lm->talker_config.transformer.max_positions; }
