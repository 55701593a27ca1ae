/* The engine that asks speech servers, with every allocation failing in turn: making it, preparing a voice, what a
 * server is asked. */
#include "fault.h"

#include "tts/remote/body.h"
#include "tts/remote/remote.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 2400 };
static float samples[SAMPLES];

static tmb_status make(void *user, tmb_error *error) {
    (void)user;
    tmb_remote_options options = {.urls = "http://127.0.0.1:9", .key = "key", .max_sequences = 2};
    tmb_engine *engine = NULL;
    tmb_voice *voice = NULL;
    tmb_reference reference = {.samples = samples, .count = SAMPLES, .rate = 24000, .text = "A few words."};
    tmb_status status = tmb_remote_engine_create(&options, &engine, error);
    assert_true((engine != NULL) == (status == TMB_OK));
    if (status == TMB_OK) {
        status = engine->operations->prepare_voice(engine, &reference, false, &voice, error);
        assert_true((voice != NULL) == (status == TMB_OK));
        tmb_voice_release(&voice);
        engine->operations->destroy(engine);
    }
    return status;
}

static tmb_status ask(void *user, tmb_error *error) {
    (void)user;
    tmb_speak_request request;
    tmb_speak_request_default(&request);
    request.text = "Yes.";
    request.language = "english";
    tmb_reference reference = {.samples = samples, .count = SAMPLES, .rate = 24000};
    char *audio = NULL;
    char *body = NULL;
    tmb_status status = tmb_remote_reference(&reference, &audio, error);
    if (status == TMB_OK) {
        status = tmb_remote_body(&request, audio, "A few words.", "model", &body, error);
    }
    assert_true((body != NULL) == (status == TMB_OK));
    free(audio);
    free(body);
    return status;
}

static void test_make(void **state) {
    (void)state;
    fault_check(make, NULL, false);
}

static void test_ask(void **state) {
    (void)state;
    fault_check(ask, NULL, false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make),
        cmocka_unit_test(test_ask),
    };
    return cmocka_run_group_tests_name("fault: remote", tests, NULL, NULL);
}
