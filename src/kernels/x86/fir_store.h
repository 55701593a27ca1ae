/* What the x86 variants of fir.h share. */
#ifndef TMB_KERNELS_X86_FIR_STORE_H
#define TMB_KERNELS_X86_FIR_STORE_H

#include "kernels/forms/fir_windows.h"
#include "kernels/x86/intrinsics.h"

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
