#include "pipeline/registry.h"

#include "base/error.h"
#include "base/thread.h"
#include "weights/models.h"

#include <stdlib.h>
#include <string.h>

/* What the official archive takes once loaded, and some room: reserved before its size is known. */
#define DENOISER_ESTIMATE (24u << 20)

void tmb_registry_init(tmb_registry *registry, tmb_budget *budget, tmb_logger *logger, const char *denoiser_path,
                       const tmb_engine_settings *settings) {
    memset(registry, 0, sizeof *registry);
    registry->budget = budget;
    registry->logger = logger;
    registry->denoiser_path = denoiser_path;
    registry->settings = *settings;
    (void)pthread_mutex_init(&registry->lock, NULL);
    (void)pthread_cond_init(&registry->changed, NULL);
}

tmb_status tmb_registry_choose(const tmb_registry *registry, tmb_engine_choice *out, tmb_error *error) {
    if (registry->only != NULL) {
        *out = (tmb_engine_choice){.kind = registry->only};
        return TMB_OK;
    }
    return tmb_engine_choose(&registry->settings, out, error);
}

static const char *kind_name(tmb_model_kind kind) { return kind == TMB_MODEL_DENOISER ? "denoiser" : "engine"; }

static void destroy_model(tmb_model_kind kind, void *model) {
    if (kind == TMB_MODEL_DENOISER) {
        tmb_dfn_model *denoiser = model;
        tmb_dfn_model_release(&denoiser);
    } else {
        tmb_engine *engine = model;
        engine->operations->destroy(engine);
    }
}

void tmb_registry_deinit(tmb_registry *registry) {
    for (int kind = 0; kind < TMB_MODEL_KINDS; kind++) {
        tmb_model_slot *slot = &registry->slots[kind];
        if (slot->model != NULL) {
            destroy_model((tmb_model_kind)kind, slot->model);
            tmb_budget_release(registry->budget, slot->reserved);
        }
    }
    (void)pthread_cond_destroy(&registry->changed);
    (void)pthread_mutex_destroy(&registry->lock);
}

static tmb_status load_denoiser(tmb_registry *registry, tmb_dfn_model **out, tmb_error *error) {
    char *path = NULL;
    tmb_status status = tmb_models_find_denoiser(registry->denoiser_path, NULL, &path, error);
    if (status == TMB_OK) {
        status = tmb_dfn_model_load(path, out, error);
        if (status == TMB_OK) {
            tmb_log(registry->logger, TMB_LOG_INFO, "denoiser loaded from %s", path);
        }
    }
    free(path);
    return status;
}

static uint64_t model_bytes(tmb_model_kind kind, const void *model) {
    if (kind == TMB_MODEL_DENOISER) {
        return tmb_dfn_model_bytes(model);
    }
    const tmb_engine *engine = model;
    return engine->operations->model_bytes(engine);
}

/* What the model really holds takes the place of the estimate. */
static tmb_status settle(tmb_registry *registry, tmb_model_kind kind, void *model, uint64_t *reserved,
                         tmb_error *error) {
    uint64_t bytes = model_bytes(kind, model);
    if (bytes > *reserved) {
        tmb_status status = tmb_budget_grow(registry->budget, bytes - *reserved, kind_name(kind), error);
        if (status != TMB_OK) {
            return status;
        }
    } else {
        tmb_budget_release(registry->budget, *reserved - bytes);
    }
    *reserved = bytes;
    return TMB_OK;
}

/* A model's file that is malformed, of an unknown kind or not readable is a model that does not fit: callers ask
 * whether to look for another model, and not which of its files is wrong. */
static tmb_status as_model_error(tmb_status status, tmb_error *error) {
    if (status != TMB_ERROR_FORMAT && status != TMB_ERROR_UNSUPPORTED && status != TMB_ERROR_IO) {
        return status;
    }
    if (error != NULL) {
        error->status = TMB_ERROR_MODEL;
    }
    return TMB_ERROR_MODEL;
}

/* Reserves and loads; `choice` is the engine's. */
static tmb_status load_chosen(tmb_registry *registry, tmb_model_kind kind, const tmb_engine_choice *choice, void **out,
                              uint64_t *reserved, tmb_error *error) {
    uint64_t estimate = DENOISER_ESTIMATE;
    tmb_status status = TMB_OK;
    if (kind == TMB_MODEL_ENGINE) {
        status = choice->kind->estimate(&registry->settings, choice->folder, &estimate, error);
        status = choice->folder != NULL ? as_model_error(status, error) : status;
    }
    if (status != TMB_OK) {
        return status;
    }
    status = tmb_budget_reserve(registry->budget, estimate, 0,
                                kind == TMB_MODEL_ENGINE ? "the text-to-speech model" : "the denoiser", &registry->stop,
                                error);
    if (status != TMB_OK) {
        return status;
    }
    *reserved = estimate;
    double start = tmb_now();
    if (kind == TMB_MODEL_DENOISER) {
        status = as_model_error(load_denoiser(registry, (tmb_dfn_model **)out, error), error);
    } else {
        status = choice->kind->create(&registry->settings, choice->folder, (tmb_engine **)out, error);
        status = choice->folder != NULL ? as_model_error(status, error) : status;
    }
    if (status == TMB_OK) {
        status = settle(registry, kind, *out, reserved, error);
        tmb_log(registry->logger, TMB_LOG_DEBUG, "%s loaded in %.3f s, %llu bytes", kind_name(kind), tmb_now() - start,
                (unsigned long long)*reserved);
    }
    if (status != TMB_OK) {
        if (*out != NULL) {
            destroy_model(kind, *out);
            *out = NULL;
        }
        tmb_budget_release(registry->budget, *reserved);
        *reserved = 0;
    }
    return status;
}

/* Without the lock; the slot says that it is loading. */
static tmb_status load(tmb_registry *registry, tmb_model_kind kind, void **out, uint64_t *reserved, tmb_error *error) {
    tmb_engine_choice choice = {0};
    *out = NULL;
    *reserved = 0;
    tmb_status status = TMB_OK;
    if (kind == TMB_MODEL_ENGINE) {
        status = tmb_registry_choose(registry, &choice, error);
    }
    if (status == TMB_OK) {
        status = load_chosen(registry, kind, &choice, out, reserved, error);
    }
    /* A model of a kind that timbre cannot use is, to the caller, a model that does not fit. */
    if (status == TMB_ERROR_UNSUPPORTED && (kind == TMB_MODEL_DENOISER || choice.folder != NULL)) {
        status = error->status = TMB_ERROR_MODEL;
    }
    free(choice.folder);
    return status;
}

/* With the lock held; lets go of it while it loads. */
static tmb_status load_slot(tmb_registry *registry, tmb_model_kind kind) {
    tmb_model_slot *slot = &registry->slots[kind];
    slot->loading = true;
    (void)pthread_mutex_unlock(&registry->lock);
    tmb_error failure = {0};
    void *model = NULL;
    uint64_t reserved = 0;
    tmb_status status = load(registry, kind, &model, &reserved, &failure);
    (void)pthread_mutex_lock(&registry->lock);
    slot->loading = false;
    slot->model = model;
    slot->reserved = reserved;
    slot->error = failure;
    slot->attempt++;
    (void)pthread_cond_broadcast(&registry->changed);
    return status;
}

static tmb_status use(tmb_registry *registry, tmb_model_kind kind, void **out, tmb_error *error) {
    tmb_model_slot *slot = &registry->slots[kind];
    tmb_status status = TMB_OK;
    *out = NULL;
    (void)pthread_mutex_lock(&registry->lock);
    if (slot->loading) {
        uint64_t attempt = slot->attempt;
        while (slot->attempt == attempt) {
            (void)pthread_cond_wait(&registry->changed, &registry->lock);
        }
        status = slot->error.status; /* the one attempt's failure is that of all who waited for it */
    }
    while (slot->loading) { /* unloaded and loading again in the meantime */
        (void)pthread_cond_wait(&registry->changed, &registry->lock);
    }
    if (status == TMB_OK && slot->model == NULL) {
        status = load_slot(registry, kind);
    }
    if (status == TMB_OK) {
        slot->users++;
        slot->last_use = tmb_now();
        *out = slot->model;
    } else if (error != NULL) {
        *error = slot->error;
    }
    (void)pthread_mutex_unlock(&registry->lock);
    return status;
}

tmb_status tmb_registry_use_denoiser(tmb_registry *registry, tmb_dfn_model **out, tmb_error *error) {
    return use(registry, TMB_MODEL_DENOISER, (void **)out, error);
}

tmb_status tmb_registry_use_engine(tmb_registry *registry, tmb_engine **out, tmb_error *error) {
    return use(registry, TMB_MODEL_ENGINE, (void **)out, error);
}

void tmb_registry_done(tmb_registry *registry, tmb_model_kind kind) {
    (void)pthread_mutex_lock(&registry->lock);
    registry->slots[kind].users--;
    registry->slots[kind].last_use = tmb_now();
    (void)pthread_mutex_unlock(&registry->lock);
}

/* The idle model that was used longest ago, or TMB_MODEL_KINDS. With the lock held. */
static tmb_model_kind find_idle(const tmb_registry *registry) {
    tmb_model_kind found = TMB_MODEL_KINDS;
    for (int kind = 0; kind < TMB_MODEL_KINDS; kind++) {
        const tmb_model_slot *slot = &registry->slots[kind];
        if (slot->model != NULL && slot->users == 0 &&
            (found == TMB_MODEL_KINDS || slot->last_use < registry->slots[found].last_use)) {
            found = (tmb_model_kind)kind;
        }
    }
    return found;
}

double tmb_registry_unload(tmb_registry *registry, double seconds) {
    double left = -1;
    (void)pthread_mutex_lock(&registry->lock);
    for (;;) {
        tmb_model_kind kind = find_idle(registry);
        if (kind == TMB_MODEL_KINDS) {
            break;
        }
        tmb_model_slot *slot = &registry->slots[kind];
        left = slot->last_use + seconds - tmb_now();
        if (left > 0) {
            break;
        }
        void *model = slot->model;
        uint64_t reserved = slot->reserved;
        slot->model = NULL;
        slot->reserved = 0;
        left = -1;
        (void)pthread_mutex_unlock(&registry->lock);
        destroy_model(kind, model);
        tmb_log(registry->logger, TMB_LOG_INFO, "idle %s unloaded", kind_name(kind));
        tmb_budget_release(registry->budget, reserved);
        (void)pthread_mutex_lock(&registry->lock);
    }
    (void)pthread_mutex_unlock(&registry->lock);
    return left;
}

uint64_t tmb_registry_bytes(tmb_registry *registry) {
    (void)pthread_mutex_lock(&registry->lock);
    uint64_t bytes = 0;
    for (int kind = 0; kind < TMB_MODEL_KINDS; kind++) {
        bytes += registry->slots[kind].reserved;
    }
    (void)pthread_mutex_unlock(&registry->lock);
    return bytes;
}

bool tmb_registry_loaded(tmb_registry *registry, tmb_model_kind kind) {
    (void)pthread_mutex_lock(&registry->lock);
    bool loaded = registry->slots[kind].model != NULL;
    (void)pthread_mutex_unlock(&registry->lock);
    return loaded;
}

tmb_status tmb_registry_resolve_engine(tmb_registry *registry, tmb_engine_choice *out, tmb_error *error) {
    *out = (tmb_engine_choice){0};
    tmb_status status = tmb_registry_choose(registry, out, error);
    return status == TMB_OK && out->kind->check_programs != NULL ? out->kind->check_programs(error) : status;
}

tmb_status tmb_registry_resolve_denoiser(tmb_registry *registry, tmb_error *error) {
    char *path = NULL;
    tmb_status status = tmb_models_find_denoiser(registry->denoiser_path, NULL, &path, error);
    free(path);
    return status;
}

const char *tmb_registry_engine_name(tmb_registry *registry) {
    (void)pthread_mutex_lock(&registry->lock);
    const tmb_engine *engine = registry->slots[TMB_MODEL_ENGINE].model;
    const char *name = engine != NULL ? engine->operations->name : NULL;
    if (name == NULL) {
        tmb_engine_choice choice = {0};
        (void)tmb_registry_choose(registry, &choice, NULL);
        name = choice.kind->name;
        free(choice.folder);
    }
    (void)pthread_mutex_unlock(&registry->lock);
    return name;
}
