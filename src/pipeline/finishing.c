/* Stages 4 and 5 of an item, while stage 3 still speaks: resampling and denoising in turns, a second of
 * audio at a time, each on its own bounded pool. */
#include "pipeline/item.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "pipeline/chain.h"

#include <stdlib.h>
#include <string.h>

/* Denoiser frames (10 ms) in a block if somebody listens: as long as one frame of speech, so that it
 * adds no waiting. Without a listener the denoiser's default is faster. */
#define LISTENER_BLOCK_FRAMES 8
#define UNHELD_SECONDS 120
/* Samples by which the collected audio grows at least. */
#define WHOLE_STEP ((size_t)1 << 17)

static void run_resample(void *argument);
static void run_enhance(void *argument);

/* ---- Memory and audio ---- */

/* Seconds that the text is likely to take at most, for memory that is reserved before the item begins: nearly twice as
 * many a letter as tmb_expected_seconds, which is the middle of what to expect. More is asked for when it comes to
 * that. */
static double expected_seconds(const tmb_item_request *request) {
    double seconds = 4;
    for (const unsigned char *c = (const unsigned char *)request->public.text; *c != '\0'; c++) {
        if ((*c & 0xC0) != 0x80) {
            seconds += *c >= 0xE3 ? 0.4 : 0.12; /* a character of CJK, or a letter */
        }
    }
    if (request->public.max_seconds > 0 && seconds > request->public.max_seconds) {
        seconds = request->public.max_seconds;
    }
    return seconds;
}

uint64_t tmb_finishing_bytes(const tmb_item *item, const tmb_dfn_model *denoiser, int engine_rate, uint64_t *whole) {
    double ahead = TMB_BACKLOG_HOLD + 2; /* a step's audio beyond the mark */
    double rate = denoiser != NULL ? tmb_dfn_model_rate(denoiser) : engine_rate;
    *whole = 0;
    if (item->request.public.want_samples) {
        *whole = (uint64_t)(expected_seconds(&item->request) * rate) * sizeof(float);
    }
    return *whole + (uint64_t)(ahead * (engine_rate + rate)) * sizeof(float) +
           (denoiser != NULL ? tmb_enhancer_bytes(denoiser, 0) : 0);
}

void tmb_finishing_open(tmb_item *item, tmb_dfn_model *denoiser, int engine_rate, uint64_t reserved, uint64_t whole) {
    tmb_item_finishing *f = &item->finishing;
    (void)pthread_mutex_lock(&item->lock);
    f->denoiser = denoiser;
    f->engine_rate = engine_rate;
    f->rate = denoiser != NULL ? tmb_dfn_model_rate(denoiser) : engine_rate;
    f->whole_prepaid = whole;
    f->reserved += reserved;
    /* If the engine cannot hold a sequence, this much waits for a slow listener before the item fails. */
    f->input.maximum = (size_t)engine_rate * UNHELD_SECONDS;
    item->delivery.output.maximum = item->delivery.handing.maximum = (size_t)f->rate * UNHELD_SECONDS;
    (void)pthread_mutex_unlock(&item->lock);
}

void tmb_finishing_free(tmb_item *item) {
    tmb_item_finishing *f = &item->finishing;
    tmb_resampler_destroy(&f->resampler);
    tmb_enhancer_destroy(&f->enhancer);
    tmb_level_destroy(&f->level);
    tmb_fifo_free(&f->piece);
    tmb_fifo_free(&f->made);
    tmb_fifo_free(&f->input);
    free(f->whole);
    tmb_budget_release(item->host->budget, f->reserved);
}

void tmb_finishing_left(tmb_item *item) {
    (void)pthread_mutex_lock(&item->lock);
    if (!item->finishing.input_complete) { /* stopped or failed */
        item->seconds[TMB_STAGE_SPEECH] += tmb_now() - item->admitted;
    }
    (void)pthread_mutex_unlock(&item->lock);
}

bool tmb_finishing_is_over(tmb_item *item) {
    (void)pthread_mutex_lock(&item->lock);
    bool over = item->finishing.complete || item->failed;
    (void)pthread_mutex_unlock(&item->lock);
    return over;
}

/* Room for `count` more samples in `whole`, reserved before it is allocated. */
static tmb_status grow_whole(tmb_item *item, size_t count, tmb_error *error) {
    size_t needed = 0;
    if (!tmb_add_size(item->finishing.whole_count, count, &needed)) {
        return tmb_fail_memory(error, "the item's audio", 0);
    }
    if (needed <= item->finishing.whole_capacity) {
        return TMB_OK;
    }
    size_t more = item->finishing.whole_capacity / 2;
    more = more < WHOLE_STEP ? WHOLE_STEP : more;
    size_t capacity = needed > item->finishing.whole_capacity + more ? needed : item->finishing.whole_capacity + more;
    size_t prepaid_count = (size_t)(item->finishing.whole_prepaid / sizeof(float));
    if (item->finishing.whole_capacity == 0 && needed <= prepaid_count) {
        capacity = prepaid_count; /* touched only as far as it is used, and never refused */
    }
    uint64_t bytes = (uint64_t)(capacity - item->finishing.whole_capacity) * sizeof(float);
    uint64_t prepaid = bytes < item->finishing.whole_prepaid ? bytes : item->finishing.whole_prepaid;
    tmb_status status = tmb_budget_grow(item->host->budget, bytes - prepaid, "the item's audio", error);
    if (status != TMB_OK) {
        return status;
    }
    item->finishing.whole_prepaid -= prepaid;
    (void)pthread_mutex_lock(&item->lock);
    item->finishing.reserved += bytes - prepaid;
    (void)pthread_mutex_unlock(&item->lock);
    float *whole = tmb_realloc(item->finishing.whole, capacity, sizeof(float));
    if (whole == NULL) {
        return tmb_fail_memory(error, "the item's audio", capacity * sizeof(float));
    }
    item->finishing.whole = whole;
    item->finishing.whole_capacity = capacity;
    return TMB_OK;
}

/* Adds finished audio: to `whole` and, with an audio callback, to what waits for it; `spent` samples of the engine are
 * now fully processed. By one thread at a time, without the lock. */
static tmb_status add_audio(tmb_item *item, const float *samples, size_t count, uint64_t spent, tmb_error *error) {
    if (item->request.public.want_samples && count != 0) {
        tmb_status status = grow_whole(item, count, error);
        if (status != TMB_OK) {
            return status;
        }
        memcpy(item->finishing.whole + item->finishing.whole_count, samples, count * sizeof(float));
        item->finishing.whole_count += count;
    }
    (void)pthread_mutex_lock(&item->lock);
    bool fits = item->callbacks.audio == NULL || tmb_fifo_write(&item->delivery.output, samples, count);
    item->delivery.produced += count;
    item->finishing.done += spent;
    if (item->delivery.first_audio == 0 && count != 0) {
        item->delivery.first_audio = tmb_now() - item->submitted;
    }
    if (fits && item->delivery.output.count != 0) {
        tmb_delivery_kick(item);
    }
    (void)pthread_mutex_unlock(&item->lock);
    return fits ? TMB_OK : tmb_fail_memory(error, "audio that waits for its listener", count * sizeof(float));
}

/* ---- The task ---- */

/* Ends the task; the lock is held. If the item is done, its place in the batch becomes free. */
static void end_task(tmb_item *item) {
    item->finishing.busy = false;
    if (item->failed || item->finishing.complete) {
        item->host->news(item->scheduler);
        tmb_delivery_kick(item);
    }
}

static void fail_task(tmb_item *item, const tmb_error *error) {
    tmb_item_fail(item, error);
    (void)pthread_mutex_lock(&item->lock);
    end_task(item);
    (void)pthread_mutex_unlock(&item->lock);
    tmb_item_release(&item);
}

static tmb_status open_stages(tmb_item *item, tmb_error *error) {
    tmb_enhance_options options = item->request.public.post;
    options.compensate_delay = true;
    tmb_enhance_settings settings;
    tmb_chain_settings(&options, item->callbacks.audio != NULL ? LISTENER_BLOCK_FRAMES : 0, &settings);
    tmb_status status = tmb_resampler_create(item->finishing.engine_rate, item->finishing.rate, options.resampler,
                                             item->host->logger, &item->finishing.resampler, error);
    if (status == TMB_OK && options.level == TMB_LEVEL_AUTO) {
        status = tmb_level_create_live(item->finishing.engine_rate, 1, &item->finishing.level, error);
    }
    settings.level = item->finishing.level;
    return status != TMB_OK
               ? status
               : tmb_enhancer_create(item->finishing.denoiser, &settings, &item->finishing.enhancer, error);
}

/* Takes up to a second of what the engine made; false if the item failed. */
static bool take_piece(tmb_item *item, tmb_status *status, tmb_error *error) {
    (void)pthread_mutex_lock(&item->lock);
    bool failed = item->failed;
    if (failed) {
        end_task(item);
    } else {
        size_t count = item->finishing.input.count < (size_t)item->finishing.engine_rate
                           ? item->finishing.input.count
                           : (size_t)item->finishing.engine_rate;
        if (count != 0 && !tmb_fifo_write(&item->finishing.piece, tmb_fifo_peek(&item->finishing.input), count)) {
            *status = tmb_fail_memory(error, "speech", count * sizeof(float));
        } else {
            (void)tmb_fifo_read(&item->finishing.input, NULL, count);
        }
        item->finishing.last_piece = item->finishing.input_complete && item->finishing.input.count == 0;
    }
    (void)pthread_mutex_unlock(&item->lock);
    return !failed;
}

static void run_resample(void *argument) {
    tmb_item *item = argument;
    double start = tmb_now();
    tmb_error error = {0};
    tmb_status status = TMB_OK;
    if (!take_piece(item, &status, &error)) {
        tmb_item_release(&item);
        return;
    }
    if (status == TMB_OK && item->finishing.resampler == NULL) {
        status = open_stages(item, &error);
    }
    if (status == TMB_OK && item->finishing.piece.count != 0) {
        if (item->finishing.level != NULL) {
            (void)tmb_level_push(item->finishing.level, tmb_fifo_peek(&item->finishing.piece),
                                 item->finishing.piece.count, NULL);
        }
        status = tmb_resampler_push(item->finishing.resampler, tmb_fifo_peek(&item->finishing.piece),
                                    item->finishing.piece.count, &error);
    }
    if (status == TMB_OK && item->finishing.last_piece) {
        status = tmb_resampler_flush(item->finishing.resampler, &error);
    }
    tmb_item_add_seconds(item, TMB_STAGE_RESAMPLE_SPEECH, tmb_now() - start);
    if (status != TMB_OK) {
        fail_task(item, &error);
        return;
    }
    tmb_pool_post(item->host->enhance, &item->finishing.work, run_enhance, item);
}

/* Speech that has gone through stage 4 and 5, as a share of what is expected of stage 3. */
static void report_progress(tmb_item *item) {
    (void)pthread_mutex_lock(&item->lock);
    double share = item->finishing.spoken == 0 ? 0 : (double)item->finishing.done / (double)item->finishing.spoken;
    double fraction = share * (item->finishing.input_complete ? 1 : item->delivery.progress[TMB_STAGE_SPEECH]);
    (void)pthread_mutex_unlock(&item->lock);
    tmb_item_progress(item, TMB_STAGE_RESAMPLE_SPEECH, fraction);
    tmb_item_progress(item, TMB_STAGE_ENHANCE_SPEECH, fraction);
}

static void run_enhance(void *argument) {
    tmb_item *item = argument;
    double start = tmb_now();
    tmb_error error = {0};
    size_t moved = 0;
    size_t spent = item->finishing.piece.count;
    tmb_status status =
        tmb_chain_resampled_to_enhancer(item->finishing.resampler, item->finishing.enhancer, &moved, &error);
    if (status == TMB_OK && item->finishing.last_piece) {
        status = tmb_enhancer_flush(item->finishing.enhancer, &error);
    }
    if (status == TMB_OK) {
        status = tmb_chain_enhanced_to_fifo(item->finishing.enhancer, &item->finishing.made, &moved, &error);
    }
    tmb_item_add_seconds(item, TMB_STAGE_ENHANCE_SPEECH, tmb_now() - start);
    if (status == TMB_OK) {
        status = add_audio(item, tmb_fifo_peek(&item->finishing.made), item->finishing.made.count, spent, &error);
    }
    if (status != TMB_OK) {
        fail_task(item, &error);
        return;
    }
    tmb_fifo_clear(&item->finishing.made);
    tmb_fifo_clear(&item->finishing.piece);
    report_progress(item);
    (void)pthread_mutex_lock(&item->lock);
    item->finishing.complete = item->finishing.last_piece;
    bool more = !item->finishing.complete && !item->failed &&
                (item->finishing.input.count != 0 || item->finishing.input_complete);
    if (!more) {
        end_task(item);
    }
    (void)pthread_mutex_unlock(&item->lock);
    if (more) {
        tmb_pool_post(item->host->resample, &item->finishing.work, run_resample, item);
    } else {
        tmb_item_release(&item);
    }
}

/* Starts the task if there is work and no task. With the lock held. */
static void kick(tmb_item *item) {
    if (!item->finishing.busy && !item->failed && !item->finishing.complete &&
        (item->finishing.input.count != 0 || item->finishing.input_complete)) {
        item->finishing.busy = true;
        tmb_pool_post(item->host->resample, &item->finishing.work, run_resample, tmb_item_retain(item));
    }
}

/* ---- What the engine says ---- */

static void take_audio(tmb_item *item, const float *samples, size_t count) {
    tmb_error error = {0};
    tmb_status status = TMB_OK;
    (void)pthread_mutex_lock(&item->lock);
    item->finishing.spoken += count;
    if (!item->request.public.run_post_processing) {
        (void)pthread_mutex_unlock(&item->lock);
        status = add_audio(item, samples, count, count, &error);
    } else {
        if (tmb_fifo_write(&item->finishing.input, samples, count)) {
            kick(item);
        } else {
            status = tmb_fail_memory(&error, "speech", count * sizeof(float));
        }
        (void)pthread_mutex_unlock(&item->lock);
    }
    if (status != TMB_OK) {
        tmb_item_fail(item, &error);
    }
}

void tmb_finishing_audio(tmb_item *item, const tmb_engine_event *event) {
    if (atomic_load(&item->stop)) {
        return;
    }
    if (event->sample_count != 0) {
        take_audio(item, event->samples, event->sample_count);
    }
    tmb_item_progress(item, TMB_STAGE_SPEECH, event->progress);
}

/* A copy of the segments, their texts behind them in one block; NULL if there are none or no memory. */
static tmb_segment *copy_segments(const tmb_segment *segments, size_t count) {
    size_t bytes = count * sizeof *segments;
    for (size_t i = 0; i < count; i++) {
        bytes += strlen(segments[i].text) + 1;
    }
    tmb_segment *copy = tmb_calloc(1, bytes);
    if (copy == NULL) {
        return NULL;
    }
    char *text = (char *)(copy + count);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(segments[i].text) + 1;
        memcpy(text, segments[i].text, length);
        copy[i] = segments[i];
        copy[i].text = text;
        text += length;
    }
    return copy;
}

static tmb_status keep_details(tmb_item *item, const tmb_engine_event *event, tmb_error *error) {
    item->finish_reason = event->finish_reason;
    item->instruct_dropped = event->instruct_dropped;
    if (event->segment_count != 0) {
        item->segments = copy_segments(event->segments, event->segment_count);
        if (item->segments == NULL) {
            return tmb_fail_memory(error, "the item's segments", 0);
        }
        item->segment_count = event->segment_count;
    }
    if (item->request.public.want_codes && event->codes != NULL) {
        size_t count = event->code_frames * event->code_books;
        item->codes = tmb_calloc(count, sizeof *item->codes);
        if (item->codes == NULL) {
            return tmb_fail_memory(error, "the item's codes", count * sizeof *item->codes);
        }
        memcpy(item->codes, event->codes, count * sizeof *item->codes);
        item->code_frames = event->code_frames;
        item->code_books = event->code_books;
    }
    return TMB_OK;
}

void tmb_finishing_end(tmb_item *item, const tmb_engine_event *event) {
    tmb_error error = {0};
    if (atomic_load(&item->stop)) {
        return;
    }
    if (event->sample_count != 0) {
        take_audio(item, event->samples, event->sample_count);
    }
    if (keep_details(item, event, &error) != TMB_OK) {
        tmb_item_fail(item, &error);
        return;
    }
    tmb_item_progress(item, TMB_STAGE_SPEECH, 1);
    (void)pthread_mutex_lock(&item->lock);
    item->seconds[TMB_STAGE_SPEECH] +=
        tmb_now() - item->admitted; /* here, since the result may be on its way in a moment */
    item->finishing.input_complete = true;
    if (item->request.public.run_post_processing) {
        kick(item);
    } else if (!item->failed) {
        item->finishing.complete = true;
        tmb_delivery_kick(item);
    }
    (void)pthread_mutex_unlock(&item->lock);
}
