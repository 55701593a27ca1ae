/* What the files of the libcuda that runs kernels on the CPU share: fakecuda.c (the device, settings),
 * fakecuda_memory.c, fakecuda_streams.c, fakecuda_graphs.c. */
#ifndef TMB_TESTS_GPU_FAKECUDA_INTERNAL_H
#define TMB_TESTS_GPU_FAKECUDA_INTERNAL_H

#include "fakecuda.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define EXPORT __attribute__((visibility("default")))

enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    DEVICE_UNAVAILABLE = 46,
    INVALID_CONTEXT = 201,
    NOT_FOUND = 500,
    NO_BINARY = 209,
    NOT_READY = 600,
    NOT_SUPPORTED = 801,
    ILLEGAL_ADDRESS = 700,
    UNSUPPORTED_PTX = 222
};
enum { MOST_ARGUMENTS = 512, MOST_DEVICES = 4 };

typedef struct kernel {
    const char *name;
    void (*run)(const void *arguments);
    size_t bytes;
    bool waits; /* for those before it itself */
    int threads_most;
} kernel;

typedef enum operation_kind { COPY, FILL, KERNEL_RUN, GRAPH, RECORD } operation_kind;

typedef struct event {
    uint64_t recorded, reached; /* counts */
    struct stream *stream;
    bool asked;
} event;

typedef struct node {
    const kernel *kernel;
    unsigned grid[3];
    int threads;
    unsigned char arguments[MOST_ARGUMENTS];
} node;

typedef struct graph {
    node *nodes;
    size_t count, capacity, chained; /* chained: nodes that depend on the one before */
    bool programmatic;
    bool launched; /* once; then it has memory */
    int device;    /* which has these bytes */
    uint64_t bytes;
} graph;

typedef struct operation {
    struct operation *next;
    operation_kind kind;
    void *to;
    const void *from;
    size_t bytes;
    void *owned; /* a copy of memory that is not pinned */
    node node;
    const graph *graph;
    int64_t fault; /* which of its kernels loses the context; 0: none */
    event *event;
} operation;

typedef struct context {
    int device;
    int sticky; /* what every call comes to since it is lost */
} context;

typedef struct stream {
    struct stream *next;
    context *context;
    operation *first, *last;
    bool background;
} stream;

typedef struct fake_block {
    struct fake_block *next;
    char *address, *base;
    size_t bytes, mapped;
    bool pinned;
    int device;
} fake_block;

typedef uint64_t fake_address;

/* The driver, under its lock. */
typedef struct fake_driver {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a setting */
    bool begun;
    int64_t memory, fail_allocation, fault_kernel, hold, version, devices, capability, programmatic;
    int64_t fault_later, fault_result, context_bytes, exclusive, module_result;
    int64_t fail_graph, graph_kernel, defer_pageable;
    tmb_fake_cuda_counts counts;
    uint64_t allocated[MOST_DEVICES], contexts[MOST_DEVICES]; /* of each device: bytes, and contexts that are there */
    stream *streams;
    fake_block *blocks;
    operation *spare;
} fake_driver;

extern fake_driver fake;

void fake_lock(void);
/* Returns `result`. */
int fake_unlock(int result);

/* The context that is current on this thread, or NULL. */
context *fake_current(void);
/* What that one lets a call come to before it has begun. */
int fake_state(void);
/* Bytes that a device has left, without what is in its contexts. */
uint64_t fake_free_bytes(int device);
/* Counts what was taken of it. */
void fake_took(int device, uint64_t bytes);

/* What begins most functions: the lock, unless there is no context or it is lost. */
#define BEGIN                                                                                                          \
    fake_lock();                                                                                                       \
    if (fake_state() != SUCCESS) {                                                                                     \
        return fake_unlock(fake_state());                                                                              \
    }

/* Does what is on a stream, until the event is reached, or (NULL) to the end. Returns what is wrong with its context.
 */
int fake_run_stream(stream *s, const event *until);
void fake_run_all(void);
/* Puts an operation on a stream. */
operation *fake_append(void *opaque, operation_kind kind);
/* `count` kernels that were put on a stream; `again`: of a graph that was launched before. The one that is to fail is
 * counted here, not when it runs: what was put there before runs at some time. */
void fake_queue_kernels(operation *o, size_t count, bool again);

#endif
