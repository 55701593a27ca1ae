/* The x86 variants of gemm_fixed.h. */
#ifndef TMB_KERNELS_X86_GEMM_FIXED_INIT_H
#define TMB_KERNELS_X86_GEMM_FIXED_INIT_H

#include "cpu/cpu.h"
#include "kernels/gemm_fixed.h"

void tmb_gemm_fixed_kernels_init_avx512vbmi(tmb_gemm_fixed_kernels *kernels);

static inline void tmb_gemm_fixed_kernels_init_x86(tmb_gemm_fixed_kernels *kernels, unsigned cpu_flags) {
    if ((cpu_flags & TMB_CPU_AVX512VBMI) != 0) {
        tmb_gemm_fixed_kernels_init_avx512vbmi(kernels);
        kernels->faster = (cpu_flags & TMB_CPU_SLOW_VBMI) == 0;
    }
}

#endif
