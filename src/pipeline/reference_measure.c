/* A reference measured by itself: the same reading, stages 1 and 2 and judgement as an item's, without an engine. */
#include "pipeline/build.h"
#include "pipeline/context.h"

#include <string.h>

static tmb_status read_all(tmb_context *context, const tmb_request *request, tmb_reading *reading, tmb_error *error) {
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

/* The denoiser is in use. */
static tmb_status measure(tmb_context *context, const tmb_request *request, tmb_dfn_model *denoiser,
                          tmb_reference_info *out, tmb_error *error) {
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
        *out = build->info;
    }
    tmb_build_destroy(&build, &context->budget);
    tmb_reading_close(&reading);
    return status;
}

tmb_status tmb_reference_measure(tmb_context *context, const char *path, const char *ref_text, tmb_reference_info *out,
                                 tmb_error *error) {
    tmb_clone_request public;
    tmb_request request;
    tmb_dfn_model *denoiser = NULL;
    memset(out, 0, sizeof *out);
    tmb_clone_request_default(&public);
    public.ref_audio = path;
    public.ref_text = ref_text;
    tmb_status status = tmb_request_copy(&public, false, &request, error);
    if (status != TMB_OK) {
        return status;
    }
    status = tmb_registry_use_denoiser(&context->registry, &denoiser, error);
    if (status == TMB_OK) {
        status = measure(context, &request, denoiser, out, error);
        tmb_registry_done(&context->registry, TMB_MODEL_DENOISER);
    }
    tmb_request_free(&request);
    return status;
}
