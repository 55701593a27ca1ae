#include "gpu/gpu_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "gpu/staging.h"

#include <stdlib.h>
#include <string.h>

/* CU_STREAM_NON_BLOCKING, CU_EVENT_DISABLE_TIMING */
enum { STREAM_NON_BLOCKING = 1, EVENT_DISABLE_TIMING = 2 };

struct tmb_gpu_stream {
    void *handle;
    tmb_staging staging;
};

struct tmb_gpu_graph {
    void *executable;
    size_t kernels;
};

const char *const tmb_gpu_kernel_names[TMB_GPU_KERNEL_COUNT] = {
#define NAME(name) #name,
    TMB_GPU_KERNELS(NAME)
#undef NAME
};

/* What a call came to. */
static tmb_status check(tmb_gpu *gpu, tmb_cuda_result result, const char *call, tmb_error *error) {
    return tmb_gpu_result(gpu->context, result, call, error);
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
    tmb_gpu_hold(gpu, before);
    if (result == TMB_CUDA_OUT_OF_MEMORY && !tmb_gpu_lost(gpu, NULL)) {
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
        tmb_gpu_hold(gpu, before);
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

/* Opaque types of events are the driver's handles. */
static void *handle(const void *opaque) {
    void *address = NULL;
    memcpy(&address, &opaque, sizeof address);
    return address;
}

tmb_status tmb_gpu_stream_create(tmb_gpu *gpu, bool background, tmb_gpu_stream **out, tmb_error *error) {
    tmb_gpu_stream *stream = tmb_calloc(1, sizeof *stream);
    int least = 0, greatest = 0;
    *out = NULL;
    if (stream == NULL) {
        return tmb_fail_memory(error, "a stream", sizeof *stream);
    }
    tmb_status status =
        check(gpu, gpu->cuda->stream_priorities(&least, &greatest), "cuCtxGetStreamPriorityRange", error);
    if (status == TMB_OK) {
        status =
            check(gpu, gpu->cuda->stream_create(&stream->handle, STREAM_NON_BLOCKING, background ? least : greatest),
                  "cuStreamCreateWithPriority", error);
    }
    if (status == TMB_OK) {
        status = check(gpu, tmb_staging_open(gpu->cuda, &stream->staging), "cuMemAllocHost", error);
    }
    if (status != TMB_OK) {
        tmb_gpu_stream_destroy(gpu, &stream);
    }
    *out = stream;
    return status;
}

void tmb_gpu_stream_destroy(tmb_gpu *gpu, tmb_gpu_stream **stream) {
    if (*stream != NULL) {
        if ((*stream)->handle != NULL) {
            (void)gpu->cuda->stream_destroy((*stream)->handle);
        }
        tmb_staging_close(gpu->cuda, &(*stream)->staging);
        free(*stream);
        *stream = NULL;
    }
}

tmb_status tmb_gpu_synchronize(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_error *error) {
    return check(gpu, gpu->cuda->stream_synchronize(stream->handle), "cuStreamSynchronize", error);
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
    return check(gpu, gpu->cuda->event_record(handle(event), stream->handle), "cuEventRecord", error);
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
    return check(gpu, tmb_staging_upload(gpu->cuda, &stream->staging, stream->handle, to, from, bytes),
                 "cuMemcpyHtoDAsync", error);
}

tmb_status tmb_gpu_upload_pinned(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_gpu_address to, const void *from,
                                 size_t bytes, tmb_error *error) {
    return bytes == 0 ? TMB_OK
                      : check(gpu, gpu->cuda->copy_up(to, from, bytes, stream->handle), "cuMemcpyHtoDAsync", error);
}

tmb_status tmb_gpu_download(tmb_gpu *gpu, tmb_gpu_stream *stream, void *to, tmb_gpu_address from, size_t bytes,
                            tmb_error *error) {
    return check(gpu, gpu->cuda->copy_down(to, from, bytes, stream->handle), "cuMemcpyDtoHAsync", error);
}

tmb_status tmb_gpu_copy(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_gpu_address to, tmb_gpu_address from, size_t bytes,
                        tmb_error *error) {
    return check(gpu, gpu->cuda->copy_across(to, from, bytes, stream->handle), "cuMemcpyDtoDAsync", error);
}

tmb_status tmb_gpu_clear(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_gpu_address to, size_t bytes, tmb_error *error) {
    return check(gpu, gpu->cuda->fill(to, 0, bytes / 4, stream->handle), "cuMemsetD32Async", error);
}

/* ---- Kernels ---------------------------------------------------------------------------------- */

tmb_gpu_recorder tmb_gpu_direct(tmb_gpu *gpu, tmb_gpu_stream *stream) {
    return (tmb_gpu_recorder){.gpu = gpu, .stream = stream->handle};
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
                                 gpu->cuda->launch(gpu->context->functions[kernel], grid.x, grid.y, grid.z,
                                                   grid.threads, 1, 1, 0, recorder->stream, parameters, NULL),
                                 tmb_gpu_kernel_names[kernel], &recorder->error);
        return;
    }
    const tmb_cuda_kernel_node node = {.function = gpu->context->functions[kernel],
                                       .grid = {grid.x, grid.y, grid.z},
                                       .block = {grid.threads, 1, 1},
                                       .parameters = parameters};
    void *before = recorder->last;
    bool depends_on = before != NULL && !gpu->context->dependent;
    recorder->status = check(gpu, gpu->cuda->graph_kernel(&recorder->last, recorder->graph, &before, depends_on, &node),
                             "cuGraphAddKernelNode", &recorder->error);
    if (recorder->status == TMB_OK && before != NULL && gpu->context->dependent) {
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
        if (graph != NULL && graph->executable != NULL) { /* made, while another thread found the device lost */
            (void)gpu->cuda->graph_executable_destroy(graph->executable);
        }
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
    return check(gpu, gpu->cuda->graph_launch(graph->executable, stream->handle), "cuGraphLaunch", error);
}

size_t tmb_gpu_graph_kernels(const tmb_gpu_graph *graph) { return graph->kernels; }
