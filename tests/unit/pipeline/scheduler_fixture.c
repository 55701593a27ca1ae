#include "scheduler_fixture.h"

#include "pipeline/scheduler_internal.h"

#include <unistd.h>

clone_outcome outcomes[MANY + 1];

int set_up(void **state) {
    (void)state;
    fake_reset();
    for (int i = 0; i <= MANY; i++) {
        outcome_init(&outcomes[i]);
    }
    return 0;
}

tmb_context *open_context(int max_batch) {
    tmb_options options;
    tmb_options_default(&options);
    options.max_batch = max_batch;
    return fake_context(&options);
}

void close_context(tmb_context *context) {
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

void wait_for(tmb_context *context, size_t live, size_t queued) {
    tmb_statistics statistics;
    do {
        (void)usleep(500);
        tmb_get_statistics(context, &statistics);
    } while (statistics.live_sequences != live || statistics.queued_items != queued);
}

void wait_for_ready(tmb_context *context, size_t ready) {
    tmb_scheduler *scheduler = context->scheduler;
    for (bool found = false; !found;) {
        (void)usleep(500);
        (void)pthread_mutex_lock(&scheduler->lock);
        found = scheduler->lanes[0].ready.count == ready;
        (void)pthread_mutex_unlock(&scheduler->lock);
    }
}

void wait_for_admitting(tmb_context *context) {
    for (bool found = false; !found;) {
        (void)usleep(500);
        (void)pthread_mutex_lock(&context->budget.lock);
        found = context->budget.first != NULL;
        (void)pthread_mutex_unlock(&context->budget.lock);
    }
}
