/* Inside the matrix kernels: where things lie in packed panels and prepared vectors. */
#ifndef TMB_KERNELS_MATMUL_LAYOUT_H
#define TMB_KERNELS_MATMUL_LAYOUT_H

#include "base/sizes.h"
#include "kernels/matmul.h"

static inline size_t tmb_block_count(size_t columns) { return (columns + TMB_BLOCK_COLUMNS - 1) / TMB_BLOCK_COLUMNS; }

/* Q8: pairs of blocks: 2 x 16 scales, then 2 x 512 weights. Inside a block, quads of columns: 16 rows of 4
 * bytes each. */
#define TMB_Q8_PAIR_BYTES 1088
static inline size_t tmb_q8_scales(size_t block) { return block / 2 * TMB_Q8_PAIR_BYTES + block % 2 * 32; }
static inline size_t tmb_q8_weights(size_t block) { return block / 2 * TMB_Q8_PAIR_BYTES + 64 + block % 2 * 512; }

/* Q4: super-blocks of up to 8 blocks: 16 units of scale (f16), 16 of offset, then for each block 16 scales
 * and 16 offsets (bytes), to a multiple of 64; then for each block 4 x 64 bytes: 16 rows of 4 bytes, low
 * halves = columns 8i to 8i + 3, high halves = columns 8i + 4 to 8i + 7. */
static inline size_t tmb_q4_head_bytes(size_t blocks) { return tmb_round_up(64 + blocks * 32, 64); }
/* Units are stored 256 times as large: as they are, many would be f16 subnormals. */
#define TMB_Q4_UNIT 0x1p-8f
#define TMB_Q4_SUPER_BYTES (320 + TMB_SUPER_BLOCKS * 256)

/* A prepared vector of the quantized types: bytes, then the same as 16-bit integers (of every four columns in the order
 * 0, 2, 1, 3), then a scale for each block, then -128 times the sum of each block's bytes, then scale times sum. */
typedef struct tmb_quantized {
    const int8_t *bytes;
    const int16_t *words;
    const float *scales;
    const int32_t *biases;
    const float *totals;
} tmb_quantized;

static inline size_t tmb_quantized_row_bytes(size_t columns) {
    size_t blocks = tmb_block_count(columns);
    return tmb_round_up(blocks * (3 * TMB_BLOCK_COLUMNS + 12), 64);
}

static inline tmb_quantized tmb_quantized_row(const void *row, size_t blocks) {
    const uint8_t *bytes = row;
    return (tmb_quantized){
        .bytes = (const int8_t *)bytes,
        .words = (const int16_t *)(const void *)(bytes + blocks * TMB_BLOCK_COLUMNS),
        .scales = (const float *)(const void *)(bytes + blocks * 3 * TMB_BLOCK_COLUMNS),
        .biases = (const int32_t *)(const void *)(bytes + blocks * (3 * TMB_BLOCK_COLUMNS + 4)),
        .totals = (const float *)(const void *)(bytes + blocks * (3 * TMB_BLOCK_COLUMNS + 8)),
    };
}

/* Floats: the values and zeros up to a multiple of 16. */
static inline size_t tmb_float_row_bytes(size_t columns) { return tmb_round_up(columns, 16) * sizeof(float); }
/* bf16: the same. */
static inline size_t tmb_bf16_row_bytes(size_t columns) { return tmb_round_up(columns * 2, 64); }

size_t tmb_matmul_float_row_bytes(size_t columns);
size_t tmb_matmul_quantized_row_bytes(size_t columns);
void tmb_matmul_float_prepare(const float *values, size_t columns, void *row);

/* How many of `left` vectors go into the next tile of at most `most`, so that tiles come out even. */
static inline size_t tmb_tile(size_t left, size_t most) {
    size_t tiles = (left + most - 1) / most;
    return (left + tiles - 1) / tiles;
}

#endif
