#include "kernels/x86/conv_init.h"

#include "kernels/x86/intrinsics.h"

/* 12 rows x 32 outputs: 24 sums, 2 weights, the values come as memory operands or broadcasts. */
#define ROWS 12
#define WIDTH 32

static inline __attribute__((always_inline)) void tile(const float *a, size_t a_pitch, size_t taps, size_t tap_pitch,
                                                       size_t depth, const float *b, const float *start, float *c,
                                                       size_t c_pitch, const char *next, size_t next_step,
                                                       const size_t rows) {
    __m512 sums[ROWS][2];
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++) {
        const float *from = start != NULL ? start : c + r * c_pitch;
        sums[r][0] = _mm512_loadu_ps(from);
        sums[r][1] = _mm512_loadu_ps(from + 16);
    }
    for (size_t p = 0; p < taps; p++) {
        const float *quarters[4];
#pragma GCC unroll 4
        for (size_t q = 0; q < 4; q++) {
            quarters[q] = a + p * tap_pitch + 3 * q * a_pitch;
        }
        for (size_t k = 0; k < depth; k++) {
            __m512 weights0 = _mm512_load_ps(b);
            __m512 weights1 = _mm512_load_ps(b + 16);
            b += WIDTH;
            _mm_prefetch(next, _MM_HINT_T1);
            next += next_step;
#pragma GCC unroll 12
            for (size_t r = 0; r < rows; r++) {
                __m512 value = _mm512_set1_ps(quarters[r / 3][r % 3 * a_pitch + k]);
                sums[r][0] = _mm512_fmadd_ps(value, weights0, sums[r][0]);
                sums[r][1] = _mm512_fmadd_ps(value, weights1, sums[r][1]);
            }
        }
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++) {
        _mm512_storeu_ps(c + r * c_pitch, sums[r][0]);
        _mm512_storeu_ps(c + r * c_pitch + 16, sums[r][1]);
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
    case 6: tile(a, a_pitch, taps, tap_pitch, depth, b, start, c, c_pitch, ahead, step, 6); break;
    case 7: tile(a, a_pitch, taps, tap_pitch, depth, b, start, c, c_pitch, ahead, step, 7); break;
    case 8: tile(a, a_pitch, taps, tap_pitch, depth, b, start, c, c_pitch, ahead, step, 8); break;
    case 9: tile(a, a_pitch, taps, tap_pitch, depth, b, start, c, c_pitch, ahead, step, 9); break;
    case 10: tile(a, a_pitch, taps, tap_pitch, depth, b, start, c, c_pitch, ahead, step, 10); break;
    case 11: tile(a, a_pitch, taps, tap_pitch, depth, b, start, c, c_pitch, ahead, step, 11); break;
    default: break;
    }
}

static inline float horizontal_sum(__m512 sums) {
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(sums), _mm512_extractf32x8_ps(sums, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static void dot(const float *a, size_t a_pitch, size_t rows, size_t count, const float *b, float start, float *c,
                size_t c_pitch) {
    size_t whole = count & ~(size_t)15;
    __mmask16 rest = (__mmask16)((1u << (count - whole)) - 1);
    __m512 last = _mm512_maskz_loadu_ps(rest, b + whole);
    for (; rows > 0; rows--, a += a_pitch, c += c_pitch) {
        /* Two sums: one would wait for itself. */
        __m512 even = _mm512_setzero_ps();
        __m512 odd = _mm512_mul_ps(_mm512_maskz_loadu_ps(rest, a + whole), last);
        for (size_t k = 0; k + 32 <= whole; k += 32) {
            even = _mm512_fmadd_ps(_mm512_loadu_ps(a + k), _mm512_loadu_ps(b + k), even);
            odd = _mm512_fmadd_ps(_mm512_loadu_ps(a + k + 16), _mm512_loadu_ps(b + k + 16), odd);
        }
        if ((whole & 16) != 0) {
            even = _mm512_fmadd_ps(_mm512_loadu_ps(a + whole - 16), _mm512_loadu_ps(b + whole - 16), even);
        }
        c[0] = start + horizontal_sum(_mm512_add_ps(even, odd));
    }
}

void tmb_conv_kernels_init_avx512(tmb_conv_kernels *kernels) {
    *kernels = (tmb_conv_kernels){.width = WIDTH, .rows = ROWS, .panel = panel, .dot = dot};
}
