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
    /* [count] or NULL: labels that a worker must have to run the item, with a comma between; NULL or "": none.
     * "?model=NAME" is one only if there is such a worker. A store of one process minds them not. */
    const char *const *needs;
    /* [count] or NULL: whose voice it is, "file:ID", "voice:NAME" or "" if that is not stored: one who ran another item
     * of that voice a moment ago, and has nothing to do, is asked first. */
    const char *const *voices;
    /* Not a job but a question that somebody waits for: it goes before all jobs, is in no list and no limit, and
     * is over after so many seconds. 0: a job. */
    double call_seconds;
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
    int64_t number;    /* of the item's deliveries */
    unsigned attempts; /* deliveries before this one whose lease ended: their workers died, or were stuck */
    unsigned returned; /* those before it whose workers were alive and could not run the item */
    bool is_call;
    char *request;        /* free() */
    double seconds_left;  /* of a call: until its deadline, when it was taken; one process alone has no calls */
    double again_seconds; /* with TMB_STORE_NOT_FOUND: after which there may be one; 0 = when there is news */
} tmb_delivery;

typedef struct tmb_taking {
    int64_t after_job; /* one process alone takes turns by this: the job that the last item came from */
    double lease_seconds;
    bool calls_only;
    bool idle; /* the worker has nothing to do at all */
} tmb_taking;

/* Takes an item that is queued or whose lease ended. Jobs take turns: those of one process by `after_job`; if several
 * share a queue, the queue itself has the turns. TMB_STORE_NOT_FOUND: there is none. */
tmb_store_status tmb_store_item_take(tmb_store *store, const tmb_taking *how, tmb_delivery *out);
/* Extends the lease. TMB_STORE_NOT_FOUND: the delivery is over. */
tmb_store_status tmb_store_item_renew(tmb_store *store, const tmb_delivery *delivery, double lease_seconds);
/* Puts the item back into the queue. `unable`: this worker cannot run it; that is counted (`returned`), and the item is
 * left to other workers that may, while there is one. One process alone counts nothing. TMB_STORE_NOT_FOUND: the
 * delivery was over. */
tmb_store_status tmb_store_item_give_back(tmb_store *store, const tmb_delivery *delivery, bool unable);
/* Leaves an item that never fits into this worker's `memory` (bytes) to one that has more. TMB_STORE_FULL: nobody has,
 * and the item is still the caller's. TMB_STORE_NOT_FOUND: the delivery was over. */
tmb_store_status tmb_store_item_pass_on(tmb_store *store, const tmb_delivery *delivery, uint64_t memory);
/* Ends the item as done or failed, with its result and the id of its audio (or NULL), which was stored by
 * tmb_store_result_adopt. Twice is as good as once. TMB_STORE_NOT_FOUND: the job is gone or the delivery was over;
 * nothing is stored, and the audio is still the caller's. */
tmb_store_status tmb_store_item_finish(tmb_store *store, const tmb_delivery *delivery, tmb_item_state state,
                                       const char *result, const char *audio);

/* Ends an item that killed those who ran it: as a failure with its result, and with a dead letter that says why. What
 * a store of one process does is to end it as failed. */
tmb_store_status tmb_store_item_bury(tmb_store *store, const tmb_delivery *delivery, const char *result,
                                     const char *reason);

/* Items queued and running over all jobs. */
tmb_store_status tmb_store_item_counts(tmb_store *store, size_t *queued, size_t *running);

typedef enum tmb_job_event { TMB_JOB_WORK, TMB_JOB_REMOVED } tmb_job_event;

/* Is told of new work and of jobs that were removed (`job` is one's id). It is called by any thread, without any lock
 * but the watch's own, so it may call the store but not tmb_store_watch. One at a time; NULL ends it. */
typedef void (*tmb_job_watch)(void *user, tmb_job_event event, const char *job);
void tmb_store_watch(tmb_store *store, tmb_job_watch watch, void *user);

/* ---- Dead letters ------------------------------------------------------------------------------ */

typedef struct tmb_dead_letter {
    char id[64];
    char job[TMB_STORE_ID];
    size_t position;
    unsigned attempts;
    double time; /* seconds since 1970 */
    char reason[256];
} tmb_dead_letter;

/* Oldest first, at most `limit`; free() the list. */
tmb_store_status tmb_store_dead_list(tmb_store *store, size_t limit, tmb_dead_letter **out, size_t *count);
/* Takes a letter off the list; `retry`: its item is queued again. TMB_STORE_NOT_FOUND: there is none, or its job is
 * gone. */
tmb_store_status tmb_store_dead_end(tmb_store *store, const char *id, bool retry);

/* ---- Calls: what a worker says while an item runs that somebody waits for ---------------------- */

typedef struct tmb_call_piece {
    char kind[16];    /* the sender's word; at last "done" or "failed", with the result */
    int64_t delivery; /* that sent it */
    uint64_t number;  /* among those of the delivery, from 1; 0 = the last one, with the result */
    char *data;       /* [size] and a 0; free() */
    size_t size;
} tmb_call_piece;

/* A piece to be sent. */
typedef struct tmb_call_words {
    uint64_t number; /* among those of the delivery, from 1 */
    const char *kind;
    const void *data; /* [size] */
    size_t size;
    /* It does not wait for the queue's disk. If the queue's server dies before the piece is read, it is lost, and the
     * numbers of what comes then say so. */
    bool hurries;
} tmb_call_words;

/* Who hears what a worker says. */
typedef struct tmb_call_audience {
    size_t waiting; /* pieces that nobody has read yet */
    bool listens;   /* the server that asked said so a moment ago. It may be missing for as long as Redis was away. */
} tmb_call_audience;

/* How far a call was read; all zero at first. */
typedef struct tmb_call_place {
    char entry[40];
    unsigned kept; /* pieces that were read and are there still */
} tmb_call_place;

/* Pieces of a delivery are sent in order: one that is sent again is there once.
 * TMB_STORE_NOT_FOUND: the delivery is over, or nobody waits any more. */
tmb_store_status tmb_store_call_send(tmb_store *store, const tmb_delivery *delivery, const tmb_call_words *words,
                                     tmb_call_audience *audience);
/* Says of calls (their jobs) that they are listened to, for the next ten seconds. A call that nobody listens to is not
 * taken, and its speech may end. */
tmb_store_status tmb_store_calls_listening(tmb_store *store, const char (*jobs)[TMB_STORE_ID], size_t count);
/* The piece after `place`, which moves on, within `seconds`. TMB_STORE_NOT_FOUND: none came. */
tmb_store_status tmb_store_call_receive(tmb_store *store, const char *job, tmb_call_place *place, double seconds,
                                        tmb_call_piece *out);

/* ---- For those who implement it --------------------------------------------------------------- */

typedef struct tmb_job_operations {
    tmb_store_status (*add)(tmb_store *store, const tmb_new_job *job, tmb_job_info *info);
    tmb_store_status (*get)(tmb_store *store, const char *id, tmb_job_info *info);
    tmb_store_status (*remove)(tmb_store *store, const char *id);
    tmb_store_status (*list)(tmb_store *store, size_t limit, tmb_job_info **out, size_t *count);
    tmb_store_status (*items)(tmb_store *store, const char *job, tmb_job_item **out, size_t *count);
    tmb_store_status (*take)(tmb_store *store, const tmb_taking *how, tmb_delivery *out);
    tmb_store_status (*renew)(tmb_store *store, const tmb_delivery *delivery, double lease_seconds);
    tmb_store_status (*give_back)(tmb_store *store, const tmb_delivery *delivery, bool unable);
    tmb_store_status (*finish)(tmb_store *store, const tmb_delivery *delivery, tmb_item_state state, const char *result,
                               const char *audio);
    tmb_store_status (*counts)(tmb_store *store, size_t *queued, size_t *running);
    void (*watch)(tmb_store *store, tmb_job_watch watch, void *user);
    /* NULL: one process alone has the store, which needs none of them. */
    tmb_store_status (*pass_on)(tmb_store *store, const tmb_delivery *delivery, uint64_t memory);
    tmb_store_status (*bury)(tmb_store *store, const tmb_delivery *delivery, const char *result, const char *reason);
    tmb_store_status (*dead_list)(tmb_store *store, size_t limit, tmb_dead_letter **out, size_t *count);
    tmb_store_status (*dead_end)(tmb_store *store, const char *id, bool retry);
    tmb_store_status (*send)(tmb_store *store, const tmb_delivery *delivery, const tmb_call_words *words,
                             tmb_call_audience *audience);
    tmb_store_status (*listening)(tmb_store *store, const char (*jobs)[TMB_STORE_ID], size_t count);
    tmb_store_status (*receive)(tmb_store *store, const char *job, tmb_call_place *place, double seconds,
                                tmb_call_piece *out);
} tmb_job_operations;

#endif
