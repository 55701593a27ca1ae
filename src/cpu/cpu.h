/* What the CPU can do. */
#ifndef TMB_CPU_CPU_H
#define TMB_CPU_CPU_H

#include <stdbool.h>

#include <stddef.h>

/* One bit is one kind of kernels; each implies what its comment says. Without any bit only the plain C remains that
 * checkasm compares every kernel with. */
enum {
    TMB_CPU_GENERIC = 1 << 0, /* the compiler's vectors of 16 bytes: every CPU has this level */

    /* x86-64 */
    TMB_CPU_AVX2 = 1 << 1,       /* AVX2, FMA, F16C, BMI2 */
    TMB_CPU_AVX512 = 1 << 2,     /* AVX2 level and AVX-512 F, CD, BW, DQ, VL */
    TMB_CPU_AVX512VNNI = 1 << 3, /* AVX512 level and VNNI */
    TMB_CPU_AVX512BF16 = 1 << 4, /* AVX512 level and BF16 */
    TMB_CPU_AVX512VBMI = 1 << 5, /* AVX512 level and VBMI */
    TMB_CPU_AMX = 1 << 6,       /* AVX512VNNI level, AMX TILE, INT8, BF16, and the system lets this process use tiles */
    TMB_CPU_SLOW_VBMI = 1 << 7, /* no kind of kernels: AVX512VBMI level, but reading floats beats unpacking by it */

    /* aarch64, where no kernels ask for them yet */
    TMB_CPU_DOTPROD = 1 << 16, /* SDOT, UDOT */
    TMB_CPU_I8MM = 1 << 17,    /* products of 8-bit matrices */
    TMB_CPU_BF16 = 1 << 18     /* products of bf16 */
};

/* A named set of bits. */
typedef struct tmb_cpu_set {
    const char *name;
    unsigned flags;
    bool is_level; /* one that users are told of: the others are steps between */
} tmb_cpu_set;

/* The sets of this architecture, from plain C ("c") upwards; *count of them, static storage. A set's flags are all that
 * its kernels need, and, as a mask, all that the set allows. */
const tmb_cpu_set *tmb_cpu_sets(size_t *count);

/* Is TIMBRE_CPU not set, or a level of this architecture? Another value limits nothing and is a mistake. */
bool tmb_cpu_environment_is_legal(void);

/* The levels of this architecture, "generic, avx2, avx512, amx", into `out` [size]; returns `out`. */
const char *tmb_cpu_levels(char *out, size_t size);

/* The bits that CPU and operating system (saved registers, XGETBV) offer, less what the variable TIMBRE_CPU forbids: it
 * names one of tmb_cpu_sets; an unknown name forbids nothing. Thread-safe; computed once. */
unsigned tmb_cpu_flags(void);

/* Forbids every bit that is not in `mask`, for tests and benchmarks: call it before the first
 * kernel table is asked for, from one thread. ~0u forbids nothing. */
void tmb_cpu_mask(unsigned mask);

/* "avx512+vnni+bf16+amx", "avx2", "generic"; static storage. */
const char *tmb_cpu_name(void);

#endif
