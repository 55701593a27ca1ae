/* What an item may not take from others: their time, the queue, memory. */
#include "scheduler_fixture.h"

#include "pipeline/scheduler_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void test_slow_listener_holds_only_itself(void **state) {
    (void)state;
    tmb_context *context = open_context(0);
    tmb_clone_request request = clone_request("400", 0); /* 32 s */
    outcomes[0].want_audio = true;
    outcomes[0].audio_blocks = true;
    submit(context, &request, &outcomes[0]);
    outcome_wait_heard(&outcomes[0], 1);
    for (int i = 1; i < 8; i++) {
        request.text = "200";
        outcomes[i].want_audio = true;
        submit(context, &request, &outcomes[i]);
    }
    for (int i = 1; i < 8; i++) {
        assert_success(&outcomes[i]);
    }
    size_t ahead = FAKE(frames[1]);
    /* 5 s and a frame, and what was handed over before. */
    assert_true((double)ahead * 0.08 < 5.3);
    assert_int_equal(outcome_results(&outcomes[0]), 0);
    outcome_let_go(&outcomes[0]);
    assert_success(&outcomes[0]);
    assert_int_equal(outcomes[0].heard, 400 * FAKE_FRAME);
    assert_int_equal(outcomes[0].sample_count, 400 * FAKE_FRAME);
    close_context(context);
}

static tmb_scheduler *impatient_scheduler(tmb_context *context, double seconds) {
    tmb_clone_request request = clone_request("1", 0);
    submit(context, &request, &outcomes[MANY]);
    assert_success(&outcomes[MANY]);
    tmb_clone_wait(context);
    (void)pthread_mutex_lock(&context->scheduler->lock);
    context->scheduler->stall_seconds = seconds;
    (void)pthread_mutex_unlock(&context->scheduler->lock);
    return context->scheduler;
}

/* Every place of the batch is held by somebody who takes nothing: whoever waits gets one, and the others stay. */
static void test_stalled_listeners_lose_their_places(void **state) {
    (void)state;
    tmb_context *context = open_context(2);
    (void)impatient_scheduler(context, 0.2);
    tmb_clone_request request = clone_request("400", 0);
    for (int i = 0; i < 2; i++) {
        outcomes[i].want_audio = true;
        outcomes[i].audio_blocks = true;
        submit(context, &request, &outcomes[i]);
        outcome_wait_heard(&outcomes[i], 1);
    }
    request.text = "3";
    submit(context, &request, &outcomes[2]);
    assert_success(&outcomes[2]);
    /* One for one: the other is as it was. */
    int ended = 0;
    for (int i = 0; i < 2; i++) {
        outcome_let_go(&outcomes[i]);
        outcome_wait(&outcomes[i]);
        if (outcomes[i].error.status != TMB_OK) {
            assert_failure(&outcomes[i], TMB_ERROR_TIMEOUT);
            assert_non_null(strstr(outcomes[i].error.message, "listener"));
            ended++;
        } else {
            assert_int_equal(outcomes[i].heard, 400 * FAKE_FRAME);
        }
    }
    assert_int_equal(ended, 1);
    close_context(context);
}

/* Nobody waits: however long they take, nobody is ended. */
static void test_stalled_listeners_are_in_nobodys_way(void **state) {
    (void)state;
    tmb_context *context = open_context(2);
    (void)impatient_scheduler(context, 0.001);
    tmb_clone_request request = clone_request("400", 0);
    outcomes[0].want_audio = true;
    outcomes[0].audio_blocks = true;
    submit(context, &request, &outcomes[0]);
    outcome_wait_heard(&outcomes[0], 1);
    request.text = "3";
    for (int i = 1; i < 9; i++) {
        submit(context, &request, &outcomes[i]);
        assert_success(&outcomes[i]);
    }
    outcome_let_go(&outcomes[0]);
    assert_success(&outcomes[0]);
    close_context(context);
}

static void wait_for_gate(void *user) {
    pthread_mutex_t *gate = user;
    (void)pthread_mutex_lock(gate);
    (void)pthread_mutex_unlock(gate);
}

/* A context with its scheduler, which comes with the first item. */
static tmb_context *open_scheduler(const tmb_options *options) {
    tmb_options copy = *options;
    tmb_context *context = fake_context(&copy);
    tmb_clone_request request = clone_request("1", 0);
    submit(context, &request, &outcomes[MANY]);
    assert_success(&outcomes[MANY]);
    tmb_clone_wait(context);
    return context;
}

/* Until so many items were spoken and wait for stages 4 and 5. */
static void wait_for_cleaning(tmb_scheduler *scheduler, size_t count) {
    for (bool found = false; !found;) {
        (void)usleep(500);
        (void)pthread_mutex_lock(&scheduler->lock);
        found = scheduler->lanes[0].live_count == 0 && scheduler->cleaning_count == count;
        (void)pthread_mutex_unlock(&scheduler->lock);
    }
}

/* If the denoiser is slower than the engine, items that are spoken keep their places in the batch. */
static void test_slow_denoiser_is_no_queue(void **state) {
    (void)state;
    enum { BATCH = 4, WORKERS = 2, ITEMS = 30, OTHER = ITEMS };
    tmb_options options;
    tmb_options_default(&options);
    options.max_batch = BATCH;
    options.enhance_workers = WORKERS;
    tmb_context *context = open_scheduler(&options);
    tmb_scheduler *scheduler = context->scheduler;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    (void)pthread_mutex_lock(&gate);
    tmb_work blocking[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        tmb_pool_post(scheduler->enhance, &blocking[i], wait_for_gate, &gate);
    }
    tmb_clone_request request = clone_request("3", 0);
    request.run_post_processing = true;
    request.group = 1;
    for (int i = 0; i < ITEMS; i++) {
        submit(context, &request, &outcomes[i]);
    }
    /* One place is kept for others; as many as there are workers count as gone. */
    wait_for_cleaning(scheduler, BATCH - 1 + WORKERS);
    (void)usleep(20000);
    assert_int_equal(fake_admissions(), 1 + BATCH - 1 + WORKERS);
    request.text = "2";
    request.group = 2;
    submit(context, &request, &outcomes[OTHER]);
    wait_for_cleaning(scheduler, BATCH + WORKERS);
    assert_string_equal(fake.admitted[1 + BATCH - 1 + WORKERS], "2");
    (void)pthread_mutex_unlock(&gate);
    for (int i = 0; i <= ITEMS; i++) {
        assert_success(&outcomes[i]);
    }
    close_context(context);
}

/* Who is cancelled while it waits for the denoiser gives its place away. */
static void test_cancelled_while_cleaning(void **state) {
    (void)state;
    enum { BATCH = 4, WORKERS = 1, ITEMS = BATCH + WORKERS + BATCH };
    tmb_options options;
    tmb_options_default(&options);
    options.max_batch = BATCH;
    options.enhance_workers = WORKERS;
    tmb_context *context = open_scheduler(&options);
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    (void)pthread_mutex_lock(&gate);
    tmb_work blocking;
    tmb_pool_post(context->scheduler->enhance, &blocking, wait_for_gate, &gate);
    tmb_clone_request request = clone_request("3", 0);
    request.run_post_processing = true;
    for (int i = 0; i < BATCH + WORKERS; i++) {
        submit(context, &request, &outcomes[i]);
    }
    wait_for_cleaning(context->scheduler, BATCH + WORKERS);
    for (int i = BATCH + WORKERS; i < ITEMS; i++) {
        submit(context, &request, &outcomes[i]);
    }
    for (int i = 0; i < BATCH; i++) {
        tmb_clone_cancel(context, outcomes[i].item);
    }
    fake_wait_admissions(1 + ITEMS);
    (void)pthread_mutex_unlock(&gate);
    for (int i = 0; i < ITEMS; i++) {
        if (i < BATCH) {
            assert_failure(&outcomes[i], TMB_ERROR_CANCELLED);
        } else {
            assert_success(&outcomes[i]);
        }
    }
    close_context(context);
}

static void test_queue_is_bounded(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_options options;
    tmb_options_default(&options);
    options.max_queued = 5;
    options.max_batch = 1;
    tmb_context *context = fake_context(&options);
    fake.steps_allowed = 0;
    tmb_clone_request request = clone_request("1", 0);
    submit(context, &request, &outcomes[0]);
    wait_for(context, 1, 0);
    for (int i = 1; i <= 5; i++) {
        submit(context, &request, &outcomes[i]);
    }
    assert_int_equal(clone_submit(context, &request, &outcomes[6], &error), TMB_ERROR_LIMIT);
    assert_non_null(strstr(error.message, "queue is full: 5 items"));
    fake_allow(-1);
    for (int i = 0; i <= 5; i++) {
        assert_success(&outcomes[i]);
    }
    submit(context, &request, &outcomes[6]);
    assert_success(&outcomes[6]);
    close_context(context);
}

/* More work than memory: what fits runs, the rest waits, all of it is done. */
static void test_memory_admits_in_order(void **state) {
    (void)state;
    tmb_options options;
    tmb_options_default(&options);
    options.memory_budget = 40u << 20;
    fake.model_bytes = 4u << 20;
    fake.sequence_bytes = 10u << 20; /* three fit beside the model */
    tmb_context *context = fake_context(&options);
    fake.steps_allowed = 0;
    for (int i = 0; i < 24; i++) {
        tmb_clone_request request = clone_request("12", i % 4);
        request.group = (uint64_t)i % 5;
        submit(context, &request, &outcomes[i]);
    }
    tmb_statistics statistics;
    do {
        (void)usleep(500);
        tmb_get_statistics(context, &statistics);
    } while (statistics.live_sequences < 2);
    fake_allow(-1);
    for (int i = 0; i < 24; i++) {
        assert_success(&outcomes[i]);
        assert_int_equal(outcomes[i].sample_count, 12 * FAKE_FRAME);
    }
    assert_true(FAKE(most_live) >= 2 && FAKE(most_live) <= 3);
    close_context(context);
}

static void test_memory_that_never_fits(void **state) {
    (void)state;
    tmb_options options;
    tmb_options_default(&options);
    options.memory_budget = 40u << 20;
    fake.model_bytes = 4u << 20;
    fake.sequence_bytes = 37u << 20;
    tmb_context *context = fake_context(&options);
    tmb_clone_request request = clone_request("12", 0);
    submit(context, &request, &outcomes[0]);
    assert_failure(&outcomes[0], TMB_ERROR_MEMORY);
    double need = 0;
    double beside = 0;
    double budget = 0;
    assert_int_equal(sscanf(outcomes[0].error.message,
                            "this item needs %lf MiB beside %lf MiB of models, the memory "
                            "budget is %lf MiB",
                            &need, &beside, &budget),
                     3);
    assert_true(need > 37 && need < 40 && beside == 4 && budget == 40);
    tmb_clone_wait(context);
    tmb_close(&context);

    options.memory_budget = 3u << 20; /* not even the model */
    context = fake_context(&options);
    submit(context, &request, &outcomes[1]);
    assert_failure(&outcomes[1], TMB_ERROR_MEMORY);
    assert_non_null(strstr(outcomes[1].error.message, "4.0 MiB"));
    assert_non_null(strstr(outcomes[1].error.message, "3.0 MiB"));
    close_context(context);
}

/* Audio that is collected is in the budget too. */
static void test_memory_of_collected_audio(void **state) {
    (void)state;
    tmb_options options;
    tmb_options_default(&options);
    options.memory_budget = 8u << 20;
    tmb_context *context = fake_context(&options);
    tmb_clone_request request = clone_request("2000", 0); /* 15 MB of samples */
    submit(context, &request, &outcomes[0]);
    assert_failure(&outcomes[0], TMB_ERROR_MEMORY);
    request.want_samples = false;
    submit(context, &request, &outcomes[1]);
    assert_success(&outcomes[1]);
    assert_int_equal(outcomes[1].sample_count, 0);
    assert_true(fabs(outcomes[1].duration - 160) < 1e-6);
    close_context(context);
}

static void test_idle_unload(void **state) {
    (void)state;
    tmb_options options;
    tmb_options_default(&options);
    options.idle_unload = 0.05;
    tmb_context *context = fake_context(&options);
    for (int round = 1; round <= 2; round++) {
        tmb_clone_request request = clone_request("2", 0);
        submit(context, &request, &outcomes[round]);
        assert_success(&outcomes[round]);
        FAKE_WAIT(fake.destroyed >= round);
        assert_int_equal(FAKE(created), round);
    }
    tmb_statistics statistics;
    do {
        tmb_get_statistics(context, &statistics);
    } while (statistics.engine_loaded);
    close_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_slow_listener_holds_only_itself),
        TEST(test_stalled_listeners_lose_their_places),
        TEST(test_stalled_listeners_are_in_nobodys_way),
        TEST(test_slow_denoiser_is_no_queue),
        TEST(test_cancelled_while_cleaning),
        TEST(test_queue_is_bounded),
        TEST(test_memory_admits_in_order),
        TEST(test_memory_that_never_fits),
        TEST(test_memory_of_collected_audio),
        TEST(test_idle_unload),
    };
    return cmocka_run_group_tests_name("scheduler limits", tests, NULL, NULL);
}
