#include "io_fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

float *tone;
const size_t second = 48000;
char folder[] = "/tmp/timbre-test-XXXXXX";

const tmb_container containers[CONTAINERS] = {TMB_CONTAINER_WAV,  TMB_CONTAINER_FLAC, TMB_CONTAINER_OGG,
                                              TMB_CONTAINER_OPUS, TMB_CONTAINER_MP3,  TMB_CONTAINER_RAW};
const char *const endings[] = {"", "wav", "flac", "ogg", "opus", "mp3", "raw"};

int set_up(void **state) {
    (void)state;
    tone = audio_tone(48000, 1, second);
    return mkdtemp(folder) == NULL;
}

int tear_down(void **state) {
    (void)state;
    free(tone);
    return rmdir(folder); /* fails if a test left something */
}

void path_in_folder(char *path, size_t size, const char *name) { (void)snprintf(path, size, "%s/%s", folder, name); }

size_t files_in_folder(void) {
    DIR *directory = opendir(folder);
    assert_non_null(directory);
    size_t count = 0;
    for (const struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 ? 1 : 0;
    }
    (void)closedir(directory);
    return count;
}

void write_in_pieces(tmb_audio_writer *writer, const float *samples, int channels, size_t count, size_t piece) {
    tmb_error error = {0};
    for (size_t place = 0; place < count; place += piece) {
        const size_t part = piece < count - place ? piece : count - place;
        assert_ok(tmb_audio_write(writer, samples + place * (size_t)channels, part, &error), error);
    }
}

audio_bytes encode(tmb_container container, tmb_encoding encoding, int rate, int channels, const float *samples,
                   size_t count, size_t piece) {
    tmb_audio_writer *writer = NULL;
    tmb_error error = {0};
    assert_ok(tmb_audio_create_memory(container, encoding, rate, channels, 1 << 24, &writer, &error), error);
    write_in_pieces(writer, samples, channels, count, piece);
    audio_bytes bytes = {0};
    void *data = NULL;
    assert_ok(tmb_audio_finish_memory(&writer, &data, &bytes.size, &error), error);
    assert_null(writer);
    bytes.data = data;
    bytes.capacity = bytes.place = bytes.size;
    return bytes;
}

float *decode(const audio_bytes *bytes, const char *format, int rate, int channels, size_t *count) {
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    tmb_error error = {0};
    assert_ok(tmb_audio_open_memory(bytes->data, bytes->size, NULL, &reader, &info, &error), error);
    assert_int_equal(info.rate, rate);
    assert_int_equal(info.channels, channels);
    if (format != NULL) {
        assert_string_equal(info.format, format);
    }
    const size_t capacity = 200000;
    float *samples = malloc(capacity * (size_t)channels * sizeof(float));
    assert_non_null(samples);
    *count = 0;
    for (size_t got = 1; got > 0; *count += got) {
        assert_ok(tmb_audio_read(reader, samples + *count * (size_t)channels, capacity - *count, &got, &error), error);
    }
    tmb_audio_close(&reader);
    return samples;
}

uint32_t number_at(const uint8_t *data, size_t place) {
    return (uint32_t)data[place] | (uint32_t)data[place + 1] << 8 | (uint32_t)data[place + 2] << 16 |
           (uint32_t)data[place + 3] << 24;
}
