/* What the driver that runs kernels on the CPU counts, and what it is told, from a test's own process. */
#ifndef TMB_TESTS_GPU_FAKE_DRIVER_H
#define TMB_TESTS_GPU_FAKE_DRIVER_H

#include "fakecuda.h"

#include <stdbool.h>

/* Whether the driver is that one; without it nothing is counted. */
bool fake_driver_is_there(void);
tmb_fake_cuda_counts fake_counts(void);
/* fakecuda.h lists the names, here without TIMBRE_FAKE_CUDA_. */
void fake_set(const char *name, int64_t value);

#endif
