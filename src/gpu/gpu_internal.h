/* What the files of a GPU share: context.c (devices and their contexts), gpu.c (all that is done in one). */
#ifndef TMB_GPU_GPU_INTERNAL_H
#define TMB_GPU_GPU_INTERNAL_H

#include "gpu/gpu.h"

#include <pthread.h>
#include <stdatomic.h>

/* A device's context with the kernels, for every tmb_gpu of that device. Once it is made it changes no more, except
 * that it can be lost. */
typedef struct tmb_gpu_context {
    const tmb_cuda *cuda;
    tmb_gpu_description description;
    size_t users; /* under the devices' lock */
    void *handle, *module;
    void *functions[TMB_GPU_KERNEL_COUNT];
    bool dependent;            /* kernels of a graph may begin before the ones ahead of them have ended */
    pthread_mutex_t loss_lock; /* of who sets what follows */
    atomic_bool lost;
    tmb_error loss; /* once it is lost, unchanging */
} tmb_gpu_context;

struct tmb_gpu {
    const tmb_cuda *cuda;
    tmb_gpu_context *context;
    tmb_gpu_description description; /* with the memory as it was last asked for */
    tmb_slabs slabs;
};

/* By the number of a kernel. */
extern const char *const tmb_gpu_kernel_names[TMB_GPU_KERNEL_COUNT];

/* What a call came to. A result that loses the context is kept: from then on every call comes to it. */
tmb_status tmb_gpu_result(tmb_gpu_context *context, tmb_cuda_result result, const char *call, tmb_error *error);

/* The slabs held `before` bytes: counts for the device what they hold more, or less. */
void tmb_gpu_hold(const tmb_gpu *gpu, size_t before);

#endif
