/* The public enhancement stream: any rate, any number of channels, through resampling and denoising. */
#include "pipeline/chain.h"
#include "pipeline/context.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CHANNELS 64
/* Samples per channel that go through at once: what is on the way stays small however much is pushed. */
#define PIECE 4096
/* A level is known once a quarter of a second stood out of the noise, pauses between apart. Blocks wait so much longer
 * for it, because what has gone through without a gain cannot be called back. */
#define LEVEL_AHEAD 0.5

typedef struct enhance_channel {
    tmb_resampler *in, *out; /* NULL at the denoiser's own rate */
    tmb_enhancer *enhancer;
    tmb_fifo ready;
} enhance_channel;

struct tmb_enhance_stream {
    tmb_context *context;
    tmb_dfn_model *model;
    tmb_enhance_options options;
    tmb_level *live;   /* follows the input; NULL if its level is known or does not matter */
    tmb_fifo held;     /* interleaved: what the level has had and the channels have not */
    size_t hold;       /* samples per channel that are held until the end */
    uint64_t reserved; /* bytes of the budget */
    uint64_t pushed;   /* samples per channel */
    uint64_t made;     /* the same, as the chain gave them, before they were trimmed */
    bool flushed;
    tmb_error failure; /* after it the stream takes no more */
    float piece[PIECE];
    enhance_channel channels[];
};

void tmb_enhance_options_default(tmb_enhance_options *options) {
    *options = (tmb_enhance_options){
        .attenuation_limit_db = 100,
        .post_filter_beta = 0,
        .input_rate = 48000,
        .output_rate = 48000,
        .channels = 1,
        .low_latency = false,
        .compensate_delay = true,
        .resampler = TMB_RESAMPLER_AUTO,
        .level = TMB_LEVEL_AUTO,
        .measured = NULL,
    };
}

static tmb_status check(const tmb_enhance_options *options, tmb_error *error) {
    if (options->input_rate < 4000 || options->input_rate > 192000 || options->output_rate < 4000 ||
        options->output_rate > 192000) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "enhance: rates of %d and %d Hz; both must be 4000 to 192000",
                        options->input_rate, options->output_rate);
    }
    if (options->channels < 1 || options->channels > MAX_CHANNELS) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "enhance: %d channels; 1 to %d are possible", options->channels,
                        MAX_CHANNELS);
    }
    return tmb_chain_check(options, "enhance", error);
}

static tmb_status open_channel(tmb_enhance_stream *stream, enhance_channel *channel, tmb_error *error) {
    const tmb_enhance_options *options = &stream->options;
    int rate = tmb_dfn_model_rate(stream->model);
    tmb_enhance_settings settings;
    tmb_chain_settings(options, 0, &settings);
    settings.level = stream->live != NULL ? stream->live : options->measured;
    settings.level_ahead = (double)stream->hold / options->input_rate;
    tmb_status status = tmb_enhancer_create(stream->model, &settings, &channel->enhancer, error);
    if (status == TMB_OK && options->input_rate != rate) {
        status = tmb_resampler_create(options->input_rate, rate, options->resampler, &stream->context->logger,
                                      &channel->in, error);
    }
    if (status == TMB_OK && options->output_rate != rate) {
        status = tmb_resampler_create(rate, options->output_rate, options->resampler, &stream->context->logger,
                                      &channel->out, error);
    }
    return status;
}

tmb_status tmb_enhance_open(tmb_context *context, const tmb_enhance_options *options, tmb_enhance_stream **out,
                            tmb_error *error) {
    *out = NULL;
    tmb_enhance_options defaults;
    if (options == NULL) {
        tmb_enhance_options_default(&defaults);
        options = &defaults;
    }
    tmb_status status = check(options, error);
    if (status != TMB_OK) {
        return status;
    }
    size_t channels = (size_t)options->channels;
    tmb_enhance_stream *stream = tmb_calloc(1, sizeof *stream + channels * sizeof stream->channels[0]);
    if (stream == NULL) {
        return tmb_fail_memory(error, "an enhancement stream", sizeof *stream);
    }
    stream->context = context;
    stream->options = *options;
    if (options->level == TMB_LEVEL_OFF) {
        stream->options.measured = NULL;
    }
    status = tmb_registry_use_denoiser(&context->registry, &stream->model, error);
    if (status != TMB_OK) {
        free(stream);
        return status;
    }
    tmb_enhance_settings settings;
    tmb_chain_settings(options, 0, &settings);
    const bool follows = options->level == TMB_LEVEL_AUTO && options->measured == NULL;
    stream->hold = follows && !options->low_latency ? (size_t)(LEVEL_AHEAD * options->input_rate) : 0;
    uint64_t bytes = ((uint64_t)tmb_enhancer_bytes(stream->model, settings.block_frames) +
                      (stream->hold > 0 ? (stream->hold + PIECE) * sizeof(float) : 0)) *
                     channels;
    status = tmb_budget_grow(&context->budget, bytes, "an enhancement stream", error);
    stream->reserved = status == TMB_OK ? bytes : 0;
    if (status == TMB_OK && follows) {
        status = tmb_level_create_live(options->input_rate, options->channels, &stream->live, error);
    }
    for (size_t i = 0; i < channels && status == TMB_OK; i++) {
        status = open_channel(stream, &stream->channels[i], error);
    }
    if (status != TMB_OK) {
        tmb_enhance_close(&stream);
        return status;
    }
    *out = stream;
    return TMB_OK;
}

/* What became ready after a push. */
static tmb_status collect(enhance_channel *channel, size_t *made, tmb_error *error) {
    if (channel->out == NULL) {
        return tmb_chain_enhanced_to_fifo(channel->enhancer, &channel->ready, made, error);
    }
    size_t moved = 0;
    tmb_status status = tmb_chain_enhanced_to_resampler(channel->enhancer, channel->out, &moved, error);
    return status != TMB_OK ? status : tmb_chain_resampled_to_fifo(channel->out, &channel->ready, made, error);
}

static tmb_status push_channel(enhance_channel *channel, const float *samples, size_t count, size_t *made,
                               tmb_error *error) {
    tmb_status status;
    if (channel->in == NULL) {
        status = tmb_enhancer_push(channel->enhancer, samples, count, error);
    } else {
        size_t moved = 0;
        status = tmb_resampler_push(channel->in, samples, count, error);
        if (status == TMB_OK) {
            status = tmb_chain_resampled_to_enhancer(channel->in, channel->enhancer, &moved, error);
        }
    }
    return status != TMB_OK ? status : collect(channel, made, error);
}

static tmb_status flush_channel(enhance_channel *channel, size_t *made, tmb_error *error) {
    tmb_status status = TMB_OK;
    size_t moved = 0;
    if (channel->in != NULL) {
        status = tmb_resampler_flush(channel->in, error);
        if (status == TMB_OK) {
            status = tmb_chain_resampled_to_enhancer(channel->in, channel->enhancer, &moved, error);
        }
    }
    if (status == TMB_OK) {
        status = tmb_enhancer_flush(channel->enhancer, error);
    }
    if (status == TMB_OK) {
        status = collect(channel, made, error);
    }
    if (status == TMB_OK && channel->out != NULL) {
        status = tmb_resampler_flush(channel->out, error);
        if (status == TMB_OK) {
            status = tmb_chain_resampled_to_fifo(channel->out, &channel->ready, made, error);
        }
    }
    return status;
}

/* A stream that failed half-way says so from then on: its channels no longer agree. */
static tmb_status keep_failure(tmb_enhance_stream *stream, const tmb_error *failure, tmb_error *error) {
    stream->failure = *failure;
    if (error != NULL) {
        *error = *failure;
    }
    return failure->status;
}

static tmb_status check_finite(const tmb_enhance_stream *stream, const float *samples, size_t count, tmb_error *error) {
    size_t channels = (size_t)stream->options.channels;
    for (size_t i = 0; i < count * channels; i++) {
        if (!isfinite(samples[i])) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "enhance: sample %llu of channel %zu is not a finite number",
                            (unsigned long long)(stream->pushed + i / channels), i % channels + 1);
        }
    }
    return TMB_OK;
}

/* At most PIECE samples, interleaved, into all channels. */
static tmb_status push_channels(tmb_enhance_stream *stream, const float *samples, size_t count, tmb_error *error) {
    const size_t channels = (size_t)stream->options.channels;
    size_t made = 0;
    for (size_t c = 0; c < channels; c++) {
        const float *source = samples;
        if (channels > 1) {
            for (size_t i = 0; i < count; i++) {
                stream->piece[i] = samples[i * channels + c];
            }
            source = stream->piece;
        }
        made = 0;
        tmb_status status = push_channel(&stream->channels[c], source, count, &made, error);
        if (status != TMB_OK) {
            return status;
        }
    }
    stream->made += made;
    return TMB_OK;
}

/* What is held goes on, but for `keep` samples per channel. */
static tmb_status release(tmb_enhance_stream *stream, size_t keep, tmb_error *error) {
    const size_t channels = (size_t)stream->options.channels;
    tmb_status status = TMB_OK;
    while (status == TMB_OK && stream->held.count > keep * channels) {
        const size_t excess = stream->held.count / channels - keep;
        const size_t part = excess < PIECE ? excess : PIECE;
        status = push_channels(stream, tmb_fifo_peek(&stream->held), part, error);
        (void)tmb_fifo_read(&stream->held, NULL, part * channels);
    }
    return status;
}

static tmb_status push_part(tmb_enhance_stream *stream, const float *samples, size_t count, tmb_error *error) {
    if (stream->hold == 0) {
        return push_channels(stream, samples, count, error);
    }
    const size_t total = count * (size_t)stream->options.channels;
    return tmb_fifo_write(&stream->held, samples, total)
               ? release(stream, stream->hold, error)
               : tmb_fail_memory(error, "samples that wait for their level", total * sizeof(float));
}

tmb_status tmb_enhance_push(tmb_enhance_stream *stream, const float *samples, size_t count, tmb_error *error) {
    size_t channels = (size_t)stream->options.channels;
    size_t total = 0;
    if (stream->failure.status != TMB_OK) {
        return keep_failure(stream, &stream->failure, error);
    }
    if (stream->flushed) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "enhance: the stream is complete, nothing can be pushed after it");
    }
    if (!tmb_mul_size(count, channels, &total)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "enhance: %zu samples of %zu channels are too many", count,
                        channels);
    }
    tmb_status status = check_finite(stream, samples, count, error);
    if (status != TMB_OK) {
        return status;
    }
    while (count > 0) {
        size_t part = count < PIECE ? count : PIECE;
        tmb_error failure = {0};
        if (stream->live != NULL) {
            (void)tmb_level_push(stream->live, samples, part, NULL); /* a live one never fails */
        }
        if (push_part(stream, samples, part, &failure) != TMB_OK) {
            return keep_failure(stream, &failure, error);
        }
        stream->pushed += part;
        samples += part * channels;
        count -= part;
    }
    return TMB_OK;
}

/* Two resamplings may be a sample off: the stream's length follows from its input's alone. */
static tmb_status fit_length(tmb_enhance_stream *stream, tmb_error *error) {
    const tmb_enhance_options *options = &stream->options;
    uint64_t in = (uint64_t)options->input_rate;
    uint64_t length = (stream->pushed * (uint64_t)options->output_rate + in / 2) / in;
    for (int c = 0; c < options->channels; c++) {
        tmb_fifo *ready = &stream->channels[c].ready;
        if (stream->made > length) {
            uint64_t excess = stream->made - length;
            ready->count -= excess < ready->count ? (size_t)excess : ready->count;
        } else if (stream->made < length) {
            size_t missing = (size_t)(length - stream->made);
            float *room = tmb_fifo_reserve(ready, missing);
            if (room == NULL) {
                return tmb_fail_memory(error, "enhanced audio", missing * sizeof(float));
            }
            memset(room, 0, missing * sizeof(float));
            tmb_fifo_commit(ready, missing);
        }
    }
    return TMB_OK;
}

tmb_status tmb_enhance_flush(tmb_enhance_stream *stream, tmb_error *error) {
    if (stream->failure.status != TMB_OK) {
        return keep_failure(stream, &stream->failure, error);
    }
    if (stream->flushed) {
        return TMB_OK;
    }
    stream->flushed = true;
    size_t made = 0;
    tmb_error failure = {0};
    if (release(stream, 0, &failure) != TMB_OK) {
        return keep_failure(stream, &failure, error);
    }
    for (int c = 0; c < stream->options.channels; c++) {
        made = 0;
        if (flush_channel(&stream->channels[c], &made, &failure) != TMB_OK) {
            return keep_failure(stream, &failure, error);
        }
    }
    stream->made += made;
    if (stream->options.compensate_delay && fit_length(stream, &failure) != TMB_OK) {
        return keep_failure(stream, &failure, error);
    }
    return TMB_OK;
}

size_t tmb_enhance_pull(tmb_enhance_stream *stream, float *out, size_t capacity) {
    size_t channels = (size_t)stream->options.channels;
    size_t count = capacity;
    for (size_t c = 0; c < channels; c++) {
        if (stream->channels[c].ready.count < count) {
            count = stream->channels[c].ready.count;
        }
    }
    if (channels == 1) {
        return tmb_fifo_read(&stream->channels[0].ready, out, count);
    }
    for (size_t done = 0; done < count;) {
        size_t part = count - done < PIECE ? count - done : PIECE;
        for (size_t c = 0; c < channels; c++) {
            (void)tmb_fifo_read(&stream->channels[c].ready, stream->piece, part);
            for (size_t i = 0; i < part; i++) {
                out[(done + i) * channels + c] = stream->piece[i];
            }
        }
        done += part;
    }
    return count;
}

float tmb_enhance_local_snr(const tmb_enhance_stream *stream) {
    return tmb_enhancer_local_snr(stream->channels[0].enhancer);
}

void tmb_enhance_close(tmb_enhance_stream **stream_address) {
    tmb_enhance_stream *stream = *stream_address;
    if (stream == NULL) {
        return;
    }
    *stream_address = NULL;
    for (int c = 0; c < stream->options.channels; c++) {
        enhance_channel *channel = &stream->channels[c];
        tmb_resampler_destroy(&channel->in);
        tmb_resampler_destroy(&channel->out);
        tmb_enhancer_destroy(&channel->enhancer);
        tmb_fifo_free(&channel->ready);
    }
    tmb_fifo_free(&stream->held);
    tmb_level_destroy(&stream->live);
    tmb_budget_release(&stream->context->budget, stream->reserved);
    tmb_registry_done(&stream->context->registry, TMB_MODEL_DENOISER);
    free(stream);
}

/* Appends what is ready to *out. */
static tmb_status drain(tmb_enhance_stream *stream, float **out, size_t *count, size_t *capacity, tmb_error *error) {
    size_t channels = (size_t)stream->options.channels;
    size_t ready = stream->channels[0].ready.count;
    if (ready == 0) {
        return TMB_OK; /* *out may be NULL still */
    }
    if (ready > *capacity - *count) {
        size_t wanted = 0;
        size_t elements = 0;
        if (!tmb_add_size(*count, ready, &wanted) || !tmb_add_size(wanted, *capacity / 2, &wanted) ||
            !tmb_mul_size(wanted, channels, &elements)) {
            return tmb_fail_memory(error, "enhanced audio", 0);
        }
        float *grown = tmb_realloc(*out, elements, sizeof(float));
        if (grown == NULL) {
            return tmb_fail_memory(error, "enhanced audio", elements * sizeof(float));
        }
        *out = grown;
        *capacity = wanted;
    }
    *count += tmb_enhance_pull(stream, *out + *count * channels, *capacity - *count);
    return TMB_OK;
}

/* What is not finite is left to the stream, which names its place. */
static tmb_status measure(const tmb_enhance_options *options, const float *samples, size_t count, tmb_level **out,
                          tmb_error *error) {
    size_t total = 0;
    size_t good = 0;
    tmb_status status = tmb_level_create(options->input_rate, options->channels, out, error);
    if (status != TMB_OK || !tmb_mul_size(count, (size_t)options->channels, &total)) {
        return status;
    }
    while (good < total && isfinite(samples[good])) {
        good++;
    }
    return tmb_level_push(*out, samples, good / (size_t)options->channels, error);
}

tmb_status tmb_enhance_buffer(tmb_context *context, const tmb_enhance_options *options, const float *samples,
                              size_t count, float **out, size_t *out_count, tmb_error *error) {
    *out = NULL;
    *out_count = 0;
    tmb_enhance_stream *stream = NULL;
    tmb_level *level = NULL;
    tmb_enhance_options own;
    if (options == NULL) {
        tmb_enhance_options_default(&own);
    } else {
        own = *options;
    }
    tmb_status status = check(&own, error);
    if (status == TMB_OK && own.level == TMB_LEVEL_AUTO && own.measured == NULL) {
        status = measure(&own, samples, count, &level, error);
        own.measured = level;
    }
    if (status == TMB_OK) {
        status = tmb_enhance_open(context, &own, &stream, error);
    }
    if (status != TMB_OK) {
        tmb_level_destroy(&level);
        return status;
    }
    size_t channels = (size_t)stream->options.channels;
    size_t capacity = 0;
    size_t done = 0;
    while (status == TMB_OK && done < count) {
        size_t part = count - done < 65536 ? count - done : 65536;
        status = tmb_enhance_push(stream, samples + done * channels, part, error);
        done += part;
        if (status == TMB_OK) {
            status = drain(stream, out, out_count, &capacity, error);
        }
    }
    if (status == TMB_OK) {
        status = tmb_enhance_flush(stream, error);
    }
    if (status == TMB_OK) {
        status = drain(stream, out, out_count, &capacity, error);
    }
    tmb_enhance_close(&stream);
    tmb_level_destroy(&level);
    if (status == TMB_OK && *out == NULL) {
        *out = tmb_calloc(1, sizeof(float)); /* no samples in, none out, but something to free */
        if (*out == NULL) {
            status = tmb_fail_memory(error, "enhanced audio", 0);
        }
    }
    if (status != TMB_OK) {
        free(*out);
        *out = NULL;
        *out_count = 0;
    }
    return status;
}
