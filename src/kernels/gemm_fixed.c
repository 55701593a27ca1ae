#include "kernels/gemm_fixed.h"

#include "cpu/cpu.h"
#if defined(__x86_64__)
#include "kernels/x86/gemm_fixed_init.h"
#endif

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { PANEL = TMB_GEMM_PANEL, BITS = TMB_GEMM_FIXED_BITS, ROW_BYTES = TMB_GEMM_FIXED_ROW_BYTES, PANELS_AT_ONCE = 2 };

static int32_t weight_at(const uint8_t *row, size_t column) {
    const size_t bit = column * BITS;
    uint32_t value = 0;
    for (size_t i = 0; i < 4 && bit / 8 + i < ROW_BYTES; i++) {
        value |= (uint32_t)row[bit / 8 + i] << (8 * i);
    }
    /* The lowest BITS bits, and the sign upwards. */
    value = value >> (bit % 8) & ((1u << BITS) - 1);
    return (int32_t)(value ^ (1u << (BITS - 1))) - (1 << (BITS - 1));
}

static void set_weight(uint8_t *row, size_t column, int32_t weight) {
    const size_t bit = column * BITS;
    const uint32_t value = ((uint32_t)weight & ((1u << BITS) - 1)) << (bit % 8);
    for (size_t i = 0; i < 4 && bit / 8 + i < ROW_BYTES; i++) {
        row[bit / 8 + i] |= (uint8_t)(value >> (8 * i));
    }
}

static const uint8_t *panel_rows(const float *panel) { return (const uint8_t *)(panel + 2 * PANEL); }

static void unpack_c(float *panels, const float *packed, size_t k, size_t count) {
    const size_t step = tmb_gemm_fixed_panel_floats(k);
    for (size_t panel = 0; panel < count; panel++, packed += step) {
        const float *scale = packed + PANEL;
        const uint8_t *row = panel_rows(packed);
        memcpy(panels, packed, PANEL * sizeof(float));
        panels += PANEL;
        for (size_t i = 0; i < k; i++, row += ROW_BYTES, panels += PANEL) {
            for (size_t column = 0; column < PANEL; column++) {
                panels[column] = (float)weight_at(row, column) * scale[column];
            }
        }
    }
}

static void row_c(const tmb_gemm_f32 *product) {
    const size_t panels = (product->n + PANEL - 1) / PANEL;
    for (size_t panel = 0; panel < panels; panel++) {
        const float *b = product->b + panel * tmb_gemm_fixed_panel_floats(product->k);
        const float *scale = b + PANEL;
        const uint8_t *row = panel_rows(b);
        const size_t left = product->n - panel * PANEL;
        float sum[PANEL];
        memcpy(sum, b, sizeof sum);
        for (size_t i = 0; i < product->k; i++, row += ROW_BYTES) {
            for (size_t column = 0; column < PANEL; column++) {
                sum[column] += product->a[i] * ((float)weight_at(row, column) * scale[column]);
            }
        }
        for (size_t column = 0; column < PANEL && product->relu; column++) {
            sum[column] = sum[column] > 0 ? sum[column] : 0;
        }
        memcpy(product->c + panel * PANEL, sum, (left < PANEL ? left : PANEL) * sizeof(float));
    }
}

void tmb_gemm_fixed_kernels_init(tmb_gemm_fixed_kernels *kernels, unsigned cpu_flags) {
    *kernels = (tmb_gemm_fixed_kernels){.faster = false, .row = row_c, .unpack = unpack_c};
    (void)cpu_flags;
#if defined(__x86_64__)
    tmb_gemm_fixed_kernels_init_x86(kernels, cpu_flags);
#endif
}

void tmb_gemm_fixed_run(const tmb_gemm_fixed_kernels *kernels, const tmb_gemm_f32_kernels *floats,
                        const tmb_gemm_f32 *product) {
    if (product->m == 1) {
        kernels->row(product);
        return;
    }
    _Alignas(64) float scratch[PANELS_AT_ONCE * (TMB_GEMM_FIXED_MOST_K + 1) * PANEL];
    const size_t step = tmb_gemm_fixed_panel_floats(product->k);
    const size_t panels = (product->n + PANEL - 1) / PANEL;
    for (size_t panel = 0; panel < panels; panel += PANELS_AT_ONCE) {
        const size_t count = panels - panel < PANELS_AT_ONCE ? panels - panel : PANELS_AT_ONCE;
        const size_t left = product->n - panel * PANEL;
        tmb_gemm_f32 part = *product;
        kernels->unpack(scratch, product->b + panel * step, product->k, count);
        part.b = scratch;
        part.n = left < count * PANEL ? left : count * PANEL;
        part.c = product->c + panel * PANEL;
        floats->gemm(&part);
    }
}

size_t tmb_gemm_fixed_packed_floats(size_t k, size_t n) {
    return tmb_gemm_fixed_panel_floats(k) * ((n + PANEL - 1) / PANEL);
}

void tmb_gemm_fixed_pack(float *packed, size_t k, size_t n, const float *b, size_t row_stride, size_t column_stride,
                         const float *bias) {
    const size_t step = tmb_gemm_fixed_panel_floats(k);
    const float most = (1 << (BITS - 1)) - 1;
    for (size_t start = 0; start < n; start += PANEL, packed += step) {
        memset(packed, 0, step * sizeof(float));
        uint8_t *rows = (uint8_t *)(packed + 2 * PANEL);
        for (size_t column = 0; column < PANEL && start + column < n; column++) {
            const float *weights = b + (start + column) * column_stride;
            float largest = 0;
            for (size_t i = 0; i < k; i++) {
                largest = fmaxf(largest, fabsf(weights[i * row_stride]));
            }
            int exponent = 0;
            (void)frexpf(largest, &exponent); /* largest < 2^exponent */
            packed[column] = bias != NULL ? bias[start + column] : 0;
            /* Weights this small (absolutely or relative to the bias) cannot change the result; scaling them would lose
             * bits. */
            int least = 0;
            (void)frexpf(packed[column], &least);
            least = least < 0 ? -60 : least - 60;
            exponent = exponent < least ? least : exponent;
            packed[PANEL + column] = ldexpf(1, exponent - (BITS - 1));
            for (size_t i = 0; i < k; i++) {
                const float value = rintf(ldexpf(weights[i * row_stride], BITS - 1 - exponent));
                set_weight(rows + i * ROW_BYTES, column,
                           (int32_t)(value > most    ? most
                                     : value < -most ? -most
                                                     : value));
            }
        }
    }
}
