/* What the tests of kernels share: memory, random values, a comparison, the kernels by name. */
#ifndef TMB_TESTS_GPU_KERNEL_TEST_H
#define TMB_TESTS_GPU_KERNEL_TEST_H

#include "barriers.h"
#include "emulator.h"
#include "gpu/kernels/kernels.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t seed = 5;
static int failures;

static float random_value(void) {
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / 8388608.0f - 1.0f;
}

static void *memory(size_t bytes) {
    void *address = NULL;
    if (posix_memalign(&address, 512, (bytes + 511) / 512 * 512) != 0) {
        abort();
    }
    memset(address, 0, (bytes + 511) / 512 * 512);
    return address;
}

static float *floats(size_t count) {
    float *values = memory(count * sizeof *values);
    for (size_t i = 0; i < count; i++) {
        values[i] = random_value();
    }
    return values;
}

static void compare(const char *what, const float *values, const double *expected, size_t count, double most) {
    double error = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        error += (values[i] - expected[i]) * (values[i] - expected[i]);
        size += expected[i] * expected[i];
    }
    double relative = sqrt(error / (size > 0 ? size : 1));
    if (!(relative <= most)) {
        (void)printf("%s: error %.2e, at most %.2e\n", what, relative, most);
        failures++;
    }
}

#define RUNNER(name)                                                                                                   \
    static void run_##name(const void *arguments) { name(*(const name##_arguments *)arguments); }
TMB_GPU_KERNELS(RUNNER)

static void run(void (*kernel)(const void *), unsigned x, unsigned y, int threads, const void *arguments) {
    tmb_emulate((const unsigned[]){x, y, 1}, threads, kernel, arguments);
}

/* The kernels' results, or their barriers if the program was built for that. */
static int test_main(void (*check)(void)) {
#if defined(TMB_TEST_BARRIERS)
    return tmb_check_barriers(check);
#else
    check();
    (void)printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
#endif
}

#endif
