/* The x86 variants of fft.h. */
#ifndef TMB_KERNELS_X86_FFT_INIT_H
#define TMB_KERNELS_X86_FFT_INIT_H

#include "cpu/cpu.h"
#include "kernels/fft.h"

void tmb_fft_kernels_init_avx2(tmb_fft_kernels *kernels);

static inline void tmb_fft_kernels_init_x86(tmb_fft_kernels *kernels, unsigned cpu_flags) {
    if ((cpu_flags & TMB_CPU_AVX2) != 0) {
        tmb_fft_kernels_init_avx2(kernels);
    }
}

#endif
