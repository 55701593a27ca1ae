/* Stages 4 and 5 of an item, while stage 3 still speaks: resampling and denoising in turns, a second of
 * audio at a time, each on its own bounded pool. */
#include "pipeline/scheduler_internal.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Denoiser frames (10 ms) in a block where somebody listens: as long as one frame of speech, so that it
 * adds no waiting. Without a listener the denoiser's default is faster. */
#define LISTENER_BLOCK_FRAMES 8

static void run_resample(void *argument);
static void run_enhance(void *argument);

/* The task ends; with the lock held. Of an item that is through, its place may be another's. */
static void end_task(tmb_item *item) {
    item->post_busy = false;
    if (item->failed || item->complete) {
        tmb_scheduler_wake(item->scheduler);
        tmb_item_deliver(item);
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
    tmb_context *context = item->scheduler->context;
    tmb_dfn_model *denoiser = item->scheduler->denoiser;
    tmb_enhance_options options = item->request.public.post;
    options.compensate_delay = true;
    tmb_enhance_settings settings;
    tmb_chain_settings(&options, item->callbacks.audio != NULL ? LISTENER_BLOCK_FRAMES : 0, &settings);
    tmb_status status = tmb_resampler_create(item->engine_rate, item->rate, options.resampler, &context->logger,
                                             &item->resampler, error);
    if (status == TMB_OK && options.level == TMB_LEVEL_AUTO) {
        status = tmb_level_create_live(item->engine_rate, 1, &item->level, error);
    }
    settings.level = item->level;
    return status != TMB_OK ? status : tmb_enhancer_create(denoiser, &settings, &item->enhancer, error);
}

/* Takes up to a second of what the engine made; false where the item failed. */
static bool take_piece(tmb_item *item, tmb_status *status, tmb_error *error) {
    (void)pthread_mutex_lock(&item->lock);
    bool failed = item->failed;
    if (failed) {
        end_task(item);
    } else {
        size_t count = item->input.count < (size_t)item->engine_rate ? item->input.count : (size_t)item->engine_rate;
        if (count != 0 && !tmb_fifo_write(&item->piece, tmb_fifo_peek(&item->input), count)) {
            *status = tmb_fail_memory(error, "speech", count * sizeof(float));
        } else {
            (void)tmb_fifo_read(&item->input, NULL, count);
        }
        item->last_piece = item->input_complete && item->input.count == 0;
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
    if (status == TMB_OK && item->resampler == NULL) {
        status = open_stages(item, &error);
    }
    if (status == TMB_OK && item->piece.count != 0) {
        if (item->level != NULL) {
            (void)tmb_level_push(item->level, tmb_fifo_peek(&item->piece), item->piece.count, NULL);
        }
        status = tmb_resampler_push(item->resampler, tmb_fifo_peek(&item->piece), item->piece.count, &error);
    }
    if (status == TMB_OK && item->last_piece) {
        status = tmb_resampler_flush(item->resampler, &error);
    }
    tmb_item_add_seconds(item, TMB_STAGE_RESAMPLE_SPEECH, tmb_now() - start);
    if (status != TMB_OK) {
        fail_task(item, &error);
        return;
    }
    tmb_pool_post(item->scheduler->enhance, &item->post_work, run_enhance, item);
}

/* Speech that has gone through stage 4 and 5, as a share of what is expected of stage 3. */
static void report_progress(tmb_item *item) {
    (void)pthread_mutex_lock(&item->lock);
    double share = item->spoken == 0 ? 0 : (double)item->done / (double)item->spoken;
    double fraction = share * (item->input_complete ? 1 : item->progress[TMB_STAGE_SPEECH]);
    (void)pthread_mutex_unlock(&item->lock);
    tmb_item_progress(item, TMB_STAGE_RESAMPLE_SPEECH, fraction);
    tmb_item_progress(item, TMB_STAGE_ENHANCE_SPEECH, fraction);
}

static void run_enhance(void *argument) {
    tmb_item *item = argument;
    double start = tmb_now();
    tmb_error error = {0};
    size_t moved = 0;
    size_t spent = item->piece.count;
    tmb_status status = tmb_chain_resampled_to_enhancer(item->resampler, item->enhancer, &moved, &error);
    if (status == TMB_OK && item->last_piece) {
        status = tmb_enhancer_flush(item->enhancer, &error);
    }
    if (status == TMB_OK) {
        status = tmb_chain_enhanced_to_fifo(item->enhancer, &item->made, &moved, &error);
    }
    tmb_item_add_seconds(item, TMB_STAGE_ENHANCE_SPEECH, tmb_now() - start);
    if (status == TMB_OK) {
        status = tmb_item_add(item, tmb_fifo_peek(&item->made), item->made.count, spent, &error);
    }
    if (status != TMB_OK) {
        fail_task(item, &error);
        return;
    }
    tmb_fifo_clear(&item->made);
    tmb_fifo_clear(&item->piece);
    report_progress(item);
    (void)pthread_mutex_lock(&item->lock);
    item->complete = item->last_piece;
    bool more = !item->complete && !item->failed && (item->input.count != 0 || item->input_complete);
    if (!more) {
        end_task(item);
    }
    (void)pthread_mutex_unlock(&item->lock);
    if (more) {
        tmb_pool_post(item->scheduler->resample, &item->post_work, run_resample, item);
    } else {
        tmb_item_release(&item);
    }
}

void tmb_item_post(tmb_item *item) {
    if (!item->post_busy && !item->failed && !item->complete && (item->input.count != 0 || item->input_complete)) {
        item->post_busy = true;
        tmb_pool_post(item->scheduler->resample, &item->post_work, run_resample, tmb_item_retain(item));
    }
}

/* ---- What the engine says ---- */

static void take_audio(tmb_item *item, const float *samples, size_t count) {
    tmb_error error = {0};
    tmb_status status = TMB_OK;
    (void)pthread_mutex_lock(&item->lock);
    item->spoken += count;
    if (!item->request.public.run_post_processing) {
        (void)pthread_mutex_unlock(&item->lock);
        status = tmb_item_add(item, samples, count, count, &error);
    } else {
        if (tmb_fifo_write(&item->input, samples, count)) {
            tmb_item_post(item);
        } else {
            status = tmb_fail_memory(&error, "speech", count * sizeof(float));
        }
        (void)pthread_mutex_unlock(&item->lock);
    }
    if (status != TMB_OK) {
        tmb_item_fail(item, &error);
    }
}

void tmb_item_audio(tmb_item *item, const tmb_engine_event *event) {
    if (atomic_load(&item->stop)) {
        return;
    }
    if (event->sample_count != 0) {
        take_audio(item, event->samples, event->sample_count);
    }
    tmb_item_progress(item, TMB_STAGE_SPEECH, event->progress);
}

/* A copy of the segments, their texts behind them in one block; NULL where there are none or no memory. */
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

void tmb_item_finished(tmb_item *item, const tmb_engine_event *event) {
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
    item->input_complete = true;
    if (item->request.public.run_post_processing) {
        tmb_item_post(item);
    } else if (!item->failed) {
        item->complete = true;
        tmb_item_deliver(item);
    }
    (void)pthread_mutex_unlock(&item->lock);
}
