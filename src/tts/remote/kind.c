/* The remote engine's row in the table of engines. */
#include "base/error.h"
#include "base/text.h"
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
    tmb_remote_addresses addresses;
    tmb_status status = tmb_remote_addresses_parse(option(settings, "url"), &addresses, error);
    tmb_remote_addresses_free(&addresses);
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
    tmb_remote_addresses addresses;
    tmb_status status = tmb_remote_addresses_parse(option(settings, "url"), &addresses, error);
    if (status == TMB_OK) {
        *bytes = TMB_LIGHT_ENGINE_BYTES + tmb_remote_engine_bytes(&addresses, settings->max_batch);
    }
    tmb_remote_addresses_free(&addresses);
    return status;
}

static tmb_status create(const tmb_engine_settings *settings, const char *folder, tmb_engine **out, tmb_error *error) {
    (void)folder;
    double hedge = 0;
    if (option(settings, "hedge") != NULL && !tmb_parse_seconds(option(settings, "hedge"), &hedge)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "\"%.40s\" is not a time after which a second server is asked",
                        option(settings, "hedge"));
    }
    const tmb_remote_options options = {.urls = option(settings, "url"),
                                        .key = option(settings, "key"),
                                        .model = settings->model,
                                        .max_sequences = settings->max_batch,
                                        .hedge_seconds = hedge,
                                        .logger = settings->logger};
    return tmb_remote_engine_create(&options, out, error);
}

/* Those of an engine that is not loaded are what the settings say. */
static void servers(const tmb_engine_settings *settings, tmb_engine *engine,
                    void (*each)(void *user, const tmb_server_statistics *statistics), void *user) {
    if (engine != NULL) {
        tmb_remote_engine_servers(engine, each, user);
        return;
    }
    tmb_remote_addresses addresses;
    (void)tmb_remote_addresses_parse(option(settings, "url"), &addresses, NULL);
    for (size_t i = 0; i < addresses.count; i++) {
        const tmb_server_statistics statistics = {
            .url = addresses.list[i].shown, .state = "untried", .limit = addresses.list[i].limit};
        each(user, &statistics);
    }
    tmb_remote_addresses_free(&addresses);
}

const tmb_engine_kind tmb_remote_kind = {
    .name = "remote",
    .summary = "speech servers with the OpenAI API: vLLM-Omni on a GPU, or another timbre",
    .clones_voice = true,
    .automatic = false,
    .check = check,
    .check_language = check_language,
    .estimate = estimate,
    .create = create,
    .servers = servers,
};
