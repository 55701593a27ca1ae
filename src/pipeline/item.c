#include "pipeline/item.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

const char *tmb_stage_name(tmb_stage stage) {
    static const char *const names[TMB_STAGE_COUNT] = {
        "queued", "resample_reference", "enhance_reference", "speech", "resample_speech", "enhance_speech", "done"};
    return stage >= 0 && stage < TMB_STAGE_COUNT ? names[stage] : "unknown";
}

tmb_status tmb_item_create(tmb_scheduler *scheduler, const tmb_item_host *host, const tmb_clone_request *request,
                           const tmb_clone_callbacks *callbacks, bool needs_text, tmb_item **out, tmb_error *error) {
    *out = NULL;
    tmb_item *item = tmb_calloc(1, sizeof *item);
    if (item == NULL) {
        return tmb_fail_memory(error, "an item", sizeof *item);
    }
    tmb_status status = tmb_item_request_copy(request, needs_text, &item->request, error);
    if (status != TMB_OK) {
        free(item);
        return status;
    }
    item->references = 1;
    item->host = host;
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
    tmb_reading_close(&item->preparation.reading);
    tmb_voice_release(&item->preparation.voice);
    tmb_clean_release(&item->preparation.clean);
    tmb_finishing_free(item);
    tmb_fifo_free(&item->delivery.output);
    tmb_fifo_free(&item->delivery.handing);
    free(item->codes);
    free(item->segments);
    tmb_budget_release(item->host->budget, item->reserved);
    tmb_budget_release(item->host->device_budget, item->device_reserved);
    tmb_item_request_free(&item->request);
    (void)pthread_mutex_destroy(&item->lock);
    free(item);
}

void tmb_item_progress(tmb_item *item, tmb_stage stage, double fraction) {
    if (item->callbacks.progress == NULL) {
        return;
    }
    fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
    (void)pthread_mutex_lock(&item->lock);
    /* Never back, and no news that nobody would see. */
    bool news =
        fraction >= item->delivery.progress[stage] + 0.005 || (fraction >= 1 && item->delivery.progress[stage] < 1);
    if (news && !item->failed && !item->delivery.result_given) {
        item->delivery.progress[stage] = fraction;
        item->delivery.news |= 1u << stage;
        tmb_delivery_kick(item);
    }
    (void)pthread_mutex_unlock(&item->lock);
}

void tmb_item_judged(tmb_item *item) {
    if (item->callbacks.reference == NULL || !item->preparation.judged) {
        return;
    }
    (void)pthread_mutex_lock(&item->lock);
    /* Once: what is being told must not change under it, and an item that begins again has the same reference. */
    if (!item->delivery.reference_told && !item->failed && !item->delivery.result_given) {
        item->delivery.reference = item->preparation.reference;
        item->delivery.reference_told = true;
        item->delivery.reference_news = true;
        tmb_delivery_kick(item);
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
    const bool fails = !item->failed && !item->delivery.result_given;
    if (fails) {
        item->failed = true;
        item->failure = *error;
        atomic_store(&item->stop, true);
        if (!item->finishing.busy) {
            tmb_delivery_kick(item);
        }
    }
    (void)pthread_mutex_unlock(&item->lock);
    if (fails) { /* whoever closes stops every item in each turn, and would wake itself */
        item->host->news(item->scheduler);
    }
}

void tmb_item_voice_done(tmb_item *item) {
    (void)pthread_mutex_lock(&item->lock);
    item->finishing.complete = true;
    tmb_delivery_kick(item);
    (void)pthread_mutex_unlock(&item->lock);
}

double tmb_item_backlog(tmb_item *item) {
    (void)pthread_mutex_lock(&item->lock);
    double seconds = 0;
    if (item->finishing.engine_rate != 0) {
        seconds = (double)item->finishing.input.count / item->finishing.engine_rate +
                  (double)(item->delivery.output.count + item->delivery.handing.count) / item->finishing.rate;
    }
    (void)pthread_mutex_unlock(&item->lock);
    return seconds;
}
