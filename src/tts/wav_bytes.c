#include "tts/wav_bytes.h"

#include "base/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WAV_HEADER 44

static void put(unsigned char *at, size_t bytes, uint32_t value) {
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (unsigned char)(value >> (8 * i));
    }
}

static void write_header(unsigned char *wav, int rate, uint32_t data_bytes) {
    memcpy(wav, "RIFF....WAVEfmt ", 16);
    put(wav + 4, 4, WAV_HEADER - 8 + data_bytes);
    put(wav + 16, 4, 16);
    put(wav + 20, 2, 1);
    put(wav + 22, 2, 1);
    put(wav + 24, 4, (uint32_t)rate);
    put(wav + 28, 4, (uint32_t)rate * 2);
    put(wav + 32, 2, 2);
    put(wav + 34, 2, 16);
    memcpy(wav + 36, "data", 4);
    put(wav + 40, 4, data_bytes);
}

tmb_status tmb_wav_bytes(const float *samples, size_t count, int rate, unsigned char **out, size_t *bytes,
                         tmb_error *error) {
    *out = NULL;
    *bytes = 0;
    if (count > (UINT32_MAX - WAV_HEADER) / 2) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "%zu samples are more than a WAV file holds", count);
    }
    const size_t size = WAV_HEADER + count * 2;
    unsigned char *wav = malloc(size);
    if (wav == NULL) {
        return tmb_fail_memory(error, "a recording to send", size);
    }
    write_header(wav, rate, (uint32_t)(count * 2));
    for (size_t i = 0; i < count; i++) {
        float sample = fmaxf(-32768.0f, fminf(32767.0f, roundf(samples[i] * 32768.0f)));
        put(wav + WAV_HEADER + 2 * i, 2, (uint32_t)(int32_t)sample);
    }
    *out = wav;
    *bytes = size;
    return TMB_OK;
}
