/* What copies read and write stays as it is until they are done, when something behind them fails, too. */
#include "test.h"

#include "fake_driver.h"
#include "gpu_net.h"

#include <stdlib.h>
#include <string.h>

/* ---- A job of the codec that fails half-way ---- */

enum { FRAMES = 3 };

static void fill_codes(const gpu_net *f, int16_t *codes, size_t frames, int first) {
    for (size_t i = 0; i < frames * f->config.codec.decoder.quantizers; i++) {
        codes[i] = (int16_t)((first + (int)i * 7) % 32);
    }
}

/* A job of one piece; returns what became of it. */
static tmb_status decode(const gpu_net *f, tmb_net_stream *stream, size_t context_frames, int first, float *samples) {
    int16_t context[TMB_DECODE_CONTEXT * TMB_QWEN3_CODE_GROUPS_MAX], codes[FRAMES * TMB_QWEN3_CODE_GROUPS_MAX];
    tmb_decode_result result;
    fill_codes(f, context, context_frames, first + 3);
    fill_codes(f, codes, FRAMES, first);
    assert_true(gpu_backend->decode_idle(f->net));
    gpu_backend->decode_add(
        f->net,
        &(tmb_decode_request){
            .stream = stream, .context = context, .context_frames = context_frames, .codes = codes, .frames = FRAMES});
    gpu_backend->decode_start(f->net);
    while (!gpu_backend->decode_done(f->net, 0)) {
    }
    tmb_status status = gpu_backend->decode_result(f->net, 0, &result, NULL);
    if (status == TMB_OK) {
        memcpy(samples, result.samples, FRAMES * f->config.codec.samples_per_frame * sizeof *samples);
    }
    gpu_backend->decode_clear(f->net);
    return status;
}

/* Two jobs of a stream, between which another's fails at its graph number `fails` (0: there is no other). */
static void decode_two(const gpu_net *f, int64_t fails, float *samples) {
    tmb_error error = {0};
    tmb_net_stream *stream = NULL, *other = NULL;
    assert_ok(gpu_backend->stream_create(f->net, &stream, &error), error);
    assert_ok(gpu_backend->stream_create(f->net, &other, &error), error);
    assert_int_equal(decode(f, stream, 0, 1, samples), TMB_OK);
    if (fails > 0) {
        fake_set("FAIL_GRAPH", fails);
        assert_int_equal(decode(f, other, TMB_DECODE_CONTEXT, 17, samples), TMB_ERROR_MEMORY);
        fake_set("FAIL_GRAPH", 0);
    }
    assert_int_equal(decode(f, stream, 0, 9, samples + FRAMES * f->config.codec.samples_per_frame), TMB_OK);
    gpu_backend->stream_destroy(f->net, &stream);
    gpu_backend->stream_destroy(f->net, &other);
}

static void test_failed_job(void **state) {
    (void)state;
    gpu_net f;
    gpu_net_open(&f, "sample-g", "f32", 2);
    size_t count = 2 * FRAMES * f.config.codec.samples_per_frame;
    float *alone = calloc(count, sizeof *alone), *after = calloc(count, sizeof *after);
    decode_two(&f, 0, alone);
    for (int64_t fails = 1; fails <= 3; fails++) {
        decode_two(&f, fails, after);
        assert_memory_equal(after, alone, count * sizeof *alone);
    }
    free(alone);
    free(after);
    gpu_net_close(&f);
}

/* ---- A step that fails half-way ---- */

enum { STEPS = 3 };

static tmb_net_sequence *start(const gpu_net *f, size_t n) {
    tmb_prompt prompt;
    const tmb_sampling sampling = {.temperature = 3, .top_p = 1};
    const tmb_lm_sampling both = {
        .talker = sampling, .predictor = sampling, .repetition_penalty = 1.5, .seed = n, .max_new_tokens = 100};
    gpu_net_prompt(f, n, &prompt);
    tmb_net_sequence *sequence = gpu_net_start(f, &prompt, &both, STEPS + 1);
    tmb_prompt_free(&prompt);
    return sequence;
}

/* The codes of a sequence, before which another's step fails at its graph number `fails` (0: there is no other). */
static void step_after(const gpu_net *f, int64_t fails, int16_t *codes) {
    tmb_lm_outcome outcome = TMB_LM_FRAME;
    tmb_net_sequence *sequence = start(f, 1), *other = start(f, 2);
    if (fails > 0) {
        fake_set("FAIL_GRAPH", fails);
        gpu_backend->step(f->net, &other, 1, codes, &outcome);
        assert_int_equal(outcome, TMB_LM_FAILED);
        fake_set("FAIL_GRAPH", 0);
    }
    for (size_t i = 0; i < STEPS; i++) {
        gpu_backend->step(f->net, &sequence, 1, codes + i * f->config.talker.code_groups, &outcome);
        assert_int_equal(outcome, TMB_LM_FRAME);
    }
    gpu_backend->sequence_destroy(f->net, &sequence);
    gpu_backend->sequence_destroy(f->net, &other);
}

static void test_failed_step(void **state) {
    (void)state;
    gpu_net f;
    int16_t alone[STEPS * TMB_QWEN3_CODE_GROUPS_MAX] = {0}, after[STEPS * TMB_QWEN3_CODE_GROUPS_MAX] = {0};
    gpu_net_open(&f, "sample-g", "f32", 2);
    step_after(&f, 0, alone);
    for (int64_t fails = 1; fails <= 2; fails++) {
        step_after(&f, fails, after);
        assert_memory_equal(after, alone, sizeof alone);
    }
    gpu_net_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_failed_job), cmocka_unit_test(test_failed_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
