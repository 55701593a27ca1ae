#include "pipeline/context.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "cpu/cpu.h"
#include "gpu/gpu.h"
#include "pipeline/lane.h"
#include "pipeline/route.h"
#include "tts/language.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_WORKERS 256
#define MAX_QUEUED (1u << 20)

void tmb_options_default(tmb_options *options) {
    *options = (tmb_options){
        .struct_size = sizeof *options,
        .engine = "auto",
        .precision = "auto",
        .resample_workers = 3,
        .enhance_workers = 3,
        .max_input_seconds = 1800,
        .max_input_bytes = (uint64_t)256 << 20,
        .max_queued = 1024,
        .voice_cache_entries = 64,
        .log_level = TMB_LOG_WARNING,
    };
}

static tmb_status check_transcriber(const tmb_options *options, tmb_error *error) {
    char *endpoint = NULL;
    if (options->transcribe_url == NULL) {
        return TMB_OK;
    }
    tmb_status status = tmb_transcribe_endpoint(options->transcribe_url, &endpoint, error);
    free(endpoint);
    return status;
}

static tmb_status check_options(const tmb_options *options, tmb_error *error) {
    if (!tmb_cpu_environment_is_legal()) {
        char levels[80];
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "TIMBRE_CPU is \"%.40s\", not one of %s", getenv("TIMBRE_CPU"),
                        tmb_cpu_levels(levels, sizeof levels));
    }
    if (options->threads < 0 || options->threads > MAX_WORKERS) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "threads: %d is not in 0 to %d", options->threads, MAX_WORKERS);
    }
    if (options->resample_workers < 1 || options->resample_workers > MAX_WORKERS) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "resample workers: %d is not in 1 to %d", options->resample_workers,
                        MAX_WORKERS);
    }
    if (options->enhance_workers < 1 || options->enhance_workers > MAX_WORKERS) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "enhance workers: %d is not in 1 to %d", options->enhance_workers,
                        MAX_WORKERS);
    }
    if (options->max_batch < 0 || options->max_batch > TMB_MAX_BATCH) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "batch size: %d is not in 0 to %d", options->max_batch,
                        TMB_MAX_BATCH);
    }
    if (!(options->max_batch_wait >= 0 && options->max_batch_wait <= 60)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "batch wait: %g s is not in 0 to 60", options->max_batch_wait);
    }
    if (!(options->idle_unload >= 0 && isfinite(options->idle_unload))) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "idle unload: %g s is not a time", options->idle_unload);
    }
    if (isnan(options->max_input_seconds)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "input limit: not a number of seconds");
    }
    if (!(options->remote_hedge >= 0 && options->remote_hedge <= 3600)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "remote hedge: %g s is not in 0 to 3600", options->remote_hedge);
    }
    if (options->max_queued < 1 || options->max_queued > MAX_QUEUED) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "queue: %zu items are not in 1 to %u", options->max_queued,
                        MAX_QUEUED);
    }
    return check_transcriber(options, error);
}

/* What the public options say to one engine alone. */
static size_t engine_options_of(const tmb_options *options, const char *hedge, tmb_engine_option out[ENGINE_OPTIONS]) {
    const tmb_engine_option all[ENGINE_OPTIONS] = {
        {"remote", "url", options->remote_url},
        {"remote", "key", options->remote_key},
        {"remote", "hedge", hedge},
        {"qwen3", "device", options->device},
    };
    size_t count = 0;
    for (size_t i = 0; i < ENGINE_OPTIONS; i++) {
        if (all[i].value != NULL) {
            out[count++] = all[i];
        }
    }
    return count;
}

/* The context's own copy of the strings. */
static bool copy_strings(tmb_context *context) {
    tmb_options *options = &context->options;
    const char **fields[] = {&options->engine,         &options->model,          &options->precision,
                             &options->denoiser,       &options->remote_url,     &options->remote_key,
                             &options->transcribe_url, &options->transcribe_key, &options->transcribe_model,
                             &options->device};
    _Static_assert(sizeof fields / sizeof fields[0] <= sizeof context->strings / sizeof context->strings[0],
                   "strings in context.h holds a copy of each");
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (*fields[i] != NULL) {
            context->strings[i] = tmb_strdup(*fields[i]);
            if (context->strings[i] == NULL) {
                return false;
            }
            *fields[i] = context->strings[i];
        }
    }
    return true;
}

tmb_transcriber tmb_context_transcriber(const tmb_context *context) {
    return (tmb_transcriber){.url = context->options.transcribe_url,
                             .key = context->options.transcribe_key,
                             .model = context->options.transcribe_model};
}

static void free_strings(tmb_context *context) {
    for (size_t i = 0; i < sizeof context->strings / sizeof context->strings[0]; i++) {
        free(context->strings[i]);
    }
}

static tmb_scheduler *scheduler_of(tmb_context *context) {
    (void)pthread_mutex_lock(&context->lock);
    tmb_scheduler *scheduler = context->scheduler;
    (void)pthread_mutex_unlock(&context->lock);
    return scheduler;
}

/* Room is made by forgetting prepared voices and by unloading what is idle. */
static void reclaim(void *user) {
    tmb_context *context = user;
    tmb_scheduler *scheduler = scheduler_of(context);
    if (scheduler != NULL) {
        tmb_scheduler_reclaim(scheduler);
    }
    (void)tmb_registry_unload(&context->registry, 0);
}

/* Models that are in use are the scheduler's to let go: a model's load or an item waits for memory, and the scheduler
 * may be asleep. */
static void look_again(void *user) {
    tmb_scheduler *scheduler = scheduler_of(user);
    if (scheduler != NULL) {
        tmb_scheduler_wake(scheduler);
    }
}

size_t tmb_context_engines(const tmb_context *context) {
    return context->model_count + (context->options.overflow ? 1 : 0);
}

/* The speech servers in addition to an engine of this machine. */
static tmb_engine_settings overflow_settings(const tmb_engine_settings *settings) {
    tmb_engine_settings out = *settings;
    out.name = tmb_remote_kind.name;
    out.model = NULL;
    out.max_batch = 0;
    return out;
}

static tmb_status check_engines(const tmb_options *options, const tmb_engine_settings *settings, tmb_error *error) {
    tmb_status status = tmb_engine_check(settings, error);
    if (status != TMB_OK || !options->overflow) {
        return status;
    }
    if (strcmp(settings->name, tmb_remote_kind.name) == 0) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "the engine remote has no batch of its own that could overflow");
    }
    const tmb_engine_settings overflow = overflow_settings(settings);
    return tmb_engine_check(&overflow, error);
}

/* One engine for each model, and one for what overflows. */
static tmb_status open_models(tmb_context *context, const tmb_options *options, const tmb_engine_settings *settings,
                              tmb_error *error) {
    tmb_status status = tmb_models_copy(context, options, error);
    if (status != TMB_OK) {
        return status;
    }
    size_t count = tmb_context_engines(context);
    tmb_engine_settings *all = tmb_calloc(count, sizeof *all);
    if (all == NULL) {
        return tmb_fail_memory(error, "the models", count * sizeof *all);
    }
    for (size_t i = 0; i < context->model_count; i++) {
        all[i] = *settings;
        all[i].model = context->models[i].model;
    }
    if (options->overflow) {
        all[count - 1] = overflow_settings(settings);
    }
    status = tmb_registry_init(&context->registry, &context->budget, &context->device_budget, &context->logger,
                               context->options.denoiser, all, count, error);
    context->registry.device_most = options->gpu_memory;
    free(all);
    return status;
}

tmb_status tmb_open(const tmb_options *options, tmb_context **out, tmb_error *error) {
    *out = NULL;
    /* A program that was built with an older header has a shorter struct: the rest is default. */
    tmb_options complete;
    tmb_options_default(&complete);
    if (options != NULL) {
        if (options->struct_size == 0 || options->struct_size > sizeof complete) {
            return tmb_fail(error, TMB_ERROR_ARGUMENT, "fill the options with tmb_options_default first");
        }
        memcpy(&complete, options, options->struct_size);
    }
    options = &complete;
    tmb_status status = check_options(options, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_engine_settings settings = {
        .name = options->engine != NULL ? options->engine : "auto",
        .model = options->model,
        .precision = options->precision != NULL ? options->precision : "auto",
        .threads = options->threads,
        .max_batch = (size_t)options->max_batch,
        .no_preview = options->no_preview,
    };
    tmb_engine_option engine_options[ENGINE_OPTIONS];
    settings.options = engine_options;
    settings.option_count = engine_options_of(options, NULL, engine_options);
    status = check_engines(options, &settings, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_context *context = tmb_calloc(1, sizeof *context);
    if (context == NULL) {
        return tmb_fail_memory(error, "a context", sizeof *context);
    }
    context->options = *options;
    context->options.engine = settings.name;
    context->options.precision = settings.precision;
    if (!copy_strings(context)) {
        free_strings(context);
        free(context);
        return tmb_fail_memory(error, "a context", 0);
    }
    tmb_logger_init(&context->logger, options->log, options->log_user, options->log_level);
    settings.name = context->options.engine;
    settings.model = context->options.model;
    settings.precision = context->options.precision;
    settings.options = context->engine_options;
    (void)snprintf(context->hedge, sizeof context->hedge, "%.9g", options->remote_hedge);
    settings.option_count = engine_options_of(&context->options, context->hedge, context->engine_options);
    settings.logger = &context->logger;
    if (options->transcribe_url != NULL && options->transcribe_key != NULL &&
        strncasecmp(options->transcribe_url, "https://", 8) != 0) {
        tmb_log(&context->logger, TMB_LOG_WARNING, "the key for %s travels unencrypted: use https",
                options->transcribe_url);
    }
    (void)pthread_mutex_init(&context->lock, NULL);
    tmb_budget_init(&context->budget, options->memory_budget != 0 ? options->memory_budget : tmb_budget_default(),
                    reclaim, context);
    tmb_budget_init(&context->device_budget, 0, reclaim, context); /* until a model is loaded on a GPU */
    tmb_budget_name(&context->device_budget, "GPU memory budget", "--gpu-memory");
    tmb_budget_tell(&context->budget, look_again);
    tmb_budget_tell(&context->device_budget, look_again);
    status = open_models(context, options, &settings, error);
    if (status == TMB_OK && options->idle_unload > 0) {
        tmb_scheduler *scheduler = NULL;
        status = tmb_context_scheduler(context, &scheduler, error);
    }
    if (status != TMB_OK) {
        tmb_close(&context);
        return status;
    }
    *out = context;
    return TMB_OK;
}

void tmb_close(tmb_context **context_address) {
    tmb_context *context = *context_address;
    if (context == NULL) {
        return;
    }
    *context_address = NULL;
    tmb_registry_stop(&context->registry);
    tmb_scheduler_destroy(&context->scheduler);
    tmb_registry_deinit(&context->registry);
    tmb_models_free(context);
    tmb_budget_deinit(&context->device_budget);
    tmb_budget_deinit(&context->budget);
    (void)pthread_mutex_destroy(&context->lock);
    tmb_logger_deinit(&context->logger);
    free_strings(context);
    free(context);
}

tmb_status tmb_context_scheduler(tmb_context *context, tmb_scheduler **out, tmb_error *error) {
    tmb_status status = TMB_OK;
    (void)pthread_mutex_lock(&context->lock);
    if (context->scheduler == NULL) {
        status = tmb_scheduler_create(context, &context->scheduler, error);
    }
    *out = context->scheduler;
    (void)pthread_mutex_unlock(&context->lock);
    return status;
}

tmb_status tmb_describe_gpu(int index, char *text, size_t size, tmb_error *error) {
    tmb_gpu *gpu = NULL;
    tmb_status status = tmb_gpu_open(index, &gpu, error); /* all that a model wants of it, the kernels too */
    if (status == TMB_OK) {
        const tmb_gpu_description *is = tmb_gpu_describe(gpu);
        (void)snprintf(text, size, "%s, architecture %d.%d, %.1f of %.1f GB free, driver for CUDA %d.%d", is->name,
                       is->capability / 10, is->capability % 10, (double)is->free_bytes / 1e9,
                       (double)is->total_bytes / 1e9, is->driver / 1000, is->driver % 1000 / 10);
    }
    tmb_gpu_close(&gpu);
    return status;
}

void tmb_get_statistics(tmb_context *context, tmb_statistics *out) {
    memset(out, 0, sizeof *out);
    tmb_budget_read(&context->budget, &out->memory_budget, &out->memory_reserved);
    tmb_budget_read(&context->device_budget, &out->device_memory_budget, &out->device_memory_reserved);
    out->device_losses = tmb_gpu_losses();
    out->device = tmb_registry_device(&context->registry, 0);
    out->engine = tmb_registry_engine_name(&context->registry, 0);
    const tmb_engine_kind *kind = out->engine != NULL ? tmb_engine_kind_find(out->engine) : NULL;
    out->is_clone = out->engine != NULL && (kind == NULL || kind->clones_voice);
    out->engine_loaded = tmb_registry_loaded(&context->registry, TMB_MODEL_ENGINE, NULL, NULL);
    out->denoiser_loaded = tmb_registry_loaded(&context->registry, TMB_MODEL_DENOISER, NULL, NULL);
    tmb_scheduler *scheduler = scheduler_of(context);
    if (scheduler != NULL) {
        tmb_scheduler_count(scheduler, out);
    }
}

void tmb_each_model_statistics(tmb_context *context, void (*each)(void *user, const tmb_model_statistics *statistics),
                               void *user) {
    tmb_scheduler *scheduler = scheduler_of(context);
    for (size_t i = 0; i < context->model_count; i++) {
        const tmb_model_description *description = NULL;
        tmb_model_statistics statistics = {0};
        (void)tmb_model_describe(context, i, &description, NULL);
        statistics.name = description != NULL ? description->name : "";
        statistics.loaded = tmb_registry_loaded(&context->registry, TMB_MODEL_ENGINE + i, &statistics.memory_reserved,
                                                &statistics.loads);
        if (scheduler != NULL) {
            tmb_scheduler_count_lane(scheduler, i, &statistics);
        }
        each(user, &statistics);
    }
}

void tmb_each_server_statistics(tmb_context *context, void (*each)(void *user, const tmb_server_statistics *statistics),
                                void *user) {
    tmb_registry_servers(&context->registry, each, user);
}

tmb_status tmb_resolve(tmb_context *context, unsigned needs, tmb_resolution *out, tmb_error *error) {
    tmb_engine_choice choice = {0};
    tmb_status status = TMB_OK;
    for (size_t i = 0; (needs & TMB_NEED_ENGINE) && status == TMB_OK && i < context->model_count; i++) {
        free(choice.folder);
        status = tmb_registry_resolve_engine(&context->registry, i, &choice, error);
    }
    if (status == TMB_OK && (needs & TMB_NEED_DENOISER)) {
        status = tmb_registry_resolve_denoiser(&context->registry, error);
    }
    if (out != NULL) {
        *out = (tmb_resolution){.engine = choice.kind == NULL ? NULL : choice.kind->name,
                                .is_clone = choice.kind != NULL && choice.kind->clones_voice};
    }
    free(choice.folder);
    return status;
}

tmb_status tmb_check_language(tmb_context *context, const char *language, tmb_error *error) {
    if (tmb_language_find(language) != NULL) {
        return TMB_OK;
    }
    tmb_status status = TMB_OK;
    for (size_t i = 0; i < context->model_count; i++) {
        status = tmb_context_check_language(context, i, language, error);
        if (status == TMB_OK) {
            break;
        }
    }
    return status;
}

tmb_status tmb_context_check_language(tmb_context *context, size_t model, const char *language, tmb_error *error) {
    tmb_engine_choice choice = {0};
    if (tmb_language_find(language) != NULL) {
        return TMB_OK;
    }
    (void)tmb_registry_choose(&context->registry, model, &choice, NULL);
    tmb_status status = tmb_engine_check_language(&choice, language, error);
    free(choice.folder);
    return status;
}

tmb_status tmb_preload(tmb_context *context, tmb_error *error) {
    tmb_dfn_model *denoiser = NULL;
    tmb_status status = tmb_registry_use_denoiser(&context->registry, &denoiser, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_registry_done(&context->registry, TMB_MODEL_DENOISER);
    for (size_t i = 0; i < context->model_count && status == TMB_OK; i++) {
        tmb_engine *engine = NULL;
        status = tmb_registry_use_engine(&context->registry, i, true, NULL, &engine, error);
        if (status == TMB_OK) {
            tmb_registry_done(&context->registry, TMB_MODEL_ENGINE + i);
        }
    }
    return status;
}

void tmb_free(void *pointer) { free(pointer); }

const char *tmb_cpu_level(void) { return tmb_cpu_name(); }

int tmb_cpu_threads(void) { return tmb_cpu_count(); }
