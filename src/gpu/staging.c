#include "gpu/staging.h"

#include "base/sizes.h"
#include "gpu/gpu.h"

#include <string.h>

_Static_assert((size_t)TMB_STAGING_PARTS *TMB_STAGING_PART_BYTES == TMB_GPU_STREAM_BYTES, "what gpu.h says of it");

/* CU_EVENT_DISABLE_TIMING; bytes that each copy begins at a multiple of. */
enum { EVENT_DISABLE_TIMING = 2, APART = 64 };

tmb_cuda_result tmb_staging_open(const tmb_cuda *cuda, tmb_staging *staging) {
    tmb_cuda_result result = cuda->host_allocate(&staging->memory, (size_t)TMB_STAGING_PARTS * TMB_STAGING_PART_BYTES);
    for (size_t i = 0; i < TMB_STAGING_PARTS && result == TMB_CUDA_SUCCESS; i++) {
        result = cuda->event_create(&staging->events[i], EVENT_DISABLE_TIMING);
    }
    return result;
}

void tmb_staging_close(const tmb_cuda *cuda, tmb_staging *staging) {
    for (size_t i = 0; i < TMB_STAGING_PARTS; i++) {
        if (staging->events[i] != NULL) {
            (void)cuda->event_destroy(staging->events[i]);
        }
    }
    if (staging->memory != NULL) {
        (void)cuda->host_free(staging->memory);
    }
    *staging = (tmb_staging){0};
}

/* The next part, once the copies out of it are done. */
static tmb_cuda_result turn(const tmb_cuda *cuda, tmb_staging *staging, void *stream) {
    size_t next = (staging->part + 1) % TMB_STAGING_PARTS;
    tmb_cuda_result result = cuda->event_record(staging->events[staging->part], stream);
    if (result == TMB_CUDA_SUCCESS) {
        staging->awaited[staging->part] = true;
        result = staging->awaited[next] ? cuda->event_synchronize(staging->events[next]) : TMB_CUDA_SUCCESS;
    }
    if (result == TMB_CUDA_SUCCESS) {
        staging->awaited[next] = false;
        staging->part = next;
        staging->used = 0;
    }
    return result;
}

tmb_cuda_result tmb_staging_upload(const tmb_cuda *cuda, tmb_staging *staging, void *stream, uint64_t to,
                                   const void *from, size_t bytes) {
    const uint8_t *rest = from;
    tmb_cuda_result result = TMB_CUDA_SUCCESS;
    while (bytes > 0 && result == TMB_CUDA_SUCCESS) {
        if (staging->used == TMB_STAGING_PART_BYTES) {
            result = turn(cuda, staging, stream);
            continue;
        }
        uint8_t *at = (uint8_t *)staging->memory + staging->part * TMB_STAGING_PART_BYTES + staging->used;
        size_t room = TMB_STAGING_PART_BYTES - staging->used, here = bytes < room ? bytes : room;
        memcpy(at, rest, here);
        result = cuda->copy_up(to, at, here, stream);
        staging->used += tmb_round_up(here, APART);
        rest += here;
        to += here;
        bytes -= here;
    }
    return result;
}
