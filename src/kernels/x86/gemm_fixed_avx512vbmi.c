#include "kernels/forms/unroll.h"
#include "kernels/x86/gemm_fixed_init.h"
#include "kernels/x86/intrinsics.h"

#include <stdint.h>
#include <string.h>

enum { PANEL = TMB_GEMM_PANEL, BITS = TMB_GEMM_FIXED_BITS, ROW_BYTES = TMB_GEMM_FIXED_ROW_BYTES, MOST_PANELS = 8 };

/* How a row becomes lanes: the four bytes around each weight, and the shift that brings its sign to the lane's. */
typedef struct widening {
    __m512i bytes, shifts;
} widening;

static inline widening widening_tables(void) {
    uint8_t bytes[64];
    uint32_t shifts[PANEL];
    for (uint32_t column = 0; column < PANEL; column++) {
        const uint32_t bit = column * BITS;
        for (uint32_t i = 0; i < 4; i++) {
            bytes[column * 4 + i] = (uint8_t)(bit / 8 + i);
        }
        shifts[column] = 32 - BITS - bit % 8;
    }
    return (widening){_mm512_loadu_si512(bytes), _mm512_loadu_si512(shifts)};
}

/* What a lane is too large by. */
#define LANE_SCALE (1.0f / (1u << (32 - BITS)))

/* A row of a panel, too large; reads 64 bytes. */
static inline __m512 widen(const uint8_t *row, const widening *tables) {
    const __m512i upper = _mm512_set1_epi32((int)(0xffffffffu << (32 - BITS)));
    const __m512i lanes = _mm512_permutexvar_epi8(tables->bytes, _mm512_loadu_si512(row));
    return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_sllv_epi32(lanes, tables->shifts), upper));
}

static inline __attribute__((always_inline)) void tile(const tmb_gemm_f32 *product, size_t panel,
                                                       const widening *tables, const int panels) {
    const size_t step = tmb_gemm_fixed_panel_floats(product->k);
    const float *b = product->b + panel * step;
    const uint8_t *rows = (const uint8_t *)(b + 2 * PANEL);
    const __m512 shift = _mm512_set1_ps(LANE_SCALE);
    __m512 scale[MOST_PANELS];
    __m512 sum[MOST_PANELS];
    TMB_UNROLL
    for (int p = 0; p < panels; p++) {
        /* Powers of two: the sum of what was multiplied before, and the sum multiplied afterwards, are the same. */
        scale[p] = _mm512_mul_ps(_mm512_load_ps(b + (size_t)p * step + PANEL), shift);
        sum[p] = _mm512_div_ps(_mm512_load_ps(b + (size_t)p * step), scale[p]);
    }
    for (size_t i = 0; i < product->k; i++, rows += ROW_BYTES) {
        const __m512 value = _mm512_set1_ps(product->a[i]);
        TMB_UNROLL
        for (int p = 0; p < panels; p++) {
            sum[p] = _mm512_fmadd_ps(value, widen(rows + (size_t)p * step * sizeof(float), tables), sum[p]);
        }
    }
    float *c = product->c + panel * PANEL;
    const size_t last = product->n - (panel + (size_t)panels - 1) * PANEL;
    TMB_UNROLL
    for (int p = 0; p < panels; p++) {
        __m512 result = _mm512_mul_ps(sum[p], scale[p]);
        if (product->relu) {
            result = _mm512_max_ps(result, _mm512_setzero_ps());
        }
        const __mmask16 mask = (__mmask16)(p < panels - 1 || last >= PANEL ? 0xffffu : (1u << last) - 1);
        _mm512_mask_storeu_ps(c + (size_t)p * PANEL, mask, result);
    }
}

static void row_avx512vbmi(const tmb_gemm_f32 *product) {
    const widening tables = widening_tables();
    const size_t panels = (product->n + PANEL - 1) / PANEL;
    const size_t wide = panels / MOST_PANELS; /* visits of MOST_PANELS panels; the rest goes one by one */
    const size_t visits = wide + (panels - wide * MOST_PANELS);
    for (size_t i = 0; i < visits; i++) {
        const size_t visit = product->backwards ? visits - 1 - i : i;
        if (visit < wide) {
            tile(product, visit * MOST_PANELS, &tables, MOST_PANELS);
        } else {
            tile(product, wide * MOST_PANELS + (visit - wide), &tables, 1);
        }
    }
}

static void unpack_avx512vbmi(float *panels, const float *packed, size_t k, size_t count) {
    const widening tables = widening_tables();
    const __m512 shift = _mm512_set1_ps(LANE_SCALE);
    for (size_t panel = 0; panel < count; panel++, packed += tmb_gemm_fixed_panel_floats(k)) {
        const __m512 scale = _mm512_mul_ps(_mm512_load_ps(packed + PANEL), shift);
        const uint8_t *row = (const uint8_t *)(packed + 2 * PANEL);
        memcpy(panels, packed, PANEL * sizeof(float));
        panels += PANEL;
        for (size_t i = 0; i < k; i++, row += ROW_BYTES, panels += PANEL) {
            _mm512_store_ps(panels, _mm512_mul_ps(widen(row, &tables), scale));
        }
    }
}

void tmb_gemm_fixed_kernels_init_avx512vbmi(tmb_gemm_fixed_kernels *kernels) {
    *kernels = (tmb_gemm_fixed_kernels){.faster = true, .row = row_avx512vbmi, .unpack = unpack_avx512vbmi};
}
