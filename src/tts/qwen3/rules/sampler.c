#include "tts/qwen3/rules/sampler.h"

#include <math.h>

void tmb_random_seed(tmb_random *random, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15u;
        uint64_t z = seed;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        random->state[i] = z ^ z >> 31;
    }
}

static uint64_t rotate_left(uint64_t value, int bits) { return value << bits | value >> (64 - bits); }

uint64_t tmb_random_next(tmb_random *random) {
    uint64_t *s = random->state;
    uint64_t result = rotate_left(s[0] + s[3], 23) + s[0];
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double tmb_random_uniform(tmb_random *random) { return (double)(tmb_random_next(random) >> 11) * 0x1p-53; }

void tmb_penalize_repetition(float *scores, size_t n, const uint64_t *seen, float penalty) {
    for (size_t word = 0; word * 64 < n; word++) {
        for (uint64_t bits = seen[word]; bits != 0; bits &= bits - 1) {
            size_t id = word * 64 + (size_t)__builtin_ctzll(bits);
            scores[id] = scores[id] > 0 ? scores[id] / penalty : scores[id] * penalty;
        }
    }
}

static size_t highest(const float *scores, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        if (scores[i] > scores[best]) {
            best = i;
        }
    }
    return best;
}

/* heap[0] is the lowest of heap[0 .. count): restores that after heap[at] changed. */
static void sink(uint32_t *heap, size_t count, size_t at, const float *scores) {
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count) {
            return;
        }
        if (child + 1 < count && scores[heap[child + 1]] < scores[heap[child]]) {
            child++;
        }
        if (scores[heap[at]] <= scores[heap[child]]) {
            return;
        }
        uint32_t swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
        at = child;
    }
}

static void make_heap(uint32_t *heap, size_t count, const float *scores) {
    for (size_t i = count / 2; i-- > 0;) {
        sink(heap, count, i, scores);
    }
}

/* The k-th highest score. */
static float threshold_of(const float *scores, size_t n, size_t k, uint32_t *heap) {
    for (size_t i = 0; i < k; i++) {
        heap[i] = (uint32_t)i;
    }
    make_heap(heap, k, scores);
    for (size_t i = k; i < n; i++) {
        if (scores[i] > scores[heap[0]]) {
            heap[0] = (uint32_t)i;
            sink(heap, k, 0, scores);
        }
    }
    return scores[heap[0]];
}

/* Sets the weights of the lowest candidates to zero while their probabilities add up to no more than 1 - top_p; one
 * stays. Returns the sum of what is left. `weights`: exp(score - highest) of every id. */
static double keep_top_p(uint32_t *candidates, size_t count, float *weights, double total, double top_p) {
    make_heap(candidates, count, weights);
    double dropped = 0;
    double left = total;
    while (count > 1) {
        dropped += (double)weights[candidates[0]] / total;
        if (dropped > 1.0 - top_p) {
            break;
        }
        left -= (double)weights[candidates[0]];
        weights[candidates[0]] = 0;
        candidates[0] = candidates[--count];
        sink(candidates, count, 0, weights);
    }
    return left;
}

size_t tmb_pick(float *scores, size_t n, const tmb_sampling *sampling, tmb_random *random, uint32_t *scratch) {
    size_t best = highest(scores, n);
    if (sampling->greedy) {
        return best;
    }
    float lowest = -INFINITY;
    if (sampling->top_k > 0 && sampling->top_k < n) {
        lowest = threshold_of(scores, n, sampling->top_k, scratch);
    }
    size_t count = 0;
    double total = 0;
    float most = scores[best];
    for (size_t i = 0; i < n; i++) {
        float weight = 0;
        if (scores[i] >= lowest && scores[i] > -INFINITY) {
            weight = expf((float)((double)(scores[i] - most) / sampling->temperature));
            scratch[count++] = (uint32_t)i;
            total += (double)weight;
        }
        scores[i] = weight;
    }
    if (sampling->top_p < 1.0) {
        total = keep_top_p(scratch, count, scores, total, sampling->top_p);
    }
    /* In the order of the ids. */
    double target = tmb_random_uniform(random) * total;
    for (size_t i = 0; i < n; i++) {
        target -= (double)scores[i];
        if (target < 0) {
            return i;
        }
    }
    return best;
}
