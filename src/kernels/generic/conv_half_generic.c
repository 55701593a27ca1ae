#include "kernels/generic/init.h"

#include "kernels/forms/lanes_generic.h"
#include "kernels/forms/unroll.h"

#include <math.h>
#include <string.h>

/* As conv_generic.c: whole numbers of 12 bits, a pair of inputs at a time. */
enum { ROWS = 3, WIDTH = 16, VECTORS = WIDTH / LANES };

TMB_INLINE vec_i16 pair_of(const uint16_t *a) {
    int32_t pair = 0;
    memcpy(&pair, a, sizeof pair);
    return (vec_i16)v_i32_set(pair);
}

TMB_INLINE void tile(const uint16_t *a, size_t a_pitch, const float *row_scales, size_t pairs, const uint16_t *b,
                     const float *column_scales, const float *start, float *c, size_t c_pitch, const int rows) {
    vec_i32 sums[ROWS][VECTORS];
    TMB_UNROLL
    for (int r = 0; r < rows; r++) {
        TMB_UNROLL
        for (int j = 0; j < VECTORS; j++) {
            sums[r][j] = v_i32_set(0);
        }
    }
    for (size_t k = 0; k < pairs; k++, b += 2 * WIDTH) {
        TMB_UNROLL
        for (int r = 0; r < rows; r++) {
            const vec_i16 value = pair_of(a + (size_t)r * a_pitch + 2 * k);
            TMB_UNROLL
            for (int j = 0; j < VECTORS; j++) {
                sums[r][j] += v_dot_pairs((vec_i16)v_i32_load(b + 2 * LANES * j), value);
            }
        }
    }
    TMB_UNROLL
    for (int r = 0; r < rows; r++) {
        float *to = c + (size_t)r * c_pitch;
        const float *from = start != NULL ? start : to;
        TMB_UNROLL
        for (int j = 0; j < VECTORS; j++) {
            const vec factor = v_set(row_scales[r]) * v_load(column_scales + LANES * j);
            v_store(to + LANES * j, v_load(from + LANES * j) + v_from_i32(sums[r][j]) * factor);
        }
    }
}

static void panel(const uint16_t *a, size_t a_pitch, const float *row_scales, size_t rows, size_t pairs,
                  const uint16_t *b, const float *column_scales, const float *start, float *c, size_t c_pitch,
                  const void *next, size_t next_bytes) {
    (void)next;
    (void)next_bytes;
    for (; rows >= ROWS; rows -= ROWS, a += ROWS * a_pitch, c += ROWS * c_pitch, row_scales += ROWS) {
        tile(a, a_pitch, row_scales, pairs, b, column_scales, start, c, c_pitch, ROWS);
    }
    switch (rows) {
    case 2: tile(a, a_pitch, row_scales, pairs, b, column_scales, start, c, c_pitch, 2); break;
    case 1: tile(a, a_pitch, row_scales, pairs, b, column_scales, start, c, c_pitch, 1); break;
    default: break;
    }
}

static void convert(const float *x, size_t count, uint16_t *out, float *scale) {
    const size_t whole = count / LANES * LANES;
    vec peak = v_set(0);
    for (size_t i = 0; i < whole; i += LANES) {
        peak = v_max(peak, v_abs(v_load(x + i)));
    }
    float most = v_maximum(peak);
    for (size_t i = whole; i < count; i++) {
        const float size = fabsf(x[i]);
        most = size > most ? size : most;
    }
    const float factor = most > 0 ? TMB_CONV_ROW_STEPS / most : 0;
    for (size_t i = 0; i < count; i += LANES) {
        const size_t some = count - i < LANES ? count - i : LANES;
        const vec_i32 steps = __builtin_convertvector(v_round(v_load_some(x + i, some) * v_set(factor)), vec_i32);
        for (size_t j = 0; j < some; j++) {
            out[i + j] = (uint16_t)(int16_t)steps[j];
        }
    }
    if (count % 2 != 0) {
        out[count] = 0;
    }
    *scale = most / TMB_CONV_ROW_STEPS;
}

void tmb_conv_half_kernels_init_generic(tmb_conv_half_kernels *kernels) {
    *kernels = (tmb_conv_half_kernels){
        .width = WIDTH,
        .rows = ROWS,
        .depth_unit = 2,
        .depth_max = TMB_CONV_DEPTH_MAX,
        .whole_numbers = true,
        .convert = convert,
        .panel = panel,
    };
}
