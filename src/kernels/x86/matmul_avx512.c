/* The matrix kernels for AVX-512, F32 and BF16 multiplied as floats. A vector register holds a panel's 16
 * rows. */
#include "kernels/x86/matmul_init.h"

#include "kernels/matmul_layout.h"
#include "kernels/x86/ahead.h"
#include "kernels/x86/intrinsics.h"

#define MOST_VECTORS 12
#define MOST_SUMS 12
#define LEAD_BYTES 4096

TMB_INLINE const float *float_row(const void *rows, size_t row_stride, size_t i) {
    return (const float *)(const void *)((const uint8_t *)rows + i * row_stride);
}

/* `panels` panels times `count` vectors, both constants after inlining, at most MOST_SUMS products. */
TMB_INLINE void tile(const tmb_matrix *weights, size_t panel, const void *rows, size_t row_stride, float *out,
                     size_t out_stride, tmb_ahead a, int panels, int count, bool bf16) {
    const __m512i high_halves = _mm512_set1_epi32((int)0xffff0000u);
    const uint8_t *w[8];
    const float *x[MOST_VECTORS];
    __m512 sums[MOST_SUMS];
    TMB_UNROLL
    for (int p = 0; p < panels; p++) {
        w[p] = weights->data + (panel + (size_t)p) * weights->panel_bytes;
    }
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        x[i] = float_row(rows, row_stride, (size_t)i);
    }
    TMB_UNROLL
    for (int s = 0; s < panels * count; s++) {
        sums[s] = _mm512_setzero_ps();
    }
    size_t lines = bf16 ? (weights->columns + 1) / 2 : weights->columns;
    for (size_t line = 0; line < lines; line++) {
        TMB_UNROLL
        for (int p = 0; p < panels; p++) {
            if (panels == 1) {
                tmb_fetch(&a);
            } else {
                _mm_prefetch((const char *)(w[p] + line * 64 + LEAD_BYTES), _MM_HINT_T0);
            }
            __m512i bits = _mm512_load_si512((const void *)(w[p] + line * 64));
            __m512 first = _mm512_castsi512_ps(bf16 ? _mm512_slli_epi32(bits, 16) : bits);
            __m512 second = _mm512_castsi512_ps(_mm512_and_si512(bits, high_halves));
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                __m512 sum = sums[p * count + i];
                if (bf16) {
                    sum = _mm512_fmadd_ps(first, _mm512_set1_ps(x[i][line * 2]), sum);
                    sum = _mm512_fmadd_ps(second, _mm512_set1_ps(x[i][line * 2 + 1]), sum);
                } else {
                    sum = _mm512_fmadd_ps(first, _mm512_set1_ps(x[i][line]), sum);
                }
                sums[p * count + i] = sum;
            }
        }
    }
    TMB_UNROLL
    for (int p = 0; p < panels; p++) {
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            _mm512_storeu_ps(out + (size_t)i * out_stride + (panel + (size_t)p) * TMB_PANEL_ROWS, sums[p * count + i]);
        }
    }
}

/* Several panels at once if there are few vectors, for enough independent sums. */
TMB_INLINE void multiply(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                         size_t count, float *out, size_t out_stride, bool bf16) {
    const tmb_ahead none = {NULL, 0}; /* several panels each fetch their own */
    size_t tiles = (count + MOST_VECTORS - 1) / MOST_VECTORS;
    size_t panel = first;
    switch (count) {
    case 1:
        for (; panel + 8 <= end; panel += 8) {
            tile(weights, panel, rows, row_stride, out, out_stride, none, 8, 1, bf16);
        }
        break;
    case 2:
        for (; panel + 4 <= end; panel += 4) {
            tile(weights, panel, rows, row_stride, out, out_stride, none, 4, 2, bf16);
        }
        break;
    case 3:
        for (; panel + 2 <= end; panel += 2) {
            tile(weights, panel, rows, row_stride, out, out_stride, none, 2, 3, bf16);
        }
        break;
    case 4:
        for (; panel + 2 <= end; panel += 2) {
            tile(weights, panel, rows, row_stride, out, out_stride, none, 2, 4, bf16);
        }
        break;
    default: break;
    }
    for (; panel < end; panel++) {
        for (size_t i = 0, number = 0; i < count; number++) {
            size_t here = tmb_tile(count - i, MOST_VECTORS);
            const uint8_t *w = weights->data + panel * weights->panel_bytes;
            tmb_ahead a = tmb_ahead_of(weights, w, weights->panel_bytes / 64, number, tiles, LEAD_BYTES);
            const void *x = (const uint8_t *)rows + i * row_stride;
            float *to = out + i * out_stride;
            switch (here) {
            case 1: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 1, bf16); break;
            case 2: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 2, bf16); break;
            case 3: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 3, bf16); break;
            case 4: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 4, bf16); break;
            case 5: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 5, bf16); break;
            case 6: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 6, bf16); break;
            case 7: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 7, bf16); break;
            case 8: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 8, bf16); break;
            case 9: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 9, bf16); break;
            case 10: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 10, bf16); break;
            case 11: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 11, bf16); break;
            default: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 12, bf16); break;
            }
            i += here;
        }
    }
}

static void multiply_f32(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                         size_t count, float *out, size_t out_stride) {
    multiply(weights, first, end, rows, row_stride, count, out, out_stride, false);
}

static void multiply_bf16(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                          size_t count, float *out, size_t out_stride) {
    multiply(weights, first, end, rows, row_stride, count, out, out_stride, true);
}

void tmb_matmul_kernels_init_avx512(tmb_matmul_kernels *kernels) {
    kernels->f32 = (tmb_matmul){tmb_matmul_float_row_bytes, tmb_matmul_float_prepare, multiply_f32};
    kernels->bf16 = (tmb_matmul){tmb_matmul_float_row_bytes, tmb_matmul_float_prepare, multiply_bf16};
    kernels->bf16_dot = kernels->bf16;
}
