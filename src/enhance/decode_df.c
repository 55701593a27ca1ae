/* The second decoder: complex coefficients of a filter over frames for each of the lower bins. */
#include "enhance/layers.h"

/* The convolution over time of c0 for one frame, and the 1x1 one: coefficients [bins, 2 order].
 *
 * Sums that later frames complete move on instead of c0: for each bin and group they lie as [frames + 1, outputs],
 * where place k + 1 has seen taps 0 to k and place 0 stays zero. A frame adds tap k to what place k was before it. */
static void convolve(tmb_dfn_block *block, size_t t, float *coefficients) {
    const tmb_dfn_model *model = block->model;
    const tmb_dfn_df_decoder *decoder = &model->df_decoder;
    const size_t bins = model->config.df_bins;
    const size_t outputs = decoder->conv_outputs;
    const size_t places = (decoder->conv_frames + 1) * outputs;
    const size_t row = decoder->conv_groups * places;
    const float *before = block->conv_sums[block->conv_sums_newest];
    block->conv_sums_newest ^= 1;
    float *after = block->conv_sums[block->conv_sums_newest];
    for (size_t group = 0; group < decoder->conv_groups; group++) {
        model->gemm.gemm(&(tmb_gemm_f32){.m = bins,
                                         .n = decoder->conv_frames * outputs,
                                         .k = decoder->conv_inputs,
                                         .a = block->c0 + t * bins * model->channels + group * decoder->conv_inputs,
                                         .a_row = model->channels,
                                         .a_run = decoder->conv_inputs,
                                         .b = decoder->conv_packed + group * decoder->conv_group_floats,
                                         .c = after + group * places + outputs,
                                         .c_row = row,
                                         .initial = before + group * places,
                                         .initial_row = row});
    }
    const size_t all = decoder->conv_groups * outputs;
    model->gemm.gemm(&(tmb_gemm_f32){.m = bins,
                                     .n = all,
                                     .k = all,
                                     .a = after + decoder->conv_frames * outputs, /* the last place of each group */
                                     .a_row = row,
                                     .a_run = outputs,
                                     .a_jump = places,
                                     .b = decoder->mix_packed,
                                     .c = coefficients,
                                     .c_row = all,
                                     .relu = true});
}

void tmb_dfn_decode_df(tmb_dfn_block *block, size_t first, size_t count) {
    const tmb_dfn_model *model = block->model;
    const tmb_dfn_df_decoder *decoder = &model->df_decoder;
    const float *embedding = block->embedding + first * model->embedding;
    tmb_dfn_linear_run(model, &decoder->linear_in, embedding, count, true, block->sequence);
    tmb_dfn_gru_run(block, &decoder->gru, block->df_gru, count);
    if (decoder->has_skip) {
        float *skip = block->gates; /* free again, and wider */
        const size_t hidden = decoder->skip.groups * decoder->skip.outputs;
        tmb_dfn_linear_run(model, &decoder->skip, embedding, count, false, skip);
        for (size_t i = 0; i < count * hidden; i++) {
            block->sequence[i] += skip[i];
        }
    }
    const size_t width = 2 * model->config.df_order * model->config.df_bins;
    float *coefficients = block->coefficients + first * width;
    tmb_dfn_linear_run(model, &decoder->linear_out, block->sequence, count, false, coefficients);
    model->elementwise.tanh(coefficients, count * width);
    for (size_t t = 0; t < count; t++) {
        float *beside = block->scratch[0];
        convolve(block, first + t, beside);
        for (size_t i = 0; i < width; i++) {
            coefficients[t * width + i] += beside[i];
        }
    }
}
