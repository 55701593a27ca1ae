/* Voices: prepared once, kept, saved. */
#include "scheduler_fixture.h"

#include <stdlib.h>
#include <unistd.h>

/* A hundred texts in one voice: its encoders run once, also if all come at once. */
static void test_voice_is_prepared_once(void **state) {
    (void)state;
    tmb_context *context = open_context(0);
    fake.gate_closed = true;
    for (int i = 0; i < MANY; i++) {
        tmb_clone_request request = clone_request("1", 5);
        request.ref_text = "the same words";
        submit(context, &request, &outcomes[i]);
    }
    (void)usleep(20000);
    fake_open_gate();
    for (int i = 0; i < MANY; i++) {
        assert_success(&outcomes[i]);
    }
    assert_int_equal(FAKE(prepared), 1);
    /* Another transcript, other samples, another mode: other voices. */
    tmb_clone_request request = clone_request("1", 5);
    request.ref_text = "other words";
    submit(context, &request, &outcomes[MANY]);
    assert_success(&outcomes[MANY]);
    assert_int_equal(FAKE(prepared), 2);
    outcome_init(&outcomes[MANY]);
    request.x_vector_only = true;
    submit(context, &request, &outcomes[MANY]);
    assert_success(&outcomes[MANY]);
    assert_int_equal(FAKE(prepared), 3);
    outcome_init(&outcomes[MANY]);
    request = clone_request("1", 6);
    submit(context, &request, &outcomes[MANY]);
    assert_success(&outcomes[MANY]);
    assert_int_equal(FAKE(prepared), 4);
    close_context(context);
}

static void test_voice_cache_is_bounded(void **state) {
    (void)state;
    tmb_options options;
    tmb_options_default(&options);
    options.voice_cache_entries = 2;
    tmb_context *context = fake_context(&options);
    const int order[] = {0, 1, 0, 2, 0, 1}; /* 1 was dropped for 2, 0 was used in between */
    for (int i = 0; i < 6; i++) {
        tmb_clone_request request = clone_request("1", order[i]);
        submit(context, &request, &outcomes[i]);
        assert_success(&outcomes[i]);
    }
    assert_int_equal(FAKE(prepared), 4);
    close_context(context);
}

/* A voice that cannot be made fails those who wait for it, and is tried again for the next. */
static void test_voice_failure(void **state) {
    (void)state;
    tmb_context *context = open_context(0);
    fake.gate_closed = true;
    for (int i = 0; i < 5; i++) {
        tmb_clone_request request = clone_request("1", 5);
        request.ref_text = "bad";
        submit(context, &request, &outcomes[i]);
    }
    (void)usleep(20000);
    fake_open_gate();
    for (int i = 0; i < 5; i++) {
        assert_failure(&outcomes[i], TMB_ERROR_FORMAT);
    }
    int prepared = FAKE(prepared);
    tmb_clone_request request = clone_request("1", 5);
    request.ref_text = "bad";
    submit(context, &request, &outcomes[5]);
    assert_failure(&outcomes[5], TMB_ERROR_FORMAT);
    assert_int_equal(FAKE(prepared), prepared + 1);
    close_context(context);
}

static void test_saved_voice(void **state) {
    (void)state;
    tmb_error error = {0};
    char path[] = "/tmp/timbre-voice-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    (void)close(file);
    tmb_context *context = open_context(0);
    tmb_clone_request request = clone_request(NULL, 0);
    assert_int_equal(tmb_voice_save(context, &request, path, &error), TMB_ERROR_UNSUPPORTED);
    tmb_clone_wait(context);
    tmb_close(&context);

    fake.has_saved_voices = true;
    context = open_context(0);
    assert_ok(tmb_voice_save(context, &request, path, &error), error);
    assert_int_equal(FAKE(prepared), 2);
    tmb_clone_request_default(&request);
    request.voice = path;
    request.text = "3";
    request.run_post_processing = false;
    submit(context, &request, &outcomes[0]);
    assert_success(&outcomes[0]);
    assert_int_equal(FAKE(prepared), 2);
    assert_int_equal(tmb_voice_save(context, &request, "/nowhere/a.tmbvoice", &error), TMB_ERROR_IO);
    request.voice = "/etc/passwd";
    submit(context, &request, &outcomes[1]);
    assert_failure(&outcomes[1], TMB_ERROR_FORMAT);
    request.voice = "/nowhere/a.tmbvoice";
    submit(context, &request, &outcomes[2]);
    assert_failure(&outcomes[2], TMB_ERROR_IO);
    close_context(context);
    (void)unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_voice_is_prepared_once),
        TEST(test_voice_cache_is_bounded),
        TEST(test_voice_failure),
        TEST(test_saved_voice),
    };
    return cmocka_run_group_tests_name("scheduler voices", tests, NULL, NULL);
}
