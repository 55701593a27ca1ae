/* Qwen3-TTS's row in the table of engines. */
#include "base/error.h"
#include "tts/language.h"
#include "tts/qwen3/describe.h"
#include "tts/qwen3/device.h"
#include "tts/qwen3/qwen3.h"
#include "tts/registry.h"
#include "weights/models.h"

#include <stdlib.h>
#include <string.h>

static tmb_status check(const tmb_engine_settings *settings, tmb_error *error) {
    tmb_qwen3_device device;
    tmb_status status = tmb_qwen3_parse_device(tmb_engine_option_get(settings, "qwen3", "device"), &device, error);
    return status == TMB_OK ? tmb_qwen3_check_precision(settings->precision, error) : status;
}

static tmb_status find(const tmb_engine_settings *settings, char **folder, bool *absent, tmb_error *error) {
    tmb_model_state state = TMB_MODEL_ABSENT;
    tmb_status status = tmb_models_find_checkpoint(settings->model, &state, folder, error);
    *absent = status == TMB_ERROR_MODEL && state == TMB_MODEL_ABSENT;
    return status;
}

static tmb_status check_language(const char *folder, const char *language, tmb_error *error) {
    return folder != NULL ? tmb_qwen3_check_language(folder, language, error)
                          : tmb_fail_field(error, TMB_ERROR_ARGUMENT, "language",
                                           "language \"%.40s\" is not known; known are " TMB_LANGUAGES, language);
}

static tmb_qwen3_options options_of(const tmb_engine_settings *settings, const char *folder) {
    tmb_qwen3_options options;
    tmb_qwen3_options_default(&options);
    options.model = folder;
    options.precision = settings->precision;
    options.threads = settings->threads;
    options.max_sequences = settings->max_batch;
    options.device = tmb_engine_option_get(settings, "qwen3", "device");
    options.gpu_memory = settings->device_memory;
    options.without_gpu = settings->without_device;
    options.logger = settings->logger;
    return options;
}

static tmb_status estimate(const tmb_engine_settings *settings, const char *folder, uint64_t *bytes, tmb_error *error) {
    const tmb_qwen3_options options = options_of(settings, folder);
    uint64_t device = 0;
    return tmb_qwen3_model_bytes(&options, bytes, &device, error);
}

static tmb_status estimate_device(const tmb_engine_settings *settings, const char *folder, uint64_t *bytes,
                                  tmb_error *error) {
    const tmb_qwen3_options options = options_of(settings, folder);
    uint64_t host = 0;
    return tmb_qwen3_model_bytes(&options, &host, bytes, error);
}

static tmb_status hold_device(const tmb_engine_settings *settings, void **out, tmb_error *error) {
    tmb_qwen3_device device;
    tmb_gpu *held = NULL;
    tmb_status status = tmb_qwen3_parse_device(tmb_engine_option_get(settings, "qwen3", "device"), &device, error);
    status = status == TMB_OK ? tmb_qwen3_device_hold(&device, &held, error) : status;
    *out = held;
    return status;
}

static tmb_status device_room(void *held, uint64_t *bytes, tmb_error *error) {
    return tmb_qwen3_device_room(held, bytes, error);
}

static void release_device(void *held) {
    tmb_gpu *gpu = held;
    tmb_gpu_close(&gpu);
}

static tmb_status create(const tmb_engine_settings *settings, const char *folder, tmb_engine **out, tmb_error *error) {
    if (strcmp(settings->name, "auto") == 0 && settings->logger != NULL) {
        tmb_log(settings->logger, TMB_LOG_INFO, "engine auto: qwen3");
    }
    const tmb_qwen3_options options = options_of(settings, folder);
    return tmb_qwen3_engine_create(&options, out, error);
}

const tmb_engine_kind tmb_qwen3_kind = {
    .name = "qwen3",
    .summary = "Qwen3-TTS-12Hz on this machine",
    .clones_voice = true,
    .automatic = true,
    .check = check,
    .find = find,
    .check_language = check_language,
    .describe = tmb_qwen3_describe,
    .has_speaker = tmb_qwen3_has_speaker,
    .model_label = tmb_qwen3_model_label,
    .estimate = estimate,
    .estimate_device = estimate_device,
    .hold_device = hold_device,
    .device_room = device_room,
    .release_device = release_device,
    .create = create,
};
