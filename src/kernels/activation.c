#include "kernels/activation.h"

#include "cpu/cpu.h"
#include "kernels/x86/activation_x86.h"

#include <math.h>

static void snake(float *x, size_t x_pitch, const float *add, size_t add_pitch, float *y, size_t y_pitch, size_t rows,
                  size_t columns, const float *frequency, const float *gain) {
    for (size_t r = 0; r < rows; r++, x += x_pitch, y += y_pitch) {
        for (size_t c = 0; c < columns; c++) {
            if (add != NULL) {
                x[c] += add[r * add_pitch + c];
            }
            float sine = sinf(x[c] * frequency[c]);
            y[c] = x[c] + sine * sine * gain[c];
        }
    }
}

static void elu(float *x, size_t x_pitch, const float *add, size_t add_pitch, float *y, size_t y_pitch, size_t rows,
                size_t columns) {
    for (size_t r = 0; r < rows; r++, x += x_pitch, y += y_pitch) {
        for (size_t c = 0; c < columns; c++) {
            if (add != NULL) {
                x[c] += add[r * add_pitch + c];
            }
            y[c] = x[c] > 0 ? x[c] : expm1f(x[c]);
        }
    }
}

static void gelu(const float *x, size_t x_pitch, float *y, size_t y_pitch, size_t rows, size_t columns) {
    for (size_t r = 0; r < rows; r++, x += x_pitch, y += y_pitch) {
        for (size_t c = 0; c < columns; c++) {
            y[c] = 0.5f * x[c] * erfcf(-x[c] * 0.70710678f);
        }
    }
}

static void silu_multiply(const float *x, const float *up, float *y, size_t count) {
    for (size_t k = 0; k < count; k++) {
        y[k] = x[k] / (1 + expf(-x[k])) * up[k];
    }
}

static void exp_portable(const float *x, float *y, size_t count) {
    for (size_t k = 0; k < count; k++) {
        y[k] = expf(fmaxf(fminf(x[k], 88), -87));
    }
}

static void tanh_portable(const float *x, float *y, size_t count) {
    for (size_t k = 0; k < count; k++) {
        y[k] = tanhf(x[k]);
    }
}

static void softmax(float *x, size_t count) {
    float maximum = -INFINITY;
    for (size_t k = 0; k < count; k++) {
        maximum = x[k] > maximum ? x[k] : maximum;
    }
    float sum = 0;
    for (size_t k = 0; k < count; k++) {
        x[k] = expf(x[k] - maximum);
        sum += x[k];
    }
    float inverse = 1 / sum;
    for (size_t k = 0; k < count; k++) {
        x[k] *= inverse;
    }
}

static void attend(const float *q, const float *keys, const float *values, size_t count, size_t size, float scale,
                   float *scores, float *out) {
    for (size_t j = 0; j < count; j++) {
        float sum = 0;
        for (size_t k = 0; k < size; k++) {
            sum += q[k] * keys[j * size + k];
        }
        scores[j] = sum * scale;
    }
    softmax(scores, count);
    for (size_t k = 0; k < size; k++) {
        out[k] = 0;
    }
    for (size_t j = 0; j < count; j++) {
        for (size_t k = 0; k < size; k++) {
            out[k] += scores[j] * values[j * size + k];
        }
    }
}

const tmb_activation_kernels tmb_activation_kernels_portable = {
    .snake = snake,
    .elu = elu,
    .gelu = gelu,
    .silu_multiply = silu_multiply,
    .exp = exp_portable,
    .tanh = tanh_portable,
    .softmax = softmax,
    .attend = attend,
};

const tmb_activation_kernels *tmb_activation_kernels_get(void) {
#if defined(__x86_64__)
    unsigned flags = tmb_cpu_flags();
    if ((flags & TMB_CPU_AVX512) != 0) {
        return &tmb_activation_kernels_avx512;
    }
    if ((flags & TMB_CPU_AVX2) != 0) {
        return &tmb_activation_kernels_avx2;
    }
#endif
    return &tmb_activation_kernels_portable;
}
