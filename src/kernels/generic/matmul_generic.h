/* What the two files of generic matrix kernels share. */
#ifndef TMB_KERNELS_GENERIC_MATMUL_GENERIC_H
#define TMB_KERNELS_GENERIC_MATMUL_GENERIC_H

#include "kernels/forms/lanes_generic.h"
#include "kernels/forms/unroll.h"
#include "kernels/generic/init.h"
#include "kernels/matmul_layout.h"

void tmb_matmul_quantized_prepare_generic(const float *values, size_t columns, void *row);
void tmb_matmul_q8_generic(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                           size_t count, float *out, size_t out_stride);
void tmb_matmul_q4_generic(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                           size_t count, float *out, size_t out_stride);

#endif
