#include "io/pcm.h"

#include <math.h>
#include <string.h>

size_t tmb_pcm_bytes(tmb_encoding encoding) {
    switch (encoding) {
    case TMB_ENCODING_S16: return 2;
    case TMB_ENCODING_S24: return 3;
    case TMB_ENCODING_FLOAT: return 4;
    }
    return 0;
}

static uint32_t load(const uint8_t *bytes, size_t count) {
    uint32_t value = 0;
    for (size_t i = 0; i < count; i++) {
        value |= (uint32_t)bytes[i] << (8 * i);
    }
    return value;
}

void tmb_pcm_decode(tmb_encoding encoding, const uint8_t *bytes, size_t count, float *samples) {
    switch (encoding) {
    case TMB_ENCODING_S16:
        for (size_t i = 0; i < count; i++) {
            samples[i] = (float)(int16_t)load(bytes + 2 * i, 2) * 0x1p-15f;
        }
        break;
    case TMB_ENCODING_S24:
        for (size_t i = 0; i < count; i++) {
            samples[i] = (float)((int32_t)(load(bytes + 3 * i, 3) << 8) >> 8) * 0x1p-23f;
        }
        break;
    case TMB_ENCODING_FLOAT:
        for (size_t i = 0; i < count; i++) {
            const uint32_t value = load(bytes + 4 * i, 4);
            memcpy(samples + i, &value, sizeof value);
        }
        break;
    }
}

int32_t tmb_pcm_integer(tmb_encoding encoding, float sample) {
    const float scale = encoding == TMB_ENCODING_S16 ? 0x1p15f : 0x1p23f;
    const float scaled = sample * scale;
    if (scaled >= scale - 1) {
        return (int32_t)scale - 1;
    }
    if (!(scaled > -scale)) { /* NaN too */
        return -(int32_t)scale;
    }
    return (int32_t)lrintf(scaled);
}

void tmb_pcm_encode(tmb_encoding encoding, const float *samples, size_t count, uint8_t *bytes) {
    const size_t size = tmb_pcm_bytes(encoding);
    for (size_t i = 0; i < count; i++) {
        uint32_t value = 0;
        if (encoding == TMB_ENCODING_FLOAT) {
            memcpy(&value, samples + i, sizeof value);
        } else {
            value = (uint32_t)tmb_pcm_integer(encoding, samples[i]);
        }
        for (size_t k = 0; k < size; k++) {
            bytes[i * size + k] = (uint8_t)(value >> (8 * k));
        }
    }
}

static uint32_t bits_of(float sample) {
    uint32_t bits = 0;
    memcpy(&bits, &sample, sizeof bits);
    return bits;
}

size_t tmb_pcm_find_not_finite(const float *samples, size_t count) {
    const uint32_t exponent = 0x7f800000u; /* all ones: infinity or NaN */
    size_t place = 0;
    for (; place + 64 <= count; place += 64) { /* blocks without a branch inside, for the vectorizer */
        uint32_t found = 0;
        for (size_t i = 0; i < 64; i++) {
            found |= (bits_of(samples[place + i]) & exponent) == exponent ? 1u : 0u;
        }
        if (found != 0) {
            break;
        }
    }
    while (place < count && (bits_of(samples[place]) & exponent) != exponent) {
        place++;
    }
    return place;
}
