#include "kernels/depthwise.h"
#include "kernels/x86/intrinsics.h"

enum { BLOCK = 64 }; /* channels at a time, four registers of sums */

static inline void block(const tmb_depthwise *job, size_t o, size_t channel) {
    __m512 sum[BLOCK / 16] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    for (size_t k = 0; k < job->taps; k++) {
        size_t row = 0;
        if (!tmb_depthwise_row(job, job->first + o, k, &row)) {
            continue;
        }
        const float *in = job->in + row * job->channels + channel;
        const float *weights = job->weights + k * job->channels + channel;
        for (int i = 0; i < BLOCK / 16; i++) {
            sum[i] = _mm512_fmadd_ps(_mm512_loadu_ps(in + 16 * i), _mm512_loadu_ps(weights + 16 * i), sum[i]);
        }
    }
    for (int i = 0; i < BLOCK / 16; i++) {
        _mm512_storeu_ps(job->out + o * job->channels + channel + 16 * i, sum[i]);
    }
}

static inline void tail(const tmb_depthwise *job, size_t o, size_t channel) {
    const size_t left = job->channels - channel;
    const __mmask16 mask = left < 16 ? (__mmask16)((1u << left) - 1) : (__mmask16)0xffff;
    __m512 sum = _mm512_setzero_ps();
    for (size_t k = 0; k < job->taps; k++) {
        size_t row = 0;
        if (tmb_depthwise_row(job, job->first + o, k, &row)) {
            sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, job->in + row * job->channels + channel),
                                  _mm512_maskz_loadu_ps(mask, job->weights + k * job->channels + channel), sum);
        }
    }
    _mm512_mask_storeu_ps(job->out + o * job->channels + channel, mask, sum);
}

static void convolve_avx512(const tmb_depthwise *job) {
    for (size_t o = 0; o < job->count; o++) {
        size_t channel = 0;
        for (; channel + BLOCK <= job->channels; channel += BLOCK) {
            block(job, o, channel);
        }
        for (; channel < job->channels; channel += 16) {
            tail(job, o, channel);
        }
    }
}

void tmb_depthwise_kernels_init_avx512(tmb_depthwise_kernels *kernels) { kernels->convolve = convolve_avx512; }
