/* The x86 variants of matmul.h. */
#ifndef TMB_KERNELS_X86_MATMUL_INIT_H
#define TMB_KERNELS_X86_MATMUL_INIT_H

#include "cpu/cpu.h"
#include "kernels/matmul.h"

void tmb_matmul_kernels_init_avx2(tmb_matmul_kernels *kernels);
void tmb_matmul_kernels_init_avx512(tmb_matmul_kernels *kernels);     /* F32, BF16 */
void tmb_matmul_kernels_init_avx512vnni(tmb_matmul_kernels *kernels); /* Q8, Q4 */
void tmb_matmul_kernels_init_avx512bf16(tmb_matmul_kernels *kernels); /* BF16 with rounded vectors */
void tmb_matmul_kernels_init_amx(tmb_matmul_kernels *kernels);        /* BF16 with rounded vectors, Q8, Q4 */

/* What one set takes from another. */
typedef void tmb_matmul_multiply(const tmb_matrix *weights, size_t first, size_t end, const void *rows,
                                 size_t row_stride, size_t count, float *out, size_t out_stride);
void tmb_matmul_quantized_prepare_avx2(const float *values, size_t columns, void *row);
tmb_matmul_multiply tmb_matmul_q8_avx2, tmb_matmul_q4_avx2, tmb_matmul_q8_avx512vnni, tmb_matmul_q4_avx512vnni;
void tmb_matmul_bf16_prepare_avx512bf16(const float *values, size_t columns, void *row);

static inline void tmb_matmul_kernels_init_x86(tmb_matmul_kernels *kernels, unsigned cpu_flags) {
    if ((cpu_flags & TMB_CPU_AVX2) != 0) {
        tmb_matmul_kernels_init_avx2(kernels);
    }
    if ((cpu_flags & TMB_CPU_AVX512) != 0) {
        tmb_matmul_kernels_init_avx512(kernels);
    }
    if ((cpu_flags & TMB_CPU_AVX512VNNI) != 0) {
        tmb_matmul_kernels_init_avx512vnni(kernels);
    }
    if ((cpu_flags & TMB_CPU_AVX512BF16) != 0) {
        tmb_matmul_kernels_init_avx512bf16(kernels);
    }
#if !defined(TMB_EMULATE_AVX512)
    if ((cpu_flags & TMB_CPU_AMX) != 0) {
        tmb_matmul_kernels_init_amx(kernels);
    }
#endif
}

#endif
