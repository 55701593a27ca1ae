/* From token ids, reference codes and x-vector to the rows that the talker is prefilled with. */
#ifndef TMB_TTS_QWEN3_PROMPT_PROMPT_H
#define TMB_TTS_QWEN3_PROMPT_PROMPT_H

#include "tts/qwen3/cpu/lm/lm.h"

typedef struct tmb_lm_prompt_parts {
    const int32_t *role; /* [3] */
    const int32_t *text; /* what is to be said */
    size_t text_count;
    const float *speaker; /* [D] x-vector */
    int32_t language;     /* codec token, or negative: auto */
    bool non_streaming;   /* the whole text before the codes */
    /* In context: the reference's codes and transcript; frames 0: by x-vector alone. */
    const int16_t *reference_codes; /* [reference_frames, code groups] */
    size_t reference_frames;
    const int32_t *reference_text;
    size_t reference_text_count;
} tmb_lm_prompt_parts;

typedef struct tmb_lm_prompt {
    float *rows; /* [count, D] */
    size_t count;
    size_t shared;   /* the first rows, which are the same for every text in this voice, language and layout; not all */
    float *trailing; /* [trailing_count, D]: text for later frames */
    size_t trailing_count;
    float *pad; /* [D]: for frames after those */
} tmb_lm_prompt;

/* `out` is freed by tmb_lm_prompt_free. Errors as tmb_lm_embed_text, and TMB_ERROR_MEMORY. Thread-safe with a team of
 * one's own. */
tmb_status tmb_lm_prompt_build(const tmb_lm *lm, const tmb_qwen3_config *config, tmb_team *team,
                               const tmb_lm_prompt_parts *parts, tmb_lm_prompt *out, tmb_error *error);
void tmb_lm_prompt_free(tmb_lm_prompt *prompt);

/* Upper bound of the rows, for a text of `text_count` tokens. */
size_t tmb_lm_prompt_rows(size_t text_count, size_t reference_text_count, size_t reference_frames);

#endif
