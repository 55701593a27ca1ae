#include "audio_bytes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void audio_bytes_put(audio_bytes *bytes, const void *data, size_t size) {
    if (bytes->place + size > bytes->capacity) {
        bytes->capacity = 2 * (bytes->place + size);
        bytes->data = realloc(bytes->data, bytes->capacity);
        assert_non_null(bytes->data);
    }
    memcpy(bytes->data + bytes->place, data, size);
    bytes->place += size;
    bytes->size = bytes->place > bytes->size ? bytes->place : bytes->size;
}

void audio_bytes_text(audio_bytes *bytes, const char *text) { audio_bytes_put(bytes, text, strlen(text)); }

void audio_bytes_number(audio_bytes *bytes, uint64_t value, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const uint8_t byte = (uint8_t)(value >> (8 * i));
        audio_bytes_put(bytes, &byte, 1);
    }
}

audio_bytes audio_bytes_of(const void *data, size_t size) {
    audio_bytes bytes = {0};
    audio_bytes_put(&bytes, "", 1); /* so that there is memory */
    bytes.size = bytes.place = 0;
    audio_bytes_put(&bytes, data, size);
    return bytes;
}

audio_bytes audio_bytes_join(audio_bytes first, audio_bytes second) {
    first.place = first.size;
    if (second.size > 0) {
        audio_bytes_put(&first, second.data, second.size);
    }
    audio_bytes_free(&second);
    return first;
}

audio_bytes audio_bytes_cut(audio_bytes bytes, size_t from, size_t to) {
    assert_true(from <= to && to <= bytes.size);
    memmove(bytes.data, bytes.data + from, to - from);
    bytes.size = to - from;
    bytes.place = bytes.size;
    return bytes;
}

void audio_bytes_free(audio_bytes *bytes) {
    free(bytes->data);
    *bytes = (audio_bytes){0};
}

static sf_count_t get_size(void *user) { return (sf_count_t)((audio_bytes *)user)->size; }

static sf_count_t seek(sf_count_t offset, int whence, void *user) {
    audio_bytes *bytes = user;
    const sf_count_t base = whence == SEEK_SET   ? 0
                            : whence == SEEK_CUR ? (sf_count_t)bytes->place
                                                 : (sf_count_t)bytes->size;
    bytes->place = (size_t)(base + offset);
    return (sf_count_t)bytes->place;
}

static sf_count_t read_bytes(void *out, sf_count_t count, void *user) {
    audio_bytes *bytes = user;
    const size_t rest = bytes->size - bytes->place;
    const size_t done = (size_t)count < rest ? (size_t)count : rest;
    memcpy(out, bytes->data + bytes->place, done);
    bytes->place += done;
    return (sf_count_t)done;
}

static sf_count_t write_bytes(const void *data, sf_count_t count, void *user) {
    audio_bytes_put(user, data, (size_t)count);
    return count;
}

static sf_count_t tell(void *user) { return (sf_count_t)((audio_bytes *)user)->place; }

audio_bytes audio_bytes_sndfile(int format, int rate, int channels, const float *samples, size_t count) {
    static SF_VIRTUAL_IO callbacks = {get_size, seek, read_bytes, write_bytes, tell};
    audio_bytes bytes = {0};
    SF_INFO info = {.format = format, .samplerate = rate, .channels = channels};
    SNDFILE *file = sf_open_virtual(&callbacks, SFM_WRITE, &info, &bytes);
    if (file == NULL) {
        fail_msg("format 0x%x: %s", format, sf_strerror(NULL));
    }
    assert_int_equal(sf_writef_float(file, samples, (sf_count_t)count), count);
    assert_int_equal(sf_close(file), 0);
    return bytes;
}

audio_bytes audio_bytes_wav(uint32_t riff_size, uint32_t rate, uint16_t channels, uint32_t data_size, size_t size) {
    audio_bytes bytes = {0};
    audio_bytes_text(&bytes, "RIFF");
    audio_bytes_number(&bytes, riff_size, 4);
    audio_bytes_text(&bytes, "WAVEfmt ");
    audio_bytes_number(&bytes, 16, 4);
    audio_bytes_number(&bytes, 1, 2);
    audio_bytes_number(&bytes, channels, 2);
    audio_bytes_number(&bytes, rate, 4);
    audio_bytes_number(&bytes, (uint64_t)rate * channels * 2, 4);
    audio_bytes_number(&bytes, (uint64_t)channels * 2, 2);
    audio_bytes_number(&bytes, 16, 2);
    audio_bytes_text(&bytes, "data");
    audio_bytes_number(&bytes, data_size, 4);
    for (size_t i = 0; i < size; i++) {
        audio_bytes_number(&bytes, i & 0x1f, 1);
    }
    return bytes;
}

float *audio_tone(int rate, int channels, size_t count) {
    float *samples = malloc((count * (size_t)channels + 1) * sizeof(float));
    assert_non_null(samples);
    for (size_t i = 0; i < count; i++) {
        for (int c = 0; c < channels; c++) {
            const double value = 0.5 * sin(2 * M_PI * 440 * (double)i / rate);
            samples[i * (size_t)channels + (size_t)c] = (float)(c % 2 == 0 ? value : -value);
        }
    }
    return samples;
}
