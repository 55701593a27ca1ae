/* The same products by tensor cores: weights in bf16, 8 or 4 bits as the CPU packs them, vectors rounded to bf16 or to
 * 8 bits with a scale for each 32 values, as the CPU rounds them. Sums of 8 bits are whole numbers and exactly the
 * CPU's.
 *
 * The weights are the first operand (16 rows), the vectors the second (8 columns): a column of the result depends on
 * its own vector alone. A warp has two panels; warps share the sum over k by blocks of 32.
 */
#define MMA_CHUNK 512
#define MMA_BLOCKS (MMA_CHUNK / 32)
#define MMA_PITCH (MMA_CHUNK / 2 + 4) /* words of a column's row: of bf16; the first half of it of bytes */

typedef struct linear_mma_shared {
    uint32_t x[TMB_LINEAR_COLUMNS * MMA_PITCH];
    float scales[TMB_LINEAR_COLUMNS * MMA_BLOCKS];
    float totals[TMB_LINEAR_COLUMNS * MMA_BLOCKS]; /* scale times sum */
    float partial[4 * TMB_LINEAR_COLUMNS * TMB_LINEAR_ROWS];
    float done[TMB_LINEAR_COLUMNS * TMB_LINEAR_ROWS];
    float scale[TMB_LINEAR_COLUMNS];
} linear_mma_shared;

DEVICE uint16_t mma_round(float x) {
    const uint32_t bits = FLOAT_TO_BITS(x);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* A value of a block in 8 bits. */
typedef struct mma_whole {
    int8_t value;
    float scale, total; /* the block's; scale times the sum of its values */
} mma_whole;

/* One warp: 32 values of one column. */
DEVICE mma_whole mma_quantize(float value) {
    const float most = WARP_MAX(value < 0 ? -value : value);
    const float inverse = most > 1e-30f ? 127.0f / most : 0.0f;
    const float rounded = ROUND(value * inverse);
    const float sum = WARP_SUM(rounded), scale = most > 1e-30f ? most / 127.0f : 0.0f;
    const mma_whole whole = {(int8_t)(int)rounded, scale, scale * sum};
    return whole;
}

/* One warp: 32 values of one column. */
DEVICE void mma_prepare(const tmb_linear_arguments *a, linear_mma_shared *s, int column, int block, float value) {
    const int lane = THREAD % 32;
    uint32_t *row = s->x + column * MMA_PITCH;
    if (a->type == TMB_GPU_BF16) {
        ((uint16_t *)(void *)row)[block * 32 + lane] = mma_round(value);
        return;
    }
    const mma_whole whole = mma_quantize(value);
    ((int8_t *)(void *)row)[block * 32 + lane] = whole.value;
    if (lane == 0) {
        s->scales[column * MMA_BLOCKS + block] = whole.scale;
        s->totals[column * MMA_BLOCKS + block] = whole.total;
    }
}

/* In a panel of 4 bits: where the super-block of `block` begins, and its blocks' weights. */
DEVICE const uint8_t *q4_super(const uint8_t *panel, int block) { return panel + block / 8 * (320 + 8 * 256); }
DEVICE int q4_head(int blocks, int block) {
    const int here = MIN_OF(blocks - block / 8 * 8, 8);
    return (64 + here * 32 + 63) / 64 * 64;
}

DEVICE uint32_t load_word(const uint8_t *from, int index) { return ((const uint32_t *)(const void *)from)[index]; }
DEVICE float load_half(const uint8_t *from, int index) {
    return HALF_TO_FLOAT(((const uint16_t *)(const void *)from)[index]);
}

/* What a lane holds of a block of 16 rows: of 16 bits two fragments, of 8 or 4 bits one and the scales of its rows. */
typedef struct mma_weights {
    uint32_t words[8];
    float scale[2], offset[2];
} mma_weights;

DEVICE mma_weights mma_fetch_bf16(const uint8_t *panel, int k, int block) {
    const int group = THREAD % 32 / 4, place = THREAD % 4, pairs = (k + 1) / 2;
    mma_weights w = {{0, 0, 0, 0, 0, 0, 0, 0}, {0, 0}, {0, 0}};
    UNROLL
    for (int i = 0; i < 4; i++) {
        const int pair = block * 16 + i * 4 + place;
        w.words[2 * i] = pair < pairs ? load_word(panel, pair * 16 + group) : 0;
        w.words[2 * i + 1] = pair < pairs ? load_word(panel, pair * 16 + group + 8) : 0;
    }
    return w;
}

DEVICE mma_weights mma_fetch_q8(const uint8_t *panel, int block) {
    const int group = THREAD % 32 / 4, place = THREAD % 4;
    const uint8_t *pair = panel + block / 2 * 1088;
    const uint8_t *weights = pair + 64 + block % 2 * 512;
    const mma_weights w = {{load_word(weights, place * 16 + group), load_word(weights, place * 16 + group + 8),
                            load_word(weights, (place + 4) * 16 + group),
                            load_word(weights, (place + 4) * 16 + group + 8), 0, 0, 0, 0},
                           {load_half(pair + block % 2 * 32, group), load_half(pair + block % 2 * 32, group + 8)},
                           {0, 0}};
    return w;
}

DEVICE mma_weights mma_fetch_q4(const uint8_t *panel, int k, int block) {
    const int group = THREAD % 32 / 4, place = THREAD % 4, shift = place % 2 * 4;
    const uint8_t *super = q4_super(panel, block);
    const uint8_t *weights = super + q4_head((k + 31) / 32, block) + block % 8 * 256;
    mma_weights w = {{load_word(weights, place / 2 * 16 + group) >> shift & 0x0f0f0f0fu,
                      load_word(weights, place / 2 * 16 + group + 8) >> shift & 0x0f0f0f0fu,
                      load_word(weights, (place / 2 + 2) * 16 + group) >> shift & 0x0f0f0f0fu,
                      load_word(weights, (place / 2 + 2) * 16 + group + 8) >> shift & 0x0f0f0f0fu, 0, 0, 0, 0},
                     {0, 0},
                     {0, 0}};
    UNROLL
    for (int i = 0; i < 2; i++) {
        const int row = group + 8 * i;
        w.scale[i] = load_half(super, row) * 0.00390625f * (float)super[64 + block % 8 * 32 + row];
        w.offset[i] = load_half(super, 16 + row) * 0.00390625f * (float)super[64 + block % 8 * 32 + 16 + row];
    }
    return w;
}

DEVICE mma_weights mma_fetch(const tmb_linear_arguments *a, const uint8_t *panel, int block) {
    return a->type == TMB_GPU_BF16 ? mma_fetch_bf16(panel, a->k, block)
           : a->type == TMB_GPU_Q8 ? mma_fetch_q8(panel, block)
                                   : mma_fetch_q4(panel, a->k, block);
}

/* sum[4] += 16 rows of the block times 8 columns. `values` [4, or 2] is what the lane holds of them, `scales` [2][2]
 * scale and total of the two columns whose sums it has. */
DEVICE void mma_multiply(int type, const mma_weights *w, const uint32_t *values, const float *scales, float *sum) {
    if (type == TMB_GPU_BF16) {
        MMA_BF16(sum, w->words, values);
        MMA_BF16(sum, w->words + 4, values + 2);
        return;
    }
    int dots[4] = {0, 0, 0, 0};
    MMA_S8(dots, w->words, values);
    UNROLL
    for (int i = 0; i < 4; i++) {
        const float *column = scales + i % 2 * 2;
        sum[i] = FMA(w->scale[i / 2] * column[0], (float)dots[i], sum[i]);
        sum[i] = type == TMB_GPU_Q4 ? FMA(-w->offset[i / 2], column[1], sum[i]) : sum[i];
    }
}

DEVICE void mma_block(const tmb_linear_arguments *a, const linear_mma_shared *s, const uint8_t *panel, int block,
                      int local, float *sum) {
    const int group = THREAD % 32 / 4, place = THREAD % 4;
    const int bf16 = a->type == TMB_GPU_BF16;
    const uint32_t *x = s->x + group * MMA_PITCH + local * (bf16 ? 16 : 8) + place;
    const int at = place * 2 * MMA_BLOCKS + local;
    const uint32_t values[4] = {x[0], x[4], bf16 ? x[8] : 0, bf16 ? x[12] : 0};
    const float scales[4] = {s->scales[at], s->totals[at], s->scales[at + MMA_BLOCKS], s->totals[at + MMA_BLOCKS]};
    const mma_weights w = mma_fetch(a, panel, block);
    mma_multiply(a->type, &w, values, scales, sum);
}

/* With `attend`, its weights are in `t`. */
DEVICE void linear_mma_run(const tmb_linear_arguments *a, linear_mma_shared *s, const tmb_attend_arguments *attend,
                           const attend_few *t) {
    const int lane = THREAD % 32, warp = THREAD / 32, warps = linear_warps(a);
    const int columns = linear_columns(a);
    const int first = BLOCK_Y * TMB_LINEAR_COLUMNS;
    if (first >= columns) {
        return;
    }
    const int here = MIN_OF(columns - first, TMB_LINEAR_COLUMNS);
    if (attend == 0 && a->norm != 0) {
        linear_scales(a, first, here, s->scale);
        BARRIER();
    }
    const int panels = (a->rows + 15) / 16;
    const uint8_t *panel[2];
    for (int p = 0; p < 2; p++) {
        panel[p] = a->weights + (int64_t)MIN_OF(BLOCK_X * 2 + p, panels - 1) * a->panel_bytes;
    }
    float sum[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
    for (int base = 0; base < a->k; base += MMA_CHUNK) {
        const int blocks = (MIN_OF(a->k - base, MMA_CHUNK) + 31) / 32;
        for (int i = warp; i < here * blocks; i += THREADS / 32) {
            const int column = i / blocks, k = base + i % blocks * 32 + lane;
            const float scale = attend == 0 && a->norm != 0 ? s->scale[column] : 1.0f;
            const float value = k < a->k ? linear_input(a, attend, t, first + column, column, k, scale) : 0.0f;
            mma_prepare(a, s, column, i % blocks, value);
        }
        BARRIER();
        for (int block = warp; block < blocks && warp < warps; block += warps) {
            mma_block(a, s, panel[0], base / 32 + block, block, sum[0]);
            mma_block(a, s, panel[1], base / 32 + block, block, sum[1]);
        }
        BARRIER();
    }
    UNROLL
    for (int p = 0; p < 2; p++) {
        UNROLL
        for (int i = 0; i < 4; i++) {
            const int row = p * 16 + lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            if (warp < warps) {
                s->partial[(warp * TMB_LINEAR_COLUMNS + column) * TMB_LINEAR_ROWS + row] = sum[p][i];
            }
        }
    }
    linear_end(a, s->partial, s->done, first, here);
}

KERNEL(tmb_linear_mma) {
    SHARED(linear_mma_shared, s);
    linear_prefetch(&a);
    AWAIT();
    linear_mma_run(&a, s, 0, 0);
}

typedef struct attend_linear_mma_shared {
    union {
        linear_mma_shared linear;
        few_scratch scratch;
    } of;
    attend_few few;
} attend_linear_mma_shared;

KERNEL_OF(tmb_attend_linear_mma, TMB_FEW_THREADS) {
    SHARED(attend_linear_mma_shared, s);
    linear_prefetch(&a.linear);
    AWAIT();
    few_begin(&a, &s->few, &s->of.scratch);
    linear_mma_run(&a.linear, &s->of.linear, &a.attend, &s->few);
}
