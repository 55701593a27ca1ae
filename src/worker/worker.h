/* Takes items from the queue, a few at a time, job after job in turn, has them run, and stores what comes of them.
 *
 * What runs is known here, in memory, until it is stored: a result that cannot be written at the moment (the disk is
 * full, another program has the database locked) is kept and tried again until it can. How an item runs is the trade's
 * affair; the worker knows the queue and the files only.
 */
#ifndef TMB_WORKER_WORKER_H
#define TMB_WORKER_WORKER_H

#include "queue/blobs.h"
#include "queue/jobs.h"

typedef struct tmb_worker tmb_worker;
typedef struct tmb_worker_run tmb_worker_run; /* an item that was taken */

typedef enum tmb_work_end {
    TMB_WORK_DONE,      /* there is audio */
    TMB_WORK_FAILED,    /* for good: the description says why */
    TMB_WORK_LATER,     /* something that all share ran out: it is tried again */
    TMB_WORK_TOO_LARGE, /* it never fits into this worker's memory: it is left to a larger one, or fails */
    TMB_WORK_NO_MEMORY, /* there was too little at the moment: tried again with nothing else running, then it fails */
    TMB_WORK_ELSEWHERE, /* this worker cannot have what it needs: another tries it, a few times, then it fails */
    TMB_WORK_NO_ROOM,   /* the disk is full: tried again for a while, then it fails */
    TMB_WORK_CANCELLED, /* as it was asked to */
} tmb_work_end;

/* Who runs items. Every function but `cancel` is called on the worker's thread. */
typedef struct tmb_worker_trade {
    void *user;
    /* Seconds until an item could be run at all: until then none is taken. 0 = now. May be NULL. */
    double (*wait)(void *user);
    /* Starts an item; *state is the trade's. Whatever happens, tmb_worker_ended is called once, now or later, by any
     * thread. */
    void (*start)(void *user, tmb_worker_run *run, const tmb_delivery *delivery, void **state);
    /* Asks an item to end soon, from any thread, also before `start` returned or after it ended, and with the worker's
     * lock held: it must not wait for the item. */
    void (*cancel)(void *user, void *state);
    /* The audio of an item that is done: a complete file in the store's tmp/, and what it is. NULL: it went elsewhere.
     */
    const char *(*audio)(void *user, void *state, tmb_file_info *info);
    /* The item's result as a text to be freed; NULL: out of memory. `info` is its audio's, or NULL for one that failed
     * or has none; `problem` (may be NULL) is why, if the trade does not know. */
    char *(*describe)(void *user, void *state, const tmb_file_info *info, const char *problem);
    /* The result of an item that is buried without a start. */
    char *(*describe_dead)(void *user, const tmb_delivery *delivery, const char *problem);
    /* Frees the state with everything temporary. */
    void (*release)(void *user, void *state);
} tmb_worker_trade;

typedef struct tmb_worker_options {
    size_t capacity;          /* items at a time */
    uint64_t memory;          /* bytes that they may take together */
    size_t call_capacity;     /* and so many more that somebody waits for */
    double rest_seconds;      /* without a start after something ran out */
    double full_seconds;      /* how long a full disk is waited for */
    double lease_seconds;     /* of what was taken; it is renewed in time */
    double look_seconds;      /* without news it looks for work itself so often; 0 = never */
    unsigned max_deliveries;  /* an item that took down so many workers is buried; 0 = never */
    tmb_logger *logger;       /* outlives the worker */
    _Atomic(size_t) *started; /* counts up with each item, or NULL */
} tmb_worker_options;

tmb_status tmb_worker_start(tmb_store *store, const tmb_worker_trade *trade, const tmb_worker_options *options,
                            tmb_worker **out, tmb_error *error);
/* Takes nothing new from now on. What follows takes NULL for a worker that there is not. */
void tmb_worker_drain(tmb_worker *worker);
/* Items that run or whose results are not stored yet. */
size_t tmb_worker_running(tmb_worker *worker);
/* Cancels what runs, puts it back into the queue, stores what is done, ends the thread. */
void tmb_worker_stop(tmb_worker **worker);

/* An item ended. Its state may be released before this returns. */
void tmb_worker_ended(tmb_worker_run *run, tmb_work_end end);

#endif
