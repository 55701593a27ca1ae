/* Voices, saved and read again; hostile files; the reference at 24 kHz. */
#include "test.h"

#include "base/hash.h"
#include "golden.h"
#include "tts/qwen3/voice/reference_rate.h"
#include "tts/qwen3/voice/voice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static tmb_qwen3_voice *example(bool in_context) {
    static float speaker[8] = {1.5f, -2, 3.25f, 0, 1e-8f, -7, 8, 9};
    static int16_t codes[3 * 4] = {0, 1, 2, 3, 2047, 5, 6, 7, 8, 9, 10, 11};
    static float reference[5] = {0, 0.5f, -0.5f, 2, -1};
    tmb_voice_parts parts = {.family = "test/8",
                             .speaker = speaker,
                             .speaker_size = 8,
                             .reference = reference,
                             .reference_count = 5,
                             .reference_rate = 24000};
    if (in_context) {
        parts.text = "Grüße, 世界.";
        parts.codes = codes;
        parts.frames = 3;
        parts.books = 4;
    }
    tmb_error error = {0};
    tmb_qwen3_voice *voice = NULL;
    assert_ok(tmb_qwen3_voice_create(&parts, &voice, &error), error);
    return voice;
}

static void release(tmb_qwen3_voice *voice) {
    tmb_voice *base = &voice->base;
    tmb_voice_release(&base);
}

static void test_save_and_load(void **state) {
    (void)state;
    for (int in_context = 0; in_context < 2; in_context++) {
        tmb_error error = {0};
        tmb_qwen3_voice *voice = example(in_context != 0), *again = NULL;
        void *data = NULL, *second = NULL;
        size_t size = 0, second_size = 0;
        assert_ok(tmb_qwen3_voice_save(voice, &data, &size, &error), error);
        assert_ok(tmb_qwen3_voice_load(data, size, &again, &error), error);
        assert_string_equal(again->family, "test/8");
        assert_memory_equal(again->fingerprint, voice->fingerprint, sizeof voice->fingerprint);
        assert_memory_equal(again->speaker, voice->speaker, 8 * sizeof(float));
        assert_int_equal(again->frames, in_context != 0 ? 3 : 0);
        assert_int_equal(again->reference_count, 5);
        assert_int_equal(again->reference[3], 32767);
        assert_memory_equal(again->reference, voice->reference, 5 * sizeof(int16_t));
        assert_true((again->text != NULL) == (in_context != 0));
        assert_ok(tmb_qwen3_voice_save(again, &second, &second_size, &error), error);
        assert_int_equal(second_size, size);
        assert_memory_equal(second, data, size);
        free(data);
        free(second);
        release(voice);
        release(again);
    }
}

/* Every byte changed, every length cut: an error each, never a crash. */
static void test_damage(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_qwen3_voice *voice = example(true), *again = NULL;
    void *data = NULL;
    size_t size = 0;
    assert_ok(tmb_qwen3_voice_save(voice, &data, &size, &error), error);
    for (size_t i = 0; i < size; i++) {
        uint8_t *copy = malloc(size);
        memcpy(copy, data, size);
        copy[i] ^= 0x41;
        assert_int_not_equal(tmb_qwen3_voice_load(copy, size, &again, &error), TMB_OK);
        assert_null(again);
        free(copy);
        copy = malloc(i + 1);
        memcpy(copy, data, i);
        assert_int_not_equal(tmb_qwen3_voice_load(copy, i, &again, &error), TMB_OK);
        free(copy);
    }
    free(data);
    release(voice);
}

/* Files whose checksums fit but whose contents do not. */
static void forge(uint8_t *data, size_t size, size_t at, uint32_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        data[at + i] = (uint8_t)(value >> 8 * i);
    }
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t sum = tmb_hash_bytes(data, size - 16, i + 1);
        memcpy(data + size - 16 + 8 * i, &sum, sizeof sum);
    }
}

static void test_forged(void **state) {
    (void)state;
    tmb_qwen3_voice *voice = example(true), *again = NULL;
    tmb_error error = {0};
    void *data = NULL;
    size_t size = 0;
    assert_ok(tmb_qwen3_voice_save(voice, &data, &size, &error), error);
    const size_t arrays = 8 + 7 * 4 + 8 + TMB_VOICE_FAMILY_MAX;
    const struct {
        size_t at;
        uint32_t value;
        size_t bytes;
        tmb_status status;
    } changes[] = {
        {8, 2, 4, TMB_ERROR_UNSUPPORTED},                /* version */
        {16, 0, 4, TMB_ERROR_FORMAT},                    /* no x-vector */
        {16, 0xffffffff, 4, TMB_ERROR_FORMAT},           /* huge x-vector */
        {20, 0xffffffff, 4, TMB_ERROR_FORMAT},           /* huge text */
        {24, 0xffffffff, 4, TMB_ERROR_FORMAT},           /* huge frames */
        {28, 0xffffffff, 4, TMB_ERROR_FORMAT},           /* huge books */
        {28, 0, 4, TMB_ERROR_FORMAT},                    /* frames without books */
        {32, 1, 4, TMB_ERROR_UNSUPPORTED},               /* flags */
        {36, 0xffffffff, 4, TMB_ERROR_FORMAT},           /* huge reference */
        {arrays, 0x7f800000, 4, TMB_ERROR_FORMAT},       /* infinity */
        {arrays + 32, 0xff, 1, TMB_ERROR_FORMAT},        /* text that is not UTF-8 */
        {arrays + 32, 0, 1, TMB_ERROR_FORMAT},           /* 0 in the text */
        {arrays + 32 + 16, 0xffff, 2, TMB_ERROR_FORMAT}, /* negative code */
    };
    assert_int_equal(strlen(voice->text), 16);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        uint8_t *copy = malloc(size);
        memcpy(copy, data, size);
        forge(copy, size, changes[i].at, changes[i].value, changes[i].bytes);
        assert_int_equal(tmb_qwen3_voice_load(copy, size, &again, &error), changes[i].status);
        free(copy);
    }
    uint8_t *family = malloc(size);
    memcpy(family, data, size);
    memset(family + arrays - TMB_VOICE_FAMILY_MAX, 'x', TMB_VOICE_FAMILY_MAX - 4);
    forge(family, size, arrays - 4, 0x78787878, 4); /* no 0 */
    assert_int_equal(tmb_qwen3_voice_load(family, size, &again, &error), TMB_ERROR_FORMAT);
    free(family);
    free(data);
    release(voice);
}

/* A RIFF file's 16-bit samples, mixed to mono. */
static float *read_mono(const char *path, size_t *count) {
    size_t bytes = 0;
    char *data = golden_text(&bytes, "%s", path);
    int channels = (uint8_t)data[22];
    size_t at = 12;
    uint32_t length = 0;
    for (;;) {
        memcpy(&length, data + at + 4, 4);
        if (memcmp(data + at, "data", 4) == 0) {
            break;
        }
        at += 8 + length + (length & 1);
        assert_true(at + 8 < bytes);
    }
    *count = length / (2 * (size_t)channels);
    float *out = calloc(*count, sizeof *out);
    for (size_t i = 0; i < *count; i++) {
        for (int c = 0; c < channels; c++) {
            int16_t sample = 0;
            memcpy(&sample, data + at + 8 + (i * (size_t)channels + (size_t)c) * 2, 2);
            out[i] += (float)sample / 32768.0f / (float)channels;
        }
    }
    free(data);
    return out;
}

static void test_resample(void **state) {
    (void)state;
    tmb_error error = {0};
    size_t count = 0, made = 0;
    float *mono = read_mono("qwen/references/ref_fr_44k_stereo.wav", &count), *out = NULL;
    golden_array expected = golden_load("qwen/sample-d/modules/ref_fr_44k_stereo.24k.npy");
    assert_ok(tmb_reference_resample(mono, count, 44100, 24000, &out, &made, &error), error);
    assert_int_equal(made, expected.count);
    (void)golden_assert_close("the reference at 24 kHz", out, expected.f32, made, 1e-5);
    free(out);
    assert_ok(tmb_reference_resample(mono, count, 24000, 24000, &out, &made, &error), error);
    assert_int_equal(made, count);
    assert_memory_equal(out, mono, count * sizeof *out);
    free(out);
    assert_int_equal(tmb_reference_resample(mono, 0, 24000, 24000, &out, &made, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_reference_resample(mono, 1, 0, 24000, &out, &made, &error), TMB_ERROR_ARGUMENT);
    golden_free(&expected);
    free(mono);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_save_and_load), cmocka_unit_test(test_damage),
                                       cmocka_unit_test(test_forged), cmocka_unit_test(test_resample)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
