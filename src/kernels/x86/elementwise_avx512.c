#include "kernels/elementwise.h"
#include "kernels/x86/intrinsics.h"

/* The first `count` of 16 lanes. */
static inline __mmask16 lanes(size_t count) { return count < 16 ? (__mmask16)((1u << count) - 1) : (__mmask16)0xffff; }

static inline __m512 power_of_two(__m512 n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}

static inline __m512 clamp(__m512 x, float limit) {
    return _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(limit)), _mm512_set1_ps(-limit));
}

static inline __m512 reduced_expm1(__m512 x, __m512 *n) {
    static const float c[6] = TMB_EXPM1_COEFFICIENTS;
    *n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(TMB_LOG2_INVERSE)), _MM_FROUND_TO_NEAREST_INT);
    __m512 r = _mm512_fnmadd_ps(*n, _mm512_set1_ps(TMB_LOG2_HIGH), x);
    r = _mm512_fnmadd_ps(*n, _mm512_set1_ps(TMB_LOG2_LOW), r);
    __m512 q = _mm512_fmadd_ps(_mm512_set1_ps(c[5]), r, _mm512_set1_ps(c[4]));
    q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(c[3]));
    q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(c[2]));
    q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(c[1]));
    q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(c[0]));
    return _mm512_fmadd_ps(_mm512_mul_ps(q, r), r, r);
}

static inline __m512 sigmoid(__m512 x) {
    const __m512 one = _mm512_set1_ps(1);
    __m512 n;
    const __m512 rest = reduced_expm1(clamp(_mm512_sub_ps(_mm512_setzero_ps(), x), TMB_SIGMOID_LIMIT), &n);
    const __m512 power = power_of_two(n);
    return _mm512_div_ps(one, _mm512_add_ps(one, _mm512_fmadd_ps(power, rest, power)));
}

static inline __m512 hyperbolic_tangent(__m512 x) {
    __m512 n;
    const __m512 limited = clamp(x, TMB_TANH_LIMIT);
    const __m512 rest = reduced_expm1(_mm512_add_ps(limited, limited), &n);
    const __m512 power = power_of_two(n);
    const __m512 e = _mm512_fmadd_ps(power, rest, _mm512_sub_ps(power, _mm512_set1_ps(1)));
    return _mm512_div_ps(e, _mm512_add_ps(e, _mm512_set1_ps(2)));
}

static void sigmoid_avx512(float *x, size_t count) {
    for (size_t i = 0; i < count; i += 16) {
        const __mmask16 mask = lanes(count - i);
        _mm512_mask_storeu_ps(x + i, mask, sigmoid(_mm512_maskz_loadu_ps(mask, x + i)));
    }
}

static void tanh_avx512(float *x, size_t count) {
    for (size_t i = 0; i < count; i += 16) {
        const __mmask16 mask = lanes(count - i);
        _mm512_mask_storeu_ps(x + i, mask, hyperbolic_tangent(_mm512_maskz_loadu_ps(mask, x + i)));
    }
}

static void gru_gates_avx512(float *h, const float *x, const float *r, size_t hidden) {
    for (size_t i = 0; i < hidden; i += 16) {
        const __mmask16 mask = lanes(hidden - i);
        const float *const x_row = x + i;
        const float *const r_row = r + i;
        const __m512 update =
            sigmoid(_mm512_add_ps(_mm512_maskz_loadu_ps(mask, x_row), _mm512_maskz_loadu_ps(mask, r_row)));
        const __m512 reset = sigmoid(
            _mm512_add_ps(_mm512_maskz_loadu_ps(mask, x_row + hidden), _mm512_maskz_loadu_ps(mask, r_row + hidden)));
        const __m512 candidate = hyperbolic_tangent(_mm512_fmadd_ps(
            reset, _mm512_maskz_loadu_ps(mask, r_row + 2 * hidden), _mm512_maskz_loadu_ps(mask, x_row + 2 * hidden)));
        const __m512 old = _mm512_maskz_loadu_ps(mask, h + i);
        _mm512_mask_storeu_ps(h + i, mask, _mm512_fmadd_ps(update, _mm512_sub_ps(old, candidate), candidate));
    }
}

static void scale_relu_add_avx512(float *out, const float *x, const float *scale, const float *bias, const float *add,
                                  size_t rows, size_t channels) {
    for (size_t c = 0; c < channels; c += 16) {
        const __mmask16 mask = lanes(channels - c);
        const __m512 factor = _mm512_maskz_loadu_ps(mask, scale + c);
        const __m512 offset = _mm512_maskz_loadu_ps(mask, bias + c);
        for (size_t i = c; i < rows * channels; i += channels) {
            const __m512 scaled = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, x + i), factor, offset);
            _mm512_mask_storeu_ps(
                out + i, mask,
                _mm512_add_ps(_mm512_max_ps(scaled, _mm512_setzero_ps()), _mm512_maskz_loadu_ps(mask, add + i)));
        }
    }
}

static float dot_avx512(const float *a, const float *b, size_t count) {
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (size_t i = 0, turn = 0; i < count; i += 16, turn ^= 1) {
        const __mmask16 mask = lanes(count - i);
        sum[turn] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, a + i), _mm512_maskz_loadu_ps(mask, b + i), sum[turn]);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(sum[0], sum[1]));
}

void tmb_elementwise_kernels_init_avx512(tmb_elementwise_kernels *kernels) {
    kernels->sigmoid = sigmoid_avx512;
    kernels->tanh = tanh_avx512;
    kernels->gru_gates = gru_gates_avx512;
    kernels->scale_relu_add = scale_relu_add_avx512;
    kernels->dot = dot_avx512;
}
