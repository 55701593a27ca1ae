/* Products of a matrix with a few vectors, in f32: the weights are f32 or bf16, every product and sum is f32.
 *
 * A lane has a row, 8 columns beside each other; the block's warps share the sum over k. Which warp takes which k, and
 * the order in which their sums are added, depend on the shape alone: a column's result is the same, to the bit,
 * whatever the others are.
 */
#define LINEAR_CHUNK 256

typedef struct linear_shared {
    float x[LINEAR_CHUNK * TMB_LINEAR_COLUMNS]; /* [k][column] */
    float partial[8 * TMB_LINEAR_COLUMNS * TMB_LINEAR_ROWS];
    float scale[TMB_LINEAR_COLUMNS];
} linear_shared;

DEVICE int linear_columns(const tmb_linear_arguments *a) {
    return a->live != 0 ? *a->live * a->columns_each : a->columns;
}

/* The block's weights: whatever the vectors are, these are read. */
DEVICE void linear_prefetch(const tmb_linear_arguments *a) {
    const int panels = (a->rows + 15) / 16, panel = BLOCK_X * 2;
    const uint8_t *from = a->weights + (int64_t)panel * a->panel_bytes;
    const int bytes = MIN_OF(panels - panel, 2) * a->panel_bytes;
    for (int i = THREAD * 128; i < bytes; i += THREADS * 128) {
        PREFETCH(from + i);
    }
}

DEVICE const float *linear_x(const tmb_linear_arguments *a, int column) {
    return a->x != 0 ? a->x + (int64_t)column * a->x_stride : a->slots[column].hidden;
}

/* One warp: 1 / the root of the mean square. */
DEVICE float row_scale(const float *x, int count, float eps) {
    float sum = 0;
    for (int k = THREAD % 32; k < count; k += 32) {
        sum = FMA(x[k], x[k], sum);
    }
    return 1.0f / SQRT(WARP_SUM(sum) / (float)count + eps);
}

DEVICE void linear_scales(const tmb_linear_arguments *a, int first, int here, float *scale) {
    const int warps = THREADS / 32;
    for (int c = THREAD / 32; c < here; c += warps) {
        const float one = row_scale(linear_x(a, first + c), a->k, a->eps);
        if (THREAD % 32 == 0) {
            scale[c] = one;
        }
    }
}

DEVICE float linear_value(const tmb_linear_arguments *a, int column, int k, float scale) {
    const float x = linear_x(a, column)[k];
    return a->norm != 0 ? x * scale * a->norm[k] : x;
}

/* Row `lane` of 32, from row 32 * `strip` on; their sums in the same column are `sums`. */
DEVICE void linear_finish(const tmb_linear_arguments *a, int column, int strip, int lane, const float *sums) {
    float *out = a->out + (int64_t)column * a->out_stride;
    float sum = sums[lane];
    const int row = strip * TMB_LINEAR_ROWS + lane;
    if (a->mode == TMB_LINEAR_GATE) {
        const int wanted = strip * (TMB_LINEAR_ROWS / 2) + lane;
        if (lane < TMB_LINEAR_ROWS / 2 && wanted < a->wanted) {
            out[wanted] = SILU(sum) * sums[lane + TMB_LINEAR_ROWS / 2];
        }
        return;
    }
    if (row >= a->rows) {
        return;
    }
    sum += a->bias != 0 ? a->bias[row] : 0.0f;
    out[row] = a->mode == TMB_LINEAR_ADD ? out[row] + sum : a->mode == TMB_LINEAR_SILU ? SILU(sum) : sum;
}

/* Warps that share the sum over k. */
DEVICE int linear_warps(const tmb_linear_arguments *a) { return a->warps != 0 ? a->warps : THREADS / 32; }

/* Those warps' sums, in their order, and what becomes of them. `partial` is written, a barrier comes first. */
DEVICE void linear_end(const tmb_linear_arguments *a, const float *partial, float *done, int first, int here) {
    const int lane = THREAD % 32, warp = THREAD / 32, warps = THREADS / 32;
    BARRIER();
    for (int c = warp; c < here; c += warps) {
        float all = 0;
        for (int w = 0; w < linear_warps(a); w++) {
            all += partial[(w * TMB_LINEAR_COLUMNS + c) * TMB_LINEAR_ROWS + lane];
        }
        done[c * TMB_LINEAR_ROWS + lane] = all;
    }
    BARRIER();
    for (int c = warp; c < here; c += warps) {
        linear_finish(a, first + c, BLOCK_X, lane, done + c * TMB_LINEAR_ROWS);
    }
}

DEVICE float linear_weight(const tmb_linear_arguments *a, const uint8_t *panel, int row, int k) {
    return a->type == TMB_GPU_F32
               ? ((const float *)(const void *)panel)[k * 16 + row]
               : BF16_TO_FLOAT(((const uint16_t *)(const void *)panel)[k / 2 * 32 + row * 2 + k % 2]);
}

/* Value k of a column: of what `attend` makes, if there is such a thing. */
DEVICE float linear_input(const tmb_linear_arguments *a, const tmb_attend_arguments *attend, const attend_few *t,
                          int column, int local, int k, float scale) {
    return attend != 0 ? few_value(attend, t, column, local, k) : linear_value(a, column, k, scale);
}

/* With `attend`, its weights are in `t`. */
DEVICE void linear_run(const tmb_linear_arguments *a, linear_shared *s, const tmb_attend_arguments *attend,
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
    const int row = BLOCK_X * TMB_LINEAR_ROWS + lane;
    const int inside = row < (a->rows + 15) / 16 * 16;
    const uint8_t *panel = a->weights + (int64_t)(inside ? row / 16 : 0) * a->panel_bytes;
    float sum[TMB_LINEAR_COLUMNS] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int base = 0; base < a->k; base += LINEAR_CHUNK) {
        const int count = MIN_OF(a->k - base, LINEAR_CHUNK);
        for (int c = 0; c < here; c++) {
            const float scale = attend == 0 && a->norm != 0 ? s->scale[c] : 1.0f;
            for (int k = THREAD; k < count; k += THREADS) {
                s->x[k * TMB_LINEAR_COLUMNS + c] = linear_input(a, attend, t, first + c, c, base + k, scale);
            }
        }
        BARRIER();
        if (warp >= warps) { /* no part of the sum */
        } else if (here == 1) {
            for (int k = warp; k < count; k += warps) {
                sum[0] = FMA(linear_weight(a, panel, row % 16, base + k), s->x[k * TMB_LINEAR_COLUMNS], sum[0]);
            }
        } else {
            for (int k = warp; k < count; k += warps) {
                const float w = linear_weight(a, panel, row % 16, base + k);
                UNROLL
                for (int c = 0; c < TMB_LINEAR_COLUMNS; c++) {
                    if (c < here) {
                        sum[c] = FMA(w, s->x[k * TMB_LINEAR_COLUMNS + c], sum[c]);
                    }
                }
            }
        }
        BARRIER();
    }
    UNROLL
    for (int c = 0; c < TMB_LINEAR_COLUMNS; c++) {
        if (c < here && warp < warps) {
            s->partial[(warp * TMB_LINEAR_COLUMNS + c) * TMB_LINEAR_ROWS + lane] = sum[c];
        }
    }
    linear_end(a, s->partial, s->x, first, here);
}

KERNEL(tmb_linear) {
    SHARED(linear_shared, s);
    linear_prefetch(&a);
    AWAIT();
    linear_run(&a, s, 0, 0);
}

/* The block's weights of attention, before its product: neither needs what the other has in between. */
DEVICE void few_begin(const tmb_attend_linear_arguments *a, attend_few *t, few_scratch *scratch) {
    const int first = BLOCK_Y * TMB_LINEAR_COLUMNS;
    few_prepare(&a->attend, t, scratch, first, MIN_OF(linear_columns(&a->linear) - first, TMB_LINEAR_COLUMNS));
    BARRIER();
}

typedef struct attend_linear_shared {
    union {
        linear_shared linear;
        few_scratch scratch;
    } of;
    attend_few few;
} attend_linear_shared;

KERNEL_OF(tmb_attend_linear, TMB_FEW_THREADS) {
    SHARED(attend_linear_shared, s);
    linear_prefetch(&a.linear);
    AWAIT();
    few_begin(&a, &s->few, &s->of.scratch);
    linear_run(&a.linear, &s->of.linear, &a.attend, &s->few);
}

/* slots[c].hidden = RMS norm of x[c]; one block a column. */
KERNEL(tmb_norm_rows) {
    SHARED(linear_shared, s);
    AWAIT();
    const int column = BLOCK_X;
    if ((a.live != 0 && column >= *a.live) || (!a.always && !a.slots[column].talks)) {
        return;
    }
    const float *x = a.x + (int64_t)column * a.x_stride;
    float *hidden = a.slots[column].hidden;
    if (THREAD < 32) {
        const float scale = row_scale(x, a.width, a.eps);
        if (THREAD == 0) {
            s->scale[0] = scale;
        }
    }
    BARRIER();
    for (int k = THREAD; k < a.width; k += THREADS) {
        hidden[k] = x[k] * s->scale[0] * a.norm[k];
    }
}
