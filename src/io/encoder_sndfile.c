#include "base/error.h"
#include "base/memory.h"
#include "io/encoder.h"
#include "io/loudspeakers.h"
#include "io/pcm.h"
#include "io/sndfile_open.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Values that are given to libsndfile at a time. */
#define BLOCK 4096
/* Vorbis quality 0 to 1: about 100 kb/s for 48 kHz mono speech. */
#define VORBIS_QUALITY 0.6
/* Opus and MP3: libsndfile's scale from 0 (most bits) to 1 (fewest): about 80 kb/s for mono Opus. */
#define OPUS_COMPRESSION 0.7
#define MP3_VBR_COMPRESSION 0.2
#define MP3_CBR_COMPRESSION 0.6
/* Ogg pages of a stream, so that a listener does not wait for a second's worth. */
#define PAGE_MILLISECONDS 60.0

typedef struct sndfile_state {
    SNDFILE *file;
    tmb_sink *sink;
    tmb_audio_shape shape;
    float held[BLOCK]; /* Vorbis, and surround in Opus: what does not fill a block yet */
    size_t held_count;
} sndfile_state;

/* ---- the sink, as libsndfile sees it ---- */

static sf_count_t sink_size(void *user) { return (sf_count_t)((tmb_sink *)user)->size; }

static sf_count_t sink_seek(sf_count_t offset, int whence, void *user) {
    tmb_sink *sink = user;
    return tmb_sndfile_seek(&sink->position, sink->size, offset, whence);
}

static sf_count_t sink_read(void *out, sf_count_t count, void *user) {
    (void)out;
    (void)count;
    (void)user;
    return 0;
}

/* The sink keeps a failure, and we look there after every call. libsndfile is told that all is well:
 * on its ways out of an error it leaks the state of its Ogg encoders. */
static sf_count_t sink_write(const void *data, sf_count_t count, void *user) {
    (void)(count > 0 && tmb_sink_write(user, data, (size_t)count));
    return count;
}

static sf_count_t sink_tell(void *user) { return (sf_count_t)((tmb_sink *)user)->position; }

/* ---- the encoder ---- */

static tmb_status failure(const sndfile_state *state, tmb_error *error) {
    if (state->sink->failure.status != TMB_OK) {
        return tmb_sink_failure(state->sink, error);
    }
    return tmb_fail(error, TMB_ERROR_INTERNAL, "the encoder failed: %s", sf_strerror(state->file));
}

static tmb_status write_lossy(sndfile_state *state, const float *samples, size_t count, tmb_error *error) {
    tmb_status status = tmb_sndfile_ready(error);
    if (status != TMB_OK) {
        return status;
    }
    const sf_count_t done = sf_writef_float(state->file, samples, (sf_count_t)count);
    return done == (sf_count_t)count && state->sink->failure.status == TMB_OK ? TMB_OK : failure(state, error);
}

/* Samples of all channels that a block holds: 4096 is a multiple of 1, 2, 4 and 8 channels only. */
static size_t whole_block(const sndfile_state *state) {
    return BLOCK / (size_t)state->shape.channels * (size_t)state->shape.channels;
}

static tmb_status flush_held(sndfile_state *state, tmb_error *error) {
    const size_t count = state->held_count / (size_t)state->shape.channels;
    state->held_count = 0;
    tmb_wave_to_vorbis(state->held, count, state->shape.channels);
    return count > 0 ? write_lossy(state, state->held, count, error) : TMB_OK;
}

/* In blocks of one size: libvorbis extrapolates from as many samples as it was given at first, and how
 * a stream was cut must not change the file. */
static tmb_status write_blocks(sndfile_state *state, const float *samples, size_t count, tmb_error *error) {
    size_t values = count * (size_t)state->shape.channels;
    while (values > 0) {
        const size_t room = whole_block(state) - state->held_count;
        const size_t part = values < room ? values : room;
        memcpy(state->held + state->held_count, samples, part * sizeof(float));
        state->held_count += part;
        samples += part;
        values -= part;
        if (state->held_count == whole_block(state)) {
            tmb_status status = flush_held(state, error);
            if (status != TMB_OK) {
                return status;
            }
        }
    }
    return TMB_OK;
}

/* Integers of our own rounding, in the upper bits as libsndfile wants them. */
static tmb_status write_flac(sndfile_state *state, const float *samples, size_t count, tmb_error *error) {
    const tmb_encoding encoding = state->shape.encoding == TMB_ENCODING_S16 ? TMB_ENCODING_S16 : TMB_ENCODING_S24;
    const int shift = encoding == TMB_ENCODING_S16 ? 16 : 8;
    int block[BLOCK];
    size_t values = count * (size_t)state->shape.channels;
    while (values > 0) {
        const size_t part = values < whole_block(state) ? values : whole_block(state);
        for (size_t i = 0; i < part; i++) {
            block[i] = (int)((uint32_t)tmb_pcm_integer(encoding, samples[i]) << shift);
        }
        if (sf_write_int(state->file, block, (sf_count_t)part) != (sf_count_t)part ||
            state->sink->failure.status != TMB_OK) {
            return failure(state, error);
        }
        samples += part;
        values -= part;
    }
    return TMB_OK;
}

/* They hold texts alone. */
static void set_tags(SNDFILE *file, const tmb_tags *tags) {
    static const int names[TMB_TAG_COUNT] = {
        [TMB_TAG_TITLE] = SF_STR_TITLE,     [TMB_TAG_ARTIST] = SF_STR_ARTIST,
        [TMB_TAG_ALBUM] = SF_STR_ALBUM,     [TMB_TAG_DATE] = SF_STR_DATE,
        [TMB_TAG_GENRE] = SF_STR_GENRE,     [TMB_TAG_TRACK] = SF_STR_TRACKNUMBER,
        [TMB_TAG_COMMENT] = SF_STR_COMMENT, [TMB_TAG_COPYRIGHT] = SF_STR_COPYRIGHT,
    };
    for (int tag = 0; tags != NULL && tag < TMB_TAG_COUNT; tag++) {
        if (tags->text[tag] != NULL) {
            (void)sf_set_string(file, names[tag], tags->text[tag]);
        }
    }
}

static tmb_status encode(void *pointer, const float *samples, size_t count, tmb_error *error) {
    sndfile_state *state = pointer;
    switch (state->shape.container) {
    case TMB_CONTAINER_FLAC: return write_flac(state, samples, count, error);
    case TMB_CONTAINER_OGG: return write_blocks(state, samples, count, error);
    case TMB_CONTAINER_OPUS:
        return state->shape.channels > 2 ? write_blocks(state, samples, count, error)
                                         : write_lossy(state, samples, count, error);
    default: return write_lossy(state, samples, count, error);
    }
}

static tmb_status finish(void *pointer, tmb_error *error) {
    sndfile_state *state = pointer;
    tmb_status status = flush_held(state, error);
    if (status != TMB_OK) {
        return status;
    }
    SNDFILE *file = state->file;
    state->file = NULL;
    const int reason = sf_close(file);
    if (state->sink->failure.status != TMB_OK) {
        return failure(state, error);
    }
    return reason == 0 ? TMB_OK
                       : tmb_fail(error, TMB_ERROR_INTERNAL, "the encoder failed: %s", sf_error_number(reason));
}

static void destroy(void *pointer) {
    sndfile_state *state = pointer;
    if (state->file != NULL) {
        (void)sf_close(state->file); /* what it still writes goes to a sink that is given up */
    }
    free(state);
}

static const tmb_encoder sndfile_encoder = {.write = encode, .finish = finish, .destroy = destroy};

/* ---- what the containers take ---- */

/* Rates in Hz, 0 at the end. */
static const int opus_rates[] = {8000, 12000, 16000, 24000, 48000, 0};
static const int mp3_rates[] = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 0};

static tmb_status check_rate(const char *name, const int *rates, int rate, tmb_error *error) {
    char list[96] = "";
    size_t length = 0;
    for (const int *allowed = rates; *allowed != 0; allowed++) {
        if (*allowed == rate) {
            return TMB_OK;
        }
        const int printed = snprintf(list + length, sizeof list - length, "%s%d", length > 0 ? ", " : "", *allowed);
        length += printed > 0 ? (size_t)printed : 0;
    }
    return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "%s cannot be written at %d Hz: %s are allowed", name, rate, list);
}

static tmb_status check_shape(const tmb_audio_shape *shape, tmb_error *error) {
    if (shape->container == TMB_CONTAINER_OPUS) {
        return check_rate("Opus", opus_rates, shape->rate, error);
    }
    if (shape->container == TMB_CONTAINER_MP3) {
        if (shape->channels > 2) {
            return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "MP3 cannot have %d channels: 1 or 2 are allowed",
                            shape->channels);
        }
        return check_rate("MP3", mp3_rates, shape->rate, error);
    }
    return TMB_OK;
}

static int format_of(const tmb_audio_shape *shape) {
    switch (shape->container) {
    case TMB_CONTAINER_FLAC:
        return SF_FORMAT_FLAC | (shape->encoding == TMB_ENCODING_S16 ? SF_FORMAT_PCM_16 : SF_FORMAT_PCM_24);
    case TMB_CONTAINER_OGG: return SF_FORMAT_OGG | SF_FORMAT_VORBIS;
    case TMB_CONTAINER_OPUS: return SF_FORMAT_OGG | SF_FORMAT_OPUS;
    case TMB_CONTAINER_MP3: return SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III;
    case TMB_CONTAINER_AUTO:
    case TMB_CONTAINER_WAV:
    case TMB_CONTAINER_RAW:
    case TMB_CONTAINER_AAC:
    default: break;
    }
    return 0;
}

/* Before the first sample, when the encoders take their settings. */
static void configure(const sndfile_state *state) {
    const bool stream = !state->sink->seekable;
    double page = PAGE_MILLISECONDS;
    double level = 0;
    int mode = stream ? SF_BITRATE_MODE_CONSTANT : SF_BITRATE_MODE_VARIABLE;
    switch (state->shape.container) {
    case TMB_CONTAINER_OGG:
        level = VORBIS_QUALITY;
        (void)sf_command(state->file, SFC_SET_VBR_ENCODING_QUALITY, &level, sizeof level);
        break;
    case TMB_CONTAINER_OPUS:
        level = OPUS_COMPRESSION;
        (void)sf_command(state->file, SFC_SET_COMPRESSION_LEVEL, &level, sizeof level);
        break;
    case TMB_CONTAINER_MP3:
        /* A constant rate needs no table that is completed at the end. */
        level = stream ? MP3_CBR_COMPRESSION : MP3_VBR_COMPRESSION;
        (void)sf_command(state->file, SFC_SET_BITRATE_MODE, &mode, sizeof mode);
        (void)sf_command(state->file, SFC_SET_COMPRESSION_LEVEL, &level, sizeof level);
        break;
    default: break;
    }
    if (stream) {
        (void)sf_command(state->file, SFC_SET_OGG_PAGE_LATENCY_MS, &page, sizeof page);
    }
}

tmb_status tmb_encoder_sndfile(const tmb_audio_shape *shape, tmb_sink *sink, const tmb_encoder **encoder, void **out,
                               tmb_error *error) {
    tmb_status status = check_shape(shape, error);
    if (status != TMB_OK) {
        return status;
    }
    sndfile_state *state = tmb_calloc(1, sizeof *state);
    if (state == NULL) {
        return tmb_fail_memory(error, "an audio writer", sizeof *state);
    }
    state->sink = sink;
    state->shape = *shape;
    static SF_VIRTUAL_IO callbacks = {sink_size, sink_seek, sink_read, sink_write, sink_tell};
    SF_INFO info = {.samplerate = shape->rate, .channels = shape->channels, .format = format_of(shape)};
    char reason[160];
    status = tmb_sndfile_ready(error);
    if (status != TMB_OK) {
        destroy(state);
        return status;
    }
    state->file = tmb_sndfile_open(&callbacks, SFM_WRITE, &info, sink, reason, sizeof reason);
    if (state->file == NULL) {
        status = sink->failure.status != TMB_OK ? failure(state, error)
                                                : tmb_fail(error, TMB_ERROR_UNSUPPORTED,
                                                           "the encoder for %d channels at %d Hz cannot be opened: %s",
                                                           shape->channels, shape->rate, reason);
        destroy(state);
        return status;
    }
    configure(state);
    set_tags(state->file, shape->tags);
    if (sink->failure.status != TMB_OK) {
        status = failure(state, error);
        destroy(state);
        return status;
    }
    *encoder = &sndfile_encoder;
    *out = state;
    return TMB_OK;
}
