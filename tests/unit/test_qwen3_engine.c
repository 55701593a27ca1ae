/* The whole engine against the official implementation: from reference files and texts to codes and waveforms. */
#include "test.h"

#include "golden.h"
#include "qwen3_fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const cases_c[] = {"icl_en",           "icl_zh", "xvec_auto",  "xvec_short", "icl_long_ref_text",
                                      "icl_nonstreaming", "batch3", "batch2_xvec"};
static const char *const cases_d[] = {"icl", "batch2_mixed"};
static const char *const cases_e[] = {"icl_penalty", "icl_zh_nonstreaming", "xvec_ja_nonstreaming", "xvec_penalty",
                                      "batch3_penalty"};
static const char *const cases_f[] = {"icl_penalty", "icl_ja_nonstreaming", "xvec_ko_nonstreaming", "xvec_penalty",
                                      "batch3_penalty"};

static void test_goldens(void **state) {
    int threads = *(int *)*state;
    check_cases("sample-d", cases_d, sizeof cases_d / sizeof cases_d[0], threads);
    if (threads > 1) { /* the longer ones once */
        check_cases("sample-c", cases_c, sizeof cases_c / sizeof cases_c[0], threads);
        check_cases("sample-e", cases_e, sizeof cases_e / sizeof cases_e[0], threads);
        check_cases("sample-f", cases_f, sizeof cases_f / sizeof cases_f[0], threads);
    }
}

/* A saved voice speaks as the one that it was saved from, also in an engine that never saw the reference. */
static void test_saved_voice(void **state) {
    int threads = *(int *)*state;
    tmb_error error = {0};
    tmb_engine *engine = open_with("sample-c", "f32", threads);
    tmb_voice *voice = voice_of(engine, "ref_en.wav", "A short reference sentence.", false);
    void *data = NULL;
    size_t size = 0;
    assert_ok(engine->operations->voice_serialize(voice, &data, &size, &error), error);
    tmb_speak_request request;
    tmb_speak_request_default(&request);
    request.text = "The same voice.";
    request.seed = 7;
    request.max_frames = 20;
    request.want_codes = true;
    outcomes first = {0}, second = {0};
    add_request(engine, &first, &request, voice);
    tmb_voice_release(&voice);
    run_engine(engine, &first);
    engine->operations->destroy(engine);

    engine = open_with("sample-c", "f32", threads);
    assert_ok(engine->operations->voice_deserialize(engine, data, size, &voice, &error), error);
    add_request(engine, &second, &request, voice);
    run_engine(engine, &second);
    assert_int_equal(first.items[0].frames, second.items[0].frames);
    assert_memory_equal(first.items[0].codes, second.items[0].codes, first.items[0].frames * first.items[0].books * 2);
    assert_int_equal(first.items[0].count, second.items[0].count);
    assert_memory_equal(first.items[0].audio, second.items[0].audio, first.items[0].count * sizeof(float));
    engine->operations->destroy(engine);

    /* Another family's model refuses it, as a file and as a voice. */
    engine = open_with("sample-d", "f32", threads);
    tmb_voice *other = NULL;
    assert_int_equal(engine->operations->voice_deserialize(engine, data, size, &other, &error), TMB_ERROR_MODEL);
    assert_null(other);
    uint64_t sequence = 0;
    assert_int_equal(engine->operations->admit(engine, &request, voice, &sequence, &error), TMB_ERROR_MODEL);
    engine->operations->destroy(engine);
    tmb_voice_release(&voice);
    free(data);
    free_outcomes(&first);
    free_outcomes(&second);
}

/* Late arrivals, cancelled and held neighbours: nobody's codes or samples change. */
static void test_company(void **state) {
    int threads = *(int *)*state;
    static const char *const precisions[] = {"f32", "int8", "talker=int8,predictor=int4,codec=f32"};
    for (size_t p = threads > 1 ? 0 : 2; p < 3; p++) {
        tmb_error error = {0};
        tmb_engine *engine = open_with("sample-c", precisions[p], threads);
        tmb_voice *voice = voice_of(engine, "ref_en.wav", "A reference.", false);
        tmb_speak_request request;
        tmb_speak_request_default(&request);
        request.max_frames = 30;
        request.want_codes = true;
        static const char *const texts[] = {"First of them.", "The second, somewhat longer.", "三つ目です。",
                                            "Cancelled."};
        outcomes alone[3] = {0}, together = {0};
        for (size_t i = 0; i < 3; i++) {
            request.text = texts[i];
            request.seed = i;
            request.x_vector_only = i == 1;
            add_request(engine, &alone[i], &request, voice);
            run_engine(engine, &alone[i]);
        }
        size_t live = 0;
        for (size_t i = 0; i < 4; i++) {
            request.text = texts[i];
            request.seed = i;
            request.x_vector_only = i == 1;
            add_request(engine, &together, &request, voice);
            for (size_t k = 0; k < 3; k++) {
                assert_ok(engine->operations->step(engine, take_event, &together, &live, &error), error);
            }
        }
        engine->operations->cancel(engine, together.items[3].sequence);
        engine->operations->cancel(engine, 123456);
        engine->operations->hold(engine, together.items[0].sequence, true);
        for (size_t k = 0; k < 5; k++) {
            assert_ok(engine->operations->step(engine, take_event, &together, &live, &error), error);
        }
        engine->operations->hold(engine, together.items[0].sequence, false);
        run_engine(engine, &together);
        for (size_t i = 0; i < 3; i++) {
            const outcome *one = &alone[i].items[0], *other = &together.items[i];
            assert_true(one->finished && other->finished);
            assert_int_equal(one->frames, other->frames);
            assert_memory_equal(one->codes, other->codes, one->frames * one->books * sizeof(int16_t));
            assert_int_equal(one->count, other->count);
            assert_memory_equal(one->audio, other->audio, one->count * sizeof(float));
            assert_in_range(one->count, one->frames * 1920, one->frames * 1920 + 1);
        }
        assert_false(together.items[3].finished);
        for (size_t i = 0; i < 3; i++) {
            free_outcomes(&alone[i]);
        }
        free_outcomes(&together);
        tmb_voice_release(&voice);
        engine->operations->destroy(engine);
    }
}

/* Streams begin early, and first_chunk_frames says how early. */
static void test_chunks(void **state) {
    int threads = *(int *)*state;
    tmb_engine *engine = open_with("sample-c", "int8", threads);
    tmb_voice *voice = voice_of(engine, "ref_en.wav", "A reference.", false);
    static const int firsts[] = {1, 4, 0, 12};
    outcomes results[4] = {0};
    for (size_t i = 0; i < 4; i++) {
        tmb_speak_request request;
        tmb_speak_request_default(&request);
        request.text = "Some words to say.";
        request.max_frames = 50;
        request.seed = 3;
        request.first_chunk_frames = firsts[i];
        add_request(engine, &results[i], &request, voice);
        run_engine(engine, &results[i]);
        const outcome *item = &results[i].items[0];
        assert_true(item->count > 12 * 1920);
        assert_int_equal(item->first_event, (firsts[i] > 0 ? firsts[i] : 4) * 1920);
        assert_true(item->events > 1);
        assert_null(item->codes);
        assert_int_equal(item->count, results[0].items[0].count);
        for (size_t k = 0; k < item->count; k++) {
            assert_true(fabsf(item->audio[k] - results[0].items[0].audio[k]) <= 1e-5f);
        }
    }
    for (size_t i = 0; i < 4; i++) {
        free_outcomes(&results[i]);
    }
    tmb_voice_release(&voice);
    engine->operations->destroy(engine);
}

/* Long texts in pieces, with pauses: times of the segments add up. */
static void test_pieces(void **state) {
    int threads = *(int *)*state;
    tmb_engine *engine = open_with("sample-c", "int8", threads);
    tmb_voice *voice = voice_of(engine, "ref_en.wav", NULL, true);
    tmb_speak_request request;
    tmb_speak_request_default(&request);
    request.text =
        "The first sentence is here. [pause:500ms] The second follows after a pause. And here is a third one.";
    request.max_frames = 60;
    request.split_length = 30;
    request.pauses = true;
    request.guard_runaway = true;
    request.want_codes = true;
    outcomes result = {0};
    add_request(engine, &result, &request, voice);
    run_engine(engine, &result);
    const outcome *item = &result.items[0];
    assert_true(item->finished);
    assert_true(item->segment_count >= 3);
    assert_int_equal(item->count, item->frames * 1920 + 12000);
    double last = 0, gap = 0;
    for (size_t i = 0; i < item->segment_count; i++) {
        assert_true(item->segments[i].start >= last && item->segments[i].end >= item->segments[i].start);
        gap = fmax(gap, item->segments[i].start - last);
        last = item->segments[i].end;
    }
    assert_true(fabs(gap - 0.5) < 1e-6);
    assert_true(fabs(last - (double)item->count / 24000) < 1e-6);
    free_outcomes(&result);

    /* Only a pause. */
    request.text = "[pause:250ms]";
    add_request(engine, &result, &request, voice);
    run_engine(engine, &result);
    assert_true(result.items[0].finished);
    free_outcomes(&result);
    tmb_voice_release(&voice);
    engine->operations->destroy(engine);
}

/* Speech without end is cut at what its text could take. If somebody listens, he hears it meanwhile; otherwise it is
 * tried once more with another seed. */
static void test_runaway(void **state) {
    int threads = *(int *)*state;
    tmb_engine *engine = open_with("sample-c", "f32", threads);
    tmb_voice *voice = voice_of(engine, "ref_fr.wav", NULL, true);
    tmb_speak_request request;
    tmb_speak_request_default(&request);
    request.text = "Hi.";
    request.language = "German";
    request.guard_runaway = true;
    request.want_codes = true;
    for (int round = 0; round < 3; round++) {
        request.greedy = round < 2; /* known not to end by itself */
        request.stream = round == 1;
        request.seed = 5;
        request.repetition_penalty = round < 2 ? 1.05 : -1;
        outcomes result = {0};
        add_request(engine, &result, &request, voice);
        run_engine(engine, &result);
        const outcome *item = &result.items[0];
        assert_true(item->finished);
        assert_in_range(item->frames, 1, 59);
        assert_int_equal(item->count, item->frames * 1920);
        if (round < 2) {
            assert_int_equal(item->reason, TMB_FINISH_RUNAWAY);
            assert_int_equal(item->frames, 59);
        }
        assert_int_equal(item->first_event, request.stream ? 4 * 1920 : (item->frames < 16 ? item->frames : 16) * 1920);
        free_outcomes(&result);
    }
    tmb_voice_release(&voice);
    engine->operations->destroy(engine);
}

static void test_limits_and_errors(void **state) {
    int threads = *(int *)*state;
    tmb_error error = {0};
    tmb_engine *engine = open_with("sample-c", "f32", threads);
    tmb_voice *voice = voice_of(engine, "ref_en.wav", NULL, false); /* no transcript: by x-vector */
    uint64_t sequence = 0;
    tmb_speak_request good, request;
    tmb_speak_request_default(&good);
    good.text = "Words.";
    static const char *const languages[] = {"klingon", "xx"};
    for (size_t i = 0; i < 2; i++) {
        request = good;
        request.language = languages[i];
        assert_int_equal(engine->operations->admit(engine, &request, voice, &sequence, &error), TMB_ERROR_ARGUMENT);
    }
    request = good;
    request.max_frames = 1;
    assert_int_equal(engine->operations->admit(engine, &request, voice, &sequence, &error), TMB_ERROR_ARGUMENT);
    request = good;
    request.temperature = 1e9;
    assert_int_equal(engine->operations->admit(engine, &request, voice, &sequence, &error), TMB_ERROR_ARGUMENT);
    request = good;
    request.top_p = 1.5;
    assert_int_equal(engine->operations->admit(engine, &request, voice, &sequence, &error), TMB_ERROR_ARGUMENT);
    request = good;
    request.repetition_penalty = 0;
    assert_int_equal(engine->operations->admit(engine, &request, voice, &sequence, &error), TMB_ERROR_ARGUMENT);
    request = good;
    request.text = "broken \xff text";
    assert_int_equal(engine->operations->admit(engine, &request, voice, &sequence, &error), TMB_ERROR_ARGUMENT);
    request = good;
    request.text = NULL;
    assert_int_equal(engine->operations->admit(engine, &request, voice, &sequence, &error), TMB_ERROR_ARGUMENT);

    /* The shorter of the two limits ends it. */
    request = good;
    request.seed = 11;
    request.max_seconds = 0.25;
    request.want_codes = true;
    outcomes result = {0};
    add_request(engine, &result, &request, voice);
    run_engine(engine, &result);
    assert_int_equal(result.items[0].frames, 3);
    assert_int_equal(result.items[0].reason, TMB_FINISH_LENGTH);
    free_outcomes(&result);

    /* No more than fit. */
    size_t most = engine->operations->max_sequences(engine);
    for (size_t i = 0; i < most; i++) {
        assert_ok(engine->operations->admit(engine, &request, voice, &sequence, &error), error);
    }
    assert_int_equal(engine->operations->admit(engine, &request, voice, &sequence, &error), TMB_ERROR_LIMIT);

    float short_reference[100] = {0};
    tmb_reference reference = {.samples = short_reference, .count = 100, .rate = 24000};
    tmb_voice *none = NULL;
    assert_int_equal(engine->operations->prepare_voice(engine, &reference, false, &none, &error), TMB_ERROR_ARGUMENT);
    assert_null(none);
    tmb_voice_release(&voice);
    engine->operations->destroy(engine); /* with live sequences */
}

static void test_precision_words(void **state) {
    (void)state;
    tmb_error error = {0};
    static const char *const good[] = {
        "auto", "f32", "bf16", "int8", "int4", "talker=int8,predictor=int4,codec=bf16", "codec=f32"};
    static const char *const bad[] = {
        "", "fp16", "int8,int4", "talker=", "talker=int8,", "talker=int8,talker=int4", "vocoder=f32", "=f32"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_ok(tmb_qwen3_check_precision(good[i], &error), error);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(tmb_qwen3_check_precision(bad[i], &error), TMB_ERROR_ARGUMENT);
    }
}

/* The cache of packed weights: the same speech with it as without; damage and foreign files are noticed. */
static void test_pack_cache(void **state) {
    int threads = *(int *)*state;
    tmb_error error = {0};
    char folder[] = "/tmp/timbre-packs-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char nested[64], command[300];
    (void)snprintf(nested, sizeof nested, "%s/a/b", folder);
    outcomes first = {0};
    /* What a killed process left goes, what another one writes at the moment stays, and neither is in the way. */
    (void)snprintf(command, sizeof command,
                   "mkdir -p %s && touch -d '2 hours ago' %s/x.tmbpack.1.tmp && touch %s/y.tmbpack.2.tmp", nested,
                   nested, nested);
    assert_int_equal(system(command), 0);
    for (int round = 0; round < 4; round++) {
        if (round == 2) { /* one byte changed, then cut short */
            (void)snprintf(command, sizeof command, "touch $(ls %s/*.tmbpack).%ld.tmp", nested, (long)getpid());
            assert_int_equal(system(command), 0);
            (void)snprintf(command, sizeof command,
                           "printf x | dd of=$(ls %s/*.tmbpack) bs=1 seek=9000 conv=notrunc 2>/dev/null", nested);
            assert_int_equal(system(command), 0);
        } else if (round == 3) {
            (void)snprintf(command, sizeof command, "truncate -s 5000 %s/*.tmbpack", nested);
            assert_int_equal(system(command), 0);
        }
        tmb_engine *engine = NULL;
        tmb_qwen3_options options;
        tmb_qwen3_options_default(&options);
        options.model = golden_path("qwen/sample-c/model");
        options.precision = "int4";
        options.threads = threads;
        options.pack_directory = nested;
        uint64_t bytes = 0, device = 0;
        assert_ok(tmb_qwen3_model_bytes(&options, &bytes, &device, &error), error);
        assert_ok(tmb_qwen3_engine_create(&options, &engine, &error), error);
        size_t held = engine->operations->model_bytes(engine);
        assert_true(held > bytes / 2 && bytes > 0);
        tmb_voice *voice = voice_of(engine, "ref_en.wav", NULL, true);
        tmb_speak_request request;
        tmb_speak_request_default(&request);
        request.text = "Packed.";
        request.max_frames = 12;
        request.want_codes = true;
        outcomes result = {0};
        add_request(engine, &result, &request, voice);
        run_engine(engine, &result);
        if (round == 0) {
            first = result;
        } else {
            assert_int_equal(result.items[0].frames, first.items[0].frames);
            assert_memory_equal(result.items[0].codes, first.items[0].codes, first.items[0].frames * 32);
            free_outcomes(&result);
        }
        tmb_voice_release(&voice);
        engine->operations->destroy(engine);
    }
    free_outcomes(&first);
    (void)snprintf(
        command, sizeof command,
        "cd %s && test ! -e x.tmbpack.1.tmp && test -e y.tmbpack.2.tmp && test $(ls -A *.tmbpack | wc -l) = 1 &&"
        " test $(wc -c < $(ls *.tmbpack)) -gt 5000 && rm -r %s",
        nested, folder);
    assert_int_equal(system(command), 0);
}

static int one = 1, two = 2;

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_goldens, &one),
        cmocka_unit_test_prestate(test_goldens, &two),
        cmocka_unit_test_prestate(test_saved_voice, &two),
        cmocka_unit_test_prestate(test_company, &one),
        cmocka_unit_test_prestate(test_company, &two),
        cmocka_unit_test_prestate(test_chunks, &two),
        cmocka_unit_test_prestate(test_pieces, &two),
        cmocka_unit_test_prestate(test_runaway, &two),
        cmocka_unit_test_prestate(test_limits_and_errors, &two),
        cmocka_unit_test(test_precision_words),
        cmocka_unit_test_prestate(test_pack_cache, &two),
    };
    /* On a device that is emulated: what differs from the CPU. */
    const struct CMUnitTest device_tests[] = {
        cmocka_unit_test_prestate(test_goldens, &two), cmocka_unit_test_prestate(test_saved_voice, &two),
        cmocka_unit_test_prestate(test_company, &one), cmocka_unit_test_prestate(test_chunks, &two),
        cmocka_unit_test_prestate(test_pieces, &two),  cmocka_unit_test_prestate(test_limits_and_errors, &two),
    };
    return getenv("TIMBRE_TEST_BACKEND") != NULL ? cmocka_run_group_tests(device_tests, NULL, NULL)
                                                 : cmocka_run_group_tests(tests, NULL, NULL);
}
