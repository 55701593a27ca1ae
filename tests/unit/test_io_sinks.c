/* Where written audio goes that is no file: a receiver, memory. */
#include "io_fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_lossless(tmb_container container) {
    return container == TMB_CONTAINER_WAV || container == TMB_CONTAINER_FLAC || container == TMB_CONTAINER_RAW;
}

typedef struct receiver {
    audio_bytes bytes;
    size_t limit; /* fails behind it, 0 = never */
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

static tmb_audio_writer *open_sink(tmb_container container, receiver *r) {
    tmb_audio_writer *writer = NULL;
    tmb_error error = {0};
    assert_ok(tmb_audio_create_sink(container, TMB_ENCODING_S16, 48000, 1, receive, r, &writer, &error), error);
    return writer;
}

static void test_streams(void **state) {
    (void)state;
    tmb_error error = {0};
    for (size_t i = 0; i < CONTAINERS; i++) {
        receiver r = {0};
        tmb_audio_writer *writer = open_sink(containers[i], &r);
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
    tmb_audio_writer *writer = open_sink(TMB_CONTAINER_WAV, &r);
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
            tmb_status status =
                tmb_audio_create_sink(containers[i], TMB_ENCODING_S16, 48000, 1, receive, &r, &writer, &error);
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
        tmb_audio_writer *writer = open_sink(containers[i], &r);
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
            assert_ok(tmb_audio_create_memory(containers[i], TMB_ENCODING_S16, 48000, 1, whole.size - (size_t)less,
                                              &writer, &error),
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_receiver_that_fails),
        cmocka_unit_test(test_abort_sends_nothing),
        cmocka_unit_test(test_memory_limit),
    };
    return cmocka_run_group_tests_name("io sinks", tests, set_up, tear_down);
}
