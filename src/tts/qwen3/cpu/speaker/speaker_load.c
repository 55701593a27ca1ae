#include "tts/qwen3/cpu/speaker/speaker_internal.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "cpu/cpu.h"
#include "tts/qwen3/cpu/layers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void count_bytes(tmb_speaker_encoder *encoder, const tmb_conv *conv) {
    encoder->bytes += tmb_conv_bytes(TMB_CONV_F32, conv->taps, conv->in, conv->out);
}

static tmb_status load_tdnn(tmb_speaker_encoder *encoder, tmb_speaker_tdnn *tdnn, const tmb_safetensors *weights,
                            size_t stage, size_t in, size_t out, tmb_error *error, const char *name) {
    const tmb_conv_shape shape = {.taps = encoder->config.kernels[stage],
                                  .in = in,
                                  .out = out,
                                  .dilation = encoder->config.dilations[stage],
                                  .bias = true};
    tdnn->reflected = (shape.taps - 1) / 2 * shape.dilation;
    tmb_status status = tmb_layer_conv(&tdnn->conv, weights, &shape, error, "speaker_encoder.%s.conv", name);
    if (status == TMB_OK) {
        count_bytes(encoder, &tdnn->conv);
        size_t frames = tdnn->reflected + 1;
        size_t samples = frames * 256;
        encoder->samples_min = samples > encoder->samples_min ? samples : encoder->samples_min;
    }
    return status;
}

static tmb_status load_pointwise(tmb_speaker_encoder *encoder, tmb_conv *conv, const tmb_safetensors *weights,
                                 size_t in, size_t out, tmb_error *error, const char *name) {
    const tmb_conv_shape shape = {.taps = 1, .in = in, .out = out, .bias = true};
    tmb_status status = tmb_layer_conv(conv, weights, &shape, error, "speaker_encoder.%s", name);
    if (status == TMB_OK) {
        count_bytes(encoder, conv);
    }
    return status;
}

static tmb_status load_block(tmb_speaker_encoder *encoder, const tmb_safetensors *weights, size_t stage,
                             tmb_error *error) {
    const tmb_qwen3_speaker_config *config = &encoder->config;
    tmb_speaker_block *block = &encoder->blocks[stage - 1];
    size_t channels = config->channels[stage];
    size_t group = channels / config->res2net_scale;
    char name[TMB_LAYER_NAME_MAX];
    block->groups = tmb_calloc(config->res2net_scale - 1, sizeof *block->groups);
    if (block->groups == NULL) {
        return tmb_fail_memory(error, "the speaker encoder", 0);
    }
    (void)snprintf(name, sizeof name, "blocks.%zu.tdnn1.conv", stage);
    tmb_status status =
        load_pointwise(encoder, &block->before.conv, weights, config->channels[stage - 1], channels, error, name);
    for (size_t i = 0; i + 1 < config->res2net_scale && status == TMB_OK; i++) {
        (void)snprintf(name, sizeof name, "blocks.%zu.res2net_block.blocks.%zu", stage, i);
        status = load_tdnn(encoder, &block->groups[i], weights, stage, group, group, error, name);
    }
    if (status == TMB_OK) {
        (void)snprintf(name, sizeof name, "blocks.%zu.tdnn2.conv", stage);
        status = load_pointwise(encoder, &block->after.conv, weights, channels, channels, error, name);
    }
    if (status == TMB_OK) {
        (void)snprintf(name, sizeof name, "blocks.%zu.se_block.conv1", stage);
        status = load_pointwise(encoder, &block->squeeze, weights, channels, config->se_channels, error, name);
    }
    if (status == TMB_OK) {
        (void)snprintf(name, sizeof name, "blocks.%zu.se_block.conv2", stage);
        status = load_pointwise(encoder, &block->excite, weights, config->se_channels, channels, error, name);
    }
    return status;
}

/* asp.tdnn.conv [attention, 3 channels, 1] in two: the first third of the inputs, with the bias, and the rest. */
static tmb_status load_attention(tmb_speaker_encoder *encoder, const tmb_safetensors *weights, size_t channels,
                                 tmb_error *error) {
    size_t out = encoder->config.attention_channels;
    float *weight = NULL;
    float *bias = NULL;
    tmb_status status =
        tmb_layer_tensor(weights, out, 3 * channels, 1, &weight, error, "speaker_encoder.asp.tdnn.conv.weight");
    if (status == TMB_OK) {
        status = tmb_layer_vector(weights, out, &bias, error, "speaker_encoder.asp.tdnn.conv.bias");
    }
    tmb_conv_source source = {.data = weight, .in = 1, .out = (ptrdiff_t)(3 * channels), .group = out};
    if (status == TMB_OK) {
        status = tmb_conv_create(&encoder->attention_rows, &source, bias, TMB_CONV_F32, 1, channels, out, 1, 1, error);
    }
    if (status == TMB_OK) {
        source.data = weight + channels;
        status = tmb_conv_create(&encoder->attention_statistics, &source, NULL, TMB_CONV_F32, 1, 2 * channels, out, 1,
                                 1, error);
        encoder->bytes += tmb_conv_bytes(TMB_CONV_F32, 1, 3 * channels, out);
    }
    free(weight);
    free(bias);
    return status;
}

tmb_status tmb_speaker_encoder_load(const tmb_qwen3_speaker_config *config, const tmb_safetensors *weights,
                                    tmb_speaker_encoder **out, tmb_error *error) {
    *out = NULL;
    tmb_speaker_encoder *encoder = tmb_calloc(1, sizeof *encoder);
    if (encoder == NULL) {
        return tmb_fail_memory(error, "the speaker encoder", sizeof *encoder);
    }
    encoder->config = *config;
    tmb_activation_kernels_init(&encoder->activation, tmb_cpu_flags());
    encoder->block_count = config->stages - 2;
    encoder->samples_min = TMB_MEL_SAMPLES_MIN;
    size_t last = config->stages - 1;
    size_t width = config->channels[last];
    tmb_status status = tmb_mel_create(config->mel_bands, &encoder->mel, error);
    if (status == TMB_OK) {
        status =
            load_tdnn(encoder, &encoder->first, weights, 0, config->mel_bands, config->channels[0], error, "blocks.0");
    }
    for (size_t stage = 1; stage < last && status == TMB_OK; stage++) {
        status = load_block(encoder, weights, stage, error);
    }
    if (status == TMB_OK) {
        status = load_tdnn(encoder, &encoder->aggregate, weights, last, width, width, error, "mfa");
    }
    if (status == TMB_OK) {
        status = load_attention(encoder, weights, width, error);
    }
    if (status == TMB_OK) {
        status =
            load_pointwise(encoder, &encoder->attention, weights, config->attention_channels, width, error, "asp.conv");
    }
    if (status == TMB_OK) {
        status = load_pointwise(encoder, &encoder->last, weights, 2 * width, config->embedding_size, error, "fc");
    }
    if (status != TMB_OK) {
        tmb_speaker_encoder_destroy(&encoder);
        return status;
    }
    *out = encoder;
    return TMB_OK;
}

void tmb_speaker_encoder_destroy(tmb_speaker_encoder **address) {
    tmb_speaker_encoder *encoder = *address;
    *address = NULL;
    if (encoder == NULL) {
        return;
    }
    tmb_mel_destroy(&encoder->mel);
    tmb_conv_free(&encoder->first.conv);
    for (size_t i = 0; i < encoder->block_count; i++) {
        tmb_speaker_block *block = &encoder->blocks[i];
        tmb_conv_free(&block->before.conv);
        tmb_conv_free(&block->after.conv);
        for (size_t k = 0; block->groups != NULL && k + 1 < encoder->config.res2net_scale; k++) {
            tmb_conv_free(&block->groups[k].conv);
        }
        free(block->groups);
        tmb_conv_free(&block->squeeze);
        tmb_conv_free(&block->excite);
    }
    tmb_conv_free(&encoder->aggregate.conv);
    tmb_conv_free(&encoder->attention_rows);
    tmb_conv_free(&encoder->attention_statistics);
    tmb_conv_free(&encoder->attention);
    tmb_conv_free(&encoder->last);
    free(encoder);
}

size_t tmb_speaker_encoder_bytes(const tmb_speaker_encoder *encoder) { return encoder->bytes; }
size_t tmb_speaker_size(const tmb_speaker_encoder *encoder) { return encoder->config.embedding_size; }

size_t tmb_speaker_encoder_estimate(const tmb_safetensors *weights) {
    static const char prefix[] = "speaker_encoder.";
    size_t bytes = 0;
    for (size_t i = 0; i < tmb_safetensors_count(weights); i++) {
        const tmb_tensor *tensor = tmb_safetensors_at(weights, i);
        /* Whatever they are stored as, they become floats. */
        bytes += strncmp(tensor->name, prefix, sizeof prefix - 1) == 0 ? tensor->count * sizeof(float) : 0;
    }
    return bytes;
}
