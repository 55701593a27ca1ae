#include "base/error.h"
#include "base/memory.h"
#include "io/encoder.h"
#include "io/pcm.h"

#include <stdlib.h>
#include <string.h>

/* Bytes that are encoded at a time. */
#define BLOCK 16384
/* fmt chunk: code 1 or 3, or the extensible form if the plain one does not say enough. */
#define FORMAT_PCM 1
#define FORMAT_FLOAT 3
#define FORMAT_EXTENSIBLE 0xfffe
/* The most that a RIFF header can say, with some room. */
#define RIFF_MAXIMUM 0xffffff00u
/* The chunk that says the lengths of RF64, with its head. */
#define DS64_BYTES 28
#define DS64_CHUNK (8 + DS64_BYTES)

typedef struct pcm_state {
    tmb_audio_shape shape;
    tmb_sink *sink;
    uint64_t riff_maximum;
    size_t frame;     /* bytes of one sample of all channels */
    size_t header;    /* bytes before the first sample, without a stream's chunks */
    uint64_t written; /* bytes of samples */
} pcm_state;

typedef struct bytes {
    uint8_t data[128];
    size_t count;
} bytes;

static void put(bytes *out, uint64_t value, size_t count) {
    for (size_t i = 0; i < count; i++) {
        out->data[out->count++] = (uint8_t)(value >> (8 * i));
    }
}

static void put_text(bytes *out, const char *text) {
    memcpy(out->data + out->count, text, 4);
    out->count += 4;
}

/* Everything before the samples, for `written` bytes of them and `behind` bytes behind them; UINT64_MAX: a stream.
 * Chunks of a stream come between this and the samples: the last eight bytes begin the data chunk. */
static void make_header(const pcm_state *state, uint64_t written, uint64_t behind, bytes *out) {
    const tmb_audio_shape *shape = &state->shape;
    const size_t sample = tmb_pcm_bytes(shape->encoding);
    const bool is_float = shape->encoding == TMB_ENCODING_FLOAT;
    const bool extensible = shape->channels > 2 || shape->encoding == TMB_ENCODING_S24;
    const bool stream = written == UINT64_MAX;
    const uint64_t riff_size = state->header - 8 + written + (written & 1) + behind;
    const bool rf64 = !stream && state->sink->readable && riff_size > state->riff_maximum;
    const bool unsaid = stream || riff_size > state->riff_maximum; /* by 32 bits */
    out->count = 0;
    put_text(out, rf64 ? "RF64" : "RIFF");
    put(out, unsaid ? 0xffffffffu : riff_size, 4);
    put_text(out, "WAVE");
    if (rf64) {
        put_text(out, "ds64");
        put(out, DS64_BYTES, 4);
        put(out, riff_size + DS64_CHUNK, 8);
        put(out, written, 8);
        put(out, written / state->frame, 8);
        put(out, 0, 4);
    }
    put_text(out, "fmt ");
    put(out, extensible ? 40 : is_float ? 18 : 16, 4);
    put(out, extensible ? FORMAT_EXTENSIBLE : is_float ? FORMAT_FLOAT : FORMAT_PCM, 2);
    put(out, (uint64_t)shape->channels, 2);
    put(out, (uint64_t)shape->rate, 4);
    put(out, (uint64_t)shape->rate * state->frame, 4);
    put(out, state->frame, 2);
    put(out, sample * 8, 2);
    if (extensible) {
        static const uint8_t guid_rest[14] = {0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x80,
                                              0x00, 0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71};
        put(out, 22, 2);
        put(out, sample * 8, 2);
        const uint32_t usual = shape->channels == 1   ? 4
                               : shape->channels == 2 ? 3
                                                      : 0; /* centre; left, right; not said */
        put(out, shape->channel_mask != 0 ? shape->channel_mask : usual, 4);
        put(out, is_float ? FORMAT_FLOAT : FORMAT_PCM, 2);
        memcpy(out->data + out->count, guid_rest, sizeof guid_rest);
        out->count += sizeof guid_rest;
    } else if (is_float) {
        put(out, 0, 2);
    }
    if (is_float) {
        put_text(out, "fact");
        put(out, 4, 4);
        put(out, unsaid ? 0xffffffffu : written / state->frame, 4);
    }
    put_text(out, "data");
    put(out, unsaid ? 0xffffffffu : written, 4);
}

static void destroy(void *pointer) { free(pointer); }

/* A stream's chunks, before its samples: behind them they would be taken for samples. */
static tmb_status put_chunks(pcm_state *state, tmb_error *error) {
    uint8_t *chunks = NULL;
    size_t size = 0;
    if (state->shape.tags != NULL && !tmb_tags_chunks(state->shape.tags, &chunks, &size)) {
        return tmb_fail_memory(error, "a recording's tags", size);
    }
    const bool written = size == 0 || tmb_sink_write(state->sink, chunks, size);
    free(chunks);
    return written ? TMB_OK : tmb_sink_failure(state->sink, error);
}

/* The head, before the first sample. */
static tmb_status begin(pcm_state *state, tmb_error *error) {
    bytes header;
    if (state->shape.container != TMB_CONTAINER_WAV) {
        return TMB_OK;
    }
    make_header(state, UINT64_MAX, 0, &header);
    state->header = header.count;
    bool written = tmb_sink_write(state->sink, header.data, header.count - 8);
    if (written && !state->sink->seekable) {
        tmb_status status = put_chunks(state, error);
        if (status != TMB_OK) {
            return status;
        }
    }
    written = written && tmb_sink_write(state->sink, header.data + header.count - 8, 8);
    return written ? TMB_OK : tmb_sink_failure(state->sink, error);
}

static tmb_status encode(void *pointer, const float *samples, size_t count, tmb_error *error) {
    pcm_state *state = pointer;
    uint8_t block[BLOCK];
    const size_t sample = tmb_pcm_bytes(state->shape.encoding);
    size_t values = count * (size_t)state->shape.channels;
    while (values > 0) {
        const size_t part = values < BLOCK / sample ? values : BLOCK / sample;
        tmb_pcm_encode(state->shape.encoding, samples, part, block);
        if (!tmb_sink_write(state->sink, block, part * sample)) {
            return tmb_sink_failure(state->sink, error);
        }
        state->written += part * sample;
        samples += part;
        values -= part;
    }
    return TMB_OK;
}

static tmb_status finish(void *pointer, tmb_error *error) {
    pcm_state *state = pointer;
    if (state->shape.container != TMB_CONTAINER_WAV || !state->sink->seekable) {
        return TMB_OK;
    }
    tmb_sink *sink = state->sink;
    bool written = (state->written & 1) == 0 || tmb_sink_write(sink, "", 1); /* chunks are even */
    const uint64_t samples_end = sink->position;
    tmb_status status = written ? put_chunks(state, error) : tmb_sink_failure(sink, error);
    if (status != TMB_OK) {
        return status;
    }
    bytes header;
    make_header(state, state->written, sink->position - samples_end, &header);
    written = header.count == state->header || tmb_sink_insert(sink, state->header, header.count - state->header);
    sink->position = 0;
    written = written && tmb_sink_write(sink, header.data, header.count);
    return written ? TMB_OK : tmb_sink_failure(sink, error);
}

static const tmb_encoder pcm_encoder = {.write = encode, .finish = finish, .destroy = destroy};

tmb_status tmb_encoder_pcm(const tmb_audio_shape *shape, tmb_sink *sink, const tmb_encoder **encoder, void **out,
                           tmb_error *error) {
    return tmb_encoder_pcm_until(shape, RIFF_MAXIMUM, sink, encoder, out, error);
}

tmb_status tmb_encoder_pcm_until(const tmb_audio_shape *shape, uint64_t riff_maximum, tmb_sink *sink,
                                 const tmb_encoder **encoder, void **out, tmb_error *error) {
    pcm_state *state = tmb_calloc(1, sizeof *state);
    if (state == NULL) {
        return tmb_fail_memory(error, "an audio writer", sizeof *state);
    }
    state->shape = *shape;
    state->riff_maximum = riff_maximum;
    state->sink = sink;
    state->frame = tmb_pcm_bytes(shape->encoding) * (size_t)shape->channels;
    tmb_status status = begin(state, error);
    if (status != TMB_OK) {
        destroy(state);
        return status;
    }
    *encoder = &pcm_encoder;
    *out = state;
    return TMB_OK;
}
