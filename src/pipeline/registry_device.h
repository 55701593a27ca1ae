/* The device's side of loading a model: it is held while that lasts, and its pool is as large as it can be. */
#ifndef TMB_PIPELINE_REGISTRY_DEVICE_H
#define TMB_PIPELINE_REGISTRY_DEVICE_H

#include "pipeline/registry.h"

typedef struct tmb_device_hold {
    const tmb_engine_kind *kind;
    void *held;        /* NULL: the model is the CPU's, or the device cannot be used at the moment */
    tmb_status status; /* of taking hold */
    tmb_error error;
} tmb_device_hold;

/* Takes hold of what the settings ask for, and gives its pool what has become free there. */
void tmb_registry_hold_device(tmb_registry *registry, const tmb_engine_kind *kind, const tmb_engine_settings *settings,
                              tmb_device_hold *out);
void tmb_registry_release_device(tmb_device_hold *hold);

/* Bytes of a device's `room` that its pool takes: nine tenths, and no more than was asked for. The driver and
 * neighbours come to need the rest. */
uint64_t tmb_registry_device_share(const tmb_registry *registry, uint64_t room);

/* Whether it is worth another try: the device had less room for a model of `needed` bytes than its pool said. The pool
 * is then what is there, and if something else has a share of it, the model waits for that. */
bool tmb_registry_device_is_short(tmb_registry *registry, const tmb_device_hold *hold, uint64_t needed);

#endif
