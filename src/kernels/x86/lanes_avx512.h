/* The vectors of lanes_avx2.h, sixteen floats wide. */
#ifndef TMB_KERNELS_X86_LANES_AVX512_H
#define TMB_KERNELS_X86_LANES_AVX512_H

#include "kernels/x86/intrinsics.h"

#include <stddef.h>

typedef __m512 vec;
#define LANES 16

static inline __mmask16 first_lanes(size_t count) { return (__mmask16)((1u << count) - 1); }

static inline vec v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void v_store(float *p, vec v) { _mm512_storeu_ps(p, v); }
static inline vec v_load_part(const float *p, size_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
static inline void v_store_part(float *p, vec v, size_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), v); }
static inline vec v_set(float x) { return _mm512_set1_ps(x); }
static inline vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
static inline vec v_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
static inline vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
static inline vec v_div(vec a, vec b) { return _mm512_div_ps(a, b); }
static inline vec v_min(vec a, vec b) { return _mm512_min_ps(a, b); }
static inline vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); }
static inline vec v_abs(vec a) { return _mm512_abs_ps(a); }
static inline vec v_round(vec a) { return _mm512_roundscale_ps(a, 0); }
static inline vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline vec v_fnma(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); }
static inline vec v_power2(vec n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
static inline vec v_select_positive(vec s, vec a, vec b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(s, _mm512_setzero_ps(), _CMP_GT_OQ), b, a);
}
static inline int v_any_over(vec v, float limit) {
    return _mm512_cmp_ps_mask(v, _mm512_set1_ps(limit), _CMP_GT_OQ) != 0;
}
static inline float v_sum(vec v) { return _mm512_reduce_add_ps(v); }
static inline float v_maximum(vec v) { return _mm512_reduce_max_ps(v); }

#include "kernels/forms/lanes_some.h"

#endif
