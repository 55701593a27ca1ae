#include "enhance/layers.h"

#include <string.h>

void tmb_dfn_linear_run(const tmb_dfn_model *model, const tmb_dfn_linear *layer, const float *in, size_t frames,
                        bool relu, float *out) {
    for (size_t group = 0; group < layer->groups; group++) {
        model->gemm.gemm(&(tmb_gemm_f32){.m = frames,
                                         .n = layer->outputs,
                                         .k = layer->inputs,
                                         .a = in + group * layer->inputs,
                                         .a_row = layer->groups * layer->inputs,
                                         .a_run = layer->inputs,
                                         .b = layer->packed + group * layer->group_floats,
                                         .c = out + group * layer->outputs,
                                         .c_row = layer->groups * layer->outputs,
                                         .relu = relu});
    }
}

static void gru_product(const tmb_dfn_model *model, const tmb_dfn_gru *layer, const tmb_gemm_f32 *product) {
    if (layer->fixed) {
        tmb_gemm_fixed_run(&model->gemm_fixed, &model->gemm, product);
    } else {
        model->gemm.gemm(product);
    }
}

void tmb_dfn_gru_run(tmb_dfn_block *block, const tmb_dfn_gru_stack *stack, float *const *state, size_t frames) {
    const tmb_dfn_model *model = block->model;
    for (size_t i = 0; i < stack->layers; i++) {
        const tmb_dfn_gru *layer = &stack->layer[i];
        const size_t hidden = layer->hidden;
        gru_product(model, layer,
                    &(tmb_gemm_f32){.m = frames,
                                    .n = 3 * hidden,
                                    .k = layer->inputs,
                                    .a = block->sequence,
                                    .a_row = layer->inputs,
                                    .a_run = layer->inputs,
                                    .b = layer->input_packed,
                                    .c = block->gates,
                                    .c_row = 3 * hidden});
        float *h = state[i];
        tmb_gemm_f32 step = {.m = 1,
                             .n = 3 * hidden,
                             .k = hidden,
                             .a = h,
                             .a_row = hidden,
                             .a_run = hidden,
                             .b = layer->recurrent_packed,
                             .c = block->recurrent,
                             .c_row = 3 * hidden};
        /* Many steps with one matrix, which a cache holds: then floats are the faster ones. */
        const bool unpack = layer->fixed && frames >= TMB_DFN_UNPACK_FRAMES;
        if (unpack) {
            const size_t panels = (3 * hidden + TMB_GEMM_PANEL - 1) / TMB_GEMM_PANEL;
            model->gemm_fixed.unpack(block->unpacked, layer->recurrent_packed, hidden, panels);
            step.b = block->unpacked;
        }
        for (size_t t = 0; t < frames; t++) {
            step.backwards = t % 2 == 1;
            if (unpack) {
                model->gemm.gemm(&step);
            } else {
                gru_product(model, layer, &step);
            }
            model->elementwise.gru_gates(h, block->gates + t * 3 * hidden, block->recurrent, hidden);
            memcpy(block->sequence + t * hidden, h, hidden * sizeof(float));
        }
    }
}

void tmb_dfn_input_conv_run(const tmb_dfn_model *model, const tmb_dfn_input_conv *layer, const float *in, size_t stride,
                            size_t frequencies, float *out) {
    /* A row of A is the window around a frequency, in every input of every frame. */
    model->gemm.gemm(&(tmb_gemm_f32){.m = frequencies,
                                     .n = layer->channels,
                                     .k = layer->frames * layer->inputs * layer->taps,
                                     .a = in,
                                     .a_row = 1,
                                     .a_run = layer->taps,
                                     .a_jump = stride,
                                     .b = layer->packed,
                                     .c = out,
                                     .c_row = layer->channels,
                                     .relu = true});
}

void tmb_dfn_separable_run(const tmb_dfn_model *model, const tmb_dfn_separable_conv *layer, tmb_dfn_rows rows,
                           const float *in, size_t frames, float *depthwise, float *out) {
    const size_t channels = layer->channels;
    const size_t count = rows.rows_out - rows.first_out;
    for (size_t t = 0; t < frames; t++) {
        model->depthwise.convolve(&(tmb_depthwise){.in = in + t * (rows.rows_in - rows.first_in) * channels,
                                                   .in_first = rows.first_in,
                                                   .in_rows = rows.rows_in,
                                                   .channels = channels,
                                                   .weights = layer->depthwise,
                                                   .taps = layer->taps,
                                                   .stride = layer->stride,
                                                   .pad = layer->pad,
                                                   .transposed = layer->transposed,
                                                   .out = depthwise + t * count * channels,
                                                   .first = rows.first_out,
                                                   .count = count});
    }
    model->gemm.gemm(&(tmb_gemm_f32){.m = frames * count,
                                     .n = channels,
                                     .k = channels,
                                     .a = depthwise,
                                     .a_row = channels,
                                     .a_run = channels,
                                     .b = layer->packed,
                                     .c = out,
                                     .c_row = channels,
                                     .relu = true});
}

size_t tmb_dfn_separable_first_in(const tmb_dfn_separable_conv *layer, size_t first_out) {
    if (layer->transposed) {
        /* i = (o + pad - k) / stride with the largest k, rounded up. */
        const size_t back = layer->taps - 1;
        const size_t place = first_out + layer->pad;
        return place > back ? (place - back + layer->stride - 1) / layer->stride : 0;
    }
    const size_t place = first_out * layer->stride;
    return place > layer->pad ? place - layer->pad : 0;
}
