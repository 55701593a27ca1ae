#include "base/thread.h"

#include "base/error.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct task_node {
    struct task_node *next;
    tmb_task task;
    void *argument;
} task_node;

struct tmb_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;  /* a task was queued, or the pool closes */
    pthread_cond_t space; /* a task was taken from the queue */
    pthread_cond_t idle;  /* a task was finished */
    task_node *first, *last;
    size_t queued, queue_limit;
    size_t running;
    bool closing;
    int worker_count;
    char name[16];
    pthread_t workers[];
};

static void *worker_main(void *argument) {
    tmb_pool *pool = argument;
    (void)tmb_denormals_flush();
    (void)pthread_setname_np(pthread_self(), pool->name);
    (void)pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->first == NULL && !pool->closing) {
            (void)pthread_cond_wait(&pool->work, &pool->lock);
        }
        task_node *node = pool->first;
        if (node == NULL) {
            break;
        }
        pool->first = node->next;
        if (pool->first == NULL) {
            pool->last = NULL;
        }
        pool->queued--;
        pool->running++;
        (void)pthread_cond_signal(&pool->space);
        (void)pthread_mutex_unlock(&pool->lock);
        node->task(node->argument);
        free(node);
        (void)pthread_mutex_lock(&pool->lock);
        pool->running--;
        (void)pthread_cond_broadcast(&pool->idle);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return NULL;
}

tmb_status tmb_pool_create(const char *name, int workers, size_t queue_limit, tmb_pool **out, tmb_error *error) {
    *out = NULL;
    if (workers < 1 || workers > 4096) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s: %d workers asked for, 1 to 4096 are possible", name, workers);
    }
    tmb_pool *pool = calloc(1, sizeof *pool + (size_t)workers * sizeof(pthread_t));
    if (pool == NULL) {
        return tmb_fail_memory(error, "a worker pool", 0);
    }
    pool->queue_limit = queue_limit;
    (void)snprintf(pool->name, sizeof pool->name, "%s", name);
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->work, NULL);
    (void)pthread_cond_init(&pool->space, NULL);
    (void)pthread_cond_init(&pool->idle, NULL);
    for (int i = 0; i < workers; i++) {
        if (pthread_create(&pool->workers[i], NULL, worker_main, pool) != 0) {
            tmb_pool_destroy(&pool);
            return tmb_fail(error, TMB_ERROR_MEMORY, "%s: the system refused to start a thread (%d of %d)", name, i + 1,
                            workers);
        }
        pool->worker_count++;
    }
    *out = pool;
    return TMB_OK;
}

tmb_status tmb_pool_submit(tmb_pool *pool, tmb_task task, void *argument, tmb_error *error) {
    task_node *node = tmb_calloc(1, sizeof *node);
    if (node == NULL) {
        return tmb_fail_memory(error, "a task", sizeof *node);
    }
    node->task = task;
    node->argument = argument;
    (void)pthread_mutex_lock(&pool->lock);
    while (!pool->closing && pool->queue_limit != 0 && pool->queued >= pool->queue_limit) {
        (void)pthread_cond_wait(&pool->space, &pool->lock);
    }
    if (pool->closing) {
        (void)pthread_mutex_unlock(&pool->lock);
        free(node);
        return tmb_fail(error, TMB_ERROR_CANCELLED, "%s: shutting down", pool->name);
    }
    if (pool->last != NULL) {
        pool->last->next = node;
    } else {
        pool->first = node;
    }
    pool->last = node;
    pool->queued++;
    (void)pthread_cond_signal(&pool->work);
    (void)pthread_mutex_unlock(&pool->lock);
    return TMB_OK;
}

void tmb_pool_drain(tmb_pool *pool) {
    (void)pthread_mutex_lock(&pool->lock);
    while (pool->first != NULL || pool->running != 0) {
        (void)pthread_cond_wait(&pool->idle, &pool->lock);
    }
    (void)pthread_mutex_unlock(&pool->lock);
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
    (void)pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->worker_count; i++) {
        (void)pthread_join(pool->workers[i], NULL);
    }
    (void)pthread_cond_destroy(&pool->idle);
    (void)pthread_cond_destroy(&pool->space);
    (void)pthread_cond_destroy(&pool->work);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool);
}
