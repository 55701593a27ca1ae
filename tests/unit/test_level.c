/* The gain that the denoiser's networks hear a recording with. */
#include "dfn_fixture.h"

#include "enhance/enhance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RATE = 48000 };

/* Steady noise of that level, and in each second half a second of bursts 20 dB above it that last a tenth of a second.
 */
static float *make_recording(size_t seconds, double speech, double noise) {
    const size_t count = seconds * RATE;
    float *samples = calloc(count, sizeof *samples);
    uint32_t random = 1;
    assert_non_null(samples);
    for (size_t i = 0; i < count; i++) {
        random = random * 1664525u + 1013904223u;
        const double white = ((double)random / 2147483648.0 - 1) * sqrt(3);
        const bool burst = i % RATE < RATE / 2 && i % (RATE / 5) < RATE / 10;
        samples[i] = (float)(white * pow(10, (burst ? speech : noise) / 20));
    }
    return samples;
}

static double decibel(double gain) { return 20 * log10(gain); }

static tmb_level *measured(const float *samples, size_t count, int channels) {
    tmb_level *level = NULL;
    tmb_error error = {0};
    assert_ok(tmb_level_create(RATE, channels, &level, &error), error);
    assert_ok(tmb_level_push(level, samples, count, &error), error);
    return level;
}

static double gain_of_whole(const float *samples, size_t count) {
    tmb_level *level = measured(samples, count, 1);
    const double gain = (double)tmb_level_gain(level, 1, 1);
    tmb_level_destroy(&level);
    return gain;
}

static void test_usual_levels_have_no_gain(void **state) {
    (void)state;
    for (int speech = -36; speech <= -8; speech += 4) {
        float *samples = make_recording(4, speech, speech - 30);
        assert_true(gain_of_whole(samples, (size_t)4 * RATE) == 1);
        tmb_level *live = NULL;
        tmb_error error = {0};
        assert_ok(tmb_level_create_live(RATE, 1, &live, &error), error);
        for (size_t frame = 0; frame < 400; frame++) {
            assert_ok(tmb_level_push(live, samples + frame * 480, 480, &error), error);
            const double now = (double)(frame + 1) / 100;
            assert_true(tmb_level_gain(live, now, now) == 1);
        }
        tmb_level_destroy(&live);
        free(samples);
    }
}

static void test_other_levels_become_usual(void **state) {
    (void)state;
    static const double levels[] = {40, 20, 0, -45, -60, -75};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        float *samples = make_recording(4, levels[i], levels[i] - 30);
        const double gain = decibel(gain_of_whole(samples, (size_t)4 * RATE));
        assert_true(fabs(levels[i] + gain - TMB_LEVEL_USUAL) < 2);
        free(samples);
    }
}

static void test_what_is_not_speech_has_no_level(void **state) {
    (void)state;
    const size_t count = (size_t)4 * RATE;
    float *samples = make_recording(4, -60, -60); /* steady */
    tmb_level *level = measured(samples, count, 1);
    assert_true(isnan(tmb_level_decibel(level)));
    assert_true(tmb_level_gain(level, 2, 2) == 1);
    tmb_level_destroy(&level);
    memset(samples, 0, count * sizeof *samples);
    assert_true(gain_of_whole(samples, count) == 1);
    for (size_t i = 0; i < count; i++) {
        samples[i] = 0.25f; /* an offset */
    }
    assert_true(gain_of_whole(samples, count) == 1);
    tmb_level_destroy(&level);
    free(samples);
}

static void test_clicks_and_offsets_do_not_count(void **state) {
    (void)state;
    const size_t count = (size_t)4 * RATE;
    float *samples = make_recording(4, -55, -85);
    const double plain = decibel(gain_of_whole(samples, count));
    for (size_t i = 0; i < count; i++) {
        samples[i] += 0.1f + (i % 20011 == 0 ? 0.8f : 0);
    }
    assert_true(fabs(decibel(gain_of_whole(samples, count)) - plain) < 3);
    free(samples);
}

static void test_channels_share_one_level(void **state) {
    (void)state;
    const size_t count = (size_t)4 * RATE;
    float *mono = make_recording(4, -55, -85);
    float *stereo = calloc(2 * count, sizeof *stereo);
    assert_non_null(stereo);
    for (size_t i = 0; i < count; i++) {
        stereo[2 * i] = mono[i];
        stereo[2 * i + 1] = -mono[i];
    }
    tmb_level *level = measured(stereo, count, 2);
    assert_true(fabs(decibel((double)tmb_level_gain(level, 1, 1)) - decibel(gain_of_whole(mono, count))) < 0.01);
    tmb_level_destroy(&level);
    free(mono);
    free(stereo);
}

/* Quiet, then loud, then quiet: 8 s each. */
static void test_a_level_that_changes(void **state) {
    (void)state;
    const size_t part = (size_t)8 * RATE;
    float *samples = calloc(3 * part, sizeof *samples);
    assert_non_null(samples);
    for (size_t i = 0; i < 3; i++) {
        float *piece = make_recording(8, i == 1 ? -20 : -60, i == 1 ? -50 : -90);
        memcpy(samples + i * part, piece, part * sizeof *samples);
        free(piece);
    }
    tmb_level *whole = measured(samples, 3 * part, 1);
    tmb_level *live = NULL;
    tmb_error error = {0};
    assert_ok(tmb_level_create_live(RATE, 1, &live, &error), error);
    assert_ok(tmb_level_push(live, samples, 3 * part, &error), error);
    static const struct {
        double seconds;
        bool whole, live; /* a gain? */
    } cases[] = {{0.1, true, false},   {2, true, true},   {7.9, true, true}, {8.5, false, false},
                 {15.4, false, false}, {17, true, false}, {23.5, true, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const double at = cases[i].seconds;
        assert_int_equal(tmb_level_gain(whole, at, at) > 5, cases[i].whole);
        assert_int_equal(tmb_level_gain(live, at, at) > 5, cases[i].live);
        if (!cases[i].whole) {
            assert_true(tmb_level_gain(whole, at, at) == 1);
        }
    }
    /* What is known later may begin earlier. */
    assert_true(tmb_level_gain(live, 0.1, 2) > 5);
    tmb_level_destroy(&whole);
    tmb_level_destroy(&live);
    free(samples);
}

static void test_pieces_change_nothing(void **state) {
    (void)state;
    const size_t count = (size_t)6 * RATE;
    float *samples = make_recording(6, -60, -75);
    tmb_level *all = measured(samples, count, 1);
    tmb_level *cut = NULL;
    tmb_error error = {0};
    assert_ok(tmb_level_create(RATE, 1, &cut, &error), error);
    for (size_t at = 0, size = 1; at < count; at += size, size = size % 997 + 1) {
        assert_ok(tmb_level_push(cut, samples + at, at + size < count ? size : count - at, &error), error);
    }
    for (double at = 0; at < 6; at += 0.01) {
        assert_true(tmb_level_gain(all, at, at) == tmb_level_gain(cut, at, at));
    }
    tmb_level_reset(cut);
    assert_true(isnan(tmb_level_decibel(cut)));
    tmb_level_destroy(&all);
    tmb_level_destroy(&cut);
    free(samples);
}

static void test_any_rate_and_bad_ones(void **state) {
    (void)state;
    static const int rates[] = {4000, 8000, 11025, 22050, 44100, 192000};
    tmb_level *level = NULL;
    tmb_error error = {0};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        float second[192000] = {0};
        assert_ok(tmb_level_create(rates[i], 1, &level, &error), error);
        for (int k = 0; k < rates[i]; k++) { /* half a second of 440 Hz at -63 dB */
            second[k] = k < rates[i] / 2 ? 0.001f * sinf(6.2831853f * 440 * (float)k / (float)rates[i])
                                         : 1e-5f * (float)(k % 2);
        }
        assert_ok(tmb_level_push(level, second, (size_t)rates[i], &error), error);
        assert_true(fabs(tmb_level_decibel(level) + 63) < 2);
        tmb_level_destroy(&level);
    }
    assert_int_equal(tmb_level_create(3999, 1, &level, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_level_create(48000, 0, &level, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_level_create(48000, 65, &level, &error), TMB_ERROR_ARGUMENT);
    assert_null(level);
}

/* ---- With the model ---- */

static float *enhance(tmb_dfn_model *model, const tmb_level *level, size_t block_frames, size_t piece,
                      const float *samples, size_t count) {
    tmb_enhance_settings settings;
    tmb_enhance_settings_default(&settings);
    settings.level = level;
    settings.block_frames = block_frames;
    size_t made = 0;
    float *out = dfn_enhance(model, &settings, samples, count, piece, &made);
    assert_int_equal(made, count);
    return out;
}

static void test_quiet_speech_is_kept_like_any_other(void **state) {
    (void)state;
    tmb_dfn_model *model = dfn_model(~0u);
    static const char *const clips[] = {"fr_noise_snr5", "tts_en_odd"};
    for (size_t i = 0; i < sizeof clips / sizeof clips[0]; i++) {
        size_t count = 0;
        float *clip = dfn_clip(clips[i], &count);
        tmb_level *level = measured(clip, count, 1);
        float *plain = enhance(model, NULL, 0, 0, clip, count);
        float *usual = enhance(model, level, 0, 0, clip, count);
        assert_memory_equal(plain, usual, count * sizeof *plain);
        tmb_level_destroy(&level);
        for (int quieter = 20; quieter <= 60; quieter += 20) {
            const float scale = powf(10, -(float)quieter / 20);
            float *soft = calloc(count, sizeof *soft);
            assert_non_null(soft);
            for (size_t k = 0; k < count; k++) {
                soft[k] = clip[k] * scale;
            }
            level = measured(soft, count, 1);
            float *kept = enhance(model, level, 0, 0, soft, count);
            double before = 0;
            double after = 0;
            for (size_t k = 0; k < count; k++) {
                before += (double)plain[k] * (double)plain[k];
                after += (double)kept[k] * (double)kept[k] / ((double)scale * (double)scale);
            }
            assert_true(fabs(10 * log10(after / before)) < 1);
            tmb_level_destroy(&level);
            free(kept);
            free(soft);
        }
        free(plain);
        free(usual);
        free(clip);
    }
    tmb_dfn_model_release(&model);
}

/* A gain that changes in mid-stream: every cut gives the same samples, and a whole level every size of block. */
static void test_gains_do_not_depend_on_pieces(void **state) {
    (void)state;
    tmb_dfn_model *model = dfn_model(~0u);
    size_t part = 0;
    float *clip = dfn_clip("fr_noise_snr5", &part);
    const size_t count = 2 * part;
    float *samples = calloc(count, sizeof *samples);
    assert_non_null(samples);
    for (size_t i = 0; i < count; i++) {
        samples[i] = clip[i % part] * (i < part ? 0.005f : 1);
    }
    tmb_level *level = measured(samples, count, 1);
    float *blocks = enhance(model, level, 48, 0, samples, count);
    float *frames = enhance(model, level, 1, 777, samples, count);
    assert_memory_equal(blocks, frames, count * sizeof *blocks);
    tmb_level *live = NULL;
    tmb_error error = {0};
    assert_ok(tmb_level_create_live(RATE, 1, &live, &error), error);
    assert_ok(tmb_level_push(live, samples, count, &error), error);
    float *ahead = enhance(model, live, 8, 0, samples, count);
    float *again = enhance(model, live, 8, 13, samples, count);
    assert_memory_equal(ahead, again, count * sizeof *ahead);
    tmb_level_destroy(&live);
    tmb_level_destroy(&level);
    free(blocks);
    free(frames);
    free(ahead);
    free(again);
    free(samples);
    free(clip);
    tmb_dfn_model_release(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usual_levels_have_no_gain),
        cmocka_unit_test(test_other_levels_become_usual),
        cmocka_unit_test(test_what_is_not_speech_has_no_level),
        cmocka_unit_test(test_clicks_and_offsets_do_not_count),
        cmocka_unit_test(test_channels_share_one_level),
        cmocka_unit_test(test_a_level_that_changes),
        cmocka_unit_test(test_pieces_change_nothing),
        cmocka_unit_test(test_any_rate_and_bad_ones),
        cmocka_unit_test(test_quiet_speech_is_kept_like_any_other),
        cmocka_unit_test(test_gains_do_not_depend_on_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
