/* The convolution of depthwise.h in the vectors of forms/lanes_generic.h, x86/lanes_avx2.h or x86/lanes_avx512.h. */
#include "kernels/depthwise.h"
#include "kernels/forms/unroll.h"

/* Channels at a time: eight registers of sums, or four wide ones. */
enum { BLOCK = LANES < 8 ? 8 * LANES : 64 };

static inline void block(const tmb_depthwise *job, size_t o, size_t channel) {
    vec sum[BLOCK / LANES];
    TMB_UNROLL
    for (int i = 0; i < BLOCK / LANES; i++) {
        sum[i] = v_set(0.0f);
    }
    for (size_t k = 0; k < job->taps; k++) {
        size_t row = 0;
        if (!tmb_depthwise_row(job, job->first + o, k, &row)) {
            continue;
        }
        const float *in = job->in + row * job->channels + channel;
        const float *weights = job->weights + k * job->channels + channel;
        TMB_UNROLL
        for (int i = 0; i < BLOCK / LANES; i++) {
            sum[i] = v_fma(v_load(in + LANES * i), v_load(weights + LANES * i), sum[i]);
        }
    }
    TMB_UNROLL
    for (int i = 0; i < BLOCK / LANES; i++) {
        v_store(job->out + o * job->channels + channel + LANES * i, sum[i]);
    }
}

static inline void tail(const tmb_depthwise *job, size_t o, size_t channel) {
    const size_t left = job->channels - channel < LANES ? job->channels - channel : LANES;
    vec sum = v_set(0.0f);
    for (size_t k = 0; k < job->taps; k++) {
        size_t row = 0;
        if (tmb_depthwise_row(job, job->first + o, k, &row)) {
            sum = v_fma(v_load_some(job->in + row * job->channels + channel, left),
                        v_load_some(job->weights + k * job->channels + channel, left), sum);
        }
    }
    v_store_some(job->out + o * job->channels + channel, sum, left);
}

static void convolve(const tmb_depthwise *job) {
    for (size_t o = 0; o < job->count; o++) {
        size_t channel = 0;
        for (; channel + BLOCK <= job->channels; channel += BLOCK) {
            block(job, o, channel);
        }
        for (; channel < job->channels; channel += LANES) {
            tail(job, o, channel);
        }
    }
}
