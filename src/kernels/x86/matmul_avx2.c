/* The matrix kernels for AVX2 and FMA. A vector register holds 8 rows of a panel. */
#include "kernels/matmul_forms.h"
#include "kernels/x86/intrinsics.h"

#include <string.h>

#define MOST_VECTORS 6
#ifndef PREFETCH_BYTES
#define PREFETCH_BYTES 4096
#endif

/* Four bytes, or two floats' worth, at any alignment. */
TMB_INLINE int32_t load_i32(const void *from) {
    int32_t value = 0;
    memcpy(&value, from, sizeof value);
    return value;
}

TMB_INLINE long long load_i64(const void *from) {
    long long value = 0;
    memcpy(&value, from, sizeof value);
    return value;
}

TMB_INLINE const float *float_row(const void *rows, size_t row_stride, size_t i) {
    return (const float *)(const void *)((const uint8_t *)rows + i * row_stride);
}

/* ---- F32 -------------------------------------------------------------------------------------- */

/* `panels` panels times `count` vectors, both constants after inlining. */
TMB_INLINE void f32_tile(const tmb_matrix *weights, size_t panel, const void *rows, size_t row_stride, float *out,
                         size_t out_stride, int panels, int count) {
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
                          size_t out_stride, int panels, int count) {
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

/* One vector: four panels at a time, for enough independent sums; more vectors: one panel. */
#define DEFINE_FLOAT_MULTIPLY(name, tile)                                                                                 \
    static void name(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,            \
                     size_t count, float *out, size_t out_stride) {                                                       \
        size_t panel = first;                                                                                             \
        if (count == 1) {                                                                                                 \
            for (; panel + 4 <= end; panel += 4) {                                                                        \
                tile(weights, panel, rows, row_stride, out, out_stride, 4, 1);                                            \
            }                                                                                                             \
        } else if (count == 2) {                                                                                          \
            for (; panel + 2 <= end; panel += 2) {                                                                        \
                tile(weights, panel, rows, row_stride, out, out_stride, 2, 2);                                            \
            }                                                                                                             \
        }                                                                                                                 \
        for (; panel < end; panel++) {                                                                                    \
            for (size_t i = 0; i < count;) {                                                                              \
                size_t here = tmb_tile(count - i, MOST_VECTORS);                                                          \
                const void *x = (const uint8_t *)rows + i * row_stride;                                                   \
                float *to = out + i * out_stride;                                                                         \
                switch (here) {                                                                                           \
                case 1: tile(weights, panel, x, row_stride, to, out_stride, 1, 1); break;                                 \
                case 2: tile(weights, panel, x, row_stride, to, out_stride, 1, 2); break;                                 \
                case 3: tile(weights, panel, x, row_stride, to, out_stride, 1, 3); break;                                 \
                case 4: tile(weights, panel, x, row_stride, to, out_stride, 1, 4); break;                                 \
                case 5: tile(weights, panel, x, row_stride, to, out_stride, 1, 5); break;                                 \
                default: tile(weights, panel, x, row_stride, to, out_stride, 1, 6); break;                                \
                }                                                                                                         \
                i += here;                                                                                                \
            }                                                                                                             \
        }                                                                                                                 \
    }
DEFINE_FLOAT_MULTIPLY(multiply_f32, f32_tile)
DEFINE_FLOAT_MULTIPLY(multiply_bf16, bf16_tile)

/* ---- Quantizing vectors ----------------------------------------------------------------------- */

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
        _mm256_storeu_si256((__m256i *)(void *)(words + b * 32), low);
        _mm256_storeu_si256((__m256i *)(void *)(words + b * 32 + 16), high);
        __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);
        _mm256_storeu_si256((__m256i *)(void *)(bytes + b * 32), packed);
        ((float *)(uintptr_t)parts.scales)[b] = largest > 1e-30f ? largest / 127.0f : 0.0f;
        ((int32_t *)(uintptr_t)parts.sums)[b] = _mm_cvtsi128_si32(sum4);
    }
}

/* ---- Q8 --------------------------------------------------------------------------------------- */

/* Bytes are widened to 16 bits: multiplying pairs of those is exact and as fast as what 8-bit products
 * cost with their sign and saturation handled. Rows 16 * panel + 8 * half + 0..7 for `halves` halves. */
TMB_INLINE void q8_tile(const uint8_t *w, size_t blocks, const void *rows, size_t row_stride, float *out,
                        size_t out_stride, int half, int halves, int count) {
    tmb_quantized x[4];
    __m256 sums[2][4];
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        x[i] = tmb_quantized_row((const uint8_t *)rows + (size_t)i * row_stride, blocks);
        TMB_UNROLL
        for (int h = 0; h < halves; h++) {
            sums[h][i] = _mm256_setzero_ps();
        }
    }
    for (size_t b = 0; b < blocks; b++) {
        const uint8_t *q = w + tmb_q8_weights(b) + half * 32;
        __m256i dots[2][4][2];
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            TMB_UNROLL
            for (int h = 0; h < halves; h++) {
                dots[h][i][0] = dots[h][i][1] = _mm256_setzero_si256();
            }
        }
        TMB_UNROLL
        for (int quad = 0; quad < 8; quad++) {
            __m256i wide[2][2];
            TMB_UNROLL
            for (int h = 0; h < halves; h++) {
                const uint8_t *from = q + quad * 64 + h * 32;
                wide[h][0] = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(const void *)from));
                wide[h][1] = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(const void *)(from + 16)));
            }
            if (count == 1 && quad % 2 == 0) {
                _mm_prefetch((const char *)(q + quad * 64 + PREFETCH_BYTES), _MM_HINT_T0);
                _mm_prefetch((const char *)(q + quad * 64 + PREFETCH_BYTES + 64), _MM_HINT_T0);
            }
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                __m256i value = _mm256_set1_epi64x(load_i64(x[i].words + b * 32 + quad * 4));
                TMB_UNROLL
                for (int h = 0; h < halves; h++) {
                    dots[h][i][0] = _mm256_add_epi32(dots[h][i][0], _mm256_madd_epi16(wide[h][0], value));
                    dots[h][i][1] = _mm256_add_epi32(dots[h][i][1], _mm256_madd_epi16(wide[h][1], value));
                    TMB_IN_REGISTER(dots[h][i][0]);
                    TMB_IN_REGISTER(dots[h][i][1]);
                }
            }
        }
        TMB_UNROLL
        for (int h = 0; h < halves; h++) {
            const __m128i *from = (const __m128i *)(const void *)(w + tmb_q8_scales(b) + (half + h) * 16);
            __m256 scales = _mm256_cvtph_ps(_mm_load_si128(from));
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                __m256 dot = _mm256_cvtepi32_ps(_mm256_hadd_epi32(dots[h][i][0], dots[h][i][1]));
                __m256 scale = _mm256_mul_ps(scales, _mm256_broadcast_ss(x[i].scales + b));
                sums[h][i] = _mm256_add_ps(sums[h][i], _mm256_mul_ps(scale, dot));
            }
        }
    }
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        TMB_UNROLL
        for (int h = 0; h < halves; h++) {
            _mm256_storeu_ps(out + (size_t)i * out_stride + (half + h) * 8, sums[h][i]);
        }
    }
}

static void multiply_q8(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                        size_t count, float *out, size_t out_stride) {
    size_t blocks = tmb_block_count(weights->columns);
    for (size_t panel = first; panel < end; panel++) {
        const uint8_t *w = weights->data + panel * weights->panel_bytes;
        for (size_t i = 0; i < count;) {
            size_t here = tmb_tile(count - i, 4);
            const void *x = (const uint8_t *)rows + i * row_stride;
            float *to = out + i * out_stride + panel * TMB_PANEL_ROWS;
            switch (here) {
            case 1: q8_tile(w, blocks, x, row_stride, to, out_stride, 0, 2, 1); break;
            case 2: q8_tile(w, blocks, x, row_stride, to, out_stride, 0, 2, 2); break;
            case 3:
                q8_tile(w, blocks, x, row_stride, to, out_stride, 0, 1, 3);
                q8_tile(w, blocks, x, row_stride, to, out_stride, 1, 1, 3);
                break;
            default:
                q8_tile(w, blocks, x, row_stride, to, out_stride, 0, 1, 4);
                q8_tile(w, blocks, x, row_stride, to, out_stride, 1, 1, 4);
                break;
            }
            i += here;
        }
    }
}

/* ---- Q4 --------------------------------------------------------------------------------------- */

/* Sums of 15 * 127 products stay below 2^15 for the 16 that one block adds to a 16-bit lane, so a block
 * is summed in 16 bits and widened once. */
TMB_INLINE void q4_tile(const tmb_matrix *weights, const uint8_t *w, const void *rows, size_t row_stride, float *out,
                        size_t out_stride, int count) {
    const __m256i low_nibbles = _mm256_set1_epi8(15);
    const __m256i ones = _mm256_set1_epi16(1);
    const __m256 unit = _mm256_set1_ps(TMB_Q4_UNIT);
    size_t blocks = tmb_block_count(weights->columns);
    tmb_quantized x[4];
    __m256 sums[2][4];
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        x[i] = tmb_quantized_row((const uint8_t *)rows + (size_t)i * row_stride, blocks);
        sums[0][i] = sums[1][i] = _mm256_setzero_ps();
    }
    for (size_t first = 0; first < blocks; first += TMB_SUPER_BLOCKS) {
        size_t end = blocks - first < TMB_SUPER_BLOCKS ? blocks : first + TMB_SUPER_BLOCKS;
        const uint8_t *q = w + tmb_q4_head_bytes(end - first);
        __m256 scaled[2][4];
        __m256 offset[2][4];
        TMB_UNROLL
        for (int i = 0; i < count; i++) {
            scaled[0][i] = scaled[1][i] = offset[0][i] = offset[1][i] = _mm256_setzero_ps();
        }
        for (size_t b = first; b < end; b++, q += 256) {
            __m256i dots[2][4];
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                dots[0][i] = dots[1][i] = _mm256_setzero_si256();
            }
            TMB_UNROLL
            for (int pair = 0; pair < 4; pair++) {
                __m256i low[2];
                __m256i high[2];
                TMB_UNROLL
                for (int half = 0; half < 2; half++) {
                    __m256i both = _mm256_load_si256((const __m256i *)(const void *)(q + pair * 64 + half * 32));
                    low[half] = _mm256_and_si256(both, low_nibbles);
                    high[half] = _mm256_and_si256(_mm256_srli_epi16(both, 4), low_nibbles);
                }
                if (count == 1) {
                    _mm_prefetch((const char *)(q + pair * 64 + PREFETCH_BYTES), _MM_HINT_T0);
                }
                TMB_UNROLL
                for (int i = 0; i < count; i++) {
                    const int8_t *values = x[i].bytes + b * 32 + pair * 8;
                    __m256i first_quad = _mm256_set1_epi32(load_i32(values));
                    __m256i second_quad = _mm256_set1_epi32(load_i32(values + 4));
                    TMB_UNROLL
                    for (int half = 0; half < 2; half++) {
                        __m256i products = _mm256_add_epi16(_mm256_maddubs_epi16(low[half], first_quad),
                                                            _mm256_maddubs_epi16(high[half], second_quad));
                        dots[half][i] = _mm256_add_epi16(dots[half][i], products);
                        TMB_IN_REGISTER(dots[half][i]);
                    }
                }
            }
            TMB_UNROLL
            for (int half = 0; half < 2; half++) {
                const uint8_t *bytes = w + 64 + (b - first) * 32 + half * 8;
                __m256 scales = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)bytes)));
                __m256 offsets =
                    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(bytes + 16))));
                TMB_UNROLL
                for (int i = 0; i < count; i++) {
                    __m256 dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(dots[half][i], ones));
                    __m256 scale = _mm256_mul_ps(scales, _mm256_broadcast_ss(x[i].scales + b));
                    __m256 x_sum = _mm256_set1_ps(x[i].scales[b] * (float)x[i].sums[b]);
                    scaled[half][i] = _mm256_add_ps(scaled[half][i], _mm256_mul_ps(scale, dot));
                    offset[half][i] = _mm256_add_ps(offset[half][i], _mm256_mul_ps(offsets, x_sum));
                }
            }
        }
        TMB_UNROLL
        for (int half = 0; half < 2; half++) {
            __m256 scale_unit = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)(w + half * 16)));
            __m256 offset_unit = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)(w + 32 + half * 16)));
            scale_unit = _mm256_mul_ps(scale_unit, unit);
            offset_unit = _mm256_mul_ps(offset_unit, unit);
            TMB_UNROLL
            for (int i = 0; i < count; i++) {
                __m256 part = _mm256_sub_ps(_mm256_mul_ps(scale_unit, scaled[half][i]),
                                            _mm256_mul_ps(offset_unit, offset[half][i]));
                sums[half][i] = _mm256_add_ps(sums[half][i], part);
            }
        }
        w += TMB_Q4_SUPER_BYTES;
    }
    TMB_UNROLL
    for (int i = 0; i < count; i++) {
        _mm256_storeu_ps(out + (size_t)i * out_stride, sums[0][i]);
        _mm256_storeu_ps(out + (size_t)i * out_stride + 8, sums[1][i]);
    }
}

static void multiply_q4(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                        size_t count, float *out, size_t out_stride) {
    for (size_t panel = first; panel < end; panel++) {
        const uint8_t *w = weights->data + panel * weights->panel_bytes;
        for (size_t i = 0; i < count;) {
            size_t here = tmb_tile(count - i, 4);
            const void *x = (const uint8_t *)rows + i * row_stride;
            float *to = out + i * out_stride + panel * TMB_PANEL_ROWS;
            switch (here) {
            case 1: q4_tile(weights, w, x, row_stride, to, out_stride, 1); break;
            case 2: q4_tile(weights, w, x, row_stride, to, out_stride, 2); break;
            case 3: q4_tile(weights, w, x, row_stride, to, out_stride, 3); break;
            default: q4_tile(weights, w, x, row_stride, to, out_stride, 4); break;
            }
            i += here;
        }
    }
}

const tmb_matmul tmb_matmul_avx2[TMB_WEIGHT_TYPES] = {
    [TMB_WEIGHT_F32] = {tmb_matmul_float_row_bytes, tmb_matmul_float_prepare, multiply_f32},
    [TMB_WEIGHT_BF16] = {tmb_matmul_float_row_bytes, tmb_matmul_float_prepare, multiply_bf16},
    [TMB_WEIGHT_Q8] = {tmb_matmul_quantized_row_bytes, tmb_matmul_quantized_prepare_avx2, multiply_q8},
    [TMB_WEIGHT_Q4] = {tmb_matmul_quantized_row_bytes, tmb_matmul_quantized_prepare_avx2, multiply_q4},
};
