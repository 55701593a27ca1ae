/* Readers, writers and resamplers of several threads at once: what they share is the list of temporary
 * files, the lock around opening, and the kernel tables' CPU flags. */
#include "test.h"

#include "base/thread.h"
#include "io/io.h"
#include "resample/resample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TASKS = 48, COUNT = 6000 };

static char folder[] = "/tmp/timbre-test-XXXXXX";
static float samples[COUNT];

typedef struct task {
    size_t number;
    tmb_error error;
} task;

static tmb_status read_again(const char *path, size_t *count, tmb_error *error) {
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    float *read = NULL;
    float *resampled = NULL;
    size_t resampled_count = 0;
    tmb_status status = tmb_audio_open(path, NULL, NULL, &reader, &info, error);
    if (status == TMB_OK) {
        status = tmb_audio_read_mono(reader, &info, &read, count, error);
    }
    tmb_audio_close(&reader);
    if (status == TMB_OK) {
        status = tmb_resample(read, *count, 24000, 48000, (tmb_resampler_kind)(*count % 4), NULL, &resampled,
                              &resampled_count, error);
    }
    free(read);
    free(resampled);
    return status;
}

static void run_task(void *argument) {
    task *t = argument;
    static const char *const endings[] = {"wav", "flac", "ogg", "opus", "mp3"};
    char path[64];
    (void)snprintf(path, sizeof path, "%s/%zu.%s", folder, t->number, endings[t->number % 5]);
    tmb_audio_writer *writer = NULL;
    const size_t count = COUNT - t->number;
    tmb_status status = tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 24000, 1, &writer, &t->error);
    if (status == TMB_OK) {
        status = tmb_audio_write(writer, samples, count, &t->error);
    }
    if (status == TMB_OK && t->number % 7 == 6) {
        tmb_audio_abort(&writer);
        if (access(path, F_OK) == 0) {
            t->error.status = TMB_ERROR_INTERNAL;
        }
        return;
    }
    if (status == TMB_OK) {
        status = tmb_audio_finish(&writer, &t->error);
    }
    size_t read = 0;
    if (status == TMB_OK) {
        status = read_again(path, &read, &t->error);
    }
    if (status == TMB_OK && read != count) {
        t->error.status = TMB_ERROR_INTERNAL;
        (void)snprintf(t->error.message, sizeof t->error.message, "%s: %zu samples of %zu", path, read, count);
    }
    (void)unlink(path);
}

static void test_threads(void **state) {
    (void)state;
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < COUNT; i++) {
        samples[i] = (float)(i % 120) / 240;
    }
    tmb_pool *pool = NULL;
    tmb_error error = {0};
    assert_ok(tmb_pool_create("io", 4, 0, &pool, &error), error);
    static task tasks[TASKS];
    for (size_t i = 0; i < TASKS; i++) {
        tasks[i].number = i;
        assert_ok(tmb_pool_submit(pool, run_task, &tasks[i], &error), error);
    }
    tmb_pool_destroy(&pool);
    for (size_t i = 0; i < TASKS; i++) {
        if (tasks[i].error.status != TMB_OK) {
            fail_msg("%s", tasks[i].error.message);
        }
    }
    assert_int_equal(rmdir(folder), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests_name("io threads", tests, NULL, NULL);
}
