#include "test.h"

#include "base/child.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "tts/preview/preview.h"
#include "tts/preview/voice.h"
#include "tts/preview/wave.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Parts ---- */

static void test_fit(void **state) {
    (void)state;
    tmb_preview_manner low = tmb_preview_fit(&(tmb_pitch){.median = 90, .semitones = 3.4});
    tmb_preview_manner high = tmb_preview_fit(&(tmb_pitch){.median = 210, .semitones = 8});
    tmb_preview_manner child = tmb_preview_fit(&(tmb_pitch){.median = 480, .semitones = 0.1});
    tmb_preview_manner none = tmb_preview_fit(&(tmb_pitch){0});
    assert_string_equal(low.variant, "m3");
    assert_true(low.pitch < 50 && low.range == 100);
    assert_string_equal(high.variant, "f2");
    assert_true(high.pitch > 50 && high.range == 200);
    assert_string_equal(child.variant, "f5");
    assert_true(child.pitch == 99 && child.range == 40);
    assert_true(none.pitch == 50 && none.range == 100);
}

static void test_document(void **state) {
    (void)state;
    tmb_error error = {0};
    char *document = NULL;
    size_t bytes = 0;
    assert_ok(tmb_preview_document("a < b & [[h@loU]]\x01 \xe4\xbd\xa0", 120, &document, &bytes, &error), error);
    assert_string_equal(document, "<speak><prosody range=\"120%\">a &lt; b &amp; [ [ h@loU]]  \xe4\xbd\xa0"
                                  "</prosody></speak>\n");
    assert_int_equal(strlen(document), bytes);
    free(document);
}

static void test_languages(void **state) {
    (void)state;
    assert_string_equal(tmb_language_find("German")->code, "de");
    assert_string_equal(tmb_language_find("ZH")->code, "zh");
    assert_string_equal(tmb_language_find(NULL)->code, "auto");
    assert_null(tmb_language_find("klingon"));
    assert_string_equal(tmb_language_detect("Good morning")->code, "en");
    assert_string_equal(tmb_language_detect("Ça va, mon été ?")->code, "en");
    assert_string_equal(tmb_language_detect("你好，世界")->code, "zh");
    assert_string_equal(tmb_language_detect("今日はいい天気です")->code, "ja");
    assert_string_equal(tmb_language_detect("안녕하세요")->code, "ko");
    assert_string_equal(tmb_language_detect("Доброе утро")->code, "ru");
    assert_string_equal(tmb_language_detect("The word 你 means you")->code, "en");
    assert_string_equal(tmb_language_detect("\xff\xe4\xbd")->code, "en");
    /* Bytes that are no UTF-8 are no letters, whatever they would stand for: "a" in two bytes, U+44E in five. */
    assert_string_equal(tmb_language_detect("你 \xc1\xa1\xc1\xa1\xc1\xa1\xc1\xa1\xc1\xa1")->code, "zh");
    assert_string_equal(tmb_language_detect("\xf8\x80\x80\x91\x8e")->code, "en");
    assert_string_equal(tmb_preview_language(tmb_language_find("zh")), "cmn");
}

static void test_wave(void **state) {
    (void)state;
    unsigned char wave[64] = "RIFF\x24\xf0\xff\x7fWAVEfmt \x10\0\0\0\x01\0\x01\0\x22\x56\0\0\x44\xac\0\0\x02\0\x10\0"
                             "data\0\xf0\xff\x7f";
    size_t offset = 0;
    int rate = 0;
    for (size_t bytes = 0; bytes < 44; bytes++) {
        assert_int_equal(tmb_wave_begin(wave, bytes, &offset, &rate), TMB_WAVE_MORE);
    }
    assert_int_equal(tmb_wave_begin(wave, 44, &offset, &rate), TMB_WAVE_DATA);
    assert_int_equal(offset, 44);
    assert_int_equal(rate, 22050);
    wave[22] = 2; /* stereo */
    assert_int_equal(tmb_wave_begin(wave, 44, &offset, &rate), TMB_WAVE_BAD);
    wave[22] = 1;
    wave[16] = 0xff; /* a header without end */
    wave[19] = 0xff;
    assert_int_equal(tmb_wave_begin(wave, 44, &offset, &rate), TMB_WAVE_BAD);
    assert_int_equal(tmb_wave_begin((const unsigned char *)"hello", 5, &offset, &rate), TMB_WAVE_BAD);
}

/* ---- The engine, with programs of our own in place of espeak-ng ---- */

#define MAX_HEARD (1u << 20)

typedef struct heard {
    float *samples;
    size_t count;
    bool finished, failed;
    tmb_finish_reason reason;
    tmb_error error;
} heard_speech;

static void hear(void *user, const tmb_engine_event *event) {
    heard_speech *heard = user;
    if (event->kind == TMB_ENGINE_AUDIO) {
        assert_true(heard->count + event->sample_count <= MAX_HEARD);
        memcpy(heard->samples + heard->count, event->samples, event->sample_count * sizeof(float));
        heard->count += event->sample_count;
    } else {
        assert_false(heard->finished || heard->failed);
        heard->finished = event->kind == TMB_ENGINE_FINISHED;
        heard->failed = !heard->finished;
        heard->reason = event->finish_reason;
        heard->error = event->error;
    }
}

static tmb_engine *make_engine(const char *program, double silence) {
    tmb_error error = {0};
    tmb_engine *engine = NULL;
    tmb_preview_options options = {.program = program, .max_sequences = 3, .silence_limit = silence};
    assert_ok(tmb_preview_engine_create(&options, &engine, &error), error);
    return engine;
}

static tmb_voice *make_voice(tmb_engine *engine, double hertz) {
    tmb_error error = {0};
    tmb_voice *voice = NULL;
    float *samples = calloc(48000, sizeof *samples);
    assert_non_null(samples);
    for (int i = 0; i < 48000; i++) {
        double phase = fmod(i * hertz / 48000, 1);
        samples[i] = (float)(0.5 - phase);
    }
    tmb_reference reference = {.samples = samples, .count = 48000, .rate = 48000};
    assert_ok(engine->operations->prepare_voice(engine, &reference, true, &voice, &error), error);
    free(samples);
    return voice;
}

static uint64_t admit(tmb_engine *engine, tmb_voice *voice, const char *text, const char *language, int max_frames) {
    tmb_error error = {0};
    uint64_t id = 0;
    tmb_speak_request request;
    tmb_speak_request_default(&request);
    request.text = text;
    request.language = language;
    request.max_frames = max_frames;
    assert_ok(engine->operations->admit(engine, &request, voice, &id, &error), error);
    return id;
}

static void listen(tmb_engine *engine, heard_speech *heard) {
    tmb_error error = {0};
    size_t live = 1;
    while (live != 0) {
        assert_ok(engine->operations->step(engine, hear, heard, &live, &error), error);
    }
}

/* A script that does `body`; its path stays valid until the next. */
static const char *script(const char *body) {
    static char path[] = "/tmp/timbre-test-XXXXXX";
    memcpy(path + sizeof path - 7, "XXXXXX", 6);
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_true(dprintf(file, "#!/bin/sh\n%s\n", body) > 0);
    assert_int_equal(fchmod(file, 0700), 0);
    assert_int_equal(close(file), 0);
    return path;
}

/* Speaks with a script; it is removed afterwards. */
static heard_speech speak_with(const char *body, double silence, int max_frames) {
    heard_speech heard = {.samples = calloc(MAX_HEARD, sizeof(float))};
    assert_non_null(heard.samples);
    const char *path = script(body);
    tmb_engine *engine = make_engine(path, silence);
    tmb_voice *voice = make_voice(engine, 120);
    (void)admit(engine, voice, "hello", "en", max_frames);
    listen(engine, &heard);
    tmb_voice_release(&voice);
    engine->operations->destroy(engine);
    assert_int_equal(unlink(path), 0);
    free(heard.samples);
    heard.samples = NULL;
    return heard;
}

#define HEADER                                                                                                         \
    "printf 'RIFF\\044\\360\\377\\177WAVEfmt \\020\\0\\0\\0\\001\\0\\001\\0\\042\\126\\0\\0\\104\\254\\0\\0"           \
    "\\002\\0\\020\\0data\\0\\360\\377\\177';"

static void test_children(void **state) {
    (void)state;
    heard_speech heard = speak_with(HEADER "printf 'abcdef'; exec cat >/dev/null", 0, 0);
    assert_true(heard.finished);
    assert_int_equal(heard.count, 3);

    heard = speak_with("echo 'no such voice' >&2; exit 3", 0, 0);
    assert_true(heard.failed);
    assert_non_null(strstr(heard.error.message, "exit code 3"));
    assert_non_null(strstr(heard.error.message, "no such voice"));

    heard = speak_with(HEADER "kill -9 $$", 0, 0);
    assert_true(heard.failed);
    assert_non_null(strstr(heard.error.message, "exit code 137"));

    heard = speak_with("echo this is no audio", 0, 0);
    assert_int_equal(heard.error.status, TMB_ERROR_FORMAT);

    heard = speak_with("exit 0", 0, 0);
    assert_int_equal(heard.error.status, TMB_ERROR_ARGUMENT);

    heard = speak_with(HEADER "exec sleep 1000", 0.2, 0);
    assert_int_equal(heard.error.status, TMB_ERROR_TIMEOUT);

    /* Endless audio is cut: 11 frames of 80 ms at most. */
    heard = speak_with(HEADER "exec cat /dev/zero", 0, 12);
    assert_true(heard.finished);
    assert_int_equal(heard.reason, TMB_FINISH_LENGTH);
    assert_int_equal(heard.count, 11 * 1764);
}

static void test_cancel_and_limits(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_speak_request request;
    tmb_speak_request_default(&request);
    request.text = "hello";
    const char *path = script("echo $$ >> \"$TIMBRE_TEST_PIDS\"; " HEADER " exec cat /dev/zero");
    char pids[64];
    (void)snprintf(pids, sizeof pids, "%s.pids", path);
    assert_int_equal(setenv("TIMBRE_TEST_PIDS", pids, 1), 0);
    tmb_engine *engine = make_engine(path, 0);
    tmb_voice *voice = make_voice(engine, 200);
    heard_speech heard = {.samples = calloc(MAX_HEARD, sizeof(float))};
    size_t live = 0;
    uint64_t ids[4];
    for (int i = 0; i < 3; i++) {
        ids[i] = admit(engine, voice, "hello", "en", 0);
    }
    assert_int_equal(engine->operations->admit(engine, &request, voice, &ids[3], &error), TMB_ERROR_LIMIT);
    /* Held sequences are left out: with all three held nothing is heard. */
    for (int i = 0; i < 3; i++) {
        engine->operations->hold(engine, ids[i], true);
    }
    for (int i = 0; i < 3; i++) {
        assert_ok(engine->operations->step(engine, hear, &heard, &live, &error), error);
    }
    assert_int_equal(live, 3);
    assert_int_equal(heard.count, 0);
    engine->operations->hold(engine, ids[1], false);
    while (heard.count == 0) {
        assert_ok(engine->operations->step(engine, hear, &heard, &live, &error), error);
    }
    engine->operations->cancel(engine, ids[0]);
    engine->operations->cancel(engine, ids[0]);
    engine->operations->cancel(engine, 9999);
    assert_ok(engine->operations->step(engine, hear, &heard, &live, &error), error);
    assert_int_equal(live, 2);
    tmb_voice_release(&voice);
    engine->operations->destroy(engine);
    /* Whatever had been started is dead and reaped. */
    FILE *list = fopen(pids, "r");
    int process = 0;
    assert_non_null(list);
    while (fscanf(list, "%d", &process) == 1) {
        assert_int_equal(kill(process, 0), -1);
    }
    (void)fclose(list);
    assert_int_equal(unlink(pids), 0);
    assert_int_equal(unlink(path), 0);
    free(heard.samples);
}

static void test_missing_program(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_engine *engine = NULL;
    tmb_preview_options options = {.program = "no-such-speaker"};
    assert_int_equal(tmb_preview_engine_create(&options, &engine, &error), TMB_ERROR_MODEL);
    assert_string_equal(error.message, "the preview voice needs no-such-speaker: apt-get install espeak-ng");
    assert_null(engine);
}

/* ---- With espeak-ng itself ---- */

/* What it speaks for a reference has nearly the reference's pitch. */
static void test_espeak(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_engine *engine = NULL;
    tmb_preview_options options = {0};
    if (tmb_preview_engine_create(&options, &engine, &error) != TMB_OK) {
        print_message("%s\n", error.message);
        skip();
    }
    const double pitches[] = {85, 120, 180, 240};
    const char *const texts[] = {"The quick brown fox jumps over the lazy dog. Where is it going?",
                                 "Guten Morgen, meine Damen und Herren.", "你好，世界。今天天气很好。",
                                 "Доброе утро, как дела?"};
    const char *const languages[] = {"en", "German", "auto", "auto"};
    for (size_t i = 0; i < 4; i++) {
        heard_speech heard = {.samples = calloc(MAX_HEARD, sizeof(float))};
        tmb_voice *voice = make_voice(engine, pitches[i]);
        (void)admit(engine, voice, texts[i], languages[i], 0);
        listen(engine, &heard);
        if (heard.failed) {
            fail_msg("%s", heard.error.message);
        }
        assert_true(heard.count > 22050);
        tmb_pitch pitch;
        assert_ok(tmb_pitch_measure(heard.samples, heard.count, 22050, &pitch, &error), error);
        if (fabs(log2(pitch.median / pitches[i])) > 0.35) {
            fail_msg("asked for %g Hz, spoke at %g Hz", pitches[i], pitch.median);
        }
        tmb_voice_release(&voice);
        free(heard.samples);
    }
    engine->operations->destroy(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fit),
        cmocka_unit_test(test_document),
        cmocka_unit_test(test_languages),
        cmocka_unit_test(test_wave),
        cmocka_unit_test(test_children),
        cmocka_unit_test(test_cancel_and_limits),
        cmocka_unit_test(test_missing_program),
        cmocka_unit_test(test_espeak),
    };
    return cmocka_run_group_tests_name("preview", tests, NULL, NULL);
}
