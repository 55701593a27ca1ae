/* Attention of the codec decoder's transformer: a window of rows, rotated, without norms of its own. */
#define CODEC_ATTEND_WARPS 4

typedef struct codec_attend_shared {
    float query[CODEC_ATTEND_WARPS * TMB_CODEC_HEAD];
    float weight[CODEC_ATTEND_WARPS * TMB_CODEC_WINDOW];
} codec_attend_shared;

/* Element k of a head, rotated. */
DEVICE float codec_rotated(const float *from, const float *angles, int half, int k) {
    const int i = k % half;
    const float cosine = angles[i], sine = angles[half + i];
    return k < half ? FMA(-from[k + half], sine, from[k] * cosine) : FMA(from[k - half], sine, from[k] * cosine);
}

KERNEL(tmb_codec_attend) {
    SHARED(codec_attend_shared, s);
    AWAIT();
    const int head = BLOCK_X, column = BLOCK_Y, size = a.head_dim, lane = THREAD % 32, warp = THREAD / 32;
    if (column >= *a.columns.live || a.columns.frames[column].within != 0) {
        return;
    }
    const tmb_gpu_frame *frame = &a.columns.frames[column];
    const int group = a.heads / a.key_heads, stride = (a.heads + 2 * a.key_heads) * size;
    float *keys = frame->state + a.keys + (int64_t)head * a.ring * size;
    float *values = frame->state + a.values + (int64_t)head * a.ring * size;
    for (int i = THREAD; i < frame->frames * size; i += THREADS) {
        const int row = i / size, k = i % size;
        const float *key = a.qkv + (int64_t)(column + row) * stride + (a.heads + head) * size;
        const int at = (int)((frame->position + row) % a.ring);
        keys[k * a.ring + at] = codec_rotated(key, a.angles + (int64_t)(column + row) * size, size / 2, k);
        values[at * size + k] = key[a.key_heads * size + k];
    }
    BARRIER();
    float *query = s->query + warp * TMB_CODEC_HEAD, *weight = s->weight + warp * TMB_CODEC_WINDOW;
    for (int which = warp; which < frame->frames * group; which += THREADS / 32) { /* a row and a head for each warp */
        const int row = which / group, own = head * group + which % group;
        const int64_t position = frame->position + row;
        const int seen = position + 1 < a.window ? (int)position + 1 : a.window;
        const int oldest = (int)((position + 1 - seen) % a.ring);
        const float *from = a.qkv + (int64_t)(column + row) * stride + own * size;
        for (int k = lane; k < size; k += 32) {
            query[k] = codec_rotated(from, a.angles + (int64_t)(column + row) * size, size / 2, k);
        }
        WARP_BARRIER();
        float most = -1e30f, total = 0;
        for (int i = lane; i < seen; i += 32) {
            const int at = oldest + i < a.ring ? oldest + i : oldest + i - a.ring;
            float dot = 0;
            for (int k = 0; k < size; k++) {
                dot = FMA(query[k], keys[k * a.ring + at], dot);
            }
            weight[i] = dot * a.scale;
            most = MAX_OF(most, weight[i]);
        }
        most = WARP_MAX(most);
        for (int i = lane; i < seen; i += 32) {
            weight[i] = EXP(weight[i] - most);
            total += weight[i];
        }
        total = WARP_SUM(total);
        WARP_BARRIER();
        for (int k = lane; k < size; k += 32) {
            float sum = 0;
            for (int i = 0; i < seen; i++) {
                const int at = oldest + i < a.ring ? oldest + i : oldest + i - a.ring;
                sum = FMA(weight[i], values[at * size + k], sum);
            }
            a.out[((int64_t)(column + row) * a.heads + own) * size + k] = sum / total;
        }
        WARP_BARRIER();
    }
}
