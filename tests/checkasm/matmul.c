#include "checkasm.h"

#include "kernels/matmul.h"

#include <stdlib.h>

static const char *const type_names[TMB_WEIGHT_TYPES] = {"f32", "bf16", "q8", "q4"};

/* A random matrix, packed into a guarded buffer. */
static tmb_matrix random_matrix(tmb_weight_type type, size_t rows, size_t columns) {
    tmb_matrix matrix;
    if (!tmb_matrix_shape(&matrix, type, rows, columns)) {
        abort();
    }
    uint8_t *data = checkasm_alloc(tmb_matrix_bytes(&matrix));
    float *values = checkasm_alloc_f32(TMB_PANEL_ROWS * columns);
    for (size_t panel = 0; panel < matrix.panels; panel++) {
        size_t first = panel * TMB_PANEL_ROWS;
        checkasm_random_f32(values, TMB_PANEL_ROWS * columns, -1, 1);
        tmb_matrix_pack_panel(&matrix, values, columns, rows - first < TMB_PANEL_ROWS ? rows - first : TMB_PANEL_ROWS,
                              data + panel * matrix.panel_bytes);
    }
    matrix.data = data;
    return matrix;
}

/* `count` random vectors in the form of `kernels`, and in the portable form with the values that that form
 * can hold. */
static void random_vectors(const tmb_matmul *kernels, const tmb_matmul *portable, size_t columns, size_t count,
                           bool rounded, uint8_t *rows, uint8_t *portable_rows) {
    float *values = checkasm_alloc_f32(columns);
    for (size_t i = 0; i < count; i++) {
        checkasm_random_f32(values, columns, -2, 2);
        for (size_t k = 0; rounded && k < columns; k++) {
            values[k] = tmb_bf16_to_float(tmb_float_to_bf16(values[k]));
        }
        kernels->prepare(values, columns, rows + i * kernels->row_bytes(columns));
        portable->prepare(values, columns, portable_rows + i * portable->row_bytes(columns));
    }
}

static void check_shape(const tmb_matmul *kernels, tmb_weight_type type, bool rounded, size_t rows, size_t columns,
                        size_t count) {
    CHECKASM_DECLARE(void, const tmb_matrix *, size_t, size_t, const void *, size_t, size_t, float *, size_t);
    tmb_matmul_kernels plain;
    tmb_matmul_kernels_init(&plain, 0);
    const tmb_matmul *portable = tmb_matmul_choose(&plain, type, false);
    tmb_matrix matrix = random_matrix(type, rows, columns);
    size_t row_bytes = kernels->row_bytes(columns);
    size_t portable_bytes = portable->row_bytes(columns);
    uint8_t *x = checkasm_alloc(count * row_bytes);
    uint8_t *portable_x = checkasm_alloc(count * portable_bytes);
    random_vectors(kernels, portable, columns, count, rounded, x, portable_x);
    if (type == TMB_WEIGHT_Q8 || type == TMB_WEIGHT_Q4) {
        (void)checkasm_compare_bytes(portable_x, x, count * row_bytes, "prepared vectors, %zu columns", columns);
    }
    size_t stride = matrix.panels * TMB_PANEL_ROWS;
    float *expected = checkasm_alloc_f32(count * stride);
    float *actual = checkasm_alloc_f32(count * stride);
    float *alone = checkasm_alloc_f32(count * stride);
    size_t first = checkasm_random_below(matrix.panels);
    size_t end = first + 1 + checkasm_random_below(matrix.panels - first);
    portable->multiply(&matrix, first, end, portable_x, portable_bytes, count, expected, stride);
    checkasm_new(&matrix, first, end, x, row_bytes, count, actual, stride);
    /* Quantized products are whole numbers and everything after them has one order: equal to the bit. */
    float tolerance = type == TMB_WEIGHT_Q8 || type == TMB_WEIGHT_Q4 ? 0 : 2e-7f * (float)columns;
    (void)checkasm_compare_f32(expected, actual, count * stride, tolerance, 0,
                               "%zu x %zu, panels %zu to %zu, %zu vectors", rows, columns, first, end, count);
    for (size_t i = 0; i < count; i++) {
        checkasm_new(&matrix, first, end, x + i * row_bytes, row_bytes, 1, alone + i * stride, stride);
    }
    (void)checkasm_compare_bytes(alone, actual, count * stride * sizeof(float),
                                 "alone, not beside %zu others, %zu columns", count - 1, columns);
}

static void check_type(tmb_weight_type type, bool rounded) {
    CHECKASM_DECLARE(void, const tmb_matrix *, size_t, size_t, const void *, size_t, size_t, float *, size_t);
    tmb_matmul_kernels table;
    tmb_matmul_kernels_init(&table, checkasm_cpu_flags());
    const tmb_matmul *kernels = tmb_matmul_choose(&table, type, rounded);
    const char *suffix = rounded ? "_dot" : "";
    if (checkasm_check(kernels->multiply, "matmul_%s%s", type_names[type], suffix)) {
        static const size_t columns[] = {1,  2,  3,  7,  8,  15,  16,  17,  31,  32,  33,
                                         48, 63, 64, 65, 96, 128, 255, 256, 257, 320, 513};
        for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++) {
            for (size_t count = 1; count <= 14; count++) {
                check_shape(kernels, type, rounded, 1 + checkasm_random_below(200), columns[c], count);
                checkasm_release();
            }
        }
        check_shape(kernels, type, rounded, 48, 3072, 5);
        checkasm_release();
        /* More vectors than a tile of any kernel has, and than two. */
        static const size_t many[] = {15, 16, 17, 31, 32, 33, 50};
        for (size_t m = 0; m < sizeof many / sizeof many[0]; m++) {
            check_shape(kernels, type, rounded, 1 + checkasm_random_below(100), 1 + checkasm_random_below(300),
                        many[m]);
            checkasm_release();
        }
    }
    /* Out of the cache, one vector; and in it, several. */
    static const size_t timed[][3] = {
        {16384, 1024, 1}, {256, 1024, 1}, {256, 1024, 4}, {256, 1024, 8}, {256, 1024, 64}};
    for (size_t t = 0; t < sizeof timed / sizeof timed[0]; t++) {
        size_t rows = timed[t][0], width = timed[t][1], count = timed[t][2];
        if (checkasm_check(kernels->multiply, "matmul_%s%s_%zux%zux%zu", type_names[type], suffix, rows, width,
                           count)) {
            tmb_matrix matrix = random_matrix(type, rows, width);
            size_t row_bytes = kernels->row_bytes(width);
            uint8_t *x = checkasm_alloc(count * row_bytes);
            float *values = checkasm_alloc_f32(width);
            for (size_t i = 0; i < count; i++) {
                checkasm_random_f32(values, width, -2, 2);
                kernels->prepare(values, width, x + i * row_bytes);
            }
            float *out = checkasm_alloc_f32(count * rows);
            checkasm_bench(&matrix, 0, matrix.panels, x, row_bytes, count, out, rows);
        }
    }
}

void checkasm_matmul(void) {
    check_type(TMB_WEIGHT_F32, false);
    check_type(TMB_WEIGHT_BF16, false);
    check_type(TMB_WEIGHT_BF16, true);
    check_type(TMB_WEIGHT_Q8, false);
    check_type(TMB_WEIGHT_Q4, false);
}
