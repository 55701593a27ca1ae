/* The networks' inner tensors against ONNX Runtime on the same graphs, and the parts around them. */
#include "dfn_fixture.h"

#include "cpu/cpu.h"
#include "enhance/block.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FRAMES = 24, LAST = 4 };

static void assert_stage(const char *name, const float *actual, size_t count) {
    golden_array expected = golden_load("dfn/%s.npy", name);
    assert_int_equal(expected.count, count);
    double peak = 0;
    for (size_t i = 0; i < count; i++) {
        const double size = fabs((double)expected.f32[i]);
        peak = size > peak ? size : peak;
    }
    (void)golden_assert_close(name, actual, expected.f32, count, 1e-4 * peak);
    golden_free(&expected);
}

static tmb_dfn_block analysed(const tmb_dfn_model *model) {
    tmb_dfn_block block;
    tmb_error error = {0};
    assert_ok(tmb_dfn_block_init(&block, model, FRAMES, &error), error);
    size_t count = 0;
    float *samples = dfn_clip("fr_noise_snr5", &count);
    memcpy(tmb_dfn_block_input(&block), samples, FRAMES * 480 * sizeof(float));
    free(samples);
    tmb_dfn_analyse(&block, FRAMES);
    return block;
}

static void test_stages(void **state) {
    (void)state;
    static const unsigned levels[] = {0, TMB_CPU_GENERIC, TMB_CPU_GENERIC | TMB_CPU_AVX2, ~0u};
    for (size_t level = 0; level < 3; level++) {
        tmb_dfn_model *model = dfn_model(levels[level]);
        tmb_dfn_block block = analysed(model);
        float erb[FRAMES * 32];
        float df[FRAMES * 2 * 96];
        for (size_t t = 0; t < FRAMES; t++) {
            memcpy(erb + t * 32, block.erb_feature + (2 + t) * block.erb_stride + 1, 32 * sizeof(float));
            for (size_t part = 0; part < 2; part++) {
                memcpy(df + (t * 2 + part) * 96, block.df_feature + ((2 + t) * 2 + part) * block.df_stride + 1,
                       96 * sizeof(float));
            }
        }
        assert_stage("stages/feat_erb", erb, FRAMES * 32);
        assert_stage("stages/feat_spec", df, FRAMES * 2 * 96);
        tmb_dfn_encode(&block, FRAMES);
        static const char *const names[] = {"stages/e0", "stages/e1", "stages/e2", "stages/e3"};
        for (size_t i = 0; i < 4; i++) {
            const size_t size = model->erb_rows[i] * model->channels;
            assert_stage(names[i], block.e[i] + (FRAMES - LAST) * size, LAST * size);
        }
        assert_stage("stages/c0", block.c0 + (size_t)(FRAMES - LAST) * 96 * 64, (size_t)LAST * 96 * 64);
        assert_stage("stages/emb", block.embedding, (size_t)FRAMES * 512);
        golden_array local_snr = golden_load("dfn/stages/lsnr.npy");
        (void)golden_assert_close("lsnr", block.local_snr, local_snr.f32, FRAMES, 2e-3);
        golden_free(&local_snr);
        tmb_dfn_decode_df(&block, 0, FRAMES);
        assert_stage("stages/coefs", block.coefficients, (size_t)FRAMES * 960);
        tmb_dfn_decode_erb(&block, 0, FRAMES, 0);
        assert_stage("stages/mask", block.mask, (size_t)FRAMES * 32);
        tmb_dfn_block_deinit(&block);
        tmb_dfn_model_release(&model);
    }
}

/* The gains of the upper bands are the same to the last bit when the lower ones are left out. */
static void test_upper_bands_alone(void **state) {
    (void)state;
    tmb_dfn_model *model = dfn_model(~0u);
    assert_int_equal(model->upper_band, 21);
    for (size_t first = 0; first <= 32; first++) {
        tmb_dfn_block whole = analysed(model);
        tmb_dfn_block part = analysed(model);
        tmb_dfn_encode(&whole, FRAMES);
        tmb_dfn_encode(&part, FRAMES);
        tmb_dfn_decode_erb(&whole, 0, FRAMES, 0);
        tmb_dfn_decode_erb(&part, 0, FRAMES, first);
        for (size_t t = 0; t < FRAMES; t++) {
            assert_memory_equal(part.mask + t * 32 + first, whole.mask + t * 32 + first, (32 - first) * sizeof(float));
        }
        assert_memory_equal(part.erb_gru[1], whole.erb_gru[1], 256 * sizeof(float));
        tmb_dfn_block_deinit(&whole);
        tmb_dfn_block_deinit(&part);
    }
    tmb_dfn_model_release(&model);
}

static void test_bands(void **state) {
    (void)state;
    static const size_t edges[] = {0,  2,  4,  6,  8,  10,  12,  14,  16,  18,  20,  22,  24,  26,  31,  36, 43,
                                   50, 58, 68, 80, 93, 108, 126, 146, 170, 198, 229, 266, 308, 358, 414, 481};
    tmb_dfn_model *model = dfn_model(~0u);
    assert_memory_equal(model->config.band_edges, edges, sizeof edges);
    assert_true(fabsf(model->config.alpha - 0.99f) < 1e-7f);
    tmb_dfn_model_release(&model);
}

/* A network of other sizes, without lookahead and without the skip connection, from random weights. */
static void test_other_sizes(void **state) {
    (void)state;
    static const unsigned levels[] = {0, TMB_CPU_GENERIC, TMB_CPU_GENERIC | TMB_CPU_AVX2, ~0u};
    for (size_t level = 0; level < 3; level++) {
        tmb_error error = {0};
        tmb_dfn_model *model = NULL;
        tmb_cpu_mask(levels[level]);
        assert_ok(tmb_dfn_model_load(golden_path("dfn/small.tar.gz"), &model, &error), error);
        tmb_cpu_mask(~0u);
        assert_int_equal(tmb_dfn_model_rate(model), 16000);
        assert_int_equal(model->config.hop, 160);
        assert_int_equal(tmb_dfn_config_delay(&model->config), 160); /* the window's overlap alone */
        tmb_dfn_block block;
        assert_ok(tmb_dfn_block_init(&block, model, 13, &error), error);
        golden_array erb = golden_load("dfn/small/feat_erb.npy");
        golden_array df = golden_load("dfn/small/feat_spec.npy");
        for (size_t t = 0; t < 13; t++) {
            memcpy(block.erb_feature + (2 + t) * block.erb_stride + 1, erb.f32 + t * 24, 24 * sizeof(float));
            for (size_t part = 0; part < 2; part++) {
                memcpy(block.df_feature + ((2 + t) * 2 + part) * block.df_stride + 1, df.f32 + (t * 2 + part) * 40,
                       40 * sizeof(float));
            }
        }
        tmb_dfn_encode(&block, 13);
        assert_stage("small/e3", block.e[3], (size_t)13 * 6 * 20);
        assert_stage("small/emb", block.embedding, (size_t)13 * 120);
        assert_stage("small/lsnr", block.local_snr, 13);
        tmb_dfn_decode_df(&block, 0, 13);
        assert_stage("small/coefs", block.coefficients, (size_t)13 * 240);
        tmb_dfn_decode_erb(&block, 0, 13, 0);
        assert_stage("small/mask", block.mask, (size_t)13 * 24);
        golden_free(&erb);
        golden_free(&df);
        tmb_dfn_block_deinit(&block);
        /* And as a stream: aligned, as long, and the same in any blocks. */
        size_t count = 0;
        size_t got = 0;
        size_t again = 0;
        float *samples = dfn_clip("tts_en_odd", &count);
        tmb_enhance_settings settings;
        tmb_enhance_settings_default(&settings);
        float *out = dfn_enhance(model, &settings, samples, 16077, 1000, &got);
        settings.block_frames = 3;
        float *other = dfn_enhance(model, &settings, samples, 16077, 0, &again);
        assert_int_equal(got, 16077);
        assert_int_equal(again, 16077);
        assert_memory_equal(out, other, got * sizeof(float));
        free(out);
        free(other);
        free(samples);
        tmb_dfn_model_release(&model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_upper_bands_alone),
        cmocka_unit_test(test_bands),
        cmocka_unit_test(test_other_sizes),
    };
    return cmocka_run_group_tests_name("dfn-stages", tests, NULL, NULL);
}
