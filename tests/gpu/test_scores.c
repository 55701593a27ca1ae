/* How near the GPU's codes are to the CPU's at every precision: the CPU is given the GPU's codes as its history, and at
 * each pick asked how much higher its own highest score is.
 *
 * Products of 8 and 4 bits are the CPU's: the same packed weights, vectors rounded alike, whole sums. What goes into
 * them is not, to the last bit: sums in f32 (norms, attention, scales) go over the same numbers in another order, as
 * they do in each instruction set of the CPU. A value that lies at the middle of two steps is then rounded the other
 * way, by one of 127 steps; a code differs if two scores are that near to each other.
 */
#include "test.h"

#include "gpu_net.h"
#include "tts/qwen3/cpu/lm/lm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPTS = 3, STEPS = 20 };

typedef struct fixture {
    gpu_net net;
    tmb_lm *lm;
} fixture;

static void open_fixture(fixture *f, const char *model, const char *precision) {
    tmb_error error = {0};
    gpu_net_open(&f->net, model, precision, 1);
    const tmb_lm_options lm = {.talker = f->net.precisions.talker, .predictor = f->net.precisions.predictor};
    assert_ok(tmb_lm_load(&f->net.config, f->net.weights, &lm, &f->lm, &error), error);
}

static void close_fixture(fixture *f) {
    tmb_lm_destroy(&f->lm);
    gpu_net_close(&f->net);
}

static size_t speak(const gpu_net *f, const tmb_prompt *prompt, const tmb_lm_sampling *sampling, int16_t *codes) {
    tmb_lm_outcome outcome = TMB_LM_FRAME;
    size_t frames = 0;
    tmb_net_sequence *sequence = gpu_net_start(f, prompt, sampling, STEPS);
    while (gpu_backend->step(f->net, &sequence, 1, codes + frames * f->config.talker.code_groups, &outcome),
           outcome == TMB_LM_FRAME) {
        assert_true(++frames <= STEPS);
    }
    gpu_backend->sequence_destroy(f->net, &sequence);
    return frames;
}

/* What the CPU thinks of those codes. */
typedef struct judge {
    const gpu_net *f;
    const int16_t *codes;
    size_t frames, picks, others; /* others: where another code's score is higher */
    double largest;               /* by how much, in standard deviations of the scores */
    tmb_picker picker;
    uint64_t seen[128];
    float scores[8192];
} judge;

static int watch(void *user, const tmb_lm_sequence *sequence, size_t frame, size_t book, const float *scores,
                 size_t count) {
    judge *j = user;
    (void)sequence;
    if (frame >= j->frames) {
        return -1; /* the end, which is no frame */
    }
    const int16_t code = j->codes[frame * j->f->config.talker.code_groups + book];
    assert_true(count <= sizeof j->scores / sizeof j->scores[0] && (size_t)code < count);
    memcpy(j->scores, scores, count * sizeof *scores);
    if (book == 0) {
        tmb_rules_first_scores(&j->picker, j->scores);
        (void)tmb_rules_take_first(&j->picker, (size_t)code);
    }
    double mean = 0, square = 0, best = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        mean += scores[i] / (double)count;
        best = fmax(best, j->scores[i]);
    }
    for (size_t i = 0; i < count; i++) {
        square += (scores[i] - mean) * (scores[i] - mean) / (double)count;
    }
    double gap = (best - j->scores[code]) / sqrt(square);
    j->picks++;
    j->others += gap > 0;
    j->largest = fmax(j->largest, gap);
    return code;
}

static void judge_prompt(const fixture *f, size_t n, judge *j) {
    int16_t codes[(STEPS + 1) * TMB_QWEN3_CODE_GROUPS_MAX], own[TMB_QWEN3_CODE_GROUPS_MAX];
    const gpu_net *net = &f->net;
    tmb_error error = {0};
    tmb_prompt prompt;
    gpu_net_prompt(net, n, &prompt);
    const tmb_lm_sampling sampling = {.talker = {.greedy = true},
                                      .predictor = {.greedy = true},
                                      .repetition_penalty = net->config.generation.repetition_penalty,
                                      .max_new_tokens = STEPS + 1};
    j->f = net;
    j->codes = codes;
    j->frames = speak(net, &prompt, &sampling, codes);
    j->picker = (tmb_picker){
        .vocabulary = net->config.talker.vocab_size, .end = (size_t)net->config.talker.codec_eos_id, .seen = j->seen};
    assert_true(tmb_picker_words(j->picker.vocabulary) <= sizeof j->seen / sizeof j->seen[0]);
    tmb_picker_begin(&j->picker, &sampling);
    tmb_lm_context *context = NULL;
    tmb_lm_sequence *sequence = NULL;
    size_t hidden = tmb_lm_hidden_size(f->lm);
    float *rows = calloc(prompt.count + prompt.later_count + 1, hidden * sizeof *rows);
    float *later = rows + prompt.count * hidden;
    assert_ok(tmb_lm_context_create(f->lm, 1, NULL, &context, &error), error);
    assert_ok(tmb_lm_embed_rows(f->lm, NULL, &prompt, 0, prompt.count, rows, &error), error);
    assert_ok(tmb_lm_embed_text(f->lm, NULL, prompt.later, prompt.later_count, later, &error), error);
    assert_ok(tmb_lm_embed_text(f->lm, NULL, &prompt.pad, 1, later + prompt.later_count * hidden, &error), error);
    assert_ok(tmb_lm_sequence_create(f->lm, prompt.count + STEPS, &sequence, &error), error);
    assert_ok(tmb_lm_prefill(context, sequence, rows, prompt.count, &error), error);
    assert_ok(tmb_lm_sequence_begin(sequence, &sampling, later, prompt.later_count, later + prompt.later_count * hidden,
                                    &error),
              error);
    tmb_lm_context_watch(context, watch, j);
    for (size_t frame = 0; frame < j->frames; frame++) {
        tmb_lm_outcome outcome = TMB_LM_FRAME;
        tmb_lm_step(context, &sequence, 1, own, &outcome);
        assert_int_equal(outcome, TMB_LM_FRAME);
        assert_memory_equal(own, codes + frame * net->config.talker.code_groups,
                            net->config.talker.code_groups * sizeof *own);
    }
    tmb_lm_sequence_destroy(&sequence);
    tmb_lm_context_destroy(&context);
    tmb_prompt_free(&prompt);
    free(rows);
}

static void test_scores(void **state) {
    (void)state;
    static const char *const models[] = {"sample-c", "sample-d", "sample-e", "sample-f"};
    static const struct {
        const char *precision;
        double share, most; /* of picks that may differ; in standard deviations of the scores */
    } cases[] = {{"f32", 0, 0}, {"int8", 0.01, 0.3}, {"talker=bf16,predictor=int4", 0.04, 0.3}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        judge all = {0};
        for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
            fixture f = {0};
            open_fixture(&f, models[m], cases[c].precision);
            for (size_t n = 0; n < PROMPTS; n++) {
                judge_prompt(&f, n, &all);
            }
            close_fixture(&f);
        }
        print_message("%s: %zu picks, %zu others, by at most %.2g\n", cases[c].precision, all.picks, all.others,
                      all.largest);
        assert_true(all.picks > 1000);
        assert_true((double)all.others <= cases[c].share * (double)all.picks);
        assert_true(all.largest <= cases[c].most);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scores)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
