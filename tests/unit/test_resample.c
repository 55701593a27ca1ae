#include "test.h"

#include "cpu/cpu.h"
#include "io/io.h"
#include "resample/ratio.h"
#include "resample/resample.h"
#include "resample/stage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[] = {"auto", "soxr", "poly", "sinc"};

/* ---- goldens: tests/golden/resample/README.md ---- */

static const struct {
    const char *signal;
    int input_rate, output_rate;
} goldens[] = {
    {"noise", 16000, 48000},  {"noise", 44100, 48000},  {"speech", 22050, 48000},
    {"speech", 24000, 48000}, {"speech", 48000, 24000}, {"tiny", 24000, 48000},
};

static float *read_golden(size_t golden, const char *what, size_t *count) {
    const char *folder = getenv("TIMBRE_GOLDEN");
    assert_non_null(folder);
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/resample/%s_%d_%d.%s.wav", folder, goldens[golden].signal,
                   goldens[golden].input_rate, goldens[golden].output_rate, what);
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    tmb_error error = {0};
    assert_ok(tmb_audio_open(path, NULL, NULL, &reader, &info, &error), error);
    float *samples = NULL;
    assert_ok(tmb_audio_read_mono(reader, &info, &samples, count, &error), error);
    tmb_audio_close(&reader);
    return samples;
}

/* soxr is the same library; the sinc golden has its kernel in single precision, which costs it accuracy
 * at ratios that are no integers. */
static double tolerance(tmb_resampler_kind kind, size_t golden) {
    if (kind == TMB_RESAMPLER_SOXR) {
        return 1e-7;
    }
    if (kind == TMB_RESAMPLER_POLYPHASE) {
        return 1e-6;
    }
    size_t up = 0, down = 0;
    tmb_ratio(goldens[golden].input_rate, goldens[golden].output_rate, &up, &down);
    return up == 1 || down == 1 ? 4e-7 : 2e-5;
}

static void check_goldens(void) {
    for (size_t golden = 0; golden < sizeof goldens / sizeof goldens[0]; golden++) {
        size_t count = 0;
        float *samples = read_golden(golden, "in", &count);
        for (int kind = TMB_RESAMPLER_SOXR; kind <= TMB_RESAMPLER_SINC; kind++) {
            size_t expected_count = 0;
            float *expected = read_golden(golden, kind_names[kind], &expected_count);
            float *actual = NULL;
            size_t actual_count = 0;
            tmb_error error = {0};
            assert_ok(tmb_resample(samples, count, goldens[golden].input_rate, goldens[golden].output_rate,
                                   (tmb_resampler_kind)kind, NULL, &actual, &actual_count, &error),
                      error);
            assert_int_equal(actual_count, expected_count);
            double worst = 0;
            for (size_t i = 0; i < actual_count; i++) {
                const double difference = fabs((double)actual[i] - (double)expected[i]);
                worst = difference > worst ? difference : worst;
            }
            if (!(worst <= tolerance((tmb_resampler_kind)kind, golden))) {
                fail_msg("%s %d to %d, %s on %s: %g away", goldens[golden].signal, goldens[golden].input_rate,
                         goldens[golden].output_rate, kind_names[kind], tmb_cpu_name(), worst);
            }
            free(expected);
            free(actual);
        }
        free(samples);
    }
}

static void test_goldens(void **state) {
    (void)state;
    check_goldens();
    const unsigned levels[] = {0, TMB_CPU_GENERIC, TMB_CPU_GENERIC | TMB_CPU_AVX2};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        tmb_cpu_mask(levels[i]);
        check_goldens();
    }
    tmb_cpu_mask(~0u);
}

/* ---- lengths ---- */

static const int pairs[][2] = {
    {24000, 48000}, {48000, 24000}, {22050, 48000},  {44100, 48000}, {48000, 44100}, {16000, 48000},
    {8000, 48000},  {96000, 48000}, {192000, 16000}, {11025, 48000}, {48000, 48000},
};
static const size_t pair_count = sizeof pairs / sizeof pairs[0];

static void test_lengths(void **state) {
    (void)state;
    float samples[100];
    for (size_t i = 0; i < 100; i++) {
        samples[i] = (float)sin((double)i);
    }
    for (size_t pair = 0; pair < pair_count; pair++) {
        for (size_t count = 0; count < 100; count++) {
            for (int kind = TMB_RESAMPLER_AUTO; kind <= TMB_RESAMPLER_SINC; kind++) {
                float *out = NULL;
                size_t out_count = 0;
                tmb_error error = {0};
                assert_ok(tmb_resample(samples, count, pairs[pair][0], pairs[pair][1], (tmb_resampler_kind)kind, NULL,
                                       &out, &out_count, &error),
                          error);
                const uint64_t n = count * (uint64_t)pairs[pair][1];
                const uint64_t rate = (uint64_t)pairs[pair][0];
                const bool rounds = kind <= TMB_RESAMPLER_SOXR;
                assert_int_equal(out_count, rounds ? (2 * n + rate) / (2 * rate) : (n + rate - 1) / rate);
                assert_int_equal(out_count, tmb_resampler_output_length((tmb_resampler_kind)kind, pairs[pair][0],
                                                                        pairs[pair][1], count));
                free(out);
            }
        }
    }
    /* Counts that would wrap in 64 bits. */
    assert_int_equal(tmb_resampler_output_length(TMB_RESAMPLER_SOXR, 1, 768000, SIZE_MAX), SIZE_MAX);
    assert_int_equal(tmb_resampler_output_length(TMB_RESAMPLER_SINC, 48000, 24000, SIZE_MAX), SIZE_MAX / 2 + 1);
}

/* ---- streaming is the whole ---- */

static uint64_t random_state = 7;

static size_t random_below(size_t limit) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)((random_state >> 33) % limit);
}

static float *noise(size_t count) {
    float *samples = malloc(count * sizeof(float));
    assert_non_null(samples);
    for (size_t i = 0; i < count; i++) {
        samples[i] = (float)random_below(65536) / 32768 - 1;
    }
    return samples;
}

/* Pushes and pulls in pieces of 1 to `largest`, and compares with `expected`, bit for bit. */
static void check_stream(tmb_resampler *resampler, const float *samples, size_t count, size_t largest,
                         const float *expected, size_t expected_count) {
    tmb_error error = {0};
    float *out = malloc((expected_count + 1) * sizeof(float));
    assert_non_null(out);
    size_t done = 0;
    for (size_t place = 0; place < count;) {
        size_t piece = 1 + random_below(largest);
        piece = piece < count - place ? piece : count - place;
        assert_ok(tmb_resampler_push(resampler, samples + place, piece, &error), error);
        place += piece;
        done += tmb_resampler_pull(resampler, out + done, random_below(3) == 0 ? 1 : expected_count - done);
    }
    assert_ok(tmb_resampler_flush(resampler, &error), error);
    done += tmb_resampler_pull(resampler, out + done, expected_count + 1 - done);
    assert_int_equal(done, expected_count);
    assert_int_equal(tmb_resampler_pull(resampler, out, 1), 0);
    assert_memory_equal(out, expected, expected_count * sizeof(float));
    assert_int_equal(tmb_resampler_push(resampler, samples, 1, &error), TMB_ERROR_ARGUMENT);
    assert_ok(tmb_resampler_flush(resampler, &error), error);
    free(out);
}

static void test_streaming(void **state) {
    (void)state;
    const size_t largest[] = {1, 3, 100, 4097, 20000};
    for (size_t pair = 0; pair < pair_count; pair++) {
        const size_t count = 9001;
        float *samples = noise(count);
        for (int kind = TMB_RESAMPLER_SOXR; kind <= TMB_RESAMPLER_SINC; kind++) {
            float *expected = NULL;
            size_t expected_count = 0;
            tmb_error error = {0};
            assert_ok(tmb_resample(samples, count, pairs[pair][0], pairs[pair][1], (tmb_resampler_kind)kind, NULL,
                                   &expected, &expected_count, &error),
                      error);
            tmb_resampler *resampler = NULL;
            assert_ok(tmb_resampler_create(pairs[pair][0], pairs[pair][1], (tmb_resampler_kind)kind, NULL, &resampler,
                                           &error),
                      error);
            for (size_t i = 0; i < sizeof largest / sizeof largest[0]; i++) {
                check_stream(resampler, samples, count, largest[i], expected, expected_count);
                assert_ok(tmb_resampler_reset(resampler, &error), error);
            }
            tmb_resampler_destroy(&resampler);
            assert_null(resampler);
            free(expected);
        }
        free(samples);
    }
}

static void test_equal_rates_are_untouched(void **state) {
    (void)state;
    const float samples[] = {0.1f, -0.0f, NAN, INFINITY, 3e38f, 1e-42f, -1};
    const size_t count = sizeof samples / sizeof samples[0];
    for (int kind = TMB_RESAMPLER_AUTO; kind <= TMB_RESAMPLER_SINC; kind++) {
        tmb_resampler *resampler = NULL;
        tmb_error error = {0};
        assert_ok(tmb_resampler_create(44100, 44100, (tmb_resampler_kind)kind, NULL, &resampler, &error), error);
        assert_string_equal(tmb_resampler_name(resampler), "none");
        check_stream(resampler, samples, count, 3, samples, count);
        tmb_resampler_destroy(&resampler);
    }
}

/* ---- a tone keeps its frequency, level and place ---- */

static void test_tone(void **state) {
    (void)state;
    for (size_t pair = 0; pair < pair_count; pair++) {
        const int input_rate = pairs[pair][0];
        const int output_rate = pairs[pair][1];
        const size_t count = (size_t)input_rate / 2;
        float *samples = malloc(count * sizeof(float));
        assert_non_null(samples);
        const double hertz = 1000;
        for (size_t i = 0; i < count; i++) {
            samples[i] = (float)(0.5 * sin(2 * M_PI * hertz * (double)i / input_rate));
        }
        for (int kind = TMB_RESAMPLER_SOXR; kind <= TMB_RESAMPLER_SINC; kind++) {
            float *out = NULL;
            size_t out_count = 0;
            tmb_error error = {0};
            assert_ok(tmb_resample(samples, count, input_rate, output_rate, (tmb_resampler_kind)kind, NULL, &out,
                                   &out_count, &error),
                      error);
            double worst = 0;
            for (size_t i = out_count / 4; i < out_count * 3 / 4; i++) {
                worst = fmax(worst, fabs((double)out[i] - 0.5 * sin(2 * M_PI * hertz * (double)i / output_rate)));
            }
            /* 1 kHz is far below every filter's cut-off; the sinc ripples by 0.5 dB at most there. */
            assert_true(worst < (kind == TMB_RESAMPLER_SOXR ? 1e-6 : kind == TMB_RESAMPLER_POLYPHASE ? 2e-3 : 6e-3));
            free(out);
        }
        free(samples);
    }
}

/* ---- the cascade ---- */

typedef struct log_lines {
    char text[4096];
    size_t count;
} log_lines;

static void collect(void *user, tmb_log_level level, const char *line) {
    log_lines *lines = user;
    assert_int_equal(level, TMB_LOG_WARNING);
    const size_t length = strlen(lines->text);
    (void)snprintf(lines->text + length, sizeof lines->text - length, "%s\n", line);
    lines->count++;
}

static tmb_status refuse(int input_rate, int output_rate, uint64_t first_output, void **out, tmb_error *error) {
    (void)input_rate;
    (void)output_rate;
    (void)first_output;
    (void)out;
    error->status = TMB_ERROR_UNSUPPORTED;
    (void)snprintf(error->message, sizeof error->message, "forced by the test");
    return error->status;
}

/* Processes as the true stage until `fail_at` inputs were seen, then fails. */
static uint64_t fail_at[4];

static tmb_status process_until(const tmb_resampler_stage *stage, void *state, const tmb_resample_window *window,
                                tmb_fifo *out, tmb_error *error) {
    if (window->start + window->count >= fail_at[stage->kind]) {
        error->status = TMB_ERROR_INTERNAL;
        (void)snprintf(error->message, sizeof error->message, "broken by the test");
        return error->status;
    }
    return stage->process(state, window, out, error);
}

static tmb_status process_soxr(void *state, const tmb_resample_window *window, tmb_fifo *out, tmb_error *error) {
    return process_until(&tmb_stage_soxr, state, window, out, error);
}

static tmb_status process_polyphase(void *state, const tmb_resample_window *window, tmb_fifo *out, tmb_error *error) {
    return process_until(&tmb_stage_polyphase, state, window, out, error);
}

static void test_stages_that_cannot_be_created(void **state) {
    (void)state;
    float *samples = noise(5000);
    const tmb_resampler_kind kinds[] = {TMB_RESAMPLER_SOXR, TMB_RESAMPLER_POLYPHASE, TMB_RESAMPLER_SINC};
    for (size_t refused = 0; refused <= 3; refused++) {
        tmb_resampler_stage stages[3] = {tmb_stage_soxr, tmb_stage_polyphase, tmb_stage_sinc};
        const tmb_resampler_stage *cascade[3] = {&stages[0], &stages[1], &stages[2]};
        for (size_t i = 0; i < refused; i++) {
            stages[i].create = refuse;
        }
        log_lines lines = {0};
        tmb_logger logger;
        tmb_logger_init(&logger, collect, &lines, TMB_LOG_WARNING);
        tmb_resampler *resampler = NULL;
        tmb_error error = {0};
        tmb_status status = tmb_resampler_create_cascade(24000, 48000, cascade, 3, &logger, &resampler, &error);
        if (refused == 3) {
            assert_int_equal(status, TMB_ERROR_UNSUPPORTED);
            assert_null(resampler);
            assert_non_null(strstr(error.message, "sinc: forced by the test"));
            assert_int_equal(lines.count, 2);
        } else {
            assert_ok(status, error);
            assert_int_equal(tmb_resampler_active(resampler), kinds[refused]);
            assert_int_equal(lines.count, refused);
            if (refused > 0) {
                assert_non_null(strstr(lines.text, "soxr is not available"));
                assert_non_null(strstr(lines.text, "forced by the test"));
                assert_non_null(strstr(lines.text, "trying polyphase"));
            }
            float *expected = NULL;
            size_t expected_count = 0;
            assert_ok(
                tmb_resample(samples, 5000, 24000, 48000, kinds[refused], NULL, &expected, &expected_count, &error),
                error);
            check_stream(resampler, samples, 5000, 700, expected, expected_count);
            free(expected);
        }
        tmb_resampler_destroy(&resampler);
        tmb_logger_deinit(&logger);
    }
    free(samples);
}

/* A stage that breaks in the middle: the next one goes on at that very sample. */
static void check_break(int input_rate, int output_rate, uint64_t soxr_fails, uint64_t polyphase_fails) {
    const size_t count = 20000;
    float *samples = noise(count);
    tmb_resampler_stage soxr = tmb_stage_soxr;
    tmb_resampler_stage polyphase = tmb_stage_polyphase;
    soxr.process = process_soxr;
    polyphase.process = process_polyphase;
    const tmb_resampler_stage *cascade[] = {&soxr, &polyphase, &tmb_stage_sinc};
    fail_at[TMB_RESAMPLER_SOXR] = soxr_fails;
    fail_at[TMB_RESAMPLER_POLYPHASE] = polyphase_fails;
    log_lines lines = {0};
    tmb_logger logger;
    tmb_logger_init(&logger, collect, &lines, TMB_LOG_WARNING);

    tmb_error error = {0};
    float *whole[4] = {NULL};
    size_t whole_count[4] = {0};
    for (int kind = TMB_RESAMPLER_SOXR; kind <= TMB_RESAMPLER_SINC; kind++) {
        assert_ok(tmb_resample(samples, count, input_rate, output_rate, (tmb_resampler_kind)kind, NULL, &whole[kind],
                               &whole_count[kind], &error),
                  error);
    }
    tmb_resampler *resampler = NULL;
    assert_ok(tmb_resampler_create_cascade(input_rate, output_rate, cascade, 3, &logger, &resampler, &error), error);
    float *out = malloc((whole_count[3] + 1) * sizeof(float));
    assert_non_null(out);
    size_t done = 0;
    /* How far each stage got: outputs before the first that is not the stage's own. */
    for (size_t place = 0; place < count; place += 500) {
        assert_ok(tmb_resampler_push(resampler, samples + place, 500, &error), error);
        const size_t before = done;
        done += tmb_resampler_pull(resampler, out + done, whole_count[3] - done);
        const float *expected = whole[tmb_resampler_active(resampler)];
        /* Within one push everything is the active stage's, or was made before the break. */
        for (size_t i = before; i < done; i++) {
            assert_memory_equal(out + i, expected + i, sizeof(float));
        }
    }
    assert_ok(tmb_resampler_flush(resampler, &error), error);
    const size_t before = done;
    done += tmb_resampler_pull(resampler, out + done, whole_count[3] + 1 - done);
    assert_memory_equal(out + before, whole[tmb_resampler_active(resampler)] + before, (done - before) * sizeof(float));
    assert_int_equal(done, whole_count[tmb_resampler_active(resampler)]);
    assert_int_equal(lines.count, (size_t)tmb_resampler_active(resampler) - 1);
    assert_non_null(strstr(lines.text, "soxr failed after"));
    assert_non_null(strstr(lines.text, "broken by the test"));
    assert_non_null(strstr(lines.text, "polyphase goes on from there"));

    /* The cascade begins anew after a reset. */
    assert_ok(tmb_resampler_reset(resampler, &error), error);
    assert_int_equal(tmb_resampler_active(resampler), TMB_RESAMPLER_SOXR);
    tmb_resampler_destroy(&resampler);
    tmb_logger_deinit(&logger);
    for (int kind = TMB_RESAMPLER_SOXR; kind <= TMB_RESAMPLER_SINC; kind++) {
        free(whole[kind]);
    }
    free(out);
    free(samples);
}

static void test_stages_that_break(void **state) {
    (void)state;
    for (size_t pair = 0; pair + 1 < pair_count; pair++) {
        const int input_rate = pairs[pair][0];
        const int output_rate = pairs[pair][1];
        check_break(input_rate, output_rate, 0, UINT64_MAX);     /* at once */
        check_break(input_rate, output_rate, 9000, UINT64_MAX);  /* in the middle */
        check_break(input_rate, output_rate, 20000, UINT64_MAX); /* with the last samples */
        check_break(input_rate, output_rate, 5000, 12000);       /* both */
    }
}

static void test_last_stage_that_breaks(void **state) {
    (void)state;
    tmb_resampler_stage soxr = tmb_stage_soxr;
    soxr.process = process_soxr;
    const tmb_resampler_stage *cascade[] = {&soxr};
    fail_at[TMB_RESAMPLER_SOXR] = 1000;
    tmb_resampler *resampler = NULL;
    tmb_error error = {0};
    assert_ok(tmb_resampler_create_cascade(24000, 48000, cascade, 1, NULL, &resampler, &error), error);
    float *samples = noise(2000);
    assert_ok(tmb_resampler_push(resampler, samples, 900, &error), error);
    assert_int_equal(tmb_resampler_push(resampler, samples, 900, &error), TMB_ERROR_INTERNAL);
    assert_non_null(strstr(error.message, "24000 to 48000 Hz with soxr: broken by the test"));
    /* It stays broken, and says so. */
    memset(&error, 0, sizeof error);
    assert_int_equal(tmb_resampler_push(resampler, samples, 1, &error), TMB_ERROR_INTERNAL);
    assert_non_null(strstr(error.message, "broken by the test"));
    assert_int_equal(tmb_resampler_flush(resampler, NULL), TMB_ERROR_INTERNAL);
    assert_ok(tmb_resampler_reset(resampler, &error), error);
    assert_ok(tmb_resampler_push(resampler, samples, 900, &error), error);
    tmb_resampler_destroy(&resampler);
    free(samples);
}

/* ---- arguments ---- */

static void test_arguments(void **state) {
    (void)state;
    const int bad[][2] = {{0, 48000}, {48000, 0}, {-1, 48000}, {768001, 48000}, {48000, INT32_MAX}};
    tmb_error error = {0};
    tmb_resampler *resampler = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(tmb_resampler_create(bad[i][0], bad[i][1], TMB_RESAMPLER_AUTO, NULL, &resampler, &error),
                         TMB_ERROR_ARGUMENT);
        assert_null(resampler);
        assert_non_null(strstr(error.message, "1 to 768000"));
    }
    assert_int_equal(tmb_resampler_create(1, 2, (tmb_resampler_kind)9, NULL, &resampler, &error), TMB_ERROR_ARGUMENT);
    /* Rates without a common divisor: soxr can, the filter banks would be too large. */
    assert_int_equal(tmb_resampler_create(767999, 768000, TMB_RESAMPLER_SINC, NULL, &resampler, &error),
                     TMB_ERROR_UNSUPPORTED);
    assert_ok(tmb_resampler_create(767999, 768000, TMB_RESAMPLER_SOXR, NULL, &resampler, &error), error);
    tmb_resampler_destroy(&resampler);
    tmb_resampler_destroy(&resampler);
}

/* Samples of a stream that is pushed and pulled in pieces. */
static size_t streamed_length(int input_rate, int output_rate, tmb_resampler_kind kind, const float *samples,
                              size_t count) {
    tmb_resampler *resampler = NULL;
    tmb_error error = {0};
    float out[512];
    size_t total = 0;
    assert_ok(tmb_resampler_create(input_rate, output_rate, kind, NULL, &resampler, &error), error);
    for (size_t place = 0; place < count; place += 77) {
        const size_t part = count - place < 77 ? count - place : 77;
        assert_ok(tmb_resampler_push(resampler, samples + place, part, &error), error);
        total += tmb_resampler_pull(resampler, out, 512);
    }
    assert_ok(tmb_resampler_flush(resampler, &error), error);
    for (size_t got = 1; got > 0; total += got) {
        got = tmb_resampler_pull(resampler, out, 512);
    }
    tmb_resampler_destroy(&resampler);
    return total;
}

/* Exactly between two lengths libsoxr gives now the one and now the other; nobody else may see that. */
static void test_promised_lengths(void **state) {
    (void)state;
    static const int rates[][2] = {{24000, 88200}, {48000, 44100}, {44100, 48000}, {48000, 24000}, {22050, 16000}};
    float samples[1200];
    for (size_t i = 0; i < 1200; i++) {
        samples[i] = sinf((float)i * 0.1f);
    }
    for (size_t pair = 0; pair < sizeof rates / sizeof rates[0]; pair++) {
        const int from = rates[pair][0];
        const int to = rates[pair][1];
        size_t up = 0;
        size_t down = 0;
        tmb_ratio(from, to, &up, &down);
        for (size_t count = 1; count <= 1200; count++) {
            const bool between = count * up * 2 % (down * 2) == down;
            for (int kind = TMB_RESAMPLER_AUTO; kind <= TMB_RESAMPLER_SINC; kind++) {
                if (!between && (kind != TMB_RESAMPLER_SOXR || count % 7 != 0)) {
                    continue;
                }
                const size_t promised = tmb_resampler_output_length((tmb_resampler_kind)kind, from, to, count);
                float *out = NULL;
                size_t made = 0;
                tmb_error error = {0};
                assert_ok(tmb_resample(samples, count, from, to, (tmb_resampler_kind)kind, NULL, &out, &made, &error),
                          error);
                if (made != promised) {
                    fail_msg("%s, %d to %d Hz: %zu samples became %zu, not %zu", kind_names[kind], from, to, count,
                             made, promised);
                }
                /* The last one is a sample, not filling. */
                assert_true(count < 400 || fabsf(out[made - 1]) > 0 || fabsf(samples[count - 1]) < 0.05f);
                free(out);
                assert_int_equal(streamed_length(from, to, (tmb_resampler_kind)kind, samples, count), promised);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_promised_lengths),
        cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_equal_rates_are_untouched),
        cmocka_unit_test(test_tone),
        cmocka_unit_test(test_stages_that_cannot_be_created),
        cmocka_unit_test(test_stages_that_break),
        cmocka_unit_test(test_last_stage_that_breaks),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests_name("resample", tests, NULL, NULL);
}
