#include "audio_bytes.h"

#include "io/encoder.h"
#include "io/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/timbre-test-XXXXXX";
static float *tone; /* one second of mono at 48 kHz */
static const size_t second = 48000;

static const tmb_container containers[] = {TMB_CONTAINER_WAV,  TMB_CONTAINER_FLAC, TMB_CONTAINER_OGG,
                                           TMB_CONTAINER_OPUS, TMB_CONTAINER_MP3,  TMB_CONTAINER_RAW};
static const char *const endings[] = {"", "wav", "flac", "ogg", "opus", "mp3", "raw"};
enum { CONTAINERS = sizeof containers / sizeof containers[0] };

static bool is_lossless(tmb_container container) {
    return container == TMB_CONTAINER_WAV || container == TMB_CONTAINER_FLAC || container == TMB_CONTAINER_RAW;
}

static void path_in_folder(char *path, size_t size, const char *name) { (void)snprintf(path, size, "%s/%s", folder, name); }

static size_t files_in_folder(void) {
    DIR *directory = opendir(folder);
    assert_non_null(directory);
    size_t count = 0;
    for (const struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 ? 1 : 0;
    }
    (void)closedir(directory);
    return count;
}

static void write_in_pieces(tmb_audio_writer *writer, const float *samples, int channels, size_t count, size_t piece) {
    tmb_error error = {0};
    for (size_t place = 0; place < count; place += piece) {
        const size_t part = piece < count - place ? piece : count - place;
        assert_ok(tmb_audio_write(writer, samples + place * (size_t)channels, part, &error), error);
    }
}

static audio_bytes encode(tmb_container container, tmb_encoding encoding, int rate, int channels, const float *samples,
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

/* Everything in the file, interleaved, as many channels as it should have. */
static float *decode(const audio_bytes *bytes, const char *format, int rate, int channels, size_t *count) {
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

/* ---- what is written is what is read ---- */

static void test_lossless_is_exact(void **state) {
    (void)state;
    /* Every 16-bit value, and 24-bit ones around them. */
    const size_t count = 65536;
    float *s16 = malloc(count * sizeof(float));
    float *s24 = malloc(count * sizeof(float));
    assert_non_null(s16);
    assert_non_null(s24);
    for (size_t i = 0; i < count; i++) {
        s16[i] = ((float)i - 32768) / 32768;
        s24[i] = (((float)i - 32768) * 256 + (float)(i % 256)) / 8388608;
    }
    const struct {
        tmb_container container;
        tmb_encoding encoding;
        const char *format;
    } cases[] = {
        {TMB_CONTAINER_WAV, TMB_ENCODING_S16, "WAV, 16-bit PCM"},   {TMB_CONTAINER_WAV, TMB_ENCODING_S24, "WAV, 24-bit PCM"},
        {TMB_CONTAINER_WAV, TMB_ENCODING_FLOAT, "WAV, 32-bit float"}, {TMB_CONTAINER_FLAC, TMB_ENCODING_S16, "FLAC, 16-bit PCM"},
        {TMB_CONTAINER_FLAC, TMB_ENCODING_S24, "FLAC, 24-bit PCM"}, {TMB_CONTAINER_FLAC, TMB_ENCODING_FLOAT, "FLAC, 24-bit PCM"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int channels = 1; channels <= 8; channels++) {
            const float *samples = cases[i].encoding == TMB_ENCODING_S16 ? s16 : s24;
            const size_t frames = count / (size_t)channels;
            audio_bytes bytes = encode(cases[i].container, cases[i].encoding, 48000, channels, samples, frames, 999);
            size_t decoded = 0;
            float *read = decode(&bytes, cases[i].format, 48000, channels, &decoded);
            assert_int_equal(decoded, frames);
            assert_memory_equal(read, samples, frames * (size_t)channels * sizeof(float));
            free(read);
            audio_bytes_free(&bytes);
        }
    }
    free(s16);
    free(s24);
}

static void test_clipping_and_rounding(void **state) {
    (void)state;
    const float samples[] = {1, -1, 1.5f, -7, 3e38f, -3e38f, 0.49f / 32768, 0.51f / 32768, -0.51f / 32768, 1.5f / 32768, 2.5f / 32768};
    const float expected[] = {32767, -32768, 32767, -32768, 32767, -32768, 0, 1, -1, 2, 2};
    const size_t count = sizeof samples / sizeof samples[0];
    const tmb_container lossless[] = {TMB_CONTAINER_WAV, TMB_CONTAINER_FLAC};
    for (size_t i = 0; i < 2; i++) {
        audio_bytes bytes = encode(lossless[i], TMB_ENCODING_S16, 48000, 1, samples, count, 3);
        size_t decoded = 0;
        float *read = decode(&bytes, NULL, 48000, 1, &decoded);
        assert_int_equal(decoded, count);
        for (size_t k = 0; k < count; k++) {
            assert_true(read[k] == expected[k] / 32768);
        }
        free(read);
        audio_bytes_free(&bytes);
    }
    /* Floats are copied, over full scale too. */
    audio_bytes bytes = encode(TMB_CONTAINER_WAV, TMB_ENCODING_FLOAT, 48000, 1, samples, count, 3);
    size_t decoded = 0;
    float *read = decode(&bytes, NULL, 48000, 1, &decoded);
    assert_memory_equal(read, samples, sizeof samples);
    free(read);
    audio_bytes_free(&bytes);
}

static void test_lossy_is_close(void **state) {
    (void)state;
    const int rates[] = {8000, 16000, 24000, 48000};
    const tmb_container lossy[] = {TMB_CONTAINER_OGG, TMB_CONTAINER_OPUS, TMB_CONTAINER_MP3};
    for (size_t r = 0; r < sizeof rates / sizeof rates[0]; r++) {
        for (size_t i = 0; i < 3; i++) {
            for (int channels = 1; channels <= 2; channels++) {
                const size_t count = (size_t)rates[r];
                float *samples = audio_tone(rates[r], channels, count);
                audio_bytes bytes = encode(lossy[i], TMB_ENCODING_S16, rates[r], channels, samples, count, 480);
                size_t decoded = 0;
                float *read = decode(&bytes, NULL, rates[r], channels, &decoded);
                assert_int_equal(decoded, count);
                double worst = 0;
                for (size_t k = 1500 * (size_t)channels; k < (count - 1500) * (size_t)channels; k++) {
                    worst = fmax(worst, fabs((double)read[k] - (double)samples[k]));
                }
                if (!(worst < 0.05)) {
                    fail_msg("%s, %d Hz, %d channels: %g away", endings[lossy[i]], rates[r], channels, worst);
                }
                free(read);
                free(samples);
                audio_bytes_free(&bytes);
            }
        }
    }
}

/* How the samples were cut into writes must not matter: for the bytes, or in Ogg, whose pages may end
 * elsewhere, for what they decode to. */
static void test_pieces(void **state) {
    (void)state;
    for (size_t i = 0; i < CONTAINERS; i++) {
        audio_bytes whole = encode(containers[i], TMB_ENCODING_S24, 48000, 1, tone, second, second);
        audio_bytes parts = encode(containers[i], TMB_ENCODING_S24, 48000, 1, tone, second, 777);
        if (containers[i] == TMB_CONTAINER_OGG || containers[i] == TMB_CONTAINER_OPUS) {
            size_t whole_count = 0;
            size_t parts_count = 0;
            float *from_whole = decode(&whole, NULL, 48000, 1, &whole_count);
            float *from_parts = decode(&parts, NULL, 48000, 1, &parts_count);
            assert_int_equal(whole_count, parts_count);
            assert_memory_equal(from_whole, from_parts, whole_count * sizeof(float));
            free(from_whole);
            free(from_parts);
        } else {
            assert_int_equal(whole.size, parts.size);
            assert_memory_equal(whole.data, parts.data, whole.size);
        }
        audio_bytes_free(&whole);
        audio_bytes_free(&parts);
    }
}

static void test_no_samples(void **state) {
    (void)state;
    const float nothing = 0;
    for (size_t i = 0; i < CONTAINERS; i++) {
        audio_bytes bytes = encode(containers[i], TMB_ENCODING_S16, 48000, 1, &nothing, 0, 1);
        assert_non_null(bytes.data);
        if (containers[i] == TMB_CONTAINER_WAV) {
            size_t count = 1;
            free(decode(&bytes, "WAV, 16-bit PCM", 48000, 1, &count));
            assert_int_equal(count, 0);
        }
        audio_bytes_free(&bytes);
    }
}

/* ---- headers ---- */

static uint32_t number_at(const uint8_t *data, size_t place) {
    return (uint32_t)data[place] | (uint32_t)data[place + 1] << 8 | (uint32_t)data[place + 2] << 16 |
           (uint32_t)data[place + 3] << 24;
}

static void test_wav_header(void **state) {
    (void)state;
    audio_bytes bytes = encode(TMB_CONTAINER_WAV, TMB_ENCODING_S16, 24000, 1, tone, 100, 100);
    assert_int_equal(bytes.size, 44 + 200); /* the plain header that every program reads */
    assert_memory_equal(bytes.data, "RIFF", 4);
    assert_int_equal(number_at(bytes.data, 4), 36 + 200);
    assert_memory_equal(bytes.data + 8, "WAVEfmt ", 8);
    assert_int_equal(number_at(bytes.data, 20), 1 | 1 << 16);
    assert_int_equal(number_at(bytes.data, 24), 24000);
    assert_int_equal(number_at(bytes.data, 28), 48000);
    assert_int_equal(number_at(bytes.data, 32), 2 | 16 << 16);
    assert_memory_equal(bytes.data + 36, "data", 4);
    assert_int_equal(number_at(bytes.data, 40), 200);
    audio_bytes_free(&bytes);
    /* An odd number of bytes gets one more, which the data size does not count. */
    bytes = encode(TMB_CONTAINER_WAV, TMB_ENCODING_S24, 24000, 1, tone, 101, 101);
    assert_int_equal(bytes.size % 2, 0);
    assert_int_equal(number_at(bytes.data, 4), bytes.size - 8);
    assert_int_equal(number_at(bytes.data, bytes.size - 304 - 4), 303);
    audio_bytes_free(&bytes);
}

/* A file that outgrows its RIFF sizes becomes RF64. */
static void test_rf64(void **state) {
    (void)state;
    char path[256];
    path_in_folder(path, sizeof path, "long.wav");
    for (int channels = 1; channels <= 2; channels++) {
        const tmb_audio_shape shape = {TMB_CONTAINER_WAV, TMB_ENCODING_FLOAT, 48000, channels};
        const size_t count = second / (size_t)channels;
        tmb_sink sink;
        const tmb_encoder *encoder = NULL;
        void *encoder_state = NULL;
        tmb_error error = {0};
        assert_ok(tmb_sink_open(path, &sink, &error), error);
        assert_ok(tmb_encoder_pcm_until(&shape, 100000, &sink, &encoder, &encoder_state, &error), error);
        assert_ok(encoder->write(encoder_state, tone, count, &error), error);
        assert_ok(encoder->finish(encoder_state, &error), error);
        encoder->destroy(encoder_state);
        assert_ok(tmb_sink_finish(&sink, &error), error);
        tmb_audio_reader *reader = NULL;
        tmb_audio_info info;
        assert_ok(tmb_audio_open(path, NULL, NULL, &reader, &info, &error), error);
        assert_string_equal(info.format, "RF64, 32-bit float");
        assert_int_equal(info.length, count);
        float *samples = malloc(second * sizeof(float));
        assert_non_null(samples);
        size_t read = 0;
        assert_ok(tmb_audio_read(reader, samples, count, &read, &error), error);
        assert_int_equal(read, count);
        assert_memory_equal(samples, tone, second * sizeof(float));
        free(samples);
        tmb_audio_close(&reader);
        assert_int_equal(unlink(path), 0);
    }
}

/* ---- streams ---- */

typedef struct receiver {
    audio_bytes bytes;
    size_t limit;  /* fails behind it, 0 = never */
    size_t calls;
} receiver;

static tmb_status receive(void *user, const void *data, size_t size, tmb_error *error) {
    receiver *r = user;
    assert_true(size > 0);
    r->calls++;
    if (r->limit != 0 && r->bytes.size + size > r->limit) {
        error->status = TMB_ERROR_IO;
        (void)snprintf(error->message, sizeof error->message, "the listener left");
        return TMB_ERROR_IO;
    }
    audio_bytes_put(&r->bytes, data, size);
    return TMB_OK;
}

static void test_streams(void **state) {
    (void)state;
    for (size_t i = 0; i < CONTAINERS; i++) {
        receiver r = {0};
        tmb_audio_writer *writer = NULL;
        tmb_error error = {0};
        assert_ok(tmb_audio_create_sink(containers[i], TMB_ENCODING_S16, 48000, 1, receive, &r, &writer, &error), error);
        write_in_pieces(writer, tone, 1, second / 2, 480);
        const size_t at_half = r.bytes.size;
        write_in_pieces(writer, tone + second / 2, 1, second / 2, 480);
        assert_ok(tmb_audio_finish(&writer, &error), error);
        /* Half of the audio has left when half was written, but for what a codec holds back: a page
         * of 60 ms, a frame of 85. Vorbis waits for its page to fill. */
        if (containers[i] != TMB_CONTAINER_OGG) {
            assert_true(at_half * 10 > r.bytes.size * 3);
        }
        if (containers[i] != TMB_CONTAINER_RAW) {
            size_t count = 0;
            float *read = decode(&r.bytes, NULL, 48000, 1, &count);
            if (containers[i] == TMB_CONTAINER_MP3) {
                /* Whole frames, and the encoder's and decoder's delay. */
                assert_true(count >= second && count <= second + 4 * 1152);
            } else {
                assert_int_equal(count, second);
            }
            if (is_lossless(containers[i])) {
                for (size_t k = 0; k < count; k++) {
                    assert_true(fabsf(read[k] - tone[k]) <= 0.51f / 32768);
                }
            }
            free(read);
        } else {
            assert_int_equal(r.bytes.size, 2 * second);
        }
        audio_bytes_free(&r.bytes);
    }
    /* A WAV stream says so in its header. */
    receiver r = {0};
    tmb_audio_writer *writer = NULL;
    tmb_error error = {0};
    assert_ok(tmb_audio_create_sink(TMB_CONTAINER_WAV, TMB_ENCODING_S16, 48000, 1, receive, &r, &writer, &error), error);
    assert_int_equal(r.bytes.size, 44); /* at once */
    assert_int_equal(number_at(r.bytes.data, 4), 0xffffffffu);
    assert_int_equal(number_at(r.bytes.data, 40), 0xffffffffu);
    assert_ok(tmb_audio_finish(&writer, &error), error);
    audio_bytes_free(&r.bytes);
}

static void test_receiver_that_fails(void **state) {
    (void)state;
    for (size_t i = 0; i < CONTAINERS; i++) {
        for (size_t limit = 1; limit < 20000; limit = limit * 3 + 1) {
            receiver r = {.limit = limit};
            tmb_audio_writer *writer = NULL;
            tmb_error error = {0};
            tmb_status status = tmb_audio_create_sink(containers[i], TMB_ENCODING_S16, 48000, 1, receive, &r, &writer, &error);
            for (size_t place = 0; status == TMB_OK && place < second; place += 4800) {
                status = tmb_audio_write(writer, tone + place, 4800, &error);
            }
            if (writer != NULL) {
                const size_t calls = r.calls;
                const bool failed_before = status != TMB_OK;
                status = tmb_audio_finish(&writer, &error);
                assert_true(!failed_before || r.calls == calls); /* nothing more is sent */
            }
            assert_null(writer);
            if (status != TMB_OK || r.calls > 0) {
                const bool all_fit = status == TMB_OK;
                assert_true(all_fit ? r.bytes.size <= limit : strstr(error.message, "the listener left") != NULL);
            }
            audio_bytes_free(&r.bytes);
        }
    }
}

static void test_abort_sends_nothing(void **state) {
    (void)state;
    for (size_t i = 0; i < CONTAINERS; i++) {
        receiver r = {0};
        tmb_audio_writer *writer = NULL;
        tmb_error error = {0};
        assert_ok(tmb_audio_create_sink(containers[i], TMB_ENCODING_S16, 48000, 1, receive, &r, &writer, &error), error);
        write_in_pieces(writer, tone, 1, second / 2, 480);
        const size_t size = r.bytes.size;
        tmb_audio_abort(&writer);
        assert_null(writer);
        assert_int_equal(r.bytes.size, size);
        audio_bytes_free(&r.bytes);
    }
}

static void test_memory_limit(void **state) {
    (void)state;
    for (size_t i = 0; i < CONTAINERS; i++) {
        audio_bytes whole = encode(containers[i], TMB_ENCODING_S16, 48000, 1, tone, second, 4800);
        for (int less = 0; less <= 1; less++) {
            tmb_audio_writer *writer = NULL;
            tmb_error error = {0};
            assert_ok(tmb_audio_create_memory(containers[i], TMB_ENCODING_S16, 48000, 1, whole.size - (size_t)less, &writer,
                                              &error),
                      error);
            tmb_status status = TMB_OK;
            for (size_t place = 0; status == TMB_OK && place < second; place += 4800) {
                status = tmb_audio_write(writer, tone + place, 4800, &error);
            }
            void *data = NULL;
            size_t size = 0;
            status = tmb_audio_finish_memory(&writer, &data, &size, &error);
            assert_null(writer);
            if (less == 0) {
                assert_ok(status, error);
                assert_int_equal(size, whole.size);
            } else {
                assert_int_equal(status, TMB_ERROR_LIMIT);
                assert_null(data);
            }
            free(data);
        }
        audio_bytes_free(&whole);
    }
    tmb_audio_writer *writer = NULL;
    tmb_error error = {0};
    assert_int_equal(tmb_audio_create_memory(TMB_CONTAINER_WAV, TMB_ENCODING_S16, 48000, 1, 10, &writer, &error),
                     TMB_ERROR_LIMIT);
    assert_null(writer);
}

/* ---- arguments ---- */

static void test_arguments(void **state) {
    (void)state;
    tmb_audio_writer *writer = NULL;
    tmb_error error = {0};
    char path[256];
    path_in_folder(path, sizeof path, "x.xyz");
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 1, &writer, &error), TMB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, ".wav, .flac, .ogg, .opus, .mp3 or .raw"));
    path_in_folder(path, sizeof path, "x.wav");
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 3999, 1, &writer, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 9, &writer, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 0, &writer, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_AUTO, (tmb_encoding)5, 48000, 1, &writer, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_audio_create(path, (tmb_container)77, TMB_ENCODING_S16, 48000, 1, &writer, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_audio_create(NULL, TMB_CONTAINER_WAV, TMB_ENCODING_S16, 48000, 1, &writer, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_audio_create("", TMB_CONTAINER_WAV, TMB_ENCODING_S16, 48000, 1, &writer, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_audio_create(folder, TMB_CONTAINER_WAV, TMB_ENCODING_S16, 48000, 1, &writer, &error), TMB_ERROR_IO);
    assert_non_null(strstr(error.message, "is a folder"));
    assert_int_equal(tmb_audio_create("/nowhere/x.wav", TMB_CONTAINER_WAV, TMB_ENCODING_S16, 48000, 1, &writer, &error), TMB_ERROR_IO);
    assert_non_null(strstr(error.message, "/nowhere/x.wav: cannot be created: No such file"));
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_OPUS, TMB_ENCODING_S16, 44100, 1, &writer, &error), TMB_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "Opus cannot be written at 44100 Hz: 8000, 12000, 16000, 24000, 48000 are allowed"));
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_MP3, TMB_ENCODING_S16, 96000, 1, &writer, &error), TMB_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "22050, 24000, 32000, 44100, 48000 are allowed"));
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_MP3, TMB_ENCODING_S16, 48000, 3, &writer, &error), TMB_ERROR_UNSUPPORTED);
    assert_null(writer);
    assert_int_equal(files_in_folder(), 0);

    /* No container is asked to hold what is not a number. */
    for (size_t i = 0; i < CONTAINERS; i++) {
        const float samples[] = {0, 0.5f, NAN, 0};
        assert_ok(tmb_audio_create_memory(containers[i], TMB_ENCODING_FLOAT, 48000, 2, 1 << 20, &writer, &error), error);
        assert_int_equal(tmb_audio_write(writer, samples, 2, &error), TMB_ERROR_ARGUMENT);
        assert_non_null(strstr(error.message, "sample 1 of channel 1"));
        assert_int_equal(tmb_audio_write(writer, samples, 1, &error), TMB_ERROR_ARGUMENT); /* it stays */
        void *data = NULL;
        size_t size = 0;
        assert_int_equal(tmb_audio_finish_memory(&writer, &data, &size, &error), TMB_ERROR_ARGUMENT);
        assert_null(data);
    }
}

/* ---- files ---- */

static void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void check_text(const char *path, const char *text) {
    char found[64] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(found, sizeof found, file));
    assert_int_equal(fclose(file), 0);
    assert_string_equal(found, text);
}

static void test_files(void **state) {
    (void)state;
    tmb_error error = {0};
    for (size_t i = 0; i < CONTAINERS; i++) {
        char name[32];
        char path[256];
        (void)snprintf(name, sizeof name, "tone.%s", endings[containers[i]]);
        path_in_folder(path, sizeof path, name);
        write_text(path, "old");
        assert_int_equal(chmod(path, 0640), 0);
        tmb_audio_writer *writer = NULL;
        assert_ok(tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 1, &writer, &error), error);
        write_in_pieces(writer, tone, 1, second, 4800);
        assert_int_equal(files_in_folder(), 2);
        check_text(path, "old"); /* until it is finished */
        assert_ok(tmb_audio_finish(&writer, &error), error);
        assert_int_equal(files_in_folder(), 1);
        struct stat status;
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 0777, 0640);
        if (containers[i] != TMB_CONTAINER_RAW) {
            tmb_audio_reader *reader = NULL;
            tmb_audio_info info;
            assert_ok(tmb_audio_open(path, NULL, NULL, &reader, &info, &error), error);
            assert_int_equal(info.length, second);
            tmb_audio_close(&reader);
        }
        /* Given up, it leaves what was there. */
        write_text(path, "old");
        assert_ok(tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 1, &writer, &error), error);
        write_in_pieces(writer, tone, 1, second / 2, 4800);
        tmb_audio_abort(&writer);
        assert_int_equal(files_in_folder(), 1);
        check_text(path, "old");
        assert_int_equal(unlink(path), 0);
    }
    tmb_audio_writer *none = NULL;
    tmb_audio_abort(&none);
}

static void test_links_and_devices(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_audio_writer *writer = NULL;
    char path[256];
    char link_path[256];
    path_in_folder(path, sizeof path, "file.wav");
    path_in_folder(link_path, sizeof link_path, "link.wav");
    write_text(path, "old");
    assert_int_equal(symlink("file.wav", link_path), 0);
    assert_ok(tmb_audio_create(link_path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 1, &writer, &error), error);
    write_in_pieces(writer, tone, 1, 100, 100);
    assert_ok(tmb_audio_finish(&writer, &error), error);
    struct stat status;
    assert_int_equal(lstat(link_path, &status), 0);
    assert_true(S_ISLNK(status.st_mode)); /* the link stays, its file is new */
    assert_int_equal(stat(path, &status), 0);
    assert_true(status.st_size > 200);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(tmb_audio_create(link_path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 1, &writer, &error), TMB_ERROR_IO);
    assert_non_null(strstr(error.message, "link to a file that does not exist"));
    assert_int_equal(unlink(link_path), 0);

    /* A device is written in place; a full one says so. */
    assert_ok(tmb_audio_create("/dev/null", TMB_CONTAINER_WAV, TMB_ENCODING_S16, 48000, 1, &writer, &error), error);
    write_in_pieces(writer, tone, 1, 100, 100);
    assert_ok(tmb_audio_finish(&writer, &error), error);
    assert_int_equal(stat("/dev/null", &status), 0);
    assert_true(S_ISCHR(status.st_mode));
    assert_int_equal(tmb_audio_create("/dev/full", TMB_CONTAINER_WAV, TMB_ENCODING_S16, 48000, 1, &writer, &error), TMB_ERROR_IO);
    assert_non_null(strstr(error.message, "No space left"));
}

/* A disk that fills up: the file system's limit for this process plays the part. */
static void test_full_disk(void **state) {
    (void)state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    const struct rlimit small = {.rlim_cur = 3000, .rlim_max = before.rlim_max};
    for (size_t i = 0; i < CONTAINERS; i++) {
        char name[32];
        char path[256];
        (void)snprintf(name, sizeof name, "tone.%s", endings[containers[i]]);
        path_in_folder(path, sizeof path, name);
        tmb_audio_writer *writer = NULL;
        tmb_error error = {0};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        assert_ok(tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 1, &writer, &error), error);
        for (size_t place = 0; place < second; place += 4800) {
            if (tmb_audio_write(writer, tone + place, 4800, &error) != TMB_OK) {
                break;
            }
        }
        const tmb_status status = tmb_audio_finish(&writer, &error);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(status, TMB_ERROR_IO);
        assert_non_null(strstr(error.message, "File too large"));
        assert_non_null(strstr(error.message, path));
        assert_null(writer);
        assert_int_equal(files_in_folder(), 0);
    }
    (void)signal(SIGXFSZ, handler);
}

static void remove_and_exit(int signal_number) {
    (void)signal_number;
    tmb_audio_remove_temporary_files();
    _exit(7);
}

static void test_signal_removes_temporary_files(void **state) {
    (void)state;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGTERM, remove_and_exit);
        tmb_audio_writer *writers[40];
        for (size_t i = 0; i < 40; i++) {
            char name[32];
            char path[256];
            (void)snprintf(name, sizeof name, "tone-%zu.wav", i);
            path_in_folder(path, sizeof path, name);
            if (tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 1, &writers[i], NULL) != TMB_OK) {
                _exit(1);
            }
            /* Two of three are closed again, so that entries are used twice. */
            if (i % 3 == 0) {
                (void)tmb_audio_finish(&writers[i], NULL);
            } else if (i % 3 == 1) {
                tmb_audio_abort(&writers[i]);
            }
        }
        (void)raise(SIGTERM);
        _exit(2);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_int_equal(files_in_folder(), 14); /* the finished ones */
    for (size_t i = 0; i < 40; i += 3) {
        char name[32];
        char path[256];
        (void)snprintf(name, sizeof name, "tone-%zu.wav", i);
        path_in_folder(path, sizeof path, name);
        assert_int_equal(unlink(path), 0);
    }
}

static int set_up(void **state) {
    (void)state;
    tone = audio_tone(48000, 1, second);
    return mkdtemp(folder) == NULL;
}

static int tear_down(void **state) {
    (void)state;
    free(tone);
    return rmdir(folder); /* fails where a test left something */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lossless_is_exact),
        cmocka_unit_test(test_clipping_and_rounding),
        cmocka_unit_test(test_lossy_is_close),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_no_samples),
        cmocka_unit_test(test_wav_header),
        cmocka_unit_test(test_rf64),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_receiver_that_fails),
        cmocka_unit_test(test_abort_sends_nothing),
        cmocka_unit_test(test_memory_limit),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_links_and_devices),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_signal_removes_temporary_files),
    };
    return cmocka_run_group_tests_name("io write", tests, set_up, tear_down);
}
