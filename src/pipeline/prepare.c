/* From submitted to ready: which models are needed, which item begins next, and how what did not become ready ends. */
#include "pipeline/scheduler_internal.h"

#include "base/error.h"

#include <string.h>

void tmb_prepare_end(tmb_scheduler *scheduler, tmb_item *item, const tmb_error *error) {
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_OVER);
    tmb_item_fail(item, error);
    tmb_scheduler_retire(scheduler, item);
}

void tmb_scheduler_stop(tmb_scheduler *scheduler, tmb_item *item, const tmb_error *error) {
    tmb_voice_entry *entry = item->preparation.entry;
    switch (item->phase) {
    case TMB_PHASE_WAITING:
        tmb_fair_remove(&scheduler->waiting, &item->entry);
        tmb_prepare_end(scheduler, item, error);
        break;
    case TMB_PHASE_READING:
        /* The task still uses the caller's memory, so the task itself ends the item. */
        if (!atomic_exchange(&item->stop, true)) {
            item->preparation.stop_error = *error;
            if (tmb_budget_withdraw(&scheduler->context->budget, &item->ticket)) {
                tmb_item *task = item;
                tmb_reading_close(&item->preparation.reading);
                tmb_prepare_end(scheduler, item, error);
                tmb_item_release(&task);
            }
        }
        break;
    case TMB_PHASE_BUILDING:
        tmb_voice_cache_part(entry, item);
        if (entry->waiter_count == 0) {
            atomic_store(&entry->abandoned, true);
            tmb_voice_cache_unlist(&scheduler->cache, entry);
        }
        tmb_prepare_end(scheduler, item, error);
        break;
    case TMB_PHASE_READY:
        if (item->lane->returned == item) {
            item->lane->returned = NULL;
        } else {
            tmb_fair_remove(&item->lane->ready, &item->entry);
        }
        tmb_prepare_end(scheduler, item, error);
        break;
    default: tmb_item_fail(item, error);
    }
}

static bool needs_denoiser(const tmb_item *item) {
    const tmb_clone_request *public = &item->request.public;
    return tmb_item_request_cleans_reference(&item->request) ||
           (public->run_post_processing && item->voice_sink == NULL);
}

/* ---- Models ---- */

void tmb_scheduler_fail_waiting(tmb_scheduler *scheduler, const tmb_lane *lane, const tmb_error *error) {
    for (tmb_item *item = scheduler->items, *next = NULL; item != NULL; item = next) {
        next = item->next;
        bool waits = item->phase == TMB_PHASE_WAITING || (lane != NULL && item->phase == TMB_PHASE_READY);
        if (!waits || (lane != NULL ? item->lane != lane : !needs_denoiser(item))) {
            continue;
        }
        if (item->phase == TMB_PHASE_WAITING && item->home != NULL && lane != NULL) {
            tmb_fair_remove(&scheduler->waiting, &item->entry);
            if (tmb_overflow_return(scheduler, item, error)) {
                continue;
            }
            tmb_fair_push(&scheduler->waiting, &item->entry);
        }
        tmb_scheduler_stop(scheduler, item, error);
    }
}

static void load_denoiser(void *argument) {
    tmb_scheduler *scheduler = argument;
    tmb_error error = {0};
    tmb_dfn_model *denoiser = NULL;
    tmb_status status = tmb_registry_use_denoiser(&scheduler->context->registry, &denoiser, &error);
    (void)pthread_mutex_lock(&scheduler->lock);
    scheduler->denoiser = denoiser;
    scheduler->denoiser_state = status == TMB_OK ? TMB_USE_READY : TMB_USE_NONE;
    if (status != TMB_OK) {
        tmb_scheduler_fail_waiting(scheduler, NULL, &error);
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
    tmb_scheduler_wake(scheduler);
}

/* Loading may wait for memory: it runs where tasks may block. */
static void need_models(tmb_scheduler *scheduler) {
    tmb_lanes_load(scheduler);
    for (tmb_fair_entry *entry = scheduler->waiting.first; entry != NULL && scheduler->denoiser_state == TMB_USE_NONE;
         entry = entry->next) {
        if (needs_denoiser((tmb_item *)entry)) {
            scheduler->denoiser_state = TMB_USE_LOADING;
            tmb_pool_post(scheduler->deliver, &scheduler->denoiser_work, load_denoiser, scheduler);
        }
    }
}

/* ---- Ready ---- */

void tmb_prepare_ready(tmb_scheduler *scheduler, tmb_item *item) {
    item->prepared = tmb_now();
    tmb_item_judged(item);
    if (item->voice_sink != NULL) {
        tmb_scheduler_phase(scheduler, item, TMB_PHASE_OVER);
        tmb_item_voice_done(item);
        return;
    }
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_READY);
    tmb_fair_push(&item->lane->ready, &item->entry);
}

/* What is wrong with a reference is said of the field that named it. */
static tmb_error of_reference(const tmb_item *item, const tmb_error *error) {
    tmb_error out = *error;
    const bool of_input = error->status == TMB_ERROR_FORMAT || error->status == TMB_ERROR_LIMIT ||
                          error->status == TMB_ERROR_ARGUMENT || error->status == TMB_ERROR_UNSUPPORTED;
    if (of_input && out.field == NULL) {
        out.field = item->request.source == TMB_SOURCE_VOICE ? "voice" : "ref_audio";
    }
    return out;
}

/* A saved voice that cannot be used is given up for the reference that it was made from, if there is one: the item
 * begins again with that. False: it does not. With the lock held. */
static bool fall_back(tmb_scheduler *scheduler, tmb_item *item, const tmb_error *error) {
    const bool of_voice = error->status == TMB_ERROR_FORMAT || error->status == TMB_ERROR_UNSUPPORTED ||
                          error->status == TMB_ERROR_MODEL || error->status == TMB_ERROR_LIMIT ||
                          error->status == TMB_ERROR_ARGUMENT ||
                          (error->status == TMB_ERROR_IO && !tmb_error_is_exhausted(error));
    if (!of_voice || item->request.source != TMB_SOURCE_VOICE || item->request.public.ref_audio == NULL ||
        atomic_load(&item->stop)) {
        return false;
    }
    tmb_budget_release(&scheduler->context->budget, item->reserved);
    item->reserved = 0;
    tmb_prepare_forget(item);
    item->request.source = TMB_SOURCE_FILE;
    item->preparation.voice_unusable = true;
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_WAITING);
    tmb_fair_push(&scheduler->waiting, &item->entry);
    return true;
}

void tmb_prepare_reference_failed(tmb_scheduler *scheduler, tmb_item *item, const tmb_error *error) {
    if (!fall_back(scheduler, item, error)) {
        const tmb_error reason = of_reference(item, error);
        tmb_prepare_end(scheduler, item, &reason);
    }
}

/* ---- What begins next ---- */

/* One of the model's own voices speaks: there is nothing to read. */
static void begin_without_reference(tmb_scheduler *scheduler, tmb_item *item) {
    if (item->operations->own_voices) {
        tmb_prepare_ready(scheduler, item);
        return;
    }
    tmb_error error = {0};
    (void)tmb_fail_field(&error, TMB_ERROR_ARGUMENT, "ref_audio",
                         "the %s engine has no voices of its own: give it a recording or a saved voice",
                         item->operations->name);
    tmb_prepare_end(scheduler, item, &error);
}

/* An engine that knows no pauses would say the tags' words: true, and the item has ended. */
static bool ends_for_pauses(tmb_scheduler *scheduler, tmb_item *item) {
    const tmb_clone_request *public = &item->request.public;
    if (!public->pauses || item->operations->pauses || public->text == NULL ||
        strcasestr(public->text, "[pause:") == NULL) {
        return false;
    }
    tmb_error error = {0};
    (void)tmb_fail_field(&error, TMB_ERROR_ARGUMENT, "pauses",
                         "the %s engine speaks no pauses and would read \"[pause:\" aloud: use qwen3",
                         item->operations->name);
    tmb_prepare_end(scheduler, item, &error);
    return true;
}

/* Whether a service is asked for the transcript: not for a voice that takes nothing from the recording but its pitch.
 */
static bool transcribes(const tmb_scheduler *scheduler, const tmb_item *item) {
    const tmb_clone_request *public = &item->request.public;
    return scheduler->transcribe != NULL && item->operations->clones_voice && public->ref_text == NULL &&
           !public->x_vector_only && item->request.source != TMB_SOURCE_NONE &&
           item->request.source != TMB_SOURCE_VOICE;
}

/* Whether this item may begin: no group fills the memory with what it prepared ahead. What is ready may wait for a
 * model that has no room together with this lane's, so a lane that has nothing begun may always begin. */
static bool may_begin(tmb_fair_entry *entry, void *user) {
    tmb_scheduler *scheduler = user;
    const tmb_options *options = &scheduler->context->options;
    const tmb_item *item = (const tmb_item *)entry;
    size_t ahead = item->lane->max_batch + (size_t)options->resample_workers + (size_t)options->enhance_workers;
    return tmb_lane_may_begin(item->lane) && (entry->group->preparing < ahead || item->lane->begun == 0) &&
           !tmb_overflow_holds_back(scheduler, item) &&
           (scheduler->denoiser_state == TMB_USE_READY || !needs_denoiser(item));
}

void tmb_scheduler_prepare(tmb_scheduler *scheduler) {
    const tmb_options *options = &scheduler->context->options;
    size_t most = (size_t)options->resample_workers + (size_t)options->enhance_workers;
    need_models(scheduler);
    while (scheduler->reading + scheduler->cache.builds < most) {
        tmb_item *item = (tmb_item *)tmb_fair_take(&scheduler->waiting, may_begin, scheduler);
        if (item == NULL) {
            return;
        }
        if (tmb_overflow_take(scheduler, item) && !tmb_lane_may_begin(item->lane)) {
            tmb_fair_push(&scheduler->waiting, &item->entry); /* until the lane is loaded */
            tmb_lanes_load(scheduler);
            continue;
        }
        item->started = tmb_now();
        item->operations = item->lane->engine->operations;
        item->request.transcribes = transcribes(scheduler, item);
        tmb_lane_began(item->lane);
        if (ends_for_pauses(scheduler, item)) {
            continue;
        }
        if (item->request.source == TMB_SOURCE_NONE) {
            begin_without_reference(scheduler, item);
            continue;
        }
        tmb_prepare_read(scheduler, item);
    }
}
