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
} settings[] = {{"MEMORY", &fake.memory, (int64_t)1 << 30},  {"FAIL_ALLOCATION", &fake.fail_allocation, 0},
                {"FAULT_KERNEL", &fake.fault_kernel, 0},     {"HOLD", &fake.hold, 0},
                {"VERSION", &fake.version, 12040},           {"DEVICES", &fake.devices, 1},
                {"CAPABILITY", &fake.capability, 90},        {"PROGRAMMATIC", &fake.programmatic, 1},
                {"FAULT_RESULT", &fake.fault_result, 700},   {"CONTEXT_BYTES", &fake.context_bytes, 0},
                {"EXCLUSIVE", &fake.exclusive, 0},           {"MODULE_RESULT", &fake.module_result, 0},
                {"FAIL_GRAPH", &fake.fail_graph, 0},         {"GRAPH_KERNEL", &fake.graph_kernel, 64 << 10},
                {"DEFER_PAGEABLE", &fake.defer_pageable, 0}, {"FAULT_LATER", &fake.fault_later, 0}};

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

/* ---- Devices ---- */

EXPORT int cuGetErrorName(int result, const char **name);
int cuGetErrorName(int result, const char **name) {
    static const struct {
        int result;
        const char *name;
    } names[] = {{SUCCESS, "CUDA_SUCCESS"},
                 {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
                 {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
                 {DEVICE_UNAVAILABLE, "CUDA_ERROR_DEVICE_UNAVAILABLE"},
                 {221, "CUDA_ERROR_JIT_COMPILER_NOT_FOUND"},
                 {UNSUPPORTED_PTX, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
                 {223, "CUDA_ERROR_JIT_COMPILATION_DISABLED"},
                 {226, "CUDA_ERROR_CONTAINED"},
                 {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (names[i].result == result) {
            *name = names[i].name;
            return SUCCESS;
        }
    }
    return INVALID_VALUE;
}

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
    return fake_unlock(ordinal >= 0 && ordinal < fake.devices && ordinal < MOST_DEVICES ? SUCCESS : INVALID_DEVICE);
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
/* ---- Contexts ---- */

enum { DEEPEST = 8 };
static _Thread_local struct {
    context *contexts[DEEPEST];
    size_t count;
} current; /* the last is the one that calls go to */

context *fake_current(void) { return current.count > 0 ? current.contexts[current.count - 1] : NULL; }

int fake_state(void) {
    const context *here = fake_current();
    return here == NULL ? INVALID_CONTEXT : here->sticky;
}

uint64_t fake_free_bytes(int device) {
    uint64_t memory = (uint64_t)fake.memory;
    uint64_t used = fake.allocated[device] + fake.contexts[device] * (uint64_t)fake.context_bytes;
    return memory > used ? memory - used : 0;
}

static int push(context *c) {
    if (current.count == DEEPEST) {
        (void)fprintf(stderr, "fakecuda: contexts are entered and not left\n");
        abort();
    }
    current.contexts[current.count++] = c;
    return SUCCESS;
}

EXPORT int cuCtxCreate_v2(void **out, unsigned flags, int device);
int cuCtxCreate_v2(void **out, unsigned flags, int device) {
    (void)flags;
    fake_lock();
    if (fake.exclusive != 0 && fake.contexts[device] > 0) {
        return fake_unlock(DEVICE_UNAVAILABLE);
    }
    if (fake_free_bytes(device) < (uint64_t)fake.context_bytes) {
        return fake_unlock(OUT_OF_MEMORY);
    }
    context *c = malloc(sizeof *c);
    *c = (context){.device = device};
    fake.contexts[device]++;
    fake.counts.contexts++;
    fake.counts.contexts_created++;
    *out = c;
    return fake_unlock(push(c));
}
EXPORT int cuCtxDestroy_v2(void *opaque);
int cuCtxDestroy_v2(void *opaque) {
    fake_lock();
    fake_run_all();
    context *c = opaque;
    for (const stream *s = fake.streams; s != NULL; s = s->next) {
        if (s->context == c) {
            (void)fprintf(stderr, "fakecuda: a stream is left of a context\n");
            abort();
        }
    }
    fake.contexts[c->device]--;
    fake.counts.contexts--;
    current.count -= fake_current() == c;
    free(c);
    return fake_unlock(SUCCESS);
}
EXPORT int cuCtxPushCurrent_v2(void *c);
int cuCtxPushCurrent_v2(void *c) {
    fake_lock();
    return fake_unlock(c != NULL ? push(c) : INVALID_CONTEXT);
}
EXPORT int cuCtxPopCurrent_v2(void **out);
int cuCtxPopCurrent_v2(void **out) {
    fake_lock();
    *out = fake_current();
    current.count -= current.count > 0;
    return fake_unlock(*out != NULL ? SUCCESS : INVALID_CONTEXT);
}
EXPORT int cuCtxGetCurrent(void **out);
int cuCtxGetCurrent(void **out) {
    *out = fake_current();
    return SUCCESS;
}
