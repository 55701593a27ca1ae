/* The functions of elementwise.h in the vectors of forms/lanes_generic.h, x86/lanes_avx2.h or x86/lanes_avx512.h; all
 * but `dot`, whose sums differ. */
#include "kernels/elementwise.h"

static inline vec v_clamp(vec x, float limit) { return v_max(v_min(x, v_set(limit)), v_set(-limit)); }

/* exp(x) - 1 = 2^n (1 + result) - 1. */
static inline vec v_reduced_expm1(vec x, vec *n) {
    static const float c[6] = TMB_EXPM1_COEFFICIENTS;
    *n = v_round(v_mul(x, v_set(TMB_LOG2_INVERSE)));
    vec r = v_fnma(*n, v_set(TMB_LOG2_HIGH), x);
    r = v_fnma(*n, v_set(TMB_LOG2_LOW), r);
    vec q = v_fma(v_set(c[5]), r, v_set(c[4]));
    q = v_fma(q, r, v_set(c[3]));
    q = v_fma(q, r, v_set(c[2]));
    q = v_fma(q, r, v_set(c[1]));
    q = v_fma(q, r, v_set(c[0]));
    return v_fma(v_mul(q, r), r, r);
}

static inline vec v_sigmoid(vec x) {
    vec n;
    const vec one = v_set(1.0f);
    const vec rest = v_reduced_expm1(v_clamp(v_sub(v_set(0.0f), x), TMB_SIGMOID_LIMIT), &n);
    const vec power = v_power2(n);
    return v_div(one, v_add(one, v_fma(power, rest, power)));
}

static inline vec v_hyperbolic_tangent(vec x) {
    vec n;
    const vec limited = v_clamp(x, TMB_TANH_LIMIT);
    const vec rest = v_reduced_expm1(v_add(limited, limited), &n);
    const vec power = v_power2(n);
    const vec e = v_fma(power, rest, v_sub(power, v_set(1.0f)));
    return v_div(e, v_add(e, v_set(2.0f)));
}

static void sigmoid(float *x, size_t count) {
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        v_store(x + i, v_sigmoid(v_load(x + i)));
    }
    if (i < count) {
        v_store_part(x + i, v_sigmoid(v_load_part(x + i, count - i)), count - i);
    }
}

static void hyperbolic_tangent(float *x, size_t count) {
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        v_store(x + i, v_hyperbolic_tangent(v_load(x + i)));
    }
    if (i < count) {
        v_store_part(x + i, v_hyperbolic_tangent(v_load_part(x + i, count - i)), count - i);
    }
}

static inline void gru_gates_some(float *h, const float *x, const float *r, size_t hidden, size_t count) {
    const vec update = v_sigmoid(v_add(v_load_some(x, count), v_load_some(r, count)));
    const vec reset = v_sigmoid(v_add(v_load_some(x + hidden, count), v_load_some(r + hidden, count)));
    const vec candidate =
        v_hyperbolic_tangent(v_fma(reset, v_load_some(r + 2 * hidden, count), v_load_some(x + 2 * hidden, count)));
    v_store_some(h, v_fma(update, v_sub(v_load_some(h, count), candidate), candidate), count);
}

static void gru_gates(float *h, const float *x, const float *r, size_t hidden) {
    size_t i = 0;
    for (; i + LANES <= hidden; i += LANES) {
        gru_gates_some(h + i, x + i, r + i, hidden, LANES);
    }
    if (i < hidden) {
        gru_gates_some(h + i, x + i, r + i, hidden, hidden - i);
    }
}

/* `count` channels of all rows, LANES at most. */
static inline void scale_relu_add_some(float *out, const float *x, const float *scale, const float *bias,
                                       const float *add, size_t rows, size_t channels, size_t count) {
    const vec factor = v_load_some(scale, count);
    const vec offset = v_load_some(bias, count);
    for (size_t i = 0; i < rows * channels; i += channels) {
        const vec scaled = v_fma(v_load_some(x + i, count), factor, offset);
        v_store_some(out + i, v_add(v_max(scaled, v_set(0.0f)), v_load_some(add + i, count)), count);
    }
}

static void scale_relu_add(float *out, const float *x, const float *scale, const float *bias, const float *add,
                           size_t rows, size_t channels) {
    size_t c = 0;
    for (; c + LANES <= channels; c += LANES) {
        scale_relu_add_some(out + c, x + c, scale + c, bias + c, add + c, rows, channels, LANES);
    }
    if (c < channels) {
        scale_relu_add_some(out + c, x + c, scale + c, bias + c, add + c, rows, channels, channels - c);
    }
}
