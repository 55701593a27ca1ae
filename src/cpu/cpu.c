#include "cpu/cpu.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Which register files the operating system saves (XCR0). */
static unsigned long long saved_registers(void) {
    unsigned low = 0;
    unsigned high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((unsigned long long)high << 32) | low;
}

/* Tiles are large, so Linux gives a process their registers only when it asks (arch_prctl(2)). */
static bool may_use_tiles(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { REQUEST_COMPONENT = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_COMPONENT, TILE_DATA) == 0;
#else
    return false;
#endif
}

static unsigned detect(void) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0) {
        return 0;
    }
    const unsigned leaf1 =
        (1u << 12) /* FMA */ | (1u << 27) /* OSXSAVE */ | (1u << 28) /* AVX */ | (1u << 29) /* F16C */;
    if ((c & leaf1) != leaf1) {
        return 0;
    }
    unsigned long long saved = saved_registers();
    if ((saved & 0x6) != 0x6) { /* XMM and YMM */
        return 0;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) {
        return 0;
    }
    const unsigned avx2 = (1u << 5) | (1u << 3) /* BMI1 */ | (1u << 8) /* BMI2 */;
    if ((b & avx2) != avx2) {
        return 0;
    }
    unsigned flags = TMB_CPU_AVX2;
#ifdef TMB_EMULATE_AVX512
    return flags | TMB_CPU_AVX512 | TMB_CPU_AVX512VNNI | TMB_CPU_AVX512BF16 | TMB_CPU_AVX512VBMI;
#endif
    const unsigned avx512 = (1u << 16) | (1u << 17) | (1u << 28) | (1u << 30) | (1u << 31); /* F DQ CD BW VL */
    if ((saved & 0xe6) == 0xe6 && (b & avx512) == avx512) {
        flags |= TMB_CPU_AVX512;
        if ((c & (1u << 11)) != 0) {
            flags |= TMB_CPU_AVX512VNNI;
        }
        if ((c & (1u << 1)) != 0) {
            flags |= TMB_CPU_AVX512VBMI;
        }
        const unsigned amx = (1u << 22) | (1u << 24) | (1u << 25); /* BF16, TILE, INT8 */
        if ((flags & TMB_CPU_AVX512VNNI) != 0 && (saved & 0x60000) == 0x60000 && (d & amx) == amx && may_use_tiles()) {
            flags |= TMB_CPU_AMX;
        }
        if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 5)) != 0) {
            flags |= TMB_CPU_AVX512BF16;
        }
    }
    return flags;
}
#else
static unsigned detect(void) { return 0; }
#endif

static unsigned environment_mask(void) {
    const char *level = getenv("TIMBRE_CPU");
    if (level == NULL) {
        return ~0u;
    }
    if (strcmp(level, "generic") == 0) {
        return 0;
    }
    if (strcmp(level, "avx2") == 0) {
        return TMB_CPU_AVX2;
    }
    return strcmp(level, "avx512") == 0 ? ~(unsigned)TMB_CPU_AMX : ~0u;
}

/* Bit 31 marks "detected"; racing threads compute the same value. */
static atomic_uint cached_flags;
static atomic_uint allowed = ~0u;

unsigned tmb_cpu_flags(void) {
    unsigned cached = atomic_load_explicit(&cached_flags, memory_order_acquire);
    if (cached == 0) {
        cached = (detect() & environment_mask()) | (1u << 31);
        atomic_store_explicit(&cached_flags, cached, memory_order_release);
    }
    return cached & ~(1u << 31) & atomic_load_explicit(&allowed, memory_order_relaxed);
}

void tmb_cpu_mask(unsigned mask) { atomic_store_explicit(&allowed, mask, memory_order_relaxed); }

const char *tmb_cpu_name(void) {
    unsigned flags = tmb_cpu_flags();
    if ((flags & TMB_CPU_AVX512) != 0) {
        switch (flags & (TMB_CPU_AVX512VNNI | TMB_CPU_AVX512BF16)) {
        case TMB_CPU_AVX512VNNI | TMB_CPU_AVX512BF16:
            return (flags & TMB_CPU_AMX) != 0 ? "avx512+vnni+bf16+amx" : "avx512+vnni+bf16";
        case TMB_CPU_AVX512VNNI: return "avx512+vnni";
        case TMB_CPU_AVX512BF16: return "avx512+bf16";
        default: return "avx512";
        }
    }
    return (flags & TMB_CPU_AVX2) != 0 ? "avx2" : "generic";
}
