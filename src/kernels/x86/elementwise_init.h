/* The x86 variants of elementwise.h. */
#ifndef TMB_KERNELS_X86_ELEMENTWISE_INIT_H
#define TMB_KERNELS_X86_ELEMENTWISE_INIT_H

#include "cpu/cpu.h"
#include "kernels/elementwise.h"

void tmb_elementwise_kernels_init_avx2(tmb_elementwise_kernels *kernels);
void tmb_elementwise_kernels_init_avx512(tmb_elementwise_kernels *kernels);

static inline void tmb_elementwise_kernels_init_x86(tmb_elementwise_kernels *kernels, unsigned cpu_flags) {
    if ((cpu_flags & TMB_CPU_AVX2) != 0) {
        tmb_elementwise_kernels_init_avx2(kernels);
    }
    if ((cpu_flags & TMB_CPU_AVX512) != 0) {
        tmb_elementwise_kernels_init_avx512(kernels);
    }
}

#endif
