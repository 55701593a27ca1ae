/* Voices: what is known of them in Redis, recordings and what was prepared from them wherever contents are. */
#include "base/memory.h"
#include "queue/redis/shared.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A voice's bytes stay, even in Redis. The scripts see to it; this is for those that were put once more after them. */
static void keep_for_ever(tmb_shared *store, const char *sum) {
    char key[128];
    redisReply *reply = NULL;
    tmb_arguments arguments = {.count = 0};
    (void)snprintf(key, sizeof key, "%sbytes:%s", TMB_REDIS_PREFIX, sum);
    tmb_arguments_list(&arguments, "ss", "PERSIST", key);
    (void)tmb_redis_command(store->redis, &arguments, &reply);
    tmb_reply_free(&reply);
}

static tmb_store_status add(tmb_store *base, const char *path, tmb_voice_info *info) {
    tmb_shared *store = tmb_shared_of(base);
    char sum[TMB_SUM_SIZE];
    redisReply *reply = NULL;
    uint64_t booked = info->bytes;
    tmb_store_status status = tmb_random_id(info->id) ? TMB_STORE_OK : TMB_STORE_FAILED;
    if (status == TMB_STORE_OK) {
        status = tmb_contents_sum(base->logger, path, sum, &info->bytes);
    }
    if (status == TMB_STORE_OK) {
        status = tmb_shared_check_room(store, 0);
    }
    if (status == TMB_STORE_OK) {
        tmb_arguments arguments = {.count = 0};
        tmb_arguments_list(&arguments, "sssssiiiidsi", info->name, info->id, info->content_type, info->language,
                           info->ref_text, (int64_t)(info->ref_text != NULL), (int64_t)info->x_vector_only,
                           (int64_t)info->run_pre_processing, (int64_t)info->bytes, info->duration, sum,
                           (int64_t)store->max_bytes);
        status = tmb_shared_put(store, path, sum, info->bytes, TMB_SCRIPT_VOICE_ADD, &arguments, &reply);
    }
    if (status == TMB_STORE_OK) {
        info->created = tmb_reply_real(tmb_reply_at(reply, 1));
        keep_for_ever(store, sum);
        (void)unlink(path);
        tmb_shared_unbook(base, booked);
    }
    tmb_reply_free(&reply);
    return status;
}

/* What voice_get.lua says of a voice. TMB_STORE_NOT_FOUND: nothing. */
static tmb_store_status read_voice(const redisReply *fields, const char *name, tmb_voice_info *info, char *sum) {
    memset(info, 0, sizeof *info);
    const char *id = tmb_reply_text(tmb_reply_at(fields, 0), NULL);
    if (id == NULL) {
        return TMB_STORE_NOT_FOUND;
    }
    (void)snprintf(info->name, sizeof info->name, "%s", name);
    (void)snprintf(info->id, sizeof info->id, "%s", id);
    (void)snprintf(info->content_type, sizeof info->content_type, "%s", tmb_reply_text(tmb_reply_at(fields, 1), ""));
    (void)snprintf(info->language, sizeof info->language, "%s", tmb_reply_text(tmb_reply_at(fields, 2), ""));
    const char *text = tmb_reply_text(tmb_reply_at(fields, 3), NULL);
    info->ref_text = tmb_strdup(text);
    info->x_vector_only = tmb_reply_integer(tmb_reply_at(fields, 4)) != 0;
    info->run_pre_processing = tmb_reply_integer(tmb_reply_at(fields, 5)) != 0;
    info->bytes = (uint64_t)tmb_reply_integer(tmb_reply_at(fields, 6));
    info->duration = tmb_reply_real(tmb_reply_at(fields, 7));
    info->created = tmb_reply_real(tmb_reply_at(fields, 8));
    if (sum != NULL) {
        (void)snprintf(sum, TMB_SUM_SIZE, "%s", tmb_reply_text(tmb_reply_at(fields, 9), ""));
    }
    return text != NULL && info->ref_text == NULL ? TMB_STORE_BUSY : TMB_STORE_OK;
}

static tmb_store_status get(tmb_store *base, const char *name, int *descriptor, tmb_voice_info *info) {
    tmb_shared *store = tmb_shared_of(base);
    char sum[TMB_SUM_SIZE] = "";
    redisReply *reply = NULL;
    memset(info, 0, sizeof *info);
    if (descriptor != NULL) {
        *descriptor = -1;
    }
    tmb_store_status status =
        name[0] ? tmb_redis_run(store->redis, TMB_SCRIPT_VOICE_GET, &reply, "s", name) : TMB_STORE_NOT_FOUND;
    if (status == TMB_STORE_OK) {
        status = read_voice(reply, name, info, sum);
    }
    tmb_reply_free(&reply);
    if (status == TMB_STORE_OK && descriptor != NULL) {
        status = tmb_shared_open_content(store, sum, info->bytes, descriptor);
    }
    if (status != TMB_STORE_OK) {
        tmb_voice_info_free(info);
    }
    return status;
}

static tmb_store_status remove_voice(tmb_store *base, const char *name, const char *id) {
    tmb_shared *store = tmb_shared_of(base);
    redisReply *reply = NULL;
    tmb_store_status status = tmb_redis_run(store->redis, TMB_SCRIPT_VOICE_REMOVE, &reply, "ss", name, id);
    status = status == TMB_STORE_OK ? tmb_reply_status(reply) : status;
    if (status == TMB_STORE_OK) {
        (void)tmb_shared_delete(store, reply, 1, INFINITY);
    }
    tmb_reply_free(&reply);
    return status;
}

static tmb_store_status list_voices(tmb_store *base, tmb_voice_info **out, size_t *count) {
    redisReply *reply = NULL;
    *out = NULL;
    *count = 0;
    tmb_store_status status = tmb_redis_run(tmb_shared_of(base)->redis, TMB_SCRIPT_VOICE_GET, &reply, "s", "");
    size_t most = status == TMB_STORE_OK && reply->type == REDIS_REPLY_ARRAY ? reply->elements / 2 : 0;
    if (status == TMB_STORE_OK && (*out = tmb_calloc(most ? most : 1, sizeof **out)) == NULL) {
        status = TMB_STORE_BUSY;
    }
    for (size_t i = 0; status == TMB_STORE_OK && i < most; i++) {
        const char *name = tmb_reply_text(tmb_reply_at(reply, 2 * i), "");
        status = read_voice(tmb_reply_at(reply, 2 * i + 1), name, &(*out)[*count], NULL);
        *count += status != TMB_STORE_NOT_FOUND;
        status = status == TMB_STORE_NOT_FOUND ? TMB_STORE_OK : status;
    }
    tmb_reply_free(&reply);
    if (status != TMB_STORE_OK) {
        tmb_voice_list_free(*out, *count);
        *out = NULL;
        *count = 0;
    }
    return status;
}

/* ---- Prepared ---- */

static tmb_store_status prepared_keep(tmb_store *base, const tmb_voice_info *info, const char *model,
                                      const char *path) {
    tmb_shared *store = tmb_shared_of(base);
    char sum[TMB_SUM_SIZE];
    uint64_t bytes = 0;
    redisReply *reply = NULL;
    tmb_store_status status = tmb_contents_sum(base->logger, path, sum, &bytes);
    if (status == TMB_STORE_OK) {
        tmb_arguments arguments = {.count = 0};
        tmb_arguments_list(&arguments, "ssssii", info->name, info->id, model, sum, (int64_t)bytes,
                           (int64_t)store->max_bytes);
        status = tmb_shared_put(store, path, sum, bytes, TMB_SCRIPT_PREPARED_KEEP, &arguments, &reply);
    }
    if (status == TMB_STORE_OK) {
        keep_for_ever(store, sum);
        (void)tmb_shared_delete(store, reply, 1, INFINITY);
    }
    tmb_reply_free(&reply);
    (void)unlink(path);
    return status;
}

/* The content's name and size. */
static tmb_store_status find_prepared(tmb_shared *store, const tmb_voice_info *info, const char *model,
                                      char sum[TMB_SUM_SIZE], uint64_t *bytes) {
    char key[128];
    redisReply *reply = NULL;
    tmb_arguments arguments = {.count = 0};
    if (!tmb_is_id(info->id)) {
        return TMB_STORE_NOT_FOUND;
    }
    (void)snprintf(key, sizeof key, "%sprepared:%s", TMB_REDIS_PREFIX, info->id);
    tmb_arguments_list(&arguments, "sss", "HGET", key, model);
    tmb_store_status status = tmb_redis_command(store->redis, &arguments, &reply);
    if (status == TMB_STORE_OK) {
        const char *text = tmb_reply_text(reply, "");
        const char *space = strchr(text, ' ');
        bool good = space != NULL && space - text == TMB_SUM_SIZE - 1;
        (void)snprintf(sum, TMB_SUM_SIZE, "%s", good ? text : "");
        *bytes = good ? strtoull(space, NULL, 10) : 0;
        status = good ? TMB_STORE_OK : TMB_STORE_NOT_FOUND;
    }
    tmb_reply_free(&reply);
    return status;
}

static tmb_store_status prepared_open(tmb_store *base, const tmb_voice_info *info, const char *model, int *descriptor) {
    char sum[TMB_SUM_SIZE];
    uint64_t bytes = 0;
    *descriptor = -1;
    tmb_store_status status = find_prepared(tmb_shared_of(base), info, model, sum, &bytes);
    return status == TMB_STORE_OK ? tmb_shared_open_content(tmb_shared_of(base), sum, bytes, descriptor) : status;
}

static void prepared_drop(tmb_store *base, const tmb_voice_info *info, const char *model) {
    tmb_shared *store = tmb_shared_of(base);
    redisReply *reply = NULL;
    if (tmb_redis_run(store->redis, TMB_SCRIPT_PREPARED_DROP, &reply, "ss", info->id, model) == TMB_STORE_OK) {
        (void)tmb_shared_delete(store, reply, 0, INFINITY);
    }
    tmb_reply_free(&reply);
}

static bool prepared_exists(tmb_store *base, const tmb_voice_info *info, const char *model) {
    char sum[TMB_SUM_SIZE];
    uint64_t bytes = 0;
    return find_prepared(tmb_shared_of(base), info, model, sum, &bytes) == TMB_STORE_OK;
}

const tmb_voice_operations tmb_shared_voices = {
    .add = add,
    .get = get,
    .remove = remove_voice,
    .list = list_voices,
    .prepared_keep = prepared_keep,
    .prepared_open = prepared_open,
    .prepared_drop = prepared_drop,
    .prepared_exists = prepared_exists,
};
