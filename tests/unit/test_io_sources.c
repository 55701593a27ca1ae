/* Where audio is read from: paths, pipes, raw samples. */
#include "io_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void write_file(const char *path, const audio_bytes *bytes) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes->data, 1, bytes->size, file), bytes->size);
    assert_int_equal(fclose(file), 0);
}

static void test_paths(void **state) {
    (void)state;
    tmb_audio_reader *reader = NULL;
    tmb_error error = {0};
    char path[256];
    path_in_folder(path, sizeof path, "missing.wav");
    assert_int_equal(tmb_audio_open(path, NULL, NULL, &reader, NULL, &error), TMB_ERROR_IO);
    assert_non_null(strstr(error.message, path));
    assert_non_null(strstr(error.message, "No such file"));
    assert_int_equal(tmb_audio_open(folder, NULL, NULL, &reader, NULL, &error), TMB_ERROR_IO);
    assert_non_null(strstr(error.message, "is a folder"));
    assert_int_equal(tmb_audio_open(NULL, NULL, NULL, &reader, NULL, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_audio_open("/dev/null", NULL, NULL, &reader, NULL, &error), TMB_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "/dev/null: is empty"));

    path_in_folder(path, sizeof path, "tone.flac");
    audio_bytes bytes = audio_bytes_sndfile(SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 48000, 1, tone, second);
    write_file(path, &bytes);
    tmb_audio_info info;
    assert_ok(tmb_audio_open(path, NULL, NULL, &reader, &info, &error), error);
    float *samples = NULL;
    size_t count = 0;
    assert_ok(tmb_audio_read_mono(reader, &info, &samples, &count, &error), error);
    assert_int_equal(count, second);
    free(samples);
    tmb_audio_close(&reader);
    audio_bytes_free(&bytes);
    assert_int_equal(unlink(path), 0);
}

/* A named pipe that a child fills. */
static tmb_status read_pipe(const audio_bytes *bytes, const tmb_raw_format *raw, float **samples, size_t *count,
                            tmb_error *error) {
    char path[256];
    path_in_folder(path, sizeof path, "pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const int fd = open(path, O_WRONLY);
        for (size_t place = 0; fd >= 0 && place < bytes->size;) {
            const size_t piece = bytes->size - place < 1000 ? bytes->size - place : 1000;
            if (write(fd, bytes->data + place, piece) != (ssize_t)piece) {
                break;
            }
            place += piece;
        }
        _exit(0);
    }
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    tmb_status status = tmb_audio_open(path, raw, NULL, &reader, &info, error);
    if (status == TMB_OK) {
        status = tmb_audio_read_mono(reader, &info, samples, count, error);
    }
    tmb_audio_close(&reader);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(unlink(path), 0);
    return status;
}

static void test_pipes(void **state) {
    (void)state;
    tmb_error error = {0};
    float *samples = NULL;
    size_t count = 0;
    const int formats[] = {SF_FORMAT_WAV | SF_FORMAT_FLOAT, SF_FORMAT_FLAC | SF_FORMAT_PCM_16,
                           SF_FORMAT_OGG | SF_FORMAT_OPUS, SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        audio_bytes bytes = audio_bytes_sndfile(formats[i], 48000, 1, tone, second);
        assert_ok(read_pipe(&bytes, NULL, &samples, &count, &error), error);
        assert_int_equal(count, second);
        free(samples);
        audio_bytes_free(&bytes);
    }
    /* More than is kept in memory: through a temporary file. */
    audio_bytes bytes = audio_bytes_wav(0xffffffffu, 48000, 8, 0xffffffffu, (size_t)17 << 20);
    assert_ok(read_pipe(&bytes, NULL, &samples, &count, &error), error);
    assert_int_equal(count, ((size_t)17 << 20) / 16);
    free(samples);
    audio_bytes_free(&bytes);
    /* Refused by its first bytes. */
    bytes = audio_bytes_of("not audio\n", 10);
    assert_int_equal(read_pipe(&bytes, NULL, &samples, &count, &error), TMB_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "is text, not audio"));
    audio_bytes_free(&bytes);
}

static void test_raw(void **state) {
    (void)state;
    tmb_error error = {0};
    float *samples = NULL;
    size_t count = 0;
    audio_bytes bytes = audio_bytes_of("\x00\x80\xff\x7f\x00\x40\x00\x00", 8);
    tmb_raw_format raw = {.rate = 16000, .channels = 1, .encoding = TMB_ENCODING_S16};
    assert_ok(read_pipe(&bytes, &raw, &samples, &count, &error), error);
    assert_int_equal(count, 4);
    assert_true(samples[0] == -1 && samples[1] == 32767.0f / 32768 && samples[2] == 0.5f && samples[3] == 0);
    free(samples);
    raw.channels = 3;
    assert_ok(read_pipe(&bytes, &raw, &samples, &count, &error), error); /* two bytes too many are said, not refused */
    assert_int_equal(count, 1);
    free(samples);
    audio_bytes_free(&bytes);
    bytes = audio_bytes_of("\x00\x00\x80\x3f\x00\x00\x00\xbf", 8); /* 1 and -0.5 */
    raw = (tmb_raw_format){.rate = 16000, .channels = 2, .encoding = TMB_ENCODING_FLOAT};
    assert_ok(read_pipe(&bytes, &raw, &samples, &count, &error), error);
    assert_int_equal(count, 1);
    assert_true(samples[0] == 0.25f); /* their mean */
    free(samples);
    audio_bytes_free(&bytes);

    bytes = audio_bytes_of("\x00\x00\x80\xff\xff\x7f\x00\x00\xc0", 9);
    raw = (tmb_raw_format){.rate = 16000, .channels = 1, .encoding = TMB_ENCODING_S24};
    assert_ok(read_pipe(&bytes, &raw, &samples, &count, &error), error);
    assert_int_equal(count, 3);
    assert_true(samples[0] == -1 && samples[1] == 8388607.0f / 8388608 && samples[2] == -0.5f);
    free(samples);

    /* From a file its length is known. */
    char path[256];
    path_in_folder(path, sizeof path, "samples.raw");
    write_file(path, &bytes);
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    assert_ok(tmb_audio_open(path, &raw, NULL, &reader, &info, &error), error);
    assert_int_equal(info.length, 3);
    assert_string_equal(info.format, "raw, 24-bit PCM");
    tmb_audio_close(&reader);
    raw.rate = 200000;
    assert_int_equal(tmb_audio_open(path, &raw, NULL, &reader, &info, &error), TMB_ERROR_FORMAT);
    raw = (tmb_raw_format){.rate = 16000, .channels = 1, .encoding = (tmb_encoding)7};
    assert_int_equal(tmb_audio_open(path, &raw, NULL, &reader, &info, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(unlink(path), 0);
    audio_bytes_free(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_pipes),
        cmocka_unit_test(test_raw),
    };
    return cmocka_run_group_tests_name("io sources", tests, set_up, tear_down);
}
