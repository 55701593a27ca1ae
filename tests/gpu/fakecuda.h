/* What tests ask of the driver that runs kernels on the CPU, and tell it: by dlsym, and at first by the environment.
 *
 *   TIMBRE_FAKE_CUDA_MEMORY           bytes of each device's memory (default 1 GiB)
 *   TIMBRE_FAKE_CUDA_FAIL_ALLOCATION  the n-th allocation from now on fails (0: none)
 *   TIMBRE_FAKE_CUDA_FAULT_KERNEL     the n-th kernel put on a stream from now on loses the context (0: none)
 *   TIMBRE_FAKE_CUDA_FAULT_LATER      the same, but counts kernels of graphs that were launched before: none of a load
 *   TIMBRE_FAKE_CUDA_FAULT_RESULT     what that comes to (default 700)
 *   TIMBRE_FAKE_CUDA_HOLD             1: whoever waits for an event waits until it is 0
 *   TIMBRE_FAKE_CUDA_VERSION          of the driver (default 12040)
 *   TIMBRE_FAKE_CUDA_DEVICES          how many (default 1)
 *   TIMBRE_FAKE_CUDA_CAPABILITY       of each (default 90)
 *   TIMBRE_FAKE_CUDA_PROGRAMMATIC     0: no graphs whose kernels begin early (default 1)
 *   TIMBRE_FAKE_CUDA_CONTEXT_BYTES    of the device's memory that a context takes (default 0)
 *   TIMBRE_FAKE_CUDA_EXCLUSIVE        1: a device has one context at a time
 *   TIMBRE_FAKE_CUDA_MODULE_RESULT    what loading a module comes to (0: to what it should)
 *   TIMBRE_FAKE_CUDA_FAIL_GRAPH       the n-th graph put on a stream from now on is refused (0: none)
 *   TIMBRE_FAKE_CUDA_GRAPH_KERNEL     what each kernel of a graph takes of the device from its first launch on (64 KiB)
 *   TIMBRE_FAKE_CUDA_DEFER_PAGEABLE   1: memory that is not pinned is read when the copy is made (0: at once)
 */
#ifndef TMB_TESTS_GPU_FAKECUDA_H
#define TMB_TESTS_GPU_FAKECUDA_H

#include <stdint.h>

typedef struct tmb_fake_cuda_counts {
    uint64_t kernels, queued;          /* kernels run; put on streams */
    uint64_t launches, graph_launches; /* kernels launched alone; graphs launched */
    uint64_t uploads;                  /* graphs launched for the first time, ever */
    uint64_t programmatic_edges;       /* in graphs, ever: kernels that may begin early */
    uint64_t bytes_up, bytes_down;
    uint64_t pageable_up;                                        /* of bytes_up: from memory that is not pinned */
    uint64_t allocations, allocated, most_allocated;             /* ever; bytes now; bytes at most */
    uint64_t pinned, contexts, streams, events, graphs, modules; /* that are not yet freed */
    uint64_t contexts_created;                                   /* ever */
    uint64_t background_streams;                                 /* of the streams: of the least priority */
    uint64_t allocated_in_flight;                                /* allocations while kernels wait to run */
} tmb_fake_cuda_counts;

void tmb_fake_cuda_read(tmb_fake_cuda_counts *out);
/* One of the settings above, by its name without TIMBRE_FAKE_CUDA_. */
void tmb_fake_cuda_set(const char *name, int64_t value);

#endif
