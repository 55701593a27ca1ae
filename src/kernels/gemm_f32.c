#include "kernels/gemm_f32.h"

#include "cpu/cpu.h"
#include "kernels/generic/init.h"
#if defined(__x86_64__)
#include "kernels/x86/gemm_f32_init.h"
#endif

#include <string.h>

static void gemm_c(const tmb_gemm_f32 *product) {
    const size_t panels = (product->n + TMB_GEMM_PANEL - 1) / TMB_GEMM_PANEL;
    for (size_t visit = 0; visit < panels; visit++) {
        const size_t panel = product->backwards ? panels - 1 - visit : visit;
        const float *b = product->b + panel * (product->k + 1) * TMB_GEMM_PANEL;
        const size_t left = product->n - panel * TMB_GEMM_PANEL;
        const size_t columns = left < TMB_GEMM_PANEL ? left : TMB_GEMM_PANEL;
        for (size_t i = 0; i < product->m; i++) {
            const float *a = product->a + i * product->a_row;
            const float *row = b;
            float sum[TMB_GEMM_PANEL] = {0};
            if (product->initial != NULL) {
                memcpy(sum, product->initial + i * product->initial_row + panel * TMB_GEMM_PANEL,
                       columns * sizeof(float));
            } else {
                memcpy(sum, row, sizeof sum);
            }
            for (size_t start = 0; start < product->k; start += product->a_run, a += product->a_jump) {
                for (size_t j = 0; j < product->a_run; j++) {
                    row += TMB_GEMM_PANEL;
                    for (size_t column = 0; column < TMB_GEMM_PANEL; column++) {
                        sum[column] += a[j] * row[column];
                    }
                }
            }
            if (product->relu) {
                for (size_t column = 0; column < TMB_GEMM_PANEL; column++) {
                    sum[column] = sum[column] > 0 ? sum[column] : 0;
                }
            }
            memcpy(product->c + i * product->c_row + panel * TMB_GEMM_PANEL, sum, columns * sizeof(float));
        }
    }
}

void tmb_gemm_f32_kernels_init(tmb_gemm_f32_kernels *kernels, unsigned cpu_flags) {
    kernels->gemm = gemm_c;
    if ((cpu_flags & TMB_CPU_GENERIC) != 0) {
        tmb_gemm_f32_kernels_init_generic(kernels);
    }
#if defined(__x86_64__)
    tmb_gemm_f32_kernels_init_x86(kernels, cpu_flags);
#endif
}

size_t tmb_gemm_f32_packed_floats(size_t k, size_t n) {
    return (k + 1) * ((n + TMB_GEMM_PANEL - 1) / TMB_GEMM_PANEL * TMB_GEMM_PANEL);
}

void tmb_gemm_f32_pack(float *packed, size_t k, size_t n, const float *b, size_t row_stride, size_t column_stride,
                       const float *bias) {
    for (size_t start = 0; start < n; start += TMB_GEMM_PANEL) {
        for (size_t column = start; column < start + TMB_GEMM_PANEL; column++) {
            *packed++ = bias != NULL && column < n ? bias[column] : 0;
        }
        for (size_t i = 0; i < k; i++) {
            for (size_t column = start; column < start + TMB_GEMM_PANEL; column++) {
                *packed++ = column < n ? b[i * row_stride + column * column_stride] : 0;
            }
        }
    }
}
