#include "cpu/detect.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

bool tmb_cpu_environment_is_legal(void) {
    static const char *const levels[] = {"generic", "avx2", "avx512", "amx"};
    const char *level = getenv("TIMBRE_CPU");
    bool legal = level == NULL || level[0] == '\0';
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        legal = legal || strcmp(level, levels[i]) == 0;
    }
    return legal;
}

static unsigned environment_mask(void) {
    const char *name = getenv("TIMBRE_CPU");
    size_t count = 0;
    const tmb_cpu_set *sets = tmb_cpu_sets(&count);
    for (size_t i = 0; name != NULL && i < count; i++) {
        if (strcmp(sets[i].name, name) == 0) {
            return sets[i].flags;
        }
    }
    return ~0u;
}

/* Bit 31 marks "detected"; racing threads compute the same value. */
static atomic_uint cached_flags;
static atomic_uint allowed = ~0u;

unsigned tmb_cpu_flags(void) {
    unsigned cached = atomic_load_explicit(&cached_flags, memory_order_acquire);
    if (cached == 0) {
        const unsigned mask = environment_mask();
        cached = (tmb_cpu_detect() & (mask | tmb_cpu_traits(mask))) | (1u << 31);
        atomic_store_explicit(&cached_flags, cached, memory_order_release);
    }
    const unsigned mask = atomic_load_explicit(&allowed, memory_order_relaxed);
    return cached & ~(1u << 31) & (mask | tmb_cpu_traits(mask));
}

void tmb_cpu_mask(unsigned mask) { atomic_store_explicit(&allowed, mask, memory_order_relaxed); }

const char *tmb_cpu_name(void) {
    unsigned flags = tmb_cpu_flags();
    if ((flags & ~(unsigned)TMB_CPU_GENERIC) != 0) {
        return tmb_cpu_own_name(flags);
    }
    return (flags & TMB_CPU_GENERIC) != 0 ? "generic" : "c";
}
