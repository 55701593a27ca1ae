/* The x86 variants of conv.h. */
#ifndef TMB_KERNELS_X86_CONV_X86_H
#define TMB_KERNELS_X86_CONV_X86_H

#include "kernels/conv.h"

extern const tmb_conv_kernels tmb_conv_kernels_avx2;
extern const tmb_conv_kernels tmb_conv_kernels_avx512;

#endif
