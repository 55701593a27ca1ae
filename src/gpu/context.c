/* Devices and their contexts. A device has one context in a process, which all that is computed there shares: making
 * one takes tenths of a second and half a gigabyte, two take turns on the device, and some machines allow no second.
 * It is made for the first tmb_gpu and goes with the last one. One that was lost stays for those who hold it, until
 * each has let go of it; whoever comes meanwhile gets a new one. */
#include "gpu/gpu_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "gpu/kernels/ptx.h"

#include <stdlib.h>
#include <string.h>

enum { CONTEXT_AUTO = 0 }; /* CU_CTX_SCHED_AUTO */

/* Architectures that the PTX runs on: sm_80 and later. */
#define CAPABILITY_MIN 80
/* The other text's: sm_90, and CUDA 12.3, which has such edges in graphs. */
#define DEPENDENT_CAPABILITY_MIN 90
#define DEPENDENT_VERSION_MIN 12030

static struct {
    pthread_mutex_t lock; /* also while a context is made, so that there is one */
    tmb_gpu_context *contexts[TMB_GPU_MOST];
    atomic_uint_fast64_t held[TMB_GPU_MOST]; /* bytes; without the lock */
} devices = {.lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_uint_fast64_t losses;

uint64_t tmb_gpu_losses(void) { return atomic_load(&losses); }

uint64_t tmb_gpu_held(int index) { return index >= 0 && index < TMB_GPU_MOST ? atomic_load(&devices.held[index]) : 0; }

void tmb_gpu_hold(const tmb_gpu *gpu, size_t before) {
    /* Unsigned numbers: less is counted as well as more. */
    (void)atomic_fetch_add(&devices.held[gpu->description.index], (uint64_t)gpu->slabs.held - (uint64_t)before);
}

void tmb_gpu_also_holds(const tmb_gpu *gpu, int64_t bytes) {
    (void)atomic_fetch_add(&devices.held[gpu->description.index], (uint64_t)bytes);
}

tmb_status tmb_gpu_result(tmb_gpu_context *context, tmb_cuda_result result, const char *call, tmb_error *error) {
    if (!atomic_load(&context->lost) && !tmb_cuda_loses_context(result)) {
        return tmb_cuda_check(result, call, error);
    }
    (void)pthread_mutex_lock(&context->loss_lock);
    if (!atomic_load(&context->lost)) {
        (void)atomic_fetch_add(&losses, 1);
        (void)tmb_cuda_check(result, call, &context->loss);
        atomic_store(&context->lost, true);
    }
    (void)pthread_mutex_unlock(&context->loss_lock);
    if (error != NULL) {
        *error = context->loss;
    }
    return context->loss.status;
}

/* ---- Devices ---------------------------------------------------------------------------------- */

static tmb_status describe(const tmb_cuda *cuda, int index, int *device, tmb_gpu_description *out, tmb_error *error) {
    int count = 0;
    *out = (tmb_gpu_description){.index = index, .driver = cuda->version};
    tmb_status status = tmb_cuda_check(cuda->device_count(&count), "cuDeviceGetCount", error);
    count = count < TMB_GPU_MOST ? count : TMB_GPU_MOST;
    if (status == TMB_OK && (index < 0 || index >= count)) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "there is no GPU %d: the driver has %d", index, count);
    }
    int major = 0, minor = 0;
    if (status != TMB_OK ||
        (status = tmb_cuda_check(cuda->device_get(device, index), "cuDeviceGet", error)) != TMB_OK ||
        (status = tmb_cuda_check(cuda->device_name(out->name, sizeof out->name, *device), "cuDeviceGetName", error)) !=
            TMB_OK ||
        (status = tmb_cuda_check(cuda->device_attribute(&major, TMB_CUDA_CAPABILITY_MAJOR, *device),
                                 "cuDeviceGetAttribute", error)) != TMB_OK ||
        (status = tmb_cuda_check(cuda->device_attribute(&minor, TMB_CUDA_CAPABILITY_MINOR, *device),
                                 "cuDeviceGetAttribute", error)) != TMB_OK) {
        return status;
    }
    out->name[sizeof out->name - 1] = '\0';
    out->capability = 10 * major + minor;
    if (out->capability < CAPABILITY_MIN) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED,
                        "GPU %d (%s) is of the architecture %d.%d; at least %d.%d is needed", index, out->name, major,
                        minor, CAPABILITY_MIN / 10, CAPABILITY_MIN % 10);
    }
    if (tmb_gpu_ptx[0] == '\0') {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED,
                        "this build has no kernels for GPUs: Clang was not there when it was built");
    }
    return TMB_OK;
}

tmb_status tmb_gpu_check(int index, tmb_gpu_description *out, tmb_error *error) {
    tmb_gpu_description description = {.index = index};
    const tmb_cuda *cuda = NULL;
    int device = 0;
    tmb_status status = tmb_cuda_load(&cuda, error);
    if (status == TMB_OK) {
        status = describe(cuda, index, &device, &description, error);
    }
    if (out != NULL) {
        *out = description;
    }
    return status;
}

/* ---- Kernels ---------------------------------------------------------------------------------- */

/* A driver that refuses the kernels has not lost anything. */
static tmb_status refused(tmb_cuda_result result, tmb_error *error) {
    const char *name = tmb_cuda_result_name(result);
    switch (result) {
    case TMB_CUDA_UNSUPPORTED_PTX:
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "the NVIDIA driver is too old for the kernels: %s", name);
    case TMB_CUDA_NO_JIT_COMPILER:
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED,
                        "the NVIDIA driver finds no compiler for the kernels (libnvidia-ptxjitcompiler.so.1): %s",
                        name);
    case TMB_CUDA_JIT_DISABLED:
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED,
                        "the NVIDIA driver may not compile the kernels (CUDA_DISABLE_PTX_JIT): %s", name);
    default: return tmb_cuda_check(result, "cuModuleLoadData", error);
    }
}

static tmb_status load_module(tmb_gpu_context *context, const char *text, tmb_error *error) {
    tmb_cuda_result result = context->cuda->module_load(&context->module, text);
    if (result != TMB_CUDA_SUCCESS) {
        context->module = NULL;
        return refused(result, error);
    }
    tmb_status status = TMB_OK;
    for (size_t i = 0; i < TMB_GPU_KERNEL_COUNT && status == TMB_OK; i++) {
        status = tmb_cuda_check(
            context->cuda->module_function(&context->functions[i], context->module, tmb_gpu_kernel_names[i]),
            "cuModuleGetFunction", error);
    }
    return status;
}

static bool may_depend(const tmb_gpu_context *context) {
    const char *text = getenv("TIMBRE_CUDA_PTX");
    return context->cuda->graph_edges != NULL && context->cuda->version >= DEPENDENT_VERSION_MIN &&
           context->description.capability >= DEPENDENT_CAPABILITY_MIN && (text == NULL || strcmp(text, "7.0") != 0);
}

/* Whether the driver makes a graph of two kernels, the second of which waits for the first itself. It is not run. */
static bool depends(tmb_gpu_context *context) {
    const tmb_norm_rows_arguments arguments = {0};
    const tmb_gpu_grid grid = {1, 1, 1, 64};
    tmb_gpu gpu = {.cuda = context->cuda, .context = context};
    tmb_gpu_graph *graph = NULL;
    tmb_gpu_recorder recorder = tmb_gpu_recording(&gpu);
    tmb_gpu_kernel(&recorder, TMB_KERNEL_tmb_norm_rows, grid, &arguments);
    tmb_gpu_kernel(&recorder, TMB_KERNEL_tmb_norm_rows, grid, &arguments);
    bool works = tmb_gpu_recorder_end(&recorder, &graph, NULL) == TMB_OK;
    tmb_gpu_graph_destroy(&gpu, &graph);
    return works;
}

/* The text with dependent launch if everything takes it, otherwise the one that every GPU runs. */
static tmb_status load_kernels(tmb_gpu_context *context, tmb_error *error) {
    context->dependent = may_depend(context);
    if (context->dependent && load_module(context, tmb_gpu_ptx_dependent, NULL) == TMB_OK && depends(context)) {
        return TMB_OK;
    }
    context->dependent = false;
    if (context->module != NULL) {
        (void)context->cuda->module_unload(context->module);
        context->module = NULL;
    }
    return load_module(context, tmb_gpu_ptx, error);
}

/* ---- Contexts --------------------------------------------------------------------------------- */

/* On a thread, until leave(): whoever calls may have a context of another library's there, and finds it again. */
static tmb_cuda_result enter(const tmb_gpu_context *context) { return context->cuda->context_push(context->handle); }

static void leave(const tmb_gpu_context *context) {
    void *current = NULL;
    if (context->cuda->context_current(&current) == TMB_CUDA_SUCCESS && current == context->handle) {
        (void)context->cuda->context_pop(&current);
    }
}

static void destroy_context(tmb_gpu_context *context) {
    if (context->handle != NULL) {
        if (context->module != NULL) {
            (void)enter(context);
            (void)context->cuda->module_unload(context->module);
            leave(context);
        }
        (void)context->cuda->context_destroy(context->handle);
    }
    (void)pthread_mutex_destroy(&context->loss_lock);
    free(context);
}

static tmb_status create_context(int index, tmb_gpu_context **out, tmb_error *error) {
    const tmb_cuda *cuda = NULL;
    int device = 0;
    tmb_gpu_description description;
    *out = NULL;
    tmb_status status = tmb_cuda_load(&cuda, error);
    if (status != TMB_OK || (status = describe(cuda, index, &device, &description, error)) != TMB_OK) {
        return status;
    }
    tmb_gpu_context *context = tmb_calloc(1, sizeof *context);
    if (context == NULL) {
        return tmb_fail_memory(error, "a GPU's context", sizeof *context);
    }
    (void)pthread_mutex_init(&context->loss_lock, NULL);
    context->cuda = cuda;
    context->description = description;
    status = tmb_cuda_check(cuda->context_create(&context->handle, CONTEXT_AUTO, device), "cuCtxCreate", error);
    if (status == TMB_OK) { /* which leaves it on the thread */
        status = load_kernels(context, error);
        leave(context);
    } else {
        context->handle = NULL;
    }
    if (status != TMB_OK) {
        destroy_context(context);
        return status;
    }
    *out = context;
    return TMB_OK;
}

/* The device's context, with one more user. */
static tmb_status share_context(int index, tmb_gpu_context **out, tmb_error *error) {
    bool is_one = index >= 0 && index < TMB_GPU_MOST;
    tmb_gpu_context *context = NULL;
    tmb_status status = TMB_OK;
    (void)pthread_mutex_lock(&devices.lock);
    context = is_one ? devices.contexts[index] : NULL;
    if (context == NULL || atomic_load(&context->lost)) {
        status = create_context(index, &context, error);
    }
    if (status == TMB_OK) {
        context->users++;
        devices.contexts[context->description.index] = context;
    }
    (void)pthread_mutex_unlock(&devices.lock);
    *out = context;
    return status;
}

static void let_go(tmb_gpu_context *context) {
    tmb_gpu_context **known = &devices.contexts[context->description.index];
    (void)pthread_mutex_lock(&devices.lock);
    if (--context->users == 0) {
        *known = *known == context ? NULL : *known;
        destroy_context(context);
    }
    (void)pthread_mutex_unlock(&devices.lock);
}

/* ---- What is done in one ---------------------------------------------------------------------- */

/* With the device current on this thread. */
static tmb_status read_memory(tmb_gpu *gpu, tmb_error *error) {
    size_t free_bytes = 0, total_bytes = 0;
    tmb_status status =
        tmb_gpu_result(gpu->context, gpu->cuda->memory_info(&free_bytes, &total_bytes), "cuMemGetInfo", error);
    gpu->description.free_bytes = free_bytes;
    gpu->description.total_bytes = total_bytes;
    return status;
}

static tmb_status open_once(int index, tmb_gpu **out, bool *is_lost, tmb_error *error) {
    *out = NULL;
    *is_lost = false;
    tmb_gpu_context *context = NULL;
    tmb_status status = share_context(index, &context, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_gpu *gpu = tmb_calloc(1, sizeof *gpu);
    if (gpu == NULL) {
        let_go(context);
        return tmb_fail_memory(error, "a GPU", sizeof *gpu);
    }
    *gpu = (tmb_gpu){.cuda = context->cuda,
                     .context = context,
                     .description = context->description,
                     .slabs = {.cuda = context->cuda}};
    status = tmb_gpu_enter(gpu, error);
    status = status == TMB_OK ? read_memory(gpu, error) : status;
    tmb_gpu_leave(gpu);
    if (status != TMB_OK) {
        *is_lost = tmb_gpu_lost(gpu, NULL);
        tmb_gpu_close(&gpu);
        return status;
    }
    *out = gpu;
    return TMB_OK;
}

tmb_status tmb_gpu_open(int index, tmb_gpu **out, tmb_error *error) {
    bool is_lost = false;
    tmb_status status = open_once(index, out, &is_lost, error);
    if (is_lost) { /* which nobody had noticed before; by now there is a new one to be had */
        status = open_once(index, out, &is_lost, error);
    }
    return status;
}

void tmb_gpu_close(tmb_gpu **gpu_address) {
    tmb_gpu *gpu = *gpu_address;
    *gpu_address = NULL;
    if (gpu == NULL) {
        return;
    }
    const size_t before = gpu->slabs.held;
    (void)enter(gpu->context);
    tmb_slabs_clear(&gpu->slabs);
    leave(gpu->context);
    tmb_gpu_hold(gpu, before);
    let_go(gpu->context);
    free(gpu);
}

tmb_status tmb_gpu_enter(tmb_gpu *gpu, tmb_error *error) {
    return tmb_gpu_result(gpu->context, enter(gpu->context), "cuCtxPushCurrent", error);
}

void tmb_gpu_leave(const tmb_gpu *gpu) { leave(gpu->context); }

tmb_status tmb_gpu_room(tmb_gpu *gpu, uint64_t *bytes, tmb_error *error) {
    tmb_status status = read_memory(gpu, error);
    *bytes = status == TMB_OK ? gpu->description.free_bytes + tmb_gpu_held(gpu->description.index) : 0;
    return status;
}

bool tmb_gpu_lost(const tmb_gpu *gpu, tmb_error *error) {
    bool is_lost = atomic_load(&gpu->context->lost);
    if (is_lost && error != NULL) {
        *error = gpu->context->loss;
    }
    return is_lost;
}
