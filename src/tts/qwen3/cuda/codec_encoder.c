/* The codec encoder on a GPU, as cpu/codec/encoder.c has it: samples to rows of the transformer in slices, the
 * transformer over all rows, then the nearest entries of the codebooks. */
#include "tts/qwen3/cuda/cuda_encoders.h"

#include "base/error.h"
#include "base/sizes.h"
#include "tts/qwen3/cpu/codec/transformer_internal.h"

#include <math.h>

/* Rows that go into stage `index` for each that comes out of the last one. */
static size_t rate_of(const tmb_qwen3_codec_encoder_config *config, size_t index) {
    size_t rate = 1;
    for (size_t i = index; i < config->stages; i++) {
        rate *= config->ratios[i];
    }
    return rate;
}

/* ---- What the kernels take -------------------------------------------------------------------- */

/* What is remembered of a slice is a part of it. */
static bool remembers_little(const tmb_qwen3_codec_encoder_config *config) {
    bool little = config->last_kernel_size <= TMB_CUDA_SLICE_ROWS;
    for (size_t i = 0; i < config->stages; i++) {
        size_t rows = TMB_CUDA_SLICE_ROWS * rate_of(config, i);
        size_t dilation = 1;
        for (size_t k = 0; k < config->residual_layers && little; k++, dilation *= config->dilation_growth) {
            little = (config->residual_kernel_size - 1) * dilation <= rows;
        }
    }
    return little;
}

tmb_status tmb_cuda_codec_encoder_check(const tmb_qwen3_codec_config *codec, tmb_error *error) {
    const tmb_qwen3_codec_encoder_config *config = &codec->encoder;
    if (config->head_dim > TMB_ENCODE_HEAD || config->codebook_dim > TMB_ENCODE_ENTRY || !remembers_little(config)) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED,
                        "the codec's encoder, heads of %zu, entries of %zu and %zu layers of %zu taps, is not one that "
                        "the GPU's kernels take",
                        config->head_dim, config->codebook_dim, config->residual_layers, config->residual_kernel_size);
    }
    return TMB_OK;
}

/* ---- Where everything lies -------------------------------------------------------------------- */

static tmb_cuda_history take_history(tmb_cuda_stretch *scratch, size_t history, size_t rows, size_t width) {
    return (tmb_cuda_history){
        .data = tmb_cuda_take(scratch, history + rows, width), .history = history, .width = width};
}

static tmb_cuda_filter strided(tmb_cuda_stretch *weights, size_t stride, size_t in, size_t out, bool bias) {
    tmb_cuda_filter filter = tmb_cuda_take_filter(weights, 2 * stride, in, out, bias);
    filter.stride = stride;
    return filter;
}

static void lay_out_stage(tmb_cuda_codec_encoder *encoder, size_t index, tmb_cuda_stretch *weights,
                          tmb_cuda_stretch *scratch) {
    const tmb_qwen3_codec_encoder_config *config = &encoder->config;
    tmb_cuda_encoder_stage *stage = &encoder->stages[index];
    size_t channels = config->filters << index, hidden = channels / config->compress;
    size_t rows = TMB_CUDA_SLICE_ROWS * rate_of(config, index), dilation = 1, taps = config->residual_kernel_size;
    stage->ratio = config->ratios[index];
    stage->residuals = config->residual_layers;
    for (size_t i = 0; i < stage->residuals; i++, dilation *= config->dilation_growth) {
        stage->residual[i].wide = tmb_cuda_take_filter(weights, taps, channels, hidden, true);
        stage->residual[i].wide.dilation = dilation;
        stage->residual[i].pointwise = tmb_cuda_take_filter(weights, 1, hidden, channels, true);
        stage->residual[i].in = take_history(scratch, (taps - 1) * dilation, rows, channels);
    }
    stage->down = strided(weights, stage->ratio, channels, 2 * channels, true);
    stage->in = take_history(scratch, stage->ratio, rows, channels);
}

static void lay_out_convolutions(tmb_cuda_codec_encoder *encoder, tmb_cuda_stretch *weights,
                                 tmb_cuda_stretch *scratch) {
    const tmb_qwen3_codec_encoder_config *config = &encoder->config;
    size_t most = 0, width = config->filters << config->stages;
    encoder->first = tmb_cuda_take_filter(weights, config->kernel_size, 1, config->filters, true);
    for (size_t i = 0; i < config->stages; i++) {
        lay_out_stage(encoder, i, weights, scratch);
        most = tmb_max_size(most, TMB_CUDA_SLICE_ROWS * rate_of(config, i) * (config->filters << i));
    }
    encoder->last = tmb_cuda_take_filter(weights, config->last_kernel_size, width, config->hidden_size, true);
    encoder->last_in = take_history(scratch, config->last_kernel_size - 1, TMB_CUDA_SLICE_ROWS, width);
    encoder->raw = tmb_cuda_take(scratch, most, 1);
    encoder->middle = tmb_cuda_take(scratch, most, 1);
}

static void lay_out_transformer(tmb_cuda_codec_encoder *encoder, tmb_cuda_stretch *weights, tmb_cuda_stretch *scratch) {
    const tmb_qwen3_codec_encoder_config *config = &encoder->config;
    size_t hidden = config->hidden_size, heads = config->attention_heads * config->head_dim;
    size_t projected = heads + 2 * config->key_value_heads * config->head_dim;
    encoder->frequencies = tmb_cuda_take(weights, config->head_dim / 2, 1);
    for (size_t i = 0; i < config->layers; i++) {
        encoder->layers[i] = (tmb_cuda_encoder_layer){
            .query_key_value = tmb_cuda_take_filter(weights, 1, hidden, projected, false),
            .output = tmb_cuda_take_filter(weights, 1, heads, hidden, false),
            .mlp_in = tmb_cuda_take_filter(weights, 1, hidden, config->intermediate_size, false),
            .mlp_out = tmb_cuda_take_filter(weights, 1, config->intermediate_size, hidden, false),
            .attention_norm = tmb_cuda_take(weights, hidden, 1),
            .attention_norm_bias = tmb_cuda_take(weights, hidden, 1),
            .mlp_norm = tmb_cuda_take(weights, hidden, 1),
            .mlp_norm_bias = tmb_cuda_take(weights, hidden, 1),
            .attention_scale = tmb_cuda_take(weights, hidden, 1),
            .mlp_scale = tmb_cuda_take(weights, hidden, 1)};
    }
    encoder->x = tmb_cuda_take(scratch, encoder->rows, hidden);
    encoder->normed = tmb_cuda_take(scratch, encoder->rows, hidden);
    encoder->projected = tmb_cuda_take(scratch, encoder->rows, projected);
    encoder->attended = tmb_cuda_take(scratch, encoder->rows, heads);
    encoder->mlp = tmb_cuda_take(scratch, encoder->rows, config->intermediate_size);
}

static size_t entry_panels(const tmb_cuda_codec_encoder *encoder) {
    return tmb_ceil_div(encoder->config.codebook_size, TMB_ENCODE_OUTPUTS);
}

void tmb_cuda_codec_encoder_lay_out(tmb_cuda_codec_encoder *encoder, const tmb_qwen3_codec_config *codec,
                                    tmb_cuda_stretch *weights, tmb_cuda_stretch *scratch) {
    const tmb_qwen3_codec_encoder_config *config = &codec->encoder;
    encoder->config = *config;
    encoder->books = codec->valid_quantizers;
    encoder->hop = rate_of(config, 0);
    encoder->samples = TMB_CUDA_REFERENCE_SECONDS * (size_t)codec->sample_rate;
    encoder->rows = tmb_ceil_div(encoder->samples, encoder->hop);
    size_t frames = tmb_ceil_div(encoder->rows, config->downsample);
    encoder->signal = tmb_cuda_take(scratch, encoder->samples, 1);
    lay_out_convolutions(encoder, weights, scratch);
    lay_out_transformer(encoder, weights, scratch);
    encoder->downsample = strided(weights, config->downsample, config->hidden_size, config->hidden_size, false);
    encoder->semantic = tmb_cuda_take_filter(weights, 1, config->hidden_size, config->codebook_dim, false);
    encoder->acoustic = tmb_cuda_take_filter(weights, 1, config->hidden_size, config->codebook_dim, false);
    encoder->entries =
        tmb_cuda_take(weights, encoder->books * entry_panels(encoder) * TMB_ENCODE_OUTPUTS, config->codebook_dim);
    encoder->lengths = tmb_cuda_take(weights, encoder->books, config->codebook_size);
    encoder->latent = tmb_cuda_take(scratch, frames, config->hidden_size);
    encoder->residuals = tmb_cuda_take(scratch, 2 * frames, config->codebook_dim);
    encoder->codes = tmb_cuda_take(scratch, frames, tmb_ceil_div(encoder->books, 2));
}

/* ---- Weights ---------------------------------------------------------------------------------- */

static void fill_transformer(const tmb_cuda_codec_encoder *encoder, tmb_cuda_filling *filling,
                             const tmb_codec_transformer *from) {
    float frequencies[TMB_ENCODE_HEAD / 2];
    size_t hidden = encoder->config.hidden_size, half = encoder->config.head_dim / 2;
    for (size_t i = 0; i < half; i++) {
        frequencies[i] = (float)from->frequencies[i];
    }
    tmb_cuda_fill_floats(filling, encoder->frequencies, frequencies, half);
    for (size_t i = 0; i < encoder->config.layers; i++) {
        const tmb_codec_layer *l = &from->layers[i];
        const tmb_cuda_encoder_layer *to = &encoder->layers[i];
        tmb_cuda_fill_filter(filling, &to->query_key_value, &l->query_key_value);
        tmb_cuda_fill_filter(filling, &to->output, &l->output);
        tmb_cuda_fill_filter(filling, &to->mlp_in, &l->mlp_in);
        tmb_cuda_fill_filter(filling, &to->mlp_out, &l->mlp_out);
        tmb_cuda_fill_floats(filling, to->attention_norm, l->attention_norm, hidden);
        tmb_cuda_fill_floats(filling, to->attention_norm_bias, l->attention_norm_bias, hidden);
        tmb_cuda_fill_floats(filling, to->mlp_norm, l->mlp_norm, hidden);
        tmb_cuda_fill_floats(filling, to->mlp_norm_bias, l->mlp_norm_bias, hidden);
        tmb_cuda_fill_floats(filling, to->attention_scale, l->attention_scale, hidden);
        tmb_cuda_fill_floats(filling, to->mlp_scale, l->mlp_scale, hidden);
    }
}

/* Books from `first` on. */
static void fill_books(const tmb_cuda_codec_encoder *encoder, tmb_cuda_filling *filling, size_t first,
                       const tmb_codec_quantizer *from) {
    size_t size = encoder->config.codebook_size, width = encoder->config.codebook_dim;
    size_t floats = entry_panels(encoder) * TMB_ENCODE_OUTPUTS * width;
    for (size_t i = 0; i < from->count; i++) {
        const tmb_cuda_filter entries = {
            .taps = 1, .in = width, .out = size, .weights = encoder->entries + (first + i) * floats * sizeof(float)};
        tmb_cuda_fill_filter(filling, &entries, &from->books[i]);
        tmb_cuda_fill_floats(filling, encoder->lengths + (first + i) * size * sizeof(float), from->norms[i], size);
    }
}

void tmb_cuda_codec_encoder_fill(const tmb_cuda_codec_encoder *encoder, tmb_cuda_filling *filling,
                                 const tmb_codec_encoder *from) {
    tmb_cuda_fill_filter(filling, &encoder->first, &from->first);
    for (size_t i = 0; i < encoder->config.stages; i++) {
        const tmb_cuda_encoder_stage *to = &encoder->stages[i];
        const tmb_codec_stage *stage = &from->stages[i];
        for (size_t k = 0; k < to->residuals; k++) {
            tmb_cuda_fill_filter(filling, &to->residual[k].wide, &stage->residual[k].wide);
            tmb_cuda_fill_filter(filling, &to->residual[k].pointwise, &stage->residual[k].pointwise);
        }
        tmb_cuda_fill_filter(filling, &to->down, &stage->down);
    }
    tmb_cuda_fill_filter(filling, &encoder->last, &from->last);
    fill_transformer(encoder, filling, from->transformer);
    tmb_cuda_fill_filter(filling, &encoder->downsample, &from->downsample);
    tmb_cuda_fill_filter(filling, &encoder->semantic, &from->semantic.projection);
    tmb_cuda_fill_filter(filling, &encoder->acoustic, &from->acoustic.projection);
    fill_books(encoder, filling, 0, &from->semantic);
    fill_books(encoder, filling, from->semantic.count, &from->acoustic);
}

/* ---- The kernels ------------------------------------------------------------------------------ */

typedef struct pass {
    const tmb_cuda_codec_encoder *encoder;
    tmb_gpu *gpu;
    tmb_gpu_stream *stream;
    tmb_gpu_recorder *recorder;
    size_t count; /* samples of the recording */
    size_t begin; /* of the slice */
} pass;

static tmb_gpu_address rows_of(const tmb_cuda_history *in) {
    return in->data + in->history * in->width * sizeof(float);
}

/* The filter over rows that remember those of the slice before; `rows` come out of `from_rows`. */
static void convolve(const pass *p, const tmb_cuda_filter *filter, const tmb_cuda_history *in, size_t from_rows,
                     size_t rows, tmb_encode_convolve_arguments run) {
    run.x = rows_of(in);
    run.before = (int32_t)((filter->taps - 1) * filter->dilation + 1 - filter->stride);
    run.first = p->begin == 0 ? 0 : -(int32_t)in->history;
    run.end = (int32_t)from_rows;
    run.rows = (int32_t)rows;
    tmb_cuda_filter_run(p->recorder, filter, &run);
}

/* What the first layer of stage `index` takes in; after the last stage, what the last convolution does. */
static const tmb_cuda_history *input_of(const tmb_cuda_codec_encoder *encoder, size_t index) {
    if (index == encoder->config.stages) {
        return &encoder->last_in;
    }
    const tmb_cuda_encoder_stage *stage = &encoder->stages[index];
    return stage->residuals != 0 ? &stage->residual[0].in : &stage->in;
}

/* `rows` rows, as they are in `raw` and through ELU in the stage's input, to those of the next. Returns their number.
 */
static size_t run_stage(const pass *p, size_t index, size_t rows) {
    const tmb_cuda_codec_encoder *encoder = p->encoder;
    const tmb_cuda_encoder_stage *stage = &encoder->stages[index];
    for (size_t i = 0; i < stage->residuals; i++) {
        const tmb_cuda_history *next = i + 1 < stage->residuals ? &stage->residual[i + 1].in : &stage->in;
        convolve(p, &stage->residual[i].wide, &stage->residual[i].in, rows, rows,
                 (tmb_encode_convolve_arguments){.out = encoder->middle, .becomes = TMB_ENCODE_ELU});
        tmb_cuda_filter_run(p->recorder, &stage->residual[i].pointwise,
                            &(tmb_encode_convolve_arguments){.x = encoder->middle,
                                                             .add = encoder->raw,
                                                             .add_pitch = (int32_t)next->width,
                                                             .sum = encoder->raw,
                                                             .out = rows_of(next),
                                                             .rows = (int32_t)rows,
                                                             .becomes = TMB_ENCODE_ELU});
    }
    size_t outputs = tmb_ceil_div(rows, stage->ratio);
    convolve(p, &stage->down, &stage->in, rows, outputs,
             (tmb_encode_convolve_arguments){.sum = index + 1 < encoder->config.stages ? encoder->raw : 0,
                                             .out = rows_of(input_of(encoder, index + 1)),
                                             .becomes = TMB_ENCODE_ELU});
    return outputs;
}

/* Samples from p->begin on to rows of x. */
static void run_slice(const pass *p, size_t samples) {
    const tmb_cuda_codec_encoder *encoder = p->encoder;
    size_t rows = samples, row = p->begin / encoder->hop, hidden = encoder->config.hidden_size;
    tmb_cuda_filter_run(p->recorder, &encoder->first,
                        &(tmb_encode_convolve_arguments){.x = encoder->signal + p->begin * sizeof(float),
                                                         .before = (int32_t)encoder->first.taps - 1,
                                                         .first = -(int32_t)p->begin,
                                                         .end = (int32_t)(p->count - p->begin),
                                                         .rows = (int32_t)samples,
                                                         .sum = encoder->raw,
                                                         .out = rows_of(input_of(encoder, 0)),
                                                         .becomes = TMB_ENCODE_ELU});
    for (size_t i = 0; i < encoder->config.stages; i++) {
        rows = run_stage(p, i, rows);
    }
    convolve(p, &encoder->last, &encoder->last_in, rows, rows,
             (tmb_encode_convolve_arguments){.out = encoder->x + row * hidden * sizeof(float)});
}

/* The last of a full slice's rows are what the next one remembers. */
static tmb_status keep(const pass *p, const tmb_cuda_history *in, size_t rows, tmb_error *error) {
    return in->history == 0 ? TMB_OK
                            : tmb_gpu_copy(p->gpu, p->stream, in->data, in->data + rows * in->width * sizeof(float),
                                           in->history * in->width * sizeof(float), error);
}

static tmb_status keep_all(const pass *p, tmb_error *error) {
    const tmb_cuda_codec_encoder *encoder = p->encoder;
    tmb_status status = keep(p, &encoder->last_in, TMB_CUDA_SLICE_ROWS, error);
    for (size_t i = 0; i < encoder->config.stages; i++) {
        const tmb_cuda_encoder_stage *stage = &encoder->stages[i];
        size_t rows = TMB_CUDA_SLICE_ROWS * rate_of(&encoder->config, i);
        for (size_t k = 0; k < stage->residuals && status == TMB_OK; k++) {
            status = keep(p, &stage->residual[k].in, rows, error);
        }
        if (status == TMB_OK) {
            status = keep(p, &stage->in, rows, error);
        }
    }
    return status;
}

static void norm(const pass *p, tmb_gpu_address weight, tmb_gpu_address bias, size_t rows) {
    const tmb_cuda_codec_encoder *encoder = p->encoder;
    const tmb_encode_norm_arguments a = {.x = encoder->x,
                                         .norm = weight,
                                         .bias = bias,
                                         .out = encoder->normed,
                                         .width = (int32_t)encoder->config.hidden_size,
                                         .eps = (float)encoder->config.norm_eps};
    tmb_gpu_kernel(p->recorder, TMB_KERNEL_tmb_encode_norm, (tmb_gpu_grid){(unsigned)rows, 1, 1, 128}, &a);
}

/* out = the layer of x, or x + scale * the layer of `from`. */
static void apply(const pass *p, const tmb_cuda_filter *filter, tmb_gpu_address from, tmb_gpu_address out, size_t rows,
                  int becomes) {
    tmb_cuda_filter_run(
        p->recorder, filter,
        &(tmb_encode_convolve_arguments){.x = from, .out = out, .rows = (int32_t)rows, .becomes = becomes});
}

static void apply_branch(const pass *p, const tmb_cuda_filter *filter, tmb_gpu_address from, tmb_gpu_address scale,
                         size_t rows) {
    tmb_cuda_filter_run(p->recorder, filter,
                        &(tmb_encode_convolve_arguments){.x = from,
                                                         .scale = scale,
                                                         .add = p->encoder->x,
                                                         .add_pitch = (int32_t)filter->out,
                                                         .out = p->encoder->x,
                                                         .rows = (int32_t)rows});
}

static void attend(const pass *p, size_t rows) {
    const tmb_cuda_codec_encoder *encoder = p->encoder;
    const tmb_qwen3_codec_encoder_config *config = &encoder->config;
    const tmb_encode_rotate_arguments rotate = {.qkv = encoder->projected,
                                                .frequencies = encoder->frequencies,
                                                .heads = (int32_t)config->attention_heads,
                                                .key_heads = (int32_t)config->key_value_heads,
                                                .head_dim = (int32_t)config->head_dim};
    const tmb_encode_attend_arguments a = {.qkv = encoder->projected,
                                           .out = encoder->attended,
                                           .rows = (int32_t)rows,
                                           .heads = (int32_t)config->attention_heads,
                                           .key_heads = (int32_t)config->key_value_heads,
                                           .head_dim = (int32_t)config->head_dim,
                                           .scale = 1 / sqrtf((float)config->head_dim)};
    tmb_gpu_kernel(p->recorder, TMB_KERNEL_tmb_encode_rotate, (tmb_gpu_grid){(unsigned)rows, 1, 1, 32}, &rotate);
    tmb_gpu_kernel(p->recorder, TMB_KERNEL_tmb_encode_attend,
                   (tmb_gpu_grid){(unsigned)tmb_ceil_div(rows, 4), (unsigned)config->attention_heads, 1, 128}, &a);
}

static void run_transformer(const pass *p, size_t rows) {
    const tmb_cuda_codec_encoder *encoder = p->encoder;
    for (size_t i = 0; i < encoder->config.layers; i++) {
        const tmb_cuda_encoder_layer *layer = &encoder->layers[i];
        norm(p, layer->attention_norm, layer->attention_norm_bias, rows);
        apply(p, &layer->query_key_value, encoder->normed, encoder->projected, rows, TMB_ENCODE_PLAIN);
        attend(p, rows);
        apply_branch(p, &layer->output, encoder->attended, layer->attention_scale, rows);
        norm(p, layer->mlp_norm, layer->mlp_norm_bias, rows);
        apply(p, &layer->mlp_in, encoder->normed, encoder->mlp, rows, TMB_ENCODE_GELU);
        apply_branch(p, &layer->mlp_out, encoder->mlp, layer->mlp_scale, rows);
    }
}

/* To frames, and their codes. */
static void quantize(const pass *p, size_t rows) {
    const tmb_cuda_codec_encoder *encoder = p->encoder;
    const tmb_qwen3_codec_encoder_config *config = &encoder->config;
    size_t frames = tmb_ceil_div(rows, config->downsample);
    tmb_cuda_filter_run(p->recorder, &encoder->downsample,
                        &(tmb_encode_convolve_arguments){.x = encoder->x,
                                                         .before = (int32_t)config->downsample,
                                                         .end = (int32_t)rows,
                                                         .edge = TMB_ENCODE_REPEAT,
                                                         .out = encoder->latent,
                                                         .rows = (int32_t)frames});
    apply(p, &encoder->semantic, encoder->latent, encoder->residuals, frames, TMB_ENCODE_PLAIN);
    apply(p, &encoder->acoustic, encoder->latent, encoder->residuals + frames * config->codebook_dim * sizeof(float),
          frames, TMB_ENCODE_PLAIN);
    const tmb_encode_quantize_arguments a = {.residuals = encoder->residuals,
                                             .entries = encoder->entries,
                                             .lengths = encoder->lengths,
                                             .codes = encoder->codes,
                                             .frames = (int32_t)frames,
                                             .books = (int32_t)encoder->books,
                                             .semantic = (int32_t)config->semantic_quantizers,
                                             .size = (int32_t)config->codebook_size,
                                             .width = (int32_t)config->codebook_dim};
    tmb_gpu_kernel(p->recorder, TMB_KERNEL_tmb_encode_quantize,
                   (tmb_gpu_grid){(unsigned)tmb_ceil_div(frames, TMB_ENCODE_FRAMES), 2, 1, 256}, &a);
}

size_t tmb_cuda_codec_encoder_frames(const tmb_cuda_codec_encoder *encoder, size_t count) {
    return tmb_ceil_div(tmb_ceil_div(count, encoder->hop), encoder->config.downsample);
}

/* Long slices begin at whole rows of every layer: only the last may be ragged. */
static tmb_status run_convolutions(pass *p, tmb_error *error) {
    size_t slice = TMB_CUDA_SLICE_ROWS * p->encoder->hop;
    tmb_status status = TMB_OK;
    for (p->begin = 0; p->begin < p->count && status == TMB_OK; p->begin += slice) {
        tmb_gpu_recorder recorder = tmb_gpu_direct(p->gpu, p->stream);
        p->recorder = &recorder;
        if (p->begin > 0) {
            status = keep_all(p, error);
        }
        if (status == TMB_OK) {
            run_slice(p, p->count - p->begin < slice ? p->count - p->begin : slice);
            status = tmb_gpu_recorder_end(&recorder, NULL, error);
        }
        if (status == TMB_OK) {
            status = tmb_gpu_synchronize(p->gpu, p->stream, error);
        }
    }
    return status;
}

tmb_status tmb_cuda_codec_encoder_run(const tmb_cuda_codec_encoder *encoder, tmb_gpu *gpu, tmb_gpu_stream *stream,
                                      size_t count, tmb_error *error) {
    pass p = {.encoder = encoder, .gpu = gpu, .stream = stream, .count = count};
    size_t rows = tmb_ceil_div(count, encoder->hop);
    tmb_status status = run_convolutions(&p, error);
    if (status == TMB_OK) {
        tmb_gpu_recorder recorder = tmb_gpu_direct(gpu, stream);
        p.recorder = &recorder;
        run_transformer(&p, rows);
        quantize(&p, rows);
        status = tmb_gpu_recorder_end(&recorder, NULL, error);
    }
    return status;
}
