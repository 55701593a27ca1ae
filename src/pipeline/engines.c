#include "pipeline/engines.h"

#include "base/error.h"
#include "tts/preview/preview.h"
#include "tts/qwen3/qwen3.h"
#include "weights/models.h"

#include <stdlib.h>
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
    return tmb_qwen3_check_precision(settings->precision, error);
}

/* "auto" is the preview voice, the only engine of this version. */
static bool is_preview(const tmb_engine_settings *settings) {
    return strcmp(settings->name, "auto") == 0 || strcmp(settings->name, "preview") == 0;
}

static const char *engine_name(const tmb_engine_settings *settings) {
    return is_preview(settings) ? "preview" : strcmp(settings->name, "qwen3") == 0 ? "qwen3" : "remote";
}

/* Why an engine other than the preview voice does not speak in this version. */
static tmb_status refuse(const tmb_engine_settings *settings, tmb_error *error) {
    if (strcmp(settings->name, "qwen3") == 0) {
        char *folder = NULL;
        tmb_status status = tmb_models_find_checkpoint(settings->model, &folder, error);
        free(folder);
        if (status != TMB_OK) {
            return status;
        }
    }
    return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "this version of timbre cannot speak with the engine \"%s\": use preview",
                    settings->name);
}

static tmb_status estimate(const tmb_engine_settings *settings, uint64_t *bytes, tmb_error *error) {
    *bytes = LIGHT_ENGINE_BYTES;
    return is_preview(settings) ? TMB_OK : refuse(settings, error);
}

static tmb_status create(const tmb_engine_settings *settings, tmb_engine **out, tmb_error *error) {
    if (!is_preview(settings)) {
        return refuse(settings, error);
    }
    tmb_preview_options options = {.max_sequences = settings->max_batch, .logger = settings->logger};
    return tmb_preview_engine_create(&options, out, error);
}

const tmb_engine_maker tmb_engine_default_maker = {.estimate = estimate, .create = create, .name = engine_name};
