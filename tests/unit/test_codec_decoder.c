/* The codec decoder against the official implementation's waveforms, and against itself: how codes are cut into
 * calls, what else is decoded with them and on how many threads never changes a bit. */
#include "golden.h"
#include "test.h"

#include "base/memory.h"
#include "base/thread.h"
#include "cpu/cpu.h"
#include "tts/qwen3/config.h"
#include "tts/qwen3/cpu/codec/decoder.h"
#include "weights/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const unsigned levels[] = {0,
                                  TMB_CPU_GENERIC,
                                  TMB_CPU_GENERIC | TMB_CPU_AVX2,
                                  ~(unsigned)(TMB_CPU_AVX512VNNI | TMB_CPU_AMX),
                                  ~(unsigned)TMB_CPU_AMX,
                                  ~0u};
enum { LEVELS = sizeof levels / sizeof levels[0] };

/* Masks the CPU to a level; false if that leaves what a level before it left. */
static bool choose_level(size_t level) {
    for (size_t before = 0; before < level; before++) {
        tmb_cpu_mask(levels[before]);
        unsigned flags = tmb_cpu_flags();
        tmb_cpu_mask(levels[level]);
        if (flags == tmb_cpu_flags()) {
            return false;
        }
    }
    tmb_cpu_mask(levels[level]);
    return true;
}

/* How many frames a test decodes at a level: plain C takes its time, and so does every level beside a sanitizer, which
 * sees the whole of it at the highest. */
static size_t most_frames(size_t level) {
    const unsigned chosen = tmb_cpu_flags();
    tmb_cpu_mask(~0u);
    const bool highest = chosen == tmb_cpu_flags();
    tmb_cpu_mask(levels[level]);
    if (TEST_SANITIZED && !highest) {
        return 8;
    }
    return level == 0 ? 70 : SIZE_MAX;
}

typedef struct model {
    tmb_qwen3_config config;
    tmb_safetensors *weights;
    tmb_codec_decoder *decoder;
} model;

static void load(model *m, const char *sample, tmb_codec_precision precision) {
    tmb_error error = {0};
    memset(m, 0, sizeof *m);
    assert_ok(tmb_qwen3_config_read(golden_path("qwen/%s/model", sample), &m->config, &error), error);
    assert_ok(tmb_safetensors_open(golden_path("qwen/%s/model/speech_tokenizer", sample), &m->weights, &error), error);
    assert_ok(tmb_codec_decoder_load(&m->config.codec, m->weights, precision, &m->decoder, &error), error);
}

static void unload(model *m) {
    tmb_codec_decoder_destroy(&m->decoder);
    tmb_safetensors_close(&m->weights);
}

static tmb_codec_workspace *workspace_of(const model *m, size_t frames, tmb_team *team) {
    tmb_codec_workspace *workspace = NULL;
    tmb_error error = {0};
    assert_ok(tmb_codec_workspace_create(m->decoder, frames, team, &workspace, &error), error);
    return workspace;
}

static tmb_codec_state *state_of(const model *m) {
    tmb_codec_state *state = NULL;
    tmb_error error = {0};
    assert_ok(tmb_codec_state_create(m->decoder, &state, &error), error);
    return state;
}

static tmb_team *team_of(int threads) {
    tmb_team *team = NULL;
    tmb_error error = {0};
    assert_ok(tmb_team_create(threads, &team, &error), error);
    return team;
}

static float *new_samples(const model *m, size_t frames) {
    float *samples = tmb_calloc(frames * tmb_codec_samples_per_frame(m->decoder) + 1, sizeof *samples);
    assert_non_null(samples);
    return samples;
}

/* Decodes [frames] of codes in one call from a new state. */
static float *decode_whole(const model *m, const int16_t *codes, size_t frames, size_t workspace_frames, int threads) {
    tmb_team *team = team_of(threads);
    tmb_codec_workspace *workspace = workspace_of(m, workspace_frames, team);
    tmb_codec_state *state = state_of(m);
    float *samples = new_samples(m, frames);
    tmb_error error = {0};
    tmb_codec_piece piece = {state, codes, frames, samples};
    assert_ok(tmb_codec_decode(workspace, &piece, 1, &error), error);
    tmb_codec_state_destroy(&state);
    tmb_codec_workspace_destroy(&workspace);
    tmb_team_destroy(&team);
    return samples;
}

/* ---- against the official waveforms ---- */

static const struct {
    const char *sample, *codes, *wave;
    double tolerance; /* 2e-3: the wave is stored as f16 */
} cases[] = {
    {"sample-c", "cases/decode_1/codes.npy", "cases/decode_1/wave.npy", 1e-4},
    {"sample-c", "cases/decode_7/codes.npy", "cases/decode_7/wave.npy", 1e-4},
    {"sample-c", "cases/decode_40/codes.npy", "cases/decode_40/wave.npy", 1e-4},
    {"sample-c", "cases/decode_330/codes.npy", "cases/decode_330/wave.npy", 6e-4},
    {"sample-d", "modules/decode_3.codes.npy", "modules/decode_3.wave.npy", 1e-4},
    {"sample-d", "modules/decode_310.codes.npy", "modules/decode_310.wave.npy", 1e-4},
    {"sample-e", "modules/decode_5.codes.npy", "modules/decode_5.wave.npy", 1e-4},
    {"sample-e", "modules/decode_310.codes.npy", "modules/decode_310.wave.npy", 6e-4},
    {"sample-f", "modules/decode_4.codes.npy", "modules/decode_4.wave.npy", 1e-4},
    {"sample-f", "modules/decode_40.codes.npy", "modules/decode_40.wave.npy", 1e-4},
};

/* The whole of [frames, books] codes as the official implementation does it: pieces of 300 frames that each start
 * afresh, the frames before them (25 at most) decoded first and dropped. Up to 300 frames this is what
 * tmb_codec_decode gives; beyond it differs slightly. */
static void decode_as_official(const model *m, tmb_codec_workspace *workspace, tmb_codec_state *state,
                               const int16_t *codes, size_t frames, float *samples) {
    enum { CHUNK = 300, CONTEXT = 25 };
    const size_t books = tmb_codec_decoder_books(m->decoder);
    tmb_error error = {0};
    for (size_t start = 0; start < frames; start += CHUNK) {
        const size_t context = start < CONTEXT ? start : CONTEXT;
        const size_t count = frames - start < CHUNK ? frames - start : CHUNK;
        tmb_codec_state_reset(state);
        const tmb_codec_piece before = {state, codes + (start - context) * books, context, NULL};
        const tmb_codec_piece piece = {state, codes + start * books, count,
                                       samples + start * tmb_codec_samples_per_frame(m->decoder)};
        assert_ok(tmb_codec_decode(workspace, &before, 1, &error), error);
        assert_ok(tmb_codec_decode(workspace, &piece, 1, &error), error);
    }
}

static void check_case(const model *m, size_t index, size_t level, double tolerance, double least_db) {
    golden_array codes = golden_load("qwen/%s/%s", cases[index].sample, cases[index].codes);
    if (codes.dims[0] > most_frames(level)) {
        golden_free(&codes);
        return;
    }
    golden_array wave = golden_load("qwen/%s/%s", cases[index].sample, cases[index].wave);
    size_t frames = codes.dims[0];
    assert_int_equal(codes.dims[1], tmb_codec_decoder_books(m->decoder));
    assert_int_equal(wave.count, frames * tmb_codec_samples_per_frame(m->decoder));
    tmb_codec_workspace *workspace = workspace_of(m, 16, NULL);
    tmb_codec_state *state = state_of(m);
    float *samples = new_samples(m, frames);
    decode_as_official(m, workspace, state, codes.i16, frames, samples);
    (void)golden_assert_close(cases[index].wave, samples, wave.f32, wave.count, tolerance);
    double snr = golden_snr_db(samples, wave.f32, wave.count);
    if (snr < least_db) {
        fail_msg("%s: %.1f dB, at least %.0f wanted", cases[index].wave, snr, least_db);
    }
    free(samples);
    tmb_codec_state_destroy(&state);
    tmb_codec_workspace_destroy(&workspace);
    golden_free(&codes);
    golden_free(&wave);
}

static void test_official_waveforms(void **state) {
    (void)state;
    for (size_t level = 0; level < LEVELS; level++) {
        for (size_t i = 0; choose_level(level) && i < sizeof cases / sizeof cases[0]; i++) {
            model m;
            load(&m, cases[i].sample, TMB_CODEC_F32);
            check_case(&m, i, level, cases[i].tolerance, cases[i].tolerance > 1e-4 ? 70 : 80);
            unload(&m);
        }
    }
}

/* With 16-bit operands: 12-bit whole numbers are good for 40 dB on these random networks, bf16 (a CPU with that
 * and no VNNI) for 27. */
static void test_official_waveforms_bf16(void **state) {
    (void)state;
    for (size_t level = 0; level < LEVELS; level++) {
        if (!choose_level(level)) {
            continue;
        }
        bool bf16 = (tmb_cpu_flags() & (TMB_CPU_AVX512VNNI | TMB_CPU_AVX512BF16)) == TMB_CPU_AVX512BF16;
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            model m;
            load(&m, cases[i].sample, TMB_CODEC_BF16);
            check_case(&m, i, level, bf16 ? 0.1 : 0.02, bf16 ? 27 : 40);
            model exact;
            load(&exact, cases[i].sample, TMB_CODEC_F32);
            /* Tiles of 64 inputs are wider than these networks. */
            if ((tmb_cpu_flags() & TMB_CPU_AMX) == 0) {
                assert_true(tmb_codec_decoder_bytes(m.decoder) < tmb_codec_decoder_bytes(exact.decoder));
            }
            unload(&exact);
            unload(&m);
        }
    }
}

/* ---- against itself ---- */

static const tmb_codec_precision precisions[] = {TMB_CODEC_F32, TMB_CODEC_BF16};

static uint32_t random_state;

static size_t random_below(size_t limit) {
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % limit;
}

static void test_chunks_equal_whole(void **state) {
    (void)state;
    for (size_t variant = 0; variant < 2 * LEVELS; variant++) {
        if (!choose_level(variant / 2)) {
            continue;
        }
        model m;
        load(&m, "sample-d", precisions[variant % 2]);
        golden_array codes = golden_load("qwen/sample-d/modules/decode_310.codes.npy");
        const size_t most = most_frames(variant / 2);
        size_t frames = most < 150 ? most : 150;
        size_t samples_per_frame = tmb_codec_samples_per_frame(m.decoder);
        size_t books = tmb_codec_decoder_books(m.decoder);
        float *whole = decode_whole(&m, codes.i16, frames, 64, 1);
        random_state = 7;
        for (int round = 0; round < (frames < 150 ? 3 : 4); round++) {
            size_t capacity = 1 + random_below(24);
            tmb_codec_workspace *workspace = workspace_of(&m, capacity, NULL);
            tmb_codec_state *stream = state_of(&m);
            float *samples = new_samples(&m, frames);
            for (size_t done = 0; done < frames;) {
                size_t some = random_below(round < 2 ? 4 : 60);
                some = some < frames - done ? some : frames - done;
                tmb_error error = {0};
                tmb_codec_piece piece = {stream, codes.i16 + done * books, some, samples + done * samples_per_frame};
                assert_ok(tmb_codec_decode(workspace, &piece, 1, &error), error);
                done += some;
            }
            assert_memory_equal(samples, whole, frames * samples_per_frame * sizeof *whole);
            free(samples);
            tmb_codec_state_destroy(&stream);
            tmb_codec_workspace_destroy(&workspace);
        }
        free(whole);
        golden_free(&codes);
        unload(&m);
    }
}

static void test_batch_equals_alone(void **state) {
    (void)state;
    enum { STREAMS = 5 };
    for (size_t round = 0; round < 2 * LEVELS; round++) {
        if (!choose_level(round / 2)) {
            continue;
        }
        model m;
        load(&m, "sample-c", precisions[round % 2]);
        golden_array codes = golden_load("qwen/sample-c/cases/decode_330/codes.npy");
        size_t samples_per_frame = tmb_codec_samples_per_frame(m.decoder);
        size_t books = tmb_codec_decoder_books(m.decoder);
        const size_t frames[STREAMS] = {17, 1, 40, 6, 33};
        tmb_team *team = team_of(3);
        tmb_codec_workspace *workspace = workspace_of(&m, 11, team);
        tmb_codec_state *streams[STREAMS];
        float *samples[STREAMS];
        size_t done[STREAMS] = {0};
        for (size_t i = 0; i < STREAMS; i++) {
            streams[i] = state_of(&m);
            samples[i] = new_samples(&m, frames[i]);
        }
        random_state = 3;
        for (bool more = true; more;) {
            tmb_codec_piece pieces[STREAMS];
            more = false;
            for (size_t i = 0; i < STREAMS; i++) {
                size_t some = random_below(9);
                some = some < frames[i] - done[i] ? some : frames[i] - done[i];
                pieces[i] = (tmb_codec_piece){streams[i], codes.i16 + (20 * i + done[i]) * books, some,
                                              samples[i] + done[i] * samples_per_frame};
                done[i] += some;
                more = more || done[i] < frames[i];
            }
            tmb_error error = {0};
            assert_ok(tmb_codec_decode(workspace, pieces, STREAMS, &error), error);
        }
        for (size_t i = 0; i < STREAMS; i++) {
            float *alone = decode_whole(&m, codes.i16 + 20 * i * books, frames[i], 16, 1);
            assert_memory_equal(samples[i], alone, frames[i] * samples_per_frame * sizeof *alone);
            free(alone);
            free(samples[i]);
            tmb_codec_state_destroy(&streams[i]);
        }
        tmb_codec_workspace_destroy(&workspace);
        tmb_team_destroy(&team);
        golden_free(&codes);
        unload(&m);
    }
}

/* A voice decodes its reference once without samples; every utterance goes on from a copy. */
static void test_copied_states_go_on(void **state) {
    (void)state;
    tmb_cpu_mask(~0u);
    model m;
    load(&m, "sample-c", TMB_CODEC_F32);
    golden_array codes = golden_load("qwen/sample-c/cases/decode_40/codes.npy");
    size_t samples_per_frame = tmb_codec_samples_per_frame(m.decoder);
    size_t books = tmb_codec_decoder_books(m.decoder);
    enum { REFERENCE = 29, FRAMES = 40 };
    float *whole = decode_whole(&m, codes.i16, FRAMES, 16, 1);
    tmb_codec_workspace *workspace = workspace_of(&m, 8, NULL);
    tmb_codec_state *voice = state_of(&m);
    tmb_error error = {0};
    tmb_codec_piece reference = {voice, codes.i16, REFERENCE, NULL};
    assert_ok(tmb_codec_decode(workspace, &reference, 1, &error), error);
    tmb_codec_state *clone = NULL;
    assert_ok(tmb_codec_state_clone(voice, &clone, &error), error);
    float *samples = new_samples(&m, FRAMES - REFERENCE);
    for (int utterance = 0; utterance < 2; utterance++) {
        tmb_codec_piece piece = {clone, codes.i16 + REFERENCE * books, FRAMES - REFERENCE, samples};
        assert_ok(tmb_codec_decode(workspace, &piece, 1, &error), error);
        assert_memory_equal(samples, whole + REFERENCE * samples_per_frame,
                            (FRAMES - REFERENCE) * samples_per_frame * sizeof *samples);
        memset(samples, 0, (FRAMES - REFERENCE) * samples_per_frame * sizeof *samples);
        tmb_codec_state_copy(clone, voice);
    }
    tmb_codec_state_reset(clone);
    tmb_codec_piece again = {clone, codes.i16, 1, samples};
    assert_ok(tmb_codec_decode(workspace, &again, 1, &error), error);
    assert_memory_equal(samples, whole, samples_per_frame * sizeof *samples);
    assert_true(tmb_codec_state_bytes(m.decoder) > sizeof(float));
    free(samples);
    free(whole);
    tmb_codec_state_destroy(&clone);
    tmb_codec_state_destroy(&voice);
    tmb_codec_workspace_destroy(&workspace);
    golden_free(&codes);
    unload(&m);
}

/* If no samples are wanted, only the last frames go through the convolutions: what follows is the same to the bit.
 */
static void check_passed(const model *m, const int16_t *codes, size_t reference, size_t workspace_frames) {
    enum { FRAMES = 13 };
    size_t samples_per_frame = tmb_codec_samples_per_frame(m->decoder);
    size_t books = tmb_codec_decoder_books(m->decoder);
    float *whole = decode_whole(m, codes, reference + FRAMES, 16, 1);
    float *samples = new_samples(m, FRAMES);
    tmb_codec_workspace *workspace = workspace_of(m, workspace_frames, NULL);
    tmb_codec_state *states[3] = {state_of(m), state_of(m), state_of(m)};
    tmb_error error = {0};
    /* Streams that pass at once, one of them in two calls; and one that is heard beside them. */
    float *heard = new_samples(m, reference);
    tmb_codec_piece pieces[] = {{states[0], codes, reference, NULL},
                                {states[1], codes, reference / 3, NULL},
                                {states[2], codes, reference, heard}};
    assert_ok(tmb_codec_decode(workspace, pieces, 3, &error), error);
    assert_memory_equal(heard, whole, reference * samples_per_frame * sizeof *heard);
    tmb_codec_piece second = {states[1], codes + reference / 3 * books, reference - reference / 3, NULL};
    assert_ok(tmb_codec_decode(workspace, &second, 1, &error), error);
    for (size_t i = 0; i < 3; i++) {
        tmb_codec_piece after = {states[i], codes + reference * books, FRAMES, samples};
        assert_ok(tmb_codec_decode(workspace, &after, 1, &error), error);
        assert_memory_equal(samples, whole + reference * samples_per_frame,
                            FRAMES * samples_per_frame * sizeof *samples);
        tmb_codec_state_destroy(&states[i]);
    }
    free(heard);
    free(samples);
    free(whole);
    tmb_codec_workspace_destroy(&workspace);
}

static void test_passing_equals_decoding(void **state) {
    (void)state;
    static const char *const samples[] = {"sample-c", "sample-d", "sample-e", "sample-f"};
    tmb_cpu_mask(~0u);
    golden_array codes = golden_load("qwen/sample-c/cases/decode_330/codes.npy");
    for (size_t i = 0; i < 2 * sizeof samples / sizeof samples[0]; i++) {
        model m;
        load(&m, samples[i / 2], precisions[i % 2]);
        size_t books = tmb_codec_decoder_books(m.decoder);
        size_t size = m.config.codec.decoder.codebook_size;
        int16_t *random = tmb_calloc(100 * books, sizeof *random);
        assert_non_null(random);
        for (size_t k = 0; k < 100 * books; k++) {
            random[k] = (int16_t)((size_t)codes.i16[k] % size);
        }
        size_t lookback = tmb_codec_decoder_lookback(m.decoder);
        assert_in_range(lookback, 3, 20);
        if (i / 2 == 0) {
            assert_int_equal(lookback, 10); /* the official network's strides */
        }
        const size_t references[] = {1, lookback, lookback + 1, lookback + 19};
        for (size_t k = 0; k < sizeof references / sizeof references[0]; k++) {
            check_passed(&m, random, references[k], k == 2 ? 5 : 16);
        }
        free(random);
        unload(&m);
    }
    golden_free(&codes);
}

/* ---- errors ---- */

static void test_codes_out_of_range(void **state) {
    (void)state;
    tmb_cpu_mask(~0u);
    model m;
    load(&m, "sample-c", TMB_CODEC_F32);
    size_t books = tmb_codec_decoder_books(m.decoder);
    int16_t *codes = tmb_calloc(3 * books, sizeof *codes);
    assert_non_null(codes);
    tmb_codec_workspace *workspace = workspace_of(&m, 4, NULL);
    tmb_codec_state *stream = state_of(&m);
    float *samples = new_samples(&m, 3);
    static const int16_t wrong[] = {-1, 256, INT16_MAX, INT16_MIN};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tmb_error error = {0};
        codes[2 * books + 5] = wrong[i];
        tmb_codec_piece piece = {stream, codes, 3, samples};
        assert_int_equal(tmb_codec_decode(workspace, &piece, 1, &error), TMB_ERROR_ARGUMENT);
        assert_non_null(strstr(error.message, "frame 2, book 5"));
    }
    tmb_error error = {0};
    tmb_codec_workspace *none = NULL;
    assert_int_equal(tmb_codec_workspace_create(m.decoder, 0, NULL, &none, &error), TMB_ERROR_ARGUMENT);
    free(samples);
    free(codes);
    tmb_codec_state_destroy(&stream);
    tmb_codec_workspace_destroy(&workspace);
    unload(&m);
}

/* A configuration that does not fit the file is an error that names the tensor. */
static void test_wrong_shapes(void **state) {
    (void)state;
    model m;
    load(&m, "sample-c", TMB_CODEC_F32);
    tmb_codec_decoder_destroy(&m.decoder);
    tmb_error error = {0};
    tmb_qwen3_codec_config config = m.config.codec;
    config.decoder.latent_dim *= 2;
    assert_int_equal(tmb_codec_decoder_load(&config, m.weights, TMB_CODEC_F32, &m.decoder, &error), TMB_ERROR_MODEL);
    assert_null(m.decoder);
    assert_non_null(strstr(error.message, "decoder.pre_conv.conv.weight"));
    config = m.config.codec;
    config.decoder.layers++;
    assert_int_equal(tmb_codec_decoder_load(&config, m.weights, TMB_CODEC_F32, &m.decoder, &error), TMB_ERROR_MODEL);
    assert_non_null(strstr(error.message, "decoder.pre_transformer.layers.2."));
    config = m.config.codec;
    config.decoder.latent_dim = (size_t)1 << 40;
    config.decoder.decoder_dim = (size_t)1 << 40;
    assert_true(tmb_codec_decoder_estimate(&config, TMB_CODEC_F32) == SIZE_MAX);
    unload(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_official_waveforms),  cmocka_unit_test(test_official_waveforms_bf16),
        cmocka_unit_test(test_chunks_equal_whole),  cmocka_unit_test(test_batch_equals_alone),
        cmocka_unit_test(test_copied_states_go_on), cmocka_unit_test(test_passing_equals_decoding),
        cmocka_unit_test(test_codes_out_of_range),  cmocka_unit_test(test_wrong_shapes),
    };
    return cmocka_run_group_tests_name("codec decoder", tests, NULL, NULL);
}
