#include "server/job_item.h"

#include "base/error.h"
#include "base/memory.h"
#include "server/body_fields.h"
#include "server/call_result.h"
#include "server/item_run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Jobs run behind requests that somebody waits for. */
static const int job_priority = -10;

typedef struct job_item {
    tmb_item_run run; /* first: the owner's functions get it back */
    tmb_worker_run *taken;
    size_t position;
    bool is_call;          /* somebody waits: what is spoken goes there, not into a file */
    tmb_delivery delivery; /* without its text */
    /* The rest is a call's. */
    double deadline; /* monotonic */
    bool stream;
    bool sent;           /* some of its audio */
    uint64_t pieces;     /* that were sent */
    double silent_since; /* nobody says that he listens; monotonic, 0 = somebody does */
    json_t *arguments;
    tmb_references *references;
    char *text; /* a call's result as it is sent */
} job_item;

/* ---- Calls ---- */

/* Pieces that may wait for whoever reads them; about five seconds of audio. */
static const size_t most_waiting = 64;

/* A server that listens says so every few seconds; a command to a Redis that was away may take it ten more. */
static const double silence_seconds = 15;

static bool is_heard(job_item *item, const tmb_call_audience *audience) {
    double now = tmb_now();
    if (audience->listens) {
        item->silent_since = 0;
    } else if (item->silent_since <= 0) {
        item->silent_since = now;
    }
    return item->silent_since <= 0 || now - item->silent_since < silence_seconds;
}

/* False: nobody waits any more. */
static bool send_piece(job_item *item, const char *kind, const void *data, size_t size) {
    tmb_store *store = item->run.server->store;
    /* What a stream begins with comes soon: it is read long before a server that dies could take it along. */
    tmb_call_words words = {
        .number = ++item->pieces, .kind = kind, .data = data, .size = size, .hurries = item->stream && !item->sent};
    for (;;) {
        tmb_call_audience audience;
        tmb_store_status status = tmb_store_call_send(store, &item->delivery, &words, &audience);
        bool sent = status == TMB_STORE_OK;
        bool heard = !sent || is_heard(item, &audience);
        if (sent && heard && audience.waiting <= most_waiting) {
            return true;
        }
        if (!heard || (!sent && status != TMB_STORE_BUSY && status != TMB_STORE_NO_SPACE) ||
            tmb_now() >= item->deadline || tmb_item_run_is_cancelled(&item->run)) {
            return false;
        }
        if (sent) {
            words.kind = ""; /* it was sent: from now on only ask how many wait */
            words.size = 0;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

static bool on_call_audio(tmb_item_run *run, const float *samples, size_t count, int rate) {
    job_item *item = (job_item *)run;
    int32_t head = rate;
    size_t size = sizeof head + count * sizeof *samples;
    char *piece = tmb_calloc(size, 1);
    if (piece == NULL) {
        return false;
    }
    memcpy(piece, &head, sizeof head);
    memcpy(piece + sizeof head, samples, count * sizeof *samples);
    bool good = send_piece(item, "audio", piece, size);
    item->sent = true; /* also if nobody knows: its answer may have been lost */
    free(piece);
    return good;
}

static void on_call_progress(tmb_item_run *run, tmb_stage stage, double fraction) {
    char text[64];
    int length = snprintf(text, sizeof text, "%u %.4f", (unsigned)stage, fraction);
    (void)send_piece((job_item *)run, "progress", text, (size_t)length);
}

static void on_call_reference(tmb_item_run *run, const tmb_reference_info *reference) {
    char *text = tmb_call_reference_write(reference);
    (void)(text != NULL && send_piece((job_item *)run, "reference", text, strlen(text)));
    free(text);
}

/* For the head of a stream; otherwise the result says it in time. */
static void on_call_speaks(tmb_item_run *run, const char *engine, bool is_clone) {
    char text[64];
    if (((job_item *)run)->stream) {
        int length = snprintf(text, sizeof text, "%d %s", is_clone, engine);
        (void)send_piece((job_item *)run, "speaks", text, (size_t)length);
    }
}

/* ---- The end ---- */

/* The fault is this process's, its model's or its speech server's: elsewhere the item may well be spoken. */
static bool is_ours(const tmb_error *error) {
    return error->status == TMB_ERROR_MODEL || error->status == TMB_ERROR_IO || error->status == TMB_ERROR_INTERNAL ||
           tmb_error_is_of_server(error);
}

static tmb_work_end end_of(const tmb_error *error, bool cancelled) {
    return error->status == TMB_OK                             ? TMB_WORK_DONE
           : error->status == TMB_ERROR_CANCELLED && cancelled ? TMB_WORK_CANCELLED
           : error->system == EFBIG                            ? TMB_WORK_FAILED /* it never fits */
           : tmb_error_is_full(error)                          ? TMB_WORK_NO_ROOM
           : tmb_error_never_fits(error)                       ? TMB_WORK_TOO_LARGE
           : error->status == TMB_ERROR_MEMORY                 ? TMB_WORK_NO_MEMORY
           : tmb_error_is_exhausted(error)                     ? TMB_WORK_LATER
           : is_ours(error)                                    ? TMB_WORK_ELSEWHERE
                                                               : TMB_WORK_FAILED;
}

static void on_call_ended(tmb_item_run *run, const tmb_clone_result *result) {
    job_item *item = (job_item *)run;
    tmb_work_end end = end_of(&run->error, tmb_item_run_is_cancelled(run));
    bool again =
        end == TMB_WORK_LATER || end == TMB_WORK_NO_ROOM || end == TMB_WORK_TOO_LARGE || end == TMB_WORK_ELSEWHERE;
    if (again && item->sent) {
        end = TMB_WORK_FAILED; /* nobody says the same twice */
    }
    if (end == TMB_WORK_NO_MEMORY) {
        end = TMB_WORK_FAILED; /* whoever waits may ask again */
    }
    item->text = tmb_call_result_write(result, item->pieces);
    tmb_worker_ended(item->taken, end);
}

static void on_ended(tmb_item_run *run, const tmb_clone_result *result) {
    job_item *item = (job_item *)run;
    tmb_work_end end = end_of(&run->error, tmb_item_run_is_cancelled(run));
    tmb_item_run_describe(run, result);
    bool elsewhere = end == TMB_WORK_ELSEWHERE && tmb_store_is_shared(run->server->store);
    if (end == TMB_WORK_LATER || end == TMB_WORK_NO_ROOM || end == TMB_WORK_NO_MEMORY || elsewhere) {
        tmb_log(&run->server->logger, TMB_LOG_WARNING, "item %zu of a job waits: %s", item->position,
                run->error.message);
    }
    tmb_worker_ended(item->taken, end);
}

static const tmb_item_owner job_owner = {.here = true, .ended = on_ended};
static const tmb_item_owner call_owner = {.here = true,
                                          .audio = on_call_audio,
                                          .progress = on_call_progress,
                                          .reference = on_call_reference,
                                          .speaks = on_call_speaks,
                                          .ended = on_call_ended};

/* ---- The start ---- */

static void find_shortest(void *user, const tmb_server_statistics *statistics) {
    double *wait = user;
    *wait = *wait < 0 || statistics->wait < *wait ? statistics->wait : *wait;
}

/* If speech servers say everything and none can be asked now, items are better left to workers that have others. */
static double wait_for_servers(void *user) {
    const tmb_server *server = user;
    double wait = -1;
    for (size_t i = 0; i < server->models.count; i++) {
        if (strcmp(server->models.list[i]->engine, "remote") != 0) {
            return 0;
        }
    }
    tmb_each_server_statistics(server->timbre, find_shortest, &wait);
    return wait > 0 ? wait : 0;
}

/* What was stored is checked as it was when it came: nobody knows what became of the database since. */
static bool check_stored(job_item *item) {
    tmb_item_run *run = &item->run;
    tmb_problem problem;
    if (!json_is_object(item->arguments)) {
        (void)snprintf(run->message, sizeof run->message, "The stored request is damaged");
        return false;
    }
    if (!tmb_fields_check(tmb_job_item_body, run->server->config, item->arguments, false, &problem)) {
        (void)snprintf(run->message, sizeof run->message, "Invalid Input: %s: %s", problem.field, problem.message);
        return false;
    }
    return true;
}

/* False: the message says why, *end what becomes of the item. */
static bool fill(job_item *item, tmb_item_inputs *inputs, tmb_work_end *end) {
    tmb_item_run *run = &item->run;
    tmb_problem problem = {.status = 0, .message = ""};
    if (!tmb_item_fill(run->server, item->arguments, 0, true, TMB_WHO_AUTO, item->references, inputs, &problem)) {
        bool own = problem.status >= 500; /* a file that is there, and that this worker cannot have */
        (void)snprintf(run->message, sizeof run->message, "%s%s: %s", own ? "" : "Invalid Input: ", problem.field,
                       problem.message);
        *end = problem.status == 503 ? TMB_WORK_LATER : own ? TMB_WORK_ELSEWHERE : TMB_WORK_FAILED;
        if (own && item->is_call) {
            tmb_clone_result result = {.item = 0};
            (void)tmb_fail(&result.error, TMB_ERROR_IO, "%s", run->message);
            item->text = tmb_call_result_write(&result, 0);
        }
        return false;
    }
    return true;
}

/* False: the message says why, *end what becomes of the item. */
static bool prepare(job_item *item, tmb_item_inputs *inputs, tmb_work_end *end) {
    tmb_item_run *run = &item->run;
    if (!check_stored(item)) {
        return false;
    }
    item->references = tmb_references_create(run->server, NULL, NULL);
    const tmb_format *format = tmb_format_find(tmb_text_at(item->arguments, "response_format", 0, "wav"));
    if (item->references == NULL ||
        (!item->is_call && tmb_item_run_to_file(run, format, 0, 1, &run->error) != TMB_OK)) {
        *end = TMB_WORK_LATER;
        return false;
    }
    return fill(item, inputs, end);
}

static void submit(job_item *item, const tmb_delivery *delivery, tmb_item_inputs *inputs) {
    tmb_item_run *run = &item->run;
    inputs->request.priority = item->is_call ? 0 : job_priority;
    /* One group for a job: its items take turns with everybody else's. Requests count up from 1. */
    inputs->request.group = (UINT64_C(1) << 63) + (uint64_t)delivery->job_number;
    if (item->is_call) {
        double left = item->deadline - tmb_now();
        inputs->request.stream = item->stream;
        inputs->request.deadline = left > 0.001 ? left : 0.001;
    }
    tmb_error error = {.status = TMB_OK};
    tmb_status status = tmb_item_run_submit(run, inputs, &error);
    if (status != TMB_OK) {
        (void)tmb_item_error(run->server, &error, run->message);
        tmb_work_end end = status == TMB_ERROR_LIMIT ? TMB_WORK_LATER : end_of(&error, false);
        if (item->is_call && end != TMB_WORK_LATER) {
            tmb_clone_result result = {.error = error};
            item->text = tmb_call_result_write(&result, 0);
            end = end == TMB_WORK_NO_MEMORY ? TMB_WORK_FAILED : end;
        }
        tmb_worker_ended(item->taken, end);
    }
}

static void find_model(job_item *item, const tmb_server *server) {
    const char *name = tmb_text_at(item->arguments, TMB_MODEL_IF_THERE, 0, NULL);
    if (name != NULL && tmb_server_models_find(&server->models, name) != NULL) {
        (void)json_object_set_new(item->arguments, "model", json_string(name));
    }
    (void)json_object_del(item->arguments, TMB_MODEL_IF_THERE);
}

/* What tmb_call_write wrote. */
static void read_call(job_item *item, const tmb_server *server, double seconds_left) {
    json_t *call = item->arguments;
    item->is_call = true;
    item->stream = item->run.wants_reference = json_is_true(json_object_get(call, "stream"));
    item->run.wants_progress = json_is_true(json_object_get(call, "progress"));
    item->deadline = tmb_now() + seconds_left; /* by the queue's clock: this machine's may be wrong */
    item->arguments = json_incref(json_object_get(call, "item"));
    json_decref(call);
    find_model(item, server);
}

static void start(void *user, tmb_worker_run *taken, const tmb_delivery *delivery, void **state) {
    job_item *item = tmb_calloc(1, sizeof *item);
    *state = item;
    if (item == NULL) {
        tmb_worker_ended(taken, TMB_WORK_LATER);
        return;
    }
    item->taken = taken;
    item->position = delivery->position;
    item->delivery = *delivery;
    item->delivery.request = NULL;
    item->arguments = json_loads(delivery->request, 0, NULL);
    if (delivery->is_call) {
        read_call(item, user, delivery->seconds_left);
    }
    tmb_item_run_init(&item->run, user, item->is_call ? &call_owner : &job_owner, item->arguments, 0);
    tmb_item_inputs inputs;
    memset(&inputs, 0, sizeof inputs);
    tmb_work_end end = TMB_WORK_FAILED;
    if (prepare(item, &inputs, &end)) {
        submit(item, delivery, &inputs);
    } else {
        tmb_worker_ended(taken, end);
    }
    tmb_item_inputs_free(&inputs);
}

static void cancel(void *user, void *state) {
    (void)user;
    job_item *item = state;
    if (item) {
        tmb_item_run_cancel(&item->run);
    }
}

static const char *audio(void *user, void *state, tmb_file_info *info) {
    (void)user;
    job_item *item = state;
    char name[48];
    memset(info, 0, sizeof *info);
    if (item->is_call) {
        return NULL;
    }
    (void)snprintf(name, sizeof name, "speech-%zu", item->position + 1);
    tmb_item_run_hand_over(&item->run, name, info);
    return item->run.path;
}

/* For a call that did not come as far as to have a result. */
static char *describe_failed_call(const char *message) {
    tmb_clone_result result = {.item = 0};
    (void)tmb_fail(&result.error, TMB_ERROR_ARGUMENT, "%s", message);
    return tmb_call_result_write(&result, 0);
}

static char *describe_dead(void *user, const tmb_delivery *delivery, const char *problem) {
    (void)user;
    static const tmb_clone_result nothing = {.item = 0};
    if (delivery->is_call) {
        tmb_clone_result result = {.item = 0};
        (void)tmb_fail(&result.error, TMB_ERROR_INTERNAL, "%s", problem);
        return tmb_call_result_write(&result, 0);
    }
    json_t *arguments = json_loads(delivery->request, 0, NULL);
    json_t *object = tmb_item_json(&nothing, tmb_item_custom_id(arguments, 0), 0, 0, problem);
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(object);
    json_decref(arguments);
    return text;
}

static char *describe(void *user, void *state, const tmb_file_info *info, const char *problem) {
    (void)user;
    job_item *item = state;
    const char *message = problem ? problem : item && item->run.message[0] ? item->run.message : "Internal Error";
    if (item && item->is_call) {
        return item->text && !problem ? tmb_strdup(item->text) : describe_failed_call(message);
    }
    json_t *object = NULL;
    if (info) {
        object = json_incref(item->run.json); /* NULL: out of memory, it is tried again */
        tmb_json_url(object, info->id);
    } else if (!problem && item && item->run.json) {
        object = json_incref(item->run.json);
    } else {
        static const tmb_clone_result nothing = {.item = 0};
        object = tmb_item_json(&nothing, tmb_item_custom_id(item ? item->arguments : NULL, 0), 0, 0, message);
    }
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(object);
    return text;
}

static void release(void *user, void *state) {
    (void)user;
    job_item *item = state;
    if (item) {
        tmb_item_run_free(&item->run);
        tmb_references_destroy(item->references);
        free(item->text);
        json_decref(item->arguments);
        free(item);
    }
}

tmb_worker_trade tmb_job_item_trade(tmb_server *server) {
    return (tmb_worker_trade){.user = server,
                              .wait = wait_for_servers,
                              .start = start,
                              .cancel = cancel,
                              .audio = audio,
                              .describe = describe,
                              .describe_dead = describe_dead,
                              .release = release};
}
