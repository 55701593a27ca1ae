#include "tts/qwen3/cpu/lm/lm_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "cpu/cpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tokens that go through the projection together. */
#define BLOCK 32

typedef struct product {
    const tmb_matmul *kernels;
    const tmb_matrix *weights;
    const void *rows;
    size_t row_stride, count;
    float *out;
    size_t out_stride;
} product;

static void product_part(void *argument, int part, int parts) {
    const product *p = argument;
    size_t first = tmb_team_begin(p->weights->panels, 1, part, parts);
    size_t end = tmb_team_begin(p->weights->panels, 1, part + 1, parts);
    if (first < end) {
        p->kernels->multiply(p->weights, first, end, p->rows, p->row_stride, p->count, p->out, p->out_stride);
    }
}

/* out [count, padded rows] = x [count, stride] W^T + bias, for the first weights->rows of each row. */
static void project(tmb_team *team, const tmb_matrix *weights, const float *bias, const float *x, size_t stride,
                    size_t count, uint8_t *prepared, float *out) {
    tmb_matmul_kernels kernels;
    tmb_matmul_kernels_init(&kernels, tmb_cpu_flags());
    product p = {.kernels = tmb_matmul_choose(&kernels, weights->type, false),
                 .weights = weights,
                 .rows = prepared,
                 .count = count,
                 .out = out,
                 .out_stride = tmb_matrix_padded_rows(weights)};
    p.row_stride = p.kernels->row_bytes(weights->columns);
    for (size_t i = 0; i < count; i++) {
        p.kernels->prepare(x + i * stride, weights->columns, prepared + i * p.row_stride);
    }
    tmb_team_run(team, product_part, &p);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < weights->rows; k++) {
            out[i * p.out_stride + k] += bias[k];
        }
    }
}

tmb_status tmb_lm_embed_text(const tmb_lm *lm, tmb_team *team, const int32_t *ids, size_t count, float *out,
                             tmb_error *error) {
    const tmb_matrix *first = &tmb_lm_entry(lm, lm->plan.entries.text1)->matrix;
    const tmb_matrix *second = &tmb_lm_entry(lm, lm->plan.entries.text2)->matrix;
    size_t text = lm->talker_config.text_hidden_size;
    size_t hidden = lm->talker_config.transformer.hidden_size;
    size_t wide = tmb_lm_round16(text > hidden ? text : hidden);
    float *x = tmb_alloc_aligned(BLOCK * wide, sizeof *x);
    float *y = tmb_alloc_aligned(BLOCK * wide, sizeof *y);
    uint8_t *prepared = tmb_alloc_aligned(BLOCK, wide * sizeof(float) + 64);
    tmb_status status = TMB_OK;
    if (x == NULL || y == NULL || prepared == NULL) {
        status = tmb_fail_memory(error, "text embeddings", 2 * BLOCK * wide * sizeof *x);
    }
    for (size_t begin = 0; begin < count && status == TMB_OK; begin += BLOCK) {
        size_t here = count - begin < BLOCK ? count - begin : BLOCK;
        for (size_t i = 0; i < here && status == TMB_OK; i++) {
            int32_t id = ids[begin + i];
            if (id < 0 || (size_t)id >= lm->talker_config.text_vocab_size) {
                status = tmb_fail(error, TMB_ERROR_ARGUMENT, "the model has no text token %d", (int)id);
            } else {
                status = tmb_tensor_read_f32(lm->plan.text_embedding, (size_t)id * text, text, x + i * wide, error);
            }
        }
        if (status != TMB_OK) {
            break;
        }
        project(team, first, tmb_lm_vector(lm, lm->plan.entries.text1_bias), x, wide, here, prepared, y);
        size_t stride = tmb_matrix_padded_rows(first);
        for (size_t i = 0; i < here; i++) {
            for (size_t k = 0; k < text; k++) {
                float v = y[i * stride + k];
                x[i * wide + k] = v / (1.0f + expf(-v));
            }
        }
        project(team, second, tmb_lm_vector(lm, lm->plan.entries.text2_bias), x, wide, here, prepared, y);
        stride = tmb_matrix_padded_rows(second);
        for (size_t i = 0; i < here; i++) {
            memcpy(out + (begin + i) * hidden, y + i * stride, hidden * sizeof *out);
        }
    }
    free(x);
    free(y);
    free(prepared);
    return status;
}

void tmb_lm_embed_codec(const tmb_lm *lm, int32_t id, float *out) {
    tmb_pack_table_row(tmb_lm_entry(lm, lm->plan.entries.codec_embedding),
                       tmb_lm_data(lm, lm->plan.entries.codec_embedding), (size_t)id, out);
}

void tmb_lm_embed_frame(const tmb_lm *lm, const int16_t *codes, float *out) {
    tmb_lm_embed_codec(lm, codes[0], out);
    for (size_t k = 1; k < lm->talker_config.code_groups; k++) {
        size_t entry = lm->plan.entries.books + k - 1;
        tmb_pack_table_add(tmb_lm_entry(lm, entry), tmb_lm_data(lm, entry), (size_t)codes[k], out);
    }
}
