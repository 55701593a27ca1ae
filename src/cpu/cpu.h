/* What the CPU can do. */
#ifndef TMB_CPU_CPU_H
#define TMB_CPU_CPU_H

/* One bit is one level that kernels are written for; each implies what the comment says. */
enum {
    TMB_CPU_AVX2 = 1 << 0,       /* AVX2, FMA, F16C, BMI2 */
    TMB_CPU_AVX512 = 1 << 1,     /* AVX2 level and AVX-512 F, CD, BW, DQ, VL */
    TMB_CPU_AVX512VNNI = 1 << 2, /* AVX512 level and VNNI */
    TMB_CPU_AVX512BF16 = 1 << 3, /* AVX512 level and BF16 */
    TMB_CPU_AVX512VBMI = 1 << 4, /* AVX512 level and VBMI */
    TMB_CPU_AMX = 1 << 5 /* AVX512VNNI level, AMX TILE, INT8, BF16, and the system lets this process use tiles */
};

/* The levels that CPU and operating system (saved registers, XGETBV) offer, less what the variable
 * TIMBRE_CPU forbids: "generic" leaves none, "avx2" at most AVX2, "avx512" all but AMX, "amx" all; so
 * does an unknown value. Thread-safe; computed once. */
unsigned tmb_cpu_flags(void);

/* Forbids every level that is not in `mask`, for tests and benchmarks: call it before the first
 * kernel table is asked for, from one thread. ~0u forbids nothing. */
void tmb_cpu_mask(unsigned mask);

/* "avx512+vnni+bf16+amx", "avx2", "generic"; static storage. */
const char *tmb_cpu_name(void);

#endif
