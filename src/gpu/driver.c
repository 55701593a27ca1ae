#include "gpu/driver.h"

#include "base/error.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* The attempt to load, made once. */
static struct {
    pthread_once_t once;
    tmb_cuda cuda;
    tmb_status status;
    tmb_error error;
} loaded = {.once = PTHREAD_ONCE_INIT};

/* After these a context is as it was: what was asked for was not done, and that is all. Whatever else a call comes to,
 * a result of a later driver above all, means that nothing on the device can be relied on. */
static const tmb_cuda_result harmless[] = {
    TMB_CUDA_SUCCESS,
    1, /* INVALID_VALUE */
    TMB_CUDA_OUT_OF_MEMORY,
    TMB_CUDA_NO_DEVICE,
    101, /* INVALID_DEVICE */
    200, /* INVALID_IMAGE */
    209, /* NO_BINARY_FOR_GPU */
    218, /* INVALID_PTX */
    TMB_CUDA_NO_JIT_COMPILER,
    TMB_CUDA_UNSUPPORTED_PTX,
    TMB_CUDA_JIT_DISABLED,
    304, /* OPERATING_SYSTEM */
    400, /* INVALID_HANDLE */
    500, /* NOT_FOUND */
    TMB_CUDA_NOT_READY,
    701, /* LAUNCH_OUT_OF_RESOURCES */
    801, /* NOT_SUPPORTED */
};

const char *tmb_cuda_result_name(tmb_cuda_result result) {
    const char *name = NULL;
    bool is_known = loaded.cuda.error_name != NULL && loaded.cuda.error_name(result, &name) == TMB_CUDA_SUCCESS;
    return is_known && name != NULL ? name : "an unknown error";
}

bool tmb_cuda_loses_context(tmb_cuda_result result) {
    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++) {
        if (harmless[i] == result) {
            return false;
        }
    }
    return true;
}

tmb_status tmb_cuda_check(tmb_cuda_result result, const char *call, tmb_error *error) {
    if (result == TMB_CUDA_SUCCESS) {
        return TMB_OK;
    }
    return tmb_fail(error, result == TMB_CUDA_OUT_OF_MEMORY ? TMB_ERROR_MEMORY : TMB_ERROR_INTERNAL,
                    "the GPU: %s came to %s (%d)", call, tmb_cuda_result_name(result), result);
}

#define TMB_CUDA_COUNT(field, symbol, parameters) +1

static tmb_status find_functions(void *library, tmb_cuda *cuda, tmb_error *error) {
    const struct {
        const char *symbol;
        void *field;
    } functions[] = {
#define TMB_CUDA_SYMBOL(name, text, parameters) {text, &cuda->name},
        TMB_CUDA_FUNCTIONS(TMB_CUDA_SYMBOL) TMB_CUDA_NEWER_FUNCTIONS(TMB_CUDA_SYMBOL)
#undef TMB_CUDA_SYMBOL
    };
    enum { NEEDED = 0 TMB_CUDA_FUNCTIONS(TMB_CUDA_COUNT) };
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        void *address = dlsym(library, functions[i].symbol);
        if (address == NULL && i < NEEDED) {
            return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "the NVIDIA driver is too old: it has no %s",
                            functions[i].symbol);
        }
        memcpy(functions[i].field, &address, sizeof address);
    }
    return TMB_OK;
}

static tmb_status load(tmb_cuda *cuda, tmb_error *error) {
    const char *named = getenv("TIMBRE_CUDA_LIBRARY");
    const char *name = named != NULL && named[0] != 0 ? named : "libcuda.so.1";
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "no NVIDIA driver: %s", dlerror());
    }
    tmb_status status = find_functions(library, cuda, error);
    if (status != TMB_OK) {
        memset(cuda, 0, sizeof *cuda);
        (void)dlclose(library);
        return status;
    }
    tmb_cuda_result result = cuda->init(0);
    int count = 0;
    if (result == TMB_CUDA_SUCCESS) {
        result = cuda->driver_version(&cuda->version);
    }
    if (result == TMB_CUDA_SUCCESS) {
        result = cuda->device_count(&count);
    }
    if (result == TMB_CUDA_NO_DEVICE || (result == TMB_CUDA_SUCCESS && count == 0)) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "no GPU that the NVIDIA driver can use");
    }
    if (result != TMB_CUDA_SUCCESS) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "the NVIDIA driver does not start: %s (%d)",
                        tmb_cuda_result_name(result), result);
    }
    if (cuda->version < TMB_CUDA_VERSION_MIN) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "the NVIDIA driver is for CUDA %d.%d, at least %d.%d is needed",
                        cuda->version / 1000, cuda->version % 1000 / 10, TMB_CUDA_VERSION_MIN / 1000,
                        TMB_CUDA_VERSION_MIN % 1000 / 10);
    }
    return TMB_OK;
}

static void load_once(void) { loaded.status = load(&loaded.cuda, &loaded.error); }

tmb_status tmb_cuda_load(const tmb_cuda **out, tmb_error *error) {
    (void)pthread_once(&loaded.once, load_once);
    *out = loaded.status == TMB_OK ? &loaded.cuda : NULL;
    if (loaded.status != TMB_OK && error != NULL) {
        *error = loaded.error;
    }
    return loaded.status;
}
