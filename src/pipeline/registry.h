/* The models of a context: each loads when it is first needed, once, and is shared.
 *
 * Any thread may call. Whoever uses a model says when it is done with it; one that nobody uses can be
 * unloaded, and loads again when it is needed again.
 */
#ifndef TMB_PIPELINE_REGISTRY_H
#define TMB_PIPELINE_REGISTRY_H

#include "enhance/enhance.h"
#include "pipeline/budget.h"
#include "tts/registry.h"

/* Numbers of slots: the denoiser's, then those of the engines, in the order of the settings. */
enum { TMB_MODEL_DENOISER = 0, TMB_MODEL_ENGINE = 1 };

typedef struct tmb_model_slot {
    bool loading;
    void *model;                              /* NULL: not loaded */
    tmb_engine_settings settings;             /* of an engine */
    _Atomic(const tmb_engine_kind *) settled; /* what "auto" came to when it was resolved; NULL: open */
    uint64_t loads;                           /* that succeeded */
    uint64_t reserved;                        /* bytes */
    uint64_t device_reserved;                 /* bytes of the device's memory */
    uint64_t known; /* bytes that it turned out to hold when it was last loaded; whoever loads it has this */
    size_t users;
    atomic_bool again; /* its load waits for memory, and should look again at whether there can be enough */
    double last_use;
    uint64_t attempt; /* counts the attempts to load, so that those who wait for one see its end */
    tmb_error error;  /* of the last attempt */
} tmb_model_slot;

typedef struct tmb_registry {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    tmb_budget *budget, *device_budget;
    uint64_t device_most;               /* bytes of a device that may be used; 0: nine tenths of what is free */
    atomic_uint_fast64_t device_memory; /* device_budget's total as long as nobody else takes of it; 0: not known yet */
    tmb_logger *logger;
    const char *denoiser_path;   /* or NULL: looked up */
    const tmb_engine_kind *only; /* instead of what the settings say; for tests */
    atomic_bool stop;            /* the context closes: loads that wait for memory give up */
    tmb_model_slot *slots;       /* [slot_count] */
    size_t slot_count;
} tmb_registry;

/* For one engine for each of the settings [engine_count]. Strings are borrowed for the life of the models.
 * TMB_ERROR_MEMORY. */
tmb_status tmb_registry_init(tmb_registry *registry, tmb_budget *budget, tmb_budget *device_budget, tmb_logger *logger,
                             const char *denoiser_path, const tmb_engine_settings *settings, size_t engine_count,
                             tmb_error *error);
/* Loads that wait for memory give up; no other will wait. */
void tmb_registry_stop(tmb_registry *registry);
/* No users may be left. */
void tmb_registry_deinit(tmb_registry *registry);

/* Loads if need be (waiting for memory and for a load under way) and becomes a user. */
tmb_status tmb_registry_use_denoiser(tmb_registry *registry, tmb_dfn_model **out, tmb_error *error);
/* `waits`: for memory. *no_room (may be NULL) is set, with TMB_ERROR_MEMORY, if there is none for it now but will be
 * when another engine is unloaded. */
tmb_status tmb_registry_use_engine(tmb_registry *registry, size_t engine, bool waits, bool *no_room, tmb_engine **out,
                                   tmb_error *error);
void tmb_registry_done(tmb_registry *registry, size_t slot);

/* What the settings come to at the moment; loads nothing. From then on "auto" means the engine that was found: a model
 * that comes, half comes or goes meanwhile does not change who speaks. `out->folder` is the caller's. TMB_ERROR_MODEL
 * says how to get what is missing: the model's folder, or a program that the engine runs. */
tmb_status tmb_registry_resolve_engine(tmb_registry *registry, size_t engine, tmb_engine_choice *out, tmb_error *error);
/* Whether the denoiser's archive is there. */
tmb_status tmb_registry_resolve_denoiser(tmb_registry *registry, tmb_error *error);

/* Unloads what nobody has used for `seconds`, least recently used first. Returns the seconds until the
 * next could be due, or -1 if nothing idle is loaded. */
double tmb_registry_unload(tmb_registry *registry, double seconds);
/* Unloads the models that are idle on a device that was lost, but for the slot `except`: as long as they have their
 * share of it, there may be no room for the one that comes back to it. */
void tmb_registry_unload_lost(tmb_registry *registry, size_t except);

/* Bytes that the denoiser and this engine have reserved: what must stay for work on it to go on. */
uint64_t tmb_registry_bytes(tmb_registry *registry, size_t engine);
/* The same of the device's memory. */
uint64_t tmb_registry_device_bytes(tmb_registry *registry, size_t engine);
/* What computes a loaded engine's speech, static storage; NULL: nothing to say. */
const char *tmb_registry_device(tmb_registry *registry, size_t engine);
/* Whether a model is loaded; *bytes and *loads (may be NULL): what it holds, and how often it was loaded. */
bool tmb_registry_loaded(tmb_registry *registry, size_t slot, uint64_t *bytes, uint64_t *loads);
/* Calls back, under the registry's lock, for each server that an engine asks: of the first engine that asks any. */
void tmb_registry_servers(tmb_registry *registry, void (*each)(void *user, const tmb_server_statistics *statistics),
                          void *user);
const char *tmb_registry_engine_name(tmb_registry *registry, size_t engine);
/* The engine that the settings come to, its model found or not; `out->folder` is the caller's. */
tmb_status tmb_registry_choose(const tmb_registry *registry, size_t engine, tmb_engine_choice *out, tmb_error *error);

#endif
