/* The kernels of some frames of the codec decoder, recorded once for each number of columns. */
#include "tts/qwen3/cuda/cuda_codec.h"

#include "base/sizes.h"
#include "tts/qwen3/cuda/cuda_graphs.h"

#include <string.h>

/* Layers with so many rows a frame and more have one warp for each output's sum, and several panels in a block. */
#define MANY_ROWS 32
/* Sums of so many products and fewer are one warp's. */
#define ALONE_DEPTH 256

typedef struct recording {
    const tmb_cuda_codec *codec;
    tmb_gpu_recorder *recorder;
    size_t columns;
    tmb_gpu_frames frames;
} recording;

/* What becomes of a convolution; see tmb_convolve_arguments. */
typedef struct product {
    tmb_gpu_address norm, scale, add, sum, out;
    const tmb_cuda_snake *snake;
    int becomes;
} product;

static void convolve(const recording *r, const tmb_cuda_conv *conv, const tmb_gpu_plane *from, const product *p) {
    const tmb_cuda_codec *codec = r->codec;
    tmb_convolve_arguments a = {.columns = r->frames,
                                .from = *from,
                                .weights = conv->weights,
                                .norm = p->norm,
                                .bias = conv->bias,
                                .scale = p->scale,
                                .add = p->add,
                                .sum = p->sum,
                                .out = p->out,
                                .taps = (int32_t)conv->taps,
                                .dilation = (int32_t)conv->dilation,
                                .outputs = (int32_t)conv->out,
                                .panel_outputs = (int32_t)conv->panel_outputs,
                                .across = 1,
                                .half = conv->half,
                                .becomes = conv->gate         ? TMB_CONVOLVE_GATE
                                           : p->snake != NULL ? TMB_CONVOLVE_SNAKE
                                                              : p->becomes,
                                .eps = (float)codec->config.rms_norm_eps};
    if (p->snake != NULL) {
        a.frequency = p->snake->frequency;
        a.gain = p->snake->gain;
        a.channels = (int32_t)p->snake->channels;
    }
    size_t panels = tmb_ceil_div(conv->out, conv->gate ? 16 : conv->panel_outputs);
    size_t rows = 32 / conv->panel_outputs * TMB_CONVOLVE_ROWS;
    unsigned threads = 32;
    if (from->rate >= MANY_ROWS) {
        a.across = (int32_t)(panels < TMB_CONVOLVE_ACROSS ? panels : TMB_CONVOLVE_ACROSS);
        threads = 32 * (unsigned)a.across;
    } else if (conv->taps * conv->in > ALONE_DEPTH) {
        threads = 128;
    }
    tmb_gpu_kernel(r->recorder, TMB_KERNEL_tmb_convolve,
                   (tmb_gpu_grid){(unsigned)tmb_ceil_div(panels, (size_t)a.across),
                                  (unsigned)tmb_ceil_div(r->columns * (size_t)from->rate, rows), 1, threads},
                   &a);
}

static tmb_gpu_plane plain(tmb_gpu_address rows, size_t width, size_t rate) {
    return (tmb_gpu_plane){.rows = rows, .width = (int32_t)width, .rate = (int32_t)rate};
}

/* What every column remembers of the first `planes` planes. */
static void keep(const recording *r, size_t planes) {
    const tmb_keep_history_arguments a = {.columns = r->frames, .planes = r->codec->plane_table};
    tmb_gpu_kernel(r->recorder, TMB_KERNEL_tmb_keep_history,
                   (tmb_gpu_grid){(unsigned)planes, (unsigned)r->columns, 1, 128}, &a);
}

/* ---- Codes to what the transformer makes of them ---- */

static void record_layer(const recording *r, const tmb_cuda_codec_layer *layer) {
    const tmb_cuda_codec *codec = r->codec;
    const tmb_qwen3_codec_decoder_config *config = &codec->config;
    const tmb_gpu_plane hidden = plain(codec->hidden, config->hidden_size, 1);
    const tmb_gpu_plane attended = plain(codec->attended, config->attention_heads * config->head_dim, 1);
    const tmb_gpu_plane mlp = plain(codec->mlp, config->intermediate_size, 1);
    convolve(r, &layer->qkv, &hidden, &(product){.norm = layer->attention_norm, .out = codec->qkv});
    const tmb_codec_attend_arguments attend = {.columns = r->frames,
                                               .qkv = codec->qkv,
                                               .angles = codec->angles,
                                               .out = codec->attended,
                                               .keys = (int64_t)layer->keys,
                                               .values = (int64_t)layer->values,
                                               .heads = (int32_t)config->attention_heads,
                                               .key_heads = (int32_t)config->key_value_heads,
                                               .head_dim = (int32_t)config->head_dim,
                                               .window = (int32_t)config->sliding_window,
                                               .ring = (int32_t)codec->ring,
                                               .scale = 1.0f / __builtin_sqrtf((float)config->head_dim)};
    tmb_gpu_kernel(
        r->recorder, TMB_KERNEL_tmb_codec_attend,
        (tmb_gpu_grid){(unsigned)config->key_value_heads, (unsigned)r->columns, 1, config->head_dim < 32 ? 32 : 128},
        &attend);
    convolve(r, &layer->output, &attended,
             &(product){.scale = layer->attention_scale, .add = codec->hidden, .sum = codec->hidden});
    convolve(r, &layer->gate_up, &hidden, &(product){.norm = layer->mlp_norm, .out = codec->mlp});
    convolve(r, &layer->down, &mlp, &(product){.scale = layer->mlp_scale, .add = codec->hidden, .sum = codec->hidden});
}

static void record_hidden(const recording *r) {
    const tmb_cuda_codec *codec = r->codec;
    const tmb_qwen3_codec_decoder_config *config = &codec->config;
    const tmb_codec_codes_arguments codes = {.columns = r->frames,
                                             .codes = codec->codes,
                                             .entries = codec->entries,
                                             .frequencies = codec->frequencies,
                                             .sums = codec->sums,
                                             .angles = codec->angles,
                                             .books = (int32_t)config->quantizers,
                                             .semantic = (int32_t)config->semantic_quantizers,
                                             .size = (int32_t)config->codebook_size,
                                             .width = (int32_t)config->codebook_dim / 2,
                                             .half = (int32_t)config->head_dim / 2};
    tmb_gpu_kernel(r->recorder, TMB_KERNEL_tmb_codec_codes, (tmb_gpu_grid){(unsigned)r->columns, 1, 1, 64}, &codes);
    const tmb_gpu_plane sums = plain(codec->sums, config->codebook_dim / 2 * 2, 1);
    const tmb_gpu_plane latent = plain(codec->latent, config->latent_dim, 1);
    convolve(r, &codec->projection, &sums, &(product){.out = codec->quantized.rows});
    convolve(r, &codec->pre, &codec->quantized, &(product){.out = codec->latent});
    convolve(r, &codec->in, &latent, &(product){.out = codec->hidden});
    for (size_t i = 0; i < config->layers; i++) {
        record_layer(r, &codec->layers[i]);
    }
}

/* ---- That to samples ---- */

/* Into the wide convolution's plane. */
static void record_upsampling(const recording *r) {
    const tmb_cuda_codec *codec = r->codec;
    size_t latent = codec->config.latent_dim, stages = codec->config.upsample_stages, rate = 1;
    const tmb_gpu_plane hidden = plain(codec->hidden, codec->config.hidden_size, 1);
    tmb_gpu_address out = stages == 0 ? codec->wide_plane.rows : codec->latent;
    convolve(r, &codec->transformer_out, &hidden, &(product){.norm = codec->norm, .out = out});
    for (size_t i = 0; i < stages; i++) {
        const tmb_cuda_upsample *stage = &codec->upsample[i];
        const tmb_gpu_plane in = plain(out, latent, rate);
        convolve(r, &stage->transposed, &in, &(product){.out = stage->wide.rows});
        rate = (size_t)stage->wide.rate;
        const tmb_depthwise_norm_arguments depthwise = {.columns = r->frames,
                                                        .from = stage->wide,
                                                        .weights = stage->depthwise,
                                                        .bias = stage->depthwise_bias,
                                                        .norm = stage->norm,
                                                        .norm_bias = stage->norm_bias,
                                                        .out = codec->normed,
                                                        .taps = TMB_CODEC_WIDE_TAPS,
                                                        .eps = 1e-6f};
        tmb_gpu_kernel(r->recorder, TMB_KERNEL_tmb_depthwise_norm,
                       (tmb_gpu_grid){(unsigned)(r->columns * rate), 1, 1, latent <= 64 ? 32 : 256}, &depthwise);
        const tmb_gpu_plane normed = plain(codec->normed, latent, rate);
        const tmb_gpu_plane expanded = plain(codec->expanded, 4 * latent, rate);
        convolve(r, &stage->expand, &normed, &(product){.out = codec->expanded, .becomes = TMB_CONVOLVE_GELU});
        out = i + 1 == stages ? codec->wide_plane.rows : codec->upsampled;
        convolve(r, &stage->contract, &expanded,
                 &(product){.scale = stage->gamma, .add = stage->wide.rows, .out = out});
    }
}

static void record_block(const recording *r, const tmb_cuda_block *block, const tmb_cuda_snake *after,
                         const tmb_gpu_plane *next) {
    const tmb_cuda_codec *codec = r->codec;
    convolve(r, &block->transposed, &block->in,
             &(product){.sum = codec->residual, .out = block->units[0].in.rows, .snake = &block->units[0].before});
    for (size_t i = 0; i < TMB_CODEC_UNITS; i++) {
        const tmb_cuda_unit *unit = &block->units[i];
        bool last = i + 1 == TMB_CODEC_UNITS;
        const tmb_gpu_plane middle = plain(codec->middle, (size_t)unit->in.width, (size_t)unit->in.rate);
        convolve(r, &unit->wide, &unit->in, &(product){.out = codec->middle, .snake = &unit->between});
        convolve(r, &unit->pointwise, &middle,
                 &(product){.add = codec->residual,
                            .sum = codec->residual,
                            .out = last ? next->rows : block->units[i + 1].in.rows,
                            .snake = last ? after : &block->units[i + 1].before});
    }
}

static void record_waveform(const recording *r) {
    const tmb_cuda_codec *codec = r->codec;
    size_t stages = codec->config.decoder_stages;
    record_upsampling(r);
    convolve(r, &codec->wide_in, &codec->wide_plane,
             &(product){.out = codec->blocks[0].in.rows, .snake = &codec->blocks[0].before});
    for (size_t i = 0; i < stages; i++) {
        bool last = i + 1 == stages;
        record_block(r, &codec->blocks[i], last ? &codec->last_snake : &codec->blocks[i + 1].before,
                     last ? &codec->last_plane : &codec->blocks[i + 1].in);
    }
    convolve(r, &codec->last, &codec->last_plane, &(product){.out = codec->samples, .becomes = TMB_CONVOLVE_CLAMP});
}

static size_t buckets(const tmb_cuda_codec *codec) {
    size_t count = 0;
    while ((size_t)1 << count <= codec->columns) {
        count++;
    }
    return count;
}

/* For each number of columns those of record_hidden and keep twice, and those of record_waveform. */
size_t tmb_cuda_codec_kernels(const tmb_cuda_codec *codec) {
    const tmb_qwen3_codec_decoder_config *config = &codec->config;
    size_t hidden = 4 + 5 * config->layers + 1;
    size_t waveform = 1 + 4 * config->upsample_stages + 1 + config->decoder_stages * (1 + 2 * TMB_CODEC_UNITS) + 1;
    return buckets(codec) * (2 * hidden + waveform);
}

/* With no column there is nothing to do for any kernel. */
static tmb_status settle(tmb_cuda_codec *codec, tmb_error *error) {
    tmb_gpu_graph *all[2 * TMB_CUDA_COLUMN_BUCKETS];
    memcpy(all, codec->whole, sizeof codec->whole);
    memcpy(all + TMB_CUDA_COLUMN_BUCKETS, codec->heard, sizeof codec->heard);
    tmb_status status = tmb_gpu_clear(codec->gpu, codec->stream, codec->live, sizeof(int32_t), error);
    return status == TMB_OK ? tmb_cuda_graphs_settle(codec->gpu, codec->stream, all, 2 * TMB_CUDA_COLUMN_BUCKETS,
                                                     &codec->graph_bytes, error)
                            : status;
}

tmb_status tmb_cuda_codec_record(tmb_cuda_codec *codec, tmb_error *error) {
    tmb_status status = TMB_OK;
    for (size_t bucket = 0; bucket < buckets(codec) && status == TMB_OK; bucket++) {
        for (int whole = 0; whole < 2 && status == TMB_OK; whole++) {
            tmb_gpu_recorder recorder = tmb_gpu_recording(codec->gpu);
            const recording r = {codec, &recorder, (size_t)1 << bucket, {codec->frames, codec->live}};
            record_hidden(&r);
            if (whole) {
                record_waveform(&r);
            }
            keep(&r, whole ? codec->plane_count : 1);
            status = tmb_gpu_recorder_end(&recorder, whole ? &codec->whole[bucket] : &codec->heard[bucket], error);
        }
    }
    return status == TMB_OK ? settle(codec, error) : status;
}
