/* The x86 variants of conv.h. */
#ifndef TMB_KERNELS_X86_CONV_X86_H
#define TMB_KERNELS_X86_CONV_X86_H

#include "kernels/conv.h"

extern const tmb_conv_kernels tmb_conv_kernels_avx2;
extern const tmb_conv_kernels tmb_conv_kernels_avx512;

extern const tmb_conv_half_kernels tmb_conv_half_kernels_avx2;
extern const tmb_conv_half_kernels tmb_conv_half_kernels_avx512vnni;
extern const tmb_conv_half_kernels tmb_conv_half_kernels_avx512bf16;
extern const tmb_conv_half_kernels tmb_conv_half_kernels_amx;

/* Conversions of rows, for the wider sets too: they are a small part of the work. */
void tmb_conv_half_whole_numbers_avx2(const float *x, size_t count, uint16_t *out, float *scale);
void tmb_conv_half_bf16_avx2(const float *x, size_t count, uint16_t *out, float *scale);

#endif
