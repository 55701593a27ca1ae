#include "enhance/graph_reader.h"

#include "base/error.h"
#include "cpu/cpu.h"
#include "kernels/gemm_f32.h"
#include "kernels/gemm_fixed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sizes of real networks are far below; products of a few of them stay far below SIZE_MAX. */
enum { MAX_DIMENSION = 1 << 16, MAX_CHANNELS = 1024, MAX_KERNEL = 16 };

static bool failed(const tmb_graph_reader *reader) { return reader->status != TMB_OK; }

static void fail_shape(tmb_graph_reader *reader, const tmb_onnx_node *node, const char *what) {
    const int length = node->output.length < 100 ? (int)node->output.length : 100;
    reader->status = tmb_fail(reader->error, TMB_ERROR_MODEL, "%s: %.*s (%.*s): %s", reader->name, (int)node->op.length,
                              node->op.bytes, length, node->output.bytes, what);
}

/* Operators that only move data or compute shapes. */
static bool only_moves(tmb_onnx_text op) {
    static const char *const names[] = {"Constant", "ConstantOfShape", "Shape", "Gather", "Unsqueeze",
                                        "Squeeze",  "Concat",          "Slice", "Cast",   "Reshape",
                                        "Identity", "Transpose",       "Pad",   "Expand", "Flatten"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (tmb_onnx_text_equals(op, names[i])) {
            return true;
        }
    }
    return false;
}

static const tmb_onnx_node *peek(tmb_graph_reader *reader) {
    while (reader->node < reader->graph->node_count && only_moves(reader->graph->nodes[reader->node].op)) {
        reader->node++;
    }
    return reader->node < reader->graph->node_count ? &reader->graph->nodes[reader->node] : NULL;
}

bool tmb_graph_next_is(tmb_graph_reader *reader, const char *op) {
    const tmb_onnx_node *node = failed(reader) ? NULL : peek(reader);
    return node != NULL && tmb_onnx_text_equals(node->op, op);
}

const tmb_onnx_node *tmb_graph_expect(tmb_graph_reader *reader, const char *op) {
    if (failed(reader)) {
        return NULL;
    }
    const tmb_onnx_node *node = peek(reader);
    if (node != NULL && tmb_onnx_text_equals(node->op, op)) {
        reader->node++;
        return node;
    }
    const tmb_onnx_text found = node != NULL ? node->op : (tmb_onnx_text){"its end", 7};
    reader->status = tmb_fail(reader->error, TMB_ERROR_UNSUPPORTED,
                              "%s is not the DeepFilterNet3 network that is supported: operator %zu is %.*s, not %s",
                              reader->name, reader->node, found.length < 40 ? (int)found.length : 40, found.bytes, op);
    return NULL;
}

void tmb_graph_expect_end(tmb_graph_reader *reader) {
    const tmb_onnx_node *node = failed(reader) ? NULL : peek(reader);
    if (node != NULL) {
        reader->status =
            tmb_fail(reader->error, TMB_ERROR_UNSUPPORTED,
                     "%s is not the DeepFilterNet3 network that is supported: operator %zu (%.*s) follows its end",
                     reader->name, reader->node, node->op.length < 40 ? (int)node->op.length : 40, node->op.bytes);
    }
}

/* A node's constant input as floats, free() it. NULL, and failed, where it is none, of another rank, too large or not
 * finite. While the arena counts the values are zeros. */
static float *constant(tmb_graph_reader *reader, const tmb_onnx_node *node, size_t input, size_t rank,
                       const tmb_onnx_tensor **tensor) {
    *tensor = input < node->input_count ? tmb_onnx_find(reader->graph, node->inputs[input]) : NULL;
    if (*tensor == NULL || (*tensor)->floats == NULL) {
        fail_shape(reader, node, "a constant 32-bit float input is missing");
        return NULL;
    }
    bool fits = (*tensor)->rank == rank;
    for (size_t i = 0; i < (*tensor)->rank; i++) {
        fits = fits && (*tensor)->dims[i] > 0 && (*tensor)->dims[i] <= MAX_DIMENSION;
    }
    if (!fits) {
        fail_shape(reader, node, "weights of an unexpected shape");
        return NULL;
    }
    float *values = tmb_calloc((*tensor)->elements, sizeof(float));
    if (values == NULL) {
        reader->status = tmb_fail_memory(reader->error, "a layer's weights", (*tensor)->elements * sizeof(float));
        return NULL;
    }
    if (reader->arena->base != NULL) {
        tmb_onnx_read_floats(*tensor, values);
        for (size_t i = 0; i < (*tensor)->elements; i++) {
            if (!isfinite(values[i])) {
                reader->status =
                    tmb_fail(reader->error, TMB_ERROR_MODEL,
                             "%s: tensor \"%.*s\": its element %zu of %zu is %s: the file is damaged", reader->name,
                             (*tensor)->name.length < 100 ? (int)(*tensor)->name.length : 100, (*tensor)->name.bytes, i,
                             (*tensor)->elements, isnan(values[i]) ? "not a number (NaN)" : "infinite");
                free(values);
                return NULL;
            }
        }
    }
    return values;
}

/* Copies into the arena. */
static const float *keep(tmb_graph_reader *reader, const float *values, size_t count) {
    float *kept = tmb_arena_take(reader->arena, count);
    if (kept != NULL) {
        memcpy(kept, values, count * sizeof(float));
    }
    return kept;
}

static const float *pack(tmb_graph_reader *reader, size_t k, size_t n, const float *b, size_t row_stride,
                         size_t column_stride, const float *bias) {
    float *packed = tmb_arena_take(reader->arena, tmb_gemm_f32_packed_floats(k, n));
    if (packed != NULL) {
        tmb_gemm_f32_pack(packed, k, n, b, row_stride, column_stride, bias);
    }
    return packed;
}

/* A Conv or ConvTranspose: weights [outputs, group_inputs, frames, taps] (transposed: inputs first). */
typedef struct conv {
    size_t outputs, group_inputs, frames, taps;
    size_t groups, stride, pad, output_pad;
    float *weights;
    float *bias; /* [channels that come out], zeros where it has none */
} conv;

static void free_conv(conv *c) {
    free(c->weights);
    free(c->bias);
    c->weights = NULL;
    c->bias = NULL;
}

/* An attribute of `count` numbers in [0, MAX_DIMENSION], or the default. */
static bool attribute(tmb_graph_reader *reader, const tmb_onnx_node *node, const char *name, size_t count,
                      size_t standard, size_t *out) {
    int64_t values[4] = {0};
    const size_t found = tmb_onnx_integers(node, name, values, 4);
    for (size_t i = 0; i < count; i++) {
        out[i] = found == 0 ? standard : (size_t)values[i];
        if (found != 0 && (found != count || values[i] < 0 || values[i] > MAX_DIMENSION)) {
            char what[64];
            (void)snprintf(what, sizeof what, "an unexpected attribute %s", name);
            fail_shape(reader, node, what);
            return false;
        }
    }
    return true;
}

/* False, and failed, where it is not a convolution of this kind, over time on the left only (which pads are Pad nodes)
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
    if (node == NULL || !attribute(reader, node, "group", 1, 1, &group) ||
        !attribute(reader, node, "strides", 2, 1, strides) || !attribute(reader, node, "pads", 4, 0, pads) ||
        !attribute(reader, node, "dilations", 2, 1, dilations) ||
        !attribute(reader, node, "output_padding", 2, 0, output_pads)) {
        return false;
    }
    c->weights = constant(reader, node, 1, 4, &tensor);
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
    if (group == 0 || group > MAX_CHANNELS || c->outputs > MAX_CHANNELS || c->group_inputs > MAX_CHANNELS ||
        c->outputs % group != 0 || c->frames > MAX_KERNEL || c->taps > MAX_KERNEL) {
        padding = "an unexpected shape";
    } else if (strides[0] != 1 || strides[1] < 1 || strides[1] > MAX_KERNEL || dilations[0] != 1 || dilations[1] != 1) {
        padding = "unexpected strides or dilations";
    } else if (pads[0] != 0 || pads[2] != 0 || pads[1] != pads[3] || pads[1] >= c->taps || output_pads[0] != 0 ||
               output_pads[1] > strides[1] || (auto_pad.length > 0 && !tmb_onnx_text_equals(auto_pad, "NOTSET"))) {
        padding = "unexpected pads";
    }
    if (padding != NULL) {
        fail_shape(reader, node, padding);
        free_conv(c);
        return false;
    }
    const size_t channels = transposed ? c->group_inputs * group : c->outputs;
    if (node->input_count > 2 && node->inputs[2].length > 0) {
        c->bias = constant(reader, node, 2, 1, &tensor);
        if (c->bias != NULL && tensor->elements != channels) {
            fail_shape(reader, node, "a bias of an unexpected shape");
        }
    } else {
        c->bias = tmb_calloc(channels, sizeof(float));
        if (c->bias == NULL) {
            reader->status = tmb_fail_memory(reader->error, "a layer's bias", channels * sizeof(float));
        }
    }
    if (failed(reader)) {
        free_conv(c);
        return false;
    }
    return true;
}

static void fail_conv(tmb_graph_reader *reader, const char *what) {
    if (!failed(reader)) {
        fail_shape(reader, &reader->graph->nodes[reader->node - 1], what);
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
    if (!failed(reader) && reader->arena->base == NULL) {
        (void)tmb_arena_take(reader->arena, tmb_gemm_f32_packed_floats(k, layer.channels));
    } else if (!failed(reader)) {
        float *bias = tmb_calloc(layer.channels, sizeof(float));
        float *composed = bias != NULL ? compose(&first, is_two ? &then : NULL, k, bias) : NULL;
        if (composed != NULL) {
            layer.packed = pack(reader, k, layer.channels, composed, layer.channels, 1, bias);
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
    for (size_t c = 0; c < channels && !failed(reader); c++) {
        if (first.bias[c] < 0 || first.bias[c] > 0) {
            fail_conv(reader, "a depthwise convolution without bias is expected");
        }
    }
    if (!failed(reader) && read_pointwise(reader, channels, &then) && then.outputs != channels) {
        fail_conv(reader, "as many channels out as in are expected");
    }
    (void)tmb_graph_expect(reader, "Relu");
    if (!failed(reader)) {
        float *depthwise = tmb_arena_take(reader->arena, layer.taps * channels);
        for (size_t i = 0; depthwise != NULL && i < layer.taps * channels; i++) {
            depthwise[i] = first.weights[i % channels * layer.taps + i / channels];
        }
        layer.depthwise = depthwise;
        layer.packed = pack(reader, channels, channels, then.weights, 1, channels, then.bias);
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
    if (!failed(reader)) {
        layer.scale = keep(reader, c.weights, c.outputs);
        layer.bias = keep(reader, c.bias, c.outputs);
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
    if (!failed(reader)) {
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
    for (size_t i = 0; i < first.outputs && !failed(reader); i++) {
        if (first.bias[i] < 0 || first.bias[i] > 0) {
            fail_conv(reader, "a convolution without bias is expected");
        }
    }
    if (!failed(reader) && read_pointwise(reader, first.outputs, &then) && then.outputs != first.outputs) {
        fail_conv(reader, "as many channels out as in are expected");
    }
    (void)tmb_graph_expect(reader, "Relu");
    const size_t columns = first.frames * outputs;
    float *b = !failed(reader) ? tmb_calloc(first.group_inputs * columns, sizeof(float)) : NULL;
    if (b == NULL && !failed(reader)) {
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
        decoder->mix_packed = pack(reader, first.outputs, first.outputs, then.weights, 1, first.outputs, then.bias);
    }
    free(b);
    free_conv(&first);
    free_conv(&then);
}

tmb_dfn_linear tmb_graph_linear(tmb_graph_reader *reader, const char *activation) {
    tmb_dfn_linear layer = {.packed = NULL};
    const tmb_onnx_node *node = tmb_graph_expect(reader, "Einsum");
    const tmb_onnx_tensor *tensor = NULL;
    float *weights = node != NULL ? constant(reader, node, 1, 3, &tensor) : NULL;
    if (weights == NULL) {
        return layer;
    }
    layer.groups = tensor->dims[0];
    layer.inputs = tensor->dims[1];
    layer.outputs = tensor->dims[2];
    layer.group_floats = tmb_gemm_f32_packed_floats(layer.inputs, layer.outputs);
    if (!tmb_onnx_text_equals(tmb_onnx_string(node, "equation"), "btgi,gih->btgh")) {
        fail_shape(reader, node, "another sum than btgi,gih->btgh");
    }
    if (activation != NULL) {
        (void)tmb_graph_expect(reader, activation);
    }
    if (!failed(reader)) {
        float *packed = tmb_arena_take(reader->arena, layer.groups * layer.group_floats);
        layer.packed = packed;
        for (size_t group = 0; packed != NULL && group < layer.groups; group++) {
            tmb_gemm_f32_pack(packed + group * layer.group_floats, layer.inputs, layer.outputs,
                              weights + group * layer.inputs * layer.outputs, layer.outputs, 1, NULL);
        }
    }
    free(weights);
    return layer;
}

static bool gru_is_plain(tmb_graph_reader *reader, const tmb_onnx_node *node, size_t hidden) {
    size_t linear_before_reset = 0;
    size_t hidden_size = 0;
    size_t layout = 0;
    if (!attribute(reader, node, "linear_before_reset", 1, 0, &linear_before_reset) ||
        !attribute(reader, node, "hidden_size", 1, hidden, &hidden_size) ||
        !attribute(reader, node, "layout", 1, 0, &layout)) {
        return false;
    }
    const tmb_onnx_text direction = tmb_onnx_string(node, "direction");
    return linear_before_reset == 1 && hidden_size == hidden && layout == 0 &&
           (direction.length == 0 || tmb_onnx_text_equals(direction, "forward"));
}

/* A frame alone reads every weight of the recurrent layers, nearly all that the networks have: the fewer bytes the
 * better, where unpacking them costs less than reading them. */
static bool fixed_is_faster(size_t inputs, size_t hidden) {
    tmb_gemm_fixed_kernels kernels;
    tmb_gemm_fixed_kernels_init(&kernels, tmb_cpu_flags());
    return kernels.faster && inputs <= TMB_GEMM_FIXED_MOST_K && hidden <= TMB_GEMM_FIXED_MOST_K;
}

static const float *pack_gru(tmb_graph_reader *reader, const tmb_dfn_gru *layer, size_t k, const float *weights,
                             const float *bias) {
    const size_t n = 3 * layer->hidden;
    if (!layer->fixed) {
        return pack(reader, k, n, weights, 1, k, bias);
    }
    float *packed = tmb_arena_take(reader->arena, tmb_gemm_fixed_packed_floats(k, n));
    if (packed != NULL) {
        tmb_gemm_fixed_pack(packed, k, n, weights, 1, k, bias);
    }
    return packed;
}

static void read_gru(tmb_graph_reader *reader, size_t inputs, tmb_dfn_gru *layer) {
    const tmb_onnx_node *node = tmb_graph_expect(reader, "GRU");
    const tmb_onnx_tensor *w = NULL;
    const tmb_onnx_tensor *r = NULL;
    const tmb_onnx_tensor *b = NULL;
    float *input_weights = node != NULL ? constant(reader, node, 1, 3, &w) : NULL;
    float *recurrent = input_weights != NULL ? constant(reader, node, 2, 3, &r) : NULL;
    float *bias = recurrent != NULL ? constant(reader, node, 3, 2, &b) : NULL;
    if (bias != NULL) {
        const size_t hidden = r->dims[2];
        *layer = (tmb_dfn_gru){.inputs = w->dims[2], .hidden = hidden, .fixed = fixed_is_faster(w->dims[2], hidden)};
        const bool fits = w->dims[0] == 1 && r->dims[0] == 1 && b->dims[0] == 1 && w->dims[1] == 3 * hidden &&
                          r->dims[1] == 3 * hidden && b->dims[1] == 6 * hidden && w->dims[2] == inputs;
        if (!fits || !gru_is_plain(reader, node, hidden)) {
            if (!failed(reader)) {
                fail_shape(reader, node, "an unexpected shape or variant");
            }
        } else {
            /* bias: W's of z, r, n, then R's. Those of z and r may be added up beforehand, that of n may not. */
            for (size_t i = 0; i < 2 * hidden; i++) {
                bias[i] += bias[3 * hidden + i];
                bias[3 * hidden + i] = 0;
            }
            layer->input_packed = pack_gru(reader, layer, inputs, input_weights, bias);
            layer->recurrent_packed = pack_gru(reader, layer, hidden, recurrent, bias + 3 * hidden);
        }
    }
    free(input_weights);
    free(recurrent);
    free(bias);
}

tmb_dfn_gru_stack tmb_graph_gru_stack(tmb_graph_reader *reader, size_t inputs) {
    tmb_dfn_gru_stack stack = {.layers = 0};
    do {
        tmb_dfn_gru *layer = &stack.layer[stack.layers++];
        read_gru(reader, inputs, layer);
        inputs = layer->hidden;
    } while (stack.layers < TMB_DFN_MAX_GRU_LAYERS && tmb_graph_next_is(reader, "GRU"));
    return stack;
}

const float *tmb_graph_single_output(tmb_graph_reader *reader, size_t *inputs, float *bias) {
    const tmb_onnx_node *node = tmb_graph_expect(reader, "MatMul");
    const tmb_onnx_tensor *tensor = NULL;
    float *weights = node != NULL ? constant(reader, node, 1, 2, &tensor) : NULL;
    const float *kept = NULL;
    *inputs = 0;
    if (weights != NULL) {
        *inputs = tensor->dims[0];
        if (tensor->dims[1] != 1) {
            fail_shape(reader, node, "one output is expected");
        } else {
            kept = keep(reader, weights, *inputs);
        }
    }
    free(weights);
    *bias = tmb_graph_constant_operand(reader, "Add");
    return kept;
}

float tmb_graph_constant_operand(tmb_graph_reader *reader, const char *op) {
    const tmb_onnx_node *node = tmb_graph_expect(reader, op);
    if (node == NULL) {
        return 0;
    }
    for (size_t i = 0; i < node->input_count && i < 2; i++) {
        const tmb_onnx_tensor *tensor = tmb_onnx_find(reader->graph, node->inputs[i]);
        if (tensor != NULL && tensor->floats != NULL && tensor->elements == 1) {
            float value = 0;
            tmb_onnx_read_floats(tensor, &value);
            if (isfinite(value)) {
                return value;
            }
        }
    }
    fail_shape(reader, node, "a constant operand is expected");
    return 0;
}
