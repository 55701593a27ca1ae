#include "server/clone.h"

#include "base/error.h"
#include "base/memory.h"
#include "server/form.h"
#include "server/item.h"
#include "server/rope.h"
#include "server/state.h"
#include "server/voice_prepare.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct clone_job clone_job;

typedef struct clone_item {
    clone_job *job;
    size_t index;
    uint64_t number;    /* the library's; 0 = not submitted */
    tmb_output *file;   /* COLLECT, EVENTS: into the store; FILE */
    tmb_output *stream; /* AUDIO, EVENTS, SPEECH_EVENTS: to the client */
    char path[TMB_STORE_PATH];
    tmb_error error;   /* of our own side, before the library's */
    unsigned status;   /* what a request of this item alone would get */
    const char *field; /* that was to blame, or NULL */
    char message[512]; /* why it failed */
    json_t *json;
    char file_id[TMB_STORE_ID];
    int descriptor; /* of that file, once it is to be sent; -1 = none */
    uint64_t bytes;
    tmb_stage stage;
    double progress;
} clone_item;

struct clone_job {
    tmb_server *server;
    tmb_request *request; /* held until it is answered to the end */
    atomic_int references;
    tmb_clone_options options;
    const tmb_format *format;
    tmb_references *sources;
    pthread_mutex_t lock; /* of what follows */
    size_t remaining;     /* results to come, and one for the submitting thread */
    bool cancelled, streaming;
    tmb_item_problem problem; /* status set: the whole request is refused */
    double retry;
    size_t count;
    clone_item items[];
};

static void release_job(clone_job *job) {
    if (atomic_fetch_sub(&job->references, 1) > 1) {
        return;
    }
    for (size_t i = 0; i < job->count; i++) {
        if (job->options.mode == TMB_CLONE_WHOLE && job->items[i].path[0]) {
            (void)unlink(job->items[i].path); /* complete, and nobody was there to take it */
        }
        tmb_output_destroy(&job->items[i].file);
        tmb_output_destroy(&job->items[i].stream);
        json_decref(job->items[i].json);
        if (job->items[i].descriptor >= 0) {
            (void)close(job->items[i].descriptor);
        }
    }
    tmb_references_destroy(job->sources);
    (void)pthread_mutex_destroy(&job->lock);
    free(job);
}

static void on_request_freed(void *user) { release_job(user); }

static void cancel_job(clone_job *job) {
    (void)pthread_mutex_lock(&job->lock);
    job->cancelled = true;
    (void)pthread_mutex_unlock(&job->lock);
    for (size_t i = 0; i < job->count; i++) {
        (void)pthread_mutex_lock(&job->lock);
        uint64_t number = job->items[i].number;
        (void)pthread_mutex_unlock(&job->lock);
        if (number) {
            tmb_clone_cancel(job->server->timbre, number);
        }
    }
}

static void on_client_left(void *user) { cancel_job(user); }

/* ---- Sending while it is made -------------------------------------------------------------------- */

static bool send_event(clone_job *job, const char *event, json_t *data, double seconds) {
    char *text = data ? json_dumps(data, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(data);
    tmb_buffer buffer = {.maximum = 64u << 20};
    bool good = text && (!event || tmb_buffer_printf(&buffer, "event: %s\n", event)) &&
                tmb_buffer_printf(&buffer, "data: %s\n\n", text) &&
                tmb_stream_write(job->request, buffer.data, buffer.size, seconds);
    free(text);
    tmb_buffer_free(&buffer);
    return good;
}

/* The first bytes are there: the answer is a 200 from now on. */
static void begin_stream(clone_job *job, const clone_item *item) {
    (void)pthread_mutex_lock(&job->lock);
    if (!job->streaming) {
        job->streaming = true;
        char type[80] = "text/event-stream";
        if (job->options.mode == TMB_CLONE_AUDIO) {
            tmb_format_content_type(job->format, tmb_output_rate(item->stream), type);
        }
        tmb_stream_begin(job->request, type);
    }
    (void)pthread_mutex_unlock(&job->lock);
}

static char *to_base64(const void *data, size_t size) {
    char *text = tmb_calloc(tmb_base64_encoded_size(size) + 1, 1);
    if (text) {
        tmb_base64_encode(data, size, text);
    }
    return text;
}

static bool on_bytes(void *user, const void *data, size_t size, double seconds) {
    clone_item *item = user;
    clone_job *job = item->job;
    begin_stream(job, item);
    if (job->options.mode == TMB_CLONE_AUDIO) {
        return tmb_stream_write(job->request, data, size, seconds);
    }
    char *text = to_base64(data, size);
    bool good = text != NULL;
    if (good && job->options.mode == TMB_CLONE_SPEECH_EVENTS) {
        good = send_event(job, NULL, json_pack("{s:s, s:s}", "type", "speech.audio.delta", "audio", text), seconds);
    } else if (good) {
        good = send_event(job, "audio",
                          json_pack("{s:I, s:i, s:s, s:s}", "index", (json_int_t)item->index, "sample_rate",
                                    tmb_output_rate(item->stream), "encoding", "s16le", "audio", text),
                          seconds);
    }
    free(text);
    return good;
}

static void on_progress(void *user, uint64_t number, tmb_stage stage, double fraction) {
    (void)number;
    clone_item *item = user;
    if (stage == item->stage && fraction < item->progress + 0.05 && fraction < 1) {
        return;
    }
    item->stage = stage;
    item->progress = fraction;
    begin_stream(item->job, item);
    (void)send_event(item->job, "progress",
                     json_pack("{s:I, s:s, s:f}", "index", (json_int_t)item->index, "stage", tmb_stage_name(stage),
                               "fraction", fraction),
                     0);
}

static bool on_audio(void *user, uint64_t number, const float *samples, size_t count, int rate) {
    (void)number;
    clone_item *item = user;
    if (item->error.status == TMB_OK && item->file) {
        (void)tmb_output_write(item->file, samples, count, rate, &item->error);
    }
    if (item->error.status == TMB_OK && item->stream) {
        (void)tmb_output_write(item->stream, samples, count, rate, &item->error);
    }
    return item->error.status == TMB_OK && !tmb_request_gone(item->job->request);
}

/* ---- Results --------------------------------------------------------------------------------------- */

/* The finished file becomes one of the store's. */
static bool store_file(clone_item *item) {
    clone_job *job = item->job;
    tmb_file_info info = {.sample_rate = tmb_output_rate(item->file), .duration = tmb_output_seconds(item->file)};
    tmb_format_content_type(job->format, info.sample_rate, info.content_type);
    (void)snprintf(info.name, sizeof(info.name), "speech%s", job->format->ending);
    tmb_output_unbook(item->file); /* the store books the file */
    tmb_store_status status = tmb_store_file_adopt(job->server->store, item->path, &info);
    if (status == TMB_STORE_OK) {
        memcpy(item->file_id, info.id, sizeof(item->file_id));
        return true;
    }
    item->status = tmb_store_problem(status, "audio", item->message, sizeof(item->message));
    return false;
}

static void judge_item(clone_item *item, const tmb_clone_result *result) {
    tmb_error error = item->error.status != TMB_OK ? item->error : result->error;
    if (error.status == TMB_OK && item->stream) {
        (void)tmb_output_finish(item->stream, &error);
    }
    if (error.status == TMB_OK && item->file) {
        (void)tmb_output_finish(item->file, &error);
    }
    if (error.status != TMB_OK) {
        item->status = tmb_item_error(item->job->server, &error, item->message);
        item->field = error.field;
    } else if (item->file && item->job->options.mode != TMB_CLONE_WHOLE) {
        (void)store_file(item);
    }
}

static const char *custom_id_of(const clone_item *item) {
    return tmb_item_custom_id(item->job->request->arguments, item->index);
}

static void describe_item(clone_item *item, const tmb_clone_result *result) {
    int rate = item->file ? tmb_output_rate(item->file) : result->sample_rate;
    double duration = item->file ? tmb_output_seconds(item->file) : result->duration;
    item->json = tmb_item_json(result, custom_id_of(item), rate, duration, item->status ? item->message : NULL);
    if (item->json && !item->status && item->file) {
        tmb_json_clipped(item->json, tmb_output_clipped(item->file));
    }
    if (item->json && item->file_id[0]) {
        char url[64];
        tmb_file_url(item->file_id, url);
        (void)json_object_set_new(item->json, "url", json_string(url));
    }
}

static void conclude(clone_job *job);

/* One result less to come; the last one concludes. */
static void count_down(clone_job *job) {
    (void)pthread_mutex_lock(&job->lock);
    bool last = --job->remaining == 0;
    (void)pthread_mutex_unlock(&job->lock);
    if (last) {
        conclude(job);
    }
}

static void on_result(void *user, const tmb_clone_result *result) {
    clone_item *item = user;
    clone_job *job = item->job;
    tmb_metrics_item(job->server->metrics, result);
    tmb_voice_note_result(job->server, job->request->arguments, item->index, result);
    judge_item(item, result);
    describe_item(item, result);
    if (job->options.mode == TMB_CLONE_EVENTS) {
        begin_stream(job, item);
        json_t *data = json_deep_copy(item->json);
        if (data) {
            (void)json_object_set_new(data, "index", json_integer((json_int_t)item->index));
        }
        (void)send_event(job, item->status ? "error" : "result", data, 0);
    }
    count_down(job);
}

/* ---- The answer -------------------------------------------------------------------------------------- */

/* Opens what is going to be sent; what cannot be opened is an item that failed. */
static void open_audio(clone_job *job) {
    for (size_t i = 0; i < job->count; i++) {
        clone_item *item = &job->items[i];
        tmb_file_info info;
        if (!item->file_id[0]) {
            continue;
        }
        tmb_store_status status = tmb_store_file_open(job->server->store, item->file_id, &item->descriptor, &info);
        if (status == TMB_STORE_OK) {
            item->bytes = info.bytes;
            continue;
        }
        item->status = tmb_store_problem(status, "audio", item->message, sizeof(item->message));
        (void)tmb_store_file_remove(job->server->store, item->file_id);
        json_decref(item->json);
        item->json = json_pack("{s:s?, s:s}", "custom_id", custom_id_of(item), "error", item->message);
    }
}

/* {"items": [...], "performance": seconds} with the audio read from the store while it is sent. */
static tmb_rope *compose(clone_job *job, double performance) {
    tmb_rope *rope = tmb_rope_create();
    bool good = rope && tmb_rope_text(rope, "{\"items\":[", 10);
    for (size_t i = 0; good && i < job->count; i++) {
        clone_item *item = &job->items[i];
        char *text = item->json ? json_dumps(item->json, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
        size_t length = text ? strlen(text) : 0;
        /* The object's closing brace makes room for the audio. */
        good = text && (i == 0 || tmb_rope_text(rope, ",", 1)) && tmb_rope_text(rope, text, length - 1);
        if (good && item->descriptor >= 0) {
            static const char name[] = ",\"audio_base64\":\"";
            good = tmb_rope_text(rope, name, sizeof(name) - 1);
            int descriptor = good ? item->descriptor : -1;
            item->descriptor = good ? -1 : item->descriptor;
            good = good && tmb_rope_base64_file(rope, descriptor, item->bytes) && tmb_rope_text(rope, "\"}", 2);
        } else {
            static const char none[] = ",\"audio_base64\":null}";
            good = good && tmb_rope_text(rope, none, sizeof(none) - 1);
        }
        free(text);
    }
    char end[64];
    int length = snprintf(end, sizeof(end), "],\"performance\":%.3f}", performance);
    if (good && tmb_rope_text(rope, end, (size_t)length)) {
        return rope;
    }
    tmb_rope_destroy(rope);
    return NULL;
}

static void refuse_with(tmb_request *request, unsigned status, double retry, const char *field, const char *message) {
    if (status == 503 || status == 429) {
        tmb_refuse_for_now(request, status, retry, "%s", message);
    } else {
        tmb_refuse(request, status, status == 400 && field && field[0] ? field : NULL, "%s", message);
    }
}

static void conclude_stream(clone_job *job) {
    bool good = true;
    for (size_t i = 0; i < job->count; i++) {
        good = good && job->items[i].status == 0;
    }
    double performance = tmb_now() - job->request->started;
    if (job->options.mode == TMB_CLONE_EVENTS) {
        if (job->problem.status) {
            (void)send_event(job, "error", json_pack("{s:s}", "error", job->problem.message), 0);
        }
        (void)send_event(job, "done", json_pack("{s:f}", "performance", performance), 0);
        good = true; /* the failed items were told */
    } else if (job->options.mode == TMB_CLONE_SPEECH_EVENTS && good) {
        (void)send_event(job, NULL,
                         json_pack("{s:s, s:{s:i, s:i, s:i}}", "type", "speech.audio.done", "usage", "input_tokens", 0,
                                   "output_tokens", 0, "total_tokens", 0),
                         0);
    }
    tmb_stream_end(job->request, good);
}

/* All results are there. */
static void conclude(clone_job *job) {
    tmb_request *request = job->request;
    const clone_item *first = &job->items[0];
    if (!job->streaming && !job->problem.status && !job->cancelled) {
        open_audio(job);
    }
    if (job->streaming) {
        conclude_stream(job);
    } else if (job->problem.status) {
        refuse_with(request, job->problem.status, job->retry, job->problem.field, job->problem.message);
    } else if (job->cancelled) {
        tmb_refuse_for_now(request, MHD_HTTP_SERVICE_UNAVAILABLE, 5, "Cancelled");
    } else if (job->count == 1 && first->status) {
        refuse_with(request, first->status, 5, first->field, first->message);
    } else if (job->options.mode == TMB_CLONE_WHOLE) {
        char type[80];
        tmb_format_content_type(job->format, tmb_output_rate(first->file), type);
        tmb_answer_and_remove(request, first->path, type);
    } else {
        tmb_rope *rope = compose(job, tmb_now() - request->started);
        if (rope) {
            tmb_answer_rope(request, MHD_HTTP_OK, "application/json", rope);
        } else {
            tmb_refuse_for_now(request, 503, 5, "Not enough memory");
        }
    }
    tmb_request_release(request);
    release_job(job);
}

/* ---- The start ----------------------------------------------------------------------------------------- */

static bool create_outputs(clone_item *item, tmb_error *error) {
    const clone_job *job = item->job;
    tmb_clone_mode mode = job->options.mode;
    double speed = job->options.speed > 0 ? job->options.speed : 1;
    if (mode == TMB_CLONE_COLLECT || mode == TMB_CLONE_WHOLE || mode == TMB_CLONE_EVENTS) {
        if (!tmb_store_temporary_path(job->server->store, item->path)) {
            return tmb_fail(error, TMB_ERROR_INTERNAL, "no random bytes") == TMB_OK;
        }
        if (tmb_output_to_file(job->format, job->options.rate, speed, item->path, &item->file, error) != TMB_OK) {
            return false;
        }
        tmb_output_book(item->file, job->server->store);
    }
    /* Events carry PCM, whatever the file is. */
    const tmb_format *format = mode == TMB_CLONE_EVENTS ? tmb_format_find("pcm") : job->format;
    return mode == TMB_CLONE_COLLECT || mode == TMB_CLONE_WHOLE ||
           tmb_output_to_sink(format, job->options.rate, speed, on_bytes, item, &item->stream, error) == TMB_OK;
}

/* Seconds after which a client may try again: what waits, at the pace of late. */
static double retry_after(tmb_server *server) {
    tmb_statistics statistics;
    tmb_get_statistics(server->timbre, &statistics);
    double wait = 0.5 * (double)(statistics.queued_items + statistics.live_sequences);
    return wait < 1 ? 1 : wait > 120 ? 120 : wait;
}

static void refuse_job(clone_job *job, const tmb_item_problem *problem) {
    (void)pthread_mutex_lock(&job->lock);
    if (!job->problem.status) {
        job->problem = *problem;
        job->retry = problem->status == 503 ? retry_after(job->server) : 0;
    }
    (void)pthread_mutex_unlock(&job->lock);
    cancel_job(job);
}

static bool submit(clone_job *job, size_t index, tmb_item_inputs *inputs, uint64_t group, tmb_item_problem *problem) {
    clone_item *item = &job->items[index];
    inputs->request.group = group;
    tmb_clone_callbacks callbacks = {
        .user = item,
        .progress = job->options.mode == TMB_CLONE_EVENTS ? on_progress : NULL,
        .audio = on_audio,
        .result = on_result,
    };
    tmb_error error = {.status = TMB_OK};
    if (!create_outputs(item, &error)) {
        problem->status = 503;
        (void)snprintf(problem->message, sizeof(problem->message), "Not enough memory");
        return false;
    }
    (void)pthread_mutex_lock(&job->lock);
    job->remaining++;
    (void)pthread_mutex_unlock(&job->lock);
    uint64_t number = 0;
    inputs->request.stream = job->options.mode != TMB_CLONE_COLLECT && job->options.mode != TMB_CLONE_WHOLE;
    tmb_status status = tmb_clone_submit(job->server->timbre, &inputs->request, &callbacks, &number, &error);
    (void)pthread_mutex_lock(&job->lock);
    item->number = number;
    job->remaining -= status != TMB_OK;
    bool cancelled = job->cancelled;
    (void)pthread_mutex_unlock(&job->lock);
    if (status == TMB_OK) {
        if (cancelled) {
            tmb_clone_cancel(job->server->timbre, number);
        }
        return !cancelled;
    }
    (void)snprintf(problem->field, sizeof(problem->field), "%s", error.field ? error.field : "text");
    if (status == TMB_ERROR_LIMIT || status == TMB_ERROR_MEMORY) {
        problem->status = 503;
        (void)snprintf(problem->message, sizeof(problem->message), "%s",
                       status == TMB_ERROR_LIMIT ? "Too much work waits at the moment" : "Not enough memory");
    } else {
        char message[512];
        problem->status = tmb_item_error(job->server, &error, message);
        (void)snprintf(problem->message, sizeof(problem->message), "%s", message);
    }
    return false;
}

static bool request_is_gone(void *user) { return tmb_request_gone(user); }

/* A form's ref_audio may be a file; then it stands under this name among the references. */
static bool add_form_file(clone_job *job, tmb_item_problem *problem) {
    tmb_request *request = job->request;
    tmb_upload *upload = request->form ? tmb_form_take_file(request->form, "ref_audio", NULL, NULL) : NULL;
    if (!upload) {
        return true;
    }
    tmb_reference_problem reason;
    (void)json_object_set_new(request->arguments, "ref_audio", json_string("@form"));
    if (tmb_references_add(job->sources, "@form", upload, &reason)) {
        return true;
    }
    return tmb_item_refuse(problem, "ref_audio", reason.status, "%s", reason.message);
}

static clone_job *create_job(tmb_request *request, const tmb_clone_options *options, size_t count) {
    size_t size = sizeof(clone_job) + count * sizeof(clone_item);
    clone_job *job = tmb_calloc(1, size);
    if (!job) {
        return NULL;
    }
    job->server = request->server;
    job->request = request;
    job->references = 2; /* the request's and conclude's */
    job->options = *options;
    job->format = tmb_format_find(options->format);
    job->remaining = 1;
    job->count = count;
    (void)pthread_mutex_init(&job->lock, NULL);
    for (size_t i = 0; i < count; i++) {
        job->items[i].job = job;
        job->items[i].index = i;
        job->items[i].descriptor = -1;
    }
    job->sources = tmb_references_create(request->server, request_is_gone, request);
    if (!job->sources) {
        job->references = 1;
        release_job(job);
        return NULL;
    }
    return job;
}

/* Every item is looked at before the first is started: bad input starts nothing. */
static bool fill_all(clone_job *job, tmb_item_inputs *inputs, tmb_item_problem *problem) {
    for (size_t i = 0; i < job->count; i++) {
        if (!tmb_item_fill(job->server, job->request->arguments, i, job->options.enhanced, job->sources, &inputs[i],
                           problem)) {
            return false;
        }
    }
    return true;
}

/* Who speaks, also where the answer is nothing but audio. */
static void tell_engine(tmb_request *request) {
    tmb_statistics statistics;
    tmb_get_statistics(request->server->timbre, &statistics);
    tmb_request_header(request, "X-Engine", statistics.engine ? statistics.engine : request->server->config->engine);
    tmb_request_header(request, "X-Is-Clone", statistics.is_clone ? "true" : "false");
}

void tmb_clone_start(tmb_request *request, const tmb_clone_options *options) {
    tmb_item_problem problem = {.status = 0};
    const char *unwritten = tmb_format_problem(tmb_format_find(options->format), request->server->config->no_ffmpeg);
    if (unwritten) {
        refuse_with(request, 400, 0, "response_format", unwritten);
        return;
    }
    size_t count = tmb_item_count(request->arguments, &problem);
    if (count == 0) {
        refuse_with(request, problem.status, 0, problem.field, problem.message);
        return;
    }
    if (count > 1 && options->mode == TMB_CLONE_WHOLE) {
        tmb_refuse(request, 400, "text",
                   "one item at a time can be answered as audio: several are, with Accept: "
                   "application/json");
        return;
    }
    if (count > 1 && (options->mode == TMB_CLONE_AUDIO || options->mode == TMB_CLONE_SPEECH_EVENTS)) {
        tmb_refuse(request, 400, "stream",
                   "one item at a time can be streamed as audio (stream_format \"sse\" takes several)");
        return;
    }
    clone_job *job = create_job(request, options, count);
    tmb_item_inputs *inputs = job ? tmb_calloc(count, sizeof(*inputs)) : NULL;
    if (!inputs) {
        if (job) {
            job->references = 1;
            release_job(job);
        }
        tmb_refuse_for_now(request, 503, 5, "Not enough memory");
        return;
    }
    tmb_request_retain(request);
    tmb_request_attach(request, job, on_client_left, on_request_freed);
    bool good = add_form_file(job, &problem) && fill_all(job, inputs, &problem);
    if (good && count == 1) {
        char seed[32];
        (void)snprintf(seed, sizeof(seed), "%llu", (unsigned long long)inputs[0].request.seed);
        tmb_request_header(request, "X-Seed", seed);
    }
    tell_engine(request);
    uint64_t group = atomic_fetch_add(&request->server->group, 1) + 1;
    for (size_t i = 0; good && i < count; i++) {
        good = submit(job, i, &inputs[i], group, &problem);
    }
    if (problem.status) {
        refuse_job(job, &problem);
    }
    for (size_t i = 0; i < count; i++) {
        tmb_item_inputs_free(&inputs[i]);
    }
    free(inputs);
    count_down(job);
}
