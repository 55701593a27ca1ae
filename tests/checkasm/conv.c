#include "checkasm.h"

#include "kernels/conv.h"

#include <string.h>

enum { REFERENCE_WIDTH = 16, WIDTH_MAX = 32, ROWS_MAX = 30 };

/* What panel should give, from the portable kernel: its panels are 16 wide. */
static void expected_panel(size_t width, const float *a, size_t a_pitch, size_t rows, size_t taps, size_t tap_pitch,
                           size_t depth, const float *b, const float *start, float *c, size_t c_pitch) {
    static float narrow[4096 * REFERENCE_WIDTH];
    tmb_conv_kernels plain;
    tmb_conv_kernels_init(&plain, 0);
    for (size_t first = 0; first < width; first += REFERENCE_WIDTH) {
        for (size_t k = 0; k < taps * depth; k++) {
            memcpy(narrow + k * REFERENCE_WIDTH, b + k * width + first, REFERENCE_WIDTH * sizeof *narrow);
        }
        plain.panel(a, a_pitch, rows, taps, tap_pitch, depth, narrow, start != NULL ? start + first : NULL, c + first,
                    c_pitch, NULL, 0);
    }
}

static void check_panel(const tmb_conv_kernels *kernels, size_t rows, size_t taps, size_t depth, bool with_start) {
    CHECKASM_DECLARE(void, const float *, size_t, size_t, size_t, size_t, size_t, const float *, const float *, float *,
                     size_t, const void *, size_t);
    size_t width = kernels->width;
    size_t a_pitch = depth + checkasm_random_below(5);
    size_t tap_pitch = depth * (1 + checkasm_random_below(3)) + checkasm_random_below(3);
    size_t c_pitch = width + checkasm_random_below(9);
    float *a = checkasm_alloc_f32((rows - 1) * a_pitch + (taps - 1) * tap_pitch + depth);
    float *b = checkasm_alloc(taps * depth * width * sizeof *b);
    float *start = checkasm_alloc_f32(width);
    float *expected = checkasm_alloc_f32((rows - 1) * c_pitch + width);
    float *actual = checkasm_alloc_f32((rows - 1) * c_pitch + width);
    checkasm_random_f32(a, (rows - 1) * a_pitch + (taps - 1) * tap_pitch + depth, -1, 1);
    checkasm_random_f32(b, taps * depth * width, -1, 1);
    checkasm_random_f32(start, width, -1, 1);
    checkasm_random_f32(expected, (rows - 1) * c_pitch + width, -1, 1);
    memcpy(actual, expected, ((rows - 1) * c_pitch + width) * sizeof *actual);
    expected_panel(width, a, a_pitch, rows, taps, tap_pitch, depth, b, with_start ? start : NULL, expected, c_pitch);
    checkasm_new(a, a_pitch, rows, taps, tap_pitch, depth, b, with_start ? start : NULL, actual, c_pitch, b,
                 taps * depth * width * sizeof *b);
    (void)checkasm_compare_f32(expected, actual, (rows - 1) * c_pitch + width, 1e-7f * (float)(taps * depth + 1), 0,
                               "rows %zu, taps %zu, depth %zu, start %d", rows, taps, depth, with_start);
}

static void check_dot(size_t rows, size_t count) {
    CHECKASM_DECLARE(void, const float *, size_t, size_t, size_t, const float *, float, float *, size_t);
    size_t a_pitch = 1 + checkasm_random_below(count + 3);
    size_t c_pitch = 1 + checkasm_random_below(2);
    float *a = checkasm_alloc_f32((rows - 1) * a_pitch + count);
    float *b = checkasm_alloc_f32(count);
    float *expected = checkasm_alloc_f32((rows - 1) * c_pitch + 1);
    float *actual = checkasm_alloc_f32((rows - 1) * c_pitch + 1);
    checkasm_random_f32(a, (rows - 1) * a_pitch + count, -1, 1);
    checkasm_random_f32(b, count, -1, 1);
    checkasm_reference(a, a_pitch, rows, count, b, 0.25f, expected, c_pitch);
    checkasm_new(a, a_pitch, rows, count, b, 0.25f, actual, c_pitch);
    for (size_t r = 0; r < rows; r++) {
        (void)checkasm_compare_f32(expected + r * c_pitch, actual + r * c_pitch, 1, 1e-7f * (float)(count + 1), 0,
                                   "rows %zu, count %zu", rows, count);
    }
}

/* A row's result is the same, to the last bit, wherever it is in a tile: streams depend on it. */
static void check_rows_alone(const tmb_conv_kernels *kernels, size_t depth) {
    CHECKASM_DECLARE(void, const float *, size_t, size_t, size_t, size_t, size_t, const float *, const float *, float *,
                     size_t, const void *, size_t);
    size_t width = kernels->width;
    float *a = checkasm_alloc_f32(ROWS_MAX * depth);
    float *b = checkasm_alloc(depth * width * sizeof *b);
    float *start = checkasm_alloc_f32(width);
    float *together = checkasm_alloc_f32(ROWS_MAX * width);
    float *alone = checkasm_alloc_f32(width);
    checkasm_random_f32(a, ROWS_MAX * depth, -1, 1);
    checkasm_random_f32(b, depth * width, -1, 1);
    checkasm_random_f32(start, width, -1, 1);
    checkasm_new(a, depth, ROWS_MAX, 1, 0, depth, b, start, together, width, NULL, 0);
    for (size_t r = 0; r < ROWS_MAX; r++) {
        checkasm_new(a + r * depth, depth, 1, 1, 0, depth, b, start, alone, width, NULL, 0);
        (void)checkasm_compare_bytes(together + r * width, alone, width * sizeof *alone, "row %zu alone, depth %zu", r,
                                     depth);
    }
}

/* ---- 16 bits ---- */

static size_t padded_depth(const tmb_conv_half_kernels *half, size_t count) {
    return (count + half->depth_unit - 1) / half->depth_unit * half->depth_unit;
}

/* A converted row as the portable kernel orders it: others keep high and low parts apart. */
static void plain_row(const tmb_conv_half_kernels *half, const uint16_t *row, size_t padded, uint16_t *plain) {
    const int8_t *parts = (const int8_t *)row;
    for (size_t i = 0; i < padded; i++) {
        plain[i] = half->arrange == NULL ? row[i] : (uint16_t)(int16_t)(128 * parts[i] + parts[padded + i]);
    }
}

static void check_convert(const tmb_conv_half_kernels *half) {
    CHECKASM_DECLARE(void, const float *, size_t, uint16_t *, float *);
    tmb_conv_half_kernels plain;
    tmb_conv_half_kernels_init(&plain, 0);
    for (size_t count = 1; count <= 150; count++) {
        size_t padded = padded_depth(half, count);
        float *x = checkasm_alloc_f32(count);
        uint16_t *row = checkasm_alloc(padded * sizeof *row);
        uint16_t *out = checkasm_alloc(padded * sizeof *out);
        float scale = 0;
        checkasm_random_f32(x, count, -3, 2);
        if (count % 7 == 0) {
            memset(x, 0, count * sizeof *x);
        }
        checkasm_new(x, count, row, &scale);
        plain_row(half, row, padded, out);
        if (half->whole_numbers) {
            uint16_t *expected = checkasm_alloc(padded * sizeof *expected);
            float expected_scale = 0;
            memset(expected, 0, padded * sizeof *expected);
            plain.convert(x, count, expected, &expected_scale);
            (void)checkasm_compare_bytes(expected, out, padded * sizeof *out, "count %zu", count);
            (void)checkasm_compare_f32(&expected_scale, &scale, 1, 0, 0, "scale, count %zu", count);
        } else {
            for (size_t i = 0; i < padded; i++) {
                uint32_t bits = (uint32_t)out[i] << 16;
                float value;
                float expected = i < count ? x[i] : 0;
                memcpy(&value, &bits, sizeof value);
                (void)checkasm_compare_f32(&expected, &value, 1, 0, 0x1p-8f, "count %zu, value %zu", count, i);
            }
        }
        checkasm_release();
    }
}

/* What a value of 16 bits stands for, less its scale. */
static float half_value(const tmb_conv_half_kernels *half, uint16_t value) {
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return half->whole_numbers ? (float)(int16_t)value : result;
}

static void check_half_panel(const tmb_conv_half_kernels *half, size_t rows, size_t pairs, bool with_start) {
    CHECKASM_DECLARE(void, const uint16_t *, size_t, const float *, size_t, size_t, const uint16_t *, const float *,
                     const float *, float *, size_t, const void *, size_t);
    size_t width = half->width;
    bool arranges = half->arrange != NULL;
    pairs = padded_depth(half, 2 * pairs) / 2;
    size_t a_pitch = 2 * (pairs + (arranges ? 0 : checkasm_random_below(3)));
    size_t a_rows = arranges ? (rows + half->rows - 1) / half->rows * half->rows : rows;
    size_t c_pitch = width + checkasm_random_below(9);
    uint16_t *a = checkasm_alloc(((a_rows - 1) * a_pitch + 2 * pairs) * sizeof *a);
    uint16_t *plain = checkasm_alloc(2 * pairs * sizeof *plain);
    uint16_t *b = checkasm_alloc(2 * pairs * width * sizeof *b);
    uint16_t *arranged = checkasm_alloc(2 * pairs * width * sizeof *arranged);
    float *values = checkasm_alloc_f32(2 * pairs > width ? 2 * pairs : width);
    float *row_scales = checkasm_alloc_f32(rows);
    float *column_scales = checkasm_alloc_f32(width);
    float *start = checkasm_alloc_f32(width);
    float *expected = checkasm_alloc_f32((rows - 1) * c_pitch + width);
    float *actual = checkasm_alloc_f32((rows - 1) * c_pitch + width);
    memset(a, 0, ((a_rows - 1) * a_pitch + 2 * pairs) * sizeof *a);
    for (size_t r = 0; r < rows; r++) {
        checkasm_random_f32(values, 2 * pairs, -1, 1);
        half->convert(values, 2 * pairs, a + r * a_pitch, &row_scales[r]);
    }
    for (size_t i = 0; i < 2 * pairs * width; i++) {
        float value;
        checkasm_random_f32(&value, 1, -TMB_CONV_COLUMN_STEPS, TMB_CONV_COLUMN_STEPS);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        b[i] = half->whole_numbers ? (uint16_t)(int16_t)value : (uint16_t)(bits >> 16);
    }
    for (size_t j = 0; j < width; j++) {
        column_scales[j] = half->whole_numbers ? 1 / TMB_CONV_COLUMN_STEPS : 1;
    }
    checkasm_random_f32(start, width, -1, 1);
    checkasm_random_f32(expected, (rows - 1) * c_pitch + width, -1, 1);
    memcpy(actual, expected, ((rows - 1) * c_pitch + width) * sizeof *actual);
    for (size_t r = 0; r < rows; r++) {
        plain_row(half, a + r * a_pitch, 2 * pairs, plain);
        for (size_t j = 0; j < width; j++) {
            double sum = 0;
            for (size_t k = 0; k < 2 * pairs; k++) {
                sum +=
                    (double)half_value(half, plain[k]) * (double)half_value(half, b[(k / 2 * width + j) * 2 + k % 2]);
            }
            float *c = &expected[r * c_pitch + j];
            *c = (with_start ? start[j] : *c) + (float)(sum * (double)row_scales[r] * (double)column_scales[j]);
        }
    }
    memcpy(arranged, b, 2 * pairs * width * sizeof *arranged);
    if (arranges) {
        half->arrange(b, pairs, arranged);
    }
    checkasm_new(a, a_pitch, row_scales, rows, pairs, arranged, column_scales, with_start ? start : NULL, actual,
                 c_pitch, b, 2 * pairs * width * sizeof *b);
    float tolerance = half->whole_numbers ? 1e-5f : 1e-6f * TMB_CONV_COLUMN_STEPS * (float)pairs;
    (void)checkasm_compare_f32(expected, actual, (rows - 1) * c_pitch + width, tolerance, 1e-6f,
                               "rows %zu, pairs %zu, start %d", rows, pairs, with_start);
}

static void checkasm_conv_half(void) {
    tmb_conv_half_kernels table;
    const tmb_conv_half_kernels *half = &table;
    tmb_conv_half_kernels_init(&table, checkasm_cpu_flags());
    const char *kind = half->whole_numbers ? "whole" : "bf16";
    CHECKASM_DECLARE(void, const uint16_t *, size_t, const float *, size_t, size_t, const uint16_t *, const float *,
                     const float *, float *, size_t, const void *, size_t);
    if (checkasm_check(half->convert, "conv_convert_%s", kind)) {
        check_convert(half);
    }
    if (checkasm_check(half->panel, "conv_half_panel_%s", kind)) {
        for (size_t rows = 1; rows <= ROWS_MAX; rows++) {
            check_half_panel(half, rows, 1 + checkasm_random_below(160), rows % 2 == 0);
            checkasm_release();
        }
        check_half_panel(half, 13, 160, true);
    }
    if (checkasm_check(half->panel, "conv_half_panel_%s_96x288_16", kind)) {
        size_t depth = padded_depth(half, 288);
        uint16_t *a = checkasm_alloc(96 * depth * sizeof *a);
        uint16_t *b = checkasm_alloc(depth * half->width * sizeof *b);
        float *c = checkasm_alloc_f32(96 * half->width);
        memset(a, 0, 96 * depth * sizeof *a);
        memset(b, 0, depth * half->width * sizeof *b);
        checkasm_random_f32(c, 96 * half->width, -1, 1);
        checkasm_bench(a, depth, c, 96, depth / 2, b, c, c, c, half->width, NULL, 0);
    }
}

void checkasm_conv(void) {
    tmb_conv_kernels table;
    const tmb_conv_kernels *kernels = &table;
    tmb_conv_kernels_init(&table, checkasm_cpu_flags());
    CHECKASM_DECLARE(void, const float *, size_t, size_t, size_t, size_t, size_t, const float *, const float *, float *,
                     size_t, const void *, size_t);
    if (checkasm_check(kernels->panel, "conv_panel")) {
        for (size_t rows = 1; rows <= ROWS_MAX; rows++) {
            check_panel(kernels, rows, 1 + checkasm_random_below(4), 1 + checkasm_random_below(40), rows % 2 == 0);
            checkasm_release();
            check_panel(kernels, rows, 1, 1 + checkasm_random_below(320), rows % 2 != 0);
            checkasm_release();
        }
        check_rows_alone(kernels, 77);
    }
    if (checkasm_check(kernels->panel, "conv_panel_96x288_16")) { /* rows x depth, 16 outputs or more */
        float *a = checkasm_alloc_f32(96 * 288);
        float *b = checkasm_alloc(288 * kernels->width * sizeof *b);
        float *c = checkasm_alloc_f32(96 * kernels->width);
        checkasm_random_f32(a, 96 * 288, -1, 1);
        checkasm_random_f32(b, 288 * kernels->width, -1, 1);
        checkasm_random_f32(c, 96 * kernels->width, -1, 1);
        checkasm_bench(a, 288, 96, 1, 0, 288, b, b, c, kernels->width, NULL, 0);
    }
    if (checkasm_check(kernels->dot, "conv_dot")) {
        for (size_t rows = 1; rows <= 9; rows++) {
            for (size_t count = 1; count <= 70; count++) {
                check_dot(rows, count);
                checkasm_release();
            }
        }
    }
    checkasm_conv_half();
}
