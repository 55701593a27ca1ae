/* Files: what is known of them in Redis, their bytes wherever contents are. */
#include "base/thread.h"
#include "queue/redis/shared.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* How long somebody else's deletion of the same content is waited for. */
static const double deletion_seconds = 10;

/* New work is refused once so much of Redis' memory is used: what is left is for results. */
static const double used_most = 0.8;

tmb_store_status tmb_shared_check_room(tmb_shared *store, size_t bytes) {
    uint64_t used = 0;
    uint64_t allowed = 0;
    bool keeps_all = true;
    tmb_store_status status = tmb_redis_memory(store->redis, &used, &allowed, &keeps_all);
    if (status != TMB_STORE_OK || !allowed) {
        return status;
    }
    return (double)used + 2 * (double)bytes > used_most * (double)allowed ? TMB_STORE_FULL : TMB_STORE_OK;
}

static tmb_store_status simple(tmb_shared *store, tmb_arguments *arguments) {
    redisReply *reply = NULL;
    tmb_store_status status = tmb_redis_command(store->redis, arguments, &reply);
    tmb_reply_free(&reply);
    return status;
}

static tmb_store_status announce(tmb_shared *store, const char *sum) {
    tmb_arguments arguments = {.count = 0};
    tmb_arguments_list(&arguments, "ssis", "ZADD", TMB_REDIS_PREFIX "arriving", (int64_t)tmb_wall_clock(), sum);
    return simple(store, &arguments);
}

/* A claim ends by itself after a while, and a removal may take long: each content is claimed anew before it. */
static bool claim(tmb_shared *store, const char *sum, const char *token, bool *claimed) {
    redisReply *reply = NULL;
    tmb_store_status status = tmb_redis_run(store->redis, TMB_SCRIPT_CLAIM, &reply, "ss", sum, token);
    *claimed = status == TMB_STORE_OK && tmb_reply_integer(reply) != 0;
    tmb_reply_free(&reply);
    return status == TMB_STORE_OK;
}

bool tmb_shared_delete(tmb_shared *store, const redisReply *reply, size_t first, double end) {
    const redisReply *sum = NULL;
    char token[TMB_STORE_ID]; /* of this call: another thread that claims the same content is another */
    if (!tmb_random_id(token)) {
        return false;
    }
    for (size_t i = first; (sum = tmb_reply_at(reply, i)) != NULL && tmb_now() < end; i++) {
        const char *text = tmb_reply_text(sum, "");
        bool claimed = false;
        if (strlen(text) != TMB_SUM_SIZE - 1) {
            continue;
        }
        if (!claim(store, text, token, &claimed)) {
            return false;
        }
        if (!claimed) {
            continue;
        }
        if (store->contents->remove(store->contents, text) != TMB_STORE_OK) {
            return false; /* each may take seconds to fail; the claim stays: it may happen later still */
        }
        redisReply *answer = NULL;
        (void)tmb_redis_run(store->redis, TMB_SCRIPT_DELETED, &answer, "ss", text, token);
        tmb_reply_free(&answer);
    }
    return true;
}

static void copy_arguments(tmb_arguments *to, const tmb_arguments *from) {
    for (int i = 0; i < from->count; i++) {
        tmb_arguments_add(to, from->values[i], from->sizes[i]);
    }
    to->failed = to->failed || from->failed;
}

tmb_store_status tmb_shared_put(tmb_shared *store, const char *path, const char *sum, uint64_t bytes,
                                tmb_redis_script script, tmb_arguments *arguments, redisReply **reply) {
    double end = tmb_now() + deletion_seconds;
    tmb_store_status status = TMB_STORE_OK;
    *reply = NULL;
    do {
        tmb_reply_free(reply);
        status = announce(store, sum);
        status = status == TMB_STORE_OK ? store->contents->put(store->contents, path, sum, bytes) : status;
        if (status != TMB_STORE_OK) {
            break;
        }
        tmb_arguments copy = {.count = 0};
        copy_arguments(&copy, arguments);
        status = tmb_redis_eval(store->redis, script, &copy, reply);
        status = status == TMB_STORE_OK ? tmb_reply_status(*reply) : status;
        if (status == TMB_STORE_BUSY && *reply != NULL) {
            (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        }
    } while (status == TMB_STORE_BUSY && *reply != NULL && tmb_now() < end);
    /* Somebody may have deleted it between the two. From now on nobody does. */
    if (status == TMB_STORE_OK && store->contents->has(store->contents, sum) == TMB_STORE_NOT_FOUND) {
        status = store->contents->put(store->contents, path, sum, bytes);
    }
    if (status != TMB_STORE_OK && *reply != NULL) {
        redisReply *gone = NULL;
        if (tmb_redis_run(store->redis, TMB_SCRIPT_ABANDON, &gone, "s", sum) == TMB_STORE_OK) {
            (void)tmb_shared_delete(store, gone, 0, INFINITY);
        }
        tmb_reply_free(&gone);
    }
    tmb_arguments_free(arguments);
    return status;
}

static tmb_store_status adopt(tmb_store *base, const char *path, bool pending, uint64_t booked, tmb_file_info *info) {
    tmb_shared *store = tmb_shared_of(base);
    char sum[TMB_SUM_SIZE];
    redisReply *reply = NULL;
    tmb_arguments arguments = {.count = 0};
    tmb_store_status status = tmb_random_id(info->id) ? TMB_STORE_OK : TMB_STORE_FAILED;
    if (status == TMB_STORE_OK) {
        status = tmb_contents_sum(base->logger, path, sum, &info->bytes);
    }
    if (status == TMB_STORE_OK && !pending) {
        status = tmb_shared_check_room(store, 0);
    }
    if (status == TMB_STORE_OK) {
        tmb_arguments_list(&arguments, "sssiiddssi", info->id, info->name, info->content_type, (int64_t)info->bytes,
                           (int64_t)info->sample_rate, info->duration, store->file_seconds, sum,
                           pending ? "pending" : "", (int64_t)store->max_bytes);
        status = tmb_shared_put(store, path, sum, info->bytes, TMB_SCRIPT_FILE_ADD, &arguments, &reply);
    }
    if (status == TMB_STORE_OK) {
        info->created = tmb_reply_real(tmb_reply_at(reply, 1));
        info->expires = info->created + store->file_seconds;
        (void)unlink(path);
    }
    tmb_shared_unbook(base, booked);
    tmb_reply_free(&reply);
    return status;
}

/* *sum (TMB_SUM_SIZE) gets the name of its content. */
static tmb_store_status look_up(tmb_shared *store, const char *id, tmb_file_info *info, char *sum) {
    redisReply *reply = NULL;
    memset(info, 0, sizeof *info);
    if (!tmb_is_id(id)) {
        return TMB_STORE_NOT_FOUND;
    }
    tmb_store_status status = tmb_redis_run(store->redis, TMB_SCRIPT_FILE_GET, &reply, "s", id);
    if (status == TMB_STORE_OK && reply->type != REDIS_REPLY_ARRAY) {
        status = TMB_STORE_NOT_FOUND;
    }
    if (status == TMB_STORE_OK) {
        (void)snprintf(info->id, sizeof info->id, "%s", id);
        (void)snprintf(info->name, sizeof info->name, "%s", tmb_reply_text(tmb_reply_at(reply, 0), ""));
        (void)snprintf(info->content_type, sizeof info->content_type, "%s", tmb_reply_text(tmb_reply_at(reply, 1), ""));
        info->bytes = (uint64_t)tmb_reply_integer(tmb_reply_at(reply, 2));
        info->sample_rate = (int)tmb_reply_integer(tmb_reply_at(reply, 3));
        info->duration = tmb_reply_real(tmb_reply_at(reply, 4));
        info->created = tmb_reply_real(tmb_reply_at(reply, 5));
        info->expires = tmb_reply_real(tmb_reply_at(reply, 6));
        (void)snprintf(sum, TMB_SUM_SIZE, "%s", tmb_reply_text(tmb_reply_at(reply, 7), ""));
    }
    tmb_reply_free(&reply);
    return status;
}

tmb_store_status tmb_shared_open_content(tmb_shared *store, const char *sum, uint64_t bytes, int *descriptor) {
    char scratch[TMB_STORE_PATH];
    struct stat found;
    *descriptor = -1;
    if (strlen(sum) != TMB_SUM_SIZE - 1 || strspn(sum, "0123456789abcdef") != TMB_SUM_SIZE - 1) {
        return TMB_STORE_DAMAGED;
    }
    if (!tmb_shared_temporary_path(&store->base, scratch)) {
        return TMB_STORE_FAILED;
    }
    tmb_store_status status = store->contents->open(store->contents, sum, scratch, descriptor);
    if (status == TMB_STORE_OK &&
        (fstat(*descriptor, &found) || !S_ISREG(found.st_mode) || (uint64_t)found.st_size != bytes)) {
        (void)close(*descriptor);
        *descriptor = -1;
        status = TMB_STORE_DAMAGED;
    }
    if (status == TMB_STORE_NOT_FOUND || status == TMB_STORE_DAMAGED) {
        tmb_log(store->base.logger, TMB_LOG_ERROR, "the stored content %s is %s", sum,
                status == TMB_STORE_DAMAGED ? "not as long as it was" : "not there");
        status = TMB_STORE_DAMAGED;
    }
    return status;
}

static tmb_store_status open_file(tmb_store *base, const char *id, int *descriptor, tmb_file_info *info) {
    char sum[TMB_SUM_SIZE];
    *descriptor = -1;
    tmb_store_status status = look_up(tmb_shared_of(base), id, info, sum);
    return status == TMB_STORE_OK ? tmb_shared_open_content(tmb_shared_of(base), sum, info->bytes, descriptor) : status;
}

static tmb_store_status remove_file(tmb_store *base, const char *id) {
    tmb_shared *store = tmb_shared_of(base);
    redisReply *reply = NULL;
    if (!tmb_is_id(id)) {
        return TMB_STORE_NOT_FOUND;
    }
    tmb_store_status status = tmb_redis_run(store->redis, TMB_SCRIPT_FILE_REMOVE, &reply, "s", id);
    status = status == TMB_STORE_OK ? tmb_reply_status(reply) : status;
    if (status == TMB_STORE_OK) {
        (void)tmb_shared_delete(store, reply, 1, INFINITY);
    }
    tmb_reply_free(&reply);
    return status;
}

const tmb_blob_operations tmb_shared_blobs = {.adopt = adopt, .open = open_file, .remove = remove_file};
