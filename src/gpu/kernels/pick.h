/* Picking a code: the rules of rules/rules.h and the sampler of rules/sampler.h, by a block a sequence.
 *
 * The same numbers come out as on the CPU: the scores' arithmetic is the same, each weight is rounded alike, and the
 * sums, in double or in whole numbers of as many bits, differ in their last bits at most.
 */
typedef struct pick_shared {
    int32_t histogram[256];
    double sums[256]; /* of each thread's stretch */
    double total;
    float best[8];
    int32_t best_id[8];
    int32_t left, digit; /* of the search for the k-th highest */
    int32_t code;
    uint64_t bins[256]; /* sums of weights */
    uint64_t below;
} pick_shared;

/* The order of floats as whole numbers. */
DEVICE uint32_t pick_key(float score) {
    const uint32_t bits = FLOAT_TO_BITS(score);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

DEVICE uint64_t pick_rotate(uint64_t value, int bits) { return value << bits | value >> (64 - bits); }

/* xoshiro256++, uniform in [0, 1). */
DEVICE double pick_uniform(uint64_t *state) {
    const uint64_t result = pick_rotate(state[0] + state[3], 23) + state[0];
    const uint64_t t = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = pick_rotate(state[3], 45);
    return (double)(result >> 11) * (1.0 / 9007199254740992.0);
}

/* The rules for a first code. */
DEVICE void pick_rules(const tmb_pick_arguments *a, const tmb_gpu_slot *slot, float *scores) {
    const tmb_gpu_picker *picker = slot->picker;
    const float never = BITS_TO_FLOAT(0xff800000u);
    for (int id = THREAD; id < a->n; id += THREADS) {
        float score = scores[id];
        if (picker->penalty != 1.0f && (slot->seen[id / 64] >> (id % 64) & 1) != 0) {
            score = score > 0 ? score / picker->penalty : score * picker->penalty;
        }
        if (id == (int)picker->end) {
            score = picker->generated < 2 ? never : score;
        } else if (id >= a->n - (int)picker->suppressed) {
            score = never;
        }
        scores[id] = score;
    }
}

/* The highest score's id, the lowest among equals: to every thread. NaN is never the highest; 0 if there is nothing
 * else. Once in a kernel. */
DEVICE int pick_highest(const tmb_pick_arguments *a, pick_shared *s, const float *scores) {
    const int lane = THREAD % 32, warps = THREADS / 32;
    float best = BITS_TO_FLOAT(0xff800000u);
    int id = a->n;
    for (int i = THREAD; i < a->n; i += THREADS) {
        if (scores[i] > best || (id == a->n && scores[i] == best)) {
            best = scores[i];
            id = i;
        }
    }
    const float most = WARP_MAX(best);
    /* Ids are whole numbers below 2^24. */
    const float lowest = -WARP_MAX(best == most ? -(float)id : -16777216.0f);
    if (lane == 0) {
        s->best[THREAD / 32] = most;
        s->best_id[THREAD / 32] = (int)lowest;
    }
    BARRIER();
    best = s->best[0];
    id = s->best_id[0];
    for (int w = 1; w < warps; w++) {
        if (s->best[w] > best || (s->best[w] == best && s->best_id[w] < id)) {
            best = s->best[w];
            id = s->best_id[w];
        }
    }
    return id < a->n ? id : 0;
}

/* The digit in which the `left`-th key from above lies, looked for by each warp: one lane finds it. */
DEVICE void pick_digit(pick_shared *s) {
    const int lane = THREAD % 32;
    int above = 0; /* keys in higher digits than this lane's */
    for (int d = 255; d >= 8 * lane + 8; d--) {
        above += s->histogram[d];
    }
    int digit = -1, rest = 0;
    for (int d = 8 * lane + 7; d >= 8 * lane; d--) {
        if (above < s->left && above + s->histogram[d] >= s->left) {
            digit = d;
            rest = s->left - above;
        }
        above += s->histogram[d];
    }
    BARRIER();
    if (THREAD < 32 && digit >= 0) {
        s->digit = digit;
        s->left = rest;
    }
    BARRIER();
}

/* The k-th highest score, by digits of 8 bits: to every thread. */
DEVICE uint32_t pick_threshold(const tmb_pick_arguments *a, pick_shared *s, const float *scores, int k) {
    uint32_t prefix = 0;
    if (THREAD == 0) {
        s->left = k;
    }
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int i = THREAD; i < 256; i += THREADS) {
            s->histogram[i] = 0;
        }
        BARRIER();
        for (int i = THREAD; i < a->n; i += THREADS) {
            const uint32_t key = pick_key(scores[i]);
            if (shift == 24 || (key >> (shift + 8)) == (prefix >> (shift + 8))) {
                ATOMIC_ADD(&s->histogram[key >> shift & 255], 1);
            }
        }
        BARRIER();
        pick_digit(s);
        prefix |= (uint32_t)s->digit << shift;
    }
    return prefix;
}

/* Sums of the threads' stretches of weights, in order; s->total of all. */
DEVICE void pick_sum(const tmb_pick_arguments *a, pick_shared *s, const float *weights) {
    const int stretch = (a->n + THREADS - 1) / THREADS;
    double sum = 0;
    for (int i = THREAD * stretch; i < MIN_OF((THREAD + 1) * stretch, a->n); i++) {
        sum += (double)weights[i];
    }
    s->sums[THREAD] = sum;
    BARRIER();
    if (THREAD == 0) {
        double total = 0;
        for (int t = 0; t < THREADS; t++) {
            total += s->sums[t];
        }
        s->total = total;
    }
    BARRIER();
}

/* A weight of at most 1 in steps of 2^-48, rounded down. Sums of them are exact in any order, and cards that have few
 * units for doubles add them as fast as the others. */
DEVICE uint64_t pick_fixed(float weight) {
    const uint32_t bits = FLOAT_TO_BITS(weight);
    const uint64_t mantissa = (bits & 0x7fffffu) | 0x800000u;
    const int up = (int)(bits >> 23) - 102;
    return up >= 0 ? mantissa << up : up > -24 ? mantissa >> -up : 0;
}

/* The digit in which the sum of the weights from below passes `limit`, and that of the digits before it, looked for by
 * one warp: 256 if it never does. */
DEVICE void pick_pass(pick_shared *s, uint64_t below, uint64_t limit) {
    const int lane = THREAD;
    uint64_t sum = below;
    for (int d = 0; d < 8 * lane; d++) {
        sum += s->bins[d];
    }
    for (int d = 8 * lane; d < 8 * lane + 8; d++) {
        const uint64_t next = sum + s->bins[d];
        if (sum <= limit && next > limit) {
            s->digit = d;
            s->below = sum;
        }
        sum = next;
    }
    if (lane == 31 && sum <= limit) {
        s->digit = 256;
    }
}

/* The lowest weight of which not all are below `limit` when they are added up from the lowest on, as the bits of a
 * float: to every thread; more than any weight's if all are. *below is the sum of those before it. `best` is none of
 * them. */
DEVICE uint32_t pick_limit(const tmb_pick_arguments *a, pick_shared *s, const float *weights, int best, uint64_t limit,
                           uint64_t *below) {
    uint32_t prefix = 0;
    *below = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int i = THREAD; i < 256; i += THREADS) {
            s->bins[i] = 0;
        }
        BARRIER();
        for (int i = THREAD; i < a->n; i += THREADS) {
            const uint32_t key = FLOAT_TO_BITS(weights[i]);
            if (i != best && (shift == 24 || (key >> (shift + 8)) == (prefix >> (shift + 8)))) {
                ATOMIC_ADD_LONG(&s->bins[key >> shift & 255], pick_fixed(weights[i]));
            }
        }
        BARRIER();
        if (THREAD < 32) {
            pick_pass(s, *below, limit);
        }
        BARRIER();
        if (s->digit == 256) { /* at the first digit, or never */
            return 0xffffffffu;
        }
        prefix |= (uint32_t)s->digit << shift;
        *below = s->below;
    }
    return prefix;
}

/* The lowest weights go, of equals the lowest ids first, while their share is no more than 1 - top_p; `best` stays. */
DEVICE void pick_top_p(const tmb_pick_arguments *a, pick_shared *s, float *weights, int best, double top_p) {
    const int stretch = (a->n + THREADS - 1) / THREADS, begin = THREAD * stretch;
    const int end = MIN_OF(begin + stretch, a->n);
    const uint64_t limit = (uint64_t)((1.0 - top_p) * s->total * 281474976710656.0);
    uint64_t below;
    const uint32_t key = pick_limit(a, s, weights, best, limit, &below);
    int equal = 0;
    for (int i = begin; i < end; i++) {
        equal += i != best && FLOAT_TO_BITS(weights[i]) == key;
    }
    s->histogram[THREAD] = equal;
    BARRIER();
    int going = equal > 0 ? (int)((limit - below) / pick_fixed(BITS_TO_FLOAT(key))) : 0; /* of the equal ones */
    for (int t = 0; t < THREAD; t++) {
        going -= s->histogram[t];
    }
    for (int i = begin; i < end; i++) {
        const uint32_t own = FLOAT_TO_BITS(weights[i]);
        if (i != best && (own < key || (own == key && going-- > 0))) {
            weights[i] = 0;
        }
    }
    pick_sum(a, s, weights);
}

/* One thread: the id at which the weights' sum passes `target`. */
DEVICE int pick_draw(const tmb_pick_arguments *a, const pick_shared *s, const float *weights, double target, int best) {
    const int stretch = (a->n + THREADS - 1) / THREADS;
    int t = 0;
    while (t < THREADS && target - s->sums[t] >= 0) {
        target -= s->sums[t++];
    }
    for (int i = t * stretch; i < a->n; i++) {
        target -= (double)weights[i];
        if (target < 0) {
            return i;
        }
    }
    return best;
}

/* As tmb_pick. */
DEVICE int pick_code(const tmb_pick_arguments *a, pick_shared *s, const tmb_gpu_slot *slot, float *scores) {
    tmb_gpu_picker *picker = slot->picker;
    const int which = a->book == 0 ? 0 : 1;
    const int best = pick_highest(a, s, scores);
    if (picker->greedy[which]) {
        return best;
    }
    const uint32_t k = picker->top_k[which];
    const uint32_t lowest = k > 0 && k < (uint32_t)a->n ? pick_threshold(a, s, scores, (int)k) : 0;
    const float most = scores[best], never = BITS_TO_FLOAT(0xff800000u);
    BARRIER();
    for (int i = THREAD; i < a->n; i += THREADS) {
        const float score = scores[i];
        scores[i] = pick_key(score) >= lowest && score > never
                        ? EXP_ROUNDED((float)((double)(score - most) / picker->temperature[which]))
                        : 0.0f;
    }
    BARRIER();
    pick_sum(a, s, scores);
    if (picker->top_p[which] < 1.0) {
        pick_top_p(a, s, scores, best, picker->top_p[which]);
    }
    if (THREAD == 0) {
        s->code = pick_draw(a, s, scores, pick_uniform(picker->random) * s->total, best);
    }
    BARRIER();
    return s->code;
}

DEVICE float pick_embedding(const tmb_gpu_table *table, int row, int width, int k) {
    const int64_t at = (int64_t)row * width + k;
    return table->bf16 ? BF16_TO_FLOAT(((const uint16_t *)table->rows)[at]) : ((const float *)table->rows)[at];
}

/* What the code means for the next input of predictor and talker. */
DEVICE void pick_look_up(const tmb_pick_arguments *a, const tmb_gpu_slot *slot, int code) {
    const int column = BLOCK_X;
    const tmb_gpu_table *table = &a->tables[a->book];
    for (int k = THREAD; k < a->width; k += THREADS) {
        const float value = pick_embedding(table, code, a->width, k);
        if (a->book == 0) {
            float *y = a->y + (int64_t)column * 2 * a->y_stride;
            y[k] = slot->hidden[k];
            y[a->y_stride + k] = value;
            slot->next[k] = value;
            continue;
        }
        float next = slot->next[k] + value;
        if (a->book + 1 < a->groups) {
            if (a->projected == 0) {
                a->y[(int64_t)column * a->y_stride + k] = value;
            }
        } else {
            next += slot->text[k];
            a->x[(int64_t)column * a->y_stride + k] = next;
        }
        slot->next[k] = next;
    }
    if (a->projected != 0) {
        for (int k = THREAD; k < a->z_width; k += THREADS) {
            a->z[(int64_t)column * a->y_stride + k] = a->projected[(int64_t)code * a->z_width + k];
        }
    }
}

KERNEL(tmb_pick) {
    SHARED(pick_shared, s);
    AWAIT();
    const int column = BLOCK_X;
    if (column >= *a.live) {
        return;
    }
    const tmb_gpu_slot *slot = &a.slots[column];
    float *scores = a.scores + (int64_t)column * a.scores_stride;
    if (a.book == 0) {
        pick_rules(&a, slot, scores); /* a thread's own, as pick_highest divides them */
    }
    const int code = pick_code(&a, s, slot, scores);
    if (THREAD == 0) {
        a.codes[column * a.groups + a.book] = (int16_t)code;
        if (a.book == 0) {
            tmb_gpu_picker *picker = slot->picker;
            picker->generated++;
            slot->seen[code / 64] |= (uint64_t)1 << code % 64;
            a.outcomes[column] = code == (int)picker->end ? 1 : picker->generated >= picker->max_new_tokens ? 2 : 0;
        }
    }
    pick_look_up(&a, slot, code);
}

/* x[row] += what the prompt's row has on the codec's side; one block a row. */
KERNEL(tmb_add_codec) {
    AWAIT();
    const int codec = a.rows[2 * BLOCK_X], frame = a.rows[2 * BLOCK_X + 1];
    float *x = a.x + (int64_t)BLOCK_X * a.x_stride;
    if (codec == -1) {
        return;
    }
    for (int k = THREAD; k < a.width; k += THREADS) {
        float side;
        if (codec == -3) {
            side = a.vector[k];
        } else if (codec == -2) {
            const int16_t *codes = a.frames + (int64_t)frame * a.groups;
            side = pick_embedding(&a.tables[0], codes[0], a.width, k);
            for (int g = 1; g < a.groups; g++) {
                side += pick_embedding(&a.tables[g], codes[g], a.width, k);
            }
        } else {
            side = pick_embedding(&a.tables[0], codec, a.width, k);
        }
        x[k] += side;
    }
}
