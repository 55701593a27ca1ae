/* The quantized matrix kernels for AVX2: 8 and 4 bits, and the vectors that they multiply. */
#include "kernels/x86/matmul_init.h"

#include "kernels/x86/ahead.h"

#include <string.h>

#define MOST_VECTORS 6
/* How far ahead of the product weights are fetched that are read once. */
#define LEAD_BYTES 4096

TMB_INLINE int32_t load_i32(const void *from) {
    int32_t value = 0;
    memcpy(&value, from, sizeof value);
    return value;
}

/* ---- Quantizing vectors ----------------------------------------------------------------------- */

/* Takes of every four words those in even places, then those in odd ones: as Q8's products take them. */
TMB_INLINE __m256i even_first(__m256i words) {
    const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15, 0, 1, 4, 5, 2, 3, 6, 7,
                                           8, 9, 12, 13, 10, 11, 14, 15);
    return _mm256_shuffle_epi8(words, order);
}

void tmb_matmul_quantized_prepare_avx2(const float *values, size_t columns, void *row) {
    size_t blocks = tmb_block_count(columns);
    tmb_quantized parts = tmb_quantized_row(row, blocks);
    int8_t *bytes = (int8_t *)(uintptr_t)parts.bytes;
    int16_t *words = (int16_t *)(uintptr_t)parts.words;
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    for (size_t b = 0; b < blocks; b++) {
        const float *from = values + b * TMB_BLOCK_COLUMNS;
        float padded[TMB_BLOCK_COLUMNS];
        if (columns - b * TMB_BLOCK_COLUMNS < TMB_BLOCK_COLUMNS) {
            size_t count = columns - b * TMB_BLOCK_COLUMNS;
            memset(padded, 0, sizeof padded);
            memcpy(padded, from, count * sizeof *from);
            from = padded;
        }
        __m256 v[4];
        __m256 most = _mm256_setzero_ps();
        TMB_UNROLL
        for (int j = 0; j < 4; j++) {
            v[j] = _mm256_loadu_ps(from + 8 * j);
            most = _mm256_max_ps(most, _mm256_and_ps(v[j], magnitude));
        }
        __m128 half = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
        half = _mm_max_ps(half, _mm_movehl_ps(half, half));
        half = _mm_max_ss(half, _mm_movehdup_ps(half));
        float largest = _mm_cvtss_f32(half);
        float inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
        __m256i q[4];
        TMB_UNROLL
        for (int j = 0; j < 4; j++) {
            q[j] = _mm256_cvtps_epi32(_mm256_mul_ps(v[j], _mm256_set1_ps(inverse)));
        }
        __m256i sum = _mm256_add_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3]));
        __m128i sum4 = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        sum4 = _mm_add_epi32(sum4, _mm_shuffle_epi32(sum4, 0x4e));
        sum4 = _mm_add_epi32(sum4, _mm_shuffle_epi32(sum4, 0xb1));
        /* packs works inside 128-bit lanes; the permutation puts the quarters back in order. */
        __m256i low = _mm256_permute4x64_epi64(_mm256_packs_epi32(q[0], q[1]), 0xd8);
        __m256i high = _mm256_permute4x64_epi64(_mm256_packs_epi32(q[2], q[3]), 0xd8);
        _mm256_storeu_si256((__m256i *)(void *)(words + b * 32), even_first(low));
        _mm256_storeu_si256((__m256i *)(void *)(words + b * 32 + 16), even_first(high));
        __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);
        _mm256_storeu_si256((__m256i *)(void *)(bytes + b * 32), packed);
        float scale = largest > 1e-30f ? largest / 127.0f : 0.0f;
        int32_t sum_of_bytes = _mm_cvtsi128_si32(sum4);
        ((float *)(uintptr_t)parts.scales)[b] = scale;
        ((int32_t *)(uintptr_t)parts.biases)[b] = -128 * sum_of_bytes;
        ((float *)(uintptr_t)parts.totals)[b] = scale * (float)sum_of_bytes;
    }
}

/* ---- Q8 --------------------------------------------------------------------------------------- */

#define Q8_FETCHES 8 /* a block */

/* A block's products for one vector: magnitudes times values with the weights' signs. Pairs of those stay below 2^15.
 */
TMB_INLINE void q8_block_alone(const uint8_t *q, const int8_t *bytes, tmb_ahead *a, __m256i *low_dots,
                               __m256i *high_dots) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i low_sum = _mm256_setzero_si256();
    __m256i high_sum = _mm256_setzero_si256();
    TMB_UNROLL
    for (int quad = 0; quad < 8; quad++) {
        tmb_fetch(a);
        __m256i low = _mm256_load_si256((const __m256i *)(const void *)(q + quad * 64));
        __m256i high = _mm256_load_si256((const __m256i *)(const void *)(q + quad * 64 + 32));
        __m256i value = _mm256_set1_epi32(load_i32(bytes + quad * 4));
        low = _mm256_maddubs_epi16(_mm256_abs_epi8(low), _mm256_sign_epi8(value, low));
        high = _mm256_maddubs_epi16(_mm256_abs_epi8(high), _mm256_sign_epi8(value, high));
        low_sum = _mm256_add_epi32(low_sum, _mm256_madd_epi16(low, ones));
        high_sum = _mm256_add_epi32(high_sum, _mm256_madd_epi16(high, ones));
    }
    *low_dots = low_sum;
    *high_dots = high_sum;
}

/* Bytes are widened to 16 bits, columns 0 and 2 of four, then 1 and 3. For several vectors that costs less than signs
 * and magnitudes do. */
TMB_INLINE void q8_block(const uint8_t *q, const int16_t *const *words, size_t first, tmb_ahead *a, __m256i dots[][2],
                         int count) {
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        dots[i][0] = dots[i][1] = _mm256_setzero_si256();
    }
    TMB_UNROLL
    for (int quad = 0; quad < 8; quad++) {
        tmb_fetch(a);
        TMB_UNROLL
        for (int odd = 0; odd < 2; odd++) {
            __m256i low = _mm256_load_si256((const __m256i *)(const void *)(q + quad * 64));
            __m256i high = _mm256_load_si256((const __m256i *)(const void *)(q + quad * 64 + 32));
            if (odd == 0) {
                low = _mm256_slli_epi16(low, 8);
                high = _mm256_slli_epi16(high, 8);
            }
            low = _mm256_srai_epi16(low, 8);
            high = _mm256_srai_epi16(high, 8);
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                __m256i value = _mm256_set1_epi32(load_i32(words[i] + first + quad * 4 + odd * 2));
                dots[i][0] = _mm256_add_epi32(dots[i][0], _mm256_madd_epi16(low, value));
                dots[i][1] = _mm256_add_epi32(dots[i][1], _mm256_madd_epi16(high, value));
                TMB_IN_REGISTER(dots[i][0]);
                TMB_IN_REGISTER(dots[i][1]);
            }
        }
    }
}

TMB_INLINE void q8_tile(const uint8_t *w, size_t blocks, const void *rows, size_t row_stride, float *out,
                        size_t out_stride, tmb_ahead a, int count) {
    const int8_t *bytes = rows; /* of the first vector */
    const int16_t *words[MOST_VECTORS];
    const float *x_scales[MOST_VECTORS];
    __m256 sums[MOST_VECTORS][2];
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        tmb_quantized x = tmb_quantized_row((const uint8_t *)rows + (size_t)i * row_stride, blocks);
        words[i] = x.words;
        x_scales[i] = x.scales;
        sums[i][0] = sums[i][1] = _mm256_setzero_ps();
    }
    for (size_t b = 0; b < blocks; b++) {
        const uint8_t *q = w + tmb_q8_weights(b);
        __m256i dots[MOST_VECTORS][2];
        if (count == 1) {
            q8_block_alone(q, bytes + b * TMB_BLOCK_COLUMNS, &a, &dots[0][0], &dots[0][1]);
        } else {
            q8_block(q, words, b * TMB_BLOCK_COLUMNS, &a, dots, count);
        }
        const __m128i *scales = (const __m128i *)(const void *)(w + tmb_q8_scales(b));
        __m256 low_scales = _mm256_cvtph_ps(_mm_load_si128(scales));
        __m256 high_scales = _mm256_cvtph_ps(_mm_load_si128(scales + 1));
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            __m256 x_scale = _mm256_broadcast_ss(x_scales[i] + b);
            __m256 low = _mm256_mul_ps(_mm256_mul_ps(low_scales, x_scale), _mm256_cvtepi32_ps(dots[i][0]));
            __m256 high = _mm256_mul_ps(_mm256_mul_ps(high_scales, x_scale), _mm256_cvtepi32_ps(dots[i][1]));
            sums[i][0] = _mm256_add_ps(sums[i][0], low);
            sums[i][1] = _mm256_add_ps(sums[i][1], high);
        }
    }
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        _mm256_storeu_ps(out + (size_t)i * out_stride, sums[i][0]);
        _mm256_storeu_ps(out + (size_t)i * out_stride + 8, sums[i][1]);
    }
}

/* ---- Q4 --------------------------------------------------------------------------------------- */

#define Q4_FETCHES 5 /* a block */

/* Sums of 15 * 127 products stay below 2^15 for the 16 that one block adds to a 16-bit lane, so a block is summed in
 * 16 bits; its scale, a byte, multiplies the two lanes of a row as they are added, and all is still whole. */
TMB_INLINE void q4_super_block(const uint8_t *w, size_t blocks, const int8_t *const *bytes,
                               const float *const *x_scales, const float *const *x_totals, __m256 sums[][2],
                               tmb_ahead *a, int count) {
    const __m256i low_nibbles = _mm256_set1_epi8(15);
    const __m256i spread[2] = {
        _mm256_setr_epi8(0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1, 4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6,
                         -1, 7, -1, 7, -1),
        _mm256_setr_epi8(8, -1, 8, -1, 9, -1, 9, -1, 10, -1, 10, -1, 11, -1, 11, -1, 12, -1, 12, -1, 13, -1, 13, -1, 14,
                         -1, 14, -1, 15, -1, 15, -1),
    };
    const uint8_t *q = w + tmb_q4_head_bytes(blocks);
    __m256 scaled[MOST_VECTORS][2];
    __m256 offset[MOST_VECTORS][2];
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        scaled[i][0] = scaled[i][1] = offset[i][0] = offset[i][1] = _mm256_setzero_ps();
    }
    for (size_t b = 0; b < blocks; b++, q += 256) {
        __m256i dots[MOST_VECTORS][2];
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            dots[i][0] = dots[i][1] = _mm256_setzero_si256();
        }
        tmb_fetch(a);
        TMB_UNROLL
        for (int pair = 0; pair < 4; pair++) {
            tmb_fetch(a);
            TMB_UNROLL
            for (int odd = 0; odd < 2; odd++) {
                __m256i low = _mm256_load_si256((const __m256i *)(const void *)(q + pair * 64));
                __m256i high = _mm256_load_si256((const __m256i *)(const void *)(q + pair * 64 + 32));
                if (odd == 1) {
                    low = _mm256_srli_epi16(low, 4);
                    high = _mm256_srli_epi16(high, 4);
                }
                low = _mm256_and_si256(low, low_nibbles);
                high = _mm256_and_si256(high, low_nibbles);
                TMB_UNROLL
                for (int i = 0; i < count; i++) {
                    __m256i value = _mm256_set1_epi32(load_i32(bytes[i] + b * 32 + pair * 8 + odd * 4));
                    dots[i][0] = _mm256_add_epi16(dots[i][0], _mm256_maddubs_epi16(low, value));
                    dots[i][1] = _mm256_add_epi16(dots[i][1], _mm256_maddubs_epi16(high, value));
                    TMB_IN_REGISTER(dots[i][0]);
                    TMB_IN_REGISTER(dots[i][1]);
                }
            }
        }
        __m256i scales = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)(const void *)(w + 64 + b * 32)));
        TMB_UNROLL
        for (int half = 0; half < 2; half++) {
            __m256i scale = _mm256_shuffle_epi8(scales, spread[half]);
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                __m256 dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(dots[i][half], scale));
                scaled[i][half] =
                    _mm256_add_ps(scaled[i][half], _mm256_mul_ps(_mm256_broadcast_ss(x_scales[i] + b), dot));
            }
        }
    }
    for (size_t b = 0; b < blocks; b++) {
        TMB_UNROLL
        for (int half = 0; half < 2; half++) {
            const void *from = w + 64 + b * 32 + 16 + half * 8;
            __m256 offsets = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from)));
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                __m256 total = _mm256_broadcast_ss(x_totals[i] + b);
                offset[i][half] = _mm256_add_ps(offset[i][half], _mm256_mul_ps(offsets, total));
                TMB_IN_REGISTER(offset[i][half]);
            }
        }
    }
    TMB_UNROLL
    for (int half = 0; half < 2; half++) {
        const __m256 unit = _mm256_set1_ps(TMB_Q4_UNIT);
        __m256 scale_unit = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)(w + half * 16)));
        __m256 offset_unit = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)(w + 32 + half * 16)));
        scale_unit = _mm256_mul_ps(scale_unit, unit);
        offset_unit = _mm256_mul_ps(offset_unit, unit);
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            __m256 part =
                _mm256_sub_ps(_mm256_mul_ps(scale_unit, scaled[i][half]), _mm256_mul_ps(offset_unit, offset[i][half]));
            sums[i][half] = _mm256_add_ps(sums[i][half], part);
        }
    }
}

TMB_INLINE void q4_tile(const uint8_t *w, size_t blocks, const void *rows, size_t row_stride, float *out,
                        size_t out_stride, tmb_ahead a, int count) {
    const int8_t *bytes[MOST_VECTORS];
    const float *x_scales[MOST_VECTORS];
    const float *x_totals[MOST_VECTORS];
    __m256 sums[MOST_VECTORS][2];
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        tmb_quantized x = tmb_quantized_row((const uint8_t *)rows + (size_t)i * row_stride, blocks);
        bytes[i] = x.bytes;
        x_scales[i] = x.scales;
        x_totals[i] = x.totals;
        sums[i][0] = sums[i][1] = _mm256_setzero_ps();
    }
    for (size_t first = 0; first < blocks; first += TMB_SUPER_BLOCKS) {
        size_t here = blocks - first < TMB_SUPER_BLOCKS ? blocks - first : TMB_SUPER_BLOCKS;
        q4_super_block(w, here, bytes, x_scales, x_totals, sums, &a, count);
        w += TMB_Q4_SUPER_BYTES;
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            bytes[i] += TMB_SUPER_BLOCKS * TMB_BLOCK_COLUMNS;
            x_scales[i] += TMB_SUPER_BLOCKS;
            x_totals[i] += TMB_SUPER_BLOCKS;
        }
    }
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        _mm256_storeu_ps(out + (size_t)i * out_stride, sums[i][0]);
        _mm256_storeu_ps(out + (size_t)i * out_stride + 8, sums[i][1]);
    }
}

/* ---- Panels times tiles of vectors ------------------------------------------------------------ */

#define DEFINE_MULTIPLY(name, tile, fetches)                                                                           \
    void name(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride, size_t count,  \
              float *out, size_t out_stride) {                                                                         \
        size_t blocks = tmb_block_count(weights->columns);                                                             \
        size_t tiles = (count + MOST_VECTORS - 1) / MOST_VECTORS;                                                      \
        for (size_t panel = first; panel < end; panel++) {                                                             \
            const uint8_t *w = weights->data + panel * weights->panel_bytes;                                           \
            size_t i = 0;                                                                                              \
            for (size_t t = 0; t < tiles; t++) {                                                                       \
                size_t here = tmb_tile(count - i, MOST_VECTORS);                                                       \
                const void *x = (const uint8_t *)rows + i * row_stride;                                                \
                float *to = out + i * out_stride + panel * TMB_PANEL_ROWS;                                             \
                tmb_ahead a = tmb_ahead_of(weights, w, blocks * (fetches), t, tiles, LEAD_BYTES);                      \
                switch (here) {                                                                                        \
                case 1: tile(w, blocks, x, row_stride, to, out_stride, a, 1); break;                                   \
                case 2: tile(w, blocks, x, row_stride, to, out_stride, a, 2); break;                                   \
                case 3: tile(w, blocks, x, row_stride, to, out_stride, a, 3); break;                                   \
                case 4: tile(w, blocks, x, row_stride, to, out_stride, a, 4); break;                                   \
                case 5: tile(w, blocks, x, row_stride, to, out_stride, a, 5); break;                                   \
                default: tile(w, blocks, x, row_stride, to, out_stride, a, 6); break;                                  \
                }                                                                                                      \
                i += here;                                                                                             \
            }                                                                                                          \
        }                                                                                                              \
    }
DEFINE_MULTIPLY(tmb_matmul_q8_avx2, q8_tile, Q8_FETCHES)
DEFINE_MULTIPLY(tmb_matmul_q4_avx2, q4_tile, Q4_FETCHES)
