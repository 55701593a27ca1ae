/* Looking at one tensor: shape, reading, converting to f32. */
#include "weights/safetensors.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* "[2048, 1024]" */
static void format_shape(char *text, size_t capacity, int rank, const size_t *dims) {
    size_t used = (size_t)snprintf(text, capacity, "[");
    for (int i = 0; i < rank && used < capacity; i++) {
        used += (size_t)snprintf(text + used, capacity - used, i == 0 ? "%zu" : ", %zu", dims[i]);
    }
    if (used < capacity) {
        (void)snprintf(text + used, capacity - used, "]");
    }
}

tmb_status tmb_tensor_require(const tmb_safetensors *safetensors, const char *name, int rank, const size_t *dims,
                              const tmb_tensor **out, tmb_error *error) {
    *out = NULL;
    const tmb_tensor *tensor = tmb_safetensors_find(safetensors, name);
    if (tensor == NULL) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: tensor \"%.100s\" is missing", tmb_safetensors_path(safetensors),
                        name);
    }
    bool equal = tensor->rank == rank;
    for (int i = 0; i < rank && equal; i++) {
        equal = tensor->dims[i] == dims[i];
    }
    if (!equal) {
        char found[96];
        char wanted[96];
        format_shape(found, sizeof found, tensor->rank, tensor->dims);
        format_shape(wanted, sizeof wanted, rank, dims);
        return tmb_fail(error, TMB_ERROR_MODEL,
                        "%s: tensor \"%.100s\" has the shape %s, but the configuration asks for %s",
                        tmb_safetensors_path(safetensors), name, found, wanted);
    }
    *out = tensor;
    return TMB_OK;
}

void tmb_tensor_release(const tmb_tensor *tensor) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)tensor->data + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)tensor->data + tensor->bytes) / page * page;
    if (begin < end) {
        (void)madvise((void *)begin, end - begin, MADV_DONTNEED); /* a refusal costs memory for some time */
    }
}

static float half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1fu;
    uint32_t mantissa = half & 0x3ffu;
    uint32_t bits;
    if (exponent == 0x1f) {
        bits = sign | 0x7f800000u | mantissa << 13;
    } else if (exponent != 0) {
        bits = sign | (exponent + 112) << 23 | mantissa << 13;
    } else {
        /* Subnormal: mantissa / 2^24, exact in f32. */
        float value = (float)mantissa * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void convert(tmb_dtype dtype, const void *in, size_t count, float *out) {
    const uint16_t *halves = in;
    if (dtype == TMB_DTYPE_F32) {
        memcpy(out, in, count * sizeof *out);
    } else if (dtype == TMB_DTYPE_BF16) {
        for (size_t i = 0; i < count; i++) {
            uint32_t bits = (uint32_t)halves[i] << 16;
            memcpy(&out[i], &bits, sizeof bits);
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            out[i] = half_to_float(halves[i]);
        }
    }
}

/* Whether all bits of an exponent are set in any element: infinity or NaN. Plain loops, which compilers turn into
 * vectors. */
static bool any_special_16(const uint16_t *values, size_t count, uint16_t exponent) {
    uint16_t found = 0;
    for (size_t i = 0; i < count; i++) {
        found |= (uint16_t) - ((values[i] & exponent) == exponent);
    }
    return found != 0;
}

static bool any_special_32(const uint32_t *values, size_t count) {
    uint32_t found = 0;
    for (size_t i = 0; i < count; i++) {
        found |= (uint32_t) - ((values[i] & 0x7f800000u) == 0x7f800000u);
    }
    return found != 0;
}

static bool any_special(tmb_dtype dtype, const void *data, size_t count) {
    return dtype == TMB_DTYPE_F32 ? any_special_32(data, count)
                                  : any_special_16(data, count, dtype == TMB_DTYPE_BF16 ? 0x7f80u : 0x7c00u);
}

tmb_status tmb_tensor_check_finite(const tmb_tensor *tensor, const void *data, size_t begin, size_t count,
                                   tmb_error *error) {
    if (!any_special(tensor->dtype, data, count)) {
        return TMB_OK;
    }
    size_t size = tmb_dtype_size(tensor->dtype);
    size_t first = 0;
    while (!any_special(tensor->dtype, (const char *)data + first * size, 1)) {
        first++;
    }
    float value = 0;
    convert(tensor->dtype, (const char *)data + first * size, 1, &value);
    return tmb_fail(error, TMB_ERROR_MODEL,
                    "tensor \"%.100s\": its element %zu of %zu is %s: the file is damaged, or the training failed",
                    tensor->name, begin + first, tensor->count, value != value ? "not a number (NaN)" : "infinite");
}

static tmb_status check_dtype(const tmb_tensor *tensor, tmb_error *error) {
    if (tensor->dtype != TMB_DTYPE_F32 && tensor->dtype != TMB_DTYPE_F16 && tensor->dtype != TMB_DTYPE_BF16) {
        return tmb_fail(error, TMB_ERROR_MODEL, "tensor \"%.100s\" has the dtype %s; F32, F16 and BF16 can be used",
                        tensor->name, tmb_dtype_name(tensor->dtype));
    }
    return TMB_OK;
}

tmb_status tmb_tensor_read(const tmb_tensor *tensor, size_t begin, size_t bytes, void *out, tmb_error *error) {
    size_t end = 0;
    if (!tmb_add_size(begin, bytes, &end) || end > tensor->bytes) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "tensor \"%.100s\" has %zu bytes", tensor->name, tensor->bytes);
    }
    return tmb_file_read_at(tensor->file, tensor->offset + begin, out, bytes, tensor->name, error);
}

tmb_status tmb_tensor_read_f32(const tmb_tensor *tensor, size_t begin, size_t count, float *out, tmb_error *error) {
    tmb_status status = check_dtype(tensor, error);
    size_t end = 0;
    if (status != TMB_OK) {
        return status;
    }
    if (!tmb_add_size(begin, count, &end) || end > tensor->count) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "tensor \"%.100s\" has %zu elements", tensor->name, tensor->count);
    }
    if (tensor->dtype == TMB_DTYPE_F32) {
        status = tmb_tensor_read(tensor, begin * sizeof *out, count * sizeof *out, out, error);
        return status == TMB_OK ? tmb_tensor_check_finite(tensor, out, begin, count, error) : status;
    }
    uint16_t buffer[8192];
    while (count != 0 && status == TMB_OK) {
        size_t part = count < 8192 ? count : 8192;
        status = tmb_tensor_read(tensor, begin * sizeof *buffer, part * sizeof *buffer, buffer, error);
        if (status == TMB_OK) {
            status = tmb_tensor_check_finite(tensor, buffer, begin, part, error);
        }
        if (status == TMB_OK) {
            convert(tensor->dtype, buffer, part, out);
        }
        begin += part;
        out += part;
        count -= part;
    }
    return status;
}

tmb_status tmb_tensor_load_f32(const tmb_safetensors *safetensors, const char *name, int rank, const size_t *dims,
                               float **out, tmb_error *error) {
    *out = NULL;
    const tmb_tensor *tensor = NULL;
    tmb_status status = tmb_tensor_require(safetensors, name, rank, dims, &tensor, error);
    if (status != TMB_OK) {
        return status;
    }
    float *values = tmb_alloc_aligned(tensor->count, sizeof *values);
    if (values == NULL) {
        return tmb_fail_memory(error, name, tensor->count * sizeof *values);
    }
    status = tmb_tensor_read_f32(tensor, 0, tensor->count, values, error);
    if (status != TMB_OK) {
        tmb_error_prefix(error, "%s", tmb_safetensors_path(safetensors));
        free(values);
        return status;
    }
    *out = values;
    return TMB_OK;
}
