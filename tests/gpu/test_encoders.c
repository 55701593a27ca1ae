/* The encoders of recordings on a GPU: the official x-vectors and codes, longer recordings, faults, and what their
 * memory comes to. */
#include "test.h"

#include "fake_driver.h"
#include "golden.h"
#include "gpu_net.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The device did something since then, and nothing was allocated for it. */
static void assert_ran(const tmb_fake_cuda_counts *before) {
    const tmb_fake_cuda_counts now = fake_counts();
    assert_true(!fake_driver_is_there() || now.kernels > before->kernels);
    assert_int_equal(now.allocations, before->allocations);
}

static float *load_audio(const char *name, size_t *count) {
    if (strstr(name, ".npy") != NULL) {
        golden_array array = golden_load("qwen/%s", name);
        float *samples = calloc(array.count, sizeof *samples);
        memcpy(samples, array.f32, array.count * sizeof *samples);
        *count = array.count;
        golden_free(&array);
        return samples;
    }
    int rate = 0;
    return golden_audio(&rate, count, "qwen/%s", name);
}

static size_t vector_size(const gpu_net *f) { return f->config.talker.transformer.hidden_size; }

static void check_vector(const gpu_net *f, const char *model, const char *audio, const char *golden) {
    tmb_error error = {0};
    size_t count = 0;
    float *samples = load_audio(audio, &count), *vector = calloc(vector_size(f), sizeof *vector);
    golden_array expected = golden_load("qwen/%s/%s", model, golden);
    assert_int_equal(expected.count, vector_size(f));
    const tmb_fake_cuda_counts before = fake_counts();
    assert_ok(gpu_backend->embed_speaker(f->net, samples, count, vector, &error), error);
    assert_ran(&before);
    (void)golden_assert_close(golden, vector, expected.f32, expected.count, 1e-4);
    golden_free(&expected);
    free(vector);
    free(samples);
}

static void test_official_vectors(void **state) {
    (void)state;
    static const struct {
        const char *model, *audio, *golden;
    } cases[] = {
        {"sample-c", "references/ref_en.wav", "cases/icl_en/speaker_0.npy"},
        {"sample-d", "references/ref_es.wav", "modules/ref_es.speaker.npy"},
        {"sample-d", "sample-d/modules/ref_fr_44k_stereo.24k.npy", "modules/ref_fr_44k_stereo.speaker.npy"},
        {"sample-e", "references/ref_en_short.wav", "modules/ref_en_short.speaker.npy"},
        {"sample-e", "references/ref_es.wav", "modules/ref_es.speaker.npy"},
        {"sample-f", "references/ref_en_short.wav", "modules/ref_en_short.speaker.npy"},
        {"sample-f", "sample-d/modules/ref_fr_44k_stereo.24k.npy", "modules/ref_fr_44k_stereo.speaker.npy"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gpu_net f;
        gpu_net_open(&f, cases[i].model, "f32", 1);
        assert_int_equal(fake_counts().background_streams, fake_driver_is_there());
        check_vector(&f, cases[i].model, cases[i].audio, cases[i].golden);
        gpu_net_close(&f);
    }
}

static void check_codes(const gpu_net *f, const char *model, const char *audio, const char *golden) {
    tmb_error error = {0};
    size_t count = 0, frames = 0, books = f->config.codec.valid_quantizers;
    int16_t *codes = NULL;
    float *samples = load_audio(audio, &count);
    golden_array expected = golden_load("qwen/%s/%s", model, golden);
    const tmb_fake_cuda_counts before = fake_counts();
    assert_ok(gpu_backend->encode(f->net, samples, count, &codes, &frames, &error), error);
    assert_ran(&before);
    assert_int_equal(frames, expected.dims[0]);
    assert_int_equal(books, expected.dims[1]);
    for (size_t i = 0; i < frames * books; i++) {
        if (codes[i] != expected.i16[i]) {
            fail_msg("%s, frame %zu, book %zu: %d, expected %d", golden, i / books, i % books, codes[i],
                     expected.i16[i]);
        }
    }
    golden_free(&expected);
    free(codes);
    free(samples);
}

static void test_official_codes(void **state) {
    (void)state;
    static const struct {
        const char *model, *audio, *golden;
    } cases[] = {
        {"sample-c", "references/ref_en.wav", "cases/icl_en/ref_codes_0.npy"},
        {"sample-c", "references/ref_fr.wav", "cases/batch3/ref_codes_1.npy"},
        {"sample-d", "references/ref_es.wav", "modules/ref_es.codes.npy"},
        {"sample-d", "sample-d/modules/ref_fr_44k_stereo.24k.npy", "modules/ref_fr_44k_stereo.codes.npy"},
        {"sample-e", "references/ref_en_short.wav", "modules/ref_en_short.codes.npy"},
        {"sample-e", "references/ref_es.wav", "modules/ref_es.codes.npy"},
        {"sample-f", "references/ref_en_short.wav", "modules/ref_en_short.codes.npy"},
        {"sample-f", "sample-d/modules/ref_fr_44k_stereo.24k.npy", "modules/ref_fr_44k_stereo.codes.npy"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gpu_net f;
        gpu_net_open(&f, cases[i].model, "f32", 1);
        check_codes(&f, cases[i].model, cases[i].audio, cases[i].golden);
        gpu_net_close(&f);
    }
}

/* Noise of so many samples; free() it. */
static float *noise(size_t count) {
    float *samples = calloc(count, sizeof *samples);
    uint32_t random = 3;
    for (size_t i = 0; i < count; i++) {
        random = random * 1664525u + 1013904223u;
        samples[i] = (float)(random >> 8) / (float)(1 << 25);
    }
    return samples;
}

/* What is too short, too long or no number is refused; what is longer than the buffers is the CPU's. */
static void test_lengths(void **state) {
    (void)state;
    enum { LONGEST = 30 * 24000 };
    gpu_net f;
    tmb_error error = {0};
    gpu_net_open(&f, "sample-f", "f32", 1);
    float *samples = noise(LONGEST + 1), *vector = calloc(vector_size(&f), sizeof *vector);
    assert_int_equal(gpu_backend->embed_speaker(f.net, samples, 100, vector, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(gpu_backend->embed_speaker(f.net, samples, (size_t)1 << 40, vector, &error), TMB_ERROR_LIMIT);
    samples[7] = NAN;
    assert_int_equal(gpu_backend->embed_speaker(f.net, samples, 24000, vector, &error), TMB_ERROR_ARGUMENT);
    samples[7] = 0;
    const uint64_t before = fake_counts().kernels;
    assert_ok(gpu_backend->embed_speaker(f.net, samples, LONGEST + 1, vector, &error), error);
    assert_int_equal(fake_counts().kernels, before);
    int16_t *codes = NULL;
    size_t frames = 0;
    assert_ok(gpu_backend->encode(f.net, samples, LONGEST + 1, &codes, &frames, &error), error);
    assert_int_equal(fake_counts().kernels, before);
    assert_int_equal(frames, LONGEST / 1920 + 1);
    free(codes);
    assert_int_equal(gpu_backend->encode(f.net, samples, 0, &codes, &frames, &error), TMB_ERROR_ARGUMENT);
    assert_null(codes);
    assert_true(gpu_backend->encode_bytes(f.net, LONGEST + 1, false) > gpu_backend->encode_bytes(f.net, 24000, false));
    assert_true(gpu_backend->encode_bytes(f.net, 24000, false) >= 24000 * sizeof(float));
    free(samples);
    free(vector);
    gpu_net_close(&f);
}

/* The same networks with the encoders on the CPU. */
static tmb_net *open_on_host(const gpu_net *f) {
    tmb_error error = {0};
    tmb_net *net = NULL;
    const tmb_net_files files = {&f->config, f->weights, f->codec_weights};
    const tmb_net_options options = {
        .precisions = f->precisions, .threads = 1, .sequences = 1, .encoders_on_host = true};
    assert_ok(gpu_backend->load(&files, &options, &net, &error), error);
    return net;
}

static void check_same_codes(tmb_net *net, tmb_net *on_host, const float *samples, size_t count) {
    tmb_error error = {0};
    int16_t *codes = NULL, *expected = NULL;
    size_t frames = 0, expected_frames = 0;
    enum { BOOKS = 16 };
    assert_ok(gpu_backend->encode(on_host, samples, count, &expected, &expected_frames, &error), error);
    const tmb_fake_cuda_counts before = fake_counts();
    assert_ok(gpu_backend->encode(net, samples, count, &codes, &frames, &error), error);
    assert_ran(&before);
    assert_int_equal(frames, expected_frames);
    assert_memory_equal(codes, expected, frames * BOOKS * sizeof *codes);
    free(codes);
    free(expected);
}

/* Slices must not show, wherever the signal ends: the codes are the CPU's. */
static void test_slices(void **state) {
    (void)state;
    enum { SLICE = 24 * 960 };
    static const size_t ends[] = {1, 959, 960, 961, 1921, SLICE - 1, SLICE, SLICE + 1, SLICE + 481, 2 * SLICE + 1921};
    gpu_net f;
    size_t count = 0;
    gpu_net_open(&f, "sample-c", "f32", 1);
    assert_int_equal(f.config.codec.valid_quantizers, 16);
    tmb_net *on_host = open_on_host(&f);
    float *samples = load_audio("references/ref_en.wav", &count);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        assert_true(ends[i] <= count);
        check_same_codes(f.net, on_host, samples, ends[i]);
    }
    free(samples);
    gpu_backend->destroy(&on_host);
    gpu_net_close(&f);
}

typedef struct encoded {
    float *vector;
    int16_t *codes;
    size_t frames;
} encoded;

static tmb_status encode_both(const gpu_net *f, const float *samples, size_t count, encoded *out, tmb_error *error) {
    *out = (encoded){.vector = calloc(vector_size(f), sizeof *out->vector)};
    tmb_status status = gpu_backend->embed_speaker(f->net, samples, count, out->vector, error);
    return status == TMB_OK ? gpu_backend->encode(f->net, samples, count, &out->codes, &out->frames, error) : status;
}

static void free_encoded(encoded *e) {
    free(e->vector);
    free(e->codes);
}

/* A kernel that faults fails this recording with the driver's error; those after it are the CPU's. */
static void test_fault(void **state) {
    (void)state;
    enum { COUNT = 30000 };
    if (!fake_driver_is_there()) {
        skip();
    }
    float *samples = noise(COUNT);
    int64_t kernels = 1;
    for (int64_t part = 0; part < 4; part++) {
        gpu_net f;
        tmb_error error = {0};
        encoded usual, failed, other;
        gpu_net_open(&f, "sample-f", "f32", 1);
        const uint64_t before = fake_counts().queued;
        assert_ok(encode_both(&f, samples, COUNT, &usual, &error), error);
        kernels = (int64_t)(fake_counts().queued - before);
        fake_set("FAULT_KERNEL", 1 + (kernels - 1) * part / 3);
        assert_int_equal(encode_both(&f, samples, COUNT, &failed, &error), TMB_ERROR_INTERNAL);
        assert_non_null(strstr(error.message, "ILLEGAL_ADDRESS"));
        assert_null(failed.codes);
        fake_set("FAULT_KERNEL", 0);
        assert_true(gpu_backend->lost(f.net, &error));
        assert_ok(encode_both(&f, samples, COUNT, &other, &error), error);
        assert_int_equal(other.frames, usual.frames);
        assert_memory_equal(other.codes, usual.codes,
                            usual.frames * f.config.codec.valid_quantizers * sizeof *usual.codes);
        for (size_t i = 0; i < vector_size(&f); i++) {
            assert_true(fabsf(usual.vector[i] - other.vector[i]) <= 1e-4f);
        }
        free_encoded(&usual);
        free_encoded(&failed);
        free_encoded(&other);
        gpu_net_close(&f);
        const tmb_fake_cuda_counts left = fake_counts();
        assert_true(left.allocated == 0 && left.streams == 0 && left.contexts == 0 && left.pinned == 0);
    }
    free(samples);
}

/* What the model reserves is what is allocated, with the encoders on either side. */
static void test_bytes(void **state) {
    (void)state;
    gpu_net f;
    tmb_error error = {0};
    gpu_net_open(&f, "sample-e", "f32", 1);
    const tmb_net_files files = {&f.config, f.weights, f.codec_weights};
    size_t device[2] = {0};
    for (int on_host = 0; on_host < 2; on_host++) {
        const tmb_net_options options = {
            .precisions = f.precisions, .threads = 1, .sequences = 1, .encoders_on_host = on_host != 0};
        tmb_net_bytes estimate;
        tmb_net *net = NULL;
        const uint64_t before = fake_counts().allocated;
        assert_ok(gpu_backend->estimate(&files, &options, &estimate, &error), error);
        assert_ok(gpu_backend->load(&files, &options, &net, &error), error);
        device[on_host] = gpu_backend->bytes(net).device;
        assert_int_equal(estimate.device, device[on_host]);
        assert_true(fake_counts().allocated - before <= device[on_host]);
        gpu_backend->destroy(&net);
    }
    assert_true(device[0] > device[1]);
    gpu_net_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_official_vectors), cmocka_unit_test(test_official_codes), cmocka_unit_test(test_slices),
        cmocka_unit_test(test_lengths),          cmocka_unit_test(test_fault),          cmocka_unit_test(test_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
