/* A part of forms/lanes_generic.h, for which every x86-64 has instructions. */
#ifndef TMB_KERNELS_X86_LANES_SSE2_H
#define TMB_KERNELS_X86_LANES_SSE2_H

#include <emmintrin.h>

static inline vec v_min(vec a, vec b) { return (vec)_mm_min_ps((__m128)a, (__m128)b); }
static inline vec v_max(vec a, vec b) { return (vec)_mm_max_ps((__m128)a, (__m128)b); }
static inline int v_any_over(vec v, float limit) { return _mm_movemask_ps((__m128)(v > v_set(limit))); }
static inline vec_i32 v_dot_pairs(vec_i16 a, vec_i16 b) { return (vec_i32)_mm_madd_epi16((__m128i)a, (__m128i)b); }

#endif
