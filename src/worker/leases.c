#include "base/thread.h"
#include "worker/worker_internal.h"

#include <string.h>

/* With the lock held. Only the worker's thread takes runs out of the list and frees them, under the lock: so each is
 * looked for anew. */
static tmb_worker_run *find(const tmb_worker *worker, const tmb_delivery *delivery) {
    for (tmb_worker_run *run = worker->runs; run != NULL; run = run->next) {
        if (run->delivery.number == delivery->number && run->delivery.position == delivery->position &&
            strcmp(run->delivery.job, delivery->job) == 0) {
            return run;
        }
    }
    return NULL;
}

/* False: all have had their turn in this round. */
static bool next_in_turn(tmb_worker *worker, unsigned round, tmb_delivery *delivery) {
    (void)pthread_mutex_lock(&worker->lock);
    tmb_worker_run *run = worker->runs;
    while (run != NULL && run->round == round) {
        run = run->next;
    }
    if (run != NULL) {
        run->round = round;
        *delivery = run->delivery;
        delivery->request = NULL; /* it may be gone before this is used */
    }
    (void)pthread_mutex_unlock(&worker->lock);
    return run != NULL;
}

static void give_up(tmb_worker *worker, const tmb_delivery *delivery) {
    (void)pthread_mutex_lock(&worker->lock);
    tmb_worker_run *run = find(worker, delivery);
    if (run != NULL) {
        tmb_worker_cancel(run);
    }
    (void)pthread_mutex_unlock(&worker->lock);
}

/* False: one could not be renewed now. */
static bool renew_all(tmb_worker *worker, unsigned round) {
    tmb_delivery delivery;
    while (next_in_turn(worker, round, &delivery)) {
        tmb_store_status status = tmb_store_item_renew(worker->store, &delivery, worker->options.lease_seconds);
        if (status == TMB_STORE_NOT_FOUND) {
            give_up(worker, &delivery);
        } else if (status != TMB_STORE_OK) {
            return false;
        }
    }
    return true;
}

static void *loop(void *argument) {
    tmb_worker *worker = argument;
    const double every = worker->options.lease_seconds / 3;
    const double soon = worker->options.rest_seconds < every ? worker->options.rest_seconds : every;
    double due = 0;
    unsigned round = 0;
    (void)pthread_setname_np(pthread_self(), "tmb-lease");
    (void)pthread_mutex_lock(&worker->lock);
    while (!worker->ended) {
        double left = due - tmb_now();
        if (worker->runs == NULL && !worker->late) {
            (void)pthread_cond_wait(&worker->changed, &worker->lock);
            due = worker->renewed + every;
        } else if (left > 0) {
            struct timespec until = tmb_deadline(left);
            (void)pthread_cond_timedwait(&worker->changed, &worker->lock, &until);
        } else {
            double begin = tmb_now();
            (void)pthread_mutex_unlock(&worker->lock);
            bool good = renew_all(worker, ++round);
            (void)pthread_mutex_lock(&worker->lock);
            due = tmb_now() + (good ? every : soon);
            worker->awake = worker->awake || worker->late == good || (good && worker->overdue);
            worker->late = !good;
            if (good) {
                worker->renewed = begin;
                worker->overdue = false;
            }
            (void)pthread_cond_broadcast(&worker->changed);
        }
    }
    (void)pthread_mutex_unlock(&worker->lock);
    return NULL;
}

bool tmb_worker_renew_start(tmb_worker *worker) { return pthread_create(&worker->renewer, NULL, loop, worker) == 0; }

void tmb_worker_renew_stop(tmb_worker *worker) {
    (void)pthread_mutex_lock(&worker->lock);
    worker->ended = true;
    (void)pthread_cond_broadcast(&worker->changed);
    (void)pthread_mutex_unlock(&worker->lock);
    (void)pthread_join(worker->renewer, NULL);
}
