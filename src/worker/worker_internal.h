/* What the worker's thread (worker.c) and the one that renews leases (leases.c) share. */
#ifndef TMB_WORKER_WORKER_INTERNAL_H
#define TMB_WORKER_WORKER_INTERNAL_H

#include "worker/worker.h"

#include <pthread.h>

struct tmb_worker_run {
    struct tmb_worker_run *next;
    tmb_worker *worker;
    tmb_delivery delivery; /* does not change while the run is in the list */
    void *state;           /* the trade's; set under the lock once `start` returned */
    bool started, cancelled;
    bool alone, waiting; /* it has lost a worker before: nothing else runs with it; it waits for that */
    bool ended;
    tmb_work_end end;
    unsigned round; /* of renewing, that it had its turn in */
    /* The worker thread's own. */
    bool has_audio; /* in the store already */
    tmb_file_info audio;
    const char *problem;
};

struct tmb_worker {
    tmb_store *store;
    tmb_worker_trade trade;
    tmb_worker_options options;
    pthread_t thread, renewer;
    pthread_mutex_t lock; /* of what follows, down to the next comment */
    pthread_cond_t changed;
    tmb_worker_run *runs;
    size_t running;
    bool awake, draining, stopping;
    bool late;      /* a lease could not be renewed: nothing is taken before it is */
    double renewed; /* since when no lease of what runs is older; monotonic */
    bool overdue;   /* the worker's thread waits for a round of renewing */
    bool ended;     /* the worker's thread has: nothing is left to renew */
    /* The worker thread's own. Times are of the monotonic clock. */
    double rest_until;
    double look_at;               /* there may be something that nobody will tell; 0 = not so */
    double full_since, full_seen; /* where audio goes: first and last time of this shortage; 0 = never */
    int64_t last_job;             /* the job that the last item came from */
    bool audio_waits;             /* where audio goes does not answer in this round: once is enough to find out */
};

/* Has an item end soon. With the lock held. */
void tmb_worker_cancel(tmb_worker_run *run);

/* Renews the leases of what runs, in a thread of its own: the worker's own thread moves files meanwhile, which may take
 * longer than a lease. */
bool tmb_worker_renew_start(tmb_worker *worker);
/* Once the worker's thread has ended. */
void tmb_worker_renew_stop(tmb_worker *worker);

#endif
