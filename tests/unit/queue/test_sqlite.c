/* What is the affair of the store with a folder of its own: the sweep at the start, the quota, the exact turns. */
#include "test.h"

#include "store_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static tmb_file_info add_file(fixture *at, const char *bytes) {
    tmb_upload *upload = NULL;
    tmb_file_info info = {.name = "name", .content_type = "audio/wav", .sample_rate = 8000, .duration = 1.5};
    assert_int_equal(tmb_upload_begin(at->store, 1000, &upload), TMB_STORE_OK);
    assert_int_equal(tmb_upload_write(upload, bytes, strlen(bytes)), TMB_STORE_OK);
    assert_int_equal(tmb_upload_keep(&upload, &info), TMB_STORE_OK);
    assert_null(upload);
    return info;
}

static void check_file(fixture *at, const char *id, const char *bytes) {
    int descriptor = -1;
    tmb_file_info info;
    char content[64] = "";
    assert_int_equal(tmb_store_file_open(at->store, id, &descriptor, &info), TMB_STORE_OK);
    assert_int_equal(read(descriptor, content, sizeof content - 1), strlen(bytes));
    assert_string_equal(content, bytes);
    assert_int_equal(info.bytes, strlen(bytes));
    (void)close(descriptor);
}

static tmb_store_status keep_prepared(fixture *at, const tmb_voice_info *voice, const char *model, const char *bytes) {
    char path[TMB_STORE_PATH];
    write_temporary(at, bytes, path);
    tmb_store_status status = tmb_store_prepared_keep(at->store, voice, model, path);
    assert_int_not_equal(access(path, F_OK), 0);
    return status;
}

static const char *const requests[] = {"first", "second", "third"};

static tmb_job_info add_job(fixture *at, size_t count) {
    tmb_job_info job;
    tmb_new_job wanted = {.label = "label", .requests = requests, .count = count};
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    return job;
}

static tmb_file_info add_result(fixture *at, const char *bytes) {
    char path[TMB_STORE_PATH];
    tmb_file_info info = {.name = "speech", .content_type = "audio/wav"};
    write_temporary(at, bytes, path);
    assert_int_equal(tmb_store_result_adopt(at->store, path, &info), TMB_STORE_OK);
    assert_int_not_equal(access(path, F_OK), 0);
    return info;
}

static tmb_delivery take(fixture *at, double lease) {
    tmb_delivery delivery;
    assert_int_equal(tmb_store_item_take(at->store, &(tmb_taking){.lease_seconds = lease}, &delivery), TMB_STORE_OK);
    return delivery;
}

static void check_counts(fixture *at, const char *id, size_t queued, size_t running, size_t done, size_t failed) {
    tmb_job_info job;
    assert_int_equal(tmb_store_job_get(at->store, id, &job), TMB_STORE_OK);
    assert_int_equal(job.items[TMB_ITEM_QUEUED], queued);
    assert_int_equal(job.items[TMB_ITEM_RUNNING], running);
    assert_int_equal(job.items[TMB_ITEM_DONE], done);
    assert_int_equal(job.items[TMB_ITEM_FAILED], failed);
    assert_int_equal(job.finished > 0, queued + running == 0);
}

/* A file whose row did not make it is swept away; a row whose file is gone too. */
static void test_sweep(void **state) {
    fixture *at = *state;
    tmb_file_info kept = add_file(at, "kept");
    tmb_file_info lost = add_file(at, "lost");
    char path[256];
    (void)snprintf(path, sizeof path, "%s/files/%s", at->folder, lost.id);
    assert_int_equal(unlink(path), 0);
    static const char *const strays[] = {"files/0123456789abcdef0123456789abcdef", "tmp/half", "voices/stray.prepared"};
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", at->folder, strays[i]);
        int descriptor = open(path, O_CREAT | O_WRONLY, 0600);
        assert_true(descriptor >= 0);
        (void)close(descriptor);
    }
    reopen(at);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", at->folder, strays[i]);
        assert_int_not_equal(access(path, F_OK), 0);
    }
    int descriptor = -1;
    tmb_file_info info;
    assert_int_equal(tmb_store_file_open(at->store, lost.id, &descriptor, &info), TMB_STORE_NOT_FOUND);
    check_file(at, kept.id, "kept");
    /* What may be a recording is set aside, and counted; what can be made again is not. */
    assert_int_equal(count_entries(at, "lost+found"), 2);
    assert_int_equal(tmb_store_bytes(at->store), 4);
}

static void test_second_process_is_refused(void **state) {
    fixture *at = *state;
    tmb_store *second = NULL;
    tmb_error error;
    assert_int_equal(tmb_store_open(at->folder, &roomy, &at->logger, &second, &error), TMB_ERROR_IO);
    assert_non_null(strstr(error.message, "in use"));
    assert_null(second);
}

/* The process died between an item's audio and its result: the item runs again, the audio is set aside. */
static void test_audio_without_a_result(void **state) {
    fixture *at = *state;
    tmb_job_info job = add_job(at, 1);
    tmb_delivery item = take(at, 100);
    tmb_file_info audio = add_result(at, "audio");
    reopen(at);
    check_counts(at, job.id, 1, 0, 0, 0);
    int descriptor = -1;
    assert_int_equal(tmb_store_file_open(at->store, audio.id, &descriptor, &audio), TMB_STORE_NOT_FOUND);
    assert_int_equal(count_entries(at, "files"), 0);
    assert_int_equal(count_entries(at, "lost+found"), 1);
    free(item.request);
}

static void test_jobs_take_turns(void **state) {
    fixture *at = *state;
    (void)add_job(at, 3);
    (void)add_job(at, 2);
    static const int expected[5][2] = {{1, 0}, {2, 0}, {1, 1}, {2, 1}, {1, 2}};
    int64_t last = 0;
    for (size_t i = 0; i < 5; i++) {
        tmb_delivery item;
        assert_int_equal(tmb_store_item_take(at->store, &(tmb_taking){.after_job = last, .lease_seconds = 100}, &item),
                         TMB_STORE_OK);
        assert_int_equal(item.job_number, expected[i][0]);
        assert_int_equal(item.position, expected[i][1]);
        last = item.job_number;
        free(item.request);
    }
}

static void test_quota(void **state) {
    fixture *at = *state;
    tmb_store_close(&at->store);
    tmb_store_options tight = {.max_bytes = 10, .file_seconds = 1000, .job_seconds = 1000};
    open_store(at, &tight);
    (void)add_file(at, "12345");
    tmb_upload *upload = NULL;
    assert_int_equal(tmb_upload_begin(at->store, 1000, &upload), TMB_STORE_OK);
    assert_int_equal(tmb_upload_write(upload, "123456", 6), TMB_STORE_NO_SPACE);
    tmb_upload_abort(&upload);
    (void)add_file(at, "67890");
    assert_int_equal(tmb_store_bytes(at->store), 10);
}

static void test_prepared_voices_count_for_the_quota(void **state) {
    fixture *at = *state;
    tmb_store_close(&at->store);
    tmb_store_options tight = {.max_bytes = 10, .file_seconds = 1000, .job_seconds = 1000};
    open_store(at, &tight);
    add_voice(at, "anna", "voice");
    tmb_voice_info voice;
    assert_int_equal(tmb_store_voice_get(at->store, "anna", NULL, &voice), TMB_STORE_OK);
    assert_int_equal(keep_prepared(at, &voice, "model", "123456"), TMB_STORE_NO_SPACE);
    assert_false(tmb_store_prepared_exists(at->store, &voice, "model"));
    assert_int_equal(keep_prepared(at, &voice, "model", "12345"), TMB_STORE_OK);
    assert_int_equal(tmb_store_bytes(at->store), 10);
    assert_false(tmb_store_book(at->store, 1));
    assert_int_equal(tmb_store_voice_remove(at->store, "anna", NULL), TMB_STORE_OK);
    assert_true(tmb_store_book(at->store, 10));
    tmb_store_unbook(at->store, 10);
    tmb_voice_info_free(&voice);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_quota, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sweep, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second_process_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prepared_voices_count_for_the_quota, setup, teardown),
        cmocka_unit_test_setup_teardown(test_audio_without_a_result, setup, teardown),
        cmocka_unit_test_setup_teardown(test_jobs_take_turns, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
