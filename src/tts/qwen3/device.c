#include "tts/qwen3/device.h"

#include "base/error.h"
#include "gpu/gpu.h"

#include <stdlib.h>
#include <string.h>

#define MOST_DEVICES 64

tmb_status tmb_qwen3_parse_device(const char *text, tmb_qwen3_device *out, tmb_error *error) {
    const char *named = getenv("TIMBRE_DEVICE");
    const char *word = text != NULL && text[0] != 0 ? text : named != NULL && named[0] != 0 ? named : "cpu";
    *out = (tmb_qwen3_device){.backend = "cpu"};
    if (strcmp(word, "cpu") == 0) {
        return TMB_OK;
    }
    out->backend = "cuda";
    if (strcmp(word, "auto") == 0) {
        out->automatic = true;
        return TMB_OK;
    }
    if (strncmp(word, "cuda", 4) == 0) {
        char *end = NULL;
        long index = word[4] == ':' && word[5] >= '0' && word[5] <= '9' ? strtol(word + 5, &end, 10) : -1;
        if (word[4] == 0 || (end != NULL && *end == 0 && index < MOST_DEVICES)) {
            out->index = word[4] == 0 ? 0 : (int)index;
            return TMB_OK;
        }
    }
    return tmb_fail(error, TMB_ERROR_ARGUMENT, "there is no device \"%.40s\": auto, cpu, cuda or cuda:N", word);
}

tmb_status tmb_qwen3_device_hold(const tmb_qwen3_device *device, tmb_gpu **out, tmb_error *error) {
    *out = NULL;
    return strcmp(device->backend, "cuda") == 0 ? tmb_gpu_open(device->index, out, error) : TMB_OK;
}

tmb_status tmb_qwen3_device_room(tmb_gpu *held, uint64_t *bytes, tmb_error *error) {
    tmb_status status = tmb_gpu_enter(held, error);
    status = status == TMB_OK ? tmb_gpu_room(held, bytes, error) : status;
    tmb_gpu_leave(held);
    return status;
}
