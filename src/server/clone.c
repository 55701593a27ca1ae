#include "server/clone_sink.h"

#include "base/error.h"
#include "base/memory.h"
#include "server/form.h"
#include "server/state.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void release_job(tmb_clone_job *job) {
    if (atomic_fetch_sub(&job->references, 1) > 1) {
        return;
    }
    for (size_t i = 0; i < job->count; i++) {
        tmb_item_run_free(&job->items[i].run);
        json_decref(job->items[i].warnings);
        if (job->items[i].descriptor >= 0) {
            (void)close(job->items[i].descriptor);
        }
    }
    tmb_references_destroy(job->sources);
    (void)pthread_mutex_destroy(&job->lock);
    free(job);
}

static void on_request_freed(void *user) { release_job(user); }

static void cancel_job(tmb_clone_job *job) {
    (void)pthread_mutex_lock(&job->lock);
    job->cancelled = true;
    (void)pthread_mutex_unlock(&job->lock);
    for (size_t i = 0; i < job->count; i++) {
        tmb_item_run_cancel(&job->items[i].run);
    }
}

static void on_client_left(void *user) { cancel_job(user); }

/* ---- While it is made ------------------------------------------------------------------------------ */

static bool on_bytes(void *user, const void *data, size_t size, double seconds) {
    tmb_clone_item *item = user;
    tmb_clone_begin_stream(item);
    return item->job->sink->bytes(item, data, size, seconds);
}

static void on_progress(tmb_item_run *run, tmb_stage stage, double fraction) {
    tmb_clone_item *item = (tmb_clone_item *)run;
    if (stage == item->stage && fraction < item->progress + 0.05 && fraction < 1) {
        return;
    }
    item->stage = stage;
    item->progress = fraction;
    tmb_clone_begin_stream(item);
    item->job->sink->progress(item);
}

/* Before the first audio, if the answer has not begun with progress. */
static void on_reference(tmb_item_run *run, const tmb_reference_info *reference) {
    tmb_clone_item *item = (tmb_clone_item *)run;
    json_t *told = json_object();
    tmb_json_reference(told, reference);
    json_decref(item->warnings);
    item->warnings = json_incref(json_object_get(told, "warnings"));
    json_decref(told);
}

/* With a pool behind its own engine or workers behind a queue, a server does not know before who will speak. */
static bool speaks_itself(const tmb_server *server) { return !server->config->overflow && server->calls == NULL; }

static void on_speaks(tmb_item_run *run, const char *engine, bool is_clone) {
    tmb_clone_item *item = (tmb_clone_item *)run;
    if (!speaks_itself(run->server)) {
        (void)snprintf(item->engine, sizeof item->engine, "%s", engine);
        item->is_clone = is_clone;
    }
}

static bool on_audio(tmb_item_run *run, const float *samples, size_t count, int rate) {
    (void)samples;
    (void)count;
    (void)rate;
    return !tmb_request_gone(((tmb_clone_item *)run)->job->request);
}

/* ---- Results --------------------------------------------------------------------------------------- */

/* The finished file becomes one of the store's. */
static void store_file(tmb_clone_item *item) {
    tmb_item_run *run = &item->run;
    tmb_file_info info;
    tmb_item_run_hand_over(run, "speech", &info);
    tmb_store_status status = tmb_store_file_adopt(run->server->store, run->path, &info);
    if (status == TMB_STORE_OK) {
        memcpy(item->file_id, info.id, sizeof item->file_id);
    } else {
        run->status = tmb_store_problem(status, "audio", run->message, sizeof run->message);
    }
}

static void conclude(tmb_clone_job *job);

/* One result less to come; the last one concludes. */
static void count_down(tmb_clone_job *job) {
    (void)pthread_mutex_lock(&job->lock);
    bool last = --job->remaining == 0;
    (void)pthread_mutex_unlock(&job->lock);
    if (last) {
        conclude(job);
    }
}

static void on_ended(tmb_item_run *run, const tmb_clone_result *result) {
    tmb_clone_item *item = (tmb_clone_item *)run;
    tmb_clone_job *job = item->job;
    if (!run->status && run->file != NULL && job->sink->keeps_file) {
        store_file(item);
    }
    tmb_item_run_describe(run, result);
    if (item->file_id[0]) {
        tmb_json_url(run->json, item->file_id);
    }
    if (job->sink->item_done != NULL) {
        job->sink->item_done(item);
    }
    count_down(job);
}

static const tmb_item_owner owner = {
    .audio = on_audio, .progress = on_progress, .reference = on_reference, .speaks = on_speaks, .ended = on_ended};

/* ---- The answer -------------------------------------------------------------------------------------- */

static void refuse_with(tmb_request *request, unsigned status, double retry, const char *field, const char *message) {
    if (status == 503 || status == 429) {
        tmb_refuse_for_now(request, status, retry, "%s", message);
    } else {
        tmb_refuse(request, status, status == 400 && field != NULL && field[0] ? field : NULL, "%s", message);
    }
}

/* All results are there. */
static void conclude(tmb_clone_job *job) {
    tmb_request *request = job->request;
    const tmb_item_run *first = &job->items[0].run;
    if (!job->streaming && !job->problem.status && !job->cancelled) {
        tmb_clone_open_audio(job);
    }
    if (job->streaming) {
        bool good = true;
        for (size_t i = 0; i < job->count; i++) {
            good = good && job->items[i].run.status == 0;
        }
        tmb_stream_end(request, job->sink->end(job, good));
    } else if (job->problem.status) {
        refuse_with(request, job->problem.status, job->retry, job->problem.field, job->problem.message);
    } else if (job->cancelled) {
        tmb_refuse_for_now(request, MHD_HTTP_SERVICE_UNAVAILABLE, 5, "Cancelled");
    } else if (job->count == 1 && first->status) {
        refuse_with(request, first->status, 5, first->field, first->message);
    } else {
        tmb_clone_tell_speaker(job);
        job->sink->answer(job);
    }
    tmb_request_release(request);
    release_job(job);
}

/* ---- The start ----------------------------------------------------------------------------------------- */

static bool create_outputs(tmb_clone_item *item, tmb_error *error) {
    const tmb_clone_job *job = item->job;
    const tmb_clone_sink *sink = job->sink;
    double speed = job->options.speed > 0 ? job->options.speed : 1;
    if (sink->has_file && tmb_item_run_to_file(&item->run, job->format, job->options.rate, speed, error) != TMB_OK) {
        return false;
    }
    const tmb_format *format = sink->stream_format != NULL ? tmb_format_find(sink->stream_format) : job->format;
    return sink->bytes == NULL ||
           tmb_output_to_sink(format, job->options.rate, speed, on_bytes, item, &item->run.stream, error) == TMB_OK;
}

/* Retry-After in seconds: what waits, divided by the recent throughput. */
static double retry_after(tmb_server *server) {
    tmb_statistics statistics;
    tmb_get_statistics(server->timbre, &statistics);
    double wait = 0.5 * (double)(statistics.queued_items + statistics.live_sequences);
    return wait < 1 ? 1 : wait > 120 ? 120 : wait;
}

static void refuse_job(tmb_clone_job *job, const tmb_problem *problem) {
    (void)pthread_mutex_lock(&job->lock);
    if (!job->problem.status) {
        job->problem = *problem;
        job->retry = problem->status == 503 ? retry_after(job->server) : 0;
    }
    (void)pthread_mutex_unlock(&job->lock);
    cancel_job(job);
}

static bool submit(tmb_clone_job *job, size_t index, tmb_item_inputs *inputs, uint64_t group, tmb_problem *problem) {
    tmb_clone_item *item = &job->items[index];
    inputs->request.group = group;
    inputs->request.stream = job->sink->bytes != NULL;
    tmb_error error = {.status = TMB_OK};
    if (!create_outputs(item, &error)) {
        return tmb_problem_say(problem, 503, "Not enough memory");
    }
    (void)pthread_mutex_lock(&job->lock);
    job->remaining++;
    (void)pthread_mutex_unlock(&job->lock);
    tmb_status status = tmb_item_run_submit(&item->run, inputs, &error);
    (void)pthread_mutex_lock(&job->lock);
    job->remaining -= status != TMB_OK;
    bool cancelled = job->cancelled;
    (void)pthread_mutex_unlock(&job->lock);
    if (status == TMB_OK) {
        return !cancelled;
    }
    const char *field = error.field != NULL ? error.field : "text";
    if (status == TMB_ERROR_LIMIT || status == TMB_ERROR_MEMORY) {
        return tmb_problem_set(problem, field, 503, "%s",
                               status == TMB_ERROR_LIMIT ? "Too much work waits at the moment" : "Not enough memory");
    }
    char message[512];
    unsigned code = tmb_item_error(job->server, &error, message);
    return tmb_problem_set(problem, field, code, "%s", message);
}

static bool request_is_gone(void *user) { return tmb_request_gone(user); }

/* A form's ref_audio may be a file; then it stands under this name among the references. */
static bool add_form_file(tmb_clone_job *job, tmb_problem *problem) {
    tmb_request *request = job->request;
    tmb_upload *upload = request->form != NULL ? tmb_form_take_file(request->form, "ref_audio", NULL, NULL) : NULL;
    if (upload == NULL) {
        return true;
    }
    (void)json_object_set_new(request->arguments, "ref_audio", json_string("@form"));
    tmb_references_salvage(job->sources, tmb_boolean_at(request->arguments, "salvage", false));
    if (tmb_references_add(job->sources, "@form", upload, problem) != NULL) {
        return true;
    }
    return tmb_problem_name(problem, "ref_audio");
}

static tmb_clone_job *create_job(tmb_request *request, const tmb_clone_options *options, size_t count) {
    size_t size = sizeof(tmb_clone_job) + count * sizeof(tmb_clone_item);
    tmb_clone_job *job = tmb_calloc(1, size);
    if (job == NULL) {
        return NULL;
    }
    job->server = request->server;
    job->request = request;
    job->references = 2; /* the request's and conclude's */
    job->options = *options;
    job->sink = &tmb_clone_sinks[options->mode];
    job->format = tmb_format_find(options->format);
    job->remaining = 1;
    job->count = count;
    (void)pthread_mutex_init(&job->lock, NULL);
    for (size_t i = 0; i < count; i++) {
        job->items[i].job = job;
        job->items[i].descriptor = -1;
        job->items[i].run.wants_progress = job->sink->progress != NULL;
        job->items[i].run.wants_reference = job->sink->bytes != NULL && job->sink->progress == NULL;
        tmb_item_run_init(&job->items[i].run, request->server, &owner, request->arguments, i);
    }
    job->sources = tmb_references_create(request->server, request_is_gone, request);
    if (job->sources == NULL) {
        job->references = 1;
        release_job(job);
        return NULL;
    }
    return job;
}

/* Every item is looked at before the first is started: bad input starts nothing. */
static bool fill_all(tmb_clone_job *job, tmb_item_inputs *inputs, tmb_problem *problem) {
    for (size_t i = 0; i < job->count; i++) {
        if (!tmb_item_fill(job->server, job->request->arguments, i, job->options.enhanced, job->options.who,
                           job->sources, &inputs[i], problem)) {
            return false;
        }
    }
    return true;
}

/* Who speaks, also if the answer is nothing but audio. */
static void tell_engine(tmb_request *request, const tmb_clone_request *first, size_t count) {
    tmb_server *server = request->server;
    tmb_statistics statistics;
    tmb_get_statistics(server->timbre, &statistics);
    bool refers = first->ref_audio != NULL || first->voice != NULL;
    if (speaks_itself(server)) { /* otherwise tmb_clone_tell_speaker says it */
        tmb_request_header(request, "X-Engine", statistics.engine != NULL ? statistics.engine : server->config->engine);
        tmb_request_header(request, "X-Is-Clone", statistics.is_clone && refers ? "true" : "false");
    }
    const tmb_model_description *model = NULL;
    if (count == 1 && !refers && tmb_clone_model(server->timbre, first, &model, NULL) == TMB_OK &&
        !model->follows_instruct && first->instruct != NULL && first->instruct[0]) {
        tmb_request_header(request, "X-Ignored", "instruct");
    }
}

void tmb_clone_start(tmb_request *request, const tmb_clone_options *options) {
    tmb_problem problem = {.status = 0};
    const char *unwritten = tmb_format_problem(tmb_format_find(options->format), request->server->config->no_ffmpeg);
    if (unwritten != NULL) {
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
    tmb_clone_job *job = create_job(request, options, count);
    tmb_item_inputs *inputs = job != NULL ? tmb_calloc(count, sizeof *inputs) : NULL;
    if (inputs == NULL) {
        if (job != NULL) {
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
        (void)snprintf(seed, sizeof seed, "%llu", (unsigned long long)inputs[0].request.seed);
        tmb_request_header(request, "X-Seed", seed);
    }
    if (good) {
        tell_engine(request, &inputs[0].request, count);
    }
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
