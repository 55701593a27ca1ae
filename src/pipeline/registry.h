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

typedef enum tmb_model_kind { TMB_MODEL_DENOISER = 0, TMB_MODEL_ENGINE, TMB_MODEL_KINDS } tmb_model_kind;

typedef struct tmb_model_slot {
    bool loading;
    void *model;       /* NULL: not loaded */
    uint64_t reserved; /* bytes */
    size_t users;
    double last_use;
    uint64_t attempt; /* counts the attempts to load, so that those who wait for one see its end */
    tmb_error error;  /* of the last attempt */
} tmb_model_slot;

typedef struct tmb_registry {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    tmb_budget *budget;
    tmb_logger *logger;
    const char *denoiser_path; /* or NULL: looked up */
    tmb_engine_settings settings;
    const tmb_engine_kind *only; /* instead of what the settings say; for tests */
    atomic_bool stop;            /* the context closes: loads that wait for memory give up */
    tmb_model_slot slots[TMB_MODEL_KINDS];
} tmb_registry;

/* Strings are borrowed for the life of the models. */
void tmb_registry_init(tmb_registry *registry, tmb_budget *budget, tmb_logger *logger, const char *denoiser_path,
                       const tmb_engine_settings *settings);
/* No users may be left. */
void tmb_registry_deinit(tmb_registry *registry);

/* Loads if need be (waiting for memory and for a load under way) and becomes a user. */
tmb_status tmb_registry_use_denoiser(tmb_registry *registry, tmb_dfn_model **out, tmb_error *error);
tmb_status tmb_registry_use_engine(tmb_registry *registry, tmb_engine **out, tmb_error *error);
void tmb_registry_done(tmb_registry *registry, tmb_model_kind kind);

/* What the settings come to at the moment; loads nothing. `out->folder` is the caller's. TMB_ERROR_MODEL says how to
 * get what is missing: the model's folder, or a program that the engine runs. */
tmb_status tmb_registry_resolve_engine(tmb_registry *registry, tmb_engine_choice *out, tmb_error *error);
/* Whether the denoiser's archive is there. */
tmb_status tmb_registry_resolve_denoiser(tmb_registry *registry, tmb_error *error);

/* Unloads what nobody has used for `seconds`, least recently used first. Returns the seconds until the
 * next could be due, or -1 where nothing idle is loaded. */
double tmb_registry_unload(tmb_registry *registry, double seconds);

/* Bytes that loaded and loading models have reserved; whether one is loaded. */
uint64_t tmb_registry_bytes(tmb_registry *registry);
bool tmb_registry_loaded(tmb_registry *registry, tmb_model_kind kind);
const char *tmb_registry_engine_name(tmb_registry *registry);
/* The engine that the settings come to, its model found or not; `out->folder` is the caller's. */
tmb_status tmb_registry_choose(const tmb_registry *registry, tmb_engine_choice *out, tmb_error *error);

#endif
