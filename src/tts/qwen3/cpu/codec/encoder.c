#include "tts/qwen3/cpu/codec/encoder_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/sizes.h"
#include "base/thread.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The longest reference: half an hour. Positions and sizes stay far from their types' limits. */
#define SECONDS_MAX 1800
#define RATE 24000

tmb_status tmb_codec_encode_check(const float *samples, size_t count, tmb_error *error) {
    if (count == 0) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "the reference has no samples");
    }
    if (count > (size_t)SECONDS_MAX * RATE) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "the reference has %zu samples, at most %d (%d s) are possible", count,
                        SECONDS_MAX * RATE, SECONDS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(samples[i])) {
            return tmb_fail(error, TMB_ERROR_ARGUMENT, "sample %zu of the reference is not a finite number", i);
        }
    }
    return TMB_OK;
}

static tmb_status transform(const tmb_codec_encoder *encoder, tmb_team *team, float *x, size_t rows, tmb_error *error) {
    tmb_codec_transformer_buffers *buffers = NULL;
    float *cache = tmb_alloc_huge(tmb_codec_cache_size(&encoder->transformer_config, rows), sizeof(float));
    tmb_status status = cache != NULL ? TMB_OK : tmb_fail_memory(error, "the codec encoder's attention", 0);
    if (status == TMB_OK) {
        status = tmb_codec_transformer_buffers_create(encoder->transformer, rows, rows, tmb_team_threads(team),
                                                      &buffers, error);
    }
    if (status == TMB_OK) {
        tmb_codec_rows stream = {.rows = rows, .cache = cache, .capacity = rows};
        tmb_codec_transformer_forward(encoder->transformer, buffers, x, &stream, 1, team, NULL);
    }
    tmb_codec_transformer_buffers_destroy(&buffers);
    free(cache);
    return status;
}

/* Strided convolution whose input goes on with its first and last rows: latent [ceil(rows / stride), hidden]. */
static tmb_status downsample(const tmb_codec_encoder *encoder, tmb_team *team, const float *x, size_t rows,
                             float *latent, tmb_error *error) {
    const tmb_conv *conv = &encoder->downsample;
    size_t width = encoder->config.hidden_size;
    size_t before = conv->taps - conv->stride;
    size_t frames = tmb_ceil_div(rows, conv->stride);
    size_t after = frames * conv->stride - rows;
    float *padded = tmb_alloc_aligned((before + rows + after) * width, sizeof(float));
    if (padded == NULL) {
        return tmb_fail_memory(error, "the codec encoder", (before + rows + after) * width * sizeof(float));
    }
    for (size_t i = 0; i < before; i++) {
        memcpy(padded + i * width, x, width * sizeof(float));
    }
    memcpy(padded + before * width, x, rows * width * sizeof(float));
    for (size_t i = 0; i < after; i++) {
        memcpy(padded + (before + rows + i) * width, x + (rows - 1) * width, width * sizeof(float));
    }
    tmb_conv_run run = {padded, latent, frames};
    tmb_conv_apply(conv, &run, 1, width, NULL, NULL, team);
    free(padded);
    return TMB_OK;
}

tmb_status tmb_codec_encode_latent(const tmb_codec_encoder *encoder, tmb_team *team, const float *samples, size_t count,
                                   float **latent, size_t *frames, tmb_error *error) {
    *latent = NULL;
    *frames = 0;
    tmb_status status = tmb_codec_encode_check(samples, count, error);
    if (status != TMB_OK) {
        return status;
    }
    unsigned denormals = tmb_denormals_flush();
    size_t width = encoder->config.hidden_size;
    size_t rows = tmb_ceil_div(count, encoder->hop);
    size_t outputs = tmb_ceil_div(rows, encoder->config.downsample);
    float *x = tmb_alloc_aligned(rows * width, sizeof(float));
    float *out = tmb_alloc_aligned(outputs * width, sizeof(float));
    if (x == NULL || out == NULL) {
        status = tmb_fail_memory(error, "the codec encoder", rows * width * sizeof(float));
    }
    if (status == TMB_OK) {
        status = tmb_codec_encoder_convolve(encoder, team, samples, count, x, error);
    }
    if (status == TMB_OK) {
        status = transform(encoder, team, x, rows, error);
    }
    if (status == TMB_OK) {
        status = downsample(encoder, team, x, rows, out, error);
    }
    tmb_denormals_restore(denormals);
    free(x);
    if (status != TMB_OK) {
        free(out);
        return status;
    }
    *latent = out;
    *frames = outputs;
    return TMB_OK;
}

tmb_status tmb_codec_encode(const tmb_codec_encoder *encoder, tmb_team *team, const float *samples, size_t count,
                            int16_t **codes, size_t *frames, tmb_error *error) {
    float *latent = NULL;
    *codes = NULL;
    tmb_status status = tmb_codec_encode_latent(encoder, team, samples, count, &latent, frames, error);
    if (status != TMB_OK) {
        return status;
    }
    int16_t *out = tmb_calloc(*frames * encoder->books, sizeof *out);
    status = out != NULL ? tmb_codec_encoder_quantize(encoder, team, latent, *frames, out, error)
                         : tmb_fail_memory(error, "the reference's codes", *frames * encoder->books * sizeof *out);
    free(latent);
    if (status != TMB_OK) {
        free(out);
        *frames = 0;
        return status;
    }
    *codes = out;
    return TMB_OK;
}

size_t tmb_codec_encode_bytes(const tmb_codec_encoder *encoder, size_t count) {
    size_t rows = tmb_ceil_div(count, encoder->hop);
    size_t frames = tmb_ceil_div(rows, encoder->config.downsample);
    size_t attention = tmb_codec_cache_size(&encoder->transformer_config, rows) * sizeof(float) +
                       tmb_codec_transformer_buffers_bytes(&encoder->transformer_config, rows, rows, 256);
    size_t convolutions = tmb_codec_encoder_convolve_bytes(encoder);
    size_t quantizer = frames * (encoder->config.codebook_size + encoder->config.codebook_dim) * sizeof(float);
    size_t most = attention > convolutions ? attention : convolutions;
    return (2 * rows + 2 * frames) * encoder->config.hidden_size * sizeof(float) +
           (most > quantizer ? most : quantizer);
}
