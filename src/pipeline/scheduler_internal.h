/* What the scheduler's files share. */
#ifndef TMB_PIPELINE_SCHEDULER_INTERNAL_H
#define TMB_PIPELINE_SCHEDULER_INTERNAL_H

#include "pipeline/lane.h"
#include "pipeline/scheduler.h"
#include "pipeline/voice_cache.h"

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
    tmb_fair_queue waiting;
    tmb_voice_cache cache;

    tmb_lane *lanes; /* [lane_count] */
    size_t lane_count;
    uint64_t let_go; /* how often a lane let its model go */
    uint64_t turns;  /* given to lanes that were blocked */

    /* The denoiser is in use as long as there are items. */
    tmb_use_state denoiser_state;
    tmb_dfn_model *denoiser;
    tmb_work denoiser_work;

    /* The thread's own, but counted under the lock. */
    tmb_item *cleaning; /* spoken, stages 4 and 5 not finished; linked by next_cleaning */
    size_t cleaning_count;
    double stall_seconds; /* TMB_STALL_SECONDS; tests are less patient */

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

/* The item's result is about to be given: counts it. */
void tmb_scheduler_count_result(tmb_scheduler *scheduler, const tmb_item *item);
/* Forgets an item whose result was given and that the batch has let go. With the lock held. */
void tmb_scheduler_retire(tmb_scheduler *scheduler, tmb_item *item);
/* Fails whoever waits for a model that did not load: of one lane, or (NULL) whoever needs the denoiser. With the lock
 * held. */
void tmb_scheduler_fail_waiting(tmb_scheduler *scheduler, const tmb_lane *lane, const tmb_error *error);
/* Lets items go whose stages 4 and 5 have finished. On the scheduler's thread. */
void tmb_scheduler_drop_cleaned(tmb_scheduler *scheduler);
/* The earlier of two waits, negative = for ever. */
double tmb_scheduler_sooner(double a, double b);
/* The item's result was given. */
void tmb_scheduler_delivered(tmb_scheduler *scheduler, tmb_item *item);

#endif
