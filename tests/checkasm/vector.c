#include "checkasm.h"

#include "kernels/vector.h"

#include <math.h>
#include <string.h>

static void check_rms_norm(const tmb_vector_kernels *kernels) {
    CHECKASM_DECLARE(void, const float *, const float *, float, size_t, float *);
    if (checkasm_check(kernels->rms_norm, "rms_norm")) {
        for (size_t n = 1; n <= 200; n++) {
            float *x = checkasm_alloc_f32(n), *weight = checkasm_alloc_f32(n);
            float *expected = checkasm_alloc_f32(n), *actual = checkasm_alloc_f32(n);
            checkasm_random_f32(x, n, -3, 3);
            checkasm_random_f32(weight, n, -2, 2);
            checkasm_reference(x, weight, 1e-6f, n, expected);
            checkasm_new(x, weight, 1e-6f, n, actual);
            (void)checkasm_compare_f32(expected, actual, n, 1e-7f, 2e-6f, "n %zu", n);
            checkasm_release();
        }
        float *x = checkasm_alloc_f32(1024), *out = checkasm_alloc_f32(1024);
        checkasm_random_f32(x, 1024, -1, 1);
        checkasm_bench(x, x, 1e-6f, 1024, out);
    }
}

static void check_rotate(const tmb_vector_kernels *kernels) {
    CHECKASM_DECLARE(void, float *, const float *, const float *, size_t);
    if (checkasm_check(kernels->rotate, "rotate")) {
        for (size_t half = 1; half <= 70; half++) {
            float *expected = checkasm_alloc_f32(2 * half), *actual = checkasm_alloc_f32(2 * half);
            float *cosine = checkasm_alloc_f32(half), *sine = checkasm_alloc_f32(half);
            checkasm_random_f32(expected, 2 * half, -3, 3);
            memcpy(actual, expected, 2 * half * sizeof *actual);
            checkasm_random_f32(cosine, half, -1, 1);
            checkasm_random_f32(sine, half, -1, 1);
            checkasm_reference(expected, cosine, sine, half);
            checkasm_new(actual, cosine, sine, half);
            (void)checkasm_compare_f32(expected, actual, 2 * half, 0, 0, "half %zu", half);
            checkasm_release();
        }
    }
}

/* Elements as f32, or as f16 with the same values. */
static void *random_elements(size_t count, bool half) {
    float *values = checkasm_alloc_f32(count);
    checkasm_random_f32(values, count, -1, 1);
    if (!half) {
        return values;
    }
    uint16_t *halves = checkasm_alloc(count * sizeof *halves);
    tmb_vector_kernels plain;
    tmb_vector_kernels_init(&plain, 0);
    plain.to_f16(values, count, halves);
    return halves;
}

static void check_scores(void (*function)(void), bool half) {
    CHECKASM_DECLARE(void, const float *, size_t, size_t, const void *, size_t, float, float *, size_t);
    if (checkasm_check(function, "scores_%s", half ? "f16" : "f32")) {
        for (size_t heads = 1; heads <= 5; heads++) {
            for (size_t count = 0; count <= 13; count++) {
                size_t size = TMB_VECTOR_UNIT * (1 + checkasm_random_below(9));
                size_t stride = count + checkasm_random_below(4);
                float *query = checkasm_alloc_f32(heads * size);
                checkasm_random_f32(query, heads * size, -1, 1);
                void *keys = random_elements(count * size, half);
                float *expected = checkasm_alloc_f32(heads * stride), *actual = checkasm_alloc_f32(heads * stride);
                checkasm_reference(query, heads, size, keys, count, 0.5f, expected, stride);
                checkasm_new(query, heads, size, keys, count, 0.5f, actual, stride);
                (void)checkasm_compare_f32(expected, actual, heads * stride, 2e-7f * (float)size, 0,
                                           "%zu heads of %zu, %zu positions", heads, size, count);
                checkasm_release();
            }
        }
        float *query = checkasm_alloc_f32(256), *scores = checkasm_alloc_f32(256);
        checkasm_random_f32(query, 256, -1, 1);
        void *keys = random_elements(128 * 128, half);
        checkasm_bench(query, 2, 128, keys, 128, 0.1f, scores, 128);
    }
}

static void check_mix(void (*function)(void), bool half) {
    CHECKASM_DECLARE(void, const float *, size_t, size_t, size_t, const void *, size_t, float *);
    if (checkasm_check(function, "mix_%s", half ? "f16" : "f32")) {
        for (size_t heads = 1; heads <= 5; heads++) {
            for (size_t count = 0; count <= 13; count++) {
                size_t size = TMB_VECTOR_UNIT * (1 + checkasm_random_below(9));
                size_t stride = count + checkasm_random_below(4);
                float *scores = checkasm_alloc_f32(heads * stride);
                checkasm_random_f32(scores, heads * stride, 0, 1);
                void *values = random_elements(count * size, half);
                float *expected = checkasm_alloc_f32(heads * size), *actual = checkasm_alloc_f32(heads * size);
                checkasm_random_f32(expected, heads * size, -1, 1);
                memcpy(actual, expected, heads * size * sizeof *actual);
                checkasm_reference(scores, stride, heads, size, values, count, expected);
                checkasm_new(scores, stride, heads, size, values, count, actual);
                (void)checkasm_compare_f32(expected, actual, heads * size, 2e-6f, 0, "%zu heads of %zu, %zu positions",
                                           heads, size, count);
                checkasm_release();
            }
        }
        float *scores = checkasm_alloc_f32(256), *out = checkasm_alloc_f32(256);
        checkasm_random_f32(scores, 256, 0, 1);
        checkasm_random_f32(out, 256, 0, 1);
        void *values = random_elements(128 * 128, half);
        checkasm_bench(scores, 128, 2, 128, values, 128, out);
    }
}

static void check_to_f16(const tmb_vector_kernels *kernels) {
    CHECKASM_DECLARE(void, const float *, size_t, uint16_t *);
    if (checkasm_check(kernels->to_f16, "to_f16")) {
        static const float ranges[] = {1e-7f, 1e-4f, 1, 1000, 70000, 1e30f};
        static const float special[] = {65504, 65519.99f, 65520, -65520, INFINITY, -INFINITY, NAN, -0.0f};
        for (size_t n = 0; n <= 8 * TMB_VECTOR_UNIT; n += TMB_VECTOR_UNIT) {
            for (size_t r = 0; r < 6; r++) {
                float *x = checkasm_alloc_f32(n);
                uint16_t *expected = checkasm_alloc(n * 2), *actual = checkasm_alloc(n * 2);
                checkasm_random_f32(x, n, -ranges[r], ranges[r]);
                if (r == 5) {
                    memcpy(x, special, n < 8 ? n * sizeof *x : sizeof special);
                }
                checkasm_reference(x, n, expected);
                checkasm_new(x, n, actual);
                (void)checkasm_compare_bytes(expected, actual, n * 2, "n %zu, range %g", n, (double)ranges[r]);
                for (size_t i = 0; i < n; i++) {
                    /* No kernel, the reference included, makes an infinity. */
                    if ((actual[i] & 0x7fffu) == 0x7c00u || (expected[i] & 0x7fffu) == 0x7c00u) {
                        checkasm_fail("%g becomes infinite", (double)x[i]);
                    }
                }
                checkasm_release();
            }
        }
    }
}

void checkasm_vector(void) {
    tmb_vector_kernels table;
    const tmb_vector_kernels *kernels = &table;
    tmb_vector_kernels_init(&table, checkasm_cpu_flags());
    check_rms_norm(kernels);
    check_rotate(kernels);
    check_scores((void (*)(void))kernels->scores_f32, false);
    check_scores((void (*)(void))kernels->scores_f16, true);
    check_mix((void (*)(void))kernels->mix_f32, false);
    check_mix((void (*)(void))kernels->mix_f16, true);
    check_to_f16(kernels);
}
