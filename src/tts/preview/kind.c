/* The preview voice's row in the table of engines. */
#include "tts/preview/preview.h"
#include "tts/registry.h"

#include <string.h>

static tmb_status estimate(const tmb_engine_settings *settings, const char *folder, uint64_t *bytes, tmb_error *error) {
    (void)settings;
    (void)folder;
    (void)error;
    *bytes = TMB_LIGHT_ENGINE_BYTES;
    return TMB_OK;
}

static tmb_status create(const tmb_engine_settings *settings, const char *folder, tmb_engine **out, tmb_error *error) {
    (void)folder;
    if (strcmp(settings->name, "auto") == 0 && settings->logger != NULL) {
        tmb_log(settings->logger, TMB_LOG_INFO, "engine auto: preview, as no Qwen3-TTS model is installed");
    }
    const tmb_preview_options options = {.max_sequences = settings->max_batch, .logger = settings->logger};
    return tmb_preview_engine_create(&options, out, error);
}

const tmb_engine_kind tmb_preview_kind = {
    .name = "preview",
    .summary = "espeak-ng, fitted to the recording's pitch: needs no download and is no clone",
    .clones_voice = false,
    .automatic = true,
    .check_programs = tmb_preview_check,
    .estimate = estimate,
    .create = create,
};
