#include "kernels/elementwise.h"

#include "cpu/cpu.h"
#include "kernels/generic/init.h"
#if defined(__x86_64__)
#include "kernels/x86/elementwise_init.h"
#endif

#include <string.h>

/* 2^n for n in [-126, 127]. */
static inline float power_of_two(float n) {
    const unsigned bits = (unsigned)((int)n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* Not-a-number becomes the limit. */
static inline float clamp(float x, float limit) {
    const float below = x < limit ? x : limit;
    return below > -limit ? below : -limit;
}

/* x = n log(2) + r: returns exp(r) - 1. */
static inline float reduced_expm1(float x, float *n) {
    static const float c[6] = TMB_EXPM1_COEFFICIENTS;
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    *n = (x * TMB_LOG2_INVERSE + magic) - magic;
    const float r = (x - *n * TMB_LOG2_HIGH) - *n * TMB_LOG2_LOW;
    float q = c[5];
    for (int i = 4; i >= 0; i--) {
        q = q * r + c[i];
    }
    return q * r * r + r;
}

static inline float sigmoid(float x) {
    float n = 0;
    const float rest = reduced_expm1(clamp(-x, TMB_SIGMOID_LIMIT), &n);
    const float power = power_of_two(n);
    return 1 / (1 + (power * rest + power));
}

/* tanh(x) = e / (e + 2) with e = exp(2 x) - 1, which keeps its digits near zero. */
static inline float hyperbolic_tangent(float x) {
    float n = 0;
    const float rest = reduced_expm1(2 * clamp(x, TMB_TANH_LIMIT), &n);
    const float power = power_of_two(n);
    const float e = power * rest + (power - 1);
    return e / (e + 2);
}

static void sigmoid_c(float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        x[i] = sigmoid(x[i]);
    }
}

static void tanh_c(float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        x[i] = hyperbolic_tangent(x[i]);
    }
}

static void gru_gates_c(float *h, const float *x, const float *r, size_t hidden) {
    for (size_t i = 0; i < hidden; i++) {
        const float update = sigmoid(x[i] + r[i]);
        const float reset = sigmoid(x[hidden + i] + r[hidden + i]);
        const float candidate = hyperbolic_tangent(x[2 * hidden + i] + reset * r[2 * hidden + i]);
        h[i] = (1 - update) * candidate + update * h[i];
    }
}

static void scale_relu_add_c(float *out, const float *x, const float *scale, const float *bias, const float *add,
                             size_t rows, size_t channels) {
    for (size_t row = 0; row < rows; row++) {
        for (size_t c = 0; c < channels; c++) {
            const float scaled = x[row * channels + c] * scale[c] + bias[c];
            out[row * channels + c] = (scaled > 0 ? scaled : 0) + add[row * channels + c];
        }
    }
}

static float dot_c(const float *a, const float *b, size_t count) {
    float sum[4] = {0};
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        for (size_t lane = 0; lane < 4; lane++) {
            sum[lane] += a[i + lane] * b[i + lane];
        }
    }
    for (; i < count; i++) {
        sum[0] += a[i] * b[i];
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

void tmb_elementwise_kernels_init(tmb_elementwise_kernels *kernels, unsigned cpu_flags) {
    kernels->sigmoid = sigmoid_c;
    kernels->tanh = tanh_c;
    kernels->gru_gates = gru_gates_c;
    kernels->scale_relu_add = scale_relu_add_c;
    kernels->dot = dot_c;
    if ((cpu_flags & TMB_CPU_GENERIC) != 0) {
        tmb_elementwise_kernels_init_generic(kernels);
    }
#if defined(__x86_64__)
    tmb_elementwise_kernels_init_x86(kernels, cpu_flags);
#endif
}
