/* The x86 variants of fir.h. */
#ifndef TMB_KERNELS_X86_FIR_INIT_H
#define TMB_KERNELS_X86_FIR_INIT_H

#include "cpu/cpu.h"
#include "kernels/fir.h"

void tmb_fir_kernels_init_avx2(tmb_fir_kernels *kernels);
void tmb_fir_kernels_init_avx512(tmb_fir_kernels *kernels);

static inline void tmb_fir_kernels_init_x86(tmb_fir_kernels *kernels, unsigned cpu_flags) {
    if ((cpu_flags & TMB_CPU_AVX2) != 0) {
        tmb_fir_kernels_init_avx2(kernels);
    }
    if ((cpu_flags & TMB_CPU_AVX512) != 0) {
        tmb_fir_kernels_init_avx512(kernels);
    }
}

#endif
