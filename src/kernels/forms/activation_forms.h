/* The functions of activation.h in the vectors of forms/lanes_generic.h, x86/lanes_avx2.h or x86/lanes_avx512.h. */

#include <math.h>

/* The series are minimax fits on the reduced ranges. */
static inline vec v_exp(vec x) {
    x = v_max(v_min(x, v_set(88.0f)), v_set(-87.0f));
    vec n = v_round(v_mul(x, v_set(1.44269504f)));
    vec r = v_fnma(n, v_set(0.693359375f), x);
    r = v_fma(n, v_set(2.12194440e-4f), r);
    vec p = v_set(1.9917815e-4f);
    p = v_fma(p, r, v_set(1.39460756e-3f));
    p = v_fma(p, r, v_set(8.33326544e-3f));
    p = v_fma(p, r, v_set(4.16662698e-2f));
    p = v_fma(p, r, v_set(1.66666669e-1f));
    p = v_fma(p, r, v_set(0.5f));
    p = v_fma(p, v_mul(r, r), r);
    return v_mul(v_add(p, v_set(1.0f)), v_power2(n));
}

/* sin(x)^2 has the period pi, and |x - n pi| <= pi / 2 is where the sine's own series is good: no quadrant. */
#define SINE_LIMIT 8192.0f
static inline vec v_sine_squared(vec x) {
    vec n = v_round(v_mul(x, v_set(0.318309886f)));
    vec r = v_fnma(n, v_set(3.140625f), x); /* pi in three parts; products with n < 2^12 are exact */
    r = v_fnma(n, v_set(9.67502593994140625e-4f), r);
    r = v_fnma(n, v_set(1.509958e-7f), r);
    vec s = v_mul(r, r);
    vec p = v_set(-2.38349149e-8f);
    p = v_fma(p, s, v_set(2.7521932e-6f));
    p = v_fma(p, s, v_set(-1.98407901e-4f));
    p = v_fma(p, s, v_set(8.33333038e-3f));
    p = v_fma(p, s, v_set(-1.66666666e-1f));
    vec sine = v_fma(v_mul(p, s), r, r);
    return v_mul(sine, sine);
}

/* erfc(z) for z >= 0 as t exp(-z^2 + series in t), t = 1 / (1 + z / 2): Chebyshev fit of relative error 1.2e-7
 * (Press et al., Numerical Recipes, 6.2). */
static inline vec v_gelu(vec x) {
    vec z = v_mul(v_abs(x), v_set(0.70710678f));
    vec t = v_div(v_set(1.0f), v_fma(z, v_set(0.5f), v_set(1.0f)));
    vec p = v_set(0.17087277f);
    p = v_fma(p, t, v_set(-0.82215223f));
    p = v_fma(p, t, v_set(1.48851587f));
    p = v_fma(p, t, v_set(-1.13520398f));
    p = v_fma(p, t, v_set(0.27886807f));
    p = v_fma(p, t, v_set(-0.18628806f));
    p = v_fma(p, t, v_set(0.09678418f));
    p = v_fma(p, t, v_set(0.37409196f));
    p = v_fma(p, t, v_set(1.00002368f));
    p = v_fma(p, t, v_set(-1.26551223f));
    vec tail = v_mul(t, v_exp(v_fnma(z, z, p)));                     /* erfc(|x| / sqrt 2) */
    vec both = v_select_positive(x, v_sub(v_set(2.0f), tail), tail); /* 1 + erf(x / sqrt 2) */
    return v_mul(v_mul(v_set(0.5f), x), both);
}

static inline vec v_snake(vec x, vec frequency, vec gain, float *spill) {
    vec angle = v_mul(x, frequency);
    if (__builtin_expect(v_any_over(v_abs(angle), SINE_LIMIT), 0)) {
        v_store(spill, angle);
        for (size_t i = 0; i < LANES; i++) {
            float sine = sinf(spill[i]);
            spill[i] = sine * sine;
        }
        return v_fma(v_load(spill), gain, x);
    }
    return v_fma(v_sine_squared(angle), gain, x);
}

/* A NaN compares false and goes the common way, which keeps it. */
static void snake(float *x, size_t x_pitch, const float *add, size_t add_pitch, float *y, size_t y_pitch, size_t rows,
                  size_t columns, const float *frequency, const float *gain) {
    float spill[LANES];
    size_t c = 0;
    for (; c + LANES <= columns; c += LANES) {
        vec f = v_load(frequency + c);
        vec g = v_load(gain + c);
        for (size_t r = 0; r < rows; r++) {
            vec value = v_load(x + r * x_pitch + c);
            if (add != NULL) {
                value = v_add(value, v_load(add + r * add_pitch + c));
                v_store(x + r * x_pitch + c, value);
            }
            v_store(y + r * y_pitch + c, v_snake(value, f, g, spill));
        }
    }
    size_t rest = columns - c;
    if (rest != 0) {
        vec f = v_load_part(frequency + c, rest);
        vec g = v_load_part(gain + c, rest);
        for (size_t r = 0; r < rows; r++) {
            vec value = v_load_part(x + r * x_pitch + c, rest);
            if (add != NULL) {
                value = v_add(value, v_load_part(add + r * add_pitch + c, rest));
                v_store_part(x + r * x_pitch + c, value, rest);
            }
            v_store_part(y + r * y_pitch + c, v_snake(value, f, g, spill), rest);
        }
    }
}

/* exp(x) - 1 loses its leading digits near 0, but not more than the last bit of 1: error 6e-8. */
static inline vec v_elu(vec x) { return v_select_positive(x, x, v_sub(v_exp(v_min(x, v_set(0.0f))), v_set(1.0f))); }

static void elu(float *x, size_t x_pitch, const float *add, size_t add_pitch, float *y, size_t y_pitch, size_t rows,
                size_t columns) {
    for (size_t r = 0; r < rows; r++, x += x_pitch, y += y_pitch) {
        size_t c = 0;
        for (; c + LANES <= columns; c += LANES) {
            vec value = v_load(x + c);
            if (add != NULL) {
                value = v_add(value, v_load(add + r * add_pitch + c));
                v_store(x + c, value);
            }
            v_store(y + c, v_elu(value));
        }
        size_t rest = columns - c;
        if (rest != 0) {
            vec value = v_load_part(x + c, rest);
            if (add != NULL) {
                value = v_add(value, v_load_part(add + r * add_pitch + c, rest));
                v_store_part(x + c, value, rest);
            }
            v_store_part(y + c, v_elu(value), rest);
        }
    }
}

static void gelu(const float *x, size_t x_pitch, float *y, size_t y_pitch, size_t rows, size_t columns) {
    for (size_t r = 0; r < rows; r++, x += x_pitch, y += y_pitch) {
        size_t c = 0;
        for (; c + LANES <= columns; c += LANES) {
            v_store(y + c, v_gelu(v_load(x + c)));
        }
        if (c < columns) {
            v_store_part(y + c, v_gelu(v_load_part(x + c, columns - c)), columns - c);
        }
    }
}

static inline vec v_silu_multiply(vec x, vec up) {
    vec e = v_exp(v_sub(v_set(0.0f), x));
    return v_mul(v_div(x, v_add(v_set(1.0f), e)), up);
}

static void silu_multiply(const float *x, const float *up, float *y, size_t count) {
    size_t k = 0;
    for (; k + LANES <= count; k += LANES) {
        v_store(y + k, v_silu_multiply(v_load(x + k), v_load(up + k)));
    }
    if (k < count) {
        v_store_part(y + k, v_silu_multiply(v_load_part(x + k, count - k), v_load_part(up + k, count - k)), count - k);
    }
}

static void exp_vector(const float *x, float *y, size_t count) {
    size_t k = 0;
    for (; k + LANES <= count; k += LANES) {
        v_store(y + k, v_exp(v_load(x + k)));
    }
    if (k < count) {
        v_store_part(y + k, v_exp(v_load_part(x + k, count - k)), count - k);
    }
}

static inline vec v_tanh(vec x) {
    vec e = v_exp(v_mul(v_set(2.0f), x));
    return v_sub(v_set(1.0f), v_div(v_set(2.0f), v_add(e, v_set(1.0f))));
}

static void tanh_vector(const float *x, float *y, size_t count) {
    size_t k = 0;
    for (; k + LANES <= count; k += LANES) {
        v_store(y + k, v_tanh(v_load(x + k)));
    }
    if (k < count) {
        v_store_part(y + k, v_tanh(v_load_part(x + k, count - k)), count - k);
    }
}

static void softmax(float *x, size_t count) {
    size_t whole = count / LANES * LANES;
    size_t rest = count - whole;
    float maximum = x[0];
    if (whole != 0) {
        vec most = v_load(x);
        for (size_t k = LANES; k < whole; k += LANES) {
            most = v_max(most, v_load(x + k));
        }
        maximum = v_maximum(most);
    }
    for (size_t k = whole; k < count; k++) {
        maximum = x[k] > maximum ? x[k] : maximum;
    }
    vec shift = v_set(maximum);
    vec sums = v_set(0.0f);
    for (size_t k = 0; k < whole; k += LANES) {
        vec e = v_exp(v_sub(v_load(x + k), shift));
        sums = v_add(sums, e);
        v_store(x + k, e);
    }
    if (rest != 0) {
        v_store_part(x + whole, v_exp(v_sub(v_load_part(x + whole, rest), shift)), rest);
        sums = v_add(sums, v_load_part(x + whole, rest));
    }
    vec inverse = v_set(1 / v_sum(sums));
    for (size_t k = 0; k < whole; k += LANES) {
        v_store(x + k, v_mul(v_load(x + k), inverse));
    }
    if (rest != 0) {
        v_store_part(x + whole, v_mul(v_load_part(x + whole, rest), inverse), rest);
    }
}

static void attend(const float *q, const float *keys, const float *values, size_t count, size_t size, float scale,
                   float *scores, float *out) {
    size_t j = 0;
    for (; j + 4 <= count; j += 4) {
        vec sums[4] = {v_set(0.0f), v_set(0.0f), v_set(0.0f), v_set(0.0f)};
        const float *key = keys + j * size;
        for (size_t k = 0; k < size; k += LANES) {
            vec some = v_load_some(q + k, size - k);
            for (size_t i = 0; i < 4; i++) {
                sums[i] = v_fma(some, v_load_some(key + i * size + k, size - k), sums[i]);
            }
        }
        for (size_t i = 0; i < 4; i++) {
            scores[j + i] = v_sum(sums[i]) * scale;
        }
    }
    for (; j < count; j++) {
        vec sum = v_set(0.0f);
        for (size_t k = 0; k < size; k += LANES) {
            sum = v_fma(v_load_some(q + k, size - k), v_load_some(keys + j * size + k, size - k), sum);
        }
        scores[j] = v_sum(sum) * scale;
    }
    softmax(scores, count);
    size_t k = 0;
    for (; k + 4 * LANES <= size; k += 4 * LANES) {
        vec sums[4] = {v_set(0.0f), v_set(0.0f), v_set(0.0f), v_set(0.0f)};
        for (j = 0; j < count; j++) {
            vec weight = v_set(scores[j]);
            for (size_t i = 0; i < 4; i++) {
                sums[i] = v_fma(weight, v_load(values + j * size + k + i * LANES), sums[i]);
            }
        }
        for (size_t i = 0; i < 4; i++) {
            v_store(out + k + i * LANES, sums[i]);
        }
    }
    for (; k < size; k += LANES) {
        vec sum = v_set(0.0f);
        for (j = 0; j < count; j++) {
            sum = v_fma(v_set(scores[j]), v_load_some(values + j * size + k, size - k), sum);
        }
        v_store_some(out + k, sum, size - k);
    }
}
