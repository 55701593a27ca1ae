/* What the scheduler's files share. */
#ifndef TMB_PIPELINE_SCHEDULER_INTERNAL_H
#define TMB_PIPELINE_SCHEDULER_INTERNAL_H

#include "pipeline/scheduler.h"
#include "pipeline/voice_cache.h"

#define TMB_MAX_BATCH 1024

typedef enum tmb_use_state { TMB_USE_NONE, TMB_USE_LOADING, TMB_USE_READY } tmb_use_state;

struct tmb_scheduler {
    tmb_context *context;
    pthread_t thread;
    tmb_pool *resample, *enhance, *encode, *deliver;

    pthread_mutex_t wake_lock;
    pthread_cond_t wake;
    bool woken;

    pthread_mutex_t lock;
    pthread_cond_t idle; /* no item is left */
    bool closing;
    uint64_t last_number;
    tmb_item *items; /* all that have not been delivered */
    size_t item_count;
    size_t queued;  /* before stage 3 */
    size_t reading; /* in phase READING */
    tmb_fair_group *groups;
    tmb_fair_queue waiting, ready;
    tmb_voice_cache cache;

    /* Models are in use as long as there are items. */
    tmb_use_state engine_state, denoiser_state;
    tmb_engine *engine;
    tmb_dfn_model *denoiser;
    tmb_work engine_work, denoiser_work;
    bool warned; /* that the engine is no clone */

    /* The thread's own, but counted under the lock. */
    tmb_item *live[TMB_MAX_BATCH];
    size_t live_count, max_batch;
    tmb_item *cleaning; /* spoken, not yet through stages 4 and 5; linked by next_cleaning */
    size_t cleaning_count;
    tmb_item *admitting; /* waits for memory */
    atomic_bool admit_granted;

    uint64_t finished, failed, cancelled, steps, sequences;
    double audio_seconds;
};

/* ---- prepare.c: from submitted to ready ---- */

/* Begins what can begin: loads models, reads references. With the lock held. */
void tmb_scheduler_prepare(tmb_scheduler *scheduler);

/* Moves an item on and keeps the counts; it is in no queue. With the lock held. */
void tmb_scheduler_phase(tmb_scheduler *scheduler, tmb_item *item, tmb_phase phase);

/* Stops an item in whatever phase. One that is live or being admitted fails, and the thread takes it out at
 * its next turn. With the lock held. */
void tmb_scheduler_stop(tmb_scheduler *scheduler, tmb_item *item, const tmb_error *error);

/* ---- scheduler.c ---- */

/* The item's result is about to be given: counts it. Returns the engine, NULL where it did not load. */
tmb_engine *tmb_scheduler_account(tmb_scheduler *scheduler, const tmb_item *item);
/* The item's result was given. */
void tmb_scheduler_delivered(tmb_scheduler *scheduler, tmb_item *item);

#endif
