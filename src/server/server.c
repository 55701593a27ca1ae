#include "server/server.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "server/calls.h"
#include "server/job_item.h"
#include "server/listen.h"
#include "server/logging.h"
#include "server/origins.h"
#include "server/pull.h"
#include "server/service.h"
#include "server/voice_folder.h"
#include "server/voice_prepare.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Of each thread. Decoders and TLS want some hundred KiB, sanitizers twice as much. */
#define STACK_BYTES ((size_t)2 << 20)

/* How long after the grace the cancelled work may take to notice. */
static const double cancel_seconds = 30;

static void watched_signals(sigset_t *signals) {
    (void)sigemptyset(signals);
    (void)sigaddset(signals, SIGTERM);
    (void)sigaddset(signals, SIGINT);
    (void)sigaddset(signals, SIGHUP);
}

/* Waits for a signal at most `seconds`; 0 if none came. */
static int wait_for_signal(const sigset_t *signals, double seconds) {
    struct timespec timeout = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    int got = sigtimedwait(signals, NULL, &timeout);
    return got > 0 ? got : 0;
}

/* Connections, references and results all hold descriptors. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

tmb_status tmb_read_secret(const char *path, char **out, tmb_error *error) {
    char *text = NULL;
    size_t bytes = 0;
    tmb_status status = tmb_file_read(path, 4096, &text, &bytes, error);
    if (status != TMB_OK) {
        return status;
    }
    const char *line = text + (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0);
    *out = strndup(line, strcspn(line, "\r\n"));
    status = *out == NULL ? tmb_fail_memory(error, path, bytes)
             : !**out     ? tmb_fail(error, TMB_ERROR_IO, "%s: is empty", path)
                          : TMB_OK;
    explicit_bzero(text, bytes);
    free(text);
    if (status != TMB_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

static void library_log(void *user, tmb_log_level level, const char *line) { tmb_log(user, level, "%s", line); }

static const char *or_null(const char *text) { return text[0] ? text : NULL; }

/* Frees a secret, and leaves nothing of it. */
static void forget(char **secret) {
    if (*secret != NULL) {
        explicit_bzero(*secret, strlen(*secret));
        free(*secret);
        *secret = NULL;
    }
}

static tmb_status open_library(tmb_server *server, tmb_error *error) {
    const tmb_server_config *config = server->config;
    char *key = NULL;
    char *transcribe_key = NULL;
    tmb_status status = TMB_OK;
    if (config->remote_key_file[0]) {
        status = tmb_read_secret(config->remote_key_file, &key, error);
    }
    if (status == TMB_OK && config->transcribe_key_file[0]) {
        status = tmb_read_secret(config->transcribe_key_file, &transcribe_key, error);
    }
    if (status != TMB_OK) {
        forget(&key);
        return status;
    }
    tmb_options options;
    tmb_options_default(&options);
    options.engine = config->engine;
    options.models = server->models.specs;
    options.model_count = server->models.spec_count;
    if (server->models.spec_count == 1 && server->models.specs[0].name == NULL) {
        options.model = server->models.specs[0].model;
        options.model_count = 0;
    }
    options.precision = config->precision;
    options.device = or_null(config->device);
    options.gpu_memory = config->gpu_memory;
    options.denoiser = or_null(config->denoiser);
    options.remote_url = or_null(config->remote_url);
    options.remote_key = key;
    options.overflow = config->overflow;
    options.remote_hedge = config->remote_hedge;
    options.transcribe_url = or_null(config->transcribe_url);
    options.transcribe_model = or_null(config->transcribe_model);
    options.transcribe_key = transcribe_key;
    options.threads = (int)config->threads;
    options.resample_workers = (int)config->resample_workers;
    options.enhance_workers = (int)config->enhance_workers;
    options.max_batch = (int)config->max_batch;
    options.max_batch_wait = config->max_batch_wait;
    options.memory_budget = config->memory;
    options.idle_unload = config->idle_unload;
    options.max_input_seconds = config->max_reference_seconds;
    options.no_ffmpeg = config->no_ffmpeg;
    options.max_queued = (size_t)config->max_waiting_items;
    options.voice_cache_entries = (size_t)config->voice_cache_entries;
    options.no_preview = config->no_preview;
    options.log = library_log;
    options.log_user = &server->logger;
    options.log_level = server->logger.level;
    status = tmb_open(&options, &server->timbre, error);
    forget(&key);
    forget(&transcribe_key);
    return status;
}

static tmb_status open_socket(const tmb_server_config *config, int *out, tmb_error *error) {
    const char *problem = NULL;
    *out = tmb_service_socket(&problem);
    if (problem != NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s", problem);
    }
    return *out >= 0 ? TMB_OK : tmb_listen(config->host, (uint16_t)config->port, out, error);
}

/* Whether this process speaks: a server that shares a queue leaves that to workers unless it is told to work. */
static bool works(const tmb_server_config *config) { return config->is_worker || config->work || !config->queue[0]; }

static void add_model_label(void *user, const tmb_model_description *model) {
    char **labels = user;
    char *longer = *labels != NULL ? tmb_asprintf("%s,engine=%s,model=%s", *labels, model->engine, model->name) : NULL;
    free(*labels);
    *labels = longer;
}

static unsigned long long memory_budget(const tmb_server *server) {
    tmb_statistics statistics;
    tmb_get_statistics(server->timbre, &statistics);
    return statistics.memory_budget;
}

/* What this process can do, for those who ask for it: what its options say, and its engines and models. */
static char *own_labels(tmb_server *server) {
    char *labels = tmb_strdup(works(server->config) ? server->config->label : "");
    tmb_error ignored;
    if (server->config->queue[0] && works(server->config)) {
        (void)tmb_describe_models(server->timbre, add_model_label, &labels, &ignored);
        char *longer = labels != NULL ? tmb_asprintf("%s,memory=%llu", labels, memory_budget(server)) : NULL;
        free(labels);
        labels = longer;
    }
    return labels;
}

/* How long an item is kept for a worker that knows its voice and had nothing to do: one that is alive takes it at
 * once. */
static const double voice_patience_seconds = 1;

static tmb_status open_folders(tmb_server *server, tmb_error *error) {
    const tmb_server_config *config = server->config;
    if (config->audio_root[0]) {
        server->audio_root = open(config->audio_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (server->audio_root < 0) {
            return tmb_fail_errno(error, TMB_ERROR_IO, errno, "--audio-root %s", config->audio_root);
        }
    }
    char *labels = own_labels(server);
    if (labels == NULL) {
        return tmb_fail_memory(error, "the labels", 0);
    }
    tmb_store_options options = {.max_bytes = config->max_storage,
                                 .file_seconds = config->keep_files,
                                 .job_seconds = config->keep_jobs,
                                 .max_jobs = (size_t)config->max_jobs,
                                 .queue = or_null(config->queue),
                                 .queue_password_file = or_null(config->queue_password_file),
                                 .blobs = or_null(config->blobs),
                                 .labels = labels,
                                 .lease_seconds = config->lease,
                                 .patience_seconds = voice_patience_seconds};
    tmb_status status = tmb_store_open(config->state_dir, &options, &server->logger, &server->store, error);
    free(labels);
    return status;
}

static size_t route_count(void) {
    size_t count = 0;
    while (tmb_routes[count].handle != NULL) {
        count++;
    }
    return count;
}

static double look_seconds(const tmb_server *server) {
    double third = server->config->lease / 3;
    return third < 5 ? third : 5;
}

static tmb_status start_worker(tmb_server *server, tmb_error *error) {
    /* Enough to keep the batch full and its successors prepared; never so much that requests find no place in the
     * library's queue. */
    size_t batch = server->config->max_batch ? (size_t)server->config->max_batch : 8;
    size_t half = (size_t)server->config->max_waiting_items / 2;
    tmb_worker_options options = {.memory = memory_budget(server),
                                  .capacity = 2 * batch < half ? 2 * batch
                                              : half           ? half
                                                               : 1,
                                  .rest_seconds = 1,
                                  .full_seconds = 15,
                                  .call_capacity = batch,
                                  .lease_seconds = server->config->lease,
                                  /* Nobody says that another worker died. */
                                  .look_seconds = tmb_store_is_shared(server->store) ? look_seconds(server) : 0,
                                  .max_deliveries = (unsigned)server->config->max_deliveries,
                                  .logger = &server->logger,
                                  .started = &server->works_begun};
    tmb_worker_trade trade = tmb_job_item_trade(server);
    return tmb_worker_start(server->store, &trade, &options, &server->worker, error);
}

static tmb_status start_parts(tmb_server *server, tmb_error *error) {
    const tmb_server_config *config = server->config;
    tmb_status status = tmb_metrics_create(route_count(), &server->metrics, error);
    if (status == TMB_OK) {
        tmb_connection_limits limits = tmb_http_limits(server);
        status = tmb_connections_create(&limits, &server->connections, error);
    }
    if (status == TMB_OK) {
        server->body_memory = tmb_body_budget_create(config->max_body_memory);
        status = server->body_memory != NULL ? TMB_OK : tmb_fail_memory(error, "the bodies' budget", 0);
    }
    if (status == TMB_OK) {
        /* Mostly waiting for the disk; a fetched URL may hold one for a while. */
        status = tmb_pool_create("tmb-request", 6, 0, &server->workers, error);
    }
    if (status == TMB_OK) {
        status = tmb_pool_create("tmb-file", (int)config->enhance_workers, 0, &server->slow, error);
    }
    if (status == TMB_OK) {
        status = tmb_pool_create("tmb-open", 2, 0, &server->opening, error);
    }
    if (status == TMB_OK) {
        status = tmb_pool_create("tmb-sweep", 1, 0, &server->sweeper, error);
    }
    if (status == TMB_OK) {
        server->openapi = tmb_openapi_create(server);
        server->openapi_text =
            server->openapi != NULL ? json_dumps(server->openapi, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
        status = server->openapi_text != NULL ? TMB_OK : tmb_fail_memory(error, "the API's description", 0);
    }
    if (status == TMB_OK) {
        status = tmb_voice_maker_create(server, &server->voice_maker, error);
    }
    if (status == TMB_OK && config->allow_pull) {
        status = tmb_puller_create(server, &server->puller, error);
    }
    if (status == TMB_OK && !works(config)) {
        return tmb_calls_create(server, &server->calls, error);
    }
    return status == TMB_OK ? start_worker(server, error) : status;
}

static void stop_parts(tmb_server *server) {
    tmb_worker_stop(&server->worker);
    tmb_calls_destroy(&server->calls);
    tmb_http_stop(server);
    tmb_pool_destroy(&server->workers);
    tmb_pool_destroy(&server->slow);
    tmb_pool_destroy(&server->opening);
    tmb_pool_destroy(&server->sweeper);
    tmb_voice_maker_destroy(&server->voice_maker);
    tmb_puller_destroy(&server->puller);
    tmb_connections_destroy(&server->connections);
    tmb_close(&server->timbre);
    tmb_body_budget_destroy(&server->body_memory); /* the last results let go of requests, which give memory back */
    tmb_store_close(&server->store);
    tmb_metrics_destroy(&server->metrics);
    tmb_keys_close(&server->keys);
    json_decref(server->openapi);
    free(server->openapi_text);
    tmb_voices_deinit(&server->voices);
    tmb_server_models_deinit(&server->models);
    if (server->audio_root >= 0) {
        (void)close(server->audio_root);
    }
}

static void reload_keys(tmb_server *server) {
    tmb_error error;
    if (server->keys == NULL) {
        return;
    }
    if (tmb_keys_reload(server->keys, &error) == TMB_OK) {
        tmb_log(&server->logger, TMB_LOG_INFO, "the keys were read again");
    } else {
        tmb_log(&server->logger, TMB_LOG_ERROR, "the old keys stay: %s", error.message);
    }
}

static bool is_idle(tmb_server *server) {
    return atomic_load(&server->in_flight) == 0 && tmb_worker_running(server->worker) == 0;
}

/* Requests leave holes in every thread's heap: their pages go back once nothing was under way since the last
 * look, and now and then if something always is. */
typedef struct memory_care {
    double trimmed_at;
    size_t trimmed, seen; /* works begun then, and at the last look */
    bool was_idle;
} memory_care;

static void care_for_memory(tmb_server *server, memory_care *care) {
    static const double seconds = 30;
    size_t begun = atomic_load(&server->works_begun);
    bool idle = is_idle(server);
    bool at_rest = idle && care->was_idle && begun == care->seen;
    care->was_idle = idle;
    care->seen = begun;
    if (begun != care->trimmed && (at_rest || tmb_now() >= care->trimmed_at + seconds)) {
#ifdef __GLIBC__ /* others return what is free by themselves */
        (void)malloc_trim(0);
#endif
        /* What is under way leaves holes still. */
        care->trimmed = at_rest ? begun : care->trimmed;
        care->trimmed_at = tmb_now();
    }
}

static void sweep(void *argument) {
    tmb_server *server = argument;
    atomic_store(&server->sweeps_again, tmb_store_expire(server->store));
    atomic_store(&server->sweeping, false);
}

/* Apart from the thread that takes signals and tells the service manager that we live: it may wait for others. */
static void sweep_apart(tmb_server *server, double every, double *next) {
    if (!atomic_load(&server->sweeping) && (tmb_now() >= *next || atomic_load(&server->sweeps_again))) {
        *next = tmb_now() + every;
        atomic_store(&server->sweeping, true);
        tmb_pool_post(server->sweeper, &server->sweep, sweep, server);
    }
}

/* Until SIGTERM or SIGINT. */
static void serve(tmb_server *server, const sigset_t *signals) {
    double life =
        server->config->keep_files < server->config->keep_jobs ? server->config->keep_files : server->config->keep_jobs;
    double expire_every = life > 60 ? 30 : life / 2;
    double watchdog = tmb_service_watchdog();
    double next_expiry = tmb_now() + 1;
    memory_care care = {.trimmed_at = tmb_now()};
    for (;;) {
        int got = wait_for_signal(signals, watchdog > 0 && watchdog < 1 ? watchdog : 1);
        if (got == SIGTERM || got == SIGINT) {
            return;
        }
        if (got == SIGHUP) {
            reload_keys(server);
        }
        sweep_apart(server, expire_every, &next_expiry);
        care_for_memory(server, &care);
        if (watchdog > 0) {
            /* A part that is stuck with its lock keeps us from saying that we live. */
            (void)tmb_store_bytes(server->store);
            (void)tmb_connections_open(server->connections);
            (void)tmb_worker_running(server->worker);
            tmb_service_alive();
        }
    }
}

/* Waits until nothing is under way, `seconds` have passed or a signal comes. */
static void wait_until_idle(tmb_server *server, const sigset_t *signals, double seconds, bool mind_signals) {
    double end = tmb_now() + seconds;
    while (!is_idle(server) && tmb_now() < end) {
        int got = wait_for_signal(signals, 0.02);
        if (mind_signals && (got == SIGTERM || got == SIGINT)) {
            return;
        }
    }
}

static void drain(tmb_server *server, const sigset_t *signals) {
    tmb_log(&server->logger, TMB_LOG_INFO, "finishing: no new work, %zu requests and %zu items of jobs run",
            atomic_load(&server->in_flight), tmb_worker_running(server->worker));
    atomic_store(&server->draining, true);
    tmb_service_stopping();
    tmb_worker_drain(server->worker);
    tmb_connections_shut(server->connections, false);
    wait_until_idle(server, signals, server->config->drain_grace, true);
    if (!is_idle(server)) {
        tmb_log(&server->logger, TMB_LOG_WARNING, "cancelling what still runs");
        tmb_worker_stop(&server->worker);
        tmb_connections_shut(server->connections, true);
        double end = tmb_now() + cancel_seconds;
        while (atomic_load(&server->in_flight) && tmb_now() < end) {
            (void)wait_for_signal(signals, 0.02);
        }
        if (atomic_load(&server->in_flight)) {
            tmb_log(&server->logger, TMB_LOG_ERROR, "%zu requests do not end", atomic_load(&server->in_flight));
            _exit(1);
        }
    }
}

/* The name "localhost" means both loopback addresses, and clients try either first. */
static void listen_on_other_loopback(tmb_server *server, int port) {
    if (strcasecmp(server->config->host, "localhost") != 0) {
        return;
    }
    tmb_error error;
    int socket = -1;
    const char *other = server->listen_host[0] == '[' ? "127.0.0.1" : "::1";
    tmb_status status = tmb_listen(other, (uint16_t)port, &socket, &error);
    if (status == TMB_OK) {
        tmb_http_listen(server, socket);
    } else {
        tmb_log(&server->logger, TMB_LOG_INFO, "only %s is listened on: %s", server->listen_host, error.message);
    }
}

/* The second line: who speaks. Nobody should take the preview voice for a clone. */
static void print_engine(const tmb_server *server, const tmb_resolution *resolution, FILE *out) {
    if (resolution->is_clone) {
        for (size_t i = 0; i < server->models.count; i++) {
            char text[300];
            tmb_server_models_say(server->models.list[i], text, sizeof text);
            (void)fprintf(out, "engine: %s (%s), %s\n", server->models.list[i]->engine, server->models.list[i]->name,
                          text);
        }
    } else {
        (void)fprintf(out, "engine: preview voice, no clone; for clones: timbre pull qwen3-tts-0.6b\n");
    }
}

static tmb_status run(tmb_server *server, int socket, FILE *out, const sigset_t *signals, tmb_error *error) {
    const tmb_server_config *config = server->config;
    int port = 0;
    if (socket >= 0) {
        tmb_listen_describe(socket, server->listen_host, &port, &server->loopback);
    }
    if (!config->keys_file[0] && !server->loopback && !config->is_worker) {
        (void)close(socket);
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "%s can be reached from outside: set --keys-file, or listen on a loopback address",
                        server->listen_host);
    }
    tmb_status status = TMB_OK;
    status = tmb_origins_check(config->cors_origin, config->keys_file[0] != 0, error);
    if (status == TMB_OK) {
        status = tmb_voices_init(&server->voices, config, error);
    }
    if (status == TMB_OK && config->keys_file[0]) {
        status = tmb_keys_open(config->keys_file, config->rate_limit, &server->keys, error);
    }
    if (status == TMB_OK) {
        status = tmb_server_models_read(&server->models, config->model, error);
    }
    if (status == TMB_OK) {
        status = open_library(server, error);
    }
    if (status == TMB_OK) {
        status = open_folders(server, error);
    }
    tmb_resolution resolution = {.engine = NULL};
    if (status == TMB_OK && works(config)) {
        /* What is not there now would fail every request. */
        status = tmb_resolve(server->timbre, TMB_NEED_ENGINE | TMB_NEED_DENOISER, &resolution, error);
    }
    if (status == TMB_OK) {
        status = tmb_server_models_describe(&server->models, server->timbre, error);
    }
    if (status == TMB_OK && config->preload) {
        status = tmb_preload(server->timbre, error);
    }
    if (status == TMB_OK) {
        server->model_name = server->models.list[0]->name;
        /* A worker takes voices from the store; it is given none. */
        status = config->is_worker ? TMB_OK : tmb_voice_folder_store(server, error);
    }
    if (status == TMB_OK) {
        tmb_voices_warn(&server->voices, server->store, &server->logger);
        status = start_parts(server, error);
    }
    if (status == TMB_OK && socket >= 0) {
        /* From here the socket is the listener's. */
        status = tmb_http_start(server, socket, error);
    } else if (socket >= 0) {
        (void)close(socket);
    }
    if (status != TMB_OK) {
        return status;
    }
    char line[192] = "taking items from the queue";
    if (socket >= 0) {
        listen_on_other_loopback(server, port);
        (void)snprintf(line, sizeof line, "listening on http://%s:%d", server->listen_host, port);
    }
    (void)fprintf(out, "%s\n", line);
    if (works(config)) {
        print_engine(server, &resolution, out);
    } else {
        (void)fprintf(out, "engine: workers that share the queue\n");
    }
    (void)fflush(out);
    tmb_service_ready(line);
    serve(server, signals);
    drain(server, signals);
    return TMB_OK;
}

/* One heap for all threads, and what is large never lies in it: the threads compute, they rarely allocate. Under a
 * limit of the address space (ulimit -v) stacks count as a whole, and the usual ones of 8 MiB for each thread leave no
 * room for the work, although nearly nothing of them is ever used. */
static void keep_memory_flat(void) {
#ifdef __GLIBC__
    pthread_attr_t attributes;
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    if (pthread_getattr_default_np(&attributes) == 0) {
        (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
        (void)pthread_setattr_default_np(&attributes);
        (void)pthread_attr_destroy(&attributes);
    }
#endif
}

tmb_status tmb_server_run(const tmb_server_config *config, FILE *out, tmb_error *error) {
    sigset_t signals;
    sigset_t before;
    int socket = -1;
    watched_signals(&signals);
    (void)pthread_sigmask(SIG_BLOCK, &signals, &before);
    (void)signal(SIGPIPE, SIG_IGN);
    /* A file at its limit is an error of the write, not the end of the server. */
    (void)signal(SIGXFSZ, SIG_IGN);
    raise_descriptor_limit();
    keep_memory_flat();
    bool listens = !config->is_worker || config->port != 0;
    tmb_status status = listens ? open_socket(config, &socket, error) : TMB_OK;
    if (status != TMB_OK) {
        return status;
    }
    tmb_server *server = tmb_calloc(1, sizeof *server);
    if (server == NULL) {
        (void)(socket >= 0 && close(socket));
        return tmb_fail_memory(error, "the server", sizeof *server);
    }
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    server->config = config;
    server->audio_root = -1;
    tmb_server_log_init(&server->logger, config->log_level, config->log_format);
    status = run(server, socket, out, &signals, error);
    stop_parts(server);
    tmb_logger_deinit(&server->logger);
    free(server);
    curl_global_cleanup();
    return status;
}
