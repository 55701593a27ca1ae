#include "kernels/x86/conv_init.h"

#include <immintrin.h>

/* 6 rows x 16 outputs: 12 sums, 2 weights and a value fill the 16 registers, and 8 loads feed 12
 * multiply-adds. */
#define ROWS 6
#define WIDTH 16

static inline __attribute__((always_inline)) void tile(const float *a, size_t a_pitch, size_t taps, size_t tap_pitch,
                                                       size_t depth, const float *b, const float *start, float *c,
                                                       size_t c_pitch, const char *next, size_t next_step,
                                                       const size_t rows) {
    __m256 sums[ROWS][2];
#pragma GCC unroll 6
    for (size_t r = 0; r < rows; r++) {
        const float *from = start != NULL ? start : c + r * c_pitch;
        sums[r][0] = _mm256_loadu_ps(from);
        sums[r][1] = _mm256_loadu_ps(from + 8);
    }
    for (size_t p = 0; p < taps; p++) {
        const float *low = a + p * tap_pitch;
        const float *high = low + 3 * a_pitch;
#pragma GCC unroll 2
        for (size_t k = 0; k < depth; k++) {
            __m256 weights0 = _mm256_load_ps(b);
            __m256 weights1 = _mm256_load_ps(b + 8);
            b += WIDTH;
            _mm_prefetch(next, _MM_HINT_T1);
            next += next_step;
#pragma GCC unroll 6
            for (size_t r = 0; r < rows; r++) {
                __m256 value = _mm256_broadcast_ss((r < 3 ? low + r * a_pitch : high + (r - 3) * a_pitch) + k);
                sums[r][0] = _mm256_fmadd_ps(value, weights0, sums[r][0]);
                sums[r][1] = _mm256_fmadd_ps(value, weights1, sums[r][1]);
            }
        }
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < rows; r++) {
        _mm256_storeu_ps(c + r * c_pitch, sums[r][0]);
        _mm256_storeu_ps(c + r * c_pitch + 8, sums[r][1]);
    }
}

static void panel(const float *a, size_t a_pitch, size_t rows, size_t taps, size_t tap_pitch, size_t depth,
                  const float *b, const float *start, float *c, size_t c_pitch, const void *next, size_t next_bytes) {
    /* The next panel comes from memory while this one is used: its lines are asked for a few at a time, or
     * they would fill the queue that the tile's own loads wait in. */
    size_t steps = (rows + ROWS - 1) / ROWS * taps * depth;
    size_t step = next != NULL ? (next_bytes + steps - 1) / steps : 0;
    const char *ahead = next != NULL ? next : (const char *)b;
    for (; rows >= ROWS; rows -= ROWS, a += ROWS * a_pitch, c += ROWS * c_pitch, ahead += step * taps * depth) {
        tile(a, a_pitch, taps, tap_pitch, depth, b, start, c, c_pitch, ahead, step, ROWS);
    }
    switch (rows) {
    case 1: tile(a, a_pitch, taps, tap_pitch, depth, b, start, c, c_pitch, ahead, step, 1); break;
    case 2: tile(a, a_pitch, taps, tap_pitch, depth, b, start, c, c_pitch, ahead, step, 2); break;
    case 3: tile(a, a_pitch, taps, tap_pitch, depth, b, start, c, c_pitch, ahead, step, 3); break;
    case 4: tile(a, a_pitch, taps, tap_pitch, depth, b, start, c, c_pitch, ahead, step, 4); break;
    case 5: tile(a, a_pitch, taps, tap_pitch, depth, b, start, c, c_pitch, ahead, step, 5); break;
    default: break;
    }
}

static inline __m256i first_lanes(size_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline float horizontal_sum(__m256 sums) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static void dot(const float *a, size_t a_pitch, size_t rows, size_t count, const float *b, float start, float *c,
                size_t c_pitch) {
    size_t whole = count & ~(size_t)7;
    __m256i rest = first_lanes(count - whole);
    for (; rows >= 4; rows -= 4, a += 4 * a_pitch, c += 4 * c_pitch) {
        __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
        for (size_t k = 0; k < whole; k += 8) {
            __m256 weights = _mm256_loadu_ps(b + k);
#pragma GCC unroll 4
            for (size_t r = 0; r < 4; r++) {
                sums[r] = _mm256_fmadd_ps(_mm256_loadu_ps(a + r * a_pitch + k), weights, sums[r]);
            }
        }
        for (size_t r = 0; r < 4; r++) {
            if (whole != count) {
                sums[r] = _mm256_fmadd_ps(_mm256_maskload_ps(a + r * a_pitch + whole, rest),
                                          _mm256_maskload_ps(b + whole, rest), sums[r]);
            }
            c[r * c_pitch] = start + horizontal_sum(sums[r]);
        }
    }
    for (; rows > 0; rows--, a += a_pitch, c += c_pitch) {
        __m256 sums = _mm256_setzero_ps();
        for (size_t k = 0; k < whole; k += 8) {
            sums = _mm256_fmadd_ps(_mm256_loadu_ps(a + k), _mm256_loadu_ps(b + k), sums);
        }
        if (whole != count) {
            sums = _mm256_fmadd_ps(_mm256_maskload_ps(a + whole, rest), _mm256_maskload_ps(b + whole, rest), sums);
        }
        c[0] = start + horizontal_sum(sums);
    }
}

void tmb_conv_kernels_init_avx2(tmb_conv_kernels *kernels) {
    *kernels = (tmb_conv_kernels){.width = WIDTH, .rows = ROWS, .panel = panel, .dot = dot};
}
