/* The codec encoder against the official codes and latents, and against itself. */
#include "golden.h"
#include "test.h"

#include "base/memory.h"
#include "cpu/cpu.h"
#include "tts/qwen3/config.h"
#include "tts/qwen3/cpu/codec/encoder.h"
#include "weights/safetensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const unsigned levels[] = {0, TMB_CPU_GENERIC, TMB_CPU_GENERIC | TMB_CPU_AVX2, ~0u};
enum { LEVELS = sizeof levels / sizeof levels[0], BOOKS = 16 };

typedef struct model {
    tmb_qwen3_config config;
    tmb_codec_encoder *encoder;
} model;

static void load(model *m, const char *sample) {
    tmb_error error = {0};
    tmb_safetensors *weights = NULL;
    memset(m, 0, sizeof *m);
    assert_ok(tmb_qwen3_config_read(golden_path("qwen/%s/model", sample), &m->config, &error), error);
    assert_ok(tmb_safetensors_open(golden_path("qwen/%s/model/speech_tokenizer", sample), &weights, &error), error);
    assert_ok(tmb_codec_encoder_load(&m->config.codec, weights, &m->encoder, &error), error);
    tmb_safetensors_close(&weights);
}

static float *load_audio(const char *name, size_t *count) {
    int rate = 0;
    float *samples = golden_audio(&rate, count, "qwen/references/%s", name);
    assert_int_equal(rate, 24000);
    return samples;
}

static int16_t *encode(const model *m, tmb_team *team, const float *samples, size_t count, size_t *frames) {
    int16_t *codes = NULL;
    tmb_error error = {0};
    assert_ok(tmb_codec_encode(m->encoder, team, samples, count, &codes, frames, &error), error);
    return codes;
}

static void check_codes(const model *m, const float *samples, size_t count, const golden_array *expected) {
    size_t frames = 0;
    int16_t *codes = encode(m, NULL, samples, count, &frames);
    assert_int_equal(frames, expected->dims[0]);
    size_t books = m->config.codec.valid_quantizers;
    assert_int_equal(expected->dims[1], books);
    for (size_t i = 0; i < frames * books; i++) {
        if (codes[i] != expected->i16[i]) {
            fail_msg("frame %zu, book %zu: %d, expected %d", i / books, i % books, codes[i], expected->i16[i]);
        }
    }
    free(codes);
}

static void test_official_codes(void **state) {
    (void)state;
    static const struct {
        const char *sample, *audio, *codes;
    } cases[] = {
        {"sample-c", "ref_en.wav", "cases/icl_en/ref_codes_0.npy"},
        {"sample-c", "ref_fr.wav", "cases/batch3/ref_codes_1.npy"},
        {"sample-d", "ref_es.wav", "modules/ref_es.codes.npy"},
        {"sample-d", NULL, "modules/ref_fr_44k_stereo.codes.npy"},
        {"sample-e", "ref_en_short.wav", "modules/ref_en_short.codes.npy"},
        {"sample-e", "ref_es.wav", "modules/ref_es.codes.npy"},
        {"sample-f", "ref_en_short.wav", "modules/ref_en_short.codes.npy"},
        {"sample-f", NULL, "modules/ref_fr_44k_stereo.codes.npy"},
    };
    for (size_t level = 0; level < LEVELS; level++) {
        tmb_cpu_mask(levels[level]);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            model m;
            load(&m, cases[i].sample);
            golden_array expected = golden_load("qwen/%s/%s", cases[i].sample, cases[i].codes);
            if (cases[i].audio != NULL) {
                size_t count = 0;
                float *samples = load_audio(cases[i].audio, &count);
                check_codes(&m, samples, count, &expected);
                free(samples);
            } else {
                golden_array samples = golden_load("qwen/sample-d/modules/ref_fr_44k_stereo.24k.npy");
                check_codes(&m, samples.f32, samples.count, &expected);
                golden_free(&samples);
            }
            golden_free(&expected);
            tmb_codec_encoder_destroy(&m.encoder);
        }
    }
}

static void check_latent(const char *sample, const char *audio, const char *name) {
    model m;
    load(&m, sample);
    golden_array expected = golden_load("qwen/%s/modules/%s.latent.npy", sample, name);
    size_t count = 0;
    size_t frames = 0;
    float *samples = load_audio(audio, &count);
    float *latent = NULL;
    tmb_error error = {0};
    assert_ok(tmb_codec_encode_latent(m.encoder, NULL, samples, count, &latent, &frames, &error), error);
    assert_int_equal(frames * m.config.codec.encoder.hidden_size, expected.count);
    double power = 0;
    for (size_t i = 0; i < expected.count; i++) {
        power += (double)expected.f32[i] * (double)expected.f32[i];
    }
    (void)golden_assert_close("latent", latent, expected.f32, expected.count,
                              1e-3 * sqrt(power / (double)expected.count));
    free(latent);
    free(samples);
    golden_free(&expected);
    tmb_codec_encoder_destroy(&m.encoder);
}

static void test_official_latent(void **state) {
    (void)state;
    for (size_t level = 0; level < LEVELS; level++) {
        tmb_cpu_mask(levels[level]);
        check_latent("sample-d", "ref_es.wav", "ref_es");
        check_latent("sample-e", "ref_es.wav", "ref_es");
        check_latent("sample-f", "ref_en_short.wav", "ref_en_short");
    }
}

/* Slices must not show: a signal of several long ones begins like a shorter one, and threads change nothing. */
static void test_long_signals(void **state) {
    (void)state;
    tmb_cpu_mask(~0u);
    model m;
    load(&m, "sample-c");
    size_t count = 0;
    float *clip = load_audio("ref_en.wav", &count);
    size_t total = 14 * 24000 + 777;
    float *samples = tmb_calloc(total, sizeof *samples);
    assert_non_null(samples);
    for (size_t i = 0; i < total; i++) {
        samples[i] = clip[i % count];
    }
    tmb_team *team = NULL;
    tmb_error error = {0};
    assert_ok(tmb_team_create(3, &team, &error), error);
    size_t frames = 0;
    int16_t *whole = encode(&m, NULL, samples, total, &frames);
    assert_int_equal(frames, (total + 1919) / 1920);
    size_t threaded_frames = 0;
    int16_t *threaded = encode(&m, team, samples, total, &threaded_frames);
    assert_int_equal(threaded_frames, frames);
    assert_memory_equal(threaded, whole, frames * BOOKS * sizeof *whole);
    static const size_t counts[] = {1, 959, 960, 961, 1920, 2881, 8192, 122880, 122881, 200003};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        size_t some = 0;
        int16_t *codes = encode(&m, NULL, samples, counts[i], &some);
        assert_int_equal(some, (counts[i] + 1919) / 1920);
        /* The last frame alone sees what comes after it. */
        assert_memory_equal(codes, whole, (some - 1) * BOOKS * sizeof *codes);
        free(codes);
    }
    assert_true(tmb_codec_encode_bytes(m.encoder, 100 * total) > 2 * tmb_codec_encode_bytes(m.encoder, total));
    free(threaded);
    free(whole);
    free(samples);
    free(clip);
    tmb_team_destroy(&team);
    tmb_codec_encoder_destroy(&m.encoder);
}

static void test_bad_input(void **state) {
    (void)state;
    model m;
    load(&m, "sample-c");
    float samples[2000] = {0};
    int16_t *codes = NULL;
    size_t frames = 1;
    tmb_error error = {0};
    assert_int_equal(tmb_codec_encode(m.encoder, NULL, samples, 0, &codes, &frames, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_codec_encode(m.encoder, NULL, samples, (size_t)1 << 40, &codes, &frames, &error),
                     TMB_ERROR_LIMIT);
    samples[1234] = NAN;
    assert_int_equal(tmb_codec_encode(m.encoder, NULL, samples, 2000, &codes, &frames, &error), TMB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "1234"));
    assert_null(codes);
    tmb_codec_encoder_destroy(&m.encoder);
    tmb_safetensors *weights = NULL;
    assert_ok(tmb_safetensors_open(golden_path("qwen/sample-c/model/speech_tokenizer"), &weights, &error), error);
    m.config.codec.encoder.filters *= 2;
    assert_int_equal(tmb_codec_encoder_load(&m.config.codec, weights, &m.encoder, &error), TMB_ERROR_MODEL);
    assert_non_null(strstr(error.message, "encoder.encoder.layers.0.conv.weight"));
    assert_null(m.encoder);
    tmb_safetensors_close(&weights);
}

/* Without weights it says the same of its sizes, and of tensors that do not fit. */
static void test_check_only(void **state) {
    (void)state;
    model m;
    load(&m, "sample-c");
    tmb_codec_encoder *sizes = NULL;
    tmb_safetensors *weights = NULL;
    tmb_error error = {0};
    assert_ok(tmb_safetensors_open(golden_path("qwen/sample-c/model/speech_tokenizer"), &weights, &error), error);
    assert_ok(tmb_codec_encoder_check(&m.config.codec, weights, &sizes, &error), error);
    assert_int_equal(tmb_codec_encoder_bytes(sizes), tmb_codec_encoder_bytes(m.encoder));
    for (size_t count = 1; count < 1000000; count = 7 * count + 1) {
        assert_int_equal(tmb_codec_encode_bytes(sizes, count), tmb_codec_encode_bytes(m.encoder, count));
    }
    tmb_codec_encoder_destroy(&sizes);
    tmb_codec_encoder_destroy(&m.encoder);
    m.config.codec.encoder.codebook_size *= 2;
    assert_int_equal(tmb_codec_encoder_check(&m.config.codec, weights, &sizes, &error), TMB_ERROR_MODEL);
    assert_non_null(strstr(error.message, "codebook.embed_sum"));
    assert_null(sizes);
    tmb_safetensors_close(&weights);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_official_codes), cmocka_unit_test(test_official_latent),
        cmocka_unit_test(test_long_signals),   cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_check_only),
    };
    return cmocka_run_group_tests_name("codec encoder", tests, NULL, NULL);
}
