#include "test.h"

#include "cpu/cpu.h"
#include "kernels/fft.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

/* Against the sum itself in double, and back. */
static void check_length(size_t n, unsigned cpu) {
    tmb_error error = {0};
    tmb_fft *fft = NULL;
    assert_ok(tmb_fft_create(n, cpu, &fft, &error), error);
    float *x = malloc(n * sizeof(float));
    float *window = malloc(n * sizeof(float));
    float *re = malloc((n / 2 + 1) * sizeof(float));
    float *im = malloc((n / 2 + 1) * sizeof(float));
    float *back = malloc(n * sizeof(float));
    float *scratch = aligned_alloc(64, (tmb_fft_scratch_floats(fft) * sizeof(float) + 63) / 64 * 64);
    uint32_t random = 7;
    for (size_t i = 0; i < n; i++) {
        random = random * 1664525u + 1013904223u;
        x[i] = (float)random * 0x1p-31f - 1;
        window[i] = 0.5f + (float)(i % 3);
    }
    tmb_fft_forward(fft, x, window, re, im, scratch);
    const double tolerance = 2e-6 * sqrt((double)n) * 3;
    for (size_t k = 0; k <= n / 2; k++) {
        double sum_re = 0;
        double sum_im = 0;
        for (size_t i = 0; i < n; i++) {
            const double angle = -2 * pi * (double)(k * i % n) / (double)n;
            sum_re += (double)x[i] * (double)window[i] * cos(angle);
            sum_im += (double)x[i] * (double)window[i] * sin(angle);
        }
        assert_true(fabs(sum_re - (double)re[k]) < tolerance && fabs(sum_im - (double)im[k]) < tolerance);
    }
    im[0] = 123; /* not looked at */
    im[n / 2] = 123;
    tmb_fft_inverse(fft, re, im, back, scratch);
    for (size_t i = 0; i < n; i++) {
        assert_true(fabs((double)back[i] / (double)n - (double)x[i] * (double)window[i]) < 3e-6);
    }
    free(x);
    free(window);
    free(re);
    free(im);
    free(back);
    free(scratch);
    tmb_fft_destroy(&fft);
}

static void test_lengths(void **state) {
    (void)state;
    static const size_t lengths[] = {2,  4,  6,  8,  10, 12,  16,  18,  20,  24,  30,  32,  40,  48,  50,   54,
                                     60, 64, 72, 90, 96, 120, 128, 160, 240, 320, 480, 512, 640, 960, 1024, 1920};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        check_length(lengths[i], 0);
        check_length(lengths[i], tmb_cpu_flags());
    }
}

static void test_unsupported(void **state) {
    (void)state;
    static const size_t lengths[] = {0, 1, 3, 14, 961, 962, 65538, 131072};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        tmb_error error = {0};
        tmb_fft *fft = NULL;
        assert_int_equal(tmb_fft_create(lengths[i], 0, &fft, &error), TMB_ERROR_UNSUPPORTED);
        assert_null(fft);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lengths), cmocka_unit_test(test_unsupported)};
    return cmocka_run_group_tests_name("fft", tests, NULL, NULL);
}
