/* What computes the networks, as users name it. */
#ifndef TMB_TTS_QWEN3_DEVICE_H
#define TMB_TTS_QWEN3_DEVICE_H

#include "gpu/gpu.h"

typedef struct tmb_qwen3_device {
    const char *backend; /* "cpu" or "cuda" */
    int index;           /* which GPU */
    bool automatic;      /* the CPU takes what the GPU cannot */
} tmb_qwen3_device;

/* "cpu", "cuda", "cuda:N" or "auto" (the first GPU if it can be used, otherwise the CPU); NULL: what TIMBRE_DEVICE
 * says, and "cpu" if it says nothing. TMB_ERROR_ARGUMENT for any other word. Looks for no device. */
tmb_status tmb_qwen3_parse_device(const char *text, tmb_qwen3_device *out, tmb_error *error);

/* Takes hold of a GPU, so that it need not be made ready again while a model is looked at and loaded; NULL if the
 * networks are the CPU's. tmb_gpu_close lets go of it. Errors as tmb_gpu_open. */
tmb_status tmb_qwen3_device_hold(const tmb_qwen3_device *device, tmb_gpu **out, tmb_error *error);
/* What there is of its memory for this process, in use or free. */
tmb_status tmb_qwen3_device_room(tmb_gpu *held, uint64_t *bytes, tmb_error *error);

#endif
