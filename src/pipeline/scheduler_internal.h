/* What the scheduler's files share: scheduler.c, phases.c, prepare.c, prepare_reading.c, prepare_voice.c, batch.c,
 * lanes.c, overflow.c, room.c. No other file includes this. */
#ifndef TMB_PIPELINE_SCHEDULER_INTERNAL_H
#define TMB_PIPELINE_SCHEDULER_INTERNAL_H

#include "pipeline/lane.h"
#include "pipeline/scheduler.h"
#include "pipeline/voice_cache.h"

struct tmb_scheduler {
    tmb_context *context;
    pthread_t thread;
    tmb_pool *resample, *enhance, *encode, *deliver;
    tmb_item_host host;   /* of all items */
    tmb_pool *transcribe; /* waits for the service; NULL without one */

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
    tmb_lane *overflow; /* the last of them, or NULL */
    uint64_t let_go;    /* how often a lane let its model go */
    uint64_t turns;     /* given to lanes that were blocked */

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

/* ---- phases.c: where an item is ---- */

/* A new item waits. With the lock held. */
void tmb_scheduler_enter(tmb_scheduler *scheduler, tmb_item *item);
/* Moves an item on and keeps the counts; it is in no queue. Another way than those that phases.c lists is a bug. With
 * the lock held. */
void tmb_scheduler_phase(tmb_scheduler *scheduler, tmb_item *item, tmb_phase phase);

/* ---- prepare.c: from submitted to ready ---- */

/* Begins what can begin: loads models, reads references. With the lock held. */
void tmb_scheduler_prepare(tmb_scheduler *scheduler);

/* Stops an item in whatever phase. One that is live or being admitted fails, and the thread takes it out at
 * its next turn. With the lock held. */
void tmb_scheduler_stop(tmb_scheduler *scheduler, tmb_item *item, const tmb_error *error);

/* How the phases before READY end. With the lock held. The item has its voice (and, if it waited for it, the clean
 * reference): */
void tmb_prepare_ready(tmb_scheduler *scheduler, tmb_item *item);
/* Its reference or saved voice cannot be used: it begins again with what the voice was made from, or fails. */
void tmb_prepare_reference_failed(tmb_scheduler *scheduler, tmb_item *item, const tmb_error *error);
/* It fails. If its result was given before (it was cancelled in the batch's hands), it is gone when this returns. */
void tmb_prepare_end(tmb_scheduler *scheduler, tmb_item *item, const tmb_error *error);

/* ---- prepare_reading.c, prepare_voice.c: stages 1 and 2, on pools ---- */

/* The denoiser of the item's reference; NULL if it is taken as it is. */
tmb_dfn_model *tmb_prepare_denoiser(const tmb_item *item);
/* Begins to read an item's reference. With the lock held. */
void tmb_prepare_read(tmb_scheduler *scheduler, tmb_item *item);
/* An item in phase READING that waits for memory waits to begin once more, with its reference open; false if it does
 * not wait. With the lock held. */
bool tmb_prepare_give_way(tmb_scheduler *scheduler, tmb_item *item);
/* What an item that is in no phase of reading has read counts for nothing: it begins with its source anew. With the
 * lock held. */
void tmb_prepare_forget(tmb_item *item);
/* Nobody has built this voice: the item's reading becomes a build, with the item as its first waiter. With the lock
 * held. */
tmb_status tmb_prepare_build(tmb_scheduler *scheduler, tmb_item *item, tmb_error *error);

/* ---- scheduler.c ---- */

/* Forgets an item whose result was given and that the batch has let go. With the lock held. */
void tmb_scheduler_retire(tmb_scheduler *scheduler, tmb_item *item);
/* Fails whoever waits for a model that did not load: of one lane, or (NULL) whoever needs the denoiser. With the lock
 * held. */
void tmb_scheduler_fail_waiting(tmb_scheduler *scheduler, const tmb_lane *lane, const tmb_error *error);
/* Retires items whose stages 4 and 5 have finished. On the scheduler's thread. */
void tmb_scheduler_drop_cleaned(tmb_scheduler *scheduler);
/* The earlier of two waits, negative = for ever. */
double tmb_scheduler_sooner(double a, double b);

/* ---- room.c: a device that has less memory than its pool says ---- */

/* What the engine could not admit for lack of the device's memory waits once more, for memory that there is. False if
 * there is nothing to wait for: the item fails. */
bool tmb_room_await(tmb_lane *lane, tmb_item *item);
/* The pool gets back what has become free on the device, when nothing is spoken. */
void tmb_room_restore(tmb_lane *lane);
/* Whether the pool is too small by now for the item that waits. TMB_ERROR_MEMORY. */
bool tmb_room_is_too_small(const tmb_lane *lane, const tmb_item *item, tmb_error *error);

#endif
