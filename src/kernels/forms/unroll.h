/* TMB_UNROLL before a loop with a constant count: unrolled whole, so that an array of registers that it indexes stays
 * in registers. A sanitizer's checks in every copy would take the compiler minutes: there the loops stay loops. */
#ifndef TMB_KERNELS_FORMS_UNROLL_H
#define TMB_KERNELS_FORMS_UNROLL_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(undefined_behavior_sanitizer) ||                                 \
    __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define TMB_SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TMB_SANITIZED 1
#endif

#if defined(TMB_SANITIZED)
#if defined(__clang__)
#define TMB_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define TMB_UNROLL
#endif
#elif defined(__clang__)
#define TMB_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TMB_UNROLL _Pragma("GCC unroll 32")
#endif

/* With a sanitizer's checks in every inlined copy Clang takes five minutes for a file. */
#if defined(TMB_SANITIZED)
#define TMB_INLINE static inline
#else
#define TMB_INLINE static inline __attribute__((always_inline))
#endif

#endif
