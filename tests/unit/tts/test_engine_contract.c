/* What engine.h promises, tried on every engine: the fake one of the scheduler's tests, the preview voice, a speech
 * server on this machine, and Qwen3-TTS. */
#include "test.h"

#include "../pipeline/fake_engine.h"
#include "golden.h"
#include "loopback_server.h"
#include "tts/registry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 16, STEPS_MOST = 100000 };

/* An engine to be tried. */
typedef struct subject {
    const char *name, *text, *long_text;
    bool greedy;
    tmb_engine *engine;
    tmb_voice *voice;
    loopback_server *server;
} subject;

/* What became of a sequence. */
typedef struct heard {
    uint64_t sequence;
    size_t samples, events;
    bool finished, failed, silenced; /* silenced: cancelled, nothing may follow */
    float sum;
} heard;

typedef struct ears {
    heard all[MOST];
    size_t count;
} ears;

static void listen_to(void *user, const tmb_engine_event *event) {
    ears *e = user;
    heard *h = NULL;
    for (size_t i = 0; i < e->count; i++) {
        h = e->all[i].sequence == event->sequence ? &e->all[i] : h;
    }
    assert_non_null(h); /* no event of a sequence that was never admitted */
    assert_false(h->silenced || h->finished || h->failed);
    assert_true(event->progress >= 0 && event->progress <= 1);
    for (size_t i = 0; i < event->sample_count; i++) {
        assert_true(isfinite(event->samples[i]));
        h->sum += event->samples[i];
    }
    h->samples += event->sample_count;
    h->events++;
    h->finished |= event->kind == TMB_ENGINE_FINISHED;
    if (event->kind == TMB_ENGINE_FAILED) {
        assert_true(event->error.status != TMB_OK && event->error.message[0] != 0);
        h->failed = true;
    }
}

static heard *admit(const subject *s, ears *e, const char *text) {
    tmb_speak_request request;
    tmb_error error = {0};
    tmb_speak_request_default(&request);
    request.text = text;
    request.greedy = s->greedy;
    request.seed = 3;
    request.max_frames = 40;
    heard *h = &e->all[e->count];
    assert_true(s->engine->operations->memory_needed(s->engine, &request, s->voice) > 0);
    assert_ok(s->engine->operations->admit(s->engine, &request, s->voice, &h->sequence, &error), error);
    for (size_t i = 0; i < e->count; i++) {
        assert_int_not_equal(e->all[i].sequence, h->sequence);
    }
    e->count++;
    return h;
}

static size_t step(const subject *s, ears *e) {
    tmb_error error = {0};
    size_t live = 0;
    assert_ok(s->engine->operations->step(s->engine, listen_to, e, &live, &error), error);
    return live;
}

static void run(const subject *s, ears *e) {
    size_t steps = 0;
    while (step(s, e) > 0) {
        assert_true(++steps < STEPS_MOST);
    }
}

static void check_speaks(const subject *s) {
    ears first = {0}, again = {0};
    (void)admit(s, &first, s->text);
    run(s, &first);
    assert_true(first.all[0].finished && first.all[0].samples > 0);
    /* Beside another the same sequence says the same. */
    (void)admit(s, &again, s->text);
    (void)admit(s, &again, s->long_text);
    run(s, &again);
    assert_true(again.all[0].finished && again.all[1].finished);
    assert_int_equal(again.all[0].samples, first.all[0].samples);
    if (s->greedy) {
        assert_true(again.all[0].sum == first.all[0].sum);
    }
    assert_true(s->engine->operations->sample_rate(s->engine) >= 8000);
    assert_true(s->engine->operations->max_sequences(s->engine) >= 2);
}

/* Cancelled before the first step, in between, and after the end; unknown numbers are ignored. */
static void check_cancel(const subject *s) {
    for (size_t when = 0; when < 4; when++) {
        ears e = {0};
        heard *gone = admit(s, &e, s->long_text), *other = admit(s, &e, s->text);
        for (size_t i = 0; i < when; i++) {
            (void)step(s, &e);
        }
        if (!gone->finished) {
            gone->silenced = true;
        }
        s->engine->operations->cancel(s->engine, gone->sequence);
        s->engine->operations->cancel(s->engine, gone->sequence);
        s->engine->operations->cancel(s->engine, UINT64_MAX);
        run(s, &e);
        assert_true(other->finished);
        s->engine->operations->cancel(s->engine, other->sequence);
        assert_int_equal(step(s, &e), 0);
    }
}

/* A held sequence makes no audio, its neighbour goes on, and let go it ends as if nothing had been. */
static void check_hold(const subject *s) {
    if (s->engine->operations->hold == NULL) {
        return;
    }
    ears plain = {0}, e = {0};
    (void)admit(s, &plain, s->long_text);
    run(s, &plain);
    heard *held = admit(s, &e, s->long_text), *other = admit(s, &e, s->text);
    s->engine->operations->hold(s->engine, held->sequence, true);
    s->engine->operations->hold(s->engine, UINT64_MAX, true);
    size_t steps = 0;
    while (!other->finished) {
        assert_true(step(s, &e) >= 1 && ++steps < STEPS_MOST);
    }
    assert_false(held->finished);
    s->engine->operations->hold(s->engine, held->sequence, false);
    run(s, &e);
    assert_true(held->finished);
    assert_int_equal(held->samples, plain.all[0].samples);
}

/* As many as there may be, in waves. */
static void check_full(const subject *s) {
    size_t most = s->engine->operations->max_sequences(s->engine);
    most = most < MOST ? most : MOST;
    ears e = {0};
    for (size_t i = 0; i < most; i++) {
        (void)admit(s, &e, i % 2 == 0 ? s->text : s->long_text);
        (void)step(s, &e);
    }
    run(s, &e);
    for (size_t i = 0; i < most; i++) {
        assert_true(e.all[i].finished && e.all[i].samples > 0);
    }
}

/* Saved voices come back, and damaged ones are refused. */
static void check_voices(const subject *s) {
    const tmb_engine_operations *operations = s->engine->operations;
    assert_true((operations->voice_serialize == NULL) == (operations->voice_deserialize == NULL));
    if (operations->voice_serialize == NULL) {
        return;
    }
    tmb_error error = {0};
    void *data = NULL;
    size_t size = 0;
    tmb_voice *voice = NULL;
    assert_ok(operations->voice_serialize(s->voice, &data, &size, &error), error);
    assert_ok(operations->voice_deserialize(s->engine, data, size, &voice, &error), error);
    tmb_voice_release(&voice);
    assert_int_not_equal(operations->voice_deserialize(s->engine, data, size / 2, &voice, &error), TMB_OK);
    assert_null(voice);
    assert_true(error.message[0] != 0);
    free(data);
}

static void open_subject(subject *s) {
    tmb_error error = {0};
    tmb_engine_option option = {"remote", "url", NULL};
    tmb_engine_settings settings = {.name = s->name, .precision = "auto", .threads = 2, .max_batch = 4};
    const tmb_engine_kind *kind = tmb_engine_kind_find(s->name);
    char *folder = NULL;
    if (kind == NULL) {
        kind = &fake_kind;
        fake_reset();
        fake.has_saved_voices = true;
    } else {
        if (kind == &tmb_remote_kind) {
            s->server = loopback_start();
            option.value = loopback_url(s->server);
            settings.options = &option;
            settings.option_count = 1;
        } else if (kind == &tmb_qwen3_kind) {
            settings.model = golden_path("qwen/sample-c/model");
            settings.precision = "int8";
        }
        tmb_engine_choice choice = {0};
        assert_ok(tmb_engine_check(&settings, &error), error);
        assert_ok(tmb_engine_choose(&settings, &choice, &error), error);
        assert_ptr_equal(choice.kind, kind);
        folder = choice.folder;
    }
    if (kind->check_programs != NULL) {
        assert_ok(kind->check_programs(&error), error);
    }
    uint64_t bytes = 0;
    assert_ok(kind->estimate(&settings, folder, &bytes, &error), error);
    assert_ok(kind->create(&settings, folder, &s->engine, &error), error);
    assert_true(bytes > 0);
    assert_string_equal(s->engine->operations->name, kind->name);
    assert_int_equal(s->engine->operations->clones_voice, kind->clones_voice);
    free(folder);

    float *samples = calloc(48000, sizeof *samples);
    for (size_t i = 0; i < 48000; i++) {
        samples[i] = 0.3f * sinf(0.03f * (float)i) * sinf(0.0007f * (float)i);
    }
    tmb_reference reference = {.samples = samples, .count = 48000, .rate = 24000, .text = "A reference."};
    if (s->engine->operations->prepare_memory != NULL) {
        assert_true(s->engine->operations->prepare_memory(s->engine, 48000, 24000, false) > 0);
    }
    assert_ok(s->engine->operations->prepare_voice(s->engine, &reference, false, &s->voice, &error), error);
    free(samples);
}

static void close_subject(subject *s) {
    /* With sequences that are live, and a voice that outlives the engine. */
    ears e = {0};
    (void)admit(s, &e, s->long_text);
    (void)admit(s, &e, s->text);
    (void)step(s, &e);
    s->engine->operations->destroy(s->engine);
    tmb_voice_release(&s->voice);
    if (s->server != NULL) {
        loopback_stop(s->server);
    }
}

static void check_engine(subject s) {
    open_subject(&s);
    check_speaks(&s);
    check_cancel(&s);
    check_hold(&s);
    check_full(&s);
    check_voices(&s);
    close_subject(&s);
}

static void test_fake(void **state) {
    (void)state;
    check_engine((subject){.name = "fake", .text = "6", .long_text = "25"});
}

static void test_preview(void **state) {
    (void)state;
    check_engine(
        (subject){.name = "preview",
                  .text = "Good morning.",
                  .long_text = "A sentence that is longer, so that it is still spoken when others have ended."});
}

static void test_remote(void **state) {
    (void)state;
    check_engine((subject){.name = "remote", .text = "Good morning.", .long_text = "A longer text.", .greedy = true});
}

static void test_qwen3(void **state) {
    (void)state;
    check_engine((subject){.name = "qwen3",
                           .text = "Hi.",
                           .long_text = "A sentence that is longer than the other one, by some words.",
                           .greedy = true});
}

static void test_registry(void **state) {
    (void)state;
    tmb_error error = {0};
    for (size_t i = 0; tmb_engine_kind_at(i) != NULL; i++) {
        const tmb_engine_kind *kind = tmb_engine_kind_at(i);
        char label[64] = "";
        assert_ptr_equal(tmb_engine_kind_find(kind->name), kind);
        assert_true(kind->summary[0] != 0);
        if (kind->model_label != NULL) {
            kind->model_label(NULL, label, sizeof label);
            assert_true(label[0] != 0);
        }
    }
    tmb_engine_settings settings = {.name = "nobody", .precision = "auto"};
    assert_int_equal(tmb_engine_check(&settings, &error), TMB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "auto, qwen3, preview, remote"));
    settings.name = "remote";
    assert_int_equal(tmb_engine_check(&settings, &error), TMB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "--remote-url"));
    settings.name = "preview";
    settings.no_preview = true;
    assert_int_equal(tmb_engine_check(&settings, &error), TMB_ERROR_ARGUMENT);
    settings.name = "qwen3";
    settings.precision = "int3";
    assert_int_equal(tmb_engine_check(&settings, &error), TMB_ERROR_ARGUMENT);
    settings.name = "auto";
    settings.precision = "int8";
    assert_ok(tmb_engine_check(&settings, &error), error);
    /* A model that is named and not there is an error, whatever else could speak. */
    settings.no_preview = false;
    settings.model = "/nonexistent";
    tmb_engine_choice choice = {0};
    assert_int_equal(tmb_engine_choose(&settings, &choice, &error), TMB_ERROR_MODEL);
    assert_null(choice.folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_registry), cmocka_unit_test(test_fake),
                                       cmocka_unit_test(test_preview), cmocka_unit_test(test_remote),
                                       cmocka_unit_test(test_qwen3)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
