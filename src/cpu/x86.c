/* x86-64: CPUID says what there is, XGETBV whether the operating system saves the registers. */
#include "cpu/detect.h"
#include "cpu/x86_model.h"

#include <cpuid.h>
#include <stdbool.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define AVX2 (TMB_CPU_GENERIC | TMB_CPU_AVX2)
#define AVX512 (AVX2 | TMB_CPU_AVX512)
#define AVX512_ALL (AVX512 | TMB_CPU_AVX512VNNI | TMB_CPU_AVX512BF16 | TMB_CPU_AVX512VBMI)

const tmb_cpu_set *tmb_cpu_sets(size_t *count) {
    static const tmb_cpu_set sets[] = {
        TMB_CPU_COMMON_SETS,
        {"avx2", AVX2, true},
        {"avx512f", AVX512, false},
        {"avx512vnni", AVX512 | TMB_CPU_AVX512VNNI, false},
        {"avx512bf16", AVX512 | TMB_CPU_AVX512BF16, false},
        {"avx512vbmi", AVX512 | TMB_CPU_AVX512VBMI, false},
        {"avx512", AVX512_ALL, true},
        {"amx", AVX512_ALL | TMB_CPU_AMX, true},
    };
    *count = sizeof sets / sizeof sets[0];
    return sets;
}

/* Which register files the operating system saves (XCR0). */
static unsigned long long saved_registers(void) {
    unsigned low = 0;
    unsigned high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((unsigned long long)high << 32) | low;
}

#ifndef TMB_EMULATE_AVX512
/* Tiles are large, so Linux gives a process their registers only when it asks (arch_prctl(2)). */
static bool may_use_tiles(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { REQUEST_COMPONENT = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_COMPONENT, TILE_DATA) == 0;
#else
    return false;
#endif
}

/* Zen 4 runs 512 bits in two passes and reads floats from a large third level faster than it unpacks 22 bits. */
static bool vbmi_is_slow(void) {
    unsigned a = 0, vendor = 0, c = 0, d = 0, signature = 0, b = 0;
    return __get_cpuid(0, &a, &vendor, &c, &d) != 0 && __get_cpuid(1, &signature, &b, &c, &d) != 0 &&
           tmb_cpu_is_amd_19h(vendor, signature);
}

/* The bits of AVX-512 and beyond, from the registers of CPUID's leaf 7. */
static unsigned detect_avx512(unsigned b, unsigned c, unsigned d, unsigned long long saved) {
    const unsigned avx512 = (1u << 16) | (1u << 17) | (1u << 28) | (1u << 30) | (1u << 31); /* F DQ CD BW VL */
    if ((saved & 0xe6) != 0xe6 || (b & avx512) != avx512) {
        return 0;
    }
    unsigned flags = TMB_CPU_AVX512;
    if ((c & (1u << 11)) != 0) {
        flags |= TMB_CPU_AVX512VNNI;
    }
    if ((c & (1u << 1)) != 0) {
        flags |= TMB_CPU_AVX512VBMI | (vbmi_is_slow() ? TMB_CPU_SLOW_VBMI : 0);
    }
    const unsigned amx = (1u << 22) | (1u << 24) | (1u << 25); /* BF16, TILE, INT8 */
    if ((flags & TMB_CPU_AVX512VNNI) != 0 && (saved & 0x60000) == 0x60000 && (d & amx) == amx && may_use_tiles()) {
        flags |= TMB_CPU_AMX;
    }
    unsigned a = 0;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 5)) != 0) {
        flags |= TMB_CPU_AVX512BF16;
    }
    return flags;
}
#endif

unsigned tmb_cpu_detect(void) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0) {
        return TMB_CPU_GENERIC;
    }
    const unsigned leaf1 =
        (1u << 12) /* FMA */ | (1u << 27) /* OSXSAVE */ | (1u << 28) /* AVX */ | (1u << 29) /* F16C */;
    if ((c & leaf1) != leaf1) {
        return TMB_CPU_GENERIC;
    }
    unsigned long long saved = saved_registers();
    if ((saved & 0x6) != 0x6) { /* XMM and YMM */
        return TMB_CPU_GENERIC;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) {
        return TMB_CPU_GENERIC;
    }
    const unsigned avx2 = (1u << 5) | (1u << 3) /* BMI1 */ | (1u << 8) /* BMI2 */;
    if ((b & avx2) != avx2) {
        return TMB_CPU_GENERIC;
    }
#ifdef TMB_EMULATE_AVX512
    return AVX512_ALL;
#else
    return AVX2 | detect_avx512(b, c, d, saved);
#endif
}

unsigned tmb_cpu_traits(unsigned mask) { return (mask & TMB_CPU_AVX512VBMI) != 0 ? TMB_CPU_SLOW_VBMI : 0; }

const char *tmb_cpu_own_name(unsigned flags) {
    if ((flags & TMB_CPU_AVX512) == 0) {
        return "avx2";
    }
    switch (flags & (TMB_CPU_AVX512VNNI | TMB_CPU_AVX512BF16)) {
    case TMB_CPU_AVX512VNNI | TMB_CPU_AVX512BF16:
        return (flags & TMB_CPU_AMX) != 0 ? "avx512+vnni+bf16+amx" : "avx512+vnni+bf16";
    case TMB_CPU_AVX512VNNI: return "avx512+vnni";
    case TMB_CPU_AVX512BF16: return "avx512+bf16";
    default: return "avx512";
    }
}
