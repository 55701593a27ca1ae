#include "test.h"

#include "clone_helper.h"
#include "fake_engine.h"

#include "pipeline/scheduler_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANY 100

/* A field of the fake engine, read under its lock. */
#define FAKE(field)                                                                                                   \
    (__extension__({                                                                                                  \
        (void)pthread_mutex_lock(&fake.lock);                                                                         \
        __typeof__(fake.field) fake_field = fake.field;                                                               \
        (void)pthread_mutex_unlock(&fake.lock);                                                                       \
        fake_field;                                                                                                   \
    }))

static clone_outcome outcomes[MANY + 1];

/* No more steps until some are allowed. */
static void fake_pause(void) {
    (void)pthread_mutex_lock(&fake.lock);
    fake.steps_allowed = 0;
    (void)pthread_mutex_unlock(&fake.lock);
}

static tmb_context *open_context(int max_batch) {
    tmb_options options;
    tmb_options_default(&options);
    options.max_batch = max_batch;
    return fake_context(&options);
}

static int set_up(void **state) {
    (void)state;
    fake_reset();
    for (int i = 0; i <= MANY; i++) {
        outcome_init(&outcomes[i]);
    }
    return 0;
}

static void submit(tmb_context *context, const tmb_clone_request *request, clone_outcome *outcome) {
    tmb_error error = {0};
    assert_ok(clone_submit(context, request, outcome, &error), error);
}

/* Until so many sequences are in the batch and so many items before it. */
static void wait_for(tmb_context *context, size_t live, size_t queued) {
    tmb_statistics statistics;
    do {
        (void)usleep(500);
        tmb_get_statistics(context, &statistics);
    } while (statistics.live_sequences != live || statistics.queued_items != queued);
}

/* Until so many items have their voice and wait for the batch. */
static void wait_for_ready(tmb_context *context, size_t ready) {
    tmb_scheduler *scheduler = context->scheduler;
    for (bool found = false; !found;) {
        (void)usleep(500);
        (void)pthread_mutex_lock(&scheduler->lock);
        found = scheduler->ready.count == ready;
        (void)pthread_mutex_unlock(&scheduler->lock);
    }
}

/* Until the next item waits for memory. */
static void wait_for_admitting(tmb_context *context) {
    for (bool found = false; !found;) {
        (void)usleep(500);
        (void)pthread_mutex_lock(&context->budget.lock);
        found = context->budget.first != NULL;
        (void)pthread_mutex_unlock(&context->budget.lock);
    }
}

static void assert_success(clone_outcome *outcome) {
    outcome_wait(outcome);
    if (outcome->error.status != TMB_OK) {
        fail_msg("item %llu: %s", (unsigned long long)outcome->item, outcome->error.message);
    }
    assert_false(outcome->after_result);
}

static void assert_failure(clone_outcome *outcome, tmb_status status) {
    outcome_wait(outcome);
    if (outcome->error.status != status) {
        fail_msg("item %llu: %s instead of %s: %s", (unsigned long long)outcome->item,
                 tmb_status_name(outcome->error.status), tmb_status_name(status), outcome->error.message);
    }
    assert_true(status == TMB_OK || outcome->error.message[0] != '\0');
    assert_false(outcome->after_result);
}

/* Everything was given back: memory of the budget, sequences of the engine. */
static void close_context(tmb_context *context) {
    tmb_clone_wait(context);
    tmb_statistics statistics;
    tmb_get_statistics(context, &statistics);
    assert_int_equal(statistics.queued_items, 0);
    assert_int_equal(statistics.live_sequences, 0);
    tmb_close(&context);
    assert_null(context);
    assert_int_equal(FAKE(created), FAKE(destroyed));
    for (int i = 0; i <= MANY; i++) {
        assert_true(outcomes[i].results <= 1);
    }
}

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
        {"attenuation", TMB_ERROR_ARGUMENT},       {"ref_text is empty", TMB_ERROR_ARGUMENT},
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
        request.ref_text = i == 11 ? "  " : NULL;
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
    assert_int_equal(FAKE(most_live), 3);
    tmb_statistics statistics;
    tmb_get_statistics(context, &statistics);
    assert_int_equal(statistics.batch_sequences, 20 * 5);
    assert_int_equal(statistics.finished_items, 20);
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
    (void)pthread_mutex_lock(&fake.lock);
    while (fake.prepared < 2) {
        (void)pthread_cond_wait(&fake.changed, &fake.lock);
    }
    (void)pthread_mutex_unlock(&fake.lock);
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

/* A hundred texts in one voice: its encoders run once, also where all come at once. */
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

/* ---- Failures ---- */

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

/* ---- Cancelling ---- */

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
    (void)pthread_mutex_lock(&fake.lock);
    while (!fake.ended[1]) { /* although no further step is allowed */
        (void)pthread_cond_wait(&fake.changed, &fake.lock);
    }
    assert_int_equal(fake.frames[1], 3);
    (void)pthread_mutex_unlock(&fake.lock);
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
    (void)pthread_mutex_lock(&fake.lock);
    while (fake.preparing == 0) {
        (void)pthread_cond_wait(&fake.changed, &fake.lock);
    }
    (void)pthread_mutex_unlock(&fake.lock);
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
    fake_wait_admissions(1);
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

/* ---- Backpressure ---- */

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
    (void)pthread_mutex_lock(&fake.lock);
    size_t ahead = fake.frames[1];
    (void)pthread_mutex_unlock(&fake.lock);
    /* 5 s and a frame, and what was handed over before. */
    assert_true((double)ahead * 0.08 < 5.3);
    assert_int_equal(outcome_results(&outcomes[0]), 0);
    outcome_let_go(&outcomes[0]);
    assert_success(&outcomes[0]);
    assert_int_equal(outcomes[0].heard, 400 * FAKE_FRAME);
    assert_int_equal(outcomes[0].sample_count, 400 * FAKE_FRAME);
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
    (void)pthread_mutex_lock(&fake.lock);
    while (!fake.ended[1]) {
        (void)pthread_cond_wait(&fake.changed, &fake.lock);
    }
    (void)pthread_mutex_unlock(&fake.lock);
    assert_int_equal(outcome_results(&outcomes[0]), 0); /* one callback at a time */
    outcome_let_go(&outcomes[0]);
    assert_failure(&outcomes[0], TMB_ERROR_CANCELLED);
    close_context(context);
}

/* ---- Limits ---- */

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
    for (int i = 0; i < 24; i++) {
        tmb_clone_request request = clone_request("12", i % 4);
        request.group = (uint64_t)i % 5;
        submit(context, &request, &outcomes[i]);
    }
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
    assert_int_equal(sscanf(outcomes[0].error.message, "this item needs %lf MiB beside %lf MiB of models, the memory "
                            "budget is %lf MiB", &need, &beside, &budget), 3);
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

/* ---- Models ---- */

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
        (void)pthread_mutex_lock(&fake.lock);
        while (fake.destroyed < round) {
            (void)pthread_cond_wait(&fake.changed, &fake.lock);
        }
        (void)pthread_mutex_unlock(&fake.lock);
        assert_int_equal(FAKE(created), round);
    }
    tmb_statistics statistics;
    do {
        tmb_get_statistics(context, &statistics);
    } while (statistics.engine_loaded);
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
#define TEST(function) cmocka_unit_test_setup(function, set_up)
    const struct CMUnitTest tests[] = {
        TEST(test_one_item),
        TEST(test_bad_requests),
        TEST(test_continuous_batch),
        TEST(test_batch_is_bounded),
        TEST(test_groups_take_turns),
        TEST(test_last_place_is_kept),
        TEST(test_priority),
        TEST(test_voice_is_prepared_once),
        TEST(test_voice_cache_is_bounded),
        TEST(test_voice_failure),
        TEST(test_items_fail_alone),
        TEST(test_engine_does_not_load),
        TEST(test_engine_breaks),
        TEST(test_cancel_live),
        TEST(test_cancel_while_waiting),
        TEST(test_cancel_while_building),
        TEST(test_cancel_by_callback),
        TEST(test_close_cancels),
        TEST(test_deadline),
        TEST(test_slow_listener_holds_only_itself),
        TEST(test_cancel_slow_listener),
        TEST(test_queue_is_bounded),
        TEST(test_memory_admits_in_order),
        TEST(test_memory_that_never_fits),
        TEST(test_memory_of_collected_audio),
        TEST(test_cancel_while_memory_is_awaited),
        TEST(test_idle_unload),
        TEST(test_saved_voice),
        TEST(test_batch_wait),
    };
    return cmocka_run_group_tests_name("scheduler", tests, NULL, NULL);
}
