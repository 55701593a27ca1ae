#include "kernels/depthwise.h"

#include "cpu/cpu.h"
#include "kernels/generic/init.h"
#if defined(__x86_64__)
#include "kernels/x86/depthwise_init.h"
#endif

#include <string.h>

static void convolve_c(const tmb_depthwise *job) {
    const size_t channels = job->channels;
    for (size_t o = 0; o < job->count; o++) {
        float *out = job->out + o * channels;
        memset(out, 0, channels * sizeof(float));
        for (size_t k = 0; k < job->taps; k++) {
            size_t row = 0;
            if (!tmb_depthwise_row(job, job->first + o, k, &row)) {
                continue;
            }
            const float *in = job->in + row * channels;
            const float *weights = job->weights + k * channels;
            for (size_t c = 0; c < channels; c++) {
                out[c] += in[c] * weights[c];
            }
        }
    }
}

void tmb_depthwise_kernels_init(tmb_depthwise_kernels *kernels, unsigned cpu_flags) {
    kernels->convolve = convolve_c;
    if ((cpu_flags & TMB_CPU_GENERIC) != 0) {
        tmb_depthwise_kernels_init_generic(kernels);
    }
#if defined(__x86_64__)
    tmb_depthwise_kernels_init_x86(kernels, cpu_flags);
#endif
}
