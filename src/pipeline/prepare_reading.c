/* An item in phase READING: its reference is read, by one task at a time on the pool of stage 1. */
#include "pipeline/scheduler_internal.h"

#include "base/checked.h"
#include "base/error.h"

#include <stdio.h>

/* How long a reference is taken to be whose header does not tell. */
#define ASSUMED_SECONDS 60

static void run_reading(void *argument);

/* The task of a reading item ends: `error` NULL if the item was stopped. */
static void end_reading(tmb_item *item, const tmb_error *error) {
    tmb_scheduler *scheduler = item->scheduler;
    tmb_reading_close(&item->preparation.reading);
    (void)pthread_mutex_lock(&scheduler->lock);
    if (error != NULL) {
        tmb_prepare_reference_failed(scheduler, item, error);
    } else {
        tmb_prepare_end(scheduler, item, &item->preparation.stop_error);
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
    tmb_item_release(&item);
    tmb_scheduler_wake(scheduler);
}

tmb_dfn_model *tmb_prepare_denoiser(const tmb_item *item) {
    return tmb_item_request_cleans_reference(&item->request) ? item->scheduler->denoiser : NULL;
}

static void reading_granted(void *user) {
    tmb_item *item = user;
    tmb_pool_post(item->scheduler->resample, &item->preparation.work, run_reading, item);
}

/* What stages 1 and 2 and the engine's encoders take for a reference. */
static uint64_t reference_bytes(const tmb_item *item, uint64_t samples, int rate) {
    tmb_engine *engine = item->lane->engine;
    uint64_t bytes = tmb_build_bytes(tmb_prepare_denoiser(item), samples, rate);
    if (item->preparation.reading.info.channels > 1) { /* a channel is kept in addition to their mix */
        bytes += samples * sizeof(float);
    }
    uint64_t encoding =
        engine->operations->prepare_memory == NULL || item->request.source == TMB_SOURCE_VOICE
            ? 0
            : engine->operations->prepare_memory(engine, samples, rate, tmb_item_request_x_vector_only(&item->request));
    if (item->request.transcribes && !tmb_add_u64(bytes, tmb_build_transcribe_bytes(samples, rate), &bytes)) {
        return UINT64_MAX;
    }
    return tmb_add_u64(bytes, encoding, &bytes) ? bytes : UINT64_MAX;
}

static tmb_status open_reading(tmb_item *item, tmb_error *error) {
    const tmb_options *options = &item->scheduler->context->options;
    tmb_audio_limits limits = {.max_seconds = options->max_input_seconds,
                               .max_bytes = options->max_input_bytes,
                               .salvage = item->request.public.salvage,
                               .no_ffmpeg = options->no_ffmpeg};
    item->preparation.open = true;
    return tmb_reading_open(&item->preparation.reading, &item->request, &limits, &item->preparation.samples, error);
}

/* Reserves what stages 1 and 2 will take. *now false: the ticket goes on with it. */
static tmb_status reserve_reading(tmb_item *item, bool *now, tmb_error *error) {
    tmb_context *context = item->scheduler->context;
    int rate = item->preparation.reading.rate != 0 ? item->preparation.reading.rate : 1;
    uint64_t samples = item->preparation.samples != 0 ? item->preparation.samples : (uint64_t)rate * ASSUMED_SECONDS;
    item->preparation.asked = true;
    item->ticket.granted = reading_granted;
    item->ticket.user = item;
    item->reserved = reference_bytes(item, samples, rate);
    uint64_t bytes = item->reserved;
    tmb_status status =
        tmb_budget_request(&context->budget, &item->ticket, bytes,
                           tmb_registry_bytes(&context->registry, item->lane->index), "the reference", now, error);
    if (status != TMB_OK) {
        item->reserved = 0;
    }
    return status;
}

/* A reference may be longer than its header says. */
static tmb_status cover_reading(tmb_item *item, tmb_error *error) {
    if (item->preparation.reading.count == 0) {
        return TMB_OK;
    }
    uint64_t bytes = reference_bytes(item, item->preparation.reading.count, item->preparation.reading.rate);
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

/* The reference is known: its voice is there, or being built, or must be built. */
static void find_voice(tmb_item *item) {
    tmb_scheduler *scheduler = item->scheduler;
    tmb_error error = {0};
    tmb_status status = TMB_OK;
    bool pre = tmb_prepare_denoiser(item) != NULL;
    bool found = false;
    (void)pthread_mutex_lock(&scheduler->lock);
    if (atomic_load(&item->stop)) {
        (void)pthread_mutex_unlock(&scheduler->lock);
        end_reading(item, NULL);
        return;
    }
    tmb_voice_entry *entry = tmb_voice_cache_find(&scheduler->cache, &item->preparation.reading.key);
    if (entry == NULL) {
        status = tmb_prepare_build(scheduler, item, &error);
    } else if (entry->voice == NULL) {
        tmb_voice_cache_join(entry, item);
        tmb_scheduler_phase(scheduler, item, TMB_PHASE_BUILDING);
    } else {
        found = true;
        item->preparation.judged = entry->judged;
        item->preparation.reference = entry->info;
        item->preparation.voice = tmb_voice_retain(entry->voice);
        tmb_prepare_ready(scheduler, item);
    }
    uint64_t reserved = status == TMB_OK ? item->reserved : 0;
    item->reserved -= reserved;
    if (status == TMB_OK) { /* behind the lock a build that fails may have let the item begin again */
        tmb_reading_close(&item->preparation.reading);
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
    if (status != TMB_OK) {
        end_reading(item, &error);
        return;
    }
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
    if (!item->preparation.open) {
        status = open_reading(item, &error);
    }
    if (status == TMB_OK && !item->preparation.asked) {
        status = reserve_reading(item, &now, &error);
        if (status == TMB_OK && !now) {
            return; /* the ticket has the task's reference */
        }
    }
    if (status == TMB_OK) {
        status = tmb_reading_step(&item->preparation.reading, &item->request, lane_name(item->lane, name), &complete,
                                  &error);
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
        tmb_pool_post(scheduler->resample, &item->preparation.work, run_reading, item);
    }
}

void tmb_prepare_forget(tmb_item *item) {
    tmb_item_preparation *preparation = &item->preparation;
    tmb_reading_close(&preparation->reading);
    preparation->reading = (tmb_reading){0};
    preparation->open = preparation->asked = false;
}

bool tmb_prepare_give_way(tmb_scheduler *scheduler, tmb_item *item) {
    if (!tmb_budget_withdraw(&scheduler->context->budget, &item->ticket)) {
        return false; /* it is being read, or will be in this instant */
    }
    tmb_item *task = item;
    item->reserved = 0;
    item->preparation.asked = false;
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_WAITING);
    tmb_fair_return(&scheduler->waiting, &item->entry);
    tmb_item_release(&task);
    return true;
}

void tmb_prepare_read(tmb_scheduler *scheduler, tmb_item *item) {
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_READING);
    tmb_pool_post(scheduler->resample, &item->preparation.work, run_reading, tmb_item_retain(item));
}
