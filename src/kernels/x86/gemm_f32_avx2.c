#include "kernels/x86/gemm_f32_init.h"

#include "kernels/forms/unroll.h"
#include "kernels/x86/intrinsics.h"

#include <stdint.h>

/* Rows of a tile and panels (16 columns, two registers) that its sums cover: 12 of the 16 registers, or 8 if one row
 * reads more memory than it computes. */
enum { MOST_ROWS = 6, WIDE_PANELS = 4 };

/* The first `count` of 8 lanes, count in [0, 8]. */
static inline __m256i lanes(size_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline __attribute__((always_inline)) void tile(const tmb_gemm_f32 *product, size_t row, size_t panel,
                                                       const int rows, const int panels) {
    const size_t panel_floats = (product->k + 1) * TMB_GEMM_PANEL;
    const float *b = product->b + panel * panel_floats;
    const float *a = product->a + row * product->a_row;
    const size_t a_row = product->a_row;
    const size_t run = product->a_run;
    __m256 sum[MOST_ROWS * WIDE_PANELS][2];
    const size_t left = product->n - panel * TMB_GEMM_PANEL;
    /* Only tiles of one panel meet the last panel of a width that is no multiple of it. */
    const bool narrow = left < (size_t)panels * TMB_GEMM_PANEL;
    const __m256i low_lanes = lanes(left < 8 ? left : 8);
    const __m256i high_lanes = lanes(left < 8 ? 0 : left - 8);
    if (product->initial == NULL) {
        TMB_UNROLL
        for (int i = 0; i < rows * panels; i++) {
            sum[i][0] = _mm256_load_ps(b + (size_t)(i % panels) * panel_floats);
            sum[i][1] = _mm256_load_ps(b + (size_t)(i % panels) * panel_floats + 8);
        }
    } else {
        TMB_UNROLL
        for (int i = 0; i < rows * panels; i++) {
            const float *initial = product->initial + (row + (size_t)(i / panels)) * product->initial_row +
                                   (panel + (size_t)(i % panels)) * TMB_GEMM_PANEL;
            sum[i][0] = narrow ? _mm256_maskload_ps(initial, low_lanes) : _mm256_loadu_ps(initial);
            sum[i][1] = !narrow    ? _mm256_loadu_ps(initial + 8)
                        : left > 8 ? _mm256_maskload_ps(initial + 8, high_lanes)
                                   : _mm256_setzero_ps();
        }
    }
    b += TMB_GEMM_PANEL;
    for (size_t start = 0; start < product->k; start += run, a += product->a_jump) {
        for (size_t j = 0; j < run; j++, b += TMB_GEMM_PANEL) {
            TMB_UNROLL
            for (int p = 0; p < panels; p++) {
                const __m256 low = _mm256_load_ps(b + (size_t)p * panel_floats);
                const __m256 high = _mm256_load_ps(b + (size_t)p * panel_floats + 8);
                TMB_UNROLL
                for (int r = 0; r < rows; r++) {
                    const __m256 value = _mm256_broadcast_ss(a + (size_t)r * a_row + j);
                    sum[r * panels + p][0] = _mm256_fmadd_ps(value, low, sum[r * panels + p][0]);
                    sum[r * panels + p][1] = _mm256_fmadd_ps(value, high, sum[r * panels + p][1]);
                }
            }
        }
    }
    if (product->relu) {
        const __m256 zero = _mm256_setzero_ps();
        TMB_UNROLL
        for (int i = 0; i < rows * panels; i++) {
            sum[i][0] = _mm256_max_ps(sum[i][0], zero);
            sum[i][1] = _mm256_max_ps(sum[i][1], zero);
        }
    }
    float *c = product->c + row * product->c_row + panel * TMB_GEMM_PANEL;
    if (!narrow) {
        TMB_UNROLL
        for (int i = 0; i < rows * panels; i++) {
            float *to = c + (size_t)(i / panels) * product->c_row + (size_t)(i % panels) * TMB_GEMM_PANEL;
            _mm256_storeu_ps(to, sum[i][0]);
            _mm256_storeu_ps(to + 8, sum[i][1]);
        }
        return;
    }
    TMB_UNROLL
    for (int r = 0; r < rows; r++) {
        _mm256_maskstore_ps(c + (size_t)r * product->c_row, low_lanes, sum[r * panels][0]);
        if (left > 8) {
            _mm256_maskstore_ps(c + (size_t)r * product->c_row + 8, high_lanes, sum[r * panels][1]);
        }
    }
}

static void rows_of_panel(const tmb_gemm_f32 *product, size_t panel) {
    /* Rows are dealt out evenly: 8 are 4 and 4, not 6 and 2. */
    size_t tiles = (product->m + MOST_ROWS - 1) / MOST_ROWS;
    for (size_t row = 0; tiles > 0; tiles--) {
        const size_t rows = (product->m - row + tiles - 1) / tiles;
        switch (rows) {
        case 6: tile(product, row, panel, 6, 1); break;
        case 5: tile(product, row, panel, 5, 1); break;
        case 4: tile(product, row, panel, 4, 1); break;
        case 3: tile(product, row, panel, 3, 1); break;
        case 2: tile(product, row, panel, 2, 1); break;
        default: tile(product, row, panel, 1, 1); break;
        }
        row += rows;
    }
}

/* Few rows leave too few independent sums in one panel; these take several at once. */
static void few_rows(const tmb_gemm_f32 *product, size_t panel, size_t panels) {
    switch (product->m) {
    case 1: panels == 4 ? tile(product, 0, panel, 1, 4) : tile(product, 0, panel, 1, 1); break;
    case 2: panels == 2 ? tile(product, 0, panel, 2, 2) : tile(product, 0, panel, 2, 1); break;
    default: panels == 2 ? tile(product, 0, panel, 3, 2) : tile(product, 0, panel, 3, 1); break;
    }
}

static void gemm_avx2(const tmb_gemm_f32 *product) {
    const size_t panels = (product->n + TMB_GEMM_PANEL - 1) / TMB_GEMM_PANEL;
    const size_t whole = product->n / TMB_GEMM_PANEL;
    const size_t width = product->m == 1 ? 4 : product->m <= 3 ? 2 : 1;
    const size_t wide = whole / width; /* visits of `width` panels; the rest goes one by one */
    const size_t visits = wide + (panels - wide * width);
    for (size_t i = 0; i < visits && product->m > 0; i++) {
        const size_t visit = product->backwards ? visits - 1 - i : i;
        const size_t panel = visit < wide ? visit * width : wide * width + (visit - wide);
        if (product->m <= 3) {
            few_rows(product, panel, visit < wide ? width : 1);
        } else {
            rows_of_panel(product, panel);
        }
    }
}

void tmb_gemm_f32_kernels_init_avx2(tmb_gemm_f32_kernels *kernels) { kernels->gemm = gemm_avx2; }
