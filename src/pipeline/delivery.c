/* Calling back: progress, audio and at last the result, one at a time for an item. */
#include "pipeline/item.h"

#include "base/error.h"

#include <string.h>

typedef enum deliver_step { STEP_NONE, STEP_REFERENCE, STEP_PROGRESS, STEP_AUDIO, STEP_RESULT } deliver_step;

/* What comes next; with the lock held. What a failed item still had to say is dropped. */
static deliver_step next_step(tmb_item *item, tmb_stage *stage, double *fraction) {
    if (item->delivery.result_given) {
        return STEP_NONE;
    }
    if (item->failed) {
        return item->finishing.busy ? STEP_NONE : STEP_RESULT;
    }
    if (item->delivery.reference_news) {
        item->delivery.reference_news = false;
        return STEP_REFERENCE;
    }
    if (item->delivery.news != 0) {
        int bit = __builtin_ctz(item->delivery.news);
        item->delivery.news &= item->delivery.news - 1;
        *stage = (tmb_stage)bit;
        *fraction = item->delivery.progress[bit];
        return STEP_PROGRESS;
    }
    if (item->delivery.output.count != 0) {
        tmb_fifo handing = item->delivery.handing;
        item->delivery.handing = item->delivery.output;
        item->delivery.output = handing;
        return STEP_AUDIO;
    }
    return item->finishing.complete ? STEP_RESULT : STEP_NONE;
}

static bool is_clone(const tmb_item *item) {
    return item->operations->clones_voice && item->request.source != TMB_SOURCE_NONE;
}

static void give_audio(tmb_item *item) {
    if (!item->delivery.told && item->callbacks.speaks != NULL) {
        item->callbacks.speaks(item->callbacks.user, item->number, item->operations->name, is_clone(item));
    }
    item->delivery.told = true;
    bool go_on = item->callbacks.audio(item->callbacks.user, item->number, tmb_fifo_peek(&item->delivery.handing),
                                       item->delivery.handing.count, item->finishing.rate);
    (void)pthread_mutex_lock(&item->lock);
    tmb_fifo_clear(&item->delivery.handing);
    (void)pthread_mutex_unlock(&item->lock);
    if (!go_on) {
        tmb_error error;
        (void)tmb_fail(&error, TMB_ERROR_CANCELLED, "cancelled by its audio callback");
        tmb_item_fail(item, &error);
    } else if (atomic_load(&item->held)) {
        item->host->news(item->scheduler);
    }
}

static const char *finish_reason_name(tmb_finish_reason reason) {
    static const char *const names[] = {"stop", "length", "runaway", "cancelled"};
    return names[reason];
}

static void fill_timings(tmb_item *item, tmb_clone_result *result) {
    (void)pthread_mutex_lock(&item->lock);
    memcpy(result->timings, item->seconds, sizeof result->timings);
    result->first_audio = item->delivery.first_audio;
    (void)pthread_mutex_unlock(&item->lock);
    result->total = tmb_now() - item->submitted;
}

static void fill_success(const tmb_item *item, tmb_clone_result *result) {
    result->samples = item->finishing.whole;
    result->sample_count = item->finishing.whole_count;
    result->sample_rate = item->finishing.rate;
    result->duration = item->finishing.rate != 0 ? (double)item->delivery.produced / item->finishing.rate : 0;
    result->instruct_dropped = item->instruct_dropped;
    result->finish_reason = finish_reason_name(item->finish_reason);
    result->codes = item->codes;
    result->code_frames = item->code_frames;
    result->code_books = item->code_books;
    result->segments = item->segments;
    result->segment_count = item->segment_count;
    if (item->preparation.clean != NULL) {
        result->reference_clean = item->preparation.clean->samples;
        result->reference_clean_count = item->preparation.clean->count;
    }
}

static void give_result(tmb_item *item) {
    const tmb_engine_operations *operations = item->operations;
    if (item->voice_sink != NULL) {
        item->voice_sink(item->voice_user, operations, item->failed ? NULL : item->preparation.voice,
                         item->preparation.judged ? &item->preparation.reference : NULL, &item->failure);
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
    result.voice_unusable = item->preparation.voice_unusable;
    fill_timings(item, &result);
    result.reference = item->preparation.judged ? &item->preparation.reference : NULL;
    if (operations != NULL) {
        result.engine = operations->name;
        result.is_clone = is_clone(item);
        result.model = item->host->model_name(item);
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
            item->delivery.busy = false;
        } else if (next == STEP_RESULT) {
            item->delivery.result_given = true;
        }
        (void)pthread_mutex_unlock(&item->lock);
        switch (next) {
        case STEP_REFERENCE:
            item->callbacks.reference(item->callbacks.user, item->number, &item->delivery.reference);
            break;
        case STEP_PROGRESS: item->callbacks.progress(item->callbacks.user, item->number, stage, fraction); break;
        case STEP_AUDIO: give_audio(item); break;
        case STEP_RESULT:
            item->host->result(item->scheduler, item);
            give_result(item);
            item->host->delivered(item->scheduler, item);
            break;
        default: tmb_item_release(&item); return;
        }
    }
}

void tmb_delivery_kick(tmb_item *item) {
    if (!item->delivery.busy && !item->delivery.result_given) {
        item->delivery.busy = true;
        tmb_pool_post(item->host->deliver, &item->delivery.work, deliver, tmb_item_retain(item));
    }
}
