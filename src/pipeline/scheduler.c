#include "pipeline/scheduler_internal.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Threads for callbacks that block; more callbacks than that wait for each other. */
#define MAX_CALLBACK_THREADS 512

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

/* The earlier of two waits, negative = for ever. */
static double sooner(double a, double b) { return a < 0 ? b : b < 0 ? a : a < b ? a : b; }

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

/* An item whose result was given and that the batch has let go is forgotten. With the lock held. */
static void retire(tmb_scheduler *scheduler, tmb_item *item) {
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

tmb_engine *tmb_scheduler_account(tmb_scheduler *scheduler, const tmb_item *item) {
    (void)pthread_mutex_lock(&scheduler->lock);
    if (item->voice_sink == NULL) {
        bool cancelled = item->failed && item->failure.status == TMB_ERROR_CANCELLED;
        scheduler->finished += !item->failed;
        scheduler->cancelled += cancelled;
        scheduler->failed += item->failed && !cancelled;
    }
    tmb_engine *engine = scheduler->engine;
    (void)pthread_mutex_unlock(&scheduler->lock);
    return engine;
}

void tmb_scheduler_delivered(tmb_scheduler *scheduler, tmb_item *item) {
    (void)pthread_mutex_lock(&scheduler->lock);
    item->delivered = true;
    retire(scheduler, item);
    (void)pthread_mutex_unlock(&scheduler->lock);
}

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
    item->phase = TMB_PHASE_WAITING;
    item->next = scheduler->items;
    if (item->next != NULL) {
        item->next->previous = item;
    }
    scheduler->items = item;
    scheduler->item_count++;
    scheduler->queued++;
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
    for (tmb_item *item = scheduler->items; item != NULL; item = item->next) {
        tmb_scheduler_stop(scheduler, item, &error);
    }
}

/* Stops what is late; returns the seconds until the next deadline, or -1. With the lock held. */
static double check_deadlines(tmb_scheduler *scheduler) {
    double now = tmb_now();
    double next = -1;
    for (tmb_item *item = scheduler->items; item != NULL; item = item->next) {
        if (item->deadline_at == 0 || atomic_load(&item->stop)) {
            continue;
        }
        double left = item->deadline_at - now;
        if (left > 0) {
            next = sooner(next, left);
            continue;
        }
        tmb_error error = {0};
        (void)tmb_fail(&error, TMB_ERROR_TIMEOUT, "not done within its deadline of %g s",
                       item->request.public.deadline);
        tmb_scheduler_stop(scheduler, item, &error);
    }
    return next;
}

/* ---- Stage 3 ---- */

/* The scheduler has nothing more to do for an item that was spoken. With the lock held. */
static void leave(tmb_scheduler *scheduler, tmb_item *item) {
    item->entry.group->live--;
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_OVER);
    retire(scheduler, item);
}

/* Takes an item out of the batch. On the scheduler's thread, with the lock held. */
static void leave_batch(tmb_scheduler *scheduler, size_t index) {
    tmb_item *item = scheduler->live[index];
    scheduler->live[index] = scheduler->live[--scheduler->live_count];
    tmb_budget_release(&scheduler->context->budget, item->reserved);
    item->reserved = 0;
    atomic_store(&item->held, false);
    (void)pthread_mutex_lock(&item->lock);
    if (!item->input_complete) { /* stopped or failed: else tmb_item_finished counted it, before the result left */
        item->seconds[TMB_STAGE_SPEECH] += tmb_now() - item->admitted;
    }
    (void)pthread_mutex_unlock(&item->lock);
    if (!item->request.public.run_post_processing || atomic_load(&item->stop)) {
        leave(scheduler, item);
        return;
    }
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_CLEANING);
    item->next_cleaning = scheduler->cleaning;
    scheduler->cleaning = item;
    scheduler->cleaning_count++;
}

static bool is_through(tmb_item *item) {
    (void)pthread_mutex_lock(&item->lock);
    bool through = item->complete || item->failed;
    (void)pthread_mutex_unlock(&item->lock);
    return through;
}

/* Lets items go that stages 4 and 5 are through with. */
static void drop_cleaned(tmb_scheduler *scheduler) {
    tmb_item **link = &scheduler->cleaning;
    while (*link != NULL) {
        tmb_item *item = *link;
        if (is_through(item)) {
            *link = item->next_cleaning;
            (void)pthread_mutex_lock(&scheduler->lock);
            scheduler->cleaning_count--;
            leave(scheduler, item);
            (void)pthread_mutex_unlock(&scheduler->lock);
        } else {
            link = &item->next_cleaning;
        }
    }
}

/* Cancels the sequences of items that failed, were cancelled or are late. */
static void drop_stopped(tmb_scheduler *scheduler) {
    for (size_t i = scheduler->live_count; i-- > 0;) {
        tmb_item *item = scheduler->live[i];
        if (atomic_load(&item->stop)) {
            scheduler->engine->operations->cancel(scheduler->engine, item->sequence);
            (void)pthread_mutex_lock(&scheduler->lock);
            leave_batch(scheduler, i);
            (void)pthread_mutex_unlock(&scheduler->lock);
        }
    }
    tmb_item *item = scheduler->admitting;
    if (item != NULL && atomic_load(&item->stop)) {
        uint64_t bytes = item->ticket.bytes;
        if (!tmb_budget_withdraw(&scheduler->context->budget, &item->ticket)) {
            tmb_budget_release(&scheduler->context->budget, bytes);
            atomic_store(&scheduler->admit_granted, false);
        }
        scheduler->admitting = NULL;
        (void)pthread_mutex_lock(&scheduler->lock);
        tmb_scheduler_phase(scheduler, item, TMB_PHASE_OVER);
        retire(scheduler, item);
        (void)pthread_mutex_unlock(&scheduler->lock);
    }
}

static void admission_granted(void *user) {
    tmb_scheduler *scheduler = user;
    atomic_store(&scheduler->admit_granted, true);
    tmb_scheduler_wake(scheduler);
}

/* The next item goes no further than this. */
static void refuse(tmb_scheduler *scheduler, tmb_item *item, const tmb_error *error) {
    (void)pthread_mutex_lock(&scheduler->lock);
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_OVER);
    tmb_item_fail(item, error);
    (void)pthread_mutex_unlock(&scheduler->lock);
}

/* Into the batch, with its memory reserved. */
static void admit(tmb_scheduler *scheduler, tmb_item *item) {
    tmb_engine *engine = scheduler->engine;
    tmb_speak_request request;
    tmb_error error = {0};
    tmb_request_speak(&item->request, &request);
    item->reserved = item->sequence_bytes;
    item->admitted = tmb_now();
    tmb_item_open_speech(item, engine->operations->sample_rate(engine), item->ticket.bytes - item->sequence_bytes);
    tmb_item_add_seconds(item, TMB_STAGE_QUEUED, item->started - item->submitted + item->admitted - item->prepared);
    tmb_status status = engine->operations->admit(engine, &request, item->voice, &item->sequence, &error);
    if (status != TMB_OK) {
        refuse(scheduler, item, &error);
        return;
    }
    (void)pthread_mutex_lock(&scheduler->lock);
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_LIVE);
    item->entry.group->live++;
    scheduler->live[scheduler->live_count++] = item;
    (void)pthread_mutex_unlock(&scheduler->lock);
}

/* Of the sequence alone, and with the queues and the denoiser behind it. */
static uint64_t needed_bytes(tmb_scheduler *scheduler, tmb_item *item) {
    tmb_engine *engine = scheduler->engine;
    tmb_speak_request request;
    tmb_request_speak(&item->request, &request);
    item->sequence_bytes = engine->operations->memory_needed(engine, &request, item->voice);
    return item->sequence_bytes + tmb_item_post_bytes(item, engine->operations->sample_rate(engine));
}

/* Places that are taken: by who is spoken, and by who was spoken faster than stages 4 and 5 can clean. Else a
 * hundred items would leave stage 3 at once and a short request would be one of a hundred behind it. As many as
 * the denoiser takes at a time are on their way out. */
static size_t taken_places(const tmb_scheduler *scheduler) {
    size_t leaving = (size_t)scheduler->context->options.enhance_workers;
    size_t cleaning = scheduler->cleaning_count;
    return scheduler->live_count + (cleaning > leaving ? cleaning - leaving : 0);
}

/* The batch's last places are for groups that have nothing in it: a short request beside a hundred long items
 * would else wait until one of them ends. Group 0 is a caller with nobody beside it. */
static bool may_enter(tmb_fair_entry *entry, void *user) {
    const tmb_scheduler *scheduler = user;
    const tmb_fair_group *group = entry->group;
    size_t kept = scheduler->max_batch < 4 ? 0 : (scheduler->max_batch + 7) / 8;
    return group->id == 0 || group->live == 0 || taken_places(scheduler) + kept < scheduler->max_batch;
}

/* Takes the item whose turn it is; NULL where there is none, or where the empty batch still waits for
 * company: then *wait says for how long. */
static tmb_item *next_item(tmb_scheduler *scheduler, double *wait) {
    tmb_item *item = NULL;
    double longest = scheduler->context->options.max_batch_wait;
    (void)pthread_mutex_lock(&scheduler->lock);
    if (scheduler->ready.first != NULL && scheduler->live_count == 0 && longest > 0 &&
        scheduler->ready.count < scheduler->max_batch) {
        double left = ((tmb_item *)scheduler->ready.first)->prepared + longest - tmb_now();
        if (left > 0) {
            *wait = sooner(*wait, left);
            (void)pthread_mutex_unlock(&scheduler->lock);
            return NULL;
        }
    }
    item = (tmb_item *)tmb_fair_take(&scheduler->ready, may_enter, scheduler);
    if (item != NULL) {
        tmb_scheduler_phase(scheduler, item, TMB_PHASE_ADMITTING);
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
    return item;
}

/* Reserves the memory of an item; false where it was refused or comes later. */
static bool reserve_item(tmb_scheduler *scheduler, tmb_item *item) {
    tmb_context *context = scheduler->context;
    tmb_error error = {0};
    bool now = false;
    item->ticket = (tmb_ticket){.granted = admission_granted, .user = scheduler};
    if (tmb_budget_request(&context->budget, &item->ticket, needed_bytes(scheduler, item),
                           tmb_registry_bytes(&context->registry), "this item", &now, &error) != TMB_OK) {
        refuse(scheduler, item, &error);
        return false;
    }
    if (!now) {
        scheduler->admitting = item;
    }
    return now;
}

/* Fills the batch with what waits and fits. */
static void fill_batch(tmb_scheduler *scheduler, double *wait) {
    while (taken_places(scheduler) < scheduler->max_batch) {
        tmb_item *item = scheduler->admitting;
        if (item != NULL) {
            if (!atomic_exchange(&scheduler->admit_granted, false)) {
                return; /* its memory comes first, in order */
            }
            scheduler->admitting = NULL;
            admit(scheduler, item);
            continue;
        }
        item = next_item(scheduler, wait);
        if (item == NULL) {
            return;
        }
        if (reserve_item(scheduler, item)) {
            admit(scheduler, item);
        }
    }
}

/* Sequences whose callers are behind are left out until they have caught up. Returns how many take part. */
static size_t hold_or_let_go(tmb_scheduler *scheduler) {
    const tmb_engine_operations *operations = scheduler->engine->operations;
    size_t active = 0;
    for (size_t i = 0; i < scheduler->live_count; i++) {
        tmb_item *item = scheduler->live[i];
        bool held = atomic_load(&item->held);
        if (operations->hold != NULL) {
            double limit = held ? TMB_BACKLOG_RESUME : TMB_BACKLOG_HOLD;
            bool hold = tmb_item_backlog(item) > limit;
            if (hold != held) {
                operations->hold(scheduler->engine, item->sequence, hold);
                atomic_store(&item->held, hold);
                held = hold;
            }
        }
        active += !held;
    }
    return active;
}

static size_t find_live(const tmb_scheduler *scheduler, uint64_t sequence) {
    size_t index = 0;
    while (index < scheduler->live_count && scheduler->live[index]->sequence != sequence) {
        index++;
    }
    return index;
}

static void take_event(void *user, const tmb_engine_event *event) {
    tmb_scheduler *scheduler = user;
    size_t index = find_live(scheduler, event->sequence);
    if (index == scheduler->live_count) {
        return;
    }
    tmb_item *item = scheduler->live[index];
    if (event->kind == TMB_ENGINE_AUDIO) {
        tmb_item_audio(item, event);
    } else if (event->kind == TMB_ENGINE_FINISHED) {
        tmb_item_finished(item, event);
    } else {
        tmb_item_fail(item, &event->error);
    }
    (void)pthread_mutex_lock(&scheduler->lock);
    scheduler->audio_seconds += (double)event->sample_count / item->engine_rate;
    if (event->kind != TMB_ENGINE_AUDIO) {
        leave_batch(scheduler, index);
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
}

static void step(tmb_scheduler *scheduler, size_t active) {
    tmb_error error = {0};
    size_t live = 0;
    (void)pthread_mutex_lock(&scheduler->lock);
    scheduler->steps++;
    scheduler->sequences += active;
    (void)pthread_mutex_unlock(&scheduler->lock);
    tmb_status status = scheduler->engine->operations->step(scheduler->engine, take_event, scheduler, &live, &error);
    if (status != TMB_OK) {
        tmb_log(&scheduler->context->logger, TMB_LOG_ERROR, "the engine failed: %s", error.message);
        for (size_t i = 0; i < scheduler->live_count; i++) {
            tmb_item_fail(scheduler->live[i], &error);
        }
    }
}

/* ---- The thread ---- */

/* Without items the models are nobody's, so that they can be unloaded. With the lock held. */
static void let_models_go(tmb_scheduler *scheduler) {
    if (scheduler->item_count != 0) {
        return;
    }
    if (scheduler->engine_state == TMB_USE_READY) {
        scheduler->engine_state = TMB_USE_NONE;
        scheduler->engine = NULL;
        tmb_registry_done(&scheduler->context->registry, TMB_MODEL_ENGINE);
    }
    if (scheduler->denoiser_state == TMB_USE_READY) {
        scheduler->denoiser_state = TMB_USE_NONE;
        scheduler->denoiser = NULL;
        tmb_registry_done(&scheduler->context->registry, TMB_MODEL_DENOISER);
    }
}

static double unload_idle(tmb_scheduler *scheduler) {
    double after = scheduler->context->options.idle_unload;
    if (after <= 0) {
        return -1;
    }
    double left = tmb_registry_unload(&scheduler->context->registry, after);
    /* Streams that end use the denoiser without telling this thread. */
    return left < 0 ? after : left;
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
        let_models_go(scheduler);
        bool speak = scheduler->engine_state == TMB_USE_READY;
        bool over = scheduler->closing && scheduler->item_count == 0 && scheduler->engine_state == TMB_USE_NONE &&
                    scheduler->denoiser_state == TMB_USE_NONE && scheduler->cache.builds == 0;
        (void)pthread_mutex_unlock(&scheduler->lock);
        if (over) {
            return NULL;
        }
        size_t active = 0;
        if (speak) {
            drop_stopped(scheduler);
            drop_cleaned(scheduler);
            fill_batch(scheduler, &wait);
            active = hold_or_let_go(scheduler);
        }
        tmb_budget_retry(&scheduler->context->budget);
        if (active != 0) {
            step(scheduler, active);
        } else {
            sleep_until_woken(scheduler, sooner(wait, unload_idle(scheduler)));
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
    if (status == TMB_OK) {
        status = tmb_pool_create_elastic("tmb-callback", 1, MAX_CALLBACK_THREADS, &scheduler->deliver, error);
    }
    return status;
}

static void free_scheduler(tmb_scheduler *scheduler) {
    tmb_pool_destroy(&scheduler->resample);
    tmb_pool_destroy(&scheduler->enhance);
    tmb_pool_destroy(&scheduler->encode);
    tmb_pool_destroy(&scheduler->deliver);
    tmb_voice_cache_clear(&scheduler->cache);
    (void)pthread_cond_destroy(&scheduler->idle);
    (void)pthread_mutex_destroy(&scheduler->lock);
    (void)pthread_cond_destroy(&scheduler->wake);
    (void)pthread_mutex_destroy(&scheduler->wake_lock);
    free(scheduler);
}

tmb_status tmb_scheduler_create(tmb_context *context, tmb_scheduler **out, tmb_error *error) {
    *out = NULL;
    tmb_scheduler *scheduler = tmb_calloc(1, sizeof *scheduler);
    if (scheduler == NULL) {
        return tmb_fail_memory(error, "the scheduler", sizeof *scheduler);
    }
    scheduler->context = context;
    scheduler->waiting.kind = TMB_FAIR_PREPARE;
    scheduler->ready.kind = TMB_FAIR_SPEAK;
    scheduler->cache.maximum = context->options.voice_cache_entries;
    scheduler->cache.budget = &context->budget;
    (void)pthread_mutex_init(&scheduler->lock, NULL);
    (void)pthread_cond_init(&scheduler->idle, NULL);
    (void)pthread_mutex_init(&scheduler->wake_lock, NULL);
    tmb_condition_init(&scheduler->wake);
    tmb_status status = create_pools(scheduler, &context->options, error);
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
        if (item->phase == TMB_PHASE_READY) {
            tmb_clean_release(&item->clean);
        }
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
}

void tmb_scheduler_count(tmb_scheduler *scheduler, tmb_statistics *out) {
    (void)pthread_mutex_lock(&scheduler->lock);
    out->queued_items = scheduler->queued;
    out->live_sequences = scheduler->live_count;
    out->finished_items = scheduler->finished;
    out->failed_items = scheduler->failed;
    out->cancelled_items = scheduler->cancelled;
    out->batch_steps = scheduler->steps;
    out->batch_sequences = scheduler->sequences;
    out->audio_seconds = scheduler->audio_seconds;
    (void)pthread_mutex_unlock(&scheduler->lock);
}
