/* The matrix kernels in the compiler's vectors: floats and bf16. A vector holds 4 rows of a panel. */
#include "kernels/generic/matmul_generic.h"

enum { MOST_VECTORS = 3, PARTS = TMB_PANEL_ROWS / LANES };

TMB_INLINE void begin(const tmb_matrix *weights, size_t panel, const void *rows, size_t row_stride, const uint8_t *w[2],
                      const float *x[MOST_VECTORS], vec sums[][PARTS], int panels, int count) {
    TMB_UNROLL
    for (int p = 0; p < panels; p++) {
        w[p] = weights->data + (panel + (size_t)p) * weights->panel_bytes;
    }
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        x[i] = (const float *)(const void *)((const uint8_t *)rows + (size_t)i * row_stride);
    }
    TMB_UNROLL
    for (int i = 0; i < panels * count; i++) {
        TMB_UNROLL
        for (int j = 0; j < PARTS; j++) {
            sums[i][j] = v_set(0);
        }
    }
}

TMB_INLINE void end(float *out, size_t out_stride, vec sums[][PARTS], int panels, int count) {
    TMB_UNROLL
    for (int p = 0; p < panels; p++) {
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            TMB_UNROLL
            for (int j = 0; j < PARTS; j++) {
                v_store(out + (size_t)i * out_stride + p * TMB_PANEL_ROWS + j * LANES, sums[p * count + i][j]);
            }
        }
    }
}

/* `panels` panels times `count` vectors, both constants after inlining; `out` is the first panel's. */
TMB_INLINE void f32_tile(const tmb_matrix *weights, size_t panel, const void *rows, size_t row_stride, float *out,
                         size_t out_stride, int panels, int count) {
    const uint8_t *w[2];
    const float *x[MOST_VECTORS];
    vec sums[MOST_VECTORS][PARTS];
    begin(weights, panel, rows, row_stride, w, x, sums, panels, count);
    for (size_t k = 0; k < weights->columns; k++) {
        TMB_UNROLL
        for (int p = 0; p < panels; p++) {
            const float *column = (const float *)(const void *)w[p] + k * TMB_PANEL_ROWS;
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                const vec value = v_set(x[i][k]);
                TMB_UNROLL
                for (int j = 0; j < PARTS; j++) {
                    sums[p * count + i][j] += v_load(column + j * LANES) * value;
                }
            }
        }
    }
    end(out, out_stride, sums, panels, count);
}

/* A doubleword holds columns k (low half) and k + 1 (high half) of a row. */
TMB_INLINE void bf16_tile(const tmb_matrix *weights, size_t panel, const void *rows, size_t row_stride, float *out,
                          size_t out_stride, int panels, int count) {
    const uint8_t *w[2];
    const float *x[MOST_VECTORS];
    vec sums[MOST_VECTORS][PARTS];
    begin(weights, panel, rows, row_stride, w, x, sums, panels, count);
    for (size_t pair = 0; pair < (weights->columns + 1) / 2; pair++) {
        TMB_UNROLL
        for (int p = 0; p < panels; p++) {
            TMB_UNROLL
            for (int j = 0; j < PARTS; j++) {
                const vec_i32 both = v_i32_load(w[p] + pair * 64 + j * 16);
                const vec even = (vec)(both << 16);
                const vec odd = (vec)(both & (int32_t)0xffff0000);
                TMB_UNROLL
                for (int i = 0; i < count; i++) {
                    vec *sum = &sums[p * count + i][j];
                    *sum += even * v_set(x[i][2 * pair]);
                    *sum += odd * v_set(x[i][2 * pair + 1]);
                }
            }
        }
    }
    end(out, out_stride, sums, panels, count);
}

/* One vector: two panels at a time, for enough independent sums. */
#define DEFINE_MULTIPLY(name, tile)                                                                                    \
    static void name(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,         \
                     size_t count, float *out, size_t out_stride) {                                                    \
        size_t panel = first;                                                                                          \
        for (; count == 1 && panel + 2 <= end; panel += 2) {                                                           \
            tile(weights, panel, rows, row_stride, out + panel * TMB_PANEL_ROWS, out_stride, 2, 1);                    \
        }                                                                                                              \
        for (; panel < end; panel++) {                                                                                 \
            for (size_t i = 0, here = 0; i < count; i += here) {                                                       \
                here = tmb_tile(count - i, MOST_VECTORS);                                                              \
                const void *x = (const uint8_t *)rows + i * row_stride;                                                \
                float *to = out + i * out_stride + panel * TMB_PANEL_ROWS;                                             \
                switch (here) {                                                                                        \
                case 1: tile(weights, panel, x, row_stride, to, out_stride, 1, 1); break;                              \
                case 2: tile(weights, panel, x, row_stride, to, out_stride, 1, 2); break;                              \
                default: tile(weights, panel, x, row_stride, to, out_stride, 1, 3); break;                             \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }
DEFINE_MULTIPLY(multiply_f32, f32_tile)
DEFINE_MULTIPLY(multiply_bf16, bf16_tile)

void tmb_matmul_kernels_init_generic(tmb_matmul_kernels *kernels) {
    kernels->f32.multiply = multiply_f32;
    kernels->bf16.multiply = multiply_bf16;
    kernels->bf16_dot.multiply = multiply_bf16;
    kernels->q8.prepare = tmb_matmul_quantized_prepare_generic;
    kernels->q8.multiply = tmb_matmul_q8_generic;
    kernels->q4.prepare = tmb_matmul_quantized_prepare_generic;
    kernels->q4.multiply = tmb_matmul_q4_generic;
}
