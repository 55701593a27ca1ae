/* Where the codec decoder's weights, buffers and histories lie. */
#include "tts/qwen3/cuda/cuda_codec.h"

#include "base/checked.h"
#include "base/error.h"

static const size_t dilations[TMB_CODEC_UNITS] = {1, 3, 9};

/* Addresses are given out from the beginnings of two stretches; sizes that overflow are remembered. */
typedef struct layout {
    tmb_cuda_codec *codec;
    size_t weights, buffers; /* bytes given out */
    size_t state;            /* floats of a stream */
    bool absurd;
} layout;

static tmb_gpu_address give(size_t *used, tmb_gpu_address from, size_t a, size_t b, size_t size, bool *absurd) {
    size_t bytes = 0, next = 0;
    if (!tmb_mul_size(a, b, &bytes) || !tmb_mul_size(bytes, size, &bytes) || !tmb_pad_size(bytes, 256, &bytes) ||
        !tmb_add_size(*used, bytes, &next)) {
        *absurd = true;
        return 0;
    }
    tmb_gpu_address address = from + *used;
    *used = next;
    return address;
}

static tmb_gpu_address vector(layout *l, size_t a, size_t b) {
    return give(&l->weights, l->codec->arena, a, b, sizeof(float), &l->absurd);
}

/* [columns * rate, width] */
static tmb_gpu_address buffer(layout *l, size_t rate, size_t width) {
    return give(&l->buffers, l->codec->scratch, l->codec->columns * rate, width, sizeof(float), &l->absurd);
}

static size_t panel_outputs(size_t out) { return out > 16 ? 32 : out > 8 ? 16 : out > 1 ? 8 : 1; }

/* A convolution; `half`: its weights are f16. */
static tmb_cuda_conv conv(layout *l, size_t taps, size_t in, size_t out, size_t dilation, bool bias, bool half) {
    tmb_cuda_conv c = {
        .taps = taps, .in = in, .out = out, .dilation = dilation, .panel_outputs = panel_outputs(out), .half = half};
    size_t padded = 0, depth = 0;
    if (!tmb_pad_size(out, c.panel_outputs, &padded) || !tmb_mul_size(taps, in, &depth)) {
        l->absurd = true;
    }
    c.weights = give(&l->weights, l->codec->arena, depth, padded, half ? sizeof(uint16_t) : sizeof(float), &l->absurd);
    c.bias = bias ? vector(l, out, 1) : 0;
    return c;
}

static tmb_cuda_conv gated(layout *l, size_t in, size_t out) {
    tmb_cuda_conv c = conv(l, 1, in, (out + 15) / 16 * 32, 1, false, l->codec->half);
    c.out = out;
    c.gate = true;
    return c;
}

static tmb_cuda_snake snake(layout *l, size_t channels) {
    return (tmb_cuda_snake){vector(l, channels, 1), vector(l, channels, 1), channels};
}

/* A plane whose last rows are remembered. */
static tmb_gpu_plane remembered(layout *l, size_t rate, size_t width, size_t rows) {
    tmb_cuda_codec *codec = l->codec;
    tmb_gpu_plane plane = {.rows = buffer(l, rate, width),
                           .history = (int64_t)l->state,
                           .width = (int32_t)width,
                           .rate = (int32_t)rate,
                           .history_rows = (int32_t)rows};
    l->state += rows * width;
    codec->planes[codec->plane_count++] = plane;
    return plane;
}

static void lay_out_transformer(layout *l) {
    tmb_cuda_codec *codec = l->codec;
    const tmb_qwen3_codec_decoder_config *config = &codec->config;
    size_t hidden = config->hidden_size, heads = config->attention_heads * config->head_dim;
    size_t keys = config->key_value_heads * config->head_dim;
    codec->entries = vector(l, config->quantizers * config->codebook_size, config->codebook_dim / 2);
    codec->projection = conv(l, 1, config->codebook_dim / 2 * 2, config->codebook_dim, 1, false, false);
    codec->pre = conv(l, TMB_CODEC_PRE_TAPS, config->codebook_dim, config->latent_dim, 1, true, codec->half);
    codec->in = conv(l, 1, config->latent_dim, hidden, 1, true, codec->half);
    codec->transformer_out = conv(l, 1, hidden, config->latent_dim, 1, true, codec->half);
    codec->norm = vector(l, hidden, 1);
    codec->frequencies = vector(l, config->head_dim / 2, 1);
    for (size_t i = 0; i < config->layers; i++) {
        tmb_cuda_codec_layer layer = {.qkv = conv(l, 1, hidden, heads + 2 * keys, 1, false, codec->half),
                                      .output = conv(l, 1, heads, hidden, 1, false, codec->half),
                                      .gate_up = gated(l, hidden, config->intermediate_size),
                                      .down = conv(l, 1, config->intermediate_size, hidden, 1, false, codec->half),
                                      .attention_norm = vector(l, hidden, 1),
                                      .mlp_norm = vector(l, hidden, 1),
                                      .attention_scale = vector(l, hidden, 1),
                                      .mlp_scale = vector(l, hidden, 1)};
        layer.keys = l->state;
        layer.values = l->state + codec->ring * keys;
        l->state += 2 * codec->ring * keys;
        codec->layers[i] = layer;
    }
    codec->quantized = remembered(l, 1, config->codebook_dim, TMB_CODEC_PRE_TAPS - 1);
    codec->sums = buffer(l, 1, config->codebook_dim);
    codec->angles = buffer(l, 1, config->head_dim);
    codec->latent = buffer(l, 1, config->latent_dim);
    codec->hidden = buffer(l, 1, hidden);
    codec->qkv = buffer(l, 1, heads + 2 * keys);
    codec->attended = buffer(l, 1, heads);
    codec->mlp = buffer(l, 1, config->intermediate_size);
}

/* Returns the rate behind it. */
static size_t lay_out_upsampling(layout *l) {
    tmb_cuda_codec *codec = l->codec;
    size_t latent = codec->config.latent_dim, rate = 1;
    for (size_t i = 0; i < codec->config.upsample_stages; i++) {
        size_t ratio = codec->config.upsample_ratios[i];
        rate *= ratio;
        codec->upsample[i] = (tmb_cuda_upsample){.transposed = conv(l, 1, latent, ratio * latent, 1, true, codec->half),
                                                 .expand = conv(l, 1, latent, 4 * latent, 1, true, codec->half),
                                                 .contract = conv(l, 1, 4 * latent, latent, 1, true, codec->half),
                                                 .depthwise = vector(l, TMB_CODEC_WIDE_TAPS, latent),
                                                 .depthwise_bias = vector(l, latent, 1),
                                                 .norm = vector(l, latent, 1),
                                                 .norm_bias = vector(l, latent, 1),
                                                 .gamma = vector(l, latent, 1),
                                                 .wide = remembered(l, rate, latent, TMB_CODEC_WIDE_TAPS - 1)};
    }
    codec->normed = buffer(l, rate, latent);
    codec->expanded = buffer(l, rate, 4 * latent);
    codec->upsampled = buffer(l, rate, latent);
    return rate;
}

static void lay_out_blocks(layout *l, size_t rate) {
    tmb_cuda_codec *codec = l->codec;
    const tmb_qwen3_codec_decoder_config *config = &codec->config;
    size_t most = 0; /* floats of a column's rows in a block */
    codec->wide_in = conv(l, TMB_CODEC_WIDE_TAPS, config->latent_dim, config->decoder_dim, 1, true, codec->half);
    codec->wide_plane = remembered(l, rate, config->latent_dim, TMB_CODEC_WIDE_TAPS - 1);
    for (size_t i = 0; i < config->decoder_stages; i++) {
        size_t in = config->decoder_dim >> i, out = config->decoder_dim >> (i + 1);
        tmb_cuda_block *block = &codec->blocks[i];
        *block = (tmb_cuda_block){.rate = config->decoder_rates[i],
                                  .transposed = conv(l, 2, in, config->decoder_rates[i] * out, 1, true, codec->half),
                                  .before = snake(l, in),
                                  .in = remembered(l, rate, in, 1)};
        rate *= block->rate;
        for (size_t k = 0; k < TMB_CODEC_UNITS; k++) {
            block->units[k] =
                (tmb_cuda_unit){.wide = conv(l, TMB_CODEC_WIDE_TAPS, out, out, dilations[k], true, codec->half),
                                .pointwise = conv(l, 1, out, out, 1, true, codec->half),
                                .before = snake(l, out),
                                .between = snake(l, out),
                                .in = remembered(l, rate, out, (TMB_CODEC_WIDE_TAPS - 1) * dilations[k])};
        }
        most = rate * out > most ? rate * out : most;
    }
    size_t width = config->decoder_dim >> config->decoder_stages;
    codec->last_snake = snake(l, width);
    codec->last = conv(l, TMB_CODEC_WIDE_TAPS, width, 1, 1, true, false);
    codec->last_plane = remembered(l, rate, width, TMB_CODEC_WIDE_TAPS - 1);
    codec->middle = buffer(l, 1, most);
    codec->residual = buffer(l, 1, most);
    codec->samples = buffer(l, rate, 1);
}

tmb_status tmb_cuda_codec_lay_out(tmb_cuda_codec *codec, tmb_error *error) {
    layout l = {.codec = codec};
    codec->plane_count = 0;
    codec->ring = codec->config.sliding_window - 1 + TMB_CUDA_STREAM_FRAMES;
    lay_out_transformer(&l);
    lay_out_blocks(&l, lay_out_upsampling(&l));
    codec->frames = buffer(&l, sizeof(tmb_gpu_frame) / sizeof(float), 1);
    codec->codes = buffer(&l, 1, (codec->config.quantizers + 1) / 2);
    codec->live = buffer(&l, 1, 1);
    codec->plane_table = give(&l.buffers, codec->scratch, TMB_CUDA_PLANES_MAX, 1, sizeof(tmb_gpu_plane), &l.absurd);
    codec->arena_bytes = l.weights;
    codec->scratch_bytes = l.buffers;
    codec->state_floats = l.state;
    return l.absurd ? tmb_fail(error, TMB_ERROR_MODEL, "the codec's sizes are absurd") : TMB_OK;
}
