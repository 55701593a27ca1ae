/* The kernels of the denoiser: matrix product, elementwise functions, depthwise convolution, passes of the Fourier
 * transform. */
#include "checkasm.h"

#include "kernels/depthwise.h"
#include "kernels/elementwise.h"
#include "kernels/fft.h"
#include "kernels/gemm_f32.h"
#include "kernels/gemm_fixed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Packed weights must be aligned; the guard page then lies behind a whole number of cache lines. */
static float *random_packed(size_t k, size_t n) {
    float *b = checkasm_alloc_f32(k * n);
    float *bias = checkasm_alloc_f32(n);
    float *packed = checkasm_alloc_f32(tmb_gemm_f32_packed_floats(k, n));
    checkasm_random_f32(b, k * n, -1, 1);
    checkasm_random_f32(bias, n, -1, 1);
    tmb_gemm_f32_pack(packed, k, n, b, n, 1, bias);
    return packed;
}

typedef struct gemm_shape {
    size_t m, n, runs, run;
    bool relu, backwards, initial;
} gemm_shape;

static void check_gemm(const gemm_shape *shape) {
    CHECKASM_DECLARE(void, const tmb_gemm_f32 *);
    const size_t k = shape->runs * shape->run;
    const size_t jump = shape->run + checkasm_random_below(4);
    const size_t a_row = 1 + checkasm_random_below(k + 3);
    const size_t c_row = shape->n + checkasm_random_below(3);
    const size_t a_count = shape->m == 0 ? 0 : (shape->m - 1) * a_row + (shape->runs - 1) * jump + shape->run;
    const size_t c_count = shape->m == 0 ? 0 : (shape->m - 1) * c_row + shape->n;
    float *a = checkasm_alloc_f32(a_count);
    float *initial = checkasm_alloc_f32(c_count);
    float *expected = checkasm_alloc_f32(c_count);
    float *actual = checkasm_alloc_f32(c_count);
    checkasm_random_f32(a, a_count, -1, 1);
    checkasm_random_f32(initial, c_count, -1, 1);
    tmb_gemm_f32 product = {.m = shape->m,
                            .n = shape->n,
                            .k = k,
                            .a = a,
                            .a_row = a_row,
                            .a_run = shape->run,
                            .a_jump = jump,
                            .b = random_packed(k, shape->n),
                            .c = expected,
                            .c_row = c_row,
                            .initial = shape->initial ? initial : NULL,
                            .initial_row = c_row,
                            .relu = shape->relu,
                            .backwards = shape->backwards};
    /* What lies between the rows stays as it was. */
    memset(expected, 0, c_count * sizeof(float));
    memset(actual, 0, c_count * sizeof(float));
    checkasm_reference(&product);
    product.c = actual;
    checkasm_new(&product);
    (void)checkasm_compare_f32(expected, actual, c_count, 1e-7f * (float)(k + 4), 0, "m %zu n %zu k %zu x %zu",
                               shape->m, shape->n, shape->runs, shape->run);
    /* One row alone is the same bits as among others. */
    for (size_t row = 0; row < shape->m; row += 1 + shape->m / 3) {
        float *alone = checkasm_alloc_f32(shape->n);
        tmb_gemm_f32 one = product;
        one.m = 1;
        one.a = a + row * a_row;
        one.initial = shape->initial ? initial + row * c_row : NULL;
        one.c = alone;
        one.c_row = shape->n;
        one.backwards = !shape->backwards;
        checkasm_new(&one);
        (void)checkasm_compare_bytes(actual + row * c_row, alone, shape->n * sizeof(float),
                                     "row %zu alone, m %zu n %zu", row, shape->m, shape->n);
    }
    checkasm_release();
}

static void check_all_gemm(void) {
    CHECKASM_DECLARE(void, const tmb_gemm_f32 *);
    tmb_gemm_f32_kernels kernels;
    tmb_gemm_f32_kernels_init(&kernels, checkasm_cpu_flags());
    if (checkasm_check(kernels.gemm, "gemm_f32")) {
        static const size_t columns[] = {1, 5, 7, 8, 9, 10, 15, 16, 17, 25, 31, 32, 33, 48, 60, 64, 65, 128, 144};
        for (size_t m = 0; m <= 27; m++) {
            for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
                const gemm_shape shape = {.m = m,
                                          .n = columns[i],
                                          .runs = 1 + checkasm_random_below(4),
                                          .run = 1 + checkasm_random_below(20),
                                          .relu = checkasm_random_below(2) != 0,
                                          .backwards = checkasm_random_below(2) != 0,
                                          .initial = checkasm_random_below(2) != 0};
                check_gemm(&shape);
            }
        }
    }
    /* The shapes of the networks: a block through a recurrent layer's inputs, one step of its state, 1x1 convolution.
     */
    static const size_t timed[][3] = {{48, 768, 256}, {1, 768, 256}, {96, 64, 64},
                                      {8, 64, 64},    {96, 25, 32},  {8, 16, 96}};
    for (size_t i = 0; i < sizeof timed / sizeof timed[0]; i++) {
        const size_t m = timed[i][0], n = timed[i][1], k = timed[i][2];
        if (checkasm_check(kernels.gemm, "gemm_f32_%zux%zux%zu", m, n, k)) {
            check_gemm(&(gemm_shape){.m = m, .n = n, .runs = 1, .run = k});
            float *a = checkasm_alloc_f32(m * k);
            checkasm_random_f32(a, m * k, -1, 1);
            const tmb_gemm_f32 product = {.m = m,
                                          .n = n,
                                          .k = k,
                                          .a = a,
                                          .a_row = k,
                                          .a_run = k,
                                          .b = random_packed(k, n),
                                          .c = checkasm_alloc_f32(m * n),
                                          .c_row = n};
            checkasm_bench(&product);
        }
    }
}

/* Weights of all sizes, a column of zeros, and one as small as floats get. */
static float *random_fixed(size_t k, size_t n) {
    float *b = checkasm_alloc_f32(k * n);
    float *bias = checkasm_alloc_f32(n);
    float *packed = checkasm_alloc_f32(tmb_gemm_fixed_packed_floats(k, n));
    checkasm_random_f32(b, k * n, -1, 1);
    checkasm_random_f32(bias, n, -1, 1);
    for (size_t column = 0; column < n; column++) {
        const float size = column % 7 == 3 ? 0 : column % 7 == 4 ? 1e-42f : ldexpf(1, (int)(column % 9) * 8 - 32);
        for (size_t i = 0; i < k; i++) {
            b[i * n + column] *= size;
        }
        bias[column] *= size;
    }
    tmb_gemm_fixed_pack(packed, k, n, b, n, 1, bias);
    return packed;
}

static void check_fixed_row(size_t n, size_t k) {
    CHECKASM_DECLARE(void, const tmb_gemm_f32 *);
    float *a = checkasm_alloc_f32(k);
    float *expected = checkasm_alloc_f32(n);
    float *actual = checkasm_alloc_f32(n);
    checkasm_random_f32(a, k, -1, 1);
    tmb_gemm_f32 product = {.m = 1,
                            .n = n,
                            .k = k,
                            .a = a,
                            .a_row = k,
                            .a_run = k,
                            .b = random_fixed(k, n),
                            .c = expected,
                            .c_row = n,
                            .relu = checkasm_random_below(2) != 0};
    checkasm_reference(&product);
    product.c = actual;
    product.backwards = checkasm_random_below(2) != 0;
    checkasm_new(&product);
    for (size_t column = 0; column < n; column++) {
        const float scale = ldexpf(1, (int)(column % 9) * 8 - 32);
        expected[column] /= scale;
        actual[column] /= scale;
    }
    (void)checkasm_compare_f32(expected, actual, n, 1e-7f * (float)(k + 4), 0, "n %zu k %zu", n, k);
    checkasm_release();
}

static void check_unpack(size_t k, size_t panels) {
    CHECKASM_DECLARE(void, float *, const float *, size_t, size_t);
    const size_t count = tmb_gemm_f32_packed_floats(k, panels * TMB_GEMM_PANEL);
    const float *packed = random_fixed(k, panels * TMB_GEMM_PANEL);
    float *expected = checkasm_alloc_f32(count);
    float *actual = checkasm_alloc_f32(count);
    checkasm_reference(expected, packed, k, panels);
    checkasm_new(actual, packed, k, panels);
    (void)checkasm_compare_bytes(expected, actual, count * sizeof(float), "k %zu panels %zu", k, panels);
    checkasm_release();
}

/* The row of a variant is the product of the same variant's floats, bit for bit. */
static void check_fixed_against_floats(size_t n, size_t k) {
    tmb_gemm_fixed_kernels fixed;
    tmb_gemm_f32_kernels floats;
    tmb_gemm_fixed_kernels_init(&fixed, checkasm_cpu_flags());
    tmb_gemm_f32_kernels_init(&floats, checkasm_cpu_flags());
    enum { ROWS = 5 };
    float *a = checkasm_alloc_f32(ROWS * k);
    float *alone = checkasm_alloc_f32(n);
    float *together = checkasm_alloc_f32(ROWS * n);
    checkasm_random_f32(a, ROWS * k, -1, 1);
    tmb_gemm_f32 product = {
        .m = ROWS, .n = n, .k = k, .a = a, .a_row = k, .a_run = k, .b = random_fixed(k, n), .c = together, .c_row = n};
    tmb_gemm_fixed_run(&fixed, &floats, &product);
    product.m = 1;
    product.c = alone;
    for (size_t row = 0; row < ROWS && fixed.faster; row++) {
        product.a = a + row * k;
        tmb_gemm_fixed_run(&fixed, &floats, &product);
        (void)checkasm_compare_bytes(together + row * n, alone, n * sizeof(float), "row %zu, n %zu k %zu", row, n, k);
    }
    checkasm_release();
}

static void check_all_fixed(void) {
    CHECKASM_DECLARE(void, const tmb_gemm_f32 *);
    tmb_gemm_fixed_kernels kernels;
    tmb_gemm_fixed_kernels_init(&kernels, checkasm_cpu_flags());
    static const size_t columns[] = {1, 5, 15, 16, 17, 33, 127, 128, 129, 160, 768};
    if (checkasm_check(kernels.row, "gemm_fixed_row")) {
        for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
            for (size_t k = 1; k <= 9; k++) {
                check_fixed_row(columns[i], k);
                check_fixed_against_floats(columns[i], k);
            }
            check_fixed_row(columns[i], 256);
        }
        float *a = checkasm_alloc_f32(256);
        checkasm_random_f32(a, 256, -1, 1);
        const tmb_gemm_f32 product = {.m = 1,
                                      .n = 768,
                                      .k = 256,
                                      .a = a,
                                      .a_row = 256,
                                      .a_run = 256,
                                      .b = random_fixed(256, 768),
                                      .c = checkasm_alloc_f32(768),
                                      .c_row = 768};
        checkasm_bench(&product);
        checkasm_release();
    }
    if (checkasm_check(kernels.unpack, "gemm_fixed_unpack")) {
        for (size_t k = 1; k < 20; k++) {
            check_unpack(k, 1 + k % 3);
        }
    }
}

/* If |x| is large, small, and beyond what an exponential holds. */
static void fill_arguments(float *x, size_t count) {
    static const float special[] = {0, -0.0f, 1e-30f, -1e-30f, 1e-8f, 87, -87, 88.5f, -104, 1000, -1000, 1e30f, -1e30f};
    checkasm_random_f32(x, count, -12, 12);
    for (size_t i = 0; i < count; i += 3) {
        x[i] = special[checkasm_random_below(sizeof special / sizeof special[0])];
    }
}

static void check_activations(void) {
    CHECKASM_DECLARE(void, float *, size_t);
    tmb_elementwise_kernels kernels;
    tmb_elementwise_kernels_init(&kernels, checkasm_cpu_flags());
    static const char *const names[] = {"sigmoid", "tanh"};
    void (*const functions[])(float *, size_t) = {kernels.sigmoid, kernels.tanh};
    for (size_t f = 0; f < 2; f++) {
        if (checkasm_check(functions[f], "dfn_%s", names[f])) {
            for (size_t count = 0; count <= 70; count++) {
                float *expected = checkasm_alloc_f32(count);
                float *actual = checkasm_alloc_f32(count);
                float *exact = checkasm_alloc_f32(count);
                fill_arguments(expected, count);
                memcpy(actual, expected, count * sizeof(float));
                for (size_t i = 0; i < count; i++) {
                    const double x = (double)expected[i];
                    exact[i] = (float)(f == 0 ? 1 / (1 + exp(-x)) : tanh(x));
                }
                checkasm_reference(expected, count);
                checkasm_new(actual, count);
                (void)checkasm_compare_f32(expected, actual, count, 1e-37f, 6e-7f, "count %zu", count);
                (void)checkasm_compare_f32(exact, actual, count, 2e-38f, 4e-7f, "count %zu, exact", count);
                checkasm_release();
            }
            float *x = checkasm_alloc_f32(960);
            checkasm_random_f32(x, 960, -3, 3);
            checkasm_bench(x, 960);
        }
    }
}

static void check_gates(void) {
    CHECKASM_DECLARE(void, float *, const float *, const float *, size_t);
    tmb_elementwise_kernels kernels;
    tmb_elementwise_kernels_init(&kernels, checkasm_cpu_flags());
    if (checkasm_check(kernels.gru_gates, "gru_gates")) {
        for (size_t hidden = 0; hidden <= 40; hidden++) {
            float *x = checkasm_alloc_f32(3 * hidden);
            float *r = checkasm_alloc_f32(3 * hidden);
            float *expected = checkasm_alloc_f32(hidden);
            float *actual = checkasm_alloc_f32(hidden);
            checkasm_random_f32(x, 3 * hidden, -6, 6);
            checkasm_random_f32(r, 3 * hidden, -6, 6);
            checkasm_random_f32(expected, hidden, -1, 1);
            memcpy(actual, expected, hidden * sizeof(float));
            checkasm_reference(expected, x, r, hidden);
            checkasm_new(actual, x, r, hidden);
            (void)checkasm_compare_f32(expected, actual, hidden, 1e-6f, 0, "hidden %zu", hidden);
            checkasm_release();
        }
        float *x = checkasm_alloc_f32(768);
        float *r = checkasm_alloc_f32(768);
        float *h = checkasm_alloc_f32(256);
        checkasm_random_f32(x, 768, -3, 3);
        checkasm_random_f32(r, 768, -3, 3);
        checkasm_random_f32(h, 256, -1, 1);
        checkasm_bench(h, x, r, 256);
    }
}

static void check_scale(void) {
    CHECKASM_DECLARE(void, float *, const float *, const float *, const float *, const float *, size_t, size_t);
    tmb_elementwise_kernels kernels;
    tmb_elementwise_kernels_init(&kernels, checkasm_cpu_flags());
    if (checkasm_check(kernels.scale_relu_add, "scale_relu_add")) {
        for (size_t channels = 1; channels <= 70; channels++) {
            const size_t rows = checkasm_random_below(5);
            float *parts[6];
            for (size_t i = 0; i < 6; i++) {
                const size_t count = i == 1 || i == 2 ? channels : rows * channels;
                parts[i] = checkasm_alloc_f32(count);
                checkasm_random_f32(parts[i], count, -1, 1);
            }
            checkasm_reference(parts[4], parts[0], parts[1], parts[2], parts[3], rows, channels);
            checkasm_new(parts[5], parts[0], parts[1], parts[2], parts[3], rows, channels);
            (void)checkasm_compare_f32(parts[4], parts[5], rows * channels, 3e-7f, 0, "%zu x %zu", rows, channels);
            checkasm_new(parts[3], parts[0], parts[1], parts[2], parts[3], rows, channels); /* in place */
            (void)checkasm_compare_bytes(parts[5], parts[3], rows * channels * sizeof(float), "in place %zu", channels);
            checkasm_release();
        }
        float *x = checkasm_alloc_f32(32 * 64);
        checkasm_random_f32(x, 32 * 64, -1, 1);
        float *out = checkasm_alloc_f32(32 * 64);
        checkasm_bench(out, x, x, x + 64, x, 32, 64);
    }
}

static void check_dot(void) {
    CHECKASM_DECLARE(float, const float *, const float *, size_t);
    tmb_elementwise_kernels kernels;
    tmb_elementwise_kernels_init(&kernels, checkasm_cpu_flags());
    if (checkasm_check(kernels.dot, "dot_f32")) {
        for (size_t count = 0; count <= 200; count++) {
            float *a = checkasm_alloc_f32(count);
            float *b = checkasm_alloc_f32(count);
            checkasm_random_f32(a, count, -1, 1);
            checkasm_random_f32(b, count, -1, 1);
            const float expected = checkasm_reference(a, b, count);
            const float actual = checkasm_new(a, b, count);
            (void)checkasm_compare_f32(&expected, &actual, 1, 1e-7f * (float)(count + 1), 0, "count %zu", count);
            checkasm_release();
        }
        float *a = checkasm_alloc_f32(512);
        checkasm_random_f32(a, 512, -1, 1);
        checkasm_bench(a, a, 512);
    }
}

static void check_depthwise(void) {
    CHECKASM_DECLARE(void, const tmb_depthwise *);
    tmb_depthwise_kernels kernels;
    tmb_depthwise_kernels_init(&kernels, checkasm_cpu_flags());
    if (checkasm_check(kernels.convolve, "depthwise")) {
        static const size_t widths[] = {1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 72, 128, 130};
        for (size_t i = 0; i < 400; i++) {
            const bool transposed = i % 2 == 1;
            const size_t channels = widths[checkasm_random_below(sizeof widths / sizeof widths[0])];
            const size_t taps = 1 + checkasm_random_below(5);
            const size_t stride = 1 + checkasm_random_below(3);
            const size_t pad = checkasm_random_below(taps);
            const size_t rows = 1 + checkasm_random_below(12);
            const size_t all = transposed ? rows * stride + 2 : rows / stride + 1;
            const size_t first = checkasm_random_below(all);
            const size_t count = checkasm_random_below(all - first + 1);
            float *in = checkasm_alloc_f32(rows * channels);
            float *weights = checkasm_alloc_f32(taps * channels);
            float *expected = checkasm_alloc_f32(count * channels);
            float *actual = checkasm_alloc_f32(count * channels);
            checkasm_random_f32(in, rows * channels, -1, 1);
            checkasm_random_f32(weights, taps * channels, -1, 1);
            tmb_depthwise job = {.in = in,
                                 .in_rows = rows,
                                 .channels = channels,
                                 .weights = weights,
                                 .taps = taps,
                                 .stride = stride,
                                 .pad = pad,
                                 .transposed = transposed,
                                 .out = expected,
                                 .first = first,
                                 .count = count};
            checkasm_reference(&job);
            job.out = actual;
            checkasm_new(&job);
            (void)checkasm_compare_f32(expected, actual, count * channels, 1e-6f, 0, "%zu channels, %zu taps by %zu%s",
                                       channels, taps, stride, transposed ? ", transposed" : "");
            checkasm_release();
        }
        float *in = checkasm_alloc_f32(96 * 64);
        float *weights = checkasm_alloc_f32(3 * 64);
        checkasm_random_f32(in, 96 * 64, -1, 1);
        checkasm_random_f32(weights, 3 * 64, -1, 1);
        const tmb_depthwise job = {.in = in,
                                   .in_rows = 96,
                                   .channels = 64,
                                   .weights = weights,
                                   .taps = 3,
                                   .stride = 2,
                                   .pad = 1,
                                   .out = checkasm_alloc_f32(48 * 64),
                                   .count = 48};
        checkasm_bench(&job);
    }
}

static void check_passes(void) {
    CHECKASM_DECLARE(void, const tmb_fft_pass *, const float *, const float *, float *, float *);
    static const size_t places[][2] = {{1, 1}, {3, 1},  {8, 1}, {120, 1}, {2, 4}, {30, 4},
                                       {3, 4}, {6, 16}, {1, 8}, {2, 240}, {5, 3}};
    tmb_fft_kernels kernels;
    tmb_fft_kernels_init(&kernels, checkasm_cpu_flags());
    for (size_t radix = 2; radix <= 5; radix++) {
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
            const size_t m = places[i][0], s = places[i][1];
            const tmb_fft_pass_function function = kernels.pass[tmb_fft_shape_of(radix, m, s)][radix - 2];
            if (!checkasm_check(function, "fft_radix%zu_%zux%zu", radix, m, s)) {
                continue;
            }
            const size_t count = radix * m * s;
            float *parts[8];
            for (size_t j = 0; j < 8; j++) {
                const size_t size = j < 2 ? (radix - 1) * m : count;
                parts[j] = checkasm_alloc_f32(size);
                checkasm_random_f32(parts[j], size, -1, 1);
            }
            const tmb_fft_pass pass = {radix, m, s, parts[0], parts[1], function};
            checkasm_reference(&pass, parts[2], parts[3], parts[4], parts[5]);
            checkasm_new(&pass, parts[2], parts[3], parts[6], parts[7]);
            (void)checkasm_compare_f32(parts[4], parts[6], count, 3e-6f, 0, "real part");
            (void)checkasm_compare_f32(parts[5], parts[7], count, 3e-6f, 0, "imaginary part");
            checkasm_bench(&pass, parts[2], parts[3], parts[6], parts[7]);
            checkasm_release();
        }
    }
}

void checkasm_dfn(void) {
    check_all_gemm();
    check_all_fixed();
    check_activations();
    check_gates();
    check_scale();
    check_dot();
    check_depthwise();
    check_passes();
}
