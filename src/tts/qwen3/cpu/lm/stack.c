#include "tts/qwen3/cpu/lm/stack.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "cpu/cpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* From this many rows on, norms and the like are worth a run of the team. */
#define ROWS_TO_SHARE 8

struct tmb_lm_workspace {
    tmb_team *team;
    size_t rows;
    size_t bytes;
    uint8_t *prepared; /* [rows, prepared_stride]: vectors as a matrix product wants them */
    size_t prepared_stride;
    float *normal; /* [threads' parts, widest]: a row's norm */
    size_t normal_stride;
    float *qkv; /* [rows, qkv_stride] */
    size_t qkv_stride;
    float *attended; /* [rows, attended_stride] */
    size_t attended_stride;
    float *gate_up; /* [rows, gate_up_stride] */
    size_t gate_up_stride;
    float *hidden; /* [rows, hidden_stride]: after SwiGLU */
    size_t hidden_stride;
    tmb_matmul_kernels matmul;
    float *product; /* [rows, product_stride]: what is added to x */
    size_t product_stride;
    float *cosine, *sine; /* [rows, angle_stride] */
    size_t angle_stride;
    float *scores; /* [parts, scores_stride] */
    size_t scores_stride;
    int most_parts;
};

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

static size_t widest_row(const tmb_lm_stack *stack) {
    tmb_matmul_kernels kernels;
    tmb_matmul_kernels_init(&kernels, tmb_cpu_flags());
    size_t bytes = 0;
    const tmb_lm_layer *layer = &stack->layers[0];
    const tmb_matrix *matrices[] = {&layer->qkv, &layer->output, &layer->gate_up, &layer->down};
    for (size_t i = 0; i < 4; i++) {
        const tmb_matmul *chosen = tmb_matmul_choose(&kernels, matrices[i]->type, stack->bf16_dot);
        bytes = most(bytes, chosen->row_bytes(matrices[i]->columns));
    }
    /* Heads and projections may be of another type than the layers: the widest form is floats. */
    return most(bytes, (matrices[0]->columns + 16) * sizeof(float));
}

static bool take(void *address, size_t count, size_t size, size_t *total) {
    size_t bytes = 0;
    void *memory = tmb_alloc_aligned(count, size);
    if (memory == NULL || !tmb_mul_size(count, size, &bytes)) {
        free(memory);
        return false;
    }
    *total += bytes;
    memcpy(address, &memory, sizeof memory);
    return true;
}

tmb_status tmb_lm_workspace_create(const tmb_lm_stack *const *stacks, size_t stack_count, size_t rows, tmb_team *team,
                                   tmb_lm_workspace **out, tmb_error *error) {
    *out = NULL;
    tmb_lm_workspace *w = tmb_calloc(1, sizeof *w);
    if (w == NULL) {
        return tmb_fail_memory(error, "the language model's buffers", sizeof *w);
    }
    tmb_matmul_kernels_init(&w->matmul, tmb_cpu_flags());
    w->team = team;
    w->rows = rows;
    w->most_parts = 4 * tmb_team_threads(team);
    size_t head_sizes = 0;
    for (size_t i = 0; i < stack_count; i++) {
        const tmb_qwen3_transformer_config *config = &stacks[i]->config;
        const tmb_lm_layer *layer = &stacks[i]->layers[0];
        w->prepared_stride = most(w->prepared_stride, widest_row(stacks[i]));
        w->normal_stride = most(w->normal_stride, config->hidden_size);
        w->qkv_stride = most(w->qkv_stride, tmb_matrix_padded_rows(&layer->qkv));
        w->attended_stride = most(w->attended_stride, config->attention_heads * config->head_dim);
        w->gate_up_stride = most(w->gate_up_stride, tmb_matrix_padded_rows(&layer->gate_up));
        w->product_stride = most(w->product_stride, tmb_matrix_padded_rows(&layer->down));
        w->angle_stride = most(w->angle_stride, config->head_dim / 2);
        w->scores_stride =
            most(w->scores_stride, config->attention_heads / config->key_value_heads * (config->max_positions + 8));
        head_sizes = most(head_sizes, config->head_dim);
    }
    w->hidden_stride = w->gate_up_stride / 2;
    w->normal_stride = (w->normal_stride + 15) / 16 * 16;
    size_t parts = (size_t)w->most_parts;
    if (!take(&w->prepared, rows * w->prepared_stride, 1, &w->bytes) ||
        !take(&w->normal, parts * w->normal_stride, 4, &w->bytes) ||
        !take(&w->qkv, rows * w->qkv_stride, 4, &w->bytes) ||
        !take(&w->attended, rows * w->attended_stride, 4, &w->bytes) ||
        !take(&w->gate_up, rows * w->gate_up_stride, 4, &w->bytes) ||
        !take(&w->hidden, rows * w->hidden_stride, 4, &w->bytes) ||
        !take(&w->product, rows * w->product_stride, 4, &w->bytes) ||
        !take(&w->cosine, rows * w->angle_stride, 4, &w->bytes) ||
        !take(&w->sine, rows * w->angle_stride, 4, &w->bytes) ||
        !take(&w->scores, parts * w->scores_stride, 4, &w->bytes)) {
        tmb_lm_workspace_destroy(&w);
        return tmb_fail_memory(error, "the language model's buffers", 0);
    }
    *out = w;
    return TMB_OK;
}

void tmb_lm_workspace_destroy(tmb_lm_workspace **workspace) {
    tmb_lm_workspace *w = *workspace;
    *workspace = NULL;
    if (w != NULL) {
        void *buffers[] = {w->prepared, w->normal,  w->qkv,    w->attended, w->gate_up,
                           w->hidden,   w->product, w->cosine, w->sine,     w->scores};
        for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
            free(buffers[i]);
        }
        free(w);
    }
}

size_t tmb_lm_workspace_bytes(const tmb_lm_workspace *workspace) { return workspace->bytes; }

/* What one region of a forward pass works on. */
typedef struct region {
    const tmb_lm_stack *stack;
    tmb_lm_workspace *workspace;
    const tmb_lm_layer *layer;
    size_t layer_index;
    const tmb_lm_run *runs;
    size_t run_count, rows;
    float *x;
    size_t stride;
    /* preparing */
    const tmb_matmul *kernels;
    const float *norm; /* NULL: rows are prepared as they are */
    const float *from;
    size_t from_stride, columns;
    /* multiplying */
    const tmb_matrix *weights;
    float *to;
    size_t to_stride, unit;
    void (*after)(const struct region *region, size_t first, size_t end); /* with panels [first, end) of the product */
    const float *bias;
} region;

static void prepare_part(void *argument, int part, int parts) {
    const region *r = argument;
    tmb_lm_workspace *w = r->workspace;
    size_t end = tmb_team_begin(r->rows, 1, part + 1, parts);
    for (size_t i = tmb_team_begin(r->rows, 1, part, parts); i < end; i++) {
        const float *row = r->from + i * r->from_stride;
        if (r->norm != NULL) {
            float *normal = w->normal + (size_t)part * w->normal_stride;
            r->stack->vector.rms_norm(row, r->norm, (float)r->stack->config.rms_norm_eps, r->columns, normal);
            row = normal;
        }
        r->kernels->prepare(row, r->columns, w->prepared + i * w->prepared_stride);
    }
}

/* Rows in the form that `weights` wants, after a norm if one is given. */
static void prepare(region *r, const tmb_matrix *weights, bool bf16_dot, const float *norm, const float *from,
                    size_t from_stride) {
    r->kernels = tmb_matmul_choose(&r->workspace->matmul, weights->type, bf16_dot);
    r->norm = norm;
    r->from = from;
    r->from_stride = from_stride;
    r->columns = weights->columns;
    r->weights = weights;
    if (r->rows < ROWS_TO_SHARE) {
        prepare_part(r, 0, 1);
    } else {
        tmb_team_run(r->workspace->team, prepare_part, r);
    }
}

static void multiply_part(void *argument, int part, int parts) {
    const region *r = argument;
    const tmb_lm_workspace *w = r->workspace;
    size_t first = tmb_team_begin(r->weights->panels, r->unit, part, parts);
    size_t end = tmb_team_begin(r->weights->panels, r->unit, part + 1, parts);
    if (first < end) {
        r->kernels->multiply(r->weights, first, end, w->prepared, w->prepared_stride, r->rows, r->to, r->to_stride);
        if (r->after != NULL) {
            r->after(r, first, end);
        }
    }
}

/* The prepared rows times the matrix; `unit` panels stay together. */
static void multiply(region *r, float *to, size_t to_stride, size_t unit,
                     void (*after)(const region *region, size_t first, size_t end)) {
    r->to = to;
    r->to_stride = to_stride;
    r->unit = unit;
    r->after = after;
    int threads = tmb_team_threads(r->workspace->team);
    /* A part must be worth its beginning: 8 panels are some 5 microseconds. */
    size_t parts = r->weights->panels / 8;
    parts = parts < (size_t)threads ? (size_t)threads : parts > 2 * (size_t)threads ? 2 * (size_t)threads : parts;
    tmb_team_run_parts(r->workspace->team, (int)parts, multiply_part, r);
}

static void after_add(const region *r, size_t first, size_t end) {
    size_t begin = first * TMB_PANEL_ROWS;
    size_t stop = end * TMB_PANEL_ROWS < r->weights->rows ? end * TMB_PANEL_ROWS : r->weights->rows;
    for (size_t i = 0; i < r->rows; i++) {
        float *x = r->x + i * r->stride;
        const float *product = r->to + i * r->to_stride;
        for (size_t k = begin; k < stop; k++) {
            x[k] += product[k];
        }
    }
}

static void after_gate(const region *r, size_t first, size_t end) {
    tmb_lm_workspace *w = r->workspace;
    for (size_t i = 0; i < r->rows; i++) {
        for (size_t panel = first; panel + 1 < end; panel += 2) {
            const float *gate = r->to + i * r->to_stride + panel * TMB_PANEL_ROWS;
            r->stack->activation.silu_multiply(gate, gate + TMB_PANEL_ROWS,
                                               w->hidden + i * w->hidden_stride + panel / 2 * TMB_PANEL_ROWS,
                                               TMB_PANEL_ROWS);
        }
    }
}

static void after_bias(const region *r, size_t first, size_t end) {
    size_t begin = first * TMB_PANEL_ROWS;
    size_t stop = end * TMB_PANEL_ROWS < r->weights->rows ? end * TMB_PANEL_ROWS : r->weights->rows;
    for (size_t i = 0; i < r->rows; i++) {
        float *product = r->to + i * r->to_stride;
        for (size_t k = begin; k < stop; k++) {
            product[k] += r->bias[k];
        }
    }
}

/* Norm, rotation and place in the cache of one key and its value. */
static void store_key_value(const region *r, const tmb_kv *kv, size_t head, size_t position, float *key,
                            const float *value, const float *cosine, const float *sine) {
    const tmb_lm_stack *stack = r->stack;
    size_t size = stack->config.head_dim;
    stack->vector.rms_norm(key, r->layer->key_norm, (float)stack->config.rms_norm_eps, size, key);
    stack->vector.rotate(key, cosine, sine, size / 2);
    uint8_t *page = kv->pages[position / kv->shape.page_positions];
    size_t slot = position % kv->shape.page_positions * size;
    uint8_t *keys = page + tmb_kv_offset(&kv->shape, r->layer_index, 0, head);
    uint8_t *values = page + tmb_kv_offset(&kv->shape, r->layer_index, 1, head);
    if (kv->shape.half) {
        stack->vector.to_f16(key, size, (uint16_t *)(void *)keys + slot);
        stack->vector.to_f16(value, size, (uint16_t *)(void *)values + slot);
    } else {
        memcpy((float *)(void *)keys + slot, key, size * sizeof(float));
        memcpy((float *)(void *)values + slot, value, size * sizeof(float));
    }
}

/* The queries of one group at `position`, over every position up to it. */
static void attend(const region *r, const tmb_kv *kv, size_t head, size_t position, const float *query, float *scores,
                   float *out) {
    const tmb_lm_stack *stack = r->stack;
    size_t size = stack->config.head_dim;
    size_t group = stack->config.attention_heads / stack->config.key_value_heads;
    size_t count = position + 1;
    size_t per_page = kv->shape.page_positions;
    size_t stride = (count + 7) / 8 * 8;
    float scale = 1.0f / sqrtf((float)size);
    for (size_t begin = 0; begin < count; begin += per_page) {
        size_t here = count - begin < per_page ? count - begin : per_page;
        const uint8_t *keys = kv->pages[begin / per_page] + tmb_kv_offset(&kv->shape, r->layer_index, 0, head);
        if (kv->shape.half) {
            stack->vector.scores_f16(query, group, size, (const uint16_t *)(const void *)keys, here, scale,
                                     scores + begin, stride);
        } else {
            stack->vector.scores_f32(query, group, size, (const float *)(const void *)keys, here, scale, scores + begin,
                                     stride);
        }
    }
    memset(out, 0, group * size * sizeof *out);
    for (size_t g = 0; g < group; g++) {
        stack->activation.softmax(scores + g * stride, count);
    }
    for (size_t begin = 0; begin < count; begin += per_page) {
        size_t here = count - begin < per_page ? count - begin : per_page;
        const uint8_t *values = kv->pages[begin / per_page] + tmb_kv_offset(&kv->shape, r->layer_index, 1, head);
        if (kv->shape.half) {
            stack->vector.mix_f16(scores + begin, stride, group, size, (const uint16_t *)(const void *)values, here,
                                  out);
        } else {
            stack->vector.mix_f32(scores + begin, stride, group, size, (const float *)(const void *)values, here, out);
        }
    }
}

/* A unit is one key-value head of one run: its rows see each other, so one thread does them in order. */
static void attention_part(void *argument, int part, int parts) {
    const region *r = argument;
    tmb_lm_workspace *w = r->workspace;
    const tmb_qwen3_transformer_config *config = &r->stack->config;
    size_t size = config->head_dim;
    size_t group = config->attention_heads / config->key_value_heads;
    size_t keys_begin = config->attention_heads * size;
    size_t values_begin = keys_begin + config->key_value_heads * size;
    size_t units = r->run_count * config->key_value_heads;
    size_t end = tmb_team_begin(units, 1, part + 1, parts);
    size_t run = 0, run_row = 0;
    for (size_t unit = tmb_team_begin(units, 1, part, parts); unit < end; unit++) {
        for (; run < unit / config->key_value_heads; run++) {
            run_row += r->runs[run].count;
        }
        size_t head = unit % config->key_value_heads;
        const tmb_kv *kv = r->runs[run].kv;
        for (size_t i = 0; i < r->runs[run].count; i++) {
            size_t row = run_row + i;
            float *qkv = w->qkv + row * w->qkv_stride;
            const float *cosine = w->cosine + row * w->angle_stride;
            const float *sine = w->sine + row * w->angle_stride;
            size_t position = r->runs[run].first + i;
            store_key_value(r, kv, head, position, qkv + keys_begin + head * size, qkv + values_begin + head * size,
                            cosine, sine);
            float *query = qkv + head * group * size;
            for (size_t g = 0; g < group; g++) {
                r->stack->vector.rms_norm(query + g * size, r->layer->query_norm, (float)config->rms_norm_eps, size,
                                          query + g * size);
                r->stack->vector.rotate(query + g * size, cosine, sine, size / 2);
            }
            attend(r, kv, head, position, query, w->scores + (size_t)part * w->scores_stride,
                   w->attended + row * w->attended_stride + head * group * size);
        }
    }
}

/* Angles as the official code computes them: a product of floats, its cosine and sine in float. */
static void set_angles(const region *r) {
    tmb_lm_workspace *w = r->workspace;
    size_t half = r->stack->config.head_dim / 2;
    size_t row = 0;
    for (size_t run = 0; run < r->run_count; run++) {
        for (size_t i = 0; i < r->runs[run].count; i++, row++) {
            for (size_t k = 0; k < half; k++) {
                float angle = (float)(r->runs[run].first + i) * r->stack->frequencies[k];
                w->cosine[row * w->angle_stride + k] = cosf(angle);
                w->sine[row * w->angle_stride + k] = sinf(angle);
            }
        }
    }
}

void tmb_lm_stack_forward(const tmb_lm_stack *stack, tmb_lm_workspace *workspace, const tmb_lm_run *runs,
                          size_t run_count, float *x, size_t stride) {
    tmb_lm_workspace *w = workspace;
    region r = {.stack = stack, .workspace = w, .runs = runs, .run_count = run_count, .x = x, .stride = stride};
    for (size_t i = 0; i < run_count; i++) {
        r.rows += runs[i].count;
    }
    set_angles(&r);
    size_t units = run_count * stack->config.key_value_heads;
    int attention_parts = units < (size_t)w->most_parts ? (int)units : w->most_parts;
    if (attention_parts > tmb_team_threads(w->team)) {
        attention_parts = tmb_team_threads(w->team) == 1 ? 1 : attention_parts;
    }
    for (size_t layer = 0; layer < stack->config.layers; layer++) {
        r.layer = &stack->layers[layer];
        r.layer_index = layer;
        prepare(&r, &r.layer->qkv, stack->bf16_dot, r.layer->attention_norm, x, stride);
        multiply(&r, w->qkv, w->qkv_stride, 1, NULL);
        tmb_team_run_parts(w->team, attention_parts, attention_part, &r);
        prepare(&r, &r.layer->output, stack->bf16_dot, NULL, w->attended, w->attended_stride);
        multiply(&r, w->product, w->product_stride, 1, after_add);
        prepare(&r, &r.layer->gate_up, stack->bf16_dot, r.layer->mlp_norm, x, stride);
        multiply(&r, w->gate_up, w->gate_up_stride, 2, after_gate);
        prepare(&r, &r.layer->down, stack->bf16_dot, NULL, w->hidden, w->hidden_stride);
        multiply(&r, w->product, w->product_stride, 1, after_add);
    }
}

void tmb_lm_multiply(tmb_lm_workspace *workspace, const tmb_matrix *weights, bool bf16_dot, const float *bias,
                     const float *x, size_t x_stride, size_t count, float *out, size_t out_stride) {
    region r = {.workspace = workspace, .rows = count, .bias = bias};
    prepare(&r, weights, bf16_dot, NULL, x, x_stride);
    multiply(&r, out, out_stride, 1, bias == NULL ? NULL : after_bias);
}
