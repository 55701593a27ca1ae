#include "kernels/x86/fft_init.h"

#include "kernels/forms/unroll.h"
#include "kernels/x86/intrinsics.h"

#include <string.h>

#define FFT_V __m256
#define FFT_ADD _mm256_add_ps
#define FFT_SUB _mm256_sub_ps
#define FFT_MUL _mm256_mul_ps
#define FFT_MULADD _mm256_fmadd_ps
#define FFT_MULSUB _mm256_fnmadd_ps
#define FFT_SET _mm256_set1_ps
#include "kernels/forms/fft_butterfly.h"

/* s a multiple of 8: lanes are q. */
static inline __attribute__((always_inline)) void
pass_wide(const tmb_fft_pass *pass, const float *x_re, const float *x_im, float *y_re, float *y_im, const int radix) {
    const size_t m = pass->m;
    const size_t s = pass->s;
    for (size_t p = 0; p < m; p++) {
        __m256 w_re[5];
        __m256 w_im[5];
        TMB_UNROLL
        for (int k = 1; k < radix; k++) {
            w_re[k] = _mm256_broadcast_ss(pass->w_re + (size_t)(k - 1) * m + p);
            w_im[k] = _mm256_broadcast_ss(pass->w_im + (size_t)(k - 1) * m + p);
        }
        for (size_t q = 0; q < s; q += 8) {
            fft_complex a[5];
            TMB_UNROLL
            for (int j = 0; j < radix; j++) {
                const size_t from = q + s * (p + m * (size_t)j);
                a[j] = (fft_complex){_mm256_loadu_ps(x_re + from), _mm256_loadu_ps(x_im + from)};
            }
            fft_butterfly(a, radix);
            TMB_UNROLL
            for (int k = 0; k < radix; k++) {
                const size_t to = q + s * ((size_t)radix * p + (size_t)k);
                if (k > 0) {
                    a[k] = fft_multiply(a[k], w_re[k], w_im[k]);
                }
                _mm256_storeu_ps(y_re + to, a[k].re);
                _mm256_storeu_ps(y_im + to, a[k].im);
            }
        }
    }
}

/* s = 4, m even: lanes are q of p and of p + 1. */
static inline __m256 two_values(const float *w) {
    const __m128 pair = _mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(const void *)w));
    return _mm256_set_m128(_mm_shuffle_ps(pair, pair, 0x55), _mm_shuffle_ps(pair, pair, 0));
}

static inline __attribute__((always_inline)) void
pass_four(const tmb_fft_pass *pass, const float *x_re, const float *x_im, float *y_re, float *y_im, const int radix) {
    const size_t m = pass->m;
    for (size_t p = 0; p < m; p += 2) {
        fft_complex a[5];
        TMB_UNROLL
        for (int j = 0; j < radix; j++) {
            const size_t from = 4 * (p + m * (size_t)j);
            a[j] = (fft_complex){_mm256_loadu_ps(x_re + from), _mm256_loadu_ps(x_im + from)};
        }
        fft_butterfly(a, radix);
        TMB_UNROLL
        for (int k = 0; k < radix; k++) {
            if (k > 0) {
                const size_t w = (size_t)(k - 1) * m + p;
                a[k] = fft_multiply(a[k], two_values(pass->w_re + w), two_values(pass->w_im + w));
            }
            const size_t to = 4 * ((size_t)radix * p + (size_t)k);
            const size_t next = to + 4 * (size_t)radix;
            _mm_storeu_ps(y_re + to, _mm256_castps256_ps128(a[k].re));
            _mm_storeu_ps(y_im + to, _mm256_castps256_ps128(a[k].im));
            _mm_storeu_ps(y_re + next, _mm256_extractf128_ps(a[k].re, 1));
            _mm_storeu_ps(y_im + next, _mm256_extractf128_ps(a[k].im, 1));
        }
    }
}

/* y[4 i + k] = a_k[i] */
static inline void store_interleaved(float *y, __m256 a0, __m256 a1, __m256 a2, __m256 a3) {
    const __m256 low01 = _mm256_unpacklo_ps(a0, a1);
    const __m256 high01 = _mm256_unpackhi_ps(a0, a1);
    const __m256 low23 = _mm256_unpacklo_ps(a2, a3);
    const __m256 high23 = _mm256_unpackhi_ps(a2, a3);
    const __m256 i0 = _mm256_shuffle_ps(low01, low23, 0x44); /* elements 0 | 4 */
    const __m256 i1 = _mm256_shuffle_ps(low01, low23, 0xee); /* 1 | 5 */
    const __m256 i2 = _mm256_shuffle_ps(high01, high23, 0x44);
    const __m256 i3 = _mm256_shuffle_ps(high01, high23, 0xee);
    _mm256_storeu_ps(y, _mm256_permute2f128_ps(i0, i1, 0x20));
    _mm256_storeu_ps(y + 8, _mm256_permute2f128_ps(i2, i3, 0x20));
    _mm256_storeu_ps(y + 16, _mm256_permute2f128_ps(i0, i1, 0x31));
    _mm256_storeu_ps(y + 24, _mm256_permute2f128_ps(i2, i3, 0x31));
}

/* The first pass, s = 1, of radix 4 with m a multiple of 8: lanes are p. */
static void pass4_first_avx2(const tmb_fft_pass *pass, const float *x_re, const float *x_im, float *y_re, float *y_im) {
    const size_t m = pass->m;
    for (size_t p = 0; p < m; p += 8) {
        fft_complex a[5];
        TMB_UNROLL
        for (int j = 0; j < 4; j++) {
            const size_t from = p + m * (size_t)j;
            a[j] = (fft_complex){_mm256_loadu_ps(x_re + from), _mm256_loadu_ps(x_im + from)};
        }
        fft_butterfly(a, 4);
        TMB_UNROLL
        for (int k = 1; k < 4; k++) {
            const size_t w = (size_t)(k - 1) * m + p;
            a[k] = fft_multiply(a[k], _mm256_loadu_ps(pass->w_re + w), _mm256_loadu_ps(pass->w_im + w));
        }
        store_interleaved(y_re + 4 * p, a[0].re, a[1].re, a[2].re, a[3].re);
        store_interleaved(y_im + 4 * p, a[0].im, a[1].im, a[2].im, a[3].im);
    }
}

#define PASS(radix)                                                                                                    \
    static void pass##radix##_wide_avx2(const tmb_fft_pass *pass, const float *x_re, const float *x_im, float *y_re,   \
                                        float *y_im) {                                                                 \
        pass_wide(pass, x_re, x_im, y_re, y_im, radix);                                                                \
    }                                                                                                                  \
    static void pass##radix##_four_avx2(const tmb_fft_pass *pass, const float *x_re, const float *x_im, float *y_re,   \
                                        float *y_im) {                                                                 \
        pass_four(pass, x_re, x_im, y_re, y_im, radix);                                                                \
    }
PASS(2)
PASS(3)
PASS(4)
PASS(5)

void tmb_fft_kernels_init_avx2(tmb_fft_kernels *kernels) {
    static const tmb_fft_pass_function wide[] = {pass2_wide_avx2, pass3_wide_avx2, pass4_wide_avx2, pass5_wide_avx2};
    static const tmb_fft_pass_function four[] = {pass2_four_avx2, pass3_four_avx2, pass4_four_avx2, pass5_four_avx2};
    memcpy(kernels->pass[TMB_FFT_WIDE], wide, sizeof wide);
    memcpy(kernels->pass[TMB_FFT_FOUR], four, sizeof four);
    kernels->pass[TMB_FFT_FIRST][4 - 2] = pass4_first_avx2;
}
