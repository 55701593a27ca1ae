#include "cpu/detect.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *environment(void) {
    const char *name = getenv("TIMBRE_CPU");
    return name != NULL && name[0] != '\0' ? name : NULL;
}

static const tmb_cpu_set *find(const char *name) {
    size_t count = 0;
    const tmb_cpu_set *sets = tmb_cpu_sets(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(sets[i].name, name) == 0) {
            return &sets[i];
        }
    }
    return NULL;
}

bool tmb_cpu_environment_is_legal(void) {
    const tmb_cpu_set *set = environment() != NULL ? find(environment()) : NULL;
    return environment() == NULL || (set != NULL && set->is_level);
}

const char *tmb_cpu_levels(char *out, size_t size) {
    size_t count = 0;
    size_t used = 0;
    const tmb_cpu_set *sets = tmb_cpu_sets(&count);
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        if (sets[i].is_level && used < size) {
            used += (size_t)snprintf(out + used, size - used, "%s%s", used > 0 ? ", " : "", sets[i].name);
        }
    }
    return out;
}

static unsigned environment_mask(void) {
    const tmb_cpu_set *set = environment() != NULL ? find(environment()) : NULL;
    return set != NULL ? set->flags : ~0u;
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
