#include "tts/qwen3/cpu/lm/lm_internal.h"

#include "base/error.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Prompt rows that go through the talker together: weights are read once for each block. */
#define PREFILL_ROWS 128

/* ---- Sequences -------------------------------------------------------------------------------- */

static size_t seen_words(const tmb_lm *lm) { return tmb_picker_words(lm->talker_config.vocab_size); }

tmb_status tmb_lm_sequence_create(const tmb_lm *lm, size_t positions, tmb_lm_sequence **out, tmb_error *error) {
    *out = NULL;
    size_t hidden = tmb_lm_hidden_size(lm);
    tmb_lm_sequence *sequence = tmb_calloc(1, sizeof *sequence);
    if (sequence == NULL) {
        return tmb_fail_memory(error, "a sequence", sizeof *sequence);
    }
    sequence->lm = lm;
    sequence->kv.shape = lm->talker_kv;
    sequence->hidden = tmb_alloc_aligned(hidden, sizeof *sequence->hidden);
    sequence->next = tmb_alloc_aligned(hidden, sizeof *sequence->next);
    sequence->picker = (tmb_picker){.vocabulary = lm->talker_config.vocab_size,
                                    .end = (size_t)lm->talker_config.codec_eos_id,
                                    .seen = tmb_calloc(seen_words(lm), sizeof *sequence->picker.seen)};
    tmb_status status = TMB_OK;
    if (sequence->hidden == NULL || sequence->next == NULL || sequence->picker.seen == NULL) {
        status = tmb_fail_memory(error, "a sequence", 0);
    } else {
        size_t limit = tmb_lm_max_positions(lm);
        status = tmb_kv_reserve(&sequence->kv, positions < limit ? positions : limit, error);
    }
    if (status != TMB_OK) {
        tmb_lm_sequence_destroy(&sequence);
        return status;
    }
    *out = sequence;
    return TMB_OK;
}

void tmb_lm_sequence_destroy(tmb_lm_sequence **sequence_address) {
    tmb_lm_sequence *sequence = *sequence_address;
    *sequence_address = NULL;
    if (sequence != NULL) {
        tmb_kv_free(&sequence->kv);
        free(sequence->hidden);
        free(sequence->next);
        free(sequence->trailing);
        free(sequence->picker.seen);
        free(sequence);
    }
}

size_t tmb_lm_sequence_bytes(const tmb_lm *lm, size_t positions) {
    size_t limit = tmb_lm_max_positions(lm);
    return tmb_kv_bytes(&lm->talker_kv, positions < limit ? positions : limit) +
           2 * tmb_lm_hidden_size(lm) * sizeof(float) + seen_words(lm) * 8 + sizeof(tmb_lm_sequence);
}

size_t tmb_lm_sequence_positions(const tmb_lm_sequence *sequence) { return sequence->positions; }

tmb_status tmb_lm_sequence_fork(tmb_lm_sequence *sequence, const tmb_lm_sequence *from, size_t count,
                                tmb_error *error) {
    tmb_status status = tmb_kv_reserve(&sequence->kv, count, error);
    if (status == TMB_OK) {
        tmb_kv_copy(&sequence->kv, &from->kv, count);
        sequence->positions = count;
        sequence->has_hidden = false;
    }
    return status;
}

tmb_status tmb_lm_sequence_begin(tmb_lm_sequence *sequence, const tmb_lm_sampling *sampling, const float *trailing,
                                 size_t trailing_count, const float *pad, tmb_error *error) {
    size_t hidden = tmb_lm_hidden_size(sequence->lm);
    if (sampling->max_new_tokens < 2) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "a limit of %zu frames leaves none: at most one less are made",
                        sampling->max_new_tokens);
    }
    if (!sequence->has_hidden) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "the sequence has no prompt");
    }
    float *copy = tmb_alloc_aligned((trailing_count + 1) * hidden, sizeof *copy);
    if (copy == NULL) {
        return tmb_fail_memory(error, "a sequence's text", (trailing_count + 1) * hidden * sizeof *copy);
    }
    if (trailing_count > 0) {
        memcpy(copy, trailing, trailing_count * hidden * sizeof *copy);
    }
    memcpy(copy + trailing_count * hidden, pad, hidden * sizeof *copy);
    free(sequence->trailing);
    sequence->trailing = copy;
    sequence->trailing_count = trailing_count;
    sequence->frames = 0;
    tmb_picker_begin(&sequence->picker, sampling);
    return TMB_OK;
}

/* ---- Context ---------------------------------------------------------------------------------- */

tmb_status tmb_lm_context_create(const tmb_lm *lm, size_t sequences, tmb_team *team, tmb_lm_context **out,
                                 tmb_error *error) {
    *out = NULL;
    tmb_lm_context *c = tmb_calloc(1, sizeof *c);
    if (c == NULL) {
        return tmb_fail_memory(error, "the language model's buffers", sizeof *c);
    }
    c->lm = lm;
    c->team = team;
    c->sequences = sequences;
    c->rows = 2 * sequences > PREFILL_ROWS ? 2 * sequences : PREFILL_ROWS;
    size_t talker = lm->talker.config.hidden_size;
    size_t predictor = lm->predictor.config.hidden_size;
    c->x_stride = tmb_lm_round16(talker > predictor ? talker : predictor);
    size_t vocab = lm->talker_config.vocab_size > lm->predictor_config.vocab_size ? lm->talker_config.vocab_size
                                                                                  : lm->predictor_config.vocab_size;
    c->scores_stride = tmb_lm_round16(vocab);
    const tmb_lm_stack *stacks[] = {&lm->talker, &lm->predictor};
    tmb_status status = tmb_lm_workspace_create(stacks, 2, c->rows, team, &c->workspace, error);
    if (status != TMB_OK) {
        tmb_lm_context_destroy(&c);
        return status;
    }
    c->predictor_kv = tmb_calloc(sequences, sizeof *c->predictor_kv);
    c->runs = tmb_calloc(sequences, sizeof *c->runs);
    c->x = tmb_alloc_aligned(c->rows * c->x_stride, sizeof *c->x);
    c->y = tmb_alloc_aligned(c->rows * c->x_stride, sizeof *c->y);
    c->scores = tmb_alloc_aligned(sequences * c->scores_stride, sizeof *c->scores);
    c->scratch = tmb_calloc(sequences * c->scores_stride, sizeof *c->scratch);
    c->live = tmb_calloc(sequences, sizeof *c->live);
    c->live_index = tmb_calloc(sequences, sizeof *c->live_index);
    c->bytes = tmb_lm_workspace_bytes(c->workspace) + 2 * c->rows * c->x_stride * sizeof(float) +
               2 * sequences * c->scores_stride * sizeof(float) + sequences * tmb_kv_page_bytes(&lm->predictor_kv);
    if (c->predictor_kv == NULL || c->runs == NULL || c->x == NULL || c->y == NULL || c->scores == NULL ||
        c->scratch == NULL || c->live == NULL || c->live_index == NULL) {
        tmb_lm_context_destroy(&c);
        return tmb_fail_memory(error, "the language model's buffers", 0);
    }
    for (size_t i = 0; i < sequences && status == TMB_OK; i++) {
        c->predictor_kv[i].shape = lm->predictor_kv;
        status = tmb_kv_reserve(&c->predictor_kv[i], lm->predictor_kv.page_positions, error);
    }
    if (status != TMB_OK) {
        tmb_lm_context_destroy(&c);
        return status;
    }
    *out = c;
    return TMB_OK;
}

void tmb_lm_context_destroy(tmb_lm_context **context) {
    tmb_lm_context *c = *context;
    *context = NULL;
    if (c != NULL) {
        for (size_t i = 0; c->predictor_kv != NULL && i < c->sequences; i++) {
            tmb_kv_free(&c->predictor_kv[i]);
        }
        tmb_lm_workspace_destroy(&c->workspace);
        free(c->predictor_kv);
        free(c->runs);
        free(c->x);
        free(c->y);
        free(c->scores);
        free(c->scratch);
        free(c->live);
        free(c->live_index);
        free(c);
    }
}

size_t tmb_lm_context_bytes(const tmb_lm_context *context) { return context->bytes; }

void tmb_lm_context_watch(tmb_lm_context *context, tmb_lm_watch watch, void *user) {
    context->watch = watch;
    context->watch_user = user;
}

/* ---- Prefill ---------------------------------------------------------------------------------- */

tmb_status tmb_lm_prefill(tmb_lm_context *context, tmb_lm_sequence *sequence, const float *rows, size_t count,
                          tmb_error *error) {
    const tmb_lm *lm = context->lm;
    size_t hidden = tmb_lm_hidden_size(lm);
    size_t limit = tmb_lm_max_positions(lm);
    if (count >= limit || sequence->positions >= limit - count) {
        return tmb_fail(error, TMB_ERROR_LIMIT,
                        "the prompt has %zu positions, the model takes %zu; use a shorter text or reference",
                        sequence->positions + count, limit - 1);
    }
    tmb_status status = tmb_kv_reserve(&sequence->kv, sequence->positions + count, error);
    if (status != TMB_OK) {
        return status;
    }
    while (count > 0) {
        size_t here = count < context->rows ? count : context->rows;
        for (size_t i = 0; i < here; i++) {
            memcpy(context->x + i * context->x_stride, rows + i * hidden, hidden * sizeof *rows);
        }
        tmb_lm_run run = {.kv = &sequence->kv, .first = sequence->positions, .count = here};
        tmb_lm_stack_forward(&lm->talker, context->workspace, &run, 1, context->x, context->x_stride);
        lm->talker.vector.rms_norm(context->x + (here - 1) * context->x_stride, lm->talker.norm,
                                   (float)lm->talker.config.rms_norm_eps, hidden, sequence->hidden);
        sequence->has_hidden = true;
        sequence->positions += here;
        rows += here * hidden;
        count -= here;
    }
    return TMB_OK;
}

/* ---- Step ------------------------------------------------------------------------------------- */

/* One step's sequences that still make a frame: `live_index` are their places in the caller's arrays. */
typedef struct step {
    tmb_lm_context *context;
    tmb_lm_sequence *const *sequences;
    int16_t *codes;
    tmb_lm_outcome *outcomes;
    size_t live;
    size_t book;
} step;

static tmb_lm_sequence *live_sequence(const step *s, size_t i) { return s->sequences[s->context->live_index[i]]; }
static int16_t *live_codes(const step *s, size_t i) {
    return s->codes + s->context->live_index[i] * s->context->lm->talker_config.code_groups;
}

/* Drops from the live those whose outcome is no longer a frame. */
static void drop_finished(step *s) {
    size_t kept = 0;
    for (size_t i = 0; i < s->live; i++) {
        if (s->outcomes[s->context->live_index[i]] == TMB_LM_FRAME) {
            s->context->live_index[kept++] = s->context->live_index[i];
        }
    }
    s->live = kept;
}

/* The talker over the inputs that wait. */
static void advance_talker(step *s) {
    tmb_lm_context *c = s->context;
    const tmb_lm *lm = c->lm;
    size_t hidden = tmb_lm_hidden_size(lm);
    size_t count = 0;
    for (size_t i = 0; i < s->live; i++) {
        tmb_lm_sequence *sequence = live_sequence(s, i);
        if (sequence->has_hidden) {
            continue;
        }
        tmb_lm_outcome *outcome = &s->outcomes[c->live_index[i]];
        if (sequence->positions >= tmb_lm_max_positions(lm)) {
            *outcome = TMB_LM_LIMIT;
        } else if (tmb_kv_reserve(&sequence->kv, sequence->positions + 1, NULL) != TMB_OK) {
            *outcome = TMB_LM_FAILED;
        } else {
            memcpy(c->x + count * c->x_stride, sequence->next, hidden * sizeof *c->x);
            c->runs[count] = (tmb_lm_run){.kv = &sequence->kv, .first = sequence->positions, .count = 1};
            c->live[count++] = sequence;
        }
    }
    if (count > 0) {
        tmb_lm_stack_forward(&lm->talker, c->workspace, c->runs, count, c->x, c->x_stride);
    }
    for (size_t i = 0; i < s->live; i++) {
        tmb_lm_sequence *sequence = live_sequence(s, i);
        for (size_t row = 0; row < count; row++) {
            if (c->live[row] == sequence) {
                lm->talker.vector.rms_norm(c->x + row * c->x_stride, lm->talker.norm,
                                           (float)lm->talker.config.rms_norm_eps, hidden, sequence->hidden);
                sequence->positions++;
                sequence->has_hidden = true;
            }
        }
    }
    drop_finished(s);
}

static int watched(const step *s, const tmb_lm_sequence *sequence, const float *scores, size_t count) {
    const tmb_lm_context *c = s->context;
    return c->watch == NULL ? -1 : c->watch(c->watch_user, sequence, sequence->frames, s->book, scores, count);
}

static void pick_first(const step *s, size_t i) {
    tmb_lm_context *c = s->context;
    tmb_picker *picker = &live_sequence(s, i)->picker;
    float *scores = c->scores + i * c->scores_stride;
    int forced = watched(s, live_sequence(s, i), scores, picker->vocabulary);
    tmb_rules_first_scores(picker, scores);
    size_t code =
        forced >= 0 ? (size_t)forced : tmb_rules_pick_first(picker, scores, c->scratch + i * c->scores_stride);
    live_codes(s, i)[0] = (int16_t)code;
    s->outcomes[c->live_index[i]] = tmb_rules_take_first(picker, code);
}

static void pick_other(const step *s, size_t i) {
    tmb_lm_context *c = s->context;
    tmb_lm_sequence *sequence = live_sequence(s, i);
    float *scores = c->scores + i * c->scores_stride;
    size_t vocab = c->lm->predictor_config.vocab_size;
    int forced = watched(s, sequence, scores, vocab);
    size_t code = forced >= 0
                      ? (size_t)forced
                      : tmb_rules_pick_other(&sequence->picker, scores, vocab, c->scratch + i * c->scores_stride);
    live_codes(s, i)[s->book] = (int16_t)code;
}

static void pick_part(void *argument, int part, int parts) {
    const step *s = argument;
    size_t end = tmb_team_begin(s->live, 1, part + 1, parts);
    for (size_t i = tmb_team_begin(s->live, 1, part, parts); i < end; i++) {
        if (s->book == 0) {
            pick_first(s, i);
        } else {
            pick_other(s, i);
        }
    }
}

static void pick_all(step *s, size_t book) {
    s->book = book;
    if (s->live == 1) {
        pick_part(s, 0, 1);
    } else if (s->live > 1) {
        tmb_team_run(s->context->team, pick_part, s);
    }
}

/* Rows in y [count, D] become the predictor's inputs in x. */
static void project_to_predictor(tmb_lm_context *c, size_t count) {
    const tmb_lm *lm = c->lm;
    if (lm->plan.projects) {
        tmb_lm_multiply(c->workspace, &tmb_lm_entry(lm, lm->plan.entries.projection)->matrix, false,
                        tmb_lm_vector(lm, lm->plan.entries.projection_bias), c->y, c->x_stride, count, c->x,
                        c->x_stride);
    } else {
        memcpy(c->x, c->y, count * c->x_stride * sizeof *c->x);
    }
}

/* The other codes of the live sequences' frames. */
static void predict(step *s) {
    tmb_lm_context *c = s->context;
    const tmb_lm *lm = c->lm;
    const tmb_lm_stack *stack = &lm->predictor;
    size_t groups = lm->talker_config.code_groups;
    size_t hidden = tmb_lm_hidden_size(lm);
    for (size_t k = 1; k < groups; k++) {
        /* The first pass takes the talker's output and the first code, later ones the code before. */
        size_t rows = k == 1 ? 2 : 1;
        for (size_t i = 0; i < s->live; i++) {
            float *row = c->y + i * rows * c->x_stride;
            if (k == 1) {
                memcpy(row, live_sequence(s, i)->hidden, hidden * sizeof *row);
                tmb_lm_embed_codec(lm, live_codes(s, i)[0], row + c->x_stride);
            } else {
                size_t book = lm->plan.entries.books + k - 2;
                tmb_pack_table_row(tmb_lm_entry(lm, book), tmb_lm_data(lm, book), (size_t)live_codes(s, i)[k - 1], row);
            }
            c->runs[i] = (tmb_lm_run){.kv = &c->predictor_kv[i], .first = k == 1 ? 0 : k, .count = rows};
        }
        project_to_predictor(c, rows * s->live);
        tmb_lm_stack_forward(stack, c->workspace, c->runs, s->live, c->x, c->x_stride);
        for (size_t i = 0; i < s->live; i++) {
            stack->vector.rms_norm(c->x + (i * rows + rows - 1) * c->x_stride, stack->norm,
                                   (float)stack->config.rms_norm_eps, stack->config.hidden_size,
                                   c->y + i * c->x_stride);
        }
        tmb_lm_multiply(c->workspace, &tmb_lm_entry(lm, lm->plan.entries.heads + k - 1)->matrix, stack->bf16_dot, NULL,
                        c->y, c->x_stride, s->live, c->scores, c->scores_stride);
        pick_all(s, k);
    }
}

/* What goes into the talker next: the frame and its text. */
static void append_frame(const step *s, size_t i) {
    tmb_lm_sequence *sequence = live_sequence(s, i);
    size_t hidden = tmb_lm_hidden_size(sequence->lm);
    tmb_lm_embed_frame(sequence->lm, live_codes(s, i), sequence->next);
    size_t row = sequence->frames < sequence->trailing_count ? sequence->frames : sequence->trailing_count;
    const float *text = sequence->trailing + row * hidden;
    for (size_t k = 0; k < hidden; k++) {
        sequence->next[k] += text[k];
    }
    sequence->has_hidden = false;
    sequence->frames++;
}

void tmb_lm_step(tmb_lm_context *context, tmb_lm_sequence *const *sequences, size_t count, int16_t *codes,
                 tmb_lm_outcome *outcomes) {
    tmb_lm_context *c = context;
    const tmb_lm *lm = c->lm;
    step s = {.context = c, .sequences = sequences, .codes = codes, .outcomes = outcomes, .live = count};
    for (size_t i = 0; i < count; i++) {
        outcomes[i] = TMB_LM_FRAME;
        c->live_index[i] = i;
    }
    advance_talker(&s);
    if (s.live == 0) {
        return;
    }
    for (size_t i = 0; i < s.live; i++) {
        memcpy(c->y + i * c->x_stride, live_sequence(&s, i)->hidden, tmb_lm_hidden_size(lm) * sizeof *c->y);
    }
    tmb_lm_multiply(c->workspace, &tmb_lm_entry(lm, lm->plan.entries.codec_head)->matrix, false, NULL, c->y,
                    c->x_stride, s.live, c->scores, c->scores_stride);
    pick_all(&s, 0);
    drop_finished(&s);
    if (s.live == 0) {
        return;
    }
    predict(&s);
    for (size_t i = 0; i < s.live; i++) {
        append_frame(&s, i);
    }
}
