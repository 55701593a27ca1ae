/* The convolutions of a network's graph. */
#include "enhance/graph_reader_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "kernels/gemm_f32.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A Conv or ConvTranspose: weights [outputs, group_inputs, frames, taps] (transposed: inputs first). */
typedef struct conv {
    size_t outputs, group_inputs, frames, taps;
    size_t groups, stride, pad, output_pad;
    float *weights;
    float *bias; /* [channels that come out], zeros if it has none */
} conv;

static void free_conv(conv *c) {
    free(c->weights);
    free(c->bias);
    c->weights = NULL;
    c->bias = NULL;
}

/* False, and failed, if it is not a convolution of this kind, over time on the left only (which pads are Pad nodes)
 * and over frequencies with equal pads. */
static bool read_conv(tmb_graph_reader *reader, const char *op, conv *c) {
    *c = (conv){.weights = NULL};
    const tmb_onnx_node *node = tmb_graph_expect(reader, op);
    const tmb_onnx_tensor *tensor = NULL;
    size_t group = 0;
    size_t strides[2];
    size_t pads[4];
    size_t dilations[2];
    size_t output_pads[2];
    if (node == NULL || !tmb_graph_attribute(reader, node, "group", 1, 1, &group) ||
        !tmb_graph_attribute(reader, node, "strides", 2, 1, strides) ||
        !tmb_graph_attribute(reader, node, "pads", 4, 0, pads) ||
        !tmb_graph_attribute(reader, node, "dilations", 2, 1, dilations) ||
        !tmb_graph_attribute(reader, node, "output_padding", 2, 0, output_pads)) {
        return false;
    }
    c->weights = tmb_graph_constant(reader, node, 1, 4, &tensor);
    if (c->weights == NULL) {
        return false;
    }
    const bool transposed = strcmp(op, "ConvTranspose") == 0;
    c->outputs = tensor->dims[0];
    c->group_inputs = tensor->dims[1];
    c->frames = tensor->dims[2];
    c->taps = tensor->dims[3];
    c->groups = group;
    c->stride = strides[1];
    c->pad = pads[1];
    c->output_pad = output_pads[1];
    const char *padding = NULL;
    const tmb_onnx_text auto_pad = tmb_onnx_string(node, "auto_pad");
    if (group == 0 || group > TMB_GRAPH_MAX_CHANNELS || c->outputs > TMB_GRAPH_MAX_CHANNELS ||
        c->group_inputs > TMB_GRAPH_MAX_CHANNELS || c->outputs % group != 0 || c->frames > TMB_GRAPH_MAX_KERNEL ||
        c->taps > TMB_GRAPH_MAX_KERNEL) {
        padding = "an unexpected shape";
    } else if (strides[0] != 1 || strides[1] < 1 || strides[1] > TMB_GRAPH_MAX_KERNEL || dilations[0] != 1 ||
               dilations[1] != 1) {
        padding = "unexpected strides or dilations";
    } else if (pads[0] != 0 || pads[2] != 0 || pads[1] != pads[3] || pads[1] >= c->taps || output_pads[0] != 0 ||
               output_pads[1] > strides[1] || (auto_pad.length > 0 && !tmb_onnx_text_equals(auto_pad, "NOTSET"))) {
        padding = "unexpected pads";
    }
    if (padding != NULL) {
        tmb_graph_fail_shape(reader, node, padding);
        free_conv(c);
        return false;
    }
    const size_t channels = transposed ? c->group_inputs * group : c->outputs;
    if (node->input_count > 2 && node->inputs[2].length > 0) {
        c->bias = tmb_graph_constant(reader, node, 2, 1, &tensor);
        if (c->bias != NULL && tensor->elements != channels) {
            tmb_graph_fail_shape(reader, node, "a bias of an unexpected shape");
        }
    } else {
        c->bias = tmb_calloc(channels, sizeof(float));
        if (c->bias == NULL) {
            reader->status = tmb_fail_memory(reader->error, "a layer's bias", channels * sizeof(float));
        }
    }
    if (tmb_graph_failed(reader)) {
        free_conv(c);
        return false;
    }
    return true;
}

static void fail_conv(tmb_graph_reader *reader, const char *what) {
    if (!tmb_graph_failed(reader)) {
        tmb_graph_fail_shape(reader, &reader->graph->nodes[reader->node - 1], what);
    }
}

/* A 1x1 convolution of all channels. */
static bool read_pointwise(tmb_graph_reader *reader, size_t channels, conv *c) {
    if (!read_conv(reader, "Conv", c)) {
        return false;
    }
    if (c->frames != 1 || c->taps != 1 || c->groups != 1 || c->stride != 1 || c->pad != 0 ||
        c->group_inputs != channels) {
        fail_conv(reader, "a 1x1 convolution of all channels is expected");
        free_conv(c);
        return false;
    }
    return true;
}

/* matrix[(t, input, tap)][output] of a grouped convolution, zeros between groups; free() it. */
static double *dense_matrix(const conv *c) {
    const size_t inputs = c->group_inputs * c->groups;
    const size_t group_outputs = c->outputs / c->groups;
    double *matrix = tmb_calloc(c->frames * inputs * c->taps * c->outputs, sizeof *matrix);
    if (matrix == NULL) {
        return NULL;
    }
    for (size_t output = 0; output < c->outputs; output++) {
        for (size_t i = 0; i < c->group_inputs; i++) {
            const size_t input = output / group_outputs * c->group_inputs + i;
            for (size_t t = 0; t < c->frames; t++) {
                for (size_t tap = 0; tap < c->taps; tap++) {
                    matrix[((t * inputs + input) * c->taps + tap) * c->outputs + output] =
                        (double)c->weights[((output * c->group_inputs + i) * c->frames + t) * c->taps + tap];
                }
            }
        }
    }
    return matrix;
}

/* The composition of a convolution [k, middle] and a 1x1 one after it as floats [k, outputs], with its bias; free() it.
 */
static float *compose(const conv *first, const conv *then, size_t k, float *bias) {
    double *matrix = dense_matrix(first);
    const size_t outputs = then != NULL ? then->outputs : first->outputs;
    float *composed = tmb_calloc(k * outputs, sizeof *composed);
    if (matrix == NULL || composed == NULL) {
        free(matrix);
        free(composed);
        return NULL;
    }
    for (size_t output = 0; output < outputs; output++) {
        double offset = then != NULL ? (double)then->bias[output] : (double)first->bias[output];
        for (size_t m = 0; then != NULL && m < first->outputs; m++) {
            offset += (double)then->weights[output * first->outputs + m] * (double)first->bias[m];
        }
        bias[output] = (float)offset;
        for (size_t i = 0; i < k; i++) {
            double sum = then != NULL ? 0 : matrix[i * first->outputs + output];
            for (size_t m = 0; then != NULL && m < first->outputs; m++) {
                sum += (double)then->weights[output * first->outputs + m] * matrix[i * first->outputs + m];
            }
            composed[i * outputs + output] = (float)sum;
        }
    }
    free(matrix);
    return composed;
}

tmb_dfn_input_conv tmb_graph_input_conv(tmb_graph_reader *reader) {
    conv first;
    conv then = {.weights = NULL};
    tmb_dfn_input_conv layer = {.packed = NULL};
    if (!read_conv(reader, "Conv", &first)) {
        return layer;
    }
    const bool is_two = tmb_graph_next_is(reader, "Conv") && read_pointwise(reader, first.outputs, &then);
    layer = (tmb_dfn_input_conv){.inputs = first.group_inputs * first.groups,
                                 .frames = first.frames,
                                 .taps = first.taps,
                                 .pad = first.pad,
                                 .channels = is_two ? then.outputs : first.outputs};
    const size_t k = layer.frames * layer.inputs * layer.taps;
    if (first.stride != 1 || 2 * first.pad + 1 != first.taps || layer.inputs > 2) {
        fail_conv(reader, "a convolution that keeps the frequencies is expected");
    }
    (void)tmb_graph_expect(reader, "Relu");
    if (!tmb_graph_failed(reader) && reader->arena->base == NULL) {
        (void)tmb_arena_take(reader->arena, tmb_gemm_f32_packed_floats(k, layer.channels));
    } else if (!tmb_graph_failed(reader)) {
        float *bias = tmb_calloc(layer.channels, sizeof(float));
        float *composed = bias != NULL ? compose(&first, is_two ? &then : NULL, k, bias) : NULL;
        if (composed != NULL) {
            layer.packed = tmb_graph_pack(reader, k, layer.channels, composed, layer.channels, 1, bias);
        } else {
            reader->status = tmb_fail_memory(reader->error, "a layer's weights", 0);
        }
        free(composed);
        free(bias);
    }
    free_conv(&first);
    free_conv(&then);
    return layer;
}

tmb_dfn_separable_conv tmb_graph_separable_conv(tmb_graph_reader *reader, size_t channels) {
    tmb_dfn_separable_conv layer = {.packed = NULL};
    layer.transposed = tmb_graph_next_is(reader, "ConvTranspose");
    conv first;
    conv then = {.weights = NULL};
    if (!read_conv(reader, layer.transposed ? "ConvTranspose" : "Conv", &first)) {
        return layer;
    }
    layer.channels = first.groups;
    layer.taps = first.taps;
    layer.stride = first.stride;
    layer.pad = first.pad;
    layer.output_pad = first.output_pad;
    if (first.group_inputs != 1 || first.outputs != first.groups || first.frames != 1 || first.groups != channels) {
        fail_conv(reader, "a depthwise convolution over frequencies is expected");
    }
    for (size_t c = 0; c < channels && !tmb_graph_failed(reader); c++) {
        if (first.bias[c] < 0 || first.bias[c] > 0) {
            fail_conv(reader, "a depthwise convolution without bias is expected");
        }
    }
    if (!tmb_graph_failed(reader) && read_pointwise(reader, channels, &then) && then.outputs != channels) {
        fail_conv(reader, "as many channels out as in are expected");
    }
    (void)tmb_graph_expect(reader, "Relu");
    if (!tmb_graph_failed(reader)) {
        float *depthwise = tmb_arena_take(reader->arena, layer.taps * channels);
        for (size_t i = 0; depthwise != NULL && i < layer.taps * channels; i++) {
            depthwise[i] = first.weights[i % channels * layer.taps + i / channels];
        }
        layer.depthwise = depthwise;
        layer.packed = tmb_graph_pack(reader, channels, channels, then.weights, 1, channels, then.bias);
    }
    free_conv(&first);
    free_conv(&then);
    return layer;
}

tmb_dfn_scale tmb_graph_scale(tmb_graph_reader *reader) {
    tmb_dfn_scale layer = {.scale = NULL};
    conv c;
    if (!read_conv(reader, "Conv", &c)) {
        return layer;
    }
    layer.channels = c.outputs;
    if (c.groups != c.outputs || c.group_inputs != 1 || c.frames != 1 || c.taps != 1 || c.stride != 1) {
        fail_conv(reader, "a scale for each channel is expected");
    }
    (void)tmb_graph_expect(reader, "Relu");
    if (!tmb_graph_failed(reader)) {
        layer.scale = tmb_graph_keep(reader, c.weights, c.outputs);
        layer.bias = tmb_graph_keep(reader, c.bias, c.outputs);
    }
    free_conv(&c);
    return layer;
}

void tmb_graph_mask_conv(tmb_graph_reader *reader, tmb_dfn_erb_decoder *decoder) {
    conv c;
    if (!read_conv(reader, "Conv", &c)) {
        return;
    }
    decoder->out_channels = c.group_inputs;
    decoder->out_taps = c.taps;
    decoder->out_pad = c.pad;
    decoder->out_bias = c.bias[0];
    if (c.outputs != 1 || c.groups != 1 || c.frames != 1 || c.stride != 1 || 2 * c.pad + 1 != c.taps) {
        fail_conv(reader, "a convolution to one channel that keeps the frequencies is expected");
    }
    (void)tmb_graph_expect(reader, "Sigmoid");
    if (!tmb_graph_failed(reader)) {
        const size_t count = c.taps * c.group_inputs;
        float *weights = tmb_arena_take(reader->arena, count);
        for (size_t i = 0; weights != NULL && i < count; i++) {
            weights[i] = c.weights[i % c.group_inputs * c.taps + i / c.group_inputs];
        }
        decoder->out_weights = weights;
    }
    free_conv(&c);
}

void tmb_graph_df_conv(tmb_graph_reader *reader, tmb_dfn_df_decoder *decoder) {
    conv first;
    conv then = {.weights = NULL};
    if (!read_conv(reader, "Conv", &first)) {
        return;
    }
    const size_t outputs = first.outputs / first.groups;
    decoder->conv_groups = first.groups;
    decoder->conv_inputs = first.group_inputs;
    decoder->conv_outputs = outputs;
    decoder->conv_frames = first.frames;
    decoder->conv_group_floats = tmb_gemm_f32_packed_floats(first.group_inputs, first.frames * outputs);
    if (first.taps != 1 || first.stride != 1 || first.outputs > 2 * 16 || first.groups > 32) {
        fail_conv(reader, "a convolution over frames is expected");
    }
    for (size_t i = 0; i < first.outputs && !tmb_graph_failed(reader); i++) {
        if (first.bias[i] < 0 || first.bias[i] > 0) {
            fail_conv(reader, "a convolution without bias is expected");
        }
    }
    if (!tmb_graph_failed(reader) && read_pointwise(reader, first.outputs, &then) && then.outputs != first.outputs) {
        fail_conv(reader, "as many channels out as in are expected");
    }
    (void)tmb_graph_expect(reader, "Relu");
    const size_t columns = first.frames * outputs;
    float *b = !tmb_graph_failed(reader) ? tmb_calloc(first.group_inputs * columns, sizeof(float)) : NULL;
    if (b == NULL && !tmb_graph_failed(reader)) {
        reader->status = tmb_fail_memory(reader->error, "a layer's weights", 0);
    }
    float *packed = b != NULL ? tmb_arena_take(reader->arena, first.groups * decoder->conv_group_floats) : NULL;
    decoder->conv_packed = packed;
    for (size_t group = 0; packed != NULL && group < first.groups; group++) {
        for (size_t i = 0; i < first.group_inputs * columns; i++) {
            const size_t input = i / columns;
            const size_t frame = i % columns / outputs;
            const size_t output = group * outputs + i % outputs;
            b[i] = first.weights[(output * first.group_inputs + input) * first.frames + frame];
        }
        tmb_gemm_f32_pack(packed + group * decoder->conv_group_floats, first.group_inputs, columns, b, columns, 1,
                          NULL);
    }
    if (b != NULL) {
        decoder->mix_packed =
            tmb_graph_pack(reader, first.outputs, first.outputs, then.weights, 1, first.outputs, then.bias);
    }
    free(b);
    free_conv(&first);
    free_conv(&then);
}
