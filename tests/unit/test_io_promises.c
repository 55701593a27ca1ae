/* No success with a part: what a file's head promises, what is there, and what lies behind it. */
#include "io_fixture.h"

#include "io/mp3_frames.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a file came to. */
typedef struct outcome {
    tmb_status status;
    uint64_t length; /* the head's */
    size_t count;    /* samples that were read */
    size_t warnings;
    char warning[240]; /* the last one */
    char message[504];
    float *samples; /* free() */
} outcome;

static outcome read_bytes(const audio_bytes *bytes, bool salvage) {
    outcome out = {0};
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info = {0};
    tmb_error error = {0};
    const tmb_audio_limits limits = {.salvage = salvage};
    out.status = tmb_audio_open_memory(bytes->data, bytes->size, &limits, &reader, &info, &error);
    if (out.status == TMB_OK) {
        out.length = info.length;
        out.status = tmb_audio_read_mono(reader, &info, &out.samples, &out.count, &error);
        out.warnings = tmb_audio_warning_count(reader);
        if (out.warnings > 0) {
            (void)snprintf(out.warning, sizeof out.warning, "%s", tmb_audio_warning(reader, out.warnings - 1));
        }
        assert_null(tmb_audio_warning(reader, out.warnings));
    }
    (void)snprintf(out.message, sizeof out.message, "%s", error.message);
    tmb_audio_close(&reader);
    return out;
}

/* Read whole: `count` samples, and a warning that has `warning` in it (NULL: none). Uses the file up. */
static void check_whole(const char *what, audio_bytes bytes, size_t count, const char *warning) {
    outcome out = read_bytes(&bytes, false);
    if (out.status != TMB_OK || out.count != count || (out.warnings > 0) != (warning != NULL) ||
        (warning != NULL && strstr(out.warning, warning) == NULL)) {
        fail_msg("%s: %s \"%s\", %zu samples of %zu, %zu warnings \"%s\"", what, tmb_status_name(out.status),
                 out.message, out.count, count, out.warnings, out.warning);
    }
    free(out.samples);
    audio_bytes_free(&bytes);
}

/* Refused with a message, and salvaged: `count` samples and a warning. */
static void check_lost(const char *what, audio_bytes bytes, const char *message, size_t count) {
    outcome out = read_bytes(&bytes, false);
    if (out.status != TMB_ERROR_FORMAT || strstr(out.message, message) == NULL) {
        fail_msg("%s: %s \"%s\"", what, tmb_status_name(out.status), out.message);
    }
    free(out.samples);
    out = read_bytes(&bytes, true);
    if (out.status != TMB_OK || out.count != count || out.warnings == 0) {
        fail_msg("%s, salvaged: %s \"%s\", %zu samples of %zu, %zu warnings", what, tmb_status_name(out.status),
                 out.message, out.count, count, out.warnings);
    }
    free(out.samples);
    audio_bytes_free(&bytes);
}

static audio_bytes zeros(size_t count) {
    audio_bytes bytes = {0};
    for (size_t i = 0; i < count; i++) {
        audio_bytes_number(&bytes, 0, 1);
    }
    return bytes;
}

/* ---- WAV ---- */

static void test_wav_lengths(void **state) {
    (void)state;
    /* 2000 bytes are there, whatever is written before them. */
    static const struct {
        const char *who;
        uint32_t riff, data;
    } whole[] = {
        {"true", 2036, 2000},
        {"ffmpeg", 0xffffffffu, 0xffffffffu},
        {"sox", 0x7ffff024u, 0x7ffff000u},
        {"arecord", 0x80000024u, 0x80000000u},
        {"arecord, 24 bit", 0x80000022u, 0x7ffffffeu},
        {"head and all", 0x7fffffffu, 0x7fffffffu - 36},
        {"more than all", 0x80000023u, 0x7fffffffu},
        {"aligned", 0xfffffff0u, 0xffffffccu},
        {"gstreamer", 0x7fff0024u, 0x7fff0000u},
        {"a gigabyte", 0x40000024u, 0x40000000u},
        {"nothing", 0, 0},
        {"an empty file's", 36, 0},
        {"samples' alone", 2036, 0},
        {"all's alone", 0, 2000},
        {"length unknown", 0xffffffffu, 2000},
        {"length unknown, empty", 0xffffffffu, 0},
        {"does not fit", 36, 1000000},
        {"does not fit either", 2036, 1000000},
        {"true, and samples unknown", 2036, 0xffffffffu},
        {"empty, and samples unknown", 36, 0x80000000u},
        {"zero, and samples unknown", 0, 0x7fffffffu},
    };
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        check_whole(whole[i].who, audio_bytes_wav(whole[i].riff, 48000, 1, whole[i].data, 2000), 1000, NULL);
    }
    /* Promised and not there. */
    static const struct {
        uint32_t riff, data;
    } lost[] = {{96036, 96000},
                {2038, 2002},
                {0xffffffffu, 2002},
                {0xffffffffu, 96000},
                {0x12345624u, 0x12345600u},
                {0x51234524u, 0x51234500u},
                {100036, 96000}};
    for (size_t i = 0; i < sizeof lost / sizeof lost[0]; i++) {
        char message[80];
        (void)snprintf(message, sizeof message, "promises %u bytes of audio and has 2000", lost[i].data);
        check_lost("cut", audio_bytes_wav(lost[i].riff, 48000, 1, lost[i].data, 2000), message, 1000);
    }
    /* More than promised, and neither chunk nor file. */
    check_whole(
        "junk",
        audio_bytes_join(audio_bytes_wav(2036, 48000, 1, 2000, 2000), audio_bytes_of("\1\2\3\4\5\6\7\x8\x9", 9)), 1000,
        "9 bytes behind its audio");
    /* Tags and padding behind the audio are none. */
    check_whole("zeros", audio_bytes_join(audio_bytes_wav(2036, 48000, 1, 2000, 2000), zeros(3)), 1000, NULL);
    char tag[128] = "TAG";
    check_whole("ID3v1", audio_bytes_join(audio_bytes_wav(2036, 48000, 1, 2000, 2000), audio_bytes_of(tag, 128)), 1000,
                NULL);
    const audio_bytes texts = audio_bytes_of("LIST\x12\0\0\0INFOINAM\6\0\0\0title", 26);
    for (int i = 0; i < 4; i++) { /* behind a chunk; zeros of a sector; a chunk behind these */
        audio_bytes tail = i == 3 ? zeros(512) : audio_bytes_of(texts.data, texts.size);
        tail = audio_bytes_join(tail, i == 0   ? audio_bytes_of(tag, 128)
                                      : i == 3 ? audio_bytes_of(texts.data, texts.size)
                                               : zeros(i == 1 ? 300 : 3));
        audio_bytes junk = audio_bytes_join(audio_bytes_of(tail.data, tail.size), audio_bytes_of("\1\2\3\4", 4));
        check_whole("chunks and tags", audio_bytes_join(audio_bytes_wav(2036, 48000, 1, 2000, 2000), tail), 1000, NULL);
        check_whole("junk", audio_bytes_join(audio_bytes_wav(2036, 48000, 1, 2000, 2000), junk), 1000, "behind its");
    }
    free(texts.data);
    check_whole("silence", audio_bytes_join(audio_bytes_wav(0, 48000, 1, 0, 0), zeros(2000)), 1000, NULL);
    /* A second chunk of samples, and an empty one before the first. */
    audio_bytes second_chunk = {0};
    audio_bytes_text(&second_chunk, "data");
    audio_bytes_number(&second_chunk, 100, 4);
    second_chunk = audio_bytes_join(second_chunk, zeros(100));
    check_whole("two of samples", audio_bytes_join(audio_bytes_wav(2036 + 108, 48000, 1, 2000, 2000), second_chunk),
                1000, "second data chunk, whose 100 bytes");
    audio_bytes empty = audio_bytes_wav(2044, 48000, 1, 0, 0);
    audio_bytes_text(&empty, "data");
    audio_bytes_number(&empty, 2000, 4);
    check_whole("an empty one first", audio_bytes_join(empty, zeros(2000)), 1000, NULL);
    /* A part of a sample. */
    check_whole("odd", audio_bytes_wav(0xffffffffu, 48000, 1, 0xffffffffu, 2001), 1000, "inside a sample");
    check_whole("odd", audio_bytes_wav(2037, 48000, 2, 2001, 2001), 500, "inside a sample");
}

/* Depth and bytes of a sample that do not fit one another would be read as noise. */
static void test_contradictions(void **state) {
    (void)state;
    static const struct {
        uint16_t tag, channels, block, bits;
        size_t count; /* samples of 2400 bytes; 0: refused */
    } cases[] = {
        {1, 1, 2, 16, 1200}, {1, 2, 4, 16, 600},  {1, 1, 3, 24, 800},  {1, 1, 4, 24, 600}, {1, 2, 8, 20, 300},
        {1, 1, 2, 12, 1200}, {1, 1, 0, 16, 1200}, {1, 1, 2, 0, 1200},  {3, 1, 4, 32, 600}, {3, 1, 8, 64, 300},
        {6, 1, 1, 8, 2400},  {7, 2, 2, 8, 1200},  {6, 1, 1, 16, 2400}, /* what G.711 stands for */
        {1, 1, 4, 16, 0},    {1, 1, 1, 16, 0},    {1, 2, 2, 16, 0},    {1, 2, 3, 16, 0},   {1, 1, 2, 8, 0},
        {1, 1, 3, 16, 0},    {1, 2, 4, 24, 0},    {1, 1, 3, 32, 0},    {3, 1, 2, 32, 0},   {3, 1, 8, 32, 0},
        {3, 2, 4, 32, 0},    {6, 1, 2, 8, 0},     {7, 2, 1, 8, 0},     {1, 1, 64, 16, 0},  {1, 1, 2, 65535, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        audio_bytes bytes = audio_bytes_wav(2436, 48000, cases[i].channels, 2400, 2400);
        bytes.data[20] = (uint8_t)cases[i].tag;
        bytes.data[32] = (uint8_t)cases[i].block;
        bytes.data[34] = (uint8_t)cases[i].bits;
        bytes.data[35] = (uint8_t)(cases[i].bits >> 8);
        char what[80];
        (void)snprintf(what, sizeof what, "%u channels of %u bits do not make the %u bytes", cases[i].channels,
                       cases[i].bits, cases[i].block);
        if (cases[i].count > 0) {
            check_whole(what, bytes, cases[i].count, NULL);
            continue;
        }
        outcome out = read_bytes(&bytes, true); /* salvaged or not: nothing of it can be told */
        if (out.status != TMB_ERROR_FORMAT || strstr(out.message, what) == NULL) {
            fail_msg("%s: %s \"%s\"", what, tmb_status_name(out.status), out.message);
        }
        audio_bytes_free(&bytes);
    }
}

/* PCM of a width that nothing reads: not given to ffmpeg, which takes half floats for something else. */
static void test_other_widths(void **state) {
    (void)state;
    static const uint8_t cases[][3] = {
        {3, 2, 16}, {1, 5, 40}, {1, 8, 64}, {3, 3, 24}, {1, 0, 0}}; /* tag, block, bits */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        audio_bytes bytes = audio_bytes_wav(2436, 48000, 1, 2400, 2400);
        bytes.data[20] = cases[i][0];
        bytes.data[32] = cases[i][1];
        bytes.data[34] = cases[i][2];
        outcome out = read_bytes(&bytes, true);
        if (out.status != TMB_ERROR_FORMAT ||
            strstr(out.message, "encoding that is not supported (PCM, bits:") == NULL) {
            fail_msg("tag %u, %u bytes: %s \"%s\"", cases[i][0], cases[i][1], tmb_status_name(out.status), out.message);
        }
        audio_bytes_free(&bytes);
    }
}

/* Chunks that are somebody's, before the samples and behind them. */
static void test_wave64_chunks(void **state) {
    (void)state;
    static const char names[][17] = {
        "list\x2f\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00",
        "\x5f\x94\x5f\xbc\x52\x5a\xd2\x11\x86\xdc\x00\xc0\x4f\x8e\xdb\x8a",
        "\xab\xf7\x62\x56\x39\x2d\xd2\x11\x86\xc7\x00\xc0\x4f\x8e\xdb\x8a",
        "data\x2f\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        audio_bytes chunk = audio_bytes_of(names[i], 16);
        audio_bytes_number(&chunk, 24 + 5, 8);
        audio_bytes_put(&chunk, "texts\0\0\0", 8);
        for (int before = 0; before < 2; before++) {
            audio_bytes file = audio_bytes_sndfile(SF_FORMAT_W64 | SF_FORMAT_PCM_16, 48000, 1, tone, 1000);
            const size_t place = before != 0 ? 40 : file.size;
            audio_bytes tail = audio_bytes_of(file.data + place, file.size - place);
            file = audio_bytes_join(audio_bytes_cut(file, 0, place), audio_bytes_of(chunk.data, chunk.size));
            check_whole(before != 0 ? "before" : "behind", audio_bytes_join(file, tail), 1000, NULL);
        }
        audio_bytes_free(&chunk);
    }
}

static void test_appended_wavs(void **state) {
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        const int formats[] = {SF_FORMAT_WAV | SF_FORMAT_PCM_16, SF_FORMAT_AIFF | SF_FORMAT_PCM_16,
                               SF_FORMAT_W64 | SF_FORMAT_FLOAT, SF_FORMAT_AU | SF_FORMAT_PCM_16};
        for (int i = 0; i < 3 && kind < 3; i++) { /* empty ones among them */
            audio_bytes three = {0};
            for (int k = 0; k < 3; k++) {
                audio_bytes one = audio_bytes_sndfile(formats[kind], 48000, 2, tone, i == k ? 0 : 500);
                three = audio_bytes_join(three, one);
            }
            check_whole("one is empty", three, 1000, NULL);
        }
        audio_bytes both = audio_bytes_join(audio_bytes_sndfile(formats[kind], 48000, 1, tone, 1000),
                                            audio_bytes_sndfile(formats[kind], 48000, 1, tone, 501));
        check_whole("two", both, 1501, NULL);
        both = audio_bytes_join(audio_bytes_sndfile(formats[kind], 48000, 1, tone, 1000),
                                audio_bytes_sndfile(formats[kind], 44100, 1, tone, 501));
        outcome out = read_bytes(&both, false);
        assert_int_equal(out.status, TMB_ERROR_FORMAT);
        assert_non_null(strstr(out.message, "changes from 48000 Hz"));
        audio_bytes_free(&both);
    }
}

static int sparse_file(char path[256], const audio_bytes *head, uint64_t size) {
    path_in_folder(path, 256, "sparse.wav");
    const int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(file >= 0);
    assert_int_equal(write(file, head->data, head->size), (ssize_t)head->size);
    if (ftruncate(file, (off_t)size) != 0) {
        (void)close(file);
        assert_int_equal(unlink(path), 0);
        return -1; /* a file system without large files */
    }
    return file;
}

/* 32 bits wrapped: 4 GiB and a little. */
static void test_wrapped_lengths(void **state) {
    (void)state;
    static const struct {
        uint64_t bytes;
        bool list; /* a chunk behind the samples */
    } cases[] = {
        {(UINT64_C(1) << 32) + 2000, false}, {(UINT64_C(2) << 32) + 123456, false}, {(UINT64_C(1) << 32) + 2000, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const uint32_t data = (uint32_t)cases[i].bytes;
        const uint32_t riff = (uint32_t)(cases[i].bytes + 36 + (cases[i].list ? 12 : 0));
        audio_bytes head = audio_bytes_wav(riff, 48000, 1, data, 0);
        char path[256];
        const int file = sparse_file(path, &head, 44 + cases[i].bytes + (cases[i].list ? 12 : 0));
        audio_bytes_free(&head);
        if (file < 0) {
            skip();
        }
        if (cases[i].list) {
            assert_int_equal(pwrite(file, "LIST\4\0\0\0INFO", 12, (off_t)(44 + cases[i].bytes)), 12);
        }
        tmb_audio_reader *reader = NULL;
        tmb_audio_info info;
        tmb_error error = {0};
        const tmb_audio_limits limits = {0};
        assert_ok(tmb_audio_open(path, NULL, &limits, &reader, &info, &error), error);
        assert_int_equal(info.length, cases[i].bytes / 2);
        assert_int_equal(tmb_audio_warning_count(reader), 0);
        tmb_audio_close(&reader);
        (void)close(file);
        assert_int_equal(unlink(path), 0);
    }
}

/* ---- what stands before ---- */

static audio_bytes id3(size_t size) {
    audio_bytes tag = audio_bytes_of("ID3\4\0\0\0\0\0\0", 10);
    tag.data[8] = (uint8_t)(size >> 7);
    tag.data[9] = (uint8_t)(size & 0x7f);
    return audio_bytes_join(tag, zeros(size));
}

static audio_bytes ape(void) {
    audio_bytes tag = {0};
    audio_bytes_text(&tag, "APETAGEX");
    audio_bytes_number(&tag, 2000, 4);
    audio_bytes_number(&tag, 32 + 11, 4); /* an item and the footer */
    audio_bytes_number(&tag, 1, 4);
    audio_bytes_number(&tag, 0xa0000000u, 4);
    audio_bytes_number(&tag, 0, 8);
    audio_bytes_number(&tag, 1, 4);
    audio_bytes_number(&tag, 0, 4);
    audio_bytes_text(&tag, "A");
    audio_bytes_number(&tag, 0, 1);
    audio_bytes_text(&tag, "b");
    audio_bytes_text(&tag, "APETAGEX");
    audio_bytes_number(&tag, 2000, 4);
    audio_bytes_number(&tag, 32 + 11, 4);
    audio_bytes_number(&tag, 1, 4);
    audio_bytes_number(&tag, 0x80000000u, 4);
    audio_bytes_number(&tag, 0, 8);
    return tag;
}

static const struct {
    const char *name;
    int format;
} all_formats[] = {
    {"WAV", SF_FORMAT_WAV | SF_FORMAT_PCM_16},          {"RF64", SF_FORMAT_RF64 | SF_FORMAT_PCM_16},
    {"AIFF", SF_FORMAT_AIFF | SF_FORMAT_PCM_16},        {"FLAC", SF_FORMAT_FLAC | SF_FORMAT_PCM_16},
    {"Vorbis", SF_FORMAT_OGG | SF_FORMAT_VORBIS},       {"Opus", SF_FORMAT_OGG | SF_FORMAT_OPUS},
    {"MP3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III},
};

static audio_bytes file_of(size_t i) { return audio_bytes_sndfile(all_formats[i].format, 48000, 1, tone, second); }

static void test_fronts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof all_formats / sizeof all_formats[0]; i++) {
        const char *name = all_formats[i].name;
        check_whole(name, file_of(i), second, NULL);
        check_whole(name, audio_bytes_join(id3(300), file_of(i)), second, NULL);
        check_whole(name, audio_bytes_join(id3(9000), file_of(i)), second, NULL);
        check_whole(name, audio_bytes_join(id3(20), audio_bytes_join(id3(30), file_of(i))), second, NULL);
        check_whole(name, audio_bytes_join(ape(), file_of(i)), second, NULL);
        check_whole(name, audio_bytes_join(zeros(1), file_of(i)), second, NULL);
        check_whole(name, audio_bytes_join(zeros(5000), file_of(i)), second, NULL);
        check_whole(name, audio_bytes_join(zeros(100), audio_bytes_join(id3(40), file_of(i))), second, NULL);
        check_whole(name,
                    audio_bytes_join(audio_bytes_of("HTTP/1.1 200 OK\r\nContent-Type: audio\r\n\r\n", 40), file_of(i)),
                    second, "40 bytes before its audio");
        char tag[128] = "TAG";
        check_whole(name, audio_bytes_join(file_of(i), audio_bytes_of(tag, 128)), second, NULL);
        check_whole(name, audio_bytes_join(file_of(i), ape()), second, NULL);
    }
}

/* Every format cut in two: an error, and what is there when it is salvaged. */
static void test_salvage(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof all_formats / sizeof all_formats[0]; i++) {
        audio_bytes bytes = file_of(i);
        bytes = audio_bytes_cut(bytes, 0, bytes.size / 2);
        outcome out = read_bytes(&bytes, false);
        assert_int_equal(out.status, TMB_ERROR_FORMAT);
        out = read_bytes(&bytes, true);
        /* Nearly half of it. Ogg's pages hold a second: none of the second one is whole. */
        const bool ogg = strcmp(all_formats[i].name, "Vorbis") == 0 || strcmp(all_formats[i].name, "Opus") == 0;
        if (!ogg &&
            (out.status != TMB_OK || out.count < second / 3 || out.count > second * 3 / 5 || out.warnings == 0)) {
            fail_msg("%s: %s \"%s\", %zu samples, %zu warnings \"%s\"", all_formats[i].name,
                     tmb_status_name(out.status), out.message, out.count, out.warnings, out.warning);
        }
        if (out.status == TMB_OK) {
            for (size_t k = 4000; k + 4000 < out.count; k++) {
                assert_true(out.samples[k] - tone[k] < 0.06f && tone[k] - out.samples[k] < 0.06f);
            }
        }
        free(out.samples);
        audio_bytes_free(&bytes);
    }
}

/* ---- FLAC ---- */

static audio_bytes flac_with_total(size_t count, uint64_t total) {
    audio_bytes bytes = audio_bytes_sndfile(SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 48000, 1, tone, count);
    bytes.data[21] = (uint8_t)((bytes.data[21] & 0xf0) | (total >> 32));
    for (size_t i = 0; i < 4; i++) {
        bytes.data[22 + i] = (uint8_t)(total >> (24 - 8 * i));
    }
    return bytes;
}

static void test_flac_totals(void **state) {
    (void)state;
    check_whole("true", flac_with_total(second, second), second, NULL);
    check_whole("not said", flac_with_total(second, 0), second, NULL);
    check_whole("fewer", flac_with_total(second, 5000), second, NULL);
    check_whole("one", flac_with_total(second, 1), second, NULL);
    check_lost("more", flac_with_total(second, second + 1), "promises 48001 samples and has 48000", second);
    check_lost("far more", flac_with_total(second, UINT64_C(0xfffffffff)), "and has 48000", second);
    check_whole("two", audio_bytes_join(flac_with_total(second, second), flac_with_total(7000, 7000)), second + 7000,
                NULL);
    check_whole("two, not said", audio_bytes_join(flac_with_total(second, 0), flac_with_total(7000, 0)), second + 7000,
                NULL);
    check_whole("zeros", audio_bytes_join(flac_with_total(second, 0), zeros(100)), second, NULL);
    check_whole("junk", audio_bytes_join(flac_with_total(second, second), audio_bytes_of("junk behind it", 14)), second,
                "14 bytes behind");
    check_whole("junk, not said", audio_bytes_join(flac_with_total(second, 0), audio_bytes_of("junk behind it", 14)),
                second, "14 bytes behind");
    /* Cut in a frame: 11 of 12 are whole. */
    audio_bytes bytes = flac_with_total(second, 0);
    check_lost("cut", audio_bytes_cut(bytes, 0, bytes.size - 5), "damaged or cut short", 45056);
}

/* ---- MP3 ---- */

static audio_bytes mp3_of(const float *samples, size_t count) {
    return audio_bytes_sndfile(SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, 48000, 1, samples, count);
}

/* Bytes of the frame at `place`. */
static size_t frame_bytes(const audio_bytes *bytes, size_t place) {
    tmb_mp3_head head = {0};
    assert_true(place + 4 <= bytes->size && tmb_mp3_parse(bytes->data + place, &head) && head.size > 0);
    return head.size;
}

/* Without the first frame, which says how many there are. */
static audio_bytes without_note(audio_bytes bytes) {
    return audio_bytes_cut(bytes, frame_bytes(&bytes, 0), bytes.size);
}

/* All samples of all frames. */
static size_t frames_samples(const audio_bytes *bytes) {
    size_t count = 0;
    for (size_t place = 0; place < bytes->size; count++) {
        place += frame_bytes(bytes, place);
    }
    return count * 1152;
}

static void put_big(uint8_t *out, uint64_t value) {
    for (size_t i = 0; i < 4; i++) {
        out[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static uint8_t *find_note(audio_bytes *bytes) {
    uint8_t *note = memmem(bytes->data, 200, "Xing", 4);
    note = note != NULL ? note : memmem(bytes->data, 200, "Info", 4);
    assert_non_null(note);
    return note;
}

static void test_mp3_frames(void **state) {
    (void)state;
    /* Quiet first, then loud: the bit rate of its beginning says nothing of its length. */
    const size_t count = 5 * second;
    float *speech = calloc(count, sizeof(float));
    assert_non_null(speech);
    uint32_t random = 1;
    for (size_t i = second; i < count; i++) {
        random = random * 1664525u + 1013904223u;
        speech[i] = ((float)(random >> 8) / 0x1p24f - 0.5f) * 0.5f;
    }
    check_whole("with note", mp3_of(speech, count), count, NULL);
    audio_bytes bytes = without_note(mp3_of(speech, count));
    const size_t all = frames_samples(&bytes);
    assert_true(all > count);
    check_whole("without note", bytes, all, NULL);

    bytes = mp3_of(speech, count);
    uint8_t *note = find_note(&bytes);
    const uint32_t frames = (uint32_t)note[8] << 24 | (uint32_t)note[9] << 16 | (uint32_t)note[10] << 8 | note[11];
    put_big(note + 8, frames / 4);
    outcome out = read_bytes(&bytes, false);
    assert_int_equal(out.status, TMB_OK);
    assert_true(out.count >= count && out.count < count + 2304); /* the padding behind is no longer believed */
    free(out.samples);
    put_big(find_note(&bytes) + 8, frames * 2);
    check_lost("more frames", bytes, "MP3 frames of audio and has", out.count);

    check_whole("twice", audio_bytes_join(mp3_of(speech, count), mp3_of(speech, count)), 2 * count, NULL);
    bytes = audio_bytes_join(without_note(mp3_of(speech, count)), without_note(mp3_of(speech, count)));
    check_whole("twice, without notes", bytes, 2 * all, NULL);
    char tag[128] = "TAG";
    bytes = audio_bytes_join(mp3_of(speech, count), audio_bytes_of(tag, 128));
    bytes = audio_bytes_join(audio_bytes_join(bytes, ape()), audio_bytes_join(id3(300), mp3_of(speech, count)));
    check_whole("tags between", bytes, 2 * count, NULL);
    bytes = without_note(mp3_of(speech, count));
    check_whole("cut in a frame", audio_bytes_cut(bytes, 0, bytes.size - 10), all - 1152, "inside an MP3 frame");
    bytes = without_note(mp3_of(speech, count));
    check_whole("begins in a frame", audio_bytes_cut(bytes, 10, bytes.size), all - 1152, "before its audio");
    /* Something in its middle that is no frame. */
    bytes = without_note(mp3_of(speech, count));
    size_t half = 0;
    for (int i = 0; i < 30; i++) {
        half += frame_bytes(&bytes, half);
    }
    audio_bytes begin = audio_bytes_cut(audio_bytes_of(bytes.data, bytes.size), 0, half);
    audio_bytes end = audio_bytes_cut(bytes, half, bytes.size);
    bytes = audio_bytes_join(audio_bytes_join(begin, audio_bytes_of("something else here", 19)), end);
    check_lost("junk between", bytes, "19 bytes at byte", all);
    free(speech);
}

static void test_mp3_in_wav(void **state) {
    (void)state;
    audio_bytes mp3 = without_note(mp3_of(tone, second));
    const size_t all = frames_samples(&mp3);
    audio_bytes wav = {0};
    audio_bytes_text(&wav, "RIFF");
    audio_bytes_number(&wav, 4 + 8 + 30 + 8 + mp3.size, 4);
    audio_bytes_text(&wav, "WAVEfmt ");
    audio_bytes_number(&wav, 30, 4);
    audio_bytes_number(&wav, 0x55, 2);
    audio_bytes_number(&wav, 1, 2);
    audio_bytes_number(&wav, 48000, 4);
    audio_bytes_number(&wav, 8000, 4);
    audio_bytes_number(&wav, 1, 2);
    audio_bytes_number(&wav, 0, 2);
    audio_bytes_number(&wav, 12, 2);
    audio_bytes_number(&wav, 0, 12 / 2);
    audio_bytes_number(&wav, 0, 12 / 2);
    audio_bytes_text(&wav, "data");
    audio_bytes_number(&wav, mp3.size, 4);
    wav = audio_bytes_join(wav, mp3);
    audio_bytes again = audio_bytes_of(wav.data, wav.size);
    check_whole("MP3 in WAV", audio_bytes_of(wav.data, wav.size), all, NULL);
    check_whole("twice", audio_bytes_join(wav, again), 2 * all, NULL);
}

/* ---- Ogg ---- */

static void test_ogg_ends(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        const int format = SF_FORMAT_OGG | (i == 0 ? SF_FORMAT_VORBIS : SF_FORMAT_OPUS);
        audio_bytes bytes = audio_bytes_sndfile(format, 48000, 1, tone, second);
        check_whole("junk", audio_bytes_join(bytes, audio_bytes_of("junk behind it", 14)), second, "14 bytes behind");
        audio_bytes both = audio_bytes_join(audio_bytes_sndfile(format, 48000, 1, tone, second), id3(50));
        both = audio_bytes_join(both, audio_bytes_sndfile(format, 48000, 1, tone, second));
        check_whole("tag between", both, 2 * second, NULL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wav_lengths),   cmocka_unit_test(test_contradictions),
        cmocka_unit_test(test_other_widths),  cmocka_unit_test(test_appended_wavs),
        cmocka_unit_test(test_wave64_chunks), cmocka_unit_test(test_wrapped_lengths),
        cmocka_unit_test(test_fronts),        cmocka_unit_test(test_salvage),
        cmocka_unit_test(test_flac_totals),   cmocka_unit_test(test_mp3_frames),
        cmocka_unit_test(test_mp3_in_wav),    cmocka_unit_test(test_ogg_ends),
    };
    return cmocka_run_group_tests_name("io promises", tests, set_up, tear_down);
}
