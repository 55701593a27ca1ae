#include "dfn_fixture.h"

#include "cpu/cpu.h"
#include "weights/models.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

tmb_dfn_model *dfn_model(unsigned mask) {
    tmb_error error = {0};
    char *path = NULL;
    assert_ok(tmb_models_find_denoiser(NULL, NULL, &path, &error), error);
    tmb_dfn_model *model = NULL;
    tmb_cpu_mask(mask);
    assert_ok(tmb_dfn_model_load(path, &model, &error), error);
    tmb_cpu_mask(~0u);
    free(path);
    return model;
}

float *dfn_clip(const char *name, size_t *count) {
    golden_array clip = golden_load("dfn/%s.in.npy", name);
    assert_non_null(clip.i16);
    float *samples = malloc(clip.count * sizeof(float));
    assert_non_null(samples);
    for (size_t i = 0; i < clip.count; i++) {
        samples[i] = (float)clip.i16[i] / 32768;
    }
    *count = clip.count;
    golden_free(&clip);
    return samples;
}

float *dfn_stream(tmb_enhancer *enhancer, const float *samples, size_t count, size_t piece, size_t *out_count) {
    tmb_error error = {0};
    const size_t room = count + 4096;
    float *out = calloc(room, sizeof(float));
    assert_non_null(out);
    size_t got = 0;
    uint32_t random = 12345;
    for (size_t done = 0; done < count;) {
        random = random * 1664525u + 1013904223u;
        size_t now = piece != 0 ? piece : random >> 20; /* up to 4095 */
        now = now < count - done ? now : count - done;
        assert_ok(tmb_enhancer_push(enhancer, samples + done, now, &error), error);
        done += now;
        const size_t want = piece != 0 ? room - got : (random >> 8) % 3000;
        got += tmb_enhancer_pull(enhancer, out + got, want < room - got ? want : room - got);
    }
    assert_ok(tmb_enhancer_flush(enhancer, &error), error);
    got += tmb_enhancer_pull(enhancer, out + got, room - got);
    *out_count = got;
    return out;
}

float *dfn_enhance(tmb_dfn_model *model, const tmb_enhance_settings *settings, const float *samples, size_t count,
                   size_t piece, size_t *out_count) {
    tmb_error error = {0};
    tmb_enhancer *enhancer = NULL;
    assert_ok(tmb_enhancer_create(model, settings, &enhancer, &error), error);
    float *out = dfn_stream(enhancer, samples, count, piece, out_count);
    tmb_enhancer_destroy(&enhancer);
    assert_null(enhancer);
    return out;
}

void dfn_assert_parity(const char *what, const float *actual, const float *expected, size_t count) {
    const double snr = golden_snr_db(actual, expected, count);
    const double largest = golden_assert_close(what, actual, expected, count, 1e-5);
    print_message("%s: SNR %.1f dB, max abs %.2g\n", what, snr, largest);
    assert_true(snr >= 95);
}
