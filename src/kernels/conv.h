/* Convolutions over time as matrix products.
 *
 * Activations are time-major, [time, channels]: the window that an output row sees is then (for dilation 1) one
 * contiguous stretch of memory, a causal layer's history is some rows before the first, and a transposed
 * convolution is a plain one whose output row holds `stride` time steps. Nothing is copied into columns; the
 * product reads its operand where it lies.
 *
 *   out[t, o] = bias[o] + sum_{p < taps, i < in} x[t * stride + p * dilation, i] * w[p, i, o]
 *
 * A linear layer has one tap. Weights are packed once: depth blocks that fit into the L1 cache, in each of them
 * panels of `width` outputs, in a panel depth after depth. Each output is summed in one fixed order,
 * whatever rows are computed with it, by whichever thread: results do not depend on chunks, batch or threads.
 */
#ifndef TMB_KERNELS_CONV_H
#define TMB_KERNELS_CONV_H

#include "base/team.h"
#include "timbre/timbre.h"

/* Deepest block: 16 outputs x 320 x 4 bytes = 20 KiB of a 32 KiB L1, the rest is for the rows. */
#define TMB_CONV_DEPTH_MAX 320

/* What one instruction set does. */
typedef struct tmb_conv_kernels {
    size_t width; /* outputs in a panel */
    size_t rows;  /* output rows that the kernel computes at a time; shares of work are multiples of it */

    /* One panel and one depth block for `rows` >= 1 rows:
     *   c[r * c_pitch + j] = start[j] + sum_{p < taps, k < depth} a[r * a_pitch + p * tap_pitch + k] * b[(p * depth +
     * k) * width + j] for j < width; pitches in floats. start NULL: what c holds instead. `next` (may be NULL):
     * `next_bytes` bytes that will be wanted after this call. */
    void (*panel)(const float *a, size_t a_pitch, size_t rows, size_t taps, size_t tap_pitch, size_t depth,
                  const float *b, const float *start, float *c, size_t c_pitch, const void *next, size_t next_bytes);

    /* sum_{k < count} a[k] * b[k] for `rows` rows a + r * a_pitch; c[r * c_pitch] = start + sum. For layers with one
     * output. */
    void (*dot)(const float *a, size_t a_pitch, size_t rows, size_t count, const float *b, float start, float *c,
                size_t c_pitch);
} tmb_conv_kernels;

/* The fastest variants for a CPU with `cpu_flags` (cpu/cpu.h); 0 gives plain C. */
void tmb_conv_kernels_init(tmb_conv_kernels *kernels, unsigned cpu_flags);

/* Operands of the products. HALF: 16 bits for weights and inputs, sums and outputs f32. EMPTY: no weights, for a layer
 * that is only asked for its sizes. */
typedef enum tmb_conv_type { TMB_CONV_F32 = 0, TMB_CONV_HALF, TMB_CONV_EMPTY } tmb_conv_type;

/* HALF: bf16, or whole numbers with a scale for each input row and output: |row| <= TMB_CONV_ROW_STEPS, |weight| <=
 * TMB_CONV_COLUMN_STEPS, so that sums of 320 products fit into 32 bits. */
#define TMB_CONV_ROW_STEPS 2047.0f
#define TMB_CONV_COLUMN_STEPS 3200.0f
typedef struct tmb_conv_half_kernels {
    size_t width, rows;
    size_t depth_unit;  /* inputs come in multiples of this (even), zeros at the end */
    size_t depth_max;   /* of a block */
    bool whole_numbers; /* otherwise bf16, and scales are 1 */

    /* x [count] to 16 bits, out [count rounded up to depth_unit]; *scale: of one step. */
    void (*convert)(const float *x, size_t count, uint16_t *out, float *scale);

    /* One panel and depth block:
     *   c[r * c_pitch + j] = start[j] + row_scales[r] * column_scales[j] *
     *       sum_{k < pairs, h < 2} a[r * a_pitch + 2 * k + h] * b[(k * width + j) * 2 + h]
     * start NULL: what c holds instead. `next` as for tmb_conv_kernels. */
    void (*panel)(const uint16_t *a, size_t a_pitch, const float *row_scales, size_t rows, size_t pairs,
                  const uint16_t *b, const float *column_scales, const float *start, float *c, size_t c_pitch,
                  const void *next, size_t next_bytes);

    /* A panel's block from [pairs, width, 2] to the order that `panel` reads it in; NULL: that one. Kernels that have
     * this also have an order of their own for converted rows, take them whole, and read (but do not use) rows up to a
     * multiple of `rows`. */
    void (*arrange)(const uint16_t *from, size_t pairs, uint16_t *to);
} tmb_conv_half_kernels;

/* The fastest variants for a CPU with `cpu_flags` (cpu/cpu.h); 0 gives plain C. */
void tmb_conv_half_kernels_init(tmb_conv_half_kernels *kernels, unsigned cpu_flags);

/* Where the weight w[p, i, o] lies: data[p * tap + i * in + (o / group) * group_pitch + (o % group) * out]. Plain
 * layers have group = number of outputs. */
typedef struct tmb_conv_source {
    const float *data;
    ptrdiff_t tap, in, out;
    size_t group;
    ptrdiff_t group_pitch;
} tmb_conv_source;

/* A packed layer; immutable, shared between threads. */
typedef struct tmb_conv {
    tmb_conv_kernels kernels;
    bool is_half; /* what `half` multiplies, not `kernels` */
    tmb_conv_half_kernels half;
    size_t width, tile_rows; /* of the selected variant */
    size_t taps, in, out;    /* as in the formula */
    size_t stride, dilation;
    size_t panels;           /* ceil(out / width) */
    bool single;             /* one output, contiguous windows: no panels, weights as one row */
    size_t run_taps, run_in; /* the same sum as fewer taps over more inputs, if windows are contiguous */
    size_t block_taps;       /* a depth block: this many taps... */
    size_t block_in;         /* ...of this many inputs (the last block of a row may have less of either) */
    float *bias;             /* [panels * width], zeros without a bias */
    float *weights;
    uint16_t *half_weights;
    float *column_scales; /* [panels * width] of half_weights */
} tmb_conv;

/* Bytes that tmb_conv_create takes, with this CPU's kernels; SIZE_MAX if that does not fit. */
size_t tmb_conv_bytes(tmb_conv_type type, size_t taps, size_t in, size_t out);

/* Packs. `bias` (may be NULL): [group], the same for each group of outputs. All sizes >= 1. On failure
 * (TMB_ERROR_MEMORY) *conv is zeroed. */
tmb_status tmb_conv_create(tmb_conv *conv, const tmb_conv_source *source, const float *bias, tmb_conv_type type,
                           size_t taps, size_t in, size_t out, size_t stride, size_t dilation, tmb_error *error);
void tmb_conv_free(tmb_conv *conv);

/* The weights of output `output` of an F32 layer as they were before packing, row: [taps, in]. */
void tmb_conv_unpack(const tmb_conv *conv, size_t output, float *row);

/* Rows between the first input of an output and its last, plus one: taps spread by dilation. */
static inline size_t tmb_conv_span(const tmb_conv *conv) { return (conv->taps - 1) * conv->dilation + 1; }

/* Consecutive output rows of one signal. */
typedef struct tmb_conv_run {
    const float *input; /* row 0 of the first output's window: [(rows - 1) * stride + span, in] */
    float *output;      /* [rows, out], rows `output_pitch` apart */
    size_t rows;        /* may be 0 */
} tmb_conv_run;

/* What was just computed and is still in the cache: output rows [row, row + rows) of runs[run], columns
 * [column, column + columns). */
typedef struct tmb_conv_tile {
    size_t run, row, rows, column, columns;
    float *output; /* its first element */
    size_t pitch;
} tmb_conv_tile;

/* Called once for every part of the output, from any thread of the team: bias is in, activation or residual
 * are for this function to do. Tiles begin at multiples of the panel's width. */
typedef void (*tmb_conv_finish)(void *argument, const tmb_conv_tile *tile);

/* Computes `count` runs on the team (NULL: on this thread). `finish` may be NULL. */
void tmb_conv_apply(const tmb_conv *conv, const tmb_conv_run *runs, size_t count, size_t output_pitch,
                    tmb_conv_finish finish, void *argument, tmb_team *team);

/* The same for HALF layers too (stride 1 only), which convert their input into `scratch`: tmb_conv_scratch_bytes(conv)
 * for each thread of the team, aligned to 64. F32 layers need none. */
void tmb_conv_apply_scratch(const tmb_conv *conv, const tmb_conv_run *runs, size_t count, size_t output_pitch,
                            tmb_conv_finish finish, void *argument, tmb_team *team, void *scratch);
size_t tmb_conv_scratch_bytes(const tmb_conv *conv);

#endif
