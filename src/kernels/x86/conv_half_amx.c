/* 16-bit convolutions with the tile unit (AMX), which multiplies whole numbers of 8 bits: those of 12 bits are taken
 * apart, value = 128 * high + low with low in [-64, 63], and multiplied as four products in three sums.
 *
 * A tile of 16 rows takes 64 inputs of each. A converted row is its high parts, then its low parts, each padded to
 * whole tiles. Weights: for each 16 outputs, for each 64 inputs, the tile of high parts and the tile of low parts; in a
 * tile, for each 4 inputs, those 4 of every output.
 */
#include "kernels/x86/conv_init.h"

#include "kernels/x86/intrinsics.h"

#include <math.h>
#include <string.h>

#define WIDTH 32
#define ROWS 16
#define DEPTH 64
#define TILE_BYTES 1024

/* Tiles (their numbers become part of instructions): the three sums, rows, weights. */
#define HIGH 0
#define CROSS 1
#define LOW 2
#define ROWS_HIGH 3
#define ROWS_LOW 4
#define WEIGHTS_HIGH 5
#define WEIGHTS_LOW 6

/* ldtilecfg's operand: palette 1, eight tiles of 16 rows of 64 bytes. */
typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

static const tile_config config = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, 16, 16},
};

typedef int32_t sums[3][ROWS][16];

/* All of the depth for 16 rows and 16 outputs. `lines` cache lines of what comes next are asked for with each tile. */
static inline const char *multiply(const uint8_t *a, size_t row_bytes, size_t depth, const uint8_t *b, sums out,
                                   const char *next, size_t lines) {
    _tile_zero(HIGH);
    _tile_zero(CROSS);
    _tile_zero(LOW);
    for (size_t k = 0; k < depth; k += DEPTH, b += 2 * TILE_BYTES) {
        for (size_t line = 0; line < lines; line++, next += 64) {
            _mm_prefetch(next, _MM_HINT_T1);
        }
        _tile_loadd(ROWS_HIGH, a + k, row_bytes);
        _tile_loadd(WEIGHTS_HIGH, b, 64);
        _tile_dpbssd(HIGH, ROWS_HIGH, WEIGHTS_HIGH);
        _tile_loadd(WEIGHTS_LOW, b + TILE_BYTES, 64);
        _tile_dpbssd(CROSS, ROWS_HIGH, WEIGHTS_LOW);
        _tile_loadd(ROWS_LOW, a + depth + k, row_bytes);
        _tile_dpbssd(LOW, ROWS_LOW, WEIGHTS_LOW);
        _tile_dpbssd(CROSS, ROWS_LOW, WEIGHTS_HIGH);
    }
    _tile_stored(HIGH, out[0], 64);
    _tile_stored(CROSS, out[1], 64);
    _tile_stored(LOW, out[2], 64);
    return next;
}

static void panel(const uint16_t *a, size_t a_pitch, const float *row_scales, size_t rows, size_t pairs,
                  const uint16_t *b, const float *column_scales, const float *start, float *c, size_t c_pitch,
                  const void *next, size_t next_bytes) {
    const __m512 high_steps = _mm512_set1_ps(128 * 128);
    const __m512 cross_steps = _mm512_set1_ps(128);
    size_t depth = 2 * pairs;
    size_t loads = 2 * ((rows + ROWS - 1) / ROWS) * (depth / DEPTH);
    size_t lines = next != NULL ? (next_bytes / 64 + loads - 1) / loads : 0;
    const char *ahead = next;
    _Alignas(64) sums sum;
    _tile_loadconfig(&config);
    for (size_t half = 0; half < 2; half++) {
        const uint8_t *weights = (const uint8_t *)b + half * depth * 32;
        __m512 columns = _mm512_loadu_ps(column_scales + 16 * half);
        for (size_t row = 0; row < rows; row += ROWS) {
            ahead = multiply((const uint8_t *)(a + row * a_pitch), 2 * a_pitch, depth, weights, sum, ahead, lines);
            size_t some = rows - row < ROWS ? rows - row : ROWS;
            float *to = c + row * c_pitch + 16 * half;
            for (size_t r = 0; r < some; r++, to += c_pitch) {
                __m512 high = _mm512_cvtepi32_ps(_mm512_load_si512(sum[0][r]));
                __m512 cross = _mm512_cvtepi32_ps(_mm512_load_si512(sum[1][r]));
                __m512 low = _mm512_cvtepi32_ps(_mm512_load_si512(sum[2][r]));
                __m512 all = _mm512_fmadd_ps(high, high_steps, _mm512_fmadd_ps(cross, cross_steps, low));
                __m512 scale = _mm512_mul_ps(_mm512_set1_ps(row_scales[row + r]), columns);
                __m512 base = _mm512_loadu_ps(start != NULL ? start + 16 * half : to);
                _mm512_storeu_ps(to, _mm512_fmadd_ps(all, scale, base));
            }
        }
    }
    _tile_release();
}

/* The parts of 16 values. */
static inline __m128i high_part(__m512i value) {
    return _mm512_cvtepi32_epi8(_mm512_srai_epi32(_mm512_add_epi32(value, _mm512_set1_epi32(64)), 7));
}

static inline __m128i low_part(__m512i value) {
    __m512i shifted = _mm512_add_epi32(value, _mm512_set1_epi32(64));
    return _mm512_cvtepi32_epi8(
        _mm512_sub_epi32(_mm512_and_si512(shifted, _mm512_set1_epi32(127)), _mm512_set1_epi32(64)));
}

static void convert(const float *x, size_t count, uint16_t *out, float *scale) {
    size_t padded = (count + DEPTH - 1) / DEPTH * DEPTH;
    uint8_t *high = (uint8_t *)out;
    uint8_t *low = high + padded;
    __m512 peak = _mm512_setzero_ps();
    size_t whole = count & ~(size_t)15;
    __mmask16 rest = (__mmask16)((1u << (count - whole)) - 1);
    for (size_t i = 0; i < whole; i += 16) {
        peak = _mm512_max_ps(peak, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
    }
    peak = _mm512_max_ps(peak, _mm512_abs_ps(_mm512_maskz_loadu_ps(rest, x + whole)));
    float most = _mm512_reduce_max_ps(peak);
    __m512 factor = _mm512_set1_ps(most > 0 ? TMB_CONV_ROW_STEPS / most : 0);
    for (size_t i = 0; i < padded; i += 16) {
        __mmask16 mask = i < whole ? 0xffff : i == whole ? rest : 0;
        __m512i value = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), factor));
        _mm_storeu_si128((__m128i *)(void *)(high + i), high_part(value));
        _mm_storeu_si128((__m128i *)(void *)(low + i), low_part(value));
    }
    *scale = most / TMB_CONV_ROW_STEPS;
}

/* The low bytes of a's pairs, each followed by those of b's. */
static inline __m512i join_bytes(__m512i a, __m512i b) {
    const __m512i bytes = _mm512_set1_epi32(0x00ff00ff);
    const __m512i pair = _mm512_set1_epi32(0xffff);
    a = _mm512_and_si512(a, bytes);
    b = _mm512_and_si512(b, bytes);
    a = _mm512_and_si512(_mm512_or_si512(a, _mm512_srli_epi32(a, 8)), pair);
    b = _mm512_and_si512(_mm512_or_si512(b, _mm512_srli_epi32(b, 8)), pair);
    return _mm512_or_si512(a, _mm512_slli_epi32(b, 16));
}

static void arrange(const uint16_t *from, size_t pairs, uint16_t *to) {
    const __m512i offset = _mm512_set1_epi16(64);
    uint8_t *out = (uint8_t *)to;
    for (size_t half = 0; half < 2; half++) {
        for (size_t k = 0; k < pairs; k += 2) { /* 4 inputs */
            __m512i first = _mm512_loadu_si512(from + (k * WIDTH + 16 * half) * 2);
            __m512i second = _mm512_loadu_si512(from + ((k + 1) * WIDTH + 16 * half) * 2);
            __m512i first_high = _mm512_srai_epi16(_mm512_add_epi16(first, offset), 7);
            __m512i second_high = _mm512_srai_epi16(_mm512_add_epi16(second, offset), 7);
            __m512i first_low = _mm512_sub_epi16(first, _mm512_slli_epi16(first_high, 7));
            __m512i second_low = _mm512_sub_epi16(second, _mm512_slli_epi16(second_high, 7));
            uint8_t *tile = out + k / 32 * 2 * TILE_BYTES + k % 32 / 2 * 64;
            _mm512_storeu_si512(tile, join_bytes(first_high, second_high));
            _mm512_storeu_si512(tile + TILE_BYTES, join_bytes(first_low, second_low));
        }
        out += pairs * 64;
    }
}

void tmb_conv_half_kernels_init_amx(tmb_conv_half_kernels *kernels) {
    *kernels = (tmb_conv_half_kernels){
        .width = WIDTH,
        .rows = ROWS,
        .depth_unit = DEPTH,
        .depth_max = (size_t)1 << 20,
        .whole_numbers = true,
        .convert = convert,
        .panel = panel,
        .arrange = arrange,
    };
}
