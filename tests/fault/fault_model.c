/* Loading a checkpoint with every allocation failing in turn. */
#include "fault.h"

#include "golden.h"

#include "tts/qwen3/qwen3.h"

#include <stdio.h>
#include <stdlib.h>

static tmb_qwen3_options options_of(const char *sample, const char *precision) {
    static char folder[512];
    (void)snprintf(folder, sizeof folder, "%s", golden_path("qwen/%s/model", sample));
    tmb_qwen3_options options;
    tmb_qwen3_options_default(&options);
    options.model = folder;
    options.precision = precision;
    options.pack_directory = "";
    options.threads = 2;
    options.max_sequences = 2;
    return options;
}

static tmb_status create(void *user, tmb_error *error) {
    tmb_qwen3_options options = options_of("sample-e", user);
    tmb_engine *engine = NULL;
    tmb_status status = tmb_qwen3_engine_create(&options, &engine, error);
    assert_true((engine != NULL) == (status == TMB_OK));
    if (engine != NULL) {
        engine->operations->destroy(engine);
    }
    return status;
}

static tmb_status estimate(void *user, tmb_error *error) {
    tmb_qwen3_options options = options_of("sample-e", user);
    uint64_t bytes = 0;
    return tmb_qwen3_model_bytes(&options, &bytes, error);
}

static void test_engine(void **state) {
    (void)state;
    fault_check(create, "talker=int8,predictor=int8,codec=bf16", false);
}

static void test_estimate(void **state) {
    (void)state;
    fault_check(estimate, "int8", false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_engine),
        cmocka_unit_test(test_estimate),
    };
    return cmocka_run_group_tests_name("fault: model", tests, NULL, NULL);
}
