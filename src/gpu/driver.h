/* NVIDIA's driver library, found when it is needed: neither building nor starting timbre needs it.
 *
 * The declarations are our own, of the few dozen functions that are used, in the versions that every driver since CUDA
 * 11.0 (450) has. The library is libcuda.so.1, or what TIMBRE_CUDA_LIBRARY names: the tests put a driver there that
 * runs the kernels on the CPU.
 */
#ifndef TMB_GPU_DRIVER_H
#define TMB_GPU_DRIVER_H

#include "timbre/timbre.h"

/* CUresult; 0 is success. Those that decide what is done are named here. */
typedef int tmb_cuda_result;
enum {
    TMB_CUDA_SUCCESS = 0,
    TMB_CUDA_OUT_OF_MEMORY = 2,
    TMB_CUDA_NO_DEVICE = 100,
    TMB_CUDA_NO_JIT_COMPILER = 221,
    TMB_CUDA_UNSUPPORTED_PTX = 222,
    TMB_CUDA_JIT_DISABLED = 223,
    TMB_CUDA_NOT_READY = 600
};

/* CUdevice_attribute */
enum { TMB_CUDA_CAPABILITY_MAJOR = 75, TMB_CUDA_CAPABILITY_MINOR = 76 };

/* The driver as the PTX needs it: CUDA 11.0. */
#define TMB_CUDA_VERSION_MIN 11000

typedef struct tmb_cuda_kernel_node { /* CUDA_KERNEL_NODE_PARAMS, version 1 */
    void *function;
    unsigned grid[3], block[3], shared_bytes;
    void **parameters, **extra;
} tmb_cuda_kernel_node;

/* X(field, symbol, parameters) */
#define TMB_CUDA_FUNCTIONS(X)                                                                                          \
    X(init, "cuInit", (unsigned flags))                                                                                \
    X(driver_version, "cuDriverGetVersion", (int *version))                                                            \
    X(error_name, "cuGetErrorName", (tmb_cuda_result result, const char **name))                                       \
    X(device_count, "cuDeviceGetCount", (int *count))                                                                  \
    X(device_get, "cuDeviceGet", (int *device, int ordinal))                                                           \
    X(device_name, "cuDeviceGetName", (char *name, int size, int device))                                              \
    X(device_attribute, "cuDeviceGetAttribute", (int *value, int attribute, int device))                               \
    X(context_create, "cuCtxCreate_v2", (void **context, unsigned flags, int device))                                  \
    X(context_destroy, "cuCtxDestroy_v2", (void *context))                                                             \
    X(context_push, "cuCtxPushCurrent_v2", (void *context))                                                            \
    X(context_pop, "cuCtxPopCurrent_v2", (void **context))                                                             \
    X(context_current, "cuCtxGetCurrent", (void **context))                                                            \
    X(memory_info, "cuMemGetInfo_v2", (size_t * free_bytes, size_t * total_bytes))                                     \
    X(memory_allocate, "cuMemAlloc_v2", (uint64_t * address, size_t bytes))                                            \
    X(memory_free, "cuMemFree_v2", (uint64_t address))                                                                 \
    X(host_allocate, "cuMemAllocHost_v2", (void **address, size_t bytes))                                              \
    X(host_free, "cuMemFreeHost", (void *address))                                                                     \
    X(copy_up, "cuMemcpyHtoDAsync_v2", (uint64_t to, const void *from, size_t bytes, void *stream))                    \
    X(copy_down, "cuMemcpyDtoHAsync_v2", (void *to, uint64_t from, size_t bytes, void *stream))                        \
    X(copy_across, "cuMemcpyDtoDAsync_v2", (uint64_t to, uint64_t from, size_t bytes, void *stream))                   \
    X(fill, "cuMemsetD32Async", (uint64_t to, unsigned value, size_t count, void *stream))                             \
    X(stream_priorities, "cuCtxGetStreamPriorityRange", (int *least, int *greatest))                                   \
    X(stream_create, "cuStreamCreateWithPriority", (void **stream, unsigned flags, int priority))                      \
    X(stream_destroy, "cuStreamDestroy_v2", (void *stream))                                                            \
    X(stream_synchronize, "cuStreamSynchronize", (void *stream))                                                       \
    X(event_create, "cuEventCreate", (void **event, unsigned flags))                                                   \
    X(event_destroy, "cuEventDestroy_v2", (void *event))                                                               \
    X(event_record, "cuEventRecord", (void *event, void *stream))                                                      \
    X(event_query, "cuEventQuery", (void *event))                                                                      \
    X(event_synchronize, "cuEventSynchronize", (void *event))                                                          \
    X(module_load, "cuModuleLoadData", (void **module, const void *image))                                             \
    X(module_unload, "cuModuleUnload", (void *module))                                                                 \
    X(module_function, "cuModuleGetFunction", (void **function, void *module, const char *name))                       \
    X(launch, "cuLaunchKernel",                                                                                        \
      (void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,          \
       unsigned block_z, unsigned shared_bytes, void *stream, void **parameters, void **extra))                        \
    X(graph_create, "cuGraphCreate", (void **graph, unsigned flags))                                                   \
    X(graph_destroy, "cuGraphDestroy", (void *graph))                                                                  \
    X(graph_kernel, "cuGraphAddKernelNode",                                                                            \
      (void **node, void *graph, void *const *dependencies, size_t count, const tmb_cuda_kernel_node *kernel))         \
    X(graph_instantiate, "cuGraphInstantiate_v2",                                                                      \
      (void **executable, void *graph, void **error_node, char *log, size_t log_bytes))                                \
    X(graph_launch, "cuGraphLaunch", (void *executable, void *stream))                                                 \
    X(graph_executable_destroy, "cuGraphExecDestroy", (void *executable))

typedef struct tmb_cuda_edge { /* CUgraphEdgeData */
    unsigned char from_port, to_port, type, reserved[5];
} tmb_cuda_edge;

/* The kernel behind it may begin before the one ahead of it has ended, and waits for it itself. */
#define TMB_CUDA_PROGRAMMATIC_EDGE ((tmb_cuda_edge){.from_port = 1, .type = 1})

/* Those that an older driver may lack (NULL): 12.3. */
#define TMB_CUDA_NEWER_FUNCTIONS(X)                                                                                    \
    X(graph_edges, "cuGraphAddDependencies_v2",                                                                        \
      (void *graph, void *const *from, void *const *to, const tmb_cuda_edge *edges, size_t count))

typedef struct tmb_cuda {
#define TMB_CUDA_FIELD(field, symbol, parameters) tmb_cuda_result(*field) parameters;
    TMB_CUDA_FUNCTIONS(TMB_CUDA_FIELD)
    TMB_CUDA_NEWER_FUNCTIONS(TMB_CUDA_FIELD)
#undef TMB_CUDA_FIELD
    int version; /* as cuDriverGetVersion says: 12040 is 12.4 */
} tmb_cuda;

/* The driver, loaded and initialized at the first call; it stays for the life of the process. Any thread.
 * TMB_ERROR_UNSUPPORTED says what is missing: the library, a function of it, a device, a driver new enough. */
tmb_status tmb_cuda_load(const tmb_cuda **out, tmb_error *error);

/* The driver's name of a result, such as "CUDA_ERROR_ILLEGAL_ADDRESS"; "an unknown error" if it has none. */
const char *tmb_cuda_result_name(tmb_cuda_result result);

/* What `call` came to: TMB_OK; TMB_ERROR_MEMORY if the device has no memory left; otherwise TMB_ERROR_INTERNAL. The
 * message names call and result. */
tmb_status tmb_cuda_check(tmb_cuda_result result, const char *call, tmb_error *error);

/* Whether a context on which a call came to this result is lost: every later call fails until it is made again. */
bool tmb_cuda_loses_context(tmb_cuda_result result);

#endif
