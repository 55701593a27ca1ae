/* Frame by frame through libmpg123, which gets nothing but frames: tags, junk and headers that lie never reach it. */
#include "base/error.h"
#include "base/memory.h"
#include "io/decoder.h"

#include <mpg123.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FRAME_SAMPLES 1152
/* Frames of a stream in free format that are given to the decoder before it begins. */
#define FREE_FRAMES 4

typedef struct mp3_state {
    mpg123_handle *handle;
    const tmb_mp3_plan *plan;
    tmb_source *source;
    tmb_notes *notes;
    tmb_mp3_cursor cursor;
    size_t run;      /* the one that is decoded */
    bool open;       /* it has begun */
    bool ended;      /* the cursor has finished it */
    uint64_t frames; /* fed of it */
    uint64_t made;   /* samples of it that the decoder gave, before those that are skipped were dropped */
    uint64_t left;   /* samples of it that are still to be given */
    float ready[MAX_FRAME_SAMPLES * 2 * 2];
    size_t ready_count, ready_place; /* samples per channel */
    uint8_t bytes[16384];
} mp3_state;

static void close_mp3(void *pointer) {
    mp3_state *state = pointer;
    if (state->handle != NULL) {
        mpg123_delete(state->handle);
    }
    free(state);
}

/* Before the first handle of the process; later calls do nothing. */
static void initialize(void) { (void)mpg123_init(); }

static tmb_status begin_run(mp3_state *state, tmb_error *error) {
    const tmb_mp3_run *run = &state->plan->runs[state->run];
    tmb_mp3_begin(state->source, run->start, run->end, &state->cursor);
    state->open = true;
    state->ended = false;
    state->frames = 0;
    state->made = 0;
    state->left = run->samples;
    (void)mpg123_close(state->handle);
    if (mpg123_open_feed(state->handle) != MPG123_OK) {
        return tmb_fail(error, TMB_ERROR_INTERNAL, "libmpg123: %s", mpg123_strerror(state->handle));
    }
    return TMB_OK;
}

/* The next frame of the run goes to the decoder; *fed false: there is none. */
static tmb_status feed(mp3_state *state, bool *fed, tmb_error *error) {
    *fed = false;
    while (!state->ended && state->frames < state->plan->runs[state->run].frames) {
        tmb_mp3_head head;
        uint64_t place = 0;
        uint64_t size = 0;
        const tmb_mp3_step step = tmb_mp3_next(&state->cursor, &head, &place, &size);
        if (step == TMB_MP3_END) {
            break;
        }
        if (step == TMB_MP3_FRAME && size <= sizeof state->bytes) {
            const size_t got = tmb_source_read_at(state->source, place, state->bytes, (size_t)size);
            if (got < size) {
                return tmb_fail_errno(error, TMB_ERROR_IO, state->source->error_number, "cannot be read");
            }
            if (state->frames == 0) {
                /* Free format is measured by looking ahead, which makes the first frame wait otherwise. */
                (void)mpg123_param(state->handle, head.size == 0 ? MPG123_REMOVE_FLAGS : MPG123_ADD_FLAGS,
                                   MPG123_NO_READAHEAD, 0);
            }
            if (mpg123_feed(state->handle, state->bytes, got) != MPG123_OK) {
                return tmb_fail(error, TMB_ERROR_INTERNAL, "libmpg123: %s", mpg123_strerror(state->handle));
            }
            state->frames++;
            *fed = true;
            /* In free format the distance between headers says the size: it takes some to begin with. */
            if (head.size != 0 || state->frames >= FREE_FRAMES) {
                return TMB_OK;
            }
        }
    }
    state->ended = !*fed;
    return TMB_OK;
}

/* What was decoded, without the encoder's delay and without what is behind the run's last sample. */
static void keep(mp3_state *state, const float *samples, size_t count) {
    const size_t channels = (size_t)state->plan->channels;
    const tmb_mp3_run *run = &state->plan->runs[state->run];
    const uint64_t before = state->made < run->skip ? run->skip - state->made : 0;
    state->made += count;
    if (before >= count) {
        return;
    }
    samples += (size_t)before * channels;
    count -= (size_t)before;
    count = count < state->left ? count : (size_t)state->left;
    state->left -= count;
    memcpy(state->ready + state->ready_count * channels, samples, count * channels * sizeof(float));
    state->ready_count += count;
}

static bool is_expected(const mp3_state *state) {
    long rate = 0;
    int channels = 0;
    int encoding = 0;
    return mpg123_getformat(state->handle, &rate, &channels, &encoding) == MPG123_OK && rate == state->plan->rate &&
           channels == state->plan->channels && encoding == MPG123_ENC_FLOAT_32;
}

/* Decodes until something is ready or all runs are over (then nothing is). */
static tmb_status decode(mp3_state *state, tmb_error *error) {
    const size_t channels = (size_t)state->plan->channels;
    while (state->ready_place == state->ready_count && state->run < state->plan->count) {
        state->ready_place = 0;
        state->ready_count = 0;
        if (!state->open) {
            tmb_status status = begin_run(state, error);
            if (status != TMB_OK) {
                return status;
            }
        }
        off_t number = 0;
        unsigned char *audio = NULL;
        size_t bytes = 0;
        const int result = mpg123_decode_frame(state->handle, &number, &audio, &bytes);
        const size_t count = bytes / sizeof(float) / channels;
        if (result == MPG123_NEW_FORMAT && !is_expected(state)) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "is damaged: its MP3 frames are not what their headers say");
        }
        if (audio != NULL && count > 0 && count <= MAX_FRAME_SAMPLES) {
            keep(state, (const float *)(const void *)audio, count);
        }
        if (result == MPG123_NEED_MORE) {
            bool fed = false;
            tmb_status status = feed(state, &fed, error);
            if (status != TMB_OK) {
                return status;
            }
            if (!fed && state->left > 0) {
                const tmb_mp3_run *run = &state->plan->runs[state->run];
                status = tmb_lost(state->notes, error, "is damaged: %llu samples of %llu could be decoded",
                                  (unsigned long long)(run->samples - state->left), (unsigned long long)run->samples);
                if (status != TMB_OK) {
                    return status;
                }
            }
            if (!fed) {
                state->open = false;
                state->run++;
            }
        } else if (result != MPG123_OK && result != MPG123_NEW_FORMAT) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "is damaged: libmpg123: %s", mpg123_strerror(state->handle));
        }
    }
    return TMB_OK;
}

static tmb_status read_mp3(void *pointer, float *out, size_t capacity, size_t *count, tmb_error *error) {
    mp3_state *state = pointer;
    const size_t channels = (size_t)state->plan->channels;
    while (*count < capacity) {
        tmb_status status = decode(state, error);
        const size_t ready = state->ready_count - state->ready_place;
        if (status != TMB_OK || ready == 0) {
            return status;
        }
        const size_t part = ready < capacity - *count ? ready : capacity - *count;
        memcpy(out + *count * channels, state->ready + state->ready_place * channels, part * channels * sizeof(float));
        state->ready_place += part;
        *count += part;
    }
    return TMB_OK;
}

static const tmb_decoder mp3_decoder = {.read = read_mp3, .close = close_mp3};

tmb_status tmb_decoder_mp3(tmb_source *source, const tmb_mp3_plan *plan, tmb_notes *notes, tmb_decoding *out,
                           tmb_error *error) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, initialize);
    mp3_state *state = tmb_calloc(1, sizeof *state);
    if (state == NULL) {
        return tmb_fail_memory(error, "an audio reader", sizeof *state);
    }
    state->source = source;
    state->plan = plan;
    state->notes = notes;
    int reason = MPG123_OK;
    state->handle = mpg123_new(NULL, &reason);
    const long flags = MPG123_QUIET | MPG123_FORCE_FLOAT | MPG123_IGNORE_INFOFRAME | MPG123_NO_READAHEAD |
                       MPG123_SKIP_ID3V2 | (plan->channels == 1 ? MPG123_FORCE_MONO : MPG123_FORCE_STEREO);
    if (state->handle == NULL || mpg123_param(state->handle, MPG123_FLAGS, flags, 0) != MPG123_OK ||
        mpg123_param(state->handle, MPG123_RESYNC_LIMIT, -1, 0) != MPG123_OK) {
        tmb_status status =
            tmb_fail(error, TMB_ERROR_MEMORY, "the MP3 decoder cannot be opened: %s", mpg123_plain_strerror(reason));
        close_mp3(state);
        return status;
    }
    out->decoder = &mp3_decoder;
    out->state = state;
    out->rate = plan->rate;
    out->channels = plan->channels;
    out->length = plan->samples;
    out->exact = true;
    return TMB_OK;
}
