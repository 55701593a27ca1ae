#include "tts/qwen3/cpu/codec/transformer.h"

#include <math.h>

/* Sums go over 8 lanes, so that compilers can use vectors without changing the order. */
static float sum_of(const float *x, size_t count) {
    float lanes[8] = {0};
    size_t k = 0;
    for (; k + 8 <= count; k += 8) {
        for (size_t j = 0; j < 8; j++) {
            lanes[j] += x[k + j];
        }
    }
    for (size_t j = 0; k < count; k++, j++) {
        lanes[j] += x[k];
    }
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

static float sum_of_squares(const float *x, float mean, size_t count) {
    float lanes[8] = {0};
    size_t k = 0;
    for (; k + 8 <= count; k += 8) {
        for (size_t j = 0; j < 8; j++) {
            float centred = x[k + j] - mean;
            lanes[j] += centred * centred;
        }
    }
    for (size_t j = 0; k < count; k++, j++) {
        float centred = x[k] - mean;
        lanes[j] += centred * centred;
    }
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

void tmb_codec_rms_norm(const float *x, const float *weight, double eps, float *y, size_t count) {
    float factor = 1 / sqrtf(sum_of_squares(x, 0, count) / (float)count + (float)eps);
    for (size_t k = 0; k < count; k++) {
        y[k] = weight[k] * (x[k] * factor);
    }
}

void tmb_codec_layer_norm(const float *x, const float *weight, const float *bias, double eps, float *y, size_t count) {
    float mean = sum_of(x, count) / (float)count;
    float factor = 1 / sqrtf(sum_of_squares(x, mean, count) / (float)count + (float)eps);
    for (size_t k = 0; k < count; k++) {
        y[k] = (x[k] - mean) * factor * weight[k] + bias[k];
    }
}
