#include "kernels/generic/init.h"

#include "kernels/forms/lanes_generic.h"
#include "kernels/forms/unroll.h"

/* 3 rows x 16 outputs: 12 vectors of sums. */
enum { ROWS = 3, WIDTH = 16, VECTORS = WIDTH / LANES };

TMB_INLINE void tile(const float *a, size_t a_pitch, size_t taps, size_t tap_pitch, size_t depth, const float *b,
                     const float *start, float *c, size_t c_pitch, const int rows) {
    vec sums[ROWS][VECTORS];
    TMB_UNROLL
    for (int r = 0; r < rows; r++) {
        const float *from = start != NULL ? start : c + (size_t)r * c_pitch;
        TMB_UNROLL
        for (int j = 0; j < VECTORS; j++) {
            sums[r][j] = v_load(from + LANES * j);
        }
    }
    for (size_t p = 0; p < taps; p++, a += tap_pitch) {
        for (size_t k = 0; k < depth; k++, b += WIDTH) {
            TMB_UNROLL
            for (int r = 0; r < rows; r++) {
                const vec value = v_set(a[(size_t)r * a_pitch + k]);
                TMB_UNROLL
                for (int j = 0; j < VECTORS; j++) {
                    sums[r][j] += value * v_load(b + LANES * j);
                }
            }
        }
    }
    TMB_UNROLL
    for (int r = 0; r < rows; r++) {
        TMB_UNROLL
        for (int j = 0; j < VECTORS; j++) {
            v_store(c + (size_t)r * c_pitch + LANES * j, sums[r][j]);
        }
    }
}

static void panel(const float *a, size_t a_pitch, size_t rows, size_t taps, size_t tap_pitch, size_t depth,
                  const float *b, const float *start, float *c, size_t c_pitch, const void *next, size_t next_bytes) {
    (void)next;
    (void)next_bytes;
    for (; rows >= ROWS; rows -= ROWS, a += ROWS * a_pitch, c += ROWS * c_pitch) {
        tile(a, a_pitch, taps, tap_pitch, depth, b, start, c, c_pitch, ROWS);
    }
    switch (rows) {
    case 2: tile(a, a_pitch, taps, tap_pitch, depth, b, start, c, c_pitch, 2); break;
    case 1: tile(a, a_pitch, taps, tap_pitch, depth, b, start, c, c_pitch, 1); break;
    default: break;
    }
}

/* One row and two vectors of sums, the rest of `count` in the first: the same for each row. */
static void dot(const float *a, size_t a_pitch, size_t rows, size_t count, const float *b, float start, float *c,
                size_t c_pitch) {
    const size_t whole = count / (2 * LANES) * (2 * LANES);
    for (size_t r = 0; r < rows; r++, a += a_pitch) {
        vec even = v_set(0);
        vec odd = v_set(0);
        for (size_t k = 0; k < whole; k += 2 * LANES) {
            even += v_load(a + k) * v_load(b + k);
            odd += v_load(a + k + LANES) * v_load(b + k + LANES);
        }
        for (size_t k = whole; k < count; k += LANES) {
            even += v_load_some(a + k, count - k) * v_load_some(b + k, count - k);
        }
        c[r * c_pitch] = start + v_sum(even + odd);
    }
}

void tmb_conv_kernels_init_generic(tmb_conv_kernels *kernels) {
    *kernels = (tmb_conv_kernels){.width = WIDTH, .rows = ROWS, .panel = panel, .dot = dot};
}
