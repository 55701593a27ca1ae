/* Checkpoints that speak with voices of their own (CustomVoice, fine-tuned, VoiceDesign) against the official
 * implementation. */
#include "test.h"

#include "golden.h"
#include "qwen3_fixture.h"

#include <stdlib.h>
#include <string.h>

/* Voices that are in the model: built-in speakers, a fine-tuned one, descriptions. */
static const char *const cases_g[] = {"plain",
                                      "plain_streaming",
                                      "auto",
                                      "instruct",
                                      "instruct_streaming",
                                      "dialect_auto",
                                      "dialect_auto_streaming",
                                      "dialect_chinese_instruct",
                                      "dialect_english",
                                      "long_instruct",
                                      "batch3_instruct",
                                      "batch3_instruct_streaming",
                                      "batch2_one_speaker",
                                      "no_speaker"};
static const char *const cases_h[] = {"plain", "language_streaming", "instruct_ignored", "batch2"};
static const char *const cases_i[] = {
    "instruct_en", "instruct_zh", "instruct_en_streaming", "auto_zh_streaming", "long_instruct",
    "no_instruct", "batch3"};

static void test_family(void **state) {
    int threads = *(int *)*state;
    check_cases("sample-g", cases_g, sizeof cases_g / sizeof cases_g[0], threads);
    check_cases("sample-h", cases_h, sizeof cases_h / sizeof cases_h[0], threads);
    check_cases("sample-i", cases_i, sizeof cases_i / sizeof cases_i[0], threads);
}

/* What is asked of a model of the family, and what it says: after the official calls of family_errors.json, and what
 * timbre answers better (codes of languages, capitals in a fine-tuned model's config). */
typedef struct asked {
    const char *model, *speaker, *language, *instruct, *text;
    const char *refusal; /* a part of the message; NULL: it speaks */
} asked;

static void test_family_refusals(void **state) {
    int threads = *(int *)*state;
    static const asked all[] = {
        {"sample-c", NULL, NULL, NULL, "Hi.", "give it a recording"},
        {"sample-c", "mira", NULL, NULL, "Hi.", "no built-in speaker \"mira\""},
        {"sample-c", NULL, NULL, "Cheerful.", "Hi.", "follows no instructions"},
        {"sample-g", "nobody", NULL, NULL, "Hi.", "no speaker \"nobody\"; it has mira, old_tom, lin_bei"},
        {"sample-g", " mira", NULL, NULL, "Hi.", "no speaker \" mira\""},
        {"sample-g", NULL, NULL, NULL, "Hi.", "name a speaker, the model has mira, old_tom, lin_bei"},
        {"sample-g", "", NULL, NULL, "Hi.", NULL},
        {"sample-g", "MIRA", NULL, NULL, "Hi.", NULL},
        {"sample-g", "mira", "klingon", NULL, "Hi.", "klingon"},
        {"sample-g", "mira", "en", NULL, "Hi.", NULL},
        {"sample-g", "mira", "harbour_dialect", NULL, "Hi.", "harbour_dialect"},
        {"sample-g", "mira", NULL, " ", "Hi.", NULL},
        {"sample-g", "mira", NULL, "", "Hi.", NULL},
        {"sample-g", "mira", NULL, NULL, "", NULL},
        {"sample-h", NULL, NULL, NULL, "Hi.", NULL}, /* it has one only */
        {"sample-h", "Speaker_Test", NULL, NULL, "Hi.", NULL},
        {"sample-h", "speaker_test", NULL, "Whisper.", "Hi.", NULL},
        {"sample-i", "mira", NULL, "A calm voice.", "Hi.", "no speaker \"mira\""},
        {"sample-i", NULL, NULL, "", "Hi.", NULL},
        {"sample-i", NULL, NULL, NULL, "Hi.", NULL},
    };
    tmb_engine *engine = NULL;
    const char *open = "";
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(open, all[i].model) != 0) {
            if (engine != NULL) {
                engine->operations->destroy(engine);
            }
            engine = open_with(all[i].model, "f32", threads);
            open = all[i].model;
        }
        tmb_error error = {0};
        tmb_speak_request request;
        tmb_speak_request_default(&request);
        request.text = all[i].text;
        request.speaker = all[i].speaker;
        request.language = all[i].language;
        request.instruct = all[i].instruct;
        request.max_frames = 4;
        outcomes one = {.count = 1};
        tmb_status status = engine->operations->admit(engine, &request, NULL, &one.items[0].sequence, &error);
        if (all[i].refusal != NULL) {
            assert_int_equal(status, TMB_ERROR_ARGUMENT);
            assert_non_null(strstr(error.message, all[i].refusal));
            continue;
        }
        assert_ok(status, error);
        run_engine(engine, &one);
        assert_true(one.items[0].finished && one.items[0].count > 0);
        /* The 0.6B drops instructions as the official implementation, but says so. */
        bool dropped = strcmp(all[i].model, "sample-h") == 0 && all[i].instruct != NULL;
        assert_int_equal(one.items[0].instruct_dropped, dropped);
        free_outcomes(&one);
    }
    engine->operations->destroy(engine);
}

/* What clones nothing refuses recordings and saved voices, and prepares none. */
static void test_family_refuses_voices(void **state) {
    int threads = *(int *)*state;
    static const char *const models[] = {"sample-g", "sample-h", "sample-i"};
    tmb_engine *base = open_with("sample-c", "f32", threads);
    tmb_voice *voice = voice_of(base, "ref_en_short.wav", NULL, true);
    void *data = NULL;
    size_t size = 0;
    tmb_error error = {0};
    assert_ok(base->operations->voice_serialize(voice, &data, &size, &error), error);
    for (size_t i = 0; i < 3; i++) {
        tmb_engine *engine = open_with(models[i], "int8", threads);
        tmb_speak_request request;
        tmb_speak_request_default(&request);
        request.text = "Hi.";
        uint64_t sequence = 0;
        float samples[2400] = {0};
        tmb_reference reference = {.samples = samples, .count = 2400, .rate = 24000};
        tmb_voice *other = NULL;
        const char *kind = i < 2 ? "CustomVoice" : "VoiceDesign";
        assert_int_equal(engine->operations->admit(engine, &request, voice, &sequence, &error), TMB_ERROR_ARGUMENT);
        assert_non_null(strstr(error.message, kind));
        assert_int_equal(engine->operations->prepare_voice(engine, &reference, true, &other, &error),
                         TMB_ERROR_ARGUMENT);
        assert_non_null(strstr(error.message, kind));
        assert_int_equal(engine->operations->voice_deserialize(engine, data, size, &other, &error), TMB_ERROR_ARGUMENT);
        assert_null(other);
        engine->operations->destroy(engine);
    }
    tmb_voice_release(&voice);
    base->operations->destroy(base);
    free(data);
}

/* A speaker with one instruction, then another, then none: what is remembered of the prompt is not mixed up. */
static void test_family_memory(void **state) {
    int threads = *(int *)*state;
    static const struct {
        const char *speaker, *instruct;
    } who[] = {{"mira", NULL}, {"mira", "Slow."}, {"old_tom", NULL}, {"mira", "Quick."}, {"", NULL}, {"", "Slow."}};
    enum { WHO = sizeof who / sizeof who[0] };
    tmb_speak_request request;
    tmb_speak_request_default(&request);
    request.text = "The same text.";
    request.seed = 5;
    request.max_frames = 8;
    request.want_codes = true;
    outcomes first[WHO] = {0};
    for (size_t round = 0; round < 2; round++) {
        tmb_engine *engine = open_with("sample-g", "int8", threads);
        for (size_t k = 0; k < 2 * WHO; k++) {
            size_t i = round == 0 ? k % WHO : WHO - 1 - k % WHO; /* in another order, each twice */
            outcomes now = {0};
            request.speaker = who[i].speaker;
            request.instruct = who[i].instruct;
            add_request(engine, &now, &request, NULL);
            run_engine(engine, &now);
            if (first[i].count == 0) {
                first[i] = now;
                continue;
            }
            assert_int_equal(now.items[0].frames, first[i].items[0].frames);
            assert_memory_equal(now.items[0].codes, first[i].items[0].codes,
                                now.items[0].frames * now.items[0].books * sizeof(int16_t));
            free_outcomes(&now);
        }
        engine->operations->destroy(engine);
    }
    for (size_t i = 1; i < WHO; i++) {
        assert_memory_not_equal(first[i].items[0].codes, first[0].items[0].codes,
                                first[i].items[0].books * sizeof(int16_t));
        free_outcomes(&first[i]);
    }
    free_outcomes(&first[0]);
}

/* An instruction that is longer than all that is remembered of voices: nothing is kept of it, and each piece of the
 * text begins anew. Of short ones the next utterance has what was remembered; that changes nothing. */
static void test_family_long_instruction(void **state) {
    enum { LONG = 1000, SHORT = 40 };
    int threads = *(int *)*state;
    char instruct[LONG + 1];
    for (size_t i = 0; i < LONG; i++) {
        instruct[i] = (char)('a' + i * i % 23);
    }
    tmb_speak_request request;
    tmb_speak_request_default(&request);
    request.text = "So it is.  So it is.";
    request.speaker = "mira";
    request.instruct = instruct;
    request.split_length = 8;
    request.greedy = true;
    request.guard_runaway = true;
    request.want_codes = true;
    tmb_engine *engine = open_with("sample-g", "f32", threads);
    size_t lengths[] = {LONG, SHORT, SHORT};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        outcomes result = {0};
        instruct[lengths[i]] = '\0';
        add_request(engine, &result, &request, NULL);
        run_engine(engine, &result);
        const outcome *item = &result.items[0];
        assert_true(item->finished && item->segment_count == 2);
        size_t half = item->frames / 2;
        assert_true(half > 1 && item->frames == 2 * half);
        assert_memory_equal(item->codes, item->codes + half * item->books, half * item->books * sizeof *item->codes);
        free_outcomes(&result);
    }
    engine->operations->destroy(engine);
}

static int one_thread = 1, two_threads = 2;

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_family, &one_thread),
        cmocka_unit_test_prestate(test_family, &two_threads),
        cmocka_unit_test_prestate(test_family_refusals, &two_threads),
        cmocka_unit_test_prestate(test_family_refuses_voices, &two_threads),
        cmocka_unit_test_prestate(test_family_memory, &two_threads),
        cmocka_unit_test_prestate(test_family_long_instruction, &two_threads),
    };
    /* On a device that is emulated, once. */
    const struct CMUnitTest device_tests[] = {cmocka_unit_test_prestate(test_family, &two_threads),
                                              cmocka_unit_test_prestate(test_family_long_instruction, &two_threads)};
    return getenv("TIMBRE_TEST_BACKEND") != NULL ? cmocka_run_group_tests(device_tests, NULL, NULL)
                                                 : cmocka_run_group_tests(tests, NULL, NULL);
}
