/* Which x86 it is, from the registers of CPUID's leaves 0 and 1. */
#ifndef TMB_CPU_X86_MODEL_H
#define TMB_CPU_X86_MODEL_H

#include <stdbool.h>

/* AMD's family 19h: Zen 3, and Zen 4 if there is AVX-512. `vendor` is leaf 0's EBX, `signature` leaf 1's EAX. */
static inline bool tmb_cpu_is_amd_19h(unsigned vendor, unsigned signature) {
    const unsigned auth = 0x68747541; /* "Auth" of AuthenticAMD */
    const unsigned base = signature >> 8 & 0xf;
    const unsigned family = base == 0xf ? base + (signature >> 20 & 0xff) : base;
    return vendor == auth && family == 0x19;
}

#endif
