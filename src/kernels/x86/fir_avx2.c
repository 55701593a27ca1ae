#include "kernels/x86/fir_init.h"

#include "kernels/x86/fir_store.h"

/* Four outputs at a time: four independent chains, and one reduction for all of them. The last run
 * repeats its last window in the unused places. */
static void polyphase_avx2(float *out, size_t count, const float *x, const tmb_fir_bank *bank, size_t phase) {
    const size_t length = bank->length;
    for (size_t n = 0; n < count; n += 4) {
        const size_t lanes = count - n < 4 ? count - n : 4;
        const float *window[4];
        const float *taps[4];
        tmb_fir_windows(bank, lanes, &x, &phase, window, taps);
        __m256 sum0 = _mm256_setzero_ps();
        __m256 sum1 = _mm256_setzero_ps();
        __m256 sum2 = _mm256_setzero_ps();
        __m256 sum3 = _mm256_setzero_ps();
        for (size_t k = 0; k < length; k += 8) {
            sum0 = _mm256_fmadd_ps(_mm256_loadu_ps(taps[0] + k), _mm256_loadu_ps(window[0] + k), sum0);
            sum1 = _mm256_fmadd_ps(_mm256_loadu_ps(taps[1] + k), _mm256_loadu_ps(window[1] + k), sum1);
            sum2 = _mm256_fmadd_ps(_mm256_loadu_ps(taps[2] + k), _mm256_loadu_ps(window[2] + k), sum2);
            sum3 = _mm256_fmadd_ps(_mm256_loadu_ps(taps[3] + k), _mm256_loadu_ps(window[3] + k), sum3);
        }
        tmb_fir_store(out + n, lanes, sum0, sum1, sum2, sum3);
    }
}

void tmb_fir_kernels_init_avx2(tmb_fir_kernels *kernels) { kernels->polyphase = polyphase_avx2; }
