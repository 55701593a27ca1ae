/* How items come to the batch and through it. */
#include "scheduler_fixture.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static void test_one_item(void **state) {
    (void)state;
    tmb_context *context = open_context(0);
    tmb_clone_request request = clone_request("7", 0);
    request.custom_id = "seven";
    request.has_seed = true;
    request.seed = 42;
    request.want_codes = true;
    outcomes[0].want_audio = outcomes[0].want_progress = true;
    submit(context, &request, &outcomes[0]);
    assert_success(&outcomes[0]);
    clone_outcome *out = &outcomes[0];
    assert_int_equal(out->sample_count, 7 * FAKE_FRAME);
    assert_int_equal(out->heard, 7 * FAKE_FRAME);
    assert_int_equal(out->rate, FAKE_RATE);
    assert_true(out->in_order);
    assert_true(out->first == fake_value(1, 0) && out->last == fake_value(1, 6));
    assert_true(out->result_first == out->first && out->result_last == out->last);
    assert_true(fabs(out->duration - 0.56) < 1e-9);
    assert_string_equal(out->custom_id, "seven");
    assert_string_equal(out->engine, "fake");
    assert_string_equal(out->finish, "stop");
    assert_true(out->is_clone);
    assert_int_equal(out->seed, 42);
    assert_int_equal(out->last_code, 1);
    assert_int_equal(out->segments, 2);
    assert_string_equal(out->segment, "one");
    assert_true(out->progress[TMB_STAGE_SPEECH] == 1 && out->progress[TMB_STAGE_DONE] == 1);
    assert_false(out->went_back);
    assert_true(out->first_audio > 0 && out->first_audio <= out->total);
    assert_true(out->timings[TMB_STAGE_SPEECH] > 0);
    tmb_statistics statistics;
    tmb_get_statistics(context, &statistics);
    assert_int_equal(statistics.finished_items, 1);
    assert_string_equal(statistics.engine, "fake");
    assert_true(fabs(statistics.audio_seconds - 0.56) < 1e-9);
    close_context(context);
}

static void test_bad_requests(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_context *context = open_context(0);
    static const struct {
        const char *message;
        tmb_status status;
    } expected[] = {
        {"text is empty", TMB_ERROR_ARGUMENT},     {"text is empty", TMB_ERROR_ARGUMENT},
        {"not valid UTF-8", TMB_ERROR_ARGUMENT},   {"no reference", TMB_ERROR_ARGUMENT},
        {"more than one", TMB_ERROR_ARGUMENT},     {"klingon", TMB_ERROR_ARGUMENT},
        {"temperature is 99", TMB_ERROR_ARGUMENT}, {"top_p is nan", TMB_ERROR_ARGUMENT},
        {"ref_rate is 1", TMB_ERROR_ARGUMENT},     {"deadline", TMB_ERROR_ARGUMENT},
        {"attenuation", TMB_ERROR_ARGUMENT},       {"ref_text is not valid", TMB_ERROR_ARGUMENT},
        {"default first", TMB_ERROR_ARGUMENT},     {"max_frames is -4", TMB_ERROR_ARGUMENT},
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        tmb_clone_request request = clone_request("3", 0);
        const char *text[] = {NULL, " \n\t", "\xc0\xaf"};
        request.text = i < 3 ? text[i] : request.text;
        request.ref_samples = i == 3 ? NULL : request.ref_samples;
        request.voice = i == 4 ? "a.tmbvoice" : NULL;
        request.language = i == 5 ? "klingon" : "English";
        request.temperature = i == 6 ? 99 : -1;
        request.top_p = i == 7 ? (double)NAN : -1;
        request.ref_rate = i == 8 ? 1 : 24000;
        request.deadline = i == 9 ? -3 : 0;
        request.run_pre_processing = i == 10;
        request.pre.attenuation_limit_db = -2;
        request.ref_text = i == 11 ? "\xff" : NULL;
        request.struct_size = i == 12 ? 0 : sizeof request;
        request.max_frames = i == 13 ? -4 : 0;
        assert_int_equal(clone_submit(context, &request, &outcomes[0], &error), expected[i].status);
        if (strstr(error.message, expected[i].message) == NULL) {
            fail_msg("case %zu: \"%s\" lacks \"%s\"", i, error.message, expected[i].message);
        }
    }
    assert_int_equal(outcomes[0].results, 0);
    close_context(context);
}

/* Characters that nobody sees are no text, whichever and however many; as a transcript they are none. */
static void test_blank_texts(void **state) {
    (void)state;
    static const char *const blanks[] = {
        "\u00a0", "\u3000", "\u200b",           "\ufeff",       "\u2060",
        "\u00ad", "\u180e", "\u2028\u2029",     "\u200e\u202c", "\u115f\u3164",
        "\u2800", "\ufe0f", "\x01\x7f\xc2\x85", "\u2003\u205f", "\ufeff \t\u3000\r\n\u200b\u2060\u00a0",
    };
    tmb_error error = {0};
    tmb_context *context = open_context(0);
    for (size_t i = 0; i < sizeof blanks / sizeof blanks[0]; i++) {
        tmb_clone_request request = clone_request(blanks[i], 0);
        assert_int_equal(clone_submit(context, &request, &outcomes[0], &error), TMB_ERROR_ARGUMENT);
        assert_non_null(strstr(error.message, "text is empty"));
        request = clone_request("3", 0);
        request.ref_text = blanks[i];
        submit(context, &request, &outcomes[1 + i]);
        tmb_clone_wait(context);
        assert_success(&outcomes[1 + i]);
    }
    close_context(context);
}

/* Whoever comes later joins at the next frame; nobody waits for the batch to end. */
static void test_continuous_batch(void **state) {
    (void)state;
    tmb_context *context = open_context(4);
    fake.steps_allowed = 3;
    tmb_clone_request request = clone_request("10", 0);
    submit(context, &request, &outcomes[0]);
    fake_wait_steps(3);
    request.text = "2";
    submit(context, &request, &outcomes[1]);
    wait_for(context, 2, 0);
    fake_allow(3); /* the short one: two frames and its end */
    assert_success(&outcomes[1]);
    assert_int_equal(outcome_results(&outcomes[0]), 0);
    assert_int_equal(FAKE(frames[1]), 6);
    assert_int_equal(FAKE(frames[2]), 2);
    fake_allow(-1);
    assert_success(&outcomes[0]);
    assert_int_equal(outcomes[0].sample_count, 10 * FAKE_FRAME);
    fake_wait_steps(11);
    assert_int_equal(fake_steps(), 11);
    assert_int_equal(FAKE(most_live), 2);
    close_context(context);
}

static void test_batch_is_bounded(void **state) {
    (void)state;
    tmb_context *context = open_context(3);
    for (int i = 0; i < 20; i++) {
        tmb_clone_request request = clone_request("4", i % 3);
        submit(context, &request, &outcomes[i]);
    }
    for (int i = 0; i < 20; i++) {
        assert_success(&outcomes[i]);
    }
    tmb_statistics statistics;
    tmb_get_statistics(context, &statistics);
    assert_int_equal(statistics.batch_sequences, 20 * 5);
    assert_int_equal(statistics.finished_items, 20);
    fake_pause();
    for (int i = 20; i < 28; i++) {
        tmb_clone_request request = clone_request("4", i % 3);
        submit(context, &request, &outcomes[i]);
    }
    wait_for(context, 3, 5);
    fake_allow(-1);
    for (int i = 20; i < 28; i++) {
        assert_success(&outcomes[i]);
    }
    assert_int_equal(FAKE(most_live), 3);
    close_context(context);
}

/* One item beside a group of many waits for one of them, not for all. */
static void test_groups_take_turns(void **state) {
    (void)state;
    tmb_context *context = open_context(1);
    fake.steps_allowed = 0;
    for (int i = 0; i < MANY; i++) {
        tmb_clone_request request = clone_request("1", 0);
        request.group = 7;
        submit(context, &request, &outcomes[i]);
    }
    fake_wait_admissions(1);
    tmb_clone_request request = clone_request("2 alone", 1);
    request.group = 8;
    submit(context, &request, &outcomes[MANY]);
    /* It must have been prepared, or it could not take its turn. */
    FAKE_WAIT(fake.prepared >= 2);
    wait_for(context, 1, MANY);
    fake_allow(-1);
    assert_success(&outcomes[MANY]);
    for (int i = 0; i < MANY; i++) {
        assert_success(&outcomes[i]);
    }
    size_t place = 0;
    while (strcmp(fake.admitted[place], "2 alone") != 0) {
        place++;
    }
    /* A few of the hundred may pass while its voice is on its way from the encoder. */
    assert_true(place <= 12);
    close_context(context);
}

/* A group of many leaves a place in the batch to others; one that has nothing in it takes it at once. */
static void test_last_place_is_kept(void **state) {
    (void)state;
    tmb_context *context = open_context(4);
    fake.steps_allowed = 0;
    tmb_clone_request request = clone_request("9", 0);
    request.group = 7;
    for (int i = 0; i < 6; i++) {
        submit(context, &request, &outcomes[i]);
    }
    wait_for(context, 3, 3);
    wait_for_ready(context, 3);
    request.group = 8;
    submit(context, &request, &outcomes[6]);
    wait_for(context, 4, 3);
    fake_allow(-1);
    for (int i = 0; i <= 6; i++) {
        assert_success(&outcomes[i]);
    }
    /* Group 0 has nobody beside it. */
    request.group = 0;
    fake_pause();
    for (int i = 10; i < 16; i++) {
        submit(context, &request, &outcomes[i]);
    }
    wait_for(context, 4, 2);
    fake_allow(-1);
    for (int i = 10; i < 16; i++) {
        assert_success(&outcomes[i]);
    }
    close_context(context);
}

static void test_priority(void **state) {
    (void)state;
    tmb_context *context = open_context(1);
    fake.steps_allowed = 0;
    tmb_clone_request request = clone_request("1 first", 0);
    submit(context, &request, &outcomes[0]);
    wait_for(context, 1, 0);
    for (int i = 1; i <= 5; i++) {
        request.text = "1 low";
        submit(context, &request, &outcomes[i]);
    }
    request.text = "1 high";
    request.priority = 3;
    submit(context, &request, &outcomes[6]);
    wait_for_ready(context, 6);
    fake_allow(-1);
    for (int i = 0; i <= 6; i++) {
        assert_success(&outcomes[i]);
    }
    assert_string_equal(fake.admitted[1], "1 high");
    close_context(context);
}

/* An empty batch waits for company: both start in the same step. */
static void test_batch_wait(void **state) {
    (void)state;
    tmb_options options;
    tmb_options_default(&options);
    options.max_batch = 2;
    options.max_batch_wait = 30;
    tmb_context *context = fake_context(&options);
    tmb_clone_request request = clone_request("3", 0);
    submit(context, &request, &outcomes[0]);
    (void)usleep(20000);
    assert_int_equal(fake_admissions(), 0);
    submit(context, &request, &outcomes[1]); /* full: no reason to wait */
    assert_success(&outcomes[0]);
    assert_success(&outcomes[1]);
    fake_wait_steps(4);
    assert_int_equal(fake_steps(), 4);
    close_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_one_item),           TEST(test_bad_requests),     TEST(test_blank_texts),
        TEST(test_continuous_batch),   TEST(test_batch_is_bounded), TEST(test_groups_take_turns),
        TEST(test_last_place_is_kept), TEST(test_priority),         TEST(test_batch_wait),
    };
    return cmocka_run_group_tests_name("scheduler", tests, NULL, NULL);
}
