/* The codec decoder's weights, read by the CPU's loader, laid out as the kernels take them and moved up. */
#include "tts/qwen3/cuda/cuda_codec.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "tts/qwen3/cpu/codec/transformer_internal.h"
#include "tts/qwen3/cuda/cuda_graphs.h"

#include <stdlib.h>
#include <string.h>

/* ---- What the kernels take -------------------------------------------------------------------- */

static tmb_status check(const tmb_qwen3_codec_decoder_config *config, tmb_error *error) {
    if (config->head_dim > TMB_CODEC_HEAD || config->sliding_window > TMB_CODEC_WINDOW) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED,
                        "the codec's attention, heads of %zu and %zu frames, is not one that the GPU's kernels take",
                        config->head_dim, config->sliding_window);
    }
    return TMB_OK;
}

static void set(tmb_cuda_codec *codec, const tmb_qwen3_codec_config *config, const tmb_net_options *options) {
    codec->config = config->decoder;
    codec->samples_per_frame = config->samples_per_frame;
    codec->half = options->precisions.codec == TMB_CODEC_BF16;
    codec->columns = options->sequences <= TMB_CUDA_STREAM_FRAMES ? TMB_CUDA_STREAM_FRAMES : TMB_CUDA_COLUMNS;
}

tmb_status tmb_cuda_codec_estimate(const tmb_qwen3_codec_config *config, const tmb_net_options *options,
                                   tmb_net_bytes *bytes, size_t *stream, tmb_error *error) {
    *bytes = (tmb_net_bytes){0, 0};
    *stream = 0;
    tmb_status status = check(&config->decoder, error);
    tmb_cuda_codec *codec = tmb_calloc(1, sizeof *codec);
    if (codec != NULL) {
        codec->layers = tmb_calloc(config->decoder.layers, sizeof *codec->layers);
    }
    if (status == TMB_OK && (codec == NULL || codec->layers == NULL)) {
        status = tmb_fail_memory(error, "the codec decoder", sizeof *codec);
    }
    if (status == TMB_OK) {
        set(codec, config, options);
        status = tmb_cuda_codec_lay_out(codec, error);
    }
    if (status == TMB_OK) {
        bytes->host = tmb_codec_decoder_estimate(config, TMB_CODEC_F32);
        bytes->device = tmb_gpu_rounded(codec->arena_bytes) + tmb_gpu_rounded(codec->scratch_bytes) +
                        tmb_cuda_codec_kernels(codec) * TMB_CUDA_KERNEL_BYTES;
        *stream = codec->state_floats * sizeof(float);
    }
    if (codec != NULL) {
        free(codec->layers);
    }
    free(codec);
    return status;
}

/* ---- Weights ---------------------------------------------------------------------------------- */

/* What is moved up, and the first failure. */
typedef struct filling {
    tmb_cuda_codec *codec;
    float *row;   /* of one output */
    void *panel;  /* of one layer's panel */
    size_t bytes; /* of `panel` */
    tmb_status status;
    tmb_error *error;
} filling;

static void upload(filling *f, tmb_gpu_address to, const void *from, size_t bytes) {
    if (f->status == TMB_OK) {
        f->status = tmb_gpu_upload(f->codec->gpu, f->codec->stream, to, from, bytes, f->error);
    }
}

static void fill_vector(filling *f, tmb_gpu_address to, const float *from, size_t count) {
    upload(f, to, from, count * sizeof *from);
}

/* To nearest even; weights are finite, what f16 cannot hold becomes its largest. */
static uint16_t half_of(float x) {
    uint32_t bits = 0;
    memcpy(&bits, &x, sizeof bits);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    const float magnitude = __builtin_fabsf(x);
    if (magnitude >= 65504.0f) {
        return (uint16_t)(sign | 0x7bffu);
    }
    if (magnitude < 0x1p-14f) {
        return (uint16_t)(sign | (uint16_t)__builtin_nearbyintf(magnitude * 0x1p24f));
    }
    const uint32_t kept = bits & 0x7fffffffu;
    return (uint16_t)(sign | (uint16_t)(((kept + 0xfffu + (kept >> 13 & 1u)) >> 13) - (112u << 10)));
}

/* Output `o` of the layer's formula is output `source` of `from`; SIZE_MAX: none. */
static size_t source_of(const tmb_cuda_conv *conv, size_t o) {
    if (!conv->gate) {
        return o < conv->out ? o : SIZE_MAX;
    }
    size_t own = o / 32 * 16 + o % 16;
    return own < conv->out ? own + (o % 32 < 16 ? 0 : conv->out) : SIZE_MAX;
}

/* One panel: [depth][panel_outputs]. Inputs from `begin` on are those of `second`, if there is one. */
static void fill_panel(filling *f, const tmb_cuda_conv *conv, const tmb_conv *from, const tmb_conv *second,
                       size_t panel) {
    size_t depth = conv->taps * conv->in, width = conv->panel_outputs;
    for (size_t j = 0; j < width; j++) {
        size_t source = source_of(conv, panel * width + j);
        if (source == SIZE_MAX) {
            memset(f->row, 0, depth * sizeof *f->row);
        } else {
            tmb_conv_unpack(from, source, f->row);
            if (second != NULL) {
                tmb_conv_unpack(second, source, f->row + from->in);
            }
        }
        for (size_t k = 0; k < depth; k++) {
            if (conv->half) {
                ((uint16_t *)f->panel)[k * width + j] = half_of(f->row[k]);
            } else {
                ((float *)f->panel)[k * width + j] = f->row[k];
            }
        }
    }
}

static void fill_both(filling *f, const tmb_cuda_conv *conv, const tmb_conv *from, const tmb_conv *second) {
    size_t depth = conv->taps * conv->in, outputs = conv->gate ? (conv->out + 15) / 16 * 32 : conv->out;
    size_t bytes = depth * conv->panel_outputs * (conv->half ? sizeof(uint16_t) : sizeof(float));
    f->row = tmb_calloc(depth, sizeof *f->row);
    f->panel = tmb_calloc(1, bytes);
    if (f->status == TMB_OK && (f->row == NULL || f->panel == NULL)) {
        f->status = tmb_fail_memory(f->error, "the codec's weights", bytes);
    }
    for (size_t panel = 0; panel * conv->panel_outputs < outputs && f->status == TMB_OK; panel++) {
        fill_panel(f, conv, from, second, panel);
        upload(f, conv->weights + panel * bytes, f->panel, bytes);
    }
    if (conv->bias != 0) {
        fill_vector(f, conv->bias, from->bias, conv->out);
    }
    free(f->row);
    free(f->panel);
}

static void fill(filling *f, const tmb_cuda_conv *conv, const tmb_conv *from) { fill_both(f, conv, from, NULL); }

static void fill_snake(filling *f, const tmb_cuda_snake *to, const tmb_codec_snake *from) {
    fill_vector(f, to->frequency, from->frequency, to->channels);
    fill_vector(f, to->gain, from->gain, to->channels);
}

static void fill_transformer(filling *f, const tmb_codec_decoder *from) {
    const tmb_cuda_codec *codec = f->codec;
    const tmb_qwen3_codec_decoder_config *config = &codec->config;
    float frequencies[TMB_CODEC_HEAD / 2];
    size_t hidden = config->hidden_size;
    fill_vector(f, codec->entries, from->entries,
                config->quantizers * config->codebook_size * (config->codebook_dim / 2));
    fill_both(f, &codec->projection, &from->first_projection, &from->rest_projection);
    fill(f, &codec->pre, &from->pre_conv);
    fill(f, &codec->in, &from->transformer_in);
    fill(f, &codec->transformer_out, &from->transformer_out);
    fill_vector(f, codec->norm, from->transformer_norm, hidden);
    for (size_t i = 0; i < config->head_dim / 2; i++) {
        frequencies[i] = (float)from->transformer->frequencies[i];
    }
    fill_vector(f, codec->frequencies, frequencies, config->head_dim / 2);
    for (size_t i = 0; i < config->layers; i++) {
        const tmb_codec_layer *l = &from->transformer->layers[i];
        const tmb_cuda_codec_layer *layer = &codec->layers[i];
        fill(f, &layer->qkv, &l->query_key_value);
        fill(f, &layer->output, &l->output);
        fill(f, &layer->gate_up, &l->mlp_in);
        fill(f, &layer->down, &l->mlp_out);
        fill_vector(f, layer->attention_norm, l->attention_norm, hidden);
        fill_vector(f, layer->mlp_norm, l->mlp_norm, hidden);
        fill_vector(f, layer->attention_scale, l->attention_scale, hidden);
        fill_vector(f, layer->mlp_scale, l->mlp_scale, hidden);
    }
}

static void fill_upsampling(filling *f, const tmb_codec_decoder *from) {
    size_t latent = f->codec->config.latent_dim;
    for (size_t i = 0; i < f->codec->config.upsample_stages; i++) {
        const tmb_cuda_upsample *to = &f->codec->upsample[i];
        const tmb_codec_upsample *stage = &from->upsample[i];
        fill(f, &to->transposed, &stage->transposed);
        fill(f, &to->expand, &stage->expand);
        fill(f, &to->contract, &stage->contract);
        fill_vector(f, to->depthwise, stage->depthwise, TMB_CODEC_WIDE_TAPS * latent);
        fill_vector(f, to->depthwise_bias, stage->depthwise_bias, latent);
        fill_vector(f, to->norm, stage->norm, latent);
        fill_vector(f, to->norm_bias, stage->norm_bias, latent);
        fill_vector(f, to->gamma, stage->gamma, latent);
    }
}

static void fill_blocks(filling *f, const tmb_codec_decoder *from) {
    const tmb_cuda_codec *codec = f->codec;
    fill(f, &codec->wide_in, &from->wide_in);
    for (size_t i = 0; i < codec->config.decoder_stages; i++) {
        const tmb_cuda_block *to = &codec->blocks[i];
        const tmb_codec_block *block = &from->blocks[i];
        fill(f, &to->transposed, &block->transposed);
        fill_snake(f, &to->before, &block->before);
        for (size_t k = 0; k < TMB_CODEC_UNITS; k++) {
            fill(f, &to->units[k].wide, &block->units[k].wide);
            fill(f, &to->units[k].pointwise, &block->units[k].pointwise);
            fill_snake(f, &to->units[k].before, &block->units[k].before);
            fill_snake(f, &to->units[k].between, &block->units[k].between);
        }
    }
    fill_snake(f, &codec->last_snake, &from->last_snake);
    fill(f, &codec->last, &from->last);
}

static tmb_status load_weights(tmb_cuda_codec *codec, const tmb_net_files *files, tmb_error *error) {
    tmb_codec_decoder *decoder = NULL;
    tmb_status status =
        tmb_codec_decoder_load(&files->config->codec, files->codec_weights, TMB_CODEC_F32, &decoder, error);
    if (status != TMB_OK) {
        return status;
    }
    filling f = {.codec = codec, .error = error};
    codec->lookback = tmb_codec_decoder_lookback(decoder);
    fill_transformer(&f, decoder);
    fill_upsampling(&f, decoder);
    fill_blocks(&f, decoder);
    upload(&f, codec->plane_table, codec->planes, codec->plane_count * sizeof codec->planes[0]);
    if (f.status == TMB_OK) {
        f.status = tmb_gpu_synchronize(codec->gpu, codec->stream, error);
    }
    tmb_codec_decoder_destroy(&decoder);
    return f.status;
}

/* ---- All of it -------------------------------------------------------------------------------- */

static tmb_status allocate(tmb_cuda_codec *codec, tmb_error *error) {
    tmb_status status = tmb_cuda_codec_lay_out(codec, error); /* how much */
    if (status == TMB_OK) {
        status = tmb_gpu_allocate(codec->gpu, codec->arena_bytes, "the codec decoder's weights", &codec->arena, error);
    }
    if (status == TMB_OK) {
        status =
            tmb_gpu_allocate(codec->gpu, codec->scratch_bytes, "the codec decoder's buffers", &codec->scratch, error);
    }
    return status == TMB_OK ? tmb_cuda_codec_lay_out(codec, error) : status; /* where */
}

tmb_status tmb_cuda_codec_load(tmb_gpu *gpu, const tmb_net_files *files, const tmb_net_options *options,
                               tmb_cuda_codec **out, tmb_error *error) {
    *out = NULL;
    tmb_status status = check(&files->config->codec.decoder, error);
    tmb_cuda_codec *codec = status == TMB_OK ? tmb_calloc(1, sizeof *codec) : NULL;
    if (status == TMB_OK && codec == NULL) {
        status = tmb_fail_memory(error, "the codec decoder", sizeof *codec);
    }
    if (status != TMB_OK) {
        return status;
    }
    codec->gpu = gpu;
    set(codec, &files->config->codec, options);
    codec->layers = tmb_calloc(codec->config.layers, sizeof *codec->layers);
    if (codec->layers == NULL) {
        status = tmb_fail_memory(error, "the codec decoder", codec->config.layers * sizeof *codec->layers);
    }
    if (status != TMB_OK || (status = tmb_gpu_stream_create(gpu, false, &codec->stream, error)) != TMB_OK ||
        (status = allocate(codec, error)) != TMB_OK || (status = load_weights(codec, files, error)) != TMB_OK ||
        (status = tmb_cuda_codec_record(codec, error)) != TMB_OK) {
        tmb_cuda_codec_destroy(&codec);
        return status;
    }
    *out = codec;
    return TMB_OK;
}

void tmb_cuda_codec_destroy(tmb_cuda_codec **codec_address) {
    tmb_cuda_codec *codec = *codec_address;
    *codec_address = NULL;
    if (codec == NULL) {
        return;
    }
    if (codec->stream != NULL) {
        (void)tmb_gpu_synchronize(codec->gpu, codec->stream, NULL);
    }
    for (size_t i = 0; i < TMB_CUDA_COLUMN_BUCKETS; i++) {
        tmb_gpu_graph_destroy(codec->gpu, &codec->whole[i]);
        tmb_gpu_graph_destroy(codec->gpu, &codec->heard[i]);
    }
    tmb_cuda_graphs_forget(codec->gpu, &codec->graph_bytes);
    tmb_gpu_free(codec->gpu, codec->arena);
    tmb_gpu_free(codec->gpu, codec->scratch);
    tmb_gpu_stream_destroy(codec->gpu, &codec->stream);
    free(codec->layers);
    free(codec);
}

size_t tmb_cuda_codec_bytes(const tmb_cuda_codec *codec) {
    return tmb_gpu_rounded(codec->arena_bytes) + tmb_gpu_rounded(codec->scratch_bytes) + codec->graph_bytes;
}
