#include "pipeline/registry_device.h"

uint64_t tmb_registry_device_share(const tmb_registry *registry, uint64_t room) {
    const uint64_t most = registry->device_most, usual = room / 10 * 9;
    return most != 0 && most < usual ? most : usual;
}

/* What has become free on a device: nobody waits for what the pool was made small for. A model that is idle is in the
 * pool as long as nobody needs its room, and would keep it small for others. While nothing of ours is there the pool's
 * size is settled anew, since a neighbour may have come or gone; it grows again to the most that it ever was. */
static tmb_status restore_pool(tmb_registry *registry, const tmb_device_hold *hold, tmb_error *error) {
    uint64_t total = 0, reserved = 0, room = 0;
    const uint64_t most = atomic_load(&registry->device_memory);
    tmb_budget_read(registry->device_budget, &total, &reserved);
    if (reserved > 0 && (total >= most || tmb_budget_waits(registry->device_budget))) {
        return TMB_OK;
    }
    tmb_status status = hold->kind->device_room(hold->held, &room, error);
    if (status != TMB_OK) {
        return most > 0 ? TMB_OK : status; /* it is as it was */
    }
    const uint64_t share = tmb_registry_device_share(registry, room);
    if (reserved == 0) {
        atomic_store(&registry->device_memory, share > most ? share : most);
        tmb_budget_resize(registry->device_budget, share);
    } else if (share > total) {
        tmb_budget_resize(registry->device_budget, share < most ? share : most);
    } else if (room < total) {
        tmb_budget_resize(registry->device_budget, room);
    }
    return TMB_OK;
}

void tmb_registry_hold_device(tmb_registry *registry, const tmb_engine_kind *kind, const tmb_engine_settings *settings,
                              tmb_device_hold *out) {
    *out = (tmb_device_hold){.kind = kind};
    if (kind->hold_device == NULL) {
        return;
    }
    out->status = kind->hold_device(settings, &out->held, &out->error);
    if (out->status == TMB_OK && out->held != NULL) {
        out->status = restore_pool(registry, out, &out->error);
    }
    if (out->status != TMB_OK) {
        tmb_registry_release_device(out);
    }
}

void tmb_registry_release_device(tmb_device_hold *hold) {
    if (hold->held != NULL) {
        hold->kind->release_device(hold->held);
        hold->held = NULL;
    }
}

bool tmb_registry_device_is_short(tmb_registry *registry, const tmb_device_hold *hold, uint64_t needed) {
    uint64_t room = 0, total = 0, reserved = 0;
    if (needed == 0 || hold->held == NULL || hold->kind->device_room(hold->held, &room, NULL) != TMB_OK) {
        return false;
    }
    tmb_budget_read(registry->device_budget, &total, &reserved);
    room = reserved > 0 && room >= reserved + needed ? reserved + needed - 1 : room;
    room = room < total ? room : total;
    tmb_log(registry->logger, TMB_LOG_WARNING,
            "the GPU has no room for a model of %.2f GB: its pool shrinks from %.2f to %.2f GB", (double)needed / 1e9,
            (double)total / 1e9, (double)room / 1e9);
    tmb_budget_resize(registry->device_budget, room);
    return true;
}

uint64_t tmb_registry_device_bytes(tmb_registry *registry, size_t engine) {
    (void)pthread_mutex_lock(&registry->lock);
    uint64_t bytes = registry->slots[TMB_MODEL_ENGINE + engine].device_reserved;
    (void)pthread_mutex_unlock(&registry->lock);
    return bytes;
}

const char *tmb_registry_device(tmb_registry *registry, size_t engine) {
    (void)pthread_mutex_lock(&registry->lock);
    const tmb_engine *loaded = registry->slots[TMB_MODEL_ENGINE + engine].model;
    const char *device =
        loaded != NULL && loaded->operations->device != NULL ? loaded->operations->device(loaded) : NULL;
    (void)pthread_mutex_unlock(&registry->lock);
    return device;
}
