/* What every store does: what survives, what is counted, what is refused. Which store is the first argument. */
#include "test.h"

#include "faults.h"
#include "store_fixture.h"

#include "base/thread.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
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
    tmb_voice_info *voices = NULL;
    size_t count = 0;
    assert_int_equal(tmb_store_voice_list(at->store, &voices, &count), TMB_STORE_OK);
    assert_int_equal(count, 1);
    assert_string_equal(voices[0].ref_text, "it says");
    tmb_voice_list_free(voices, count);
    assert_int_equal(tmb_store_voice_remove(at->store, "anna", "0123456789abcdef0123456789abcdef"),
                     TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_voice_remove(at->store, "anna", NULL), TMB_STORE_OK);
    assert_int_equal(tmb_store_voice_remove(at->store, "anna", NULL), TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_bytes(at->store), 0);
}

static tmb_store_status keep_prepared(fixture *at, const tmb_voice_info *voice, const char *model, const char *bytes) {
    char path[TMB_STORE_PATH];
    write_temporary(at, bytes, path);
    tmb_store_status status = tmb_store_prepared_keep(at->store, voice, model, path);
    assert_int_not_equal(access(path, F_OK), 0);
    return status;
}

/* It is one for each model, counted, replaced, and goes with its voice, also if the voice went first. */
static void test_prepared_voices(void **state) {
    fixture *at = *state;
    add_voice(at, "anna", "voice");
    tmb_voice_info voice;
    assert_int_equal(tmb_store_voice_get(at->store, "anna", NULL, &voice), TMB_STORE_OK);
    assert_int_equal(keep_prepared(at, &voice, "model a", "12345678"), TMB_STORE_OK);
    assert_int_equal(keep_prepared(at, &voice, "model b", "1234"), TMB_STORE_OK);
    assert_int_equal(tmb_store_bytes(at->store), 5 + 8 + 4);
    assert_int_equal(keep_prepared(at, &voice, "model a", "123"), TMB_STORE_OK);
    assert_int_equal(tmb_store_bytes(at->store), 5 + 3 + 4);
    reopen(at);
    assert_int_equal(tmb_store_bytes(at->store), 5 + 3 + 4);
    tmb_store_prepared_drop(at->store, &voice, "model b");
    int descriptor = -1;
    assert_int_equal(tmb_store_prepared_open(at->store, &voice, "model b", &descriptor), TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_prepared_open(at->store, &voice, "model a", &descriptor), TMB_STORE_OK);
    assert_int_equal(tmb_store_voice_remove(at->store, "anna", NULL), TMB_STORE_OK);
    char bytes[8] = "";
    assert_int_equal(read(descriptor, bytes, 8), 3); /* whoever has it open still reads it */
    (void)close(descriptor);
    assert_int_equal(tmb_store_bytes(at->store), 0);
    assert_int_equal(keep_prepared(at, &voice, "model a", "late"), TMB_STORE_NOT_FOUND);
    assert_int_equal(count_contents(at), 0);
    /* The name is another voice's by now. */
    add_voice(at, "anna", "other");
    assert_int_equal(keep_prepared(at, &voice, "model a", "late"), TMB_STORE_NOT_FOUND);
    assert_int_equal(count_contents(at), 1);
    tmb_voice_info_free(&voice);
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

static void finish(fixture *at, const tmb_delivery *delivery, const char *bytes, tmb_store_status expected) {
    tmb_file_info audio = add_result(at, bytes);
    assert_int_equal(tmb_store_item_finish(at->store, delivery, TMB_ITEM_DONE, "done", audio.id), expected);
    if (expected != TMB_STORE_OK) { /* it is still the caller's */
        assert_int_equal(tmb_store_file_remove(at->store, audio.id), TMB_STORE_OK);
    }
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

static void test_job(void **state) {
    fixture *at = *state;
    tmb_job_info job = add_job(at, 2);
    tmb_delivery lost = take(at, 100);
    assert_string_equal(lost.request, "first");
    check_counts(at, job.id, 1, 1, 0, 0);
    /* The process dies: what ran runs again, at once or when its lease is over. */
    assert_int_equal(tmb_store_item_renew(at->store, &lost, -1), TMB_STORE_OK);
    reopen(at);
    tmb_delivery items[2];
    for (size_t i = 0; i < 2; i++) {
        items[i] = take(at, 100);
        assert_string_equal(items[i].request, requests[i]);
    }
    tmb_delivery nothing;
    assert_int_equal(tmb_store_item_take(at->store, &(tmb_taking){.lease_seconds = 100}, &nothing),
                     TMB_STORE_NOT_FOUND);
    finish(at, &lost, "of a dead process", TMB_STORE_NOT_FOUND);
    finish(at, &items[0], "audio", TMB_STORE_OK);
    /* Twice is as good as once. */
    assert_int_equal(tmb_store_item_finish(at->store, &items[0], TMB_ITEM_FAILED, "again", NULL), TMB_STORE_OK);
    assert_int_equal(tmb_store_bytes(at->store), 5);
    assert_int_equal(tmb_store_item_give_back(at->store, &items[1], false), TMB_STORE_OK);
    assert_int_equal(tmb_store_item_give_back(at->store, &items[1], false), TMB_STORE_NOT_FOUND);
    finish(at, &items[1], "not running", TMB_STORE_NOT_FOUND);
    check_counts(at, job.id, 1, 0, 1, 0);
    tmb_delivery again = take(at, 100);
    assert_int_equal(tmb_store_item_finish(at->store, &again, TMB_ITEM_FAILED, "failed", NULL), TMB_STORE_OK);
    check_counts(at, job.id, 0, 0, 1, 1);
    tmb_job_item *list = NULL;
    size_t count = 0;
    assert_int_equal(tmb_store_item_list(at->store, job.id, &list, &count), TMB_STORE_OK);
    assert_int_equal(count, 2);
    assert_string_equal(list[0].result, "done");
    check_file(at, list[0].file, "audio");
    assert_string_equal(list[1].result, "failed");
    assert_string_equal(list[1].file, "");
    tmb_item_list_free(list, count);
    assert_int_equal(tmb_store_job_remove(at->store, job.id), TMB_STORE_OK);
    assert_int_equal(tmb_store_bytes(at->store), 0);
    free(lost.request);
    free(items[0].request);
    free(items[1].request);
    free(again.request);
}

/* Who has an item renews its lease; what was not renewed is somebody else's, and the first one's result is dropped. */
static void test_leases(void **state) {
    fixture *at = *state;
    tmb_job_info job = add_job(at, 1);
    tmb_delivery first = take(at, 100);
    tmb_delivery second;
    assert_int_equal(tmb_store_item_take(at->store, &(tmb_taking){.lease_seconds = 100}, &second), TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_item_renew(at->store, &first, -1), TMB_STORE_OK); /* it is over now */
    second = take(at, 100);
    assert_int_equal(second.position, first.position);
    assert_int_equal(tmb_store_item_renew(at->store, &first, 100), TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_item_give_back(at->store, &first, false), TMB_STORE_NOT_FOUND);
    finish(at, &first, "late", TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_item_renew(at->store, &second, 100), TMB_STORE_OK);
    finish(at, &second, "audio", TMB_STORE_OK);
    assert_int_equal(tmb_store_item_renew(at->store, &second, 100), TMB_STORE_NOT_FOUND);
    check_counts(at, job.id, 0, 0, 1, 0);
    free(first.request);
    free(second.request);
}

static void test_result_of_a_removed_job_is_dropped(void **state) {
    fixture *at = *state;
    tmb_job_info job = add_job(at, 1);
    tmb_delivery item = take(at, 100);
    assert_int_equal(tmb_store_job_remove(at->store, job.id), TMB_STORE_OK);
    finish(at, &item, "audio", TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_bytes(at->store), 0);
    free(item.request);
}

typedef struct watched {
    atomic_int work, removed;
    char last[TMB_STORE_ID]; /* that was removed */
} watched;

static void on_event(void *user, tmb_job_event event, const char *job) {
    watched *seen = user;
    if (event == TMB_JOB_REMOVED) {
        (void)snprintf(seen->last, sizeof seen->last, "%s", job);
    }
    atomic_fetch_add(event == TMB_JOB_WORK ? &seen->work : &seen->removed, 1);
}

/* Events of other processes take a while. */
static void wait_count(atomic_int *counter, int least) {
    for (double end = tmb_now() + 60; tmb_now() < end && atomic_load(counter) < least;) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    assert_true(atomic_load(counter) >= least);
}

static void test_watch(void **state) {
    fixture *at = *state;
    watched seen = {.work = 0};
    tmb_store_watch(at->store, on_event, &seen);
    if (is_shared()) { /* it listens */
        wait_count(&seen.work, 1);
        atomic_store(&seen.work, 0);
    }
    tmb_job_info job = add_job(at, 1);
    wait_count(&seen.work, 1);
    tmb_delivery item = take(at, 100);
    assert_int_equal(tmb_store_item_give_back(at->store, &item, false), TMB_STORE_OK);
    wait_count(&seen.work, 2);
    assert_int_equal(tmb_store_job_remove(at->store, job.id), TMB_STORE_OK);
    wait_count(&seen.removed, 1);
    assert_string_equal(seen.last, job.id);
    tmb_store_watch(at->store, NULL, NULL);
    (void)add_job(at, 1);
    assert_int_equal(atomic_load(&seen.work), 2);
    free(item.request);
}

/* Neither of two jobs gets far ahead of the other while both have items that wait. */
static void test_jobs_take_turns(void **state) {
    fixture *at = *state;
    int taken[3] = {0};
    int64_t last = 0;
    (void)add_job(at, 3);
    (void)add_job(at, 3);
    for (size_t i = 0; i < 6; i++) {
        tmb_delivery item;
        tmb_taking how = {.after_job = last, .lease_seconds = 100};
        assert_int_equal(tmb_store_item_take(at->store, &how, &item), TMB_STORE_OK);
        assert_int_equal(item.position, taken[item.job_number]++);
        assert_true(abs(taken[1] - taken[2]) <= 2);
        last = item.job_number;
        free(item.request);
    }
    assert_int_equal(taken[1], 3);
    assert_int_equal(taken[2], 3);
}

static void set_file(tmb_job_file *file, const char *id, bool owned) {
    (void)snprintf(file->id, sizeof file->id, "%s", id);
    file->owned = owned;
}

static void test_job_files(void **state) {
    fixture *at = *state;
    tmb_file_info owned = add_file(at, "owned");
    tmb_file_info lent = add_file(at, "lent");
    tmb_job_file files[2];
    set_file(&files[0], owned.id, true);
    set_file(&files[1], lent.id, false);
    tmb_new_job wanted = {.label = "", .requests = requests, .count = 1, .files = files, .file_count = 2};
    tmb_job_info job;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    assert_int_equal(tmb_store_file_remove(at->store, lent.id), TMB_STORE_IN_USE);
    assert_int_equal(tmb_store_job_remove(at->store, job.id), TMB_STORE_OK);
    check_file(at, lent.id, "lent");
    int descriptor = -1;
    tmb_file_info info;
    assert_int_equal(tmb_store_file_open(at->store, owned.id, &descriptor, &info), TMB_STORE_NOT_FOUND);
    set_file(&files[0], "0123456789abcdef0123456789abcdef", true);
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_NOT_FOUND);
    size_t queued = 1;
    size_t running = 1;
    assert_int_equal(tmb_store_item_counts(at->store, &queued, &running), TMB_STORE_OK);
    assert_int_equal(queued + running, 0);
}

static void test_repeat_keys(void **state) {
    fixture *at = *state;
    tmb_new_job wanted = {.label = "", .repeat_key = "key", .body = "a", .requests = requests, .count = 1};
    tmb_job_info first;
    tmb_job_info again;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &first), TMB_STORE_OK);
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &again), TMB_STORE_EXISTS);
    assert_string_equal(first.id, again.id);
    wanted.body = "b";
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &again), TMB_STORE_CONFLICT);
    assert_string_equal(first.id, again.id);
    wanted.repeat_key = "kez";
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &again), TMB_STORE_OK);
    assert_string_not_equal(first.id, again.id);
    /* A label is kept whole or not at all. */
    char label[300];
    memset(label, 'x', sizeof label);
    label[299] = 0;
    wanted.repeat_key = NULL;
    wanted.label = label;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &again), TMB_STORE_TOO_LARGE);
}

static void test_job_limit(void **state) {
    fixture *at = *state;
    tmb_store_close(&at->store);
    tmb_store_options tight = {.file_seconds = 1000, .job_seconds = 1000, .max_jobs = 1};
    open_store(at, &tight);
    tmb_job_info job = add_job(at, 1);
    tmb_job_info more;
    tmb_new_job wanted = {.label = "", .requests = requests, .count = 1};
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &more), TMB_STORE_FULL);
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
    tmb_job_file files[1];
    set_file(&files[0], pinned.id, true);
    tmb_new_job wanted = {.label = "", .requests = requests, .count = 1, .files = files, .file_count = 1};
    tmb_job_info job;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    (void)tmb_store_expire(at->store);
    check_file(at, pinned.id, "pinned");
    int descriptor = -1;
    tmb_file_info info;
    assert_int_equal(tmb_store_file_open(at->store, free_file.id, &descriptor, &info), TMB_STORE_NOT_FOUND);
    tmb_delivery item = take(at, 100);
    finish(at, &item, "audio", TMB_STORE_OK);
    (void)tmb_store_expire(at->store);
    assert_int_equal(tmb_store_job_get(at->store, job.id, &job), TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_bytes(at->store), 0);
    free(item.request);
}

static const store_test tests[] = {
    STORE_TEST(test_files),
    STORE_TEST(test_upload_limits),
    STORE_TEST(test_voices),
    STORE_TEST(test_prepared_voices),
    STORE_TEST(test_job),
    STORE_TEST(test_leases),
    {.name = "test_watch", .run = test_watch, .alone = true},
    STORE_TEST(test_repeat_keys),
    STORE_TEST(test_result_of_a_removed_job_is_dropped),
    STORE_TEST(test_jobs_take_turns),
    STORE_TEST(test_job_files),
    STORE_TEST(test_job_limit),
    STORE_TEST(test_expiry),
};

int main(int argc, char **argv) { return run_store_tests(argc, argv, "sqlite", tests, sizeof tests / sizeof tests[0]); }
