/* One clone request on its way.
 *
 * An item's speech is a strand: the scheduler appends what the engine makes, one task at a time takes it
 * through stages 4 and 5, and one task at a time hands it to the caller. Each holds a reference.
 */
#ifndef TMB_PIPELINE_ITEM_H
#define TMB_PIPELINE_ITEM_H

#include "base/thread.h"
#include "pipeline/build.h"
#include "pipeline/fair.h"
#include "pipeline/reading.h"
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

/* Called instead of the result where only the voice is wanted: `voice` NULL with `error` set; `reference` may be NULL.
 */
typedef void (*tmb_voice_sink)(void *user, const tmb_engine_operations *operations, tmb_voice *voice,
                               const tmb_reference_info *reference, const tmb_error *error);

typedef struct tmb_item {
    tmb_fair_entry entry; /* first: queues hand it back */
    _Atomic(int) references;
    tmb_scheduler *scheduler;
    tmb_lane *lane; /* the model that speaks */
    uint64_t number;
    tmb_request request;
    tmb_clone_callbacks callbacks;
    tmb_voice_sink voice_sink; /* or NULL */
    void *voice_user;
    double submitted;   /* time of day, as tmb_now */
    double deadline_at; /* 0 = none */
    atomic_bool stop;   /* it failed or was cancelled: work under way ends at its next step */
    atomic_bool held;   /* the engine leaves its sequence out */

    /* Under the scheduler's lock. */
    tmb_phase phase;
    struct tmb_item *previous, *next; /* all items */
    struct tmb_item *next_waiter;     /* of the same voice */
    struct tmb_item *next_cleaning;
    struct tmb_voice_entry *voice_entry;     /* in phase BUILDING */
    double started, prepared, admitted;      /* times of day */
    const tmb_engine_operations *operations; /* the engine's, since the item began; NULL: it did not */
    bool delivered;
    bool voice_unusable;  /* the saved voice was given up for the reference */
    tmb_error stop_error; /* in phase READING, for the task to end with */

    /* Of the task that reads (phase READING), then of the scheduler's thread. */
    tmb_reading reading;
    bool reading_open;
    tmb_ticket ticket;
    uint64_t reserved; /* bytes of the budget: of the reading, later of the sequence */
    uint64_t sequence_bytes;
    tmb_work read_work;
    tmb_voice *voice;
    tmb_clean *clean;
    bool judged; /* `reference` is known */
    tmb_reference_info reference;
    uint64_t sequence;
    double stalled_since, stalled_backlog; /* while it is held: since when nothing was taken, of so many seconds */

    /* Of the task in stages 4 and 5. */
    tmb_resampler *resampler;
    tmb_enhancer *enhancer;
    tmb_level *level; /* of the engine's speech; NULL: off */
    tmb_fifo piece, made;
    bool last_piece;
    float *whole; /* all of it [whole_count], with want_samples */
    size_t whole_count, whole_capacity;
    uint64_t whole_prepaid; /* bytes that were reserved for it at admission */
    tmb_work post_work;

    /* Of the task that calls back. */
    tmb_fifo handing; /* its count is under `lock` */
    tmb_work deliver_work;

    /* Under `lock`. */
    pthread_mutex_t lock;
    int engine_rate, rate; /* Hz, before and after stages 4 and 5 */
    tmb_fifo input;        /* from the engine, waits for stage 4 */
    bool input_complete;
    bool post_busy;         /* a task of stages 4 and 5 is queued or runs */
    tmb_fifo output;        /* waits for the audio callback */
    uint64_t post_reserved; /* bytes of the budget, `whole` included */
    bool complete;          /* everything is in `output` */
    bool failed;
    bool result_given;
    bool deliver_busy;
    tmb_error failure;
    uint64_t spoken, done; /* samples: by the engine; through stages 4 and 5, at the engine's rate */
    uint64_t produced;     /* samples at `rate` */
    double progress[TMB_STAGE_COUNT];
    unsigned progress_news; /* bit a stage */
    double seconds[TMB_STAGE_COUNT];
    double first_audio; /* seconds from submit, 0 = none yet */
    tmb_finish_reason finish_reason;
    bool instruct_dropped;
    int16_t *codes;
    size_t code_frames, code_books;
    tmb_segment *segments; /* their texts follow in the same block */
    size_t segment_count;
} tmb_item;

tmb_status tmb_item_create(tmb_scheduler *scheduler, const tmb_clone_request *request,
                           const tmb_clone_callbacks *callbacks, bool needs_text, tmb_item **out, tmb_error *error);
tmb_item *tmb_item_retain(tmb_item *item);
void tmb_item_release(tmb_item **item);

/* Bytes that stages 4 and 5, the queues around them and the collected audio are expected to hold. */
uint64_t tmb_item_post_bytes(tmb_item *item, int engine_rate);

/* Before admission: what the engine will speak at. Reserved bytes pass to the item. */
void tmb_item_open_speech(tmb_item *item, int engine_rate, uint64_t reserved);

/* Takes note of an event of the engine; on the scheduler's thread. */
void tmb_item_audio(tmb_item *item, const tmb_engine_event *event);
void tmb_item_finished(tmb_item *item, const tmb_engine_event *event);

/* The voice that was asked for is there: the item is complete. */
void tmb_item_voice_done(tmb_item *item);

/* Ends the item; the first failure counts, and none after the result. */
void tmb_item_fail(tmb_item *item, const tmb_error *error);

/* Seconds of audio between engine and caller. */
double tmb_item_backlog(tmb_item *item);

void tmb_item_progress(tmb_item *item, tmb_stage stage, double fraction);
void tmb_item_add_seconds(tmb_item *item, tmb_stage stage, double seconds);

/* Adds finished audio: to `whole` and, with an audio callback, to what waits for it; `spent` samples of
 * the engine are thereby through. By one thread at a time, without the lock. */
tmb_status tmb_item_add(tmb_item *item, const float *samples, size_t count, uint64_t spent, tmb_error *error);

/* With item->lock held. */
void tmb_item_post(tmb_item *item);    /* starts stages 4 and 5 where there is work and no task */
void tmb_item_deliver(tmb_item *item); /* starts the task that calls back where there is none */

#endif
