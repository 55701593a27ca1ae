/* The phases of an item: the one place that sets them. */
#include "pipeline/scheduler_internal.h"

#include <assert.h>

/* Where an item may go from a phase, a bit each. */
#define TO(phase) (1u << TMB_PHASE_##phase)
static const unsigned ways[] = {
    /* Without a reference there is nothing to read. An item of the overflow lane goes back to wait for its own. */
    [TMB_PHASE_WAITING] = TO(WAITING) | TO(READING) | TO(READY) | TO(OVER),
    /* A saved voice that cannot be used is given up for its reference, or its lane gives way: it begins again. */
    [TMB_PHASE_READING] = TO(BUILDING) | TO(READY) | TO(WAITING) | TO(OVER),
    [TMB_PHASE_BUILDING] = TO(READY) | TO(WAITING) | TO(OVER),
    [TMB_PHASE_READY] = TO(ADMITTING) | TO(OVER),
    /* Its lane gives way to another one; or it failed in the overflow lane, and waits for its own again. */
    [TMB_PHASE_ADMITTING] = TO(LIVE) | TO(READY) | TO(WAITING) | TO(OVER),
    [TMB_PHASE_LIVE] = TO(CLEANING) | TO(WAITING) | TO(OVER),
    [TMB_PHASE_CLEANING] = TO(OVER),
    [TMB_PHASE_OVER] = 0,
};

static bool is_queued(tmb_phase phase) { return phase <= TMB_PHASE_ADMITTING; }

static bool is_preparing(tmb_phase phase) {
    return phase == TMB_PHASE_READING || phase == TMB_PHASE_BUILDING || phase == TMB_PHASE_READY;
}

/* Waits for its lane's model, or does without it for now. */
static bool is_pending(tmb_phase phase) { return phase == TMB_PHASE_WAITING || phase == TMB_PHASE_READY; }

/* Begun, and not yet spoken. */
static bool is_begun(tmb_phase phase) { return phase >= TMB_PHASE_READING && phase <= TMB_PHASE_LIVE; }

/* Uses its lane's engine. */
static bool is_busy(tmb_phase phase) {
    return phase == TMB_PHASE_READING || phase == TMB_PHASE_BUILDING || phase == TMB_PHASE_ADMITTING ||
           phase == TMB_PHASE_LIVE;
}

void tmb_scheduler_enter(tmb_scheduler *scheduler, tmb_item *item) {
    item->phase = TMB_PHASE_WAITING;
    item->lane->pending++;
    scheduler->queued++;
}

void tmb_scheduler_phase(tmb_scheduler *scheduler, tmb_item *item, tmb_phase phase) {
    tmb_phase before = item->phase;
    const bool is_way = (ways[before] & 1u << phase) != 0;
    assert(is_way);
    (void)is_way;
    item->lane->pending += is_pending(phase);
    item->lane->pending -= is_pending(before);
    item->lane->begun += is_begun(phase);
    item->lane->begun -= is_begun(before);
    item->lane->busy += is_busy(phase);
    item->lane->busy -= is_busy(before);
    scheduler->queued += is_queued(phase);
    scheduler->queued -= is_queued(before);
    scheduler->reading += phase == TMB_PHASE_READING;
    scheduler->reading -= before == TMB_PHASE_READING;
    item->entry.group->preparing += is_preparing(phase);
    item->entry.group->preparing -= is_preparing(before);
    item->phase = phase;
}
