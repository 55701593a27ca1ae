#include "gpu/driver.h"

#include "base/error.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    tmb_cuda_result result;
    const char *name;
    bool sticky;
} results[] = {
    {1, "CUDA_ERROR_INVALID_VALUE", false},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", false},
    {3, "CUDA_ERROR_NOT_INITIALIZED", false},
    {4, "CUDA_ERROR_DEINITIALIZED", false},
    {100, "CUDA_ERROR_NO_DEVICE", false},
    {101, "CUDA_ERROR_INVALID_DEVICE", false},
    {200, "CUDA_ERROR_INVALID_IMAGE", false},
    {201, "CUDA_ERROR_INVALID_CONTEXT", false},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", false},
    {214, "CUDA_ERROR_ECC_UNCORRECTABLE", true},
    {218, "CUDA_ERROR_INVALID_PTX", false},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", false},
    {304, "CUDA_ERROR_OPERATING_SYSTEM", false},
    {400, "CUDA_ERROR_INVALID_HANDLE", false},
    {500, "CUDA_ERROR_NOT_FOUND", false},
    {600, "CUDA_ERROR_NOT_READY", false},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", true},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", false},
    {702, "CUDA_ERROR_LAUNCH_TIMEOUT", true},
    {710, "CUDA_ERROR_ASSERT", true},
    {714, "CUDA_ERROR_HARDWARE_STACK_ERROR", true},
    {715, "CUDA_ERROR_ILLEGAL_INSTRUCTION", true},
    {716, "CUDA_ERROR_MISALIGNED_ADDRESS", true},
    {717, "CUDA_ERROR_INVALID_ADDRESS_SPACE", true},
    {718, "CUDA_ERROR_INVALID_PC", true},
    {719, "CUDA_ERROR_LAUNCH_FAILED", true},
    {802, "CUDA_ERROR_SYSTEM_NOT_READY", false},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", false},
    {999, "CUDA_ERROR_UNKNOWN", true},
};

const char *tmb_cuda_result_name(tmb_cuda_result result) {
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
        if (results[i].result == result) {
            return results[i].name;
        }
    }
    return "an unknown error";
}

bool tmb_cuda_is_sticky(tmb_cuda_result result) {
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
        if (results[i].result == result) {
            return results[i].sticky;
        }
    }
    return false;
}

tmb_status tmb_cuda_check(tmb_cuda_result result, const char *call, tmb_error *error) {
    if (result == TMB_CUDA_SUCCESS) {
        return TMB_OK;
    }
    return tmb_fail(error, result == TMB_CUDA_OUT_OF_MEMORY ? TMB_ERROR_MEMORY : TMB_ERROR_INTERNAL,
                    "the GPU: %s came to %s (%d)", call, tmb_cuda_result_name(result), result);
}

/* The attempt to load, made once. */
static struct {
    pthread_once_t once;
    tmb_cuda cuda;
    tmb_status status;
    tmb_error error;
} loaded = {.once = PTHREAD_ONCE_INIT};

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
