#include "pipeline/item.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "pipeline/scheduler_internal.h"

#include <stdlib.h>
#include <string.h>

#define UNHELD_SECONDS 120
/* Samples by which the collected audio grows at least. */
#define WHOLE_STEP ((size_t)1 << 17)

const char *tmb_stage_name(tmb_stage stage) {
    static const char *const names[TMB_STAGE_COUNT] = {
        "queued", "resample_reference", "enhance_reference", "speech", "resample_speech", "enhance_speech", "done"};
    return stage >= 0 && stage < TMB_STAGE_COUNT ? names[stage] : "unknown";
}

tmb_status tmb_item_create(tmb_scheduler *scheduler, const tmb_clone_request *request,
                           const tmb_clone_callbacks *callbacks, bool needs_text, tmb_item **out, tmb_error *error) {
    *out = NULL;
    tmb_item *item = tmb_calloc(1, sizeof *item);
    if (item == NULL) {
        return tmb_fail_memory(error, "an item", sizeof *item);
    }
    tmb_status status = tmb_request_copy(request, needs_text, &item->request, error);
    if (status != TMB_OK) {
        free(item);
        return status;
    }
    item->references = 1;
    item->scheduler = scheduler;
    if (callbacks != NULL) {
        item->callbacks = *callbacks;
    }
    item->entry.priority = item->request.public.priority;
    item->submitted = tmb_now();
    if (item->request.public.deadline > 0) {
        item->deadline_at = item->submitted + item->request.public.deadline;
    }
    (void)pthread_mutex_init(&item->lock, NULL);
    *out = item;
    return TMB_OK;
}

tmb_item *tmb_item_retain(tmb_item *item) {
    (void)atomic_fetch_add_explicit(&item->references, 1, memory_order_relaxed);
    return item;
}

void tmb_item_release(tmb_item **item_address) {
    tmb_item *item = *item_address;
    *item_address = NULL;
    if (item == NULL || atomic_fetch_sub_explicit(&item->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    tmb_budget *budget = &item->scheduler->context->budget;
    tmb_reading_close(&item->reading);
    tmb_voice_release(&item->voice);
    tmb_clean_release(&item->clean);
    tmb_resampler_destroy(&item->resampler);
    tmb_enhancer_destroy(&item->enhancer);
    tmb_level_destroy(&item->level);
    tmb_fifo_free(&item->piece);
    tmb_fifo_free(&item->made);
    tmb_fifo_free(&item->input);
    tmb_fifo_free(&item->output);
    tmb_fifo_free(&item->handing);
    free(item->whole);
    free(item->codes);
    free(item->segments);
    tmb_budget_release(budget, item->reserved + item->post_reserved);
    tmb_request_free(&item->request);
    (void)pthread_mutex_destroy(&item->lock);
    free(item);
}

/* Seconds that the text is likely to take at most; more is asked for when it comes to that. */
static double expected_seconds(const tmb_request *request) {
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

/* NULL for an item without stages 4 and 5: the denoiser may be loading for another one meanwhile. */
static const tmb_dfn_model *post_denoiser(const tmb_item *item) {
    return item->request.public.run_post_processing ? item->scheduler->denoiser : NULL;
}

uint64_t tmb_item_post_bytes(tmb_item *item, int engine_rate) {
    const tmb_dfn_model *denoiser = post_denoiser(item);
    double ahead = TMB_BACKLOG_HOLD + 2; /* a step's audio beyond the mark */
    double rate = denoiser != NULL ? tmb_dfn_model_rate(denoiser) : engine_rate;
    item->whole_prepaid = 0;
    if (item->request.public.want_samples) {
        item->whole_prepaid = (uint64_t)(expected_seconds(&item->request) * rate) * sizeof(float);
    }
    return item->whole_prepaid + (uint64_t)(ahead * (engine_rate + rate)) * sizeof(float) +
           (denoiser != NULL ? tmb_enhancer_bytes(denoiser, 0) : 0);
}

void tmb_item_open_speech(tmb_item *item, int engine_rate, uint64_t reserved) {
    const tmb_dfn_model *denoiser = post_denoiser(item);
    (void)pthread_mutex_lock(&item->lock);
    item->engine_rate = engine_rate;
    item->rate = denoiser != NULL ? tmb_dfn_model_rate(denoiser) : engine_rate;
    item->post_reserved += reserved;
    /* Where the engine cannot hold a sequence, this much waits for a slow listener before the item fails. */
    item->input.maximum = (size_t)engine_rate * UNHELD_SECONDS;
    item->output.maximum = item->handing.maximum = (size_t)item->rate * UNHELD_SECONDS;
    (void)pthread_mutex_unlock(&item->lock);
}

void tmb_item_progress(tmb_item *item, tmb_stage stage, double fraction) {
    if (item->callbacks.progress == NULL) {
        return;
    }
    fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
    (void)pthread_mutex_lock(&item->lock);
    /* Never back, and no news that nobody would see. */
    bool news = fraction >= item->progress[stage] + 0.005 || (fraction >= 1 && item->progress[stage] < 1);
    if (news && !item->failed && !item->result_given) {
        item->progress[stage] = fraction;
        item->progress_news |= 1u << stage;
        tmb_item_deliver(item);
    }
    (void)pthread_mutex_unlock(&item->lock);
}

void tmb_item_add_seconds(tmb_item *item, tmb_stage stage, double seconds) {
    (void)pthread_mutex_lock(&item->lock);
    item->seconds[stage] += seconds;
    (void)pthread_mutex_unlock(&item->lock);
}

void tmb_item_fail(tmb_item *item, const tmb_error *error) {
    (void)pthread_mutex_lock(&item->lock);
    if (!item->failed && !item->result_given) {
        item->failed = true;
        item->failure = *error;
        atomic_store(&item->stop, true);
        if (!item->post_busy) {
            tmb_item_deliver(item);
        }
    }
    (void)pthread_mutex_unlock(&item->lock);
    tmb_scheduler_wake(item->scheduler);
}

void tmb_item_voice_done(tmb_item *item) {
    (void)pthread_mutex_lock(&item->lock);
    item->complete = true;
    tmb_item_deliver(item);
    (void)pthread_mutex_unlock(&item->lock);
}

double tmb_item_backlog(tmb_item *item) {
    (void)pthread_mutex_lock(&item->lock);
    double seconds = 0;
    if (item->engine_rate != 0) {
        seconds = (double)item->input.count / item->engine_rate +
                  (double)(item->output.count + item->handing.count) / item->rate;
    }
    (void)pthread_mutex_unlock(&item->lock);
    return seconds;
}

/* Room for `count` more samples in `whole`, reserved before it is allocated. */
static tmb_status grow_whole(tmb_item *item, size_t count, tmb_error *error) {
    size_t needed = 0;
    if (!tmb_add_size(item->whole_count, count, &needed)) {
        return tmb_fail_memory(error, "the item's audio", 0);
    }
    if (needed <= item->whole_capacity) {
        return TMB_OK;
    }
    size_t more = item->whole_capacity / 2;
    more = more < WHOLE_STEP ? WHOLE_STEP : more;
    size_t capacity = needed > item->whole_capacity + more ? needed : item->whole_capacity + more;
    size_t prepaid_count = (size_t)(item->whole_prepaid / sizeof(float));
    if (item->whole_capacity == 0 && needed <= prepaid_count) {
        capacity = prepaid_count; /* touched only as far as it is used, and never refused */
    }
    uint64_t bytes = (uint64_t)(capacity - item->whole_capacity) * sizeof(float);
    uint64_t prepaid = bytes < item->whole_prepaid ? bytes : item->whole_prepaid;
    tmb_status status = tmb_budget_grow(&item->scheduler->context->budget, bytes - prepaid, "the item's audio", error);
    if (status != TMB_OK) {
        return status;
    }
    item->whole_prepaid -= prepaid;
    (void)pthread_mutex_lock(&item->lock);
    item->post_reserved += bytes - prepaid;
    (void)pthread_mutex_unlock(&item->lock);
    float *whole = tmb_realloc(item->whole, capacity, sizeof(float));
    if (whole == NULL) {
        return tmb_fail_memory(error, "the item's audio", capacity * sizeof(float));
    }
    item->whole = whole;
    item->whole_capacity = capacity;
    return TMB_OK;
}

tmb_status tmb_item_add(tmb_item *item, const float *samples, size_t count, uint64_t spent, tmb_error *error) {
    if (item->request.public.want_samples && count != 0) {
        tmb_status status = grow_whole(item, count, error);
        if (status != TMB_OK) {
            return status;
        }
        memcpy(item->whole + item->whole_count, samples, count * sizeof(float));
        item->whole_count += count;
    }
    (void)pthread_mutex_lock(&item->lock);
    bool fits = item->callbacks.audio == NULL || tmb_fifo_write(&item->output, samples, count);
    item->produced += count;
    item->done += spent;
    if (item->first_audio == 0 && count != 0) {
        item->first_audio = tmb_now() - item->submitted;
    }
    if (fits && item->output.count != 0) {
        tmb_item_deliver(item);
    }
    (void)pthread_mutex_unlock(&item->lock);
    return fits ? TMB_OK : tmb_fail_memory(error, "audio that waits for its listener", count * sizeof(float));
}
