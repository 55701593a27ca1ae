#include "kernels/x86/conv_init.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

/* As conv_avx2.c: 12 sums of 8 outputs, two weights, one pair of values. A product sum of a pair and its addition take
 * one instruction each, and twice as many pairs as floats fit into a register. */
#define ROWS 6
#define WIDTH 16

static inline __attribute__((always_inline)) void tile(const uint16_t *a, size_t a_pitch, const float *row_scales,
                                                       size_t pairs, const uint16_t *b, const float *column_scales,
                                                       const float *start, float *c, size_t c_pitch, const char *next,
                                                       size_t next_step, const size_t rows) {
    __m256i sums[ROWS][2];
#pragma GCC unroll 6
    for (size_t r = 0; r < rows; r++) {
        sums[r][0] = _mm256_setzero_si256();
        sums[r][1] = _mm256_setzero_si256();
    }
    const uint16_t *low = a;
    const uint16_t *high = a + 3 * a_pitch;
    for (size_t k = 0; k < pairs; k++) {
        __m256i weights0 = _mm256_load_si256((const __m256i *)(const void *)b);
        __m256i weights1 = _mm256_load_si256((const __m256i *)(const void *)(b + 16));
        b += 2 * WIDTH;
        _mm_prefetch(next, _MM_HINT_T1);
        next += next_step;
#pragma GCC unroll 6
        for (size_t r = 0; r < rows; r++) {
            int32_t pair;
            memcpy(&pair, (r < 3 ? low + r * a_pitch : high + (r - 3) * a_pitch) + 2 * k, sizeof pair);
            __m256i value = _mm256_set1_epi32(pair);
            sums[r][0] = _mm256_add_epi32(sums[r][0], _mm256_madd_epi16(value, weights0));
            sums[r][1] = _mm256_add_epi32(sums[r][1], _mm256_madd_epi16(value, weights1));
#ifndef __clang__
            /* Row after row: gcc would load all values first and have no registers left for the sums. */
            __asm__ volatile("" : "+x"(sums[r][0]), "+x"(sums[r][1]));
#endif
        }
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < rows; r++) {
        const float *from = start != NULL ? start : c + r * c_pitch;
        __m256 scale = _mm256_broadcast_ss(row_scales + r);
        for (size_t h = 0; h < 2; h++) {
            __m256 factor = _mm256_mul_ps(scale, _mm256_loadu_ps(column_scales + 8 * h));
            __m256 sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[r][h]), factor, _mm256_loadu_ps(from + 8 * h));
            _mm256_storeu_ps(c + r * c_pitch + 8 * h, sum);
        }
    }
}

static void panel(const uint16_t *a, size_t a_pitch, const float *row_scales, size_t rows, size_t pairs,
                  const uint16_t *b, const float *column_scales, const float *start, float *c, size_t c_pitch,
                  const void *next, size_t next_bytes) {
    size_t steps = (rows + ROWS - 1) / ROWS * pairs;
    size_t step = next != NULL ? (next_bytes + steps - 1) / steps : 0;
    const char *ahead = next != NULL ? next : (const char *)b;
#define TILE(count) tile(a, a_pitch, row_scales, pairs, b, column_scales, start, c, c_pitch, ahead, step, count)
    for (; rows >= ROWS; rows -= ROWS) {
        TILE(ROWS);
        a += ROWS * a_pitch;
        c += ROWS * c_pitch;
        row_scales += ROWS;
        ahead += step * pairs;
    }
    switch (rows) {
    case 1: TILE(1); break;
    case 2: TILE(2); break;
    case 3: TILE(3); break;
    case 4: TILE(4); break;
    case 5: TILE(5); break;
    default: break;
    }
#undef TILE
}

void tmb_conv_half_whole_numbers_avx2(const float *x, size_t count, uint16_t *out, float *scale) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    size_t whole = count & ~(size_t)15;
    float most = 0;
    if (whole != 0) {
        __m256 peak0 = _mm256_setzero_ps();
        __m256 peak1 = _mm256_setzero_ps();
        for (size_t i = 0; i < whole; i += 16) {
            peak0 = _mm256_max_ps(peak0, _mm256_and_ps(magnitude, _mm256_loadu_ps(x + i)));
            peak1 = _mm256_max_ps(peak1, _mm256_and_ps(magnitude, _mm256_loadu_ps(x + i + 8)));
        }
        peak0 = _mm256_max_ps(peak0, peak1);
        __m128 four = _mm_max_ps(_mm256_castps256_ps128(peak0), _mm256_extractf128_ps(peak0, 1));
        __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        most = _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
    }
    for (size_t i = whole; i < count; i++) {
        float size = fabsf(x[i]);
        most = size > most ? size : most;
    }
    float factor = most > 0 ? TMB_CONV_ROW_STEPS / most : 0;
    __m256 factors = _mm256_set1_ps(factor);
    for (size_t i = 0; i < whole; i += 16) {
        __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), factors));
        __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i + 8), factors));
        __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
        _mm256_storeu_si256((__m256i *)(void *)(out + i), packed);
    }
    for (size_t i = whole; i < count; i++) {
        out[i] = (uint16_t)_mm_cvtss_si32(_mm_set_ss(x[i] * factor));
    }
    if (count % 2 != 0) {
        out[count] = 0;
    }
    *scale = most / TMB_CONV_ROW_STEPS;
}

static inline __m256i round_to_bf16(__m256 x) {
    __m256i bits = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
}

void tmb_conv_half_bf16_avx2(const float *x, size_t count, uint16_t *out, float *scale) {
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m256i packed =
            _mm256_packus_epi32(round_to_bf16(_mm256_loadu_ps(x + i)), round_to_bf16(_mm256_loadu_ps(x + i + 8)));
        _mm256_storeu_si256((__m256i *)(void *)(out + i), _mm256_permute4x64_epi64(packed, 0xd8));
    }
    for (; i < count; i++) {
        out[i] = (uint16_t)_mm256_extract_epi32(round_to_bf16(_mm256_set1_ps(x[i])), 0);
    }
    if (count % 2 != 0) {
        out[count] = 0;
    }
    *scale = 1;
}

void tmb_conv_half_kernels_init_avx2(tmb_conv_half_kernels *kernels) {
    *kernels = (tmb_conv_half_kernels){
        .width = WIDTH,
        .rows = ROWS,
        .depth_unit = 2,
        .depth_max = TMB_CONV_DEPTH_MAX,
        .whole_numbers = true,
        .convert = tmb_conv_half_whole_numbers_avx2,
        .panel = panel,
    };
}
