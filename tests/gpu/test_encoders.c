/* The encoders of recordings on a GPU: the official x-vectors, longer recordings, faults, and what their memory
 * comes to. */
#include "test.h"

#include "fakecuda.h"
#include "golden.h"
#include "gpu_net.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *fake_symbol(const char *name) {
    static void *fake;
    fake = fake != NULL ? fake : dlopen(getenv("TIMBRE_CUDA_LIBRARY"), RTLD_NOW);
    assert_non_null(fake);
    return dlsym(fake, name);
}

static tmb_fake_cuda_counts counts(void) {
    tmb_fake_cuda_counts now;
    void (*read)(tmb_fake_cuda_counts *);
    void *address = fake_symbol("tmb_fake_cuda_read");
    memcpy(&read, &address, sizeof read);
    read(&now);
    return now;
}

static void set(const char *name, int64_t value) {
    void (*change)(const char *, int64_t);
    void *address = fake_symbol("tmb_fake_cuda_set");
    memcpy(&change, &address, sizeof change);
    change(name, value);
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
    const tmb_fake_cuda_counts before = counts();
    assert_ok(gpu_backend->embed_speaker(f->net, samples, count, vector, &error), error);
    assert_true(counts().kernels > before.kernels);
    assert_int_equal(counts().allocations, before.allocations);
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
        assert_int_equal(counts().background_streams, 1);
        check_vector(&f, cases[i].model, cases[i].audio, cases[i].golden);
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
    const uint64_t before = counts().kernels;
    assert_ok(gpu_backend->embed_speaker(f.net, samples, LONGEST + 1, vector, &error), error);
    assert_int_equal(counts().kernels, before);
    assert_true(gpu_backend->encode_bytes(f.net, LONGEST + 1, false) > gpu_backend->encode_bytes(f.net, 24000, false));
    assert_true(gpu_backend->encode_bytes(f.net, 24000, false) >= 24000 * sizeof(float));
    free(samples);
    free(vector);
    gpu_net_close(&f);
}

/* A kernel that faults fails this recording with the driver's error; those after it are the CPU's. */
static void test_fault(void **state) {
    (void)state;
    enum { COUNT = 12000 };
    float *samples = noise(COUNT);
    for (int64_t n = 1; n <= 21; n += 20) {
        gpu_net f;
        tmb_error error = {0};
        gpu_net_open(&f, "sample-f", "f32", 1);
        float *vector = calloc(vector_size(&f), sizeof *vector), *other = calloc(vector_size(&f), sizeof *other);
        assert_ok(gpu_backend->embed_speaker(f.net, samples, COUNT, vector, &error), error);
        set("FAULT_KERNEL", n);
        assert_int_equal(gpu_backend->embed_speaker(f.net, samples, COUNT, other, &error), TMB_ERROR_INTERNAL);
        assert_non_null(strstr(error.message, "ILLEGAL_ADDRESS"));
        set("FAULT_KERNEL", 0);
        assert_true(gpu_backend->lost(f.net, &error));
        assert_ok(gpu_backend->embed_speaker(f.net, samples, COUNT, other, &error), error);
        for (size_t i = 0; i < vector_size(&f); i++) {
            assert_true(fabsf(vector[i] - other[i]) <= 1e-4f);
        }
        free(vector);
        free(other);
        gpu_net_close(&f);
        const tmb_fake_cuda_counts left = counts();
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
        const uint64_t before = counts().allocated;
        assert_ok(gpu_backend->estimate(&files, &options, &estimate, &error), error);
        assert_ok(gpu_backend->load(&files, &options, &net, &error), error);
        device[on_host] = gpu_backend->bytes(net).device;
        assert_int_equal(estimate.device, device[on_host]);
        assert_true(counts().allocated - before <= device[on_host]);
        gpu_backend->destroy(&net);
    }
    assert_true(device[0] > device[1]);
    gpu_net_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_official_vectors), cmocka_unit_test(test_lengths),
                                       cmocka_unit_test(test_fault), cmocka_unit_test(test_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
