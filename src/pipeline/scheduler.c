#include "pipeline/scheduler_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "pipeline/route.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Threads for callbacks that block; more callbacks than that wait for each other. */
#define MAX_CALLBACK_THREADS 512
/* Recordings that the transcription service is given at once. */
#define TRANSCRIBING 2

/* ---- Waking and sleeping ---- */

void tmb_scheduler_wake(tmb_scheduler *scheduler) {
    (void)pthread_mutex_lock(&scheduler->wake_lock);
    scheduler->woken = true;
    (void)pthread_cond_signal(&scheduler->wake);
    (void)pthread_mutex_unlock(&scheduler->wake_lock);
}

/* Until it is woken, or `seconds` have passed (negative: however long). */
static void sleep_until_woken(tmb_scheduler *scheduler, double seconds) {
    const struct timespec until = tmb_deadline(seconds > 3600 ? 3600 : seconds);
    (void)pthread_mutex_lock(&scheduler->wake_lock);
    while (!scheduler->woken) {
        if (seconds < 0) {
            (void)pthread_cond_wait(&scheduler->wake, &scheduler->wake_lock);
        } else if (pthread_cond_timedwait(&scheduler->wake, &scheduler->wake_lock, &until) == ETIMEDOUT) {
            break;
        }
    }
    scheduler->woken = false;
    (void)pthread_mutex_unlock(&scheduler->wake_lock);
}

double tmb_scheduler_sooner(double a, double b) { return a < 0 ? b : b < 0 ? a : a < b ? a : b; }

/* ---- Items ---- */

static void unlink_item(tmb_scheduler *scheduler, tmb_item *item) {
    if (item->previous != NULL) {
        item->previous->next = item->next;
    } else {
        scheduler->items = item->next;
    }
    if (item->next != NULL) {
        item->next->previous = item->previous;
    }
    item->previous = item->next = NULL;
}

void tmb_scheduler_retire(tmb_scheduler *scheduler, tmb_item *item) {
    if (!item->delivered || item->phase != TMB_PHASE_OVER) {
        return;
    }
    unlink_item(scheduler, item);
    tmb_fair_leave(&scheduler->groups, item->entry.group);
    item->entry.group = NULL;
    if (--scheduler->item_count == 0) {
        (void)pthread_cond_broadcast(&scheduler->idle);
    }
    tmb_item_release(&item);
    tmb_scheduler_wake(scheduler);
}

/* ---- Events of items ---- */

/* Counts before the caller hears of it: his look at the statistics finds it. */
static void count_result(tmb_scheduler *scheduler, const tmb_item *item) {
    (void)pthread_mutex_lock(&scheduler->lock);
    if (item->voice_sink == NULL) {
        bool cancelled = item->failed && item->failure.status == TMB_ERROR_CANCELLED;
        scheduler->finished += !item->failed;
        item->lane->finished += !item->failed;
        scheduler->cancelled += cancelled;
        scheduler->failed += item->failed && !cancelled;
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
}

static void note_delivered(tmb_scheduler *scheduler, tmb_item *item) {
    (void)pthread_mutex_lock(&scheduler->lock);
    item->delivered = true;
    tmb_scheduler_retire(scheduler, item);
    (void)pthread_mutex_unlock(&scheduler->lock);
}

/* NULL for an item of the overflow lane: a speech server says nothing of its models. */
static const char *model_name(const tmb_item *item) {
    tmb_context *context = item->scheduler->context;
    if (item->lane == item->scheduler->overflow) {
        return NULL;
    }
    const tmb_model_description *description = NULL;
    return tmb_model_describe(context, item->lane->index, &description, NULL) == TMB_OK ? description->name : NULL;
}

/* ---- What callers do ---- */

const tmb_item_host *tmb_scheduler_host(const tmb_scheduler *scheduler) { return &scheduler->host; }

tmb_status tmb_scheduler_submit(tmb_scheduler *scheduler, tmb_item *item, uint64_t *number, tmb_error *error) {
    size_t most = scheduler->context->options.max_queued;
    tmb_status status = TMB_OK;
    (void)pthread_mutex_lock(&scheduler->lock);
    if (scheduler->closing) {
        status = tmb_fail(error, TMB_ERROR_CANCELLED, "the context is being closed");
    } else if (scheduler->queued >= most) {
        status = tmb_fail(error, TMB_ERROR_LIMIT, "the queue is full: %zu items wait; try again later", most);
    } else {
        item->entry.group = tmb_fair_join(&scheduler->groups, item->request.public.group);
        if (item->entry.group == NULL) {
            status = tmb_fail_memory(error, "an item", 0);
        }
    }
    if (status != TMB_OK) {
        (void)pthread_mutex_unlock(&scheduler->lock);
        tmb_item_release(&item);
        return status;
    }
    item->number = ++scheduler->last_number;
    if (number != NULL) {
        *number = item->number;
    }
    tmb_scheduler_enter(scheduler, item);
    item->next = scheduler->items;
    if (item->next != NULL) {
        item->next->previous = item;
    }
    scheduler->items = item;
    scheduler->item_count++;
    tmb_fair_push(&scheduler->waiting, &item->entry);
    (void)pthread_mutex_unlock(&scheduler->lock);
    tmb_scheduler_wake(scheduler);
    return TMB_OK;
}

void tmb_scheduler_cancel(tmb_scheduler *scheduler, uint64_t number) {
    tmb_error error = {0};
    (void)tmb_fail(&error, TMB_ERROR_CANCELLED, "cancelled");
    (void)pthread_mutex_lock(&scheduler->lock);
    for (tmb_item *item = scheduler->items; item != NULL; item = item->next) {
        if (item->number == number) {
            tmb_scheduler_stop(scheduler, item, &error);
            break;
        }
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
    tmb_scheduler_wake(scheduler);
}

void tmb_scheduler_wait(tmb_scheduler *scheduler) {
    (void)pthread_mutex_lock(&scheduler->lock);
    while (scheduler->item_count != 0) {
        (void)pthread_cond_wait(&scheduler->idle, &scheduler->lock);
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
}

/* Stops every item. With the lock held. */
static void stop_all(tmb_scheduler *scheduler) {
    tmb_error error = {0};
    (void)tmb_fail(&error, TMB_ERROR_CANCELLED, "cancelled: the context was closed");
    for (tmb_item *item = scheduler->items, *next = NULL; item != NULL; item = next) {
        next = item->next;
        tmb_scheduler_stop(scheduler, item, &error);
    }
}

/* Stops what is late; returns the seconds until the next deadline, or -1. With the lock held. */
static double check_deadlines(tmb_scheduler *scheduler) {
    double now = tmb_now();
    double next = -1;
    for (tmb_item *item = scheduler->items, *behind = NULL; item != NULL; item = behind) {
        behind = item->next;
        if (item->deadline_at == 0 || atomic_load(&item->stop)) {
            continue;
        }
        double left = item->deadline_at - now;
        if (left > 0) {
            next = tmb_scheduler_sooner(next, left);
            continue;
        }
        tmb_error error = {0};
        (void)tmb_fail(&error, TMB_ERROR_TIMEOUT, "not done within its deadline of %g s",
                       item->request.public.deadline);
        tmb_scheduler_stop(scheduler, item, &error);
    }
    return next;
}

/* ---- The thread ---- */

static double unload_idle(tmb_scheduler *scheduler) {
    double after = scheduler->context->options.idle_unload;
    if (after <= 0) {
        return -1;
    }
    double left = tmb_registry_unload(&scheduler->context->registry, after);
    /* Streams that end use the denoiser without telling this thread. */
    return left < 0 ? after : left;
}

/* Nothing is under way. With the lock held. */
static bool is_idle(const tmb_scheduler *scheduler) {
    bool idle = scheduler->item_count == 0 && scheduler->denoiser_state == TMB_USE_NONE && scheduler->cache.builds == 0;
    for (size_t i = 0; i < scheduler->lane_count; i++) {
        idle &= scheduler->lanes[i].state == TMB_USE_NONE;
    }
    return idle;
}

/* A frame of every lane that has its model and something to say; returns false if there is none. */
static bool speak(tmb_scheduler *scheduler, double *wait) {
    size_t speaking = 0;
    for (size_t i = 0; i < scheduler->lane_count; i++) {
        tmb_lane *lane = &scheduler->lanes[i];
        (void)pthread_mutex_lock(&scheduler->lock);
        bool ready = lane->state == TMB_USE_READY;
        (void)pthread_mutex_unlock(&scheduler->lock);
        lane->active = ready ? tmb_lane_fill(lane, wait) : 0;
        speaking += lane->active != 0;
    }
    for (size_t i = 0; i < scheduler->lane_count; i++) {
        if (scheduler->lanes[i].active != 0) {
            tmb_lane_step(&scheduler->lanes[i], speaking > 1);
        }
    }
    return speaking != 0;
}

static void *scheduler_main(void *argument) {
    tmb_scheduler *scheduler = argument;
    (void)tmb_denormals_flush();
    (void)pthread_setname_np(pthread_self(), "tmb-scheduler");
    for (;;) {
        (void)pthread_mutex_lock(&scheduler->lock);
        if (scheduler->closing) {
            stop_all(scheduler);
        }
        double wait = check_deadlines(scheduler);
        tmb_scheduler_prepare(scheduler);
        tmb_lanes_let_go(scheduler);
        bool over = scheduler->closing && is_idle(scheduler);
        (void)pthread_mutex_unlock(&scheduler->lock);
        if (over) {
            return NULL;
        }
        tmb_scheduler_drop_cleaned(scheduler);
        bool stepped = speak(scheduler, &wait);
        tmb_budget_retry(&scheduler->context->budget);
        tmb_budget_retry(&scheduler->context->device_budget);
        if (!stepped) {
            sleep_until_woken(scheduler, tmb_scheduler_sooner(wait, unload_idle(scheduler)));
        }
    }
}

/* ---- Life ---- */

static tmb_status create_pools(tmb_scheduler *scheduler, const tmb_options *options, tmb_error *error) {
    tmb_status status = tmb_pool_create("tmb-resample", options->resample_workers, 0, &scheduler->resample, error);
    if (status == TMB_OK) {
        status = tmb_pool_create("tmb-enhance", options->enhance_workers, 0, &scheduler->enhance, error);
    }
    if (status == TMB_OK) {
        status = tmb_pool_create("tmb-encode", 1, 0, &scheduler->encode, error);
    }
    if (status == TMB_OK && options->transcribe_url != NULL) {
        status = tmb_pool_create("tmb-transcribe", TRANSCRIBING, 0, &scheduler->transcribe, error);
    }
    if (status == TMB_OK) {
        status = tmb_pool_create_elastic("tmb-callback", 1, MAX_CALLBACK_THREADS, &scheduler->deliver, error);
    }
    return status;
}

static void free_scheduler(tmb_scheduler *scheduler) {
    tmb_pool_destroy(&scheduler->resample);
    tmb_pool_destroy(&scheduler->enhance);
    tmb_pool_destroy(&scheduler->transcribe);
    tmb_pool_destroy(&scheduler->encode);
    tmb_pool_destroy(&scheduler->deliver);
    tmb_voice_cache_clear(&scheduler->cache);
    (void)pthread_cond_destroy(&scheduler->idle);
    (void)pthread_mutex_destroy(&scheduler->lock);
    (void)pthread_cond_destroy(&scheduler->wake);
    (void)pthread_mutex_destroy(&scheduler->wake_lock);
    free(scheduler->lanes);
    free(scheduler);
}

static tmb_status create_lanes(tmb_scheduler *scheduler, size_t count, tmb_error *error) {
    scheduler->lanes = tmb_calloc(count, sizeof *scheduler->lanes);
    if (scheduler->lanes == NULL) {
        return tmb_fail_memory(error, "the scheduler", count * sizeof *scheduler->lanes);
    }
    scheduler->lane_count = count;
    scheduler->overflow = scheduler->context->options.overflow ? &scheduler->lanes[count - 1] : NULL;
    for (size_t i = 0; i < count; i++) {
        scheduler->lanes[i].scheduler = scheduler;
        scheduler->lanes[i].index = i;
        scheduler->lanes[i].ready.kind = TMB_FAIR_SPEAK;
    }
    return TMB_OK;
}

tmb_status tmb_scheduler_create(tmb_context *context, tmb_scheduler **out, tmb_error *error) {
    *out = NULL;
    tmb_scheduler *scheduler = tmb_calloc(1, sizeof *scheduler);
    if (scheduler == NULL) {
        return tmb_fail_memory(error, "the scheduler", sizeof *scheduler);
    }
    scheduler->context = context;
    scheduler->stall_seconds = TMB_STALL_SECONDS;
    scheduler->waiting.kind = TMB_FAIR_PREPARE;
    scheduler->cache.maximum = context->options.voice_cache_entries;
    scheduler->cache.budget = &context->budget;
    (void)pthread_mutex_init(&scheduler->lock, NULL);
    (void)pthread_cond_init(&scheduler->idle, NULL);
    (void)pthread_mutex_init(&scheduler->wake_lock, NULL);
    tmb_condition_init(&scheduler->wake);
    tmb_status status = create_lanes(scheduler, tmb_context_engines(context), error);
    if (status == TMB_OK) {
        status = create_pools(scheduler, &context->options, error);
    }
    scheduler->host = (tmb_item_host){.budget = &context->budget,
                                      .device_budget = &context->device_budget,
                                      .logger = &context->logger,
                                      .resample = scheduler->resample,
                                      .enhance = scheduler->enhance,
                                      .deliver = scheduler->deliver,
                                      .news = tmb_scheduler_wake,
                                      .result = count_result,
                                      .delivered = note_delivered,
                                      .model_name = model_name};
    if (status == TMB_OK && pthread_create(&scheduler->thread, NULL, scheduler_main, scheduler) != 0) {
        status = tmb_fail(error, TMB_ERROR_MEMORY, "the system refused to start the scheduler's thread");
    }
    if (status != TMB_OK) {
        free_scheduler(scheduler);
        return status;
    }
    *out = scheduler;
    return TMB_OK;
}

void tmb_scheduler_destroy(tmb_scheduler **scheduler_address) {
    tmb_scheduler *scheduler = *scheduler_address;
    if (scheduler == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&scheduler->lock);
    scheduler->closing = true;
    (void)pthread_mutex_unlock(&scheduler->lock);
    tmb_scheduler_wake(scheduler);
    (void)pthread_join(scheduler->thread, NULL);
    *scheduler_address = NULL;
    free_scheduler(scheduler);
}

void tmb_scheduler_reclaim(tmb_scheduler *scheduler) {
    (void)pthread_mutex_lock(&scheduler->lock);
    tmb_voice_cache_clear(&scheduler->cache);
    for (tmb_item *item = scheduler->items; item != NULL; item = item->next) {
        /* Also of one that waits for memory itself: it would wait for its own. */
        if (item->phase == TMB_PHASE_READY || item->phase == TMB_PHASE_ADMITTING) {
            tmb_clean_release(&item->preparation.clean);
        }
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
}

void tmb_scheduler_count(tmb_scheduler *scheduler, tmb_statistics *out) {
    (void)pthread_mutex_lock(&scheduler->lock);
    out->queued_items = scheduler->queued;
    for (size_t i = 0; i < scheduler->lane_count; i++) {
        out->live_sequences += scheduler->lanes[i].live_count;
    }
    out->finished_items = scheduler->finished;
    out->failed_items = scheduler->failed;
    out->cancelled_items = scheduler->cancelled;
    out->batch_steps = scheduler->steps;
    out->batch_sequences = scheduler->sequences;
    out->audio_seconds = scheduler->audio_seconds;
    (void)pthread_mutex_unlock(&scheduler->lock);
}

void tmb_scheduler_count_lane(tmb_scheduler *scheduler, size_t lane, tmb_model_statistics *out) {
    (void)pthread_mutex_lock(&scheduler->lock);
    out->queued_items = scheduler->lanes[lane].pending;
    out->live_sequences = scheduler->lanes[lane].live_count;
    out->finished_items = scheduler->lanes[lane].finished;
    (void)pthread_mutex_unlock(&scheduler->lock);
}

tmb_lane *tmb_scheduler_lane(tmb_scheduler *scheduler, size_t index) { return &scheduler->lanes[index]; }
