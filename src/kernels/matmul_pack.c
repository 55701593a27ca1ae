/* Packing weights into panels: sizes, rounding and quantizing. */
#include "kernels/matmul_layout.h"

#include <math.h>
#include <string.h>

bool tmb_matrix_shape(tmb_matrix *matrix, tmb_weight_type type, size_t rows, size_t columns) {
    /* Far above every real matrix, and no product below can wrap. */
    const size_t most = (size_t)1 << 28;
    if (rows < 1 || columns < 1 || rows > most || columns > most) {
        return false;
    }
    size_t blocks = tmb_block_count(columns);
    size_t bytes = 0;
    switch (type) {
    case TMB_WEIGHT_F32: bytes = columns * TMB_PANEL_ROWS * 4; break;
    case TMB_WEIGHT_BF16: bytes = (columns + 1) / 2 * TMB_PANEL_ROWS * 4; break;
    case TMB_WEIGHT_Q8: bytes = (blocks + 1) / 2 * TMB_Q8_PAIR_BYTES; break;
    case TMB_WEIGHT_Q4:
        bytes = blocks / TMB_SUPER_BLOCKS * TMB_Q4_SUPER_BYTES;
        if (blocks % TMB_SUPER_BLOCKS != 0) {
            bytes += tmb_q4_head_bytes(blocks % TMB_SUPER_BLOCKS) + blocks % TMB_SUPER_BLOCKS * 256;
        }
        break;
    default: return false;
    }
    *matrix = (tmb_matrix){.type = type,
                           .rows = rows,
                           .columns = columns,
                           .panels = (rows + TMB_PANEL_ROWS - 1) / TMB_PANEL_ROWS,
                           .panel_bytes = bytes};
    size_t total = 0;
    return !__builtin_mul_overflow(matrix->panels, bytes, &total) && total <= SIZE_MAX / 2;
}

static void pack_f32(const tmb_matrix *matrix, const float *rows, size_t stride, size_t count, uint8_t *panel) {
    float *out = (float *)(void *)panel;
    for (size_t r = 0; r < count; r++) {
        for (size_t k = 0; k < matrix->columns; k++) {
            out[k * TMB_PANEL_ROWS + r] = rows[r * stride + k];
        }
    }
}

static void pack_bf16(const tmb_matrix *matrix, const float *rows, size_t stride, size_t count, uint8_t *panel) {
    uint16_t *out = (uint16_t *)(void *)panel;
    for (size_t r = 0; r < count; r++) {
        for (size_t k = 0; k < matrix->columns; k++) {
            out[k / 2 * (2 * TMB_PANEL_ROWS) + 2 * r + k % 2] = tmb_float_to_bf16(rows[r * stride + k]);
        }
    }
}

/* A block's values, zeros if the row ends. */
static void block_values(const float *row, size_t columns, size_t block, float values[TMB_BLOCK_COLUMNS]) {
    for (size_t k = 0; k < TMB_BLOCK_COLUMNS; k++) {
        size_t column = block * TMB_BLOCK_COLUMNS + k;
        values[k] = column < columns ? row[column] : 0.0f;
    }
}

static int clamp(int value, int low, int high) { return value < low ? low : value > high ? high : value; }

static void pack_q8(const tmb_matrix *matrix, const float *rows, size_t stride, size_t count, uint8_t *panel) {
    size_t blocks = tmb_block_count(matrix->columns);
    for (size_t r = 0; r < count; r++) {
        for (size_t b = 0; b < blocks; b++) {
            float values[TMB_BLOCK_COLUMNS];
            block_values(rows + r * stride, matrix->columns, b, values);
            float largest = 0;
            for (size_t k = 0; k < TMB_BLOCK_COLUMNS; k++) {
                largest = fabsf(values[k]) > largest ? fabsf(values[k]) : largest;
            }
            /* Divided by the scale as it is stored, so that its rounding adds no error. */
            uint16_t half = tmb_float_to_half(largest / 127.0f);
            float scale = tmb_half_to_float(half);
            float inverse = scale > 0 ? 1.0f / scale : 0.0f;
            ((uint16_t *)(void *)(panel + tmb_q8_scales(b)))[r] = half;
            int8_t *q = (int8_t *)(panel + tmb_q8_weights(b));
            for (size_t k = 0; k < TMB_BLOCK_COLUMNS; k++) {
                q[k / 4 * 64 + r * 4 + k % 4] = (int8_t)clamp((int)lrintf(values[k] * inverse), -127, 127);
            }
        }
    }
}

/* The scale and offset (both >= 0) with which values ~ scale * q - offset, q in 0..15, errs least in
 * the sum of squares weighted by magnitude: starts from the range, then alternates between the best q
 * for a line and the best line for the q, from several ranges. */
static void fit_q4(const float values[TMB_BLOCK_COLUMNS], float *best_scale, float *best_offset) {
    float low = 0, high = 0, square = 0;
    for (size_t k = 0; k < TMB_BLOCK_COLUMNS; k++) {
        low = fminf(low, values[k]);
        high = fmaxf(high, values[k]);
        square += values[k] * values[k];
    }
    *best_scale = 0;
    *best_offset = 0;
    if (high - low < 1e-30f) {
        return;
    }
    float weights[TMB_BLOCK_COLUMNS];
    float typical = sqrtf(square / TMB_BLOCK_COLUMNS);
    for (size_t k = 0; k < TMB_BLOCK_COLUMNS; k++) {
        weights[k] = typical + fabsf(values[k]);
    }
    float least = INFINITY;
    for (int candidate = -8; candidate <= 8; candidate++) {
        float inverse = (15.0f + 0.1f * (float)candidate) / (high - low);
        float w = 0, wq = 0, wqq = 0, wx = 0, wqx = 0;
        for (size_t k = 0; k < TMB_BLOCK_COLUMNS; k++) {
            float q = rintf((values[k] - low) * inverse);
            q = q > 15.0f ? 15.0f : q;
            w += weights[k];
            wq += weights[k] * q;
            wqq += weights[k] * q * q;
            wx += weights[k] * values[k];
            wqx += weights[k] * q * values[k];
        }
        float determinant = w * wqq - wq * wq;
        if (!(determinant > 0)) {
            continue;
        }
        float scale = (w * wqx - wq * wx) / determinant;
        float offset = (wq * wqx - wqq * wx) / determinant;
        if (offset < 0) {
            offset = 0;
            scale = wqx / wqq;
        }
        if (!(scale > 0)) {
            continue;
        }
        float error = 0;
        for (size_t k = 0; k < TMB_BLOCK_COLUMNS; k++) {
            float q = rintf((values[k] + offset) / scale);
            q = q < 0 ? 0 : q > 15.0f ? 15.0f : q;
            float difference = scale * q - offset - values[k];
            error += weights[k] * difference * difference;
        }
        if (error < least) {
            least = error;
            *best_scale = scale;
            *best_offset = offset;
        }
    }
}

/* A row's share of one super-block. */
static void pack_q4_row(const float *row, size_t columns, size_t first_block, size_t blocks, size_t r, uint8_t *w) {
    float scales[TMB_SUPER_BLOCKS], offsets[TMB_SUPER_BLOCKS];
    float largest_scale = 0, largest_offset = 0;
    float values[TMB_BLOCK_COLUMNS];
    for (size_t b = 0; b < blocks; b++) {
        block_values(row, columns, first_block + b, values);
        fit_q4(values, &scales[b], &offsets[b]);
        largest_scale = fmaxf(largest_scale, scales[b]);
        largest_offset = fmaxf(largest_offset, offsets[b]);
    }
    uint16_t *units = (uint16_t *)(void *)w;
    units[r] = tmb_float_to_half(largest_scale / 255.0f / TMB_Q4_UNIT);
    units[16 + r] = tmb_float_to_half(largest_offset / 255.0f / TMB_Q4_UNIT);
    float scale_unit = tmb_half_to_float(units[r]) * TMB_Q4_UNIT;
    float offset_unit = tmb_half_to_float(units[16 + r]) * TMB_Q4_UNIT;
    for (size_t b = 0; b < blocks; b++) {
        int scale = scale_unit > 0 ? clamp((int)lrintf(scales[b] / scale_unit), 0, 255) : 0;
        int offset = offset_unit > 0 ? clamp((int)lrintf(offsets[b] / offset_unit), 0, 255) : 0;
        w[64 + b * 32 + r] = (uint8_t)scale;
        w[64 + b * 32 + 16 + r] = (uint8_t)offset;
        float real_scale = scale_unit * (float)scale;
        float real_offset = offset_unit * (float)offset;
        block_values(row, columns, first_block + b, values);
        uint8_t *q = w + tmb_q4_head_bytes(blocks) + b * 256;
        for (size_t k = 0; k < TMB_BLOCK_COLUMNS; k++) {
            int nibble = real_scale > 0 ? clamp((int)lrintf((values[k] + real_offset) / real_scale), 0, 15) : 0;
            q[k / 8 * 64 + r * 4 + k % 4] |= (uint8_t)(nibble << (k % 8 < 4 ? 0 : 4));
        }
    }
}

static void pack_q4(const tmb_matrix *matrix, const float *rows, size_t stride, size_t count, uint8_t *panel) {
    size_t blocks = tmb_block_count(matrix->columns);
    for (size_t b = 0; b < blocks; b += TMB_SUPER_BLOCKS) {
        size_t here = blocks - b < TMB_SUPER_BLOCKS ? blocks - b : TMB_SUPER_BLOCKS;
        for (size_t r = 0; r < count; r++) {
            pack_q4_row(rows + r * stride, matrix->columns, b, here, r, panel);
        }
        panel += TMB_Q4_SUPER_BYTES;
    }
}

void tmb_matrix_pack_panel(const tmb_matrix *matrix, const float *rows, size_t stride, size_t count, uint8_t *panel) {
    memset(panel, 0, matrix->panel_bytes);
    switch (matrix->type) {
    case TMB_WEIGHT_F32: pack_f32(matrix, rows, stride, count, panel); break;
    case TMB_WEIGHT_BF16: pack_bf16(matrix, rows, stride, count, panel); break;
    case TMB_WEIGHT_Q8: pack_q8(matrix, rows, stride, count, panel); break;
    default: pack_q4(matrix, rows, stride, count, panel); break;
    }
}
