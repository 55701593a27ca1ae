#include "base/error.h"
#include "base/memory.h"
#include "io/decoder.h"
#include "io/pcm.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct raw_state {
    tmb_source *source;
    tmb_notes *notes;
    tmb_encoding encoding;
    size_t channels, frame; /* bytes of a sample of all channels */
    bool ended;
} raw_state;

static tmb_status read_raw(void *pointer, float *out, size_t capacity, size_t *count, tmb_error *error) {
    raw_state *state = pointer;
    uint8_t bytes[16384];
    while (*count < capacity && !state->ended) {
        const size_t room = sizeof bytes / state->frame;
        const size_t wanted = capacity - *count < room ? capacity - *count : room;
        const size_t got = tmb_source_read(state->source, bytes, wanted * state->frame);
        const size_t whole = got / state->frame;
        tmb_pcm_decode(state->encoding, bytes, whole * state->channels, out + *count * state->channels);
        *count += whole;
        state->ended = got < wanted * state->frame;
        if (state->source->error_number == 0 && got % state->frame != 0) {
            tmb_note(state->notes, "ends inside a sample: %zu bytes too many for raw %zu-byte samples are left out",
                     got % state->frame, state->frame);
        }
    }
    (void)error;
    return TMB_OK;
}

static const tmb_decoder raw_decoder = {.read = read_raw, .close = free};

tmb_status tmb_decoder_raw(tmb_source *source, const tmb_raw_format *raw, tmb_notes *notes, tmb_decoding *out,
                           tmb_error *error) {
    static const char *const names[] = {"16-bit PCM", "24-bit PCM", "32-bit float"};
    const size_t sample = tmb_pcm_bytes(raw->encoding);
    if (sample == 0) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "unknown encoding %d of raw samples", (int)raw->encoding);
    }
    raw_state *state = tmb_calloc(1, sizeof *state);
    if (state == NULL) {
        return tmb_fail_memory(error, "an audio reader", sizeof *state);
    }
    state->source = source;
    state->notes = notes;
    state->encoding = raw->encoding;
    state->channels = raw->channels > 0 ? (size_t)raw->channels : 1;
    state->frame = sample * state->channels;
    out->decoder = &raw_decoder;
    out->state = state;
    out->rate = raw->rate;
    out->channels = raw->channels;
    out->length = source->sequential ? 0 : source->size / state->frame;
    (void)snprintf(out->format, sizeof out->format, "raw, %s", names[raw->encoding]);
    return TMB_OK;
}
