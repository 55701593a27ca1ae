/* Products of a weight matrix with a few vectors, for networks that read every weight once a step.
 *
 * A matrix is packed once, in the order in which it is read: panels of 16 rows, and inside a panel the
 * columns one after the other. One panel layout serves every instruction set, and whatever the number of
 * vectors, an output is summed in the same order: a vector's result does not depend, to the last bit,
 * on the vectors that are multiplied with it.
 *
 * Weight types:
 *   F32   [columns][16] floats.
 *   BF16  [columns / 2][16][2], multiplied as floats (exact), or, if the CPU multiplies bf16 and
 *         `bf16_dot` is asked for, with the vectors rounded to bf16.
 *   Q8    blocks of 32 columns: 16 scales (f16), 32 x 16 signed bytes; 8.5 bits a weight. The vectors are
 *         rounded to 8 bits with a scale for each 32 values; products are exact integers.
 *   Q4    blocks of 32 columns: unsigned 4 bits, times an 8-bit scale, less an 8-bit offset, both in units
 *         (f16) that up to 8 blocks share; 4.625 bits a weight. Vectors as for Q8.
 */
#ifndef TMB_KERNELS_MATMUL_H
#define TMB_KERNELS_MATMUL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TMB_PANEL_ROWS 16
#define TMB_BLOCK_COLUMNS 32 /* that share a scale in Q8 and Q4 */
#define TMB_SUPER_BLOCKS 8   /* blocks that share their scales' units in Q4 */

typedef enum tmb_weight_type {
    TMB_WEIGHT_F32 = 0,
    TMB_WEIGHT_BF16,
    TMB_WEIGHT_Q8,
    TMB_WEIGHT_Q4,
    TMB_WEIGHT_TYPES
} tmb_weight_type;

/* A packed matrix [rows, columns]; the data is borrowed and aligned to 64 bytes. */
typedef struct tmb_matrix {
    tmb_weight_type type;
    size_t rows, columns;
    size_t panels;      /* ceil(rows / 16); rows beyond the last are zero */
    size_t panel_bytes; /* a multiple of 64 */
    const uint8_t *data;
} tmb_matrix;

/* Fills in all but the data; false if a size does not fit into size_t. rows, columns >= 1. */
bool tmb_matrix_shape(tmb_matrix *matrix, tmb_weight_type type, size_t rows, size_t columns);

/* Bytes of the packed data. */
static inline size_t tmb_matrix_bytes(const tmb_matrix *matrix) { return matrix->panels * matrix->panel_bytes; }

/* Floats that an output row needs: the matrix's rows in whole panels. */
static inline size_t tmb_matrix_padded_rows(const tmb_matrix *matrix) { return matrix->panels * TMB_PANEL_ROWS; }

/* Packs one panel: `rows` is [count, stride] floats, count <= 16 rows of matrix->columns values, into
 * matrix->panel_bytes bytes at `panel`. BF16 rounds to nearest even. Weights must be finite. */
void tmb_matrix_pack_panel(const tmb_matrix *matrix, const float *rows, size_t stride, size_t count, uint8_t *panel);

/* What one instruction set does for one weight type. */
typedef struct tmb_matmul {
    /* A vector of `columns` floats in the form that multiply wants, row_bytes(columns) bytes (a multiple
     * of 64, the destination aligned to 64). */
    size_t (*row_bytes)(size_t columns);
    void (*prepare)(const float *values, size_t columns, void *row);
    /* out[i * out_stride + 16 * panel + r] = sum_k W[16 * panel + r, k] * X[i, k], for
     * first <= panel < end and i < count; X: prepared rows, row_stride bytes apart. Writes whole panels. */
    void (*multiply)(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                     size_t count, float *out, size_t out_stride);
} tmb_matmul;

/* All of one CPU. BF16 has two: with `bf16_dot` vectors are rounded if the CPU multiplies bf16; elsewhere both are
 * the same. */
typedef struct tmb_matmul_kernels {
    tmb_matmul f32, bf16, bf16_dot, q8, q4;
} tmb_matmul_kernels;

/* The fastest variants for a CPU with `cpu_flags` (cpu/cpu.h); 0 gives plain C. */
void tmb_matmul_kernels_init(tmb_matmul_kernels *kernels, unsigned cpu_flags);

/* Those of one weight type; `bf16_dot` allows BF16 with rounded vectors, the other types ignore it. */
static inline const tmb_matmul *tmb_matmul_choose(const tmb_matmul_kernels *kernels, tmb_weight_type type,
                                                  bool bf16_dot) {
    switch (type) {
    case TMB_WEIGHT_F32: return &kernels->f32;
    case TMB_WEIGHT_BF16: return bf16_dot ? &kernels->bf16_dot : &kernels->bf16;
    case TMB_WEIGHT_Q8: return &kernels->q8;
    default: return &kernels->q4;
    }
}

/* f16 and bf16 without help from the CPU. Both round to nearest even; f16 goes to infinity over 65504, and saturated to
 * 65504. */
float tmb_half_to_float(uint16_t half);
uint16_t tmb_float_to_half(float value);
uint16_t tmb_float_to_half_saturated(float value);
static inline float tmb_bf16_to_float(uint16_t value) {
    union {
        uint32_t bits;
        float value;
    } cast = {.bits = (uint32_t)value << 16};
    return cast.value;
}
uint16_t tmb_float_to_bf16(float value);

#endif
