#include "base/thread.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Seconds that a thread beyond the least number stays idle before it ends. */
#define IDLE_SECONDS 5

struct tmb_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;  /* a task was queued, or the pool closes */
    pthread_cond_t space; /* a task was taken from the queue */
    pthread_cond_t ends;  /* a thread ends */
    tmb_work *first, *last;
    size_t queued, queue_limit;
    int running; /* threads in a task */
    int threads, least, most;
    bool closing;
    bool has_ended;
    pthread_t ended; /* the thread that ended last; whoever ends next joins it */
    char name[16];
};

/* Waits for work; false when this thread is to end. Called and left with the lock held. */
static bool await_work(tmb_pool *pool) {
    while (pool->first == NULL && !pool->closing) {
        if (pool->threads <= pool->least) {
            (void)pthread_cond_wait(&pool->work, &pool->lock);
            continue;
        }
        const struct timespec deadline = tmb_deadline(IDLE_SECONDS);
        if (pthread_cond_timedwait(&pool->work, &pool->lock, &deadline) == ETIMEDOUT && pool->first == NULL &&
            pool->threads > pool->least) {
            return false;
        }
    }
    return pool->first != NULL;
}

static tmb_work *take_work(tmb_pool *pool) {
    tmb_work *work = pool->first;
    pool->first = work->next;
    if (pool->first == NULL) {
        pool->last = NULL;
    }
    work->next = NULL;
    pool->queued--;
    return work;
}

static void *worker_main(void *argument) {
    tmb_pool *pool = argument;
    (void)tmb_denormals_flush();
    (void)pthread_setname_np(pthread_self(), pool->name);
    (void)pthread_mutex_lock(&pool->lock);
    while (await_work(pool)) {
        tmb_work *work = take_work(pool);
        pool->running++;
        (void)pthread_cond_signal(&pool->space);
        (void)pthread_mutex_unlock(&pool->lock);
        /* Read before the task runs: it may free `work` or post it again. */
        bool owned = work->owned;
        work->task(work->argument);
        if (owned) {
            free(work);
        }
        (void)pthread_mutex_lock(&pool->lock);
        pool->running--;
    }
    bool join = pool->has_ended;
    pthread_t previous = pool->ended;
    pool->has_ended = true;
    pool->ended = pthread_self();
    pool->threads--;
    (void)pthread_cond_broadcast(&pool->ends);
    (void)pthread_mutex_unlock(&pool->lock);
    if (join) {
        (void)pthread_join(previous, NULL);
    }
    return NULL;
}

/* With the lock held. */
static bool start_thread(tmb_pool *pool) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, worker_main, pool) != 0) {
        return false;
    }
    pool->threads++;
    return true;
}

static tmb_status create(const char *name, int least, int most, size_t queue_limit, tmb_pool **out, tmb_error *error) {
    *out = NULL;
    if (least < 1 || most < least || most > 4096) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s: %d workers asked for, 1 to 4096 are possible", name, most);
    }
    tmb_pool *pool = tmb_calloc(1, sizeof *pool);
    if (pool == NULL) {
        return tmb_fail_memory(error, "a worker pool", 0);
    }
    pool->queue_limit = queue_limit;
    pool->least = least;
    pool->most = most;
    (void)snprintf(pool->name, sizeof pool->name, "%s", name);
    (void)pthread_mutex_init(&pool->lock, NULL);
    tmb_condition_init(&pool->work);
    (void)pthread_cond_init(&pool->space, NULL);
    (void)pthread_cond_init(&pool->ends, NULL);
    bool started = true;
    (void)pthread_mutex_lock(&pool->lock);
    while (started && pool->threads < least) {
        started = start_thread(pool);
    }
    int threads = pool->threads;
    (void)pthread_mutex_unlock(&pool->lock);
    if (!started) {
        tmb_pool_destroy(&pool);
        return tmb_fail(error, TMB_ERROR_MEMORY, "%s: the system refused to start a thread (%d of %d)", name,
                        threads + 1, least);
    }
    *out = pool;
    return TMB_OK;
}

tmb_status tmb_pool_create(const char *name, int workers, size_t queue_limit, tmb_pool **out, tmb_error *error) {
    return create(name, workers, workers, queue_limit, out, error);
}

tmb_status tmb_pool_create_elastic(const char *name, int least, int most, tmb_pool **out, tmb_error *error) {
    return create(name, least, most, 0, out, error);
}

/* With the lock held. */
static void append(tmb_pool *pool, tmb_work *work) {
    work->next = NULL;
    if (pool->last != NULL) {
        pool->last->next = work;
    } else {
        pool->first = work;
    }
    pool->last = work;
    pool->queued++;
    /* A refused thread is no failure: the ones that run get to the work. */
    if (pool->threads < pool->most && pool->queued > (size_t)(pool->threads - pool->running)) {
        (void)start_thread(pool);
    }
    (void)pthread_cond_signal(&pool->work);
}

void tmb_pool_post(tmb_pool *pool, tmb_work *work, tmb_task task, void *argument) {
    work->task = task;
    work->argument = argument;
    work->owned = false;
    (void)pthread_mutex_lock(&pool->lock);
    append(pool, work);
    (void)pthread_mutex_unlock(&pool->lock);
}

tmb_status tmb_pool_submit(tmb_pool *pool, tmb_task task, void *argument, tmb_error *error) {
    tmb_work *work = tmb_calloc(1, sizeof *work);
    if (work == NULL) {
        return tmb_fail_memory(error, "a task", sizeof *work);
    }
    work->task = task;
    work->argument = argument;
    work->owned = true;
    (void)pthread_mutex_lock(&pool->lock);
    while (!pool->closing && pool->queue_limit != 0 && pool->queued >= pool->queue_limit) {
        (void)pthread_cond_wait(&pool->space, &pool->lock);
    }
    if (pool->closing) {
        (void)pthread_mutex_unlock(&pool->lock);
        free(work);
        return tmb_fail(error, TMB_ERROR_CANCELLED, "%s: shutting down", pool->name);
    }
    append(pool, work);
    (void)pthread_mutex_unlock(&pool->lock);
    return TMB_OK;
}

void tmb_pool_destroy(tmb_pool **pool_address) {
    tmb_pool *pool = *pool_address;
    if (pool == NULL) {
        return;
    }
    *pool_address = NULL;
    (void)pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    (void)pthread_cond_broadcast(&pool->work);
    (void)pthread_cond_broadcast(&pool->space);
    while (pool->threads != 0) {
        (void)pthread_cond_wait(&pool->ends, &pool->lock);
    }
    bool join = pool->has_ended;
    pthread_t last = pool->ended;
    (void)pthread_mutex_unlock(&pool->lock);
    if (join) {
        (void)pthread_join(last, NULL);
    }
    (void)pthread_cond_destroy(&pool->ends);
    (void)pthread_cond_destroy(&pool->space);
    (void)pthread_cond_destroy(&pool->work);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool);
}
