/* The x86 variants of activation.h. */
#ifndef TMB_KERNELS_X86_ACTIVATION_INIT_H
#define TMB_KERNELS_X86_ACTIVATION_INIT_H

#include "cpu/cpu.h"
#include "kernels/activation.h"

void tmb_activation_kernels_init_avx2(tmb_activation_kernels *kernels);
void tmb_activation_kernels_init_avx512(tmb_activation_kernels *kernels);

static inline void tmb_activation_kernels_init_x86(tmb_activation_kernels *kernels, unsigned cpu_flags) {
    if ((cpu_flags & TMB_CPU_AVX2) != 0) {
        tmb_activation_kernels_init_avx2(kernels);
    }
    if ((cpu_flags & TMB_CPU_AVX512) != 0) {
        tmb_activation_kernels_init_avx512(kernels);
    }
}

#endif
