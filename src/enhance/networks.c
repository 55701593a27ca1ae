#include "enhance/networks.h"

#include "base/error.h"
#include "enhance/graph_reader.h"

/* The end of the three functions below. */
static tmb_status finish(tmb_graph_reader *reader, bool shapes_fit) {
    tmb_graph_expect_end(reader);
    if (reader->status == TMB_OK && !shapes_fit) {
        return tmb_fail(reader->error, TMB_ERROR_MODEL, "%s: the sizes of its layers do not fit each other",
                        reader->name);
    }
    if (reader->status == TMB_OK && reader->arena->overflow) {
        return tmb_fail(reader->error, TMB_ERROR_LIMIT, "%s: its layers are too large", reader->name);
    }
    return reader->status;
}

static size_t linear_inputs(const tmb_dfn_linear *layer) { return layer->groups * layer->inputs; }
static size_t linear_outputs(const tmb_dfn_linear *layer) { return layer->groups * layer->outputs; }
static size_t stack_outputs(const tmb_dfn_gru_stack *stack) { return stack->layer[stack->layers - 1].hidden; }

tmb_status tmb_dfn_encoder_read(const tmb_onnx_graph *graph, const char *name, tmb_arena *arena,
                                tmb_dfn_encoder *encoder, tmb_error *error) {
    tmb_graph_reader reader = {graph, name, 0, arena, TMB_OK, error};
    encoder->erb_conv0 = tmb_graph_input_conv(&reader);
    const size_t channels = encoder->erb_conv0.channels;
    for (size_t i = 0; i < 3; i++) {
        encoder->erb_conv[i] = tmb_graph_separable_conv(&reader, channels);
    }
    encoder->df_conv0 = tmb_graph_input_conv(&reader);
    encoder->df_conv1 = tmb_graph_separable_conv(&reader, encoder->df_conv0.channels);
    encoder->df_fc_emb = tmb_graph_linear(&reader, "Relu");
    (void)tmb_graph_expect(&reader, "Add");
    encoder->linear_in = tmb_graph_linear(&reader, "Relu");
    encoder->gru = tmb_graph_gru_stack(&reader, linear_outputs(&encoder->linear_in));
    encoder->linear_out = tmb_graph_linear(&reader, "Relu");
    size_t lsnr_inputs = 0;
    encoder->lsnr_weights = tmb_graph_single_output(&reader, &lsnr_inputs, &encoder->lsnr_bias);
    (void)tmb_graph_expect(&reader, "Sigmoid");
    encoder->lsnr_scale = tmb_graph_constant_operand(&reader, "Mul");
    encoder->lsnr_offset = tmb_graph_constant_operand(&reader, "Add");
    const bool fits =
        encoder->erb_conv0.inputs == 1 && encoder->df_conv0.inputs == 2 && encoder->df_conv0.channels == channels &&
        linear_inputs(&encoder->linear_in) == linear_outputs(&encoder->df_fc_emb) &&
        linear_inputs(&encoder->linear_out) == stack_outputs(&encoder->gru) &&
        lsnr_inputs == linear_outputs(&encoder->linear_out) && !encoder->erb_conv[0].transposed &&
        !encoder->erb_conv[1].transposed && !encoder->erb_conv[2].transposed && !encoder->df_conv1.transposed;
    return finish(&reader, fits);
}

tmb_status tmb_dfn_erb_decoder_read(const tmb_onnx_graph *graph, const char *name, tmb_arena *arena,
                                    tmb_dfn_erb_decoder *decoder, tmb_error *error) {
    tmb_graph_reader reader = {graph, name, 0, arena, TMB_OK, error};
    decoder->linear_in = tmb_graph_linear(&reader, "Relu");
    decoder->gru = tmb_graph_gru_stack(&reader, linear_outputs(&decoder->linear_in));
    decoder->linear_out = tmb_graph_linear(&reader, "Relu");
    bool same_channels = true;
    for (size_t i = 0; i < 4; i++) {
        decoder->skip[i] = tmb_graph_scale(&reader);
        same_channels &= decoder->skip[i].channels == decoder->skip[0].channels;
        (void)tmb_graph_expect(&reader, "Add");
        if (i < 3) {
            decoder->conv[i] = tmb_graph_separable_conv(&reader, decoder->skip[i].channels);
        }
    }
    tmb_graph_mask_conv(&reader, decoder);
    const bool fits = same_channels && linear_inputs(&decoder->linear_out) == stack_outputs(&decoder->gru) &&
                      decoder->out_channels == decoder->skip[0].channels;
    return finish(&reader, fits);
}

tmb_status tmb_dfn_df_decoder_read(const tmb_onnx_graph *graph, const char *name, tmb_arena *arena,
                                   tmb_dfn_df_decoder *decoder, tmb_error *error) {
    tmb_graph_reader reader = {graph, name, 0, arena, TMB_OK, error};
    decoder->linear_in = tmb_graph_linear(&reader, "Relu");
    decoder->gru = tmb_graph_gru_stack(&reader, linear_outputs(&decoder->linear_in));
    decoder->has_skip = tmb_graph_next_is(&reader, "Einsum");
    if (decoder->has_skip) {
        decoder->skip = tmb_graph_linear(&reader, "Add");
    }
    tmb_graph_df_conv(&reader, decoder);
    if (tmb_graph_next_is(&reader, "MatMul")) {
        /* A second output that version 2 had; nothing reads it. Its weights are not kept. */
        (void)tmb_graph_expect(&reader, "MatMul");
        (void)tmb_graph_expect(&reader, "Add");
        (void)tmb_graph_expect(&reader, "Sigmoid");
    }
    decoder->linear_out = tmb_graph_linear(&reader, "Tanh");
    (void)tmb_graph_expect(&reader, "Add");
    const size_t hidden = stack_outputs(&decoder->gru);
    const bool fits = linear_inputs(&decoder->linear_out) == hidden &&
                      (!decoder->has_skip || (linear_outputs(&decoder->skip) == hidden &&
                                              linear_inputs(&decoder->skip) == linear_inputs(&decoder->linear_in)));
    return finish(&reader, fits);
}

size_t tmb_dfn_separable_rows(const tmb_dfn_separable_conv *conv, size_t rows) {
    if (conv->transposed) {
        const size_t span = (rows - 1) * conv->stride + conv->taps + conv->output_pad;
        return span > 2 * conv->pad ? span - 2 * conv->pad : 0;
    }
    return rows + 2 * conv->pad >= conv->taps ? (rows + 2 * conv->pad - conv->taps) / conv->stride + 1 : 0;
}
