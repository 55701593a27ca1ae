/* Matrix product in 32-bit floats with weights that were packed once. */
#ifndef TMB_KERNELS_GEMM_F32_H
#define TMB_KERNELS_GEMM_F32_H

#include <stdbool.h>
#include <stddef.h>

/* Columns that lie next to each other in packed weights. */
#define TMB_GEMM_PANEL 16

/* C = A @ B + bias, then ReLU if asked: A [m, k], B [k, n], C [m, n]. If `initial` is given it takes the place of
 * the bias: C = A @ B + initial [m, n].
 *
 * A may be a window that slides over its rows, as a convolution needs it: its element (i, s * a_run + j) with j < a_run
 * is a[i * a_row + s * a_jump + j]. A plain matrix has a_run = k.
 *
 * An element of C is one chain of additions, bias or initial value first, then k upwards: it does not depend on m, n,
 * nor on its place in C. */
typedef struct tmb_gemm_f32 {
    size_t m, n, k;
    const float *a;
    size_t a_row;         /* floats from one row of A to the next */
    size_t a_run;         /* divides k */
    size_t a_jump;        /* unused if a_run = k */
    const float *b;       /* from tmb_gemm_f32_pack, aligned to 64 bytes */
    float *c;             /* overlaps neither a nor b */
    size_t c_row;         /* floats from one row of C to the next, >= n */
    const float *initial; /* NULL: the bias */
    size_t initial_row;   /* floats from one row of it to the next */
    bool relu;
    bool backwards; /* visits B from its end: two products in turn with B larger than a cache find a part of it there */
} tmb_gemm_f32;

typedef struct tmb_gemm_f32_kernels {
    void (*gemm)(const tmb_gemm_f32 *product);
} tmb_gemm_f32_kernels;

/* The fastest variants for a CPU with `cpu_flags` (cpu/cpu.h); 0 gives plain C. */
void tmb_gemm_f32_kernels_init(tmb_gemm_f32_kernels *kernels, unsigned cpu_flags);

/* Floats of a packed [k, n], bias included. */
size_t tmb_gemm_f32_packed_floats(size_t k, size_t n);

/* Packs B, whose element (i, j) is b[i * row_stride + j * column_stride], and bias [n] (NULL: zeros). Panels of
 * TMB_GEMM_PANEL columns (zeros beyond n) follow each other; a panel is its bias and then its k rows. */
void tmb_gemm_f32_pack(float *packed, size_t k, size_t n, const float *b, size_t row_stride, size_t column_stride,
                       const float *bias);

#endif
