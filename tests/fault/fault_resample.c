#include "fault.h"

#include "resample/resample.h"

#include <stdlib.h>

typedef struct shape {
    int input_rate, output_rate;
    tmb_resampler_kind kind;
} shape;

static float samples[5000];

static tmb_status whole(void *user, tmb_error *error) {
    const shape *s = user;
    float *out = NULL;
    size_t count = 0;
    tmb_status status = tmb_resample(samples, 5000, s->input_rate, s->output_rate, s->kind, NULL, &out, &count, error);
    assert_true((out != NULL) == (status == TMB_OK));
    free(out);
    return status;
}

/* Small pushes, so that every queue grows several times; a second stream after a reset. */
static tmb_status stream(void *user, tmb_error *error) {
    const shape *s = user;
    tmb_resampler *resampler = NULL;
    tmb_status status = tmb_resampler_create(s->input_rate, s->output_rate, s->kind, NULL, &resampler, error);
    for (int i = 0; i < 2 && status == TMB_OK; i++) {
        for (size_t place = 0; place < 5000 && status == TMB_OK; place += 500) {
            status = tmb_resampler_push(resampler, samples + place, 500, error);
        }
        if (status == TMB_OK) {
            status = tmb_resampler_flush(resampler, error);
        }
        if (status == TMB_OK && i == 0) {
            status = tmb_resampler_reset(resampler, error);
        }
    }
    tmb_resampler_destroy(&resampler);
    return status;
}

static void check(fault_scenario scenario) {
    static const int rates[][2] = {{24000, 48000}, {44100, 48000}, {48000, 16000}, {48000, 48000}};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        for (int kind = TMB_RESAMPLER_AUTO; kind <= TMB_RESAMPLER_SINC; kind++) {
            shape s = {rates[i][0], rates[i][1], (tmb_resampler_kind)kind};
            fault_check(scenario, &s, kind == TMB_RESAMPLER_AUTO); /* the cascade has other ways */
        }
    }
}

static void test_whole(void **state) {
    (void)state;
    check(whole);
}

static void test_stream(void **state) {
    (void)state;
    check(stream);
}

int main(void) {
    for (size_t i = 0; i < 5000; i++) {
        samples[i] = (float)(i % 100) / 100;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_stream),
    };
    return cmocka_run_group_tests_name("fault: resample", tests, NULL, NULL);
}
