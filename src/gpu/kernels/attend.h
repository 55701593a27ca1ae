/* Grouped-query attention of the language model over pages of keys and values.
 *
 * A block takes one key head of one sequence: it normalizes and rotates key and queries, stores key and value, and goes
 * over the pages with a running softmax. The pages' order and each sum's are the same in every batch.
 */
typedef struct attend_shared {
    float query[TMB_ATTEND_GROUP_FLOATS]; /* [group, head_dim] */
    float key[TMB_ATTEND_HEAD];
    float sum[TMB_ATTEND_GROUP_FLOATS];               /* [group, head_dim] of weighted values */
    float weight[TMB_ATTEND_GROUP * TMB_ATTEND_PAGE]; /* [group, page] */
    float most[TMB_ATTEND_GROUP], total[TMB_ATTEND_GROUP], keep[TMB_ATTEND_GROUP];
} attend_shared;

/* Where the head's keys begin in the page of `position`. */
DEVICE uint8_t *attend_page(const tmb_attend_arguments *a, int sequence, int position, int head) {
    const tmb_gpu_cache *cache = &a->cache;
    uint8_t *page = cache->slots != 0 ? cache->slots[sequence].pages[position / cache->page_positions]
                                      : cache->page + sequence * cache->page_bytes;
    return page + cache->layer_offset + (int64_t)head * cache->page_positions * a->head_dim * (cache->half ? 2 : 4);
}

DEVICE int attend_position(const tmb_attend_arguments *a, int sequence, int row) {
    return (a->cache.slots != 0 ? a->cache.slots[sequence].position : a->cache.position) + row;
}

/* Bytes from the keys of a head to its values. */
DEVICE int64_t attend_values(const tmb_attend_arguments *a) {
    return (int64_t)a->key_heads * a->cache.page_positions * a->head_dim * (a->cache.half ? 2 : 4);
}

DEVICE float attend_load(const tmb_attend_arguments *a, const uint8_t *from, int index) {
    return a->cache.half ? HALF_TO_FLOAT(((const uint16_t *)(const void *)from)[index])
                         : ((const float *)(const void *)from)[index];
}

DEVICE void attend_store(const tmb_attend_arguments *a, uint8_t *to, int index, float value) {
    if (a->cache.half) {
        ((uint16_t *)(void *)to)[index] = FLOAT_TO_HALF(value);
    } else {
        ((float *)(void *)to)[index] = value;
    }
}

/* One warp: out = RMS norm of from, rotated to `position`, its values `step` apart. `out` is shared by the warp alone
 * until the next barrier. */
DEVICE void attend_prepare(const tmb_attend_arguments *a, const float *from, const float *norm, int position,
                           float *out, int step) {
    const int lane = THREAD % 32, half = a->head_dim / 2;
    float sum = 0;
    for (int k = lane; k < a->head_dim; k += 32) {
        sum = FMA(from[k], from[k], sum);
    }
    const float scale = 1.0f / SQRT(WARP_SUM(sum) / (float)a->head_dim + a->eps);
    for (int k = lane; k < half; k += 32) {
        const float low = from[k] * scale * norm[k], high = from[k + half] * scale * norm[k + half];
        const float cosine = a->cosines[(int64_t)position * half + k], sine = a->sines[(int64_t)position * half + k];
        out[k * step] = FMA(-high, sine, low * cosine);
        out[(k + half) * step] = FMA(low, sine, high * cosine);
    }
}

/* The prepared key and the value into the cache. */
DEVICE void attend_keep(const tmb_attend_arguments *a, const float *key, const float *value, int sequence, int position,
                        int head) {
    uint8_t *keys = attend_page(a, sequence, position, head);
    uint8_t *values = keys + attend_values(a);
    const int slot = position % a->cache.page_positions;
    for (int k = THREAD; k < a->head_dim; k += THREADS) {
        attend_store(a, keys, k * a->cache.page_positions + slot, key[k]);
        attend_store(a, values, slot * a->head_dim + k, value[k]);
    }
}

/* Keys and values of rows that do not wait for each other, as in a prompt. Grid: (key heads, columns). */
KERNEL(tmb_store_keys) {
    SHARED(attend_shared, s);
    AWAIT();
    const int head = BLOCK_X, column = BLOCK_Y;
    const int sequence = column / a.rows_each;
    const int position = attend_position(&a, sequence, column % a.rows_each);
    const float *row = a.qkv + (int64_t)column * a.qkv_stride;
    if (THREAD < 32) {
        attend_prepare(&a, row + (a.heads + head) * a.head_dim, a.key_norm, position, s->key, 1);
    }
    BARRIER();
    attend_keep(&a, s->key, row + (a.heads + a.key_heads + head) * a.head_dim, sequence, position, head);
}

/* One warp: the weights of a page's scores, `step` apart; the running maximum and total, and what of the sums before is
 * kept. */
DEVICE void attend_soften(float *weight, int step, int count, float *most, float *total, float *keep) {
    const int lane = THREAD % 32;
    const float before = *most;
    float highest = before;
    for (int i = lane; i < count; i += 32) {
        highest = MAX_OF(highest, weight[i * step]);
    }
    highest = WARP_MAX(highest);
    float sum = 0;
    for (int i = lane; i < count; i += 32) {
        const float power = EXP(weight[i * step] - highest);
        weight[i * step] = power;
        sum += power;
    }
    sum = WARP_SUM(sum);
    if (lane == 0) {
        *keep = EXP(before - highest);
        *most = highest;
        *total = FMA(*total, *keep, sum);
    }
}

/* Scores of a page's first `count` positions, their maximum and their weights. */
DEVICE void attend_weigh(const tmb_attend_arguments *a, attend_shared *s, const uint8_t *keys, int count, int group) {
    const int page = a->cache.page_positions;
    for (int i = THREAD; i < group * count; i += THREADS) {
        const int query = i / count, position = i % count;
        float dot = 0;
        for (int k = 0; k < a->head_dim; k++) {
            dot = FMA(s->query[query * a->head_dim + k], attend_load(a, keys, k * page + position), dot);
        }
        s->weight[query * page + position] = dot * a->scale;
    }
    BARRIER();
    for (int query = THREAD / 32; query < group; query += THREADS / 32) {
        attend_soften(s->weight + query * page, 1, count, &s->most[query], &s->total[query], &s->keep[query]);
    }
    BARRIER();
}

/* One column: queries of a group over positions 0 to `position`. */
DEVICE void attend_column(const tmb_attend_arguments *a, attend_shared *s, int sequence, int column, int position,
                          int head) {
    const int group = a->heads / a->key_heads, size = a->head_dim, page = a->cache.page_positions;
    const int warps = THREADS / 32;
    for (int query = THREAD / 32; query < group; query += warps) {
        const float *from = a->qkv + (int64_t)column * a->qkv_stride + (head * group + query) * size;
        attend_prepare(a, from, a->query_norm, position, s->query + query * size, 1);
    }
    for (int i = THREAD; i < group * size; i += THREADS) {
        s->sum[i] = 0;
    }
    for (int i = THREAD; i < group; i += THREADS) {
        s->most[i] = -1e30f;
        s->total[i] = 0;
    }
    BARRIER();
    for (int first = 0; first <= position; first += page) {
        const int count = MIN_OF(position + 1 - first, page);
        const uint8_t *keys = attend_page(a, sequence, first, head);
        const uint8_t *values = keys + attend_values(a);
        attend_weigh(a, s, keys, count, group);
        for (int i = THREAD; i < group * size; i += THREADS) {
            const int query = i / size, k = i % size;
            float sum = s->sum[i] * s->keep[query];
            for (int p = 0; p < count; p++) {
                sum = FMA(s->weight[query * page + p], attend_load(a, values, p * size + k), sum);
            }
            s->sum[i] = sum;
        }
        BARRIER();
    }
    float *out = a->out + (int64_t)column * a->out_stride + head * group * size;
    for (int i = THREAD; i < group * size; i += THREADS) {
        out[i] = s->sum[i] / s->total[i / size];
    }
}

/* Grid: (key heads, sequences). */
KERNEL(tmb_attend) {
    SHARED(attend_shared, s);
    AWAIT();
    const int head = BLOCK_X;
    if (a.live != 0 && BLOCK_Y >= *a.live) {
        return;
    }
    if (a.cache.slots != 0 && !a.cache.slots[BLOCK_Y].talks) {
        return;
    }
    for (int row = 0; row < a.rows_each; row++) {
        const int column = BLOCK_Y * a.rows_each + row;
        const int position = attend_position(&a, BLOCK_Y, row);
        const float *from = a.qkv + (int64_t)column * a.qkv_stride;
        if (THREAD < 32) {
            attend_prepare(&a, from + (a.heads + head) * a.head_dim, a.key_norm, position, s->key, 1);
        }
        BARRIER();
        attend_keep(&a, s->key, from + (a.heads + a.key_heads + head) * a.head_dim, BLOCK_Y, position, head);
        attend_column(&a, s, BLOCK_Y, column, position, head); /* behind a barrier of its own */
    }
}
