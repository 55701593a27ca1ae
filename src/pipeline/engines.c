#include "pipeline/engines.h"

#include "base/error.h"
#include "tts/language.h"
#include "tts/preview/preview.h"
#include "tts/qwen3/qwen3.h"
#include "tts/remote/remote.h"
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
    if (settings->no_preview && strcmp(settings->name, "preview") == 0) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "the engine is the preview voice, and the preview voice is refused");
    }
    if (strcmp(settings->name, "remote") == 0) {
        char *endpoint = NULL;
        tmb_status status =
            settings->remote_url == NULL
                ? tmb_fail(error, TMB_ERROR_ARGUMENT, "the remote engine needs the URL of a speech server")
                : tmb_remote_endpoint(settings->remote_url, &endpoint, error);
        free(endpoint);
        if (status != TMB_OK) {
            return status;
        }
    }
    return tmb_qwen3_check_precision(settings->precision, error);
}

/* "auto" is qwen3 if its model is found or one is named: a wrong name is then an error, not another voice, and so is a
 * model that is only partly there. */
static tmb_status choose(const tmb_engine_settings *settings, tmb_engine_choice *out, tmb_error *error) {
    bool named = settings->model != NULL && settings->model[0] != '\0';
    bool optional = strcmp(settings->name, "auto") == 0 && !named && !settings->no_preview;
    *out = (tmb_engine_choice){.name = strcmp(settings->name, "remote") == 0    ? "remote"
                                       : strcmp(settings->name, "preview") == 0 ? "preview"
                                                                                : "qwen3"};
    if (strcmp(out->name, "qwen3") != 0) {
        return TMB_OK;
    }
    tmb_model_state state;
    tmb_status status = tmb_models_find_checkpoint(settings->model, &state, &out->folder, error);
    if (status == TMB_ERROR_MODEL && optional && state == TMB_MODEL_ABSENT) {
        out->name = "preview";
        status = TMB_OK;
    }
    return status;
}

tmb_status tmb_engine_check_language(const tmb_engine_choice *choice, const char *language, tmb_error *error) {
    if (tmb_language_find(language) != NULL) {
        return TMB_OK;
    }
    if (strcmp(choice->name, "qwen3") == 0 && choice->folder != NULL) {
        return tmb_qwen3_check_language(choice->folder, language, error);
    }
    if (strcmp(choice->name, "remote") == 0 && tmb_language_by_tag(language) != NULL) {
        return TMB_OK; /* the other side knows what its model speaks */
    }
    return tmb_fail_field(error, TMB_ERROR_ARGUMENT, "language",
                          "language \"%.40s\" is not known; known are " TMB_LANGUAGES, language);
}

tmb_status tmb_engine_check_programs(const tmb_engine_choice *choice, tmb_error *error) {
    return strcmp(choice->name, "preview") == 0 ? tmb_preview_check(error) : TMB_OK;
}

static tmb_remote_options remote_options(const tmb_engine_settings *settings) {
    return (tmb_remote_options){.url = settings->remote_url,
                                .key = settings->remote_key,
                                .model = settings->model,
                                .max_sequences = settings->max_batch,
                                .logger = settings->logger};
}

static tmb_qwen3_options qwen3_options(const tmb_engine_settings *settings, const char *folder) {
    tmb_qwen3_options options;
    tmb_qwen3_options_default(&options);
    options.model = folder;
    options.precision = settings->precision;
    options.threads = settings->threads;
    options.max_sequences = settings->max_batch;
    options.logger = settings->logger;
    return options;
}

static tmb_status estimate(const tmb_engine_settings *settings, const tmb_engine_choice *choice, uint64_t *bytes,
                           tmb_error *error) {
    if (strcmp(choice->name, "qwen3") == 0) {
        const tmb_qwen3_options options = qwen3_options(settings, choice->folder);
        return tmb_qwen3_model_bytes(&options, bytes, error);
    }
    *bytes = LIGHT_ENGINE_BYTES;
    if (strcmp(choice->name, "remote") == 0) {
        *bytes += tmb_remote_engine_bytes(settings->max_batch);
    }
    return TMB_OK;
}

static tmb_status create(const tmb_engine_settings *settings, const tmb_engine_choice *choice, tmb_engine **out,
                         tmb_error *error) {
    if (strcmp(choice->name, "remote") == 0) {
        const tmb_remote_options options = remote_options(settings);
        return tmb_remote_engine_create(&options, out, error);
    }
    bool is_qwen3 = strcmp(choice->name, "qwen3") == 0;
    if (strcmp(settings->name, "auto") == 0) {
        tmb_log(settings->logger, TMB_LOG_INFO, "engine auto: %s",
                is_qwen3 ? "qwen3" : "preview, as no Qwen3-TTS model is installed");
    }
    if (is_qwen3) {
        const tmb_qwen3_options options = qwen3_options(settings, choice->folder);
        return tmb_qwen3_engine_create(&options, out, error);
    }
    const tmb_preview_options options = {.max_sequences = settings->max_batch, .logger = settings->logger};
    return tmb_preview_engine_create(&options, out, error);
}

const tmb_engine_maker tmb_engine_default_maker = {.choose = choose, .estimate = estimate, .create = create};
