/* One clone request on its way.
 *
 * Speech flows through a serial queue: the scheduler appends what the engine makes, at most one task at a time runs
 * stages 4 and 5, and at most one task at a time calls back. Each holds a reference to the item.
 */
#ifndef TMB_PIPELINE_ITEM_H
#define TMB_PIPELINE_ITEM_H

#include "pipeline/budget.h"
#include "pipeline/delivery.h"
#include "pipeline/fair.h"
#include "pipeline/finishing.h"
#include "pipeline/preparation.h"
#include "pipeline/request.h"

/* Seconds of audio that may lie between the engine and the caller before the sequence is held, and at
 * which it goes on. */
#define TMB_BACKLOG_HOLD 5.0
#define TMB_BACKLOG_RESUME 2.5
/* Seconds that a held item keeps its place while its listener takes nothing and others wait for a place. What is handed
 * over at a time may be TMB_BACKLOG_HOLD seconds: somebody who listens as fast as it sounds is never that still. */
#define TMB_STALL_SECONDS 10.0

typedef struct tmb_scheduler tmb_scheduler;
typedef struct tmb_lane tmb_lane;

typedef enum tmb_phase {
    TMB_PHASE_WAITING,   /* submitted */
    TMB_PHASE_READING,   /* its reference is being read */
    TMB_PHASE_BUILDING,  /* waits for its voice */
    TMB_PHASE_READY,     /* waits for stage 3 */
    TMB_PHASE_ADMITTING, /* waits for memory, next in line */
    TMB_PHASE_LIVE,      /* in the batch */
    TMB_PHASE_CLEANING,  /* spoken: stages 4 and 5 have the rest of it */
    TMB_PHASE_OVER       /* the scheduler has nothing more to do for it */
} tmb_phase;

/* Called instead of the result if only the voice is wanted: `voice` NULL with `error` set; `reference` may be NULL.
 */
typedef void (*tmb_voice_sink)(void *user, const tmb_engine_operations *operations, tmb_voice *voice,
                               const tmb_reference_info *reference, const tmb_error *error);

/* What the items of a scheduler work with, and whom they tell; constant as long as it lives. */
typedef struct tmb_item_host {
    tmb_budget *budget, *device_budget;
    tmb_logger *logger;
    tmb_pool *resample, *enhance, *deliver;

    /* Events go one way, to the scheduler. Its thread should look again: from any thread, whatever locks are held. */
    void (*news)(tmb_scheduler *scheduler);
    /* The item's result is about to be given, and: was given. Without locks. */
    void (*result)(tmb_scheduler *scheduler, const tmb_item *item);
    void (*delivered)(tmb_scheduler *scheduler, tmb_item *item);
    /* The name of the model that speaks; NULL before anybody asked what it is. */
    const char *(*model_name)(const tmb_item *item);
} tmb_item_host;

/* One struct for each owner; what is here belongs to all of them, or to the scheduler. */
struct tmb_item {
    tmb_fair_entry entry; /* first: queues hand it back */
    _Atomic(int) references;
    const tmb_item_host *host;
    tmb_scheduler *scheduler;
    tmb_lane *lane; /* the model that speaks */
    uint64_t number;
    tmb_item_request request;
    tmb_clone_callbacks callbacks;
    tmb_voice_sink voice_sink; /* or NULL */
    void *voice_user;
    double submitted;   /* monotonic seconds, see tmb_now */
    double deadline_at; /* 0 = none */
    atomic_bool stop;   /* it failed or was cancelled: work under way ends at its next step */
    atomic_bool held;   /* the engine leaves its sequence out */

    tmb_item_preparation preparation;
    tmb_item_finishing finishing;
    tmb_item_delivery delivery;

    /* The scheduler's, under its lock. */
    tmb_phase phase;
    struct tmb_item *previous, *next; /* all items */
    struct tmb_item *next_cleaning;
    double started, prepared, admitted;      /* seconds, as `submitted` */
    const tmb_engine_operations *operations; /* the engine's, since the item began; NULL: it did not */
    bool delivered;
    tmb_lane *home; /* the lane that it overflowed from, or NULL */
    bool stays;     /* it came back from there, and does not go again */
    bool was_voice; /* its saved voice was given up for the reference on the way */

    /* The memory that it waits for or has: in phase READING the task's, then the scheduler's thread's. */
    tmb_ticket ticket;
    uint64_t reserved; /* bytes of the budget: of the reading, later of the sequence */
    tmb_ticket device_ticket;
    bool device_asked;        /* the ticket is in use: the host's memory is granted */
    uint64_t device_reserved; /* bytes of the device's budget, of the sequence */
    bool device_tried;        /* the device had no room for it, though it was alone there */

    /* The scheduler thread's own: the sequence. */
    uint64_t sequence_bytes, whole_bytes; /* of `ticket`: the sequence's, the collected audio's */
    uint64_t sequence;
    double stalled_since, stalled_backlog; /* while it is held: since when nothing was taken, of so many seconds */

    /* Under `lock`: how it went. */
    pthread_mutex_t lock;
    bool failed;
    tmb_error failure;
    double seconds[TMB_STAGE_COUNT];
    tmb_finish_reason finish_reason;
    bool instruct_dropped;
    int16_t *codes;
    size_t code_frames, code_books;
    tmb_segment *segments; /* their texts follow in the same block */
    size_t segment_count;
};

/* `host` is borrowed as long as the item lives. */
tmb_status tmb_item_create(tmb_scheduler *scheduler, const tmb_item_host *host, const tmb_clone_request *request,
                           const tmb_clone_callbacks *callbacks, bool needs_text, tmb_item **out, tmb_error *error);
tmb_item *tmb_item_retain(tmb_item *item);
void tmb_item_release(tmb_item **item);

/* The voice that was asked for is there: the item is complete. */
void tmb_item_voice_done(tmb_item *item);

/* Ends the item; the first failure counts, and none after the result. */
void tmb_item_fail(tmb_item *item, const tmb_error *error);

/* Seconds of audio between engine and caller. */
double tmb_item_backlog(tmb_item *item);

void tmb_item_progress(tmb_item *item, tmb_stage stage, double fraction);
/* Its reference was judged and is good enough: the caller is told, the first time. With the scheduler's lock held. */
void tmb_item_judged(tmb_item *item);
void tmb_item_add_seconds(tmb_item *item, tmb_stage stage, double seconds);

#endif
