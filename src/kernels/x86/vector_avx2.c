#include "kernels/x86/vector_init.h"

#include "kernels/forms/unroll.h"
#include "kernels/x86/intrinsics.h"

#include <math.h>
#include <stdbool.h>

TMB_INLINE float sum_of(__m256 v) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

static void rms_norm(const float *x, const float *weight, float epsilon, size_t n, float *out) {
    __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        TMB_UNROLL
        for (int j = 0; j < 4; j++) {
            __m256 v = _mm256_loadu_ps(x + i + 8 * j);
            sums[j] = _mm256_fmadd_ps(v, v, sums[j]);
        }
    }
    float sum = sum_of(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
    for (; i < n; i++) {
        sum += x[i] * x[i];
    }
    float scale = 1.0f / sqrtf(sum / (float)n + epsilon);
    __m256 factor = _mm256_set1_ps(scale);
    for (i = 0; i + 8 <= n; i += 8) {
        __m256 normal = _mm256_mul_ps(_mm256_loadu_ps(x + i), factor);
        _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_loadu_ps(weight + i), normal));
    }
    for (; i < n; i++) {
        out[i] = weight[i] * (x[i] * scale);
    }
}

static void rotate(float *x, const float *cosine, const float *sine, size_t half) {
    size_t i = 0;
    for (; i + 8 <= half; i += 8) {
        __m256 a = _mm256_loadu_ps(x + i);
        __m256 b = _mm256_loadu_ps(x + half + i);
        __m256 c = _mm256_loadu_ps(cosine + i);
        __m256 s = _mm256_loadu_ps(sine + i);
        _mm256_storeu_ps(x + i, _mm256_sub_ps(_mm256_mul_ps(a, c), _mm256_mul_ps(b, s)));
        _mm256_storeu_ps(x + half + i, _mm256_add_ps(_mm256_mul_ps(b, c), _mm256_mul_ps(a, s)));
    }
    for (; i < half; i++) {
        float a = x[i];
        float b = x[i + half];
        x[i] = a * cosine[i] - b * sine[i];
        x[i + half] = b * cosine[i] + a * sine[i];
    }
}

/* 8 elements of a key or value. */
TMB_INLINE __m256 load8(const void *from, size_t index, bool half) {
    if (half) {
        const uint16_t *values = (const uint16_t *)from + index;
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)values));
    }
    return _mm256_loadu_ps((const float *)from + index);
}

/* Scores of `positions` (constant: 4, 2 or 1) neighbours for `heads` (constant: 1 or 2) queries. */
TMB_INLINE void scores_tile(const float *query, size_t size, const void *keys, size_t first, float scale, float *scores,
                            size_t stride, int heads, int positions, bool half) {
    __m256 sums[2][4];
    TMB_UNROLL
    for (int h = 0; h < heads; h++) {
        TMB_UNROLL
        for (int p = 0; p < positions; p++) {
            sums[h][p] = _mm256_setzero_ps();
        }
    }
    for (size_t d = 0; d < size; d += 8) {
        __m256 q[2];
        TMB_UNROLL
        for (int h = 0; h < heads; h++) {
            q[h] = _mm256_loadu_ps(query + (size_t)h * size + d);
        }
        TMB_UNROLL
        for (int p = 0; p < positions; p++) {
            __m256 key = load8(keys, (first + (size_t)p) * size + d, half);
            TMB_UNROLL
            for (int h = 0; h < heads; h++) {
                sums[h][p] = _mm256_fmadd_ps(q[h], key, sums[h][p]);
            }
        }
    }
    TMB_UNROLL
    for (int h = 0; h < heads; h++) {
        float *to = scores + (size_t)h * stride + first;
        if (positions == 4) {
            __m256 pairs =
                _mm256_hadd_ps(_mm256_hadd_ps(sums[h][0], sums[h][1]), _mm256_hadd_ps(sums[h][2], sums[h][3]));
            __m128 four = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
            _mm_storeu_ps(to, _mm_mul_ps(four, _mm_set1_ps(scale)));
        } else {
            __m256 pairs = _mm256_hadd_ps(sums[h][0], sums[h][0]);
            pairs = _mm256_hadd_ps(pairs, pairs);
            __m128 one = _mm_add_ss(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
            to[0] = _mm_cvtss_f32(one) * scale;
        }
    }
}

TMB_INLINE void scores_any(const float *query, size_t heads, size_t size, const void *keys, size_t count, float scale,
                           float *scores, size_t stride, bool half) {
    size_t h = 0;
    for (; h + 2 <= heads; h += 2) {
        size_t p = 0;
        for (; p + 4 <= count; p += 4) {
            scores_tile(query + h * size, size, keys, p, scale, scores + h * stride, stride, 2, 4, half);
        }
        for (; p < count; p++) {
            scores_tile(query + h * size, size, keys, p, scale, scores + h * stride, stride, 2, 1, half);
        }
    }
    if (h < heads) {
        size_t p = 0;
        for (; p + 4 <= count; p += 4) {
            scores_tile(query + h * size, size, keys, p, scale, scores + h * stride, stride, 1, 4, half);
        }
        for (; p < count; p++) {
            scores_tile(query + h * size, size, keys, p, scale, scores + h * stride, stride, 1, 1, half);
        }
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

/* `width` (constant, 16 or 32) elements of the output of `heads` (constant: 1 or 2) queries. */
TMB_INLINE void mix_tile(const float *scores, size_t stride, size_t size, const void *values, size_t count, float *out,
                         size_t d, int heads, int width, bool half) {
    __m256 sums[2][4];
    TMB_UNROLL
    for (int h = 0; h < heads; h++) {
        TMB_UNROLL
        for (int j = 0; j < width / 8; j++) {
            sums[h][j] = _mm256_loadu_ps(out + (size_t)h * size + d + (size_t)j * 8);
        }
    }
    for (size_t p = 0; p < count; p++) {
        __m256 weight[2];
        TMB_UNROLL
        for (int h = 0; h < heads; h++) {
            weight[h] = _mm256_broadcast_ss(scores + (size_t)h * stride + p);
        }
        TMB_UNROLL
        for (int j = 0; j < width / 8; j++) {
            __m256 value = load8(values, p * size + d + (size_t)j * 8, half);
            TMB_UNROLL
            for (int h = 0; h < heads; h++) {
                sums[h][j] = _mm256_fmadd_ps(weight[h], value, sums[h][j]);
            }
        }
    }
    TMB_UNROLL
    for (int h = 0; h < heads; h++) {
        TMB_UNROLL
        for (int j = 0; j < width / 8; j++) {
            _mm256_storeu_ps(out + (size_t)h * size + d + (size_t)j * 8, sums[h][j]);
        }
    }
}

TMB_INLINE void mix_any(const float *scores, size_t stride, size_t heads, size_t size, const void *values, size_t count,
                        float *out, bool half) {
    size_t h = 0;
    for (; h + 2 <= heads; h += 2) {
        size_t d = 0;
        for (; d + 32 <= size; d += 32) {
            mix_tile(scores + h * stride, stride, size, values, count, out + h * size, d, 2, 32, half);
        }
        if (d < size) {
            mix_tile(scores + h * stride, stride, size, values, count, out + h * size, d, 2, 16, half);
        }
    }
    if (h < heads) {
        size_t d = 0;
        for (; d + 32 <= size; d += 32) {
            mix_tile(scores + h * stride, stride, size, values, count, out + h * size, d, 1, 32, half);
        }
        if (d < size) {
            mix_tile(scores + h * stride, stride, size, values, count, out + h * size, d, 1, 16, half);
        }
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

static void to_f16(const float *x, size_t n, uint16_t *out) {
    const __m256 largest = _mm256_set1_ps(65504.0f);
    const __m256 smallest = _mm256_set1_ps(-65504.0f);
    for (size_t i = 0; i < n; i += 8) {
        /* If one is NaN, both instructions take the second operand. */
        __m256 value = _mm256_max_ps(smallest, _mm256_min_ps(largest, _mm256_loadu_ps(x + i)));
        __m128i half = _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm_storeu_si128((__m128i *)(void *)(out + i), half);
    }
}

void tmb_vector_kernels_init_avx2(tmb_vector_kernels *kernels) {
    *kernels = (tmb_vector_kernels){rms_norm, rotate, scores_f32, scores_f16, mix_f32, mix_f16, to_f16};
}
