/* The speaker encoder and its mel spectrogram against the official implementation. */
#include "golden.h"
#include "test.h"

#include "base/memory.h"
#include "cpu/cpu.h"
#include "tts/qwen3/config.h"
#include "tts/qwen3/cpu/speaker/mel.h"
#include "tts/qwen3/cpu/speaker/speaker.h"
#include "weights/safetensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const unsigned levels[] = {0, TMB_CPU_GENERIC, TMB_CPU_GENERIC | TMB_CPU_AVX2, ~0u};

static const struct {
    const char *sample, *audio, *mel, *speaker;
    bool bands_first; /* the mel's layout: [bands, frames] */
} cases[] = {
    {"sample-c", "references/ref_en.wav", "cases/icl_en/mel_0.npy", "cases/icl_en/speaker_0.npy", true},
    {"sample-d", "references/ref_es.wav", "modules/ref_es.mel.npy", "modules/ref_es.speaker.npy", false},
    {"sample-d", "sample-d/modules/ref_fr_44k_stereo.24k.npy", "modules/ref_fr_44k_stereo.mel.npy",
     "modules/ref_fr_44k_stereo.speaker.npy", false},
    {"sample-e", "references/ref_en_short.wav", "modules/ref_en_short.mel.npy", "modules/ref_en_short.speaker.npy",
     false},
    {"sample-e", "references/ref_es.wav", NULL, "modules/ref_es.speaker.npy", false},
    {"sample-f", "references/ref_en_short.wav", "modules/ref_en_short.mel.npy", "modules/ref_en_short.speaker.npy",
     false},
    {"sample-f", "sample-d/modules/ref_fr_44k_stereo.24k.npy", NULL, "modules/ref_fr_44k_stereo.speaker.npy", false},
};

static float *load_audio(const char *name, size_t *count) {
    if (strstr(name, ".npy") != NULL) {
        golden_array array = golden_load("qwen/%s", name);
        float *samples = tmb_calloc(array.count, sizeof *samples);
        assert_non_null(samples);
        memcpy(samples, array.f32, array.count * sizeof *samples);
        *count = array.count;
        golden_free(&array);
        return samples;
    }
    int rate = 0;
    return golden_audio(&rate, count, "qwen/%s", name);
}

static tmb_speaker_encoder *load(const char *sample) {
    tmb_error error = {0};
    tmb_qwen3_config config;
    tmb_safetensors *weights = NULL;
    tmb_speaker_encoder *encoder = NULL;
    assert_ok(tmb_qwen3_config_read(golden_path("qwen/%s/model", sample), &config, &error), error);
    assert_ok(tmb_safetensors_open(golden_path("qwen/%s/model", sample), &weights, &error), error);
    assert_ok(tmb_speaker_encoder_load(&config.speaker, weights, &encoder, &error), error);
    tmb_safetensors_close(&weights);
    return encoder;
}

static void test_official_mel(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum { BANDS = 128 };
        if (cases[i].mel == NULL) {
            continue;
        }
        size_t count = 0;
        float *samples = load_audio(cases[i].audio, &count);
        golden_array expected = golden_load("qwen/%s/%s", cases[i].sample, cases[i].mel);
        size_t frames = tmb_mel_frames(count);
        assert_int_equal(expected.count, frames * BANDS);
        tmb_mel *mel = NULL;
        tmb_error error = {0};
        float *actual = tmb_calloc(expected.count, sizeof *actual);
        float *ordered = tmb_calloc(expected.count, sizeof *ordered);
        assert_non_null(actual);
        assert_non_null(ordered);
        assert_ok(tmb_mel_create(BANDS, &mel, &error), error);
        assert_ok(tmb_mel_compute(mel, NULL, samples, count, actual, &error), error);
        for (size_t frame = 0; frame < frames; frame++) {
            for (size_t band = 0; band < BANDS; band++) {
                size_t from = cases[i].bands_first ? band * frames + frame : frame * BANDS + band;
                ordered[frame * BANDS + band] = expected.f32[from];
            }
        }
        (void)golden_assert_close(cases[i].mel, actual, ordered, expected.count, 1e-3);
        tmb_mel_destroy(&mel);
        golden_free(&expected);
        free(actual);
        free(ordered);
        free(samples);
    }
}

static void test_official_embeddings(void **state) {
    (void)state;
    for (size_t level = 0; level < sizeof levels / sizeof levels[0]; level++) {
        tmb_cpu_mask(levels[level]);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            tmb_speaker_encoder *encoder = load(cases[i].sample);
            size_t count = 0;
            float *samples = load_audio(cases[i].audio, &count);
            golden_array expected = golden_load("qwen/%s/%s", cases[i].sample, cases[i].speaker);
            assert_int_equal(expected.count, tmb_speaker_size(encoder));
            float *embedding = tmb_calloc(expected.count, sizeof *embedding);
            assert_non_null(embedding);
            tmb_error error = {0};
            assert_ok(tmb_speaker_embed(encoder, NULL, samples, count, embedding, &error), error);
            (void)golden_assert_close(cases[i].speaker, embedding, expected.f32, expected.count, 1e-4);
            free(embedding);
            free(samples);
            golden_free(&expected);
            tmb_speaker_encoder_destroy(&encoder);
        }
    }
}

static void test_threads_change_nothing(void **state) {
    (void)state;
    tmb_cpu_mask(~0u);
    tmb_speaker_encoder *encoder = load("sample-c");
    size_t count = 0;
    float *samples = load_audio("references/ref_fr.wav", &count);
    float alone[1024];
    float together[1024];
    tmb_team *team = NULL;
    tmb_error error = {0};
    assert_true(tmb_speaker_size(encoder) <= 1024);
    assert_ok(tmb_team_create(3, &team, &error), error);
    assert_ok(tmb_speaker_embed(encoder, NULL, samples, count, alone, &error), error);
    assert_ok(tmb_speaker_embed(encoder, team, samples, count, together, &error), error);
    assert_memory_equal(alone, together, tmb_speaker_size(encoder) * sizeof *alone);
    assert_true(tmb_speaker_encoder_bytes(encoder) > 1000);
    free(samples);
    tmb_team_destroy(&team);
    tmb_speaker_encoder_destroy(&encoder);
}

static void test_bad_input(void **state) {
    (void)state;
    tmb_cpu_mask(~0u);
    tmb_speaker_encoder *encoder = load("sample-c");
    float samples[1280];
    float embedding[1024];
    for (size_t i = 0; i < 1280; i++) {
        samples[i] = (float)(i % 37) / 37 - 0.5f;
    }
    tmb_error error = {0};
    assert_ok(tmb_speaker_embed(encoder, NULL, samples, 1280, embedding, &error), error);
    assert_int_equal(tmb_speaker_embed(encoder, NULL, samples, 1279, embedding, &error), TMB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "1280"));
    samples[77] = INFINITY;
    assert_int_equal(tmb_speaker_embed(encoder, NULL, samples, 1280, embedding, &error), TMB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "77"));
    assert_int_equal(tmb_speaker_embed(encoder, NULL, samples, (size_t)1 << 40, embedding, &error), TMB_ERROR_LIMIT);
    tmb_speaker_encoder_destroy(&encoder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_official_mel),
        cmocka_unit_test(test_official_embeddings),
        cmocka_unit_test(test_threads_change_nothing),
        cmocka_unit_test(test_bad_input),
    };
    return cmocka_run_group_tests_name("speaker", tests, NULL, NULL);
}
