/* A libcuda that runs timbre's kernels on the CPU, so that everything above it can be tested where there is no GPU.
 *
 * What is put on a stream is only done when somebody waits for it, or asks a second time: data that is read too early
 * is not there yet, and pinned memory that is written too early spoils the copy. Device addresses are addresses of the
 * process, so a sanitizer sees what kernels do.
 */
#include "fakecuda_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

fake_driver fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static const struct {
    const char *name;
    int64_t *value;
    int64_t usual;
} settings[] = {{"MEMORY", &fake.memory, (int64_t)1 << 30}, {"FAIL_ALLOCATION", &fake.fail_allocation, 0},
                {"FAULT_KERNEL", &fake.fault_kernel, 0},    {"HOLD", &fake.hold, 0},
                {"VERSION", &fake.version, 12040},          {"DEVICES", &fake.devices, 1},
                {"CAPABILITY", &fake.capability, 90},       {"PROGRAMMATIC", &fake.programmatic, 1}};

void fake_lock(void) {
    (void)pthread_mutex_lock(&fake.lock);
    if (!fake.begun) {
        fake.begun = true;
        for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
            char name[64];
            (void)snprintf(name, sizeof name, "TIMBRE_FAKE_CUDA_%s", settings[i].name);
            const char *value = getenv(name);
            *settings[i].value = value != NULL ? strtoll(value, NULL, 10) : settings[i].usual;
        }
    }
}

int fake_unlock(int result) {
    (void)pthread_mutex_unlock(&fake.lock);
    return result;
}

EXPORT void tmb_fake_cuda_read(tmb_fake_cuda_counts *out) {
    fake_lock();
    *out = fake.counts;
    (void)fake_unlock(0);
}

EXPORT void tmb_fake_cuda_set(const char *name, int64_t value) {
    fake_lock();
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        if (strcmp(settings[i].name, name) == 0) {
            *settings[i].value = value;
        }
    }
    (void)pthread_cond_broadcast(&fake.changed);
    (void)fake_unlock(0);
}

/* ---- The device and its context ---- */

EXPORT int cuInit(unsigned flags);
int cuInit(unsigned flags) {
    fake_lock();
    return fake_unlock(flags == 0 ? SUCCESS : INVALID_VALUE);
}
EXPORT int cuDriverGetVersion(int *version);
int cuDriverGetVersion(int *version) {
    fake_lock();
    *version = (int)fake.version;
    return fake_unlock(SUCCESS);
}
EXPORT int cuDeviceGetCount(int *count);
int cuDeviceGetCount(int *count) {
    fake_lock();
    *count = (int)fake.devices;
    return fake_unlock(SUCCESS);
}
EXPORT int cuDeviceGet(int *device, int ordinal);
int cuDeviceGet(int *device, int ordinal) {
    fake_lock();
    *device = ordinal;
    return fake_unlock(ordinal >= 0 && ordinal < fake.devices ? SUCCESS : INVALID_DEVICE);
}
EXPORT int cuDeviceGetName(char *name, int size, int device);
int cuDeviceGetName(char *name, int size, int device) {
    (void)snprintf(name, (size_t)size, "emulated GPU %d", device);
    return SUCCESS;
}
EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device);
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    fake_lock();
    *value = (int)(attribute == 75 ? fake.capability / 10 : fake.capability % 10);
    return fake_unlock(SUCCESS);
}
EXPORT int cuCtxCreate_v2(void **context, unsigned flags, int device);
int cuCtxCreate_v2(void **context, unsigned flags, int device) {
    (void)flags;
    (void)device;
    fake_lock();
    fake.sticky = SUCCESS;
    fake.counts.contexts++;
    fake.context = *context = malloc(1);
    return fake_unlock(SUCCESS);
}
EXPORT int cuCtxDestroy_v2(void *context);
int cuCtxDestroy_v2(void *context) {
    fake_lock();
    (void)fake_run_all();
    fake.sticky = SUCCESS;
    fake.counts.contexts--;
    free(context);
    return fake_unlock(SUCCESS);
}
EXPORT int cuCtxSetCurrent(void *context);
int cuCtxSetCurrent(void *context) {
    BEGIN;
    return fake_unlock(context != NULL ? SUCCESS : INVALID_CONTEXT);
}
