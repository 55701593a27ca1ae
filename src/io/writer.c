/* Writing audio files: a container's encoder over a sink. */
#include "io/io.h"

#include "base/error.h"
#include "base/memory.h"
#include "io/encoder.h"
#include "io/ffmpeg.h"
#include "io/pcm.h"
#include "io/reader.h"
#include "io/sink.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

struct tmb_audio_writer {
    tmb_sink sink;
    const tmb_encoder *encoder; /* NULL: not opened */
    void *state;
    char *name; /* for messages; NULL: none */
    int channels;
    bool limited;     /* to full scale, by its encoding */
    uint64_t clipped; /* samples beyond it */
    uint64_t written; /* samples per channel */
    tmb_tags tags;    /* what goes with them */
    tmb_error failure;
};

static const struct {
    const char *ending;
    tmb_container container;
} endings[] = {
    {".wav", TMB_CONTAINER_WAV}, {".wave", TMB_CONTAINER_WAV}, {".flac", TMB_CONTAINER_FLAC},
    {".ogg", TMB_CONTAINER_OGG}, {".oga", TMB_CONTAINER_OGG},  {".opus", TMB_CONTAINER_OPUS},
    {".mp3", TMB_CONTAINER_MP3}, {".raw", TMB_CONTAINER_RAW},  {".pcm", TMB_CONTAINER_RAW},
    {".aac", TMB_CONTAINER_AAC},
};

static tmb_status choose_container(const char *path, tmb_container *container, tmb_error *error) {
    if (*container != TMB_CONTAINER_AUTO) {
        return TMB_OK;
    }
    if (path == NULL || strcmp(path, "-") == 0) {
        *container = TMB_CONTAINER_WAV;
        return TMB_OK;
    }
    const char *slash = strrchr(path, '/');
    const char *dot = strrchr(slash != NULL ? slash : path, '.');
    for (size_t i = 0; dot != NULL && i < sizeof endings / sizeof endings[0]; i++) {
        if (strcasecmp(dot, endings[i].ending) == 0) {
            *container = endings[i].container;
            return TMB_OK;
        }
    }
    struct stat status;
    if (stat(path, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode))) {
        *container = TMB_CONTAINER_WAV; /* as standard output: /dev/null, >(program) */
        return TMB_OK;
    }
    return tmb_fail(error, TMB_ERROR_ARGUMENT,
                    "the ending of the name says no audio format: use .wav, .flac, .ogg, .opus, .mp3, .aac or .raw");
}

static tmb_status check_shape(const tmb_audio_shape *shape, tmb_error *error) {
    if (shape->rate < TMB_AUDIO_MIN_RATE || shape->rate > TMB_AUDIO_MAX_RATE) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "a sample rate of %d Hz cannot be written: %d to %d are supported",
                        shape->rate, TMB_AUDIO_MIN_RATE, TMB_AUDIO_MAX_RATE);
    }
    if (shape->channels < 1 || shape->channels > TMB_AUDIO_MAX_CHANNELS) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%d channels cannot be written: 1 to %d are supported",
                        shape->channels, TMB_AUDIO_MAX_CHANNELS);
    }
    if (tmb_pcm_bytes(shape->encoding) == 0) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "unknown encoding %d", (int)shape->encoding);
    }
    return TMB_OK;
}

static tmb_status open_encoder(tmb_audio_writer *writer, const tmb_audio_shape *shape, tmb_error *error) {
    switch (shape->container) {
    case TMB_CONTAINER_WAV:
    case TMB_CONTAINER_RAW: return tmb_encoder_pcm(shape, &writer->sink, &writer->encoder, &writer->state, error);
    case TMB_CONTAINER_FLAC:
    case TMB_CONTAINER_OGG:
    case TMB_CONTAINER_OPUS:
    case TMB_CONTAINER_MP3: return tmb_encoder_sndfile(shape, &writer->sink, &writer->encoder, &writer->state, error);
    case TMB_CONTAINER_AAC: return tmb_encoder_ffmpeg(shape, &writer->sink, &writer->encoder, &writer->state, error);
    case TMB_CONTAINER_AUTO:
    default: break;
    }
    return tmb_fail(error, TMB_ERROR_ARGUMENT, "unknown container %d", (int)shape->container);
}

bool tmb_audio_can_write(tmb_container container) {
    return container != TMB_CONTAINER_AAC || tmb_ffmpeg_is_installed();
}

static tmb_status allocate(const char *path, tmb_audio_shape *shape, tmb_audio_writer **out, tmb_error *error) {
    tmb_status status = choose_container(path, &shape->container, error);
    if (status == TMB_OK) {
        status = check_shape(shape, error);
    }
    if (status != TMB_OK) {
        return status;
    }
    tmb_audio_writer *writer = tmb_calloc(1, sizeof *writer);
    const char *name = path != NULL && strcmp(path, "-") == 0 ? "standard output" : path;
    if (writer != NULL) {
        writer->sink.fd = -1;
        writer->channels = shape->channels;
        const bool pcm = shape->container == TMB_CONTAINER_WAV || shape->container == TMB_CONTAINER_RAW;
        writer->limited = !(pcm && shape->encoding == TMB_ENCODING_FLOAT);
        writer->name = tmb_strdup(name);
    }
    if (writer == NULL || (name != NULL && writer->name == NULL)) {
        free(writer);
        return tmb_fail_memory(error, "an audio writer", sizeof *writer);
    }
    *out = writer;
    return TMB_OK;
}

/* The sink is open. Takes the writer over: on failure nothing is left of it. */
static tmb_status start(tmb_audio_writer *writer, const tmb_audio_shape *shape, tmb_audio_writer **out,
                        tmb_error *error) {
    tmb_status status = open_encoder(writer, shape, error);
    if (status != TMB_OK) {
        tmb_audio_abort(&writer);
        return status;
    }
    *out = writer;
    return TMB_OK;
}

/* What `like` says of itself, for the new file. */
static tmb_status take_tags(tmb_audio_writer *writer, const tmb_audio_reader *like, tmb_audio_shape *shape,
                            tmb_error *error) {
    tmb_audio_info info;
    if (like == NULL) {
        return TMB_OK;
    }
    tmb_audio_describe(like, &info);
    if (!tmb_tags_copy(tmb_audio_tags(like), info.rate, shape->rate, &writer->tags)) {
        return tmb_fail_memory(error, "a recording's tags", 0);
    }
    shape->tags = &writer->tags;
    shape->channel_mask = info.channels == shape->channels ? info.channel_mask : 0;
    return TMB_OK;
}

tmb_status tmb_audio_create(const char *path, tmb_container container, tmb_encoding encoding, int rate, int channels,
                            tmb_audio_writer **out, tmb_error *error) {
    return tmb_audio_create_like(NULL, path, container, encoding, rate, channels, out, error);
}

tmb_status tmb_audio_create_like(const tmb_audio_reader *like, const char *path, tmb_container container,
                                 tmb_encoding encoding, int rate, int channels, tmb_audio_writer **out,
                                 tmb_error *error) {
    *out = NULL;
    if (path == NULL || path[0] == '\0') {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "no audio file was named");
    }
    tmb_audio_shape shape = {.container = container, .encoding = encoding, .rate = rate, .channels = channels};
    tmb_audio_writer *writer = NULL;
    tmb_error reason = {0};
    tmb_status status = allocate(path, &shape, &writer, &reason);
    if (status == TMB_OK) {
        status = take_tags(writer, like, &shape, &reason);
        if (status == TMB_OK) {
            status = tmb_sink_open(path, &writer->sink, &reason);
        }
        if (status == TMB_OK) {
            status = start(writer, &shape, out, &reason);
        } else {
            tmb_audio_abort(&writer);
        }
    }
    if (status != TMB_OK && error != NULL) {
        *error = reason;
        tmb_error_name(error, strcmp(path, "-") == 0 ? "standard output" : path);
    }
    return status;
}

tmb_status tmb_audio_create_memory(tmb_container container, tmb_encoding encoding, int rate, int channels,
                                   size_t max_bytes, tmb_audio_writer **out, tmb_error *error) {
    *out = NULL;
    tmb_audio_shape shape = {.container = container, .encoding = encoding, .rate = rate, .channels = channels};
    tmb_audio_writer *writer = NULL;
    tmb_status status = allocate(NULL, &shape, &writer, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_sink_open_memory(max_bytes, &writer->sink);
    return start(writer, &shape, out, error);
}

tmb_status tmb_audio_create_sink(tmb_container container, tmb_encoding encoding, int rate, int channels,
                                 tmb_audio_write_callback callback, void *user, tmb_audio_writer **out,
                                 tmb_error *error) {
    *out = NULL;
    tmb_audio_shape shape = {.container = container, .encoding = encoding, .rate = rate, .channels = channels};
    tmb_audio_writer *writer = NULL;
    tmb_status status = allocate(NULL, &shape, &writer, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_sink_open_callback(callback, user, &writer->sink);
    return start(writer, &shape, out, error);
}

/* Keeps the failure, so that finish reports it if the caller did not look. */
static tmb_status fail(tmb_audio_writer *writer, const tmb_error *reason, tmb_error *error) {
    if (writer->failure.status == TMB_OK) {
        writer->failure = *reason;
        if (writer->name != NULL) {
            tmb_error_name(&writer->failure, writer->name);
        }
    }
    if (error != NULL) {
        *error = writer->failure;
    }
    return writer->failure.status;
}

tmb_status tmb_audio_write(tmb_audio_writer *writer, const float *samples, size_t count, tmb_error *error) {
    tmb_error reason = {0};
    if (writer->failure.status != TMB_OK) {
        return fail(writer, &reason, error);
    }
    const size_t values = count * (size_t)writer->channels;
    const size_t bad = tmb_pcm_find_not_finite(samples, values);
    if (bad < values) {
        (void)tmb_fail(&reason, TMB_ERROR_ARGUMENT, "sample %llu of channel %zu is not a finite number",
                       (unsigned long long)(writer->written + bad / (size_t)writer->channels),
                       bad % (size_t)writer->channels + 1);
        return fail(writer, &reason, error);
    }
    if (count > 0 && writer->encoder->write(writer->state, samples, count, &reason) != TMB_OK) {
        return fail(writer, &reason, error);
    }
    writer->written += count;
    for (size_t i = 0; writer->limited && i < values; i++) {
        writer->clipped += fabsf(samples[i]) > 1;
    }
    return TMB_OK;
}

uint64_t tmb_audio_clipped(const tmb_audio_writer *writer) { return writer != NULL ? writer->clipped : 0; }

void tmb_audio_clip(const tmb_audio_writer *writer, float *samples, size_t count) {
    for (size_t i = 0; writer->limited && i < count * (size_t)writer->channels; i++) {
        samples[i] = samples[i] > 1 ? 1 : samples[i] < -1 ? -1 : samples[i];
    }
}

/* Frees the writer except for its sink, which is finished or aborted. */
static void free_writer(tmb_audio_writer **writer) {
    if ((*writer)->encoder != NULL) {
        (*writer)->encoder->destroy((*writer)->state);
    }
    tmb_tags_free(&(*writer)->tags);
    free((*writer)->name);
    free(*writer);
    *writer = NULL;
}

void tmb_audio_abort(tmb_audio_writer **writer) {
    if (*writer != NULL) {
        /* A stream gets nothing more, whatever the encoder still has. */
        if ((*writer)->sink.failure.status == TMB_OK) {
            (void)tmb_fail(&(*writer)->sink.failure, TMB_ERROR_CANCELLED, "given up");
        }
        if ((*writer)->encoder != NULL) {
            (*writer)->encoder->destroy((*writer)->state);
            (*writer)->encoder = NULL;
        }
        tmb_sink_abort(&(*writer)->sink);
        free_writer(writer);
    }
}

/* Everything up to the end of the encoder; aborts the writer if that fails. */
static tmb_status finish_encoder(tmb_audio_writer **writer, tmb_error *error) {
    tmb_error reason = {0};
    tmb_status status = (*writer)->failure.status != TMB_OK ? (*writer)->failure.status
                                                            : (*writer)->encoder->finish((*writer)->state, &reason);
    if (status != TMB_OK) {
        status = fail(*writer, &reason, error);
        tmb_audio_abort(writer);
    }
    return status;
}

tmb_status tmb_audio_finish(tmb_audio_writer **writer, tmb_error *error) {
    tmb_status status = finish_encoder(writer, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_error reason = {0};
    status = tmb_sink_finish(&(*writer)->sink, &reason);
    if (status != TMB_OK) {
        (void)fail(*writer, &reason, error);
    }
    free_writer(writer);
    return status;
}

tmb_status tmb_audio_finish_memory(tmb_audio_writer **writer, void **data, size_t *size, tmb_error *error) {
    *data = NULL;
    *size = 0;
    if ((*writer)->sink.fd >= 0 || (*writer)->sink.callback != NULL) {
        tmb_audio_abort(writer);
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "the writer does not write into memory");
    }
    tmb_status status = finish_encoder(writer, error);
    if (status != TMB_OK) {
        return status;
    }
    *data = (*writer)->sink.memory;
    *size = (size_t)(*writer)->sink.size;
    (*writer)->sink.memory = NULL;
    free_writer(writer);
    if (*data == NULL) { /* headerless and without samples: still something to free */
        *data = tmb_calloc(1, 1);
        return *data != NULL ? TMB_OK : tmb_fail_memory(error, "encoded audio", 1);
    }
    return TMB_OK;
}
