/* The bookkeeping that the variants of fir.h share. */
#ifndef TMB_KERNELS_X86_FIR_WINDOWS_H
#define TMB_KERNELS_X86_FIR_WINDOWS_H

#include "kernels/fir.h"
#include "kernels/x86/intrinsics.h"

/* The windows of the next four outputs and their rows of taps. Where only `lanes` are left, the last
 * one is repeated. Moves *x and *phase behind them. */
static inline void tmb_fir_windows(const tmb_fir_bank *bank, size_t lanes, const float **x, size_t *phase,
                                   const float *windows[4], const float *taps[4]) {
    for (size_t i = 0; i < 4; i++) {
        if (i >= lanes) {
            windows[i] = windows[i - 1];
            taps[i] = taps[i - 1];
            continue;
        }
        windows[i] = *x;
        taps[i] = bank->taps + *phase * bank->length;
        *x += bank->advance;
        *phase += bank->phase_step;
        if (*phase >= bank->phases) {
            *phase -= bank->phases;
            *x += 1;
        }
    }
}

/* One reduction for the sums of the four, of which `lanes` are stored. */
static inline void tmb_fir_store(float *out, size_t lanes, __m256 sum0, __m256 sum1, __m256 sum2, __m256 sum3) {
    const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(sum0, sum1), _mm256_hadd_ps(sum2, sum3));
    const __m128 sums = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
    if (lanes == 4) {
        _mm_storeu_ps(out, sums);
    } else {
        float last[4];
        _mm_storeu_ps(last, sums);
        for (size_t i = 0; i < lanes; i++) {
            out[i] = last[i];
        }
    }
}

#endif
