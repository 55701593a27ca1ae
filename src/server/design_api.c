/* POST /api/v1/voices/design: a voice from a description, spoken once and kept to be cloned. */
#include "base/error.h"
#include "base/thread.h"
#include "server/handlers.h"
#include "server/item_run.h"
#include "server/voice_store.h"

#include <string.h>

/* The one clip. */
typedef struct clip {
    tmb_item_run run; /* first: the owner's functions get it back */
    tmb_request *request;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool over;
} clip;

static bool on_audio(tmb_item_run *run, const float *samples, size_t count, int rate) {
    (void)samples;
    (void)count;
    (void)rate;
    return !tmb_request_gone(((clip *)run)->request);
}

static void on_ended(tmb_item_run *run, const tmb_clone_result *result) {
    (void)result;
    clip *c = (clip *)run;
    (void)pthread_mutex_lock(&c->lock);
    c->over = true;
    (void)pthread_cond_signal(&c->changed);
    (void)pthread_mutex_unlock(&c->lock);
}

static const tmb_item_owner owner = {.here = true, .audio = on_audio, .ended = on_ended};

/* How soon it is seen that the client has left. */
static const double slice_seconds = 0.25;

/* Speaks into a temporary file and waits for the end; run.error says how. */
static bool speak(clip *c, const tmb_item_inputs *inputs) {
    tmb_item_run *run = &c->run;
    if (tmb_item_run_to_file(run, tmb_format_find("wav"), 0, 1, &run->error) != TMB_OK ||
        tmb_item_run_submit(run, inputs, &run->error) != TMB_OK) {
        return false;
    }
    (void)pthread_mutex_lock(&c->lock);
    for (bool told = false; !c->over;) {
        const struct timespec until = tmb_deadline(slice_seconds);
        (void)pthread_cond_timedwait(&c->changed, &c->lock, &until);
        if (!c->over && !told && tmb_request_gone(c->request)) {
            told = true;
            (void)pthread_mutex_unlock(&c->lock);
            tmb_item_run_cancel(run);
            (void)pthread_mutex_lock(&c->lock);
        }
    }
    (void)pthread_mutex_unlock(&c->lock);
    return run->error.status == TMB_OK;
}

static void refuse(tmb_request *request, tmb_item_run *run) {
    const tmb_error *error = &run->error;
    unsigned status = run->status ? run->status : tmb_item_error(request->server, error, run->message);
    if (error->status == TMB_ERROR_LIMIT) {
        status = 503;
        (void)snprintf(run->message, sizeof run->message, "Too much work waits at the moment");
    }
    if (status == 503 || status == 429) {
        tmb_refuse_for_now(request, status, 5, "%s", run->message);
    } else {
        tmb_refuse(request, status, status == 400 ? (error->field != NULL ? error->field : "instruct") : NULL, "%s",
                   run->message);
    }
}

/* A Base model must be there too, and the name free: said before anything is spoken. */
static bool check(tmb_request *request, const char *name) {
    tmb_server *server = request->server;
    tmb_voice_info taken;
    bool clones = false;
    for (size_t i = 0; i < server->models.count; i++) {
        clones = clones || server->models.list[i]->clones;
    }
    if (!clones) {
        tmb_refuse(request, 400, NULL,
                   "No model here clones voices, so none can be kept: the server needs a Base model beside the "
                   "VoiceDesign model");
        return false;
    }
    if (tmb_store_voice_get(server->store, name, NULL, &taken) == TMB_STORE_OK) {
        tmb_voice_info_free(&taken);
        tmb_refuse_store(request, TMB_STORE_EXISTS, "voice");
        return false;
    }
    return true;
}

static void store(tmb_request *request, const clip *c, const char *name, const tmb_clone_request *spoken) {
    tmb_store_status status = TMB_STORE_FAILED;
    tmb_voice_info info = {.run_pre_processing = true,
                           .ref_text = (char *)(uintptr_t)spoken->text,
                           .duration = tmb_output_seconds(c->run.file),
                           .content_type = "audio/wav"};
    (void)snprintf(info.name, sizeof info.name, "%s", name);
    (void)snprintf(info.language, sizeof info.language, "%s", spoken->language);
    tmb_upload *upload = tmb_voice_copy_file(request->server, c->run.path, &status);
    if (upload != NULL) {
        tmb_voice_store(request, upload, &info, "instruct", false, &spoken->seed);
    } else {
        tmb_refuse_store(request, status, "voice");
    }
}

void tmb_handle_voice_design_store(tmb_request *request) {
    tmb_server *server = request->server;
    const char *name = tmb_text_at(request->arguments, "name", 0, "");
    tmb_problem problem = {.status = 0};
    tmb_item_inputs inputs;
    if (!check(request, name)) {
        return;
    }
    if (!tmb_item_fill(server, request->arguments, 0, true, TMB_WHO_DESCRIPTION, NULL, &inputs, &problem)) {
        tmb_refuse(request, problem.status, problem.field[0] ? problem.field : NULL, "%s", problem.message);
        return;
    }
    clip c = {.request = request, .lock = PTHREAD_MUTEX_INITIALIZER};
    tmb_condition_init(&c.changed);
    inputs.request.split_length = 0; /* each piece would have a voice of its own */
    inputs.request.max_seconds = server->config->max_reference_seconds;
    inputs.request.group = atomic_fetch_add(&server->group, 1) + 1;
    tmb_item_run_init(&c.run, server, &owner, request->arguments, 0);
    if (speak(&c, &inputs)) {
        store(request, &c, name, &inputs.request);
    } else {
        refuse(request, &c.run);
    }
    tmb_item_run_free(&c.run);
    tmb_item_inputs_free(&inputs);
    (void)pthread_cond_destroy(&c.changed);
}
