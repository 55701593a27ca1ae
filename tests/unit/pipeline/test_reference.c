/* Judging references: what has no speech in it is refused, what is doubtful says so, and people never are. */
#include "test.h"

#include "golden.h"
#include "io/io.h"
#include "pipeline/reference.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RATE = 24000 };

typedef struct sound {
    float *samples;
    size_t count;
    int rate;
} sound;

static const char *const people[] = {"ref_en.wav", "ref_fr.wav", "ref_es.wav", "ref_en_short.wav"};

static sound recording(const char *name) {
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    tmb_error error = {0};
    sound result = {0};
    assert_ok(tmb_audio_open(golden_path("qwen/references/%s", name), NULL, NULL, &reader, &info, &error), error);
    assert_ok(tmb_audio_read_mono(reader, &info, &result.samples, &result.count, &error), error);
    tmb_audio_close(&reader);
    result.rate = info.rate;
    return result;
}

static double noise(uint32_t *random) {
    *random = *random * 1664525u + 1013904223u;
    return ((double)*random / 2147483648.0 - 1) * sqrt(3);
}

/* `speech` with white noise `ratio` dB below it, everything `level` dB louder. */
static sound with_noise(sound speech, double ratio, double level) {
    sound result = {calloc(speech.count, sizeof(float)), speech.count, speech.rate};
    assert_non_null(result.samples);
    uint32_t random = 7;
    double power = 0;
    for (size_t i = 0; i < speech.count; i++) {
        power += (double)speech.samples[i] * (double)speech.samples[i];
    }
    const double scale = sqrt(power / (double)speech.count) * pow(10, -ratio / 20);
    for (size_t i = 0; i < speech.count; i++) {
        result.samples[i] = (float)(((double)speech.samples[i] + scale * noise(&random)) * pow(10, level / 20));
    }
    return result;
}

static tmb_status judge(sound s, const char *text, tmb_reference_info *info, tmb_error *error) {
    const tmb_reference_sound input = {.samples = s.samples, .count = s.count, .rate = s.rate, .text = text};
    memset(error, 0, sizeof *error);
    return tmb_reference_judge(&input, info, error);
}

static bool warns(const tmb_reference_info *info, const char *of) {
    for (size_t i = 0; i < info->warning_count; i++) {
        if (strncmp(info->warnings[i], of, strlen(of)) == 0) {
            return true;
        }
    }
    return false;
}

static void test_people_pass_at_any_level_and_in_noise(void **state) {
    (void)state;
    for (size_t p = 0; p < sizeof people / sizeof people[0]; p++) {
        sound speech = recording(people[p]);
        for (int level = 20; level >= -60; level -= 20) {
            for (int ratio = 0; ratio <= 60; ratio += 15) {
                sound s = with_noise(speech, ratio, level);
                tmb_reference_info info;
                tmb_error error;
                assert_ok(judge(s, NULL, &info, &error), error);
                assert_true(info.usable && info.speech >= 0.25);
                free(s.samples);
            }
        }
        free(speech.samples);
    }
}

static void test_what_has_no_speech_is_refused(void **state) {
    (void)state;
    enum { SECONDS = 4 };
    sound s = {calloc((size_t)RATE * SECONDS, sizeof(float)), (size_t)RATE * SECONDS, RATE};
    assert_non_null(s.samples);
    uint32_t random = 1;
    for (int kind = 0; kind < 6; kind++) {
        for (size_t i = 0; i < s.count; i++) {
            const double values[] = {0,
                                     0.4,
                                     0.1 * noise(&random),
                                     1e-3 * noise(&random),
                                     0.3 * sin(0.1 * (double)i),
                                     i % RATE == 100 ? 0.9 : 0};
            s.samples[i] = (float)values[kind];
        }
        tmb_reference_info info;
        tmb_error error;
        assert_int_equal(judge(s, NULL, &info, &error), TMB_ERROR_FORMAT);
        assert_false(info.usable);
        assert_string_equal(error.field, "ref_audio");
        assert_non_null(strstr(error.message, "there is no speech in the reference"));
        assert_non_null(strstr(error.message, "record 3 to 30 s"));
    }
    free(s.samples);
}

static void test_a_fifth_of_a_second_is_too_short(void **state) {
    (void)state;
    sound speech = recording("ref_en.wav");
    sound s = {speech.samples + RATE, RATE / 5, RATE};
    tmb_reference_info info;
    tmb_error error;
    assert_int_equal(judge(s, NULL, &info, &error), TMB_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "too little speech"));
    /* The same among silence. */
    float *long_silence = calloc((size_t)4 * RATE, sizeof *long_silence);
    assert_non_null(long_silence);
    memcpy(long_silence + RATE, s.samples, s.count * sizeof *s.samples);
    assert_int_equal(judge((sound){long_silence, (size_t)4 * RATE, RATE}, NULL, &info, &error), TMB_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "too little speech"));
    free(long_silence);
    free(speech.samples);
}

static void test_doubts(void **state) {
    (void)state;
    sound speech = recording("ref_fr.wav");
    tmb_reference_info info;
    tmb_error error;
    assert_ok(judge(speech, "Le bateau a quitté le port avant le lever du soleil.", &info, &error), error);
    assert_int_equal(info.warning_count, 0);
    assert_true(info.duration > 3.9 && info.speech > 1.5 && info.speech < 4 && info.level < -20 && info.level > -40);
    assert_true(info.clipped == 0 && isnan(info.noise_clean));

    assert_ok(judge((sound){speech.samples, (size_t)2 * RATE, RATE}, NULL, &info, &error), error);
    assert_true(warns(&info, "short: 2.0 s"));

    sound soft = with_noise(speech, 60, -25);
    assert_ok(judge(soft, NULL, &info, &error), error);
    assert_true(warns(&info, "quiet: "));
    free(soft.samples);

    sound loud = with_noise(speech, 60, 30);
    for (size_t i = 0; i < loud.count; i++) {
        loud.samples[i] = fminf(fmaxf(loud.samples[i], -1), 1);
    }
    assert_ok(judge(loud, NULL, &info, &error), error);
    assert_true(warns(&info, "clipped: ") && info.clipped > 1000);
    free(loud.samples);

    char words[241];
    for (size_t i = 0; i < 240; i++) {
        words[i] = "a word "[i % 7];
    }
    words[240] = 0;
    assert_ok(judge(speech, words, &info, &error), error); /* 60 letters a second */
    assert_true(warns(&info, "the transcript is too long"));
    /* Chinese has few characters for the same time. */
    assert_ok(judge(speech, "今天天气很好我们一起去公园散步吧", &info, &error), error);
    assert_int_equal(info.warning_count, 0);

    sound many = {calloc(12 * speech.count, sizeof(float)), 12 * speech.count, RATE};
    assert_non_null(many.samples);
    for (size_t i = 0; i < many.count; i++) {
        many.samples[i] = speech.samples[i % speech.count];
    }
    assert_ok(judge(many, "ab", &info, &error), error);
    assert_true(warns(&info, "long: 48 s") && warns(&info, "the transcript is too short"));
    free(many.samples);

    tmb_reference_sound crossed = {.samples = speech.samples, .count = speech.count, .rate = RATE, .antiphase = true};
    assert_ok(tmb_reference_judge(&crossed, &info, &error), error);
    assert_true(warns(&info, "left and right are opposite"));
    free(speech.samples);
}

static void test_json(void **state) {
    (void)state;
    sound speech = recording("ref_fr.wav");
    tmb_reference_info info;
    tmb_error error;
    assert_ok(judge(speech, NULL, &info, &error), error);
    char *text = tmb_reference_to_json(&info);
    json_t *object = json_loads(text, 0, NULL);
    assert_non_null(object);
    assert_string_equal(json_string_value(json_object_get(object, "verdict")), "good");
    assert_true(json_is_null(json_object_get(object, "noise_clean")));
    static const char *const names[] = {"duration", "speech", "level", "peak", "clipped", "noise", "snr"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_true(json_is_number(json_object_get(object, names[i])));
    }
    assert_int_equal(json_array_size(json_object_get(object, "warnings")), 0);
    json_decref(object);
    tmb_free(text);
    free(speech.samples);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_people_pass_at_any_level_and_in_noise),
        cmocka_unit_test(test_what_has_no_speech_is_refused),
        cmocka_unit_test(test_a_fifth_of_a_second_is_too_short),
        cmocka_unit_test(test_doubts),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
