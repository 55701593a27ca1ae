/* The rules of picking codes, apart from how the scores are computed: every backend picks by them.
 *
 * After the official generate(): a repetition penalty on first codes, the ids above the codebook never, the end of
 * speech not before the third pick, one generator for each sequence. Pure functions over scores.
 */
#ifndef TMB_TTS_QWEN3_RULES_RULES_H
#define TMB_TTS_QWEN3_RULES_RULES_H

#include "tts/qwen3/rules/sampler.h"

typedef struct tmb_lm_sampling {
    tmb_sampling talker, predictor;
    double repetition_penalty; /* of first codes, once for each that was generated; 1 = none */
    uint64_t seed;
    size_t max_new_tokens; /* at most this many first codes are picked, one less become frames; >= 2 */
} tmb_lm_sampling;

typedef enum tmb_lm_outcome {
    TMB_LM_FRAME = 0, /* a frame was made */
    TMB_LM_END,       /* end of speech, no frame */
    TMB_LM_LIMIT,     /* max_new_tokens or the positions are used up, no frame */
    TMB_LM_FAILED     /* no memory for more positions, no frame */
} tmb_lm_outcome;

/* What picking remembers of a sequence. */
typedef struct tmb_picker {
    tmb_lm_sampling sampling;
    tmb_random random;
    size_t vocabulary; /* of first codes */
    size_t end;        /* the code that ends the speech */
    size_t generated;  /* first codes picked so far */
    uint64_t *seen;    /* [tmb_picker_words(vocabulary)] first codes that were picked; the owner's */
} tmb_picker;

static inline size_t tmb_picker_words(size_t vocabulary) { return (vocabulary + 63) / 64; }

/* Starts anew with these settings; `vocabulary`, `end` and `seen` stay. */
void tmb_picker_begin(tmb_picker *picker, const tmb_lm_sampling *sampling);

/* Applies the rules to the raw scores [vocabulary] of a first code: what may not be picked becomes -infinity. */
void tmb_rules_first_scores(const tmb_picker *picker, float *scores);

/* Picks from scores to which the rules were applied. `scratch` as tmb_pick. */
size_t tmb_rules_pick_first(tmb_picker *picker, float *scores, uint32_t *scratch);
/* One of the frame's other codes: raw scores [n]. */
size_t tmb_rules_pick_other(tmb_picker *picker, float *scores, size_t n, uint32_t *scratch);

/* Notes that `code` was picked as first code and says what that means. */
tmb_lm_outcome tmb_rules_take_first(tmb_picker *picker, size_t code);

/* Seed of a text's piece, another one each time that it is tried again. */
uint64_t tmb_rules_piece_seed(uint64_t seed, size_t piece, int retries);

#endif
