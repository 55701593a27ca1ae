#include "gpu/gpu.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "gpu/kernels/ptx.h"
#include "gpu/slabs.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* CU_STREAM_NON_BLOCKING, CU_EVENT_DISABLE_TIMING, CU_CTX_SCHED_AUTO */
enum { STREAM_NON_BLOCKING = 1, EVENT_DISABLE_TIMING = 2, CONTEXT_AUTO = 0 };

/* Architectures that the PTX runs on: sm_80 and later. */
#define CAPABILITY_MIN 80
/* The other text's: sm_90, and CUDA 12.3, which has such edges in graphs. */
#define DEPENDENT_CAPABILITY_MIN 90
#define DEPENDENT_VERSION_MIN 12030

struct tmb_gpu {
    const tmb_cuda *cuda;
    tmb_gpu_description description;
    void *context, *module;
    void *functions[TMB_GPU_KERNEL_COUNT];
    tmb_slabs slabs;
    bool dependent;            /* kernels of a graph may begin before the ones ahead of them have ended */
    pthread_mutex_t loss_lock; /* of who sets what follows */
    atomic_bool lost;
    tmb_error loss; /* once it is lost, unchanging */
};

struct tmb_gpu_graph {
    void *executable;
    size_t kernels;
};

static const char *const kernel_names[] = {
#define NAME(name) #name,
    TMB_GPU_KERNELS(NAME)
#undef NAME
};

static atomic_uint_fast64_t losses, held;

uint64_t tmb_gpu_losses(void) { return atomic_load(&losses); }
uint64_t tmb_gpu_held(void) { return atomic_load(&held); }

/* What a call came to; a sticky error is kept. */
static tmb_status check(tmb_gpu *gpu, tmb_cuda_result result, const char *call, tmb_error *error) {
    if (!atomic_load(&gpu->lost) && !tmb_cuda_is_sticky(result)) {
        return tmb_cuda_check(result, call, error);
    }
    (void)pthread_mutex_lock(&gpu->loss_lock);
    if (!atomic_load(&gpu->lost)) {
        (void)atomic_fetch_add(&losses, 1);
        (void)tmb_cuda_check(result, call, &gpu->loss);
        atomic_store(&gpu->lost, true);
    }
    (void)pthread_mutex_unlock(&gpu->loss_lock);
    if (error != NULL) {
        *error = gpu->loss;
    }
    return gpu->loss.status;
}

/* ---- Devices ---------------------------------------------------------------------------------- */

static tmb_status describe(const tmb_cuda *cuda, int index, int *device, tmb_gpu_description *out, tmb_error *error) {
    int count = 0;
    *out = (tmb_gpu_description){.index = index, .driver = cuda->version};
    tmb_status status = tmb_cuda_check(cuda->device_count(&count), "cuDeviceGetCount", error);
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

static tmb_status read_memory(tmb_gpu *gpu, tmb_error *error) {
    size_t free_bytes = 0, total_bytes = 0;
    tmb_status status = check(gpu, gpu->cuda->memory_info(&free_bytes, &total_bytes), "cuMemGetInfo", error);
    gpu->description.free_bytes = free_bytes;
    gpu->description.total_bytes = total_bytes;
    return status;
}

static tmb_status load_module(tmb_gpu *gpu, const char *text, tmb_error *error) {
    tmb_cuda_result result = gpu->cuda->module_load(&gpu->module, text);
    if (result == TMB_CUDA_UNSUPPORTED_PTX) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "the NVIDIA driver is too old for the kernels: %s",
                        tmb_cuda_result_name(result));
    }
    tmb_status status = check(gpu, result, "cuModuleLoadData", error);
    for (size_t i = 0; i < TMB_GPU_KERNEL_COUNT && status == TMB_OK; i++) {
        status = check(gpu, gpu->cuda->module_function(&gpu->functions[i], gpu->module, kernel_names[i]),
                       "cuModuleGetFunction", error);
    }
    return status;
}

static bool may_depend(const tmb_gpu *gpu) {
    const char *text = getenv("TIMBRE_CUDA_PTX");
    return gpu->cuda->graph_edges != NULL && gpu->cuda->version >= DEPENDENT_VERSION_MIN &&
           gpu->description.capability >= DEPENDENT_CAPABILITY_MIN && (text == NULL || strcmp(text, "7.0") != 0);
}

/* Whether the driver makes a graph of two kernels, the second of which waits for the first itself. It is not run. */
static bool depends(tmb_gpu *gpu) {
    const tmb_norm_rows_arguments arguments = {0};
    const tmb_gpu_grid grid = {1, 1, 1, 64};
    tmb_gpu_graph *graph = NULL;
    tmb_gpu_recorder recorder = tmb_gpu_recording(gpu);
    tmb_gpu_kernel(&recorder, TMB_KERNEL_tmb_norm_rows, grid, &arguments);
    tmb_gpu_kernel(&recorder, TMB_KERNEL_tmb_norm_rows, grid, &arguments);
    bool works = tmb_gpu_recorder_end(&recorder, &graph, NULL) == TMB_OK;
    tmb_gpu_graph_destroy(gpu, &graph);
    return works;
}

/* The text with dependent launch if everything takes it, otherwise the one that every GPU runs. */
static tmb_status load_kernels(tmb_gpu *gpu, tmb_error *error) {
    gpu->dependent = may_depend(gpu);
    if (gpu->dependent && load_module(gpu, tmb_gpu_ptx_dependent, NULL) == TMB_OK && depends(gpu)) {
        return TMB_OK;
    }
    gpu->dependent = false;
    if (gpu->module != NULL) {
        (void)gpu->cuda->module_unload(gpu->module);
        gpu->module = NULL;
    }
    return load_module(gpu, tmb_gpu_ptx, error);
}

tmb_status tmb_gpu_open(int index, tmb_gpu **out, tmb_error *error) {
    *out = NULL;
    const tmb_cuda *cuda = NULL;
    int device = 0;
    tmb_gpu_description description;
    tmb_status status = tmb_cuda_load(&cuda, error);
    if (status != TMB_OK || (status = describe(cuda, index, &device, &description, error)) != TMB_OK) {
        return status;
    }
    tmb_gpu *gpu = tmb_calloc(1, sizeof *gpu);
    if (gpu == NULL) {
        return tmb_fail_memory(error, "a GPU", sizeof *gpu);
    }
    (void)pthread_mutex_init(&gpu->loss_lock, NULL);
    gpu->cuda = cuda;
    gpu->slabs.cuda = cuda;
    gpu->description = description;
    status = check(gpu, cuda->context_create(&gpu->context, CONTEXT_AUTO, device), "cuCtxCreate", error);
    if (status == TMB_OK) {
        status = load_kernels(gpu, error);
    }
    if (status == TMB_OK) {
        status = read_memory(gpu, error);
    }
    if (status != TMB_OK) {
        tmb_gpu_close(&gpu);
        return status;
    }
    *out = gpu;
    return TMB_OK;
}

void tmb_gpu_close(tmb_gpu **gpu_address) {
    tmb_gpu *gpu = *gpu_address;
    *gpu_address = NULL;
    if (gpu == NULL) {
        return;
    }
    if (gpu->context != NULL) {
        (void)gpu->cuda->context_set(gpu->context);
        (void)atomic_fetch_sub(&held, gpu->slabs.held);
        tmb_slabs_clear(&gpu->slabs);
        if (gpu->module != NULL) {
            (void)gpu->cuda->module_unload(gpu->module);
        }
        (void)gpu->cuda->context_destroy(gpu->context);
    }
    (void)pthread_mutex_destroy(&gpu->loss_lock);
    free(gpu);
}

tmb_status tmb_gpu_check(int index, tmb_gpu_description *out, tmb_error *error) {
    tmb_gpu_description description = {.index = index};
    const tmb_cuda *cuda = NULL;
    int device = 0;
    tmb_status status = tmb_cuda_load(&cuda, error);
    if (status == TMB_OK) {
        status = describe(cuda, index, &device, &description, error);
    }
    void *context = NULL;
    if (status == TMB_OK) {
        status = tmb_cuda_check(cuda->context_create(&context, CONTEXT_AUTO, device), "cuCtxCreate", error);
    }
    if (status == TMB_OK) {
        size_t free_bytes = 0, total_bytes = 0;
        status = tmb_cuda_check(cuda->memory_info(&free_bytes, &total_bytes), "cuMemGetInfo", error);
        description.free_bytes = free_bytes;
        description.total_bytes = total_bytes;
        (void)cuda->context_destroy(context);
    }
    if (out != NULL) {
        *out = description;
    }
    return status;
}

tmb_status tmb_gpu_enter(tmb_gpu *gpu, tmb_error *error) {
    return check(gpu, gpu->cuda->context_set(gpu->context), "cuCtxSetCurrent", error);
}

tmb_status tmb_gpu_room(tmb_gpu *gpu, uint64_t *bytes, tmb_error *error) {
    tmb_status status = read_memory(gpu, error);
    *bytes = status == TMB_OK ? gpu->description.free_bytes + tmb_gpu_held() : 0;
    return status;
}

bool tmb_gpu_lost(const tmb_gpu *gpu, tmb_error *error) {
    bool is_lost = atomic_load(&gpu->lost);
    if (is_lost && error != NULL) {
        *error = gpu->loss;
    }
    return is_lost;
}

const tmb_gpu_description *tmb_gpu_describe(const tmb_gpu *gpu) { return &gpu->description; }
size_t tmb_gpu_allocated(const tmb_gpu *gpu) { return gpu->slabs.given; }

/* ---- Memory ----------------------------------------------------------------------------------- */

size_t tmb_gpu_rounded(size_t bytes) { return tmb_slabs_rounded(bytes); }
void tmb_gpu_use_units(tmb_gpu *gpu, const tmb_gpu_units *units) { gpu->slabs.units = *units; }
size_t tmb_gpu_slack(const tmb_gpu *gpu) { return gpu->slabs.units.slab; }
size_t tmb_gpu_counted(const tmb_gpu *gpu, size_t bytes) { return tmb_slabs_counted(&gpu->slabs.units, bytes); }

/* What the slabs gave for `bytes`, which held `before`. */
static tmb_status note(tmb_gpu *gpu, tmb_cuda_result result, size_t before, size_t bytes, const char *what,
                       tmb_error *error) {
    (void)atomic_fetch_add(&held, gpu->slabs.held - before);
    if (result == TMB_CUDA_OUT_OF_MEMORY && !gpu->lost) {
        return tmb_fail(error, TMB_ERROR_MEMORY, "the GPU has no %.1f MB left for %s", (double)bytes / 1e6, what);
    }
    return check(gpu, result, "cuMemAlloc", error);
}

tmb_status tmb_gpu_allocate(tmb_gpu *gpu, size_t bytes, const char *what, tmb_gpu_address *out, tmb_error *error) {
    size_t before = gpu->slabs.held;
    return note(gpu, tmb_slabs_allocate(&gpu->slabs, bytes, out), before, bytes, what, error);
}

tmb_status tmb_gpu_take(tmb_gpu *gpu, size_t bytes, const char *what, tmb_gpu_address *out, tmb_error *error) {
    size_t before = gpu->slabs.held;
    return note(gpu, tmb_slabs_take(&gpu->slabs, bytes, out), before, bytes, what, error);
}

void tmb_gpu_free(tmb_gpu *gpu, tmb_gpu_address address) {
    size_t before = gpu->slabs.held;
    tmb_cuda_result result = TMB_CUDA_SUCCESS;
    if (address != 0) {
        (void)tmb_slabs_give_back(&gpu->slabs, address, &result);
        (void)atomic_fetch_sub(&held, before - gpu->slabs.held);
        (void)check(gpu, result, "cuMemFree", NULL);
    }
}

tmb_status tmb_gpu_allocate_pinned(tmb_gpu *gpu, size_t bytes, void **out, tmb_error *error) {
    *out = NULL;
    return check(gpu, gpu->cuda->host_allocate(out, bytes > 0 ? bytes : 1), "cuMemAllocHost", error);
}

void tmb_gpu_free_pinned(tmb_gpu *gpu, void *address) {
    if (address != NULL) {
        (void)gpu->cuda->host_free(address);
    }
}

/* ---- Streams and events ----------------------------------------------------------------------- */

/* The opaque types are the driver's handles. */
static void *handle(const void *opaque) {
    void *address = NULL;
    memcpy(&address, &opaque, sizeof address);
    return address;
}

tmb_status tmb_gpu_stream_create(tmb_gpu *gpu, bool background, tmb_gpu_stream **out, tmb_error *error) {
    void *stream = NULL;
    int least = 0, greatest = 0;
    tmb_status status =
        check(gpu, gpu->cuda->stream_priorities(&least, &greatest), "cuCtxGetStreamPriorityRange", error);
    if (status == TMB_OK) {
        status = check(gpu, gpu->cuda->stream_create(&stream, STREAM_NON_BLOCKING, background ? least : greatest),
                       "cuStreamCreateWithPriority", error);
    }
    *out = stream;
    return status;
}

void tmb_gpu_stream_destroy(tmb_gpu *gpu, tmb_gpu_stream **stream) {
    if (*stream != NULL) {
        (void)gpu->cuda->stream_destroy(handle(*stream));
        *stream = NULL;
    }
}

tmb_status tmb_gpu_synchronize(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_error *error) {
    return check(gpu, gpu->cuda->stream_synchronize(handle(stream)), "cuStreamSynchronize", error);
}

tmb_status tmb_gpu_event_create(tmb_gpu *gpu, tmb_gpu_event **out, tmb_error *error) {
    void *event = NULL;
    tmb_status status = check(gpu, gpu->cuda->event_create(&event, EVENT_DISABLE_TIMING), "cuEventCreate", error);
    *out = event;
    return status;
}

void tmb_gpu_event_destroy(tmb_gpu *gpu, tmb_gpu_event **event) {
    if (*event != NULL) {
        (void)gpu->cuda->event_destroy(handle(*event));
        *event = NULL;
    }
}

tmb_status tmb_gpu_record(tmb_gpu *gpu, tmb_gpu_event *event, tmb_gpu_stream *stream, tmb_error *error) {
    return check(gpu, gpu->cuda->event_record(handle(event), handle(stream)), "cuEventRecord", error);
}

tmb_status tmb_gpu_wait(tmb_gpu *gpu, tmb_gpu_event *event, tmb_error *error) {
    return check(gpu, gpu->cuda->event_synchronize(handle(event)), "cuEventSynchronize", error);
}

tmb_status tmb_gpu_query(tmb_gpu *gpu, tmb_gpu_event *event, bool *done, tmb_error *error) {
    tmb_cuda_result result = gpu->cuda->event_query(handle(event));
    *done = result != TMB_CUDA_NOT_READY;
    return *done ? check(gpu, result, "cuEventQuery", error) : TMB_OK;
}

tmb_status tmb_gpu_upload(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_gpu_address to, const void *from, size_t bytes,
                          tmb_error *error) {
    return bytes == 0 ? TMB_OK
                      : check(gpu, gpu->cuda->copy_up(to, from, bytes, handle(stream)), "cuMemcpyHtoDAsync", error);
}

tmb_status tmb_gpu_download(tmb_gpu *gpu, tmb_gpu_stream *stream, void *to, tmb_gpu_address from, size_t bytes,
                            tmb_error *error) {
    return check(gpu, gpu->cuda->copy_down(to, from, bytes, handle(stream)), "cuMemcpyDtoHAsync", error);
}

tmb_status tmb_gpu_copy(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_gpu_address to, tmb_gpu_address from, size_t bytes,
                        tmb_error *error) {
    return check(gpu, gpu->cuda->copy_across(to, from, bytes, handle(stream)), "cuMemcpyDtoDAsync", error);
}

tmb_status tmb_gpu_clear(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_gpu_address to, size_t bytes, tmb_error *error) {
    return check(gpu, gpu->cuda->fill(to, 0, bytes / 4, handle(stream)), "cuMemsetD32Async", error);
}

/* ---- Kernels ---------------------------------------------------------------------------------- */

tmb_gpu_recorder tmb_gpu_direct(tmb_gpu *gpu, tmb_gpu_stream *stream) {
    return (tmb_gpu_recorder){.gpu = gpu, .stream = handle(stream)};
}

tmb_gpu_recorder tmb_gpu_recording(tmb_gpu *gpu) {
    tmb_gpu_recorder recorder = {.gpu = gpu};
    recorder.status = check(gpu, gpu->cuda->graph_create(&recorder.graph, 0), "cuGraphCreate", &recorder.error);
    return recorder;
}

void tmb_gpu_kernel(tmb_gpu_recorder *recorder, int kernel, tmb_gpu_grid grid, const void *arguments) {
    tmb_gpu *gpu = recorder->gpu;
    void *parameters[] = {handle(arguments)};
    if (recorder->status != TMB_OK) {
        return;
    }
    recorder->count++;
    if (recorder->stream != NULL) {
        recorder->status = check(gpu,
                                 gpu->cuda->launch(gpu->functions[kernel], grid.x, grid.y, grid.z, grid.threads, 1, 1,
                                                   0, recorder->stream, parameters, NULL),
                                 kernel_names[kernel], &recorder->error);
        return;
    }
    const tmb_cuda_kernel_node node = {.function = gpu->functions[kernel],
                                       .grid = {grid.x, grid.y, grid.z},
                                       .block = {grid.threads, 1, 1},
                                       .parameters = parameters};
    void *before = recorder->last;
    bool depends_on = before != NULL && !gpu->dependent;
    recorder->status = check(gpu, gpu->cuda->graph_kernel(&recorder->last, recorder->graph, &before, depends_on, &node),
                             "cuGraphAddKernelNode", &recorder->error);
    if (recorder->status == TMB_OK && before != NULL && gpu->dependent) {
        const tmb_cuda_edge edge = TMB_CUDA_PROGRAMMATIC_EDGE;
        recorder->status = check(gpu, gpu->cuda->graph_edges(recorder->graph, &before, &recorder->last, &edge, 1),
                                 "cuGraphAddDependencies", &recorder->error);
    }
}

tmb_status tmb_gpu_recorder_end(tmb_gpu_recorder *recorder, tmb_gpu_graph **out, tmb_error *error) {
    tmb_gpu *gpu = recorder->gpu;
    if (out != NULL) {
        *out = NULL;
    }
    tmb_gpu_graph *graph = NULL;
    if (recorder->status == TMB_OK && recorder->stream == NULL && out != NULL) {
        graph = tmb_calloc(1, sizeof *graph);
        recorder->status =
            graph == NULL ? tmb_fail_memory(&recorder->error, "a graph", sizeof *graph)
                          : check(gpu, gpu->cuda->graph_instantiate(&graph->executable, recorder->graph, NULL, NULL, 0),
                                  "cuGraphInstantiate", &recorder->error);
    }
    if (recorder->graph != NULL) {
        (void)gpu->cuda->graph_destroy(recorder->graph);
        recorder->graph = NULL;
    }
    if (recorder->status != TMB_OK) {
        free(graph);
        if (error != NULL) {
            *error = recorder->error;
        }
    } else if (graph != NULL) {
        graph->kernels = recorder->count;
        *out = graph;
    }
    return recorder->status;
}

void tmb_gpu_graph_destroy(tmb_gpu *gpu, tmb_gpu_graph **graph) {
    if (*graph != NULL) {
        (void)gpu->cuda->graph_executable_destroy((*graph)->executable);
        free(*graph);
        *graph = NULL;
    }
}

tmb_status tmb_gpu_graph_launch(tmb_gpu *gpu, tmb_gpu_graph *graph, tmb_gpu_stream *stream, tmb_error *error) {
    return check(gpu, gpu->cuda->graph_launch(graph->executable, handle(stream)), "cuGraphLaunch", error);
}

size_t tmb_gpu_graph_kernels(const tmb_gpu_graph *graph) { return graph->kernels; }
