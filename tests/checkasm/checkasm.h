/* checkasm: compares every variant of every kernel that this CPU can run with the portable C one, and
 * measures them.
 *
 * A family of kernels is one file here with one function, listed in checkasm.c. The function is called
 * once for every CPU level, the lowest first, and asks for its table with checkasm_cpu_flags():
 *
 *     void checkasm_fir(void) {
 *         tmb_fir_kernels kernels;
 *         tmb_fir_kernels_init(&kernels, checkasm_cpu_flags());
 *         CHECKASM_DECLARE(void, float *, size_t, const float *, const tmb_fir_bank *, size_t);
 *         if (checkasm_check(kernels.polyphase, "fir_polyphase")) {
 *             ... buffers from checkasm_alloc ...
 *             checkasm_reference(out_reference, n, x, &bank, 0);
 *             checkasm_new(out_new, n, x, &bank, 0);
 *             checkasm_compare_f32(out_reference, out_new, n, 1e-6f, 0, "n %zu", n);
 *             checkasm_bench(out_new, n, x, &bank, 0);
 *             checkasm_release();
 *         }
 *     }
 *
 * The block runs for a function that was not seen at a lower level, the C one included (for its own
 * guards and its time).
 */
#ifndef TMB_TESTS_CHECKASM_H
#define TMB_TESTS_CHECKASM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The level under test, as tmb_cpu_flags gives it; tmb_cpu_mask is set accordingly. */
unsigned checkasm_cpu_flags(void);

typedef void (*checkasm_any)(void);

/* True if `function` is a variant of the kernel with that (printf) name that has not been tested.
 * What follows until the next call is about it. */
bool checkasm_begin(checkasm_any function, const char *name, ...) __attribute__((format(printf, 2, 3)));
#define checkasm_check(function, ...) checkasm_begin((checkasm_any)(function), __VA_ARGS__)

extern checkasm_any checkasm_current_reference, checkasm_current_new;
/* The kernel's type, in the scope of the calls below. */
#define CHECKASM_DECLARE(result, ...) typedef result checkasm_type(__VA_ARGS__)
#define checkasm_reference(...) ((checkasm_type *)checkasm_current_reference)(__VA_ARGS__)
#define checkasm_new(...) ((checkasm_type *)checkasm_current_new)(__VA_ARGS__)

/* With --bench: calls until the time is known, and keeps the best of many runs. */
bool checkasm_bench_start(void);
bool checkasm_bench_next(void);
#define checkasm_bench(...)                                                                                            \
    do {                                                                                                               \
        if (checkasm_bench_start()) {                                                                                  \
            while (checkasm_bench_next()) {                                                                            \
                checkasm_new(__VA_ARGS__);                                                                             \
                checkasm_new(__VA_ARGS__);                                                                             \
                checkasm_new(__VA_ARGS__);                                                                             \
                checkasm_new(__VA_ARGS__);                                                                             \
            }                                                                                                          \
        }                                                                                                              \
    } while (0)

/* `bytes` (0 allowed) whose end lies against a page that may not be touched, with guard bytes before
 * them; so an access past the end crashes, which is reported, and a write before the start is found by
 * checkasm_release. 64-byte aligned if `bytes` is a multiple of 64, otherwise as `bytes` makes it.
 * Filled with 0xa5. */
void *checkasm_alloc(size_t bytes);
#define checkasm_alloc_f32(count) ((float *)checkasm_alloc((count) * sizeof(float)))

/* Looks at the guards of every buffer since the last call and frees them: call it after each shape. The
 * next checkasm_check does it too. */
void checkasm_release(void);

/* Reproducible by --seed. Below: integer in [0, limit). */
uint64_t checkasm_random(void);
size_t checkasm_random_below(size_t limit);
void checkasm_random_bytes(void *out, size_t count);
/* Uniform in [low, high). */
void checkasm_random_f32(float *out, size_t count, float low, float high);

/* Reports a failure of the current variant and shape (printf). */
void checkasm_fail(const char *what, ...) __attribute__((format(printf, 1, 2)));

/* Each fails if |reference - new| > absolute + relative * |reference| (or one alone is NaN), naming
 * the first such place; false then. The printf text describes the shape. */
bool checkasm_compare_f32(const float *reference, const float *new_values, size_t count, float absolute, float relative,
                          const char *shape, ...) __attribute__((format(printf, 6, 7)));
bool checkasm_compare_bytes(const void *reference, const void *new_bytes, size_t count, const char *shape, ...)
    __attribute__((format(printf, 4, 5)));

/* broken.c: the i-th name of a kernel that is wrong on purpose, NULL after the last, and what the name of the kernel
 * that it stands for begins with. Then what --break=`name` puts in the place of `kernel`, NULL if that is another's.
 */
const char *checkasm_broken_name(size_t i, const char **kernel);
checkasm_any checkasm_broken(const char *name, const char *kernel);

/* The families, one a file. */
void checkasm_activation(void);
void checkasm_conv(void);
void checkasm_dfn(void);
void checkasm_fir(void);
void checkasm_matmul(void);
void checkasm_vector(void);

#endif
