/* The matrix kernels for AVX-512 VNNI, Q8 and Q4: one instruction multiplies four columns of 16 rows. */
#include "kernels/x86/matmul_init.h"

#include "kernels/x86/ahead.h"

#include <string.h>

#define MOST_VECTORS 8
/* From this many vectors on their sums are chains enough to hide an instruction's latency, below it each needs two. */
#define ENOUGH_CHAINS 4
#define LEAD_BYTES 8192
#define Q8_FETCHES 9 /* a block */
#define Q4_FETCHES 5

TMB_INLINE __m512i quad_of(const int8_t *bytes) {
    int32_t quad = 0;
    memcpy(&quad, bytes, sizeof quad);
    return _mm512_set1_epi32(quad);
}

/* A block's products are summed in one chain or two. */
TMB_INLINE void add_products(__m512i sums[][2], __m512i first, __m512i second, const tmb_quantized *x, size_t at,
                             int count) {
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        __m512i *other = &sums[i][count < ENOUGH_CHAINS ? 1 : 0];
        sums[i][0] = _mm512_dpbusd_epi32(sums[i][0], first, quad_of(x[i].bytes + at));
        *other = _mm512_dpbusd_epi32(*other, second, quad_of(x[i].bytes + at + 4));
    }
}

TMB_INLINE __m512 product_of(const __m512i sums[2], int count) {
    return _mm512_cvtepi32_ps(count < ENOUGH_CHAINS ? _mm512_add_epi32(sums[0], sums[1]) : sums[0]);
}

/* The instruction wants one unsigned factor: weights plus 128; what that adds is 128 times the sum of the
 * vector's bytes, less which the sums begin. */
TMB_INLINE void q8_tile(const uint8_t *w, size_t blocks, const void *rows, size_t row_stride, float *out,
                        size_t out_stride, tmb_ahead a, int count) {
    const __m512i bias = _mm512_set1_epi8((char)0x80);
    tmb_quantized x[MOST_VECTORS];
    __m512 sums[MOST_VECTORS];
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        x[i] = tmb_quantized_row((const uint8_t *)rows + (size_t)i * row_stride, blocks);
        sums[i] = _mm512_setzero_ps();
    }
    for (size_t b = 0; b < blocks; b++) {
        const uint8_t *q = w + tmb_q8_weights(b);
        __m512i dots[MOST_VECTORS][2];
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            dots[i][0] = _mm512_set1_epi32(x[i].biases[b]);
            dots[i][1] = _mm512_setzero_si512();
        }
        tmb_fetch(&a);
        TMB_UNROLL
        for (int pair = 0; pair < 4; pair++) {
            tmb_fetch(&a);
            tmb_fetch(&a);
            __m512i first = _mm512_xor_si512(_mm512_loadu_si512((const void *)(q + pair * 128)), bias);
            __m512i second = _mm512_xor_si512(_mm512_loadu_si512((const void *)(q + pair * 128 + 64)), bias);
            add_products(dots, first, second, x, b * 32 + (size_t)pair * 8, count);
        }
        __m512 scales = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)(w + tmb_q8_scales(b))));
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            __m512 scale = _mm512_mul_ps(scales, _mm512_set1_ps(x[i].scales[b]));
            sums[i] = _mm512_add_ps(sums[i], _mm512_mul_ps(scale, product_of(dots[i], count)));
        }
    }
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        _mm512_storeu_ps(out + (size_t)i * out_stride, sums[i]);
    }
}

TMB_INLINE __m512 bytes_to_floats(const uint8_t *bytes) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)bytes)));
}

TMB_INLINE void q4_tile(const uint8_t *w, size_t blocks, const void *rows, size_t row_stride, float *out,
                        size_t out_stride, tmb_ahead a, int count) {
    const __m512i low_nibbles = _mm512_set1_epi8(15);
    const __m512 unit = _mm512_set1_ps(TMB_Q4_UNIT);
    tmb_quantized x[MOST_VECTORS];
    __m512 sums[MOST_VECTORS];
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        x[i] = tmb_quantized_row((const uint8_t *)rows + (size_t)i * row_stride, blocks);
        sums[i] = _mm512_setzero_ps();
    }
    for (size_t first = 0; first < blocks; first += TMB_SUPER_BLOCKS) {
        size_t end = blocks - first < TMB_SUPER_BLOCKS ? blocks : first + TMB_SUPER_BLOCKS;
        const uint8_t *q = w + tmb_q4_head_bytes(end - first);
        __m512 scaled[MOST_VECTORS];
        __m512 offset[MOST_VECTORS];
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            scaled[i] = offset[i] = _mm512_setzero_ps();
        }
        for (size_t b = first; b < end; b++, q += 256) {
            __m512i dots[MOST_VECTORS][2];
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                dots[i][0] = dots[i][1] = _mm512_setzero_si512();
            }
            tmb_fetch(&a);
            TMB_UNROLL
            for (int pair = 0; pair < 4; pair++) {
                tmb_fetch(&a);
                __m512i both = _mm512_load_si512((const void *)(q + pair * 64));
                __m512i low = _mm512_and_si512(both, low_nibbles);
                __m512i high = _mm512_and_si512(_mm512_srli_epi16(both, 4), low_nibbles);
                add_products(dots, low, high, x, b * 32 + (size_t)pair * 8, count);
            }
            __m512 scales = bytes_to_floats(w + 64 + (b - first) * 32);
            __m512 offsets = bytes_to_floats(w + 64 + (b - first) * 32 + 16);
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                /* scales * product is a whole number below 2^24: exact. */
                __m512 whole = _mm512_mul_ps(scales, product_of(dots[i], count));
                __m512 part = _mm512_mul_ps(_mm512_set1_ps(x[i].scales[b]), whole);
                scaled[i] = _mm512_add_ps(scaled[i], part);
                offset[i] = _mm512_add_ps(offset[i], _mm512_mul_ps(offsets, _mm512_set1_ps(x[i].totals[b])));
            }
        }
        __m512 scale_unit = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)w));
        __m512 offset_unit = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)(w + 32)));
        scale_unit = _mm512_mul_ps(scale_unit, unit);
        offset_unit = _mm512_mul_ps(offset_unit, unit);
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            __m512 part = _mm512_sub_ps(_mm512_mul_ps(scale_unit, scaled[i]), _mm512_mul_ps(offset_unit, offset[i]));
            sums[i] = _mm512_add_ps(sums[i], part);
        }
        w += TMB_Q4_SUPER_BYTES;
    }
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        _mm512_storeu_ps(out + (size_t)i * out_stride, sums[i]);
    }
}

#define DEFINE_MULTIPLY(name, tile, fetches)                                                                           \
    void name(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride, size_t count,  \
              float *out, size_t out_stride) {                                                                         \
        size_t blocks = tmb_block_count(weights->columns);                                                             \
        size_t tiles = (count + MOST_VECTORS - 1) / MOST_VECTORS;                                                      \
        for (size_t panel = first; panel < end; panel++) {                                                             \
            const uint8_t *w = weights->data + panel * weights->panel_bytes;                                           \
            for (size_t i = 0, number = 0; i < count; number++) {                                                      \
                size_t here = tmb_tile(count - i, MOST_VECTORS);                                                       \
                const void *x = (const uint8_t *)rows + i * row_stride;                                                \
                float *to = out + i * out_stride + panel * TMB_PANEL_ROWS;                                             \
                tmb_ahead a = tmb_ahead_of(weights, w, blocks * (fetches), number, tiles, LEAD_BYTES);                 \
                switch (here) {                                                                                        \
                case 1: tile(w, blocks, x, row_stride, to, out_stride, a, 1); break;                                   \
                case 2: tile(w, blocks, x, row_stride, to, out_stride, a, 2); break;                                   \
                case 3: tile(w, blocks, x, row_stride, to, out_stride, a, 3); break;                                   \
                case 4: tile(w, blocks, x, row_stride, to, out_stride, a, 4); break;                                   \
                case 5: tile(w, blocks, x, row_stride, to, out_stride, a, 5); break;                                   \
                case 6: tile(w, blocks, x, row_stride, to, out_stride, a, 6); break;                                   \
                case 7: tile(w, blocks, x, row_stride, to, out_stride, a, 7); break;                                   \
                default: tile(w, blocks, x, row_stride, to, out_stride, a, 8); break;                                  \
                }                                                                                                      \
                i += here;                                                                                             \
            }                                                                                                          \
        }                                                                                                              \
    }
DEFINE_MULTIPLY(tmb_matmul_q8_avx512vnni, q8_tile, Q8_FETCHES)
DEFINE_MULTIPLY(tmb_matmul_q4_avx512vnni, q4_tile, Q4_FETCHES)

void tmb_matmul_kernels_init_avx512vnni(tmb_matmul_kernels *kernels) {
    kernels->q8 =
        (tmb_matmul){tmb_matmul_quantized_row_bytes, tmb_matmul_quantized_prepare_avx2, tmb_matmul_q8_avx512vnni};
    kernels->q4 =
        (tmb_matmul){tmb_matmul_quantized_row_bytes, tmb_matmul_quantized_prepare_avx2, tmb_matmul_q4_avx512vnni};
}
