/* Sequences of the language model: what lies on the device, prompts, steps. */
#include "tts/qwen3/cuda/cuda_lm.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/sizes.h"

#include <stdlib.h>
#include <string.h>

/* ---- What a sequence has ---------------------------------------------------------------------- */

/* Bytes that each part begins at a multiple of. */
enum { APART = 256 };

typedef struct layout {
    size_t hidden, next, picker, seen, table, text;
} layout;

static size_t seen_words(const tmb_cuda_lm *lm) { return tmb_picker_words(lm->talker_config.vocab_size); }
static size_t pages_of(const tmb_cuda_lm *lm, size_t positions) {
    size_t limit = lm->talker.positions;
    positions = positions < limit ? positions : limit;
    return tmb_ceil_div(positions, lm->talker.page_positions);
}

static layout layout_of(const tmb_cuda_lm *lm) {
    size_t row = tmb_round_up(lm->talker.config.hidden_size * sizeof(float), APART);
    layout l = {.hidden = 0, .next = row, .picker = 2 * row};
    l.seen = l.picker + tmb_round_up(sizeof(tmb_gpu_picker), APART);
    l.table = l.seen + tmb_round_up(seen_words(lm) * sizeof(uint64_t), APART);
    l.text = l.table + tmb_round_up(pages_of(lm, lm->talker.positions) * sizeof(tmb_gpu_address), APART);
    return l;
}

static size_t text_bytes(const tmb_cuda_lm *lm, size_t rows) {
    return rows * lm->talker.config.hidden_size * sizeof(float);
}

/* A row of text for each position at most, and one for the frames behind them. */
static size_t text_rows(const tmb_cuda_lm *lm, size_t positions) {
    return (positions < lm->talker.positions ? positions : lm->talker.positions) + 1;
}

static size_t first_bytes(const tmb_cuda_lm *lm, size_t positions) {
    return layout_of(lm).text + text_bytes(lm, text_rows(lm, positions));
}

/* How many of `pages` lie in one piece: if there are units, each is one. */
static size_t together(const tmb_cuda_lm *lm, size_t pages) { return lm->units.unit != 0 ? 1 : pages; }

static size_t page_bytes(const tmb_cuda_lm *lm, size_t pages) {
    size_t one = together(lm, pages);
    return pages == 0 ? 0 : pages / one * tmb_slabs_counted(&lm->units, one * lm->talker.page_bytes);
}

size_t tmb_cuda_sequence_device_bytes(const tmb_cuda_lm *lm, size_t positions) {
    return tmb_slabs_counted(&lm->units, first_bytes(lm, positions)) + page_bytes(lm, pages_of(lm, positions));
}

size_t tmb_cuda_sequence_host_bytes(const tmb_cuda_lm *lm) {
    return sizeof(struct tmb_net_sequence) + pages_of(lm, lm->talker.positions) * 2 * sizeof(tmb_gpu_address);
}

size_t tmb_cuda_sequence_positions(const tmb_net_sequence *sequence) { return sequence->positions; }

void tmb_cuda_sequence_destroy(tmb_cuda_lm *lm, tmb_net_sequence **sequence_address) {
    tmb_net_sequence *sequence = *sequence_address;
    *sequence_address = NULL;
    if (sequence == NULL) {
        return;
    }
    /* The talker may still be at its last frame. */
    (void)tmb_gpu_synchronize(lm->gpu, lm->stream, NULL);
    for (size_t i = 0; i < sequence->piece_count; i++) {
        tmb_gpu_free(lm->gpu, sequence->pieces[i]);
    }
    tmb_gpu_free(lm->gpu, sequence->longer);
    tmb_gpu_free(lm->gpu, sequence->memory);
    free(sequence->pages);
    free(sequence->pieces);
    free(sequence);
}

/* Room for positions [0, positions). */
static tmb_status reserve(tmb_cuda_lm *lm, tmb_net_sequence *sequence, size_t positions, tmb_error *error) {
    size_t first = sequence->page_count, wanted = pages_of(lm, positions);
    tmb_status status = TMB_OK;
    while (sequence->page_count < wanted && status == TMB_OK) {
        size_t count = together(lm, wanted - sequence->page_count);
        tmb_gpu_address memory = 0;
        status = tmb_gpu_take(lm->gpu, count * lm->talker.page_bytes, "a sequence's positions", &memory, error);
        if (status == TMB_OK) {
            sequence->pieces[sequence->piece_count++] = memory;
        }
        for (size_t i = 0; i < count && status == TMB_OK; i++) {
            sequence->pages[sequence->page_count++] = memory + i * lm->talker.page_bytes;
        }
    }
    /* Also if the device had no room for all: those that came are the sequence's, and it may try again. */
    tmb_status listed =
        tmb_gpu_upload(lm->gpu, lm->stream, sequence->table + first * sizeof(tmb_gpu_address), sequence->pages + first,
                       (sequence->page_count - first) * sizeof(tmb_gpu_address), status == TMB_OK ? error : NULL);
    return status == TMB_OK ? listed : status;
}

static tmb_status take_first(tmb_cuda_lm *lm, tmb_net_sequence *sequence, size_t positions, tmb_error *error) {
    tmb_status status = tmb_gpu_take(lm->gpu, first_bytes(lm, positions), "a sequence", &sequence->memory, error);
    if (status == TMB_OK) {
        const layout l = layout_of(lm);
        sequence->hidden = sequence->memory + l.hidden;
        sequence->next = sequence->memory + l.next;
        sequence->picker = sequence->memory + l.picker;
        sequence->seen = sequence->memory + l.seen;
        sequence->table = sequence->memory + l.table;
        sequence->text_rows = text_rows(lm, positions);
    }
    return status;
}

tmb_status tmb_cuda_sequence_create(tmb_cuda_lm *lm, size_t positions, tmb_net_sequence **out, tmb_error *error) {
    *out = NULL;
    size_t most_pages = pages_of(lm, lm->talker.positions);
    tmb_net_sequence *sequence = tmb_calloc(1, sizeof *sequence);
    if (sequence != NULL) {
        sequence->pages = tmb_calloc(most_pages, sizeof *sequence->pages);
        sequence->pieces = tmb_calloc(most_pages, sizeof *sequence->pieces);
    }
    tmb_status status = sequence == NULL || sequence->pages == NULL || sequence->pieces == NULL
                            ? tmb_fail_memory(error, "a sequence", tmb_cuda_sequence_host_bytes(lm))
                            : take_first(lm, sequence, positions, error);
    if (status == TMB_OK) {
        status = reserve(lm, sequence, positions, error);
    }
    if (status != TMB_OK) {
        tmb_cuda_sequence_destroy(lm, &sequence);
        return status;
    }
    *out = sequence;
    return TMB_OK;
}

size_t tmb_cuda_sequence_needs(const tmb_cuda_lm *lm, const tmb_net_sequence *sequence) {
    bool full = pages_of(lm, sequence->positions + 1) > sequence->page_count;
    return full && sequence->next_outcome == TMB_LM_FRAME ? page_bytes(lm, 1) : 0;
}

tmb_status tmb_cuda_sequence_grow(tmb_cuda_lm *lm, tmb_net_sequence *sequence, tmb_error *error) {
    return reserve(lm, sequence, sequence->positions + 1, error);
}

/* Whole pages: what lies behind `count` in the last one is never read. */
tmb_status tmb_cuda_sequence_fork(tmb_cuda_lm *lm, tmb_net_sequence *sequence, const tmb_net_sequence *from,
                                  size_t count, tmb_error *error) {
    tmb_status status = reserve(lm, sequence, count, error);
    for (size_t i = 0; i < pages_of(lm, count) && status == TMB_OK; i++) {
        status = tmb_gpu_copy(lm->gpu, lm->stream, sequence->pages[i], from->pages[i], lm->talker.page_bytes, error);
    }
    if (status == TMB_OK) {
        sequence->positions = count;
        sequence->has_hidden = false;
    }
    return status;
}

/* ---- Prompts ---------------------------------------------------------------------------------- */

tmb_status tmb_cuda_upload_texts(tmb_cuda_lm *lm, const int32_t *ids, size_t count, tmb_error *error) {
    size_t width = lm->talker_config.text_hidden_size;
    float *rows = tmb_calloc(count, lm->text_stride * sizeof *rows);
    if (rows == NULL) {
        return tmb_fail_memory(error, "text embeddings", count * lm->text_stride * sizeof *rows);
    }
    tmb_status status = TMB_OK;
    for (size_t i = 0; i < count && status == TMB_OK; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= lm->talker_config.text_vocab_size) {
            status = tmb_fail(error, TMB_ERROR_ARGUMENT, "the model has no text token %d", (int)ids[i]);
        } else {
            status = tmb_tensor_read_f32(lm->text_embedding, (size_t)ids[i] * width, width, rows + i * lm->text_stride,
                                         error);
        }
    }
    if (status == TMB_OK) {
        status = tmb_gpu_upload(lm->gpu, lm->stream, lm->text, rows, count * lm->text_stride * sizeof *rows, error);
    }
    free(rows);
    return status;
}

/* What the kernel adds to the projected text. */
static tmb_status upload_codec_sides(tmb_cuda_lm *lm, const tmb_prompt *prompt, size_t first, size_t count,
                                     tmb_error *error) {
    size_t groups = lm->talker_config.code_groups;
    int32_t rows[2 * TMB_CUDA_PREFILL_ROWS];
    int16_t frames[TMB_CUDA_PREFILL_ROWS * TMB_QWEN3_CODE_GROUPS_MAX];
    size_t frame_count = 0;
    for (size_t i = 0; i < count; i++) {
        const tmb_prompt_row *row = &prompt->rows[first + i];
        rows[2 * i] = row->codec;
        rows[2 * i + 1] = (int32_t)frame_count;
        if (row->codec == TMB_PROMPT_FRAME) {
            memcpy(frames + frame_count++ * groups, prompt->frames + row->frame * groups, groups * sizeof *frames);
        }
    }
    tmb_status status = tmb_gpu_upload(lm->gpu, lm->stream, lm->prompt_rows, rows, 2 * count * sizeof *rows, error);
    if (status == TMB_OK) {
        status = tmb_gpu_upload(lm->gpu, lm->stream, lm->prompt_frames, frames, frame_count * groups * sizeof *frames,
                                error);
    }
    if (status == TMB_OK && prompt->vector != NULL) {
        status = tmb_gpu_upload(lm->gpu, lm->stream, lm->prompt_vector, prompt->vector,
                                lm->talker.config.hidden_size * sizeof(float), error);
    }
    return status;
}

static tmb_gpu_slot slot_of(const tmb_cuda_lm *lm, const tmb_net_sequence *sequence) {
    size_t row = sequence->frames < sequence->trailing_count ? sequence->frames : sequence->trailing_count;
    return (tmb_gpu_slot){.hidden = sequence->hidden,
                          .next = sequence->next,
                          .picker = sequence->picker,
                          .seen = sequence->seen,
                          .text = sequence->trailing + row * lm->talker.config.hidden_size * sizeof(float),
                          .pages = sequence->table,
                          .position = (int32_t)sequence->positions,
                          .talks = 1};
}

/* At most TMB_CUDA_PREFILL_ROWS rows, for which there is room. */
static tmb_status prefill_block(tmb_cuda_lm *lm, tmb_net_sequence *sequence, const tmb_prompt *prompt, size_t first,
                                size_t count, tmb_error *error) {
    int32_t ids[TMB_CUDA_PREFILL_ROWS];
    for (size_t i = 0; i < count; i++) {
        ids[i] = prompt->rows[first + i].text;
    }
    const tmb_gpu_slot slot = slot_of(lm, sequence);
    tmb_status status = tmb_cuda_upload_texts(lm, ids, count, error);
    if (status != TMB_OK || (status = upload_codec_sides(lm, prompt, first, count, error)) != TMB_OK ||
        (status = tmb_gpu_upload(lm->gpu, lm->stream, lm->prompt_slot, &slot, sizeof slot, error)) != TMB_OK) {
        return status;
    }
    tmb_gpu_recorder recorder = tmb_gpu_direct(lm->gpu, lm->stream);
    tmb_cuda_project_text(lm, &recorder, count, lm->x, lm->stride);
    const tmb_add_codec_arguments add = {.x = lm->x,
                                         .tables = lm->tables,
                                         .rows = lm->prompt_rows,
                                         .frames = lm->prompt_frames,
                                         .vector = lm->prompt_vector,
                                         .width = (int32_t)lm->talker.config.hidden_size,
                                         .x_stride = (int32_t)lm->stride,
                                         .groups = (int32_t)lm->talker_config.code_groups};
    tmb_gpu_kernel(&recorder, TMB_KERNEL_tmb_add_codec, (tmb_gpu_grid){(unsigned)count, 1, 1, 64}, &add);
    tmb_cuda_stack_forward(lm, &recorder, &lm->talker, lm->x, (tmb_cuda_columns){.count = count, .each = 1},
                           (tmb_cuda_place){.slots = lm->prompt_slot, .prompt = true});
    tmb_cuda_store_hidden(lm, &recorder, lm->x + (count - 1) * lm->stride * sizeof(float), lm->prompt_slot, 1, 0);
    status = tmb_gpu_recorder_end(&recorder, NULL, error);
    if (status == TMB_OK) {
        sequence->positions += count;
        sequence->has_hidden = true;
    }
    return status;
}

tmb_status tmb_cuda_prefill(tmb_cuda_lm *lm, tmb_net_sequence *sequence, const tmb_prompt *prompt, size_t first,
                            size_t count, tmb_error *error) {
    size_t limit = lm->talker.positions;
    if (count >= limit || sequence->positions >= limit - count) {
        return tmb_fail(error, TMB_ERROR_LIMIT,
                        "the prompt has %zu positions, the model takes %zu; use a shorter text or reference",
                        sequence->positions + count, limit - 1);
    }
    tmb_status status = reserve(lm, sequence, sequence->positions + count, error);
    while (count > 0 && status == TMB_OK) {
        size_t here = count < TMB_CUDA_PREFILL_ROWS ? count : TMB_CUDA_PREFILL_ROWS;
        status = prefill_block(lm, sequence, prompt, first, here, error);
        first += here;
        count -= here;
    }
    return status;
}

/* The text that is added to later frames, and what the frames behind it have. */
static tmb_status project_trailing(tmb_cuda_lm *lm, tmb_net_sequence *sequence, const tmb_prompt *prompt,
                                   tmb_error *error) {
    size_t width = lm->talker.config.hidden_size;
    tmb_status status = TMB_OK;
    if (sequence->longer != 0) { /* the talker may still be at the last frame of the text before */
        status = tmb_gpu_synchronize(lm->gpu, lm->stream, error);
        tmb_gpu_free(lm->gpu, sequence->longer);
        sequence->longer = 0;
    }
    sequence->trailing_count = prompt->later_count;
    sequence->trailing = sequence->memory + layout_of(lm).text;
    if (status == TMB_OK && prompt->later_count >= sequence->text_rows) {
        status = tmb_gpu_take(lm->gpu, text_bytes(lm, prompt->later_count + 1), "a sequence's text", &sequence->longer,
                              error);
        sequence->trailing = sequence->longer;
    }
    for (size_t done = 0; done <= prompt->later_count && status == TMB_OK;) {
        int32_t ids[TMB_CUDA_PREFILL_ROWS];
        size_t left = prompt->later_count + 1 - done;
        size_t here = left < TMB_CUDA_PREFILL_ROWS ? left : TMB_CUDA_PREFILL_ROWS;
        for (size_t i = 0; i < here; i++) {
            ids[i] = done + i < prompt->later_count ? prompt->later[done + i] : prompt->pad;
        }
        status = tmb_cuda_upload_texts(lm, ids, here, error);
        if (status == TMB_OK) {
            tmb_gpu_recorder recorder = tmb_gpu_direct(lm->gpu, lm->stream);
            tmb_cuda_project_text(lm, &recorder, here, sequence->trailing + done * width * sizeof(float), width);
            status = tmb_gpu_recorder_end(&recorder, NULL, error);
        }
        done += here;
    }
    return status;
}

tmb_status tmb_cuda_begin(tmb_cuda_lm *lm, tmb_net_sequence *sequence, const tmb_lm_sampling *sampling,
                          const tmb_prompt *prompt, tmb_error *error) {
    if (sampling->max_new_tokens < 2) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "a limit of %zu frames leaves none: at most one less are made",
                        sampling->max_new_tokens);
    }
    if (!sequence->has_hidden) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "the sequence has no prompt");
    }
    tmb_status status = project_trailing(lm, sequence, prompt, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_random random;
    tmb_random_seed(&random, sampling->seed);
    size_t vocabulary = lm->talker_config.vocab_size;
    tmb_gpu_picker picker = {
        .penalty = (float)sampling->repetition_penalty,
        .max_new_tokens = (uint32_t)(sampling->max_new_tokens < UINT32_MAX ? sampling->max_new_tokens : UINT32_MAX),
        .end = (uint32_t)lm->talker_config.codec_eos_id,
        .suppressed = (uint32_t)(vocabulary < TMB_QWEN3_SUPPRESSED_CODES ? vocabulary : TMB_QWEN3_SUPPRESSED_CODES)};
    memcpy(picker.random, random.state, sizeof picker.random);
    const tmb_sampling *both[] = {&sampling->talker, &sampling->predictor};
    for (size_t i = 0; i < 2; i++) {
        picker.temperature[i] = both[i]->temperature;
        picker.top_p[i] = both[i]->top_p;
        picker.top_k[i] = (uint32_t)(both[i]->top_k < UINT32_MAX ? both[i]->top_k : UINT32_MAX);
        picker.greedy[i] = both[i]->greedy;
    }
    sequence->frames = 0;
    sequence->next_outcome = TMB_LM_FRAME;
    status = tmb_gpu_upload(lm->gpu, lm->stream, sequence->picker, &picker, sizeof picker, error);
    return status == TMB_OK
               ? tmb_gpu_clear(lm->gpu, lm->stream, sequence->seen, seen_words(lm) * sizeof(uint64_t), error)
               : status;
}

/* ---- Steps ------------------------------------------------------------------------------------ */

/* What a step moves: up live and slots, down codes and outcomes. */
typedef struct pinned {
    int32_t *live;
    tmb_gpu_slot *slots;
    int16_t *codes;
    int32_t *outcomes;
} pinned;

static pinned pinned_of(const tmb_cuda_lm *lm) {
    uint8_t *base = lm->pinned;
    pinned p = {.live = (int32_t *)(void *)base, .slots = (tmb_gpu_slot *)(void *)(base + 64)};
    p.outcomes = (int32_t *)(void *)(p.slots + lm->sequences);
    p.codes = (int16_t *)(void *)(p.outcomes + lm->sequences);
    return p;
}

/* Whether the talker can go over the frame that is about to be made; otherwise the next step has no frame. */
static bool prepare_talk(const tmb_cuda_lm *lm, tmb_net_sequence *sequence) {
    if (sequence->positions >= lm->talker.positions) {
        sequence->next_outcome = TMB_LM_LIMIT;
        return false;
    }
    if (tmb_cuda_sequence_needs(lm, sequence) > 0) {
        sequence->next_outcome = TMB_LM_FAILED;
        return false;
    }
    return true;
}

static tmb_status run(tmb_cuda_lm *lm, const pinned *p, size_t live, tmb_error *error) {
    tmb_gpu *gpu = lm->gpu;
    size_t bucket = tmb_cuda_bucket(live);
    tmb_status status = TMB_OK;
    *p->live = (int32_t)live;
    if ((status = tmb_gpu_upload_pinned(gpu, lm->stream, lm->live, p->live, sizeof *p->live, error)) != TMB_OK ||
        (status = tmb_gpu_upload_pinned(gpu, lm->stream, lm->slots, p->slots, live * sizeof *p->slots, error)) !=
            TMB_OK ||
        (status = tmb_gpu_graph_launch(gpu, lm->frame[bucket], lm->stream, error)) != TMB_OK ||
        (status = tmb_gpu_download(gpu, lm->stream, p->codes, lm->codes,
                                   live * lm->talker_config.code_groups * sizeof *p->codes, error)) != TMB_OK ||
        (status = tmb_gpu_download(gpu, lm->stream, p->outcomes, lm->outcomes, live * sizeof *p->outcomes, error)) !=
            TMB_OK ||
        (status = tmb_gpu_record(gpu, lm->picked, lm->stream, error)) != TMB_OK ||
        (status = tmb_gpu_graph_launch(gpu, lm->talk[bucket], lm->stream, error)) != TMB_OK) {
        return status;
    }
    return tmb_gpu_wait(gpu, lm->picked, error);
}

tmb_status tmb_cuda_step(tmb_cuda_lm *lm, tmb_net_sequence *const *sequences, size_t count, int16_t *codes,
                         tmb_lm_outcome *outcomes, tmb_error *error) {
    const pinned p = pinned_of(lm);
    size_t groups = lm->talker_config.code_groups;
    size_t live = 0;
    for (size_t i = 0; i < count; i++) {
        tmb_net_sequence *sequence = sequences[i];
        outcomes[i] = sequence->next_outcome;
        if (outcomes[i] == TMB_LM_FRAME) {
            p.slots[live] = slot_of(lm, sequence);
            p.slots[live++].talks = prepare_talk(lm, sequence);
        }
    }
    if (live == 0) {
        return TMB_OK;
    }
    tmb_status status = run(lm, &p, live, error);
    if (status != TMB_OK) {
        /* What was put on the stream before it failed reads the slots until it is done. */
        (void)tmb_gpu_synchronize(lm->gpu, lm->stream, NULL);
    }
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        tmb_net_sequence *sequence = sequences[i];
        if (outcomes[i] != TMB_LM_FRAME) {
            continue;
        }
        if (status != TMB_OK) {
            outcomes[i] = TMB_LM_FAILED;
            continue;
        }
        memcpy(codes + i * groups, p.codes + at * groups, groups * sizeof *codes);
        outcomes[i] = (tmb_lm_outcome)p.outcomes[at];
        sequence->frames++;
        sequence->positions += p.slots[at].talks != 0;
        at++;
    }
    return status;
}
