/* The public enhancement stream: threads share one load of the weights; lengths, channels, cuts and bad samples. */
#include "unit/dfn_fixture.h"

#include "timbre/timbre.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 6, MOST_CHANNELS = 3 };

static tmb_context *open_context(void) {
    tmb_error error = {0};
    tmb_context *context = NULL;
    assert_ok(tmb_open(NULL, &context, &error), error);
    return context;
}

/* Something like a voice in noise, other in every channel. */
static float sample_at(size_t i, size_t channel, int rate) {
    const double t = (double)i / rate;
    const double voice = sin(2 * M_PI * (180 + 30.0 * (double)channel) * t) * (0.6 + 0.4 * sin(2 * M_PI * 3 * t));
    const unsigned noise = (unsigned)(i * 2654435761u + channel * 40503u) >> 16 & 0xff;
    return (float)(0.3 * voice + 0.0004 * ((double)noise - 128));
}

static float *make_signal(size_t count, size_t channels, int rate) {
    float *samples = calloc(count * channels + 1, sizeof *samples);
    assert_non_null(samples);
    for (size_t i = 0; i < count * channels; i++) {
        samples[i] = sample_at(i / channels, i % channels, rate);
    }
    return samples;
}

typedef struct sound {
    float *samples; /* interleaved; free() */
    size_t count;   /* per channel */
} sound;

/* Pushes pieces of `cut` samples and pulls as they come. cmocka's assertions belong to the main thread: without
 * them, a count of SIZE_MAX says that something failed. */
static sound enhance(tmb_context *context, const tmb_enhance_options *options, const float *samples, size_t count,
                     size_t cut) {
    const size_t channels = (size_t)options->channels;
    const size_t capacity = count * (size_t)options->output_rate / (size_t)options->input_rate + 4800;
    sound out = {.samples = calloc(capacity * channels, sizeof(float))};
    tmb_error error = {0};
    tmb_enhance_stream *stream = NULL;
    tmb_status status = tmb_enhance_open(context, options, &stream, &error);
    for (size_t at = 0; at < count && status == TMB_OK; at += cut) {
        status = tmb_enhance_push(stream, samples + at * channels, count - at < cut ? count - at : cut, &error);
        out.count +=
            status == TMB_OK ? tmb_enhance_pull(stream, out.samples + out.count * channels, capacity - out.count) : 0;
    }
    status = status == TMB_OK ? tmb_enhance_flush(stream, &error) : status;
    out.count +=
        status == TMB_OK ? tmb_enhance_pull(stream, out.samples + out.count * channels, capacity - out.count) : 0;
    if (stream != NULL) {
        tmb_enhance_close(&stream);
    }
    if (status != TMB_OK) {
        out.count = SIZE_MAX;
    }
    return out;
}

static tmb_enhance_options options_of(int input_rate, int output_rate, size_t channels) {
    tmb_enhance_options options;
    tmb_enhance_options_default(&options);
    options.input_rate = input_rate;
    options.output_rate = output_rate;
    options.channels = (int)channels;
    return options;
}

static void assert_same_sound(sound actual, sound expected, size_t channels) {
    assert_int_equal(actual.count, expected.count);
    assert_memory_equal(actual.samples, expected.samples, expected.count * channels * sizeof(float));
}

typedef struct job {
    tmb_context *context;
    const float *samples;
    size_t count, cut;
    sound out;
} job;

static void *run_job(void *argument) {
    job *j = argument;
    const tmb_enhance_options options = options_of(48000, 48000, 1);
    j->out = enhance(j->context, &options, j->samples, j->count, j->cut);
    return NULL;
}

/* All begin before the weights are there: they are loaded once. */
static void test_threads_share_one_load(void **state) {
    (void)state;
    tmb_context *context = open_context();
    const size_t count = 15000;
    float *samples = make_signal(count, 1, 48000);
    job jobs[THREADS];
    pthread_t threads[THREADS];
    tmb_statistics before, after;
    tmb_get_statistics(context, &before);
    assert_false(before.denoiser_loaded);
    for (size_t i = 0; i < THREADS; i++) {
        jobs[i] = (job){.context = context, .samples = samples, .count = count, .cut = 100 + 700 * i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_job, &jobs[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(jobs[i].out.count, count);
        assert_same_sound(jobs[i].out, jobs[0].out, 1);
    }
    tmb_get_statistics(context, &after);
    assert_true(after.denoiser_loaded);
    /* The official model holds 8.6 MB, 6.2 if weights are packed in few bits; the streams have given back what they
     * held. */
    assert_in_range(after.memory_reserved - before.memory_reserved, 5 << 20, 10 << 20);
    for (size_t i = 0; i < THREADS; i++) {
        free(jobs[i].out.samples);
    }
    free(samples);
    tmb_close(&context);
}

/* n samples at one rate are n at it in the other, rounded, however few. */
static void test_lengths(void **state) {
    (void)state;
    static const int rates[] = {4000, 8000, 16000, 22050, 44100, 48000, 96000, 192000};
    static const size_t counts[] = {1, 2, 479, 480, 481, 1441, 5000};
    tmb_context *context = open_context();
    for (size_t r = 0; r < sizeof rates / sizeof rates[0]; r++) {
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            const int in = rates[r], out = rates[(r * 3 + c) % (sizeof rates / sizeof rates[0])];
            const tmb_enhance_options options = options_of(in, c % 2 == 0 ? 48000 : out, 1);
            float *samples = make_signal(counts[c], 1, in);
            const sound made = enhance(context, &options, samples, counts[c], 1 + counts[c] / 3);
            const size_t expected = (counts[c] * (size_t)options.output_rate + (size_t)in / 2) / (size_t)in;
            assert_int_equal(made.count, expected);
            for (size_t i = 0; i < made.count; i++) {
                assert_true(isfinite(made.samples[i]));
            }
            free(made.samples);
            free(samples);
        }
    }
    tmb_close(&context);
}

static void test_nothing_in_nothing_out(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_context *context = open_context();
    for (int rate = 44100; rate <= 48000; rate += 3900) {
        for (size_t channels = 1; channels <= 2; channels++) {
            const tmb_enhance_options options = options_of(rate, 48000, channels);
            const sound made = enhance(context, &options, NULL, 0, 1);
            assert_int_equal(made.count, 0);
            free(made.samples);
            float *buffer = NULL;
            size_t count = 1;
            assert_ok(tmb_enhance_buffer(context, &options, NULL, 0, &buffer, &count, &error), error);
            assert_int_equal(count, 0);
            tmb_free(buffer);
        }
    }
    tmb_close(&context);
}

/* Each channel is what it is alone, at any rate; and cuts change nothing. */
static void test_channels_and_cuts(void **state) {
    (void)state;
    static const struct { int in, out; } cases[] = {{48000, 48000}, {44100, 48000}, {16000, 44100}};
    tmb_context *context = open_context();
    for (size_t c = 0; c < 3; c++) {
        const size_t count = (size_t)cases[c].in / 4 + 7;
        const tmb_enhance_options options = options_of(cases[c].in, cases[c].out, MOST_CHANNELS);
        float *samples = make_signal(count, MOST_CHANNELS, cases[c].in);
        const sound all = enhance(context, &options, samples, count, count);
        assert_true(all.count != SIZE_MAX);
        static const size_t cuts[] = {37, 480, 5001};
        for (size_t i = 0; i < 3; i++) {
            const sound again = enhance(context, &options, samples, count, cuts[i]);
            assert_same_sound(again, all, MOST_CHANNELS);
            free(again.samples);
        }
        float *whole = NULL;
        size_t whole_count = 0;
        tmb_error error = {0};
        assert_ok(tmb_enhance_buffer(context, &options, samples, count, &whole, &whole_count, &error), error);
        assert_same_sound((sound){whole, whole_count}, all, MOST_CHANNELS);
        tmb_free(whole);
        const tmb_enhance_options mono = options_of(cases[c].in, cases[c].out, 1);
        float *one = calloc(count, sizeof *one);
        for (size_t channel = 0; channel < MOST_CHANNELS; channel++) {
            for (size_t i = 0; i < count; i++) {
                one[i] = samples[i * MOST_CHANNELS + channel];
            }
            const sound alone = enhance(context, &mono, one, count, 1000);
            assert_int_equal(alone.count, all.count);
            for (size_t i = 0; i < alone.count; i++) {
                assert_true(alone.samples[i] == all.samples[i * MOST_CHANNELS + channel]);
            }
            free(alone.samples);
        }
        free(one);
        free(all.samples);
        free(samples);
    }
    tmb_close(&context);
}

/* A push with a sample that is no number is refused, named, and not taken: the stream goes on as without it. */
static void test_samples_that_are_no_numbers(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    tmb_context *context = open_context();
    const tmb_enhance_options options = options_of(44100, 48000, 2);
    const size_t count = 8000;
    float *samples = make_signal(count, 2, 44100);
    const sound expected = enhance(context, &options, samples, count, 1000);
    for (size_t b = 0; b < 3; b++) {
        tmb_error error = {0};
        tmb_enhance_stream *stream = NULL;
        assert_ok(tmb_enhance_open(context, &options, &stream, &error), error);
        assert_ok(tmb_enhance_push(stream, samples, 1000, &error), error);
        const float good = samples[2 * 1500 + 1];
        samples[2 * 1500 + 1] = bad[b];
        assert_int_equal(tmb_enhance_push(stream, samples + 2000, 1000, &error), TMB_ERROR_FORMAT);
        assert_non_null(strstr(error.message, "sample 1500 of channel 2"));
        samples[2 * 1500 + 1] = good;
        for (size_t at = 1000; at < count; at += 1000) {
            assert_ok(tmb_enhance_push(stream, samples + 2 * at, 1000, &error), error);
        }
        assert_ok(tmb_enhance_flush(stream, &error), error);
        sound made = {.samples = calloc(2 * (expected.count + 1), sizeof(float))};
        made.count = tmb_enhance_pull(stream, made.samples, expected.count + 1);
        assert_same_sound(made, expected, 2);
        assert_int_equal(tmb_enhance_push(stream, samples, 1, &error), TMB_ERROR_ARGUMENT);
        free(made.samples);
        tmb_enhance_close(&stream);
    }
    free(expected.samples);
    free(samples);
    tmb_close(&context);
}

static void test_options_are_checked(void **state) {
    (void)state;
    tmb_context *context = open_context();
    tmb_enhance_options wrong[6];
    for (size_t i = 0; i < 6; i++) {
        tmb_enhance_options_default(&wrong[i]);
    }
    wrong[0].input_rate = 3999;
    wrong[1].output_rate = 192001;
    wrong[2].channels = 0;
    wrong[3].attenuation_limit_db = NAN;
    wrong[4].post_filter_beta = -1;
    wrong[5].resampler = (tmb_resampler_kind)99;
    for (size_t i = 0; i < 6; i++) {
        tmb_error error = {0};
        tmb_enhance_stream *stream = NULL;
        assert_int_equal(tmb_enhance_open(context, &wrong[i], &stream, &error), TMB_ERROR_ARGUMENT);
        assert_null(stream);
        assert_true(error.message[0] != '\0');
    }
    tmb_close(&context);
}

static double decibel(const float *samples, size_t count) {
    double power = 0;
    for (size_t i = 0; i < count; i++) {
        power += (double)samples[i] * (double)samples[i];
    }
    return 10 * log10(power / (double)count + 1e-30);
}

/* Speech after digital silence, wherever in a block it begins: its first word too is kept as at usual levels. */
static void test_quiet_speech_after_silence(void **state) {
    (void)state;
    enum { WORD = 9600, SPEECH = 57600 };
    static const size_t leads[] = {0, 14400, 45000};
    tmb_context *context = open_context();
    size_t length = 0;
    float *clip = dfn_clip("tts_en_odd", &length);
    size_t onset = 0;
    while (fabsf(clip[onset]) < 0.05f) {
        onset++;
    }
    assert_true(onset + SPEECH < length);
    for (size_t k = 0; k < sizeof leads / sizeof leads[0]; k++) {
        const size_t count = leads[k] + SPEECH;
        float *usual = calloc(count, sizeof *usual);
        float *quiet = calloc(count, sizeof *quiet);
        assert_non_null(usual);
        assert_non_null(quiet);
        for (size_t i = 0; i < SPEECH; i++) {
            usual[leads[k] + i] = clip[onset + i];
            quiet[leads[k] + i] = clip[onset + i] / 100;
        }
        const tmb_enhance_options options = options_of(48000, 48000, 1);
        const sound loud = enhance(context, &options, usual, count, 4800);
        const sound soft = enhance(context, &options, quiet, count, 1111);
        assert_int_equal(loud.count, count);
        assert_int_equal(soft.count, count);
        for (size_t part = WORD; part <= SPEECH; part += SPEECH - WORD) {
            const double less = decibel(loud.samples + leads[k], part) - decibel(soft.samples + leads[k], part) - 40;
            if (fabs(less) > 3) {
                fail_msg("%zu samples of silence, the first %zu behind them: %.1f dB less", leads[k], part, less);
            }
        }
        free(loud.samples);
        free(soft.samples);
        free(usual);
        free(quiet);
    }
    free(clip);
    tmb_close(&context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_share_one_load),      cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_nothing_in_nothing_out),      cmocka_unit_test(test_channels_and_cuts),
        cmocka_unit_test(test_samples_that_are_no_numbers), cmocka_unit_test(test_options_are_checked),
        cmocka_unit_test(test_quiet_speech_after_silence),
    };
    return cmocka_run_group_tests_name("enhance-stream", tests, NULL, NULL);
}
