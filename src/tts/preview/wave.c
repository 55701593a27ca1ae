#include "tts/preview/wave.h"

#include <string.h>

static uint32_t read_u32(const unsigned char *data) {
    return (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
}

static uint32_t read_u16(const unsigned char *data) { return (uint32_t)data[0] | (uint32_t)data[1] << 8; }

static bool is_pcm16_mono(const unsigned char *format) {
    return read_u16(format) == 1 && read_u16(format + 2) == 1 && read_u16(format + 14) == 16;
}

tmb_wave_result tmb_wave_begin(const unsigned char *data, size_t bytes, size_t *offset, int *rate) {
    bool has_format = false;
    *rate = 0;
    if (memcmp(data, "RIFF", bytes < 4 ? bytes : 4) != 0) {
        return TMB_WAVE_BAD;
    }
    if (bytes >= 12 && memcmp(data + 8, "WAVE", 4) != 0) {
        return TMB_WAVE_BAD;
    }
    size_t at = 12;
    while (at + 8 <= bytes) {
        uint32_t size = read_u32(data + at + 4);
        const unsigned char *body = data + at + 8;
        if (memcmp(data + at, "data", 4) == 0) {
            *offset = at + 8;
            return has_format ? TMB_WAVE_DATA : TMB_WAVE_BAD;
        }
        if (size > TMB_WAVE_HEADER_MAX - at - 8) {
            return TMB_WAVE_BAD;
        }
        if (memcmp(data + at, "fmt ", 4) == 0 && at + 8 + 16 <= bytes) {
            uint32_t hertz = read_u32(body + 4);
            if (size < 16 || !is_pcm16_mono(body) || hertz < 4000 || hertz > 192000) {
                return TMB_WAVE_BAD;
            }
            *rate = (int)hertz;
            has_format = true;
        }
        at += 8 + size + (size & 1);
        if (at + 8 > TMB_WAVE_HEADER_MAX) {
            return TMB_WAVE_BAD;
        }
    }
    return TMB_WAVE_MORE;
}
