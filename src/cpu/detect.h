/* What the file of one architecture (x86.c, arm.c, other.c) gives: tmb_cpu_sets of cpu.h and these. */
#ifndef TMB_CPU_DETECT_H
#define TMB_CPU_DETECT_H

#include "cpu/cpu.h"

/* Every table of sets begins with these. */
/* clang-format off */
#define TMB_CPU_COMMON_SETS {"c", 0, false}, {"generic", TMB_CPU_GENERIC, true}
/* clang-format on */

/* The bits that this CPU and its operating system offer. */
unsigned tmb_cpu_detect(void);

/* The bits that describe kinds of kernels in `mask` and are none themselves: a mask that allows the kind keeps them. */
unsigned tmb_cpu_traits(unsigned mask);

/* The name of the kernels that `flags` choose; `flags` has bits of this architecture's own. */
const char *tmb_cpu_own_name(unsigned flags);

#endif
