/* Kernels, graphs and bytes of a frame, counted by the driver that runs kernels on the CPU, and what they come to at
 * the released models' sizes. */
#include "test.h"

#include "fake_driver.h"
#include "gpu_net.h"

#include <stdlib.h>
#include <string.h>

static tmb_net_sequence *start(const gpu_net *f) {
    tmb_prompt prompt;
    const tmb_sampling sampling = {.greedy = true, .temperature = 1, .top_p = 1};
    const tmb_lm_sampling both = {
        .talker = sampling, .predictor = sampling, .repetition_penalty = 1, .max_new_tokens = 100};
    gpu_net_prompt(f, 0, &prompt);
    tmb_net_sequence *sequence = gpu_net_start(f, &prompt, &both, 8);
    tmb_prompt_free(&prompt);
    return sequence;
}

/* By the numbers of layers: the talker's with its head and pick; the predictor's; the codec's. */
static size_t talker_kernels(size_t layers, bool projects) { return 5 * layers + 3 + (projects ? 1 : 0); }
static size_t predictor_kernels(size_t layers, size_t books) { return (books - 1) * (4 * layers + 2); }
static size_t codec_kernels(size_t layers, size_t upsampling, size_t blocks) {
    return 4 + 5 * layers + 1 + 4 * upsampling + 1 + 7 * blocks + 2;
}

/* A prompt's rows go through products with wide tiles; rounded vectors and those with a norm are made ready before. */
static void check_prompt(const gpu_net *f, bool rounded) {
    tmb_prompt prompt;
    tmb_error error = {0};
    tmb_net_sequence *sequence = NULL;
    gpu_net_prompt(f, 11, &prompt);
    assert_in_range(prompt.count, 16, 64);
    assert_ok(gpu_backend->sequence_create(f->net, prompt.count, &sequence, &error), error);
    const tmb_fake_cuda_counts before = fake_counts();
    assert_ok(gpu_backend->prefill(f->net, sequence, &prompt, 0, prompt.count, &error), error);
    size_t layers = f->config.talker.transformer.layers;
    assert_int_equal(fake_counts().queued - before.queued, 3 + layers * (rounded ? 10 : 8) + 1);
    gpu_backend->sequence_destroy(f->net, &sequence);
    tmb_prompt_free(&prompt);
}

static void check_steps(const gpu_net *f) {
    int16_t codes[TMB_QWEN3_CODE_GROUPS_MAX];
    tmb_lm_outcome outcome = TMB_LM_FRAME;
    tmb_net_sequence *sequence = start(f);
    size_t books = f->config.talker.code_groups;
    /* A frame is picked while the talker goes over the one before: from the second step on that is a whole frame. */
    gpu_backend->step(f->net, &sequence, 1, codes, &outcome);
    gpu_backend->step(f->net, &sequence, 1, codes, &outcome);
    const tmb_fake_cuda_counts before = fake_counts();
    gpu_backend->step(f->net, &sequence, 1, codes, &outcome);
    const tmb_fake_cuda_counts after = fake_counts();
    bool projects = f->config.talker.transformer.hidden_size != f->config.predictor.transformer.hidden_size;
    assert_int_equal(after.kernels - before.kernels,
                     talker_kernels(f->config.talker.transformer.layers, projects) +
                         predictor_kernels(f->config.predictor.transformer.layers, books));
    assert_int_equal(after.launches, before.launches);
    assert_int_equal(after.graph_launches - before.graph_launches, 2);
    assert_int_equal(after.bytes_up - before.bytes_up, 4 + 56); /* how many there are, and what lies where */
    assert_int_equal(after.bytes_down - before.bytes_down, books * sizeof(int16_t) + sizeof(int32_t));
    assert_int_equal(after.allocations, before.allocations);
    gpu_backend->sequence_destroy(f->net, &sequence);
}

static void check_codec(const gpu_net *f) {
    const tmb_qwen3_codec_decoder_config *codec = &f->config.codec.decoder;
    tmb_error error = {0};
    tmb_net_stream *stream = NULL;
    int16_t codes[TMB_QWEN3_CODE_GROUPS_MAX] = {0};
    assert_ok(gpu_backend->stream_create(f->net, &stream, &error), error);
    const tmb_fake_cuda_counts before = fake_counts();
    gpu_backend->decode_add(f->net, &(tmb_decode_request){.stream = stream, .codes = codes, .frames = 1});
    gpu_backend->decode_start(f->net);
    while (!gpu_backend->decode_done(f->net, 1)) {
    }
    const tmb_fake_cuda_counts after = fake_counts();
    assert_int_equal(after.kernels - before.kernels,
                     codec_kernels(codec->layers, codec->upsample_stages, codec->decoder_stages));
    assert_int_equal(after.launches, before.launches);
    assert_int_equal(after.graph_launches - before.graph_launches, 1);
    assert_int_equal(after.bytes_up - before.bytes_up, 4 + 32 + codec->quantizers * sizeof(int16_t));
    assert_int_equal(after.bytes_down - before.bytes_down, f->config.codec.samples_per_frame * sizeof(float));
    assert_int_equal(after.allocations, before.allocations);
    gpu_backend->decode_clear(f->net);
    gpu_backend->stream_destroy(f->net, &stream);
}

static void test_launches(void **state) {
    (void)state;
    static const struct {
        const char *model, *precision;
    } cases[] = {{"sample-g", "f32"}, {"sample-g", "int8"}, {"sample-d", "bf16"}, {"sample-e", "f32"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gpu_net f;
        gpu_net_open(&f, cases[i].model, cases[i].precision, 2);
        const uint64_t uploads = fake_counts().uploads;
        check_prompt(&f, strcmp(cases[i].precision, "f32") != 0);
        check_steps(&f);
        check_codec(&f);
        assert_int_equal(fake_counts().uploads, uploads); /* the driver has all graphs on the device already */
        gpu_net_close(&f);
    }
    /* The released models: 28 layers of the talker, 5 of the predictor for 16 books, 8 in the codec with 2 and 4
     * stages. The 1.7B's talker is wider than its predictor, so that the talker's output is projected. */
    assert_in_range(talker_kernels(28, true), 1, 150);
    assert_in_range(predictor_kernels(5, 16), 1, 330);
    assert_in_range(codec_kernels(8, 2, 4), 1, 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_launches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
