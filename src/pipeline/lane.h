/* A lane: one model and the batch that speaks with it. A context has one for each of its models; the scheduler's thread
 * steps them in turn.
 *
 * Models that do not fit into the memory budget together take turns. A lane whose model finds no room is blocked; then
 * every other lane may begin a bounded number of further items, ends what it has begun, and lets its model go. So no
 * lane starves, and a model is loaded again only after its predecessor had its share.
 *
 * Models may fit together when what their items need besides does not. If nothing is spoken, and all that a lane has
 * begun waits for memory behind somebody else's, its items wait to begin once more and its model goes.
 */
#ifndef TMB_PIPELINE_LANE_H
#define TMB_PIPELINE_LANE_H

#include "pipeline/scheduler.h"

#define TMB_MAX_BATCH 1024
/* Batches that a loaded lane may still begin while another lane is blocked. */
#define TMB_LANE_SHARE 2

typedef enum tmb_use_state { TMB_USE_NONE, TMB_USE_LOADING, TMB_USE_READY } tmb_use_state;

struct tmb_lane {
    tmb_scheduler *scheduler;
    size_t index; /* of the context's models */

    /* Under the scheduler's lock. */
    tmb_use_state state; /* the model is in use as long as the lane has items that it is there for */
    tmb_engine *engine;
    tmb_work work;         /* of loading */
    bool waits;            /* loading waits for memory: no other lane has a model */
    bool warned;           /* that the engine is no clone */
    bool blocked;          /* there is no memory for the model while others have theirs */
    uint64_t blocked_at;   /* scheduler->let_go when loading was last begun */
    uint64_t blocked_turn; /* who is blocked longest has the lowest */
    size_t allowance;      /* items that may begin while another lane is blocked */
    size_t pending;        /* items in the phases WAITING and READY */
    size_t busy;           /* items in phases that use the engine (READING to LIVE, but READY), and builds of voices */
    size_t begun;          /* items in phases READING to LIVE */
    tmb_fair_queue ready;
    uint64_t finished; /* items */

    /* The scheduler thread's own, but counted under the lock. */
    tmb_item *live[TMB_MAX_BATCH];
    size_t live_count, max_batch;
    size_t active;       /* sequences that take part in the next step */
    size_t kept_out;     /* items that found no place or no memory, at the last look */
    tmb_item *admitting; /* waits for memory */
    tmb_item *returned;  /* gave its place in the queue for memory up: the next one to be admitted */
    atomic_bool admit_granted;
};

/* ---- batch.c: stage 3 ---- */

/* Drops what was stopped, admits what waits and fits, holds whose callers are behind; on the scheduler's thread.
 * Returns how many sequences take part in a step. *wait: seconds until something more may enter. */
size_t tmb_lane_fill(tmb_lane *lane, double *wait);
/* The item that waits to be admitted gives its place in the queue for memory up, and is the next one. With the lock
 * held. */
void tmb_lane_withdraw(tmb_lane *lane);
/* One frame for each of lane->active; `hurried`: other lanes' turns come next. */
void tmb_lane_step(tmb_lane *lane, bool hurried);

/* ---- overflow.c: with the lock held ---- */

/* Sends an item that is about to begin to the overflow lane, if its own is full and there is room; true if it did. */
bool tmb_overflow_take(tmb_scheduler *scheduler, tmb_item *item);
/* Whether an item waits for a place rather than to be prepared for its own lane ahead of time: it may go to whichever
 * has one first. */
bool tmb_overflow_holds_back(const tmb_scheduler *scheduler, const tmb_item *item);
/* An item that is in no queue failed in the overflow lane: if none of its audio went out, it waits for its own lane
 * again. False: it failed for good. */
bool tmb_overflow_return(tmb_scheduler *scheduler, tmb_item *item, const tmb_error *error);

/* ---- lanes.c: which models are loaded ---- */

/* Loads what is needed and lets go what is not. On the scheduler's thread, with the lock held. */
void tmb_lanes_load(tmb_scheduler *scheduler);
void tmb_lanes_let_go(tmb_scheduler *scheduler);
/* Whether a lane may begin another item. With the lock held. */
bool tmb_lane_may_begin(const tmb_lane *lane);
/* Whether other work waits for memory that its own lane will not free. With the lock held. */
bool tmb_lane_is_in_the_way(const tmb_lane *lane);
/* Counts one that begins. */
void tmb_lane_began(tmb_lane *lane);

#endif
