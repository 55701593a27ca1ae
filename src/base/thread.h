/* Threads: a pool of bounded workers, time to wait. */
#ifndef TMB_BASE_THREAD_H
#define TMB_BASE_THREAD_H

#include "timbre/timbre.h"

#include <pthread.h>
#include <time.h>

/* A fixed number of workers that run tasks in the order they were given. Any thread may call. */
typedef struct tmb_pool tmb_pool;
typedef void (*tmb_task)(void *argument);

/* `workers` >= 1 threads; at most `queue_limit` tasks wait (0 = no limit). `name` (copied, 15 bytes)
 * names the threads. Workers flush denormals to zero. Fails with TMB_ERROR_MEMORY if a thread
 * cannot be started. */
tmb_status tmb_pool_create(const char *name, int workers, size_t queue_limit, tmb_pool **out, tmb_error *error);

/* Queues a task. Waits while the queue is full. After tmb_pool_destroy began: TMB_ERROR_CANCELLED.
 * A task may submit tasks only to another pool, or to one without a limit. */
tmb_status tmb_pool_submit(tmb_pool *pool, tmb_task task, void *argument, tmb_error *error);

/* The same with `least` threads from the start and up to `most` while tasks wait for a free one; those
 * beyond `least` end after some seconds of idleness. For tasks that may block. No limit on the queue. */
tmb_status tmb_pool_create_elastic(const char *name, int least, int most, tmb_pool **out, tmb_error *error);

/* A task in memory of its owner, zeroed before its first use, so that queuing it cannot fail. The task may post
 * or free the work that it runs from; nobody else touches it between post and the task's start. */
typedef struct tmb_work {
    struct tmb_work *next;
    tmb_task task;
    void *argument;
    bool owned; /* the pool's own, freed by it */
} tmb_work;

/* Queues work whatever the limit; from any thread, also from tasks of this pool, until they are done. */
void tmb_pool_post(tmb_pool *pool, tmb_work *work, tmb_task task, void *argument);

/* Runs what is queued, ends the workers, frees. */
void tmb_pool_destroy(tmb_pool **pool);

/* CPUs that this process may use (affinity and cgroup quota respected), at least 1. */
int tmb_cpu_count(void);

/* Seconds of the monotonic clock. */
double tmb_now(void);
/* Seconds since 1970, for what others read; somebody may set that clock. */
double tmb_wall_clock(void);

/* A condition variable on that clock; tmb_deadline is the absolute end of a wait of `seconds` (0 or less: now). */
void tmb_condition_init(pthread_cond_t *condition);
struct timespec tmb_deadline(double seconds);

/* Sets flush-to-zero and denormals-are-zero for the calling thread and returns the previous state,
 * for tmb_denormals_restore. Long silence otherwise fills recurrent states with denormals. */
unsigned tmb_denormals_flush(void);
void tmb_denormals_restore(unsigned state);

#endif
