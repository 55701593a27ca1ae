/* The talker's prompt as ids: what each row is made of, before any network has seen it.
 *
 * A row is the sum of two embeddings, of a text token and of something on the codec's side. Every layout of the
 * official implementation is such a list (modeling_qwen3_tts.py, generate(), of qwen-tts 0.1.1); a backend turns the
 * rows into vectors in its own memory.
 */
#ifndef TMB_TTS_QWEN3_PROMPT_PROMPT_H
#define TMB_TTS_QWEN3_PROMPT_PROMPT_H

#include "tts/qwen3/config.h"

/* A row's codec side if it is not a token of the talker's vocabulary. */
enum {
    TMB_PROMPT_NONE = -1,   /* nothing is added */
    TMB_PROMPT_FRAME = -2,  /* the sum of the embeddings of a reference frame's codes */
    TMB_PROMPT_VECTOR = -3, /* the x-vector */
};

typedef struct tmb_prompt_row {
    int32_t text;   /* text token, projected to the talker's width */
    int32_t codec;  /* codec token, or one of the above */
    uint32_t frame; /* of FRAME: which */
} tmb_prompt_row;

typedef struct tmb_prompt {
    tmb_prompt_row *rows; /* [count] */
    size_t count;
    size_t shared;  /* the first rows, which are the same for every text in this voice, language and layout; not all */
    int32_t *later; /* [later_count] text tokens of later frames */
    size_t later_count;
    int32_t pad;           /* text token of the frames after those */
    const int16_t *frames; /* [n, code groups] that the rows mean; the caller's */
    const float *vector;   /* [D] x-vector; the caller's */
} tmb_prompt;

/* Who speaks and what. */
typedef struct tmb_prompt_parts {
    const int32_t *instruct; /* [instruct_count] the templated instruction, or none */
    size_t instruct_count;
    const int32_t *role; /* [3] */
    const int32_t *text; /* [text_count] what is to be said */
    size_t text_count;
    const float *vector; /* [D] x-vector, or NULL */
    int32_t speaker;     /* without an x-vector: codec token of a built-in speaker; negative: no speaker row */
    int32_t language;    /* codec token, or negative: auto */
    bool non_streaming;  /* the whole text before the codes */
    /* In context: the reference's codes and transcript; frames 0: by x-vector or speaker alone. */
    const int16_t *reference_codes; /* [reference_frames, code groups] */
    size_t reference_frames;
    const int32_t *reference_text;
    size_t reference_text_count;
} tmb_prompt_parts;

/* `out` borrows the parts' codes and x-vector, and is freed by tmb_prompt_free. TMB_ERROR_ARGUMENT for an id that the
 * model does not have, TMB_ERROR_MEMORY. */
tmb_status tmb_prompt_build(const tmb_qwen3_config *config, const tmb_prompt_parts *parts, tmb_prompt *out,
                            tmb_error *error);
void tmb_prompt_free(tmb_prompt *prompt);

/* Upper bound of the rows, for a text of `text_count` tokens. */
size_t tmb_prompt_rows_max(size_t instruct_count, size_t text_count, size_t reference_text_count,
                           size_t reference_frames);

#endif
