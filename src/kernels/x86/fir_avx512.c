#include "kernels/x86/fir_init.h"

#include "kernels/x86/fir_store.h"

static inline __m256 fold(__m512 sum) {
    const __m256d high = _mm512_extractf64x4_pd(_mm512_castps_pd(sum), 1);
    return _mm256_add_ps(_mm512_castps512_ps256(sum), _mm256_castpd_ps(high));
}

/* As the AVX2 variant with sixteen taps a step; rows are a multiple of eight, so that at most one
 * half step is left. */
static void polyphase_avx512(float *out, size_t count, const float *x, const tmb_fir_bank *bank, size_t phase) {
    const size_t length = bank->length;
    const size_t whole = length & ~(size_t)15;
    for (size_t n = 0; n < count; n += 4) {
        const size_t lanes = count - n < 4 ? count - n : 4;
        const float *window[4];
        const float *taps[4];
        tmb_fir_windows(bank, lanes, &x, &phase, window, taps);
        __m512 wide0 = _mm512_setzero_ps();
        __m512 wide1 = _mm512_setzero_ps();
        __m512 wide2 = _mm512_setzero_ps();
        __m512 wide3 = _mm512_setzero_ps();
        for (size_t k = 0; k < whole; k += 16) {
            wide0 = _mm512_fmadd_ps(_mm512_loadu_ps(taps[0] + k), _mm512_loadu_ps(window[0] + k), wide0);
            wide1 = _mm512_fmadd_ps(_mm512_loadu_ps(taps[1] + k), _mm512_loadu_ps(window[1] + k), wide1);
            wide2 = _mm512_fmadd_ps(_mm512_loadu_ps(taps[2] + k), _mm512_loadu_ps(window[2] + k), wide2);
            wide3 = _mm512_fmadd_ps(_mm512_loadu_ps(taps[3] + k), _mm512_loadu_ps(window[3] + k), wide3);
        }
        __m256 sum0 = fold(wide0);
        __m256 sum1 = fold(wide1);
        __m256 sum2 = fold(wide2);
        __m256 sum3 = fold(wide3);
        if (whole < length) {
            sum0 = _mm256_fmadd_ps(_mm256_loadu_ps(taps[0] + whole), _mm256_loadu_ps(window[0] + whole), sum0);
            sum1 = _mm256_fmadd_ps(_mm256_loadu_ps(taps[1] + whole), _mm256_loadu_ps(window[1] + whole), sum1);
            sum2 = _mm256_fmadd_ps(_mm256_loadu_ps(taps[2] + whole), _mm256_loadu_ps(window[2] + whole), sum2);
            sum3 = _mm256_fmadd_ps(_mm256_loadu_ps(taps[3] + whole), _mm256_loadu_ps(window[3] + whole), sum3);
        }
        tmb_fir_store(out + n, lanes, sum0, sum1, sum2, sum3);
    }
}

void tmb_fir_kernels_init_avx512(tmb_fir_kernels *kernels) { kernels->polyphase = polyphase_avx512; }
