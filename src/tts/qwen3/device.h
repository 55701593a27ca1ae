/* What computes the networks, as users name it. */
#ifndef TMB_TTS_QWEN3_DEVICE_H
#define TMB_TTS_QWEN3_DEVICE_H

#include "timbre/timbre.h"

typedef struct tmb_qwen3_device {
    const char *backend; /* "cpu" or "cuda" */
    int index;           /* which GPU */
    bool automatic;      /* the CPU takes what the GPU cannot */
} tmb_qwen3_device;

/* "cpu", "cuda", "cuda:N" or "auto" (the first GPU if it can be used, otherwise the CPU); NULL: what TIMBRE_DEVICE
 * says, and "cpu" if it says nothing. TMB_ERROR_ARGUMENT for any other word. Looks for no device. */
tmb_status tmb_qwen3_parse_device(const char *text, tmb_qwen3_device *out, tmb_error *error);

/* What there is of its memory for this process, in use or free; 0: it is no GPU, or none that can be used. */
uint64_t tmb_qwen3_device_room(const tmb_qwen3_device *device);

#endif
