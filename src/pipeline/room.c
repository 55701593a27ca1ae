/* A device's memory is not this process's alone: what its pool says is there may have gone to a neighbour. The pool is
 * then what is there, and the item or model that found it out waits as any other does. On the scheduler's thread. */
#include "pipeline/scheduler_internal.h"

#include "base/error.h"
#include "pipeline/registry_device.h"

static uint64_t room_of(const tmb_lane *lane, bool alone) {
    const tmb_engine_operations *operations = lane->engine->operations;
    return operations->device_room != NULL ? operations->device_room(lane->engine, alone) : 0;
}

/* The item is as before it was given its memory, and the next to be admitted. */
static void go_back(tmb_lane *lane, tmb_item *item) {
    tmb_scheduler *scheduler = lane->scheduler;
    tmb_context *context = scheduler->context;
    (void)pthread_mutex_lock(&item->lock);
    uint64_t finishing = item->finishing.reserved;
    item->finishing.reserved = 0;
    item->seconds[TMB_STAGE_QUEUED] = 0; /* it is counted anew, from the item's arrival */
    (void)pthread_mutex_unlock(&item->lock);
    tmb_budget_release(&context->budget, item->reserved + finishing);
    tmb_budget_release(&context->device_budget, item->device_reserved);
    item->reserved = item->device_reserved = 0;
    (void)pthread_mutex_lock(&scheduler->lock);
    tmb_scheduler_phase(scheduler, item, TMB_PHASE_READY);
    lane->returned = item;
    (void)pthread_mutex_unlock(&scheduler->lock);
}

bool tmb_room_await(tmb_lane *lane, tmb_item *item) {
    tmb_context *context = lane->scheduler->context;
    tmb_budget *budget = &context->device_budget;
    uint64_t bytes = item->device_reserved, total = 0, reserved = 0;
    tmb_budget_read(budget, &total, &reserved);
    /* Somebody else has a share of the device, who will give it back. */
    bool alone = reserved <= bytes + tmb_registry_device_bytes(&context->registry, lane->index);
    uint64_t room = bytes > 0 && !(alone && item->device_tried) ? room_of(lane, alone) : 0;
    if (room == 0) {
        return false;
    }
    item->device_tried = alone;
    /* Less than what it takes, so that it waits for one of them. */
    room = !alone && room >= reserved ? reserved - 1 : room;
    room = room < total ? room : total;
    tmb_log(&context->logger, TMB_LOG_WARNING,
            "the GPU has no room for an item of %.1f MB: its pool shrinks from %.1f to %.1f MB", (double)bytes / 1e6,
            (double)total / 1e6, (double)room / 1e6);
    go_back(lane, item);
    tmb_budget_resize(budget, room);
    return true;
}

void tmb_room_restore(tmb_lane *lane) {
    tmb_context *context = lane->scheduler->context;
    uint64_t total = 0, reserved = 0;
    const uint64_t size = atomic_load(&context->registry.device_memory);
    tmb_budget_read(&context->device_budget, &total, &reserved);
    bool alone = reserved <= tmb_registry_device_bytes(&context->registry, lane->index);
    if (!alone || total >= size) {
        return;
    }
    const uint64_t share = tmb_registry_device_share(&context->registry, room_of(lane, false));
    if (share > total) {
        tmb_budget_resize(&context->device_budget, share < size ? share : size);
    }
}

bool tmb_room_is_too_small(const tmb_lane *lane, const tmb_item *item, tmb_error *error) {
    tmb_context *context = lane->scheduler->context;
    uint64_t total = 0, reserved = 0, model = tmb_registry_device_bytes(&context->registry, lane->index);
    if (!item->device_asked) {
        return false;
    }
    tmb_budget_read(&context->device_budget, &total, &reserved);
    if (model <= total && item->device_ticket.bytes <= total - model) {
        return false;
    }
    (void)tmb_fail(
        error, TMB_ERROR_MEMORY,
        "this item needs %.1f MB in addition to %.1f MB of models, and the GPU has no more than %.1f MB left for them",
        (double)item->device_ticket.bytes / 1e6, (double)model / 1e6, (double)total / 1e6);
    return true;
}
