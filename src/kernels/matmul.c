/* The matrix kernels in plain C: the reference that every other is compared with. */
#include "cpu/cpu.h"
#include "kernels/generic/init.h"
#include "kernels/matmul_layout.h"
#if defined(__x86_64__)
#include "kernels/x86/matmul_init.h"
#endif

#include <math.h>
#include <string.h>

size_t tmb_matmul_float_row_bytes(size_t columns) { return tmb_float_row_bytes(columns); }
size_t tmb_matmul_quantized_row_bytes(size_t columns) { return tmb_quantized_row_bytes(columns); }

void tmb_matmul_float_prepare(const float *values, size_t columns, void *row) {
    float *out = row;
    memcpy(out, values, columns * sizeof *out);
    for (size_t k = columns; k < tmb_round_up(columns, 16); k++) {
        out[k] = 0;
    }
}

static void quantized_prepare(const float *values, size_t columns, void *row) {
    static const size_t place[4] = {0, 2, 1, 3};
    size_t blocks = tmb_block_count(columns);
    tmb_quantized parts = tmb_quantized_row(row, blocks);
    int8_t *bytes = (int8_t *)(uintptr_t)parts.bytes;
    int16_t *words = (int16_t *)(uintptr_t)parts.words;
    float *scales = (float *)(uintptr_t)parts.scales;
    int32_t *biases = (int32_t *)(uintptr_t)parts.biases;
    float *totals = (float *)(uintptr_t)parts.totals;
    for (size_t b = 0; b < blocks; b++) {
        size_t begin = b * TMB_BLOCK_COLUMNS;
        size_t count = columns - begin < TMB_BLOCK_COLUMNS ? columns - begin : TMB_BLOCK_COLUMNS;
        float largest = 0;
        for (size_t k = 0; k < count; k++) {
            float magnitude = fabsf(values[begin + k]);
            largest = magnitude > largest ? magnitude : largest;
        }
        float inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
        int32_t sum = 0;
        for (size_t k = 0; k < TMB_BLOCK_COLUMNS; k++) {
            int8_t byte = k < count ? (int8_t)lrintf(values[begin + k] * inverse) : 0;
            bytes[begin + k] = byte;
            words[begin + k / 4 * 4 + place[k % 4]] = byte;
            sum += byte;
        }
        scales[b] = largest > 1e-30f ? largest / 127.0f : 0.0f;
        biases[b] = -128 * sum;
        totals[b] = scales[b] * (float)sum;
    }
}

static void multiply_f32(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                         size_t count, float *out, size_t out_stride) {
    for (size_t panel = first; panel < end; panel++) {
        const float *w = (const float *)(const void *)(weights->data + panel * weights->panel_bytes);
        for (size_t i = 0; i < count; i++) {
            const float *x = (const float *)(const void *)((const uint8_t *)rows + i * row_stride);
            float sums[TMB_PANEL_ROWS] = {0};
            for (size_t k = 0; k < weights->columns; k++) {
                for (size_t r = 0; r < TMB_PANEL_ROWS; r++) {
                    sums[r] += w[k * TMB_PANEL_ROWS + r] * x[k];
                }
            }
            memcpy(out + i * out_stride + panel * TMB_PANEL_ROWS, sums, sizeof sums);
        }
    }
}

static void multiply_bf16(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                          size_t count, float *out, size_t out_stride) {
    for (size_t panel = first; panel < end; panel++) {
        const uint16_t *w = (const uint16_t *)(const void *)(weights->data + panel * weights->panel_bytes);
        for (size_t i = 0; i < count; i++) {
            const float *x = (const float *)(const void *)((const uint8_t *)rows + i * row_stride);
            float sums[TMB_PANEL_ROWS] = {0};
            for (size_t k = 0; k < weights->columns; k++) {
                const uint16_t *pair = w + k / 2 * (2 * TMB_PANEL_ROWS) + k % 2;
                for (size_t r = 0; r < TMB_PANEL_ROWS; r++) {
                    sums[r] += tmb_bf16_to_float(pair[2 * r]) * x[k];
                }
            }
            memcpy(out + i * out_stride + panel * TMB_PANEL_ROWS, sums, sizeof sums);
        }
    }
}

static void multiply_q8(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                        size_t count, float *out, size_t out_stride) {
    size_t blocks = tmb_block_count(weights->columns);
    for (size_t panel = first; panel < end; panel++) {
        const uint8_t *w = weights->data + panel * weights->panel_bytes;
        for (size_t i = 0; i < count; i++) {
            tmb_quantized x = tmb_quantized_row((const uint8_t *)rows + i * row_stride, blocks);
            float sums[TMB_PANEL_ROWS] = {0};
            for (size_t b = 0; b < blocks; b++) {
                const uint16_t *scales = (const uint16_t *)(const void *)(w + tmb_q8_scales(b));
                const int8_t *q = (const int8_t *)(w + tmb_q8_weights(b));
                const int8_t *xb = x.bytes + b * TMB_BLOCK_COLUMNS;
                int32_t dots[TMB_PANEL_ROWS] = {0};
                for (size_t k = 0; k < TMB_BLOCK_COLUMNS; k++) {
                    for (size_t r = 0; r < TMB_PANEL_ROWS; r++) {
                        dots[r] += q[k / 4 * 64 + r * 4 + k % 4] * xb[k];
                    }
                }
                for (size_t r = 0; r < TMB_PANEL_ROWS; r++) {
                    sums[r] += tmb_half_to_float(scales[r]) * x.scales[b] * (float)dots[r];
                }
            }
            memcpy(out + i * out_stride + panel * TMB_PANEL_ROWS, sums, sizeof sums);
        }
    }
}

/* One super-block of `blocks` blocks for one vector, whose parts begin at the super-block. */
static void super_block_q4(const uint8_t *w, size_t blocks, tmb_quantized x, float *sums) {
    const uint16_t *units = (const uint16_t *)(const void *)w;
    const uint8_t *nibbles = w + tmb_q4_head_bytes(blocks);
    float scaled[TMB_PANEL_ROWS] = {0};
    float offset[TMB_PANEL_ROWS] = {0};
    for (size_t b = 0; b < blocks; b++) {
        const uint8_t *scales = w + 64 + b * 32;
        const uint8_t *q = nibbles + b * 256;
        const int8_t *xb = x.bytes + b * TMB_BLOCK_COLUMNS;
        int32_t dots[TMB_PANEL_ROWS] = {0};
        for (size_t k = 0; k < TMB_BLOCK_COLUMNS; k++) {
            for (size_t r = 0; r < TMB_PANEL_ROWS; r++) {
                uint8_t byte = q[k / 8 * 64 + r * 4 + k % 4];
                dots[r] += (k % 8 < 4 ? byte & 15 : byte >> 4) * xb[k];
            }
        }
        for (size_t r = 0; r < TMB_PANEL_ROWS; r++) {
            scaled[r] += x.scales[b] * (float)(scales[r] * dots[r]); /* below 2^24 */
            offset[r] += (float)scales[16 + r] * x.totals[b];
        }
    }
    for (size_t r = 0; r < TMB_PANEL_ROWS; r++) {
        float scale_unit = tmb_half_to_float(units[r]) * TMB_Q4_UNIT;
        float offset_unit = tmb_half_to_float(units[16 + r]) * TMB_Q4_UNIT;
        sums[r] += scale_unit * scaled[r] - offset_unit * offset[r];
    }
}

static void multiply_q4(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                        size_t count, float *out, size_t out_stride) {
    size_t blocks = tmb_block_count(weights->columns);
    for (size_t panel = first; panel < end; panel++) {
        for (size_t i = 0; i < count; i++) {
            const uint8_t *w = weights->data + panel * weights->panel_bytes;
            tmb_quantized x = tmb_quantized_row((const uint8_t *)rows + i * row_stride, blocks);
            float sums[TMB_PANEL_ROWS] = {0};
            for (size_t b = 0; b < blocks; b += TMB_SUPER_BLOCKS) {
                size_t here = blocks - b < TMB_SUPER_BLOCKS ? blocks - b : TMB_SUPER_BLOCKS;
                tmb_quantized part = {x.bytes + b * TMB_BLOCK_COLUMNS, x.words, x.scales + b, x.biases + b,
                                      x.totals + b};
                super_block_q4(w, here, part, sums);
                w += TMB_Q4_SUPER_BYTES;
            }
            memcpy(out + i * out_stride + panel * TMB_PANEL_ROWS, sums, sizeof sums);
        }
    }
}

void tmb_matmul_kernels_init(tmb_matmul_kernels *kernels, unsigned cpu_flags) {
    *kernels = (tmb_matmul_kernels){
        .f32 = {tmb_matmul_float_row_bytes, tmb_matmul_float_prepare, multiply_f32},
        .bf16 = {tmb_matmul_float_row_bytes, tmb_matmul_float_prepare, multiply_bf16},
        .bf16_dot = {tmb_matmul_float_row_bytes, tmb_matmul_float_prepare, multiply_bf16},
        .q8 = {tmb_matmul_quantized_row_bytes, quantized_prepare, multiply_q8},
        .q4 = {tmb_matmul_quantized_row_bytes, quantized_prepare, multiply_q4},
    };
    if ((cpu_flags & TMB_CPU_GENERIC) != 0) {
        tmb_matmul_kernels_init_generic(kernels);
    }
#if defined(__x86_64__)
    tmb_matmul_kernels_init_x86(kernels, cpu_flags);
#endif
}
