/* BF16 products of rounded vectors for AVX-512 BF16: one instruction takes two columns of 16 rows. */
#include "kernels/x86/matmul_init.h"

#include "kernels/x86/ahead.h"

#include <string.h>

#define MOST_VECTORS 12
#define MOST_SUMS 12
#define LEAD_BYTES 4096

static size_t row_bytes(size_t columns) { return tmb_bf16_row_bytes(columns); }

/* Rounds 8 finite floats to nearest even; the result is in the low half of each doubleword. */
TMB_INLINE __m256i round8(const float *values) {
    __m256i bits = _mm256_loadu_si256((const __m256i *)(const void *)values);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    bits = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    return _mm256_srli_epi32(bits, 16);
}

void tmb_matmul_bf16_prepare_avx512bf16(const float *values, size_t columns, void *row) {
    uint8_t *out = row;
    size_t k = 0;
    for (; k + 16 <= columns; k += 16) {
        /* packus works inside 128-bit lanes; the permutation puts the quarters back in order. */
        __m256i packed = _mm256_packus_epi32(round8(values + k), round8(values + k + 8));
        _mm256_storeu_si256((__m256i *)(void *)(out + k * 2), _mm256_permute4x64_epi64(packed, 0xd8));
    }
    memset(out + k * 2, 0, tmb_bf16_row_bytes(columns) - k * 2);
    for (; k < columns; k++) {
        uint16_t rounded = tmb_float_to_bf16(values[k]);
        memcpy(out + k * 2, &rounded, sizeof rounded);
    }
}

TMB_INLINE __m512bh pair_of(const uint8_t *x, size_t pair) {
    int32_t bits = 0;
    memcpy(&bits, x + pair * 4, sizeof bits);
    return (__m512bh)_mm512_set1_epi32(bits);
}

TMB_INLINE void tile(const tmb_matrix *weights, size_t panel, const void *rows, size_t row_stride, float *out,
                     size_t out_stride, tmb_ahead a, int panels, int count) {
    const uint8_t *w[8];
    const uint8_t *x[MOST_VECTORS];
    __m512 sums[MOST_SUMS];
    TMB_UNROLL
    for (int p = 0; p < panels; p++) {
        w[p] = weights->data + (panel + (size_t)p) * weights->panel_bytes;
    }
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        x[i] = (const uint8_t *)rows + (size_t)i * row_stride;
    }
    TMB_UNROLL
    for (int s = 0; s < panels * count; s++) {
        sums[s] = _mm512_setzero_ps();
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
            __m512bh line = (__m512bh)_mm512_load_si512((const void *)(w[p] + pair * 64));
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                sums[p * count + i] = _mm512_dpbf16_ps(sums[p * count + i], line, pair_of(x[i], pair));
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

#define NO_AHEAD ((tmb_ahead){NULL, 0})
static void multiply(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                     size_t count, float *out, size_t out_stride) {
    size_t panel = first;
    size_t tiles = (count + MOST_VECTORS - 1) / MOST_VECTORS;
    switch (count) {
    case 1:
        for (; panel + 8 <= end; panel += 8) {
            tile(weights, panel, rows, row_stride, out, out_stride, NO_AHEAD, 8, 1);
        }
        break;
    case 2:
        for (; panel + 4 <= end; panel += 4) {
            tile(weights, panel, rows, row_stride, out, out_stride, NO_AHEAD, 4, 2);
        }
        break;
    case 3:
        for (; panel + 4 <= end; panel += 4) {
            tile(weights, panel, rows, row_stride, out, out_stride, NO_AHEAD, 4, 3);
        }
        break;
    case 4:
        for (; panel + 2 <= end; panel += 2) {
            tile(weights, panel, rows, row_stride, out, out_stride, NO_AHEAD, 2, 4);
        }
        break;
    default: break;
    }
    for (; panel < end; panel++) {
        for (size_t i = 0, number = 0; i < count; number++) {
            size_t here = tmb_tile(count - i, MOST_VECTORS);
            tmb_ahead a = tmb_ahead_of(weights, weights->data + panel * weights->panel_bytes, weights->panel_bytes / 64,
                                       number, tiles, LEAD_BYTES);
            const void *x = (const uint8_t *)rows + i * row_stride;
            float *to = out + i * out_stride;
            switch (here) {
            case 1: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 1); break;
            case 2: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 2); break;
            case 3: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 3); break;
            case 4: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 4); break;
            case 5: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 5); break;
            case 6: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 6); break;
            case 7: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 7); break;
            case 8: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 8); break;
            case 9: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 9); break;
            case 10: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 10); break;
            case 11: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 11); break;
            default: tile(weights, panel, x, row_stride, to, out_stride, a, 1, 12); break;
            }
            i += here;
        }
    }
}

void tmb_matmul_kernels_init_avx512bf16(tmb_matmul_kernels *kernels) {
    kernels->bf16_dot = (tmb_matmul){row_bytes, tmb_matmul_bf16_prepare_avx512bf16, multiply};
}
