/* The codec encoder's transformer, whose rows see all before them, and the search for the nearest entries.
 *
 * Every sum's order depends on a layer's shape, and a row's on its number, alone.
 */
#define ENCODE_ATTEND_WARPS 4
#define ENCODE_ATTEND_SUMS (TMB_ENCODE_HEAD / 32)

typedef struct encode_norm_shared {
    float sums[8];
} encode_norm_shared;

KERNEL(tmb_encode_norm) {
    SHARED(encode_norm_shared, s);
    AWAIT();
    const float *x = a.x + (int64_t)BLOCK_X * a.width;
    float *out = a.out + (int64_t)BLOCK_X * a.width;
    float sum = 0, square = 0;
    for (int c = THREAD; c < a.width; c += THREADS) {
        sum += x[c];
    }
    const float mean = block_sum(s->sums, sum) / (float)a.width;
    for (int c = THREAD; c < a.width; c += THREADS) {
        const float centred = x[c] - mean;
        square = FMA(centred, centred, square);
    }
    const float factor = 1.0f / SQRT(block_sum(s->sums, square) / (float)a.width + a.eps);
    for (int c = THREAD; c < a.width; c += THREADS) {
        out[c] = FMA((x[c] - mean) * factor, a.norm[c], a.bias[c]);
    }
}

KERNEL(tmb_encode_rotate) {
    AWAIT();
    const int half = a.head_dim / 2;
    float *row = a.qkv + (int64_t)BLOCK_X * (a.heads + 2 * a.key_heads) * a.head_dim;
    for (int i = THREAD; i < half; i += THREADS) {
        float cosine, sine;
        ANGLE((double)BLOCK_X * (double)a.frequencies[i], &cosine, &sine);
        for (int head = 0; head < a.heads + a.key_heads; head++) {
            float *x = row + head * a.head_dim + i;
            const float low = x[0], high = x[half];
            x[0] = FMA(-high, sine, low * cosine);
            x[half] = FMA(low, sine, high * cosine);
        }
    }
}

typedef struct encode_attend_shared {
    float query[ENCODE_ATTEND_WARPS * TMB_ENCODE_HEAD];
    float weight[ENCODE_ATTEND_WARPS * 32];
} encode_attend_shared;

/* A warp for a row and head. Keys come by 32: what was summed is scaled when a larger score comes. */
KERNEL(tmb_encode_attend) {
    SHARED(encode_attend_shared, s);
    AWAIT();
    const int lane = THREAD % 32, warp = THREAD / 32, size = a.head_dim, head = BLOCK_Y;
    const int row = BLOCK_X * ENCODE_ATTEND_WARPS + warp, pitch = (a.heads + 2 * a.key_heads) * size;
    if (row >= a.rows) {
        return;
    }
    const float *keys = a.qkv + (a.heads + head / (a.heads / a.key_heads)) * size, *values = keys + a.key_heads * size;
    float *query = s->query + warp * TMB_ENCODE_HEAD, *weight = s->weight + warp * 32;
    float most = -1e30f, total = 0, sum[ENCODE_ATTEND_SUMS] = {0, 0, 0, 0};
    for (int k = lane; k < size; k += 32) {
        query[k] = a.qkv[(int64_t)row * pitch + head * size + k];
    }
    WARP_BARRIER();
    for (int base = 0; base <= row; base += 32) {
        const int at = base + lane, count = MIN_OF(row + 1 - base, 32);
        float score = -1e30f;
        if (at <= row) {
            const float *key = keys + (int64_t)at * pitch;
            float dot = 0;
            for (int k = 0; k < size; k++) {
                dot = FMA(query[k], key[k], dot);
            }
            score = dot * a.scale;
        }
        const float largest = MAX_OF(most, WARP_MAX(score));
        const float kept = EXP(most - largest), own = at <= row ? EXP(score - largest) : 0.0f;
        total = FMA(total, kept, WARP_SUM(own));
        most = largest;
        weight[lane] = own;
        WARP_BARRIER();
        UNROLL
        for (int j = 0; j < ENCODE_ATTEND_SUMS; j++) {
            const int k = lane + 32 * j;
            if (k < size) {
                sum[j] *= kept;
                for (int i = 0; i < count; i++) {
                    sum[j] = FMA(weight[i], values[(int64_t)(base + i) * pitch + k], sum[j]);
                }
            }
        }
        WARP_BARRIER();
    }
    UNROLL
    for (int j = 0; j < ENCODE_ATTEND_SUMS; j++) {
        const int k = lane + 32 * j;
        if (k < size) {
            a.out[((int64_t)row * a.heads + head) * size + k] = sum[j] / total;
        }
    }
}

/* ---- Codes ---- */

#define QUANTIZE_WARPS 8

typedef struct quantize_shared {
    float residual[TMB_ENCODE_FRAMES * TMB_ENCODE_ENTRY];
    float distance[QUANTIZE_WARPS * TMB_ENCODE_FRAMES];
    int nearest[QUANTIZE_WARPS * TMB_ENCODE_FRAMES];
} quantize_shared;

DEVICE const float *quantize_entry(const tmb_encode_quantize_arguments *a, int book, int index) {
    const int panels = (a->size + 31) / 32;
    return a->entries + ((int64_t)book * panels + index / 32) * a->width * 32 + index % 32;
}

/* The nearest of the thread's entries to each frame; those of its warp then. */
DEVICE void quantize_search(const tmb_encode_quantize_arguments *a, quantize_shared *s, int book) {
    const int lane = THREAD % 32, warp = THREAD / 32;
    float least[TMB_ENCODE_FRAMES];
    int which[TMB_ENCODE_FRAMES];
    UNROLL
    for (int f = 0; f < TMB_ENCODE_FRAMES; f++) {
        least[f] = 1e30f;
        which[f] = 0;
    }
    for (int index = THREAD; index < a->size; index += THREADS) {
        const float *entry = quantize_entry(a, book, index);
        float dot[TMB_ENCODE_FRAMES] = {0, 0, 0, 0};
        for (int k = 0; k < a->width; k++) {
            const float w = entry[k * 32];
            UNROLL
            for (int f = 0; f < TMB_ENCODE_FRAMES; f++) {
                dot[f] = FMA(w, s->residual[k * TMB_ENCODE_FRAMES + f], dot[f]);
            }
        }
        UNROLL
        for (int f = 0; f < TMB_ENCODE_FRAMES; f++) {
            const float distance = FMA(-2.0f, dot[f], a->lengths[(int64_t)book * a->size + index]);
            which[f] = distance < least[f] ? index : which[f];
            least[f] = distance < least[f] ? distance : least[f];
        }
    }
    UNROLL
    for (int f = 0; f < TMB_ENCODE_FRAMES; f++) {
        const float nearest = -WARP_MAX(-least[f]);
        const float index = -WARP_MAX(least[f] == nearest ? -(float)which[f] : -16777216.0f);
        if (lane == 0) {
            s->distance[warp * TMB_ENCODE_FRAMES + f] = nearest;
            s->nearest[warp * TMB_ENCODE_FRAMES + f] = (int)index;
        }
    }
}

/* The nearest of all warps' codes; the first, if several are as near. */
DEVICE int quantize_nearest(const quantize_shared *s, int f) {
    int best = f;
    for (int w = 1; w < QUANTIZE_WARPS; w++) {
        const int other = w * TMB_ENCODE_FRAMES + f;
        const int equal = s->distance[other] == s->distance[best];
        if (s->distance[other] < s->distance[best] || (equal && s->nearest[other] < s->nearest[best])) {
            best = other;
        }
    }
    return s->nearest[best];
}

KERNEL(tmb_encode_quantize) {
    SHARED(quantize_shared, s);
    AWAIT();
    const int first = BLOCK_X * TMB_ENCODE_FRAMES, here = MIN_OF(a.frames - first, TMB_ENCODE_FRAMES);
    const float *from = a.residuals + ((int64_t)BLOCK_Y * a.frames + first) * a.width;
    for (int i = THREAD; i < TMB_ENCODE_FRAMES * a.width; i += THREADS) {
        const int f = i / a.width, k = i % a.width;
        s->residual[k * TMB_ENCODE_FRAMES + f] = f < here ? from[f * a.width + k] : 0.0f;
    }
    BARRIER();
    const int end = BLOCK_Y == 0 ? a.semantic : a.books;
    for (int book = BLOCK_Y == 0 ? 0 : a.semantic; book < end; book++) {
        quantize_search(&a, s, book);
        BARRIER();
        for (int f = 0; f < here; f++) {
            const int nearest = quantize_nearest(s, f);
            const float *entry = quantize_entry(&a, book, nearest);
            for (int k = THREAD; k < a.width; k += THREADS) {
                s->residual[k * TMB_ENCODE_FRAMES + f] -= entry[k * 32];
            }
            if (THREAD == 0) {
                a.codes[(int64_t)(first + f) * a.books + book] = (int16_t)nearest;
            }
        }
        BARRIER();
    }
}
