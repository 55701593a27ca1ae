/* Writing: what is written is what is read, whatever the container. */
#include "io_fixture.h"

#include "io/encoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
        {TMB_CONTAINER_WAV, TMB_ENCODING_S16, "WAV, 16-bit PCM"},
        {TMB_CONTAINER_WAV, TMB_ENCODING_S24, "WAV, 24-bit PCM"},
        {TMB_CONTAINER_WAV, TMB_ENCODING_FLOAT, "WAV, 32-bit float"},
        {TMB_CONTAINER_FLAC, TMB_ENCODING_S16, "FLAC, 16-bit PCM"},
        {TMB_CONTAINER_FLAC, TMB_ENCODING_S24, "FLAC, 24-bit PCM"},
        {TMB_CONTAINER_FLAC, TMB_ENCODING_FLOAT, "FLAC, 24-bit PCM"},
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
    const float samples[] = {
        1, -1, 1.5f, -7, 3e38f, -3e38f, 0.49f / 32768, 0.51f / 32768, -0.51f / 32768, 1.5f / 32768, 2.5f / 32768};
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

static void test_clipped_samples_are_counted(void **state) {
    (void)state;
    float samples[] = {0.5f, 1, -1, 1.25f, -3, 0};
    static const struct {
        tmb_container container;
        tmb_encoding encoding;
        uint64_t clipped;
    } cases[] = {{TMB_CONTAINER_WAV, TMB_ENCODING_S16, 2},  {TMB_CONTAINER_WAV, TMB_ENCODING_S24, 2},
                 {TMB_CONTAINER_RAW, TMB_ENCODING_S16, 2},  {TMB_CONTAINER_FLAC, TMB_ENCODING_FLOAT, 2},
                 {TMB_CONTAINER_OGG, TMB_ENCODING_S16, 2},  {TMB_CONTAINER_OPUS, TMB_ENCODING_S16, 2},
                 {TMB_CONTAINER_MP3, TMB_ENCODING_S16, 2},  {TMB_CONTAINER_WAV, TMB_ENCODING_FLOAT, 0},
                 {TMB_CONTAINER_RAW, TMB_ENCODING_FLOAT, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tmb_audio_writer *writer = NULL;
        tmb_error error = {0};
        float kept[6];
        memcpy(kept, samples, sizeof kept);
        assert_ok(tmb_audio_create_memory(cases[i].container, cases[i].encoding, 48000, 2, 1 << 20, &writer, &error),
                  error);
        assert_int_equal(tmb_audio_clipped(writer), 0);
        assert_ok(tmb_audio_write(writer, samples, 3, &error), error);
        assert_int_equal(tmb_audio_clipped(writer), cases[i].clipped);
        tmb_audio_clip(writer, kept, 3);
        assert_true(kept[0] == 0.5f && kept[3] == (cases[i].clipped != 0 ? 1 : 1.25f));
        assert_true(kept[4] == (cases[i].clipped != 0 ? -1 : -3));
        tmb_audio_abort(&writer);
    }
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
                    const double error = fabs((double)read[k] - (double)samples[k]);
                    worst = error > worst ? error : worst;
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

/* The loudest of the channels of a file, and what it says of its loudspeakers. */
static int loudest_channel(const audio_bytes *bytes, int channels, uint32_t *mask) {
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    tmb_error error = {0};
    assert_ok(tmb_audio_open_memory(bytes->data, bytes->size, NULL, &reader, &info, &error), error);
    tmb_audio_close(&reader);
    *mask = info.channel_mask;
    size_t count = 0;
    float *samples = decode(bytes, NULL, 48000, channels, &count);
    double sums[8] = {0};
    int loudest = 0;
    for (size_t i = 0; i < count * (size_t)channels; i++) {
        sums[i % (size_t)channels] += fabs((double)samples[i]);
    }
    for (int c = 0; c < channels; c++) {
        loudest = sums[c] > sums[loudest] ? c : loudest;
    }
    free(samples);
    return loudest;
}

/* Each loudspeaker gets its own: of files that libsndfile wrote, whose channels are in Vorbis' order, and of ours. */
static void test_loudspeakers(void **state) {
    (void)state;
    static const struct {
        int channels;
        uint32_t mask;
        int places[8]; /* in WAV's order, of Vorbis' channels */
    } cases[] = {
        {3, 0x007, {0, 2, 1}},          {4, 0x033, {0, 1, 2, 3}},          {5, 0x037, {0, 2, 1, 3, 4}},
        {6, 0x03f, {0, 2, 1, 4, 5, 3}}, {7, 0x70f, {0, 2, 1, 5, 6, 4, 3}}, {8, 0x63f, {0, 2, 1, 6, 7, 4, 5, 3}},
    };
    static const struct {
        tmb_container container;
        int format;
    } kinds[] = {{TMB_CONTAINER_OGG, SF_FORMAT_OGG | SF_FORMAT_VORBIS},
                 {TMB_CONTAINER_OPUS, SF_FORMAT_OGG | SF_FORMAT_OPUS}};
    const size_t count = 9600;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        const int channels = cases[i / 2].channels;
        for (int c = 0; c < channels; c++) {
            float *samples = calloc(count * (size_t)channels, sizeof(float));
            assert_non_null(samples);
            for (size_t k = 0; k < count; k++) { /* low enough for the low-frequency channel */
                samples[k * (size_t)channels + (size_t)c] = (float)(0.5 * sin(2 * M_PI * 60 * (double)k / 48000));
            }
            audio_bytes foreign = audio_bytes_sndfile(kinds[i % 2].format, 48000, channels, samples, count);
            audio_bytes own = encode(kinds[i % 2].container, TMB_ENCODING_S16, 48000, channels, samples, count, 999);
            uint32_t masks[2] = {0};
            const int found[2] = {loudest_channel(&foreign, channels, &masks[0]),
                                  loudest_channel(&own, channels, &masks[1])};
            if (found[0] != cases[i / 2].places[c] || found[1] != c || masks[0] != cases[i / 2].mask ||
                masks[1] != masks[0]) {
                fail_msg("%s, channel %d of %d: %d and %d, masks 0x%x and 0x%x", endings[kinds[i % 2].container], c,
                         channels, found[0], found[1], (unsigned)masks[0], (unsigned)masks[1]);
            }
            audio_bytes_free(&foreign);
            audio_bytes_free(&own);
            free(samples);
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
        const tmb_audio_shape shape = {
            .container = TMB_CONTAINER_WAV, .encoding = TMB_ENCODING_FLOAT, .rate = 48000, .channels = channels};
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

static void test_arguments(void **state) {
    (void)state;
    tmb_audio_writer *writer = NULL;
    tmb_error error = {0};
    char path[256];
    path_in_folder(path, sizeof path, "x.xyz");
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 1, &writer, &error),
                     TMB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, ".wav, .flac, .ogg, .opus, .mp3, .aac or .raw"));
    path_in_folder(path, sizeof path, "x.wav");
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 3999, 1, &writer, &error),
                     TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 9, &writer, &error),
                     TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 0, &writer, &error),
                     TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_AUTO, (tmb_encoding)5, 48000, 1, &writer, &error),
                     TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_audio_create(path, (tmb_container)77, TMB_ENCODING_S16, 48000, 1, &writer, &error),
                     TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_audio_create(NULL, TMB_CONTAINER_WAV, TMB_ENCODING_S16, 48000, 1, &writer, &error),
                     TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_audio_create("", TMB_CONTAINER_WAV, TMB_ENCODING_S16, 48000, 1, &writer, &error),
                     TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_audio_create(folder, TMB_CONTAINER_WAV, TMB_ENCODING_S16, 48000, 1, &writer, &error),
                     TMB_ERROR_IO);
    assert_non_null(strstr(error.message, "is a folder"));
    assert_int_equal(tmb_audio_create("/nowhere/x.wav", TMB_CONTAINER_WAV, TMB_ENCODING_S16, 48000, 1, &writer, &error),
                     TMB_ERROR_IO);
    assert_non_null(strstr(error.message, "/nowhere/x.wav: cannot be created: No such file"));
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_OPUS, TMB_ENCODING_S16, 44100, 1, &writer, &error),
                     TMB_ERROR_UNSUPPORTED);
    assert_non_null(
        strstr(error.message, "Opus cannot be written at 44100 Hz: 8000, 12000, 16000, 24000, 48000 are allowed"));
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_MP3, TMB_ENCODING_S16, 96000, 1, &writer, &error),
                     TMB_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "22050, 24000, 32000, 44100, 48000 are allowed"));
    assert_int_equal(tmb_audio_create(path, TMB_CONTAINER_MP3, TMB_ENCODING_S16, 48000, 3, &writer, &error),
                     TMB_ERROR_UNSUPPORTED);
    assert_null(writer);
    assert_int_equal(files_in_folder(), 0);

    /* No container is asked to hold what is not a number. */
    for (size_t i = 0; i < CONTAINERS; i++) {
        const float samples[] = {0, 0.5f, NAN, 0};
        assert_ok(tmb_audio_create_memory(containers[i], TMB_ENCODING_FLOAT, 48000, 2, 1 << 20, &writer, &error),
                  error);
        assert_int_equal(tmb_audio_write(writer, samples, 2, &error), TMB_ERROR_ARGUMENT);
        assert_non_null(strstr(error.message, "sample 1 of channel 1"));
        assert_int_equal(tmb_audio_write(writer, samples, 1, &error), TMB_ERROR_ARGUMENT); /* it stays */
        void *data = NULL;
        size_t size = 0;
        assert_int_equal(tmb_audio_finish_memory(&writer, &data, &size, &error), TMB_ERROR_ARGUMENT);
        assert_null(data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lossless_is_exact),
        cmocka_unit_test(test_clipping_and_rounding),
        cmocka_unit_test(test_clipped_samples_are_counted),
        cmocka_unit_test(test_lossy_is_close),
        cmocka_unit_test(test_loudspeakers),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_no_samples),
        cmocka_unit_test(test_wav_header),
        cmocka_unit_test(test_rf64),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests_name("io write", tests, set_up, tear_down);
}
