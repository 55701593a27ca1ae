#include "queue/redis/store.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "queue/redis/shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What is removed at a time, and for how long; there is a next time. */
enum { expired_most = 100 };
static const double expire_seconds = 2;

/* Something without a result may still get one for so long after its lease. */
static const double least_grace_seconds = 10;

/* How long a start waits for its server. */
static const double patience_seconds = 2;

static const tmb_store_operations operations;

/* A worker that ends is not counted on. If the server is away, it sees that by the silence. */
static void say_goodbye(tmb_shared *store) {
    redisReply *reply = NULL;
    if (store->labels != NULL && store->labels[0] && store->redis != NULL && !tmb_redis_is_away(store->redis)) {
        (void)tmb_redis_run(store->redis, TMB_SCRIPT_LEAVE, &reply, "s", store->consumer);
    }
    tmb_reply_free(&reply);
}

static void close_store(tmb_store *base) {
    tmb_shared *store = tmb_shared_of(base);
    say_goodbye(store);
    tmb_shared_stop_listening(store);
    if (store->contents != NULL) {
        store->contents->close(store->contents);
    }
    tmb_redis_close(&store->redis);
    tmb_shared_spool_close(store);
    free(store->labels);
    tmb_arguments_free(&store->left);
    (void)pthread_mutex_destroy(&store->watch_lock);
    (void)pthread_mutex_destroy(&store->left_lock);
    explicit_bzero(&store->address, sizeof store->address);
    free(store);
}

/* Says what this worker can do, and has the streams made that everybody looks at. */
static tmb_store_status introduce(tmb_shared *store) {
    redisReply *reply = NULL;
    tmb_store_status status =
        tmb_redis_run(store->redis, TMB_SCRIPT_OPEN, &reply, "ss", store->labels, store->consumer);
    tmb_reply_free(&reply);
    return status;
}

static bool expire(tmb_store *base) {
    tmb_shared *store = tmb_shared_of(base);
    (void)introduce(store);
    double grace = 2 * store->lease_seconds;
    double end = tmb_now() + expire_seconds;
    bool more = false;
    bool deleted = false;
    do {
        redisReply *reply = NULL;
        tmb_store_status status =
            tmb_redis_run(store->redis, TMB_SCRIPT_EXPIRE, &reply, "ddi", store->job_seconds,
                          grace > least_grace_seconds ? grace : least_grace_seconds, (int64_t)expired_most);
        size_t count = status == TMB_STORE_OK && reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
        deleted = status == TMB_STORE_OK && tmb_shared_delete(store, reply, 0, end);
        more = count >= expired_most || tmb_now() >= end;
        tmb_reply_free(&reply);
    } while (more && deleted && tmb_now() < end);
    if (store->contents->sweep != NULL) {
        store->contents->sweep(store->contents);
    }
    return more && deleted; /* what cannot be deleted now is not asked for again at once */
}

static uint64_t bytes_of(tmb_store *base) {
    tmb_shared *store = tmb_shared_of(base);
    redisReply *reply = NULL;
    tmb_arguments arguments = {.count = 0};
    tmb_arguments_list(&arguments, "ss", "GET", TMB_REDIS_PREFIX "bytes");
    int64_t bytes = tmb_redis_command(store->redis, &arguments, &reply) == TMB_STORE_OK ? tmb_reply_integer(reply) : 0;
    tmb_reply_free(&reply);
    return (bytes > 0 ? (uint64_t)bytes : 0) + atomic_load(&store->spooled);
}

/* "a, b" as "a,b"; NULL: out of memory. */
static char *tidy_labels(const char *text) {
    size_t length = 0;
    char *out = tmb_calloc((text != NULL ? strlen(text) : 0) + 2, 1);
    while (out != NULL && text != NULL && *text) {
        const char *end = text + strcspn(text, ",");
        const char *last = end;
        text += strspn(text, " ");
        while (last > text && last[-1] == ' ') {
            last--;
        }
        if (last > text) {
            length += length > 0 ? (size_t)sprintf(out + length, ",") : 0;
            memcpy(out + length, text, (size_t)(last - text));
            length += (size_t)(last - text);
        }
        text = end + (*end == ',');
    }
    return out;
}

/* A server that is just starting, or a connection that breaks: for a moment it is tried again. */
static tmb_status reach_server(tmb_shared *store, tmb_error *error) {
    double end = tmb_now() + patience_seconds;
    tmb_redis_wire *wire = NULL;
    tmb_status status = TMB_OK;
    while ((status = tmb_redis_wire_open(&store->address, 5, &wire, error)) == TMB_ERROR_IO && tmb_now() < end) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    tmb_redis_wire_close(&wire);
    return status;
}

/* Before anything is put there: is it a server that keeps what it is given? */
static tmb_status check_server(tmb_shared *store, tmb_error *error) {
    tmb_status status = reach_server(store, error);
    if (status != TMB_OK) {
        return status;
    }
    uint64_t used = 0;
    uint64_t allowed = 0;
    bool keeps_all = false;
    if (tmb_redis_memory(store->redis, &used, &allowed, &keeps_all) != TMB_STORE_OK) {
        return tmb_fail(error, TMB_ERROR_IO, "%s cannot be asked how much memory it has, as Redis can",
                        store->address.name);
    }
    if (!keeps_all) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "%s may drop keys when its memory is full, and jobs with them: set its maxmemory-policy to "
                        "noeviction",
                        store->address.name);
    }
    if (!allowed) {
        tmb_log(store->base.logger, TMB_LOG_INFO,
                "%s has no maxmemory: set one, so that new work is refused before the machine's memory is full",
                store->address.name);
    }
    if (introduce(store) == TMB_STORE_FAILED) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "%s does not run the queue's scripts: its user may lack permission for a command (the line "
                        "above says what it answered)",
                        store->address.name);
    }
    return TMB_OK;
}

static tmb_shared *create(const tmb_store_options *options, tmb_logger *logger) {
    tmb_shared *store = tmb_calloc(1, sizeof *store);
    if (store == NULL) {
        return NULL;
    }
    store->base = (tmb_store){.operations = &operations,
                              .blobs = &tmb_shared_blobs,
                              .voices = &tmb_shared_voices,
                              .jobs = &tmb_shared_jobs,
                              .logger = logger};
    store->max_bytes = options->max_bytes;
    store->file_seconds = options->file_seconds;
    store->job_seconds = options->job_seconds;
    store->lease_seconds = options->lease_seconds;
    store->patience_seconds = options->patience_seconds;
    store->max_jobs = options->max_jobs;
    store->spool_lock = -1;
    (void)pthread_mutex_init(&store->watch_lock, NULL);
    (void)pthread_mutex_init(&store->left_lock, NULL);
    return store;
}

tmb_status tmb_redis_store_open(const char *folder, const tmb_store_options *options, tmb_logger *logger,
                                tmb_store **out, tmb_error *error) {
    *out = NULL;
    tmb_shared *store = create(options, logger);
    if (store == NULL) {
        return tmb_fail_memory(error, "the store", sizeof *store);
    }
    tmb_status status = tmb_redis_address_parse(options->queue, options->queue_password_file, &store->address, error);
    if (status == TMB_OK &&
        (!tmb_random_id(store->consumer) || (store->labels = tidy_labels(options->labels)) == NULL)) {
        status = tmb_fail_memory(error, "the store", 0);
    }
    if (status == TMB_OK) {
        status = tmb_redis_open(&store->address, logger, &store->redis, error);
    }
    if (status == TMB_OK) {
        status = check_server(store, error);
    }
    if (status == TMB_OK) {
        status = tmb_shared_spool_open(store, folder, error);
    }
    if (status == TMB_OK && !options->without_files) {
        status = tmb_shared_open_place(store, options->blobs, error);
    }
    if (status == TMB_OK) {
        status = tmb_shared_listen(store, error);
    }
    if (status != TMB_OK) {
        close_store(&store->base);
        return status;
    }
    *out = &store->base;
    return TMB_OK;
}

static bool measure(tmb_store *base, tmb_store_figures *out) {
    tmb_shared *store = tmb_shared_of(base);
    redisReply *reply = NULL;
    tmb_arguments arguments = {.count = 0};
    tmb_arguments_list(&arguments, "ssssssss", "HMGET", TMB_REDIS_PREFIX "counts", "deliveries", "taken-over", "ended",
                       "dead", "calls:queued", "calls:running");
    bool good = tmb_redis_command(store->redis, &arguments, &reply) == TMB_STORE_OK;
    *out = (tmb_store_figures){.deliveries = (uint64_t)tmb_reply_integer(tmb_reply_at(reply, 0)),
                               .taken_over = (uint64_t)tmb_reply_integer(tmb_reply_at(reply, 1)),
                               .ended = (uint64_t)tmb_reply_integer(tmb_reply_at(reply, 2)),
                               .dead = (uint64_t)tmb_reply_integer(tmb_reply_at(reply, 3)),
                               .calls_queued = (uint64_t)tmb_reply_integer(tmb_reply_at(reply, 4)),
                               .calls_running = (uint64_t)tmb_reply_integer(tmb_reply_at(reply, 5))};
    tmb_reply_free(&reply);
    if (good && tmb_redis_run(store->redis, TMB_SCRIPT_OLDEST, &reply, "") == TMB_STORE_OK) {
        out->oldest = tmb_reply_real(reply);
    }
    tmb_reply_free(&reply);
    return good;
}

static const tmb_store_operations operations = {
    .close = close_store,
    .expire = expire,
    .bytes = bytes_of,
    .temporary_path = tmb_shared_temporary_path,
    .book = tmb_shared_book,
    .unbook = tmb_shared_unbook,
    .measure = measure,
};
