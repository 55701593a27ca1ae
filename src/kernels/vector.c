#include "kernels/vector.h"

#include "cpu/cpu.h"
#include "kernels/generic/init.h"
#include "kernels/matmul.h"
#if defined(__x86_64__)
#include "kernels/x86/vector_init.h"
#endif

#include <math.h>

static void rms_norm(const float *x, const float *weight, float epsilon, size_t n, float *out) {
    float sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i] * x[i];
    }
    float scale = 1.0f / sqrtf(sum / (float)n + epsilon);
    for (size_t i = 0; i < n; i++) {
        out[i] = weight[i] * (x[i] * scale);
    }
}

static void rotate(float *x, const float *cosine, const float *sine, size_t half) {
    for (size_t i = 0; i < half; i++) {
        float a = x[i];
        float b = x[i + half];
        x[i] = a * cosine[i] - b * sine[i];
        x[i + half] = b * cosine[i] + a * sine[i];
    }
}

static void scores_f32(const float *query, size_t heads, size_t size, const float *keys, size_t count, float scale,
                       float *scores, size_t stride) {
    for (size_t h = 0; h < heads; h++) {
        for (size_t p = 0; p < count; p++) {
            float sum = 0;
            for (size_t d = 0; d < size; d++) {
                sum += query[h * size + d] * keys[p * size + d];
            }
            scores[h * stride + p] = sum * scale;
        }
    }
}

static void scores_f16(const float *query, size_t heads, size_t size, const uint16_t *keys, size_t count, float scale,
                       float *scores, size_t stride) {
    for (size_t p = 0; p < count; p++) {
        for (size_t h = 0; h < heads; h++) {
            float sum = 0;
            for (size_t d = 0; d < size; d++) {
                sum += query[h * size + d] * tmb_half_to_float(keys[p * size + d]);
            }
            scores[h * stride + p] = sum * scale;
        }
    }
}

static void mix_f32(const float *scores, size_t stride, size_t heads, size_t size, const float *values, size_t count,
                    float *out) {
    for (size_t h = 0; h < heads; h++) {
        for (size_t p = 0; p < count; p++) {
            for (size_t d = 0; d < size; d++) {
                out[h * size + d] += scores[h * stride + p] * values[p * size + d];
            }
        }
    }
}

static void mix_f16(const float *scores, size_t stride, size_t heads, size_t size, const uint16_t *values, size_t count,
                    float *out) {
    for (size_t p = 0; p < count; p++) {
        for (size_t d = 0; d < size; d++) {
            float value = tmb_half_to_float(values[p * size + d]);
            for (size_t h = 0; h < heads; h++) {
                out[h * size + d] += scores[h * stride + p] * value;
            }
        }
    }
}

static void to_f16(const float *x, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++) {
        out[i] = tmb_float_to_half_saturated(x[i]);
    }
}

void tmb_vector_kernels_init(tmb_vector_kernels *kernels, unsigned cpu_flags) {
    *kernels = (tmb_vector_kernels){rms_norm, rotate, scores_f32, scores_f16, mix_f32, mix_f16, to_f16};
    if ((cpu_flags & TMB_CPU_GENERIC) != 0) {
        tmb_vector_kernels_init_generic(kernels);
    }
#if defined(__x86_64__)
    tmb_vector_kernels_init_x86(kernels, cpu_flags);
#endif
}
