/* The x86 variants of conv.h. */
#ifndef TMB_KERNELS_X86_CONV_INIT_H
#define TMB_KERNELS_X86_CONV_INIT_H

#include "cpu/cpu.h"
#include "kernels/conv.h"

void tmb_conv_kernels_init_avx2(tmb_conv_kernels *kernels);
void tmb_conv_kernels_init_avx512(tmb_conv_kernels *kernels);
void tmb_conv_half_kernels_init_avx2(tmb_conv_half_kernels *kernels);
void tmb_conv_half_kernels_init_avx512bf16(tmb_conv_half_kernels *kernels);
void tmb_conv_half_kernels_init_avx512vnni(tmb_conv_half_kernels *kernels);
void tmb_conv_half_kernels_init_amx(tmb_conv_half_kernels *kernels);

/* Conversions of rows, for the wider sets too: they are a small part of the work. */
void tmb_conv_half_whole_numbers_avx2(const float *x, size_t count, uint16_t *out, float *scale);
void tmb_conv_half_bf16_avx2(const float *x, size_t count, uint16_t *out, float *scale);

static inline void tmb_conv_kernels_init_x86(tmb_conv_kernels *kernels, unsigned cpu_flags) {
    if ((cpu_flags & TMB_CPU_AVX2) != 0) {
        tmb_conv_kernels_init_avx2(kernels);
    }
    if ((cpu_flags & TMB_CPU_AVX512) != 0) {
        tmb_conv_kernels_init_avx512(kernels);
    }
}

static inline void tmb_conv_half_kernels_init_x86(tmb_conv_half_kernels *kernels, unsigned cpu_flags) {
    if ((cpu_flags & TMB_CPU_AVX2) != 0) {
        tmb_conv_half_kernels_init_avx2(kernels);
    }
    if ((cpu_flags & TMB_CPU_AVX512BF16) != 0) {
        tmb_conv_half_kernels_init_avx512bf16(kernels);
    }
    /* Both multiply as many pairs an instruction; whole numbers of 12 bits are 13 dB better than bf16. */
    if ((cpu_flags & TMB_CPU_AVX512VNNI) != 0) {
        tmb_conv_half_kernels_init_avx512vnni(kernels);
    }
#if !defined(TMB_EMULATE_AVX512)
    if ((cpu_flags & TMB_CPU_AMX) != 0) {
        tmb_conv_half_kernels_init_amx(kernels);
    }
#endif
}

#endif
