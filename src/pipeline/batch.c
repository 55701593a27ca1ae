/* Stage 3: one lane's continuous batch. On the scheduler's thread. */
#include "pipeline/scheduler_internal.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

/* NULL for an item without stages 4 and 5: the denoiser may be loading for another one meanwhile. */
static tmb_dfn_model *post_denoiser(const tmb_item *item) {
    return item->request.public.run_post_processing ? item->scheduler->denoiser : NULL;
}

/* The scheduler has nothing more to do for an item that was spoken. With the lock held. */
static void leave(tmb_scheduler *scheduler, tmb_item *item) {
    item->entry.group->live--;
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_OVER);
    tmb_scheduler_retire(scheduler, item);
}

/* Takes an item out of the batch. On the scheduler's thread, with the lock held. */
static void leave_batch(tmb_lane *lane, size_t index) {
    tmb_scheduler *scheduler = lane->scheduler;
    tmb_item *item = lane->live[index];
    lane->live[index] = lane->live[--lane->live_count];
    tmb_budget_release(&scheduler->context->budget, item->reserved);
    tmb_budget_release(&scheduler->context->device_budget, item->device_reserved);
    item->reserved = item->device_reserved = 0;
    atomic_store(&item->held, false);
    tmb_finishing_left(item);
    if (!item->request.public.run_post_processing || atomic_load(&item->stop)) {
        leave(scheduler, item);
        return;
    }
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_CLEANING);
    item->next_cleaning = scheduler->cleaning;
    scheduler->cleaning = item;
    scheduler->cleaning_count++;
}

void tmb_scheduler_drop_cleaned(tmb_scheduler *scheduler) {
    tmb_item **link = &scheduler->cleaning;
    while (*link != NULL) {
        tmb_item *item = *link;
        if (tmb_finishing_is_over(item)) {
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

/* Ends the wait of the item that waits for memory; what was granted in the meantime is given back. */
static void withdraw(tmb_lane *lane, tmb_item *item) {
    tmb_context *context = lane->scheduler->context;
    uint64_t bytes = item->ticket.bytes;
    bool waited = false;
    if (item->device_asked) {
        uint64_t device_bytes = item->device_ticket.bytes;
        waited = tmb_budget_withdraw(&context->device_budget, &item->device_ticket);
        if (!waited) {
            tmb_budget_release(&context->device_budget, device_bytes);
        }
        tmb_budget_release(&context->budget, bytes);
        item->device_asked = false;
    } else {
        waited = tmb_budget_withdraw(&context->budget, &item->ticket);
        if (!waited) {
            tmb_budget_release(&context->budget, bytes);
        }
    }
    if (!waited) {
        atomic_store(&lane->admit_granted, false);
    }
    lane->admitting = NULL;
}

static bool is_behind(const tmb_lane *lane, const tmb_item *item) {
    tmb_context *context = lane->scheduler->context;
    return item->device_asked ? tmb_budget_is_behind(&context->device_budget, &item->device_ticket)
                              : tmb_budget_is_behind(&context->budget, &item->ticket);
}

/* Cancels the sequences of items that failed, were cancelled or are late. */
static void drop_stopped(tmb_lane *lane) {
    tmb_scheduler *scheduler = lane->scheduler;
    for (size_t i = lane->live_count; i-- > 0;) {
        tmb_item *item = lane->live[i];
        if (atomic_load(&item->stop)) {
            lane->engine->operations->cancel(lane->engine, item->sequence);
            (void)pthread_mutex_lock(&scheduler->lock);
            leave_batch(lane, i);
            (void)pthread_mutex_unlock(&scheduler->lock);
        }
    }
    tmb_item *item = lane->admitting;
    if (item != NULL && atomic_load(&item->stop)) {
        withdraw(lane, item);
        (void)pthread_mutex_lock(&scheduler->lock);
        tmb_scheduler_phase(scheduler, item, TMB_PHASE_OVER);
        tmb_scheduler_retire(scheduler, item);
        (void)pthread_mutex_unlock(&scheduler->lock);
    }
}

void tmb_lane_withdraw(tmb_lane *lane) {
    tmb_item *item = lane->admitting;
    withdraw(lane, item);
    tmb_scheduler_phase(lane->scheduler, item, TMB_PHASE_READY);
    lane->returned = item;
}

/* Other work comes before what this lane waits to admit, and may wait for the memory of this lane's model. Returns true
 * if the item gave its place up. */
static bool yield_memory(tmb_lane *lane) {
    tmb_scheduler *scheduler = lane->scheduler;
    tmb_item *item = lane->admitting;
    if (scheduler->lane_count < 2 || lane->live_count != 0 || item == NULL || !is_behind(lane, item)) {
        return false;
    }
    (void)pthread_mutex_lock(&scheduler->lock);
    bool yields = tmb_lane_is_in_the_way(lane);
    if (yields) {
        tmb_lane_withdraw(lane);
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
    return yields;
}

static void admission_granted(void *user) {
    tmb_lane *lane = user;
    atomic_store(&lane->admit_granted, true);
    tmb_scheduler_wake(lane->scheduler);
}

/* The next item goes no further than this, in this lane. */
static void refuse(tmb_scheduler *scheduler, tmb_item *item, const tmb_error *error) {
    (void)pthread_mutex_lock(&scheduler->lock);
    if (!tmb_overflow_return(scheduler, item, error)) {
        tmb_prepare_end(scheduler, item, error);
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
}

/* Into the batch, with its memory reserved. */
static void admit(tmb_lane *lane, tmb_item *item) {
    tmb_scheduler *scheduler = lane->scheduler;
    tmb_engine *engine = lane->engine;
    tmb_speak_request request;
    tmb_error error = {0};
    tmb_item_request_speak(&item->request, &request);
    item->reserved = item->sequence_bytes;
    item->device_reserved = item->device_asked ? item->device_ticket.bytes : 0;
    item->device_asked = false;
    item->admitted = tmb_now();
    tmb_finishing_open(item, post_denoiser(item), engine->operations->sample_rate(engine),
                       item->ticket.bytes - item->sequence_bytes, item->whole_bytes);
    tmb_item_add_seconds(item, TMB_STAGE_QUEUED, item->started - item->submitted + item->admitted - item->prepared);
    if (tmb_engine_device_lost(engine)) {
        tmb_registry_unload_lost(&scheduler->context->registry, TMB_MODEL_ENGINE + lane->index);
    }
    tmb_status status = engine->operations->admit(engine, &request, item->preparation.voice, &item->sequence, &error);
    if (status == TMB_ERROR_MEMORY && tmb_room_await(lane, item)) {
        return;
    }
    if (status != TMB_OK) {
        refuse(scheduler, item, &error);
        return;
    }
    (void)pthread_mutex_lock(&scheduler->lock);
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_LIVE);
    item->entry.group->live++;
    lane->live[lane->live_count++] = item;
    (void)pthread_mutex_unlock(&scheduler->lock);
}

/* Bytes of the sequence with the queues and the denoiser behind it; the sequence's alone go into `sequence_bytes`. */
static uint64_t needed_bytes(const tmb_lane *lane, tmb_item *item) {
    tmb_engine *engine = lane->engine;
    tmb_speak_request request;
    tmb_item_request_speak(&item->request, &request);
    item->sequence_bytes = engine->operations->memory_needed(engine, &request, item->preparation.voice);
    return item->sequence_bytes +
           tmb_finishing_bytes(item, post_denoiser(item), engine->operations->sample_rate(engine), &item->whole_bytes);
}

/* Places in use: items in the batch, and spoken items that stages 4 and 5 have not caught up with, beyond the number
 * that the denoiser handles in parallel. Without these, a short request could queue behind a hundred items that wait to
 * be cleaned. */
static size_t taken_places(const tmb_lane *lane) {
    const tmb_scheduler *scheduler = lane->scheduler;
    size_t leaving = (size_t)scheduler->context->options.enhance_workers;
    size_t cleaning = scheduler->cleaning_count;
    return lane->live_count + (cleaning > leaving ? cleaning - leaving : 0);
}

/* The batch's last places are for groups that have nothing in it: otherwise a short request would wait
 * until one of the long items ends. Group 0 means that the caller is alone. */
static bool may_enter(tmb_fair_entry *entry, void *user) {
    const tmb_lane *lane = user;
    const tmb_fair_group *group = entry->group;
    size_t kept = lane->max_batch < 4 ? 0 : (lane->max_batch + 7) / 8;
    return group->id == 0 || group->live == 0 || taken_places(lane) + kept < lane->max_batch;
}

/* Takes the item whose turn it is; NULL if there is none, or if the empty batch still waits for
 * company: then *wait says for how long. */
static tmb_item *next_item(tmb_lane *lane, double *wait) {
    tmb_scheduler *scheduler = lane->scheduler;
    tmb_item *item = NULL;
    double longest = scheduler->context->options.max_batch_wait;
    (void)pthread_mutex_lock(&scheduler->lock);
    if (lane->ready.first != NULL && lane->live_count == 0 && longest > 0 && lane->ready.count < lane->max_batch) {
        double left = ((tmb_item *)lane->ready.first)->prepared + longest - tmb_now();
        if (left > 0) {
            *wait = tmb_scheduler_sooner(*wait, left);
            (void)pthread_mutex_unlock(&scheduler->lock);
            return NULL;
        }
    }
    item = lane->returned;
    lane->returned = NULL;
    if (item == NULL) {
        item = (tmb_item *)tmb_fair_take(&lane->ready, may_enter, lane);
    }
    if (item != NULL) {
        tmb_scheduler_phase(scheduler, item, TMB_PHASE_ADMITTING);
    } else {
        lane->kept_out = lane->ready.count;
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
    return item;
}

/* Reserves the device's memory, behind the host's; false if it was refused or comes later. */
static bool reserve_device(tmb_lane *lane, tmb_item *item) {
    tmb_context *context = lane->scheduler->context;
    tmb_engine *engine = lane->engine;
    tmb_speak_request request;
    tmb_item_request_speak(&item->request, &request);
    uint64_t bytes = engine->operations->device_needed == NULL
                         ? 0
                         : engine->operations->device_needed(engine, &request, item->preparation.voice);
    if (bytes == 0) {
        return true;
    }
    tmb_error error = {0};
    bool now = false;
    tmb_room_restore(lane);
    item->device_ticket = (tmb_ticket){.granted = admission_granted, .user = lane};
    item->device_asked = true;
    if (tmb_budget_request(&context->device_budget, &item->device_ticket, bytes,
                           tmb_registry_device_bytes(&context->registry, lane->index), "this item", &now,
                           &error) != TMB_OK) {
        item->device_asked = false;
        tmb_budget_release(&context->budget, item->ticket.bytes);
        refuse(lane->scheduler, item, &error);
        return false;
    }
    if (!now) {
        lane->admitting = item;
    }
    return now;
}

/* Reserves the memory of an item; returns false if it was refused or must wait. */
static bool reserve_item(tmb_lane *lane, tmb_item *item) {
    tmb_context *context = lane->scheduler->context;
    tmb_error error = {0};
    bool now = false;
    item->ticket = (tmb_ticket){.granted = admission_granted, .user = lane};
    if (tmb_budget_request(&context->budget, &item->ticket, needed_bytes(lane, item),
                           tmb_registry_bytes(&context->registry, lane->index), "this item", &now, &error) != TMB_OK) {
        refuse(lane->scheduler, item, &error);
        return false;
    }
    if (!now) {
        lane->admitting = item;
        return false;
    }
    return reserve_device(lane, item);
}

/* The device was lost, and sequences that were on it have yet to fail: the engine has it again once they have. */
static bool loses_device(const tmb_lane *lane) { return lane->live_count > 0 && tmb_engine_device_lost(lane->engine); }

/* Fills the batch with what waits and fits. */
static void fill_batch(tmb_lane *lane, double *wait) {
    tmb_error error = {0};
    lane->kept_out = 0;
    while (taken_places(lane) < lane->max_batch) {
        if (loses_device(lane)) {
            return; /* an item that comes now would fail with those */
        }
        tmb_item *item = lane->admitting;
        if (item != NULL) {
            if (tmb_room_is_too_small(lane, item, &error)) {
                withdraw(lane, item);
                refuse(lane->scheduler, item, &error);
                continue;
            }
            if (!atomic_exchange(&lane->admit_granted, false)) {
                lane->kept_out = 1;
                return; /* its memory comes first, in order */
            }
            lane->admitting = NULL;
            if (item->device_asked || reserve_device(lane, item)) {
                admit(lane, item);
            }
            continue;
        }
        item = next_item(lane, wait);
        if (item == NULL) {
            return;
        }
        if (reserve_item(lane, item)) {
            admit(lane, item);
        }
    }
    (void)pthread_mutex_lock(&lane->scheduler->lock);
    lane->kept_out = lane->ready.count;
    (void)pthread_mutex_unlock(&lane->scheduler->lock);
}

/* Sequences whose callers are behind are left out until they have caught up; but not from the step in which all fail.
 * Returns how many take part. */
static size_t hold_or_let_go(const tmb_lane *lane) {
    const tmb_engine_operations *operations = lane->engine->operations;
    const bool all = loses_device(lane);
    size_t active = 0;
    for (size_t i = 0; i < lane->live_count; i++) {
        tmb_item *item = lane->live[i];
        bool held = atomic_load(&item->held);
        if (operations->hold != NULL) {
            double limit = held ? TMB_BACKLOG_RESUME : TMB_BACKLOG_HOLD;
            bool hold = !all && tmb_item_backlog(item) > limit;
            if (hold != held) {
                operations->hold(lane->engine, item->sequence, hold);
                atomic_store(&item->held, hold);
                held = hold;
            }
        }
        active += !held;
    }
    return active;
}

/* Since when each held item's listener has taken nothing. */
static void watch_listeners(const tmb_lane *lane, double now) {
    for (size_t i = 0; i < lane->live_count; i++) {
        tmb_item *item = lane->live[i];
        double backlog = atomic_load(&item->held) ? tmb_item_backlog(item) : -1;
        if (backlog < 0 || item->stalled_since <= 0 || backlog < item->stalled_backlog) {
            item->stalled_since = backlog < 0 ? 0 : now;
        }
        item->stalled_backlog = backlog;
    }
}

/* The one whose listener has been still for longest, or NULL. */
static tmb_item *most_stalled(const tmb_lane *lane) {
    tmb_item *longest = NULL;
    for (size_t i = 0; i < lane->live_count; i++) {
        tmb_item *item = lane->live[i];
        const bool candidate = item->stalled_since > 0 && !atomic_load(&item->stop);
        if (candidate && (longest == NULL || item->stalled_since < longest->stalled_since)) {
            longest = item;
        }
    }
    return longest;
}

/* A listener that takes nothing must not keep others out of the batch: if somebody waits for a place, those that have
 * been still for too long lose theirs, the longest first, one for each that waits. *wait: until the next does. */
static void end_stalled(tmb_lane *lane, double *wait) {
    (void)pthread_mutex_lock(&lane->scheduler->lock);
    const double limit = lane->scheduler->stall_seconds;
    (void)pthread_mutex_unlock(&lane->scheduler->lock);
    double now = tmb_now();
    watch_listeners(lane, now);
    for (size_t waiting = lane->kept_out; waiting > 0; waiting--) {
        tmb_item *longest = most_stalled(lane);
        double left = longest != NULL ? longest->stalled_since + limit - now : 0;
        if (longest == NULL || left > 0) {
            *wait = longest != NULL ? tmb_scheduler_sooner(*wait, left) : *wait;
            return;
        }
        tmb_error error = {0};
        (void)tmb_fail(&error, TMB_ERROR_TIMEOUT,
                       "its listener took no audio for %g s while others waited for its place", limit);
        tmb_item_fail(longest, &error);
    }
}

static size_t find_live(const tmb_lane *lane, uint64_t sequence) {
    size_t index = 0;
    while (index < lane->live_count && lane->live[index]->sequence != sequence) {
        index++;
    }
    return index;
}

/* A sequence of the overflow lane failed before it spoke: its item waits for its own lane again. */
static bool go_home(tmb_lane *lane, size_t index, const tmb_error *error) {
    tmb_scheduler *scheduler = lane->scheduler;
    tmb_item *item = lane->live[index];
    (void)pthread_mutex_lock(&scheduler->lock);
    bool returns = tmb_overflow_return(scheduler, item, error);
    if (returns) {
        lane->live[index] = lane->live[--lane->live_count];
        item->entry.group->live--;
        atomic_store(&item->held, false);
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
    if (returns) {
        tmb_scheduler_wake(scheduler);
    }
    return returns;
}

/* The item's share of the device's pool grows with its sequence, if there is room for it now. */
static void grow(tmb_lane *lane, tmb_item *item, tmb_engine_growth *growth) {
    growth->status = tmb_budget_grow(&lane->scheduler->context->device_budget, growth->bytes,
                                     "speech that is longer than was expected", &growth->error);
    item->device_reserved += growth->status == TMB_OK ? growth->bytes : 0;
}

static void take_event(void *user, const tmb_engine_event *event) {
    tmb_lane *lane = user;
    tmb_scheduler *scheduler = lane->scheduler;
    size_t index = find_live(lane, event->sequence);
    if (index == lane->live_count) {
        return;
    }
    tmb_item *item = lane->live[index];
    if (event->kind == TMB_ENGINE_GROWS) {
        grow(lane, item, event->growth);
        return;
    }
    if (event->kind == TMB_ENGINE_FAILED && go_home(lane, index, &event->error)) {
        return;
    }
    if (event->kind == TMB_ENGINE_AUDIO) {
        tmb_finishing_audio(item, event);
    } else if (event->kind == TMB_ENGINE_FINISHED) {
        tmb_finishing_end(item, event);
    } else {
        tmb_item_fail(item, &event->error);
    }
    (void)pthread_mutex_lock(&scheduler->lock);
    scheduler->audio_seconds += (double)event->sample_count / item->finishing.engine_rate;
    if (event->kind != TMB_ENGINE_AUDIO) {
        leave_batch(lane, index);
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
}

size_t tmb_lane_fill(tmb_lane *lane, double *wait) {
    drop_stopped(lane);
    if (yield_memory(lane)) {
        tmb_scheduler_wake(lane->scheduler); /* the model may go now */
        return 0;
    }
    fill_batch(lane, wait);
    size_t active = hold_or_let_go(lane);
    end_stalled(lane, wait);
    return active;
}

void tmb_lane_step(tmb_lane *lane, bool hurried) {
    tmb_scheduler *scheduler = lane->scheduler;
    tmb_error error = {0};
    size_t live = 0;
    (void)pthread_mutex_lock(&scheduler->lock);
    scheduler->steps++;
    scheduler->sequences += lane->active;
    (void)pthread_mutex_unlock(&scheduler->lock);
    if (lane->engine->operations->hurry != NULL) {
        lane->engine->operations->hurry(lane->engine, hurried);
    }
    tmb_status status = lane->engine->operations->step(lane->engine, take_event, lane, &live, &error);
    if (status != TMB_OK) {
        tmb_log(&scheduler->context->logger, TMB_LOG_ERROR, "the engine failed: %s", error.message);
        for (size_t i = 0; i < lane->live_count; i++) {
            tmb_item_fail(lane->live[i], &error);
        }
    }
}
