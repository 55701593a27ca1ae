/* The remote engine's row in the table of engines. */
#include "base/error.h"
#include "tts/language.h"
#include "tts/registry.h"
#include "tts/remote/remote.h"

#include <stdlib.h>

static const char *option(const tmb_engine_settings *settings, const char *name) {
    return tmb_engine_option_get(settings, "remote", name);
}

static tmb_status check(const tmb_engine_settings *settings, tmb_error *error) {
    if (option(settings, "url") == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "the remote engine needs the URL of a speech server: --remote-url http://…");
    }
    char *endpoint = NULL;
    tmb_status status = tmb_remote_endpoint(option(settings, "url"), &endpoint, error);
    free(endpoint);
    return status;
}

/* The other side knows what its model speaks: any language that has a name. */
static tmb_status check_language(const char *folder, const char *language, tmb_error *error) {
    (void)folder;
    return tmb_language_by_tag(language) != NULL
               ? TMB_OK
               : tmb_fail_field(error, TMB_ERROR_ARGUMENT, "language",
                                "language \"%.40s\" is not known; known are " TMB_LANGUAGES, language);
}

static tmb_status estimate(const tmb_engine_settings *settings, const char *folder, uint64_t *bytes, tmb_error *error) {
    (void)folder;
    (void)error;
    *bytes = TMB_LIGHT_ENGINE_BYTES + tmb_remote_engine_bytes(settings->max_batch);
    return TMB_OK;
}

static tmb_status create(const tmb_engine_settings *settings, const char *folder, tmb_engine **out, tmb_error *error) {
    (void)folder;
    const tmb_remote_options options = {.url = option(settings, "url"),
                                        .key = option(settings, "key"),
                                        .model = settings->model,
                                        .max_sequences = settings->max_batch,
                                        .logger = settings->logger};
    return tmb_remote_engine_create(&options, out, error);
}

const tmb_engine_kind tmb_remote_kind = {
    .name = "remote",
    .summary = "a speech server with the OpenAI API: vLLM-Omni on a GPU, or another timbre",
    .clones_voice = true,
    .automatic = false,
    .check = check,
    .check_language = check_language,
    .estimate = estimate,
    .create = create,
};
