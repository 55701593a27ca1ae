/* The CPU's sampler for the tests of the kernel, which has the same name. */
#ifndef TMB_TESTS_GPU_CPU_PICK_H
#define TMB_TESTS_GPU_CPU_PICK_H

#include <stdint.h>

typedef struct cpu_sampling {
    int greedy;
    double temperature, top_p;
    unsigned top_k;
} cpu_sampling;

/* The code that is picked of `scores` [n], in which the weights are then. */
int cpu_pick(float *scores, int n, const cpu_sampling *sampling, const uint64_t random[4]);

#endif
