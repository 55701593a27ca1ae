#include "queue/redis/redis.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

#include <nettle/sha1.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How long one attempt may take, and how long a command is tried. */
static const double connect_seconds = 3;
static const double reply_seconds = 5;
static const double command_seconds = 6;

enum { kept_wires = 16 };

struct tmb_redis {
    tmb_redis_address address;
    tmb_logger *logger;
    pthread_mutex_t lock; /* of what follows */
    tmb_redis_wire *wires[kept_wires];
    size_t count;
    bool away; /* it was said that the server cannot be reached */
    char hashes[TMB_SCRIPT_COUNT][2 * SHA1_DIGEST_SIZE + 1];
};

tmb_status tmb_redis_open(const tmb_redis_address *address, tmb_logger *logger, tmb_redis **out, tmb_error *error) {
    *out = NULL;
    tmb_redis *redis = tmb_calloc(1, sizeof *redis);
    if (redis == NULL) {
        return tmb_fail_memory(error, "the connections to Redis", sizeof *redis);
    }
    redis->address = *address;
    redis->logger = logger;
    (void)pthread_mutex_init(&redis->lock, NULL);
    for (int i = 0; i < TMB_SCRIPT_COUNT; i++) {
        struct sha1_ctx hash;
        uint8_t digest[SHA1_DIGEST_SIZE];
        sha1_init(&hash);
        sha1_update(&hash, strlen(tmb_redis_scripts[i]), (const uint8_t *)tmb_redis_scripts[i]);
        sha1_digest(&hash, sizeof digest, digest);
        tmb_hex_encode(digest, sizeof digest, redis->hashes[i]);
    }
    *out = redis;
    return TMB_OK;
}

void tmb_redis_close(tmb_redis **redis) {
    tmb_redis *closing = *redis;
    *redis = NULL;
    if (closing != NULL) {
        for (size_t i = 0; i < closing->count; i++) {
            tmb_redis_wire_close(&closing->wires[i]);
        }
        (void)pthread_mutex_destroy(&closing->lock);
        explicit_bzero(&closing->address, sizeof closing->address);
        free(closing);
    }
}

/* ---- Arguments ---- */

void tmb_arguments_add(tmb_arguments *arguments, const void *data, size_t size) {
    if (arguments->count == arguments->capacity) {
        size_t capacity = arguments->capacity ? 2 * (size_t)arguments->capacity : 16;
        char **values = tmb_realloc(arguments->values, capacity, sizeof *values);
        arguments->values = values != NULL ? values : arguments->values;
        size_t *sizes = values != NULL ? tmb_realloc(arguments->sizes, capacity, sizeof *sizes) : NULL;
        arguments->sizes = sizes != NULL ? sizes : arguments->sizes;
        if (sizes == NULL) {
            arguments->failed = true;
            return;
        }
        arguments->capacity = (int)capacity;
    }
    char *copy = tmb_calloc(size + 1, 1);
    if (copy == NULL) {
        arguments->failed = true;
        return;
    }
    if (size) {
        memcpy(copy, data, size);
    }
    arguments->values[arguments->count] = copy;
    arguments->sizes[arguments->count++] = size;
}

void tmb_arguments_text(tmb_arguments *arguments, const char *text) {
    tmb_arguments_add(arguments, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
}

void tmb_arguments_integer(tmb_arguments *arguments, int64_t value) {
    char text[32];
    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    tmb_arguments_text(arguments, text);
}

void tmb_arguments_real(tmb_arguments *arguments, double value) {
    char text[64];
    (void)snprintf(text, sizeof text, "%.6f", value);
    tmb_arguments_text(arguments, text);
}

void tmb_arguments_free(tmb_arguments *arguments) {
    for (int i = 0; i < arguments->count; i++) {
        free(arguments->values[i]);
    }
    free(arguments->values);
    free(arguments->sizes);
    *arguments = (tmb_arguments){.count = 0};
}

static void add_list(tmb_arguments *arguments, const char *types, va_list values) {
    for (; *types; types++) {
        if (*types == 's') {
            tmb_arguments_text(arguments, va_arg(values, const char *));
        } else if (*types == 'd') {
            tmb_arguments_real(arguments, va_arg(values, double));
        } else {
            tmb_arguments_integer(arguments, va_arg(values, int64_t));
        }
    }
}

void tmb_arguments_list(tmb_arguments *arguments, const char *types, ...) {
    va_list values;
    va_start(values, types);
    add_list(arguments, types, values);
    va_end(values);
}

/* ---- Commands ---- */

static tmb_redis_wire *kept_wire(tmb_redis *redis) {
    (void)pthread_mutex_lock(&redis->lock);
    tmb_redis_wire *wire = redis->count ? redis->wires[--redis->count] : NULL;
    (void)pthread_mutex_unlock(&redis->lock);
    return wire;
}

static void keep_wire(tmb_redis *redis, tmb_redis_wire *wire) {
    (void)pthread_mutex_lock(&redis->lock);
    bool kept = redis->count < kept_wires;
    if (kept) {
        redis->wires[redis->count++] = wire;
    }
    (void)pthread_mutex_unlock(&redis->lock);
    if (!kept) {
        tmb_redis_wire_close(&wire);
    }
}

/* When one connection breaks the others are as old, and mostly as broken: nobody should find that out one by one. */
static void close_kept_wires(tmb_redis *redis) {
    for (tmb_redis_wire *wire = NULL; (wire = kept_wire(redis)) != NULL;) {
        tmb_redis_wire_close(&wire);
    }
}

bool tmb_redis_is_away(tmb_redis *redis) {
    (void)pthread_mutex_lock(&redis->lock);
    bool away = redis->away;
    (void)pthread_mutex_unlock(&redis->lock);
    return away;
}

/* Says once that the server went away, and once that it is back. */
static void note_reach(tmb_redis *redis, bool away, const char *message) {
    (void)pthread_mutex_lock(&redis->lock);
    bool news = redis->away != away;
    redis->away = away;
    (void)pthread_mutex_unlock(&redis->lock);
    if (news) {
        tmb_log(redis->logger, TMB_LOG_WARNING, away ? "the queue cannot be reached: %s" : "the queue is back: %s",
                message);
    }
}

/* One attempt. TMB_OK with an error reply is one too. */
static tmb_status attempt(tmb_redis *redis, const tmb_arguments *arguments, redisReply **reply, tmb_error *error) {
    tmb_redis_wire *wire = kept_wire(redis);
    tmb_status status = wire != NULL ? TMB_OK : tmb_redis_wire_open(&redis->address, connect_seconds, &wire, error);
    if (status != TMB_OK) {
        return status;
    }
    status = tmb_redis_wire_send(wire, arguments->count, (const char **)arguments->values, arguments->sizes,
                                 reply_seconds, error);
    if (status == TMB_OK) {
        status = tmb_redis_wire_receive(wire, reply_seconds, reply, error);
    }
    if (status == TMB_OK) {
        keep_wire(redis, wire);
    } else {
        tmb_redis_wire_close(&wire);
        close_kept_wires(redis);
    }
    return status;
}

static bool begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

/* Whether the server says that it is not ready yet, or not any more. */
static bool is_passing(const redisReply *reply) {
    static const char *const words[] = {"LOADING", "BUSY ", "MASTERDOWN", "READONLY", "CLUSTERDOWN", "TRYAGAIN"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (begins(reply->str, words[i])) {
            return true;
        }
    }
    return false;
}

static void rest(double seconds) {
    unsigned char random = 128;
    (void)tmb_random_bytes(&random, 1);
    seconds *= 0.5 + random / 255.0; /* so that a hundred workers do not come back at the same moment */
    struct timespec time = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    (void)nanosleep(&time, NULL);
}

/* Until there is a reply, whatever it says, or the time is over. */
static tmb_store_status exchange(tmb_redis *redis, const tmb_arguments *arguments, redisReply **reply) {
    double end = tmb_now() + command_seconds;
    double wait = 0.02;
    tmb_error error = {.status = TMB_OK};
    for (;;) {
        *reply = NULL;
        tmb_status status = attempt(redis, arguments, reply, &error);
        if (status == TMB_OK && !((*reply)->type == REDIS_REPLY_ERROR && is_passing(*reply))) {
            note_reach(redis, false, redis->address.name);
            return TMB_STORE_OK;
        }
        if (*reply != NULL) {
            (void)tmb_fail(&error, TMB_ERROR_IO, "%s: %.200s", redis->address.name, (*reply)->str);
            tmb_reply_free(reply);
        }
        if (tmb_now() + wait >= end) {
            note_reach(redis, true, error.message);
            return TMB_STORE_BUSY;
        }
        rest(wait);
        wait = wait < 0.5 ? 2 * wait : 1;
    }
}

/* Turns an error reply into a status. */
static tmb_store_status judge(tmb_redis *redis, redisReply **reply) {
    if ((*reply)->type != REDIS_REPLY_ERROR) {
        return TMB_STORE_OK;
    }
    bool full = begins((*reply)->str, "OOM") || strstr((*reply)->str, "-OOM") != NULL;
    tmb_log(redis->logger, full ? TMB_LOG_WARNING : TMB_LOG_ERROR, "%s: %.300s", redis->address.name, (*reply)->str);
    tmb_reply_free(reply);
    return full ? TMB_STORE_NO_SPACE : TMB_STORE_FAILED;
}

tmb_store_status tmb_redis_command(tmb_redis *redis, tmb_arguments *arguments, redisReply **reply) {
    *reply = NULL;
    tmb_store_status status = arguments->failed ? TMB_STORE_BUSY : exchange(redis, arguments, reply);
    tmb_arguments_free(arguments);
    return status == TMB_STORE_OK ? judge(redis, reply) : status;
}

static void swap(tmb_arguments *arguments, int index, const char *text) {
    char *copy = tmb_strdup(text);
    arguments->failed = arguments->failed || copy == NULL;
    if (copy != NULL) {
        free(arguments->values[index]);
        arguments->values[index] = copy;
        arguments->sizes[index] = strlen(copy);
    }
}

tmb_store_status tmb_redis_eval(tmb_redis *redis, tmb_redis_script script, tmb_arguments *arguments,
                                redisReply **reply) {
    tmb_arguments whole = {.failed = arguments->failed};
    char token[TMB_STORE_ID];
    char answer[sizeof token + sizeof(TMB_REDIS_PREFIX "answer:")];
    *reply = NULL;
    if (!tmb_random_id(token)) {
        tmb_arguments_free(arguments);
        return TMB_STORE_FAILED;
    }
    (void)snprintf(answer, sizeof answer, TMB_REDIS_PREFIX "answer:%s", token);
    tmb_arguments_list(&whole, "sssss", "EVALSHA", redis->hashes[script], "2", TMB_REDIS_PREFIX, answer);
    for (int i = 0; i < arguments->count; i++) {
        tmb_arguments_add(&whole, arguments->values[i], arguments->sizes[i]);
    }
    tmb_arguments_free(arguments);
    tmb_store_status status = whole.failed ? TMB_STORE_BUSY : exchange(redis, &whole, reply);
    if (status == TMB_STORE_OK && (*reply)->type == REDIS_REPLY_ERROR && begins((*reply)->str, "NOSCRIPT")) {
        /* A new server, or somebody flushed its scripts. */
        tmb_reply_free(reply);
        swap(&whole, 0, "EVAL");
        swap(&whole, 1, tmb_redis_scripts[script]);
        status = whole.failed ? TMB_STORE_BUSY : exchange(redis, &whole, reply);
    }
    tmb_arguments_free(&whole);
    return status == TMB_STORE_OK ? judge(redis, reply) : status;
}

tmb_store_status tmb_redis_run(tmb_redis *redis, tmb_redis_script script, redisReply **reply, const char *types, ...) {
    tmb_arguments arguments = {.count = 0};
    va_list values;
    va_start(values, types);
    add_list(&arguments, types, values);
    va_end(values);
    return tmb_redis_eval(redis, script, &arguments, reply);
}

/* ---- Replies ---- */

void tmb_reply_free(redisReply **reply) {
    if (*reply != NULL) {
        freeReplyObject(*reply);
        *reply = NULL;
    }
}

const redisReply *tmb_reply_at(const redisReply *reply, size_t index) {
    return reply != NULL && reply->type == REDIS_REPLY_ARRAY && index < reply->elements ? reply->element[index] : NULL;
}

const char *tmb_reply_text(const redisReply *reply, const char *otherwise) {
    bool is_text = reply != NULL && (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS);
    return is_text ? reply->str : otherwise;
}

double tmb_reply_real(const redisReply *reply) {
    return reply != NULL && reply->type == REDIS_REPLY_INTEGER ? (double)reply->integer
                                                               : strtod(tmb_reply_text(reply, "0"), NULL);
}

int64_t tmb_reply_integer(const redisReply *reply) {
    return reply != NULL && reply->type == REDIS_REPLY_INTEGER ? reply->integer
                                                               : (int64_t)strtoll(tmb_reply_text(reply, "0"), NULL, 10);
}

tmb_store_status tmb_reply_status(const redisReply *reply) {
    static const struct {
        const char *word;
        tmb_store_status status;
    } words[] = {{"OK", TMB_STORE_OK},           {"NOT_FOUND", TMB_STORE_NOT_FOUND}, {"EXISTS", TMB_STORE_EXISTS},
                 {"IN_USE", TMB_STORE_IN_USE},   {"CONFLICT", TMB_STORE_CONFLICT},   {"FULL", TMB_STORE_FULL},
                 {"DAMAGED", TMB_STORE_DAMAGED}, {"NO_SPACE", TMB_STORE_NO_SPACE},   {"AGAIN", TMB_STORE_BUSY}};
    const char *said =
        tmb_reply_text(reply != NULL && reply->type == REDIS_REPLY_ARRAY ? tmb_reply_at(reply, 0) : reply, "");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(words[i].word, said) == 0) {
            return words[i].status;
        }
    }
    return TMB_STORE_FAILED;
}

static uint64_t field(const char *text, const char *name) {
    const char *at = strstr(text, name);
    return at != NULL ? strtoull(at + strlen(name), NULL, 10) : 0;
}

tmb_store_status tmb_redis_memory(tmb_redis *redis, uint64_t *used, uint64_t *allowed, bool *keeps_all) {
    tmb_arguments arguments = {.count = 0};
    redisReply *reply = NULL;
    tmb_arguments_list(&arguments, "ss", "INFO", "memory");
    tmb_store_status status = tmb_redis_command(redis, &arguments, &reply);
    if (status == TMB_STORE_OK) {
        const char *text = tmb_reply_text(reply, "");
        const char *policy = strstr(text, "maxmemory_policy:");
        status = policy != NULL ? TMB_STORE_OK : TMB_STORE_FAILED; /* it is something else than Redis */
        *used = field(text, "\nused_memory:");
        *allowed = field(text, "\nmaxmemory:");
        *keeps_all = policy != NULL && begins(policy, "maxmemory_policy:noeviction");
    }
    tmb_reply_free(&reply);
    return status;
}
