#include "test.h"

#include "tts/qwen3/config.h"
#include "tts/qwen3/rules/rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST 3072

/* xoshiro256++ from the state {1, 2, 3, 4}: the first values of the authors' reference. */
static void test_generator(void **state) {
    (void)state;
    tmb_random random = {{1, 2, 3, 4}};
    static const uint64_t expected[] = {41943041u, 58720359u, 3588806011781223u, 3591011842654386u};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(tmb_random_next(&random), expected[i]);
    }
    tmb_random_seed(&random, 0);
    tmb_random other;
    tmb_random_seed(&other, 1);
    assert_memory_not_equal(&random, &other, sizeof random);
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        double u = tmb_random_uniform(&random);
        assert_true(u >= 0 && u < 1);
        sum += u;
    }
    assert_true(fabs(sum / 100000 - 0.5) < 0.005);
}

static void test_greedy(void **state) {
    (void)state;
    float scores[] = {-1, 3, 2, 3, -INFINITY};
    uint32_t scratch[5];
    tmb_random random = {{1, 2, 3, 4}}, before = random;
    tmb_sampling greedy = {.greedy = true};
    assert_int_equal(tmb_pick(scores, 5, &greedy, &random, scratch), 1); /* the lowest of equals */
    assert_memory_equal(&random, &before, sizeof random);                /* draws nothing */
}

static void test_penalty(void **state) {
    (void)state;
    float scores[130];
    uint64_t seen[3] = {1u << 1 | 1u << 2, 0, 2};
    for (size_t i = 0; i < 130; i++) {
        scores[i] = i % 2 == 0 ? 3.0f : -3.0f;
    }
    tmb_penalize_repetition(scores, 130, seen, 1.5f);
    for (size_t i = 0; i < 130; i++) {
        float expected = i == 2 ? 2.0f : i == 1 || i == 129 ? -4.5f : i % 2 == 0 ? 3.0f : -3.0f;
        assert_true(scores[i] == expected);
    }
}

/* The rules around picking a first code. */
static void test_rules(void **state) {
    (void)state;
    enum { VOCABULARY = TMB_QWEN3_SUPPRESSED_CODES + 128, END = VOCABULARY - 5 };
    uint64_t seen[(VOCABULARY + 63) / 64];
    float scores[VOCABULARY];
    uint32_t scratch[VOCABULARY];
    tmb_picker picker = {.vocabulary = VOCABULARY, .end = END, .seen = seen};
    tmb_lm_sampling sampling = {
        .talker = {.greedy = true}, .predictor = {.greedy = true}, .repetition_penalty = 2, .max_new_tokens = 5};
    for (int again = 0; again < 2; again++) {
        tmb_picker_begin(&picker, &sampling);
        for (size_t pick = 0; pick < 5; pick++) {
            for (size_t i = 0; i < VOCABULARY; i++) {
                scores[i] = i >= 128 ? 50 : i == 7 ? 10 : i == 9 ? 8 : 1;
            }
            tmb_rules_first_scores(&picker, scores);
            for (size_t i = 128; i < VOCABULARY; i++) {
                assert_true(i == END && pick >= 2 ? scores[i] == 50 : isinf(scores[i]));
            }
            /* The first code is penalized once it was picked, and once only; then the second. */
            assert_true(scores[7] == (pick == 0 ? 10 : 5) && scores[9] == (pick < 2 ? 8 : 4));
            size_t expected = pick == 0 ? 7 : pick == 1 ? 9 : END;
            assert_int_equal(tmb_rules_pick_first(&picker, scores, scratch), expected);
            /* Whether it is taken is the caller's: the last picks take another code than the end. */
            size_t taken = pick < 2 ? expected : 11;
            assert_int_equal(tmb_rules_take_first(&picker, taken), pick == 4 ? TMB_LM_LIMIT : TMB_LM_FRAME);
        }
        assert_int_equal(tmb_rules_take_first(&picker, END), TMB_LM_END);
    }
    float others[] = {1, 4, 2};
    assert_int_equal(tmb_rules_pick_other(&picker, others, 3, scratch), 1);
    assert_int_equal(tmb_rules_piece_seed(5, 0, 0), 5);
    assert_int_not_equal(tmb_rules_piece_seed(5, 1, 0), tmb_rules_piece_seed(5, 0, 1));
}

static int descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* The probabilities by the definition: temperature, top-k with ties kept, top-p, softmax. */
static void define(const float *scores, size_t n, const tmb_sampling *sampling, double *out) {
    double *sorted = calloc(n, sizeof *sorted), *weights = calloc(n, sizeof *weights);
    for (size_t i = 0; i < n; i++) {
        sorted[i] = (double)scores[i];
    }
    qsort(sorted, n, sizeof *sorted, descending);
    double lowest = sampling->top_k > 0 && sampling->top_k < n ? sorted[sampling->top_k - 1] : -INFINITY;
    double total = 0, highest = sorted[0];
    for (size_t i = 0; i < n; i++) {
        weights[i] = (double)scores[i] >= lowest ? exp(((double)scores[i] - highest) / sampling->temperature) : 0;
        total += weights[i];
        sorted[i] = weights[i];
    }
    if (sampling->top_p < 1) {
        qsort(sorted, n, sizeof *sorted, descending);
        double dropped = 0, cut = 0;
        for (size_t i = n; i-- > 1;) {
            dropped += sorted[i] / total;
            if (dropped > 1 - sampling->top_p) {
                break;
            }
            cut = sorted[i];
        }
        for (size_t i = 0; i < n; i++) {
            weights[i] = weights[i] <= cut ? 0 : weights[i];
        }
    }
    total = 0;
    for (size_t i = 0; i < n; i++) {
        total += weights[i];
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = weights[i] / total;
    }
    free(sorted);
    free(weights);
}

/* 200000 draws against the definition. */
static void check_distribution(size_t n, const tmb_sampling *sampling, uint64_t seed) {
    float scores[MOST], copy[MOST];
    double expected[MOST];
    static size_t counts[MOST];
    uint32_t scratch[MOST];
    tmb_random random;
    tmb_random_seed(&random, seed);
    for (size_t i = 0; i < n; i++) {
        scores[i] = (float)(tmb_random_uniform(&random) * 8 - 4);
    }
    scores[n / 2] = -INFINITY;
    define(scores, n, sampling, expected);
    memset(counts, 0, sizeof counts);
    const int draws = 200000;
    for (int i = 0; i < draws; i++) {
        memcpy(copy, scores, n * sizeof *copy);
        size_t pick = tmb_pick(copy, n, sampling, &random, scratch);
        assert_true(pick < n);
        counts[pick]++;
    }
    double chi = 0, freedom = 0, rare_mean = 0, rare_count = 0;
    for (size_t i = 0; i < n; i++) {
        double mean = expected[i] * draws;
        if (mean == 0) {
            assert_int_equal(counts[i], 0);
        } else if (mean < 20) { /* together one cell of the chi-square sum */
            rare_mean += mean;
            rare_count += (double)counts[i];
        } else {
            chi += (mean - (double)counts[i]) * (mean - (double)counts[i]) / mean;
            freedom += 1;
        }
    }
    if (rare_mean > 0) {
        chi += (rare_mean - rare_count) * (rare_mean - rare_count) / fmax(rare_mean, 1);
        freedom += 1;
    }
    assert_true(chi < freedom + 6 * sqrt(2 * freedom) + 6);
}

static void test_distribution(void **state) {
    (void)state;
    static const tmb_sampling settings[] = {
        {.temperature = 1, .top_p = 1, .top_k = 0},    {.temperature = 0.5, .top_p = 1, .top_k = 7},
        {.temperature = 2, .top_p = 0.7, .top_k = 0},  {.temperature = 0.9, .top_p = 0.9, .top_k = 10},
        {.temperature = 1, .top_p = 1e-9, .top_k = 0}, {.temperature = 1, .top_p = 1, .top_k = 1},
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        check_distribution(3, &settings[i], i);
        check_distribution(64, &settings[i], i);
    }
}

static void test_ties_of_top_k(void **state) {
    (void)state;
    tmb_sampling sampling = {.temperature = 1, .top_p = 1, .top_k = 2};
    tmb_random random;
    tmb_random_seed(&random, 5);
    bool picked[4] = {false};
    for (int i = 0; i < 1000; i++) {
        float scores[] = {1, 2, 1, 0};
        uint32_t scratch[4];
        picked[tmb_pick(scores, 4, &sampling, &random, scratch)] = true;
    }
    assert_true(picked[0] && picked[1] && picked[2] && !picked[3]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generator), cmocka_unit_test(test_greedy),       cmocka_unit_test(test_penalty),
        cmocka_unit_test(test_rules),     cmocka_unit_test(test_distribution), cmocka_unit_test(test_ties_of_top_k),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
