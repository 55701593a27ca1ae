/* The store: what survives, what is counted, what is refused. */
#include "test.h"

#include "queue/store.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct fixture {
    char folder[64];
    tmb_logger logger;
    tmb_store *store;
} fixture;

static const tmb_store_options roomy = {.file_seconds = 1000, .job_seconds = 1000};

static void open_store(fixture *at, const tmb_store_options *options) {
    tmb_error error;
    assert_ok(tmb_store_open(at->folder, options, &at->logger, &at->store, &error), error);
}

static int setup(void **state) {
    fixture *at = calloc(1, sizeof(*at));
    (void)snprintf(at->folder, sizeof(at->folder), "/tmp/timbre-store-XXXXXX");
    assert_non_null(mkdtemp(at->folder));
    tmb_logger_init(&at->logger, NULL, NULL, TMB_LOG_ERROR);
    open_store(at, &roomy);
    *state = at;
    return 0;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *where) {
    (void)status;
    (void)kind;
    (void)where;
    return remove(path);
}

static int teardown(void **state) {
    fixture *at = *state;
    tmb_store_close(&at->store);
    tmb_logger_deinit(&at->logger);
    int result = nftw(at->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(at);
    return result;
}

static void reopen(fixture *at) {
    tmb_store_close(&at->store);
    open_store(at, &roomy);
}

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
    assert_int_equal(read(descriptor, content, sizeof(content) - 1), strlen(bytes));
    assert_string_equal(content, bytes);
    assert_int_equal(info.bytes, strlen(bytes));
    (void)close(descriptor);
}

static void test_files(void **state) {
    fixture *at = *state;
    tmb_file_info info = add_file(at, "hello");
    check_file(at, info.id, "hello");
    assert_int_equal(tmb_store_bytes(at->store), 5);
    reopen(at);
    check_file(at, info.id, "hello");
    assert_int_equal(tmb_store_bytes(at->store), 5);
    assert_int_equal(tmb_store_file_remove(at->store, info.id), TMB_STORE_OK);
    assert_int_equal(tmb_store_file_remove(at->store, info.id), TMB_STORE_NOT_FOUND);
    int descriptor = -1;
    assert_int_equal(tmb_store_file_open(at->store, info.id, &descriptor, &info), TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_file_open(at->store, "../state.db", &descriptor, &info), TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_bytes(at->store), 0);
}

static void test_upload_limits(void **state) {
    fixture *at = *state;
    tmb_upload *upload = NULL;
    assert_int_equal(tmb_upload_begin(at->store, 8, &upload), TMB_STORE_OK);
    assert_int_equal(tmb_upload_write(upload, "12345678", 8), TMB_STORE_OK);
    assert_int_equal(tmb_upload_write(upload, "9", 1), TMB_STORE_TOO_LARGE);
    tmb_upload_abort(&upload);
    assert_int_equal(tmb_store_bytes(at->store), 0);
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

/* A file whose row did not make it is swept away; a row whose file is gone too. */
static void test_sweep(void **state) {
    fixture *at = *state;
    tmb_file_info kept = add_file(at, "kept");
    tmb_file_info lost = add_file(at, "lost");
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/files/%s", at->folder, lost.id);
    assert_int_equal(unlink(path), 0);
    static const char *const strays[] = {"files/0123456789abcdef0123456789abcdef", "tmp/half", "voices/stray.prepared"};
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", at->folder, strays[i]);
        int descriptor = open(path, O_CREAT | O_WRONLY, 0600);
        assert_true(descriptor >= 0);
        (void)close(descriptor);
    }
    reopen(at);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", at->folder, strays[i]);
        assert_int_not_equal(access(path, F_OK), 0);
    }
    int descriptor = -1;
    tmb_file_info info;
    assert_int_equal(tmb_store_file_open(at->store, lost.id, &descriptor, &info), TMB_STORE_NOT_FOUND);
    check_file(at, kept.id, "kept");
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

static bool count_voice(void *user, const tmb_voice_info *info) {
    assert_string_equal(info->ref_text, "it says");
    (*(int *)user)++;
    return true;
}

static void test_voices(void **state) {
    fixture *at = *state;
    for (int round = 0; round < 2; round++) {
        tmb_upload *upload = NULL;
        tmb_voice_info info = {.name = "anna", .language = "en", .ref_text = (char *)(uintptr_t) "it says"};
        assert_int_equal(tmb_upload_begin(at->store, 1000, &upload), TMB_STORE_OK);
        assert_int_equal(tmb_upload_write(upload, "voice", 5), TMB_STORE_OK);
        assert_int_equal(tmb_store_voice_add(at->store, &upload, &info), round ? TMB_STORE_EXISTS : TMB_STORE_OK);
        assert_null(upload);
    }
    assert_int_equal(tmb_store_bytes(at->store), 5);
    reopen(at);
    int count = 0;
    assert_int_equal(tmb_store_voice_each(at->store, count_voice, &count), TMB_STORE_OK);
    assert_int_equal(count, 1);
    tmb_voice_info info;
    assert_int_equal(tmb_store_voice_get(at->store, "anna", NULL, &info), TMB_STORE_OK);
    char one[TMB_STORE_PATH];
    char other[TMB_STORE_PATH];
    tmb_store_voice_prepared_path(at->store, &info, "model a", one);
    tmb_store_voice_prepared_path(at->store, &info, "model b", other);
    assert_string_not_equal(one, other);
    int descriptor = open(one, O_CREAT | O_WRONLY, 0600);
    assert_true(descriptor >= 0);
    (void)close(descriptor);
    tmb_voice_info_free(&info);
    assert_int_equal(tmb_store_voice_remove(at->store, "anna"), TMB_STORE_OK);
    assert_int_not_equal(access(one, F_OK), 0);
    assert_int_equal(tmb_store_voice_remove(at->store, "anna"), TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_bytes(at->store), 0);
}

static char *describe(void *user, const tmb_file_info *info) {
    char *text = NULL;
    return asprintf(&text, "%s %s", (const char *)user, info ? info->id : "-") < 0 ? NULL : text;
}

static void finish(fixture *at, const tmb_taken_item *item, const char *bytes, tmb_store_status expected) {
    char path[TMB_STORE_PATH];
    assert_true(tmb_store_temporary_path(at->store, path));
    int descriptor = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(descriptor, bytes, strlen(bytes)), strlen(bytes));
    (void)close(descriptor);
    tmb_file_info info = {.name = "speech", .content_type = "audio/wav"};
    assert_int_equal(
        tmb_store_item_finish(at->store, item, TMB_ITEM_DONE, path, &info, describe, (void *)(uintptr_t) "done"),
        expected);
    assert_int_not_equal(access(path, F_OK), 0);
}

static const char *const requests[] = {"first", "second", "third"};

static tmb_job_info add_job(fixture *at, size_t count) {
    tmb_job_info job;
    assert_int_equal(tmb_store_job_add(at->store, "label", NULL, requests, count, NULL, NULL, 0, &job), TMB_STORE_OK);
    return job;
}

static void test_job(void **state) {
    fixture *at = *state;
    tmb_job_info job = add_job(at, 2);
    tmb_taken_item items[2];
    assert_int_equal(tmb_store_item_take(at->store, 0, &items[0]), TMB_STORE_OK);
    assert_string_equal(items[0].request, "first");
    /* The process dies: what ran is queued again. */
    reopen(at);
    free(items[0].request);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(tmb_store_item_take(at->store, 0, &items[i]), TMB_STORE_OK);
        assert_string_equal(items[i].request, requests[i]);
    }
    tmb_taken_item nothing;
    assert_int_equal(tmb_store_item_take(at->store, 0, &nothing), TMB_STORE_NOT_FOUND);
    finish(at, &items[0], "audio", TMB_STORE_OK);
    /* A result comes once. */
    finish(at, &items[0], "again", TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_bytes(at->store), 5);
    assert_int_equal(tmb_store_item_return(at->store, &items[1]), TMB_STORE_OK);
    finish(at, &items[1], "not running", TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_job_get(at->store, job.id, &job), TMB_STORE_OK);
    assert_int_equal(job.items[TMB_ITEM_DONE], 1);
    assert_int_equal(job.items[TMB_ITEM_QUEUED], 1);
    assert_true(job.finished == 0);
    tmb_taken_item again;
    assert_int_equal(tmb_store_item_take(at->store, 0, &again), TMB_STORE_OK);
    assert_int_equal(
        tmb_store_item_finish(at->store, &again, TMB_ITEM_FAILED, NULL, NULL, describe, (void *)(uintptr_t) "failed"),
        TMB_STORE_OK);
    assert_int_equal(tmb_store_job_get(at->store, job.id, &job), TMB_STORE_OK);
    assert_true(job.finished > 0);
    assert_int_equal(tmb_store_job_remove(at->store, job.id), TMB_STORE_OK);
    assert_int_equal(tmb_store_bytes(at->store), 0);
    for (size_t i = 0; i < 2; i++) {
        free(items[i].request);
    }
    free(again.request);
}

static void test_result_of_a_removed_job_is_dropped(void **state) {
    fixture *at = *state;
    tmb_job_info job = add_job(at, 1);
    tmb_taken_item item;
    assert_int_equal(tmb_store_item_take(at->store, 0, &item), TMB_STORE_OK);
    assert_int_equal(tmb_store_job_remove(at->store, job.id), TMB_STORE_OK);
    finish(at, &item, "audio", TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_bytes(at->store), 0);
    free(item.request);
}

static void test_jobs_take_turns(void **state) {
    fixture *at = *state;
    (void)add_job(at, 3);
    (void)add_job(at, 2);
    static const int expected[5][2] = {{1, 0}, {2, 0}, {1, 1}, {2, 1}, {1, 2}};
    int64_t last = 0;
    for (size_t i = 0; i < 5; i++) {
        tmb_taken_item item;
        assert_int_equal(tmb_store_item_take(at->store, last, &item), TMB_STORE_OK);
        assert_int_equal(item.job_number, expected[i][0]);
        assert_int_equal(item.position, expected[i][1]);
        last = item.job_number;
        free(item.request);
    }
}

static void test_job_files(void **state) {
    fixture *at = *state;
    tmb_file_info owned = add_file(at, "owned");
    tmb_file_info lent = add_file(at, "lent");
    const char *files[] = {owned.id, lent.id};
    const bool owns[] = {true, false};
    tmb_job_info job;
    assert_int_equal(tmb_store_job_add(at->store, "", "key", requests, 1, files, owns, 2, &job), TMB_STORE_OK);
    tmb_job_info again;
    assert_int_equal(tmb_store_job_add(at->store, "", "key", requests, 1, files, owns, 2, &again), TMB_STORE_EXISTS);
    assert_string_equal(job.id, again.id);
    assert_int_equal(tmb_store_file_remove(at->store, lent.id), TMB_STORE_IN_USE);
    assert_int_equal(tmb_store_job_remove(at->store, job.id), TMB_STORE_OK);
    check_file(at, lent.id, "lent");
    int descriptor = -1;
    tmb_file_info info;
    assert_int_equal(tmb_store_file_open(at->store, owned.id, &descriptor, &info), TMB_STORE_NOT_FOUND);
    files[0] = "0123456789abcdef0123456789abcdef";
    assert_int_equal(tmb_store_job_add(at->store, "", NULL, requests, 1, files, owns, 2, &job), TMB_STORE_NOT_FOUND);
    size_t queued = 1;
    size_t running = 1;
    tmb_store_item_counts(at->store, &queued, &running);
    assert_int_equal(queued + running, 0);
}

static void test_job_limit(void **state) {
    fixture *at = *state;
    tmb_store_close(&at->store);
    tmb_store_options tight = {.file_seconds = 1000, .job_seconds = 1000, .max_jobs = 1};
    open_store(at, &tight);
    tmb_job_info job = add_job(at, 1);
    tmb_job_info more;
    assert_int_equal(tmb_store_job_add(at->store, "", NULL, requests, 1, NULL, NULL, 0, &more), TMB_STORE_FULL);
    assert_int_equal(tmb_store_job_remove(at->store, job.id), TMB_STORE_OK);
    (void)add_job(at, 1);
}

static void test_expiry(void **state) {
    fixture *at = *state;
    tmb_store_close(&at->store);
    tmb_store_options brief = {.file_seconds = -1, .job_seconds = -1};
    open_store(at, &brief);
    tmb_file_info pinned = add_file(at, "pinned");
    tmb_file_info free_file = add_file(at, "free");
    const char *files[] = {pinned.id};
    const bool owns[] = {true};
    tmb_job_info job;
    assert_int_equal(tmb_store_job_add(at->store, "", NULL, requests, 1, files, owns, 1, &job), TMB_STORE_OK);
    tmb_store_expire(at->store);
    check_file(at, pinned.id, "pinned");
    int descriptor = -1;
    tmb_file_info info;
    assert_int_equal(tmb_store_file_open(at->store, free_file.id, &descriptor, &info), TMB_STORE_NOT_FOUND);
    tmb_taken_item item;
    assert_int_equal(tmb_store_item_take(at->store, 0, &item), TMB_STORE_OK);
    finish(at, &item, "audio", TMB_STORE_OK);
    tmb_store_expire(at->store);
    assert_int_equal(tmb_store_job_get(at->store, job.id, &job), TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_bytes(at->store), 0);
    free(item.request);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_upload_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quota, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sweep, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second_process_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_voices, setup, teardown),
        cmocka_unit_test_setup_teardown(test_job, setup, teardown),
        cmocka_unit_test_setup_teardown(test_result_of_a_removed_job_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_jobs_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_job_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_job_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expiry, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
