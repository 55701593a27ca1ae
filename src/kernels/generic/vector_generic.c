#include "kernels/generic/init.h"

#include "kernels/forms/lanes_generic.h"
#include "kernels/forms/unroll.h"

#include <math.h>
#include <stdbool.h>

static void rms_norm(const float *x, const float *weight, float epsilon, size_t n, float *out) {
    vec sums[4] = {{0}};
    size_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        TMB_UNROLL
        for (int j = 0; j < 4; j++) {
            const vec v = v_load(x + i + j * LANES);
            sums[j] += v * v;
        }
    }
    float sum = v_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
    for (; i < n; i++) {
        sum += x[i] * x[i];
    }
    const float scale = 1.0f / sqrtf(sum / (float)n + epsilon);
    for (i = 0; i + LANES <= n; i += LANES) {
        v_store(out + i, v_load(weight + i) * (v_load(x + i) * v_set(scale)));
    }
    for (; i < n; i++) {
        out[i] = weight[i] * (x[i] * scale);
    }
}

static void rotate(float *x, const float *cosine, const float *sine, size_t half) {
    size_t i = 0;
    for (; i + LANES <= half; i += LANES) {
        const vec a = v_load(x + i);
        const vec b = v_load(x + half + i);
        const vec c = v_load(cosine + i);
        const vec s = v_load(sine + i);
        v_store(x + i, a * c - b * s);
        v_store(x + half + i, b * c + a * s);
    }
    for (; i < half; i++) {
        const float a = x[i];
        const float b = x[i + half];
        x[i] = a * cosine[i] - b * sine[i];
        x[i + half] = b * cosine[i] + a * sine[i];
    }
}

/* 4 elements of a key or value. */
TMB_INLINE vec load4(const void *from, size_t index, bool half) {
    return half ? v_from_half((const uint16_t *)from + index) : v_load((const float *)from + index);
}

/* Scores of `positions` (constant: 4 or 1) neighbours for `heads` (constant: 1 or 2) queries. */
TMB_INLINE void scores_tile(const float *query, size_t size, const void *keys, size_t first, float scale, float *scores,
                            size_t stride, int heads, int positions, bool half) {
    vec sums[2][4] = {{{0}}};
    for (size_t d = 0; d < size; d += LANES) {
        TMB_UNROLL
        for (int p = 0; p < positions; p++) {
            const vec key = load4(keys, (first + (size_t)p) * size + d, half);
            TMB_UNROLL
            for (int h = 0; h < heads; h++) {
                sums[h][p] += v_load(query + (size_t)h * size + d) * key;
            }
        }
    }
    TMB_UNROLL
    for (int h = 0; h < heads; h++) {
        TMB_UNROLL
        for (int p = 0; p < positions; p++) {
            scores[(size_t)h * stride + first + (size_t)p] = v_sum(sums[h][p]) * scale;
        }
    }
}

TMB_INLINE void scores_of_heads(const float *query, size_t size, const void *keys, size_t count, float scale,
                                float *scores, size_t stride, int heads, bool half) {
    size_t p = 0;
    for (; p + 4 <= count; p += 4) {
        scores_tile(query, size, keys, p, scale, scores, stride, heads, 4, half);
    }
    for (; p < count; p++) {
        scores_tile(query, size, keys, p, scale, scores, stride, heads, 1, half);
    }
}

TMB_INLINE void scores_any(const float *query, size_t heads, size_t size, const void *keys, size_t count, float scale,
                           float *scores, size_t stride, bool half) {
    size_t h = 0;
    for (; h + 2 <= heads; h += 2) {
        scores_of_heads(query + h * size, size, keys, count, scale, scores + h * stride, stride, 2, half);
    }
    if (h < heads) {
        scores_of_heads(query + h * size, size, keys, count, scale, scores + h * stride, stride, 1, half);
    }
}

static void scores_f32(const float *query, size_t heads, size_t size, const float *keys, size_t count, float scale,
                       float *scores, size_t stride) {
    scores_any(query, heads, size, keys, count, scale, scores, stride, false);
}

static void scores_f16(const float *query, size_t heads, size_t size, const uint16_t *keys, size_t count, float scale,
                       float *scores, size_t stride) {
    scores_any(query, heads, size, keys, count, scale, scores, stride, true);
}

/* TMB_VECTOR_UNIT elements of the output of `heads` (constant: 1 or 2) queries. */
TMB_INLINE void mix_tile(const float *scores, size_t stride, size_t size, const void *values, size_t count, float *out,
                         size_t d, int heads, bool half) {
    enum { PARTS = TMB_VECTOR_UNIT / LANES };
    vec sums[2][PARTS];
    TMB_UNROLL
    for (int h = 0; h < heads; h++) {
        TMB_UNROLL
        for (int j = 0; j < PARTS; j++) {
            sums[h][j] = v_load(out + (size_t)h * size + d + (size_t)j * LANES);
        }
    }
    for (size_t p = 0; p < count; p++) {
        TMB_UNROLL
        for (int j = 0; j < PARTS; j++) {
            const vec value = load4(values, p * size + d + (size_t)j * LANES, half);
            TMB_UNROLL
            for (int h = 0; h < heads; h++) {
                sums[h][j] += v_set(scores[(size_t)h * stride + p]) * value;
            }
        }
    }
    TMB_UNROLL
    for (int h = 0; h < heads; h++) {
        TMB_UNROLL
        for (int j = 0; j < PARTS; j++) {
            v_store(out + (size_t)h * size + d + (size_t)j * LANES, sums[h][j]);
        }
    }
}

TMB_INLINE void mix_any(const float *scores, size_t stride, size_t heads, size_t size, const void *values, size_t count,
                        float *out, bool half) {
    size_t h = 0;
    for (; h + 2 <= heads; h += 2) {
        for (size_t d = 0; d < size; d += TMB_VECTOR_UNIT) {
            mix_tile(scores + h * stride, stride, size, values, count, out + h * size, d, 2, half);
        }
    }
    for (size_t d = 0; h < heads && d < size; d += TMB_VECTOR_UNIT) {
        mix_tile(scores + h * stride, stride, size, values, count, out + h * size, d, 1, half);
    }
}

static void mix_f32(const float *scores, size_t stride, size_t heads, size_t size, const float *values, size_t count,
                    float *out) {
    mix_any(scores, stride, heads, size, values, count, out, false);
}

static void mix_f16(const float *scores, size_t stride, size_t heads, size_t size, const uint16_t *values, size_t count,
                    float *out) {
    mix_any(scores, stride, heads, size, values, count, out, true);
}

void tmb_vector_kernels_init_generic(tmb_vector_kernels *kernels) {
    kernels->rms_norm = rms_norm;
    kernels->rotate = rotate;
    kernels->scores_f32 = scores_f32;
    kernels->scores_f16 = scores_f16;
    kernels->mix_f32 = mix_f32;
    kernels->mix_f16 = mix_f16;
    /* A key and a value a step: plain C's to_f16 does. */
}
