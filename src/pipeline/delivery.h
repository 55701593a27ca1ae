/* What the caller gets of an item: progress, audio, at last the result, in order.
 *
 * At most one task at a time calls back, and holds a reference to the item. It knows no scheduler: it reports by the
 * host's events (item.h).
 */
#ifndef TMB_PIPELINE_DELIVERY_H
#define TMB_PIPELINE_DELIVERY_H

#include "base/fifo.h"
#include "base/thread.h"

#include "timbre/timbre.h"

typedef struct tmb_item tmb_item;

typedef struct tmb_item_delivery {
    /* The task's own. */
    tmb_fifo handing; /* its count is under the item's lock */
    tmb_work work;

    /* Under the item's lock. */
    tmb_fifo output; /* waits for the audio callback */
    bool busy;       /* a task is queued or runs */
    bool result_given;
    bool told;         /* who speaks; of the task */
    uint64_t produced; /* samples at the finishing's rate */
    double progress[TMB_STAGE_COUNT];
    unsigned news;                /* bit a stage */
    tmb_reference_info reference; /* to be told, if it is so */
    bool reference_news, reference_told;
    double first_audio; /* seconds from submit, 0 = none yet */
} tmb_item_delivery;

/* Starts the task that calls back if there is none. With the item's lock held. */
void tmb_delivery_kick(tmb_item *item);

#endif
