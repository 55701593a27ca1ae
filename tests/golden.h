/* Fixtures of tests/golden: NumPy files, texts, and comparing with them. Everything here fails the test that calls it
 * when a file is missing or not what it should be. */
#ifndef TMB_TESTS_GOLDEN_H
#define TMB_TESTS_GOLDEN_H

#include <stddef.h>
#include <stdint.h>

/* tests/golden/<the formatted name>; valid until the 8th call after this one. */
const char *golden_path(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A NumPy array, in C order (a matrix in Fortran's order is turned into it). Exactly one of `f32` and `i64` is set:
 * floats (f2, f4, f8 are converted) and whole numbers (i1, u1, b1, i2, i4, i8); for i2 `i16` is set as well. */
typedef struct golden_array {
    int rank;
    size_t dims[8];
    size_t count; /* the product of dims */
    float *f32;
    int64_t *i64;
    int16_t *i16;
} golden_array;

/* Loads a .npy file under tests/golden; golden_free it. */
golden_array golden_load(const char *format, ...) __attribute__((format(printf, 1, 2)));
void golden_free(golden_array *array);

/* The samples of a mono recording under tests/golden; free() them. */
float *golden_audio(int *rate, size_t *count, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A whole file under tests/golden with a 0 byte behind it; free() it. */
char *golden_text(size_t *bytes, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Fails with the place and both values if |actual[i] - expected[i]| > tolerance anywhere (NaN too), and returns the
 * largest difference. `name` says what is compared. */
double golden_assert_close(const char *name, const float *actual, const float *expected, size_t count,
                           double tolerance);

/* Signal-to-noise ratio of `actual` against `expected` in dB; infinity if they are equal. */
double golden_snr_db(const float *actual, const float *expected, size_t count);

#endif
