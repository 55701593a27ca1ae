/* Judging references: what has no speech in it is refused, what is doubtful says so, and people never are. */
#include "test.h"

#include "golden.h"
#include "io/io.h"
#include "pipeline/reading.h"
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
    assert_true(warns(&info, "left and right are opposite and cancel each other"));
    crossed = (tmb_reference_sound){.samples = speech.samples, .count = speech.count, .rate = RATE, .cancelled = 7.2};
    assert_ok(tmb_reference_judge(&crossed, &info, &error), error);
    assert_true(warns(&info, "left and right are opposite in part: their mix is 7 dB quieter"));
    free(speech.samples);
}

/* What a reference's reading makes of a file of these interleaved samples. */
static void read_channels(const float *samples, int channels, size_t count, tmb_reading *reading) {
    tmb_audio_writer *writer = NULL;
    tmb_error error = {0};
    void *data = NULL;
    size_t size = 0;
    assert_ok(tmb_audio_create_memory(TMB_CONTAINER_WAV, TMB_ENCODING_FLOAT, RATE, channels, 64 << 20, &writer, &error),
              error);
    assert_ok(tmb_audio_write(writer, samples, count, &error), error);
    assert_ok(tmb_audio_finish_memory(&writer, &data, &size, &error), error);
    tmb_clone_request public;
    tmb_item_request request;
    tmb_clone_request_default(&public);
    public.ref_data = data;
    public.ref_data_size = size;
    assert_ok(tmb_item_request_copy(&public, false, &request, &error), error);
    const tmb_audio_limits limits = {0};
    uint64_t known = 0;
    *reading = (tmb_reading){0};
    assert_ok(tmb_reading_open(reading, &request, &limits, &known, &error), error);
    for (bool complete = false; !complete;) {
        assert_ok(tmb_reading_step(reading, &request, "", &complete, &error), error);
    }
    assert_int_equal(reading->count, count);
    tmb_item_request_free(&request);
    tmb_free(data);
}

/* Channels that cancel each other are seen, whole or in part, whatever else they share; others never are. */
static void test_opposite_channels(void **state) {
    (void)state;
    enum { NOTHING, PARTLY, OPPOSITE };
    static const struct {
        const char *name;
        int channels;
        double left, right; /* speech in the first two channels */
        double noise;       /* its own in each channel, relative to the speech */
        double offset, hum; /* the same in all channels */
        int found;
    } cases[] = {
        {"the same", 2, 1, 1, 0, 0, 0, NOTHING},
        {"left alone", 2, 1, 0, 0, 0, 0, NOTHING},
        {"one of six", 6, 1, 0, 0, 0, 0, NOTHING},
        {"two of eight", 8, 1, 1, 0, 0, 0, NOTHING},
        {"a quiet right", 2, 1, -0.1, 0, 0, 0, NOTHING},
        {"noise alone", 2, 0, 0, 1, 0, 0, NOTHING},
        {"noise in opposite", 2, 1, -1, 1.5, 0, 0, NOTHING},
        {"opposite", 2, 1, -1, 0, 0, 0, OPPOSITE},
        {"right is quieter", 2, 1, -0.7, 0, 0, 0, OPPOSITE},
        {"with noise", 2, 1, -1, 0.1, 0, 0, OPPOSITE},
        {"with an offset", 2, 1, -1, 0, 0.2, 0, OPPOSITE},
        {"with hum", 2, 1, -1, 0, 0, 0.1, OPPOSITE},
        {"far quieter", 2, 1, -0.35, 0, 0, 0, PARTLY},
        {"in noise", 2, 1, -1, 0.25, 0, 0, PARTLY},
    };
    sound speech = recording("ref_fr.wav");
    float *samples = calloc(8 * speech.count, sizeof *samples);
    assert_non_null(samples);
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        uint32_t random = 7;
        for (size_t i = 0; i < speech.count; i++) {
            const double shared = cases[k].offset + cases[k].hum * sin(2 * M_PI * 50 * (double)i / RATE);
            for (int c = 0; c < cases[k].channels; c++) {
                const double gain = c == 0 ? cases[k].left : c == 1 ? cases[k].right : 0;
                samples[i * (size_t)cases[k].channels + (size_t)c] =
                    (float)(gain * (double)speech.samples[i] + shared + 0.02 * cases[k].noise * noise(&random));
            }
        }
        tmb_reading reading;
        read_channels(samples, cases[k].channels, speech.count, &reading);
        const int found = reading.antiphase ? OPPOSITE : reading.cancelled > 0 ? PARTLY : NOTHING;
        if (found != cases[k].found || (found == OPPOSITE && reading.samples[100] != samples[200])) {
            fail_msg("%s: %d, %.1f dB", cases[k].name, found, reading.cancelled);
        }
        tmb_reading_close(&reading);
    }
    free(samples);
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
        cmocka_unit_test(test_opposite_channels),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
