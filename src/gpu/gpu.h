/* A GPU: memory, streams, kernels and graphs of kernels, in the one context that a process has there.
 *
 * Functions that take a tmb_gpu may be called from any thread, between tmb_gpu_enter and tmb_gpu_leave on that thread.
 * Those that allocate and free memory are one thread's at a time for each tmb_gpu, as is each stream with what is put
 * there. Work on one stream is done in order; nothing uses the driver's default stream.
 *
 * A kernel that faults loses the context: from then on every call fails with the same error, and tmb_gpu_lost says so,
 * for every tmb_gpu that is in it. One that is opened later is in a new one.
 */
#ifndef TMB_GPU_GPU_H
#define TMB_GPU_GPU_H

#include "gpu/slabs.h"

/* An address in the device's memory; 0 is none. */
typedef uint64_t tmb_gpu_address;

typedef struct tmb_gpu tmb_gpu;

/* What a device is called. */
typedef struct tmb_gpu_description {
    int index;
    char name[96];
    int capability; /* 80 is 8.0 */
    uint64_t free_bytes, total_bytes;
    int driver; /* 12040 is 12.4 */
} tmb_gpu_description;

/* Devices that can be told apart. */
enum { TMB_GPU_MOST = 64 };

/* Whether device `index` can be used, as far as that can be told without a context: the driver, the device, its
 * architecture, kernels in this build. TMB_ERROR_UNSUPPORTED says what is missing; `out` (may be NULL) is filled as far
 * as it is known, without the memory. */
tmb_status tmb_gpu_check(int index, tmb_gpu_description *out, tmb_error *error);

/* The device `index`, in its context; the first makes that one and loads the kernels. What was allocated through other
 * tmb_gpus is not this one's. Errors as tmb_gpu_check, TMB_ERROR_UNSUPPORTED if the driver does not take the kernels,
 * TMB_ERROR_MEMORY if the device has none for a context, and TMB_ERROR_INTERNAL. Any thread. */
tmb_status tmb_gpu_open(int index, tmb_gpu **out, tmb_error *error);
/* Frees the device memory that is still allocated, too; the last takes the context with it. No stream, event, graph or
 * pinned memory may be left. */
void tmb_gpu_close(tmb_gpu **gpu);

/* Makes the device current on this thread, until tmb_gpu_leave: what was current there comes back then. Whether enter
 * fails or not, leave follows. */
tmb_status tmb_gpu_enter(tmb_gpu *gpu, tmb_error *error);
void tmb_gpu_leave(const tmb_gpu *gpu);

/* Whether the context was lost; its first error. */
bool tmb_gpu_lost(const tmb_gpu *gpu, tmb_error *error);
/* How many contexts were lost in this process. Any thread. */
uint64_t tmb_gpu_losses(void);

const tmb_gpu_description *tmb_gpu_describe(const tmb_gpu *gpu);
/* Bytes of device memory that are allocated now. */
size_t tmb_gpu_allocated(const tmb_gpu *gpu);
/* What this process could have of the device's memory: what is allocated through any tmb_gpu of that device, and what
 * is free. */
tmb_status tmb_gpu_room(tmb_gpu *gpu, uint64_t *bytes, tmb_error *error);
/* Bytes that are allocated through any tmb_gpu of the device `index`. Any thread. */
uint64_t tmb_gpu_held(int index);
/* What the driver took of the device beside allocations, or (negative) gave back: it counts as allocated. Any thread.
 */
void tmb_gpu_also_holds(const tmb_gpu *gpu, int64_t bytes);

/* ---- Memory ---- */

/* What comes and goes is given out in these units (slabs.h), before the first is; and what lies free in slabs when a
 * unit is asked for, at most. */
void tmb_gpu_use_units(tmb_gpu *gpu, const tmb_gpu_units *units);
size_t tmb_gpu_slack(const tmb_gpu *gpu);

/* Bytes that an allocation of `bytes` takes: it is rounded up. SIZE_MAX if it does not fit into size_t. */
size_t tmb_gpu_rounded(size_t bytes);
/* For what stays while a model is loaded. `what` is for the message. TMB_ERROR_MEMORY. */
tmb_status tmb_gpu_allocate(tmb_gpu *gpu, size_t bytes, const char *what, tmb_gpu_address *out, tmb_error *error);
/* The same of what comes and goes: bytes that it takes, and those. */
size_t tmb_gpu_counted(const tmb_gpu *gpu, size_t bytes);
tmb_status tmb_gpu_take(tmb_gpu *gpu, size_t bytes, const char *what, tmb_gpu_address *out, tmb_error *error);
/* Waits for nothing: only what no stream uses any more, since it may be given out at once. 0 is allowed. */
void tmb_gpu_free(tmb_gpu *gpu, tmb_gpu_address address);

/* Host memory that copies may read and write while this thread goes on. */
tmb_status tmb_gpu_allocate_pinned(tmb_gpu *gpu, size_t bytes, void **out, tmb_error *error);
void tmb_gpu_free_pinned(tmb_gpu *gpu, void *address);

/* ---- Streams and events ---- */

typedef struct tmb_gpu_stream tmb_gpu_stream;
typedef struct tmb_gpu_event tmb_gpu_event;

/* Host bytes of a stream, pinned. */
#define TMB_GPU_STREAM_BYTES ((size_t)2 << 20)
/* `background`: kernels of other streams go first, whenever a block of them may begin. */
tmb_status tmb_gpu_stream_create(tmb_gpu *gpu, bool background, tmb_gpu_stream **out, tmb_error *error);
void tmb_gpu_stream_destroy(tmb_gpu *gpu, tmb_gpu_stream **stream);
/* Waits until everything on the stream is done. */
tmb_status tmb_gpu_synchronize(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_error *error);

tmb_status tmb_gpu_event_create(tmb_gpu *gpu, tmb_gpu_event **out, tmb_error *error);
void tmb_gpu_event_destroy(tmb_gpu *gpu, tmb_gpu_event **event);
tmb_status tmb_gpu_record(tmb_gpu *gpu, tmb_gpu_event *event, tmb_gpu_stream *stream, tmb_error *error);
/* Waits for what was on the stream when the event was recorded. */
tmb_status tmb_gpu_wait(tmb_gpu *gpu, tmb_gpu_event *event, tmb_error *error);
/* *done: whether that is so already. */
tmb_status tmb_gpu_query(tmb_gpu *gpu, tmb_gpu_event *event, bool *done, tmb_error *error);

/* Copies in the order of the stream. Upload is done with the host memory when it returns: it goes through pinned memory
 * of the stream, and waits for the stream if that is full. Upload_pinned and download use pinned memory while the
 * stream runs; a download into other memory is waited for. */
tmb_status tmb_gpu_upload(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_gpu_address to, const void *from, size_t bytes,
                          tmb_error *error);
tmb_status tmb_gpu_upload_pinned(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_gpu_address to, const void *from,
                                 size_t bytes, tmb_error *error);
tmb_status tmb_gpu_download(tmb_gpu *gpu, tmb_gpu_stream *stream, void *to, tmb_gpu_address from, size_t bytes,
                            tmb_error *error);
tmb_status tmb_gpu_copy(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_gpu_address to, tmb_gpu_address from, size_t bytes,
                        tmb_error *error);
/* Zeros; `bytes` is a multiple of 4. */
tmb_status tmb_gpu_clear(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_gpu_address to, size_t bytes, tmb_error *error);

/* ---- Kernels ---- */

/* In the order of the list in kernels/arguments.h. */
#define TMB_GPU_KERNEL_ID(name) TMB_KERNEL_##name
#include "gpu/kernels/arguments.h"
enum {
#define TMB_GPU_ENUM(name) TMB_GPU_KERNEL_ID(name),
    TMB_GPU_KERNELS(TMB_GPU_ENUM)
#undef TMB_GPU_ENUM
        TMB_GPU_KERNEL_COUNT
};

typedef struct tmb_gpu_grid {
    unsigned x, y, z; /* blocks */
    unsigned threads; /* of a block */
} tmb_gpu_grid;

/* A list of kernels that run one after the other: on a stream at once, or collected in a graph. */
typedef struct tmb_gpu_recorder tmb_gpu_recorder;
typedef struct tmb_gpu_graph tmb_gpu_graph;

/* Adds a kernel with its arguments (copied) behind the others. The first failure is kept for tmb_gpu_recorder_end. */
void tmb_gpu_kernel(tmb_gpu_recorder *recorder, int kernel, tmb_gpu_grid grid, const void *arguments);

/* For launching at once. */
tmb_gpu_recorder tmb_gpu_direct(tmb_gpu *gpu, tmb_gpu_stream *stream);
/* For a graph. */
tmb_gpu_recorder tmb_gpu_recording(tmb_gpu *gpu);
/* What the kernels came to; *graph (NULL if they were launched at once) is the whole, to be launched any number of
 * times. */
tmb_status tmb_gpu_recorder_end(tmb_gpu_recorder *recorder, tmb_gpu_graph **graph, tmb_error *error);
void tmb_gpu_graph_destroy(tmb_gpu *gpu, tmb_gpu_graph **graph);
tmb_status tmb_gpu_graph_launch(tmb_gpu *gpu, tmb_gpu_graph *graph, tmb_gpu_stream *stream, tmb_error *error);
/* Kernels in it. */
size_t tmb_gpu_graph_kernels(const tmb_gpu_graph *graph);

struct tmb_gpu_recorder {
    tmb_gpu *gpu;
    void *stream; /* NULL: a graph is made */
    void *graph, *last;
    size_t count;
    tmb_status status;
    tmb_error error;
};

#endif
