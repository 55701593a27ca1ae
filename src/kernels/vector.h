/* The small operations between a language model's matrix products; activation.h has the others. */
#ifndef TMB_KERNELS_VECTOR_H
#define TMB_KERNELS_VECTOR_H

#include <stddef.h>
#include <stdint.h>

/* Lengths marked "units" are multiples of TMB_VECTOR_UNIT in every kernel but plain C. */
#define TMB_VECTOR_UNIT 16

typedef struct tmb_vector_kernels {
    /* out[i] = weight[i] * (x[i] / sqrt(mean(x^2) + epsilon)), i < n. out may be x. */
    void (*rms_norm)(const float *x, const float *weight, float epsilon, size_t n, float *out);
    /* Rotates the pairs (x[i], x[i + half]) by the angles whose cosine and sine are given, i < half. */
    void (*rotate)(float *x, const float *cosine, const float *sine, size_t half);

    /* Attention of `heads` queries that share keys and values. query, out: [heads, size], size in units;
     * keys, values: [count, size], f32 or f16 as the name says; scores: [heads, stride].
     * scores_*: scores[h, p] = scale * sum_d query[h, d] keys[p, d].
     * mix_*: out[h, d] += sum_p scores[h, p] values[p, d], added in the order of p. */
    void (*scores_f32)(const float *query, size_t heads, size_t size, const float *keys, size_t count, float scale,
                       float *scores, size_t stride);
    void (*scores_f16)(const float *query, size_t heads, size_t size, const uint16_t *keys, size_t count, float scale,
                       float *scores, size_t stride);
    void (*mix_f32)(const float *scores, size_t stride, size_t heads, size_t size, const float *values, size_t count,
                    float *out);
    void (*mix_f16)(const float *scores, size_t stride, size_t heads, size_t size, const uint16_t *values, size_t count,
                    float *out);
    /* Rounds to f16 to nearest even. What is beyond the largest f16, infinity too, becomes that (65504): one such key
     * or value must not turn a whole head into NaN. NaN stays NaN. n in units. */
    void (*to_f16)(const float *x, size_t n, uint16_t *out);
} tmb_vector_kernels;

/* The fastest variants for a CPU with `cpu_flags` (cpu/cpu.h); 0 gives plain C. */
void tmb_vector_kernels_init(tmb_vector_kernels *kernels, unsigned cpu_flags);

#endif
