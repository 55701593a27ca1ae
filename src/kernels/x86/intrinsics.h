/* What the files of this folder include for their intrinsics. With the build option `simde` the AVX-512
 * files are compiled for an AVX2 machine, their wide instructions emulated, so that they can be tested
 * where no CPU has them. */
#ifndef TMB_KERNELS_X86_INTRINSICS_H
#define TMB_KERNELS_X86_INTRINSICS_H

#include <immintrin.h>

#ifdef TMB_SIMDE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include "kernels/x86/simde_gaps.h"
#endif

/* Holds a vector in a register at this point of the source. Without it GCC moves products far ahead of the
 * sums that take them, and spills. */
#define TMB_IN_REGISTER(vector) __asm__("" : "+x"(vector))

#endif
