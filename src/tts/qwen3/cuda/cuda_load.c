#include "tts/qwen3/cuda/cuda_lm.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/sizes.h"
#include "kernels/matmul.h"
#include "tts/qwen3/cuda/cuda_graphs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- What the kernels take -------------------------------------------------------------------- */

static tmb_status check_stack(const tmb_qwen3_transformer_config *config, const char *name, tmb_error *error) {
    size_t group = config->attention_heads / config->key_value_heads;
    if (config->head_dim > TMB_ATTEND_HEAD || group > TMB_ATTEND_GROUP ||
        group * config->head_dim > TMB_ATTEND_GROUP_FLOATS) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED,
                        "the %s's attention, %zu heads of %zu for %zu of keys, is not one that the GPU's kernels take",
                        name, config->attention_heads, config->head_dim, config->key_value_heads);
    }
    return TMB_OK;
}

static tmb_status check(const tmb_net_files *files, tmb_error *error) {
    if (files->config->talker.code_groups + 1 > TMB_ATTEND_PAGE) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "%zu codes in a frame are more than the GPU's kernels take",
                        files->config->talker.code_groups);
    }
    tmb_status status = check_stack(&files->config->talker.transformer, "talker", error);
    return status == TMB_OK ? check_stack(&files->config->predictor.transformer, "code predictor", error) : status;
}

static void set_stack(tmb_cuda_stack *stack, const tmb_qwen3_transformer_config *config, size_t positions,
                      size_t page_positions, bool half) {
    stack->config = *config;
    stack->positions = positions;
    stack->page_positions = page_positions;
    stack->half = half;
    stack->page_bytes = config->layers * 2 * config->key_value_heads * page_positions * config->head_dim *
                        (half ? sizeof(uint16_t) : sizeof(float));
}

/* Sizes that follow from configuration and options. */
static void lay_out(tmb_cuda_lm *lm, const tmb_net_files *files, const tmb_net_options *options) {
    const tmb_qwen3_config *config = files->config;
    lm->talker_config = config->talker;
    lm->predictor_config = config->predictor;
    lm->sequences = options->sequences;
    set_stack(&lm->talker, &config->talker.transformer, config->talker.transformer.max_positions,
              TMB_CUDA_PAGE_POSITIONS, options->precisions.talker != TMB_LM_F32);
    lm->talker.bf16 = options->precisions.talker == TMB_LM_BF16;
    lm->predictor.bf16 = options->precisions.predictor == TMB_LM_BF16;
    set_stack(&lm->predictor, &config->predictor.transformer, config->talker.code_groups + 1,
              config->talker.code_groups + 1, false);
    lm->rows = tmb_max_size(TMB_CUDA_PREFILL_ROWS, 2 * lm->sequences);
    lm->stride = tmb_round_up(
        tmb_max_size(config->talker.transformer.hidden_size, config->predictor.transformer.hidden_size), 16);
    lm->scores_stride = tmb_round_up(tmb_max_size(config->talker.vocab_size, config->predictor.vocab_size), 16);
    const tmb_qwen3_transformer_config *stacks[] = {&config->talker.transformer, &config->predictor.transformer};
    for (size_t i = 0; i < 2; i++) {
        size_t heads = stacks[i]->attention_heads * stacks[i]->head_dim;
        size_t keys = stacks[i]->key_value_heads * stacks[i]->head_dim;
        lm->qkv_stride = tmb_max_size(lm->qkv_stride, tmb_round_up(heads + 2 * keys, 16));
        lm->attended_stride = tmb_max_size(lm->attended_stride, tmb_round_up(heads, 16));
        lm->hidden_stride = tmb_max_size(lm->hidden_stride, tmb_round_up(stacks[i]->intermediate_size, 16));
    }
    lm->text_stride = tmb_round_up(config->talker.text_hidden_size, 16);
    lm->units = tmb_slabs_plan(options->device_memory, lm->talker.page_bytes);
}

/* ---- Buffers ---------------------------------------------------------------------------------- */

typedef struct buffer {
    tmb_gpu_address *address;
    size_t count, size;
} buffer;

enum { BUFFERS = 25, BUFFER_UNIT = 512 };

/* Floats of lm->wide: whole tiles of 8 vectors, whole blocks of 32 values. */
static size_t wide_floats(const tmb_cuda_lm *lm) {
    size_t widest =
        tmb_max_size(tmb_max_size(lm->stride, lm->attended_stride), tmb_max_size(lm->hidden_stride, lm->text_stride));
    return (lm->rows + 7) / 8 * 8 * ((widest + 31) / 32 * 32);
}

static size_t angles(const tmb_cuda_stack *stack) { return stack->positions * (stack->config.head_dim / 2); }

static size_t list_buffers(tmb_cuda_lm *lm, buffer out[BUFFERS]) {
    const buffer all[] = {
        {&lm->x, lm->rows * lm->stride, 4},
        {&lm->y, lm->rows * lm->stride, 4},
        {&lm->z, lm->rows * lm->stride, 4},
        {&lm->qkv, lm->rows * lm->qkv_stride, 4},
        {&lm->attended, lm->rows * lm->attended_stride, 4},
        {&lm->hidden, lm->rows * lm->hidden_stride, 4},
        {&lm->text, lm->rows * lm->text_stride, 4},
        {&lm->text_hidden, lm->rows * lm->text_stride, 4},
        {&lm->wide, wide_floats(lm), 4},
        {&lm->scores, lm->sequences * lm->scores_stride, 4},
        {&lm->predictor_pages, lm->sequences, lm->predictor.page_bytes},
        {&lm->slots, lm->sequences, sizeof(tmb_gpu_slot)},
        {&lm->live, 1, 4},
        {&lm->prompt_slot, 1, sizeof(tmb_gpu_slot)},
        {&lm->prompt_rows, 2 * lm->rows, 4},
        {&lm->prompt_frames, lm->rows * lm->talker_config.code_groups, 2},
        {&lm->prompt_vector, lm->stride, 4},
        {&lm->codes, lm->sequences * lm->talker_config.code_groups, 2},
        {&lm->outcomes, lm->sequences, 4},
        {&lm->tables, lm->talker_config.code_groups, sizeof(tmb_gpu_table)},
        {&lm->talker.cosines, angles(&lm->talker), 4},
        {&lm->talker.sines, angles(&lm->talker), 4},
        {&lm->predictor.cosines, angles(&lm->predictor), 4},
        {&lm->predictor.sines, angles(&lm->predictor), 4},
    };
    memcpy(out, all, sizeof all);
    return sizeof all / sizeof all[0];
}

/* Bytes of all buffers, which lie in one piece; false if they are absurd. */
static bool buffer_bytes(tmb_cuda_lm *lm, size_t *sum) {
    buffer list[BUFFERS];
    size_t count = list_buffers(lm, list);
    *sum = 0;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = 0;
        if (!tmb_mul_size(list[i].count, list[i].size, &bytes) || !tmb_pad_size(bytes, BUFFER_UNIT, &bytes) ||
            !tmb_add_size(*sum, bytes, sum)) {
            return false;
        }
    }
    return true;
}

static tmb_status allocate_buffers(tmb_cuda_lm *lm, tmb_error *error) {
    buffer list[BUFFERS];
    size_t count = list_buffers(lm, list), bytes = 0, at = 0;
    if (!buffer_bytes(lm, &bytes)) {
        return tmb_fail(error, TMB_ERROR_MODEL, "the model's sizes are absurd");
    }
    tmb_status status = tmb_gpu_allocate(lm->gpu, bytes, "the language model's buffers", &lm->buffers, error);
    for (size_t i = 0; i < count && status == TMB_OK; i++) {
        *list[i].address = lm->buffers + at;
        at += (list[i].count * list[i].size + BUFFER_UNIT - 1) / BUFFER_UNIT * BUFFER_UNIT;
    }
    lm->bytes += tmb_gpu_rounded(bytes);
    return status;
}

/* ---- Weights ---------------------------------------------------------------------------------- */

/* Bytes of lm->projected. */
static size_t projected_bytes(const tmb_cuda_lm *lm, const tmb_lm_plan *plan) {
    size_t books = lm->talker_config.code_groups > 2 ? lm->talker_config.code_groups - 2 : 0;
    return plan->projects ? tmb_gpu_rounded(books * lm->predictor_config.vocab_size * lm->predictor.config.hidden_size *
                                            sizeof(float))
                          : 0;
}

tmb_status tmb_cuda_lm_estimate(const tmb_net_files *files, const tmb_net_options *options, tmb_net_bytes *bytes,
                                tmb_error *error) {
    *bytes = (tmb_net_bytes){0, 0};
    tmb_status status = check(files, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_cuda_lm lm = {0};
    tmb_lm_plan plan;
    size_t buffers = 0, graphs = 0;
    lay_out(&lm, files, options);
    status = tmb_lm_plan_make(files->config, files->weights, options->precisions.talker, options->precisions.predictor,
                              &plan, error);
    bytes->host = plan.pack.bytes;
    lm.projects = plan.projects;
    if (status == TMB_OK &&
        (!buffer_bytes(&lm, &buffers) || !tmb_mul_size(tmb_cuda_step_kernels(&lm), TMB_CUDA_KERNEL_BYTES, &graphs) ||
         !tmb_add_size(graphs, projected_bytes(&lm, &plan), &graphs) ||
         !tmb_add_size(tmb_gpu_rounded(buffers), graphs, &buffers) ||
         !tmb_add_size(tmb_gpu_rounded(plan.pack.bytes), buffers, &bytes->device))) {
        status = tmb_fail(error, TMB_ERROR_MODEL, "the model's sizes are absurd");
    }
    tmb_pack_plan_free(&plan.pack);
    return status;
}

tmb_gpu_units tmb_cuda_lm_units(const tmb_net_files *files, const tmb_net_options *options) {
    tmb_cuda_lm lm = {0};
    lay_out(&lm, files, options);
    return lm.units;
}

size_t tmb_cuda_sequence_estimate(const tmb_net_files *files, const tmb_net_options *options, size_t positions) {
    tmb_cuda_lm lm = {0};
    lay_out(&lm, files, options);
    return tmb_cuda_sequence_device_bytes(&lm, positions);
}

/* `bf16`: of a network whose vectors may be rounded to it. */
static tmb_cuda_matrix matrix_of(const tmb_cuda_lm *lm, const tmb_lm_plan *plan, size_t index, bool bf16,
                                 size_t wanted) {
    const tmb_pack_entry *entry = &plan->pack.entries[index];
    tmb_weight_type type = entry->matrix.type;
    return (tmb_cuda_matrix){.data = lm->arena + entry->offset,
                             .type = (int)type,
                             .rows = (int)entry->matrix.rows,
                             .columns = (int)entry->matrix.columns,
                             .panel_bytes = (int)entry->matrix.panel_bytes,
                             .rounded = type >= TMB_WEIGHT_Q8 || (type == TMB_WEIGHT_BF16 && bf16),
                             .wanted = (int)(wanted != 0 ? wanted : entry->matrix.rows)};
}

static tmb_gpu_address vector_of(const tmb_cuda_lm *lm, const tmb_lm_plan *plan, size_t index) {
    return lm->arena + plan->pack.entries[index].offset;
}

static tmb_status open_stack(const tmb_cuda_lm *lm, const tmb_lm_plan *plan, const tmb_lm_stack_entries *entries,
                             tmb_cuda_stack *stack, tmb_error *error) {
    stack->layers = tmb_calloc(stack->config.layers, sizeof *stack->layers);
    if (stack->layers == NULL) {
        return tmb_fail_memory(error, "the language model's layers", 0);
    }
    stack->norm = vector_of(lm, plan, entries->norm);
    bool bf16 = stack->bf16;
    for (size_t i = 0; i < stack->config.layers; i++) {
        size_t first = entries->first_layer + i * TMB_ENTRIES_OF_LAYER;
        stack->layers[i] = (tmb_cuda_layer){
            .qkv = matrix_of(lm, plan, first + TMB_ENTRY_QKV, bf16, 0),
            .output = matrix_of(lm, plan, first + TMB_ENTRY_OUTPUT, bf16, 0),
            .gate_up = matrix_of(lm, plan, first + TMB_ENTRY_GATE_UP, bf16, stack->config.intermediate_size),
            .down = matrix_of(lm, plan, first + TMB_ENTRY_DOWN, bf16, 0),
            .attention_norm = vector_of(lm, plan, first + TMB_ENTRY_INPUT_NORM),
            .mlp_norm = vector_of(lm, plan, first + TMB_ENTRY_MLP_NORM),
            .query_norm = vector_of(lm, plan, first + TMB_ENTRY_QUERY_NORM),
            .key_norm = vector_of(lm, plan, first + TMB_ENTRY_KEY_NORM),
        };
    }
    return TMB_OK;
}

/* Angles as the official code computes them: a product of floats, its cosine and sine in float. */
static tmb_status upload_angles(const tmb_cuda_lm *lm, const tmb_cuda_stack *stack, tmb_error *error) {
    size_t half = stack->config.head_dim / 2, count = angles(stack);
    float *values = tmb_calloc(2 * count, sizeof *values);
    if (values == NULL) {
        return tmb_fail_memory(error, "the positions' angles", 2 * count * sizeof *values);
    }
    for (size_t k = 0; k < half; k++) {
        float frequency = 1.0f / powf((float)stack->config.rope_theta, (float)(2 * k) / (float)stack->config.head_dim);
        for (size_t position = 0; position < stack->positions; position++) {
            float angle = (float)position * frequency;
            values[position * half + k] = cosf(angle);
            values[count + position * half + k] = sinf(angle);
        }
    }
    tmb_status status = tmb_gpu_upload(lm->gpu, lm->stream, stack->cosines, values, count * sizeof *values, error);
    if (status == TMB_OK) {
        status = tmb_gpu_upload(lm->gpu, lm->stream, stack->sines, values + count, count * sizeof *values, error);
    }
    free(values);
    return status;
}

static tmb_status upload_tables(const tmb_cuda_lm *lm, const tmb_lm_plan *plan, tmb_error *error) {
    tmb_gpu_table tables[TMB_QWEN3_CODE_GROUPS_MAX] = {0};
    for (size_t i = 0; i < lm->talker_config.code_groups; i++) {
        size_t index = i == 0 ? plan->entries.codec_embedding : plan->entries.books + i - 1;
        tables[i] = (tmb_gpu_table){.rows = vector_of(lm, plan, index), .bf16 = plan->pack.entries[index].bf16};
    }
    return tmb_gpu_upload(lm->gpu, lm->stream, lm->tables, tables, lm->talker_config.code_groups * sizeof tables[0],
                          error);
}

/* Where everything of the plan lies, once the arena has an address. */
static tmb_status open_parts(tmb_cuda_lm *lm, const tmb_lm_plan *plan, tmb_error *error) {
    const tmb_lm_entries *entries = &plan->entries;
    lm->text_embedding = plan->text_embedding;
    lm->projects = plan->projects;
    lm->codec_head = matrix_of(lm, plan, entries->codec_head, false, 0);
    lm->text1 = matrix_of(lm, plan, entries->text1, false, 0);
    lm->text2 = matrix_of(lm, plan, entries->text2, false, 0);
    lm->text1_bias = vector_of(lm, plan, entries->text1_bias);
    lm->text2_bias = vector_of(lm, plan, entries->text2_bias);
    if (lm->projects) {
        lm->projection = matrix_of(lm, plan, entries->projection, false, 0);
        lm->projection_bias = vector_of(lm, plan, entries->projection_bias);
    }
    for (size_t i = 0; i + 1 < lm->talker_config.code_groups; i++) {
        lm->heads[i] = matrix_of(lm, plan, entries->heads + i, lm->predictor.bf16, 0);
    }
    tmb_status status = open_stack(lm, plan, &entries->talker, &lm->talker, error);
    if (status == TMB_OK) {
        status = open_stack(lm, plan, &entries->predictor, &lm->predictor, error);
    }
    if (status == TMB_OK) {
        status = upload_angles(lm, &lm->talker, error);
    }
    if (status == TMB_OK) {
        status = upload_angles(lm, &lm->predictor, error);
    }
    return status == TMB_OK ? upload_tables(lm, plan, error) : status;
}

/* Row `index` of a table as floats. */
static void read_row(const tmb_pack_entry *entry, const uint8_t *arena, size_t index, size_t width, float *out) {
    const uint8_t *rows = arena + entry->offset;
    for (size_t k = 0; k < width; k++) {
        if (entry->bf16) {
            uint16_t value = 0;
            memcpy(&value, rows + (index * width + k) * sizeof value, sizeof value);
            out[k] = tmb_bf16_to_float(value);
        } else {
            memcpy(&out[k], rows + (index * width + k) * sizeof(float), sizeof(float));
        }
    }
}

/* The books' embeddings through the projection, as a frame would have each of them: to the bit, since a column of a
 * product does not depend on the others. */
static tmb_status project_tables(tmb_cuda_lm *lm, const tmb_lm_plan *plan, const uint8_t *arena, tmb_error *error) {
    size_t bytes = projected_bytes(lm, plan);
    if (bytes == 0) {
        return TMB_OK;
    }
    size_t codes = lm->predictor_config.vocab_size, width = lm->talker.config.hidden_size;
    size_t narrow = lm->predictor.config.hidden_size, all = (lm->talker_config.code_groups - 2) * codes;
    float *rows = tmb_calloc(lm->rows, lm->stride * sizeof *rows);
    tmb_status status = rows == NULL
                            ? tmb_fail_memory(error, "the code embeddings", lm->rows * lm->stride * sizeof *rows)
                            : tmb_gpu_allocate(lm->gpu, bytes, "the code embeddings", &lm->projected, error);
    lm->bytes += status == TMB_OK ? bytes : 0;
    for (size_t done = 0; done < all && status == TMB_OK;) {
        size_t here = all - done < lm->rows ? all - done : lm->rows;
        for (size_t i = 0; i < here; i++) {
            const tmb_pack_entry *entry = &plan->pack.entries[plan->entries.books + (done + i) / codes];
            read_row(entry, arena, (done + i) % codes, width, rows + i * lm->stride);
        }
        status = tmb_gpu_upload(lm->gpu, lm->stream, lm->y, rows, here * lm->stride * sizeof *rows, error);
        if (status == TMB_OK) {
            tmb_gpu_recorder recorder = tmb_gpu_direct(lm->gpu, lm->stream);
            tmb_cuda_multiply(lm, &recorder,
                              &(tmb_cuda_product){.matrix = &lm->projection,
                                                  .x = lm->y,
                                                  .bias = lm->projection_bias,
                                                  .out = lm->projected + done * narrow * sizeof(float),
                                                  .x_stride = lm->stride,
                                                  .out_stride = narrow},
                              (tmb_cuda_columns){.count = here, .each = 1});
            status = tmb_gpu_recorder_end(&recorder, NULL, error);
        }
        done += here;
    }
    free(rows);
    return status;
}

/* Packs the weights on the host, and moves them up. */
static tmb_status load_weights(tmb_cuda_lm *lm, const tmb_net_files *files, const tmb_net_options *options,
                               tmb_team *team, tmb_error *error) {
    tmb_lm_plan plan;
    tmb_pack_arena arena = {0};
    const tmb_qwen3_precisions *precisions = &options->precisions;
    bool quantizes = precisions->talker >= TMB_LM_INT8 || precisions->predictor >= TMB_LM_INT8;
    tmb_status status =
        tmb_lm_plan_make(files->config, files->weights, precisions->talker, precisions->predictor, &plan, error);
    if (status == TMB_OK) {
        status = tmb_gpu_allocate(lm->gpu, plan.pack.bytes, "the language model's weights", &lm->arena, error);
        lm->bytes += tmb_gpu_rounded(plan.pack.bytes);
    }
    if (status == TMB_OK) {
        status =
            tmb_pack_fill(&plan.pack, quantizes ? options->pack_directory : NULL, team, options->logger, &arena, error);
    }
    if (status == TMB_OK) {
        status = tmb_gpu_upload(lm->gpu, lm->stream, lm->arena, arena.data, plan.pack.bytes, error);
    }
    if (status == TMB_OK) {
        status = open_parts(lm, &plan, error);
    }
    if (status == TMB_OK) {
        status = project_tables(lm, &plan, arena.data, error);
    }
    if (status == TMB_OK) {
        status = tmb_gpu_synchronize(lm->gpu, lm->stream, error);
    }
    tmb_pack_arena_free(&arena);
    tmb_pack_plan_free(&plan.pack);
    return status;
}

static size_t pinned_bytes(const tmb_cuda_lm *lm) {
    return lm->sequences * (sizeof(tmb_gpu_slot) + lm->talker_config.code_groups * sizeof(int16_t) + sizeof(int32_t)) +
           64;
}

tmb_status tmb_cuda_lm_load(tmb_gpu *gpu, const tmb_net_files *files, const tmb_net_options *options, tmb_team *team,
                            tmb_cuda_lm **out, tmb_error *error) {
    *out = NULL;
    tmb_status status = check(files, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_cuda_lm *lm = tmb_calloc(1, sizeof *lm);
    if (lm == NULL) {
        return tmb_fail_memory(error, "the language model", sizeof *lm);
    }
    lm->gpu = gpu;
    lay_out(lm, files, options);
    if ((status = tmb_gpu_stream_create(gpu, false, &lm->stream, error)) != TMB_OK ||
        (status = tmb_gpu_event_create(gpu, &lm->picked, error)) != TMB_OK ||
        (status = tmb_gpu_allocate_pinned(gpu, pinned_bytes(lm), &lm->pinned, error)) != TMB_OK ||
        (status = allocate_buffers(lm, error)) != TMB_OK ||
        (status = load_weights(lm, files, options, team, error)) != TMB_OK ||
        (status = tmb_cuda_record(lm, error)) != TMB_OK) {
        tmb_cuda_lm_destroy(&lm);
        return status;
    }
    *out = lm;
    return TMB_OK;
}

size_t tmb_cuda_lm_bytes(const tmb_cuda_lm *lm) { return lm->bytes; }

void tmb_cuda_lm_destroy(tmb_cuda_lm **lm_address) {
    tmb_cuda_lm *lm = *lm_address;
    *lm_address = NULL;
    if (lm == NULL) {
        return;
    }
    tmb_gpu *gpu = lm->gpu;
    if (lm->stream != NULL) {
        (void)tmb_gpu_synchronize(gpu, lm->stream, NULL);
    }
    for (size_t i = 0; i < TMB_CUDA_BUCKETS; i++) {
        tmb_gpu_graph_destroy(gpu, &lm->frame[i]);
        tmb_gpu_graph_destroy(gpu, &lm->talk[i]);
    }
    tmb_cuda_graphs_forget(gpu, &lm->graph_bytes);
    tmb_gpu_free(gpu, lm->buffers);
    tmb_gpu_free(gpu, lm->arena);
    tmb_gpu_free(gpu, lm->projected);
    tmb_gpu_free_pinned(gpu, lm->pinned);
    tmb_gpu_event_destroy(gpu, &lm->picked);
    tmb_gpu_stream_destroy(gpu, &lm->stream);
    free(lm->talker.layers);
    free(lm->predictor.layers);
    free(lm);
}
