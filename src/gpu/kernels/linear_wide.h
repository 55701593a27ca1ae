/* The same products for many vectors, as a prompt has them: a block has 64 rows and 32 columns, so that a weight that
 * was read is used 32 times and not 8.
 *
 * Its sums are those of linear.h and linear_mma.h, to the bit: each warp takes the same part of the sum over k in the
 * same order, for the whole tile, and the warps' sums are added in their order. So it counts for nothing how many
 * vectors there are, and which of the kernels takes them.
 */
#define WIDE_DEPTH 32
#define WIDE_PITCH (TMB_WIDE_COLUMNS + 4)
#define WIDE_DONE (TMB_WIDE_ROWS + 4)
#define WIDE_PANELS (TMB_WIDE_ROWS / 16)
#define WIDE_TILES (TMB_WIDE_COLUMNS / 8)

/* ---- The vectors, rounded once for all rows of weights ---- */

typedef struct wide_rows_shared {
    float scale;
} wide_rows_shared;

/* One warp: 32 values of a column. */
DEVICE void wide_keep(const tmb_wide_rows_arguments *a, int column, int block, float value) {
    const int lane = THREAD % 32, blocks = (a->k + 31) / 32;
    const int64_t tile = (int64_t)(column / 8) * blocks + block;
    if (a->type == TMB_GPU_F32) {
        a->out[((int64_t)column * blocks + block) * 32 + lane] = value;
    } else if (a->type == TMB_GPU_BF16) {
        const int word = lane / 2; /* a lane of mma has words 4 apart */
        const int64_t at = (tile * 32 + column % 8 * 4 + word % 4) * 4 + word / 4;
        ((uint16_t *)(void *)a->out)[at * 2 + lane % 2] = mma_round(value);
    } else {
        const int word = lane / 4;
        const int64_t at = (tile * 32 + column % 8 * 4 + word % 4) * 2 + word / 4;
        const mma_whole whole = mma_quantize(value);
        ((int8_t *)(void *)a->out)[at * 4 + lane % 4] = whole.value;
        if (lane == 0) {
            float *scales = a->out + (int64_t)((a->columns + 7) / 8) * blocks * 64 + (tile * 8 + column % 8) * 2;
            scales[0] = whole.scale;
            scales[1] = whole.total;
        }
    }
}

KERNEL(tmb_wide_rows) {
    SHARED(wide_rows_shared, s);
    AWAIT();
    const int lane = THREAD % 32, warp = THREAD / 32, warps = THREADS / 32;
    const float *x = a.x + (int64_t)BLOCK_X * a.x_stride;
    float scale = 1;
    if (a.norm != 0) {
        if (warp == 0) {
            scale = row_scale(x, a.k, a.eps);
            if (lane == 0) {
                s->scale = scale;
            }
        }
        BARRIER();
        scale = s->scale;
    }
    for (int block = warp; block < (a.k + 31) / 32; block += warps) {
        const int k = block * 32 + lane;
        float value = k < a.k ? x[k] : 0.0f;
        if (a.norm != 0 && k < a.k) {
            value = value * scale * a.norm[k];
        }
        wide_keep(&a, BLOCK_X, block, value);
    }
}

/* ---- What both products share ---- */

DEVICE const uint8_t *wide_panel(const tmb_linear_arguments *a, int index) {
    return a->weights + (int64_t)MIN_OF(BLOCK_X * WIDE_PANELS + index, (a->rows + 15) / 16 - 1) * a->panel_bytes;
}

/* What becomes of the tile's sums, [column][row]. */
DEVICE void wide_finish(const tmb_linear_arguments *a, const float *done, int first, int here) {
    const int strips = TMB_WIDE_ROWS / TMB_LINEAR_ROWS;
    for (int i = THREAD / 32; i < here * strips; i += THREADS / 32) {
        const int column = i / strips, strip = i % strips;
        linear_finish(a, first + column, BLOCK_X * strips + strip, THREAD % 32,
                      done + column * WIDE_DONE + strip * TMB_LINEAR_ROWS);
    }
}

/* ---- In f32 ---- */

typedef struct __attribute__((aligned(16))) wide_shared {
    float w[WIDE_DEPTH * TMB_WIDE_ROWS]; /* [k][row] */
    float x[WIDE_DEPTH * WIDE_PITCH];    /* [k][column] */
    float done[TMB_WIDE_COLUMNS * WIDE_DONE];
} wide_shared;

/* `count` of the weights' and vectors' columns, from `base` on; a barrier must follow. */
DEVICE void wide_stage(const tmb_linear_arguments *a, wide_shared *s, int base, int count, int first, int here) {
    for (int i = THREAD; i < WIDE_PANELS * 16 * WIDE_DEPTH; i += THREADS) {
        const int panel = i / (16 * WIDE_DEPTH), k = i / 16 % WIDE_DEPTH, row = i % 16;
        if (k < count) {
            s->w[k * TMB_WIDE_ROWS + panel * 16 + row] = linear_weight(a, wide_panel(a, panel), row, base + k);
        }
    }
    for (int i = THREAD; i < here * WIDE_DEPTH; i += THREADS) {
        const int column = i / WIDE_DEPTH, k = i % WIDE_DEPTH;
        if (k < count) {
            s->x[k * WIDE_PITCH + column] = a->x[(int64_t)(first + column) * a->x_stride + base + k];
        }
    }
}

/* A lane has 8 rows and 8 columns. */
KERNEL(tmb_linear_wide) {
    SHARED(wide_shared, s);
    AWAIT();
    const int lane = THREAD % 32, warp = THREAD / 32, warps = THREADS / 32;
    const int first = BLOCK_Y * TMB_WIDE_COLUMNS, here = MIN_OF(a.columns - first, TMB_WIDE_COLUMNS);
    const int row = lane % 8 * 8, column = lane / 8 * 8;
    float sum[8][8] = {{0}};
    for (int base = 0; base < a.k; base += WIDE_DEPTH) {
        const int count = MIN_OF(a.k - base, WIDE_DEPTH);
        wide_stage(&a, s, base, count, first, here);
        BARRIER();
        for (int k = warp; k < count && column < here; k += warps) {
            const float *w = s->w + k * TMB_WIDE_ROWS + row, *x = s->x + k * WIDE_PITCH + column;
            const four_floats weights[2] = {LOAD_FOUR(w), LOAD_FOUR(w + 4)};
            const four_floats values[2] = {LOAD_FOUR(x), LOAD_FOUR(x + 4)};
            UNROLL
            for (int i = 0; i < 64; i++) {
                const int c = i / 8, r = i % 8;
                sum[c][r] = FMA(weights[r / 4].of[r % 4], values[c / 4].of[c % 4], sum[c][r]);
            }
        }
        BARRIER();
    }
    for (int w = 0; w < warps; w++) {
        if (w == warp && column < here) {
            UNROLL
            for (int i = 0; i < 64; i++) {
                float *done = s->done + (column + i / 8) * WIDE_DONE + row + i % 8;
                *done = (w > 0 ? *done : 0.0f) + sum[i / 8][i % 8];
            }
        }
        BARRIER();
    }
    wide_finish(&a, s->done, first, here);
}

/* ---- By tensor cores ---- */

typedef struct wide_mma_shared {
    float done[TMB_WIDE_COLUMNS * WIDE_DONE];
} wide_mma_shared;

/* Loaded in one piece. */
typedef struct __attribute__((aligned(16))) wide_four {
    uint32_t words[4];
} wide_four;
typedef struct __attribute__((aligned(8))) wide_two {
    uint32_t words[2];
} wide_two;

/* What a lane holds of 8 columns' block: `tile` is its number. */
typedef struct wide_values {
    uint32_t words[4];
    float scales[4];
} wide_values;

DEVICE wide_values wide_fetch(const tmb_linear_arguments *a, int64_t tile, int blocks) {
    const int lane = THREAD % 32;
    wide_values v = {{0, 0, 0, 0}, {0, 0, 0, 0}};
    if (a->type == TMB_GPU_BF16) {
        const wide_four words = ((const wide_four *)(const void *)a->x)[tile * 32 + lane];
        UNROLL
        for (int i = 0; i < 4; i++) {
            v.words[i] = words.words[i];
        }
        return v;
    }
    const wide_two words = ((const wide_two *)(const void *)a->x)[tile * 32 + lane];
    const float *scales = a->x + (int64_t)((a->columns + 7) / 8) * blocks * 64;
    const four_floats both = LOAD_FOUR(scales + (tile * 4 + lane % 4) * 4);
    v.words[0] = words.words[0];
    v.words[1] = words.words[1];
    UNROLL
    for (int i = 0; i < 4; i++) {
        v.scales[i] = both.of[i];
    }
    return v;
}

KERNEL(tmb_linear_wide_mma) {
    SHARED(wide_mma_shared, s);
    AWAIT();
    const int lane = THREAD % 32, warp = THREAD / 32, warps = THREADS / 32, blocks = (a.k + 31) / 32;
    const int first = BLOCK_Y * TMB_WIDE_COLUMNS, here = MIN_OF(a.columns - first, TMB_WIDE_COLUMNS);
    const int tiles = (here + 7) / 8;
    float sum[WIDE_PANELS][WIDE_TILES][4] = {{{0}}};
    for (int block = warp; block < blocks; block += warps) {
        wide_values values[WIDE_TILES];
        UNROLL
        for (int t = 0; t < WIDE_TILES; t++) {
            values[t] = wide_fetch(&a, (int64_t)(first / 8 + MIN_OF(t, tiles - 1)) * blocks + block, blocks);
        }
        UNROLL
        for (int p = 0; p < WIDE_PANELS; p++) {
            const mma_weights weights = mma_fetch(&a, wide_panel(&a, p), block);
            UNROLL
            for (int t = 0; t < WIDE_TILES; t++) {
                if (t < tiles) {
                    mma_multiply(a.type, &weights, values[t].words, values[t].scales, sum[p][t]);
                }
            }
        }
    }
    for (int w = 0; w < warps; w++) {
        if (w == warp) {
            UNROLL
            for (int i = 0; i < WIDE_PANELS * WIDE_TILES * 4; i++) {
                const int panel = i / (WIDE_TILES * 4), tile = i / 4 % WIDE_TILES, part = i % 4;
                const int row = panel * 16 + lane / 4 + part / 2 * 8, column = tile * 8 + lane % 4 * 2 + part % 2;
                float *done = s->done + column * WIDE_DONE + row;
                *done = (w > 0 ? *done : 0.0f) + sum[panel][tile][part];
            }
        }
        BARRIER();
    }
    wide_finish(&a, s->done, first, here);
}
