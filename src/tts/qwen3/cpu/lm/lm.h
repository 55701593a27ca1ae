/* Talker and code predictor of Qwen3-TTS: from prompt embeddings to frames of codes.
 *
 * The talker is a decoder that reads text and codes and gives the first code of each frame; the predictor, small, is
 * run inside every frame for the others. Weights are immutable and shared; a context has the buffers for one thread
 * that steps; a sequence is one utterance. What becomes of a sequence does not depend on those that are stepped with
 * it, to the last bit.
 */
#ifndef TMB_TTS_QWEN3_CPU_LM_LM_H
#define TMB_TTS_QWEN3_CPU_LM_LM_H

#include "base/log.h"
#include "base/team.h"
#include "tts/qwen3/config.h"
#include "tts/qwen3/precision.h"
#include "tts/qwen3/prompt/prompt.h"
#include "tts/qwen3/rules/rules.h"
#include "weights/safetensors.h"

typedef struct tmb_lm tmb_lm;

typedef struct tmb_lm_options {
    tmb_lm_precision talker, predictor;
    const char *pack_directory; /* cache of packed weights; NULL: none */
    tmb_team *team;             /* for loading; may be NULL */
    tmb_logger *logger;         /* may be NULL */
} tmb_lm_options;

/* `weights` must outlive the model (text embeddings are read from it row by row) and `config` is copied.
 * TMB_ERROR_MODEL if a tensor is missing or has another shape. */
tmb_status tmb_lm_load(const tmb_qwen3_config *config, const tmb_safetensors *weights, const tmb_lm_options *options,
                       tmb_lm **out, tmb_error *error);
void tmb_lm_destroy(tmb_lm **lm);
/* Bytes of weights; the estimate needs the tensors' headers only. */
size_t tmb_lm_bytes(const tmb_lm *lm);
tmb_status tmb_lm_estimate(const tmb_qwen3_config *config, const tmb_safetensors *weights,
                           const tmb_lm_options *options, size_t *bytes, tmb_error *error);

size_t tmb_lm_hidden_size(const tmb_lm *lm);   /* D: of a prompt row */
size_t tmb_lm_code_groups(const tmb_lm *lm);   /* [16] */
size_t tmb_lm_max_positions(const tmb_lm *lm); /* of one sequence */

/* ---- Stepping --------------------------------------------------------------------------------- */

typedef struct tmb_lm_context tmb_lm_context;

/* For at most `sequences` at once. `team` (NULL: one thread) must outlive it. */
tmb_status tmb_lm_context_create(const tmb_lm *lm, size_t sequences, tmb_team *team, tmb_lm_context **out,
                                 tmb_error *error);
void tmb_lm_context_destroy(tmb_lm_context **context);
size_t tmb_lm_context_bytes(const tmb_lm_context *context);

typedef struct tmb_lm_sequence tmb_lm_sequence;

/* A sequence without prompt; room for `positions` (more are allocated when they are needed). */
tmb_status tmb_lm_sequence_create(const tmb_lm *lm, size_t positions, tmb_lm_sequence **out, tmb_error *error);
void tmb_lm_sequence_destroy(tmb_lm_sequence **sequence);
/* Bytes of one with `positions`. */
size_t tmb_lm_sequence_bytes(const tmb_lm *lm, size_t positions);

/* Appends prompt rows [count, D]. Before the first step only. TMB_ERROR_LIMIT over the model's positions,
 * TMB_ERROR_MEMORY. */
tmb_status tmb_lm_prefill(tmb_lm_context *context, tmb_lm_sequence *sequence, const float *rows, size_t count,
                          tmb_error *error);

/* The first `count` positions of another sequence's prompt, instead of prefilling them again. */
tmb_status tmb_lm_sequence_fork(tmb_lm_sequence *sequence, const tmb_lm_sequence *from, size_t count, tmb_error *error);
size_t tmb_lm_sequence_positions(const tmb_lm_sequence *sequence);

/* Ends the prompt: how codes are picked, and the text rows that are added to frames: row n of `trailing` [count, D] to
 * frame n, `pad` [D] to later ones. Copied. */
tmb_status tmb_lm_sequence_begin(tmb_lm_sequence *sequence, const tmb_lm_sampling *sampling, const float *trailing,
                                 size_t trailing_count, const float *pad, tmb_error *error);

/* One frame for each sequence: codes [count, code groups], outcomes [count]. A sequence whose outcome is not a frame
 * must not be stepped again. Allocates only if a sequence outgrows its room. */
void tmb_lm_step(tmb_lm_context *context, tmb_lm_sequence *const *sequences, size_t count, int16_t *codes,
                 tmb_lm_outcome *outcomes);

/* ---- Embeddings for prompts -------------------------------------------------------------------- */

/* out [count, D] = the text projection of text tokens. Thread-safe with a team of one's own. TMB_ERROR_ARGUMENT for an
 * id that the model does not have. */
tmb_status tmb_lm_embed_text(const tmb_lm *lm, tmb_team *team, const int32_t *ids, size_t count, float *out,
                             tmb_error *error);
/* out [D] = the talker's embedding of a codec token; ids below the vocabulary. */
void tmb_lm_embed_codec(const tmb_lm *lm, int32_t id, float *out);
/* out [D] = the sum of a frame's embeddings; codes within their books. */
void tmb_lm_embed_frame(const tmb_lm *lm, const int16_t *codes, float *out);

/* out [count, D] = rows `first` to `first + count - 1` of a prompt, as the talker is prefilled with them. Errors as
 * tmb_lm_embed_text, and TMB_ERROR_MEMORY. Thread-safe with a team of one's own. */
tmb_status tmb_lm_embed_rows(const tmb_lm *lm, tmb_team *team, const tmb_prompt *prompt, size_t first, size_t count,
                             float *out, tmb_error *error);

/* ---- For tests and measurements ------------------------------------------------------------------ */

/* Called with the raw scores of a pick: `book` 0 (talker) to 15, of the sequence's n-th frame. Returns the code to
 * take, or -1 for the one that the sequence's sampling picks. Called from the team's threads. */
typedef int (*tmb_lm_watch)(void *user, const tmb_lm_sequence *sequence, size_t frame, size_t book, const float *scores,
                            size_t count);
void tmb_lm_context_watch(tmb_lm_context *context, tmb_lm_watch watch, void *user);

#endif
