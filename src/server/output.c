#include "server/output.h"

#include "base/error.h"
#include "base/memory.h"
#include "io/io.h"
#include "queue/blobs.h"

#include <errno.h>
#include <math.h>
#include <sonic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const tmb_format formats[] = {
    {"wav", "audio/wav", ".wav", TMB_CONTAINER_WAV},  {"flac", "audio/flac", ".flac", TMB_CONTAINER_FLAC},
    {"mp3", "audio/mpeg", ".mp3", TMB_CONTAINER_MP3}, {"opus", "audio/ogg;codecs=opus", ".opus", TMB_CONTAINER_OPUS},
    {"ogg", "audio/ogg", ".ogg", TMB_CONTAINER_OGG},  {"pcm", "audio/pcm", ".pcm", TMB_CONTAINER_RAW},
    {"aac", "audio/aac", ".aac", TMB_CONTAINER_AAC},
};
const char *const tmb_format_names[] = {"wav", "flac", "mp3", "opus", "ogg", "pcm", "aac", NULL};
const char *const tmb_speech_format_names[] = {"mp3", "opus", "aac", "flac", "wav", "pcm", NULL};

const tmb_format *tmb_format_find(const char *name) {
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (strcmp(formats[i].name, name) == 0) {
            return &formats[i];
        }
    }
    return NULL;
}

const char *tmb_format_problem(const tmb_format *format, bool no_ffmpeg) {
    if (format->container == TMB_CONTAINER_AAC && no_ffmpeg) {
        return "aac is written by ffmpeg, which is turned off on this server";
    }
    return tmb_audio_can_write(format->container) ? NULL
                                                  : "aac is written by ffmpeg, which is not installed on this server";
}

void tmb_format_content_type(const tmb_format *format, int rate, char out[80]) {
    if (format->container == TMB_CONTAINER_RAW) {
        (void)snprintf(out, 80, "%s;rate=%d;channels=1", format->content_type, rate);
    } else {
        (void)snprintf(out, 80, "%s", format->content_type);
    }
}

int tmb_format_rate(const tmb_format *format, int rate) {
    static const int opus[] = {8000, 12000, 16000, 24000, 48000, 0};
    static const int mp3[] = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 0};
    static const int aac[] = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000, 0};
    const int *rates = format->container == TMB_CONTAINER_OPUS  ? opus
                       : format->container == TMB_CONTAINER_MP3 ? mp3
                       : format->container == TMB_CONTAINER_AAC ? aac
                                                                : NULL;
    while (rates != NULL && rates[0] < rate && rates[1]) {
        rates++;
    }
    return rates != NULL ? rates[0] : rate;
}

struct tmb_output {
    const tmb_format *format;
    int wanted_rate, input_rate, rate;
    double speed;
    sonicStream stretch; /* if speed is not 1, at the input's rate */
    uint64_t written;    /* samples that came out */
    uint64_t clipped;    /* of which were beyond full scale */
    tmb_resample_stream *resampler;
    tmb_audio_writer *writer;
    char *path; /* of a file */
    tmb_output_sink sink;
    void *user;
    tmb_store *store; /* where the bytes of a file are booked, or NULL */
    uint64_t booked;
    double owed; /* seconds that were written and not sent yet */
};

static tmb_status create(const tmb_format *format, int rate, double speed, tmb_output **out, tmb_error *error) {
    *out = tmb_calloc(1, sizeof **out);
    if (*out == NULL) {
        return tmb_fail_memory(error, "an output", sizeof **out);
    }
    (*out)->format = format;
    (*out)->wanted_rate = rate;
    (*out)->speed = speed;
    return TMB_OK;
}

tmb_status tmb_output_to_file(const tmb_format *format, int rate, double speed, const char *path, tmb_output **out,
                              tmb_error *error) {
    tmb_status status = create(format, rate, speed, out, error);
    if (status == TMB_OK && ((*out)->path = tmb_strdup(path)) == NULL) {
        tmb_output_destroy(out);
        return tmb_fail_memory(error, "a path", strlen(path));
    }
    return status;
}

tmb_status tmb_output_to_sink(const tmb_format *format, int rate, double speed, tmb_output_sink sink, void *user,
                              tmb_output **out, tmb_error *error) {
    tmb_status status = create(format, rate, speed, out, error);
    if (status == TMB_OK) {
        (*out)->sink = sink;
        (*out)->user = user;
    }
    return status;
}

uint64_t tmb_output_clipped(const tmb_output *output) { return output->clipped; }

int tmb_output_rate(const tmb_output *output) { return output->rate; }

double tmb_output_seconds(const tmb_output *output) {
    return output->rate ? (double)output->written / output->rate : 0;
}

/* The encoder's bytes on their way to the sink, and with them the audio that was written since the last. */
static tmb_status forward(void *user, const void *data, size_t size, tmb_error *error) {
    tmb_output *output = user;
    double seconds = output->owed;
    output->owed = 0;
    return output->sink(output->user, data, size, seconds)
               ? TMB_OK
               : tmb_fail(error, TMB_ERROR_CANCELLED, "nobody reads the audio any more");
}

static tmb_status begin(tmb_output *output, int rate, tmb_error *error) {
    output->input_rate = rate;
    output->rate = tmb_format_rate(output->format, output->wanted_rate ? output->wanted_rate : rate);
    if (output->speed != 1) {
        output->stretch = sonicCreateStream(rate, 1);
        if (output->stretch == NULL) {
            return tmb_fail_memory(error, "changing the speed", 0);
        }
        sonicSetSpeed(output->stretch, (float)output->speed);
    }
    if (output->rate != rate) {
        tmb_status status = tmb_resample_open(NULL, rate, output->rate, TMB_RESAMPLER_AUTO, &output->resampler, error);
        if (status != TMB_OK) {
            return status;
        }
    }
    if (output->path != NULL) {
        return tmb_audio_create(output->path, output->format->container, TMB_ENCODING_S16, output->rate, 1,
                                &output->writer, error);
    }
    return tmb_audio_create_sink(output->format->container, TMB_ENCODING_S16, output->rate, 1, forward, output,
                                 &output->writer, error);
}

void tmb_output_book(tmb_output *output, tmb_store *store) { output->store = store; }

void tmb_output_unbook(tmb_output *output) {
    if (output->store != NULL) {
        tmb_store_unbook(output->store, output->booked);
    }
    output->booked = 0;
}

void tmb_output_keep_booked(tmb_output *output, uint64_t *booked) {
    *booked += output->booked;
    output->booked = 0;
}

static tmb_status book(tmb_output *output, size_t count, tmb_error *error) {
    uint64_t bytes = (uint64_t)count * sizeof(int16_t);
    if (output->store != NULL && !tmb_store_book(output->store, bytes)) {
        return tmb_fail_errno(error, TMB_ERROR_IO, ENOSPC, "the storage limit is reached");
    }
    output->booked += output->store != NULL ? bytes : 0;
    return TMB_OK;
}

/* Samples at the output's rate. */
static tmb_status encode(tmb_output *output, const float *samples, size_t count, tmb_error *error) {
    tmb_status status = book(output, count, error);
    if (status != TMB_OK) {
        return status;
    }
    output->written += count;
    output->owed += (double)count / output->rate;
    const uint64_t before = tmb_audio_clipped(output->writer);
    status = tmb_audio_write(output->writer, samples, count, error);
    output->clipped += tmb_audio_clipped(output->writer) - before;
    return status;
}

static tmb_status encode_resampled(tmb_output *output, tmb_error *error) {
    float block[4096];
    for (size_t count = 0; (count = tmb_resample_pull(output->resampler, block, 4096)) > 0;) {
        tmb_status status = encode(output, block, count, error);
        if (status != TMB_OK) {
            return status;
        }
    }
    return TMB_OK;
}

/* Samples at the input's rate. */
static tmb_status resample(tmb_output *output, const float *samples, size_t count, tmb_error *error) {
    if (output->resampler == NULL) {
        return encode(output, samples, count, error);
    }
    tmb_status status = tmb_resample_push(output->resampler, samples, count, error);
    return status == TMB_OK ? encode_resampled(output, error) : status;
}

enum { block_size = 4096 };

static tmb_status take_stretched(tmb_output *output, tmb_error *error) {
    float block[block_size];
    for (int count = 0; (count = sonicReadFloatFromStream(output->stretch, block, block_size)) > 0;) {
        tmb_status status = resample(output, block, (size_t)count, error);
        if (status != TMB_OK) {
            return status;
        }
    }
    return TMB_OK;
}

static tmb_status stretch(tmb_output *output, const float *samples, size_t count, tmb_error *error) {
    float block[block_size];
    while (count) {
        size_t part = count < block_size ? count : block_size;
        for (size_t i = 0; i < part; i++) {
            /* It works in 16 bits and does not clip. */
            block[i] = fminf(fmaxf(samples[i], -1), 1);
            output->clipped += fabsf(samples[i]) > 1;
        }
        if (!sonicWriteFloatToStream(output->stretch, block, (int)part)) {
            return tmb_fail_memory(error, "changing the speed", part);
        }
        tmb_status status = take_stretched(output, error);
        if (status != TMB_OK) {
            return status;
        }
        samples += part;
        count -= part;
    }
    return TMB_OK;
}

tmb_status tmb_output_write(tmb_output *output, const float *samples, size_t count, int rate, tmb_error *error) {
    tmb_status status = output->input_rate ? TMB_OK : begin(output, rate, error);
    if (status != TMB_OK || !count) {
        return status;
    }
    return output->stretch != NULL ? stretch(output, samples, count, error) : resample(output, samples, count, error);
}

tmb_status tmb_output_finish(tmb_output *output, tmb_error *error) {
    if (!output->input_rate) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "there is no audio");
    }
    tmb_status status = TMB_OK;
    if (output->stretch != NULL) {
        status = sonicFlushStream(output->stretch) ? take_stretched(output, error)
                                                   : tmb_fail_memory(error, "changing the speed", 0);
    }
    if (status == TMB_OK && output->resampler != NULL) {
        status = tmb_resample_flush(output->resampler, error);
        status = status == TMB_OK ? encode_resampled(output, error) : status;
    }
    if (status == TMB_OK) {
        status = tmb_audio_finish(&output->writer, error);
    }
    return status;
}

void tmb_output_destroy(tmb_output **output) {
    tmb_output *ending = *output;
    *output = NULL;
    if (ending == NULL) {
        return;
    }
    tmb_output_unbook(ending);
    tmb_audio_abort(&ending->writer);
    tmb_resample_close(&ending->resampler);
    if (ending->stretch != NULL) {
        sonicDestroyStream(ending->stretch);
    }
    free(ending->path);
    free(ending);
}
