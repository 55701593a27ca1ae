#include "tts/qwen3/cpu/codec/decoder_internal.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/sizes.h"
#include "cpu/cpu.h"
#include "tts/qwen3/cpu/layers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const size_t dilations[TMB_CODEC_UNITS] = {1, 3, 9};

/* Weights of blocks that may be read again for every slice of the tail: they stay in the last-level cache. */
#define TAIL_WEIGHTS_MAX ((size_t)16 << 20)

/* Entries are sums over training vectors, divided by how many there were. */
static tmb_status load_book(const tmb_safetensors *weights, size_t size, size_t width, float *out, tmb_error *error,
                            const char *prefix, size_t index) {
    float *sums = NULL;
    float *usage = NULL;
    tmb_status status = tmb_layer_tensor(weights, size, width, 0, &sums, error,
                                         "decoder.quantizer.%s.vq.layers.%zu._codebook.embedding_sum", prefix, index);
    if (status == TMB_OK) {
        status = tmb_layer_vector(weights, size, &usage, error,
                                  "decoder.quantizer.%s.vq.layers.%zu._codebook.cluster_usage", prefix, index);
    }
    for (size_t i = 0; status == TMB_OK && i < size; i++) {
        float count = fmaxf(usage[i], 1e-5f);
        for (size_t k = 0; k < width; k++) {
            out[i * width + k] = sums[i * width + k] / count;
        }
    }
    free(sums);
    free(usage);
    return status;
}

static tmb_status load_quantizer(tmb_codec_decoder *decoder, const tmb_safetensors *weights, tmb_error *error) {
    const tmb_qwen3_codec_decoder_config *config = &decoder->config;
    size_t width = config->codebook_dim / 2;
    size_t book = config->codebook_size * width;
    decoder->entries = tmb_alloc_aligned(config->quantizers * book, sizeof *decoder->entries);
    if (decoder->entries == NULL) {
        return tmb_fail_memory(error, "the codec's codebooks", config->quantizers * book * sizeof(float));
    }
    tmb_status status = TMB_OK;
    for (size_t i = 0; i < config->quantizers && status == TMB_OK; i++) {
        bool first = i < config->semantic_quantizers;
        status = load_book(weights, config->codebook_size, width, decoder->entries + i * book, error,
                           first ? "rvq_first" : "rvq_rest", first ? i : i - config->semantic_quantizers);
    }
    const tmb_conv_shape shape = {.taps = 1, .in = width, .out = config->codebook_dim};
    if (status == TMB_OK) {
        status = tmb_layer_conv(&decoder->first_projection, weights, &shape, error,
                                "decoder.quantizer.rvq_first.output_proj");
    }
    if (status == TMB_OK) {
        status =
            tmb_layer_conv(&decoder->rest_projection, weights, &shape, error, "decoder.quantizer.rvq_rest.output_proj");
    }
    return status;
}

static tmb_status load_transformer(tmb_codec_decoder *decoder, const tmb_safetensors *weights, tmb_error *error) {
    const tmb_qwen3_codec_decoder_config *config = &decoder->config;
    const tmb_conv_shape pre = {.taps = TMB_CODEC_PRE_TAPS,
                                .in = config->codebook_dim,
                                .out = config->latent_dim,
                                .bias = true,
                                .type = decoder->type};
    tmb_status status = tmb_layer_conv(&decoder->pre_conv, weights, &pre, error, "decoder.pre_conv.conv");
    if (status == TMB_OK) {
        status = tmb_layer_linear(&decoder->transformer_in, weights, decoder->type, config->latent_dim,
                                  config->hidden_size, true, error, "decoder.pre_transformer.input_proj");
    }
    if (status == TMB_OK) {
        status = tmb_layer_linear(&decoder->transformer_out, weights, decoder->type, config->hidden_size,
                                  config->latent_dim, true, error, "decoder.pre_transformer.output_proj");
    }
    if (status == TMB_OK) {
        status = tmb_layer_vector(weights, config->hidden_size, &decoder->transformer_norm, error,
                                  "decoder.pre_transformer.norm.weight");
    }
    if (status == TMB_OK) {
        status = tmb_codec_transformer_load(&decoder->transformer_config, weights, "decoder.pre_transformer.",
                                            &decoder->transformer, error);
    }
    return status;
}

/* [channels, 1, 7] as [7, channels]. */
static tmb_status load_depthwise(const tmb_safetensors *weights, size_t channels, size_t index, float **out,
                                 tmb_error *error) {
    float *by_channel = NULL;
    tmb_status status = tmb_layer_tensor(weights, channels, 1, TMB_CODEC_WIDE_TAPS, &by_channel, error,
                                         "decoder.upsample.%zu.1.dwconv.conv.weight", index);
    if (status != TMB_OK) {
        return status;
    }
    *out = tmb_alloc_aligned(channels * TMB_CODEC_WIDE_TAPS, sizeof **out);
    if (*out == NULL) {
        free(by_channel);
        return tmb_fail_memory(error, "the codec's weights", 0);
    }
    for (size_t c = 0; c < channels; c++) {
        for (size_t p = 0; p < TMB_CODEC_WIDE_TAPS; p++) {
            (*out)[p * channels + c] = by_channel[c * TMB_CODEC_WIDE_TAPS + p];
        }
    }
    free(by_channel);
    return TMB_OK;
}

static tmb_status load_upsample(tmb_codec_decoder *decoder, const tmb_safetensors *weights, size_t index,
                                tmb_error *error) {
    tmb_codec_upsample *stage = &decoder->upsample[index];
    size_t latent = decoder->config.latent_dim;
    tmb_status status = tmb_layer_transposed(&stage->transposed, weights, decoder->type, stage->ratio, stage->ratio,
                                             latent, latent, error, "decoder.upsample.%zu.0.conv", index);
    if (status == TMB_OK) {
        status = load_depthwise(weights, latent, index, &stage->depthwise, error);
    }
    struct {
        float **vector;
        const char *name;
    } vectors[] = {{&stage->depthwise_bias, "dwconv.conv.bias"},
                   {&stage->norm, "norm.weight"},
                   {&stage->norm_bias, "norm.bias"},
                   {&stage->gamma, "gamma"}};
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0] && status == TMB_OK; i++) {
        status = tmb_layer_vector(weights, latent, vectors[i].vector, error, "decoder.upsample.%zu.1.%s", index,
                                  vectors[i].name);
    }
    if (status == TMB_OK) {
        status = tmb_layer_linear(&stage->expand, weights, decoder->type, latent, 4 * latent, true, error,
                                  "decoder.upsample.%zu.1.pwconv1", index);
    }
    if (status == TMB_OK) {
        status = tmb_layer_linear(&stage->contract, weights, decoder->type, 4 * latent, latent, true, error,
                                  "decoder.upsample.%zu.1.pwconv2", index);
    }
    return status;
}

/* PREFIX.alpha and PREFIX.beta, which are logarithms, `repeat` times one after the other. */
static tmb_status load_snake(const tmb_safetensors *weights, size_t channels, size_t repeat, tmb_codec_snake *out,
                             tmb_error *error, const char *prefix) {
    float *alpha = NULL;
    float *beta = NULL;
    tmb_status status = tmb_layer_vector(weights, channels, &alpha, error, "%s.alpha", prefix);
    if (status == TMB_OK) {
        status = tmb_layer_vector(weights, channels, &beta, error, "%s.beta", prefix);
    }
    if (status == TMB_OK) {
        out->frequency = tmb_alloc_aligned(channels * repeat, sizeof(float));
        out->gain = tmb_alloc_aligned(channels * repeat, sizeof(float));
        if (out->frequency == NULL || out->gain == NULL) {
            status = tmb_fail_memory(error, "the codec's weights", 0);
        }
    }
    for (size_t i = 0; status == TMB_OK && i < channels * repeat; i++) {
        out->frequency[i] = expf(alpha[i % channels]);
        out->gain[i] = 1 / (expf(beta[i % channels]) + 1e-9f);
    }
    free(alpha);
    free(beta);
    return status;
}

static tmb_status load_unit(tmb_codec_decoder *decoder, const tmb_safetensors *weights, size_t block, size_t index,
                            tmb_error *error) {
    tmb_codec_block *parent = &decoder->blocks[block];
    tmb_codec_unit *unit = &parent->units[index];
    const tmb_conv_shape wide = {.taps = TMB_CODEC_WIDE_TAPS,
                                 .in = parent->out,
                                 .out = parent->out,
                                 .dilation = dilations[index],
                                 .bias = true,
                                 .type = decoder->type};
    const tmb_conv_shape pointwise = {
        .taps = 1, .in = parent->out, .out = parent->out, .bias = true, .type = decoder->type};
    char prefix[TMB_LAYER_NAME_MAX];
    (void)snprintf(prefix, sizeof prefix, "decoder.decoder.%zu.block.%zu.act1", block + 1, index + 2);
    tmb_status status = load_snake(weights, parent->out, index == 0 ? parent->rate : 1, &unit->before, error, prefix);
    if (status == TMB_OK) {
        (void)snprintf(prefix, sizeof prefix, "decoder.decoder.%zu.block.%zu.act2", block + 1, index + 2);
        status = load_snake(weights, parent->out, 1, &unit->between, error, prefix);
    }
    if (status == TMB_OK) {
        status = tmb_layer_conv(&unit->wide, weights, &wide, error, "decoder.decoder.%zu.block.%zu.conv1.conv",
                                block + 1, index + 2);
    }
    if (status == TMB_OK) {
        status = tmb_layer_conv(&unit->pointwise, weights, &pointwise, error,
                                "decoder.decoder.%zu.block.%zu.conv2.conv", block + 1, index + 2);
    }
    return status;
}

static tmb_status load_block(tmb_codec_decoder *decoder, const tmb_safetensors *weights, size_t index,
                             tmb_error *error) {
    tmb_codec_block *block = &decoder->blocks[index];
    char prefix[TMB_LAYER_NAME_MAX];
    (void)snprintf(prefix, sizeof prefix, "decoder.decoder.%zu.block.0", index + 1);
    tmb_status status = load_snake(weights, block->in, 1, &block->before, error, prefix);
    if (status == TMB_OK) {
        status = tmb_layer_transposed(&block->transposed, weights, decoder->type, 2 * block->rate, block->rate,
                                      block->in, block->out, error, "decoder.decoder.%zu.block.1.conv", index + 1);
    }
    for (size_t i = 0; i < TMB_CODEC_UNITS && status == TMB_OK; i++) {
        status = load_unit(decoder, weights, index, i, error);
    }
    return status;
}

static tmb_status load_wide(tmb_codec_decoder *decoder, const tmb_safetensors *weights, tmb_error *error) {
    const tmb_conv_shape in = {.taps = TMB_CODEC_WIDE_TAPS,
                               .in = decoder->config.latent_dim,
                               .out = decoder->config.decoder_dim,
                               .bias = true,
                               .type = decoder->type};
    return tmb_layer_conv(&decoder->wide_in, weights, &in, error, "decoder.decoder.0.conv");
}

static tmb_status load_last(tmb_codec_decoder *decoder, const tmb_safetensors *weights, tmb_error *error) {
    size_t stages = decoder->config.decoder_stages;
    const tmb_conv_shape out = {
        .taps = TMB_CODEC_WIDE_TAPS, .in = decoder->config.decoder_dim >> stages, .out = 1, .bias = true};
    char prefix[TMB_LAYER_NAME_MAX];
    (void)snprintf(prefix, sizeof prefix, "decoder.decoder.%zu", stages + 1);
    tmb_status status = load_snake(weights, out.in, 1, &decoder->last_snake, error, prefix);
    if (status == TMB_OK) {
        status = tmb_layer_conv(&decoder->last, weights, &out, error, "decoder.decoder.%zu.conv", stages + 2);
    }
    return status;
}

/* Sizes that follow from the configuration, and the place of each layer's history in a stream's state. */
static void lay_out(tmb_codec_decoder *decoder) {
    const tmb_qwen3_codec_decoder_config *config = &decoder->config;
    tmb_codec_history_reserve(&decoder->pre_history, TMB_CODEC_PRE_TAPS - 1, config->codebook_dim,
                              &decoder->history_floats);
    for (size_t i = 0; i < config->upsample_stages; i++) {
        decoder->upsample[i].ratio = config->upsample_ratios[i];
        tmb_codec_history_reserve(&decoder->upsample[i].history, TMB_CODEC_WIDE_TAPS - 1, config->latent_dim,
                                  &decoder->history_floats);
    }
    tmb_codec_history_reserve(&decoder->wide_history, TMB_CODEC_WIDE_TAPS - 1, config->latent_dim,
                              &decoder->history_floats);
    for (size_t i = 0; i < config->decoder_stages; i++) {
        tmb_codec_block *block = &decoder->blocks[i];
        block->in = config->decoder_dim >> i;
        block->out = config->decoder_dim >> (i + 1);
        block->rate = config->decoder_rates[i];
        tmb_codec_history_reserve(&block->history, 1, block->in, &decoder->history_floats);
        for (size_t k = 0; k < TMB_CODEC_UNITS; k++) {
            tmb_codec_history_reserve(&block->units[k].history, (TMB_CODEC_WIDE_TAPS - 1) * dilations[k], block->out,
                                      &decoder->history_floats);
        }
    }
    tmb_codec_history_reserve(&decoder->last_history, TMB_CODEC_WIDE_TAPS - 1,
                              config->decoder_dim >> config->decoder_stages, &decoder->history_floats);
}

static size_t block_bytes(const tmb_qwen3_codec_decoder_config *config, tmb_conv_type type, size_t index) {
    size_t in = config->decoder_dim >> index;
    size_t out = config->decoder_dim >> (index + 1);
    const size_t parts[] = {tmb_conv_bytes(type, 2, in, config->decoder_rates[index] * out),
                            tmb_conv_bytes(type, TMB_CODEC_WIDE_TAPS, out, out),
                            tmb_conv_bytes(type, TMB_CODEC_WIDE_TAPS, out, out),
                            tmb_conv_bytes(type, TMB_CODEC_WIDE_TAPS, out, out),
                            tmb_conv_bytes(type, 1, out, out),
                            tmb_conv_bytes(type, 1, out, out),
                            tmb_conv_bytes(type, 1, out, out)};
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (!tmb_add_size(bytes, parts[i], &bytes)) {
            return SIZE_MAX;
        }
    }
    return bytes;
}

static tmb_codec_transformer_config transformer_config_of(const tmb_qwen3_codec_decoder_config *config,
                                                          tmb_conv_type type) {
    return (tmb_codec_transformer_config){.layers = config->layers,
                                          .hidden = config->hidden_size,
                                          .intermediate = config->intermediate_size,
                                          .heads = config->attention_heads,
                                          .key_value_heads = config->key_value_heads,
                                          .head_dim = config->head_dim,
                                          .window = config->sliding_window,
                                          .theta = config->rope_theta,
                                          .eps = config->rms_norm_eps,
                                          .gated = true,
                                          .type = type};
}

size_t tmb_codec_decoder_estimate(const tmb_qwen3_codec_config *codec, tmb_codec_precision precision) {
    const tmb_qwen3_codec_decoder_config *config = &codec->decoder;
    tmb_conv_type type = precision == TMB_CODEC_BF16 ? TMB_CONV_HALF : TMB_CONV_F32;
    const tmb_codec_transformer_config transformer = transformer_config_of(config, type);
    size_t latent = config->latent_dim;
    size_t bytes = 0;
    size_t parts[8 + 3 * TMB_QWEN3_STAGES_MAX];
    size_t count = 0;

    parts[count++] = tmb_conv_bytes(TMB_CONV_F32, config->quantizers, config->codebook_size, config->codebook_dim / 2);
    parts[count++] = tmb_conv_bytes(TMB_CONV_F32, 1, config->codebook_dim, config->codebook_dim);
    parts[count++] = tmb_conv_bytes(type, TMB_CODEC_PRE_TAPS, config->codebook_dim, latent);
    parts[count++] = tmb_conv_bytes(type, 2, config->hidden_size, latent);
    parts[count++] = tmb_codec_transformer_bytes(&transformer);
    parts[count++] = tmb_conv_bytes(type, TMB_CODEC_WIDE_TAPS, latent, config->decoder_dim);
    for (size_t i = 0; i < config->upsample_stages; i++) {
        parts[count++] = tmb_conv_bytes(type, 1, latent, config->upsample_ratios[i] * latent);
        parts[count++] = tmb_conv_bytes(type, 8, latent, latent);
    }
    for (size_t i = 0; i < config->decoder_stages; i++) {
        parts[count++] = block_bytes(config, type, i);
    }
    for (size_t i = 0; i < count; i++) {
        if (!tmb_add_size(bytes, parts[i], &bytes)) {
            return SIZE_MAX;
        }
    }
    return bytes;
}

static size_t scratch_bytes(const tmb_codec_decoder *decoder) {
    size_t most = tmb_codec_transformer_scratch_bytes(decoder->transformer);
    most = tmb_max_size(most, tmb_conv_scratch_bytes(&decoder->pre_conv));
    most = tmb_max_size(most, tmb_conv_scratch_bytes(&decoder->transformer_in));
    most = tmb_max_size(most, tmb_conv_scratch_bytes(&decoder->transformer_out));
    most = tmb_max_size(most, tmb_conv_scratch_bytes(&decoder->wide_in));
    for (size_t i = 0; i < decoder->config.upsample_stages; i++) {
        most = tmb_max_size(most, tmb_conv_scratch_bytes(&decoder->upsample[i].transposed));
        most = tmb_max_size(most, tmb_conv_scratch_bytes(&decoder->upsample[i].expand));
        most = tmb_max_size(most, tmb_conv_scratch_bytes(&decoder->upsample[i].contract));
    }
    for (size_t i = 0; i < decoder->config.decoder_stages; i++) {
        most = tmb_max_size(most, tmb_conv_scratch_bytes(&decoder->blocks[i].transposed));
        for (size_t k = 0; k < TMB_CODEC_UNITS; k++) {
            most = tmb_max_size(most, tmb_conv_scratch_bytes(&decoder->blocks[i].units[k].wide));
            most = tmb_max_size(most, tmb_conv_scratch_bytes(&decoder->blocks[i].units[k].pointwise));
        }
    }
    return most;
}

/* How many of the last frames' latent rows determine what all histories hold, and the last sample: from the output
 * back, a layer whose last `rows` outputs are wanted exactly needs `rows` and its history of its input. */
static size_t lookback(const tmb_codec_decoder *decoder) {
    const tmb_qwen3_codec_decoder_config *config = &decoder->config;
    size_t rows = 1 + decoder->last_history.rows;
    for (size_t i = config->decoder_stages; i-- > 0;) {
        const tmb_codec_block *block = &decoder->blocks[i];
        for (size_t k = 0; k < TMB_CODEC_UNITS; k++) {
            rows += block->units[k].history.rows;
        }
        rows = (rows + block->rate - 1) / block->rate + block->history.rows;
    }
    rows += decoder->wide_history.rows;
    for (size_t i = config->upsample_stages; i-- > 0;) {
        const tmb_codec_upsample *stage = &decoder->upsample[i];
        rows += stage->history.rows;
        rows = (rows + stage->ratio - 1) / stage->ratio;
    }
    return rows;
}

tmb_status tmb_codec_decoder_create(const tmb_qwen3_codec_config *config, tmb_codec_precision precision,
                                    tmb_codec_decoder **out, tmb_error *error) {
    *out = NULL;
    tmb_codec_decoder *decoder = tmb_calloc(1, sizeof *decoder);
    if (decoder == NULL) {
        return tmb_fail_memory(error, "the codec decoder", sizeof *decoder);
    }
    decoder->config = config->decoder;
    decoder->samples_per_frame = config->samples_per_frame;
    decoder->type = precision == TMB_CODEC_BF16 ? TMB_CONV_HALF : TMB_CONV_F32;
    tmb_activation_kernels_init(&decoder->activation, tmb_cpu_flags());
    decoder->transformer_config = transformer_config_of(&config->decoder, decoder->type);
    decoder->cache_rows = config->decoder.sliding_window - 1 + TMB_CODEC_STREAM_FRAMES;
    decoder->bytes = tmb_codec_decoder_estimate(config, precision);
    lay_out(decoder);
    *out = decoder;
    return TMB_OK;
}

/* In the data's order: these, the stages of the upsampling, the wide convolution, the blocks, the last convolution. */
enum { PART_QUANTIZER, PART_TRANSFORMER, FIRST_STAGE };

size_t tmb_codec_decoder_parts(const tmb_codec_decoder *decoder) {
    return FIRST_STAGE + decoder->config.upsample_stages + 1 + decoder->config.decoder_stages + 1;
}

tmb_status tmb_codec_decoder_load_part(tmb_codec_decoder *decoder, const tmb_safetensors *weights, size_t part,
                                       tmb_error *error) {
    size_t wide = FIRST_STAGE + decoder->config.upsample_stages;
    if (part == PART_QUANTIZER) {
        return load_quantizer(decoder, weights, error);
    }
    if (part == PART_TRANSFORMER) {
        return load_transformer(decoder, weights, error);
    }
    if (part < wide) {
        return load_upsample(decoder, weights, part - FIRST_STAGE, error);
    }
    if (part == wide) {
        return load_wide(decoder, weights, error);
    }
    part -= wide + 1;
    return part < decoder->config.decoder_stages ? load_block(decoder, weights, part, error)
                                                 : load_last(decoder, weights, error);
}

void tmb_codec_decoder_loaded(tmb_codec_decoder *decoder) {
    const tmb_qwen3_codec_decoder_config *config = &decoder->config;
    size_t rest = 0;
    decoder->tail = config->decoder_stages - 1;
    for (size_t i = config->decoder_stages;
         i-- > 0 && (rest += block_bytes(config, decoder->type, i)) <= TAIL_WEIGHTS_MAX;) {
        decoder->tail = i;
    }
    decoder->scratch_bytes = scratch_bytes(decoder);
    decoder->lookback = lookback(decoder);
}

tmb_status tmb_codec_decoder_load(const tmb_qwen3_codec_config *config, const tmb_safetensors *weights,
                                  tmb_codec_precision precision, tmb_codec_decoder **out, tmb_error *error) {
    tmb_status status = tmb_codec_decoder_create(config, precision, out, error);
    for (size_t part = 0; status == TMB_OK && part < tmb_codec_decoder_parts(*out); part++) {
        status = tmb_codec_decoder_load_part(*out, weights, part, error);
    }
    if (status != TMB_OK) {
        tmb_codec_decoder_destroy(out);
        return status;
    }
    tmb_codec_decoder_loaded(*out);
    return TMB_OK;
}

static void free_snake(tmb_codec_snake *snake) {
    free(snake->frequency);
    free(snake->gain);
}

void tmb_codec_decoder_destroy(tmb_codec_decoder **address) {
    tmb_codec_decoder *decoder = *address;
    *address = NULL;
    if (decoder == NULL) {
        return;
    }
    free(decoder->entries);
    tmb_conv_free(&decoder->first_projection);
    tmb_conv_free(&decoder->rest_projection);
    tmb_conv_free(&decoder->pre_conv);
    tmb_conv_free(&decoder->transformer_in);
    tmb_conv_free(&decoder->transformer_out);
    tmb_codec_transformer_destroy(&decoder->transformer);
    free(decoder->transformer_norm);
    for (size_t i = 0; i < TMB_QWEN3_STAGES_MAX; i++) {
        tmb_codec_upsample *stage = &decoder->upsample[i];
        tmb_conv_free(&stage->transposed);
        tmb_conv_free(&stage->expand);
        tmb_conv_free(&stage->contract);
        free(stage->depthwise);
        free(stage->depthwise_bias);
        free(stage->norm);
        free(stage->norm_bias);
        free(stage->gamma);
        tmb_codec_block *block = &decoder->blocks[i];
        tmb_conv_free(&block->transposed);
        free_snake(&block->before);
        for (size_t k = 0; k < TMB_CODEC_UNITS; k++) {
            free_snake(&block->units[k].before);
            free_snake(&block->units[k].between);
            tmb_conv_free(&block->units[k].wide);
            tmb_conv_free(&block->units[k].pointwise);
        }
    }
    tmb_conv_free(&decoder->wide_in);
    free_snake(&decoder->last_snake);
    tmb_conv_free(&decoder->last);
    free(decoder);
}

size_t tmb_codec_decoder_bytes(const tmb_codec_decoder *decoder) { return decoder->bytes; }
size_t tmb_codec_samples_per_frame(const tmb_codec_decoder *decoder) { return decoder->samples_per_frame; }
size_t tmb_codec_decoder_books(const tmb_codec_decoder *decoder) { return decoder->config.quantizers; }
size_t tmb_codec_decoder_lookback(const tmb_codec_decoder *decoder) { return decoder->lookback; }
