/* What conv.c and conv_half.c share. */
#ifndef TMB_KERNELS_CONV_INTERNAL_H
#define TMB_KERNELS_CONV_INTERNAL_H

#include "base/sizes.h"
#include "kernels/conv.h"

/* Rows whose inputs (a depth block of each) stay in the L2 while all panels go by. */
#define TMB_CONV_ROWS_MAX 192
/* Largest rows x width, and width, of any instruction set. */
#define TMB_CONV_TILE_MAX 512
#define TMB_CONV_WIDTH_MAX 32

/* One application, seen by every thread. */
typedef struct tmb_conv_job {
    const tmb_conv *conv;
    const tmb_conv_run *runs;
    size_t count;
    size_t output_pitch;
    tmb_conv_finish finish;
    void *argument;
    unsigned char *scratch; /* [parts][scratch_bytes] */
    size_t scratch_bytes;
    size_t rows; /* of all runs */
    int row_parts;
} tmb_conv_job;

/* A place in the rows of all runs, taken one after the other. */
typedef struct tmb_conv_position {
    size_t run, row;
} tmb_conv_position;

/* Splits `total` into the fewest pieces of at most `limit` and returns the size of all but the last. */
static inline size_t tmb_conv_even_piece(size_t total, size_t limit) {
    return tmb_ceil_div(total, tmb_ceil_div(total, limit));
}

/* Rows that `at` can still give from its run, at most `wanted`; skips runs that are used up. */
size_t tmb_conv_rows_here(const tmb_conv_job *job, tmb_conv_position *at, size_t wanted);

/* Where output o of a source lies, relative to its first. */
ptrdiff_t tmb_conv_output_offset(const tmb_conv_source *source, size_t o);

/* The 16-bit form (conv_half.c). Allocates and packs the weights; false when out of memory. */
bool tmb_conv_half_pack(tmb_conv *conv, const tmb_conv_source *source);
/* Panels [first, end) of up to `rows` rows from `begin` on; returns how many rows were done (as many as the scratch
 * memory of `part` holds). */
size_t tmb_conv_half_compute(const tmb_conv_job *job, int part, tmb_conv_position begin, size_t rows, size_t first,
                             size_t end);

#endif
