/* Floats go to ffmpeg through one pipe, AAC frames come back through another: neither may wait for the other. */
#include "base/error.h"
#include "base/memory.h"
#include "io/encoder.h"
#include "io/ffmpeg.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK 16384
/* Bits a second: the first channel, and each further one. */
#define FIRST_BITS 96000
#define FURTHER_BITS 64000

typedef struct aac_state {
    tmb_child child;
    tmb_sink *sink;
    int channels;
    bool ended; /* its output */
    uint64_t written;
    uint8_t bytes[BLOCK];
} aac_state;

/* Takes what it has written. */
static tmb_status drain(aac_state *state, tmb_error *error) {
    while (!state->ended) {
        const ssize_t got = read(state->child.output, state->bytes, sizeof state->bytes);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return errno == EAGAIN ? TMB_OK
                                   : tmb_fail_errno(error, TMB_ERROR_IO, errno, "ffmpeg's output cannot be read");
        }
        state->ended = got == 0;
        if (got > 0 && !tmb_sink_write(state->sink, state->bytes, (size_t)got)) {
            return tmb_sink_failure(state->sink, error);
        }
        state->written += (uint64_t)got;
    }
    return TMB_OK;
}

static tmb_status complain(aac_state *state, tmb_error *error) {
    char line[160];
    const int exit_code = tmb_ffmpeg_wait(&state->child);
    tmb_ffmpeg_complaint(&state->child, line);
    return tmb_fail(error, TMB_ERROR_INTERNAL, "ffmpeg could not encode AAC (exit code %d)%s%s", exit_code,
                    line[0] != '\0' ? ": " : "", line);
}

static tmb_status wait_for(const aac_state *state, bool writing, tmb_error *error) {
    return tmb_ffmpeg_poll(&state->child, writing)
               ? TMB_OK
               : tmb_fail(error, TMB_ERROR_TIMEOUT, "ffmpeg did nothing for a minute and was ended");
}

static tmb_status encode(void *pointer, const float *samples, size_t count, tmb_error *error) {
    aac_state *state = pointer;
    const uint8_t *data = (const uint8_t *)samples;
    size_t left = count * (size_t)state->channels * sizeof(float);
    while (left > 0) {
        size_t written = 0;
        if (!tmb_child_write(&state->child, data, left, &written)) {
            return complain(state, error);
        }
        data += written;
        left -= written;
        tmb_status status = drain(state, error);
        if (status == TMB_OK && left > 0 && written == 0) {
            status = wait_for(state, true, error);
        }
        if (status != TMB_OK) {
            return status;
        }
    }
    return TMB_OK;
}

static tmb_status finish(void *pointer, tmb_error *error) {
    aac_state *state = pointer;
    tmb_child_close_input(&state->child);
    tmb_status status = TMB_OK;
    while (status == TMB_OK && !state->ended) {
        status = drain(state, error);
        if (status == TMB_OK && !state->ended) {
            status = wait_for(state, false, error);
        }
    }
    char line[160];
    tmb_ffmpeg_complaint(&state->child, line);
    if (status == TMB_OK && (tmb_ffmpeg_wait(&state->child) != 0 || line[0] != '\0' || state->written == 0)) {
        status = complain(state, error);
    }
    return status;
}

static void destroy(void *pointer) {
    aac_state *state = pointer;
    tmb_child_end(&state->child);
    free(state);
}

static const tmb_encoder aac_encoder = {.write = encode, .finish = finish, .destroy = destroy};

static bool is_rate(int rate) {
    static const int rates[] = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        if (rates[i] == rate) {
            return true;
        }
    }
    return false;
}

tmb_status tmb_encoder_ffmpeg(const tmb_audio_shape *shape, tmb_sink *sink, const tmb_encoder **encoder, void **out,
                              tmb_error *error) {
    if (!is_rate(shape->rate)) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED,
                        "AAC cannot be written at %d Hz: 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, "
                        "64000, 88200, 96000 are allowed",
                        shape->rate);
    }
    aac_state *state = tmb_calloc(1, sizeof *state);
    if (state == NULL) {
        return tmb_fail_memory(error, "an audio writer", sizeof *state);
    }
    state->child = (tmb_child){.output = -1, .input = -1, .complaints = -1};
    state->sink = sink;
    state->channels = shape->channels;
    char rate[16];
    char channels[16];
    char bits[16];
    (void)snprintf(rate, sizeof rate, "%d", shape->rate);
    (void)snprintf(channels, sizeof channels, "%d", shape->channels);
    (void)snprintf(bits, sizeof bits, "%d", FIRST_BITS + (shape->channels - 1) * FURTHER_BITS);
    const char *const arguments[] = {"-protocol_whitelist",
                                     "pipe",
                                     "-f",
                                     "f32le",
                                     "-ar",
                                     rate,
                                     "-ac",
                                     channels,
                                     "-i",
                                     "pipe:0",
                                     "-c:a",
                                     "aac",
                                     "-b:a",
                                     bits,
                                     "-flush_packets",
                                     "1",
                                     "-f",
                                     "adts",
                                     "pipe:1",
                                     NULL};
    tmb_status status = tmb_ffmpeg_start(arguments, TMB_CHILD_PIPE, -1, "writing AAC", &state->child, error);
    if (status != TMB_OK) {
        destroy(state);
        return status;
    }
    *encoder = &aac_encoder;
    *out = state;
    return TMB_OK;
}
