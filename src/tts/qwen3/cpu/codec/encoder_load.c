#include "tts/qwen3/cpu/codec/encoder_internal.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "cpu/cpu.h"
#include "tts/qwen3/cpu/layers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Weights of the stages that are read again for every short slice. */
#define SLICED_WEIGHTS_MAX ((size_t)2 << 20)

/* Layers are numbered through: `layer` is the next number. */
static tmb_status load_stage(tmb_codec_encoder *encoder, const tmb_safetensors *weights, size_t index, size_t *layer,
                             tmb_error *error) {
    const tmb_qwen3_codec_encoder_config *config = &encoder->config;
    tmb_codec_stage *stage = &encoder->stages[index];
    size_t dilation = 1;
    tmb_status status = TMB_OK;
    stage->channels = config->filters << index;
    stage->ratio = config->ratios[index];
    stage->residuals = config->residual_layers;
    size_t hidden = stage->channels / config->compress;
    for (size_t i = 0; i < stage->residuals && status == TMB_OK; i++, dilation *= config->dilation_growth) {
        tmb_codec_residual *residual = &stage->residual[i];
        const tmb_conv_shape wide = {.taps = config->residual_kernel_size,
                                     .in = stage->channels,
                                     .out = hidden,
                                     .dilation = dilation,
                                     .bias = true,
                                     .type = encoder->type};
        const tmb_conv_shape pointwise = {
            .taps = 1, .in = hidden, .out = stage->channels, .bias = true, .type = encoder->type};
        tmb_codec_history_reserve(&residual->memory, (wide.taps - 1) * dilation, stage->channels,
                                  &encoder->memory_floats);
        status =
            tmb_layer_conv(&residual->wide, weights, &wide, error, "encoder.encoder.layers.%zu.block.1.conv", *layer);
        if (status == TMB_OK) {
            status = tmb_layer_conv(&residual->pointwise, weights, &pointwise, error,
                                    "encoder.encoder.layers.%zu.block.3.conv", *layer);
        }
        (*layer)++;
    }
    ++*layer; /* ELU has a number of its own */
    if (status == TMB_OK) {
        const tmb_conv_shape down = {.taps = 2 * stage->ratio,
                                     .in = stage->channels,
                                     .out = 2 * stage->channels,
                                     .stride = stage->ratio,
                                     .bias = true,
                                     .type = encoder->type};
        tmb_codec_history_reserve(&stage->memory, stage->ratio, stage->channels, &encoder->memory_floats);
        status = tmb_layer_conv(&stage->down, weights, &down, error, "encoder.encoder.layers.%zu.conv", *layer);
        ++*layer;
    }
    return status;
}

static tmb_status load_convolutions(tmb_codec_encoder *encoder, const tmb_safetensors *weights, tmb_error *error) {
    const tmb_qwen3_codec_encoder_config *config = &encoder->config;
    const tmb_conv_shape first = {
        .taps = config->kernel_size, .in = 1, .out = config->filters, .bias = true, .type = encoder->type};
    const tmb_conv_shape last = {.taps = config->last_kernel_size,
                                 .in = config->filters << config->stages,
                                 .out = config->hidden_size,
                                 .bias = true,
                                 .type = encoder->type};
    size_t layer = 1;
    tmb_codec_history_reserve(&encoder->first_memory, first.taps - 1, 1, &encoder->memory_floats);
    tmb_codec_history_reserve(&encoder->last_memory, last.taps - 1, last.in, &encoder->memory_floats);
    tmb_status status = tmb_layer_conv(&encoder->first, weights, &first, error, "encoder.encoder.layers.0.conv");
    for (size_t i = 0; i < config->stages && status == TMB_OK; i++) {
        status = load_stage(encoder, weights, i, &layer, error);
    }
    if (status == TMB_OK) {
        status = tmb_layer_conv(&encoder->last, weights, &last, error, "encoder.encoder.layers.%zu.conv", layer + 1);
    }
    const tmb_conv_shape downsample = {.taps = 2 * config->downsample,
                                       .in = config->hidden_size,
                                       .out = config->hidden_size,
                                       .stride = config->downsample,
                                       .type = encoder->type};
    if (status == TMB_OK) {
        status = tmb_layer_conv(&encoder->downsample, weights, &downsample, error, "encoder.downsample.conv");
    }
    return status;
}

static tmb_status load_book(tmb_codec_quantizer *quantizer, const tmb_safetensors *weights, size_t size, size_t width,
                            const char *name, size_t index, tmb_error *error) {
    float *entries = NULL;
    float *usage = NULL;
    tmb_status status =
        tmb_layer_tensor(weights, size, width, 0, &entries, error,
                         "encoder.quantizer.%s_residual_vector_quantizer.layers.%zu.codebook.embed_sum", name, index);
    if (status == TMB_OK) {
        status = tmb_layer_vector(weights, size, &usage, error,
                                  "encoder.quantizer.%s_residual_vector_quantizer.layers.%zu.codebook.cluster_usage",
                                  name, index);
    }
    if (status == TMB_OK && (quantizer->norms[index] = tmb_alloc_aligned(size, sizeof(float))) == NULL) {
        status = tmb_fail_memory(error, "the codec's codebooks", size * sizeof(float));
    }
    for (size_t i = 0; status == TMB_OK && i < size; i++) {
        double norm = 0;
        for (size_t k = 0; k < width; k++) {
            float *value = &entries[i * width + k];
            *value /= fmaxf(usage[i], 1e-5f);
            norm += (double)*value * (double)*value;
        }
        quantizer->norms[index][i] = (float)norm;
    }
    if (status == TMB_OK) {
        tmb_conv_source source = {.data = entries, .in = 1, .out = (ptrdiff_t)width, .group = size};
        status = tmb_conv_create(&quantizer->books[index], &source, NULL, TMB_CONV_F32, 1, width, size, 1, 1, error);
    }
    free(entries);
    free(usage);
    return status;
}

static tmb_status check_book(tmb_codec_quantizer *quantizer, const tmb_safetensors *weights, size_t size, size_t width,
                             const char *name, size_t index, tmb_error *error) {
    (void)quantizer;
    tmb_status status =
        tmb_layer_require(weights, size, width, 0, error,
                          "encoder.quantizer.%s_residual_vector_quantizer.layers.%zu.codebook.embed_sum", name, index);
    return status != TMB_OK ? status
                            : tmb_layer_require(weights, size, 0, 0, error,
                                                "encoder.quantizer.%s_residual_vector_quantizer.layers.%zu.codebook."
                                                "cluster_usage",
                                                name, index);
}

static tmb_status load_quantizer(const tmb_codec_encoder *encoder, tmb_codec_quantizer *quantizer,
                                 const tmb_safetensors *weights, const char *name, size_t count, tmb_error *error) {
    const tmb_qwen3_codec_encoder_config *config = &encoder->config;
    quantizer->books = tmb_calloc(count, sizeof *quantizer->books);
    quantizer->norms = tmb_calloc(count, sizeof *quantizer->norms);
    if (quantizer->books == NULL || quantizer->norms == NULL) {
        return tmb_fail_memory(error, "the codec's codebooks", 0);
    }
    quantizer->count = count;
    const tmb_conv_shape projection = {
        .taps = 1, .in = config->hidden_size, .out = config->codebook_dim, .type = encoder->type};
    tmb_status status = tmb_layer_conv(&quantizer->projection, weights, &projection, error,
                                       "encoder.quantizer.%s_residual_vector_quantizer.input_proj", name);
    for (size_t i = 0; i < count && status == TMB_OK; i++) {
        status = (encoder->type == TMB_CONV_EMPTY ? check_book : load_book)(quantizer, weights, config->codebook_size,
                                                                            config->codebook_dim, name, i, error);
    }
    return status;
}

static tmb_codec_transformer_config transformer_config_of(const tmb_qwen3_codec_encoder_config *config) {
    return (tmb_codec_transformer_config){.layers = config->layers,
                                          .hidden = config->hidden_size,
                                          .intermediate = config->intermediate_size,
                                          .heads = config->attention_heads,
                                          .key_value_heads = config->key_value_heads,
                                          .head_dim = config->head_dim,
                                          .theta = config->rope_theta,
                                          .eps = config->norm_eps};
}

static size_t stage_bytes(const tmb_qwen3_codec_encoder_config *config, size_t index) {
    size_t channels = config->filters << index;
    size_t hidden = channels / config->compress;
    size_t residual = 0;
    size_t bytes = tmb_conv_bytes(TMB_CONV_F32, 2 * config->ratios[index], channels, 2 * channels);
    if (!tmb_add_size(tmb_conv_bytes(TMB_CONV_F32, config->residual_kernel_size, channels, hidden),
                      tmb_conv_bytes(TMB_CONV_F32, 1, hidden, channels), &residual) ||
        !tmb_mul_size(residual, config->residual_layers, &residual) || !tmb_add_size(bytes, residual, &bytes)) {
        return SIZE_MAX;
    }
    return bytes;
}

size_t tmb_codec_encoder_estimate(const tmb_qwen3_codec_config *codec) {
    const tmb_qwen3_codec_encoder_config *config = &codec->encoder;
    const tmb_codec_transformer_config transformer = transformer_config_of(config);
    size_t parts[6 + TMB_QWEN3_STAGES_MAX];
    size_t count = 0;
    size_t bytes = 0;
    parts[count++] = tmb_conv_bytes(TMB_CONV_F32, config->kernel_size, 1, config->filters);
    parts[count++] =
        tmb_conv_bytes(TMB_CONV_F32, config->last_kernel_size, config->filters << config->stages, config->hidden_size);
    parts[count++] = tmb_codec_transformer_bytes(&transformer);
    parts[count++] = tmb_conv_bytes(TMB_CONV_F32, 2 * config->downsample, config->hidden_size, config->hidden_size);
    parts[count++] = tmb_conv_bytes(TMB_CONV_F32, 2, config->hidden_size, config->codebook_dim);
    parts[count++] = tmb_conv_bytes(TMB_CONV_F32, codec->valid_quantizers, config->codebook_dim, config->codebook_size);
    for (size_t i = 0; i < config->stages; i++) {
        parts[count++] = stage_bytes(config, i);
    }
    for (size_t i = 0; i < count; i++) {
        if (!tmb_add_size(bytes, parts[i], &bytes)) {
            return SIZE_MAX;
        }
    }
    return bytes;
}

static tmb_status open_encoder(const tmb_qwen3_codec_config *config, const tmb_safetensors *weights, tmb_conv_type type,
                               tmb_codec_encoder **out, tmb_error *error) {
    *out = NULL;
    tmb_codec_encoder *encoder = tmb_calloc(1, sizeof *encoder);
    if (encoder == NULL) {
        return tmb_fail_memory(error, "the codec encoder", sizeof *encoder);
    }
    size_t semantic = config->encoder.semantic_quantizers;
    encoder->config = config->encoder;
    encoder->books = config->valid_quantizers;
    tmb_activation_kernels_init(&encoder->activation, tmb_cpu_flags());
    encoder->type = type;
    encoder->transformer_config = transformer_config_of(&config->encoder);
    encoder->transformer_config.type = type;
    encoder->bytes = tmb_codec_encoder_estimate(config);
    encoder->hop = 1;
    size_t sliced = 0;
    for (size_t i = 0; i < config->encoder.stages; i++) {
        encoder->hop *= config->encoder.ratios[i];
        sliced += stage_bytes(&config->encoder, i);
        encoder->split = sliced <= SLICED_WEIGHTS_MAX ? i + 1 : encoder->split;
    }
    tmb_status status = load_convolutions(encoder, weights, error);
    if (status == TMB_OK) {
        status = tmb_codec_transformer_load(&encoder->transformer_config, weights, "encoder.encoder_transformer.",
                                            &encoder->transformer, error);
    }
    if (status == TMB_OK) {
        status = load_quantizer(encoder, &encoder->semantic, weights, "semantic", semantic, error);
    }
    if (status == TMB_OK) {
        status = load_quantizer(encoder, &encoder->acoustic, weights, "acoustic", encoder->books - semantic, error);
    }
    if (status != TMB_OK) {
        tmb_codec_encoder_destroy(&encoder);
        return status;
    }
    *out = encoder;
    return TMB_OK;
}

tmb_status tmb_codec_encoder_load(const tmb_qwen3_codec_config *config, const tmb_safetensors *weights,
                                  tmb_codec_encoder **out, tmb_error *error) {
    return open_encoder(config, weights, TMB_CONV_F32, out, error);
}

tmb_status tmb_codec_encoder_check(const tmb_qwen3_codec_config *config, const tmb_safetensors *weights,
                                   tmb_codec_encoder **out, tmb_error *error) {
    return open_encoder(config, weights, TMB_CONV_EMPTY, out, error);
}

static void free_quantizer(tmb_codec_quantizer *quantizer) {
    for (size_t i = 0; i < quantizer->count; i++) {
        tmb_conv_free(&quantizer->books[i]);
        free(quantizer->norms[i]);
    }
    tmb_conv_free(&quantizer->projection);
    free(quantizer->books);
    free(quantizer->norms);
}

void tmb_codec_encoder_destroy(tmb_codec_encoder **address) {
    tmb_codec_encoder *encoder = *address;
    *address = NULL;
    if (encoder == NULL) {
        return;
    }
    tmb_conv_free(&encoder->first);
    for (size_t i = 0; i < TMB_QWEN3_STAGES_MAX; i++) {
        for (size_t k = 0; k < TMB_CODEC_RESIDUALS_MAX; k++) {
            tmb_conv_free(&encoder->stages[i].residual[k].wide);
            tmb_conv_free(&encoder->stages[i].residual[k].pointwise);
        }
        tmb_conv_free(&encoder->stages[i].down);
    }
    tmb_conv_free(&encoder->last);
    tmb_codec_transformer_destroy(&encoder->transformer);
    tmb_conv_free(&encoder->downsample);
    free_quantizer(&encoder->semantic);
    free_quantizer(&encoder->acoustic);
    free(encoder);
}

size_t tmb_codec_encoder_bytes(const tmb_codec_encoder *encoder) { return encoder->bytes; }
