/* The small language that the kernels are written in: C that a compiler for GPUs reads (Clang without any header of
 * NVIDIA's, nvcc, NVRTC), and that the CPU's compiler reads for the tests.
 *
 *   KERNEL(name)           a kernel, of blocks with TMB_THREADS_MOST threads at most; its arguments are `a`
 *   KERNEL_OF(name, most)  the same of blocks with so many
 *   DEVICE                 a function that kernels call
 *   THREAD, THREADS        number of this thread in its block, threads in a block; a multiple of 32
 *   BLOCK_X, BLOCK_Y, BLOCK_Z
 *   SHARED(type, name)     `name` points to one `type` that the block's threads share; once in a kernel
 *   BARRIER()              all threads of the block
 *   WARP_BARRIER()         32 neighbouring threads
 *   WARP_SUM(x), WARP_MAX(x)  over 32 neighbouring threads, all of which must take part
 *   MMA_BF16, MMA_S8       a warp's product of 16 rows and 8 columns, by tensor cores
 *   AWAIT()                first in every kernel: what the kernels before have written is there behind it
 *   PREFETCH(address)      what lies there will be read; allowed before AWAIT() if no kernel writes it
 *   ATOMIC_ADD, ATOMIC_ADD_LONG   of int32_t, of uint64_t, in memory that threads share
 *   UNROLL                 the loop that follows is unrolled
 *   FMA, FMA64, SQRT       rounded once, like all arithmetic here: nothing is contracted or reordered
 */
#ifndef TMB_GPU_KERNELS_DIALECT_H
#define TMB_GPU_KERNELS_DIALECT_H

#define TMB_GPU_PTR(type) type *
#include "arguments.h"

/* The assembler gives a thread no more registers than a block of so many has. */
#define TMB_THREADS_MOST 256
#define KERNEL(name) KERNEL_OF(name, TMB_THREADS_MOST)

#if defined(__CUDACC__) || defined(__CUDA__)

#if defined(__clang__) && !defined(__CUDACC_RTC__) && !defined(__CLANG_CUDA_RUNTIME_WRAPPER_H__)
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define THREAD ((int)__nvvm_read_ptx_sreg_tid_x())
#define THREADS ((int)__nvvm_read_ptx_sreg_ntid_x())
#define BLOCK_X ((int)__nvvm_read_ptx_sreg_ctaid_x())
#define BLOCK_Y ((int)__nvvm_read_ptx_sreg_ctaid_y())
#define BLOCK_Z ((int)__nvvm_read_ptx_sreg_ctaid_z())
#define BARRIER() __nvvm_bar_sync(0)
#define WARP_BARRIER() __nvvm_bar_warp_sync(0xffffffffu)
#define SHUFFLE_XOR(x, lanes) __nvvm_shfl_sync_bfly_f32(0xffffffffu, x, lanes, 31)
#define FMA(x, y, z) __nvvm_fma_rn_f(x, y, z)
#define FMA64(x, y, z) __nvvm_fma_rn_d(x, y, z)
#define SQRT(x) __nvvm_sqrt_rn_f(x)
#define ATOMIC_ADD(address, value) ((void)__nvvm_atom_add_gen_i(address, value))
#define ATOMIC_ADD_LONG(address, value)                                                                                \
    ((void)__nvvm_atom_add_gen_ll((long long *)(void *)(address), (long long)(value)))
#else
#define THREAD ((int)threadIdx.x)
#define THREADS ((int)blockDim.x)
#define BLOCK_X ((int)blockIdx.x)
#define BLOCK_Y ((int)blockIdx.y)
#define BLOCK_Z ((int)blockIdx.z)
#define BARRIER() __syncthreads()
#define WARP_BARRIER() __syncwarp()
#define SHUFFLE_XOR(x, lanes) __shfl_xor_sync(0xffffffffu, x, lanes)
#define FMA(x, y, z) __fmaf_rn(x, y, z)
#define FMA64(x, y, z) __fma_rn(x, y, z)
#define SQRT(x) __fsqrt_rn(x)
#define ATOMIC_ADD(address, value) ((void)atomicAdd(address, value))
#define ATOMIC_ADD_LONG(address, value)                                                                                \
    ((void)atomicAdd((unsigned long long *)(void *)(address), (unsigned long long)(value)))
#endif

/* In the text for architectures that have it a kernel may begin while the one before it still runs. */
#if defined(TMB_DEPENDENT_LAUNCH)
#define AWAIT() __asm__ volatile("griddepcontrol.launch_dependents; griddepcontrol.wait;" ::: "memory")
#define PREFETCH(address) __asm__ volatile("prefetch.global.L2 [%0];" ::"l"(address))
#else
#define AWAIT() ((void)0)
#define PREFETCH(address) ((void)(address))
#endif

#define UNROLL _Pragma("unroll")
/* One block on a multiprocessor is enough: for the sake of more, ptxas would keep registers in memory. */
#define KERNEL_OF(name, most) extern "C" __global__ void __launch_bounds__(most, 1) name(const name##_arguments a)
#define DEVICE static __device__ inline __attribute__((always_inline))
#define SHARED(type, name)                                                                                             \
    __shared__ type name##_storage;                                                                                    \
    type *const name = &name##_storage

DEVICE float WARP_SUM(float x) {
    for (int lanes = 16; lanes > 0; lanes >>= 1) {
        x += SHUFFLE_XOR(x, lanes);
    }
    return x;
}
DEVICE float WARP_MAX(float x) {
    for (int lanes = 16; lanes > 0; lanes >>= 1) {
        const float y = SHUFFLE_XOR(x, lanes);
        x = x > y ? x : y;
    }
    return x;
}
DEVICE float BITS_TO_FLOAT(uint32_t bits) {
    float x;
    asm("mov.b32 %0, %1;" : "=f"(x) : "r"(bits));
    return x;
}
DEVICE uint32_t FLOAT_TO_BITS(float x) {
    uint32_t bits;
    asm("mov.b32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}
DEVICE double BITS_TO_DOUBLE(uint64_t bits) {
    double x;
    asm("mov.b64 %0, %1;" : "=d"(x) : "l"(bits));
    return x;
}
DEVICE float HALF_TO_FLOAT(uint16_t half) {
    float x;
    asm("{ .reg .b16 t; mov.b16 t, %1; cvt.f32.f16 %0, t; }" : "=f"(x) : "h"(half));
    return x;
}
DEVICE uint16_t FLOAT_TO_HALF(float x) {
    uint16_t half;
    asm("{ .reg .b16 t; cvt.rn.f16.f32 t, %1; mov.b16 %0, t; }" : "=h"(half) : "f"(x));
    return half;
}
/* sum[4] += 16 rows of weights times 8 columns of values, a warp together; the PTX manual says which lane has what. */
DEVICE void MMA_BF16(float *sum, const uint32_t *weights, const uint32_t *values) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "r"(values[0]), "r"(values[1]));
}
DEVICE void MMA_S8(int *sum, const uint32_t *weights, const uint32_t *values) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
                 : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "r"(values[0]), "r"(values[1]));
}

#else /* the CPU, for the tests */
#include "emulated.h"
#endif

/* Loaded in one piece, from an address that is a multiple of their size. */
typedef struct __attribute__((aligned(16))) four_floats {
    float of[4];
} four_floats;
DEVICE four_floats LOAD_FOUR(const float *from) { return *(const four_floats *)(const void *)from; }

/* To the nearest whole number, halves to the even one; for |x| < 2^22. */
DEVICE float ROUND(float x) { return (x + 12582912.0f) - 12582912.0f; }

DEVICE int MIN_OF(int x, int y) { return x < y ? x : y; }
DEVICE float MAX_OF(float x, float y) { return x > y ? x : y; }

DEVICE float BF16_TO_FLOAT(uint16_t value) { return BITS_TO_FLOAT((uint32_t)value << 16); }

/* e^x, within an ulp or two. */
DEVICE float EXP(float x) {
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    const float n = ROUND(x * 1.44269504f);
    float r = FMA(n, -0.693359375f, x);
    r = FMA(n, 2.12194440e-4f, r);
    float p = FMA(r, 1.9875691500e-4f, 1.3981999507e-3f);
    p = FMA(p, r, 8.3334519073e-3f);
    p = FMA(p, r, 4.1665795894e-2f);
    p = FMA(p, r, 1.6666665459e-1f);
    p = FMA(p, r, 5.0000001201e-1f);
    p = FMA(p, r * r, r) + 1.0f;
    return p * BITS_TO_FLOAT((uint32_t)((int)n + 127) << 23);
}

/* e^x for x <= 0, rounded to the nearest float but for one case in millions, as C libraries round expf; 0 for NaN. */
DEVICE float EXP_ROUNDED(float x) {
    if (!(x >= -103.0f)) {
        return 0.0f;
    }
    const double y = (double)x * 1.4426950408889634;
    const double n = (y + 6755399441055744.0) - 6755399441055744.0;
    double r = FMA64(n, -0.69314718036912382, (double)x);
    r = FMA64(n, -1.9082149292705877e-10, r);
    double p = 1.0 / 39916800.0;
    p = FMA64(p, r, 1.0 / 3628800.0);
    p = FMA64(p, r, 1.0 / 362880.0);
    p = FMA64(p, r, 1.0 / 40320.0);
    p = FMA64(p, r, 1.0 / 5040.0);
    p = FMA64(p, r, 1.0 / 720.0);
    p = FMA64(p, r, 1.0 / 120.0);
    p = FMA64(p, r, 1.0 / 24.0);
    p = FMA64(p, r, 1.0 / 6.0);
    p = FMA64(p, r, 0.5);
    p = FMA64(p, r, 1.0);
    p = FMA64(p, r, 1.0);
    return (float)(p * BITS_TO_DOUBLE((uint64_t)((int64_t)n + 1023) << 52));
}

DEVICE float SILU(float x) { return x / (1.0f + EXP(-x)); }

#endif
