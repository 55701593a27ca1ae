/* The kernel that picks codes: by the rules, as the CPU's sampler does, and of scores that are no numbers. */
#include "cpu_pick.h"
#include "kernel_test.h"

/* The rules for first codes, what follows from a code; and the same with many threads as with few. */
static void check_picks(bool greedy, double top_p, unsigned top_k, int book) {
    enum { N = 300, WIDTH = 70, GROUPS = 3 };
    static const int threads[] = {64, 256};
    int16_t picked[2] = {-1, -1};
    float *scores = floats(N);
    for (size_t round = 0; round < 2; round++) {
        float *copy = memory(N * sizeof *copy), *rows = floats((size_t)(N + 1) * WIDTH);
        float *table = rows + WIDTH; /* a code that is read too early is -1 */
        memcpy(copy, scores, N * sizeof *copy);
        tmb_gpu_picker *picker = memory(sizeof *picker);
        uint64_t *seen = memory(64);
        float *hidden = floats(WIDTH), *next = floats(WIDTH), *text = floats(WIDTH);
        float *y = floats(2 * WIDTH), *x = floats(WIDTH);
        float before[WIDTH];
        memcpy(before, next, sizeof before);
        *picker = (tmb_gpu_picker){.random = {1, 2, 3, 4},
                                   .temperature = {0.9, 0.8},
                                   .top_p = {top_p, top_p},
                                   .greedy = {greedy, greedy},
                                   .top_k = {top_k, top_k},
                                   .penalty = 1.1f,
                                   .max_new_tokens = 9,
                                   .end = 250,
                                   .suppressed = 100};
        seen[1] = 0xff00ff;
        tmb_gpu_slot *slot = memory(sizeof *slot);
        *slot = (tmb_gpu_slot){.hidden = hidden, .next = next, .picker = picker, .seen = seen, .text = text};
        tmb_gpu_table *tables = memory(GROUPS * sizeof *tables);
        tables[book] = (tmb_gpu_table){.rows = table};
        int16_t *codes = memory(GROUPS * sizeof *codes);
        int32_t *outcomes = memory(sizeof *outcomes), *live = memory(sizeof *live);
        *live = 1;
        const tmb_pick_arguments arguments = {.slots = slot,
                                              .live = live,
                                              .scores = copy,
                                              .tables = tables,
                                              .codes = codes,
                                              .outcomes = outcomes,
                                              .y = y,
                                              .x = x,
                                              .n = N,
                                              .scores_stride = N,
                                              .book = book,
                                              .groups = GROUPS,
                                              .width = WIDTH,
                                              .y_stride = WIDTH};
        run(run_tmb_pick, 2, 1, threads[round], &arguments);
        picked[round] = codes[book];
        bool legal = codes[book] >= 0 && codes[book] < (book == 0 ? N - 100 : N);
        for (int k = 0; k < WIDTH && legal; k++) {
            float value = table[codes[book] * WIDTH + k];
            legal = book == 0   ? y[k] == hidden[k] && y[WIDTH + k] == value && next[k] == value
                    : book == 1 ? y[k] == value && next[k] == before[k] + value
                                : x[k] == before[k] + value + text[k] && next[k] == x[k];
        }
        if (!legal || outcomes[0] != 0) {
            (void)printf("pick of book %d: code %d, outcome %d, or what follows from them\n", book, codes[book],
                         outcomes[0]);
            failures++;
        }
        void *all[] = {copy, rows, picker, seen, hidden, next, text, y, x, slot, tables, codes, outcomes, live};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            free(all[i]);
        }
    }
    if (picked[0] != picked[1]) {
        (void)printf("pick of book %d: %d by 64 threads, %d by 256\n", book, picked[0], picked[1]);
        failures++;
    }
    free(scores);
}

/* ---- As on the CPU ---- */

/* The code that is picked of `scores` [n], in which the weights are then. */
static int pick(float *scores, int n, const cpu_sampling *sampling, const uint64_t random[4], int threads) {
    enum { WIDTH = 1, BOOK = 1, GROUPS = 3 };
    tmb_gpu_picker *picker = memory(sizeof *picker);
    *picker = (tmb_gpu_picker){.temperature = {1, sampling->temperature},
                               .top_p = {1, sampling->top_p},
                               .greedy = {0, (uint32_t)sampling->greedy},
                               .top_k = {0, sampling->top_k}};
    memcpy(picker->random, random, sizeof picker->random);
    float *rows = floats((size_t)n * WIDTH), *vectors = floats(4 * WIDTH);
    tmb_gpu_slot *slot = memory(sizeof *slot);
    *slot = (tmb_gpu_slot){.hidden = vectors, .next = vectors + 1, .picker = picker};
    tmb_gpu_table *tables = memory(GROUPS * sizeof *tables);
    tables[BOOK] = (tmb_gpu_table){.rows = rows};
    int16_t *codes = memory(GROUPS * sizeof *codes);
    int32_t *live = memory(sizeof *live);
    *live = 1;
    const tmb_pick_arguments arguments = {.slots = slot,
                                          .live = live,
                                          .scores = scores,
                                          .tables = tables,
                                          .codes = codes,
                                          .y = vectors + 2,
                                          .x = vectors + 3,
                                          .n = n,
                                          .scores_stride = n,
                                          .book = BOOK,
                                          .groups = GROUPS,
                                          .width = WIDTH,
                                          .y_stride = WIDTH};
    run(run_tmb_pick, 1, 1, threads, &arguments);
    int code = codes[BOOK];
    void *all[] = {picker, rows, vectors, slot, tables, codes, live};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
    return code;
}

/* The same code, of the same candidates. */
static void check_like_cpu(int n, const cpu_sampling *sampling, float spread, int threads) {
    float *scores = floats((size_t)n), *expected = memory((size_t)n * sizeof *expected);
    const uint64_t random[4] = {seed * 0x9e3779b97f4a7c15u, seed, ~(uint64_t)seed << 20, 5};
    for (int i = 0; i < n; i++) {
        expected[i] = scores[i] *= spread;
    }
    int wanted = cpu_pick(expected, n, sampling, random);
    int code = pick(scores, n, sampling, random, threads);
    int others = 0;
    for (int i = 0; i < n; i++) {
        others += (scores[i] > 0) != (expected[i] > 0);
    }
    if (code != wanted || others != 0) {
        (void)printf("pick of %d, top_k %u, top_p %g, spread %g: %d instead of %d, %d candidates differ\n", n,
                     sampling->top_k, sampling->top_p, (double)spread, code, wanted, others);
        failures++;
    }
    free(scores);
    free(expected);
}

static void check_all_like_cpu(void) {
    static const double top_p[] = {1, 0.999, 0.95, 0.9, 0.5, 0.1, 0};
    static const unsigned top_k[] = {0, 1, 2, 50};
    static const float spread[] = {0.01f, 3, 40};
    static const int sizes[] = {90, 700};
    for (size_t i = 0; i < sizeof top_p / sizeof top_p[0]; i++) {
        for (size_t k = 0; k < sizeof top_k / sizeof top_k[0]; k++) {
            for (size_t j = 0; j < sizeof spread / sizeof spread[0]; j++) {
                const cpu_sampling sampling = {.temperature = 0.9, .top_p = top_p[i], .top_k = top_k[k]};
                const size_t n = (i + k + j) % 2;
                check_like_cpu(sizes[n], &sampling, spread[j], n == 0 ? 64 : 256);
            }
        }
    }
}

/* Of equal weights the lowest ids go first, and the highest score stays. */
static void check_equals(void) {
    enum { N = 100 };
    const cpu_sampling sampling = {.temperature = 1, .top_p = 0.5};
    const uint64_t random[4] = {1, 2, 3, 4};
    float *scores = memory(N * sizeof *scores);
    for (int i = 0; i < N; i++) {
        scores[i] = i % 20 == 7 ? 1.0f : BITS_TO_FLOAT(0xff800000u); /* 7, 27, 47, 67, 87 */
    }
    int code = pick(scores, N, &sampling, random, 64);
    int kept = 0;
    for (int i = 0; i < N; i++) {
        kept += scores[i] > 0;
    }
    if (kept != 3 || scores[7] != 1 || scores[67] != 1 || scores[87] != 1 || scores[code] != 1) {
        (void)printf("pick of five equals: %d, %d are kept\n", code, kept);
        failures++;
    }
    free(scores);
}

/* ---- Scores that are no numbers ---- */

static void check_no_numbers(void) {
    enum { N = 90 };
    static const int threads[] = {64, 256};
    for (size_t t = 0; t < 2; t++) {
        for (int greedy = 0; greedy < 2; greedy++) {
            const cpu_sampling sampling = {.greedy = greedy, .temperature = 0.9, .top_p = 0.9, .top_k = 50};
            const uint64_t random[4] = {1, 2, 3, 4};
            float *scores = memory(N * sizeof *scores);
            for (int i = 0; i < N; i++) {
                scores[i] = BITS_TO_FLOAT(0x7fc00000u);
            }
            int code = pick(scores, N, &sampling, random, threads[t]);
            for (int i = 0; i < N; i++) {
                scores[i] = i % 3 == 1 ? BITS_TO_FLOAT(0xffc00000u) : i == 41 ? 9.0f : (float)-i;
            }
            int best = pick(scores, N, &sampling, random, threads[t]);
            if (code != 0 || best != 41) {
                (void)printf("pick of no numbers: %d, of some: %d\n", code, best);
                failures++;
            }
            free(scores);
        }
    }
}

static void check_all(void) {
    for (int book = 0; book < 3; book++) {
        check_picks(true, 1.0, 0, book);
        check_picks(false, 1.0, 50, book);
        check_picks(false, 0.8, 40, book);
        check_picks(false, 1.0, 0, book);
    }
    check_all_like_cpu();
    check_equals();
    check_no_numbers();
}

int main(void) { return test_main(check_all); }
