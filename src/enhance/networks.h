/* The three networks of DeepFilterNet3: their weights, packed for the kernels.
 *
 * Tensors of a frame are [frequency, channel], channels next to each other; a block of frames is [frame, frequency,
 * channel]. So "flattened as frequency, channel" costs nothing, and a 1x1 convolution is one matrix product. */
#ifndef TMB_ENHANCE_NETWORKS_H
#define TMB_ENHANCE_NETWORKS_H

#include "enhance/arena.h"
#include "timbre/timbre.h"
#include "weights/onnx.h"

enum { TMB_DFN_MAX_GRU_LAYERS = 16 };

/* Input features to channels: a convolution over `frames` frames (this one and those before) and `taps` frequencies,
 * and the 1x1 convolution after it if there is one: nothing comes between them, so they are one. ReLU. */
typedef struct tmb_dfn_input_conv {
    size_t inputs, frames, taps, pad, channels;
    const float *packed; /* [(frames, inputs, taps), channels] */
} tmb_dfn_input_conv;

/* A depthwise (transposed) convolution over frequencies, then a 1x1 convolution, ReLU. */
typedef struct tmb_dfn_separable_conv {
    size_t channels, taps, stride, pad;
    bool transposed;
    size_t output_pad;      /* of a transposed one */
    const float *depthwise; /* [taps, channels] */
    const float *packed;    /* [channels, channels] */
} tmb_dfn_separable_conv;

/* max(x * scale + bias, 0) for each channel. */
typedef struct tmb_dfn_scale {
    size_t channels;
    const float *scale, *bias; /* [channels] */
} tmb_dfn_scale;

/* A linear layer in groups: group g of the outputs sees group g of the inputs. */
typedef struct tmb_dfn_linear {
    size_t groups, inputs, outputs; /* of one group */
    size_t group_floats;            /* packed floats of one group */
    const float *packed;
} tmb_dfn_linear;

typedef struct tmb_dfn_gru {
    size_t inputs, hidden;
    bool fixed;                    /* packed in few bits (kernels/gemm_fixed.h), otherwise as floats */
    const float *input_packed;     /* [inputs, 3 hidden], gates z, r, n; with the biases of both sides of z and r */
    const float *recurrent_packed; /* [hidden, 3 hidden]; with the recurrent bias of n */
} tmb_dfn_gru;

typedef struct tmb_dfn_gru_stack {
    size_t layers;
    tmb_dfn_gru layer[TMB_DFN_MAX_GRU_LAYERS];
} tmb_dfn_gru_stack;

typedef struct tmb_dfn_encoder {
    tmb_dfn_input_conv erb_conv0;
    tmb_dfn_separable_conv erb_conv[3];
    tmb_dfn_input_conv df_conv0;
    tmb_dfn_separable_conv df_conv1;
    tmb_dfn_linear df_fc_emb; /* ReLU */
    tmb_dfn_linear linear_in; /* ReLU */
    tmb_dfn_gru_stack gru;
    tmb_dfn_linear linear_out; /* ReLU */
    const float *lsnr_weights; /* [embedding] */
    float lsnr_bias, lsnr_scale, lsnr_offset;
} tmb_dfn_encoder;

typedef struct tmb_dfn_erb_decoder {
    tmb_dfn_linear linear_in; /* ReLU */
    tmb_dfn_gru_stack gru;
    tmb_dfn_linear linear_out;      /* ReLU */
    tmb_dfn_scale skip[4];          /* on e3, e2, e1, e0 */
    tmb_dfn_separable_conv conv[3]; /* convt3, convt2, convt1 */
    size_t out_channels, out_taps, out_pad;
    const float *out_weights; /* [out_taps, out_channels] */
    float out_bias;
} tmb_dfn_erb_decoder;

typedef struct tmb_dfn_df_decoder {
    tmb_dfn_linear linear_in; /* ReLU */
    tmb_dfn_gru_stack gru;
    bool has_skip;
    tmb_dfn_linear skip;
    /* The convolution over time of c0, in groups of channels; packed for each group as [channels, (frames, outputs)].
     */
    size_t conv_groups, conv_inputs, conv_outputs, conv_frames; /* inputs and outputs of one group */
    size_t conv_group_floats;
    const float *conv_packed;
    const float *mix_packed;   /* [(groups, outputs), (groups, outputs)], ReLU */
    tmb_dfn_linear linear_out; /* tanh */
} tmb_dfn_df_decoder;

/* Each takes its weights out of a graph in the order of its nodes. Called with an arena that counts, it checks
 * everything and copies nothing; called again with the memory, it packs. `name` is for the messages.
 * TMB_ERROR_UNSUPPORTED for another network, TMB_ERROR_MODEL for wrong shapes. */
tmb_status tmb_dfn_encoder_read(const tmb_onnx_graph *graph, const char *name, tmb_arena *arena,
                                tmb_dfn_encoder *encoder, tmb_error *error);
tmb_status tmb_dfn_erb_decoder_read(const tmb_onnx_graph *graph, const char *name, tmb_arena *arena,
                                    tmb_dfn_erb_decoder *decoder, tmb_error *error);
tmb_status tmb_dfn_df_decoder_read(const tmb_onnx_graph *graph, const char *name, tmb_arena *arena,
                                   tmb_dfn_df_decoder *decoder, tmb_error *error);

/* Frequencies that come out of a separable convolution of `rows`. */
size_t tmb_dfn_separable_rows(const tmb_dfn_separable_conv *conv, size_t rows);

#endif
