/* Items that end before their time: by failing, by being cancelled, by a deadline. */
#include "scheduler_fixture.h"

#include <string.h>
#include <unistd.h>

static void test_items_fail_alone(void **state) {
    (void)state;
    tmb_context *context = open_context(4);
    const char *const texts[] = {"5", "3 fail", "refuse", "4", "0 fail", "6"};
    for (int i = 0; i < 6; i++) {
        tmb_clone_request request = clone_request(texts[i], i);
        submit(context, &request, &outcomes[i]);
    }
    assert_success(&outcomes[0]);
    assert_failure(&outcomes[1], TMB_ERROR_INTERNAL);
    assert_failure(&outcomes[2], TMB_ERROR_ARGUMENT);
    assert_success(&outcomes[3]);
    assert_failure(&outcomes[4], TMB_ERROR_INTERNAL);
    assert_success(&outcomes[5]);
    tmb_statistics statistics;
    tmb_get_statistics(context, &statistics);
    assert_int_equal(statistics.finished_items, 3);
    assert_int_equal(statistics.failed_items, 3);
    close_context(context);
}

static void test_engine_does_not_load(void **state) {
    (void)state;
    tmb_context *context = open_context(0);
    fake.creation_fails = true;
    for (int i = 0; i < 3; i++) {
        tmb_clone_request request = clone_request("2", i);
        submit(context, &request, &outcomes[i]);
    }
    for (int i = 0; i < 3; i++) {
        assert_failure(&outcomes[i], TMB_ERROR_MODEL);
    }
    tmb_clone_wait(context);
    fake.creation_fails = false;
    tmb_clone_request request = clone_request("2", 0);
    submit(context, &request, &outcomes[3]);
    assert_success(&outcomes[3]);
    close_context(context);
}

static void test_engine_breaks(void **state) {
    (void)state;
    tmb_context *context = open_context(0);
    fake.steps_allowed = 2;
    for (int i = 0; i < 3; i++) {
        tmb_clone_request request = clone_request("9", i);
        submit(context, &request, &outcomes[i]);
    }
    fake_wait_steps(2);
    (void)pthread_mutex_lock(&fake.lock);
    fake.step_fails = true;
    (void)pthread_mutex_unlock(&fake.lock);
    for (int i = 0; i < 3; i++) {
        assert_failure(&outcomes[i], TMB_ERROR_INTERNAL);
    }
    (void)pthread_mutex_lock(&fake.lock);
    fake.step_fails = false;
    fake.steps_allowed = -1;
    (void)pthread_mutex_unlock(&fake.lock);
    tmb_clone_request request = clone_request("9", 0);
    submit(context, &request, &outcomes[3]);
    assert_success(&outcomes[3]);
    close_context(context);
}

static void test_cancel_live(void **state) {
    (void)state;
    tmb_context *context = open_context(0);
    fake.steps_allowed = 0;
    for (int i = 0; i < 2; i++) {
        tmb_clone_request request = clone_request("9", i);
        submit(context, &request, &outcomes[i]);
        wait_for(context, (size_t)i + 1, 0);
    }
    fake_allow(3);
    fake_wait_steps(3);
    tmb_clone_cancel(context, outcomes[0].item);
    tmb_clone_cancel(context, 123456);
    assert_failure(&outcomes[0], TMB_ERROR_CANCELLED);
    FAKE_WAIT(fake.ended[1]); /* although no further step is allowed */
    assert_int_equal(FAKE(frames[1]), 3);
    fake_allow(-1);
    assert_success(&outcomes[1]);
    tmb_statistics statistics;
    tmb_get_statistics(context, &statistics);
    assert_int_equal(statistics.cancelled_items, 1);
    close_context(context);
}

static void test_cancel_while_waiting(void **state) {
    (void)state;
    tmb_context *context = open_context(1);
    fake.steps_allowed = 0;
    for (int i = 0; i < 40; i++) { /* live, ready, waiting */
        tmb_clone_request request = clone_request("2", 0);
        submit(context, &request, &outcomes[i]);
        if (i == 0) {
            wait_for(context, 1, 0);
        }
    }
    wait_for_ready(context, 7);
    for (int i = 39; i > 0; i--) {
        tmb_clone_cancel(context, outcomes[i].item);
    }
    for (int i = 39; i > 0; i--) {
        assert_failure(&outcomes[i], TMB_ERROR_CANCELLED);
    }
    fake_allow(-1);
    assert_success(&outcomes[0]);
    assert_int_equal(FAKE(admissions), 1);
    close_context(context);
}

/* Those who wait for a voice leave; the build goes on as long as anyone waits. */
static void test_cancel_while_building(void **state) {
    (void)state;
    tmb_context *context = open_context(0);
    fake.gate_closed = true;
    for (int i = 0; i < 4; i++) {
        tmb_clone_request request = clone_request("2", 3);
        submit(context, &request, &outcomes[i]);
    }
    tmb_clone_request request = clone_request("2", 4); /* a voice of its own */
    submit(context, &request, &outcomes[4]);
    FAKE_WAIT(fake.preparing != 0);
    (void)usleep(20000);
    tmb_clone_cancel(context, outcomes[0].item);
    tmb_clone_cancel(context, outcomes[2].item);
    tmb_clone_cancel(context, outcomes[4].item);
    assert_failure(&outcomes[0], TMB_ERROR_CANCELLED);
    assert_failure(&outcomes[2], TMB_ERROR_CANCELLED);
    assert_failure(&outcomes[4], TMB_ERROR_CANCELLED);
    fake_open_gate();
    assert_success(&outcomes[1]);
    assert_success(&outcomes[3]);
    close_context(context);
}

static void test_cancel_by_callback(void **state) {
    (void)state;
    tmb_context *context = open_context(0);
    tmb_clone_request request = clone_request("10000", 0);
    outcomes[0].want_audio = true;
    outcomes[0].cancel_after = 3 * FAKE_FRAME;
    submit(context, &request, &outcomes[0]);
    assert_failure(&outcomes[0], TMB_ERROR_CANCELLED);
    tmb_clone_wait(context);
    assert_true(FAKE(frames[1]) < 10000);
    assert_true(FAKE(ended[1]));
    close_context(context);
}

static void test_cancel_slow_listener(void **state) {
    (void)state;
    tmb_context *context = open_context(0);
    tmb_clone_request request = clone_request("400", 0);
    outcomes[0].want_audio = true;
    outcomes[0].audio_blocks = true;
    submit(context, &request, &outcomes[0]);
    outcome_wait_heard(&outcomes[0], 1);
    tmb_clone_cancel(context, outcomes[0].item);
    FAKE_WAIT(fake.ended[1]);
    assert_int_equal(outcome_results(&outcomes[0]), 0); /* one callback at a time */
    outcome_let_go(&outcomes[0]);
    assert_failure(&outcomes[0], TMB_ERROR_CANCELLED);
    close_context(context);
}

static void test_cancel_while_memory_is_awaited(void **state) {
    (void)state;
    tmb_options options;
    tmb_options_default(&options);
    options.memory_budget = 40u << 20;
    fake.sequence_bytes = 30u << 20;
    tmb_context *context = fake_context(&options);
    fake.steps_allowed = 1;
    tmb_clone_request request = clone_request("3", 0);
    for (int i = 0; i < 3; i++) {
        submit(context, &request, &outcomes[i]);
        wait_for(context, 1, (size_t)i);
        if (i == 1) { /* it comes first, and has to wait */
            wait_for_admitting(context);
        }
    }
    tmb_clone_cancel(context, outcomes[1].item);
    assert_failure(&outcomes[1], TMB_ERROR_CANCELLED);
    fake_allow(-1);
    assert_success(&outcomes[0]);
    assert_success(&outcomes[2]);
    assert_int_equal(FAKE(admissions), 2);
    close_context(context);
}

static void test_close_cancels(void **state) {
    (void)state;
    tmb_context *context = open_context(2);
    fake.steps_allowed = 2;
    for (int i = 0; i < 30; i++) {
        tmb_clone_request request = clone_request("100", i % 5);
        outcomes[i].want_audio = outcomes[i].want_progress = true;
        submit(context, &request, &outcomes[i]);
    }
    fake_wait_steps(2);
    tmb_close(&context);
    for (int i = 0; i < 30; i++) {
        assert_int_equal(outcomes[i].results, 1);
        assert_int_equal(outcomes[i].error.status, TMB_ERROR_CANCELLED);
    }
    assert_int_equal(FAKE(created), FAKE(destroyed));
}

static void test_deadline(void **state) {
    (void)state;
    tmb_context *context = open_context(1);
    fake.steps_allowed = 1;
    tmb_clone_request request = clone_request("9", 0);
    request.deadline = 0.05;
    submit(context, &request, &outcomes[0]);
    while (fake_admissions() == 0 && outcome_results(&outcomes[0]) == 0) { /* on a busy machine it is late already */
        (void)usleep(500);
    }
    request.deadline = 0.02;
    submit(context, &request, &outcomes[1]); /* will wait */
    request.deadline = 1000;
    submit(context, &request, &outcomes[2]);
    assert_failure(&outcomes[0], TMB_ERROR_TIMEOUT);
    assert_failure(&outcomes[1], TMB_ERROR_TIMEOUT);
    fake_allow(-1);
    assert_success(&outcomes[2]);
    close_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_items_fail_alone),
        TEST(test_engine_does_not_load),
        TEST(test_engine_breaks),
        TEST(test_cancel_live),
        TEST(test_cancel_while_waiting),
        TEST(test_cancel_while_building),
        TEST(test_cancel_by_callback),
        TEST(test_cancel_slow_listener),
        TEST(test_cancel_while_memory_is_awaited),
        TEST(test_close_cancels),
        TEST(test_deadline),
    };
    return cmocka_run_group_tests_name("scheduler ends", tests, NULL, NULL);
}
