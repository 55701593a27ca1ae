/* The vectors of x86/lanes_avx2.h, which documents them, in the compiler's own (GCC and Clang): four floats, the width
 * that every architecture with vectors has. Also vectors of whole numbers, for the products of 8, 12 and 16 bits:
 *
 *   vec_i32, vec_i16              four and eight whole numbers
 *   v_i32_set v_i32_load
 *   v_from_i32(v)                 as floats
 *   v_dot_pairs(a, b)             a[2 i] * b[2 i] + a[2 i + 1] * b[2 i + 1], i < 4
 *   v_from_half(p)                four floats of f16
 *   v_from_bytes(p, out)          16 floats of unsigned bytes
 */
#ifndef TMB_KERNELS_FORMS_LANES_GENERIC_H
#define TMB_KERNELS_FORMS_LANES_GENERIC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef float vec __attribute__((vector_size(16)));
typedef int32_t vec_i32 __attribute__((vector_size(16)));
typedef uint32_t vec_u32 __attribute__((vector_size(16)));
typedef int16_t vec_i16 __attribute__((vector_size(16)));
typedef uint16_t vec_u16 __attribute__((vector_size(16)));
typedef uint8_t vec_u8 __attribute__((vector_size(16)));
#define LANES 4

/* The elements of `a` and then `b` with the numbers that follow. */
#if defined(__clang__)
#define V_SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define V_SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif

static inline vec v_load(const float *p) {
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void v_store(float *p, vec v) { memcpy(p, &v, sizeof v); }
static inline vec v_load_part(const float *p, size_t n) {
    return (vec){n > 0 ? p[0] : 0, n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, 0};
}
static inline void v_store_part(float *p, vec v, size_t n) {
    for (size_t i = 0; i < n; i++) {
        p[i] = v[i];
    }
}
static inline vec v_set(float x) { return (vec){x, x, x, x}; }
static inline vec v_add(vec a, vec b) { return a + b; }
static inline vec v_sub(vec a, vec b) { return a - b; }
static inline vec v_mul(vec a, vec b) { return a * b; }
static inline vec v_div(vec a, vec b) { return a / b; }
static inline vec v_fma(vec a, vec b, vec c) { return a * b + c; }
static inline vec v_fnma(vec a, vec b, vec c) { return c - a * b; }
static inline vec v_select(vec_i32 mask, vec a, vec b) { return (vec)(((vec_i32)a & mask) | ((vec_i32)b & ~mask)); }
static inline vec v_select_positive(vec s, vec a, vec b) { return v_select(s > v_set(0), a, b); }
static inline vec v_abs(vec a) { return (vec)((vec_u32)a & 0x7fffffffu); }
/* Adding 1.5 * 2^23 pushes the fraction out of the mantissa; |a| < 2^22. */
static inline vec v_round(vec a) { return (a + v_set(12582912.0f)) - v_set(12582912.0f); }
static inline vec v_power2(vec n) { return (vec)((__builtin_convertvector(n, vec_i32) + 127) << 23); }
static inline float v_sum(vec v) { return (v[0] + v[2]) + (v[1] + v[3]); }

static inline vec_i32 v_i32_set(int32_t x) { return (vec_i32){x, x, x, x}; }
static inline vec_i32 v_i32_load(const void *p) {
    vec_i32 v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline vec v_from_i32(vec_i32 v) { return __builtin_convertvector(v, vec); }

#if defined(__SSE2__)
#include "kernels/x86/lanes_sse2.h" /* what takes one instruction there and several in general */
#else
static inline vec v_min(vec a, vec b) { return v_select(a < b, a, b); }
static inline vec v_max(vec a, vec b) { return v_select(a > b, a, b); }
static inline int v_any_over(vec v, float limit) {
    const vec_i32 over = v > v_set(limit);
    return (over[0] | over[1] | over[2] | over[3]) != 0;
}
static inline vec_i32 v_dot_pairs(vec_i16 a, vec_i16 b) {
    const vec_i32 even = (((vec_i32)a << 16) >> 16) * (((vec_i32)b << 16) >> 16);
    return even + ((vec_i32)a >> 16) * ((vec_i32)b >> 16);
}
#endif

static inline float v_maximum(vec v) {
    const float even = v[0] > v[2] ? v[0] : v[2];
    const float odd = v[1] > v[3] ? v[1] : v[3];
    return even > odd ? even : odd;
}

/* Normal floats alone, since threads flush the others to zero; of halves the subnormal ones are small, not lost:
 * (1 + m) 2^-15 becomes 2 m 2^-15. */
static inline vec v_from_half(const uint16_t *p) {
    const vec_u16 zero = {0};
    vec_u16 four = {0};
    memcpy(&four, p, 4 * sizeof *p);
    const vec_i32 high = (vec_i32)V_SHUFFLE(vec_u16, zero, four, 0, 8, 1, 9, 2, 10, 3, 11);
    const vec_i32 magnitude = (high & 0x7fffffff) >> 3;
    const vec_i32 special = (magnitude > (31 << 23) - 1) & (112 << 23); /* infinities, not a number */
    const vec normal = (vec)(magnitude + (112 << 23) + special);
    const vec absolute = normal + v_min(normal - v_set(0x1p-14f), v_set(0));
    return (vec)((vec_i32)absolute | (high & (int32_t)0x80000000));
}

/* 16 bytes as floats. */
static inline void v_from_bytes(const uint8_t *p, vec out[4]) {
    const vec_u8 zero = {0};
    vec_u8 bytes;
    memcpy(&bytes, p, sizeof bytes);
    const vec_u16 low = (vec_u16)V_SHUFFLE(vec_u8, bytes, zero, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const vec_u16 high =
        (vec_u16)V_SHUFFLE(vec_u8, bytes, zero, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    const vec_u16 none = {0};
    out[0] = v_from_i32((vec_i32)V_SHUFFLE(vec_u16, low, none, 0, 8, 1, 9, 2, 10, 3, 11));
    out[1] = v_from_i32((vec_i32)V_SHUFFLE(vec_u16, low, none, 4, 12, 5, 13, 6, 14, 7, 15));
    out[2] = v_from_i32((vec_i32)V_SHUFFLE(vec_u16, high, none, 0, 8, 1, 9, 2, 10, 3, 11));
    out[3] = v_from_i32((vec_i32)V_SHUFFLE(vec_u16, high, none, 4, 12, 5, 13, 6, 14, 7, 15));
}

#include "kernels/forms/lanes_some.h"

#endif
