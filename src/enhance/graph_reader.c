#include "enhance/graph_reader_internal.h"

#include "base/error.h"
#include "cpu/cpu.h"
#include "kernels/gemm_f32.h"
#include "kernels/gemm_fixed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tmb_graph_fail_shape(tmb_graph_reader *reader, const tmb_onnx_node *node, const char *what) {
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
    const tmb_onnx_node *node = tmb_graph_failed(reader) ? NULL : peek(reader);
    return node != NULL && tmb_onnx_text_equals(node->op, op);
}

const tmb_onnx_node *tmb_graph_expect(tmb_graph_reader *reader, const char *op) {
    if (tmb_graph_failed(reader)) {
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
    const tmb_onnx_node *node = tmb_graph_failed(reader) ? NULL : peek(reader);
    if (node != NULL) {
        reader->status =
            tmb_fail(reader->error, TMB_ERROR_UNSUPPORTED,
                     "%s is not the DeepFilterNet3 network that is supported: operator %zu (%.*s) follows its end",
                     reader->name, reader->node, node->op.length < 40 ? (int)node->op.length : 40, node->op.bytes);
    }
}

float *tmb_graph_constant(tmb_graph_reader *reader, const tmb_onnx_node *node, size_t input, size_t rank,
                          const tmb_onnx_tensor **tensor) {
    *tensor = input < node->input_count ? tmb_onnx_find(reader->graph, node->inputs[input]) : NULL;
    if (*tensor == NULL || (*tensor)->floats == NULL) {
        tmb_graph_fail_shape(reader, node, "a constant 32-bit float input is missing");
        return NULL;
    }
    bool fits = (*tensor)->rank == rank;
    for (size_t i = 0; i < (*tensor)->rank; i++) {
        fits = fits && (*tensor)->dims[i] > 0 && (*tensor)->dims[i] <= TMB_GRAPH_MAX_DIMENSION;
    }
    if (!fits) {
        tmb_graph_fail_shape(reader, node, "weights of an unexpected shape");
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

const float *tmb_graph_keep(tmb_graph_reader *reader, const float *values, size_t count) {
    float *kept = tmb_arena_take(reader->arena, count);
    if (kept != NULL) {
        memcpy(kept, values, count * sizeof(float));
    }
    return kept;
}

const float *tmb_graph_pack(tmb_graph_reader *reader, size_t k, size_t n, const float *b, size_t row_stride,
                            size_t column_stride, const float *bias) {
    float *packed = tmb_arena_take(reader->arena, tmb_gemm_f32_packed_floats(k, n));
    if (packed != NULL) {
        tmb_gemm_f32_pack(packed, k, n, b, row_stride, column_stride, bias);
    }
    return packed;
}

bool tmb_graph_attribute(tmb_graph_reader *reader, const tmb_onnx_node *node, const char *name, size_t count,
                         size_t standard, size_t *out) {
    int64_t values[4] = {0};
    const size_t found = tmb_onnx_integers(node, name, values, 4);
    for (size_t i = 0; i < count; i++) {
        out[i] = found == 0 ? standard : (size_t)values[i];
        if (found != 0 && (found != count || values[i] < 0 || values[i] > TMB_GRAPH_MAX_DIMENSION)) {
            char what[64];
            (void)snprintf(what, sizeof what, "an unexpected attribute %s", name);
            tmb_graph_fail_shape(reader, node, what);
            return false;
        }
    }
    return true;
}

tmb_dfn_linear tmb_graph_linear(tmb_graph_reader *reader, const char *activation) {
    tmb_dfn_linear layer = {.packed = NULL};
    const tmb_onnx_node *node = tmb_graph_expect(reader, "Einsum");
    const tmb_onnx_tensor *tensor = NULL;
    float *weights = node != NULL ? tmb_graph_constant(reader, node, 1, 3, &tensor) : NULL;
    if (weights == NULL) {
        return layer;
    }
    layer.groups = tensor->dims[0];
    layer.inputs = tensor->dims[1];
    layer.outputs = tensor->dims[2];
    layer.group_floats = tmb_gemm_f32_packed_floats(layer.inputs, layer.outputs);
    if (!tmb_onnx_text_equals(tmb_onnx_string(node, "equation"), "btgi,gih->btgh")) {
        tmb_graph_fail_shape(reader, node, "another sum than btgi,gih->btgh");
    }
    if (activation != NULL) {
        (void)tmb_graph_expect(reader, activation);
    }
    if (!tmb_graph_failed(reader)) {
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
    if (!tmb_graph_attribute(reader, node, "linear_before_reset", 1, 0, &linear_before_reset) ||
        !tmb_graph_attribute(reader, node, "hidden_size", 1, hidden, &hidden_size) ||
        !tmb_graph_attribute(reader, node, "layout", 1, 0, &layout)) {
        return false;
    }
    const tmb_onnx_text direction = tmb_onnx_string(node, "direction");
    return linear_before_reset == 1 && hidden_size == hidden && layout == 0 &&
           (direction.length == 0 || tmb_onnx_text_equals(direction, "forward"));
}

/* A frame alone reads every weight of the recurrent layers, nearly all that the networks have: the fewer bytes the
 * better, if unpacking them costs less than reading them. */
static bool fixed_is_faster(size_t inputs, size_t hidden) {
    tmb_gemm_fixed_kernels kernels;
    tmb_gemm_fixed_kernels_init(&kernels, tmb_cpu_flags());
    return kernels.faster && inputs <= TMB_GEMM_FIXED_MOST_K && hidden <= TMB_GEMM_FIXED_MOST_K;
}

static const float *pack_gru(tmb_graph_reader *reader, const tmb_dfn_gru *layer, size_t k, const float *weights,
                             const float *bias) {
    const size_t n = 3 * layer->hidden;
    if (!layer->fixed) {
        return tmb_graph_pack(reader, k, n, weights, 1, k, bias);
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
    float *input_weights = node != NULL ? tmb_graph_constant(reader, node, 1, 3, &w) : NULL;
    float *recurrent = input_weights != NULL ? tmb_graph_constant(reader, node, 2, 3, &r) : NULL;
    float *bias = recurrent != NULL ? tmb_graph_constant(reader, node, 3, 2, &b) : NULL;
    if (bias != NULL) {
        const size_t hidden = r->dims[2];
        *layer = (tmb_dfn_gru){.inputs = w->dims[2], .hidden = hidden, .fixed = fixed_is_faster(w->dims[2], hidden)};
        const bool fits = w->dims[0] == 1 && r->dims[0] == 1 && b->dims[0] == 1 && w->dims[1] == 3 * hidden &&
                          r->dims[1] == 3 * hidden && b->dims[1] == 6 * hidden && w->dims[2] == inputs;
        if (!fits || !gru_is_plain(reader, node, hidden)) {
            if (!tmb_graph_failed(reader)) {
                tmb_graph_fail_shape(reader, node, "an unexpected shape or variant");
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
    float *weights = node != NULL ? tmb_graph_constant(reader, node, 1, 2, &tensor) : NULL;
    const float *kept = NULL;
    *inputs = 0;
    if (weights != NULL) {
        *inputs = tensor->dims[0];
        if (tensor->dims[1] != 1) {
            tmb_graph_fail_shape(reader, node, "one output is expected");
        } else {
            kept = tmb_graph_keep(reader, weights, *inputs);
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
    tmb_graph_fail_shape(reader, node, "a constant operand is expected");
    return 0;
}
