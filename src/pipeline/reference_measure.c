/* A reference measured by itself: the same reading, stages 1 and 2 and judgement as an item's, without an engine. */
#include "base/error.h"
#include "pipeline/build.h"
#include "pipeline/context.h"

#include <string.h>

static tmb_status read_all(tmb_context *context, const tmb_item_request *request, tmb_reading *reading,
                           tmb_error *error) {
    const tmb_audio_limits limits = {.max_seconds = context->options.max_input_seconds,
                                     .max_bytes = context->options.max_input_bytes,
                                     .no_ffmpeg = context->options.no_ffmpeg};
    uint64_t samples = 0;
    tmb_status status = tmb_reading_open(reading, request, &limits, &samples, error);
    for (bool complete = false; status == TMB_OK && !complete;) {
        status = tmb_reading_step(reading, request, "", &complete, error);
    }
    return status;
}

static tmb_status clean_all(tmb_context *context, tmb_build *build, tmb_error *error) {
    tmb_status status = TMB_OK;
    for (bool complete = false; status == TMB_OK && !complete;) {
        status = tmb_build_resample(build, &context->logger, error);
        if (status == TMB_OK) {
            status = tmb_build_enhance(build, &complete, error);
        }
    }
    return status;
}

/* What is wanted of a reference. */
typedef struct wanted {
    tmb_reference_info *info;
    char **text; /* NULL: only the measures */
    bool (*cancelled)(void *user);
    void *user;
} wanted;

/* The denoiser is in use. */
static tmb_status measure(tmb_context *context, const tmb_item_request *request, tmb_dfn_model *denoiser,
                          const wanted *what, tmb_error *error) {
    tmb_reading reading = {0};
    tmb_build *build = NULL;
    tmb_status status = read_all(context, request, &reading, error);
    if (status == TMB_OK) {
        status = tmb_build_create(&reading, request, denoiser, &build, error);
    }
    if (status == TMB_OK) {
        status = clean_all(context, build, error);
    }
    if (status == TMB_OK) {
        status = tmb_build_judge(build, error);
        *what->info = build->info;
    }
    if (status != TMB_OK && error != NULL && error->field == NULL) {
        error->field = "ref_audio";
    }
    if (status == TMB_OK && what->text != NULL) {
        tmb_transcriber transcriber = tmb_context_transcriber(context);
        transcriber.cancelled = what->cancelled;
        transcriber.user = what->user;
        status = tmb_build_ask(build, &transcriber, &context->logger, NULL, what->text, error);
    }
    tmb_build_destroy(&build, &context->budget);
    tmb_reading_close(&reading);
    return status;
}

static tmb_status measure_file(tmb_context *context, const char *path, const char *ref_text, const wanted *what,
                               tmb_error *error) {
    tmb_clone_request public;
    tmb_item_request request;
    tmb_dfn_model *denoiser = NULL;
    memset(what->info, 0, sizeof *what->info);
    tmb_clone_request_default(&public);
    public.ref_audio = path;
    public.ref_text = ref_text;
    tmb_status status = tmb_item_request_copy(&public, false, &request, error);
    if (status != TMB_OK) {
        return status;
    }
    status = tmb_registry_use_denoiser(&context->registry, &denoiser, error);
    if (status == TMB_OK) {
        status = measure(context, &request, denoiser, what, error);
        tmb_registry_done(&context->registry, TMB_MODEL_DENOISER);
    }
    tmb_item_request_free(&request);
    return status;
}

tmb_status tmb_reference_measure(tmb_context *context, const char *path, const char *ref_text, tmb_reference_info *out,
                                 tmb_error *error) {
    const wanted measures = {.info = out};
    return measure_file(context, path, ref_text, &measures, error);
}

tmb_status tmb_transcribe(tmb_context *context, const char *path, bool (*cancelled)(void *user), void *user,
                          char **text, tmb_error *error) {
    tmb_reference_info info;
    const wanted both = {&info, text, cancelled, user};
    *text = NULL;
    if (context->options.transcribe_url == NULL) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "no transcription service is set");
    }
    return measure_file(context, path, NULL, &both, error);
}
