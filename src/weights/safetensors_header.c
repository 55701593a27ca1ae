#include "weights/safetensors_header.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "weights/json.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[TMB_DTYPE_COUNT] = {
    [TMB_DTYPE_F32] = {"F32", 4},   [TMB_DTYPE_F16] = {"F16", 2},         [TMB_DTYPE_BF16] = {"BF16", 2},
    [TMB_DTYPE_F64] = {"F64", 8},   [TMB_DTYPE_I64] = {"I64", 8},         [TMB_DTYPE_I32] = {"I32", 4},
    [TMB_DTYPE_I16] = {"I16", 2},   [TMB_DTYPE_I8] = {"I8", 1},           [TMB_DTYPE_U64] = {"U64", 8},
    [TMB_DTYPE_U32] = {"U32", 4},   [TMB_DTYPE_U16] = {"U16", 2},         [TMB_DTYPE_U8] = {"U8", 1},
    [TMB_DTYPE_BOOL] = {"BOOL", 1}, [TMB_DTYPE_F8_E4M3] = {"F8_E4M3", 1}, [TMB_DTYPE_F8_E5M2] = {"F8_E5M2", 1},
};

size_t tmb_dtype_size(tmb_dtype dtype) { return dtypes[dtype].size; }

const char *tmb_dtype_name(tmb_dtype dtype) { return dtypes[dtype].name; }

/* A tensor's name in messages: names from a file may be long. */
#define NAME_FORMAT "\"%.100s\""

static tmb_status parse_shape(const char *file, const char *name, const json_t *shape, tmb_tensor *tensor,
                              tmb_error *error) {
    if (!json_is_array(shape)) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, file, "tensor " NAME_FORMAT " has no shape", name);
    }
    size_t rank = json_array_size(shape);
    if (rank > TMB_TENSOR_RANK_MAX) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, file, "tensor " NAME_FORMAT " has %zu dimensions, more than %d",
                              name, rank, TMB_TENSOR_RANK_MAX);
    }
    tensor->rank = (int)rank;
    tensor->count = 1;
    for (size_t i = 0; i < rank; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0) {
            return tmb_fail_named(error, TMB_ERROR_FORMAT, file,
                                  "tensor " NAME_FORMAT ": dimension %zu is not a whole number from 0 on", name, i);
        }
        tensor->dims[i] = (size_t)json_integer_value(dim);
        if (!tmb_mul_size(tensor->count, tensor->dims[i], &tensor->count)) {
            return tmb_fail_named(error, TMB_ERROR_FORMAT, file,
                                  "tensor " NAME_FORMAT ": its shape is too large for any memory", name);
        }
    }
    return TMB_OK;
}

/* Fills everything but name and data; `data_bytes` is the length of the file's data part, *begin where
 * the tensor lies in it. */
static tmb_status parse_tensor(const char *file, const char *name, const json_t *entry, uint64_t data_bytes,
                               tmb_tensor *tensor, uint64_t *begin, tmb_error *error) {
    if (!json_is_object(entry)) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, file, "tensor " NAME_FORMAT " is not described by an object",
                              name);
    }
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (dtype == NULL) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, file, "tensor " NAME_FORMAT " has no dtype", name);
    }
    size_t index = 0;
    while (index < TMB_DTYPE_COUNT && strcmp(dtypes[index].name, dtype) != 0) {
        index++;
    }
    if (index == TMB_DTYPE_COUNT) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, file, "tensor " NAME_FORMAT " has the unknown dtype \"%.20s\"",
                              name, dtype);
    }
    tensor->dtype = (tmb_dtype)index;
    tmb_status status = parse_shape(file, name, json_object_get(entry, "shape"), tensor, error);
    if (status != TMB_OK) {
        return status;
    }
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(offsets, 0);
    const json_t *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last) ||
        json_integer_value(first) < 0) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, file, "tensor " NAME_FORMAT " has no valid data_offsets", name);
    }
    if (json_integer_value(first) > json_integer_value(last)) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, file, "tensor " NAME_FORMAT " ends before it begins", name);
    }
    *begin = (uint64_t)json_integer_value(first);
    uint64_t end = (uint64_t)json_integer_value(last);
    if (end > data_bytes) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, file,
                              "tensor " NAME_FORMAT " ends at byte %llu of the data, but the file has %llu (is the "
                              "download complete?)",
                              name, (unsigned long long)end, (unsigned long long)data_bytes);
    }
    tensor->bytes = (size_t)(end - *begin);
    size_t wanted = 0;
    if (!tmb_mul_size(tensor->count, dtypes[index].size, &wanted) || wanted != tensor->bytes) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, file,
                              "tensor " NAME_FORMAT " has %zu bytes, but its shape and dtype need %zu", name,
                              tensor->bytes, wanted);
    }
    return TMB_OK;
}

static int compare_offsets(const void *a, const void *b) {
    const tmb_tensor *left = a;
    const tmb_tensor *right = b;
    if (left->offset != right->offset) {
        return left->offset < right->offset ? -1 : 1;
    }
    if (left->bytes != right->bytes) {
        return left->bytes < right->bytes ? -1 : 1; /* empty tensors first */
    }
    return strcmp(left->name, right->name);
}

/* The tensors must cover the data without overlap and without a hole: the format demands it, and a file
 * that hides bytes or shares them was not made by a writer of this format. */
static tmb_status check_tiling(const char *file, const tmb_tensor *tensors, size_t count, uint64_t data_begin,
                               uint64_t size, tmb_error *error) {
    uint64_t position = data_begin;
    for (size_t i = 0; i < count; i++) {
        if (tensors[i].offset < position) {
            return tmb_fail_named(error, TMB_ERROR_FORMAT, file, "tensor " NAME_FORMAT " overlaps the one before it",
                                  tensors[i].name);
        }
        if (tensors[i].offset > position) {
            return tmb_fail_named(error, TMB_ERROR_FORMAT, file, "%llu unused bytes before tensor " NAME_FORMAT,
                                  (unsigned long long)(tensors[i].offset - position), tensors[i].name);
        }
        if (tensors[i].offset % dtypes[tensors[i].dtype].size != 0) {
            return tmb_fail_named(error, TMB_ERROR_FORMAT, file,
                                  "tensor " NAME_FORMAT " is not aligned to its elements", tensors[i].name);
        }
        position += tensors[i].bytes;
    }
    if (position != size) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, file, "%llu bytes after the last tensor",
                              (unsigned long long)(size - position));
    }
    return TMB_OK;
}

void tmb_safetensors_header_free(tmb_tensor *tensors, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free((char *)tensors[i].name);
    }
    free(tensors);
}

static tmb_status list_tensors(const char *file, json_t *root, const unsigned char *bytes, uint64_t data_begin,
                               uint64_t size, tmb_tensor *tensors, size_t *count, tmb_error *error) {
    const char *name = NULL;
    json_t *entry = NULL;
    json_object_foreach(root, name, entry) {
        if (strcmp(name, "__metadata__") == 0) {
            continue;
        }
        tmb_tensor *tensor = &tensors[*count];
        uint64_t begin = 0;
        tmb_status status = parse_tensor(file, name, entry, size - data_begin, tensor, &begin, error);
        if (status != TMB_OK) {
            return status;
        }
        tensor->offset = data_begin + begin;
        tensor->data = bytes + tensor->offset;
        tensor->name = tmb_strdup(name);
        if (tensor->name == NULL) {
            return tmb_fail_memory(error, "the list of tensors", 0);
        }
        (*count)++;
    }
    qsort(tensors, *count, sizeof *tensors, compare_offsets);
    return check_tiling(file, tensors, *count, data_begin, size, error);
}

tmb_status tmb_safetensors_header_parse(const char *file, const unsigned char *bytes, uint64_t size, tmb_tensor **out,
                                        size_t *count, tmb_error *error) {
    *out = NULL;
    *count = 0;
    if (size < 8) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, file, "not a safetensors file: only %llu bytes",
                              (unsigned long long)size);
    }
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--) {
        length = length << 8 | bytes[i];
    }
    if (length > TMB_SAFETENSORS_HEADER_MAX) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, file,
                              "not a safetensors file: a header of %llu bytes, over the %d limit",
                              (unsigned long long)length, TMB_SAFETENSORS_HEADER_MAX);
    }
    if (length > size - 8) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, file, "the header has %llu bytes, but the file ends after %llu",
                              (unsigned long long)length, (unsigned long long)(size - 8));
    }
    const char *header = (const char *)bytes + 8;
    if (length < 2 || header[0] != '{') {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, file,
                              "not a safetensors file: the header does not begin with {");
    }
    size_t objects = 0;
    for (size_t i = 0; i < length; i++) {
        objects += header[i] == '{';
    }
    if (objects > TMB_SAFETENSORS_TENSORS_MAX) {
        return tmb_fail_named(error, TMB_ERROR_LIMIT, file, "more than %d tensors", TMB_SAFETENSORS_TENSORS_MAX);
    }
    json_t *root = NULL;
    tmb_status status = tmb_json_parse(file, header, (size_t)length, &root, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_tensor *tensors = tmb_calloc(json_object_size(root) + 1, sizeof *tensors);
    if (tensors == NULL) {
        json_decref(root);
        return tmb_fail_memory(error, "the list of tensors", 0);
    }
    status = list_tensors(file, root, bytes, 8 + length, size, tensors, count, error);
    json_decref(root);
    if (status != TMB_OK) {
        tmb_safetensors_header_free(tensors, *count);
        *count = 0;
        return status;
    }
    *out = tensors;
    return TMB_OK;
}
