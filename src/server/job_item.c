#include "server/job_item.h"

#include "base/error.h"
#include "base/memory.h"
#include "server/body_fields.h"
#include "server/item.h"
#include "server/voice_prepare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Jobs run behind requests that somebody waits for. */
static const int job_priority = -10;

typedef struct job_item {
    tmb_server *server;
    tmb_worker_run *run;
    size_t position;
    json_t *arguments;
    tmb_references *references;
    const tmb_format *format;
    tmb_output *output;
    char path[TMB_STORE_PATH];
    pthread_mutex_t lock; /* of what follows */
    uint64_t number;      /* the library's; 0 = not submitted, or over */
    bool cancelled;
    /* Of the library's callbacks, later of the worker. */
    tmb_error error;
    json_t *result; /* the fields of the result, without what the file adds */
    char message[512];
} job_item;

static bool on_audio(void *user, uint64_t number, const float *samples, size_t count, int rate) {
    (void)number;
    job_item *item = user;
    return tmb_output_write(item->output, samples, count, rate, &item->error) == TMB_OK;
}

static tmb_work_end end_of(const tmb_error *error, bool cancelled) {
    return error->status == TMB_OK                             ? TMB_WORK_DONE
           : error->status == TMB_ERROR_CANCELLED && cancelled ? TMB_WORK_CANCELLED
           : error->system == EFBIG                            ? TMB_WORK_FAILED /* it never fits */
           : tmb_error_is_full(error)                          ? TMB_WORK_NO_ROOM
           : tmb_error_is_exhausted(error)                     ? TMB_WORK_LATER
                                                               : TMB_WORK_FAILED;
}

static void on_result(void *user, const tmb_clone_result *result) {
    job_item *item = user;
    tmb_server *server = item->server;
    tmb_error error = item->error.status != TMB_OK ? item->error : result->error;
    tmb_metrics_item(server->metrics, result);
    tmb_voice_note_result(server, item->arguments, 0, result);
    if (error.status == TMB_OK) {
        (void)tmb_output_finish(item->output, &error);
    }
    (void)pthread_mutex_lock(&item->lock);
    bool cancelled = item->cancelled;
    item->number = 0;
    (void)pthread_mutex_unlock(&item->lock);
    tmb_work_end end = end_of(&error, cancelled);
    if (end == TMB_WORK_DONE) {
        item->result = tmb_item_json(result, tmb_item_custom_id(item->arguments, 0), tmb_output_rate(item->output),
                                     tmb_output_seconds(item->output), NULL);
        if (item->result) {
            tmb_json_clipped(item->result, tmb_output_clipped(item->output));
        }
    } else {
        /* Now, not when the end could be written: on a full disk that may need the room which this leaves. */
        tmb_output_destroy(&item->output);
        (void)tmb_item_error(server, &error, item->message);
        item->result = tmb_item_json(result, tmb_item_custom_id(item->arguments, 0), 0, 0, item->message);
    }
    if (end == TMB_WORK_LATER || end == TMB_WORK_NO_ROOM) {
        tmb_log(&server->logger, TMB_LOG_WARNING, "item %zu of a job waits: %s", item->position, error.message);
    }
    tmb_worker_ended(item->run, end);
}

/* Submitted: the library has a number for it. Its result may have come already. */
static void note_number(job_item *item, uint64_t number) {
    (void)pthread_mutex_lock(&item->lock);
    bool cancel = item->cancelled;
    item->number = number;
    (void)pthread_mutex_unlock(&item->lock);
    if (cancel) {
        tmb_clone_cancel(item->server->timbre, number);
    }
}

/* What was stored is checked as it was when it came: nobody knows what became of the database since. */
static bool check_stored(job_item *item) {
    tmb_field_problem problem;
    if (!json_is_object(item->arguments)) {
        (void)snprintf(item->message, sizeof(item->message), "The stored request is damaged");
        return false;
    }
    if (!tmb_fields_check(tmb_job_item_body, item->server->config, item->arguments, false, &problem)) {
        (void)snprintf(item->message, sizeof(item->message), "Invalid Input: %s: %s", problem.field, problem.message);
        return false;
    }
    return true;
}

/* False: `message` says why, *end what becomes of the item. */
static bool prepare(job_item *item, tmb_item_inputs *inputs, tmb_work_end *end) {
    tmb_server *server = item->server;
    tmb_item_problem problem = {.status = 0, .message = ""};
    if (!check_stored(item)) {
        return false;
    }
    item->references = tmb_references_create(server, NULL, NULL);
    item->format = tmb_format_find(tmb_text_at(item->arguments, "response_format", 0, "wav"));
    if (!item->references || !tmb_store_temporary_path(server->store, item->path) ||
        tmb_output_to_file(item->format, 0, 1, item->path, &item->output, &item->error) != TMB_OK) {
        *end = TMB_WORK_LATER;
        return false;
    }
    tmb_output_book(item->output, server->store);
    if (!tmb_item_fill(server, item->arguments, 0, true, item->references, inputs, &problem)) {
        (void)snprintf(item->message, sizeof(item->message), "Invalid Input: %s: %s", problem.field, problem.message);
        *end = problem.status == 503 ? TMB_WORK_LATER : TMB_WORK_FAILED;
        return false;
    }
    return true;
}

static void submit(job_item *item, const tmb_delivery *delivery, tmb_item_inputs *inputs) {
    inputs->request.priority = job_priority;
    /* One group for a job: its items take turns with everybody else's. Requests count up from 1. */
    inputs->request.group = (UINT64_C(1) << 63) + (uint64_t)delivery->job_number;
    tmb_clone_callbacks callbacks = {.user = item, .audio = on_audio, .result = on_result};
    tmb_error error = {.status = TMB_OK};
    uint64_t number = 0;
    tmb_status status = tmb_clone_submit(item->server->timbre, &inputs->request, &callbacks, &number, &error);
    if (status == TMB_OK) {
        note_number(item, number);
        return;
    }
    (void)tmb_item_error(item->server, &error, item->message);
    bool later = status == TMB_ERROR_LIMIT || tmb_error_is_exhausted(&error);
    tmb_worker_ended(item->run, later ? TMB_WORK_LATER : TMB_WORK_FAILED);
}

static void start(void *user, tmb_worker_run *run, const tmb_delivery *delivery, void **state) {
    job_item *item = tmb_calloc(1, sizeof(*item));
    *state = item;
    if (!item) {
        tmb_worker_ended(run, TMB_WORK_LATER);
        return;
    }
    item->server = user;
    item->run = run;
    item->position = delivery->position;
    item->arguments = json_loads(delivery->request, 0, NULL);
    (void)pthread_mutex_init(&item->lock, NULL);
    tmb_item_inputs inputs;
    memset(&inputs, 0, sizeof(inputs));
    tmb_work_end end = TMB_WORK_FAILED;
    if (prepare(item, &inputs, &end)) {
        submit(item, delivery, &inputs);
    } else {
        tmb_worker_ended(run, end);
    }
    tmb_item_inputs_free(&inputs);
}

static void cancel(void *user, void *state) {
    tmb_server *server = user;
    job_item *item = state;
    if (!item) {
        return;
    }
    (void)pthread_mutex_lock(&item->lock);
    item->cancelled = true;
    uint64_t number = item->number;
    (void)pthread_mutex_unlock(&item->lock);
    if (number) {
        tmb_clone_cancel(server->timbre, number);
    }
}

static const char *audio(void *user, void *state, tmb_file_info *info) {
    (void)user;
    job_item *item = state;
    memset(info, 0, sizeof(*info));
    info->sample_rate = tmb_output_rate(item->output);
    info->duration = tmb_output_seconds(item->output);
    tmb_format_content_type(item->format, info->sample_rate, info->content_type);
    (void)snprintf(info->name, sizeof(info->name), "speech-%zu%s", item->position + 1, item->format->ending);
    tmb_output_unbook(item->output); /* the file that the store takes over is booked again, by its size */
    return item->path;
}

static char *describe(void *user, void *state, const tmb_file_info *info, const char *problem) {
    (void)user;
    job_item *item = state;
    json_t *object = NULL;
    if (info) {
        char url[64];
        tmb_file_url(info->id, url);
        object = json_incref(item->result);
        (void)(object && json_object_set_new(object, "url", json_string(url)));
    } else if (!problem && item->result) {
        object = json_incref(item->result);
    } else {
        const char *message = problem ? problem : item->message[0] ? item->message : "Internal Error";
        static const tmb_clone_result nothing = {.item = 0};
        object = tmb_item_json(&nothing, tmb_item_custom_id(item->arguments, 0), 0, 0, message);
    }
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(object);
    return text;
}

static void release(void *user, void *state) {
    (void)user;
    job_item *item = state;
    if (item) {
        tmb_output_destroy(&item->output);
        (void)(item->path[0] && unlink(item->path));
        tmb_references_destroy(item->references);
        json_decref(item->result);
        json_decref(item->arguments);
        (void)pthread_mutex_destroy(&item->lock);
        free(item);
    }
}

tmb_worker_trade tmb_job_item_trade(tmb_server *server) {
    return (tmb_worker_trade){
        .user = server, .start = start, .cancel = cancel, .audio = audio, .describe = describe, .release = release};
}
