/* The same attention for a prompt's rows, whose keys and values are in the pages already: a block takes several rows,
 * so that a key or value is read once for all their queries.
 *
 * What becomes of a query is the same as in tmb_attend, to the bit: its sums go over positions in the same order, page
 * by page, and positions behind its own are left out. So it counts for nothing which rows are together.
 */
#define ATTEND_STRIP 8                                   /* queries of a thread */
#define ATTEND_ROWS_FLOATS (2 * TMB_ATTEND_GROUP_FLOATS) /* queries are rounded up to strips */
#define ATTEND_ROWS_PITCH (TMB_ATTEND_GROUP + 4)

typedef struct __attribute__((aligned(16))) attend_rows_shared {
    float query[ATTEND_ROWS_FLOATS];                   /* [head_dim][queries] */
    float sum[ATTEND_ROWS_FLOATS];                     /* the same */
    float weight[TMB_ATTEND_PAGE * ATTEND_ROWS_PITCH]; /* [position][queries + 4] */
    float most[TMB_ATTEND_GROUP], total[TMB_ATTEND_GROUP], keep[TMB_ATTEND_GROUP];
} attend_rows_shared;

/* A block's part. */
typedef struct attend_rows {
    int head, first, rows; /* of the prompt */
    int group, queries;    /* rows * group */
    int strips, pitch;     /* of queries; strips * ATTEND_STRIP */
    int position;          /* of the first row */
} attend_rows;

DEVICE attend_rows attend_rows_of(const tmb_attend_arguments *a) {
    const int first = BLOCK_Y * a->rows_tile, rows = MIN_OF(a->rows_each - first, a->rows_tile);
    const int group = a->heads / a->key_heads, strips = (rows * group + ATTEND_STRIP - 1) / ATTEND_STRIP;
    const attend_rows part = {
        BLOCK_X, first, rows, group, rows * group, strips, strips * ATTEND_STRIP, attend_position(a, 0, first)};
    return part;
}

/* Positions of the page at `first` that a query goes over; none if not more than 0. */
DEVICE int attend_rows_count(const attend_rows *part, int query, int first, int page) {
    return MIN_OF(part->position + query / part->group + 1 - first, page);
}

DEVICE void attend_rows_begin(const tmb_attend_arguments *a, attend_rows_shared *s, const attend_rows *part) {
    const int size = a->head_dim;
    for (int query = THREAD / 32; query < part->queries; query += THREADS / 32) {
        const int row = query / part->group, head = part->head * part->group + query % part->group;
        const float *from = a->qkv + (int64_t)(part->first + row) * a->qkv_stride + head * size;
        attend_prepare(a, from, a->query_norm, part->position + row, s->query + query, part->pitch);
    }
    for (int i = THREAD; i < part->pitch * size; i += THREADS) {
        s->sum[i] = 0;
        if (i % part->pitch >= part->queries) {
            s->query[i] = 0;
        }
    }
    for (int i = THREAD; i < part->pitch; i += THREADS) {
        s->most[i] = -1e30f;
        s->total[i] = 0;
        s->keep[i] = 1;
    }
}

/* Scores of all queries with a page's first `most` positions. */
DEVICE void attend_rows_score(const tmb_attend_arguments *a, attend_rows_shared *s, const attend_rows *part,
                              const uint8_t *keys, int most) {
    for (int i = THREAD; i < part->strips * most; i += THREADS) {
        const int strip = i / most * ATTEND_STRIP, position = i % most;
        float dot[ATTEND_STRIP] = {0, 0, 0, 0, 0, 0, 0, 0};
        for (int k = 0; k < a->head_dim; k++) {
            const float key = attend_load(a, keys, k * a->cache.page_positions + position);
            const float *from = s->query + k * part->pitch + strip;
            const four_floats query[2] = {LOAD_FOUR(from), LOAD_FOUR(from + 4)};
            UNROLL
            for (int q = 0; q < ATTEND_STRIP; q++) {
                dot[q] = FMA(query[q / 4].of[q % 4], key, dot[q]);
            }
        }
        float *weight = s->weight + position * (part->pitch + 4) + strip;
        UNROLL
        for (int q = 0; q < ATTEND_STRIP; q++) {
            weight[q] = dot[q] * a->scale;
        }
    }
}

/* The page's values, weighted, onto the sums. The first `common` positions count for all queries. */
DEVICE void attend_rows_add(const tmb_attend_arguments *a, attend_rows_shared *s, const attend_rows *part,
                            const uint8_t *values, int first, int common, int most) {
    const int size = a->head_dim;
    for (int i = THREAD; i < part->strips * size; i += THREADS) {
        const int strip = i / size * ATTEND_STRIP, k = i % size;
        float sum[ATTEND_STRIP];
        int count[ATTEND_STRIP];
        UNROLL
        for (int q = 0; q < ATTEND_STRIP; q++) {
            sum[q] = s->sum[k * part->pitch + strip + q] * s->keep[strip + q];
            count[q] = attend_rows_count(part, strip + q, first, a->cache.page_positions);
        }
        for (int p = 0; p < most; p++) {
            const float value = attend_load(a, values, p * size + k);
            const float *from = s->weight + p * (part->pitch + 4) + strip;
            const four_floats weight[2] = {LOAD_FOUR(from), LOAD_FOUR(from + 4)};
            UNROLL
            for (int q = 0; q < ATTEND_STRIP; q++) {
                if (p < common || p < count[q]) {
                    sum[q] = FMA(weight[q / 4].of[q % 4], value, sum[q]);
                }
            }
        }
        UNROLL
        for (int q = 0; q < ATTEND_STRIP; q++) {
            s->sum[k * part->pitch + strip + q] = sum[q];
        }
    }
}

/* Grid: (key heads, rows / rows_tile). */
KERNEL(tmb_attend_rows) {
    SHARED(attend_rows_shared, s);
    AWAIT();
    const attend_rows part = attend_rows_of(&a);
    const int page = a.cache.page_positions, size = a.head_dim, last = part.position + part.rows - 1;
    attend_rows_begin(&a, s, &part);
    BARRIER();
    for (int first = 0; first <= last; first += page) {
        const uint8_t *keys = attend_page(&a, 0, first, part.head);
        const int most = MIN_OF(last + 1 - first, page), common = attend_rows_count(&part, 0, first, page);
        attend_rows_score(&a, s, &part, keys, most);
        BARRIER();
        for (int query = THREAD / 32; query < part.queries; query += THREADS / 32) {
            const int count = attend_rows_count(&part, query, first, page);
            attend_soften(s->weight + query, part.pitch + 4, count, &s->most[query], &s->total[query], &s->keep[query]);
        }
        BARRIER();
        attend_rows_add(&a, s, &part, keys + attend_values(&a), first, common, most);
        BARRIER();
    }
    for (int i = THREAD; i < part.queries * size; i += THREADS) {
        const int query = i / size, k = i % size;
        float *out = a.out + (int64_t)(part.first + query / part.group) * a.out_stride;
        out[(part.head * part.group + query % part.group) * size + k] =
            s->sum[k * part.pitch + query] / s->total[query];
    }
}
