/* TMB_UNROLL before a loop with a constant count: unrolled whole, so that an array of registers that it indexes stays
 * in registers. */
#ifndef TMB_KERNELS_X86_UNROLL_H
#define TMB_KERNELS_X86_UNROLL_H

#if defined(__clang__)
#define TMB_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TMB_UNROLL _Pragma("GCC unroll 32")
#endif

#endif
