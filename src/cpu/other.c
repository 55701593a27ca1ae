/* An architecture without kernels of its own. */
#include "cpu/detect.h"

const tmb_cpu_set *tmb_cpu_sets(size_t *count) {
    static const tmb_cpu_set sets[] = {TMB_CPU_COMMON_SETS};
    *count = sizeof sets / sizeof sets[0];
    return sets;
}

unsigned tmb_cpu_detect(void) { return TMB_CPU_GENERIC; }

unsigned tmb_cpu_traits(unsigned mask) {
    (void)mask;
    return 0;
}

const char *tmb_cpu_own_name(unsigned flags) { return (flags & TMB_CPU_GENERIC) != 0 ? "generic" : "c"; }
