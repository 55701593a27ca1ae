/* Element-wise kernels: activations, the gates of a recurrent layer, and the like. */
#ifndef TMB_KERNELS_ELEMENTWISE_H
#define TMB_KERNELS_ELEMENTWISE_H

#include <stddef.h>

/* Exponentials are good to 1e-7 relative, sigmoid and tanh to 3e-7 relative. What becomes of an element does not depend
 * on its place nor on the count. Pointers need not be aligned. */
typedef struct tmb_elementwise_kernels {
    /* x = 1 / (1 + exp(-x)) */
    void (*sigmoid)(float *x, size_t count);

    /* x = tanh(x) */
    void (*tanh)(float *x, size_t count);

    /* One step of a gated recurrent unit (ONNX GRU, linear_before_reset = 1), h [hidden] in and out:
     *     z = sigmoid(x[0] + r[0]), r = sigmoid(x[1] + r[1]), n = tanh(x[2] + r * r[2]), h = (1 - z) n + z h
     * with x = W @ input + biases and r = R @ h + bias of the last gate, [3, hidden] each. */
    void (*gru_gates)(float *h, const float *x, const float *r, size_t hidden);

    /* out[i][c] = max(x[i][c] * scale[c] + bias[c], 0) + add[i][c]; all [rows, channels]. `out` may be `x` or `add`. */
    void (*scale_relu_add)(float *out, const float *x, const float *scale, const float *bias, const float *add,
                           size_t rows, size_t channels);

    /* sum of a[i] * b[i] */
    float (*dot)(const float *a, const float *b, size_t count);
} tmb_elementwise_kernels;

/* The fastest variants for a CPU with `cpu_flags` (cpu/cpu.h); 0 gives plain C. */
void tmb_elementwise_kernels_init(tmb_elementwise_kernels *kernels, unsigned cpu_flags);

/* exp(r) - 1 = r + r^2 (c[0] + c[1] r + ... + c[5] r^5) for |r| <= log(2) / 2, relative error 3e-10 before rounding: a
 * weighted minimax fit. All variants use it. */
#define TMB_EXPM1_COEFFICIENTS                                                                                         \
    { 0.5f, 0.16666667f, 0.041666355f, 0.008333274f, 0.0013941064f, 0.00019913596f }
/* log(2) as a float whose product with a small whole number is exact, and the rest. */
#define TMB_LOG2_HIGH 0.693359375f
#define TMB_LOG2_LOW (-2.12194440e-4f)
#define TMB_LOG2_INVERSE 1.44269504f
/* Beyond these the results no longer change, and 2^n stays a normal float. */
#define TMB_SIGMOID_LIMIT 87.0f
#define TMB_TANH_LIMIT 10.0f

#endif
