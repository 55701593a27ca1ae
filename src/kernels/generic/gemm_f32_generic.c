#include "kernels/generic/init.h"

#include "kernels/forms/lanes_generic.h"
#include "kernels/forms/unroll.h"

#include <string.h>

/* A tile is up to three rows of one panel, or one row of two: at most 12 vectors of sums. */
enum { MOST_ROWS = 3, VECTORS = TMB_GEMM_PANEL / LANES };

/* The sums of panel `panel` at their beginning; `columns` of it are in the matrix. */
TMB_INLINE void begin(const tmb_gemm_f32 *product, size_t row, size_t panel, size_t columns, vec sum[VECTORS]) {
    const float *from = product->b + panel * (product->k + 1) * TMB_GEMM_PANEL;
    float start[TMB_GEMM_PANEL] = {0};
    if (product->initial != NULL) {
        from = product->initial + row * product->initial_row + panel * TMB_GEMM_PANEL;
        if (columns < TMB_GEMM_PANEL) {
            memcpy(start, from, columns * sizeof(float));
            from = start;
        }
    }
    TMB_UNROLL
    for (int j = 0; j < VECTORS; j++) {
        sum[j] = v_load(from + LANES * j);
    }
}

TMB_INLINE void end(const tmb_gemm_f32 *product, size_t row, size_t panel, size_t columns, vec sum[VECTORS]) {
    float *to = product->c + row * product->c_row + panel * TMB_GEMM_PANEL;
    float whole[TMB_GEMM_PANEL];
    TMB_UNROLL
    for (int j = 0; j < VECTORS; j++) {
        sum[j] = product->relu ? v_max(sum[j], v_set(0)) : sum[j];
        v_store((columns < TMB_GEMM_PANEL ? whole : to) + LANES * j, sum[j]);
    }
    if (columns < TMB_GEMM_PANEL) {
        memcpy(to, whole, columns * sizeof(float));
    }
}

/* `rows` rows of `panels` panels, both constants. */
TMB_INLINE void tile(const tmb_gemm_f32 *product, size_t row, size_t panel, const int rows, const int panels) {
    const size_t panel_floats = (product->k + 1) * TMB_GEMM_PANEL;
    const size_t left = product->n - panel * TMB_GEMM_PANEL;
    const size_t columns = left < TMB_GEMM_PANEL ? left : TMB_GEMM_PANEL; /* of one panel; two are whole */
    const float *b = product->b + panel * panel_floats;
    const float *a = product->a + row * product->a_row;
    const size_t a_row = product->a_row;
    vec sum[MOST_ROWS][VECTORS];
    TMB_UNROLL
    for (int i = 0; i < rows * panels; i++) {
        begin(product, row + (size_t)(i / panels), panel + (size_t)(i % panels), columns, sum[i]);
    }
    for (size_t start = 0; start < product->k; start += product->a_run, a += product->a_jump) {
        for (size_t j = 0; j < product->a_run; j++) {
            b += TMB_GEMM_PANEL;
            TMB_UNROLL
            for (int p = 0; p < panels; p++) {
                TMB_UNROLL
                for (int r = 0; r < rows; r++) {
                    const vec value = v_set(a[(size_t)r * a_row + j]);
                    TMB_UNROLL
                    for (int i = 0; i < VECTORS; i++) {
                        sum[r * panels + p][i] += value * v_load(b + (size_t)p * panel_floats + LANES * i);
                    }
                }
            }
        }
    }
    TMB_UNROLL
    for (int i = 0; i < rows * panels; i++) {
        end(product, row + (size_t)(i / panels), panel + (size_t)(i % panels), columns, sum[i]);
    }
}

static void rows_of_panel(const tmb_gemm_f32 *product, size_t panel) {
    size_t row = 0;
    for (; row + 3 <= product->m; row += 3) {
        tile(product, row, panel, 3, 1);
    }
    switch (product->m - row) {
    case 2: tile(product, row, panel, 2, 1); break;
    case 1: tile(product, row, panel, 1, 1); break;
    default: break;
    }
}

static void gemm(const tmb_gemm_f32 *product) {
    const size_t panels = (product->n + TMB_GEMM_PANEL - 1) / TMB_GEMM_PANEL;
    const size_t pairs = product->m == 1 ? product->n / TMB_GEMM_PANEL / 2 : 0; /* visited two panels at a time */
    const size_t visits = pairs + (panels - 2 * pairs);
    for (size_t i = 0; i < visits; i++) {
        const size_t visit = product->backwards ? visits - 1 - i : i;
        if (visit < pairs) {
            tile(product, 0, 2 * visit, 1, 2);
        } else {
            rows_of_panel(product, pairs + visit);
        }
    }
}

void tmb_gemm_f32_kernels_init_generic(tmb_gemm_f32_kernels *kernels) { kernels->gemm = gemm; }
