/* Items in phase BUILDING: a voice is built once for all that wait for it, by one task at a time on the pools of stages
 * 1 and 2, the transcription's and the encoders'. */
#include "pipeline/scheduler_internal.h"

#include "base/error.h"

static void run_build_enhance(void *argument);
static void run_build_transcribe(void *argument);
static void run_build_encode(void *argument);

/* Keeps the voice's memory in the budget while the cache has it; 0 if there is no room. */
static uint64_t reserve_voice(tmb_scheduler *scheduler, const tmb_voice *voice) {
    if (voice == NULL || tmb_budget_grow(&scheduler->context->budget, voice->bytes, "a voice", NULL) != TMB_OK) {
        return 0;
    }
    return voice->bytes;
}

/* Ends the build. On success (`error` NULL) the items that wait for it go on; otherwise they fail. */
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
        item->preparation.judged = build->judged;
        item->preparation.reference = build->info;
        if (error == NULL) {
            item->preparation.voice = tmb_voice_retain(voice);
            item->preparation.clean = tmb_clean_retain(clean);
            tmb_prepare_ready(scheduler, item);
        } else if (!tmb_overflow_return(scheduler, item, error)) {
            tmb_prepare_reference_failed(scheduler, item, error);
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

/* True if nobody waits any more; then the build is over. */
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
    for (tmb_item *item = entry->waiters; item != NULL; item = item->preparation.next_waiter) {
        tmb_item_progress(item, stage, fraction);
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
}

/* The reference is as the engine hears it: what is missing is its transcript, or the encoders. */
static void post_encoding(tmb_voice_entry *entry) {
    tmb_scheduler *scheduler = entry->scheduler;
    if (entry->build->transcribes) {
        tmb_pool_post(scheduler->transcribe, &entry->work, run_build_transcribe, entry);
    } else {
        tmb_pool_post(scheduler->encode, &entry->work, run_build_encode, entry);
    }
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
        post_encoding(entry);
    } else {
        tmb_pool_post(entry->scheduler->resample, &entry->work, run_build_resample, entry);
    }
}

static void run_build_transcribe(void *argument) {
    tmb_voice_entry *entry = argument;
    tmb_scheduler *scheduler = entry->scheduler;
    if (end_if_abandoned(entry)) {
        return;
    }
    const tmb_transcriber transcriber = tmb_context_transcriber(scheduler->context);
    tmb_build_transcribe(entry->build, &transcriber, &scheduler->context->logger, &entry->abandoned);
    if (entry->build->untranscribed[0] != '\0') {
        (void)pthread_mutex_lock(&scheduler->lock);
        tmb_voice_cache_unlist(&scheduler->cache, entry); /* the next one asks again */
        (void)pthread_mutex_unlock(&scheduler->lock);
    }
    tmb_pool_post(scheduler->encode, &entry->work, run_build_encode, entry);
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

tmb_status tmb_prepare_build(tmb_scheduler *scheduler, tmb_item *item, tmb_error *error) {
    tmb_build *build = NULL;
    tmb_status status =
        tmb_build_create(&item->preparation.reading, &item->request, tmb_prepare_denoiser(item), &build, error);
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
        post_encoding(entry);
    }
    return TMB_OK;
}
