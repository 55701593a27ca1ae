#include "tts/qwen3/cpu/codec/transformer_internal.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "cpu/cpu.h"
#include "tts/qwen3/cpu/layers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tmb_codec_transformer_buffers {
    size_t rows, keys;
    int threads;
    float *normed;    /* [rows, hidden] */
    float *projected; /* [rows, heads * d + 2 * key_value_heads * d] */
    float *attended;  /* [rows, heads * d] */
    float *mlp;       /* [rows, intermediate or twice that] */
    float *gated;     /* [rows, intermediate], gated kind */
    float *branch;    /* [rows, hidden] */
    float *angles;    /* [rows, 2, head_dim / 2]: cosines, sines */
    float *scores;    /* [threads, keys] */
};

static size_t projected_width(const tmb_codec_transformer_config *c) {
    return (c->heads + 2 * c->key_value_heads) * c->head_dim;
}
static size_t mlp_width(const tmb_codec_transformer_config *c) {
    return c->gated ? 2 * c->intermediate : c->intermediate;
}

/* ---- loading ---- */

static tmb_status load_layer(const tmb_codec_transformer_config *config, const tmb_safetensors *weights,
                             const char *prefix, tmb_codec_layer *out, tmb_error *error) {
    size_t hidden = config->hidden;
    size_t d = config->head_dim;
    struct {
        float **vector;
        const char *name;
        bool wanted;
    } vectors[] = {
        {&out->attention_norm, "input_layernorm.weight", true},
        {&out->attention_norm_bias, "input_layernorm.bias", !config->gated},
        {&out->mlp_norm, "post_attention_layernorm.weight", true},
        {&out->mlp_norm_bias, "post_attention_layernorm.bias", !config->gated},
        {&out->attention_scale, "self_attn_layer_scale.scale", true},
        {&out->mlp_scale, "mlp_layer_scale.scale", true},
    };
    tmb_status status = TMB_OK;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0] && status == TMB_OK; i++) {
        if (vectors[i].wanted) {
            status = tmb_layer_vector(weights, hidden, vectors[i].vector, error, "%s%s", prefix, vectors[i].name);
        }
    }
    static const char *const projections[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
    const size_t widths[] = {config->heads * d, config->key_value_heads * d, config->key_value_heads * d};
    if (status == TMB_OK) {
        status = tmb_layer_joined(&out->query_key_value, weights, config->type, prefix, projections, widths, 3, hidden,
                                  error);
    }
    if (status == TMB_OK) {
        status = tmb_layer_linear(&out->output, weights, config->type, config->heads * d, hidden, false, error,
                                  "%sself_attn.o_proj", prefix);
    }
    static const char *const gate_up[] = {"mlp.gate_proj", "mlp.up_proj"};
    static const char *const fc1[] = {"mlp.fc1"};
    const size_t halves[] = {config->intermediate, config->intermediate};
    if (status == TMB_OK) {
        status = tmb_layer_joined(&out->mlp_in, weights, config->type, prefix, config->gated ? gate_up : fc1, halves,
                                  config->gated ? 2 : 1, hidden, error);
    }
    if (status == TMB_OK) {
        status = tmb_layer_linear(&out->mlp_out, weights, config->type, config->intermediate, hidden, false, error,
                                  "%s%s", prefix, config->gated ? "mlp.down_proj" : "mlp.fc2");
    }
    return status;
}

tmb_status tmb_codec_transformer_load(const tmb_codec_transformer_config *config, const tmb_safetensors *weights,
                                      const char *prefix, tmb_codec_transformer **out, tmb_error *error) {
    *out = NULL;
    tmb_codec_transformer *transformer = tmb_calloc(1, sizeof *transformer + config->layers * sizeof(tmb_codec_layer));
    if (transformer == NULL) {
        return tmb_fail_memory(error, "the codec's transformer", 0);
    }
    transformer->config = *config;
    tmb_activation_kernels_init(&transformer->activation, tmb_cpu_flags());
    size_t half = config->head_dim / 2;
    transformer->frequencies = tmb_calloc(half, sizeof *transformer->frequencies);
    tmb_status status =
        transformer->frequencies != NULL ? TMB_OK : tmb_fail_memory(error, "the codec's transformer", 0);
    for (size_t i = 0; status == TMB_OK && i < half; i++) {
        /* The official ones are f32. */
        transformer->frequencies[i] = (double)(float)pow(config->theta, -2.0 * (double)i / (double)config->head_dim);
    }
    for (size_t i = 0; status == TMB_OK && i < config->layers; i++) {
        char name[TMB_LAYER_NAME_MAX];
        (void)snprintf(name, sizeof name, "%slayers.%zu.", prefix, i);
        status = load_layer(config, weights, name, &transformer->layers[i], error);
    }
    if (status != TMB_OK) {
        tmb_codec_transformer_destroy(&transformer);
        return status;
    }
    *out = transformer;
    return TMB_OK;
}

void tmb_codec_transformer_destroy(tmb_codec_transformer **address) {
    tmb_codec_transformer *transformer = *address;
    *address = NULL;
    if (transformer == NULL) {
        return;
    }
    for (size_t i = 0; i < transformer->config.layers; i++) {
        tmb_codec_layer *l = &transformer->layers[i];
        free(l->attention_norm);
        free(l->attention_norm_bias);
        free(l->mlp_norm);
        free(l->mlp_norm_bias);
        free(l->attention_scale);
        free(l->mlp_scale);
        tmb_conv_free(&l->query_key_value);
        tmb_conv_free(&l->output);
        tmb_conv_free(&l->mlp_in);
        tmb_conv_free(&l->mlp_out);
    }
    free(transformer->frequencies);
    free(transformer);
}

size_t tmb_codec_transformer_bytes(const tmb_codec_transformer_config *config) {
    const size_t parts[] = {tmb_conv_bytes(config->type, 1, config->hidden, projected_width(config)),
                            tmb_conv_bytes(config->type, 1, config->heads * config->head_dim, config->hidden),
                            tmb_conv_bytes(config->type, 1, config->hidden, mlp_width(config)),
                            tmb_conv_bytes(config->type, 1, config->intermediate, config->hidden),
                            6 * config->hidden * sizeof(float)};
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (!tmb_add_size(bytes, parts[i], &bytes)) {
            return SIZE_MAX;
        }
    }
    return tmb_mul_size(bytes, config->layers, &bytes) ? bytes : SIZE_MAX;
}

size_t tmb_codec_transformer_scratch_bytes(const tmb_codec_transformer *transformer) {
    const tmb_codec_layer *l = &transformer->layers[0];
    const tmb_conv *convs[] = {&l->query_key_value, &l->output, &l->mlp_in, &l->mlp_out};
    size_t most = 0;
    for (size_t i = 0; i < sizeof convs / sizeof convs[0]; i++) {
        size_t bytes = tmb_conv_scratch_bytes(convs[i]);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* ---- keys and values ---- */

size_t tmb_codec_cache_size(const tmb_codec_transformer_config *config, size_t capacity) {
    return config->layers * 2 * config->key_value_heads * capacity * config->head_dim;
}

/* Keys (which = 0) or values (1) of a layer and head. */
static float *cached(const tmb_codec_transformer_config *config, const tmb_codec_rows *stream, size_t index,
                     size_t which, size_t head) {
    return stream->cache + ((index * 2 + which) * config->key_value_heads + head) * stream->capacity * config->head_dim;
}

size_t tmb_codec_cache_room(const tmb_codec_transformer_config *config, float *cache, size_t capacity, size_t filled,
                            size_t rows) {
    if (filled + rows <= capacity || config->window == 0) {
        return filled;
    }
    size_t kept = config->window - 1 < filled ? config->window - 1 : filled;
    size_t stretches = config->layers * 2 * config->key_value_heads;
    for (size_t i = 0; i < stretches; i++) {
        float *rows_of_head = cache + i * capacity * config->head_dim;
        memmove(rows_of_head, rows_of_head + (filled - kept) * config->head_dim,
                kept * config->head_dim * sizeof(float));
    }
    return kept;
}

/* ---- buffers ---- */

size_t tmb_codec_transformer_buffers_bytes(const tmb_codec_transformer_config *config, size_t rows, size_t keys,
                                           int threads) {
    size_t row = 2 * config->hidden + projected_width(config) + config->heads * config->head_dim + mlp_width(config) +
                 (config->gated ? config->intermediate : 0) + config->head_dim;
    size_t bytes = 0;
    size_t scores = 0;
    if (!tmb_mul_size(row, rows, &bytes) || !tmb_mul_size(keys, (size_t)threads, &scores) ||
        !tmb_add_size(bytes, scores, &bytes) || !tmb_mul_size(bytes, sizeof(float), &bytes)) {
        return SIZE_MAX;
    }
    return bytes;
}

tmb_status tmb_codec_transformer_buffers_create(const tmb_codec_transformer *transformer, size_t rows, size_t keys,
                                                int threads, tmb_codec_transformer_buffers **out, tmb_error *error) {
    *out = NULL;
    const tmb_codec_transformer_config *config = &transformer->config;
    size_t bytes = tmb_codec_transformer_buffers_bytes(config, rows, keys, threads);
    tmb_codec_transformer_buffers *buffers = bytes == SIZE_MAX ? NULL : tmb_calloc(1, sizeof *buffers);
    if (buffers == NULL) {
        return tmb_fail_memory(error, "the codec's transformer", bytes);
    }
    buffers->rows = rows;
    buffers->keys = keys;
    buffers->threads = threads;
    struct {
        float **buffer;
        size_t size;
    } wanted[] = {
        {&buffers->normed, config->hidden * rows},
        {&buffers->projected, projected_width(config) * rows},
        {&buffers->attended, config->heads * config->head_dim * rows},
        {&buffers->mlp, mlp_width(config) * rows},
        {&buffers->gated, config->gated ? config->intermediate * rows : 0},
        {&buffers->branch, config->hidden * rows},
        {&buffers->angles, config->head_dim * rows},
        {&buffers->scores, keys * (size_t)threads},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        *wanted[i].buffer = tmb_alloc_aligned(wanted[i].size, sizeof(float));
        if (*wanted[i].buffer == NULL) {
            tmb_codec_transformer_buffers_destroy(&buffers);
            return tmb_fail_memory(error, "the codec's transformer", bytes);
        }
    }
    *out = buffers;
    return TMB_OK;
}

void tmb_codec_transformer_buffers_destroy(tmb_codec_transformer_buffers **address) {
    tmb_codec_transformer_buffers *buffers = *address;
    *address = NULL;
    if (buffers == NULL) {
        return;
    }
    free(buffers->normed);
    free(buffers->projected);
    free(buffers->attended);
    free(buffers->mlp);
    free(buffers->gated);
    free(buffers->branch);
    free(buffers->angles);
    free(buffers->scores);
    free(buffers);
}

/* ---- forward ---- */

typedef struct pass {
    const tmb_codec_transformer *transformer;
    tmb_codec_transformer_buffers *buffers;
    const tmb_codec_layer *layer;
    size_t index; /* of the layer */
    float *x;
    const tmb_codec_rows *streams;
    size_t count, rows;
    const float *norm, *norm_bias; /* of the branch that is being computed */
    const float *scale;
    tmb_team *team;
    void *scratch;
} pass;

static void norm_rows(void *argument, int part, int parts) {
    const pass *p = argument;
    const tmb_codec_transformer_config *config = &p->transformer->config;
    size_t hidden = config->hidden;
    size_t end = tmb_team_begin(p->rows, 1, part + 1, parts);
    for (size_t row = tmb_team_begin(p->rows, 1, part, parts); row < end; row++) {
        const float *x = p->x + row * hidden;
        float *y = p->buffers->normed + row * hidden;
        if (p->norm_bias != NULL) {
            tmb_codec_layer_norm(x, p->norm, p->norm_bias, config->eps, y, hidden);
        } else {
            tmb_codec_rms_norm(x, p->norm, config->eps, y, hidden);
        }
    }
}

/* x += scale * branch, for the tile that was just computed. */
static void add_branch(void *argument, const tmb_conv_tile *tile) {
    const pass *p = argument;
    size_t hidden = p->transformer->config.hidden;
    for (size_t r = 0; r < tile->rows; r++) {
        float *x = p->x + (tile->row + r) * hidden + tile->column;
        const float *branch = tile->output + r * tile->pitch;
        const float *scale = p->scale + tile->column;
        for (size_t c = 0; c < tile->columns; c++) {
            x[c] += scale[c] * branch[c];
        }
    }
}

static void gelu_tile(void *argument, const tmb_conv_tile *tile) {
    const pass *p = argument;
    p->transformer->activation.gelu(tile->output, tile->pitch, tile->output, tile->pitch, tile->rows, tile->columns);
}

/* Which stream a row belongs to, and its number there. */
static size_t stream_of(const pass *p, size_t row, size_t *within) {
    size_t stream = 0;
    while (row >= p->streams[stream].rows) {
        row -= p->streams[stream].rows;
        stream++;
    }
    *within = row;
    return stream;
}

static void rotate(float *x, const float *cosines, const float *sines, size_t half) {
    for (size_t i = 0; i < half; i++) {
        float low = x[i];
        float high = x[i + half];
        x[i] = low * cosines[i] - high * sines[i];
        x[i + half] = high * cosines[i] + low * sines[i];
    }
}

/* Turns queries and keys by their positions, and puts keys and values into the caches. */
static void rotate_rows(void *argument, int part, int parts) {
    const pass *p = argument;
    const tmb_codec_transformer_config *config = &p->transformer->config;
    size_t d = config->head_dim;
    size_t half = d / 2;
    size_t end = tmb_team_begin(p->rows, 1, part + 1, parts);
    for (size_t row = tmb_team_begin(p->rows, 1, part, parts); row < end; row++) {
        size_t within = 0;
        const tmb_codec_rows *stream = &p->streams[stream_of(p, row, &within)];
        const float *cosines = p->buffers->angles + row * d;
        const float *sines = cosines + half;
        float *query = p->buffers->projected + row * projected_width(config);
        float *key = query + config->heads * d;
        const float *value = key + config->key_value_heads * d;
        for (size_t head = 0; head < config->heads; head++) {
            rotate(query + head * d, cosines, sines, half);
        }
        for (size_t head = 0; head < config->key_value_heads; head++) {
            size_t at = (stream->filled + within) * d;
            rotate(key + head * d, cosines, sines, half);
            memcpy(cached(config, stream, p->index, 0, head) + at, key + head * d, d * sizeof(float));
            memcpy(cached(config, stream, p->index, 1, head) + at, value + head * d, d * sizeof(float));
        }
    }
}

static void attend_rows(void *argument, int part, int parts) {
    const pass *p = argument;
    const tmb_codec_transformer_config *config = &p->transformer->config;
    size_t d = config->head_dim;
    size_t group = config->heads / config->key_value_heads;
    float scale = (float)(1 / sqrt((double)d));
    float *scores = p->buffers->scores + (size_t)part * p->buffers->keys;
    size_t end = tmb_team_begin(p->rows * config->heads, 1, part + 1, parts);
    for (size_t i = tmb_team_begin(p->rows * config->heads, 1, part, parts); i < end; i++) {
        /* A head after the other: its keys stay in the cache for the rows that see them. */
        size_t head = i / p->rows;
        size_t row = i % p->rows;
        size_t within = 0;
        const tmb_codec_rows *stream = &p->streams[stream_of(p, row, &within)];
        size_t last = stream->filled + within + 1;
        size_t first = config->window != 0 && last > config->window ? last - config->window : 0;
        p->transformer->activation.attend(p->buffers->projected + row * projected_width(config) + head * d,
                                          cached(config, stream, p->index, 0, head / group) + first * d,
                                          cached(config, stream, p->index, 1, head / group) + first * d, last - first,
                                          d, scale, scores, p->buffers->attended + (row * config->heads + head) * d);
    }
}

static void gate_rows(void *argument, int part, int parts) {
    const pass *p = argument;
    size_t width = p->transformer->config.intermediate;
    size_t end = tmb_team_begin(p->rows, 1, part + 1, parts);
    for (size_t row = tmb_team_begin(p->rows, 1, part, parts); row < end; row++) {
        const float *gate = p->buffers->mlp + row * 2 * width;
        p->transformer->activation.silu_multiply(gate, gate + width, p->buffers->gated + row * width, width);
    }
}

static void compute_angles(const pass *p) {
    size_t half = p->transformer->config.head_dim / 2;
    float *out = p->buffers->angles;
    for (size_t s = 0; s < p->count; s++) {
        for (size_t row = 0; row < p->streams[s].rows; row++, out += 2 * half) {
            double position = (double)(p->streams[s].position + row);
            for (size_t i = 0; i < half; i++) {
                double angle = position * p->transformer->frequencies[i];
                out[i] = (float)cos(angle);
                out[half + i] = (float)sin(angle);
            }
        }
    }
}

static void apply(pass *p, const tmb_conv *conv, const float *in, float *out, tmb_conv_finish finish) {
    tmb_conv_run run = {in, out, p->rows};
    tmb_conv_apply_scratch(conv, &run, 1, conv->out, finish, p, p->team, p->scratch);
}

static void forward_layer(pass *p) {
    tmb_codec_transformer_buffers *b = p->buffers;
    const tmb_codec_layer *l = p->layer;
    p->norm = l->attention_norm;
    p->norm_bias = l->attention_norm_bias;
    p->scale = l->attention_scale;
    tmb_team_run(p->team, norm_rows, p);
    apply(p, &l->query_key_value, b->normed, b->projected, NULL);
    tmb_team_run(p->team, rotate_rows, p);
    tmb_team_run(p->team, attend_rows, p);
    apply(p, &l->output, b->attended, b->branch, add_branch);

    p->norm = l->mlp_norm;
    p->norm_bias = l->mlp_norm_bias;
    p->scale = l->mlp_scale;
    tmb_team_run(p->team, norm_rows, p);
    if (p->transformer->config.gated) {
        apply(p, &l->mlp_in, b->normed, b->mlp, NULL);
        tmb_team_run(p->team, gate_rows, p);
        apply(p, &l->mlp_out, b->gated, b->branch, add_branch);
    } else {
        apply(p, &l->mlp_in, b->normed, b->mlp, gelu_tile);
        apply(p, &l->mlp_out, b->mlp, b->branch, add_branch);
    }
}

void tmb_codec_transformer_forward(const tmb_codec_transformer *transformer, tmb_codec_transformer_buffers *buffers,
                                   float *x, const tmb_codec_rows *streams, size_t count, tmb_team *team,
                                   void *scratch) {
    pass p = {.transformer = transformer,
              .buffers = buffers,
              .x = x,
              .streams = streams,
              .count = count,
              .team = team,
              .scratch = scratch};
    for (size_t i = 0; i < count; i++) {
        p.rows += streams[i].rows;
    }
    compute_angles(&p);
    for (size_t i = 0; i < transformer->config.layers; i++) {
        p.layer = &transformer->layers[i];
        p.index = i;
        forward_layer(&p);
    }
}
