#include "server/server.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "server/job_item.h"
#include "server/listen.h"
#include "server/logging.h"
#include "server/origins.h"
#include "server/service.h"
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

/* How long after the grace the cancelled work may take to notice. */
static const double cancel_seconds = 30;

static void watched_signals(sigset_t *signals) {
    (void)sigemptyset(signals);
    (void)sigaddset(signals, SIGTERM);
    (void)sigaddset(signals, SIGINT);
    (void)sigaddset(signals, SIGHUP);
}

/* Waits for a signal at most `seconds`; 0 where none came. */
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

/* The first line of a file, for secrets. */
static tmb_status read_secret(const char *path, char **out, tmb_error *error) {
    char *text = NULL;
    size_t bytes = 0;
    tmb_status status = tmb_file_read(path, 4096, &text, &bytes, error);
    if (status != TMB_OK) {
        return status;
    }
    const char *line = text + (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0);
    *out = strndup(line, strcspn(line, "\r\n"));
    status = !*out    ? tmb_fail_memory(error, path, bytes)
             : !**out ? tmb_fail(error, TMB_ERROR_IO, "%s: is empty", path)
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

static tmb_status open_library(tmb_server *server, tmb_error *error) {
    const tmb_server_config *config = server->config;
    char *key = NULL;
    if (config->remote_key_file[0]) {
        tmb_status status = read_secret(config->remote_key_file, &key, error);
        if (status != TMB_OK) {
            return status;
        }
    }
    tmb_options options;
    tmb_options_default(&options);
    options.engine = config->engine;
    options.model = or_null(config->model);
    options.precision = config->precision;
    options.denoiser = or_null(config->denoiser);
    options.remote_url = or_null(config->remote_url);
    options.remote_key = key;
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
    tmb_status status = tmb_open(&options, &server->timbre, error);
    if (key) {
        explicit_bzero(key, strlen(key));
        free(key);
    }
    return status;
}

/* The name under which clients see the model. */
static void name_model(tmb_server *server) {
    tmb_statistics statistics;
    tmb_get_statistics(server->timbre, &statistics);
    const char *engine = statistics.engine ? statistics.engine : server->config->engine;
    bool is_large = strcasestr(server->config->model, "1.7b") != NULL;
    (void)snprintf(server->model_name, sizeof(server->model_name), "%s",
                   strcmp(engine, "qwen3") == 0 ? is_large ? "qwen3-tts-1.7b" : "qwen3-tts-0.6b" : engine);
}

static tmb_status open_socket(const tmb_server_config *config, int *out, tmb_error *error) {
    const char *problem = NULL;
    *out = tmb_service_socket(&problem);
    if (problem) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s", problem);
    }
    return *out >= 0 ? TMB_OK : tmb_listen(config->host, (uint16_t)config->port, out, error);
}

static tmb_status open_folders(tmb_server *server, tmb_error *error) {
    const tmb_server_config *config = server->config;
    if (config->audio_root[0]) {
        server->audio_root = open(config->audio_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (server->audio_root < 0) {
            return tmb_fail_errno(error, TMB_ERROR_IO, errno, "--audio-root %s", config->audio_root);
        }
    }
    tmb_store_options options = {.max_bytes = config->max_storage,
                                 .file_seconds = config->keep_files,
                                 .job_seconds = config->keep_jobs,
                                 .max_jobs = (size_t)config->max_jobs};
    return tmb_store_open(config->state_dir, &options, &server->logger, &server->store, error);
}

static size_t route_count(void) {
    size_t count = 0;
    while (tmb_routes[count].handle) {
        count++;
    }
    return count;
}

static tmb_status start_worker(tmb_server *server, tmb_error *error) {
    /* Enough to keep the batch full and its successors prepared; never so much that requests find no place in the
     * library's queue. */
    size_t batch = server->config->max_batch ? (size_t)server->config->max_batch : 8;
    size_t half = (size_t)server->config->max_waiting_items / 2;
    tmb_worker_options options = {.capacity = 2 * batch < half ? 2 * batch
                                              : half           ? half
                                                               : 1,
                                  .rest_seconds = 1,
                                  .full_seconds = 15,
                                  .lease_seconds = 60,
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
        server->body_memory = tmb_budget_create(config->max_body_memory);
        status = server->body_memory ? TMB_OK : tmb_fail_memory(error, "the bodies' budget", 0);
    }
    if (status == TMB_OK) {
        /* Mostly waiting for the disk; a fetched URL may hold one for a while. */
        status = tmb_pool_create("tmb-request", 6, 0, &server->workers, error);
    }
    if (status == TMB_OK) {
        status = tmb_pool_create("tmb-file", (int)config->enhance_workers, 0, &server->slow, error);
    }
    if (status == TMB_OK) {
        server->openapi = tmb_openapi_create(server);
        server->openapi_text =
            server->openapi ? json_dumps(server->openapi, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
        status = server->openapi_text ? TMB_OK : tmb_fail_memory(error, "the API's description", 0);
    }
    if (status == TMB_OK) {
        status = tmb_voice_maker_create(server, &server->voice_maker, error);
    }
    return status == TMB_OK ? start_worker(server, error) : status;
}

static void stop_parts(tmb_server *server) {
    tmb_worker_stop(&server->worker);
    tmb_http_stop(server);
    tmb_pool_destroy(&server->workers);
    tmb_pool_destroy(&server->slow);
    tmb_voice_maker_destroy(&server->voice_maker);
    tmb_connections_destroy(&server->connections);
    tmb_close(&server->timbre);
    tmb_budget_destroy(&server->body_memory); /* the last results let go of requests, which give memory back */
    tmb_store_close(&server->store);
    tmb_metrics_destroy(&server->metrics);
    tmb_keys_close(&server->keys);
    json_decref(server->openapi);
    free(server->openapi_text);
    tmb_voices_deinit(&server->voices);
    if (server->audio_root >= 0) {
        (void)close(server->audio_root);
    }
}

static void reload_keys(tmb_server *server) {
    tmb_error error;
    if (!server->keys) {
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
 * look, and now and then where something always is. */
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
        (void)malloc_trim(0);
        /* What is under way leaves holes still. */
        care->trimmed = at_rest ? begun : care->trimmed;
        care->trimmed_at = tmb_now();
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
        if (tmb_now() >= next_expiry) {
            tmb_store_expire(server->store);
            next_expiry = tmb_now() + expire_every;
        }
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
        (void)fprintf(out, "engine: %s (%s), clones voices\n", resolution->engine, server->model_name);
    } else {
        (void)fprintf(out, "engine: preview voice, no clone; for clones: timbre pull qwen3-tts-0.6b\n");
    }
}

static tmb_status run(tmb_server *server, int socket, FILE *out, const sigset_t *signals, tmb_error *error) {
    const tmb_server_config *config = server->config;
    int port = 0;
    tmb_listen_describe(socket, server->listen_host, &port, &server->loopback);
    if (!config->keys_file[0] && !server->loopback) {
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
        status = open_folders(server, error);
    }
    if (status == TMB_OK) {
        status = open_library(server, error);
    }
    tmb_resolution resolution = {.engine = NULL};
    if (status == TMB_OK) {
        /* What is not there now would fail every request. */
        status = tmb_resolve(server->timbre, TMB_NEED_ENGINE | TMB_NEED_DENOISER, &resolution, error);
    }
    if (status == TMB_OK && config->preload) {
        status = tmb_preload(server->timbre, error);
    }
    if (status == TMB_OK) {
        name_model(server);
        tmb_voices_warn(&server->voices, server->store, &server->logger);
        status = start_parts(server, error);
    }
    if (status == TMB_OK) {
        /* From here the socket is the listener's. */
        status = tmb_http_start(server, socket, error);
    } else {
        (void)close(socket);
    }
    if (status != TMB_OK) {
        return status;
    }
    listen_on_other_loopback(server, port);
    char line[192];
    (void)snprintf(line, sizeof(line), "listening on http://%s:%d", server->listen_host, port);
    (void)fprintf(out, "%s\n", line);
    print_engine(server, &resolution, out);
    (void)fflush(out);
    tmb_service_ready(line);
    serve(server, signals);
    drain(server, signals);
    return TMB_OK;
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
    /* Memory stays flat: one heap for all threads, and what is large never lies in it. The threads compute, they
     * rarely allocate. */
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    tmb_status status = open_socket(config, &socket, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_server *server = tmb_calloc(1, sizeof(*server));
    if (!server) {
        (void)close(socket);
        return tmb_fail_memory(error, "the server", sizeof(*server));
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
