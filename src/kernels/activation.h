/* Elementwise functions, softmax and attention of the audio networks, in f32.
 *
 * Every element is computed by the same operations wherever it lies in a row, so that results do not depend on
 * how a signal is cut into calls. Errors are against exact arithmetic.
 */
#ifndef TMB_KERNELS_ACTIVATION_H
#define TMB_KERNELS_ACTIVATION_H

#include <stddef.h>

/* A tile: `rows` rows of `columns` floats, rows `pitch` floats apart. Input and output may be the same. */
typedef struct tmb_activation_kernels {
    /* y = x + sin^2(x * frequency) * gain, frequency and gain by column: Snake with exp(alpha) and
     * 1 / (exp(beta) + 1e-9). If `add` is not NULL, x becomes x + add first, and stays so. Error 4e-7 * gain +
     * 1 ulp for |x * frequency| < 8192, the C library's beyond. */
    void (*snake)(float *x, size_t x_pitch, const float *add, size_t add_pitch, float *y, size_t y_pitch, size_t rows,
                  size_t columns, const float *frequency, const float *gain);

    /* y = x > 0 ? x : exp(x) - 1; error 2e-7. `add` as for snake. */
    void (*elu)(float *x, size_t x_pitch, const float *add, size_t add_pitch, float *y, size_t y_pitch, size_t rows,
                size_t columns);

    /* y = x * (1 + erf(x / sqrt 2)) / 2; error 4e-7 * |x|. */
    void (*gelu)(const float *x, size_t x_pitch, float *y, size_t y_pitch, size_t rows, size_t columns);

    /* y = x / (1 + exp(-x)) * up; relative error 1e-6. */
    void (*silu_multiply)(const float *x, const float *up, float *y, size_t count);

    /* y = exp(x); relative error 2e-7; between -87 and 88, where it stays. */
    void (*exp)(const float *x, float *y, size_t count);

    /* y = tanh(x); error 4e-7. */
    void (*tanh)(const float *x, float *y, size_t count);

    /* x[k] = exp(x[k] - maximum) / sum of these, k < count. */
    void (*softmax)(float *x, size_t count);

    /* Attention of one query over `count` >= 1 keys: out = sum_j softmax_j(scale * q . k_j) * v_j; q, out: [size],
     * keys, values: [count, size]; scores: [count], scratch. */
    void (*attend)(const float *q, const float *keys, const float *values, size_t count, size_t size, float scale,
                   float *scores, float *out);
} tmb_activation_kernels;

/* The fastest variants for a CPU with `cpu_flags` (cpu/cpu.h); 0 gives plain C. */
void tmb_activation_kernels_init(tmb_activation_kernels *kernels, unsigned cpu_flags);

#endif
