/* The x86 variants of gemm_f32.h. */
#ifndef TMB_KERNELS_X86_GEMM_F32_INIT_H
#define TMB_KERNELS_X86_GEMM_F32_INIT_H

#include "cpu/cpu.h"
#include "kernels/gemm_f32.h"

void tmb_gemm_f32_kernels_init_avx2(tmb_gemm_f32_kernels *kernels);
void tmb_gemm_f32_kernels_init_avx512(tmb_gemm_f32_kernels *kernels);

static inline void tmb_gemm_f32_kernels_init_x86(tmb_gemm_f32_kernels *kernels, unsigned cpu_flags) {
    if ((cpu_flags & TMB_CPU_AVX2) != 0) {
        tmb_gemm_f32_kernels_init_avx2(kernels);
    }
    if ((cpu_flags & TMB_CPU_AVX512) != 0) {
        tmb_gemm_f32_kernels_init_avx512(kernels);
    }
}

#endif
