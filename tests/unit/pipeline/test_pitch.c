#include "test.h"

#include "tts/preview/pitch.h"

#include <math.h>
#include <stdlib.h>

#define SECONDS 2

/* A voice-like sound: harmonics that fall off, with vibrato of `depth` semitones up and down. */
static float *make_voice(int rate, double hertz, double depth, double noise) {
    size_t count = (size_t)rate * SECONDS;
    float *samples = malloc(count * sizeof *samples);
    assert_non_null(samples);
    double phase = 0;
    unsigned seed = 1;
    for (size_t i = 0; i < count; i++) {
        double t = (double)i / rate;
        phase += 2 * M_PI * hertz * exp2(depth / 12 * sin(2 * M_PI * 1.5 * t)) / rate;
        double sum = 0;
        for (int k = 1; k <= 8; k++) {
            sum += sin(k * phase) / k;
        }
        seed = seed * 1664525u + 1013904223u;
        samples[i] = (float)(0.2 * sum + noise * ((double)(seed >> 8) / (1 << 23) - 1));
    }
    return samples;
}

static void test_steady_tones(void **state) {
    (void)state;
    tmb_error error = {0};
    const int rates[] = {8000, 16000, 22050, 24000, 44100, 48000, 192000, 4000};
    const double tones[] = {70, 98, 120, 171, 220, 305, 410};
    for (size_t r = 0; r < sizeof rates / sizeof rates[0]; r++) {
        for (size_t i = 0; i < sizeof tones / sizeof tones[0]; i++) {
            float *samples = make_voice(rates[r], tones[i], 0, 0.01);
            tmb_pitch pitch;
            assert_ok(tmb_pitch_measure(samples, (size_t)rates[r] * SECONDS, rates[r], &pitch, &error), error);
            free(samples);
            if (fabs(pitch.median / tones[i] - 1) > 0.015 || pitch.semitones > 0.3 || pitch.voiced < 150) {
                fail_msg("%d Hz: %g Hz measured as %g Hz, %g semitones, %zu frames", rates[r], tones[i], pitch.median,
                         pitch.semitones, pitch.voiced);
            }
        }
    }
}

static void test_range(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_pitch pitch;
    float *samples = make_voice(24000, 140, 3, 0);
    assert_ok(tmb_pitch_measure(samples, 24000 * SECONDS, 24000, &pitch, &error), error);
    free(samples);
    assert_true(fabs(pitch.median / 140 - 1) < 0.03);
    assert_true(pitch.semitones > 4.8 && pitch.semitones < 6.2); /* 3 up and down, the extremes cut off */
}

static void test_nothing_voiced(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_pitch pitch;
    float *noise = make_voice(16000, 100, 0, 0);
    unsigned seed = 7;
    for (size_t i = 0; i < 16000 * SECONDS; i++) {
        seed = seed * 1664525u + 1013904223u;
        noise[i] = (float)(seed >> 8) / (1 << 23) - 1;
    }
    assert_ok(tmb_pitch_measure(noise, 16000 * SECONDS, 16000, &pitch, &error), error);
    assert_true(pitch.voiced < 10);
    for (size_t i = 0; i < 16000 * SECONDS; i++) {
        noise[i] = 0;
    }
    assert_ok(tmb_pitch_measure(noise, 16000 * SECONDS, 16000, &pitch, &error), error);
    assert_int_equal(pitch.voiced, 0);
    assert_true(pitch.median == 0);
    for (size_t count = 0; count < 700; count += 13) {
        assert_ok(tmb_pitch_measure(noise, count, 16000, &pitch, &error), error);
        assert_int_equal(pitch.voiced, 0);
    }
    free(noise);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steady_tones),
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_nothing_voiced),
    };
    return cmocka_run_group_tests_name("pitch", tests, NULL, NULL);
}
