/* The first decoder: a gain for every ERB band. */
#include "enhance/layers.h"

/* Rows from here on are needed: of the output, and of what goes into each convolution. */
typedef struct needed_rows {
    size_t mask;   /* bands */
    size_t sum[4]; /* of the sums before convt3, convt2, convt1 and the mask's convolution */
} needed_rows;

static needed_rows rows_for(const tmb_dfn_erb_decoder *decoder, size_t first_band) {
    needed_rows needed = {.mask = first_band};
    needed.sum[3] = first_band > decoder->out_pad ? first_band - decoder->out_pad : 0;
    for (size_t i = 3; i > 0; i--) {
        needed.sum[i - 1] = tmb_dfn_separable_first_in(&decoder->conv[i - 1], needed.sum[i]);
    }
    return needed;
}

/* out = skip(e) + in, for the rows from `first` on; `in` and `out` begin there, e has all rows. */
static void add_skip(const tmb_dfn_model *model, size_t level, const float *e, size_t first, const float *in,
                     size_t in_first, size_t frames, float *out) {
    const tmb_dfn_scale *skip = &model->erb_decoder.skip[level];
    const size_t rows = model->erb_rows[3 - level];
    const size_t channels = model->channels;
    for (size_t t = 0; t < frames; t++) {
        model->elementwise.scale_relu_add(
            out + t * (rows - first) * channels, e + (t * rows + first) * channels, skip->scale, skip->bias,
            in + (t * (rows - in_first) + first - in_first) * channels, rows - first, channels);
    }
}

/* The last convolution, to one channel: for each band a product of neighbouring rows with the weights. */
static void mask_of_frame(const tmb_dfn_model *model, const float *rows, size_t first_row, size_t first_band,
                          float *mask) {
    const tmb_dfn_erb_decoder *decoder = &model->erb_decoder;
    const size_t channels = model->channels;
    const size_t bands = model->config.erb_bands;
    for (size_t band = first_band; band < bands; band++) {
        const size_t skipped = band < decoder->out_pad ? decoder->out_pad - band : 0; /* taps below row 0 */
        const size_t row = band + skipped - decoder->out_pad;
        const size_t taps = decoder->out_taps - skipped;
        const size_t inside = taps < bands - row ? taps : bands - row;
        mask[band] =
            decoder->out_bias + model->elementwise.dot(rows + (row - first_row) * channels,
                                                       decoder->out_weights + skipped * channels, inside * channels);
    }
    model->elementwise.sigmoid(mask + first_band, bands - first_band);
}

static void decode_frames(tmb_dfn_block *block, size_t t, size_t frames, const float *decoded,
                          const needed_rows *needed) {
    const tmb_dfn_model *model = block->model;
    const tmb_dfn_erb_decoder *decoder = &model->erb_decoder;
    float *sum = block->scratch[0];
    float *depthwise = block->scratch[1];
    float *up = block->scratch[2];
    const float *in = decoded;
    size_t in_first = 0;
    for (size_t level = 0; level < 4; level++) {
        const size_t rows = model->erb_rows[3 - level];
        const float *e = block->e[3 - level] + t * rows * model->channels;
        add_skip(model, level, e, needed->sum[level], in, in_first, frames, sum);
        if (level == 3) {
            break;
        }
        const tmb_dfn_rows span = {needed->sum[level], rows, needed->sum[level + 1], model->erb_rows[3 - level - 1]};
        /* convt3 keeps the frequencies: they are erb_rows[2] as well. */
        tmb_dfn_separable_run(model, &decoder->conv[level], span, sum, frames, depthwise, up);
        in = up;
        in_first = needed->sum[level + 1];
    }
    const size_t stride = (model->erb_rows[0] - needed->sum[3]) * model->channels;
    for (size_t i = 0; i < frames; i++) {
        mask_of_frame(model, sum + i * stride, needed->sum[3], needed->mask,
                      block->mask + (t + i) * model->config.erb_bands);
    }
}

void tmb_dfn_decode_erb(tmb_dfn_block *block, size_t first, size_t count, size_t first_band) {
    const tmb_dfn_model *model = block->model;
    const tmb_dfn_erb_decoder *decoder = &model->erb_decoder;
    const size_t deep = model->erb_rows[3] * model->channels;
    tmb_dfn_linear_run(model, &decoder->linear_in, block->embedding + first * model->embedding, count, true,
                       block->sequence);
    tmb_dfn_gru_run(block, &decoder->gru, block->erb_gru, count);
    if (first_band == model->config.erb_bands) {
        return; /* no band is left for the mask; the layers with memory have run */
    }
    tmb_dfn_linear_run(model, &decoder->linear_out, block->sequence, count, true, block->decoded);
    const needed_rows needed = rows_for(decoder, first_band);
    for (size_t t = 0; t < count; t += TMB_DFN_CONV_FRAMES) {
        const size_t frames = count - t < TMB_DFN_CONV_FRAMES ? count - t : TMB_DFN_CONV_FRAMES;
        decode_frames(block, first + t, frames, block->decoded + t * deep, &needed);
    }
}
