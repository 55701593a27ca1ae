/* The x86 variants of depthwise.h. */
#ifndef TMB_KERNELS_X86_DEPTHWISE_INIT_H
#define TMB_KERNELS_X86_DEPTHWISE_INIT_H

#include "cpu/cpu.h"
#include "kernels/depthwise.h"

void tmb_depthwise_kernels_init_avx2(tmb_depthwise_kernels *kernels);
void tmb_depthwise_kernels_init_avx512(tmb_depthwise_kernels *kernels);

static inline void tmb_depthwise_kernels_init_x86(tmb_depthwise_kernels *kernels, unsigned cpu_flags) {
    if ((cpu_flags & TMB_CPU_AVX2) != 0) {
        tmb_depthwise_kernels_init_avx2(kernels);
    }
    if ((cpu_flags & TMB_CPU_AVX512) != 0) {
        tmb_depthwise_kernels_init_avx512(kernels);
    }
}

#endif
