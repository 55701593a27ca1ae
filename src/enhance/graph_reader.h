/* Takes a network's layers out of an ONNX graph, one after the other. */
#ifndef TMB_ENHANCE_GRAPH_READER_H
#define TMB_ENHANCE_GRAPH_READER_H

#include "enhance/networks.h"

/* The first failure stays in `status`; after it every call does nothing and returns false or zeros, so that a caller
 * can read a whole network and look once. */
typedef struct tmb_graph_reader {
    const tmb_onnx_graph *graph;
    const char *name;
    size_t node; /* the next one */
    tmb_arena *arena;
    tmb_status status;
    tmb_error *error;
} tmb_graph_reader;

/* Operators that only move data are passed over; the operator after them must be `op`. NULL if it is not. */
const tmb_onnx_node *tmb_graph_expect(tmb_graph_reader *reader, const char *op);

/* Whether the next operator is `op`; it stays the next. */
bool tmb_graph_next_is(tmb_graph_reader *reader, const char *op);

/* No operator may be left. */
void tmb_graph_expect_end(tmb_graph_reader *reader);

/* The layer and its activation, if networks.h gives it one. */
tmb_dfn_input_conv tmb_graph_input_conv(tmb_graph_reader *reader);
tmb_dfn_separable_conv tmb_graph_separable_conv(tmb_graph_reader *reader, size_t channels);
tmb_dfn_scale tmb_graph_scale(tmb_graph_reader *reader);
tmb_dfn_linear tmb_graph_linear(tmb_graph_reader *reader, const char *activation); /* NULL: none */
tmb_dfn_gru_stack tmb_graph_gru_stack(tmb_graph_reader *reader, size_t inputs);

/* The last convolution of the mask, to one channel. */
void tmb_graph_mask_conv(tmb_graph_reader *reader, tmb_dfn_erb_decoder *decoder);

/* The convolution over time parallel to the deep filter, and the 1x1 one after it. */
void tmb_graph_df_conv(tmb_graph_reader *reader, tmb_dfn_df_decoder *decoder);

/* The weights of a layer with one output, [inputs], and its bias. */
const float *tmb_graph_single_output(tmb_graph_reader *reader, size_t *inputs, float *bias);

/* The constant operand of an elementwise operator. */
float tmb_graph_constant_operand(tmb_graph_reader *reader, const char *op);

#endif
