#include "tts/qwen3/cpu/codec/decoder_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/sizes.h"

#include <stdlib.h>

/* More make weights no cheaper, and the sizes below cannot overflow. */
#define FRAMES_MAX 4096

/* Floats of each slot for a number of frames, of at most as many streams. */
typedef struct slot_sizes {
    size_t input, raw, out;
} slot_sizes;

/* What a block needs of them; `rate` rows a frame go in. */
static void add_block(slot_sizes *sizes, const tmb_codec_block *block, size_t frames, size_t streams, size_t rate) {
    size_t history = block->units[TMB_CODEC_UNITS - 1].history.rows;
    size_t rows = frames * rate * block->rate;
    sizes->input = tmb_max_size(sizes->input, (frames * rate + streams) * block->in);
    sizes->input = tmb_max_size(sizes->input, (rows + streams * history) * block->out);
    sizes->raw = tmb_max_size(sizes->raw, rows * block->out);
    sizes->out = tmb_max_size(sizes->out, rows * block->out);
}

/* Rows a frame that block `index` gets. */
static size_t rate_of(const tmb_codec_decoder *decoder, size_t index) {
    size_t rate = 1;
    for (size_t i = 0; i < decoder->config.upsample_stages; i++) {
        rate *= decoder->config.upsample_ratios[i];
    }
    for (size_t i = 0; i < index; i++) {
        rate *= decoder->config.decoder_rates[i];
    }
    return rate;
}

static slot_sizes front_sizes(const tmb_codec_decoder *decoder, size_t frames) {
    const tmb_qwen3_codec_decoder_config *config = &decoder->config;
    size_t wide_rows = TMB_CODEC_WIDE_TAPS - 1;
    size_t rate = rate_of(decoder, 0);
    slot_sizes sizes = {.input = frames * TMB_CODEC_PRE_TAPS * config->codebook_dim,
                        .raw = frames * tmb_max_size(config->codebook_dim, config->latent_dim),
                        .out = frames * config->latent_dim};
    if (config->upsample_stages != 0) {
        sizes.input = tmb_max_size(sizes.input, frames * rate * 4 * config->latent_dim);
        sizes.raw = tmb_max_size(sizes.raw, frames * (rate + wide_rows) * config->latent_dim);
        sizes.out = tmb_max_size(sizes.out, frames * rate * config->latent_dim);
    }
    sizes.input = tmb_max_size(sizes.input, frames * (rate + wide_rows) * config->latent_dim);
    sizes.input = tmb_max_size(sizes.input, frames * (rate + 1) * config->decoder_dim);
    sizes.out = tmb_max_size(sizes.out, frames * rate * config->decoder_dim);
    for (size_t i = 0; i < decoder->tail; i++) {
        add_block(&sizes, &decoder->blocks[i], frames, frames, rate_of(decoder, i));
    }
    return sizes;
}

static slot_sizes tail_sizes(const tmb_codec_decoder *decoder, size_t frames) {
    slot_sizes sizes = {0};
    size_t stages = decoder->config.decoder_stages;
    for (size_t i = decoder->tail; i < stages; i++) {
        add_block(&sizes, &decoder->blocks[i], frames, 1, rate_of(decoder, i));
    }
    size_t last_rows = frames * rate_of(decoder, stages) + decoder->last_history.rows;
    sizes.input = tmb_max_size(sizes.input, last_rows * decoder->last_history.width);
    return sizes;
}

typedef struct buffer {
    float **address;
    size_t size;
} buffer;

tmb_status tmb_codec_workspace_create(const tmb_codec_decoder *decoder, size_t frames, tmb_team *team,
                                      tmb_codec_workspace **out, tmb_error *error) {
    *out = NULL;
    if (frames == 0 || frames > FRAMES_MAX) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%zu frames for the codec's buffers, 1 to %d are possible", frames,
                        FRAMES_MAX);
    }
    tmb_codec_workspace *w = tmb_calloc(1, sizeof *w);
    if (w == NULL) {
        return tmb_fail_memory(error, "the codec's buffers", sizeof *w);
    }
    int threads = tmb_team_threads(team);
    w->decoder = decoder;
    w->team = team;
    w->frames = frames;
    w->slice_frames = 1 + (size_t)(threads - 1) / 8;
    slot_sizes front = front_sizes(decoder, frames);
    slot_sizes tail = tail_sizes(decoder, w->slice_frames);
    const buffer buffers[] = {
        {&w->front.in, front.input},
        {&w->front.mid, front.input},
        {&w->front.raw, front.raw},
        {&w->front.out, front.out},
        {&w->tail.in, tail.input},
        {&w->tail.mid, tail.input},
        {&w->tail.raw, tail.raw},
        {&w->tail.out, tail.out},
        {&w->hidden, frames * decoder->config.hidden_size},
        {&w->boundary, frames * (rate_of(decoder, decoder->tail) + 1) * (decoder->config.decoder_dim >> decoder->tail)},
    };
    tmb_status status = TMB_OK;
    w->bytes = sizeof *w + frames * (sizeof *w->shares + sizeof *w->streams + sizeof *w->runs) +
               tmb_codec_transformer_buffers_bytes(&decoder->transformer_config, frames, decoder->cache_rows, threads);
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0] && status == TMB_OK; i++) {
        w->bytes += buffers[i].size * sizeof(float);
        *buffers[i].address = tmb_alloc_huge(buffers[i].size, sizeof(float));
        if (*buffers[i].address == NULL) {
            status = tmb_fail_memory(error, "the codec's buffers", buffers[i].size * sizeof(float));
        }
    }
    if (status == TMB_OK) {
        status = tmb_codec_transformer_buffers_create(decoder->transformer, frames, decoder->cache_rows, threads,
                                                      &w->transformer, error);
    }
    w->bytes += (size_t)threads * decoder->scratch_bytes;
    w->scratch = tmb_alloc_aligned((size_t)threads, decoder->scratch_bytes);
    if (status == TMB_OK && w->scratch == NULL) {
        status = tmb_fail_memory(error, "the codec's buffers", (size_t)threads * decoder->scratch_bytes);
    }
    w->shares = tmb_calloc(frames, sizeof *w->shares);
    w->streams = tmb_calloc(frames, sizeof *w->streams);
    w->runs = tmb_calloc(frames, sizeof *w->runs);
    if (status == TMB_OK && (w->shares == NULL || w->streams == NULL || w->runs == NULL)) {
        status = tmb_fail_memory(error, "the codec's buffers", 0);
    }
    if (status != TMB_OK) {
        tmb_codec_workspace_destroy(&w);
        return status;
    }
    *out = w;
    return TMB_OK;
}

size_t tmb_codec_workspace_bytes(const tmb_codec_workspace *workspace) { return workspace->bytes; }

static void free_slots(tmb_codec_slots *slots) {
    free(slots->in);
    free(slots->mid);
    free(slots->raw);
    free(slots->out);
}

void tmb_codec_workspace_destroy(tmb_codec_workspace **address) {
    tmb_codec_workspace *w = *address;
    *address = NULL;
    if (w == NULL) {
        return;
    }
    free_slots(&w->front);
    free_slots(&w->tail);
    free(w->hidden);
    free(w->boundary);
    free(w->scratch);
    tmb_codec_transformer_buffers_destroy(&w->transformer);
    free(w->shares);
    free(w->streams);
    free(w->runs);
    free(w);
}
