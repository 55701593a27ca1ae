#include "server/item_run.h"

#include "base/error.h"
#include "server/calls.h"
#include "server/voice_prepare.h"

#include <stdio.h>
#include <unistd.h>

void tmb_item_run_init(tmb_item_run *run, tmb_server *server, const tmb_item_owner *owner, const json_t *arguments,
                       size_t index) {
    run->server = server;
    run->owner = owner;
    run->arguments = arguments;
    run->index = index;
    (void)pthread_mutex_init(&run->lock, NULL);
}

void tmb_item_run_free(tmb_item_run *run) {
    tmb_output_destroy(&run->file);
    tmb_output_destroy(&run->stream);
    if (run->path[0]) {
        (void)unlink(run->path);
    }
    json_decref(run->json);
    (void)pthread_mutex_destroy(&run->lock);
}

tmb_status tmb_item_run_to_file(tmb_item_run *run, const tmb_format *format, int rate, double speed, tmb_error *error) {
    run->format = format;
    if (!tmb_store_temporary_path(run->server->store, run->path)) {
        return tmb_fail(error, TMB_ERROR_INTERNAL, "no random bytes");
    }
    tmb_status status = tmb_output_to_file(format, rate, speed, run->path, &run->file, error);
    if (status == TMB_OK) {
        tmb_output_book(run->file, run->server->store);
    }
    return status;
}

/* ---- The library's callbacks --------------------------------------------------------------------------- */

static void on_progress(void *user, uint64_t number, tmb_stage stage, double fraction) {
    (void)number;
    tmb_item_run *run = user;
    run->owner->progress(run, stage, fraction);
}

static void on_reference(void *user, uint64_t number, const tmb_reference_info *reference) {
    (void)number;
    tmb_item_run *run = user;
    run->owner->reference(run, reference);
}

static void on_speaks(void *user, uint64_t number, const char *engine, bool is_clone) {
    (void)number;
    tmb_item_run *run = user;
    run->owner->speaks(run, engine, is_clone);
}

static bool on_audio(void *user, uint64_t number, const float *samples, size_t count, int rate) {
    (void)number;
    tmb_item_run *run = user;
    if (run->error.status == TMB_OK && run->file != NULL) {
        (void)tmb_output_write(run->file, samples, count, rate, &run->error);
    }
    if (run->error.status == TMB_OK && run->stream != NULL) {
        (void)tmb_output_write(run->stream, samples, count, rate, &run->error);
    }
    return run->error.status == TMB_OK && (run->owner->audio == NULL || run->owner->audio(run, samples, count, rate));
}

/* How it ended: what went wrong on our own side comes first, because the library only knows that we asked it to stop.
 */
static void finish_outputs(tmb_item_run *run, const tmb_clone_result *result) {
    if (run->error.status == TMB_OK) {
        run->error = result->error;
    }
    if (run->error.status == TMB_OK && run->stream != NULL) {
        (void)tmb_output_finish(run->stream, &run->error);
    }
    if (run->error.status == TMB_OK && run->file != NULL) {
        (void)tmb_output_finish(run->file, &run->error);
    }
    if (run->error.status != TMB_OK) {
        /* Now, not when the end could be written: on a full disk that may need the room which this leaves. */
        tmb_output_destroy(&run->file);
        run->status = tmb_item_error(run->server, &run->error, run->message);
        run->field = run->error.field;
    }
}

static void on_result(void *user, const tmb_clone_result *result) {
    tmb_item_run *run = user;
    tmb_metrics_item(run->server->metrics, result);
    tmb_voice_note_result(run->server, run->arguments, run->index, result);
    finish_outputs(run, result);
    (void)pthread_mutex_lock(&run->lock);
    run->number = 0;
    (void)pthread_mutex_unlock(&run->lock);
    run->owner->ended(run, result);
}

/* ---- Submitting and cancelling --------------------------------------------------------------------------- */

static void cancel_number(tmb_item_run *run, uint64_t number) {
    if (run->owner->here) {
        tmb_clone_cancel(run->server->timbre, number);
    } else {
        tmb_speak_cancel(run->server, number);
    }
}

tmb_status tmb_item_run_submit(tmb_item_run *run, const tmb_item_inputs *inputs, tmb_error *error) {
    const tmb_clone_callbacks callbacks = {.user = run,
                                           .progress = run->wants_progress ? on_progress : NULL,
                                           .audio = on_audio,
                                           .result = on_result,
                                           .reference = run->wants_reference ? on_reference : NULL,
                                           .speaks = run->owner->speaks != NULL ? on_speaks : NULL};
    uint64_t number = 0;
    tmb_status status =
        run->owner->here
            ? tmb_clone_submit(run->server->timbre, &inputs->request, &callbacks, &number, error)
            : tmb_speak_submit(run->server, run->arguments, run->index, inputs, &callbacks, &number, error);
    if (status != TMB_OK) {
        return status;
    }
    /* Its result may have come already; then this number is nobody's any more. */
    (void)pthread_mutex_lock(&run->lock);
    run->number = number;
    bool cancelled = run->cancelled;
    (void)pthread_mutex_unlock(&run->lock);
    if (cancelled) {
        cancel_number(run, number);
    }
    return TMB_OK;
}

void tmb_item_run_cancel(tmb_item_run *run) {
    (void)pthread_mutex_lock(&run->lock);
    run->cancelled = true;
    uint64_t number = run->number;
    (void)pthread_mutex_unlock(&run->lock);
    if (number) {
        cancel_number(run, number);
    }
}

bool tmb_item_run_is_cancelled(tmb_item_run *run) {
    (void)pthread_mutex_lock(&run->lock);
    bool cancelled = run->cancelled;
    (void)pthread_mutex_unlock(&run->lock);
    return cancelled;
}

/* ---- What came of it ------------------------------------------------------------------------------------- */

void tmb_item_run_hand_over(tmb_item_run *run, const char *name, tmb_file_info *info) {
    *info = (tmb_file_info){.sample_rate = tmb_output_rate(run->file), .duration = tmb_output_seconds(run->file)};
    tmb_format_content_type(run->format, info->sample_rate, info->content_type);
    (void)snprintf(info->name, sizeof info->name, "%s%s", name, run->format->ending);
    tmb_output_unbook(run->file);
}

void tmb_item_run_describe(tmb_item_run *run, const tmb_clone_result *result) {
    int rate = run->file != NULL ? tmb_output_rate(run->file) : result->sample_rate;
    double duration = run->file != NULL ? tmb_output_seconds(run->file) : result->duration;
    run->json = tmb_item_json(result, tmb_item_custom_id(run->arguments, run->index), rate, duration,
                              run->status ? run->message : NULL);
    if (run->json != NULL && !run->status && run->file != NULL) {
        tmb_json_clipped(run->json, tmb_output_clipped(run->file));
    }
}
