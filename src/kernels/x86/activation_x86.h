/* The x86 variants of activation.h. */
#ifndef TMB_KERNELS_X86_ACTIVATION_X86_H
#define TMB_KERNELS_X86_ACTIVATION_X86_H

#include "kernels/activation.h"

extern const tmb_activation_kernels tmb_activation_kernels_avx2;
extern const tmb_activation_kernels tmb_activation_kernels_avx512;

#endif
