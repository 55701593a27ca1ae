/* What every backend of the networks promises, tried on each that is built. */
#include "test.h"

#include "golden.h"
#include "tts/qwen3/backend.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SEQUENCES = 6, STEPS = 24, FRAMES = 40, GROUPS_MAX = 64 };

typedef struct fixture {
    const tmb_qwen3_backend *backend;
    tmb_qwen3_config config;
    tmb_safetensors *weights, *codec_weights;
    tmb_net_files files;
    tmb_net_options options;
    tmb_net *net;
    size_t groups, per_frame;
    size_t steps; /* of an utterance at most; an emulated device takes long for each */
    float *vector;
    int16_t codes[FRAMES * GROUPS_MAX]; /* of a reference */
} fixture;

static uint32_t next_random(uint32_t *state) { return *state = *state * 1664525u + 1013904223u; }

static void open_fixture(fixture *f, const tmb_qwen3_backend *backend, const char *precision, int threads) {
    tmb_error error = {0};
    memset(f, 0, sizeof *f);
    f->backend = backend;
    assert_ok(tmb_qwen3_config_read(golden_path("qwen/sample-c/model"), &f->config, &error), error);
    assert_ok(tmb_safetensors_open(golden_path("qwen/sample-c/model"), &f->weights, &error), error);
    assert_ok(tmb_safetensors_open(golden_path("qwen/sample-c/model/speech_tokenizer"), &f->codec_weights, &error),
              error);
    f->files = (tmb_net_files){&f->config, f->weights, f->codec_weights};
    f->options = (tmb_net_options){.threads = threads, .sequences = SEQUENCES};
    assert_ok(tmb_qwen3_parse_precision(precision, &f->options.precisions, &error), error);
    assert_ok(backend->load(&f->files, &f->options, &f->net, &error), error);
    f->groups = f->config.talker.code_groups;
    f->per_frame = f->config.codec.samples_per_frame;
    f->steps = getenv("TIMBRE_TEST_BACKEND") != NULL ? STEPS / 3 : STEPS;
    f->vector = calloc(f->config.talker.transformer.hidden_size, sizeof *f->vector);
    uint32_t random = 7;
    for (size_t i = 0; i < f->config.talker.transformer.hidden_size; i++) {
        f->vector[i] = (float)(next_random(&random) >> 8) / (float)(1 << 24) - 0.5f;
    }
    for (size_t i = 0; i < FRAMES * f->groups; i++) {
        f->codes[i] = (int16_t)((next_random(&random) >> 8) % f->config.predictor.vocab_size);
    }
}

static void close_fixture(fixture *f) {
    f->backend->destroy(&f->net);
    assert_null(f->net);
    tmb_safetensors_close(&f->weights);
    tmb_safetensors_close(&f->codec_weights);
    free(f->vector);
}

/* Prompt number n: every third in context, every other with the whole text first. */
static void make_prompt(const fixture *f, size_t n, tmb_prompt *prompt) {
    tmb_error error = {0};
    int32_t text[12], transcript[5];
    const int32_t role[] = {f->config.im_start_id, f->config.assistant_id, 10};
    for (size_t i = 0; i < 12; i++) {
        text[i] = (int32_t)(65 + (7 * i + 3 * n) % 50);
    }
    for (size_t i = 0; i < 5; i++) {
        transcript[i] = (int32_t)(70 + i);
    }
    tmb_prompt_parts parts = {.role = role,
                              .text = text,
                              .text_count = 4 + n,
                              .vector = f->vector,
                              .language = -1,
                              .non_streaming = n % 2 == 1};
    if (n % 3 == 2) {
        parts.reference_codes = f->codes;
        parts.reference_frames = 9;
        parts.reference_text = transcript;
        parts.reference_text_count = 5;
    }
    assert_ok(tmb_prompt_build(&f->config, &parts, prompt, &error), error);
}

static tmb_lm_sampling sampling_of(const fixture *f, size_t n) {
    tmb_sampling sampling = {.greedy = n == 1, .temperature = 0.9, .top_p = 0.95, .top_k = 50};
    return (tmb_lm_sampling){.talker = sampling,
                             .predictor = sampling,
                             .repetition_penalty = 1.05,
                             .seed = 100 + n,
                             .max_new_tokens = f->steps + 1};
}

/* A sequence that is ready to be stepped. cut: where the prefill is divided; 0: nowhere. */
static tmb_net_sequence *start(const fixture *f, size_t n, size_t cut) {
    tmb_error error = {0};
    tmb_net_sequence *sequence = NULL;
    tmb_prompt prompt;
    make_prompt(f, n, &prompt);
    assert_ok(f->backend->sequence_create(f->net, prompt.count, &sequence, &error), error);
    if (cut > 0) {
        assert_ok(f->backend->prefill(f->net, sequence, &prompt, 0, cut, &error), error);
        assert_int_equal(f->backend->sequence_positions(sequence), cut);
    }
    assert_ok(f->backend->prefill(f->net, sequence, &prompt, cut, prompt.count - cut, &error), error);
    assert_int_equal(f->backend->sequence_positions(sequence), prompt.count);
    tmb_lm_sampling sampling = sampling_of(f, n);
    assert_ok(f->backend->begin(f->net, sequence, &sampling, &prompt, &error), error);
    tmb_prompt_free(&prompt);
    return sequence;
}

typedef struct said {
    int16_t codes[STEPS * GROUPS_MAX];
    size_t frames;
} said;

/* One step, with device memory for it. */
static void step(const fixture *f, tmb_net_sequence *const *sequences, size_t count, int16_t *codes,
                 tmb_lm_outcome *outcomes) {
    tmb_error error = {0};
    for (size_t i = 0; i < count && f->backend->sequence_needs != NULL; i++) {
        if (f->backend->sequence_needs(f->net, sequences[i]) > 0) {
            assert_ok(f->backend->sequence_grow(f->net, sequences[i], &error), error);
            assert_int_equal(f->backend->sequence_needs(f->net, sequences[i]), 0);
        }
    }
    f->backend->step(f->net, sequences, count, codes, outcomes);
}

/* Steps all of them until each has ended; the sequences are destroyed. */
static void speak(const fixture *f, tmb_net_sequence **sequences, size_t count, said *out) {
    tmb_net_sequence *live[SEQUENCES];
    size_t which[SEQUENCES], live_count = count;
    int16_t codes[SEQUENCES * GROUPS_MAX];
    tmb_lm_outcome outcomes[SEQUENCES];
    memset(out, 0, count * sizeof *out);
    for (size_t i = 0; i < count; i++) {
        live[i] = sequences[i];
        which[i] = i;
    }
    while (live_count > 0) {
        step(f, live, live_count, codes, outcomes);
        size_t kept = 0;
        for (size_t i = 0; i < live_count; i++) {
            said *to = &out[which[i]];
            if (outcomes[i] == TMB_LM_FRAME) {
                assert_true(to->frames < f->steps);
                memcpy(to->codes + to->frames++ * f->groups, codes + i * f->groups, f->groups * sizeof *codes);
                live[kept] = live[i];
                which[kept++] = which[i];
            } else {
                assert_true(outcomes[i] == TMB_LM_END || outcomes[i] == TMB_LM_LIMIT);
                f->backend->sequence_destroy(f->net, &live[i]);
            }
        }
        live_count = kept;
    }
}

static void check_alone_and_together(const fixture *f) {
    static said alone[SEQUENCES], together[SEQUENCES];
    tmb_net_sequence *sequences[SEQUENCES];
    for (size_t i = 0; i < SEQUENCES; i++) {
        sequences[i] = start(f, i, 0);
        speak(f, &sequences[i], 1, &alone[i]);
        assert_true(alone[i].frames >= 2); /* the end is no earlier */
    }
    for (size_t i = 0; i < SEQUENCES; i++) {
        sequences[i] = start(f, i, 3);
    }
    speak(f, sequences, SEQUENCES, together);
    assert_memory_equal(alone, together, sizeof alone);
}

static void check_fork(const fixture *f) {
    static said whole, forked, again;
    tmb_error error = {0};
    tmb_net_sequence *sequence = start(f, 2, 0);
    speak(f, &sequence, 1, &whole);
    tmb_prompt prompt;
    make_prompt(f, 2, &prompt);
    tmb_lm_sampling sampling = sampling_of(f, 2);
    tmb_net_sequence *prefix = NULL, *forks[2] = {NULL, NULL};
    assert_ok(f->backend->sequence_create(f->net, prompt.shared, &prefix, &error), error);
    assert_ok(f->backend->prefill(f->net, prefix, &prompt, 0, prompt.shared, &error), error);
    for (size_t i = 0; i < 2; i++) {
        assert_ok(f->backend->sequence_create(f->net, 1, &forks[i], &error), error);
        assert_ok(f->backend->sequence_fork(f->net, forks[i], prefix, prompt.shared, &error), error);
        if (i == 1) {
            f->backend->sequence_destroy(f->net, &prefix); /* a fork does not need what it came from */
        }
        assert_ok(f->backend->prefill(f->net, forks[i], &prompt, prompt.shared, prompt.count - prompt.shared, &error),
                  error);
        assert_ok(f->backend->begin(f->net, forks[i], &sampling, &prompt, &error), error);
        speak(f, &forks[i], 1, i == 0 ? &forked : &again);
    }
    assert_memory_equal(&whole, &forked, sizeof whole);
    assert_memory_equal(&whole, &again, sizeof whole);
    tmb_prompt_free(&prompt);
}

/* Decodes frames first to first + count - 1 of the fixture's codes. */
static void decode(const fixture *f, tmb_net_stream *stream, size_t first, size_t count, bool restarts, size_t context,
                   float *out) {
    tmb_error error = {0};
    tmb_decode_result result;
    assert_true(f->backend->decode_idle(f->net));
    f->backend->decode_add(f->net, &(tmb_decode_request){.owner = stream,
                                                         .stream = stream,
                                                         .restarts = restarts,
                                                         .context = f->codes + (first - context) * f->groups,
                                                         .context_frames = context,
                                                         .codes = f->codes + first * f->groups,
                                                         .frames = count});
    f->backend->decode_start(f->net);
    while (!f->backend->decode_done(f->net, 1)) {
    }
    assert_int_equal(f->backend->decode_count(f->net), 1);
    assert_ok(f->backend->decode_result(f->net, 0, &result, &error), error);
    assert_ptr_equal(result.owner, stream);
    assert_int_equal(result.frames, count);
    assert_int_equal(result.context_frames, context);
    memcpy(out, result.samples, count * f->per_frame * sizeof *out);
    f->backend->decode_clear(f->net);
    assert_true(f->backend->decode_idle(f->net));
}

static void check_streams(const fixture *f) {
    tmb_error error = {0};
    size_t samples = FRAMES * f->per_frame;
    float *whole = calloc(samples, sizeof *whole), *other = calloc(samples, sizeof *other);
    tmb_net_stream *stream = NULL, *clone = NULL, *copy = NULL;
    assert_ok(f->backend->stream_create(f->net, &stream, &error), error);
    for (size_t at = 0; at < FRAMES; at += 10) {
        decode(f, stream, at, 10, false, 0, whole + at * f->per_frame);
    }
    /* In other pieces; a clone and a copy from the middle go on as the stream itself. */
    decode(f, stream, 0, 1, true, 0, other);
    decode(f, stream, 1, 3, false, 0, other + f->per_frame);
    decode(f, stream, 4, 16, false, 0, other + 4 * f->per_frame);
    assert_ok(f->backend->stream_clone(f->net, stream, &clone, &error), error);
    assert_ok(f->backend->stream_create(f->net, &copy, &error), error);
    f->backend->stream_copy(f->net, copy, stream);
    tmb_net_stream *const three[] = {stream, clone, copy};
    for (size_t i = 0; i < 3; i++) {
        decode(f, three[i], 20, 16, false, 0, other + 20 * f->per_frame);
        decode(f, three[i], 36, 4, false, 0, other + 36 * f->per_frame);
        assert_memory_equal(whole, other, samples * sizeof *whole);
    }
    /* What only goes before is heard, not given out. */
    decode(f, clone, 30, 10, true, 30, other + 30 * f->per_frame);
    assert_memory_equal(whole + 30 * f->per_frame, other + 30 * f->per_frame, 10 * f->per_frame * sizeof *whole);
    f->backend->stream_destroy(f->net, &stream);
    f->backend->stream_destroy(f->net, &copy);
    f->backend->stream_destroy(f->net, &clone);
    size_t frames = 0;
    assert_true(f->backend->decode_seconds(f->net, &frames) >= 0);
    assert_true(frames > 0);
    free(whole);
    free(other);
}

/* Utterances that come, speak a little and go in any order, while others go on. */
static void check_coming_and_going(const fixture *f) {
    static said expected;
    uint32_t random = 3;
    tmb_net_sequence *first = start(f, 4, 0), *others[SEQUENCES - 1] = {NULL};
    speak(f, &first, 1, &expected);
    first = start(f, 4, 0);
    int16_t codes[SEQUENCES * GROUPS_MAX];
    tmb_lm_outcome outcomes[SEQUENCES];
    for (size_t frame = 0; frame < expected.frames; frame++) {
        size_t slot = (next_random(&random) >> 8) % (SEQUENCES - 1);
        if (others[slot] == NULL) {
            others[slot] = start(f, slot, 0);
        } else {
            f->backend->sequence_destroy(f->net, &others[slot]);
        }
        tmb_net_sequence *live[SEQUENCES] = {first};
        size_t count = 1;
        for (size_t i = 0; i < SEQUENCES - 1; i++) {
            if (others[i] != NULL) {
                live[count++] = others[i];
            }
        }
        step(f, live, count, codes, outcomes);
        assert_int_equal(outcomes[0], TMB_LM_FRAME);
        assert_memory_equal(codes, expected.codes + frame * f->groups, f->groups * sizeof *codes);
        for (size_t i = 0; i < SEQUENCES - 1; i++) {
            for (size_t k = 1; k < count; k++) {
                if (others[i] != NULL && live[k] == others[i] && outcomes[k] != TMB_LM_FRAME) {
                    f->backend->sequence_destroy(f->net, &others[i]);
                }
            }
        }
    }
    f->backend->sequence_destroy(f->net, &first);
    f->backend->sequence_destroy(f->net, &first); /* nothing is destroyed twice */
    for (size_t i = 0; i < SEQUENCES - 1; i++) {
        f->backend->sequence_destroy(f->net, &others[i]);
    }
}

static size_t allocated(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* What is reserved is enough for what is really held. */
static void check_bytes(const fixture *f) {
    tmb_error error = {0};
    tmb_net_bytes estimate;
    assert_ok(f->backend->estimate(&f->files, &f->options, &estimate, &error), error);
    assert_true(estimate.host + estimate.device > 0);
    tmb_net_bytes held = f->backend->bytes(f->net);
    assert_true(held.host + held.device > 0);
    for (size_t positions = 1; positions < 700; positions += 233) {
        size_t before = allocated();
        tmb_net_sequence *sequence = NULL;
        assert_ok(f->backend->sequence_create(f->net, positions, &sequence, &error), error);
        size_t slack = 1024; /* the allocator's own */
        assert_true(allocated() <= before + f->backend->sequence_bytes(f->net, positions).host + slack);
        f->backend->sequence_destroy(f->net, &sequence);
    }
    size_t before = allocated();
    tmb_net_stream *stream = NULL;
    assert_ok(f->backend->stream_create(f->net, &stream, &error), error);
    assert_true(allocated() <= before + f->backend->stream_bytes(f->net).host + 16384);
    f->backend->stream_destroy(f->net, &stream);
    assert_true(f->backend->encode_bytes(f->net, 24000, true) > 0);
}

static void check_limits(const fixture *f) {
    tmb_error error = {0};
    tmb_net_sequence *sequence = NULL;
    tmb_prompt prompt;
    make_prompt(f, 0, &prompt);
    size_t limit = f->config.talker.transformer.max_positions;
    tmb_prompt_row *rows = calloc(limit, sizeof *rows);
    for (size_t i = 0; i < limit; i++) {
        rows[i] = prompt.rows[i % prompt.count];
    }
    tmb_prompt longest = prompt;
    longest.rows = rows;
    longest.count = limit;
    assert_ok(f->backend->sequence_create(f->net, 1, &sequence, &error), error);
    assert_int_equal(f->backend->prefill(f->net, sequence, &longest, 0, limit, &error), TMB_ERROR_LIMIT);
    f->backend->sequence_destroy(f->net, &sequence);
    free(rows);
    tmb_prompt_free(&prompt);
}

typedef struct encoding {
    const fixture *f;
    const float *samples;
    size_t count;
    float *vector;
    int16_t *codes;
    size_t frames;
} encoding;

static void *encode_once(void *argument) {
    encoding *e = argument;
    tmb_error error = {0};
    e->vector = calloc(e->f->config.talker.transformer.hidden_size, sizeof *e->vector);
    tmb_status status = e->f->backend->embed_speaker(e->f->net, e->samples, e->count, e->vector, &error);
    if (status == TMB_OK) {
        status = e->f->backend->encode(e->f->net, e->samples, e->count, &e->codes, &e->frames, &error);
    }
    return status == TMB_OK ? e : NULL;
}

/* Encoders are called from any thread, while sequences are stepped. */
static void check_encoders(const fixture *f) {
    static said expected, beside;
    size_t count = 24000;
    float *samples = calloc(count, sizeof *samples);
    uint32_t random = 11;
    for (size_t i = 0; i < count; i++) {
        samples[i] = 0.2f * ((float)(next_random(&random) >> 8) / (float)(1 << 24) - 0.5f);
    }
    tmb_net_sequence *sequence = start(f, 3, 0);
    speak(f, &sequence, 1, &expected);
    encoding encodings[3];
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++) {
        encodings[i] = (encoding){.f = f, .samples = samples, .count = count};
        assert_int_equal(pthread_create(&threads[i], NULL, encode_once, &encodings[i]), 0);
    }
    sequence = start(f, 3, 0);
    speak(f, &sequence, 1, &beside);
    assert_memory_equal(&expected, &beside, sizeof expected);
    for (size_t i = 0; i < 3; i++) {
        void *result = NULL;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_non_null(result);
        assert_int_equal(encodings[i].frames, (count + f->per_frame - 1) / f->per_frame);
        assert_memory_equal(encodings[i].vector, encodings[0].vector,
                            f->config.talker.transformer.hidden_size * sizeof(float));
        assert_memory_equal(encodings[i].codes, encodings[0].codes, encodings[0].frames * f->groups * sizeof(int16_t));
    }
    for (size_t i = 0; i < 3; i++) {
        free(encodings[i].vector);
        free(encodings[i].codes);
    }
    free(samples);
}

/* One that TIMBRE_TEST_BACKEND names must be there, and is the only one that is tried. */
static bool is_tried(const tmb_qwen3_backend *backend) {
    const char *named = getenv("TIMBRE_TEST_BACKEND");
    tmb_error error = {0};
    if (named != NULL) {
        assert_true(strcmp(named, backend->name) != 0 || backend->available(0, &error) == TMB_OK);
        return strcmp(named, backend->name) == 0;
    }
    return backend->available(0, &error) == TMB_OK;
}

static void check_all(const char *precision, int threads) {
    for (const tmb_qwen3_backend *const *backend = tmb_qwen3_backends(); *backend != NULL; backend++) {
        assert_ptr_equal(tmb_qwen3_backend_find((*backend)->name), *backend);
        if (!is_tried(*backend)) {
            continue;
        }
        fixture f;
        open_fixture(&f, *backend, precision, threads);
        check_alone_and_together(&f);
        check_fork(&f);
        check_streams(&f);
        check_coming_and_going(&f);
        check_bytes(&f);
        check_limits(&f);
        check_encoders(&f);
        close_fixture(&f);
    }
    assert_null(tmb_qwen3_backend_find("none of these"));
}

static void test_f32(void **state) {
    (void)state;
    check_all("f32", 1);
}

static void test_f32_threads(void **state) {
    (void)state;
    if (getenv("TIMBRE_TEST_BACKEND") != NULL) {
        skip(); /* a device's threads are its own */
    }
    check_all("f32", 3);
}

static void test_int8(void **state) {
    (void)state;
    check_all("int8", 2);
}

static void test_bf16(void **state) {
    (void)state;
    if (getenv("TIMBRE_TEST_BACKEND") != NULL) {
        skip(); /* emulated devices take long, and the engine's tests have bf16 */
    }
    check_all("bf16", 2);
}

/* A damaged file is refused, and nothing is left behind. */
static void test_refused(void **state) {
    (void)state;
    for (const tmb_qwen3_backend *const *backend = tmb_qwen3_backends(); *backend != NULL; backend++) {
        fixture f;
        tmb_error error = {0};
        if (!is_tried(*backend)) {
            continue;
        }
        open_fixture(&f, *backend, "f32", 1);
        tmb_net *other = NULL;
        tmb_net_files swapped = {&f.config, f.codec_weights, f.weights};
        assert_int_equal((*backend)->load(&swapped, &f.options, &other, &error), TMB_ERROR_MODEL);
        assert_null(other);
        assert_true(error.message[0] != 0);
        close_fixture(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_f32), cmocka_unit_test(test_f32_threads),
                                       cmocka_unit_test(test_int8), cmocka_unit_test(test_bf16),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
