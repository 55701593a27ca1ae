#include "kernels/elementwise.h"
#include "kernels/x86/intrinsics.h"

/* The first `count` of 8 lanes. */
static inline __m256i lanes(size_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count < 8 ? (int)count : 8), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline __m256 power_of_two(__m256 n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}

static inline __m256 clamp(__m256 x, float limit) {
    return _mm256_max_ps(_mm256_min_ps(x, _mm256_set1_ps(limit)), _mm256_set1_ps(-limit));
}

static inline __m256 reduced_expm1(__m256 x, __m256 *n) {
    static const float c[6] = TMB_EXPM1_COEFFICIENTS;
    *n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(TMB_LOG2_INVERSE)),
                         _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(*n, _mm256_set1_ps(TMB_LOG2_HIGH), x);
    r = _mm256_fnmadd_ps(*n, _mm256_set1_ps(TMB_LOG2_LOW), r);
    __m256 q = _mm256_fmadd_ps(_mm256_set1_ps(c[5]), r, _mm256_set1_ps(c[4]));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(c[3]));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(c[2]));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(c[1]));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(c[0]));
    return _mm256_fmadd_ps(_mm256_mul_ps(q, r), r, r);
}

static inline __m256 sigmoid(__m256 x) {
    const __m256 one = _mm256_set1_ps(1);
    __m256 n;
    const __m256 rest = reduced_expm1(clamp(_mm256_sub_ps(_mm256_setzero_ps(), x), TMB_SIGMOID_LIMIT), &n);
    const __m256 power = power_of_two(n);
    return _mm256_div_ps(one, _mm256_add_ps(one, _mm256_fmadd_ps(power, rest, power)));
}

static inline __m256 hyperbolic_tangent(__m256 x) {
    __m256 n;
    const __m256 limited = clamp(x, TMB_TANH_LIMIT);
    const __m256 rest = reduced_expm1(_mm256_add_ps(limited, limited), &n);
    const __m256 power = power_of_two(n);
    const __m256 e = _mm256_fmadd_ps(power, rest, _mm256_sub_ps(power, _mm256_set1_ps(1)));
    return _mm256_div_ps(e, _mm256_add_ps(e, _mm256_set1_ps(2)));
}

static void sigmoid_avx2(float *x, size_t count) {
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        _mm256_storeu_ps(x + i, sigmoid(_mm256_loadu_ps(x + i)));
    }
    if (i < count) {
        const __m256i mask = lanes(count - i);
        _mm256_maskstore_ps(x + i, mask, sigmoid(_mm256_maskload_ps(x + i, mask)));
    }
}

static void tanh_avx2(float *x, size_t count) {
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        _mm256_storeu_ps(x + i, hyperbolic_tangent(_mm256_loadu_ps(x + i)));
    }
    if (i < count) {
        const __m256i mask = lanes(count - i);
        _mm256_maskstore_ps(x + i, mask, hyperbolic_tangent(_mm256_maskload_ps(x + i, mask)));
    }
}

static inline __m256 gates(__m256 h, const float *x, const float *r, size_t hidden, __m256i mask) {
    const __m256 update = sigmoid(_mm256_add_ps(_mm256_maskload_ps(x, mask), _mm256_maskload_ps(r, mask)));
    const __m256 reset =
        sigmoid(_mm256_add_ps(_mm256_maskload_ps(x + hidden, mask), _mm256_maskload_ps(r + hidden, mask)));
    const __m256 candidate = hyperbolic_tangent(
        _mm256_fmadd_ps(reset, _mm256_maskload_ps(r + 2 * hidden, mask), _mm256_maskload_ps(x + 2 * hidden, mask)));
    return _mm256_fmadd_ps(update, _mm256_sub_ps(h, candidate), candidate);
}

static void gru_gates_avx2(float *h, const float *x, const float *r, size_t hidden) {
    const __m256i all = _mm256_set1_epi32(-1);
    size_t i = 0;
    for (; i + 8 <= hidden; i += 8) {
        _mm256_storeu_ps(h + i, gates(_mm256_loadu_ps(h + i), x + i, r + i, hidden, all));
    }
    if (i < hidden) {
        const __m256i mask = lanes(hidden - i);
        _mm256_maskstore_ps(h + i, mask, gates(_mm256_maskload_ps(h + i, mask), x + i, r + i, hidden, mask));
    }
}

static void scale_relu_add_avx2(float *out, const float *x, const float *scale, const float *bias, const float *add,
                                size_t rows, size_t channels) {
    for (size_t c = 0; c < channels; c += 8) {
        const __m256i mask = lanes(channels - c);
        const __m256 factor = _mm256_maskload_ps(scale + c, mask);
        const __m256 offset = _mm256_maskload_ps(bias + c, mask);
        if (channels - c >= 8) {
            for (size_t i = c; i < rows * channels; i += channels) {
                const __m256 scaled = _mm256_fmadd_ps(_mm256_loadu_ps(x + i), factor, offset);
                _mm256_storeu_ps(out + i,
                                 _mm256_add_ps(_mm256_max_ps(scaled, _mm256_setzero_ps()), _mm256_loadu_ps(add + i)));
            }
        } else {
            for (size_t i = c; i < rows * channels; i += channels) {
                const __m256 scaled = _mm256_fmadd_ps(_mm256_maskload_ps(x + i, mask), factor, offset);
                _mm256_maskstore_ps(
                    out + i, mask,
                    _mm256_add_ps(_mm256_max_ps(scaled, _mm256_setzero_ps()), _mm256_maskload_ps(add + i, mask)));
            }
        }
    }
}

static float dot_avx2(const float *a, const float *b, size_t count) {
    __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        sum[0] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), sum[0]);
        sum[1] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), sum[1]);
        sum[2] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16), sum[2]);
        sum[3] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24), sum[3]);
    }
    for (; i < count; i += 8) {
        const __m256i mask = lanes(count - i);
        sum[0] = _mm256_fmadd_ps(_mm256_maskload_ps(a + i, mask), _mm256_maskload_ps(b + i, mask), sum[0]);
    }
    const __m256 all = _mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3]));
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

void tmb_elementwise_kernels_init_avx2(tmb_elementwise_kernels *kernels) {
    kernels->sigmoid = sigmoid_avx2;
    kernels->tanh = tanh_avx2;
    kernels->gru_gates = gru_gates_avx2;
    kernels->scale_relu_add = scale_relu_add_avx2;
    kernels->dot = dot_avx2;
}
