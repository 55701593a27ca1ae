/* Picking a code from scores: in the order of the official implementation, with a generator for each
 * sequence.
 */
#ifndef TMB_TTS_QWEN3_RULES_SAMPLER_H
#define TMB_TTS_QWEN3_RULES_SAMPLER_H

#include "timbre/timbre.h"

/* xoshiro256++ (Blackman and Vigna), seeded by splitmix64. */
typedef struct tmb_random {
    uint64_t state[4];
} tmb_random;

void tmb_random_seed(tmb_random *random, uint64_t seed);
uint64_t tmb_random_next(tmb_random *random);
/* Uniform in [0, 1), 53 bits. */
double tmb_random_uniform(tmb_random *random);

typedef struct tmb_sampling {
    bool greedy;        /* the highest score, the lowest index among equals */
    double temperature; /* > 0 */
    double top_p;       /* 0 to 1; 1 = off */
    size_t top_k;       /* 0 = off */
} tmb_sampling;

/* Divides (positive) or multiplies (negative) the scores of the ids whose bit is set in `seen` [(n + 63) / 64]. */
void tmb_penalize_repetition(float *scores, size_t n, const uint64_t *seen, float penalty);

/* Picks one of n scores, which are overwritten; `scratch` [n]. Scores of -infinity are never picked (there must be
 * another). Draws one number unless greedy. */
size_t tmb_pick(float *scores, size_t n, const tmb_sampling *sampling, tmb_random *random, uint32_t *scratch);

#endif
