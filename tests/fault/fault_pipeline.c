/* Cloning with an engine of the test's own, every allocation of the pipeline failing in turn: opening a context,
 * copying a request, reading a reference, building a voice, speaking, delivering. */
#include "fault.h"

#include "../unit/pipeline/clone_helper.h"
#include "../unit/pipeline/fake_engine.h"

#include <string.h>

static tmb_status speak(void *user, tmb_error *error) {
    const bool listens = *(const bool *)user;
    tmb_options options;
    tmb_context *context = NULL;
    clone_outcome outcome;
    fake_reset();
    outcome_init(&outcome);
    outcome.want_audio = listens;
    outcome.want_progress = listens;
    tmb_options_default(&options);
    options.max_batch = 2;
    options.resample_workers = options.enhance_workers = 1;
    options.memory_budget = 1u << 30;
    tmb_status status = tmb_open(&options, &context, error);
    if (status != TMB_OK) {
        assert_null(context);
        return status;
    }
    context->registry.only = &fake_kind;
    tmb_clone_request request = clone_request("3", 0);
    request.custom_id = "one";
    request.want_samples = !listens;
    status = clone_submit(context, &request, &outcome, error);
    if (status == TMB_OK) {
        outcome_wait(&outcome);
        tmb_clone_wait(context);
        *error = outcome.error;
        status = outcome.error.status;
        assert_int_equal(outcome.results, 1);
        assert_true(status != TMB_OK || (listens ? outcome.heard : outcome.sample_count) == (size_t)3 * FAKE_FRAME);
    }
    tmb_close(&context);
    assert_int_equal(FAKE(created), FAKE(destroyed));
    return status;
}

static void test_collected(void **state) {
    (void)state;
    bool listens = false;
    fault_check(speak, &listens, true); /* a thread less, or a voice that is not kept, is no failure */
}

static void test_listened(void **state) {
    (void)state;
    bool listens = true;
    fault_check(speak, &listens, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_collected),
        cmocka_unit_test(test_listened),
    };
    return cmocka_run_group_tests_name("fault: pipeline", tests, NULL, NULL);
}
