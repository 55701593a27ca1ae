/* The matrix kernels for AVX2 and FMA. A vector register holds 8 rows of a panel. */
#include "kernels/x86/matmul_init.h"

#include "kernels/matmul_layout.h"
#include "kernels/x86/ahead.h"
#include "kernels/x86/intrinsics.h"

#define MOST_VECTORS 6
#define LEAD_BYTES 4096

TMB_INLINE const float *float_row(const void *rows, size_t row_stride, size_t i) {
    return (const float *)(const void *)((const uint8_t *)rows + i * row_stride);
}

/* ---- F32 -------------------------------------------------------------------------------------- */

/* `panels` panels times `count` vectors, both constants after inlining. */
TMB_INLINE void f32_tile(const tmb_matrix *weights, size_t panel, const void *rows, size_t row_stride, float *out,
                         size_t out_stride, tmb_ahead a, int panels, int count) {
    const float *w[4];
    const float *x[MOST_VECTORS];
    __m256 sums[4][MOST_VECTORS][2];
    TMB_UNROLL
    for (int p = 0; p < panels; p++) {
        w[p] = (const float *)(const void *)(weights->data + (panel + (size_t)p) * weights->panel_bytes);
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            sums[p][i][0] = sums[p][i][1] = _mm256_setzero_ps();
        }
    }
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        x[i] = float_row(rows, row_stride, (size_t)i);
    }
    for (size_t k = 0; k < weights->columns; k++) {
        TMB_UNROLL
        for (int p = 0; p < panels; p++) {
            if (panels == 1) {
                tmb_fetch(&a);
            } else {
                _mm_prefetch((const char *)(w[p] + k * 16) + LEAD_BYTES, _MM_HINT_T0);
            }
            __m256 low = _mm256_load_ps(w[p] + k * 16);
            __m256 high = _mm256_load_ps(w[p] + k * 16 + 8);
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                __m256 value = _mm256_broadcast_ss(x[i] + k);
                sums[p][i][0] = _mm256_fmadd_ps(low, value, sums[p][i][0]);
                sums[p][i][1] = _mm256_fmadd_ps(high, value, sums[p][i][1]);
            }
        }
    }
    TMB_UNROLL
    for (int p = 0; p < panels; p++) {
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            float *to = out + (size_t)i * out_stride + (panel + (size_t)p) * TMB_PANEL_ROWS;
            _mm256_storeu_ps(to, sums[p][i][0]);
            _mm256_storeu_ps(to + 8, sums[p][i][1]);
        }
    }
}

/* ---- BF16 ------------------------------------------------------------------------------------- */

/* A doubleword holds columns k (low half) and k + 1 (high half) of a row. */
TMB_INLINE void bf16_tile(const tmb_matrix *weights, size_t panel, const void *rows, size_t row_stride, float *out,
                          size_t out_stride, tmb_ahead a, int panels, int count) {
    const __m256i high_halves = _mm256_set1_epi32((int)0xffff0000u);
    const uint8_t *w[4];
    const float *x[MOST_VECTORS];
    __m256 sums[4][MOST_VECTORS][2];
    TMB_UNROLL
    for (int p = 0; p < panels; p++) {
        w[p] = weights->data + (panel + (size_t)p) * weights->panel_bytes;
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            sums[p][i][0] = sums[p][i][1] = _mm256_setzero_ps();
        }
    }
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        x[i] = float_row(rows, row_stride, (size_t)i);
    }
    size_t pairs = (weights->columns + 1) / 2;
    for (size_t pair = 0; pair < pairs; pair++) {
        TMB_UNROLL
        for (int p = 0; p < panels; p++) {
            if (panels == 1) {
                tmb_fetch(&a);
            } else {
                _mm_prefetch((const char *)(w[p] + pair * 64 + LEAD_BYTES), _MM_HINT_T0);
            }
            const __m256i *line = (const __m256i *)(const void *)(w[p] + pair * 64);
            __m256 low = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_load_si256(line), 16));
            __m256 high = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_load_si256(line + 1), 16));
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                __m256 value = _mm256_broadcast_ss(x[i] + pair * 2);
                sums[p][i][0] = _mm256_fmadd_ps(low, value, sums[p][i][0]);
                sums[p][i][1] = _mm256_fmadd_ps(high, value, sums[p][i][1]);
            }
            low = _mm256_castsi256_ps(_mm256_and_si256(_mm256_load_si256(line), high_halves));
            high = _mm256_castsi256_ps(_mm256_and_si256(_mm256_load_si256(line + 1), high_halves));
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                __m256 value = _mm256_broadcast_ss(x[i] + pair * 2 + 1);
                sums[p][i][0] = _mm256_fmadd_ps(low, value, sums[p][i][0]);
                sums[p][i][1] = _mm256_fmadd_ps(high, value, sums[p][i][1]);
            }
        }
    }
    TMB_UNROLL
    for (int p = 0; p < panels; p++) {
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            float *to = out + (size_t)i * out_stride + (panel + (size_t)p) * TMB_PANEL_ROWS;
            _mm256_storeu_ps(to, sums[p][i][0]);
            _mm256_storeu_ps(to + 8, sums[p][i][1]);
        }
    }
}

/* One vector: four panels at a time, for enough independent sums, each fetching its own; more vectors: one panel. */
#define DEFINE_FLOAT_MULTIPLY(name, tile)                                                                              \
    static void name(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,         \
                     size_t count, float *out, size_t out_stride) {                                                    \
        const tmb_ahead none = {NULL, 0};                                                                              \
        size_t tiles = (count + MOST_VECTORS - 1) / MOST_VECTORS;                                                      \
        size_t panel = first;                                                                                          \
        if (count == 1) {                                                                                              \
            for (; panel + 4 <= end; panel += 4) {                                                                     \
                tile(weights, panel, rows, row_stride, out, out_stride, none, 4, 1);                                   \
            }                                                                                                          \
        } else if (count == 2) {                                                                                       \
            for (; panel + 2 <= end; panel += 2) {                                                                     \
                tile(weights, panel, rows, row_stride, out, out_stride, none, 2, 2);                                   \
            }                                                                                                          \
        }                                                                                                              \
        for (; panel < end; panel++) {                                                                                 \
            for (size_t i = 0, number = 0; i < count; number++) {                                                      \
                size_t here = tmb_tile(count - i, MOST_VECTORS);                                                       \
                const uint8_t *w = weights->data + panel * weights->panel_bytes;                                       \
                tmb_ahead a = tmb_ahead_of(weights, w, weights->panel_bytes / 64, number, tiles, LEAD_BYTES);          \
                const void *x = (const uint8_t *)rows + i * row_stride;                                                \
                float *to = out + i * out_stride;                                                                      \
                switch (here) {                                                                                        \
                case 1: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 1); break;                           \
                case 2: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 2); break;                           \
                case 3: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 3); break;                           \
                case 4: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 4); break;                           \
                case 5: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 5); break;                           \
                default: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 6); break;                          \
                }                                                                                                      \
                i += here;                                                                                             \
            }                                                                                                          \
        }                                                                                                              \
    }
DEFINE_FLOAT_MULTIPLY(multiply_f32, f32_tile)
DEFINE_FLOAT_MULTIPLY(multiply_bf16, bf16_tile)

void tmb_matmul_kernels_init_avx2(tmb_matmul_kernels *kernels) {
    kernels->f32 = (tmb_matmul){tmb_matmul_float_row_bytes, tmb_matmul_float_prepare, multiply_f32};
    kernels->bf16 = (tmb_matmul){tmb_matmul_float_row_bytes, tmb_matmul_float_prepare, multiply_bf16};
    kernels->bf16_dot = kernels->bf16;
    kernels->q8 = (tmb_matmul){tmb_matmul_quantized_row_bytes, tmb_matmul_quantized_prepare_avx2, tmb_matmul_q8_avx2};
    kernels->q4 = (tmb_matmul){tmb_matmul_quantized_row_bytes, tmb_matmul_quantized_prepare_avx2, tmb_matmul_q4_avx2};
}
