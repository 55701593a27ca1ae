/* aarch64: the kernel of the operating system says what there is. No kernels of its own exist yet, so the generic ones
 * run, which compilers turn into NEON. */
#include "cpu/detect.h"

#if defined(__linux__)
#include <sys/auxv.h>
#endif

const tmb_cpu_set *tmb_cpu_sets(size_t *count) {
    static const tmb_cpu_set sets[] = {TMB_CPU_COMMON_SETS};
    *count = sizeof sets / sizeof sets[0];
    return sets;
}

unsigned tmb_cpu_detect(void) {
    unsigned flags = TMB_CPU_GENERIC;
#if defined(__linux__)
    /* The bits of HWCAP and HWCAP2 (Documentation/arch/arm64/elf_hwcaps.rst), which older headers lack. */
    const unsigned long dotprod = 1ul << 20, i8mm = 1ul << 13, bf16 = 1ul << 14;
    flags |= (getauxval(AT_HWCAP) & dotprod) != 0 ? TMB_CPU_DOTPROD : 0;
    flags |= (getauxval(AT_HWCAP2) & i8mm) != 0 ? TMB_CPU_I8MM : 0;
    flags |= (getauxval(AT_HWCAP2) & bf16) != 0 ? TMB_CPU_BF16 : 0;
#endif
    return flags;
}

unsigned tmb_cpu_traits(unsigned mask) {
    (void)mask;
    return 0;
}

const char *tmb_cpu_own_name(unsigned flags) { return (flags & TMB_CPU_GENERIC) != 0 ? "generic" : "c"; }
