/* The queue of jobs and their items. */
#ifndef TMB_QUEUE_JOBS_H
#define TMB_QUEUE_JOBS_H

#include "queue/store.h"

typedef enum tmb_item_state {
    TMB_ITEM_QUEUED = 0,
    TMB_ITEM_RUNNING,
    TMB_ITEM_DONE,
    TMB_ITEM_FAILED,
    TMB_ITEM_STATES
} tmb_item_state;

typedef struct tmb_job_info {
    char id[TMB_STORE_ID];
    char label[257];
    double created, finished; /* seconds since 1970; finished 0 = not yet */
    size_t items[TMB_ITEM_STATES];
    size_t total;
} tmb_job_info;

/* A file that must live as long as a job; one that is owned is removed with it. */
typedef struct tmb_job_file {
    char id[TMB_STORE_ID];
    bool owned;
} tmb_job_file;

typedef struct tmb_new_job {
    const char *label;
    /* Two jobs of one key are one job. `body` stands for everything else that was asked for under the key. NULL: every
     * job is a new one. */
    const char *repeat_key, *body;
    const char *const *requests; /* [count] opaque texts */
    size_t count;
    const tmb_job_file *files; /* [file_count] */
    size_t file_count;
} tmb_new_job;

/* TMB_STORE_EXISTS: the key is known and `info` says which job has it; TMB_STORE_CONFLICT: the key came with another
 * body; TMB_STORE_NOT_FOUND: one of the files is not there. */
tmb_store_status tmb_store_job_add(tmb_store *store, const tmb_new_job *job, tmb_job_info *info);
tmb_store_status tmb_store_job_get(tmb_store *store, const char *id, tmb_job_info *info);
/* Removes a job and what it owns. What tmb_store_item_finish brings for it afterwards is dropped. */
tmb_store_status tmb_store_job_remove(tmb_store *store, const char *id);
/* Newest first, at most `limit`; free() the list. */
tmb_store_status tmb_store_job_list(tmb_store *store, size_t limit, tmb_job_info **out, size_t *count);

typedef struct tmb_job_item {
    size_t position; /* in the job, from 0 */
    tmb_item_state state;
    char *request;
    char *result;            /* or NULL */
    char file[TMB_STORE_ID]; /* id of its audio, or "" */
} tmb_job_item;

/* All items in order, freed by tmb_item_list_free. */
tmb_store_status tmb_store_item_list(tmb_store *store, const char *job, tmb_job_item **out, size_t *count);
void tmb_item_list_free(tmb_job_item *items, size_t count);

/* ---- For those who run items ---------------------------------------------------------------- */

/* An item that was taken. Whoever has it runs it until its lease ends; then it may be taken again, and what this
 * delivery brings is dropped. */
typedef struct tmb_delivery {
    char job[TMB_STORE_ID];
    int64_t job_number; /* small and rising; for taking turns */
    size_t position;
    int64_t number; /* of the item's deliveries */
    char *request;  /* free() */
} tmb_delivery;

/* Takes an item that is queued or whose lease ended: jobs take turns, beginning with the first job after `after_job`.
 * TMB_STORE_NOT_FOUND: there is none. */
tmb_store_status tmb_store_item_take(tmb_store *store, int64_t after_job, double lease_seconds, tmb_delivery *out);
/* Extends the lease. TMB_STORE_NOT_FOUND: the delivery is over. */
tmb_store_status tmb_store_item_renew(tmb_store *store, const tmb_delivery *delivery, double lease_seconds);
/* Puts the item back into the queue. TMB_STORE_NOT_FOUND: the delivery was over. */
tmb_store_status tmb_store_item_give_back(tmb_store *store, const tmb_delivery *delivery);
/* Ends the item as done or failed, with its result and the id of its audio (or NULL), which was stored by
 * tmb_store_result_adopt. Twice is as good as once. TMB_STORE_NOT_FOUND: the job is gone or the delivery was over;
 * nothing is stored, and the audio is still the caller's. */
tmb_store_status tmb_store_item_finish(tmb_store *store, const tmb_delivery *delivery, tmb_item_state state,
                                       const char *result, const char *audio);

/* Items queued and running over all jobs. */
tmb_store_status tmb_store_item_counts(tmb_store *store, size_t *queued, size_t *running);

typedef enum tmb_job_event { TMB_JOB_WORK, TMB_JOB_REMOVED } tmb_job_event;

/* Is told of new work and of jobs that were removed (`job` is one's id). It is called by any thread, without any lock
 * but the watch's own, so it may call the store but not tmb_store_watch. One at a time; NULL ends it. */
void tmb_store_watch(tmb_store *store, void (*watch)(void *user, tmb_job_event event, const char *job), void *user);

#endif
