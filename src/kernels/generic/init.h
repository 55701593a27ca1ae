/* The variants in the compiler's vectors (forms/lanes_generic.h), which every CPU has: each function fills in the slots
 * of its family that gain by them. */
#ifndef TMB_KERNELS_GENERIC_INIT_H
#define TMB_KERNELS_GENERIC_INIT_H

#include "kernels/activation.h"
#include "kernels/conv.h"
#include "kernels/depthwise.h"
#include "kernels/elementwise.h"
#include "kernels/fft.h"
#include "kernels/gemm_f32.h"
#include "kernels/matmul.h"
#include "kernels/vector.h"

void tmb_activation_kernels_init_generic(tmb_activation_kernels *kernels);
void tmb_conv_kernels_init_generic(tmb_conv_kernels *kernels);
void tmb_conv_half_kernels_init_generic(tmb_conv_half_kernels *kernels);
void tmb_depthwise_kernels_init_generic(tmb_depthwise_kernels *kernels);
void tmb_elementwise_kernels_init_generic(tmb_elementwise_kernels *kernels);
void tmb_fft_kernels_init_generic(tmb_fft_kernels *kernels);
void tmb_gemm_f32_kernels_init_generic(tmb_gemm_f32_kernels *kernels);
void tmb_matmul_kernels_init_generic(tmb_matmul_kernels *kernels);
void tmb_vector_kernels_init_generic(tmb_vector_kernels *kernels);

#endif
