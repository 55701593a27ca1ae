#include "worker/worker_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A shortage that nobody saw for so long was over in between. */
static const double shortage_gap_seconds = 60;

static void wake(tmb_worker *worker) {
    (void)pthread_mutex_lock(&worker->lock);
    worker->awake = true;
    (void)pthread_cond_broadcast(&worker->changed);
    (void)pthread_mutex_unlock(&worker->lock);
}

static void rest(tmb_worker *worker) { worker->rest_until = tmb_now() + worker->options.rest_seconds; }

void tmb_worker_ended(tmb_worker_run *run, tmb_work_end end) {
    tmb_worker *worker = run->worker;
    (void)pthread_mutex_lock(&worker->lock);
    run->ended = true;
    run->end = end;
    worker->awake = true;
    (void)pthread_cond_broadcast(&worker->changed);
    (void)pthread_mutex_unlock(&worker->lock);
}

/* With the lock held. */
void tmb_worker_cancel(tmb_worker_run *run) {
    run->cancelled = true;
    if (run->waiting && !run->ended) {
        run->ended = true;
        run->end = TMB_WORK_CANCELLED;
        run->worker->awake = true;
        (void)pthread_cond_broadcast(&run->worker->changed);
    } else if (run->started && !run->ended) {
        run->worker->trade.cancel(run->worker->trade.user, run->state);
    }
}

/* ---- Storing what ended ---------------------------------------------------------------------- */

/* Whether the disk has been full for longer than anybody should wait. */
static bool is_full_for_long(tmb_worker *worker) {
    double now = tmb_now();
    if (worker->full_since <= 0 || now - worker->full_seen > shortage_gap_seconds) {
        worker->full_since = now;
    }
    worker->full_seen = now;
    return now - worker->full_since >= worker->options.full_seconds;
}

static void fail(tmb_worker_run *run, const char *problem) {
    run->end = TMB_WORK_FAILED;
    run->problem = problem;
}

/* The audio comes into the store before the result that names it. TMB_STORE_BUSY and the like: not now. */
static tmb_store_status store_audio(tmb_worker_run *run) {
    tmb_worker *worker = run->worker;
    const char *path = worker->trade.audio(worker->trade.user, run->state, &run->audio);
    if (path == NULL) {
        return TMB_STORE_OK;
    }
    if (worker->audio_waits) {
        return TMB_STORE_BUSY;
    }
    tmb_store_status status = tmb_store_result_adopt(worker->store, path, &run->audio);
    worker->audio_waits = status == TMB_STORE_BUSY;
    bool refused = status == TMB_STORE_NO_SPACE || status == TMB_STORE_FAILED;
    if (refused && is_full_for_long(worker)) {
        (void)unlink(path); /* what it leaves is room for the text that says so */
        fail(run, status == TMB_STORE_NO_SPACE ? "There is no room left for the audio"
                                               : "The audio cannot be stored: the worker's log says why");
        return TMB_STORE_OK;
    }
    if (status == TMB_STORE_NOT_FOUND) {
        fail(run, "Internal Error");
        return TMB_STORE_OK;
    }
    run->has_audio = status == TMB_STORE_OK;
    return status;
}

static tmb_store_status store_result(tmb_worker_run *run) {
    tmb_worker *worker = run->worker;
    tmb_store_status status = run->end == TMB_WORK_DONE && !run->has_audio ? store_audio(run) : TMB_STORE_OK;
    if (status != TMB_STORE_OK) {
        return status;
    }
    bool done = run->end == TMB_WORK_DONE;
    char *text = worker->trade.describe(worker->trade.user, run->state, done && run->has_audio ? &run->audio : NULL,
                                        run->problem);
    if (text == NULL) {
        fail(run, "Internal Error");
        return TMB_STORE_BUSY;
    }
    status = tmb_store_item_finish(worker->store, &run->delivery, done ? TMB_ITEM_DONE : TMB_ITEM_FAILED, text,
                                   done && run->has_audio ? run->audio.id : NULL);
    free(text);
    if (status == TMB_STORE_DAMAGED) { /* somebody removed the audio: it is spoken again */
        run->end = TMB_WORK_LATER;
        run->has_audio = false;
    }
    if (status == TMB_STORE_NOT_FOUND && run->has_audio) {
        (void)tmb_store_file_remove(worker->store, run->audio.id);
    }
    if (status == TMB_STORE_OK && done) {
        worker->full_since = 0;
    }
    return status;
}

/* Stores or gives back an item that ended. Whatever cannot be written stays as it is, for later. */
static tmb_store_status settle(tmb_worker_run *run) {
    tmb_worker *worker = run->worker;
    if (run->end == TMB_WORK_NO_ROOM) {
        if (is_full_for_long(worker)) {
            fail(run, NULL);
        } else {
            run->end = TMB_WORK_LATER;
        }
    }
    if (run->end == TMB_WORK_NO_MEMORY) {
        if (run->alone) {
            fail(run, NULL);
        } else {
            run->end = TMB_WORK_LATER; /* the worker ends: another tries it */
        }
    }
    if (run->end == TMB_WORK_ELSEWHERE) {
        if (tmb_store_is_shared(worker->store) && run->delivery.returned + 1 < worker->options.max_deliveries) {
            rest(worker);
            return tmb_store_item_give_back(worker->store, &run->delivery, true);
        }
        fail(run, NULL);
    }
    if (run->end == TMB_WORK_TOO_LARGE) {
        tmb_store_status status = tmb_store_item_pass_on(worker->store, &run->delivery, worker->options.memory);
        if (status != TMB_STORE_FULL) {
            return status;
        }
        fail(run, NULL);
    }
    if (run->end == TMB_WORK_DONE || run->end == TMB_WORK_FAILED) {
        return store_result(run);
    }
    if (run->end == TMB_WORK_LATER) {
        rest(worker);
    }
    return tmb_store_item_give_back(worker->store, &run->delivery, false);
}

static void remove_run(tmb_worker_run *gone) {
    tmb_worker *worker = gone->worker;
    (void)pthread_mutex_lock(&worker->lock);
    for (tmb_worker_run **at = &worker->runs; *at != NULL; at = &(*at)->next) {
        if (*at == gone) {
            *at = gone->next;
            break;
        }
    }
    (void)pthread_mutex_unlock(&worker->lock);
    /* First, with its temporary file: whoever sees nothing running may end the process. */
    if (gone->started) {
        worker->trade.release(worker->trade.user, gone->state);
    }
    free(gone->delivery.request);
    free(gone);
    (void)pthread_mutex_lock(&worker->lock);
    worker->running--;
    worker->awake = true;
    (void)pthread_cond_broadcast(&worker->changed);
    (void)pthread_mutex_unlock(&worker->lock);
}

static bool has_ended(tmb_worker_run *run) {
    (void)pthread_mutex_lock(&run->worker->lock);
    bool ended = run->ended;
    (void)pthread_mutex_unlock(&run->worker->lock);
    return ended;
}

static tmb_worker_run *next_ended(tmb_worker *worker) {
    (void)pthread_mutex_lock(&worker->lock);
    tmb_worker_run *run = worker->runs;
    while (run != NULL && !run->ended) {
        run = run->next;
    }
    (void)pthread_mutex_unlock(&worker->lock);
    return run;
}

/* What others had may be what it lacked: it waits until it is alone, and begins again. */
static void begin_again_alone(tmb_worker_run *run) {
    tmb_worker *worker = run->worker;
    void *state = run->state;
    (void)pthread_mutex_lock(&worker->lock);
    run->started = false;
    run->state = NULL;
    run->alone = run->waiting = true;
    run->ended = run->cancelled;
    run->end = TMB_WORK_CANCELLED;
    (void)pthread_mutex_unlock(&worker->lock);
    worker->trade.release(worker->trade.user, state);
    rest(worker);
}

/* False: something could not be written, and is tried again after a rest. One result that has to wait holds up no
 * other. */
static bool settle_ended(tmb_worker *worker) {
    bool all = true;
    tmb_worker_run *next = NULL;
    worker->audio_waits = false;
    for (tmb_worker_run *run = worker->runs; run != NULL; run = next) { /* only this thread changes the list */
        next = run->next;
        if (!has_ended(run)) {
            continue;
        }
        if (run->end == TMB_WORK_NO_MEMORY && !run->alone) {
            begin_again_alone(run);
            continue;
        }
        tmb_store_status status = settle(run);
        if (status != TMB_STORE_OK && status != TMB_STORE_NOT_FOUND) {
            tmb_log(worker->options.logger, TMB_LOG_WARNING,
                    "the result of job %s item %zu cannot be stored now; it is tried again", run->delivery.job,
                    run->delivery.position);
            rest(worker);
            all = false;
        } else {
            remove_run(run);
        }
    }
    return all;
}

/* ---- Taking ---------------------------------------------------------------------------------- */

static void start(tmb_worker *worker, tmb_worker_run *run) {
    void *state = NULL;
    if (worker->options.started != NULL) {
        atomic_fetch_add(worker->options.started, 1);
    }
    worker->trade.start(worker->trade.user, run, &run->delivery, &state);
    (void)pthread_mutex_lock(&worker->lock);
    run->state = state;
    run->started = true;
    if (run->cancelled) {
        tmb_worker_cancel(run);
    }
    (void)pthread_mutex_unlock(&worker->lock);
}

/* `taken`: when it was asked for. */
static void add_run(tmb_worker *worker, tmb_worker_run *run, double taken) {
    (void)pthread_mutex_lock(&worker->lock);
    worker->renewed = worker->runs == NULL ? taken : worker->renewed;
    run->next = worker->runs;
    worker->runs = run;
    worker->running++;
    (void)pthread_cond_broadcast(&worker->changed); /* it has a lease */
    (void)pthread_mutex_unlock(&worker->lock);
}

/* An item that has lost a worker runs alone: if it was to blame, it takes nobody else down with it again, and if
 * another was, it is not counted as if it had been. True: there is one, and nothing else is taken. */
static bool attend_to_alone(tmb_worker *worker) {
    tmb_worker_run *next = NULL;
    bool some = false;
    bool busy = false;
    (void)pthread_mutex_lock(&worker->lock);
    for (tmb_worker_run *run = worker->runs; run != NULL; run = run->next) {
        some = some || run->alone;
        busy = busy || !run->waiting;
        next = run->waiting && !run->ended ? run : next; /* the oldest */
    }
    bool ready = next != NULL && !busy;
    if (ready) {
        next->waiting = false;
    }
    (void)pthread_mutex_unlock(&worker->lock);
    if (ready) {
        start(worker, next);
    }
    return some;
}

/* An item that took down everybody who ran it is not run again. If it cannot be buried now, that is done after its
 * lease. */
static void bury(tmb_worker_run *run) {
    tmb_worker *worker = run->worker;
    char reason[128];
    (void)snprintf(reason, sizeof reason, "%u workers died, or were stuck, while they ran this item",
                   run->delivery.attempts);
    char *text = worker->trade.describe_dead(worker->trade.user, &run->delivery, reason);
    if (text != NULL) {
        (void)tmb_store_item_bury(worker->store, &run->delivery, text, reason);
        tmb_log(worker->options.logger, TMB_LOG_ERROR, "job %s item %zu is a dead letter: %s", run->delivery.job,
                run->delivery.position, reason);
    }
    free(text);
    free(run->delivery.request);
    free(run);
}

/* Whether there is room for one more item, and for which. */
static bool may_take(tmb_worker *worker, tmb_taking *how) {
    (void)pthread_mutex_lock(&worker->lock);
    size_t most = worker->options.capacity + worker->options.call_capacity;
    /* After a pause of the machine the leases of what runs may be over: it would take its own items again. */
    worker->overdue = worker->runs != NULL && tmb_now() - worker->renewed > worker->options.lease_seconds * 2 / 3;
    bool room = !worker->draining && !worker->stopping && !worker->late && !worker->overdue && worker->running < most;
    *how = (tmb_taking){.after_job = worker->last_job,
                        .lease_seconds = worker->options.lease_seconds,
                        .calls_only = worker->running >= worker->options.capacity,
                        .idle = worker->running == 0};
    (void)pthread_mutex_unlock(&worker->lock);
    if (!room || tmb_now() < worker->rest_until) {
        return false;
    }
    double wait = worker->trade.wait != NULL ? worker->trade.wait(worker->trade.user) : 0;
    if (wait > 0) {
        worker->look_at = tmb_now() + wait;
    }
    return wait <= 0;
}

/* Takes and starts items while there is room. */
static void take_some(tmb_worker *worker) {
    tmb_taking how;
    while (!attend_to_alone(worker) && may_take(worker, &how)) {
        tmb_worker_run *run = tmb_calloc(1, sizeof *run);
        double asked = tmb_now();
        tmb_store_status status =
            run != NULL ? tmb_store_item_take(worker->store, &how, &run->delivery) : TMB_STORE_BUSY;
        if (status != TMB_STORE_OK) {
            double again = run != NULL ? run->delivery.again_seconds : 0;
            worker->look_at = status == TMB_STORE_NOT_FOUND && again > 0 ? tmb_now() + again : 0;
            free(run);
            if (status != TMB_STORE_NOT_FOUND) {
                rest(worker);
            }
            return;
        }
        run->worker = worker;
        worker->last_job = run->delivery.job_number;
        if (worker->options.max_deliveries && run->delivery.attempts >= worker->options.max_deliveries) {
            bury(run);
            continue;
        }
        run->alone = run->waiting = run->delivery.attempts > 0;
        add_run(worker, run, asked);
        if (!run->alone) {
            start(worker, run);
        }
    }
}

/* ---- The thread ------------------------------------------------------------------------------ */

/* Until something changed or the time for something came. True: the worker stops. */
static bool wait_for_work(tmb_worker *worker) {
    double now = tmb_now();
    (void)pthread_mutex_lock(&worker->lock);
    double wait = worker->rest_until - now;
    if (wait <= 0) {
        double look = worker->options.look_seconds > 0 ? worker->options.look_seconds : -1;
        if (worker->look_at > 0) {
            look = worker->look_at > now ? worker->look_at - now : 0;
            worker->look_at = 0;
        }
        wait = look;
    } else {
        worker->awake = false; /* what woke it waits for the end of the rest too */
    }
    struct timespec until = tmb_deadline(wait);
    while (!worker->awake && !worker->stopping) {
        if (wait < 0) {
            (void)pthread_cond_wait(&worker->changed, &worker->lock);
        } else if (pthread_cond_timedwait(&worker->changed, &worker->lock, &until) == ETIMEDOUT) {
            break;
        }
    }
    worker->awake = false;
    bool stopping = worker->stopping;
    (void)pthread_mutex_unlock(&worker->lock);
    return stopping;
}

static void cancel_all(tmb_worker *worker) {
    (void)pthread_mutex_lock(&worker->lock);
    for (tmb_worker_run *run = worker->runs; run != NULL; run = run->next) {
        tmb_worker_cancel(run);
    }
    (void)pthread_mutex_unlock(&worker->lock);
}

/* Everything ends. What cannot be stored even now runs again after the next start. */
static void wind_up(tmb_worker *worker) {
    cancel_all(worker);
    for (;;) {
        tmb_worker_run *run = next_ended(worker);
        if (run != NULL) {
            worker->audio_waits = false;
            (void)settle(run);
            remove_run(run);
            continue;
        }
        (void)pthread_mutex_lock(&worker->lock);
        bool over = worker->runs == NULL;
        while (!over && !worker->awake) {
            (void)pthread_cond_wait(&worker->changed, &worker->lock);
        }
        worker->awake = false;
        (void)pthread_mutex_unlock(&worker->lock);
        if (over) {
            return;
        }
    }
}

static void *main_loop(void *argument) {
    tmb_worker *worker = argument;
    (void)pthread_setname_np(pthread_self(), "tmb-jobs");
    do {
        /* After a rest too, whatever woke it: results first, then new work. */
        if (tmb_now() >= worker->rest_until && settle_ended(worker)) {
            take_some(worker);
        }
    } while (!wait_for_work(worker));
    wind_up(worker);
    return NULL;
}

/* ---- From other threads ------------------------------------------------------------------------ */

static void on_event(void *user, tmb_job_event event, const char *job) {
    tmb_worker *worker = user;
    if (event == TMB_JOB_WORK) {
        wake(worker);
        return;
    }
    (void)pthread_mutex_lock(&worker->lock);
    for (tmb_worker_run *run = worker->runs; run != NULL; run = run->next) {
        if (!run->cancelled && strcmp(run->delivery.job, job) == 0) {
            tmb_worker_cancel(run);
        }
    }
    (void)pthread_mutex_unlock(&worker->lock);
}

tmb_status tmb_worker_start(tmb_store *store, const tmb_worker_trade *trade, const tmb_worker_options *options,
                            tmb_worker **out, tmb_error *error) {
    *out = NULL;
    tmb_worker *worker = tmb_calloc(1, sizeof *worker);
    if (worker == NULL) {
        return tmb_fail_memory(error, "the worker", sizeof *worker);
    }
    worker->store = store;
    worker->trade = *trade;
    worker->options = *options;
    (void)pthread_mutex_init(&worker->lock, NULL);
    tmb_condition_init(&worker->changed);
    bool renews = tmb_worker_renew_start(worker);
    if (!renews || pthread_create(&worker->thread, NULL, main_loop, worker)) {
        if (renews) {
            tmb_worker_renew_stop(worker);
        }
        (void)pthread_mutex_destroy(&worker->lock);
        (void)pthread_cond_destroy(&worker->changed);
        free(worker);
        return tmb_fail(error, TMB_ERROR_MEMORY, "cannot start the worker's thread");
    }
    tmb_store_watch(store, on_event, worker);
    wake(worker); /* for what was added before it watched */
    *out = worker;
    return TMB_OK;
}

void tmb_worker_drain(tmb_worker *worker) {
    if (worker == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&worker->lock);
    worker->draining = true;
    (void)pthread_mutex_unlock(&worker->lock);
}

size_t tmb_worker_running(tmb_worker *worker) {
    if (worker == NULL) {
        return 0;
    }
    (void)pthread_mutex_lock(&worker->lock);
    size_t running = worker->running;
    (void)pthread_mutex_unlock(&worker->lock);
    return running;
}

void tmb_worker_stop(tmb_worker **worker) {
    tmb_worker *ending = *worker;
    *worker = NULL;
    if (ending == NULL) {
        return;
    }
    tmb_store_watch(ending->store, NULL, NULL);
    (void)pthread_mutex_lock(&ending->lock);
    ending->stopping = true;
    (void)pthread_cond_broadcast(&ending->changed);
    (void)pthread_mutex_unlock(&ending->lock);
    (void)pthread_join(ending->thread, NULL);
    tmb_worker_renew_stop(ending); /* what ends late keeps its lease until it has */
    (void)pthread_mutex_destroy(&ending->lock);
    (void)pthread_cond_destroy(&ending->changed);
    free(ending);
}
