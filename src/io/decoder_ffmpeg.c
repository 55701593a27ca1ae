/* ffmpeg decodes, a pipe brings 32-bit floats. It gets the file as an open descriptor, because an MP4 file's index may
 * be at its end, and may open nothing else: one demuxer is named, and of the protocols that of files alone, which the
 * demuxers in the list of sniff.c use for what they were given. */
#include "base/error.h"
#include "base/memory.h"
#include "io/bytes.h"
#include "io/containers.h"
#include "io/decoder.h"
#include "io/ffmpeg.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK ((size_t)64 << 10)

typedef struct ffmpeg_state {
    tmb_child child;
    int file;
    bool owns_file;
    tmb_notes *notes;
    size_t frame; /* bytes of a sample of all channels */
    uint64_t done;
    bool ended;
    size_t held, place; /* of bytes */
    uint8_t bytes[BLOCK];
} ffmpeg_state;

static void close_ffmpeg(void *pointer) {
    ffmpeg_state *state = pointer;
    tmb_child_end(&state->child);
    if (state->owns_file) {
        (void)close(state->file);
    }
    free(state);
}

/* How it ended: its exit and what it complained of. A file that it read to the end without a word is whole. */
static tmb_status judge(ffmpeg_state *state, tmb_error *error) {
    char line[160];
    const int exit_code = tmb_ffmpeg_wait(&state->child);
    tmb_ffmpeg_complaint(&state->child, line);
    if (exit_code == 0 && line[0] == '\0' && (state->held - state->place) % state->frame == 0) {
        return TMB_OK;
    }
    return tmb_lost(state->notes, error, "is damaged or cut short after %llu samples: %s (ffmpeg, exit code %d)",
                    (unsigned long long)state->done, line[0] != '\0' ? line : "it gives no reason", exit_code);
}

/* More bytes behind those that are held; *ended: there are none. */
static tmb_status fill(ffmpeg_state *state, bool *ended, tmb_error *error) {
    memmove(state->bytes, state->bytes + state->place, state->held - state->place);
    state->held -= state->place;
    state->place = 0;
    for (;;) {
        const ssize_t got = read(state->child.output, state->bytes + state->held, BLOCK - state->held);
        if (got >= 0) {
            state->held += (size_t)got;
            *ended = got == 0;
            return TMB_OK;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return tmb_fail_errno(error, TMB_ERROR_IO, errno, "ffmpeg's output cannot be read");
        }
        if (errno == EAGAIN && !tmb_ffmpeg_poll(&state->child, false)) {
            return tmb_fail(error, TMB_ERROR_TIMEOUT, "ffmpeg wrote nothing for a minute and was ended");
        }
    }
}

static tmb_status read_ffmpeg(void *pointer, float *out, size_t capacity, size_t *count, tmb_error *error) {
    ffmpeg_state *state = pointer;
    while (*count < capacity && !state->ended) {
        const size_t ready = (state->held - state->place) / state->frame;
        if (ready == 0) {
            bool ended = false;
            tmb_status status = fill(state, &ended, error);
            if (status == TMB_OK && ended) {
                state->ended = true;
                status = judge(state, error);
            }
            if (status != TMB_OK) {
                return status;
            }
            continue;
        }
        const size_t part = ready < capacity - *count ? ready : capacity - *count;
        const size_t channels = state->frame / sizeof(float);
        for (size_t i = 0; i < part * channels; i++) {
            const uint32_t value = (uint32_t)tmb_little(state->bytes + state->place + i * sizeof value, sizeof value);
            memcpy(out + *count * channels + i, &value, sizeof value);
        }
        state->place += part * state->frame;
        state->done += part;
        *count += part;
    }
    return TMB_OK;
}

static tmb_status read_head(ffmpeg_state *state, const char *name, tmb_ffmpeg_head *head, tmb_error *error) {
    bool ended = false;
    size_t size = 0;
    while (size == 0 && !ended) {
        tmb_status status = fill(state, &ended, error);
        if (status != TMB_OK) {
            return status;
        }
        size = tmb_ffmpeg_parse_head(state->bytes, state->held, head);
    }
    if (size == 0 || size == SIZE_MAX) {
        char line[160];
        (void)tmb_ffmpeg_wait(&state->child);
        tmb_ffmpeg_complaint(&state->child, line);
        return tmb_fail(error, TMB_ERROR_FORMAT, "is %s, which ffmpeg cannot decode: %s", name,
                        line[0] != '\0' ? line : "it gives no reason");
    }
    state->place = size;
    return TMB_OK;
}

static const tmb_decoder ffmpeg_decoder = {.read = read_ffmpeg, .close = close_ffmpeg};

static tmb_status start(ffmpeg_state *state, tmb_source *source, const char *demuxer, const char *name,
                        tmb_ffmpeg_head *head, tmb_error *error) {
    const char *const arguments[] = {"-protocol_whitelist",
                                     "file",
                                     "-f",
                                     demuxer,
                                     "-i",
                                     "file:/dev/fd/0",
                                     "-map",
                                     "0:a:0",
                                     "-map_metadata",
                                     "-1",
                                     "-c:a",
                                     "pcm_f32le",
                                     "-flags",
                                     "+bitexact",
                                     "-f",
                                     "wav",
                                     "-rf64",
                                     "never",
                                     state->notes->salvage ? "-nostats" : "-xerror",
                                     "pipe:1",
                                     NULL};
    tmb_status status = tmb_source_descriptor(source, &state->file, &state->owns_file, error);
    if (status == TMB_OK) {
        status = tmb_ffmpeg_start(arguments, TMB_CHILD_FILE, state->file, name, &state->child, error);
    }
    return status == TMB_OK ? read_head(state, name, head, error) : status;
}

tmb_status tmb_decoder_ffmpeg(tmb_source *source, const char *demuxer, const char *name, tmb_notes *notes,
                              tmb_decoding *out, tmb_error *error) {
    tmb_status status = tmb_container_check(source, demuxer, notes, error);
    if (status != TMB_OK) {
        return status;
    }
    ffmpeg_state *state = tmb_calloc(1, sizeof *state);
    if (state == NULL) {
        return tmb_fail_memory(error, "an audio reader", sizeof *state);
    }
    state->child = (tmb_child){.output = -1, .input = -1, .complaints = -1};
    state->notes = notes;
    tmb_ffmpeg_head head = {0};
    status = start(state, source, demuxer, name, &head, error);
    if (status != TMB_OK) {
        close_ffmpeg(state);
        return status;
    }
    state->frame = (size_t)head.channels * sizeof(float);
    out->decoder = &ffmpeg_decoder;
    out->state = state;
    out->rate = head.rate;
    out->channels = head.channels;
    out->channel_mask = head.channel_mask;
    (void)snprintf(out->format, sizeof out->format, "%s, by ffmpeg", name);
    return TMB_OK;
}
