/* Runs kernels on the CPU: the threads of a block are fibers that take turns in an order that changes, shared memory is
 * filled with NaN before each block, and threads that come to different barriers end the process.
 */
#ifndef TMB_TESTS_GPU_EMULATOR_H
#define TMB_TESTS_GPU_EMULATOR_H

#include <stddef.h>
#include <stdint.h>

/* The state of the thread that runs. */
struct tmb_emulation {
    int thread, threads;
    int block[3];
};
extern struct tmb_emulation tmb_emulation;

/* A barrier in the source. */
typedef struct tmb_emulated_site {
    const char *file;
    int line;
    int number; /* from 1, once a kernel came to it */
} tmb_emulated_site;

/* The block's shared memory: the same for every thread. */
void *tmb_emulated_shared(size_t bytes);
void tmb_emulated_barrier(tmb_emulated_site *site);
/* The values [32] of the warp's threads, until the next exchange but one. */
const uint32_t *tmb_emulated_exchange(uint32_t value);

/* Runs `kernel` for every block of the grid. */
void tmb_emulate(const unsigned grid[3], int threads, void (*kernel)(const void *arguments), const void *arguments);

/* For tests of the barriers themselves: those that kernels came to, in the order of their first coming (NULL: no more),
 * and one of them that is no barrier any more (-1: none). */
const tmb_emulated_site *tmb_emulated_barrier_at(int index);
void tmb_emulated_drop_barrier(int index);

#endif
