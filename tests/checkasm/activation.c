#include "checkasm.h"

#include "kernels/activation.h"

#include <math.h>
#include <string.h>

enum { PITCH = 53 };

typedef struct tile {
    size_t rows, columns;
    float *x[2], *y[2], *add, *frequency, *gain; /* [2]: for the reference and for the variant */
} tile;

static tile make_tile(size_t rows, size_t columns, float range) {
    size_t size = (rows - 1) * PITCH + columns;
    tile t = {.rows = rows, .columns = columns};
    for (int i = 0; i < 2; i++) {
        t.x[i] = checkasm_alloc_f32(size);
        t.y[i] = checkasm_alloc_f32(size);
        memset(t.y[i], 0, size * sizeof(float));
    }
    t.add = checkasm_alloc_f32(size);
    t.frequency = checkasm_alloc_f32(columns);
    t.gain = checkasm_alloc_f32(columns);
    checkasm_random_f32(t.x[0], size, -range, range);
    memcpy(t.x[1], t.x[0], size * sizeof(float));
    checkasm_random_f32(t.add, size, -1, 1);
    checkasm_random_f32(t.frequency, columns, 0.2f, 3);
    checkasm_random_f32(t.gain, columns, 0.1f, 2);
    return t;
}

static void compare_tile(const tile *t, float absolute, float relative, float range) {
    for (size_t r = 0; r < t->rows; r++) {
        (void)checkasm_compare_f32(t->y[0] + r * PITCH, t->y[1] + r * PITCH, t->columns, absolute, relative,
                                   "rows %zu, columns %zu, range %g", t->rows, t->columns, (double)range);
        (void)checkasm_compare_f32(t->x[0] + r * PITCH, t->x[1] + r * PITCH, t->columns, 0, 0,
                                   "input of rows %zu, columns %zu", t->rows, t->columns);
    }
}

static void check_snake(const tmb_activation_kernels *kernels) {
    CHECKASM_DECLARE(void, float *, size_t, const float *, size_t, float *, size_t, size_t, size_t, const float *,
                     const float *);
    static const float ranges[] = {0.5f, 4, 1000, 100000};
    if (checkasm_check(kernels->snake, "snake")) {
        for (size_t columns = 1; columns <= 50; columns++) {
            for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
                tile t = make_tile(1 + columns % 3, columns, ranges[i]);
                const float *add = i % 2 != 0 ? t.add : NULL;
                checkasm_reference(t.x[0], PITCH, add, PITCH, t.y[0], PITCH, t.rows, columns, t.frequency, t.gain);
                checkasm_new(t.x[1], PITCH, add, PITCH, t.y[1], PITCH, t.rows, columns, t.frequency, t.gain);
                compare_tile(&t, 2e-6f, 1.2e-7f, ranges[i]);
                checkasm_release();
            }
        }
    }
    if (checkasm_check(kernels->snake, "snake_64x48")) {
        tile t = make_tile(64, 48, 4);
        checkasm_bench(t.x[1], PITCH, NULL, PITCH, t.y[1], PITCH, t.rows, t.columns, t.frequency, t.gain);
    }
}

static void check_elu(const tmb_activation_kernels *kernels) {
    CHECKASM_DECLARE(void, float *, size_t, const float *, size_t, float *, size_t, size_t, size_t);
    if (checkasm_check(kernels->elu, "elu")) {
        for (size_t columns = 1; columns <= 50; columns++) {
            float range = columns % 2 != 0 ? 1 : 120;
            tile t = make_tile(1 + columns % 3, columns, range);
            const float *add = columns % 3 != 0 ? t.add : NULL;
            checkasm_reference(t.x[0], PITCH, add, PITCH, t.y[0], PITCH, t.rows, columns);
            checkasm_new(t.x[1], PITCH, add, PITCH, t.y[1], PITCH, t.rows, columns);
            compare_tile(&t, 2e-7f, 0, range);
            checkasm_release();
        }
    }
    if (checkasm_check(kernels->elu, "elu_64x48")) {
        tile t = make_tile(64, 48, 4);
        checkasm_bench(t.x[1], PITCH, NULL, PITCH, t.y[1], PITCH, t.rows, t.columns);
    }
}

static void check_gelu(const tmb_activation_kernels *kernels) {
    CHECKASM_DECLARE(void, const float *, size_t, float *, size_t, size_t, size_t);
    if (checkasm_check(kernels->gelu, "gelu")) {
        for (size_t columns = 1; columns <= 50; columns++) {
            float range = columns % 2 != 0 ? 2 : 60;
            tile t = make_tile(1 + columns % 3, columns, range);
            checkasm_reference(t.x[0], PITCH, t.y[0], PITCH, t.rows, columns);
            checkasm_new(t.x[1], PITCH, t.y[1], PITCH, t.rows, columns);
            compare_tile(&t, 1e-6f, 2e-7f, range);
            checkasm_release();
        }
    }
    if (checkasm_check(kernels->gelu, "gelu_64x48")) {
        tile t = make_tile(64, 48, 4);
        checkasm_bench(t.x[1], PITCH, t.y[1], PITCH, t.rows, t.columns);
    }
}

static void check_silu(const tmb_activation_kernels *kernels) {
    CHECKASM_DECLARE(void, const float *, const float *, float *, size_t);
    if (checkasm_check(kernels->silu_multiply, "silu_multiply")) {
        for (size_t count = 1; count <= 50; count++) {
            tile t = make_tile(1, count, count % 2 != 0 ? 3 : 80);
            checkasm_reference(t.x[0], t.add, t.y[0], count);
            checkasm_new(t.x[1], t.add, t.y[1], count);
            compare_tile(&t, 1e-30f, 1e-6f, 80);
            checkasm_release();
        }
    }
}

static void check_tanh(const tmb_activation_kernels *kernels) {
    CHECKASM_DECLARE(void, const float *, float *, size_t);
    if (checkasm_check(kernels->tanh, "tanh")) {
        for (size_t count = 1; count <= 50; count++) {
            tile t = make_tile(1, count, count % 2 != 0 ? 2 : 100);
            checkasm_reference(t.x[0], t.y[0], count);
            checkasm_new(t.x[1], t.y[1], count);
            compare_tile(&t, 4e-7f, 0, 100);
            checkasm_release();
        }
    }
}

static void check_exp(const tmb_activation_kernels *kernels) {
    CHECKASM_DECLARE(void, const float *, float *, size_t);
    if (checkasm_check(kernels->exp, "exp")) {
        for (size_t count = 1; count <= 50; count++) {
            tile t = make_tile(1, count, count % 2 != 0 ? 2 : 100);
            checkasm_reference(t.x[0], t.y[0], count);
            checkasm_new(t.x[1], t.y[1], count);
            compare_tile(&t, 0, 3e-7f, 100);
            checkasm_release();
        }
    }
}

static void check_softmax(const tmb_activation_kernels *kernels) {
    CHECKASM_DECLARE(void, float *, size_t);
    if (checkasm_check(kernels->softmax, "softmax")) {
        for (size_t count = 1; count <= 80; count++) {
            float *x[2] = {checkasm_alloc_f32(count), checkasm_alloc_f32(count)};
            checkasm_random_f32(x[0], count, -20, count % 2 != 0 ? 20 : -10);
            memcpy(x[1], x[0], count * sizeof(float));
            checkasm_reference(x[0], count);
            checkasm_new(x[1], count);
            (void)checkasm_compare_f32(x[0], x[1], count, 1e-7f, 2e-6f, "count %zu", count);
            checkasm_release();
        }
    }
}

static void check_attend(const tmb_activation_kernels *kernels) {
    CHECKASM_DECLARE(void, const float *, const float *, const float *, size_t, size_t, float, float *, float *);
    if (checkasm_check(kernels->attend, "attend")) {
        static const size_t sizes[] = {2, 8, 12, 16, 24, 32, 64, 72, 128, 130};
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            for (size_t count = 1; count < 20; count += 1 + count / 4) {
                size_t size = sizes[i];
                float *q = checkasm_alloc_f32(size);
                float *keys = checkasm_alloc_f32(count * size);
                float *values = checkasm_alloc_f32(count * size);
                float *scores = checkasm_alloc_f32(count);
                float *out[2] = {checkasm_alloc_f32(size), checkasm_alloc_f32(size)};
                checkasm_random_f32(q, size, -1, 1);
                checkasm_random_f32(keys, count * size, -1, 1);
                checkasm_random_f32(values, count * size, -1, 1);
                checkasm_reference(q, keys, values, count, size, 0.3f, scores, out[0]);
                checkasm_new(q, keys, values, count, size, 0.3f, scores, out[1]);
                (void)checkasm_compare_f32(out[0], out[1], size, 3e-6f, 0, "count %zu, size %zu", count, size);
                checkasm_release();
            }
        }
    }
    if (checkasm_check(kernels->attend, "attend_72x64")) {
        float *q = checkasm_alloc_f32(64);
        float *keys = checkasm_alloc_f32(72 * 64);
        float *scores = checkasm_alloc_f32(72);
        float *out = checkasm_alloc_f32(64);
        checkasm_random_f32(q, 64, -1, 1);
        checkasm_random_f32(keys, 72 * 64, -1, 1);
        checkasm_bench(q, keys, keys, 72, 64, 0.125f, scores, out);
    }
}

void checkasm_activation(void) {
    tmb_activation_kernels table;
    const tmb_activation_kernels *kernels = &table;
    tmb_activation_kernels_init(&table, checkasm_cpu_flags());
    check_snake(kernels);
    check_elu(kernels);
    check_gelu(kernels);
    check_silu(kernels);
    check_exp(kernels);
    check_tanh(kernels);
    check_softmax(kernels);
    check_attend(kernels);
}
