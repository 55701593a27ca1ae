/* What sequences and streams are said to take of a device is what the driver gives for them, in pools with slabs and
 * without, whatever comes and goes. */
#include "test.h"

#include "fake_driver.h"
#include "golden.h"
#include "gpu_net.h"
#include "tts/qwen3/qwen3.h"

#include <stdlib.h>
#include <string.h>

enum { SEQUENCES = 12, TURNS = 300, LONGEST = 3000 };

static uint64_t allocated(void) { return fake_counts().allocated; }

static void check_counts(uint64_t pool, const char *precision) {
    gpu_net f;
    tmb_net_sequence *sequences[SEQUENCES] = {NULL};
    tmb_net_stream *streams[SEQUENCES] = {NULL};
    size_t positions[SEQUENCES] = {0}, counted = 0, most = 0;
    uint32_t random = 9;
    tmb_error error = {0};
    gpu_net_open_within(&f, "sample-g", precision, 4, pool);
    size_t stream = gpu_backend->stream_bytes(f.net).device, fixed = gpu_backend->bytes(f.net).device;
    assert_in_range(allocated(), 1, fixed);
    for (size_t turn = 0; turn < TURNS; turn++) {
        random = random * 1664525u + 1013904223u;
        size_t i = (random >> 8) % SEQUENCES;
        if (sequences[i] != NULL) {
            counted -= gpu_backend->sequence_bytes(f.net, positions[i]).device + stream;
            gpu_backend->sequence_destroy(f.net, &sequences[i]);
            gpu_backend->stream_destroy(f.net, &streams[i]);
            continue;
        }
        positions[i] = 1 + (random >> 12) % LONGEST;
        counted += gpu_backend->sequence_bytes(f.net, positions[i]).device + stream;
        most = counted > most ? counted : most;
        assert_ok(gpu_backend->sequence_create(f.net, positions[i], &sequences[i], &error), error);
        assert_ok(gpu_backend->stream_create(f.net, &streams[i], &error), error);
        assert_in_range(allocated(), counted / 2, fixed + most);
    }
    for (size_t i = 0; i < SEQUENCES; i++) {
        gpu_backend->sequence_destroy(f.net, &sequences[i]);
        gpu_backend->stream_destroy(f.net, &streams[i]);
    }
    assert_in_range(allocated(), 1, fixed);
    gpu_net_close(&f);
    assert_int_equal(allocated(), 0);
}

static void test_counts(void **state) {
    (void)state;
    check_counts(0, "f32");
    check_counts((uint64_t)1 << 30, "f32");
    check_counts((uint64_t)1 << 30, "int8");
    check_counts((uint64_t)16 << 30, "f32");
}

/* What the driver takes for graphs is there when the model is, and counts with it: what it is, 64 KiB a kernel at most.
 */
static void test_graphs(void **state) {
    (void)state;
    static const int64_t each[] = {0, 1000, 64 << 10, 100 << 10};
    uint64_t fixed[4];
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        gpu_net f;
        fake_set("GRAPH_KERNEL", each[i]);
        gpu_net_open(&f, "sample-d", "f32", 3);
        fixed[i] = gpu_backend->bytes(f.net).device;
        assert_true((allocated() <= fixed[i]) == (each[i] <= 64 << 10));
        gpu_net_close(&f);
        assert_int_equal(allocated(), 0);
    }
    const uint64_t kernels = (fixed[1] - fixed[0]) / 1000;
    assert_true(kernels > 0 && fixed[1] == fixed[0] + 1000 * kernels);
    assert_true(fixed[2] == fixed[0] + kernels * (64 << 10) && fixed[3] == fixed[2]);
    fake_set("GRAPH_KERNEL", 64 << 10);
}

/* ---- A sequence that goes on longer than was expected ---- */

/* A step allocates nothing: it says before what it needs, and fails without. */
static void check_steps(bool grows) {
    enum { STEPS = 120 };
    gpu_net f;
    tmb_prompt prompt;
    tmb_error error = {0};
    int16_t codes[TMB_QWEN3_CODE_GROUPS_MAX];
    tmb_lm_outcome outcome = TMB_LM_FRAME;
    const tmb_sampling sampling = {.temperature = 50, .top_p = 1};
    const tmb_lm_sampling both = {
        .talker = sampling, .predictor = sampling, .repetition_penalty = 1, .seed = 4, .max_new_tokens = STEPS};
    gpu_net_open(&f, "sample-g", "f32", 1);
    gpu_net_prompt(&f, 1, &prompt);
    tmb_net_sequence *sequence = gpu_net_start(&f, &prompt, &both, 1);
    size_t grown = 0, frames = 0,
           page = gpu_backend->sequence_bytes(f.net, 129).device - gpu_backend->sequence_bytes(f.net, 128).device;
    while (outcome == TMB_LM_FRAME && frames < STEPS) {
        size_t needs = gpu_backend->sequence_needs(f.net, sequence);
        bool full = gpu_backend->sequence_positions(sequence) % 64 == 0;
        assert_true(needs == 0 || (full && needs <= page));
        if (needs > 0 && grows) {
            const uint64_t before = allocated();
            assert_ok(gpu_backend->sequence_grow(f.net, sequence, &error), error);
            assert_int_equal(allocated() - before, needs);
            grown++;
        }
        const tmb_fake_cuda_counts before = fake_counts();
        gpu_backend->step(f.net, &sequence, 1, codes, &outcome);
        assert_int_equal(fake_counts().allocations, before.allocations);
        frames += outcome == TMB_LM_FRAME;
    }
    if (grows) {
        assert_true(grown >= 1 && outcome != TMB_LM_FAILED);
    } else { /* the frame that was begun, and no other */
        assert_int_equal(outcome, TMB_LM_FAILED);
        assert_int_equal(prompt.count + frames, 65);
    }
    gpu_backend->sequence_destroy(f.net, &sequence);
    tmb_prompt_free(&prompt);
    gpu_net_close(&f);
}

static void test_steps(void **state) {
    (void)state;
    check_steps(true);
    check_steps(false);
}

static void take(void *user, const tmb_clone_result *result) { *(tmb_error *)user = result->error; }

/* Says more than the text lets expect in a pool of so many bytes; returns what the model alone has reserved. */
static uint64_t speak(uint64_t pool, tmb_error *outcome) {
    tmb_options options;
    tmb_clone_request request;
    tmb_statistics statistics;
    tmb_error error = {0};
    tmb_context *context = NULL;
    uint64_t number = 0;
    tmb_options_default(&options);
    options.engine = "qwen3";
    options.model = golden_path("qwen/sample-g/model");
    options.precision = "f32";
    options.device = "cuda";
    options.gpu_memory = pool;
    options.threads = 1;
    options.max_batch = 1;
    assert_ok(tmb_open(&options, &context, &error), error);
    tmb_clone_request_default(&request);
    request.text = "So.";
    request.speaker = "mira";
    request.has_seed = true;
    request.seed = 4;
    request.temperature = 10;
    request.max_frames = 150;
    request.guard_runaway = false;
    request.run_pre_processing = request.run_post_processing = false;
    const tmb_clone_callbacks callbacks = {.user = outcome, .result = take};
    assert_ok(tmb_clone_submit(context, &request, &callbacks, &number, &error), error);
    tmb_clone_wait(context);
    tmb_get_statistics(context, &statistics);
    tmb_close(&context);
    return statistics.device_memory_reserved;
}

/* Bytes of the device that are reserved for what speak says. */
static uint64_t item_bytes(void) {
    tmb_error error = {0};
    tmb_engine *engine = NULL;
    tmb_qwen3_options options;
    tmb_speak_request request;
    tmb_qwen3_options_default(&options);
    options.model = golden_path("qwen/sample-g/model");
    options.precision = "f32";
    options.device = "cuda";
    options.threads = 1;
    options.pack_directory = "";
    assert_ok(tmb_qwen3_engine_create(&options, &engine, &error), error);
    tmb_speak_request_default(&request);
    request.text = "So.";
    request.speaker = "mira";
    request.max_frames = 150;
    request.guard_runaway = false;
    uint64_t bytes = engine->operations->device_needed(engine, &request, NULL);
    engine->operations->destroy(engine);
    return bytes;
}

static void test_growth(void **state) {
    (void)state;
    enum { PAGES = 128 << 10 };
    tmb_error outcome = {0};
    uint64_t model = speak((uint64_t)256 << 20, &outcome);
    assert_ok(outcome.status, outcome);
    assert_int_equal(speak(model + item_bytes(), &outcome), model);
    assert_int_equal(outcome.status, TMB_ERROR_MEMORY);
    assert_non_null(strstr(outcome.message, "speech that is longer than was expected needs"));
    assert_int_equal(speak(model + item_bytes() + PAGES, &outcome), model);
    assert_ok(outcome.status, outcome);
    assert_int_equal(allocated(), 0);
}

/* ---- Pages of which some come and others do not ---- */

static tmb_net_sequence *create(const gpu_net *f, size_t positions) {
    tmb_error error = {0};
    tmb_net_sequence *sequence = NULL;
    assert_ok(gpu_backend->sequence_create(f->net, positions, &sequence, &error), error);
    return sequence;
}

/* The codes of a frame behind what the sequence has and the prompt. */
static void say(const gpu_net *f, tmb_net_sequence *sequence, const tmb_prompt *prompt, int16_t *codes) {
    const tmb_sampling sampling = {.greedy = true, .temperature = 1, .top_p = 1};
    const tmb_lm_sampling both = {
        .talker = sampling, .predictor = sampling, .repetition_penalty = 1, .max_new_tokens = 10};
    tmb_error error = {0};
    tmb_lm_outcome outcome = TMB_LM_FAILED;
    assert_ok(gpu_backend->prefill(f->net, sequence, prompt, 0, prompt->count, &error), error);
    assert_ok(gpu_backend->begin(f->net, sequence, &both, prompt, &error), error);
    gpu_backend->step(f->net, &sequence, 1, codes, &outcome);
    assert_int_equal(outcome, TMB_LM_FRAME);
}

/* The device has room for some of the pages: when there is room for all, those that came count as well. */
static void test_some_pages(void **state) {
    (void)state;
    enum { WANTED = 400, FILLERS = 400 };
    gpu_net f;
    tmb_prompt prompt;
    tmb_error error = {0};
    int16_t expected[TMB_QWEN3_CODE_GROUPS_MAX], codes[TMB_QWEN3_CODE_GROUPS_MAX];
    tmb_net_sequence *fillers[FILLERS] = {NULL};
    gpu_net_open_within(&f, "sample-g", "f32", 1, (uint64_t)1 << 30);
    gpu_net_prompt(&f, 1, &prompt);
    tmb_net_sequence *from = create(&f, WANTED), *whole = create(&f, WANTED + 64), *some = create(&f, 1);
    while (gpu_backend->sequence_positions(from) + prompt.count <= WANTED) {
        assert_ok(gpu_backend->prefill(f.net, from, &prompt, 0, prompt.count, &error), error);
    }
    size_t count = gpu_backend->sequence_positions(from);
    assert_true(count > 320);
    assert_ok(gpu_backend->sequence_fork(f.net, whole, from, count, &error), error);
    say(&f, whole, &prompt, expected);
    fake_set("MEMORY", (int64_t)allocated());
    size_t filled = 0;
    while (gpu_backend->sequence_create(f.net, 1, &fillers[filled], &error) == TMB_OK) {
        filled++;
        assert_in_range(filled, 1, FILLERS - 1);
    }
    gpu_backend->sequence_destroy(f.net, &fillers[--filled]); /* room for two pages or three; five are wanted */
    assert_int_equal(gpu_backend->sequence_fork(f.net, some, from, count, &error), TMB_ERROR_MEMORY);
    fake_set("MEMORY", (int64_t)1 << 30);
    assert_ok(gpu_backend->sequence_fork(f.net, some, from, count, &error), error);
    say(&f, some, &prompt, codes);
    assert_memory_equal(codes, expected, f.config.talker.code_groups * sizeof *codes);
    while (filled > 0) {
        gpu_backend->sequence_destroy(f.net, &fillers[--filled]);
    }
    gpu_backend->sequence_destroy(f.net, &from);
    gpu_backend->sequence_destroy(f.net, &whole);
    gpu_backend->sequence_destroy(f.net, &some);
    tmb_prompt_free(&prompt);
    gpu_net_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts), cmocka_unit_test(test_graphs),
                                       cmocka_unit_test(test_steps), cmocka_unit_test(test_some_pages),
                                       cmocka_unit_test(test_growth)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
