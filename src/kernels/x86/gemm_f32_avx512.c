#include "kernels/x86/gemm_f32_init.h"

#include "kernels/forms/unroll.h"
#include "kernels/x86/intrinsics.h"

#include <stdint.h>

/* A panel is one register wide: 12 rows by 2 panels make 24 sums. */
enum { MOST_ROWS = 12, MOST_PANELS = 8 };

static inline __attribute__((always_inline)) void tile(const tmb_gemm_f32 *product, size_t row, size_t panel,
                                                       const int rows, const int panels) {
    const size_t panel_floats = (product->k + 1) * TMB_GEMM_PANEL;
    const float *b = product->b + panel * panel_floats;
    const float *a = product->a + row * product->a_row;
    const size_t a_row = product->a_row;
    const size_t run = product->a_run;
    __m512 sum[MOST_ROWS * 2 + MOST_PANELS];
    /* Only the last panel can be narrow. */
    const size_t last = product->n - (panel + (size_t)panels - 1) * TMB_GEMM_PANEL;
    const __mmask16 all = (__mmask16)0xffff;
    const __mmask16 last_lanes = (__mmask16)(last >= TMB_GEMM_PANEL ? all : (1u << last) - 1);
    TMB_UNROLL
    for (int i = 0; i < rows * panels; i++) {
        const size_t r = row + (size_t)(i / panels);
        const int p = i % panels;
        sum[i] = product->initial == NULL ? _mm512_load_ps(b + (size_t)p * panel_floats)
                                          : _mm512_maskz_loadu_ps(p == panels - 1 ? last_lanes : all,
                                                                  product->initial + r * product->initial_row +
                                                                      (panel + (size_t)p) * TMB_GEMM_PANEL);
    }
    b += TMB_GEMM_PANEL;
    for (size_t start = 0; start < product->k; start += run, a += product->a_jump) {
        for (size_t j = 0; j < run; j++, b += TMB_GEMM_PANEL) {
            __m512 weights[MOST_PANELS];
            TMB_UNROLL
            for (int p = 0; p < panels; p++) {
                weights[p] = _mm512_load_ps(b + (size_t)p * panel_floats);
            }
            TMB_UNROLL
            for (int r = 0; r < rows; r++) {
                const __m512 value = _mm512_set1_ps(a[(size_t)r * a_row + j]);
                TMB_UNROLL
                for (int p = 0; p < panels; p++) {
                    sum[r * panels + p] = _mm512_fmadd_ps(value, weights[p], sum[r * panels + p]);
                }
            }
        }
    }
    if (product->relu) {
        const __m512 zero = _mm512_setzero_ps();
        TMB_UNROLL
        for (int i = 0; i < rows * panels; i++) {
            sum[i] = _mm512_max_ps(sum[i], zero);
        }
    }
    float *c = product->c + row * product->c_row + panel * TMB_GEMM_PANEL;
    TMB_UNROLL
    for (int i = 0; i < rows * panels; i++) {
        const int p = i % panels;
        _mm512_mask_storeu_ps(c + (size_t)(i / panels) * product->c_row + (size_t)p * TMB_GEMM_PANEL,
                              p == panels - 1 ? last_lanes : all, sum[i]);
    }
}

#define ROWS(count, panels)                                                                                            \
    case count: tile(product, row, panel, count, panels); break

static void rows_of_panels(const tmb_gemm_f32 *product, size_t panel, size_t panels) {
    size_t tiles = (product->m + MOST_ROWS - 1) / MOST_ROWS;
    for (size_t row = 0; tiles > 0; tiles--) {
        const size_t rows = (product->m - row + tiles - 1) / tiles;
        if (panels == 2) {
            switch (rows) {
                ROWS(12, 2);
                ROWS(11, 2);
                ROWS(10, 2);
                ROWS(9, 2);
                ROWS(8, 2);
                ROWS(7, 2);
                ROWS(6, 2);
                ROWS(5, 2);
                ROWS(4, 2);
                ROWS(3, 2);
            default: tile(product, row, panel, 2, 2); break;
            }
        } else {
            switch (rows) {
                ROWS(12, 1);
                ROWS(11, 1);
                ROWS(10, 1);
                ROWS(9, 1);
                ROWS(8, 1);
                ROWS(7, 1);
                ROWS(6, 1);
                ROWS(5, 1);
                ROWS(4, 1);
                ROWS(3, 1);
                ROWS(2, 1);
            default: tile(product, row, panel, 1, 1); break;
            }
        }
        row += rows;
    }
}

static void one_row(const tmb_gemm_f32 *product, size_t panel, size_t panels) {
    if (panels == MOST_PANELS) {
        tile(product, 0, panel, 1, MOST_PANELS);
    } else {
        tile(product, 0, panel, 1, 1);
    }
}

static void gemm_avx512(const tmb_gemm_f32 *product) {
    const size_t panels = (product->n + TMB_GEMM_PANEL - 1) / TMB_GEMM_PANEL;
    const size_t width = product->m == 1 ? MOST_PANELS : 2;
    const size_t wide = panels / width; /* visits of `width` panels; the rest goes one by one */
    const size_t visits = wide + (panels - wide * width);
    for (size_t i = 0; i < visits && product->m > 0; i++) {
        const size_t visit = product->backwards ? visits - 1 - i : i;
        const size_t panel = visit < wide ? visit * width : wide * width + (visit - wide);
        if (product->m == 1) {
            one_row(product, panel, visit < wide ? width : 1);
        } else {
            rows_of_panels(product, panel, visit < wide ? width : 1);
        }
    }
}

void tmb_gemm_f32_kernels_init_avx512(tmb_gemm_f32_kernels *kernels) { kernels->gemm = gemm_avx512; }
