#include "fault.h"

#include "io/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COUNT = 20000 };
static float samples[COUNT];

/* Written into memory in pieces, and read again. */
static tmb_status through_memory(void *user, tmb_error *error) {
    const tmb_container container = *(const tmb_container *)user;
    tmb_audio_writer *writer = NULL;
    tmb_status status = tmb_audio_create_memory(container, TMB_ENCODING_S16, 48000, 1, (size_t)1 << 20, &writer, error);
    for (size_t place = 0; place < COUNT && status == TMB_OK; place += 1000) {
        status = tmb_audio_write(writer, samples + place, 1000, error);
    }
    void *data = NULL;
    size_t size = 0;
    if (status == TMB_OK) {
        status = tmb_audio_finish_memory(&writer, &data, &size, error);
    }
    tmb_audio_abort(&writer);
    assert_true((data != NULL) == (status == TMB_OK));

    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    float *read = NULL;
    size_t count = 0;
    if (status == TMB_OK) {
        status = tmb_audio_open_memory(data, size, NULL, &reader, &info, error);
    }
    if (status == TMB_OK) {
        info.length = 0; /* so that the result has to grow */
        status = tmb_audio_read_mono(reader, &info, &read, &count, error);
    }
    tmb_audio_close(&reader);
    assert_true((read != NULL) == (status == TMB_OK));
    assert_true(status != TMB_OK || count >= COUNT);
    free(read);
    free(data);
    return status;
}

static void test_memory(void **state) {
    (void)state;
    for (int container = TMB_CONTAINER_WAV; container <= TMB_CONTAINER_MP3; container++) {
        tmb_container chosen = (tmb_container)container;
        fault_check(through_memory, &chosen, true); /* the result stays larger than needed */
    }
}

static char folder[] = "/tmp/timbre-fault-XXXXXX";

static tmb_status through_file(void *user, tmb_error *error) {
    char path[64];
    (void)snprintf(path, sizeof path, "%s/%s", folder, (const char *)user);
    tmb_audio_writer *writer = NULL;
    tmb_status status = tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 1, &writer, error);
    if (status == TMB_OK) {
        status = tmb_audio_write(writer, samples, COUNT, error);
    }
    if (status == TMB_OK) {
        status = tmb_audio_finish(&writer, error);
    }
    tmb_audio_abort(&writer);
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    float *read = NULL;
    size_t count = 0;
    if (status == TMB_OK) {
        status = tmb_audio_open(path, NULL, NULL, &reader, &info, error);
    }
    if (status == TMB_OK) {
        status = tmb_audio_read_mono(reader, &info, &read, &count, error);
    }
    tmb_audio_close(&reader);
    free(read);
    (void)unlink(path);
    return status;
}

static void test_file(void **state) {
    (void)state;
    assert_non_null(mkdtemp(folder));
    char names[][10] = {"tone.wav", "tone.flac", "tone.opus"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        fault_check(through_file, names[i], true);
    }
    assert_int_equal(rmdir(folder), 0); /* no temporary file is left */
}

static tmb_status discard(void *user, const void *data, size_t size, tmb_error *error) {
    (void)user;
    (void)data;
    (void)size;
    (void)error;
    return TMB_OK;
}

static tmb_status through_callback(void *user, tmb_error *error) {
    const tmb_container container = *(const tmb_container *)user;
    tmb_audio_writer *writer = NULL;
    tmb_status status = tmb_audio_create_sink(container, TMB_ENCODING_S16, 48000, 1, discard, NULL, &writer, error);
    if (status == TMB_OK) {
        status = tmb_audio_write(writer, samples, COUNT, error);
    }
    if (status == TMB_OK) {
        status = tmb_audio_finish(&writer, error);
    }
    tmb_audio_abort(&writer);
    return status;
}

static void test_callback(void **state) {
    (void)state;
    for (int container = TMB_CONTAINER_WAV; container <= TMB_CONTAINER_RAW; container++) {
        tmb_container chosen = (tmb_container)container;
        fault_check(through_callback, &chosen, false);
    }
}

int main(void) {
    for (size_t i = 0; i < COUNT; i++) {
        samples[i] = (float)(i % 100) / 200;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_callback),
    };
    return cmocka_run_group_tests_name("fault: io", tests, NULL, NULL);
}
