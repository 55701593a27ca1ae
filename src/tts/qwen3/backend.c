#include "tts/qwen3/backend.h"

#include <string.h>

static const tmb_qwen3_backend *const backends[] = {&tmb_qwen3_cpu_backend, &tmb_qwen3_cuda_backend, NULL};

const tmb_qwen3_backend *const *tmb_qwen3_backends(void) { return backends; }

const tmb_qwen3_backend *tmb_qwen3_backend_find(const char *name) {
    for (size_t i = 0; backends[i] != NULL; i++) {
        if (strcmp(backends[i]->name, name) == 0) {
            return backends[i];
        }
    }
    return NULL;
}
