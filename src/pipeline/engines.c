#include "pipeline/engines.h"

#include "base/error.h"
#include "tts/preview/preview.h"

#include <string.h>

/* What an engine without weights of its own takes. */
#define LIGHT_ENGINE_BYTES (256u << 10)

tmb_status tmb_engine_check(const tmb_engine_settings *settings, tmb_error *error) {
    static const char *const names[] = {"auto", "preview", "qwen3", "remote"};
    bool known = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        known |= strcmp(settings->name, names[i]) == 0;
    }
    if (!known) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "there is no engine \"%.40s\": auto, preview, qwen3, remote",
                        settings->name);
    }
    if (strcmp(settings->name, "remote") == 0 && settings->remote_url == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "the remote engine needs the URL of a speech server");
    }
    return TMB_OK;
}

static const char *engine_name(const tmb_engine_settings *settings) {
    (void)settings;
    return "preview";
}

static tmb_status estimate(const tmb_engine_settings *settings, uint64_t *bytes, tmb_error *error) {
    (void)settings;
    (void)error;
    *bytes = LIGHT_ENGINE_BYTES;
    return TMB_OK;
}

static tmb_status create(const tmb_engine_settings *settings, tmb_engine **out, tmb_error *error) {
    tmb_preview_options options = {.max_sequences = settings->max_batch, .logger = settings->logger};
    return tmb_preview_engine_create(&options, out, error);
}

const tmb_engine_maker tmb_engine_default_maker = {.estimate = estimate, .create = create, .name = engine_name};
