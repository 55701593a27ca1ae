#include "pipeline/registry.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "pipeline/registry_device.h"
#include "weights/models.h"

#include <stdlib.h>
#include <string.h>

/* What the official archive takes once loaded, and some room: reserved before its size is known. */
#define DENOISER_ESTIMATE (24u << 20)

tmb_status tmb_registry_init(tmb_registry *registry, tmb_budget *budget, tmb_budget *device_budget, tmb_logger *logger,
                             const char *denoiser_path, const tmb_engine_settings *settings, size_t engine_count,
                             tmb_error *error) {
    memset(registry, 0, sizeof *registry);
    registry->slot_count = TMB_MODEL_ENGINE + engine_count;
    registry->slots = tmb_calloc(registry->slot_count, sizeof *registry->slots);
    if (registry->slots == NULL) {
        return tmb_fail_memory(error, "the models", registry->slot_count * sizeof *registry->slots);
    }
    for (size_t i = 0; i < engine_count; i++) {
        registry->slots[TMB_MODEL_ENGINE + i].settings = settings[i];
    }
    registry->budget = budget;
    registry->device_budget = device_budget;
    registry->logger = logger;
    registry->denoiser_path = denoiser_path;
    (void)pthread_mutex_init(&registry->lock, NULL);
    (void)pthread_cond_init(&registry->changed, NULL);
    return TMB_OK;
}

tmb_status tmb_registry_choose(const tmb_registry *registry, size_t engine, tmb_engine_choice *out, tmb_error *error) {
    if (registry->only != NULL) {
        *out = (tmb_engine_choice){.kind = registry->only};
        return TMB_OK;
    }
    const tmb_model_slot *slot = &registry->slots[TMB_MODEL_ENGINE + engine];
    const tmb_engine_kind *settled = atomic_load(&slot->settled);
    tmb_engine_settings settings = slot->settings;
    if (settled != NULL) {
        settings.name = settled->name;
    }
    return tmb_engine_choose(&settings, out, error);
}

static const char *slot_name(size_t slot) { return slot == TMB_MODEL_DENOISER ? "denoiser" : "engine"; }

static void destroy_model(size_t slot, void *model) {
    if (slot == TMB_MODEL_DENOISER) {
        tmb_dfn_model *denoiser = model;
        tmb_dfn_model_release(&denoiser);
    } else {
        tmb_engine *engine = model;
        engine->operations->destroy(engine);
    }
}

void tmb_registry_stop(tmb_registry *registry) {
    if (registry->slots == NULL) {
        return;
    }
    atomic_store(&registry->stop, true);
    for (size_t i = 0; i < registry->slot_count; i++) {
        atomic_store(&registry->slots[i].again, true);
    }
    tmb_budget_wake(registry->budget);
    tmb_budget_wake(registry->device_budget);
}

void tmb_registry_deinit(tmb_registry *registry) {
    if (registry->slots == NULL) {
        return;
    }
    for (size_t i = 0; i < registry->slot_count; i++) {
        if (registry->slots[i].model != NULL) {
            destroy_model(i, registry->slots[i].model);
            tmb_budget_release(registry->budget, registry->slots[i].reserved);
            tmb_budget_release(registry->device_budget, registry->slots[i].device_reserved);
        }
    }
    free(registry->slots);
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

static uint64_t model_bytes(size_t slot, const void *model) {
    if (slot == TMB_MODEL_DENOISER) {
        return tmb_dfn_model_bytes(model);
    }
    const tmb_engine *engine = model;
    return engine->operations->model_bytes(engine);
}

static uint64_t device_bytes(size_t slot, const void *model) {
    const tmb_engine *engine = model;
    return slot == TMB_MODEL_DENOISER || engine->operations->device_bytes == NULL
               ? 0
               : engine->operations->device_bytes(engine);
}

/* Bytes that are reserved in each pool. */
typedef struct holding {
    uint64_t host, device;
} holding;

/* What the model really holds takes the place of the estimate. */
static tmb_status settle_pool(tmb_budget *budget, size_t slot, uint64_t bytes, uint64_t *reserved, tmb_error *error) {
    if (bytes > *reserved) {
        tmb_status status = tmb_budget_grow(budget, bytes - *reserved, slot_name(slot), error);
        if (status != TMB_OK) {
            return status;
        }
    } else {
        tmb_budget_release(budget, *reserved - bytes);
    }
    *reserved = bytes;
    return TMB_OK;
}

static tmb_status settle(tmb_registry *registry, size_t slot, void *model, holding *reserved, tmb_error *error) {
    tmb_status status = settle_pool(registry->budget, slot, model_bytes(slot, model), &reserved->host, error);
    return status == TMB_OK
               ? settle_pool(registry->device_budget, slot, device_bytes(slot, model), &reserved->device, error)
               : status;
}

static void release(tmb_registry *registry, holding *reserved) {
    tmb_budget_release(registry->budget, reserved->host);
    tmb_budget_release(registry->device_budget, reserved->device);
    *reserved = (holding){0, 0};
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

/* Bytes of models that stay while this one is wanted: work that needs both would wait for ever. One of several engines
 * can be unloaded for the sake of another model. */
static uint64_t stays(tmb_registry *registry, size_t slot) {
    bool is_engine = slot != TMB_MODEL_DENOISER;
    (void)pthread_mutex_lock(&registry->lock);
    const tmb_model_slot *other = is_engine                                      ? &registry->slots[TMB_MODEL_DENOISER]
                                  : registry->slot_count == TMB_MODEL_ENGINE + 1 ? &registry->slots[TMB_MODEL_ENGINE]
                                                                                 : NULL;
    uint64_t bytes = other != NULL && other->users != 0 ? other->reserved : 0;
    (void)pthread_mutex_unlock(&registry->lock);
    return bytes;
}

/* Whether a model of so many bytes can be loaded once others have gone. */
static bool will_fit(tmb_registry *registry, size_t slot, uint64_t bytes) {
    uint64_t total = 0, reserved = 0, together = stays(registry, slot);
    tmb_budget_read(registry->budget, &total, &reserved);
    return together <= total && bytes <= total - together;
}

/* How a model is loaded: whether it waits for memory, and what became of it. */
typedef struct loading {
    bool waits;
    bool no_room; /* not now: another engine must be unloaded first */
    bool refused; /* by the device's pool, which has no room that could be waited for */
} loading;

/* A model that came into use while this one waited may leave too little for it, for ever: then it fails. */
static tmb_status await_host(tmb_registry *registry, size_t slot, uint64_t bytes, const char *what, tmb_error *error) {
    atomic_bool *again = &registry->slots[slot].again;
    tmb_status status;
    do {
        atomic_store(again, false);
        status = tmb_budget_reserve(registry->budget, bytes, stays(registry, slot), what,
                                    atomic_load(&registry->stop) ? &registry->stop : again, error);
    } while (status == TMB_ERROR_CANCELLED && !atomic_load(&registry->stop));
    return status;
}

/* A load that does not wait goes behind what does: two models that come and go in turn would otherwise take the memory
 * again and again that somebody waits for. */
static tmb_status behind_others(const char *what, loading *how, tmb_error *error) {
    how->no_room = true;
    return tmb_fail(error, TMB_ERROR_MEMORY, "%s: others wait for memory before it", what);
}

/* Reserves `bytes` for a slot, waiting for them, or now or not at all. */
static tmb_status reserve_host(tmb_registry *registry, size_t slot, uint64_t bytes, const char *what, loading *how,
                               tmb_error *error) {
    if (how->waits) {
        return await_host(registry, slot, bytes, what, error);
    }
    const bool fits = will_fit(registry, slot, bytes);
    if (fits && tmb_budget_waits(registry->budget)) {
        return behind_others(what, how, error);
    }
    tmb_status status = tmb_budget_grow(registry->budget, bytes, what, error);
    how->no_room = status != TMB_OK && fits;
    return status;
}

static tmb_status reserve_device(tmb_registry *registry, uint64_t bytes, const char *what, loading *how,
                                 tmb_error *error) {
    if (bytes == 0) {
        return TMB_OK;
    }
    if (how->waits) {
        return tmb_budget_reserve(registry->device_budget, bytes, 0, what, &registry->stop, error);
    }
    uint64_t total = 0, reserved = 0;
    tmb_budget_read(registry->device_budget, &total, &reserved);
    if (bytes <= total && tmb_budget_waits(registry->device_budget)) {
        return behind_others(what, how, error);
    }
    tmb_status status = tmb_budget_grow(registry->device_budget, bytes, what, error);
    how->no_room = status != TMB_OK && bytes <= total;
    return status;
}

static tmb_status reserve(tmb_registry *registry, size_t slot, const holding *estimate, loading *how, holding *reserved,
                          tmb_error *error) {
    const char *what = slot != TMB_MODEL_DENOISER ? "the text-to-speech model" : "the denoiser";
    tmb_status status = reserve_host(registry, slot, estimate->host, what, how, error);
    if (status != TMB_OK) {
        return status;
    }
    reserved->host = estimate->host;
    status = reserve_device(registry, estimate->device, what, how, error);
    if (status != TMB_OK) {
        how->refused = status == TMB_ERROR_MEMORY && !how->no_room;
        release(registry, reserved);
        return status;
    }
    reserved->device = estimate->device;
    return TMB_OK;
}

/* A load: of an engine with its settings on its device, or of the denoiser. */
typedef struct engine_load {
    const tmb_engine_choice *choice; /* NULL: the denoiser */
    tmb_engine_settings settings;
    tmb_device_hold device;
    bool again; /* the device had less room than its pool said, which is right by now */
} engine_load;

static tmb_status estimate_engine(const engine_load *a, holding *out, tmb_error *error) {
    const tmb_engine_choice *choice = a->choice;
    tmb_status status = choice->kind->estimate(&a->settings, choice->folder, &out->host, error);
    if (status == TMB_OK && choice->kind->estimate_device != NULL) {
        status = choice->kind->estimate_device(&a->settings, choice->folder, &out->device, error);
    }
    if (status == TMB_OK && out->device > 0 && a->device.status != TMB_OK) { /* it does not go without */
        status = a->device.status;
        *error = a->device.error;
    }
    return choice->folder != NULL ? as_model_error(status, error) : status;
}

static tmb_status create_engine(tmb_registry *registry, engine_load *a, const holding *estimate, void **out,
                                holding *reserved, tmb_error *error) {
    const tmb_engine_choice *choice = a->choice;
    tmb_status status = choice->kind->create(&a->settings, choice->folder, (tmb_engine **)out, error);
    status = choice->folder != NULL ? as_model_error(status, error) : status;
    bool fails = status == TMB_ERROR_MEMORY;
    if (fails) {
        release(registry, reserved);
    }
    a->again = fails && !a->again && tmb_registry_device_is_short(registry, &a->device, estimate->device);
    return status;
}

static tmb_status load_once(tmb_registry *registry, size_t slot, engine_load *a, loading *how, void **out,
                            holding *reserved, tmb_error *error) {
    uint64_t used = 0;
    holding estimate = {DENOISER_ESTIMATE, 0};
    tmb_status status = TMB_OK;
    how->refused = false;
    tmb_budget_read(registry->device_budget, &a->settings.device_memory, &used);
    if (a->choice != NULL) {
        status = estimate_engine(a, &estimate, error);
        const uint64_t known = registry->slots[slot].known;
        estimate.host = known > estimate.host ? known : estimate.host;
    }
    if (status == TMB_OK) {
        status = reserve(registry, slot, &estimate, how, reserved, error);
    }
    if (status != TMB_OK) {
        a->again = false;
        return status;
    }
    double start = tmb_now();
    status = a->choice != NULL ? create_engine(registry, a, &estimate, out, reserved, error)
                               : as_model_error(load_denoiser(registry, (tmb_dfn_model **)out, error), error);
    if (status == TMB_OK) {
        uint64_t bytes = model_bytes(slot, *out);
        registry->slots[slot].known = bytes;
        status = settle(registry, slot, *out, reserved, error);
        if (status != TMB_OK && registry->slot_count > TMB_MODEL_ENGINE + 1) {
            how->no_room = will_fit(registry, slot, bytes); /* it is larger than it looked */
        }
        tmb_log(registry->logger, TMB_LOG_DEBUG, "%s loaded in %.3f s, %llu bytes", slot_name(slot), tmb_now() - start,
                (unsigned long long)reserved->host);
    }
    if (status != TMB_OK) {
        if (*out != NULL) {
            destroy_model(slot, *out);
            *out = NULL;
        }
        release(registry, reserved);
    }
    return status;
}

/* Reserves and loads; `choice` is the engine's. */
static tmb_status load_chosen(tmb_registry *registry, size_t slot, const tmb_engine_choice *choice, loading *how,
                              void **out, holding *reserved, tmb_error *error) {
    engine_load a = {.settings = registry->slots[slot].settings};
    if (slot != TMB_MODEL_DENOISER) {
        a.choice = choice;
        tmb_registry_hold_device(registry, choice->kind, &a.settings, &a.device);
        a.settings.without_device = a.device.status != TMB_OK ? a.device.error.message : NULL;
    }
    tmb_status status = load_once(registry, slot, &a, how, out, reserved, error);
    if (a.again) {
        status = load_once(registry, slot, &a, how, out, reserved, error);
    }
    if (status == TMB_ERROR_MEMORY && how->refused) { /* an engine that may, goes without */
        a.device.status = status;
        a.device.error = *error;
        a.settings.without_device = a.device.error.message;
        status = load_once(registry, slot, &a, how, out, reserved, error);
    }
    tmb_registry_release_device(&a.device);
    return status;
}

/* Without the lock; the slot says that it is loading. */
static tmb_status load(tmb_registry *registry, size_t slot, loading *how, void **out, holding *reserved,
                       tmb_error *error) {
    tmb_engine_choice choice = {0};
    *out = NULL;
    *reserved = (holding){0, 0};
    tmb_status status = TMB_OK;
    if (slot != TMB_MODEL_DENOISER) {
        status = tmb_registry_choose(registry, slot - TMB_MODEL_ENGINE, &choice, error);
    }
    if (status == TMB_OK) {
        status = load_chosen(registry, slot, &choice, how, out, reserved, error);
    }
    /* A model of a kind that timbre cannot use is, to the caller, a model that does not fit. */
    if (status == TMB_ERROR_UNSUPPORTED && (slot == TMB_MODEL_DENOISER || choice.folder != NULL)) {
        status = error->status = TMB_ERROR_MODEL;
    }
    free(choice.folder);
    return status;
}

/* With the lock held; lets go of it while it loads. */
static tmb_status load_slot(tmb_registry *registry, size_t index, loading *how) {
    tmb_model_slot *slot = &registry->slots[index];
    slot->loading = true;
    (void)pthread_mutex_unlock(&registry->lock);
    tmb_error failure = {0};
    void *model = NULL;
    holding reserved = {0, 0};
    tmb_status status = load(registry, index, how, &model, &reserved, &failure);
    (void)pthread_mutex_lock(&registry->lock);
    slot->loading = false;
    slot->model = model;
    slot->reserved = reserved.host;
    slot->device_reserved = reserved.device;
    slot->error = failure;
    slot->loads += status == TMB_OK;
    slot->attempt++;
    (void)pthread_cond_broadcast(&registry->changed);
    return status;
}

/* A model is in use that was not: `stays` is another for those that load. With the lock held; true if there are any. */
static bool came_into_use(tmb_registry *registry, size_t index) {
    bool any = false;
    if (index != TMB_MODEL_DENOISER && registry->slot_count != TMB_MODEL_ENGINE + 1) {
        return false; /* one of several engines does not stay */
    }
    for (size_t i = 0; i < registry->slot_count; i++) {
        if (i != index && registry->slots[i].loading) {
            atomic_store(&registry->slots[i].again, true);
            any = true;
        }
    }
    return any;
}

/* The slot of the idle model that was used longest ago, or slot_count. With the lock held. */
static size_t find_idle(const tmb_registry *registry) {
    size_t found = registry->slot_count;
    for (size_t i = 0; i < registry->slot_count; i++) {
        const tmb_model_slot *slot = &registry->slots[i];
        if (slot->model != NULL && slot->users == 0 &&
            (found == registry->slot_count || slot->last_use < registry->slots[found].last_use)) {
            found = i;
        }
    }
    return found;
}

/* With the lock held; lets go of it meanwhile. */
static void unload_idle(tmb_registry *registry, size_t index) {
    tmb_model_slot *slot = &registry->slots[index];
    void *model = slot->model;
    holding reserved = {slot->reserved, slot->device_reserved};
    slot->model = NULL;
    slot->reserved = slot->device_reserved = 0;
    (void)pthread_mutex_unlock(&registry->lock);
    destroy_model(index, model);
    tmb_log(registry->logger, TMB_LOG_INFO, "idle %s unloaded", slot_name(index));
    release(registry, &reserved);
    (void)pthread_mutex_lock(&registry->lock);
}

void tmb_registry_unload_lost(tmb_registry *registry, size_t except) {
    (void)pthread_mutex_lock(&registry->lock);
    for (size_t i = TMB_MODEL_ENGINE; i < registry->slot_count; i++) {
        const tmb_model_slot *slot = &registry->slots[i];
        const tmb_engine *engine = slot->model;
        if (i != except && engine != NULL && slot->users == 0 && tmb_engine_device_lost(engine)) {
            unload_idle(registry, i);
        }
    }
    (void)pthread_mutex_unlock(&registry->lock);
}

static tmb_status use(tmb_registry *registry, size_t index, loading *how, void **out, tmb_error *error) {
    tmb_model_slot *slot = &registry->slots[index];
    tmb_status status = TMB_OK;
    *out = NULL;
    tmb_registry_unload_lost(registry, index);
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
        status = load_slot(registry, index, how);
    }
    bool wake = false;
    if (status == TMB_OK) {
        wake = slot->users++ == 0 && came_into_use(registry, index);
        slot->last_use = tmb_now();
        *out = slot->model;
    } else if (error != NULL) {
        *error = slot->error;
    }
    (void)pthread_mutex_unlock(&registry->lock);
    if (wake) {
        tmb_budget_wake(registry->budget);
    }
    return status;
}

tmb_status tmb_registry_use_denoiser(tmb_registry *registry, tmb_dfn_model **out, tmb_error *error) {
    loading how = {.waits = true};
    return use(registry, TMB_MODEL_DENOISER, &how, (void **)out, error);
}

tmb_status tmb_registry_use_engine(tmb_registry *registry, size_t engine, bool waits, bool *no_room, tmb_engine **out,
                                   tmb_error *error) {
    loading how = {.waits = waits};
    tmb_status status = use(registry, TMB_MODEL_ENGINE + engine, &how, (void **)out, error);
    if (no_room != NULL) {
        *no_room = how.no_room;
    }
    return status;
}

void tmb_registry_done(tmb_registry *registry, size_t slot) {
    (void)pthread_mutex_lock(&registry->lock);
    registry->slots[slot].users--;
    registry->slots[slot].last_use = tmb_now();
    (void)pthread_mutex_unlock(&registry->lock);
}

double tmb_registry_unload(tmb_registry *registry, double seconds) {
    double left = -1;
    (void)pthread_mutex_lock(&registry->lock);
    for (;;) {
        size_t index = find_idle(registry);
        if (index == registry->slot_count) {
            break;
        }
        left = registry->slots[index].last_use + seconds - tmb_now();
        if (left > 0) {
            break;
        }
        left = -1;
        unload_idle(registry, index);
    }
    (void)pthread_mutex_unlock(&registry->lock);
    return left;
}

uint64_t tmb_registry_bytes(tmb_registry *registry, size_t engine) {
    (void)pthread_mutex_lock(&registry->lock);
    uint64_t bytes = registry->slots[TMB_MODEL_DENOISER].reserved + registry->slots[TMB_MODEL_ENGINE + engine].reserved;
    (void)pthread_mutex_unlock(&registry->lock);
    return bytes;
}

bool tmb_registry_loaded(tmb_registry *registry, size_t slot, uint64_t *bytes, uint64_t *loads) {
    (void)pthread_mutex_lock(&registry->lock);
    bool loaded = registry->slots[slot].model != NULL;
    if (bytes != NULL) {
        *bytes = registry->slots[slot].reserved;
    }
    if (loads != NULL) {
        *loads = registry->slots[slot].loads;
    }
    (void)pthread_mutex_unlock(&registry->lock);
    return loaded;
}

tmb_status tmb_registry_resolve_engine(tmb_registry *registry, size_t engine, tmb_engine_choice *out,
                                       tmb_error *error) {
    *out = (tmb_engine_choice){0};
    tmb_status status = tmb_registry_choose(registry, engine, out, error);
    if (status == TMB_OK && out->kind->check_programs != NULL) {
        status = out->kind->check_programs(error);
    }
    if (status == TMB_OK && registry->only == NULL) {
        atomic_store(&registry->slots[TMB_MODEL_ENGINE + engine].settled, out->kind);
    }
    return status;
}

tmb_status tmb_registry_resolve_denoiser(tmb_registry *registry, tmb_error *error) {
    char *path = NULL;
    tmb_status status = tmb_models_find_denoiser(registry->denoiser_path, NULL, &path, error);
    free(path);
    return status;
}

const char *tmb_registry_engine_name(tmb_registry *registry, size_t engine) {
    (void)pthread_mutex_lock(&registry->lock);
    const tmb_engine *loaded = registry->slots[TMB_MODEL_ENGINE + engine].model;
    const char *name = loaded != NULL ? loaded->operations->name : NULL;
    if (name == NULL) {
        tmb_engine_choice choice = {0};
        (void)tmb_registry_choose(registry, engine, &choice, NULL);
        name = choice.kind->name;
        free(choice.folder);
    }
    (void)pthread_mutex_unlock(&registry->lock);
    return name;
}

void tmb_registry_servers(tmb_registry *registry, void (*each)(void *user, const tmb_server_statistics *statistics),
                          void *user) {
    bool found = false;
    (void)pthread_mutex_lock(&registry->lock);
    for (size_t i = TMB_MODEL_ENGINE; i < registry->slot_count && !found; i++) {
        const tmb_model_slot *slot = &registry->slots[i];
        /* Engines that ask servers are not among those that "auto" comes to: their settings name them. */
        const tmb_engine_kind *kind =
            registry->only != NULL ? registry->only : tmb_engine_kind_find(slot->settings.name);
        if (kind != NULL && kind->servers != NULL) {
            kind->servers(&slot->settings, slot->model, each, user);
            found = true;
        }
    }
    (void)pthread_mutex_unlock(&registry->lock);
}
