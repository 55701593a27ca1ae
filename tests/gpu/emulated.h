/* The kernels' language (src/gpu/kernels/dialect.h) on the CPU: each thread of a block is a fiber. */
#ifndef TMB_TESTS_GPU_EMULATED_H
#define TMB_TESTS_GPU_EMULATED_H

#include "emulator.h"

#include <math.h>
#include <string.h>

#define THREAD (tmb_emulation.thread)
#define THREADS (tmb_emulation.threads)
#define BLOCK_X (tmb_emulation.block[0])
#define BLOCK_Y (tmb_emulation.block[1])
#define BLOCK_Z (tmb_emulation.block[2])
#define BARRIER()                                                                                                      \
    do {                                                                                                               \
        static tmb_emulated_site site = {__FILE__, __LINE__, 0};                                                       \
        tmb_emulated_barrier(&site);                                                                                   \
    } while (0)
#define WARP_BARRIER() ((void)tmb_emulated_exchange(0))
#define KERNEL_OF(name, most)                                                                                          \
    enum { name##_threads_most = most };                                                                               \
    static void name(const name##_arguments a)
#define DEVICE static inline
#define SHARED(type, name) type *const name = tmb_emulated_shared(sizeof(type))
#define AWAIT() ((void)0)
#define PREFETCH(address) ((void)(address))
#define UNROLL
#define SQRT(x) sqrtf(x)
#define FMA64(x, y, z) fma(x, y, z)
#define ATOMIC_ADD(address, value) ((void)__atomic_fetch_add(address, value, __ATOMIC_RELAXED))
#define ATOMIC_ADD_LONG(address, value) ATOMIC_ADD(address, value)

#if defined(__FP_FAST_FMAF)
#define FMA(x, y, z) __builtin_fmaf(x, y, z)
#else
/* The product is exact; only a sum that lies within 2^-29 of the middle of two floats is rounded otherwise than by the
 * GPU. */
DEVICE float FMA(float x, float y, float z) { return (float)((double)x * (double)y + (double)z); }
#endif

DEVICE float BITS_TO_FLOAT(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
DEVICE uint32_t FLOAT_TO_BITS(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
DEVICE double BITS_TO_DOUBLE(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Sums as the GPU's lanes exchange them: by halves of the distance. */
DEVICE float WARP_SUM(float x) {
    float sums[32];
    memcpy(sums, tmb_emulated_exchange(FLOAT_TO_BITS(x)), sizeof sums);
    for (int lanes = 16; lanes > 0; lanes >>= 1) {
        for (int i = 0; i < lanes; i++) {
            sums[i] = sums[i] + sums[i + lanes];
        }
    }
    return sums[0];
}
DEVICE float WARP_MAX(float x) {
    float values[32];
    memcpy(values, tmb_emulated_exchange(FLOAT_TO_BITS(x)), sizeof values);
    for (int i = 1; i < 32; i++) {
        values[0] = values[i] > values[0] ? values[i] : values[0];
    }
    return values[0];
}

/* The warp's fragments as the PTX manual lays them out (mma.m16n8k16 with bf16, mma.m16n8k32 with s8): lane = 4 * group
 * + place. The first operand's register r has row group + 8 * (r % 2), the second's column group; `size` elements lie
 * in a register, `place` says which of them, and registers of the upper half of k come after those of the lower. */
DEVICE uint32_t MMA_FIRST(const uint32_t *fragments, int row, int k, int size) {
    const int lane = row % 8 * 4 + k % (4 * size) / size, r = row / 8 + 2 * (k / (4 * size));
    return fragments[r * 32 + lane];
}
DEVICE uint32_t MMA_SECOND(const uint32_t *fragments, int column, int k, int size) {
    const int lane = column * 4 + k % (4 * size) / size;
    return fragments[(4 + k / (4 * size)) * 32 + lane];
}
DEVICE void MMA_EXCHANGE(uint32_t *fragments, const uint32_t *first, const uint32_t *second) {
    for (int r = 0; r < 6; r++) {
        memcpy(fragments + r * 32, tmb_emulated_exchange(r < 4 ? first[r] : second[r - 4]), 32 * sizeof *fragments);
    }
}
DEVICE void MMA_BF16(float *sum, const uint32_t *first, const uint32_t *second) {
    uint32_t fragments[6 * 32];
    const int lane = THREAD % 32;
    MMA_EXCHANGE(fragments, first, second);
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; k++) {
            const uint32_t a = MMA_FIRST(fragments, row, k, 2), b = MMA_SECOND(fragments, column, k, 2);
            sum[i] += BITS_TO_FLOAT(a >> k % 2 * 16 << 16) * BITS_TO_FLOAT(b >> k % 2 * 16 << 16);
        }
    }
}
DEVICE void MMA_S8(int *sum, const uint32_t *first, const uint32_t *second) {
    uint32_t fragments[6 * 32];
    const int lane = THREAD % 32;
    MMA_EXCHANGE(fragments, first, second);
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 32; k++) {
            const uint32_t a = MMA_FIRST(fragments, row, k, 4), b = MMA_SECOND(fragments, column, k, 4);
            sum[i] += (int8_t)(a >> k % 4 * 8) * (int8_t)(b >> k % 4 * 8);
        }
    }
}

DEVICE float HALF_TO_FLOAT(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 0x3ffu;
    if (exponent == 0) {
        const float magnitude = (float)fraction * 0x1p-24f;
        return sign != 0 ? -magnitude : magnitude;
    }
    return BITS_TO_FLOAT(sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13);
}

/* To nearest even, as cvt.rn.f16.f32. */
DEVICE uint16_t FLOAT_TO_HALF(float x) {
    const uint32_t bits = FLOAT_TO_BITS(x);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    const float magnitude = fabsf(x);
    if (magnitude != magnitude) {
        return 0x7fff;
    }
    if (magnitude >= 65520.0f) {
        return (uint16_t)(sign | 0x7c00u);
    }
    if (magnitude < 0x1p-14f) {
        return (uint16_t)(sign | (uint16_t)nearbyintf(magnitude * 0x1p24f));
    }
    const uint32_t kept = bits & 0x7fffffffu;
    const uint32_t rounded = kept + 0xfffu + (kept >> 13 & 1u);
    return (uint16_t)(sign | (uint16_t)((rounded >> 13) - (112u << 10)));
}

#endif
