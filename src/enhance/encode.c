/* The encoder: features to embedding, local SNR and the tensors that the decoders look back at. */
#include "enhance/layers.h"

#include <string.h>

/* The branch of the ERB bands, [frames] at `t`: e0 to e3. */
static void encode_erb(tmb_dfn_block *block, size_t t, size_t frames) {
    const tmb_dfn_model *model = block->model;
    const tmb_dfn_encoder *encoder = &model->encoder;
    float *e[4];
    for (size_t i = 0; i < 4; i++) {
        e[i] = block->e[i] + t * model->erb_rows[i] * model->channels;
    }
    for (size_t i = 0; i < frames; i++) {
        tmb_dfn_input_conv_run(model, &encoder->erb_conv0, block->erb_feature + (t + i) * block->erb_stride,
                               block->erb_stride, model->erb_rows[0], e[0] + i * model->erb_rows[0] * model->channels);
    }
    for (size_t i = 0; i < 3; i++) {
        const tmb_dfn_rows rows = {0, model->erb_rows[i], 0, model->erb_rows[i + 1]};
        tmb_dfn_separable_run(model, &encoder->erb_conv[i], rows, e[i], frames, block->scratch[0], e[i + 1]);
    }
}

/* The branch of the lower bins: c0, and its share of the embedding. */
static void encode_df(tmb_dfn_block *block, size_t t, size_t frames, float *share) {
    const tmb_dfn_model *model = block->model;
    const tmb_dfn_encoder *encoder = &model->encoder;
    const size_t bins = model->config.df_bins;
    float *c0 = block->c0 + t * bins * model->channels;
    for (size_t i = 0; i < frames; i++) {
        tmb_dfn_input_conv_run(model, &encoder->df_conv0, block->df_feature + (t + i) * 2 * block->df_stride,
                               block->df_stride, bins, c0 + i * bins * model->channels);
    }
    const tmb_dfn_rows rows = {0, bins, 0, model->df_rows};
    tmb_dfn_separable_run(model, &encoder->df_conv1, rows, c0, frames, block->scratch[0], block->scratch[1]);
    tmb_dfn_linear_run(model, &encoder->df_fc_emb, block->scratch[1], frames, true, share);
}

void tmb_dfn_encode(tmb_dfn_block *block, size_t frames) {
    const tmb_dfn_model *model = block->model;
    const tmb_dfn_encoder *encoder = &model->encoder;
    const size_t deep = model->erb_rows[3] * model->channels;
    const size_t into_gru = encoder->linear_in.groups * encoder->linear_in.outputs;
    for (size_t t = 0; t < frames; t += TMB_DFN_CONV_FRAMES) {
        const size_t count = frames - t < TMB_DFN_CONV_FRAMES ? frames - t : TMB_DFN_CONV_FRAMES;
        float *combined = block->scratch[2];
        encode_erb(block, t, count);
        encode_df(block, t, count, combined);
        const float *e3 = block->e[3] + t * deep;
        for (size_t i = 0; i < count * deep; i++) {
            combined[i] += e3[i];
        }
        tmb_dfn_linear_run(model, &encoder->linear_in, combined, count, true, block->sequence + t * into_gru);
    }
    tmb_dfn_gru_run(block, &encoder->gru, block->encoder_gru, frames);
    tmb_dfn_linear_run(model, &encoder->linear_out, block->sequence, frames, true, block->embedding);
    for (size_t t = 0; t < frames; t++) {
        block->local_snr[t] = encoder->lsnr_bias + model->elementwise.dot(block->embedding + t * model->embedding,
                                                                          encoder->lsnr_weights, model->embedding);
    }
    model->elementwise.sigmoid(block->local_snr, frames);
    for (size_t t = 0; t < frames; t++) {
        block->local_snr[t] = block->local_snr[t] * encoder->lsnr_scale + encoder->lsnr_offset;
    }
}
