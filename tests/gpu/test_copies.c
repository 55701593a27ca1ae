/* What copies read and write stays as it is until they are done, when something behind them fails, too. */
#include "test.h"

#include "fake_driver.h"
#include "gpu/gpu.h"
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

/* ---- Memory that is not pinned ---- */

/* Copies of all sizes, of which the source is another thing at once: more than the stream's own memory holds. */
static void test_uploads(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 100, 0, 700 << 10, 64, (3 << 20) + 5, 512 << 10, 7};
    enum { SIZES = sizeof sizes / sizeof sizes[0], MOST = 6 << 20 };
    tmb_error error = {0};
    tmb_gpu *gpu = NULL;
    tmb_gpu_stream *stream = NULL;
    tmb_gpu_address to = 0;
    uint8_t *from = malloc(MOST), *expected = malloc(MOST), *got = malloc(MOST);
    size_t bytes = 0;
    fake_set("DEFER_PAGEABLE", 1);
    assert_ok(tmb_gpu_open(0, &gpu, &error), error);
    assert_ok(tmb_gpu_enter(gpu, &error), error);
    assert_ok(tmb_gpu_stream_create(gpu, false, &stream, &error), error);
    assert_ok(tmb_gpu_allocate(gpu, MOST, "a test", &to, &error), error);
    for (size_t i = 0; i < SIZES; i++) {
        for (size_t k = 0; k < sizes[i]; k++) {
            from[k] = expected[bytes + k] = (uint8_t)(k * (i + 3) + k / 251);
        }
        assert_ok(tmb_gpu_upload(gpu, stream, to + bytes, from, sizes[i], &error), error);
        memset(from, 0xee, sizes[i]);
        bytes += sizes[i];
    }
    assert_ok(tmb_gpu_download(gpu, stream, got, to, bytes, &error), error);
    assert_ok(tmb_gpu_synchronize(gpu, stream, &error), error);
    assert_memory_equal(got, expected, bytes);
    tmb_gpu_free(gpu, to);
    tmb_gpu_stream_destroy(gpu, &stream);
    tmb_gpu_leave(gpu);
    tmb_gpu_close(&gpu);
    fake_set("DEFER_PAGEABLE", 0);
    free(from);
    free(expected);
    free(got);
}

enum { SAMPLES = 12000, WIDTH_MOST = 256 };

/* What all networks make of the same. */
typedef struct made {
    int16_t codes[STEPS * TMB_QWEN3_CODE_GROUPS_MAX];
    float samples[FRAMES * 1920], embedding[WIDTH_MOST];
    int16_t *encoded;
    size_t frames;
} made;

static void make_all(made *out) {
    static float recording[SAMPLES];
    for (size_t i = 0; i < SAMPLES; i++) {
        recording[i] = (float)(i * 7919 % 1024) / 4096 - 0.125f;
    }
    gpu_net f;
    tmb_error error = {0};
    tmb_net_stream *stream = NULL;
    *out = (made){.frames = 0};
    gpu_net_open(&f, "sample-f", "f32", 2);
    assert_true(f.config.codec.samples_per_frame <= 1920 && f.config.speaker.embedding_size <= WIDTH_MOST);
    step_after(&f, 0, out->codes);
    assert_ok(gpu_backend->stream_create(f.net, &stream, &error), error);
    assert_int_equal(decode(&f, stream, 5, 1, out->samples), TMB_OK);
    gpu_backend->stream_destroy(f.net, &stream);
    assert_ok(gpu_backend->embed_speaker(f.net, recording, SAMPLES, out->embedding, &error), error);
    assert_ok(gpu_backend->encode(f.net, recording, SAMPLES, &out->encoded, &out->frames, &error), error);
    gpu_net_close(&f);
}

/* No copy of all that is done reads memory that is not pinned: nothing changes if the device reads it late. */
static void test_late_reads(void **state) {
    (void)state;
    static made first, late;
    const uint64_t before = fake_counts().pageable_up;
    make_all(&first);
    fake_set("DEFER_PAGEABLE", 1);
    make_all(&late);
    fake_set("DEFER_PAGEABLE", 0);
    assert_int_equal(fake_counts().pageable_up, before);
    assert_memory_equal(late.codes, first.codes, sizeof first.codes);
    assert_memory_equal(late.samples, first.samples, sizeof first.samples);
    assert_memory_equal(late.embedding, first.embedding, sizeof first.embedding);
    assert_int_equal(late.frames, first.frames);
    assert_memory_equal(late.encoded, first.encoded, first.frames * sizeof *first.encoded);
    free(first.encoded);
    free(late.encoded);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_failed_job), cmocka_unit_test(test_failed_step),
                                       cmocka_unit_test(test_uploads), cmocka_unit_test(test_late_reads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
