#include "tts/qwen3/voice/voice.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char magic[8] = {'T', 'M', 'B', 'V', 'O', 'I', 'C', 'E'};
#define VERSION 1u
#define CHECKSUM_BYTES 16

/* magic, version, rate, speaker size, text bytes + 1 (0: no text), frames, books, samples, family */
#define HEADER_BYTES (8 + 7 * 4 + 8 + TMB_VOICE_FAMILY_MAX)

/* Writing and reading at a place that moves on. */
static void put(uint8_t **to, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        *(*to)++ = (uint8_t)(value >> 8 * i);
    }
}

static uint64_t get(const uint8_t **from, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value |= (uint64_t) * (*from)++ << 8 * i;
    }
    return value;
}

static void put_float(uint8_t **to, float value) {
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    put(to, bits, 4);
}

static float get_float(const uint8_t **from) {
    uint32_t bits = (uint32_t)get(from, 4);
    float value = 0;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The checksums cover whole 64-bit words of the machine's order; files are little-endian, and so is every machine that
 * timbre runs on. */
static void checksum(const uint8_t *data, size_t bytes, uint64_t out[2]) {
    out[0] = tmb_hash_bytes(data, bytes, 1);
    out[1] = tmb_hash_bytes(data, bytes, 2);
}

tmb_status tmb_qwen3_voice_save(const tmb_qwen3_voice *voice, void **data, size_t *size, tmb_error *error) {
    size_t text_bytes = voice->text == NULL ? 0 : strlen(voice->text);
    size_t codes = voice->frames * voice->books;
    size_t bytes =
        HEADER_BYTES + voice->speaker_size * 4 + text_bytes + codes * 2 + voice->reference_count * 2 + CHECKSUM_BYTES;
    *data = NULL;
    *size = 0;
    uint8_t *buffer = tmb_calloc(bytes, 1);
    if (buffer == NULL) {
        return tmb_fail_memory(error, "a voice file", bytes);
    }
    uint8_t *to = buffer;
    memcpy(to, magic, sizeof magic);
    to += sizeof magic;
    put(&to, VERSION, 4);
    put(&to, (uint64_t)voice->reference_rate, 4);
    put(&to, voice->speaker_size, 4);
    put(&to, voice->text == NULL ? 0 : text_bytes + 1, 4);
    put(&to, voice->frames, 4);
    put(&to, voice->books, 4);
    put(&to, 0, 4); /* flags: none yet */
    put(&to, voice->reference_count, 8);
    memcpy(to, voice->family, TMB_VOICE_FAMILY_MAX);
    to += TMB_VOICE_FAMILY_MAX;
    for (size_t i = 0; i < voice->speaker_size; i++) {
        put_float(&to, voice->speaker[i]);
    }
    if (text_bytes > 0) {
        memcpy(to, voice->text, text_bytes);
        to += text_bytes;
    }
    for (size_t i = 0; i < codes; i++) {
        put(&to, (uint16_t)voice->codes[i], 2);
    }
    for (size_t i = 0; i < voice->reference_count; i++) {
        put(&to, (uint16_t)voice->reference[i], 2);
    }
    uint64_t sums[2];
    checksum(buffer, bytes - CHECKSUM_BYTES, sums);
    put(&to, sums[0], 8);
    put(&to, sums[1], 8);
    *data = buffer;
    *size = bytes;
    return TMB_OK;
}

typedef struct header {
    uint64_t version, rate, speaker_size, text_bytes, frames, books, flags, samples;
    char family[TMB_VOICE_FAMILY_MAX];
} header;

static tmb_status read_header(const uint8_t **from, size_t size, header *h, tmb_error *error) {
    if (size < HEADER_BYTES + CHECKSUM_BYTES || memcmp(*from, magic, sizeof magic) != 0) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "this is not a voice file (.tmbvoice)");
    }
    *from += sizeof magic;
    h->version = get(from, 4);
    h->rate = get(from, 4);
    h->speaker_size = get(from, 4);
    h->text_bytes = get(from, 4);
    h->frames = get(from, 4);
    h->books = get(from, 4);
    h->flags = get(from, 4);
    h->samples = get(from, 8);
    memcpy(h->family, *from, TMB_VOICE_FAMILY_MAX);
    *from += TMB_VOICE_FAMILY_MAX;
    if (h->version != VERSION || h->flags != 0) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED,
                        "voice file of version %llu, this timbre reads version %u: save the voice again",
                        (unsigned long long)h->version, VERSION);
    }
    if (h->speaker_size < 1 || h->speaker_size > TMB_VOICE_SPEAKER_MAX || h->text_bytes > TMB_VOICE_TEXT_MAX + 1 ||
        h->frames > TMB_VOICE_FRAMES_MAX || h->books > TMB_VOICE_BOOKS_MAX || (h->frames > 0 && h->books < 1) ||
        h->samples > TMB_VOICE_SAMPLES_MAX || h->rate > 1000000 || memchr(h->family, 0, TMB_VOICE_FAMILY_MAX) == NULL) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "the voice file is damaged: its header is out of bounds");
    }
    return TMB_OK;
}

/* The arrays behind a header that was checked; the sizes fit. */
static tmb_status read_arrays(const uint8_t *from, const header *h, float *speaker, char *text, int16_t *codes,
                              float *reference, tmb_qwen3_voice **out, tmb_error *error) {
    for (size_t i = 0; i < h->speaker_size; i++) {
        speaker[i] = get_float(&from);
        if (!isfinite(speaker[i])) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "the voice file is damaged: its x-vector is not finite");
        }
    }
    size_t text_bytes = h->text_bytes == 0 ? 0 : (size_t)h->text_bytes - 1;
    memcpy(text, from, text_bytes);
    from += text_bytes;
    if (memchr(text, 0, text_bytes) != NULL || tmb_utf8_valid_prefix(text, text_bytes) != text_bytes) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "the voice file is damaged: its transcript is not text");
    }
    for (size_t i = 0; i < h->frames * h->books; i++) {
        codes[i] = (int16_t)get(&from, 2);
        if (codes[i] < 0) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "the voice file is damaged: a code is out of range");
        }
    }
    for (size_t i = 0; i < h->samples; i++) {
        reference[i] = (float)(int16_t)get(&from, 2) / 32768.0f;
    }
    tmb_voice_parts parts = {
        .family = h->family,
        .speaker = speaker,
        .speaker_size = h->speaker_size,
        .text = h->text_bytes == 0 ? NULL : text,
        .codes = codes,
        .frames = h->frames,
        .books = h->books,
        .reference = reference,
        .reference_count = h->samples,
        .reference_rate = (int)h->rate,
    };
    return tmb_qwen3_voice_create(&parts, out, error);
}

tmb_status tmb_qwen3_voice_load(const void *data, size_t size, tmb_qwen3_voice **out, tmb_error *error) {
    *out = NULL;
    const uint8_t *from = data;
    header h = {0};
    tmb_status status = read_header(&from, size, &h, error);
    if (status != TMB_OK) {
        return status;
    }
    /* None of these can wrap within the header's bounds. */
    uint64_t text_bytes = h.text_bytes == 0 ? 0 : h.text_bytes - 1;
    uint64_t bytes =
        HEADER_BYTES + h.speaker_size * 4 + text_bytes + h.frames * h.books * 2 + h.samples * 2 + CHECKSUM_BYTES;
    if (bytes != size) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "the voice file is damaged: it has %zu bytes and should have %llu",
                        size, (unsigned long long)bytes);
    }
    uint64_t sums[2];
    checksum(data, size - CHECKSUM_BYTES, sums);
    const uint8_t *stored = (const uint8_t *)data + size - CHECKSUM_BYTES;
    if (get(&stored, 8) != sums[0] || get(&stored, 8) != sums[1]) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "the voice file is damaged: its checksum does not fit");
    }
    float *speaker = tmb_calloc(h.speaker_size, sizeof *speaker);
    char *text = tmb_calloc(text_bytes + 1, 1);
    int16_t *codes = tmb_calloc(h.frames * h.books, sizeof *codes);
    float *reference = tmb_calloc(h.samples, sizeof *reference);
    if (speaker == NULL || text == NULL || codes == NULL || reference == NULL) {
        status = tmb_fail_memory(error, "a voice", size);
    } else {
        status = read_arrays(from, &h, speaker, text, codes, reference, out, error);
    }
    free(speaker);
    free(text);
    free(codes);
    free(reference);
    return status;
}
