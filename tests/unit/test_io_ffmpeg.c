/* What an installed ffmpeg decodes and encodes, and what is said without one. */
#include "io_fixture.h"

#include "io/ffmpeg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool installed;

static const struct {
    const char *file, *options; /* how ffmpeg makes it */
    const char *format;
    int rate, channels;
} kinds[] = {
    {"a.m4a", "-c:a aac", "M4A or MP4 (AAC), by ffmpeg", 48000, 1},
    {"b.m4a", "-c:a aac -movflags +faststart -ac 2", "M4A or MP4 (AAC), by ffmpeg", 48000, 2},
    {"c.m4a", "-c:a alac -ar 44100", "M4A or MP4 (AAC), by ffmpeg", 44100, 1},
    {"d.mov", "-c:a pcm_s16be -ar 22050", "M4A or MP4 (AAC), by ffmpeg", 22050, 1},
    {"e.aac", "-c:a aac -f adts", "AAC (ADTS), by ffmpeg", 48000, 1},
    {"f.webm", "-c:a libopus", "WebM or Matroska, by ffmpeg", 48000, 1},
    {"g.mka", "-c:a flac -ac 6 -ar 96000", "WebM or Matroska, by ffmpeg", 96000, 6},
    {"h.caf", "-c:a alac", "CAF with alac, by ffmpeg", 48000, 1},
    {"i.wma", "-c:a wmav2 -ar 44100", "WMA or ASF, by ffmpeg", 44100, 1},
    {"j.amr", "-c:a libopencore_amrnb -ar 8000", "AMR, by ffmpeg", 8000, 1},
    {"k.mp2", "-c:a mp2", "MPEG audio of layer I or II, by ffmpeg", 48000, 1},
    {"l.ts", "-c:a aac -f mpegts", "an MPEG transport stream, by ffmpeg", 48000, 1},
    {"m.tta", "-c:a tta", "True Audio, by ffmpeg", 48000, 1},
    {"n.flv", "-c:a aac", "Flash video, by ffmpeg", 48000, 1},
    {"o.wv", "-c:a wavpack", "WavPack, by ffmpeg", 48000, 1},
    {"p.avi", "-c:a pcm_s16le", "AVI, by ffmpeg", 48000, 1},
    {"q.wav", "-c:a adpcm_ima_wav", "WAV with IMA ADPCM, by ffmpeg", 48000, 1},
    {"v.wav", "-c:a g722 -ar 16000", "WAV with format number 655, by ffmpeg", 16000, 1},
    {"r.w64", "-c:a adpcm_ms", "Wave64 with Microsoft ADPCM, by ffmpeg", 48000, 1},
    {"s.oga", "-c:a flac", "Ogg with FLAC, by ffmpeg", 48000, 1},
    {"t.spx", "-c:a libspeex -ar 16000 -f ogg", "Ogg with Speex, by ffmpeg", 16000, 1},
    {"u.aifc", "-c:a adpcm_ima_qt -f aiff", "AIFF with ima4, by ffmpeg", 48000, 1},
};

/* Two seconds of a tone. False: this ffmpeg has no such encoder. */
static bool make(const char *options, const char *path) {
    char command[700];
    (void)snprintf(
        command, sizeof command,
        "ffmpeg -nostdin -loglevel quiet -y -f lavfi -i sine=frequency=440:sample_rate=48000:duration=2 %s '%s' "
        "</dev/null >/dev/null 2>&1",
        options, path);
    return system(command) == 0; // NOLINT: the test's own text
}

/* Two recordings in one file: both are read, or it is said that one is left out. */
static void check_twice(const char *path) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    uint8_t *data = malloc(4 << 20);
    assert_non_null(data);
    const size_t size = fread(data, 1, 2 << 20, file);
    (void)fclose(file);
    assert_true(size > 1000 && size < 2 << 20);
    memcpy(data + size, data, size);
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    tmb_error error = {0};
    float *samples = NULL;
    size_t count = 0;
    tmb_status status = tmb_audio_open_memory(data, 2 * size, NULL, &reader, &info, &error);
    if (status == TMB_OK) {
        status = tmb_audio_read_mono(reader, &info, &samples, &count, &error);
    }
    bool said = false;
    for (size_t k = 0; reader != NULL && k < tmb_audio_warning_count(reader); k++) {
        said = said || strstr(tmb_audio_warning(reader, k), "has another recording behind its first one") != NULL;
    }
    if (status == TMB_OK ? !said && (double)count < 3.9 * info.rate : error.message[0] == '\0') {
        fail_msg("%s twice: %zu samples, and no word", path, count);
    }
    free(samples);
    free(data);
    tmb_audio_close(&reader);
}

/* A tag or zeros before it are passed over. */
static void check_fronts(const char *path) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    uint8_t *data = calloc(1, 4 << 20);
    assert_non_null(data);
    static const char front[300] = "ID3\4\0\0\0\0\2\1"; /* 257 bytes, and 33 zeros */
    memcpy(data, front, sizeof front);
    const size_t size = fread(data + sizeof front, 1, 2 << 20, file);
    (void)fclose(file);
    for (size_t from = 0; from <= 270; from += 270) {
        tmb_audio_reader *reader = NULL;
        tmb_error error = {0};
        if (tmb_audio_open_memory(data + from, sizeof front - from + size, NULL, &reader, NULL, &error) != TMB_OK) {
            fail_msg("%s behind %zu bytes: %s", path, sizeof front - from, error.message);
        }
        tmb_audio_close(&reader);
    }
    free(data);
}

/* A WAV file whose length was never written is read to its end. */
static void check_unfinished(const char *path, size_t count) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    uint8_t *data = calloc(1, 1 << 20);
    assert_non_null(data);
    const size_t size = fread(data, 1, 1 << 20, file);
    (void)fclose(file);
    uint8_t *samples_chunk = memmem(data, size, "data", 4);
    assert_non_null(samples_chunk);
    memset(data + 4, 0xff, 4);
    memset(samples_chunk + 4, 0xff, 4);
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    tmb_error error = {0};
    float *samples = NULL;
    size_t actual = 0;
    assert_ok(tmb_audio_open_memory(data, size, NULL, &reader, &info, &error), error);
    assert_ok(tmb_audio_read_mono(reader, &info, &samples, &actual, &error), error);
    assert_int_equal(actual, count);
    tmb_audio_close(&reader);
    free(samples);
    free(data);
}

static void test_kinds(void **state) {
    (void)state;
    if (!installed) {
        skip();
    }
    int made = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char path[256];
        path_in_folder(path, sizeof path, kinds[i].file);
        tmb_audio_reader *reader = NULL;
        tmb_audio_info info;
        tmb_error error = {0};
        if (make(kinds[i].options, path)) {
            made++;
            if (tmb_audio_open(path, NULL, NULL, &reader, &info, &error) != TMB_OK) {
                fail_msg("%s: %s", kinds[i].file, error.message);
            }
            assert_string_equal(info.format, kinds[i].format);
            assert_int_equal(info.rate, kinds[i].rate);
            assert_int_equal(info.channels, kinds[i].channels);
            float *samples = NULL;
            size_t count = 0;
            if (tmb_audio_read_mono(reader, &info, &samples, &count, &error) != TMB_OK) {
                fail_msg("%s: %s", kinds[i].file, error.message);
            }
            /* All of it: codecs add frames of their own, and lose none. */
            const double seconds = (double)count / info.rate;
            if (seconds < 1.99 || seconds > 2.2 || tmb_audio_warning_count(reader) != 0) {
                fail_msg("%s: %f s", kinds[i].file, seconds);
            }
            float peak = 0;
            for (size_t k = 0; k < count; k++) {
                peak = samples[k] > peak ? samples[k] : peak;
            }
            assert_true(peak > 0.01f && peak < 0.3f);
            free(samples);
            tmb_audio_close(&reader);
            /* Turned off. */
            const tmb_audio_limits limits = {.no_ffmpeg = true};
            assert_int_equal(tmb_audio_open(path, NULL, &limits, &reader, &info, &error), TMB_ERROR_FORMAT);
            assert_non_null(strstr(error.message, "that is turned off"));
            check_twice(path);
            if (i == 0 || i == 5) {
                check_fronts(path);
            }
            if (strstr(kinds[i].file, ".wav") != NULL) {
                check_unfinished(path, count);
            }
        }
        (void)unlink(path);
    }
    assert_true(made >= 6);
}

/* Cut files are errors, and read as far as they go when salvaged. */
static void test_cut(void **state) {
    (void)state;
    if (!installed) {
        skip();
    }
    static const size_t chosen[] = {0, 1, 4, 5, 14};
    for (size_t i = 0; i < sizeof chosen / sizeof chosen[0]; i++) {
        char path[256];
        path_in_folder(path, sizeof path, kinds[chosen[i]].file);
        if (!make(kinds[chosen[i]].options, path)) {
            continue;
        }
        FILE *file = fopen(path, "rb");
        assert_non_null(file);
        uint8_t *data = malloc(1 << 20);
        assert_non_null(data);
        const size_t size = fread(data, 1, 1 << 20, file);
        (void)fclose(file);
        assert_true(size > 1000 && size < 1 << 20);
        const size_t cuts[] = {size / 2, size * 3 / 4 + 1, 40};
        for (size_t k = 0; k < 3; k++) {
            tmb_audio_reader *reader = NULL;
            tmb_audio_info info;
            tmb_error error = {0};
            float *samples = NULL;
            size_t count = 0;
            tmb_status status = tmb_audio_open_memory(data, cuts[k], NULL, &reader, &info, &error);
            if (status == TMB_OK) {
                status = tmb_audio_read_mono(reader, &info, &samples, &count, &error);
            }
            tmb_audio_close(&reader);
            if (status != TMB_ERROR_FORMAT) {
                fail_msg("%s cut at %zu of %zu: %s, %zu samples", kinds[chosen[i]].file, cuts[k], size,
                         tmb_status_name(status), count);
            }
        }
        if (chosen[i] != 0) { /* that one's index is at its end */
            tmb_audio_reader *reader = NULL;
            tmb_audio_info info;
            tmb_error error = {0};
            float *samples = NULL;
            size_t count = 0;
            const tmb_audio_limits limits = {.salvage = true};
            assert_ok(tmb_audio_open_memory(data, size / 2, &limits, &reader, &info, &error), error);
            assert_ok(tmb_audio_read_mono(reader, &info, &samples, &count, &error), error);
            assert_true(count > (size_t)info.rate / 2 && tmb_audio_warning_count(reader) > 0);
            free(samples);
            tmb_audio_close(&reader);
        }
        free(data);
        assert_int_equal(unlink(path), 0);
    }
}

/* A limit ends the child too. */
static void test_limit(void **state) {
    (void)state;
    if (!installed) {
        skip();
    }
    char path[256];
    path_in_folder(path, sizeof path, "limit.m4a");
    if (!make("-c:a aac", path)) {
        skip();
    }
    const tmb_audio_limits limits = {.max_seconds = 0.5};
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    tmb_error error = {0};
    float *samples = NULL;
    size_t count = 0;
    assert_ok(tmb_audio_open(path, NULL, &limits, &reader, &info, &error), error);
    assert_int_equal(tmb_audio_read_mono(reader, &info, &samples, &count, &error), TMB_ERROR_LIMIT);
    tmb_audio_close(&reader);
    assert_int_equal(unlink(path), 0);
}

static void test_aac(void **state) {
    (void)state;
    if (!installed) {
        skip();
    }
    for (int channels = 1; channels <= 2; channels++) {
        float *samples = audio_tone(24000, channels, 48000);
        audio_bytes bytes = encode(TMB_CONTAINER_AAC, TMB_ENCODING_S16, 24000, channels, samples, 48000, 1000);
        assert_true(bytes.size > 7 && bytes.data[0] == 0xff && (bytes.data[1] & 0xf6) == 0xf0);
        tmb_audio_reader *reader = NULL;
        tmb_audio_info info;
        tmb_error error = {0};
        float *mono = NULL;
        size_t count = 0;
        assert_ok(tmb_audio_open_memory(bytes.data, bytes.size, NULL, &reader, &info, &error), error);
        assert_int_equal(info.rate, 24000);
        assert_int_equal(info.channels, channels);
        assert_ok(tmb_audio_read_mono(reader, &info, &mono, &count, &error), error);
        assert_true(count >= 48000 && count < 48000 + 4096);
        tmb_audio_close(&reader);
        free(mono);
        audio_bytes_free(&bytes);
        free(samples);
    }
    tmb_audio_writer *writer = NULL;
    tmb_error error = {0};
    assert_int_equal(tmb_audio_create_memory(TMB_CONTAINER_AAC, TMB_ENCODING_S16, 47999, 1, 1 << 20, &writer, &error),
                     TMB_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "AAC cannot be written at 47999 Hz"));
}

/* Without one on PATH: an error that names it, at once. */
static void test_not_installed(void **state) {
    (void)state;
    char *before = getenv("PATH") != NULL ? strdup(getenv("PATH")) : NULL;
    assert_int_equal(setenv("PATH", folder, 1), 0);
    assert_false(tmb_ffmpeg_is_installed());
    assert_false(tmb_audio_can_write(TMB_CONTAINER_AAC));
    static const struct {
        const char *bytes;
        size_t size;
        const char *name;
    } files[] = {{"\0\0\0\x20"
                  "ftypM4A \0\0\0\0",
                  16, "M4A or MP4"},
                 {"\x1a\x45\xdf\xa3\1\2\3\4", 8, "WebM"},
                 {"#!AMR\n12345", 11, "AMR"},
                 {"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 8, "WMA"}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        tmb_audio_reader *reader = NULL;
        tmb_error error = {0};
        assert_int_equal(tmb_audio_open_memory(files[i].bytes, files[i].size, NULL, &reader, NULL, &error),
                         TMB_ERROR_FORMAT);
        assert_non_null(strstr(error.message, files[i].name));
        assert_non_null(strstr(error.message, "reads through ffmpeg, and that is not installed"));
    }
    tmb_audio_writer *writer = NULL;
    tmb_error error = {0};
    assert_int_equal(tmb_audio_create_memory(TMB_CONTAINER_AAC, TMB_ENCODING_S16, 24000, 1, 1 << 20, &writer, &error),
                     TMB_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "writing AAC needs the program ffmpeg, which is not installed"));
    if (before != NULL) {
        assert_int_equal(setenv("PATH", before, 1), 0);
        free(before);
    } else {
        assert_int_equal(unsetenv("PATH"), 0);
    }
}

/* The head of its output, cut and damaged at every place. */
static void test_heads(void **state) {
    (void)state;
    audio_bytes head = {0};
    audio_bytes_text(&head, "RIFF");
    audio_bytes_number(&head, 0xffffffffu, 4);
    audio_bytes_text(&head, "WAVEfmt ");
    audio_bytes_number(&head, 40, 4);
    audio_bytes_number(&head, 0xfffe, 2);
    audio_bytes_number(&head, 6, 2);
    audio_bytes_number(&head, 48000, 4);
    audio_bytes_number(&head, 48000 * 24, 4);
    audio_bytes_number(&head, 24, 2);
    audio_bytes_number(&head, 32, 2);
    audio_bytes_number(&head, 22, 2);
    audio_bytes_number(&head, 32, 2);
    audio_bytes_number(&head, 0x3f, 4);
    audio_bytes_number(&head, 3, 2);
    audio_bytes_number(&head, 0, 7);
    audio_bytes_number(&head, 0, 7);
    audio_bytes_text(&head, "data");
    audio_bytes_number(&head, 0xffffffffu, 4);
    tmb_ffmpeg_head parsed;
    assert_int_equal(tmb_ffmpeg_parse_head(head.data, head.size, &parsed), head.size);
    assert_int_equal(parsed.rate, 48000);
    assert_int_equal(parsed.channels, 6);
    assert_int_equal(parsed.channel_mask, 0x3f);
    for (size_t size = 0; size < head.size; size++) {
        assert_int_equal(tmb_ffmpeg_parse_head(head.data, size, &parsed), 0);
    }
    head.data[32] = 23; /* bytes of a sample of all channels */
    assert_int_equal(tmb_ffmpeg_parse_head(head.data, head.size, &parsed), SIZE_MAX);
    audio_bytes_free(&head);
}

int main(void) {
    installed = tmb_ffmpeg_is_installed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds), cmocka_unit_test(test_cut),           cmocka_unit_test(test_limit),
        cmocka_unit_test(test_aac),   cmocka_unit_test(test_not_installed), cmocka_unit_test(test_heads),
    };
    return cmocka_run_group_tests_name("io ffmpeg", tests, set_up, tear_down);
}
