#include "test.h"

#include "golden.h"
#include "io/io.h"
#include "qwen3_fixture.h"
#include "weights/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void take_event(void *user, const tmb_engine_event *event) {
    outcomes *all = user;
    outcome *item = NULL;
    for (size_t i = 0; i < all->count; i++) {
        item = all->items[i].sequence == event->sequence ? &all->items[i] : item;
    }
    assert_non_null(item);
    assert_false(item->finished || item->failed);
    switch (event->kind) {
    case TMB_ENGINE_AUDIO:
        assert_true(event->sample_count > 0 && event->progress >= 0 && event->progress <= 1);
        item->audio = realloc(item->audio, (item->count + event->sample_count) * sizeof(float));
        memcpy(item->audio + item->count, event->samples, event->sample_count * sizeof(float));
        item->count += event->sample_count;
        item->first_event = item->events++ == 0 ? event->sample_count : item->first_event;
        break;
    case TMB_ENGINE_FINISHED:
        item->finished = true;
        item->reason = event->finish_reason;
        item->frames = event->code_frames;
        item->books = event->code_books;
        item->instruct_dropped = event->instruct_dropped;
        if (event->codes != NULL) {
            item->codes = malloc(event->code_frames * event->code_books * sizeof(int16_t) + 1);
            memcpy(item->codes, event->codes, event->code_frames * event->code_books * sizeof(int16_t));
        }
        assert_true(event->segment_count >= 1 && event->segment_count <= 16);
        memcpy(item->segments, event->segments, event->segment_count * sizeof *event->segments);
        item->segment_count = event->segment_count;
        break;
    case TMB_ENGINE_GROWS: break; /* it may */
    default:
        item->failed = true;
        item->error = event->error;
        break;
    }
}

void free_outcomes(outcomes *all) {
    for (size_t i = 0; i < all->count; i++) {
        free(all->items[i].audio);
        free(all->items[i].codes);
    }
    memset(all, 0, sizeof *all);
}

void run_engine(tmb_engine *engine, outcomes *all) {
    tmb_error error = {0};
    size_t live = 1;
    while (live > 0) {
        assert_ok(engine->operations->step(engine, take_event, all, &live, &error), error);
    }
}

tmb_engine *open_with(const char *model, const char *precision, int threads) {
    return open_on(model, precision, threads, NULL);
}

tmb_engine *open_on(const char *model, const char *precision, int threads, const char *device) {
    tmb_error error = {0};
    tmb_engine *engine = NULL;
    tmb_qwen3_options options;
    tmb_qwen3_options_default(&options);
    options.model = golden_path("qwen/%s/model", model);
    options.precision = precision;
    options.threads = threads;
    options.device = device != NULL ? device : options.device;
    options.pack_directory = "";
    assert_ok(tmb_qwen3_engine_create(&options, &engine, &error), error);
    return engine;
}

tmb_voice *voice_of(tmb_engine *engine, const char *file, const char *text, bool x_vector_only) {
    tmb_error error = {0};
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    float *samples = NULL;
    size_t count = 0;
    tmb_voice *voice = NULL;
    assert_ok(tmb_audio_open(golden_path("qwen/references/%s", file), NULL, NULL, &reader, &info, &error), error);
    assert_ok(tmb_audio_read_mono(reader, &info, &samples, &count, &error), error);
    tmb_audio_close(&reader);
    tmb_reference reference = {.samples = samples, .count = count, .rate = info.rate, .text = text};
    assert_ok(engine->operations->prepare_voice(engine, &reference, x_vector_only, &voice, &error), error);
    free(samples);
    return voice;
}

static const json_t *pick(const json_t *value, size_t i) {
    return json_is_array(value) ? json_array_get(value, i) : value;
}

/* An item of a case as a request; the voice is the caller's to release. */
static void request_of(tmb_engine *engine, const json_t *info, size_t item, tmb_speak_request *request,
                       tmb_voice **voice) {
    const json_t *by_vector = json_object_get(info, "x_vector_only");
    const json_t *penalty = json_object_get(json_object_get(info, "options"), "repetition_penalty");
    tmb_speak_request_default(request);
    request->text = json_string_value(pick(json_object_get(info, "text"), item));
    request->language = json_string_value(pick(json_object_get(info, "language"), item));
    request->greedy = true;
    request->want_codes = true;
    request->max_frames = (int)json_integer_value(json_object_get(info, "max_new_tokens"));
    const json_t *whole = json_object_get(info, "non_streaming_mode");
    request->text_layout = whole == NULL ? TMB_TEXT_DEFAULT : json_is_true(whole) ? TMB_TEXT_WHOLE : TMB_TEXT_STREAMING;
    if (penalty != NULL) {
        request->repetition_penalty = json_number_value(penalty);
    }
    *voice = NULL;
    if (json_object_get(info, "call") != NULL) { /* of the family: no reference */
        request->speaker = json_string_value(pick(json_object_get(info, "speaker"), item));
        request->instruct = json_string_value(pick(json_object_get(info, "instruct"), item));
        return;
    }
    *voice =
        voice_of(engine, json_string_value(pick(json_object_get(info, "ref_audio"), item)),
                 json_string_value(pick(json_object_get(info, "ref_text"), item)), json_is_true(pick(by_vector, item)));
}

void add_request(tmb_engine *engine, outcomes *all, const tmb_speak_request *request, tmb_voice *voice) {
    tmb_error error = {0};
    assert_true(engine->operations->memory_needed(engine, request, voice) > 0);
    assert_ok(engine->operations->admit(engine, request, voice, &all->items[all->count].sequence, &error), error);
    all->count++;
}

static void check_item(const char *model, const char *name, size_t item, const outcome *result) {
    golden_array codes = golden_load("qwen/%s/cases/%s/codes_%zu.npy", model, name, item);
    golden_array wave = golden_load("qwen/%s/cases/%s/wave_%zu.npy", model, name, item);
    assert_true(result->finished);
    assert_int_equal(result->frames, codes.dims[0]);
    assert_int_equal(result->books, codes.dims[1]);
    assert_memory_equal(result->codes, codes.i16, codes.count * sizeof *codes.i16);
    assert_int_equal(result->count, wave.count);
    (void)golden_assert_close("waveform", result->audio, wave.f32, wave.count, 1e-4);
    assert_true(golden_snr_db(result->audio, wave.f32, wave.count) >= 80);
    assert_int_equal(result->segment_count, 1);
    assert_true(fabs(result->segments[0].end - (double)wave.count / 24000) < 0.001);
    golden_free(&codes);
    golden_free(&wave);
}

size_t speak_case(tmb_engine *engine, const char *model, const char *name, const uint64_t *seed, outcomes *all) {
    tmb_error error = {0};
    json_t *info = NULL;
    assert_ok(tmb_json_read(golden_path("qwen/%s/cases/%s/case.json", model, name), 1 << 20, &info, &error), error);
    size_t items = json_array_size(json_object_get(info, "items"));
    tmb_voice *voices[MOST_ITEMS];
    for (size_t i = 0; i < items; i++) {
        tmb_speak_request request;
        request_of(engine, info, i, &request, &voices[i]);
        request.greedy = seed == NULL;
        request.seed = seed == NULL ? request.seed : *seed + i;
        add_request(engine, all, &request, voices[i]);
    }
    run_engine(engine, all);
    for (size_t i = 0; i < items; i++) {
        tmb_voice_release(&voices[i]);
    }
    json_decref(info);
    return items;
}

static void check_case(tmb_engine *engine, const char *model, const char *name) {
    tmb_error error = {0};
    json_t *info = NULL;
    assert_ok(tmb_json_read(golden_path("qwen/%s/cases/%s/case.json", model, name), 1 << 20, &info, &error), error);
    size_t items = json_array_size(json_object_get(info, "items"));
    outcomes together = {0};
    tmb_voice *voices[MOST_ITEMS];
    tmb_speak_request requests[MOST_ITEMS];
    for (size_t i = 0; i < items; i++) {
        request_of(engine, info, i, &requests[i], &voices[i]);
        add_request(engine, &together, &requests[i], voices[i]);
    }
    run_engine(engine, &together);
    for (size_t i = 0; i < items; i++) {
        check_item(model, name, i, &together.items[i]);
    }
    for (size_t i = 0; items > 1 && i < items; i++) {
        outcomes alone = {0};
        add_request(engine, &alone, &requests[i], voices[i]);
        run_engine(engine, &alone);
        check_item(model, name, i, &alone.items[0]);
        assert_memory_equal(alone.items[0].audio, together.items[i].audio, alone.items[0].count * sizeof(float));
        free_outcomes(&alone);
    }
    for (size_t i = 0; i < items; i++) {
        tmb_voice_release(&voices[i]);
    }
    free_outcomes(&together);
    json_decref(info);
}

void check_cases(const char *model, const char *const *cases, size_t count, int threads) {
    tmb_engine *engine = open_with(model, "f32", threads);
    assert_int_equal(engine->operations->sample_rate(engine), 24000);
    for (size_t i = 0; i < count; i++) {
        check_case(engine, model, cases[i]);
    }
    engine->operations->destroy(engine);
}
