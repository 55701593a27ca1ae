/* What the encoders' layers are made of: where weights and buffers lie, how weights go up, one convolution. */
#include "tts/qwen3/cuda/cuda_encoders.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/sizes.h"

#include <stdlib.h>

/* Addresses are multiples of this, as kernels want of floats that they fetch together. */
#define ALIGNMENT 256

tmb_gpu_address tmb_cuda_take(tmb_cuda_stretch *stretch, size_t a, size_t b) {
    size_t bytes = 0, next = 0;
    if (!tmb_mul_size(a, b, &bytes) || !tmb_mul_size(bytes, sizeof(float), &bytes) ||
        !tmb_pad_size(bytes, ALIGNMENT, &bytes) || !tmb_add_size(stretch->used, bytes, &next)) {
        stretch->absurd = true;
        return 0;
    }
    tmb_gpu_address address = stretch->from + stretch->used;
    stretch->used = next;
    return address;
}

tmb_cuda_filter tmb_cuda_take_filter(tmb_cuda_stretch *stretch, size_t taps, size_t in, size_t out, bool bias) {
    tmb_cuda_filter filter = {.taps = taps, .in = in, .out = out, .stride = 1, .dilation = 1};
    size_t padded = 0, depth = 0;
    if (!tmb_pad_size(out, TMB_ENCODE_OUTPUTS, &padded) || !tmb_mul_size(taps, in, &depth)) {
        stretch->absurd = true;
    }
    filter.weights = tmb_cuda_take(stretch, depth, padded);
    filter.bias = bias ? tmb_cuda_take(stretch, out, 1) : 0;
    return filter;
}

static int32_t or_else(int32_t value, size_t other) { return value != 0 ? value : (int32_t)other; }

void tmb_cuda_filter_run(tmb_gpu_recorder *recorder, const tmb_cuda_filter *filter,
                         const tmb_encode_convolve_arguments *run) {
    tmb_encode_convolve_arguments a = *run;
    a.weights = filter->weights;
    a.bias = filter->bias;
    a.in = (int32_t)filter->in;
    a.taps = (int32_t)filter->taps;
    a.stride = (int32_t)filter->stride;
    a.dilation = (int32_t)filter->dilation;
    a.outputs = or_else(a.outputs, filter->out);
    a.x_pitch = or_else(a.x_pitch, filter->in);
    a.out_pitch = or_else(a.out_pitch, filter->out);
    a.end = or_else(a.end, (size_t)a.rows);
    tmb_gpu_kernel(recorder, TMB_KERNEL_tmb_encode_convolve,
                   (tmb_gpu_grid){(unsigned)tmb_ceil_div((size_t)a.rows, TMB_ENCODE_ROWS),
                                  (unsigned)tmb_ceil_div((size_t)a.outputs, TMB_ENCODE_OUTPUTS), 1, 128},
                   &a);
}

/* ---- Weights ---- */

void tmb_cuda_fill_floats(tmb_cuda_filling *filling, tmb_gpu_address to, const float *from, size_t count) {
    if (filling->status == TMB_OK) {
        filling->status = tmb_gpu_upload(filling->gpu, filling->stream, to, from, count * sizeof *from, filling->error);
    }
}

/* A panel: [depth][outputs]; what there is no output for is 0. */
static void fill_panel(const tmb_conv *from, size_t first, float *row, float *panel) {
    size_t depth = from->taps * from->in;
    for (size_t o = 0; o < TMB_ENCODE_OUTPUTS; o++) {
        if (first + o < from->out) {
            tmb_conv_unpack(from, first + o, row);
        }
        for (size_t k = 0; k < depth; k++) {
            panel[k * TMB_ENCODE_OUTPUTS + o] = first + o < from->out ? row[k] : 0;
        }
    }
}

void tmb_cuda_fill_filter(tmb_cuda_filling *filling, const tmb_cuda_filter *filter, const tmb_conv *from) {
    size_t depth = filter->taps * filter->in, floats = depth * TMB_ENCODE_OUTPUTS;
    float *row = tmb_calloc(depth, sizeof *row), *panel = tmb_calloc(floats, sizeof *panel);
    if (filling->status == TMB_OK && (row == NULL || panel == NULL)) {
        filling->status = tmb_fail_memory(filling->error, "an encoder's weights", floats * sizeof *panel);
    }
    for (size_t first = 0; first < filter->out && filling->status == TMB_OK; first += TMB_ENCODE_OUTPUTS) {
        fill_panel(from, first, row, panel);
        tmb_cuda_fill_floats(filling, filter->weights + first * depth * sizeof *panel, panel, floats);
    }
    if (filter->bias != 0) {
        tmb_cuda_fill_floats(filling, filter->bias, from->bias, filter->out);
    }
    free(row);
    free(panel);
}
