#include "tts/qwen3/plan/lm_plan.h"

#include <stdio.h>
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

/* Adds a layer's entries in the order of TMB_ENTRY_*. */
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
static tmb_status add_books(tmb_lm_plan *lm, const tmb_qwen3_config *whole, tmb_lm_precision precision,
                            tmb_error *error) {
    const tmb_qwen3_predictor_config *config = &whole->predictor;
    size_t index = 0;
    tmb_status status = TMB_OK;
    tmb_weight_type type = precision >= TMB_LM_INT8 ? TMB_WEIGHT_Q8 : TMB_WEIGHT_BF16;
    for (size_t k = 0; k + 1 < config->code_groups && status == TMB_OK; k++) {
        tensor_name name;
        (void)snprintf(name, sizeof name, "talker.code_predictor.lm_head.%zu", k);
        status = add_linear(&lm->pack, type, precision == TMB_LM_F32, config->vocab_size,
                            config->transformer.hidden_size, name, k == 0 ? &lm->entries.heads : &index, error);
    }
    for (size_t k = 0; k + 1 < config->code_groups && status == TMB_OK; k++) {
        tensor_name name;
        (void)snprintf(name, sizeof name, "talker.code_predictor.model.codec_embedding.%zu.weight", k);
        status = tmb_pack_add_table(&lm->pack, name, config->vocab_size, whole->talker.transformer.hidden_size,
                                    k == 0 ? &lm->entries.books : &index, error);
    }
    return status;
}

static tmb_status add_ends(tmb_lm_plan *lm, const tmb_qwen3_config *config, tmb_error *error) {
    tmb_pack_plan *plan = &lm->pack;
    tmb_lm_entries *entries = &lm->entries;
    size_t hidden = config->talker.transformer.hidden_size;
    size_t text = config->talker.text_hidden_size;
    size_t narrow = config->predictor.transformer.hidden_size;
    tmb_status status = add_linear(plan, TMB_WEIGHT_F32, true, config->talker.vocab_size, hidden, "talker.codec_head",
                                   &entries->codec_head, error);
    if (status != TMB_OK ||
        (status = tmb_pack_add_table(plan, "talker.model.codec_embedding.weight", config->talker.vocab_size, hidden,
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

tmb_status tmb_lm_plan_make(const tmb_qwen3_config *config, const tmb_safetensors *weights, tmb_lm_precision talker,
                            tmb_lm_precision predictor, tmb_lm_plan *out, tmb_error *error) {
    memset(out, 0, sizeof *out);
    out->pack.weights = weights;
    size_t dims[2] = {config->talker.text_vocab_size, config->talker.text_hidden_size};
    tmb_status status =
        tmb_tensor_require(weights, "talker.model.text_embedding.weight", 2, dims, &out->text_embedding, error);
    if (status == TMB_OK) {
        float first = 0; /* whether its dtype can be read */
        status = tmb_tensor_read_f32(out->text_embedding, 0, 1, &first, error);
    }
    out->pack.looked_through = out->text_embedding;
    if (status != TMB_OK ||
        (status = add_stack(&out->pack, &config->talker.transformer, talker, "talker.model", &out->entries.talker,
                            error)) != TMB_OK ||
        (status = add_ends(out, config, error)) != TMB_OK ||
        (status = add_stack(&out->pack, &config->predictor.transformer, predictor, "talker.code_predictor.model",
                            &out->entries.predictor, error)) != TMB_OK) {
        return status;
    }
    return add_books(out, config, predictor, error);
}
