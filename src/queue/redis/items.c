/* Items on their way: deliveries, dead letters, calls. */
#include "base/memory.h"
#include "base/thread.h"
#include "queue/redis/shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t milliseconds(double seconds) { return (int64_t)(seconds * 1000); }

/* Says once for each need that its items are left to others. */
static void tell_left(tmb_shared *store, const redisReply *reply) {
    const redisReply *need = NULL;
    (void)pthread_mutex_lock(&store->left_lock);
    for (size_t i = 2; (need = tmb_reply_at(reply, i)) != NULL; i++) {
        const char *text = tmb_reply_text(need, "");
        bool known = false;
        for (int j = 0; j < store->left.count && !known; j++) {
            known = strcmp(store->left.values[j], text) == 0;
        }
        if (!known && store->left.count < 1000) {
            tmb_arguments_text(&store->left, text);
            tmb_log(store->base.logger, TMB_LOG_WARNING, "items that need %.200s are left to other workers", text);
        }
    }
    (void)pthread_mutex_unlock(&store->left_lock);
}

tmb_store_status tmb_shared_take(tmb_store *base, const tmb_taking *how, tmb_delivery *out) {
    tmb_shared *store = tmb_shared_of(base);
    redisReply *reply = NULL;
    tmb_arguments arguments = {.count = 0};
    memset(out, 0, sizeof *out);
    if (!store->question[0] && !tmb_random_id(store->question)) {
        return TMB_STORE_FAILED;
    }
    tmb_arguments_list(&arguments, "ssis", store->consumer, store->question, milliseconds(how->lease_seconds),
                       how->calls_only ? "calls"
                       : how->idle     ? "idle"
                                       : "all");
    tmb_arguments_real(&arguments, store->patience_seconds);
    tmb_arguments_text(&arguments, store->labels);
    tmb_store_status status = tmb_redis_eval(store->redis, TMB_SCRIPT_TAKE, &arguments, &reply);
    if (status == TMB_STORE_OK) {
        status = tmb_reply_status(reply);
        store->question[0] = 0;
    }
    if (status == TMB_STORE_NOT_FOUND) {
        out->again_seconds = tmb_reply_real(tmb_reply_at(reply, 1));
        tell_left(store, reply);
    }
    if (status == TMB_STORE_OK) {
        (void)snprintf(out->job, sizeof out->job, "%s", tmb_reply_text(tmb_reply_at(reply, 1), ""));
        out->position = (size_t)tmb_reply_integer(tmb_reply_at(reply, 2));
        out->number = tmb_reply_integer(tmb_reply_at(reply, 3));
        out->request = tmb_strdup(tmb_reply_text(tmb_reply_at(reply, 4), ""));
        out->job_number = tmb_reply_integer(tmb_reply_at(reply, 5));
        out->is_call = strcmp(tmb_reply_text(tmb_reply_at(reply, 6), ""), "calls") == 0;
        out->attempts = (unsigned)tmb_reply_integer(tmb_reply_at(reply, 7));
        out->returned = (unsigned)tmb_reply_integer(tmb_reply_at(reply, 8));
        out->seconds_left = tmb_reply_real(tmb_reply_at(reply, 9));
        status = out->request != NULL ? TMB_STORE_OK : TMB_STORE_BUSY;
    }
    tmb_reply_free(&reply);
    return status;
}

/* For scripts that answer 1 or 0. */
static tmb_store_status yes_or_no(tmb_store_status status, redisReply *reply) {
    if (status == TMB_STORE_OK && tmb_reply_integer(reply) != 1) {
        status = TMB_STORE_NOT_FOUND;
    }
    tmb_reply_free(&reply);
    return status;
}

tmb_store_status tmb_shared_renew(tmb_store *base, const tmb_delivery *delivery, double lease_seconds) {
    tmb_shared *store = tmb_shared_of(base);
    redisReply *reply = NULL;
    tmb_store_status status =
        tmb_redis_run(store->redis, TMB_SCRIPT_RENEW, &reply, "ssiii", store->consumer, delivery->job,
                      (int64_t)delivery->position, delivery->number, milliseconds(lease_seconds));
    return yes_or_no(status, reply);
}

tmb_store_status tmb_shared_give_back(tmb_store *base, const tmb_delivery *delivery, bool unable) {
    tmb_shared *store = tmb_shared_of(base);
    redisReply *reply = NULL;
    tmb_store_status status =
        tmb_redis_run(store->redis, TMB_SCRIPT_GIVE_BACK, &reply, "siisi", delivery->job, (int64_t)delivery->position,
                      delivery->number, store->consumer, (int64_t)unable);
    return yes_or_no(status, reply);
}

tmb_store_status tmb_shared_pass_on(tmb_store *base, const tmb_delivery *delivery, uint64_t memory) {
    redisReply *reply = NULL;
    tmb_store_status status =
        tmb_redis_run(tmb_shared_of(base)->redis, TMB_SCRIPT_PASS_ON, &reply, "siii", delivery->job,
                      (int64_t)delivery->position, delivery->number, (int64_t)memory);
    status = status == TMB_STORE_OK ? tmb_reply_status(reply) : status;
    tmb_reply_free(&reply);
    return status;
}

tmb_store_status tmb_shared_finish(tmb_store *base, const tmb_delivery *delivery, tmb_item_state state,
                                   const char *result, const char *audio) {
    redisReply *reply = NULL;
    tmb_store_status status =
        tmb_redis_run(tmb_shared_of(base)->redis, TMB_SCRIPT_FINISH, &reply, "siiiss", delivery->job,
                      (int64_t)delivery->position, delivery->number, (int64_t)state, result, audio);
    status = status == TMB_STORE_OK ? tmb_reply_status(reply) : status;
    tmb_reply_free(&reply);
    return status;
}

/* ---- Dead letters ---- */

tmb_store_status tmb_shared_bury(tmb_store *base, const tmb_delivery *delivery, const char *result,
                                 const char *reason) {
    redisReply *reply = NULL;
    tmb_store_status status = tmb_redis_run(tmb_shared_of(base)->redis, TMB_SCRIPT_BURY, &reply, "siiss", delivery->job,
                                            (int64_t)delivery->position, delivery->number, result, reason);
    status = status == TMB_STORE_OK ? tmb_reply_status(reply) : status;
    tmb_reply_free(&reply);
    return status;
}

tmb_store_status tmb_shared_dead_list(tmb_store *base, size_t limit, tmb_dead_letter **out, size_t *count) {
    redisReply *reply = NULL;
    tmb_store_status status =
        tmb_redis_run(tmb_shared_of(base)->redis, TMB_SCRIPT_DEAD_LIST, &reply, "i", (int64_t)limit);
    size_t most = status == TMB_STORE_OK && reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
    *count = 0;
    *out = NULL;
    if (status == TMB_STORE_OK && (*out = tmb_calloc(most > 0 ? most : 1, sizeof **out)) == NULL) {
        status = TMB_STORE_BUSY;
    }
    for (size_t i = 0; status == TMB_STORE_OK && i < most; i++) {
        const redisReply *fields = tmb_reply_at(reply, i);
        tmb_dead_letter *letter = &(*out)[(*count)++];
        (void)snprintf(letter->id, sizeof letter->id, "%s", tmb_reply_text(tmb_reply_at(fields, 0), ""));
        (void)snprintf(letter->job, sizeof letter->job, "%s", tmb_reply_text(tmb_reply_at(fields, 1), ""));
        letter->position = (size_t)tmb_reply_integer(tmb_reply_at(fields, 2));
        letter->attempts = (unsigned)tmb_reply_integer(tmb_reply_at(fields, 3));
        letter->time = tmb_reply_real(tmb_reply_at(fields, 4));
        (void)snprintf(letter->reason, sizeof letter->reason, "%s", tmb_reply_text(tmb_reply_at(fields, 5), ""));
    }
    tmb_reply_free(&reply);
    return status;
}

/* Entries of a stream: "1693000000000-0". */
static bool is_entry(const char *id) {
    size_t digits = strspn(id, "0123456789");
    return digits > 0 && digits < 21 && id[digits] == '-' && id[digits + 1] &&
           strspn(id + digits + 1, "0123456789") == strlen(id + digits + 1) && strlen(id) < 40;
}

tmb_store_status tmb_shared_dead_end(tmb_store *base, const char *id, bool retry) {
    redisReply *reply = NULL;
    if (!is_entry(id)) {
        return TMB_STORE_NOT_FOUND;
    }
    tmb_store_status status =
        tmb_redis_run(tmb_shared_of(base)->redis, TMB_SCRIPT_DEAD_END, &reply, "ss", id, retry ? "retry" : "drop");
    return yes_or_no(status, reply);
}

/* ---- Calls ---- */

tmb_store_status tmb_shared_send(tmb_store *base, const tmb_delivery *delivery, const tmb_call_words *words,
                                 tmb_call_audience *audience) {
    redisReply *reply = NULL;
    tmb_arguments arguments = {.count = 0};
    *audience = (tmb_call_audience){.waiting = 0};
    tmb_arguments_list(&arguments, "siiisi", delivery->job, (int64_t)delivery->position, delivery->number,
                       (int64_t)words->number, words->kind, (int64_t)words->hurries);
    tmb_arguments_add(&arguments, words->data, words->size);
    tmb_store_status status = tmb_redis_eval(tmb_shared_of(base)->redis, TMB_SCRIPT_CALL_SEND, &arguments, &reply);
    if (status == TMB_STORE_OK) {
        int64_t length = tmb_reply_integer(tmb_reply_at(reply, 0));
        audience->waiting = length > 0 ? (size_t)length : 0;
        audience->listens = tmb_reply_integer(tmb_reply_at(reply, 1)) != 0;
        status = length < 0 ? TMB_STORE_NOT_FOUND : TMB_STORE_OK;
    }
    tmb_reply_free(&reply);
    return status;
}

tmb_store_status tmb_shared_listening(tmb_store *base, const char (*jobs)[TMB_STORE_ID], size_t count) {
    redisReply *reply = NULL;
    tmb_arguments arguments = {.count = 0};
    for (size_t i = 0; i < count; i++) {
        tmb_arguments_text(&arguments, jobs[i]);
    }
    tmb_store_status status = tmb_redis_eval(tmb_shared_of(base)->redis, TMB_SCRIPT_LISTEN, &arguments, &reply);
    tmb_reply_free(&reply);
    return status;
}

/* Pieces that were read stay for a while: each removal is one more question. */
static const unsigned kept_pieces = 8;

/* [[stream, [[entry, [kind, K, delivery, D, data, X, piece, N]]]]]; the last one has no N */
static tmb_store_status read_piece(const redisReply *reply, tmb_call_place *place, tmb_call_piece *out) {
    const redisReply *entry = tmb_reply_at(tmb_reply_at(tmb_reply_at(reply, 0), 1), 0);
    const redisReply *fields = tmb_reply_at(entry, 1);
    const redisReply *data = tmb_reply_at(fields, 5);
    if (!data || data->type != REDIS_REPLY_STRING) {
        return TMB_STORE_NOT_FOUND;
    }
    (void)snprintf(place->entry, sizeof place->entry, "%s", tmb_reply_text(tmb_reply_at(entry, 0), ""));
    place->kept++;
    (void)snprintf(out->kind, sizeof out->kind, "%s", tmb_reply_text(tmb_reply_at(fields, 1), ""));
    out->delivery = tmb_reply_integer(tmb_reply_at(fields, 3));
    out->number = (uint64_t)tmb_reply_integer(tmb_reply_at(fields, 7));
    out->size = data->len;
    out->data = tmb_calloc(out->size + 1, 1);
    if (!out->data) {
        return TMB_STORE_BUSY;
    }
    memcpy(out->data, data->str, out->size);
    return TMB_STORE_OK;
}

tmb_store_status tmb_shared_receive(tmb_store *base, const char *job, tmb_call_place *place, double seconds,
                                    tmb_call_piece *out) {
    tmb_shared *store = tmb_shared_of(base);
    char key[128];
    redisReply *reply = NULL;
    memset(out, 0, sizeof *out);
    (void)snprintf(key, sizeof key, "%slive:%s", TMB_REDIS_PREFIX, job);
    if (place->kept >= kept_pieces) { /* what was read makes room */
        tmb_arguments read = {.count = 0};
        tmb_arguments_list(&read, "ssss", "XTRIM", key, "MINID", place->entry);
        tmb_store_status status = tmb_redis_command(store->redis, &read, &reply);
        tmb_reply_free(&reply);
        if (status != TMB_STORE_OK) {
            return status;
        }
        place->kept = 1;
    }
    /* Less than a reply may take. */
    double wait = seconds < 2 ? seconds : 2;
    tmb_arguments arguments = {.count = 0};
    tmb_arguments_list(&arguments, "ssisisss", "XREAD", "COUNT", (int64_t)1, "BLOCK",
                       wait > 0.001 ? milliseconds(wait) : (int64_t)1, "STREAMS", key,
                       place->entry[0] ? place->entry : "0");
    tmb_store_status status = tmb_redis_command(store->redis, &arguments, &reply);
    if (status == TMB_STORE_OK) {
        status = read_piece(reply, place, out);
    }
    tmb_reply_free(&reply);
    return status;
}
