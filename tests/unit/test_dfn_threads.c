/* One model, many threads: the weights are shared, the results those of one thread. */
#include "dfn_fixture.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, SAMPLES = 40 * 480 };

typedef struct job {
    tmb_dfn_model *model; /* retained for the thread */
    const float *samples;
    size_t block_frames;
    float out[SAMPLES];
    size_t got;
    bool failed;
} job;

/* cmocka's assertions belong to the main thread. */
static void *enhance(void *argument) {
    job *j = argument;
    tmb_enhance_settings settings;
    tmb_enhance_settings_default(&settings);
    settings.block_frames = j->block_frames;
    tmb_error error = {0};
    tmb_enhancer *enhancer = NULL;
    j->failed = tmb_enhancer_create(j->model, &settings, &enhancer, &error) != TMB_OK;
    tmb_dfn_model_release(&j->model); /* the enhancer has its own reference */
    for (size_t i = 0; i < SAMPLES && !j->failed; i += 480) {
        j->failed = tmb_enhancer_push(enhancer, j->samples + i, 480, &error) != TMB_OK;
        j->got += tmb_enhancer_pull(enhancer, j->out + j->got, SAMPLES - j->got);
    }
    j->failed = j->failed || tmb_enhancer_flush(enhancer, &error) != TMB_OK;
    j->got += tmb_enhancer_pull(enhancer, j->out + j->got, SAMPLES - j->got);
    tmb_enhancer_destroy(&enhancer);
    return NULL;
}

static void test_threads_share_a_model(void **state) {
    (void)state;
    tmb_dfn_model *model = dfn_model(~0u);
    size_t count = 0;
    float *samples = dfn_clip("tts_en_odd", &count);
    job *jobs = calloc(THREADS, sizeof *jobs);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        jobs[i] = (job){.model = tmb_dfn_model_retain(model), .samples = samples, .block_frames = 1 + 3 * i};
        assert_int_equal(pthread_create(&threads[i], NULL, enhance, &jobs[i]), 0);
    }
    tmb_dfn_model_release(&model); /* the last enhancer's end is the model's */
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_false(jobs[i].failed);
        assert_int_equal(jobs[i].got, SAMPLES);
        assert_memory_equal(jobs[i].out, jobs[0].out, sizeof jobs[0].out);
    }
    free(jobs);
    free(samples);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads_share_a_model)};
    return cmocka_run_group_tests_name("dfn-threads", tests, NULL, NULL);
}
