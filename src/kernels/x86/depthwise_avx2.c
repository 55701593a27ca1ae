#include "kernels/depthwise.h"
#include "kernels/x86/intrinsics.h"

enum { BLOCK = 64 }; /* channels at a time, eight registers of sums */

static inline __m256i lanes(size_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count < 8 ? (int)count : 8), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline void block(const tmb_depthwise *job, size_t o, size_t channel) {
    __m256 sum[BLOCK / 8] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                             _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    for (size_t k = 0; k < job->taps; k++) {
        size_t row = 0;
        if (!tmb_depthwise_row(job, job->first + o, k, &row)) {
            continue;
        }
        const float *in = job->in + row * job->channels + channel;
        const float *weights = job->weights + k * job->channels + channel;
        for (int i = 0; i < BLOCK / 8; i++) {
            sum[i] = _mm256_fmadd_ps(_mm256_loadu_ps(in + 8 * i), _mm256_loadu_ps(weights + 8 * i), sum[i]);
        }
    }
    for (int i = 0; i < BLOCK / 8; i++) {
        _mm256_storeu_ps(job->out + o * job->channels + channel + 8 * i, sum[i]);
    }
}

static inline void tail(const tmb_depthwise *job, size_t o, size_t channel) {
    const __m256i mask = lanes(job->channels - channel);
    __m256 sum = _mm256_setzero_ps();
    for (size_t k = 0; k < job->taps; k++) {
        size_t row = 0;
        if (tmb_depthwise_row(job, job->first + o, k, &row)) {
            sum = _mm256_fmadd_ps(_mm256_maskload_ps(job->in + row * job->channels + channel, mask),
                                  _mm256_maskload_ps(job->weights + k * job->channels + channel, mask), sum);
        }
    }
    _mm256_maskstore_ps(job->out + o * job->channels + channel, mask, sum);
}

static void convolve_avx2(const tmb_depthwise *job) {
    for (size_t o = 0; o < job->count; o++) {
        size_t channel = 0;
        for (; channel + BLOCK <= job->channels; channel += BLOCK) {
            block(job, o, channel);
        }
        for (; channel < job->channels; channel += 8) {
            tail(job, o, channel);
        }
    }
}

void tmb_depthwise_kernels_init_avx2(tmb_depthwise_kernels *kernels) { kernels->convolve = convolve_avx2; }
