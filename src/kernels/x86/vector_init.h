/* The x86 variants of vector.h. */
#ifndef TMB_KERNELS_X86_VECTOR_INIT_H
#define TMB_KERNELS_X86_VECTOR_INIT_H

#include "cpu/cpu.h"
#include "kernels/vector.h"

void tmb_vector_kernels_init_avx2(tmb_vector_kernels *kernels);

static inline void tmb_vector_kernels_init_x86(tmb_vector_kernels *kernels, unsigned cpu_flags) {
    if ((cpu_flags & TMB_CPU_AVX2) != 0) {
        tmb_vector_kernels_init_avx2(kernels);
    }
}

#endif
