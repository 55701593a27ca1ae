/* Jobs in Redis: adding, looking at, removing. */
#include "base/memory.h"
#include "queue/redis/shared.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* label, created, finished, then a count for each state. False: there is no such job. */
static bool read_job(const redisReply *fields, const char *id, tmb_job_info *info) {
    char own[TMB_STORE_ID]; /* `id` may be the one in `info` */
    (void)snprintf(own, sizeof own, "%s", id);
    memset(info, 0, sizeof *info);
    if (tmb_reply_text(tmb_reply_at(fields, 1), NULL) == NULL) {
        return false;
    }
    memcpy(info->id, own, sizeof info->id);
    (void)snprintf(info->label, sizeof info->label, "%s", tmb_reply_text(tmb_reply_at(fields, 0), ""));
    info->created = tmb_reply_real(tmb_reply_at(fields, 1));
    info->finished = tmb_reply_real(tmb_reply_at(fields, 2));
    for (size_t state = 0; state < TMB_ITEM_STATES; state++) {
        int64_t count = tmb_reply_integer(tmb_reply_at(fields, 3 + state));
        info->items[state] = count > 0 ? (size_t)count : 0;
        info->total += info->items[state];
    }
    return true;
}

static tmb_store_status get(tmb_store *base, const char *id, tmb_job_info *info) {
    redisReply *reply = NULL;
    tmb_store_status status = tmb_redis_run(tmb_shared_of(base)->redis, TMB_SCRIPT_JOB_GET, &reply, "s", id);
    if (status == TMB_STORE_OK && !read_job(reply, id, info)) {
        status = TMB_STORE_NOT_FOUND;
    }
    tmb_reply_free(&reply);
    return status;
}

static void list_job(tmb_arguments *arguments, const tmb_shared *store, const tmb_new_job *job, const char *id) {
    tmb_arguments_list(arguments, "ssssisiii", id, job->label, job->repeat_key, job->body, (int64_t)store->max_jobs,
                       job->call_seconds > 0 ? "calls" : "jobs", (int64_t)(job->call_seconds + 1), (int64_t)job->count,
                       (int64_t)job->file_count);
    for (size_t i = 0; i < job->count; i++) {
        tmb_arguments_text(arguments, job->requests[i]);
        tmb_arguments_text(arguments, job->needs != NULL ? job->needs[i] : NULL);
        tmb_arguments_text(arguments, job->voices != NULL ? job->voices[i] : NULL);
    }
    for (size_t i = 0; i < job->file_count; i++) {
        tmb_arguments_list(arguments, "si", job->files[i].id, (int64_t)job->files[i].owned);
    }
}

static tmb_store_status add(tmb_store *base, const tmb_new_job *job, tmb_job_info *info) {
    tmb_shared *store = tmb_shared_of(base);
    redisReply *reply = NULL;
    memset(info, 0, sizeof *info);
    size_t length = strlen(job->label);
    size_t bytes = 0;
    if (length >= sizeof info->label || !tmb_random_id(info->id)) {
        return length >= sizeof info->label ? TMB_STORE_TOO_LARGE : TMB_STORE_FAILED;
    }
    for (size_t i = 0; i < job->count; i++) {
        bytes += strlen(job->requests[i]);
    }
    tmb_store_status status = tmb_shared_check_room(store, bytes);
    if (status == TMB_STORE_OK) {
        tmb_arguments arguments = {.count = 0};
        list_job(&arguments, store, job, info->id);
        status = tmb_redis_eval(store->redis, TMB_SCRIPT_JOB_ADD, &arguments, &reply);
        /* Redis has no room: whoever asks later may find some. */
        status = status == TMB_STORE_OK         ? tmb_reply_status(reply)
                 : status == TMB_STORE_NO_SPACE ? TMB_STORE_FULL
                                                : status;
    }
    if (status == TMB_STORE_OK) {
        memcpy(info->label, job->label, length + 1);
        info->created = tmb_reply_real(tmb_reply_at(reply, 1));
        info->total = info->items[TMB_ITEM_QUEUED] = job->count;
    } else if (status == TMB_STORE_EXISTS || status == TMB_STORE_CONFLICT) {
        tmb_store_status found = get(base, tmb_reply_text(tmb_reply_at(reply, 1), ""), info);
        status = found == TMB_STORE_OK ? status : TMB_STORE_BUSY;
    }
    tmb_reply_free(&reply);
    return status;
}

static tmb_store_status remove_job(tmb_store *base, const char *id) {
    tmb_shared *store = tmb_shared_of(base);
    redisReply *reply = NULL;
    tmb_store_status status = tmb_redis_run(store->redis, TMB_SCRIPT_JOB_REMOVE, &reply, "s", id);
    if (status == TMB_STORE_OK && reply->type != REDIS_REPLY_ARRAY) {
        status = TMB_STORE_NOT_FOUND;
    }
    if (status == TMB_STORE_OK) {
        (void)tmb_shared_delete(store, reply, 0, INFINITY);
    }
    tmb_reply_free(&reply);
    return status;
}

static tmb_store_status list_jobs(tmb_store *base, size_t limit, tmb_job_info **out, size_t *count) {
    redisReply *reply = NULL;
    *count = 0;
    *out = tmb_calloc(limit ? limit : 1, sizeof **out);
    if (*out == NULL) {
        return TMB_STORE_BUSY;
    }
    tmb_store_status status =
        tmb_redis_run(tmb_shared_of(base)->redis, TMB_SCRIPT_JOB_LIST, &reply, "i", (int64_t)limit);
    for (size_t i = 0; status == TMB_STORE_OK && *count < limit && tmb_reply_at(reply, 2 * i + 1) != NULL; i++) {
        const char *id = tmb_reply_text(tmb_reply_at(reply, 2 * i), "");
        *count += read_job(tmb_reply_at(reply, 2 * i + 1), id, &(*out)[*count]);
    }
    tmb_reply_free(&reply);
    if (status != TMB_STORE_OK) {
        free(*out);
        *out = NULL;
        *count = 0;
    }
    return status;
}

/* state, request, result, audio */
static bool read_item(const redisReply *fields, size_t position, tmb_job_item *item) {
    const char *result = tmb_reply_text(tmb_reply_at(fields, 2), NULL);
    int64_t state = tmb_reply_integer(tmb_reply_at(fields, 0));
    item->position = position;
    item->state = state >= 0 && state < TMB_ITEM_STATES ? (tmb_item_state)state : TMB_ITEM_QUEUED;
    item->request = tmb_strdup(tmb_reply_text(tmb_reply_at(fields, 1), ""));
    item->result = tmb_strdup(result);
    (void)snprintf(item->file, sizeof item->file, "%s", tmb_reply_text(tmb_reply_at(fields, 3), ""));
    return item->request != NULL && (item->result != NULL || result == NULL);
}

static tmb_store_status list_items(tmb_store *base, const char *job, tmb_job_item **out, size_t *count) {
    redisReply *reply = NULL;
    *out = NULL;
    *count = 0;
    tmb_store_status status = tmb_redis_run(tmb_shared_of(base)->redis, TMB_SCRIPT_JOB_ITEMS, &reply, "s", job);
    size_t most = status == TMB_STORE_OK && reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
    if (status == TMB_STORE_OK && (*out = tmb_calloc(most ? most : 1, sizeof **out)) == NULL) {
        status = TMB_STORE_BUSY;
    }
    for (size_t i = 0; status == TMB_STORE_OK && i < most; i++) {
        status = read_item(tmb_reply_at(reply, i), i, &(*out)[(*count)++]) ? TMB_STORE_OK : TMB_STORE_BUSY;
    }
    tmb_reply_free(&reply);
    if (status != TMB_STORE_OK) {
        tmb_item_list_free(*out, *count);
        *out = NULL;
        *count = 0;
    }
    return status;
}

static tmb_store_status counts(tmb_store *base, size_t *queued, size_t *running) {
    redisReply *reply = NULL;
    tmb_arguments arguments = {.count = 0};
    *queued = *running = 0;
    tmb_arguments_list(&arguments, "ssss", "HMGET", TMB_REDIS_PREFIX "counts", "jobs:queued", "jobs:running");
    tmb_store_status status = tmb_redis_command(tmb_shared_of(base)->redis, &arguments, &reply);
    if (status == TMB_STORE_OK) {
        int64_t values[2] = {tmb_reply_integer(tmb_reply_at(reply, 0)), tmb_reply_integer(tmb_reply_at(reply, 1))};
        *queued = values[0] > 0 ? (size_t)values[0] : 0;
        *running = values[1] > 0 ? (size_t)values[1] : 0;
    }
    tmb_reply_free(&reply);
    return status;
}

const tmb_job_operations tmb_shared_jobs = {
    .add = add,
    .get = get,
    .remove = remove_job,
    .list = list_jobs,
    .items = list_items,
    .take = tmb_shared_take,
    .renew = tmb_shared_renew,
    .give_back = tmb_shared_give_back,
    .finish = tmb_shared_finish,
    .counts = counts,
    .watch = tmb_shared_watch,
    .pass_on = tmb_shared_pass_on,
    .bury = tmb_shared_bury,
    .dead_list = tmb_shared_dead_list,
    .dead_end = tmb_shared_dead_end,
    .send = tmb_shared_send,
    .listening = tmb_shared_listening,
    .receive = tmb_shared_receive,
};
