/* Matrix product with weights in 24 bits, packed once: three quarters of the bytes of 32-bit floats, for products with
 * a single row, whose time is the reading of their weights. */
#ifndef TMB_KERNELS_GEMM_FIXED_H
#define TMB_KERNELS_GEMM_FIXED_H

#include "kernels/gemm_f32.h"

#include <stdbool.h>
#include <stddef.h>

#define TMB_GEMM_FIXED_BITS 22
#define TMB_GEMM_FIXED_ROW_BYTES (TMB_GEMM_PANEL * TMB_GEMM_FIXED_BITS / 8)

/* A column's weights are whole numbers times a power of two of its own, so that its largest weight keeps 21 bits: what
 * rounding adds is no more than sums of floats lose. Each such weight is a float exactly, and the product is that of
 * tmb_gemm_f32 with these floats, bit for bit at the same kind of kernels. */
typedef struct tmb_gemm_fixed_kernels {
    bool faster; /* than floats; otherwise there is no reason to pack weights in this way */
    /* A product with m = 1, a_run = k, without `initial`; b is from tmb_gemm_fixed_pack. */
    void (*row)(const tmb_gemm_f32 *product);
    /* `count` panels after each other, from `packed`, as tmb_gemm_f32_pack lays them. */
    void (*unpack)(float *panels, const float *packed, size_t k, size_t count);
} tmb_gemm_fixed_kernels;

/* The fastest variants for a CPU with `cpu_flags` (cpu/cpu.h); 0 gives plain C. */
void tmb_gemm_fixed_kernels_init(tmb_gemm_fixed_kernels *kernels, unsigned cpu_flags);

/* Any number of rows, with a_run = k and without `initial`: unpacks a few panels at a time for `floats`. k is at most
 * TMB_GEMM_FIXED_MOST_K; 132 KiB of stack. */
#define TMB_GEMM_FIXED_MOST_K 1024
void tmb_gemm_fixed_run(const tmb_gemm_fixed_kernels *kernels, const tmb_gemm_f32_kernels *floats,
                        const tmb_gemm_f32 *product);

/* Room of a packed [k, n], bias included, in floats. */
size_t tmb_gemm_fixed_packed_floats(size_t k, size_t n);

/* Packs finite weights: arguments as tmb_gemm_f32_pack. A panel is its bias, the powers of two, and k rows of 16 whole
 * numbers without gaps, the lowest bits first; then a gap of 20 bytes at least. */
void tmb_gemm_fixed_pack(float *packed, size_t k, size_t n, const float *b, size_t row_stride, size_t column_stride,
                         const float *bias);

/* Floats from one panel to the next. */
static inline size_t tmb_gemm_fixed_panel_floats(size_t k) {
    const size_t bytes = k * TMB_GEMM_FIXED_ROW_BYTES + 20;
    return 2 * TMB_GEMM_PANEL + (bytes + 63) / 64 * TMB_GEMM_PANEL;
}

#endif
