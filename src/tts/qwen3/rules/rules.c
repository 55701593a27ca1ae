#include "tts/qwen3/rules/rules.h"

#include "tts/qwen3/config.h"

#include <math.h>
#include <string.h>

/* The official generation suppresses the end of speech for its first picks (min_new_tokens). */
#define FIRST_END 2

void tmb_picker_begin(tmb_picker *picker, const tmb_lm_sampling *sampling) {
    picker->sampling = *sampling;
    picker->generated = 0;
    tmb_random_seed(&picker->random, sampling->seed);
    memset(picker->seen, 0, tmb_picker_words(picker->vocabulary) * sizeof *picker->seen);
}

void tmb_rules_first_scores(const tmb_picker *picker, float *scores) {
    size_t vocabulary = picker->vocabulary;
    if (picker->sampling.repetition_penalty != 1.0) {
        tmb_penalize_repetition(scores, vocabulary, picker->seen, (float)picker->sampling.repetition_penalty);
    }
    float end = picker->generated < FIRST_END ? -INFINITY : scores[picker->end];
    for (size_t id = vocabulary > TMB_QWEN3_SUPPRESSED_CODES ? vocabulary - TMB_QWEN3_SUPPRESSED_CODES : 0;
         id < vocabulary; id++) {
        scores[id] = -INFINITY;
    }
    scores[picker->end] = end;
}

size_t tmb_rules_pick_first(tmb_picker *picker, float *scores, uint32_t *scratch) {
    return tmb_pick(scores, picker->vocabulary, &picker->sampling.talker, &picker->random, scratch);
}

size_t tmb_rules_pick_other(tmb_picker *picker, float *scores, size_t n, uint32_t *scratch) {
    return tmb_pick(scores, n, &picker->sampling.predictor, &picker->random, scratch);
}

tmb_lm_outcome tmb_rules_take_first(tmb_picker *picker, size_t code) {
    picker->generated++;
    picker->seen[code / 64] |= (uint64_t)1 << code % 64;
    if (code == picker->end) {
        return TMB_LM_END;
    }
    return picker->generated >= picker->sampling.max_new_tokens ? TMB_LM_LIMIT : TMB_LM_FRAME;
}

uint64_t tmb_rules_piece_seed(uint64_t seed, size_t piece, int retries) {
    return seed + 0x9e3779b97f4a7c15u * (piece + 1000003u * (uint64_t)retries);
}
