#include "tts/qwen3/cpu/layers.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The name with `suffix`; TMB_ERROR_INTERNAL if it is too long. */
static TMB_PRINTF(4, 0) tmb_status
    make_name(char *out, const char *suffix, tmb_error *error, const char *name, va_list arguments) {
    int length = vsnprintf(out, TMB_LAYER_NAME_MAX, name, arguments);
    if (length < 0 || (size_t)length + strlen(suffix) >= TMB_LAYER_NAME_MAX) {
        return tmb_fail(error, TMB_ERROR_INTERNAL, "tensor name %.40s... is too long", name);
    }
    memcpy(out + length, suffix, strlen(suffix) + 1);
    return TMB_OK;
}

static tmb_status load(const tmb_safetensors *weights, const size_t dims[3], float **out, tmb_error *error,
                       const char *name) {
    int rank = dims[2] != 0 ? 3 : dims[1] != 0 ? 2 : 1;
    return tmb_tensor_load_f32(weights, name, rank, dims, out, error);
}

tmb_status tmb_layer_vector(const tmb_safetensors *weights, size_t size, float **out, tmb_error *error,
                            const char *name, ...) {
    char full[TMB_LAYER_NAME_MAX];
    va_list arguments;
    va_start(arguments, name);
    tmb_status status = make_name(full, "", error, name, arguments);
    va_end(arguments);
    *out = NULL;
    return status == TMB_OK ? load(weights, (size_t[]){size, 0, 0}, out, error, full) : status;
}

tmb_status tmb_layer_tensor(const tmb_safetensors *weights, size_t dim0, size_t dim1, size_t dim2, float **out,
                            tmb_error *error, const char *name, ...) {
    char full[TMB_LAYER_NAME_MAX];
    va_list arguments;
    va_start(arguments, name);
    tmb_status status = make_name(full, "", error, name, arguments);
    va_end(arguments);
    *out = NULL;
    return status == TMB_OK ? load(weights, (size_t[]){dim0, dim1, dim2}, out, error, full) : status;
}

tmb_status tmb_layer_require(const tmb_safetensors *weights, size_t dim0, size_t dim1, size_t dim2, tmb_error *error,
                             const char *name, ...) {
    char full[TMB_LAYER_NAME_MAX];
    va_list arguments;
    va_start(arguments, name);
    tmb_status status = make_name(full, "", error, name, arguments);
    va_end(arguments);
    const tmb_tensor *tensor = NULL;
    int rank = dim2 != 0 ? 3 : dim1 != 0 ? 2 : 1;
    if (status == TMB_OK) {
        status = tmb_tensor_require(weights, full, rank, (size_t[]){dim0, dim1, dim2}, &tensor, error);
    }
    float first = 0; /* whether it can be read */
    return status == TMB_OK ? tmb_tensor_read_f32(tensor, 0, 1, &first, error) : status;
}

/* A tensor's floats: in the mapping if it has floats, otherwise converted in new memory. It is used at once, as
 * safetensors.h asks for what is read from the mapping, and then closed. With `look` the values are going to be read,
 * so they must be numbers; without it only the shape counts, and no page of the mapping is touched. */
typedef struct view {
    const float *values;
    float *owned;             /* NULL: mapped */
    const tmb_tensor *mapped; /* NULL: owned */
} view;

static tmb_status open_view(const tmb_safetensors *weights, const size_t dims[3], bool look, view *out,
                            tmb_error *error, const char *name) {
    *out = (view){0};
    const tmb_tensor *tensor = tmb_safetensors_find(weights, name);
    if (tensor == NULL || tensor->dtype != TMB_DTYPE_F32) {
        tmb_status status = load(weights, dims, &out->owned, error, name);
        out->values = out->owned;
        return status;
    }
    int rank = dims[2] != 0 ? 3 : dims[1] != 0 ? 2 : 1;
    tmb_status status = tmb_tensor_require(weights, name, rank, dims, &tensor, error);
    if (status == TMB_OK) {
        status = tmb_safetensors_check(weights, error);
    }
    if (status == TMB_OK && look) {
        status = tmb_tensor_check_finite(tensor, tensor->data, 0, tensor->count, error);
    }
    if (status == TMB_OK) {
        out->mapped = tensor;
        out->values = tensor->data;
    }
    return status;
}

static void close_view(view *v) {
    if (v->mapped != NULL) {
        tmb_tensor_release(v->mapped);
    }
    free(v->owned);
}

/* Loads STEM.weight and STEM.bias and packs them. `source` lacks its data, which begins `first` floats into the
 * tensor; `group` outputs have a bias of their own. */
static tmb_status load_and_pack(tmb_conv *conv, const tmb_safetensors *weights, char *stem, const size_t dims[3],
                                tmb_conv_source source, size_t first, const tmb_conv_shape *shape, tmb_error *error) {
    view weight;
    float *bias = NULL;
    char name[TMB_LAYER_NAME_MAX + 8];
    (void)snprintf(name, sizeof name, "%s.weight", stem);
    tmb_status status = open_view(weights, dims, shape->type != TMB_CONV_EMPTY, &weight, error, name);
    if (status == TMB_OK && shape->bias) {
        (void)snprintf(name, sizeof name, "%s.bias", stem);
        status = load(weights, (size_t[]){source.group, 0, 0}, &bias, error, name);
    }
    if (status == TMB_OK) {
        source.data = weight.values + first;
        status =
            tmb_conv_create(conv, &source, bias, shape->type, shape->taps, shape->in, shape->out,
                            shape->stride != 0 ? shape->stride : 1, shape->dilation != 0 ? shape->dilation : 1, error);
        if (status != TMB_OK) {
            tmb_error_prefix(error, "%s", stem);
        }
    }
    close_view(&weight);
    free(bias);
    return status;
}

tmb_status tmb_layer_conv(tmb_conv *conv, const tmb_safetensors *weights, const tmb_conv_shape *shape, tmb_error *error,
                          const char *name, ...) {
    char stem[TMB_LAYER_NAME_MAX];
    va_list arguments;
    va_start(arguments, name);
    tmb_status status = make_name(stem, "", error, name, arguments);
    va_end(arguments);
    memset(conv, 0, sizeof *conv);
    if (status != TMB_OK) {
        return status;
    }
    tmb_conv_source source = {
        .tap = 1, .in = (ptrdiff_t)shape->taps, .out = (ptrdiff_t)(shape->in * shape->taps), .group = shape->out};
    return load_and_pack(conv, weights, stem, (size_t[]){shape->out, shape->in, shape->taps}, source, 0, shape, error);
}

tmb_status tmb_layer_linear(tmb_conv *conv, const tmb_safetensors *weights, tmb_conv_type type, size_t in, size_t out,
                            bool bias, tmb_error *error, const char *name, ...) {
    char stem[TMB_LAYER_NAME_MAX];
    va_list arguments;
    va_start(arguments, name);
    tmb_status status = make_name(stem, "", error, name, arguments);
    va_end(arguments);
    memset(conv, 0, sizeof *conv);
    if (status != TMB_OK) {
        return status;
    }
    tmb_conv_shape shape = {.taps = 1, .in = in, .out = out, .bias = bias, .type = type};
    tmb_conv_source source = {.tap = 0, .in = 1, .out = (ptrdiff_t)in, .group = out};
    return load_and_pack(conv, weights, stem, (size_t[]){out, in, 0}, source, 0, &shape, error);
}

tmb_status tmb_layer_transposed(tmb_conv *conv, const tmb_safetensors *weights, tmb_conv_type type, size_t taps,
                                size_t stride, size_t in, size_t out, tmb_error *error, const char *name, ...) {
    char stem[TMB_LAYER_NAME_MAX];
    va_list arguments;
    va_start(arguments, name);
    tmb_status status = make_name(stem, "", error, name, arguments);
    va_end(arguments);
    memset(conv, 0, sizeof *conv);
    if (status != TMB_OK) {
        return status;
    }
    /* Step j of an output row takes input row -q through tap q * stride + j: the oldest row is the first tap. */
    tmb_conv_shape shape = {.taps = taps / stride, .in = in, .out = stride * out, .bias = true, .type = type};
    tmb_conv_source source = {.tap = -(ptrdiff_t)stride,
                              .in = (ptrdiff_t)(out * taps),
                              .out = (ptrdiff_t)taps,
                              .group = out,
                              .group_pitch = 1};
    return load_and_pack(conv, weights, stem, (size_t[]){in, out, taps}, source, (shape.taps - 1) * stride, &shape,
                         error);
}

tmb_status tmb_layer_joined(tmb_conv *conv, const tmb_safetensors *weights, tmb_conv_type type, const char *prefix,
                            const char *const *names, const size_t *outs, size_t count, size_t in, tmb_error *error) {
    memset(conv, 0, sizeof *conv);
    size_t out = 0;
    for (size_t i = 0; i < count; i++) {
        out += outs[i];
    }
    float *all = NULL;
    size_t values = 0;
    if (tmb_mul_size(out, in, &values)) {
        all = tmb_alloc_aligned(type == TMB_CONV_EMPTY ? 0 : values, sizeof *all);
    }
    if (all == NULL) {
        return tmb_fail_memory(error, prefix, 0);
    }
    tmb_status status = TMB_OK;
    float *next = all;
    for (size_t i = 0; i < count && status == TMB_OK; i++) {
        view weight;
        char name[TMB_LAYER_NAME_MAX];
        (void)snprintf(name, sizeof name, "%s%s.weight", prefix, names[i]);
        status = open_view(weights, (size_t[]){outs[i], in, 0}, type != TMB_CONV_EMPTY, &weight, error, name);
        if (status == TMB_OK && type != TMB_CONV_EMPTY) {
            memcpy(next, weight.values, outs[i] * in * sizeof *next);
            next += outs[i] * in;
        }
        close_view(&weight);
    }
    if (status == TMB_OK) {
        tmb_conv_source source = {.data = all, .tap = 0, .in = 1, .out = (ptrdiff_t)in, .group = out};
        status = tmb_conv_create(conv, &source, NULL, type, 1, in, out, 1, 1, error);
    }
    free(all);
    return status;
}
