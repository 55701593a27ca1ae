/* Reading: which files are accepted, and why the others are refused. */
#include "io_fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Opens and reads everything; the first status that is not OK. */
static tmb_status read_all(const audio_bytes *bytes, const tmb_audio_limits *limits, tmb_audio_info *info,
                           float **samples, size_t *count, tmb_error *error) {
    tmb_audio_reader *reader = NULL;
    *samples = NULL;
    *count = 0;
    memset(error, 0, sizeof *error);
    tmb_status status = tmb_audio_open_memory(bytes->data, bytes->size, limits, &reader, info, error);
    if (status == TMB_OK) {
        status = tmb_audio_read_mono(reader, info, samples, count, error);
    } else {
        assert_null(reader);
    }
    tmb_audio_close(&reader);
    assert_null(reader);
    assert_int_equal(status, error->status);
    return status;
}

/* It must fail with `status` and a message that contains `message`. */
static void check_refused(audio_bytes bytes, const tmb_audio_limits *limits, tmb_status status, const char *message) {
    tmb_audio_info info;
    float *samples = NULL;
    size_t count = 0;
    tmb_error error;
    const tmb_status actual = read_all(&bytes, limits, &info, &samples, &count, &error);
    if (actual != status || strstr(error.message, message) == NULL) {
        fail_msg("expected %s \"%s\", got %s \"%s\"", tmb_status_name(status), message, tmb_status_name(actual),
                 error.message);
    }
    assert_null(samples);
    audio_bytes_free(&bytes);
}

static void check_accepted(audio_bytes bytes, const char *format, int rate, int channels, uint64_t length,
                           size_t count) {
    tmb_audio_info info;
    float *samples = NULL;
    size_t actual = 0;
    tmb_error error;
    assert_ok(read_all(&bytes, NULL, &info, &samples, &actual, &error), error);
    assert_string_equal(info.format, format);
    assert_int_equal(info.rate, rate);
    assert_int_equal(info.channels, channels);
    assert_int_equal(info.length, length);
    assert_int_equal(actual, count);
    free(samples);
    audio_bytes_free(&bytes);
}

static audio_bytes cut(audio_bytes bytes, size_t size) {
    assert_true(size <= bytes.size);
    bytes.size = size;
    return bytes;
}

static audio_bytes join(audio_bytes first, audio_bytes second_part) {
    first.place = first.size;
    audio_bytes_put(&first, second_part.data, second_part.size);
    audio_bytes_free(&second_part);
    return first;
}

static void test_formats(void **state) {
    (void)state;
    static const struct {
        int format;
        const char *name;
        double tolerance; /* of the samples */
        bool exact_length;
    } formats[] = {
        {SF_FORMAT_WAV | SF_FORMAT_PCM_U8, "WAV, 8-bit PCM", 1.0 / 128, true},
        {SF_FORMAT_WAV | SF_FORMAT_PCM_16, "WAV, 16-bit PCM", 1.0 / 32768, true},
        {SF_FORMAT_WAV | SF_FORMAT_PCM_24, "WAV, 24-bit PCM", 1e-6, true},
        {SF_FORMAT_WAV | SF_FORMAT_PCM_32, "WAV, 32-bit PCM", 1e-7, true},
        {SF_FORMAT_WAV | SF_FORMAT_FLOAT, "WAV, 32-bit float", 0, true},
        {SF_FORMAT_WAV | SF_FORMAT_DOUBLE, "WAV, 64-bit float", 0, true},
        {SF_FORMAT_WAV | SF_FORMAT_ALAW, "WAV, A-law", 0.02, true},
        {SF_FORMAT_WAV | SF_FORMAT_ULAW, "WAV, u-law", 0.02, true},
        {SF_FORMAT_WAVEX | SF_FORMAT_PCM_16, "WAV, 16-bit PCM", 1.0 / 32768, true},
        {SF_FORMAT_WAV | SF_FORMAT_PCM_16 | SF_ENDIAN_BIG, "WAV, 16-bit PCM", 1.0 / 32768, true},
        {SF_FORMAT_RF64 | SF_FORMAT_PCM_16, "RF64, 16-bit PCM", 1.0 / 32768, true},
        {SF_FORMAT_W64 | SF_FORMAT_PCM_16, "Wave64, 16-bit PCM", 1.0 / 32768, true},
        {SF_FORMAT_W64 | SF_FORMAT_FLOAT, "Wave64, 32-bit float", 0, true},
        {SF_FORMAT_CAF | SF_FORMAT_PCM_24, "CAF, 24-bit PCM", 1e-6, true},
        {SF_FORMAT_CAF | SF_FORMAT_PCM_16 | SF_ENDIAN_LITTLE, "CAF, 16-bit PCM", 1.0 / 32768, true},
        {SF_FORMAT_CAF | SF_FORMAT_FLOAT, "CAF, 32-bit float", 0, true},
        {SF_FORMAT_CAF | SF_FORMAT_ALAW, "CAF, A-law", 0.02, true},
        {SF_FORMAT_AU | SF_FORMAT_PCM_S8, "AU, 8-bit PCM", 1.0 / 128, true},
        {SF_FORMAT_AU | SF_FORMAT_PCM_16, "AU, 16-bit PCM", 1.0 / 32768, true},
        {SF_FORMAT_AU | SF_FORMAT_DOUBLE, "AU, 64-bit float", 0, true},
        {SF_FORMAT_AU | SF_FORMAT_ULAW, "AU, u-law", 0.02, true},
        {SF_FORMAT_AIFF | SF_FORMAT_PCM_16 | SF_ENDIAN_LITTLE, "AIFF, 16-bit PCM", 1.0 / 32768, true},
        {SF_FORMAT_AIFF | SF_FORMAT_PCM_U8, "AIFF, 8-bit PCM", 1.0 / 128, true},
        {SF_FORMAT_AIFF | SF_FORMAT_DOUBLE, "AIFF, 64-bit float", 0, true},
        {SF_FORMAT_AIFF | SF_FORMAT_ULAW, "AIFF, u-law", 0.02, true},
        {SF_FORMAT_AIFF | SF_FORMAT_PCM_S8, "AIFF, 8-bit PCM", 1.0 / 128, true},
        {SF_FORMAT_AIFF | SF_FORMAT_PCM_16, "AIFF, 16-bit PCM", 1.0 / 32768, true},
        {SF_FORMAT_AIFF | SF_FORMAT_FLOAT, "AIFF, 32-bit float", 0, true},
        {SF_FORMAT_FLAC | SF_FORMAT_PCM_16, "FLAC, 16-bit PCM", 1.0 / 32768, true},
        {SF_FORMAT_FLAC | SF_FORMAT_PCM_24, "FLAC, 24-bit PCM", 1e-6, true},
        {SF_FORMAT_OGG | SF_FORMAT_VORBIS, "Ogg, Vorbis", 0.05, true},
        {SF_FORMAT_OGG | SF_FORMAT_OPUS, "Ogg, Opus", 0.05, true},
        {SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, "MP3, layer III", 0.05, true},
    };
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        audio_bytes bytes = audio_bytes_sndfile(formats[i].format, 48000, 1, tone, second);
        tmb_audio_info info;
        float *samples = NULL;
        size_t count = 0;
        tmb_error error;
        assert_ok(read_all(&bytes, NULL, &info, &samples, &count, &error), error);
        assert_string_equal(info.format, formats[i].name);
        assert_int_equal(info.rate, 48000);
        assert_int_equal(info.channels, 1);
        assert_int_equal(info.length, second);
        assert_int_equal(count, second);
        double worst = 0;
        for (size_t k = 2000; k < count - 2000; k++) { /* where lossy codecs have settled */
            const double difference = fabs((double)samples[k] - (double)tone[k]);
            worst = difference > worst ? difference : worst;
        }
        if (!(worst <= formats[i].tolerance)) {
            fail_msg("%s: %g away", formats[i].name, worst);
        }
        free(samples);
        audio_bytes_free(&bytes);
    }
}

static void test_rates_and_channels(void **state) {
    (void)state;
    const int rates[] = {4000, 8000, 11025, 16000, 22050, 24000, 44100, 48000, 96000, 192000};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        for (int channels = 1; channels <= 8; channels++) {
            float *samples = audio_tone(rates[i], channels, 500);
            check_accepted(audio_bytes_sndfile(SF_FORMAT_WAV | SF_FORMAT_PCM_16, rates[i], channels, samples, 500),
                           "WAV, 16-bit PCM", rates[i], channels, 500, 500);
            check_accepted(audio_bytes_sndfile(SF_FORMAT_FLAC | SF_FORMAT_PCM_16, rates[i], channels, samples, 500),
                           "FLAC, 16-bit PCM", rates[i], channels, 500, 500);
            free(samples);
        }
    }
    /* The mean of all channels: +tone, -tone, +tone is a third. */
    float *samples = audio_tone(48000, 3, 500);
    audio_bytes bytes = audio_bytes_sndfile(SF_FORMAT_WAV | SF_FORMAT_FLOAT, 48000, 3, samples, 500);
    tmb_audio_info info;
    float *mono = NULL;
    size_t count = 0;
    tmb_error error;
    assert_ok(read_all(&bytes, NULL, &info, &mono, &count, &error), error);
    for (size_t i = 0; i < 500; i++) {
        assert_true(fabsf(mono[i] - tone[i] / 3) < 1e-7f);
    }
    free(mono);
    free(samples);
    audio_bytes_free(&bytes);
}

static void test_short_files(void **state) {
    (void)state;
    for (size_t count = 0; count <= 3; count++) {
        check_accepted(audio_bytes_sndfile(SF_FORMAT_WAV | SF_FORMAT_PCM_16, 48000, 1, tone, count), "WAV, 16-bit PCM",
                       48000, 1, count, count);
        check_accepted(audio_bytes_sndfile(SF_FORMAT_AIFF | SF_FORMAT_PCM_16, 48000, 1, tone, count),
                       "AIFF, 16-bit PCM", 48000, 1, count, count);
    }
    check_accepted(audio_bytes_sndfile(SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 48000, 1, tone, 1), "FLAC, 16-bit PCM", 48000,
                   1, 1, 1);
}

/* Writers to pipes cannot know sizes. */
static void test_streamed_headers(void **state) {
    (void)state;
    const uint32_t sizes[] = {0xffffffffu, 0x7fffffffu, 0x7ffff000u, 0x7fff0000u, 0xffffffd7u};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        check_accepted(audio_bytes_wav(0xffffffffu, 48000, 1, sizes[i], 2000), "WAV, 16-bit PCM", 48000, 1, 1000, 1000);
    }
    /* Recorders that were killed: sizes of an empty file, and audio behind. */
    check_accepted(audio_bytes_wav(36, 48000, 1, 0, 2000), "WAV, 16-bit PCM", 48000, 1, 1000, 1000);
    check_accepted(audio_bytes_wav(0, 48000, 2, 0, 2000), "WAV, 16-bit PCM", 48000, 2, 500, 500);
    check_accepted(audio_bytes_wav(0xffffffffu, 48000, 1, 0, 2000), "WAV, 16-bit PCM", 48000, 1, 1000, 1000);
    /* An empty data chunk and a chunk behind it that the RIFF size covers: really empty. */
    audio_bytes bytes = audio_bytes_wav(36 + 8 + 4, 48000, 1, 0, 0);
    audio_bytes_text(&bytes, "LIST");
    audio_bytes_number(&bytes, 4, 4);
    audio_bytes_text(&bytes, "INFO");
    check_accepted(bytes, "WAV, 16-bit PCM", 48000, 1, 0, 0);
    /* Odd chunks before and behind the audio. */
    bytes = (audio_bytes){0};
    audio_bytes_text(&bytes, "RIFF");
    audio_bytes_number(&bytes, 0, 4);
    audio_bytes_text(&bytes, "WAVEjunk");
    audio_bytes_number(&bytes, 3, 4);
    audio_bytes_text(&bytes, "abc");
    audio_bytes_number(&bytes, 0, 1);
    audio_bytes whole = audio_bytes_wav(36, 48000, 1, 2000, 2000);
    audio_bytes_put(&bytes, whole.data + 12, whole.size - 12);
    audio_bytes_text(&bytes, "LIST");
    audio_bytes_number(&bytes, 4, 4);
    audio_bytes_text(&bytes, "INFO");
    audio_bytes_free(&whole);
    check_accepted(bytes, "WAV, 16-bit PCM", 48000, 1, 1000, 1000);
}

static void test_chained_ogg(void **state) {
    (void)state;
    const int vorbis = SF_FORMAT_OGG | SF_FORMAT_VORBIS;
    const int opus = SF_FORMAT_OGG | SF_FORMAT_OPUS;
    check_accepted(
        join(audio_bytes_sndfile(vorbis, 48000, 1, tone, 10000), audio_bytes_sndfile(vorbis, 48000, 1, tone, 7000)),
        "Ogg, Vorbis", 48000, 1, 0, 17000);
    check_accepted(
        join(audio_bytes_sndfile(opus, 48000, 1, tone, 9000),
             join(audio_bytes_sndfile(opus, 48000, 1, tone, 500), audio_bytes_sndfile(opus, 48000, 1, tone, 9500))),
        "Ogg, Opus", 48000, 1, 0, 19000);
    check_refused(
        join(audio_bytes_sndfile(vorbis, 48000, 1, tone, 10000), audio_bytes_sndfile(vorbis, 24000, 1, tone, 7000)),
        NULL, TMB_ERROR_FORMAT, "changes from 48000 Hz, 1 channels to 24000 Hz, 1 channels");
    /* A tag behind the last page. */
    check_accepted(join(audio_bytes_sndfile(vorbis, 48000, 1, tone, 10000), audio_bytes_of("TAG and more text", 17)),
                   "Ogg, Vorbis", 48000, 1, 10000, 10000);
}

static void test_not_audio(void **state) {
    (void)state;
    check_refused(audio_bytes_of("", 0), NULL, TMB_ERROR_FORMAT, "is empty");
    check_refused(audio_bytes_of("Hello, this is a letter.\n", 25), NULL, TMB_ERROR_FORMAT, "is text, not audio");
    check_refused(audio_bytes_of("{\"a\": 1}", 8), NULL, TMB_ERROR_FORMAT, "is text, not audio");
    check_refused(audio_bytes_of("\0\1\2\3\4\5\6\7\0\1\2\3\4\5\6\7", 16), NULL, TMB_ERROR_FORMAT,
                  "is not an audio file");
    check_refused(audio_bytes_of("R", 1), NULL, TMB_ERROR_FORMAT, "is text, not audio");
    check_refused(audio_bytes_of("\xff\xfeH\0e\0l\0l\0o\0", 12), NULL, TMB_ERROR_FORMAT, "is not an audio file");
    audio_bytes letter = {0}; /* longer than a frame, and beginning with a line's end */
    audio_bytes_put(&letter, "\xff\xfe", 2);
    for (int i = 0; i < 3000; i++) {
        audio_bytes_put(&letter, i % 70 == 0 ? "\n" : "e", 2);
    }
    check_refused(letter, NULL, TMB_ERROR_FORMAT, "is not an audio file");
    const tmb_audio_limits no_ffmpeg = {.no_ffmpeg = true};
    check_refused(audio_bytes_of("the free and wide world", 23), &no_ffmpeg, TMB_ERROR_FORMAT, "is text, not audio");
    check_refused(audio_bytes_of("too wide a world", 16), &no_ffmpeg, TMB_ERROR_FORMAT, "is text, not audio");
    check_refused(audio_bytes_of("\0\0\0\x08"
                                 "free\0\0\0\x20"
                                 "ftypM4A \0\0\0\0",
                                 24),
                  &no_ffmpeg, TMB_ERROR_FORMAT, "QuickTime or MP4");
    check_refused(audio_bytes_of("ID3\4\0\0\0\0\0\2"
                                 "ab\0\0\0\x08skip\0\0\0\x10pnot01234567",
                                 36),
                  &no_ffmpeg, TMB_ERROR_FORMAT, "QuickTime or MP4");
    check_refused(audio_bytes_of("\0\0\0\x20"
                                 "ftypM4A \0\0\0\0",
                                 16),
                  &no_ffmpeg, TMB_ERROR_FORMAT, "M4A or MP4");
    check_refused(audio_bytes_of("\x1a\x45\xdf\xa3\1\2\3\4", 8), &no_ffmpeg, TMB_ERROR_FORMAT, "WebM");
    check_refused(audio_bytes_of("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16), NULL, TMB_ERROR_FORMAT, "is not an audio file");
    /* Nothing but an ID3 tag; one that says it is longer than the file; one with junk behind. */
    check_refused(audio_bytes_of("ID3\4\0\0\0\0\0\12"
                                 "0123456789",
                                 20),
                  NULL, TMB_ERROR_FORMAT, "ID3 tag");
    check_refused(audio_bytes_of("ID3\4\0\0\177\177\177\177"
                                 "0123456789",
                                 20),
                  NULL, TMB_ERROR_FORMAT, "ID3 tag");
    check_refused(audio_bytes_of("ID3\4\0\0\0\0\0\2"
                                 "01234567890123456789",
                                 30),
                  NULL, TMB_ERROR_FORMAT, "damaged");
    /* Magic numbers and nothing else. */
    const char *const magics[] = {"RIFF\4\0\0\0WAVE", "FORM\0\0\0\4AIFF", "fLaC", "OggS", "RF64\xff\xff\xff\xffWAVE"};
    const size_t sizes[] = {12, 12, 4, 4, 12};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        audio_bytes bytes = audio_bytes_of(magics[i], sizes[i]);
        tmb_audio_info info;
        float *samples = NULL;
        size_t count = 0;
        tmb_error error;
        assert_int_equal(read_all(&bytes, NULL, &info, &samples, &count, &error), TMB_ERROR_FORMAT);
        audio_bytes_free(&bytes);
    }
}

static void test_refused_encodings(void **state) {
    (void)state;
    /* Only ffmpeg reads them; without it they are named. */
    static const struct {
        int format;
        const char *name;
    } cases[] = {
        {SF_FORMAT_WAV | SF_FORMAT_IMA_ADPCM, "is WAV with IMA ADPCM, which timbre reads through ffmpeg"},
        {SF_FORMAT_WAV | SF_FORMAT_MS_ADPCM, "is WAV with Microsoft ADPCM, which"},
        {SF_FORMAT_WAV | SF_FORMAT_GSM610, "is WAV with GSM 6.10, which"},
        {SF_FORMAT_WAV | SF_FORMAT_G721_32, "is WAV with format number 64, which"},
        {SF_FORMAT_W64 | SF_FORMAT_IMA_ADPCM, "is Wave64 with IMA ADPCM, which"},
        {SF_FORMAT_AIFF | SF_FORMAT_IMA_ADPCM, "is AIFF with ima4, which"},
        {SF_FORMAT_AIFF | SF_FORMAT_GSM610, "is AIFF with GSM , which"},
        {SF_FORMAT_CAF | SF_FORMAT_ALAC_16, "is CAF with alac, which"},
        {SF_FORMAT_AU | SF_FORMAT_G721_32, "is AU with encoding number 23, which"},
    };
    const tmb_audio_limits no_ffmpeg = {.no_ffmpeg = true};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_refused(audio_bytes_sndfile(cases[i].format, 8000, 1, tone, 8000), &no_ffmpeg, TMB_ERROR_FORMAT,
                      cases[i].name);
    }
}

static void test_absurd_headers(void **state) {
    (void)state;
    check_refused(audio_bytes_wav(2036, 2147483647u, 1, 2000, 2000), NULL, TMB_ERROR_FORMAT, "4000 to 192000");
    check_refused(audio_bytes_wav(2036, 655350, 8, 2000, 2000), NULL, TMB_ERROR_FORMAT, "4000 to 192000");
    check_refused(audio_bytes_wav(2036, 192001, 1, 2000, 2000), NULL, TMB_ERROR_FORMAT, "4000 to 192000");
    check_refused(audio_bytes_wav(2036, 3999, 1, 2000, 2000), NULL, TMB_ERROR_FORMAT, "4000 to 192000");
    check_refused(audio_bytes_wav(2036, 48000, 9, 2000, 2000), NULL, TMB_ERROR_FORMAT, "1 to 8");
    check_refused(audio_bytes_wav(2036, 48000, 1024, 2048, 2048), NULL, TMB_ERROR_FORMAT, "1 to 8");
    check_refused(audio_bytes_wav(0xf234569cu, 48000, 1, 0xf2345678u, 2000), NULL, TMB_ERROR_FORMAT,
                  "promises 4063516280 bytes");
    audio_bytes bytes = audio_bytes_wav(2036, 0, 1, 2000, 2000);
    tmb_audio_info info;
    float *samples = NULL;
    size_t count = 0;
    tmb_error error;
    assert_int_equal(read_all(&bytes, NULL, &info, &samples, &count, &error), TMB_ERROR_FORMAT);
    audio_bytes_free(&bytes);
    /* FLAC can say eight digits; its largest is 655350 Hz. */
    check_refused(audio_bytes_sndfile(SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 655350, 1, tone, 5000), NULL, TMB_ERROR_FORMAT,
                  "4000 to 192000");
}

static void test_cut_files(void **state) {
    (void)state;
    const struct {
        int format;
        const char *message;
    } cases[] = {
        {SF_FORMAT_WAV | SF_FORMAT_PCM_16, "is cut short: it promises 96000 bytes"},
        {SF_FORMAT_RF64 | SF_FORMAT_PCM_16, "is cut short: it promises 96000 bytes"},
        {SF_FORMAT_AIFF | SF_FORMAT_PCM_16, "is cut short: it promises 96000 bytes"},
        {SF_FORMAT_FLAC | SF_FORMAT_PCM_16, "audio: is"}, /* damaged at the cut, or too few samples */
        {SF_FORMAT_OGG | SF_FORMAT_VORBIS, "is cut short: it ends inside an Ogg page"},
        {SF_FORMAT_OGG | SF_FORMAT_OPUS, "is cut short: it ends inside an Ogg page"},
        {SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, "is cut short: it promises"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        audio_bytes bytes = audio_bytes_sndfile(cases[i].format, 48000, 1, tone, second);
        const size_t size = bytes.size;
        check_refused(cut(bytes, size / 2), NULL, TMB_ERROR_FORMAT, cases[i].message);
        bytes = audio_bytes_sndfile(cases[i].format, 48000, 1, tone, second);
        check_refused(cut(bytes, size - 1), NULL, TMB_ERROR_FORMAT, cases[i].message);
        /* Inside the headers: any error, but an error. */
        for (size_t kept = 1; kept < 60; kept += 3) {
            bytes = audio_bytes_sndfile(cases[i].format, 48000, 1, tone, second);
            check_refused(cut(bytes, kept), NULL, TMB_ERROR_FORMAT, "");
        }
    }
    /* The whole first page of a Vorbis stream, and no more. */
    check_refused(cut(audio_bytes_sndfile(SF_FORMAT_OGG | SF_FORMAT_VORBIS, 48000, 1, tone, second), 58), NULL,
                  TMB_ERROR_FORMAT, "ends with its first page");
    /* A FLAC file that ends with a frame, so that every sample decodes: 4096 samples a frame. */
    audio_bytes bytes = audio_bytes_sndfile(SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 48000, 1, tone, second);
    audio_bytes part = audio_bytes_sndfile(SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 48000, 1, tone, 4 * 4096);
    check_refused(cut(bytes, part.size), NULL, TMB_ERROR_FORMAT, "promises 48000 samples and has 16384");
    audio_bytes_free(&part);
}

static void test_damaged_files(void **state) {
    (void)state;
    audio_bytes bytes = audio_bytes_sndfile(SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 48000, 1, tone, second);
    bytes.data[bytes.size / 2] ^= 0x55;
    check_refused(bytes, NULL, TMB_ERROR_FORMAT, "damaged");
    const int formats[] = {SF_FORMAT_OGG | SF_FORMAT_VORBIS, SF_FORMAT_OGG | SF_FORMAT_OPUS};
    for (size_t i = 0; i < 2; i++) {
        bytes = audio_bytes_sndfile(formats[i], 48000, 1, tone, second);
        bytes.data[bytes.size / 2] ^= 0x55;
        check_refused(bytes, NULL, TMB_ERROR_FORMAT, "wrong checksum of the Ogg page");
    }
}

static void test_samples_that_are_not_finite(void **state) {
    (void)state;
    const float values[] = {NAN, -NAN, INFINITY, -INFINITY};
    const size_t places[] = {0, 1, 63, 64, 4095, 4096, 9999};
    for (size_t v = 0; v < 4; v++) {
        for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
            float *samples = audio_tone(48000, 2, 10000);
            samples[2 * places[p] + 1] = values[v];
            char message[64];
            (void)snprintf(message, sizeof message, "number %zu (at %.3f s) of channel 2", places[p],
                           (double)places[p] / 48000);
            check_refused(audio_bytes_sndfile(SF_FORMAT_WAV | SF_FORMAT_FLOAT, 48000, 2, samples, 10000), NULL,
                          TMB_ERROR_FORMAT, message);
            free(samples);
        }
    }
    /* A double that no float can hold is infinite as a float. */
    audio_bytes bytes = audio_bytes_sndfile(SF_FORMAT_WAV | SF_FORMAT_DOUBLE, 48000, 1, tone, 1000);
    const double huge = 1e300;
    memcpy(bytes.data + bytes.size - 8, &huge, sizeof huge);
    check_refused(bytes, NULL, TMB_ERROR_FORMAT, "number 999");
}

static void test_limits(void **state) {
    (void)state;
    const int formats[] = {SF_FORMAT_WAV | SF_FORMAT_PCM_16, SF_FORMAT_FLAC | SF_FORMAT_PCM_16,
                           SF_FORMAT_OGG | SF_FORMAT_VORBIS, SF_FORMAT_OGG | SF_FORMAT_OPUS,
                           SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        tmb_audio_info info;
        float *samples = NULL;
        size_t count = 0;
        tmb_error error;
        audio_bytes bytes = audio_bytes_sndfile(formats[i], 48000, 1, tone, second);
        /* Exactly as long as the limit; then one sample less. */
        tmb_audio_limits limits = {.max_seconds = 1, .max_bytes = second * sizeof(float)};
        assert_ok(read_all(&bytes, &limits, &info, &samples, &count, &error), error);
        assert_int_equal(count, second);
        free(samples);
        limits.max_seconds = (double)(second - 1) / 48000;
        assert_int_equal(read_all(&bytes, &limits, &info, &samples, &count, &error), TMB_ERROR_LIMIT);
        assert_non_null(strstr(error.message, "limit of 0.999979 seconds"));
        limits = (tmb_audio_limits){.max_seconds = 0, .max_bytes = second * sizeof(float) - 1};
        assert_int_equal(read_all(&bytes, &limits, &info, &samples, &count, &error), TMB_ERROR_LIMIT);
        assert_non_null(strstr(error.message, "limit of 191999 bytes"));
        audio_bytes_free(&bytes);
    }
    /* The limit holds while decoding too, whatever a header said: a chain says no length. */
    const int opus = SF_FORMAT_OGG | SF_FORMAT_OPUS;
    const tmb_audio_limits limits = {.max_seconds = 0.5};
    check_refused(
        join(audio_bytes_sndfile(opus, 48000, 1, tone, 20000), audio_bytes_sndfile(opus, 48000, 1, tone, 20000)),
        &limits, TMB_ERROR_LIMIT, "limit of 0.5 seconds");
}

/* A failed reader stays failed. */
static void test_failure_stays(void **state) {
    (void)state;
    float *samples = audio_tone(48000, 1, 1000);
    samples[500] = NAN;
    audio_bytes bytes = audio_bytes_sndfile(SF_FORMAT_WAV | SF_FORMAT_FLOAT, 48000, 1, samples, 1000);
    tmb_audio_reader *reader = NULL;
    tmb_error error = {0};
    assert_ok(tmb_audio_open_memory(bytes.data, bytes.size, NULL, &reader, NULL, &error), error);
    float out[400];
    size_t count = 0;
    assert_ok(tmb_audio_read(reader, out, 0, &count, &error), error);
    assert_int_equal(count, 0);
    assert_ok(tmb_audio_read(reader, out, 400, &count, &error), error);
    assert_int_equal(count, 400);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tmb_audio_read(reader, out, 400, &count, &error), TMB_ERROR_FORMAT);
        assert_int_equal(count, 0);
        assert_non_null(strstr(error.message, "number 500"));
    }
    assert_int_equal(tmb_audio_read(reader, out, 400, &count, NULL), TMB_ERROR_FORMAT);
    tmb_audio_close(&reader);
    audio_bytes_free(&bytes);
    free(samples);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_rates_and_channels),
        cmocka_unit_test(test_short_files),
        cmocka_unit_test(test_streamed_headers),
        cmocka_unit_test(test_chained_ogg),
        cmocka_unit_test(test_not_audio),
        cmocka_unit_test(test_refused_encodings),
        cmocka_unit_test(test_absurd_headers),
        cmocka_unit_test(test_cut_files),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_samples_that_are_not_finite),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_failure_stays),
    };
    return cmocka_run_group_tests_name("io read", tests, set_up, tear_down);
}
