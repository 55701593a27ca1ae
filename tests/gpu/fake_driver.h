/* What the driver that runs kernels on the CPU counts, and what it is told, from a test's own process; and cases that
 * are processes of their own, since a process loads a driver once. */
#ifndef TMB_TESTS_GPU_FAKE_DRIVER_H
#define TMB_TESTS_GPU_FAKE_DRIVER_H

#include "fakecuda.h"
#include "sanitizers.h"

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

/* With sanitizers the emulated device is ten times slower: not every case is tried there. */
#if defined(WITH_ASAN)
enum { STRIDE = 7 };
#else
enum { STRIDE = 1 };
#endif

/* Whether the driver is that one; without it nothing is counted. */
bool fake_driver_is_there(void);
tmb_fake_cuda_counts fake_counts(void);
/* fakecuda.h lists the names, here without TIMBRE_FAKE_CUDA_. */
void fake_set(const char *name, int64_t value);

/* Runs `body` in a process of its own with these variables, NAME=VALUE and NULL at the end. */
void in_process(void (*body)(void), const char *const *variables);

/* In such a process an assertion cannot use cmocka's jump. */
#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                      \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

/* At the end of such a process: the driver has got everything back. */
void expect_nothing_left(void);

#endif
