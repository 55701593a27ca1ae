#include "kernels/fir.h"

#include "cpu/cpu.h"
#if defined(__x86_64__)
#include "kernels/x86/fir_init.h"
#endif

/* Eight partial sums, added as a tree: the order of the SIMD variants, so that they differ from this
 * only by the rounding of fused multiply-adds, and compilers can use whatever vectors there are. */
static void polyphase_c(float *out, size_t count, const float *x, const tmb_fir_bank *bank, size_t phase) {
    for (size_t n = 0; n < count; n++) {
        const float *taps = bank->taps + phase * bank->length;
        float sum[TMB_FIR_UNIT] = {0};
        for (size_t k = 0; k < bank->length; k += TMB_FIR_UNIT) {
            for (size_t i = 0; i < TMB_FIR_UNIT; i++) {
                sum[i] += taps[k + i] * x[k + i];
            }
        }
        out[n] = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
        x += bank->advance;
        phase += bank->phase_step;
        if (phase >= bank->phases) {
            phase -= bank->phases;
            x++;
        }
    }
}

void tmb_fir_kernels_init(tmb_fir_kernels *kernels, unsigned cpu_flags) {
    kernels->polyphase = polyphase_c;
    (void)cpu_flags; /* without a use if no architecture has more: compilers make vectors of these sums by themselves
                      */
#if defined(__x86_64__)
    tmb_fir_kernels_init_x86(kernels, cpu_flags);
#endif
}
