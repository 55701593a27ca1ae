/* The panel of conv_half for AVX-512, for files that define:
 *
 *   sum_vec, sum_zero()                   16 sums
 *   sum_add(sum, pair values, weights)    one pair for each
 *   sum_finish(sum, row, columns, base)   base + sum * row scale * column scales, as 16 floats
 */
#define ROWS 12
#define WIDTH 32

static inline __attribute__((always_inline)) void tile(const uint16_t *a, size_t a_pitch, const float *row_scales,
                                                       size_t pairs, const uint16_t *b, const float *column_scales,
                                                       const float *start, float *c, size_t c_pitch, const char *next,
                                                       size_t next_step, const size_t rows) {
    sum_vec sums[ROWS][2];
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++) {
        sums[r][0] = sum_zero();
        sums[r][1] = sum_zero();
    }
    const uint16_t *quarters[4];
#pragma GCC unroll 4
    for (size_t q = 0; q < 4; q++) {
        quarters[q] = a + 3 * q * a_pitch;
    }
    for (size_t k = 0; k < pairs; k++) {
        __m512i weights0 = _mm512_loadu_si512((const void *)b);
        __m512i weights1 = _mm512_loadu_si512((const void *)(b + 32));
        b += 2 * WIDTH;
        _mm_prefetch(next, _MM_HINT_T1);
        next += next_step;
#pragma GCC unroll 12
        for (size_t r = 0; r < rows; r++) {
            int32_t pair;
            memcpy(&pair, quarters[r / 3] + r % 3 * a_pitch + 2 * k, sizeof pair);
            __m512i value = _mm512_set1_epi32(pair);
            sums[r][0] = sum_add(sums[r][0], value, weights0);
            sums[r][1] = sum_add(sums[r][1], value, weights1);
#if !defined(__clang__) && !defined(TMB_SIMDE)
            /* Row after row: gcc would move the sums about and out to the stack. */
            __asm__ volatile("" : "+v"(sums[r][0]), "+v"(sums[r][1]));
#endif
        }
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++) {
        const float *from = start != NULL ? start : c + r * c_pitch;
        for (size_t h = 0; h < 2; h++) {
            __m512 base = _mm512_loadu_ps(from + 16 * h);
            _mm512_storeu_ps(c + r * c_pitch + 16 * h,
                             sum_finish(sums[r][h], row_scales[r], column_scales + 16 * h, base));
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
    case 6: TILE(6); break;
    case 7: TILE(7); break;
    case 8: TILE(8); break;
    case 9: TILE(9); break;
    case 10: TILE(10); break;
    case 11: TILE(11); break;
    default: break;
    }
#undef TILE
}
