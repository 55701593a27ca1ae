/* Stages 1 and 2 of an item: its reference is read, and its voice found, built or waited for.
 *
 * A task of the scheduler's pools works on it in phase READING; in the phases before and after it belongs to the
 * scheduler's thread. At the end it has a voice.
 */
#ifndef TMB_PIPELINE_PREPARATION_H
#define TMB_PIPELINE_PREPARATION_H

#include "base/thread.h"
#include "pipeline/build.h"
#include "pipeline/reading.h"

typedef struct tmb_item tmb_item;

typedef struct tmb_item_preparation {
    tmb_reading reading;
    bool open;        /* `reading` is */
    uint64_t samples; /* that it promises */
    bool asked;       /* the ticket was used: its memory is granted, or comes with it */
    tmb_work work;

    /* Under the scheduler's lock. */
    struct tmb_voice_entry *entry; /* in phase BUILDING: whose build it waits for */
    tmb_item *next_waiter;         /* of the same voice */
    tmb_error stop_error;          /* in phase READING, for the task to end with */
    bool voice_unusable;           /* the saved voice was given up for the reference */

    /* What came of it. */
    tmb_voice *voice;
    tmb_clean *clean;
    bool judged; /* `reference` is known */
    tmb_reference_info reference;
} tmb_item_preparation;

#endif
