/* From submitted to ready: the models that items need, reading references, building voices. */
#include "pipeline/scheduler_internal.h"

#include "base/checked.h"
#include "base/error.h"

#include <stdio.h>
#include <string.h>

/* Of a reference whose length its header does not tell. */
#define ASSUMED_SECONDS 60

static void run_reading(void *argument);
static void run_build_resample(void *argument);
static void run_build_enhance(void *argument);
static void run_build_encode(void *argument);

/* ---- Phases ---- */

static bool is_queued(tmb_phase phase) { return phase <= TMB_PHASE_ADMITTING; }

static bool is_preparing(tmb_phase phase) {
    return phase == TMB_PHASE_READING || phase == TMB_PHASE_BUILDING || phase == TMB_PHASE_READY;
}

/* Waits for its lane's model, or does without it for now. */
static bool is_pending(tmb_phase phase) { return phase == TMB_PHASE_WAITING || phase == TMB_PHASE_READY; }

/* Uses its lane's engine. */
static bool is_busy(tmb_phase phase) {
    return phase == TMB_PHASE_READING || phase == TMB_PHASE_BUILDING || phase == TMB_PHASE_ADMITTING ||
           phase == TMB_PHASE_LIVE;
}

void tmb_scheduler_phase(tmb_scheduler *scheduler, tmb_item *item, tmb_phase phase) {
    tmb_phase before = item->phase;
    item->lane->pending += is_pending(phase);
    item->lane->pending -= is_pending(before);
    item->lane->busy += is_busy(phase);
    item->lane->busy -= is_busy(before);
    scheduler->queued -= is_queued(before) && !is_queued(phase);
    scheduler->reading += phase == TMB_PHASE_READING;
    scheduler->reading -= before == TMB_PHASE_READING;
    item->entry.group->preparing += is_preparing(phase);
    item->entry.group->preparing -= is_preparing(before);
    item->phase = phase;
}

/* With the lock held. */
static void end_item(tmb_scheduler *scheduler, tmb_item *item, const tmb_error *error) {
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_OVER);
    tmb_item_fail(item, error);
}

void tmb_scheduler_stop(tmb_scheduler *scheduler, tmb_item *item, const tmb_error *error) {
    tmb_voice_entry *entry = item->voice_entry;
    switch (item->phase) {
    case TMB_PHASE_WAITING:
        tmb_fair_remove(&scheduler->waiting, &item->entry);
        end_item(scheduler, item, error);
        break;
    case TMB_PHASE_READING:
        /* The caller's memory is in use until the task is through: it ends the item. */
        if (!atomic_exchange(&item->stop, true)) {
            item->stop_error = *error;
            if (tmb_budget_withdraw(&scheduler->context->budget, &item->ticket)) {
                tmb_item *task = item;
                tmb_reading_close(&item->reading);
                end_item(scheduler, item, error);
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
        end_item(scheduler, item, error);
        break;
    case TMB_PHASE_READY:
        if (item->lane->returned == item) {
            item->lane->returned = NULL;
        } else {
            tmb_fair_remove(&item->lane->ready, &item->entry);
        }
        end_item(scheduler, item, error);
        break;
    default: tmb_item_fail(item, error);
    }
}

static bool needs_denoiser(const tmb_item *item) {
    const tmb_clone_request *public = &item->request.public;
    return tmb_request_cleans_reference(&item->request) || (public->run_post_processing && item->voice_sink == NULL);
}

/* ---- Models ---- */

void tmb_scheduler_fail_waiting(tmb_scheduler *scheduler, const tmb_lane *lane, const tmb_error *error) {
    for (tmb_item *item = scheduler->items; item != NULL; item = item->next) {
        bool waits = item->phase == TMB_PHASE_WAITING || (lane != NULL && item->phase == TMB_PHASE_READY);
        if (waits && (lane != NULL ? item->lane == lane : needs_denoiser(item))) {
            tmb_scheduler_stop(scheduler, item, error);
        }
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

/* The item has its voice (and, where it waited for it, the clean reference). With the lock held. */
static void become_ready(tmb_scheduler *scheduler, tmb_item *item) {
    item->prepared = tmb_now();
    if (item->voice_sink != NULL) {
        tmb_scheduler_phase(scheduler, item, TMB_PHASE_OVER);
        tmb_item_voice_done(item);
        return;
    }
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_READY);
    tmb_fair_push(&item->lane->ready, &item->entry);
}

/* ---- Reading ---- */

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
    item->reading = (tmb_reading){0};
    item->reading_open = false;
    item->request.source = TMB_SOURCE_FILE;
    item->voice_unusable = true;
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_WAITING);
    tmb_fair_push(&scheduler->waiting, &item->entry);
    return true;
}

/* The task of a reading item ends: `error` NULL where the item was stopped. */
static void end_reading(tmb_item *item, const tmb_error *error) {
    tmb_scheduler *scheduler = item->scheduler;
    tmb_reading_close(&item->reading);
    (void)pthread_mutex_lock(&scheduler->lock);
    if (error == NULL || !fall_back(scheduler, item, error)) {
        const tmb_error reason = error != NULL ? of_reference(item, error) : item->stop_error;
        end_item(scheduler, item, &reason);
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
    tmb_item_release(&item);
    tmb_scheduler_wake(scheduler);
}

static tmb_dfn_model *reference_denoiser(const tmb_item *item) {
    return tmb_request_cleans_reference(&item->request) ? item->scheduler->denoiser : NULL;
}

static void reading_granted(void *user) {
    tmb_item *item = user;
    tmb_pool_post(item->scheduler->resample, &item->read_work, run_reading, item);
}

/* What stages 1 and 2 and the engine's encoders take for a reference. */
static uint64_t reference_bytes(const tmb_item *item, uint64_t samples, int rate) {
    tmb_engine *engine = item->lane->engine;
    uint64_t bytes = tmb_build_bytes(reference_denoiser(item), samples, rate);
    if (item->reading.info.channels > 1) { /* a channel is kept beside their mix */
        bytes += samples * sizeof(float);
    }
    uint64_t encoding =
        engine->operations->prepare_memory == NULL || item->request.source == TMB_SOURCE_VOICE
            ? 0
            : engine->operations->prepare_memory(engine, samples, rate, tmb_request_x_vector_only(&item->request));
    return tmb_add_u64(bytes, encoding, &bytes) ? bytes : UINT64_MAX;
}

/* Opens the reference and reserves what stages 1 and 2 will take. *now false: the ticket goes on with it. */
static tmb_status open_reading(tmb_item *item, bool *now, tmb_error *error) {
    tmb_context *context = item->scheduler->context;
    tmb_audio_limits limits = {.max_seconds = context->options.max_input_seconds,
                               .max_bytes = context->options.max_input_bytes,
                               .no_ffmpeg = context->options.no_ffmpeg};
    uint64_t samples = 0;
    *now = true;
    item->reading_open = true;
    tmb_status status = tmb_reading_open(&item->reading, &item->request, &limits, &samples, error);
    if (status != TMB_OK) {
        return status;
    }
    int rate = item->reading.rate != 0 ? item->reading.rate : 1;
    if (samples == 0) {
        samples = (uint64_t)rate * ASSUMED_SECONDS;
    }
    item->ticket.granted = reading_granted;
    item->ticket.user = item;
    item->reserved = reference_bytes(item, samples, rate);
    uint64_t bytes = item->reserved;
    status = tmb_budget_request(&context->budget, &item->ticket, bytes,
                                tmb_registry_bytes(&context->registry, item->lane->index), "the reference", now, error);
    if (status != TMB_OK) {
        item->reserved = 0;
    }
    return status;
}

/* A reference may be longer than its header says. */
static tmb_status cover_reading(tmb_item *item, tmb_error *error) {
    if (item->reading.count == 0) {
        return TMB_OK;
    }
    uint64_t bytes = reference_bytes(item, item->reading.count, item->reading.rate);
    if (bytes <= item->reserved) {
        return TMB_OK;
    }
    uint64_t more = bytes - item->reserved + bytes / 4;
    tmb_status status = tmb_budget_grow(&item->scheduler->context->budget, more, "the reference", error);
    if (status == TMB_OK) {
        item->reserved += more;
    }
    return status;
}

/* Nobody has built this voice: the item's reading becomes a build, with the item as its first waiter. */
static tmb_status begin_build(tmb_scheduler *scheduler, tmb_item *item, tmb_error *error) {
    tmb_build *build = NULL;
    tmb_status status = tmb_build_create(&item->reading, &item->request, reference_denoiser(item), &build, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_voice_entry *entry = tmb_voice_cache_begin(&scheduler->cache, build);
    if (entry == NULL) {
        tmb_build_destroy(&build, &scheduler->context->budget);
        return tmb_fail_memory(error, "a voice", 0);
    }
    build->reserved = item->reserved;
    item->reserved = 0;
    entry->scheduler = scheduler;
    entry->lane = item->lane;
    entry->lane->busy++;
    tmb_voice_cache_join(entry, item);
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_BUILDING);
    if (build->denoiser != NULL) {
        tmb_pool_post(scheduler->resample, &entry->work, run_build_resample, entry);
    } else {
        tmb_pool_post(scheduler->encode, &entry->work, run_build_encode, entry);
    }
    return TMB_OK;
}

/* The reference is known: its voice is there, or being built, or must be built. */
static void find_voice(tmb_item *item) {
    tmb_scheduler *scheduler = item->scheduler;
    tmb_error error = {0};
    tmb_status status = TMB_OK;
    bool pre = reference_denoiser(item) != NULL;
    bool found = false;
    (void)pthread_mutex_lock(&scheduler->lock);
    if (atomic_load(&item->stop)) {
        (void)pthread_mutex_unlock(&scheduler->lock);
        end_reading(item, NULL);
        return;
    }
    tmb_voice_entry *entry = tmb_voice_cache_find(&scheduler->cache, &item->reading.key);
    if (entry == NULL) {
        status = begin_build(scheduler, item, &error);
    } else if (entry->voice == NULL) {
        tmb_voice_cache_join(entry, item);
        tmb_scheduler_phase(scheduler, item, TMB_PHASE_BUILDING);
    } else {
        found = true;
        item->judged = entry->judged;
        item->reference = entry->info;
        item->voice = tmb_voice_retain(entry->voice);
        become_ready(scheduler, item);
    }
    uint64_t reserved = status == TMB_OK ? item->reserved : 0;
    item->reserved -= reserved;
    (void)pthread_mutex_unlock(&scheduler->lock);
    if (status != TMB_OK) {
        end_reading(item, &error);
        return;
    }
    tmb_reading_close(&item->reading);
    tmb_budget_release(&scheduler->context->budget, reserved);
    if (found && pre) {
        tmb_item_progress(item, TMB_STAGE_RESAMPLE_REFERENCE, 1);
        tmb_item_progress(item, TMB_STAGE_ENHANCE_REFERENCE, 1);
    }
    tmb_item_release(&item);
    tmb_scheduler_wake(scheduler);
}

/* What tells the voices of one model from those of another. */
static const char *lane_name(const tmb_lane *lane, char name[64]) {
    (void)snprintf(name, 64, "%s/%zu", lane->engine->operations->name, lane->index);
    return name;
}

static void run_reading(void *argument) {
    char name[64];
    tmb_item *item = argument;
    tmb_scheduler *scheduler = item->scheduler;
    tmb_error error = {0};
    bool now = true;
    bool complete = false;
    tmb_status status = TMB_OK;
    if (atomic_load(&item->stop)) {
        end_reading(item, NULL);
        return;
    }
    double start = tmb_now();
    if (!item->reading_open) {
        status = open_reading(item, &now, &error);
        if (status == TMB_OK && !now) {
            return; /* the ticket has the task's reference */
        }
    }
    if (status == TMB_OK) {
        status = tmb_reading_step(&item->reading, &item->request, lane_name(item->lane, name), &complete, &error);
    }
    if (status == TMB_OK) {
        status = cover_reading(item, &error);
    }
    tmb_item_add_seconds(item, TMB_STAGE_RESAMPLE_REFERENCE, tmb_now() - start);
    if (status != TMB_OK) {
        end_reading(item, &error);
    } else if (complete) {
        find_voice(item);
    } else {
        tmb_pool_post(scheduler->resample, &item->read_work, run_reading, item);
    }
}

/* ---- Building ---- */

/* Keeps the voice's memory in the budget while the cache has it; 0 where there is no room. */
static uint64_t reserve_voice(tmb_scheduler *scheduler, const tmb_voice *voice) {
    if (voice == NULL || tmb_budget_grow(&scheduler->context->budget, voice->bytes, "a voice", NULL) != TMB_OK) {
        return 0;
    }
    return voice->bytes;
}

/* The build is over, well (`error` NULL) or not: its waiters go on or fail. */
static void end_build(tmb_voice_entry *entry, const tmb_error *error) {
    tmb_scheduler *scheduler = entry->scheduler;
    tmb_build *build = entry->build;
    tmb_voice *voice = error == NULL ? tmb_voice_retain(build->voice) : NULL;
    tmb_clean *clean = error == NULL ? tmb_build_take_clean(build, &scheduler->context->budget) : NULL;
    uint64_t reserved = reserve_voice(scheduler, voice);
    (void)pthread_mutex_lock(&scheduler->lock);
    while (entry->waiters != NULL) {
        tmb_item *item = entry->waiters;
        tmb_voice_cache_part(entry, item);
        for (int stage = TMB_STAGE_RESAMPLE_REFERENCE; stage <= TMB_STAGE_SPEECH; stage++) {
            tmb_item_add_seconds(item, (tmb_stage)stage, build->seconds[stage]);
        }
        item->judged = build->judged;
        item->reference = build->info;
        if (error != NULL && !fall_back(scheduler, item, error)) {
            const tmb_error reason = of_reference(item, error);
            end_item(scheduler, item, &reason);
        } else if (error == NULL) {
            item->voice = tmb_voice_retain(voice);
            item->clean = tmb_clean_retain(clean);
            become_ready(scheduler, item);
        }
    }
    if (voice != NULL && reserved == 0 && voice->bytes != 0) {
        tmb_voice_cache_unlist(&scheduler->cache, entry); /* no room to keep it */
    }
    entry->lane->busy--;
    tmb_voice_cache_end(&scheduler->cache, entry, voice, reserved);
    (void)pthread_mutex_unlock(&scheduler->lock);
    tmb_voice_release(&voice);
    tmb_clean_release(&clean);
    tmb_scheduler_wake(scheduler);
}

/* True where nobody waits any more; then the build is over. */
static bool end_if_abandoned(tmb_voice_entry *entry) {
    if (!atomic_load(&entry->abandoned)) {
        return false;
    }
    tmb_error error = {0};
    (void)tmb_fail(&error, TMB_ERROR_CANCELLED, "cancelled");
    end_build(entry, &error);
    return true;
}

static void report_build(tmb_voice_entry *entry, tmb_stage stage, double fraction) {
    tmb_scheduler *scheduler = entry->scheduler;
    (void)pthread_mutex_lock(&scheduler->lock);
    for (tmb_item *item = entry->waiters; item != NULL; item = item->next_waiter) {
        tmb_item_progress(item, stage, fraction);
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
}

static void run_build_resample(void *argument) {
    tmb_voice_entry *entry = argument;
    tmb_error error = {0};
    if (end_if_abandoned(entry)) {
        return;
    }
    if (tmb_build_resample(entry->build, &entry->scheduler->context->logger, &error) != TMB_OK) {
        end_build(entry, &error);
        return;
    }
    report_build(entry, TMB_STAGE_RESAMPLE_REFERENCE, tmb_build_fraction(entry->build));
    tmb_pool_post(entry->scheduler->enhance, &entry->work, run_build_enhance, entry);
}

static void run_build_enhance(void *argument) {
    tmb_voice_entry *entry = argument;
    tmb_error error = {0};
    bool complete = false;
    if (end_if_abandoned(entry)) {
        return;
    }
    if (tmb_build_enhance(entry->build, &complete, &error) != TMB_OK) {
        end_build(entry, &error);
        return;
    }
    report_build(entry, TMB_STAGE_ENHANCE_REFERENCE, tmb_build_fraction(entry->build));
    if (complete) {
        tmb_pool_post(entry->scheduler->encode, &entry->work, run_build_encode, entry);
    } else {
        tmb_pool_post(entry->scheduler->resample, &entry->work, run_build_resample, entry);
    }
}

static void run_build_encode(void *argument) {
    tmb_voice_entry *entry = argument;
    tmb_error error = {0};
    if (end_if_abandoned(entry)) {
        return;
    }
    tmb_status status = tmb_build_voice(entry->build, entry->lane->engine, &error);
    end_build(entry, status == TMB_OK ? NULL : &error);
}

/* ---- What begins next ---- */

/* One of the model's own voices speaks: there is nothing to read. */
static void begin_without_reference(tmb_scheduler *scheduler, tmb_item *item) {
    if (item->operations->own_voices) {
        become_ready(scheduler, item);
        return;
    }
    tmb_error error = {0};
    (void)tmb_fail_field(&error, TMB_ERROR_ARGUMENT, "ref_audio",
                         "the %s engine has no voices of its own: give it a recording or a saved voice",
                         item->operations->name);
    end_item(scheduler, item, &error);
}

/* Whether this item may begin: no group fills the memory with what it prepared ahead. */
static bool may_begin(tmb_fair_entry *entry, void *user) {
    tmb_scheduler *scheduler = user;
    const tmb_options *options = &scheduler->context->options;
    const tmb_item *item = (const tmb_item *)entry;
    size_t ahead = item->lane->max_batch + (size_t)options->resample_workers + (size_t)options->enhance_workers;
    return tmb_lane_may_begin(item->lane) && entry->group->preparing < ahead &&
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
        item->started = tmb_now();
        item->operations = item->lane->engine->operations;
        tmb_lane_began(item->lane);
        if (item->request.source == TMB_SOURCE_NONE) {
            begin_without_reference(scheduler, item);
            continue;
        }
        tmb_scheduler_phase(scheduler, item, TMB_PHASE_READING);
        tmb_pool_post(scheduler->resample, &item->read_work, run_reading, tmb_item_retain(item));
    }
}
