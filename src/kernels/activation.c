#include "kernels/activation.h"

#include "cpu/cpu.h"
#include "kernels/generic/init.h"
#if defined(__x86_64__)
#include "kernels/x86/activation_init.h"
#endif

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

static void exp_c(const float *x, float *y, size_t count) {
    for (size_t k = 0; k < count; k++) {
        y[k] = expf(fmaxf(fminf(x[k], 88), -87));
    }
}

static void tanh_c(const float *x, float *y, size_t count) {
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

void tmb_activation_kernels_init(tmb_activation_kernels *kernels, unsigned cpu_flags) {
    *kernels = (tmb_activation_kernels){
        .snake = snake,
        .elu = elu,
        .gelu = gelu,
        .silu_multiply = silu_multiply,
        .exp = exp_c,
        .tanh = tanh_c,
        .softmax = softmax,
        .attend = attend,
    };
    if ((cpu_flags & TMB_CPU_GENERIC) != 0) {
        tmb_activation_kernels_init_generic(kernels);
    }
#if defined(__x86_64__)
    tmb_activation_kernels_init_x86(kernels, cpu_flags);
#endif
}
