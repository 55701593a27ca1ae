#include "kernels/generic/init.h"

#include "kernels/forms/lanes_generic.h"
#include "kernels/forms/unroll.h"

#include <string.h>

#define FFT_V vec
#define FFT_ADD v_add
#define FFT_SUB v_sub
#define FFT_MUL v_mul
#define FFT_MULADD v_fma
#define FFT_MULSUB v_fnma
#define FFT_SET v_set
#include "kernels/forms/fft_butterfly.h"

/* s a multiple of 4: lanes are q. */
TMB_INLINE void pass_wide(const tmb_fft_pass *pass, const float *x_re, const float *x_im, float *y_re, float *y_im,
                          const int radix) {
    const size_t m = pass->m;
    const size_t s = pass->s;
    for (size_t p = 0; p < m; p++) {
        for (size_t q = 0; q < s; q += LANES) {
            fft_complex a[5];
            TMB_UNROLL
            for (int j = 0; j < radix; j++) {
                const size_t from = q + s * (p + m * (size_t)j);
                a[j] = (fft_complex){v_load(x_re + from), v_load(x_im + from)};
            }
            fft_butterfly(a, radix);
            TMB_UNROLL
            for (int k = 0; k < radix; k++) {
                const size_t to = q + s * ((size_t)radix * p + (size_t)k);
                if (k > 0) {
                    const size_t w = (size_t)(k - 1) * m + p;
                    a[k] = fft_multiply(a[k], v_set(pass->w_re[w]), v_set(pass->w_im[w]));
                }
                v_store(y_re + to, a[k].re);
                v_store(y_im + to, a[k].im);
            }
        }
    }
}

/* y[4 i + k] = a_k[i] */
TMB_INLINE void store_interleaved(float *y, vec a0, vec a1, vec a2, vec a3) {
    for (size_t i = 0; i < LANES; i++) {
        v_store(y + 4 * i, (vec){a0[i], a1[i], a2[i], a3[i]});
    }
}

/* The first pass, s = 1, of radix 4: lanes are p. */
static void pass4_first(const tmb_fft_pass *pass, const float *x_re, const float *x_im, float *y_re, float *y_im) {
    const size_t m = pass->m;
    for (size_t p = 0; p < m; p += LANES) {
        fft_complex a[5];
        TMB_UNROLL
        for (int j = 0; j < 4; j++) {
            const size_t from = p + m * (size_t)j;
            a[j] = (fft_complex){v_load(x_re + from), v_load(x_im + from)};
        }
        fft_butterfly(a, 4);
        TMB_UNROLL
        for (int k = 1; k < 4; k++) {
            const size_t w = (size_t)(k - 1) * m + p;
            a[k] = fft_multiply(a[k], v_load(pass->w_re + w), v_load(pass->w_im + w));
        }
        store_interleaved(y_re + 4 * p, a[0].re, a[1].re, a[2].re, a[3].re);
        store_interleaved(y_im + 4 * p, a[0].im, a[1].im, a[2].im, a[3].im);
    }
}

#define PASS(radix)                                                                                                    \
    static void pass##radix##_wide(const tmb_fft_pass *pass, const float *x_re, const float *x_im, float *y_re,        \
                                   float *y_im) {                                                                      \
        pass_wide(pass, x_re, x_im, y_re, y_im, radix);                                                                \
    }
PASS(2)
PASS(3)
PASS(4)
PASS(5)

void tmb_fft_kernels_init_generic(tmb_fft_kernels *kernels) {
    static const tmb_fft_pass_function wide[] = {pass2_wide, pass3_wide, pass4_wide, pass5_wide};
    memcpy(kernels->pass[TMB_FFT_WIDE], wide, sizeof wide);
    memcpy(kernels->pass[TMB_FFT_FOUR], wide, sizeof wide);
    kernels->pass[TMB_FFT_FIRST][4 - 2] = pass4_first;
}
