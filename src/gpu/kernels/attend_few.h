/* Attention over the few positions of a frame's codes, as the input of a product: each block makes the attended values
 * of its columns itself, so that no kernel goes before it. */
#define FEW_WARPS (TMB_FEW_THREADS / 32)

typedef struct attend_few {
    float weight[TMB_LINEAR_COLUMNS * TMB_FEW_HEADS * TMB_FEW_POSITIONS]; /* [column][head][position] */
} attend_few;

/* Needed for the weights alone. */
typedef struct few_scratch {
    float query[FEW_WARPS * TMB_FEW_HEAD];
    float keys[FEW_WARPS * TMB_FEW_ROWS * TMB_FEW_HEAD]; /* of the rows that are new */
} few_scratch;

/* Weights of one column's head, by one warp. */
DEVICE void few_weigh(const tmb_attend_arguments *a, attend_few *t, few_scratch *scratch, int column, int local,
                      int head) {
    const int lane = THREAD % 32, warp = THREAD / 32, size = a->head_dim, page = a->cache.page_positions;
    const int group = a->heads / a->key_heads, key_head = head / group;
    const int sequence = column / a->rows_each, row = column % a->rows_each, before = a->cache.position;
    float *query = scratch->query + warp * TMB_FEW_HEAD, *keys = scratch->keys + warp * TMB_FEW_ROWS * TMB_FEW_HEAD;
    float *weight = t->weight + (local * TMB_FEW_HEADS + head) * TMB_FEW_POSITIONS;
    attend_prepare(a, a->qkv + (int64_t)column * a->qkv_stride + head * size, a->query_norm, before + row, query, 1);
    for (int r = 0; r <= row; r++) {
        const float *from = a->qkv + (int64_t)(column - row + r) * a->qkv_stride + (a->heads + key_head) * size;
        attend_prepare(a, from, a->key_norm, before + r, keys + r * TMB_FEW_HEAD, 1);
    }
    WARP_BARRIER();
    const uint8_t *kept = attend_page(a, sequence, 0, key_head);
    float score = -1e30f;
    if (lane <= before + row) {
        float dot = 0;
        for (int k = 0; k < size; k++) {
            const float key =
                lane < before ? attend_load(a, kept, k * page + lane) : keys[(lane - before) * TMB_FEW_HEAD + k];
            dot = FMA(query[k], key, dot);
        }
        score = dot * a->scale;
    }
    const float most = WARP_MAX(score);
    const float power = lane <= before + row ? EXP(score - most) : 0.0f;
    const float total = WARP_SUM(power);
    if (lane < TMB_FEW_POSITIONS) {
        weight[lane] = power / total;
    }
    if (BLOCK_X == 0 && head % group == 0) { /* one block keeps what is new */
        uint8_t *to = attend_page(a, sequence, 0, key_head);
        const float *value = a->qkv + (int64_t)column * a->qkv_stride + (a->heads + a->key_heads + key_head) * size;
        for (int k = lane; k < size; k += 32) {
            attend_store(a, to, k * page + before + row, keys[row * TMB_FEW_HEAD + k]);
            attend_store(a, to + attend_values(a), (before + row) * size + k, value[k]);
        }
    }
    WARP_BARRIER();
}

/* Weights of columns [first, first + here); a barrier must follow. */
DEVICE void few_prepare(const tmb_attend_arguments *a, attend_few *t, few_scratch *scratch, int first, int here) {
    for (int i = THREAD / 32; i < here * a->heads; i += THREADS / 32) {
        few_weigh(a, t, scratch, first + i / a->heads, i / a->heads, i % a->heads);
    }
}

/* Value k of a column's attended vector. */
DEVICE float few_value(const tmb_attend_arguments *a, const attend_few *t, int column, int local, int k) {
    const int size = a->head_dim, head = k / size, key_head = head / (a->heads / a->key_heads);
    const int sequence = column / a->rows_each, row = column % a->rows_each, before = a->cache.position;
    const uint8_t *values = attend_page(a, sequence, 0, key_head) + attend_values(a);
    const float *weight = t->weight + (local * TMB_FEW_HEADS + head) * TMB_FEW_POSITIONS;
    float sum = 0;
    for (int p = 0; p < before; p++) {
        sum = FMA(weight[p], attend_load(a, values, p * size + k % size), sum);
    }
    for (int r = 0; r <= row; r++) {
        const float *from = a->qkv + (int64_t)(column - row + r) * a->qkv_stride;
        sum = FMA(weight[before + r], from[(a->heads + a->key_heads + key_head) * size + k % size], sum);
    }
    return sum;
}
