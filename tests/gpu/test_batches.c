/* Thirty-two utterances together: each says what it says alone, to the bit, at every precision, while others come to
 * their end and the batch passes from one graph to the next. */
#include "test.h"

#include "gpu_net.h"

#include <stdlib.h>
#include <string.h>

enum { TOGETHER = 32, MOST_FRAMES = 5 };

typedef struct said {
    int16_t codes[MOST_FRAMES * TMB_QWEN3_CODE_GROUPS_MAX];
    size_t frames;
} said;

/* Greedy and by chance; utterance n has at most so many frames that all sizes of a batch occur. */
static tmb_lm_sampling sampling_of(size_t n) {
    const tmb_sampling sampling = {.greedy = n % 4 == 1, .temperature = 0.9, .top_p = 0.95, .top_k = 50};
    const size_t frames = n == 0 ? MOST_FRAMES : n < 3 ? 4 : n < 9 ? 3 : n < 17 ? 2 : 1;
    return (tmb_lm_sampling){.talker = sampling,
                             .predictor = sampling,
                             .repetition_penalty = 1.05,
                             .seed = 100 + n,
                             .max_new_tokens = frames + 1};
}

static tmb_net_sequence *start(const gpu_net *f, size_t n) {
    tmb_prompt prompt;
    const tmb_lm_sampling sampling = sampling_of(n);
    gpu_net_prompt(f, n, &prompt);
    tmb_net_sequence *sequence = gpu_net_start(f, &prompt, &sampling, MOST_FRAMES);
    tmb_prompt_free(&prompt);
    return sequence;
}

/* Steps the utterances [first, first + count) until all have ended. */
static void speak(const gpu_net *f, size_t first, size_t count, said *out) {
    tmb_net_sequence *live[TOGETHER];
    size_t which[TOGETHER], groups = f->config.talker.code_groups;
    int16_t codes[TOGETHER * TMB_QWEN3_CODE_GROUPS_MAX];
    tmb_lm_outcome outcomes[TOGETHER];
    for (size_t i = 0; i < count; i++) {
        live[i] = start(f, first + i);
        which[i] = i;
    }
    while (count > 0) {
        gpu_backend->step(f->net, live, count, codes, outcomes);
        size_t kept = 0;
        for (size_t i = 0; i < count; i++) {
            said *to = &out[which[i]];
            if (outcomes[i] == TMB_LM_FRAME) {
                assert_true(to->frames < MOST_FRAMES);
                memcpy(to->codes + to->frames++ * groups, codes + i * groups, groups * sizeof *codes);
                live[kept] = live[i];
                which[kept++] = which[i];
            } else {
                assert_true(outcomes[i] == TMB_LM_END || outcomes[i] == TMB_LM_LIMIT);
                gpu_backend->sequence_destroy(f->net, &live[i]);
            }
        }
        count = kept;
    }
}

static void test_batches(void **state) {
    (void)state;
    static const struct {
        const char *model, *precision;
    } cases[] = {{"sample-g", "f32"}, {"sample-g", "int8"}, {"sample-d", "talker=bf16,predictor=int4"}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        static said alone[TOGETHER], together[TOGETHER];
        gpu_net f;
        memset(alone, 0, sizeof alone);
        memset(together, 0, sizeof together);
        gpu_net_open(&f, cases[c].model, cases[c].precision, TOGETHER);
        for (size_t i = 0; i < TOGETHER; i++) {
            speak(&f, i, 1, &alone[i]);
            assert_true(alone[i].frames >= 1);
        }
        speak(&f, 0, TOGETHER, together);
        assert_memory_equal(alone, together, sizeof alone);
        gpu_net_close(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_batches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
