/* Loading a checkpoint, and speaking with it, with every allocation failing in turn. */
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

/* The first thing that went wrong while it spoke. */
static void note_failure(void *user, const tmb_engine_event *event) {
    tmb_error *failure = user;
    if (event->kind == TMB_ENGINE_FAILED && failure->status == TMB_OK) {
        *failure = event->error;
    }
}

static tmb_status speak_with(tmb_engine *engine, tmb_error *error) {
    enum { SAMPLES = 4000 };
    static float samples[SAMPLES];
    for (size_t i = 0; i < SAMPLES; i++) {
        samples[i] = (float)(i * 7919 % 1000) / 1000 - 0.5f;
    }
    tmb_reference reference = {.samples = samples, .count = SAMPLES, .rate = 24000, .text = "A few words."};
    tmb_speak_request request;
    tmb_speak_request_default(&request);
    request.text = "Yes. No.";
    request.language = "english";
    request.greedy = true;
    request.max_frames = 5;
    request.want_codes = true;
    tmb_voice *voice = NULL;
    uint64_t sequence = 0;
    tmb_error failure = {0};
    tmb_status status = engine->operations->prepare_voice(engine, &reference, false, &voice, error);
    if (status == TMB_OK) {
        status = engine->operations->admit(engine, &request, voice, &sequence, error);
    }
    tmb_voice_release(&voice);
    for (size_t live = 1; status == TMB_OK && live > 0;) {
        status = engine->operations->step(engine, note_failure, &failure, &live, error);
    }
    if (status == TMB_OK && failure.status != TMB_OK) {
        *error = failure;
        status = failure.status;
    }
    return status;
}

/* From a reference to the end of an utterance; the engine itself is made without faults. */
static tmb_status speak(void *user, tmb_error *error) {
    tmb_qwen3_options options = options_of("sample-e", user);
    tmb_engine *engine = NULL;
    fault_pause();
    assert_ok(tmb_qwen3_engine_create(&options, &engine, error), *error);
    fault_resume();
    tmb_status status = speak_with(engine, error);
    engine->operations->destroy(engine);
    return status;
}

static tmb_status estimate(void *user, tmb_error *error) {
    tmb_qwen3_options options = options_of("sample-e", user);
    uint64_t bytes = 0;
    uint64_t device = 0;
    return tmb_qwen3_model_bytes(&options, &bytes, &device, error);
}

static void test_engine(void **state) {
    (void)state;
    /* A thread that cannot start is no failure: its network then loads on the caller's. */
    fault_check(create, "talker=int8,predictor=int8,codec=bf16", true);
}

static void test_speak(void **state) {
    (void)state;
    fault_check(speak, "f32", true);
}

static void test_estimate(void **state) {
    (void)state;
    fault_check(estimate, "int8", false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_engine),
        cmocka_unit_test(test_speak),
        cmocka_unit_test(test_estimate),
    };
    return cmocka_run_group_tests_name("fault: model", tests, NULL, NULL);
}
