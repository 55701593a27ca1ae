/* The quantized matrix kernels in the compiler's vectors: 8 and 4 bits, and the vectors that they multiply. */
#include "kernels/generic/matmul_generic.h"

#include <string.h>

enum { MOST_VECTORS = 3, PARTS = TMB_PANEL_ROWS / LANES };

/* ---- Quantizing vectors ----------------------------------------------------------------------- */

void tmb_matmul_quantized_prepare_generic(const float *values, size_t columns, void *row) {
    static const size_t place[4] = {0, 2, 1, 3}; /* of every four words, those of even columns come first */
    const size_t blocks = tmb_block_count(columns);
    const tmb_quantized parts = tmb_quantized_row(row, blocks);
    int8_t *bytes = (int8_t *)(uintptr_t)parts.bytes;
    int16_t *words = (int16_t *)(uintptr_t)parts.words;
    for (size_t b = 0; b < blocks; b++) {
        const float *from = values + b * TMB_BLOCK_COLUMNS;
        float padded[TMB_BLOCK_COLUMNS] = {0};
        if (columns - b * TMB_BLOCK_COLUMNS < TMB_BLOCK_COLUMNS) {
            memcpy(padded, from, (columns - b * TMB_BLOCK_COLUMNS) * sizeof *from);
            from = padded;
        }
        vec most = v_set(0);
        for (size_t k = 0; k < TMB_BLOCK_COLUMNS; k += LANES) {
            most = v_max(most, v_abs(v_load(from + k)));
        }
        const float largest = v_maximum(most);
        const float inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
        vec_i32 sums = v_i32_set(0);
        for (size_t k = 0; k < TMB_BLOCK_COLUMNS; k += LANES) {
            const vec_i32 steps = __builtin_convertvector(v_round(v_load(from + k) * v_set(inverse)), vec_i32);
            sums += steps;
            for (size_t i = 0; i < LANES; i++) {
                bytes[b * TMB_BLOCK_COLUMNS + k + i] = (int8_t)steps[i];
                words[b * TMB_BLOCK_COLUMNS + k + place[i]] = (int16_t)steps[i];
            }
        }
        const int32_t sum = sums[0] + sums[1] + sums[2] + sums[3];
        const float scale = largest > 1e-30f ? largest / 127.0f : 0.0f;
        ((float *)(uintptr_t)parts.scales)[b] = scale;
        ((int32_t *)(uintptr_t)parts.biases)[b] = -128 * sum;
        ((float *)(uintptr_t)parts.totals)[b] = scale * (float)sum;
    }
}

/* Two neighbouring words of a vector, four times. */
TMB_INLINE vec_i16 pair_of(const int16_t *words) {
    int32_t pair = 0;
    memcpy(&pair, words, sizeof pair);
    return (vec_i16)v_i32_set(pair);
}

/* ---- Q8 --------------------------------------------------------------------------------------- */

/* A doubleword holds four columns of a row: columns 0 and 2 as 16 bits, then 1 and 3. */
TMB_INLINE void q8_block(const uint8_t *q, const int16_t *const *words, size_t first, vec_i32 dots[][PARTS],
                         int count) {
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        TMB_UNROLL
        for (int j = 0; j < PARTS; j++) {
            dots[i][j] = v_i32_set(0);
        }
    }
    for (size_t quad = 0; quad < TMB_BLOCK_COLUMNS / 4; quad++) {
        TMB_UNROLL
        for (int j = 0; j < PARTS; j++) {
            const vec_i16 four = (vec_i16)v_i32_load(q + quad * 64 + (size_t)j * 16);
            const vec_i16 even = (four << 8) >> 8;
            const vec_i16 odd = four >> 8;
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                const int16_t *x = words[i] + first + quad * 4;
                dots[i][j] += v_dot_pairs(even, pair_of(x)) + v_dot_pairs(odd, pair_of(x + 2));
            }
        }
    }
}

TMB_INLINE void q8_tile(const uint8_t *w, size_t blocks, const void *rows, size_t row_stride, float *out,
                        size_t out_stride, int count) {
    const int16_t *words[MOST_VECTORS];
    const float *x_scales[MOST_VECTORS];
    vec sums[MOST_VECTORS][PARTS];
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        const tmb_quantized x = tmb_quantized_row((const uint8_t *)rows + (size_t)i * row_stride, blocks);
        words[i] = x.words;
        x_scales[i] = x.scales;
        TMB_UNROLL
        for (int j = 0; j < PARTS; j++) {
            sums[i][j] = v_set(0);
        }
    }
    for (size_t b = 0; b < blocks; b++) {
        vec_i32 dots[MOST_VECTORS][PARTS];
        q8_block(w + tmb_q8_weights(b), words, b * TMB_BLOCK_COLUMNS, dots, count);
        const uint16_t *scales = (const uint16_t *)(const void *)(w + tmb_q8_scales(b));
        TMB_UNROLL
        for (int j = 0; j < PARTS; j++) {
            const vec scale = v_from_half(scales + j * LANES);
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                sums[i][j] += scale * v_set(x_scales[i][b]) * v_from_i32(dots[i][j]);
            }
        }
    }
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        TMB_UNROLL
        for (int j = 0; j < PARTS; j++) {
            v_store(out + (size_t)i * out_stride + j * LANES, sums[i][j]);
        }
    }
}

/* ---- Q4 --------------------------------------------------------------------------------------- */

/* Products are at most 15 * 127 and a block adds 16 of them to each lane of 16 bits: below 2^15. */
TMB_INLINE void q4_block(const uint8_t *q, const int16_t *const *words, vec_i16 dots[][PARTS], int count) {
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        TMB_UNROLL
        for (int j = 0; j < PARTS; j++) {
            dots[i][j] = (vec_i16)v_i32_set(0);
        }
    }
    for (size_t eight = 0; eight < TMB_BLOCK_COLUMNS / 8; eight++) {
        TMB_UNROLL
        for (int j = 0; j < PARTS; j++) {
            const vec_u16 all = (vec_u16)v_i32_load(q + eight * 64 + (size_t)j * 16);
            const vec_i16 low_even = (vec_i16)(all & 15);
            const vec_i16 low_odd = (vec_i16)((all >> 8) & 15);
            const vec_i16 high_even = (vec_i16)((all >> 4) & 15);
            const vec_i16 high_odd = (vec_i16)(all >> 12);
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                const int16_t *x = words[i] + eight * 8;
                dots[i][j] += low_even * pair_of(x) + low_odd * pair_of(x + 2);
                dots[i][j] += high_even * pair_of(x + 4) + high_odd * pair_of(x + 6);
            }
        }
    }
}

/* One super-block of `blocks` blocks. The order of all sums is the plain C's. */
TMB_INLINE void q4_super_block(const uint8_t *w, size_t blocks, const int16_t *const *words,
                               const float *const *x_scales, const float *const *x_totals, vec sums[][PARTS],
                               int count) {
    const uint8_t *q = w + tmb_q4_head_bytes(blocks);
    const vec_i16 ones = (vec_i16)v_i32_set(0x10001);
    vec scaled[MOST_VECTORS][PARTS];
    vec offset[MOST_VECTORS][PARTS];
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        TMB_UNROLL
        for (int j = 0; j < PARTS; j++) {
            scaled[i][j] = offset[i][j] = v_set(0);
        }
    }
    for (size_t b = 0; b < blocks; b++, q += 256) {
        vec_i16 dots[MOST_VECTORS][PARTS];
        const int16_t *x[MOST_VECTORS];
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            x[i] = words[i] + b * TMB_BLOCK_COLUMNS;
        }
        q4_block(q, x, dots, count);
        vec scales[PARTS];
        vec offsets[PARTS];
        v_from_bytes(w + 64 + b * 32, scales);
        v_from_bytes(w + 64 + b * 32 + 16, offsets);
        TMB_UNROLL
        for (int j = 0; j < PARTS; j++) {
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                /* Below 2^24, hence exact. */
                scaled[i][j] += v_set(x_scales[i][b]) * (scales[j] * v_from_i32(v_dot_pairs(dots[i][j], ones)));
                offset[i][j] += offsets[j] * v_set(x_totals[i][b]);
            }
        }
    }
    const uint16_t *units = (const uint16_t *)(const void *)w;
    TMB_UNROLL
    for (int j = 0; j < PARTS; j++) {
        const vec scale_unit = v_from_half(units + j * LANES) * v_set(TMB_Q4_UNIT);
        const vec offset_unit = v_from_half(units + 16 + j * LANES) * v_set(TMB_Q4_UNIT);
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            sums[i][j] += scale_unit * scaled[i][j] - offset_unit * offset[i][j];
        }
    }
}

TMB_INLINE void q4_tile(const uint8_t *w, size_t blocks, const void *rows, size_t row_stride, float *out,
                        size_t out_stride, int count) {
    const int16_t *words[MOST_VECTORS];
    const float *x_scales[MOST_VECTORS];
    const float *x_totals[MOST_VECTORS];
    vec sums[MOST_VECTORS][PARTS];
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        const tmb_quantized x = tmb_quantized_row((const uint8_t *)rows + (size_t)i * row_stride, blocks);
        words[i] = x.words;
        x_scales[i] = x.scales;
        x_totals[i] = x.totals;
        TMB_UNROLL
        for (int j = 0; j < PARTS; j++) {
            sums[i][j] = v_set(0);
        }
    }
    for (size_t first = 0; first < blocks; first += TMB_SUPER_BLOCKS) {
        const size_t here = blocks - first < TMB_SUPER_BLOCKS ? blocks - first : TMB_SUPER_BLOCKS;
        q4_super_block(w, here, words, x_scales, x_totals, sums, count);
        w += TMB_Q4_SUPER_BYTES;
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            words[i] += TMB_SUPER_BLOCKS * TMB_BLOCK_COLUMNS;
            x_scales[i] += TMB_SUPER_BLOCKS;
            x_totals[i] += TMB_SUPER_BLOCKS;
        }
    }
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        TMB_UNROLL
        for (int j = 0; j < PARTS; j++) {
            v_store(out + (size_t)i * out_stride + j * LANES, sums[i][j]);
        }
    }
}

/* ---- Panels times tiles of vectors ------------------------------------------------------------ */

#define DEFINE_MULTIPLY(name, tile)                                                                                    \
    void name(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride, size_t count,  \
              float *out, size_t out_stride) {                                                                         \
        const size_t blocks = tmb_block_count(weights->columns);                                                       \
        for (size_t panel = first; panel < end; panel++) {                                                             \
            const uint8_t *w = weights->data + panel * weights->panel_bytes;                                           \
            for (size_t i = 0, here = 0; i < count; i += here) {                                                       \
                here = tmb_tile(count - i, MOST_VECTORS);                                                              \
                const void *x = (const uint8_t *)rows + i * row_stride;                                                \
                float *to = out + i * out_stride + panel * TMB_PANEL_ROWS;                                             \
                switch (here) {                                                                                        \
                case 1: tile(w, blocks, x, row_stride, to, out_stride, 1); break;                                      \
                case 2: tile(w, blocks, x, row_stride, to, out_stride, 2); break;                                      \
                default: tile(w, blocks, x, row_stride, to, out_stride, 3); break;                                     \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }
DEFINE_MULTIPLY(tmb_matmul_q8_generic, q8_tile)
DEFINE_MULTIPLY(tmb_matmul_q4_generic, q4_tile)
