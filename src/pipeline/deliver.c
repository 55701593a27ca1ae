/* Calling back: progress, audio and at last the result, one at a time for an item. */
#include "pipeline/route.h"
#include "pipeline/scheduler_internal.h"

#include "base/error.h"

#include <string.h>

typedef enum deliver_step { STEP_NONE, STEP_PROGRESS, STEP_AUDIO, STEP_RESULT } deliver_step;

/* What comes next; with the lock held. What a failed item still had to say is dropped. */
static deliver_step next_step(tmb_item *item, tmb_stage *stage, double *fraction) {
    if (item->result_given) {
        return STEP_NONE;
    }
    if (item->failed) {
        return item->post_busy ? STEP_NONE : STEP_RESULT;
    }
    if (item->progress_news != 0) {
        int bit = __builtin_ctz(item->progress_news);
        item->progress_news &= item->progress_news - 1;
        *stage = (tmb_stage)bit;
        *fraction = item->progress[bit];
        return STEP_PROGRESS;
    }
    if (item->output.count != 0) {
        tmb_fifo handing = item->handing;
        item->handing = item->output;
        item->output = handing;
        return STEP_AUDIO;
    }
    return item->complete ? STEP_RESULT : STEP_NONE;
}

static void give_audio(tmb_item *item) {
    bool go_on = item->callbacks.audio(item->callbacks.user, item->number, tmb_fifo_peek(&item->handing),
                                       item->handing.count, item->rate);
    (void)pthread_mutex_lock(&item->lock);
    tmb_fifo_clear(&item->handing);
    (void)pthread_mutex_unlock(&item->lock);
    if (!go_on) {
        tmb_error error;
        (void)tmb_fail(&error, TMB_ERROR_CANCELLED, "cancelled by its audio callback");
        tmb_item_fail(item, &error);
    } else if (atomic_load(&item->held)) {
        tmb_scheduler_wake(item->scheduler);
    }
}

static const char *finish_reason_name(tmb_finish_reason reason) {
    static const char *const names[] = {"stop", "length", "runaway", "cancelled"};
    return names[reason];
}

static void fill_timings(tmb_item *item, tmb_clone_result *result) {
    (void)pthread_mutex_lock(&item->lock);
    memcpy(result->timings, item->seconds, sizeof result->timings);
    result->first_audio = item->first_audio;
    (void)pthread_mutex_unlock(&item->lock);
    result->total = tmb_now() - item->submitted;
}

static void fill_success(const tmb_item *item, tmb_clone_result *result) {
    result->samples = item->whole;
    result->sample_count = item->whole_count;
    result->sample_rate = item->rate;
    result->duration = item->rate != 0 ? (double)item->produced / item->rate : 0;
    result->instruct_dropped = item->instruct_dropped;
    result->finish_reason = finish_reason_name(item->finish_reason);
    result->codes = item->codes;
    result->code_frames = item->code_frames;
    result->code_books = item->code_books;
    result->segments = item->segments;
    result->segment_count = item->segment_count;
    if (item->clean != NULL) {
        result->reference_clean = item->clean->samples;
        result->reference_clean_count = item->clean->count;
    }
}

/* NULL before anybody asked what the model is. */
static const char *model_name(const tmb_item *item) {
    tmb_context *context = item->scheduler->context;
    const tmb_model_description *description = NULL;
    return tmb_model_describe(context, item->lane->index, &description, NULL) == TMB_OK ? description->name : NULL;
}

static void give_result(tmb_item *item) {
    const tmb_engine_operations *operations = item->operations;
    if (item->voice_sink != NULL) {
        item->voice_sink(item->voice_user, operations, item->failed ? NULL : item->voice,
                         item->judged ? &item->reference : NULL, &item->failure);
        return;
    }
    if (!item->failed && item->callbacks.progress != NULL) {
        item->callbacks.progress(item->callbacks.user, item->number, TMB_STAGE_DONE, 1);
    }
    if (item->callbacks.result == NULL) {
        return;
    }
    tmb_clone_result result;
    memset(&result, 0, sizeof result);
    result.item = item->number;
    result.custom_id = item->request.public.custom_id;
    result.seed = item->request.seed;
    result.voice_unusable = item->voice_unusable;
    fill_timings(item, &result);
    result.reference = item->judged ? &item->reference : NULL;
    if (operations != NULL) {
        result.engine = operations->name;
        result.is_clone = operations->clones_voice && item->request.source != TMB_SOURCE_NONE;
        result.model = model_name(item);
    }
    if (item->failed) {
        result.error = item->failure;
    } else {
        fill_success(item, &result);
    }
    item->callbacks.result(item->callbacks.user, &result);
}

static void deliver(void *argument) {
    tmb_item *item = argument;
    for (;;) {
        tmb_stage stage = TMB_STAGE_QUEUED;
        double fraction = 0;
        (void)pthread_mutex_lock(&item->lock);
        deliver_step next = next_step(item, &stage, &fraction);
        if (next == STEP_NONE) {
            item->deliver_busy = false;
        } else if (next == STEP_RESULT) {
            item->result_given = true;
        }
        (void)pthread_mutex_unlock(&item->lock);
        switch (next) {
        case STEP_PROGRESS: item->callbacks.progress(item->callbacks.user, item->number, stage, fraction); break;
        case STEP_AUDIO: give_audio(item); break;
        case STEP_RESULT:
            tmb_scheduler_count_result(item->scheduler, item);
            give_result(item);
            tmb_scheduler_delivered(item->scheduler, item);
            break;
        default: tmb_item_release(&item); return;
        }
    }
}

void tmb_item_deliver(tmb_item *item) {
    if (!item->deliver_busy && !item->result_given) {
        item->deliver_busy = true;
        tmb_pool_post(item->scheduler->deliver, &item->deliver_work, deliver, tmb_item_retain(item));
    }
}
