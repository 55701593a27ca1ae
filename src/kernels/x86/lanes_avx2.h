/* The vectors that the *_forms.h are written in, eight floats wide. They are all inline, so that a file need not use
 * all:
 *
 *   vec, LANES                    the type and its number of floats
 *   v_load v_store v_set          unaligned; v_load_part(p, n), v_store_part(p, v, n): n < LANES lanes;
 *                                 v_load_some, v_store_some: n lanes, or all if there are more
 *   v_add v_sub v_mul v_div v_min v_max v_abs v_round (to nearest)
 *   v_fma(a, b, c) = a * b + c    v_fnma(a, b, c) = c - a * b
 *   v_power2(n)                   2^n for whole n, -126 <= n <= 127
 *   v_select_positive(s, a, b)    s > 0 ? a : b
 *   v_any_over(v, limit)          whether a lane is > limit
 *   v_sum(v), v_maximum(v)        across lanes
 */
#ifndef TMB_KERNELS_X86_LANES_AVX2_H
#define TMB_KERNELS_X86_LANES_AVX2_H

#include "kernels/x86/intrinsics.h"

#include <stddef.h>

typedef __m256 vec;
#define LANES 8

static inline __m256i first_lanes(size_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vec v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void v_store(float *p, vec v) { _mm256_storeu_ps(p, v); }
static inline vec v_load_part(const float *p, size_t n) { return _mm256_maskload_ps(p, first_lanes(n)); }
static inline void v_store_part(float *p, vec v, size_t n) { _mm256_maskstore_ps(p, first_lanes(n), v); }
static inline vec v_set(float x) { return _mm256_set1_ps(x); }
static inline vec v_add(vec a, vec b) { return _mm256_add_ps(a, b); }
static inline vec v_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
static inline vec v_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
static inline vec v_div(vec a, vec b) { return _mm256_div_ps(a, b); }
static inline vec v_min(vec a, vec b) { return _mm256_min_ps(a, b); }
static inline vec v_max(vec a, vec b) { return _mm256_max_ps(a, b); }
static inline vec v_abs(vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline vec v_round(vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline vec v_fnma(vec a, vec b, vec c) { return _mm256_fnmadd_ps(a, b, c); }
static inline vec v_power2(vec n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
static inline vec v_select_positive(vec s, vec a, vec b) {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(s, _mm256_setzero_ps(), _CMP_GT_OQ));
}
static inline int v_any_over(vec v, float limit) {
    return _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_set1_ps(limit), _CMP_GT_OQ));
}
static inline float v_sum(vec v) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
static inline float v_maximum(vec v) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

#include "kernels/forms/lanes_some.h"

#endif
