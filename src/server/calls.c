#include "server/calls.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/thread.h"
#include "server/body_fields.h"
#include "server/call_result.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How soon a cancellation and the deadline are seen while nothing comes. */
static const double slice_seconds = 0.25;

/* How often the queue is told that somebody listens. */
static const double listening_seconds = 2.5;

typedef struct call {
    struct call *next;
    tmb_calls *calls;
    uint64_t number;
    char job[TMB_STORE_ID];
    tmb_clone_callbacks callbacks;
    double end; /* the deadline; monotonic */
    atomic_bool cancelled;
    bool queued; /* under the lock of `calls`; `job` does not change any more */
    /* The thread's own. */
    tmb_call_place place;
    int64_t delivery; /* that speaks; 0 = none yet */
    uint64_t pieces;  /* of this delivery that came */
    bool told;        /* who speaks */
    bool heard;       /* audio has come */
} call;

struct tmb_calls {
    tmb_server *server;
    pthread_t listener;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    bool ending;
    call *first;
    size_t count;
    uint64_t last_number;
};

/* ---- That somebody listens ---- */

/* The names of all calls that are in the queue, to be freed. With the lock held. */
static char (*list_queued(const tmb_calls *calls, size_t *count))[TMB_STORE_ID] {
    char(*jobs)[TMB_STORE_ID] = tmb_calloc(calls->count + 1, sizeof *jobs);
    *count = 0;
    for (const call *at = calls->first; jobs != NULL && at != NULL; at = at->next) {
        if (at->queued) {
            memcpy(jobs[(*count)++], at->job, sizeof *jobs);
        }
    }
    return jobs;
}

/* A thread for all of them: one that waits for its client to read could not say so in time. */
static void *listening_thread(void *argument) {
    tmb_calls *calls = argument;
    (void)pthread_setname_np(pthread_self(), "tmb-listening");
    (void)pthread_mutex_lock(&calls->lock);
    while (!calls->ending) {
        size_t count = 0;
        char(*jobs)[TMB_STORE_ID] = list_queued(calls, &count);
        (void)pthread_mutex_unlock(&calls->lock);
        if (count > 0) {
            (void)tmb_store_calls_listening(calls->server->store, (const char(*)[TMB_STORE_ID])jobs, count);
        }
        free(jobs);
        struct timespec next = tmb_deadline(listening_seconds);
        (void)pthread_mutex_lock(&calls->lock);
        while (!calls->ending && calls->count == 0) {
            (void)pthread_cond_wait(&calls->changed, &calls->lock);
        }
        while (!calls->ending && pthread_cond_timedwait(&calls->changed, &calls->lock, &next) != ETIMEDOUT) {
        }
    }
    (void)pthread_mutex_unlock(&calls->lock);
    return NULL;
}

/* ---- All calls ---- */

tmb_status tmb_calls_create(tmb_server *server, tmb_calls **out, tmb_error *error) {
    tmb_calls *calls = tmb_calloc(1, sizeof *calls);
    *out = calls;
    if (calls == NULL) {
        return tmb_fail_memory(error, "the list of calls", sizeof *calls);
    }
    calls->server = server;
    (void)pthread_mutex_init(&calls->lock, NULL);
    tmb_condition_init(&calls->changed);
    if (pthread_create(&calls->listener, NULL, listening_thread, calls)) {
        (void)pthread_mutex_destroy(&calls->lock);
        (void)pthread_cond_destroy(&calls->changed);
        free(calls);
        *out = NULL;
        return tmb_fail(error, TMB_ERROR_MEMORY, "cannot start a thread for calls");
    }
    return TMB_OK;
}

void tmb_calls_destroy(tmb_calls **calls) {
    tmb_calls *ending = *calls;
    *calls = NULL;
    if (ending == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&ending->lock);
    for (call *at = ending->first; at != NULL; at = at->next) {
        atomic_store(&at->cancelled, true);
    }
    while (ending->count) {
        (void)pthread_cond_wait(&ending->changed, &ending->lock);
    }
    ending->ending = true;
    (void)pthread_cond_broadcast(&ending->changed);
    (void)pthread_mutex_unlock(&ending->lock);
    (void)pthread_join(ending->listener, NULL);
    (void)pthread_mutex_destroy(&ending->lock);
    (void)pthread_cond_destroy(&ending->changed);
    free(ending);
}

/* ---- While it runs ---- */

static bool take_audio(call *at, const tmb_call_piece *piece) {
    int32_t rate = 0;
    if (piece->size < sizeof rate || (piece->size - sizeof rate) % sizeof(float)) {
        return false;
    }
    memcpy(&rate, piece->data, sizeof rate);
    at->heard = true;
    /* The samples begin at a multiple of four. */
    return at->callbacks.audio(at->callbacks.user, at->number, (const float *)(const void *)(piece->data + sizeof rate),
                               (piece->size - sizeof rate) / sizeof(float), rate);
}

static void take_progress(call *at, const char *text) {
    unsigned stage = 0;
    double fraction = 0;
    if (at->callbacks.progress != NULL && sscanf(text, "%u %lf", &stage, &fraction) == 2 && stage < TMB_STAGE_COUNT) {
        at->callbacks.progress(at->callbacks.user, at->number, (tmb_stage)stage, fraction);
    }
}

static void take_reference(const call *at, const char *text) {
    tmb_reference_info info;
    if (at->callbacks.reference != NULL && !at->heard && tmb_call_reference_read(text, &info)) {
        at->callbacks.reference(at->callbacks.user, at->number, &info);
    }
}

static void tell_speaker(call *at, const char *engine, bool is_clone) {
    if (at->callbacks.speaks != NULL && !at->told && engine != NULL) {
        at->told = true;
        at->callbacks.speaks(at->callbacks.user, at->number, engine, is_clone);
    }
}

/* Workers of an older version leave it to the result. */
static void take_speaker(call *at, const char *text) {
    const char *engine = strchr(text, ' ');
    if (engine != NULL && !at->heard) {
        tell_speaker(at, engine + 1, text[0] == '1');
    }
}

static void give_result(call *at, const tmb_clone_result *result) { at->callbacks.result(at->callbacks.user, result); }

static void fail_call(call *at, tmb_status status, const char *message) {
    tmb_clone_result result = {.item = at->number};
    (void)tmb_fail(&result.error, status, "%s", message);
    if (status == TMB_ERROR_IO) {
        result.error.system = EAGAIN; /* the client may ask again */
    }
    give_result(at, &result);
}

/* A queue's server that died has kept what was on its disk, and what hurried was not. */
static bool lose(call *at) {
    fail_call(at, TMB_ERROR_IO, "the queue lost what was spoken");
    return true;
}

static bool end_of_call(call *at, const tmb_call_piece *piece) {
    tmb_call_result result;
    (void)tmb_call_result_read(piece->data, &result);
    result.result.item = at->number;
    if (result.result.error.status == TMB_OK && result.pieces > at->pieces) {
        (void)lose(at);
    } else {
        if (result.result.error.status == TMB_OK) { /* otherwise nobody spoke */
            tell_speaker(at, result.result.engine, result.result.is_clone);
        }
        give_result(at, &result.result);
    }
    tmb_call_result_free(&result);
    return true;
}

/* True: the call is over, its result was given. */
static bool take_piece(call *at, const tmb_call_piece *piece) {
    if (piece->delivery < at->delivery) {
        return false; /* of a worker that lost it */
    }
    if (piece->delivery > at->delivery && at->heard) {
        fail_call(at, TMB_ERROR_IO, "the worker was lost while it spoke");
        return true;
    }
    if (piece->delivery != at->delivery) {
        at->delivery = piece->delivery;
        at->pieces = 0;
        at->told = false; /* who had it before is not who speaks */
    }
    if (strcmp(piece->kind, "done") == 0 || strcmp(piece->kind, "failed") == 0) {
        return end_of_call(at, piece);
    }
    if (piece->number <= at->pieces && piece->number > 0) {
        return false; /* sent again, because the server that had it died before it said so */
    }
    if (piece->number != ++at->pieces && piece->number > 0) { /* workers of an older version do not count them */
        return lose(at);
    }
    if (strcmp(piece->kind, "progress") == 0) {
        take_progress(at, piece->data);
    } else if (strcmp(piece->kind, "reference") == 0) {
        take_reference(at, piece->data);
    } else if (strcmp(piece->kind, "speaks") == 0) {
        take_speaker(at, piece->data);
    } else if (strcmp(piece->kind, "audio") == 0 && !take_audio(at, piece)) {
        fail_call(at, TMB_ERROR_CANCELLED, "cancelled");
        return true;
    }
    return false;
}

static void listen_to(call *at) {
    tmb_store *store = at->calls->server->store;
    for (;;) {
        if (atomic_load(&at->cancelled)) {
            fail_call(at, TMB_ERROR_CANCELLED, "cancelled");
            return;
        }
        if (tmb_now() >= at->end) {
            fail_call(at, TMB_ERROR_TIMEOUT, "the deadline passed");
            return;
        }
        tmb_call_piece piece;
        tmb_store_status status = tmb_store_call_receive(store, at->job, &at->place, slice_seconds, &piece);
        bool over = status == TMB_STORE_OK && take_piece(at, &piece);
        free(piece.data);
        if (over) {
            return;
        }
        if (status == TMB_STORE_FAILED) {
            fail_call(at, TMB_ERROR_IO, "the queue cannot be read");
            return;
        }
    }
}

static void end_call(call *at) {
    tmb_calls *calls = at->calls;
    (void)pthread_mutex_lock(&calls->lock);
    for (call **link = &calls->first; *link != NULL; link = &(*link)->next) {
        if (*link == at) {
            *link = at->next;
            break;
        }
    }
    calls->count--;
    (void)pthread_cond_broadcast(&calls->changed);
    (void)pthread_mutex_unlock(&calls->lock);
    free(at);
}

static void *call_thread(void *argument) {
    call *at = argument;
    (void)pthread_setname_np(pthread_self(), "tmb-call");
    listen_to(at);
    /* Its worker stops, and nothing of it stays in the queue; if Redis is away now, the sweep does it. */
    (void)tmb_store_job_remove(at->calls->server->store, at->job);
    end_call(at);
    return NULL;
}

/* ---- The start ---- */

char *tmb_call_write(const json_t *item, bool stream, bool progress, double deadline) {
    json_t *object =
        json_pack("{s:O, s:b, s:b, s:f}", "item", item, "stream", stream, "progress", progress, "deadline", deadline);
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(object);
    return text;
}

/* Why the store did not take it. Only what may pass by itself is one to ask again for. */
static tmb_status fail_store(tmb_error *error, tmb_store_status status, const char *what) {
    if (status == TMB_STORE_FULL) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "the queue is full");
    }
    if (status == TMB_STORE_FAILED || status == TMB_STORE_DAMAGED) {
        return tmb_fail(error, TMB_ERROR_IO, "%s", what);
    }
    return tmb_fail_errno(error, TMB_ERROR_IO, status == TMB_STORE_NO_SPACE ? ENOSPC : EAGAIN, "%s", what);
}

/* The reference that this request alone has becomes a file of the store. */
static tmb_status store_reference(tmb_server *server, const char *path, char id[TMB_STORE_ID], tmb_error *error) {
    char copy[TMB_STORE_PATH];
    char block[65536];
    tmb_file_info info = {.name = "reference", .content_type = "application/octet-stream"};
    int from = open(path, O_RDONLY | O_CLOEXEC);
    int to = from >= 0 && tmb_store_temporary_path(server->store, copy)
                 ? open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)
                 : -1;
    ssize_t got = to >= 0 ? 1 : -1;
    while (got > 0) {
        got = read(from, block, sizeof block);
        if (got > 0 && !tmb_file_write_all(to, block, (size_t)got)) {
            got = -1;
        }
    }
    tmb_status status = got < 0 ? tmb_fail_errno(error, TMB_ERROR_IO, errno, "the reference") : TMB_OK;
    (void)(from >= 0 && close(from));
    (void)(to >= 0 && close(to));
    if (status != TMB_OK) {
        (void)(to >= 0 && unlink(copy));
        return status;
    }
    tmb_store_status stored = tmb_store_file_adopt(server->store, copy, &info);
    if (stored != TMB_STORE_OK) {
        return fail_store(error, stored, "the reference cannot be stored for the workers");
    }
    memcpy(id, info.id, TMB_STORE_ID);
    return TMB_OK;
}

/* The item's own fields, with everything that may be a list or a default decided. New reference or NULL. */
static json_t *item_fields(const json_t *arguments, size_t index, const tmb_item_inputs *inputs, const char *file) {
    const tmb_clone_request *request = &inputs->request;
    json_t *item = json_object();
    for (const tmb_field *field = tmb_job_item_body; item != NULL && field->name != NULL; field++) {
        json_t *value = json_object_get(arguments, field->name);
        json_t *own = json_is_array(value) ? json_array_get(value, json_array_size(value) == 1 ? 0 : index) : value;
        if (own != NULL && json_object_set(item, field->name, own)) {
            json_decref(item);
            return NULL;
        }
    }
    if (item == NULL) {
        return NULL;
    }
    json_t *wanted = json_object_get(arguments, TMB_MODEL_IF_THERE);
    (void)(wanted != NULL && json_object_set(item, TMB_MODEL_IF_THERE, wanted));
    (void)json_object_del(item, "ref_audio");
    (void)json_object_del(item, "response_format");
    (void)json_object_del(item, "custom_id");
    bool good = json_object_set_new(item, "text", json_string(request->text)) == 0 &&
                json_object_set_new(item, "seed", json_integer((json_int_t)request->seed)) == 0 &&
                json_object_set_new(item, "run_pre_processing", json_boolean(request->run_pre_processing)) == 0 &&
                json_object_set_new(item, "run_post_processing", json_boolean(request->run_post_processing)) == 0;
    if (file[0]) {
        good = good && json_object_set_new(item, "ref_audio", json_string(file)) == 0;
    } else if (inputs->voice.name[0]) {
        good = good && json_object_set_new(item, "voice", json_string(inputs->voice.name)) == 0;
    }
    if (!good) {
        json_decref(item);
        item = NULL;
    }
    return item;
}

/* What the queue is told of a call. */
typedef struct call_entry {
    char *text, *need, *whose;
    char file[TMB_STORE_ID]; /* its own reference, or "" */
    double seconds;
} call_entry;

static tmb_status add_job(tmb_server *server, const call_entry *entry, call *at, tmb_error *error) {
    tmb_job_file files[1];
    tmb_job_info info;
    (void)snprintf(files[0].id, sizeof files[0].id, "%s", entry->file);
    files[0].owned = true;
    tmb_new_job job = {.label = "",
                       .requests = (const char *const *)&entry->text,
                       .count = 1,
                       .needs = (const char *const *)&entry->need,
                       .voices = (const char *const *)&entry->whose,
                       .files = files,
                       .file_count = entry->file[0] ? 1 : 0,
                       .call_seconds = entry->seconds};
    tmb_store_status status = tmb_store_job_add(server->store, &job, &info);
    memcpy(at->job, info.id, sizeof at->job);
    return status == TMB_STORE_OK ? TMB_OK : fail_store(error, status, "the queue did not take the request");
}

static void begin_to_listen(call *at) {
    (void)pthread_mutex_lock(&at->calls->lock);
    at->queued = true;
    (void)pthread_mutex_unlock(&at->calls->lock);
}

static tmb_status start_thread(call *at, tmb_error *error) {
    pthread_t thread;
    pthread_attr_t attributes;
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, 512 * 1024);
    int code = pthread_create(&thread, &attributes, call_thread, at);
    (void)pthread_attr_destroy(&attributes);
    return code ? tmb_fail(error, TMB_ERROR_MEMORY, "cannot start a thread for a call") : TMB_OK;
}

/* A place among the calls; NULL: too many wait. */
static call *new_call(tmb_calls *calls, const tmb_clone_callbacks *callbacks, double seconds) {
    call *at = tmb_calloc(1, sizeof *at);
    if (at == NULL) {
        return NULL;
    }
    at->calls = calls;
    at->callbacks = *callbacks;
    at->end = tmb_now() + seconds;
    (void)pthread_mutex_lock(&calls->lock);
    bool room = calls->count < calls->server->config->max_waiting_items;
    if (room) {
        at->number = ++calls->last_number;
        at->next = calls->first;
        calls->first = at;
        calls->count++;
        (void)pthread_cond_broadcast(&calls->changed);
    }
    (void)pthread_mutex_unlock(&calls->lock);
    if (!room) {
        free(at);
        at = NULL;
    }
    return at;
}

static tmb_status enqueue(tmb_server *server, const json_t *arguments, size_t index, const tmb_item_inputs *inputs,
                          double seconds, call *at, tmb_error *error) {
    call_entry entry = {.file = "", .seconds = seconds};
    tmb_status status = TMB_OK;
    /* A stored voice is everybody's; another reference is this request's alone. */
    if (!inputs->voice.name[0] && inputs->request.ref_audio != NULL) {
        status = store_reference(server, inputs->request.ref_audio, entry.file, error);
    }
    if (status != TMB_OK) {
        return status;
    }
    json_t *item = item_fields(arguments, index, inputs, entry.file);
    if (item != NULL) {
        entry.text =
            tmb_call_write(item, inputs->request.stream, at->callbacks.progress != NULL, tmb_wall_clock() + seconds);
        entry.need = tmb_item_need(server, item, 0);
        entry.whose = tmb_item_whose(entry.file, inputs->voice.name);
        json_decref(item);
    }
    bool whole = entry.text != NULL && entry.need != NULL && entry.whose != NULL;
    status = whole ? add_job(server, &entry, at, error) : tmb_fail_memory(error, "a call", 0);
    if (status != TMB_OK && entry.file[0]) {
        (void)tmb_store_file_remove(server->store, entry.file);
    }
    free(entry.text);
    free(entry.need);
    free(entry.whose);
    return status;
}

tmb_status tmb_speak_submit(tmb_server *server, const json_t *arguments, size_t index, const tmb_item_inputs *inputs,
                            const tmb_clone_callbacks *callbacks, uint64_t *number, tmb_error *error) {
    if (server->calls == NULL) {
        return tmb_clone_submit(server->timbre, &inputs->request, callbacks, number, error);
    }
    double seconds = inputs->request.deadline > 0 ? inputs->request.deadline : server->config->job_deadline;
    call *at = new_call(server->calls, callbacks, seconds);
    if (at == NULL) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "too many calls wait");
    }
    tmb_status status = enqueue(server, arguments, index, inputs, seconds, at, error);
    if (status == TMB_OK) {
        *number = at->number;
        begin_to_listen(at);
        status = start_thread(at, error);
        if (status != TMB_OK) {
            (void)tmb_store_job_remove(server->store, at->job);
        }
    }
    if (status != TMB_OK) {
        *number = 0;
        end_call(at);
    }
    return status;
}

void tmb_speak_cancel(tmb_server *server, uint64_t number) {
    if (server->calls == NULL) {
        tmb_clone_cancel(server->timbre, number);
        return;
    }
    (void)pthread_mutex_lock(&server->calls->lock);
    for (call *at = server->calls->first; at != NULL; at = at->next) {
        if (at->number == number) {
            atomic_store(&at->cancelled, true);
        }
    }
    (void)pthread_mutex_unlock(&server->calls->lock);
}
