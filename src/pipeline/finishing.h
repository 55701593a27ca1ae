/* Stages 4 and 5 of an item: what the engine speaks is resampled and denoised while it still speaks, and collected if
 * the result has samples.
 *
 * The scheduler appends to the input; at most one task at a time works on it, which holds a reference to the item. It
 * knows no scheduler: it reports by the host's events (item.h).
 */
#ifndef TMB_PIPELINE_FINISHING_H
#define TMB_PIPELINE_FINISHING_H

#include "base/fifo.h"
#include "base/thread.h"
#include "enhance/enhance.h"
#include "resample/resample.h"
#include "tts/engine.h"

typedef struct tmb_item tmb_item;

typedef struct tmb_item_finishing {
    /* Constant since tmb_finishing_open. */
    tmb_dfn_model *denoiser; /* NULL: without stages 4 and 5 */
    int engine_rate, rate;   /* Hz, before and after them */

    /* The task's own. Without stages 4 and 5, the scheduler thread's. */
    tmb_resampler *resampler;
    tmb_enhancer *enhancer;
    tmb_level *level; /* of the engine's speech; NULL: off */
    tmb_fifo piece, made;
    bool last_piece;
    float *whole; /* all of it [whole_count], with want_samples */
    size_t whole_count, whole_capacity;
    uint64_t whole_prepaid; /* bytes that were reserved for it at admission and are not used yet */
    tmb_work work;

    /* Under the item's lock. */
    tmb_fifo input; /* from the engine, waits for stage 4 */
    bool input_complete;
    bool busy;             /* a task is queued or runs */
    bool complete;         /* everything is in the delivery's output */
    uint64_t reserved;     /* bytes of the budget, `whole` included */
    uint64_t spoken, done; /* samples: by the engine; through stages 4 and 5, at the engine's rate */
} tmb_item_finishing;

/* Bytes that stages 4 and 5, the queues around them and the collected audio are expected to hold; *whole: of them, for
 * the collected audio. `denoiser` NULL: the item goes without. */
uint64_t tmb_finishing_bytes(const tmb_item *item, const tmb_dfn_model *denoiser, int engine_rate, uint64_t *whole);

/* Before admission: the rates are known. `reserved` bytes pass to the item, `whole` of them for the collected audio. */
void tmb_finishing_open(tmb_item *item, tmb_dfn_model *denoiser, int engine_rate, uint64_t reserved, uint64_t whole);
void tmb_finishing_free(tmb_item *item);

/* Takes note of an event of the engine; on the scheduler's thread. */
void tmb_finishing_audio(tmb_item *item, const tmb_engine_event *event);
void tmb_finishing_end(tmb_item *item, const tmb_engine_event *event);

/* The item leaves the batch: the time that it spent there counts if tmb_finishing_end has not counted it. */
void tmb_finishing_left(tmb_item *item);

/* Whether nothing of it is left to do. */
bool tmb_finishing_is_over(tmb_item *item);

#endif
