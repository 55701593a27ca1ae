#include "dfn_fixture.h"

#include "cpu/cpu.h"
#include "enhance/block.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The kernels that this CPU has: portable C, AVX2, everything. */
static const unsigned levels[] = {0, TMB_CPU_GENERIC, TMB_CPU_GENERIC | TMB_CPU_AVX2, ~0u};
enum { LEVELS = 3 };

static tmb_enhance_settings standard(size_t block_frames) {
    tmb_enhance_settings settings;
    tmb_enhance_settings_default(&settings);
    settings.block_frames = block_frames;
    return settings;
}

static void assert_same(const float *a, size_t a_count, const float *b, size_t b_count) {
    assert_int_equal(a_count, b_count);
    assert_memory_equal(a, b, a_count * sizeof(float));
}

static void test_parity_with_the_official_runtime(void **state) {
    (void)state;
    static const char *const clips[] = {"fr_noise_snr5", "tts_en_odd"};
    for (size_t level = 0; level < LEVELS; level++) {
        tmb_dfn_model *model = dfn_model(levels[level]);
        assert_int_equal(tmb_dfn_model_rate(model), 48000);
        assert_int_equal(model->config.hop, 480);
        assert_int_equal(tmb_dfn_config_delay(&model->config), 1440);
        for (size_t i = 0; i < 2; i++) {
            size_t count = 0;
            size_t got = 0;
            float *samples = dfn_clip(clips[i], &count);
            golden_array raw = golden_load("dfn/%s.raw.npy", clips[i]);
            tmb_enhance_settings settings = standard(0);
            float *out = dfn_enhance(model, &settings, samples, count, 4800, &got);
            assert_int_equal(got, count);
            dfn_assert_parity(clips[i], out, raw.f32 + 1440, count);
            free(out);
            settings.compensate_delay = false;
            out = dfn_enhance(model, &settings, samples, count, 4800, &got);
            assert_int_equal(got, count + 1440);
            dfn_assert_parity("with its delay", out, raw.f32, got);
            free(out);
            free(samples);
            golden_free(&raw);
        }
        tmb_dfn_model_release(&model);
    }
}

static void test_local_snr(void **state) {
    (void)state;
    tmb_dfn_model *model = dfn_model(~0u);
    size_t count = 0;
    float *samples = dfn_clip("fr_noise_snr5", &count);
    golden_array expected = golden_load("dfn/fr_noise_snr5.lsnr.npy");
    tmb_error error = {0};
    tmb_enhance_settings settings = standard(1);
    tmb_enhancer *enhancer = NULL;
    assert_ok(tmb_enhancer_create(model, &settings, &enhancer, &error), error);
    for (size_t t = 0; t < count / 480; t++) {
        assert_ok(tmb_enhancer_push(enhancer, samples + t * 480, 480, &error), error);
        (void)tmb_enhancer_pull(enhancer, NULL, 480);
        assert_true(fabsf(tmb_enhancer_local_snr(enhancer) - expected.f32[t]) < 2e-3f);
    }
    tmb_enhancer_destroy(&enhancer);
    golden_free(&expected);
    free(samples);
    tmb_dfn_model_release(&model);
}

static void test_post_filter_and_attenuation_limit(void **state) {
    (void)state;
    for (size_t level = 0; level < LEVELS; level++) {
        tmb_dfn_model *model = dfn_model(levels[level]);
        size_t count = 0;
        size_t got = 0;
        float *samples = dfn_clip("fr_noise_snr5", &count);
        count = 120 * 480;
        tmb_enhance_settings settings = standard(0);
        settings.post_filter_beta = 0.02f;
        golden_array raw = golden_load("dfn/fr_noise_snr5.pf.raw.npy");
        float *out = dfn_enhance(model, &settings, samples, count, 1000, &got);
        dfn_assert_parity("post filter", out, raw.f32 + 1440, count);
        free(out);
        golden_free(&raw);
        settings = standard(0);
        settings.attenuation_limit_db = 12;
        raw = golden_load("dfn/fr_noise_snr5.atten12.raw.npy");
        out = dfn_enhance(model, &settings, samples, count, 1000, &got);
        dfn_assert_parity("attenuation limit 12 dB", out, raw.f32 + 1440, count);
        free(out);
        golden_free(&raw);
        free(samples);
        tmb_dfn_model_release(&model);
    }
}

/* Bit for bit the same, however the input is cut and however many frames go together. */
static void test_pieces_and_blocks_change_nothing(void **state) {
    (void)state;
    static const size_t blocks[] = {1, 2, 3, 7, 8, 9, 48, 100};
    static const size_t pieces[] = {0, 479, 480, 481, 100000};
    for (size_t level = 0; level < LEVELS; level++) {
        tmb_dfn_model *model = dfn_model(levels[level]);
        size_t count = 0;
        size_t first_count = 0;
        float *samples = dfn_clip("fr_noise_snr5", &count);
        count = 110 * 480 + 77;
        tmb_enhance_settings settings = standard(0);
        float *first = dfn_enhance(model, &settings, samples, count, 480, &first_count);
        const size_t step = TEST_SANITIZED ? 3 : 1;
        for (size_t i = level % step; i < sizeof blocks / sizeof blocks[0]; i += step) {
            size_t got = 0;
            settings = standard(blocks[i]);
            float *out = dfn_enhance(model, &settings, samples, count, pieces[i % 5], &got);
            assert_same(out, got, first, first_count);
            free(out);
        }
        free(first);
        free(samples);
        tmb_dfn_model_release(&model);
    }
    tmb_dfn_model *model = dfn_model(~0u);
    size_t count = 0;
    size_t first_count = 0;
    float *samples = dfn_clip("tts_en_odd", &count);
    /* Thresholds amid the clip's local SNR: all four stages come up, and decoders stand still in between. */
    tmb_enhance_settings settings = standard(0);
    settings.min_db_threshold = -5;
    settings.max_db_df_threshold = 10;
    settings.max_db_erb_threshold = 25;
    settings.post_filter_beta = 0.02f;
    settings.attenuation_limit_db = 40;
    float *first = dfn_enhance(model, &settings, samples, count, 480, &first_count);
    for (size_t i = 0; i < 5; i++) {
        size_t got = 0;
        settings.block_frames = blocks[i];
        float *out = dfn_enhance(model, &settings, samples, count, pieces[i], &got);
        assert_same(out, got, first, first_count);
        free(out);
    }
    free(first);
    free(samples);
    tmb_dfn_model_release(&model);
}

static void test_every_length(void **state) {
    (void)state;
    static const size_t lengths[] = {0,   1,    2,    479,  480,  481,      959,         960,
                                     961, 1439, 1440, 1441, 2000, 48 * 480, 48 * 480 + 1};
    tmb_dfn_model *model = dfn_model(~0u);
    size_t count = 0;
    float *samples = dfn_clip("tts_en_odd", &count);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (size_t block = 1; block <= 48; block += 47) {
            size_t got = 0;
            tmb_enhance_settings settings = standard(block);
            float *out = dfn_enhance(model, &settings, samples, lengths[i], 300, &got);
            assert_int_equal(got, lengths[i]);
            free(out);
            settings.compensate_delay = false;
            out = dfn_enhance(model, &settings, samples, lengths[i], 300, &got);
            assert_int_equal(got, lengths[i] == 0 ? 0 : lengths[i] + 1440);
            free(out);
        }
    }
    free(samples);
    tmb_dfn_model_release(&model);
}

static void test_bypass(void **state) {
    (void)state;
    tmb_dfn_model *model = dfn_model(~0u);
    size_t count = 0;
    size_t got = 0;
    float *samples = dfn_clip("tts_en_odd", &count);
    tmb_enhance_settings settings = standard(0);
    settings.attenuation_limit_db = 0;
    float *out = dfn_enhance(model, &settings, samples, count, 0, &got);
    assert_same(out, got, samples, count);
    free(out);
    settings.compensate_delay = false;
    out = dfn_enhance(model, &settings, samples, count, 0, &got);
    assert_int_equal(got, count + 1440);
    for (size_t i = 0; i < 1440; i++) {
        assert_true(out[i] >= 0 && out[i] <= 0);
    }
    assert_memory_equal(out + 1440, samples, count * sizeof(float));
    free(out);
    free(samples);
    tmb_dfn_model_release(&model);
}

/* Silence, untouched and mask only, against what they must be. */
static void test_thresholds(void **state) {
    (void)state;
    tmb_dfn_model *model = dfn_model(~0u);
    size_t count = 0;
    size_t got = 0;
    float *samples = dfn_clip("fr_noise_snr5", &count);
    count = 60 * 480;
    tmb_enhance_settings settings = standard(0);
    settings.min_db_threshold = 100; /* everything is silence */
    float *out = dfn_enhance(model, &settings, samples, count, 480, &got);
    for (size_t i = 0; i < got; i++) {
        assert_true(fabsf(out[i]) <= 0);
    }
    free(out);
    settings = standard(0);
    settings.max_db_erb_threshold = -100; /* everything passes: analysis and synthesis are each other's inverse */
    out = dfn_enhance(model, &settings, samples, count, 480, &got);
    /* The windows of the last samples' frames are not complete: the stream's end is zeros there. */
    assert_true(golden_snr_db(out, samples, count) > 120);
    free(out);
    settings = standard(0);
    float *both = dfn_enhance(model, &settings, samples, count, 480, &got);
    settings.max_db_df_threshold = -100; /* mask only */
    out = dfn_enhance(model, &settings, samples, count, 480, &got);
    const double like_both = golden_snr_db(out, both, count);
    assert_true(like_both > 3 && like_both < 40);
    free(out);
    free(both);
    free(samples);
    tmb_dfn_model_release(&model);
}

static void test_stage_rule(void **state) {
    (void)state;
    const tmb_dfn_rules rules = {.min_db = -10, .max_db_erb = 30, .max_db_df = 20};
    assert_int_equal(tmb_dfn_stage_of(&rules, -10.5f), TMB_DFN_SILENCE);
    assert_int_equal(tmb_dfn_stage_of(&rules, -10), TMB_DFN_MASK_AND_FILTER);
    assert_int_equal(tmb_dfn_stage_of(&rules, 20), TMB_DFN_MASK_AND_FILTER);
    assert_int_equal(tmb_dfn_stage_of(&rules, 20.5f), TMB_DFN_MASK);
    assert_int_equal(tmb_dfn_stage_of(&rules, 30), TMB_DFN_MASK);
    assert_int_equal(tmb_dfn_stage_of(&rules, 30.5f), TMB_DFN_UNTOUCHED);
}

static void test_reset_is_fresh(void **state) {
    (void)state;
    tmb_dfn_model *model = dfn_model(~0u);
    size_t count = 0;
    size_t fresh_count = 0;
    size_t again_count = 0;
    float *samples = dfn_clip("tts_en_odd", &count);
    tmb_enhance_settings settings = standard(5);
    tmb_error error = {0};
    tmb_enhancer *enhancer = NULL;
    assert_ok(tmb_enhancer_create(model, &settings, &enhancer, &error), error);
    float *fresh = dfn_stream(enhancer, samples, 20000, 480, &fresh_count);
    tmb_enhancer_reset(enhancer);
    assert_ok(tmb_enhancer_push(enhancer, samples + 30000, 12345, &error), error); /* left in the middle */
    tmb_enhancer_reset(enhancer);
    assert_int_equal(tmb_enhancer_pull(enhancer, NULL, 1000000), 0);
    float *again = dfn_stream(enhancer, samples, 20000, 700, &again_count);
    assert_same(again, again_count, fresh, fresh_count);
    free(fresh);
    free(again);
    free(samples);
    tmb_enhancer_destroy(&enhancer);
    tmb_dfn_model_release(&model);
}

static void test_bad_samples_leave_no_trace(void **state) {
    (void)state;
    tmb_dfn_model *model = dfn_model(~0u);
    size_t count = 0;
    size_t clean_count = 0;
    float *samples = dfn_clip("tts_en_odd", &count);
    tmb_enhance_settings settings = standard(4);
    float *clean = dfn_enhance(model, &settings, samples, 9600, 480, &clean_count);
    tmb_error error = {0};
    tmb_enhancer *enhancer = NULL;
    assert_ok(tmb_enhancer_create(model, &settings, &enhancer, &error), error);
    float *out = calloc(9600, sizeof(float));
    size_t got = 0;
    static const struct {
        float value;
        const char *says;
    } bad[] = {{NAN, "sample 4801 is not a number"}, {INFINITY, "infinite"}, {-INFINITY, "infinite"}, {1e11f, "1e10"}};
    for (size_t i = 0; i < 9600; i += 4800) {
        for (size_t j = 0; j < 4 && i > 0; j++) {
            float piece[2000] = {bad[j].value};
            assert_int_equal(tmb_enhancer_push(enhancer, piece, 2000, &error), TMB_ERROR_FORMAT);
            assert_non_null(strstr(error.message, bad[j].says));
        }
        assert_ok(tmb_enhancer_push(enhancer, samples + i, 4800, &error), error);
        got += tmb_enhancer_pull(enhancer, out + got, 9600 - got);
    }
    assert_ok(tmb_enhancer_flush(enhancer, &error), error);
    assert_int_equal(tmb_enhancer_push(enhancer, samples, 1, &error), TMB_ERROR_ARGUMENT);
    got += tmb_enhancer_pull(enhancer, out + got, 9600 - got);
    assert_same(out, got, clean, clean_count);
    assert_ok(tmb_enhancer_flush(enhancer, &error), error);
    assert_int_equal(tmb_enhancer_pull(enhancer, out, 9600), 0);
    free(out);
    free(clean);
    free(samples);
    tmb_enhancer_destroy(&enhancer);
    tmb_dfn_model_release(&model);
}

static void test_bad_settings(void **state) {
    (void)state;
    tmb_dfn_model *model = dfn_model(~0u);
    tmb_error error = {0};
    tmb_enhancer *enhancer = NULL;
    tmb_enhance_settings settings = standard(0);
    settings.post_filter_beta = -0.1f;
    assert_int_equal(tmb_enhancer_create(model, &settings, &enhancer, &error), TMB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "post_filter_beta"));
    settings = standard(0);
    settings.attenuation_limit_db = NAN;
    assert_int_equal(tmb_enhancer_create(model, &settings, &enhancer, &error), TMB_ERROR_ARGUMENT);
    settings = standard((size_t)1 << 40);
    assert_int_equal(tmb_enhancer_create(model, &settings, &enhancer, &error), TMB_ERROR_LIMIT);
    assert_int_equal(tmb_enhancer_bytes(model, (size_t)1 << 40), 0);
    assert_null(enhancer);
    tmb_dfn_model_release(&model);
}

/* Longer than the features' means take to underflow (80 s), then speech: nothing may have become NaN. */
static void test_long_silence(void **state) {
    (void)state;
    tmb_dfn_model *model = dfn_model(~0u);
    size_t count = 0;
    float *samples = dfn_clip("tts_en_odd", &count);
    float *silence = calloc(48000, sizeof(float));
    float *out = malloc(48000 * sizeof(float));
    tmb_error error = {0};
    tmb_enhance_settings settings = standard(0);
    tmb_enhancer *enhancer = NULL;
    assert_ok(tmb_enhancer_create(model, &settings, &enhancer, &error), error);
    for (size_t second = 0; second < (TEST_SANITIZED ? 5 : 100); second++) {
        assert_ok(tmb_enhancer_push(enhancer, silence, 48000, &error), error);
        (void)tmb_enhancer_pull(enhancer, NULL, 48000);
    }
    assert_ok(tmb_enhancer_push(enhancer, samples, 48000, &error), error);
    assert_ok(tmb_enhancer_flush(enhancer, &error), error);
    double energy = 0;
    for (size_t got = 0; (got = tmb_enhancer_pull(enhancer, out, 48000)) > 0;) {
        for (size_t i = 0; i < got; i++) {
            assert_true(isfinite(out[i]));
            energy += (double)out[i] * (double)out[i];
        }
    }
    assert_true(energy > 1);
    free(out);
    free(silence);
    free(samples);
    tmb_enhancer_destroy(&enhancer);
    tmb_dfn_model_release(&model);
}

/* The denormals' mode is the caller's again after a call. */
static void test_denormal_mode_is_restored(void **state) {
    (void)state;
    tmb_dfn_model *model = dfn_model(~0u);
    tmb_error error = {0};
    tmb_enhance_settings settings = standard(1);
    tmb_enhancer *enhancer = NULL;
    assert_ok(tmb_enhancer_create(model, &settings, &enhancer, &error), error);
    const float samples[480] = {0.5f};
    assert_ok(tmb_enhancer_push(enhancer, samples, 480, &error), error);
    assert_ok(tmb_enhancer_flush(enhancer, &error), error);
    volatile float tiny = 1e-30f;
    volatile float denormal = tiny * 1e-10f;
    assert_true(denormal > 0);
    tmb_enhancer_destroy(&enhancer);
    tmb_dfn_model_release(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parity_with_the_official_runtime),
        cmocka_unit_test(test_local_snr),
        cmocka_unit_test(test_post_filter_and_attenuation_limit),
        cmocka_unit_test(test_pieces_and_blocks_change_nothing),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_bypass),
        cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_stage_rule),
        cmocka_unit_test(test_reset_is_fresh),
        cmocka_unit_test(test_bad_samples_leave_no_trace),
        cmocka_unit_test(test_bad_settings),
        cmocka_unit_test(test_long_silence),
        cmocka_unit_test(test_denormal_mode_is_restored),
    };
    return cmocka_run_group_tests_name("enhance", tests, NULL, NULL);
}
