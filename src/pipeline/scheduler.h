/* The orchestrator: one scheduler over all requests of a context.
 *
 * Its thread owns the engine. At every frame boundary it admits what waits and fits, in the order of
 * priority and with groups taking turns; drops what was cancelled or is late; holds sequences whose
 * callers are behind; and steps the batch. Everything else runs on bounded pools.
 */
#ifndef TMB_PIPELINE_SCHEDULER_H
#define TMB_PIPELINE_SCHEDULER_H

#include "pipeline/context.h"
#include "pipeline/item.h"

tmb_status tmb_scheduler_create(tmb_context *context, tmb_scheduler **out, tmb_error *error);

/* Cancels every item, waits for their results, ends the threads. */
void tmb_scheduler_destroy(tmb_scheduler **scheduler);

/* What its items work with. */
const tmb_item_host *tmb_scheduler_host(const tmb_scheduler *scheduler);

/* Queues an item (its reference passes over) and returns its number. */
tmb_status tmb_scheduler_submit(tmb_scheduler *scheduler, tmb_item *item, uint64_t *number, tmb_error *error);
void tmb_scheduler_cancel(tmb_scheduler *scheduler, uint64_t number);
void tmb_scheduler_wait(tmb_scheduler *scheduler);

/* Wakes its thread; from anywhere, whatever locks are held. */
void tmb_scheduler_wake(tmb_scheduler *scheduler);

/* Forgets prepared voices and clean references that nothing live needs. */
void tmb_scheduler_reclaim(tmb_scheduler *scheduler);

/* Adds its numbers to *out. */
void tmb_scheduler_count(tmb_scheduler *scheduler, tmb_statistics *out);
/* Sets those of one model. */
void tmb_scheduler_count_lane(tmb_scheduler *scheduler, size_t lane, tmb_model_statistics *out);
tmb_lane *tmb_scheduler_lane(tmb_scheduler *scheduler, size_t index);

#endif
