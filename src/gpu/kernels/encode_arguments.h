/* What the kernels of the two encoders (a recording to an x-vector, and to codes) and the code that launches them agree
 * on; a part of arguments.h.
 *
 * An encoder goes over one signal at a time: rows [time, channels], some channels of which may be meant ("pitch" floats
 * from a row to the next).
 */
#ifndef TMB_GPU_KERNELS_ENCODE_ARGUMENTS_H
#define TMB_GPU_KERNELS_ENCODE_ARGUMENTS_H

/* Rows and outputs of a block of tmb_encode_convolve. Weights lie in panels of so many outputs. */
#define TMB_ENCODE_ROWS 64
#define TMB_ENCODE_OUTPUTS 32

/* Most inputs of a head, and of a codebook's entry. */
#define TMB_ENCODE_HEAD 128
#define TMB_ENCODE_ENTRY 512
/* Frames of a block of tmb_encode_quantize. */
#define TMB_ENCODE_FRAMES 4

/* What is before the first row and behind the last one: zeros, the rows mirrored, the row itself. */
enum { TMB_ENCODE_ZERO = 0, TMB_ENCODE_REFLECT, TMB_ENCODE_REPEAT };

/* RELU_TANH: tanh(relu(v)). */
enum {
    TMB_ENCODE_PLAIN = 0,
    TMB_ENCODE_RELU,
    TMB_ENCODE_RELU_TANH,
    TMB_ENCODE_SIGMOID,
    TMB_ENCODE_ELU,
    TMB_ENCODE_GELU
};

/* v[row, o] = bias[o] + sum_{p < taps, i < in} y[row * stride + p * dilation - before, i] w[p, i, o], y being x, or x +
 * plus; that times scale[o], plus add[row, o], is sum[row, o]; what becomes of it is out[row, o]. Whatever has an
 * address 0 is left out.
 * Grid: (rows / 64, outputs / 32), 128 threads. */
typedef struct tmb_encode_convolve_arguments {
    TMB_GPU_PTR(const float) x; /* its row 0 */
    TMB_GPU_PTR(const float) plus;
    TMB_GPU_PTR(const float) weights; /* [panels][taps * in][32] */
    TMB_GPU_PTR(const float) bias;    /* [outputs] */
    TMB_GPU_PTR(const float) scale;
    TMB_GPU_PTR(const float) add; /* add_pitch 0: the same for every row */
    TMB_GPU_PTR(float) sum;       /* [rows, outputs]; may be `add` */
    TMB_GPU_PTR(float) out;
    int32_t x_pitch, add_pitch, out_pitch; /* x_pitch: of `plus`, too */
    int32_t in, taps, stride, dilation, before;
    int32_t first, end; /* rows that there are of x; `edge` says what is outside of them */
    int32_t edge, rows, outputs, becomes;
} tmb_encode_convolve_arguments;

/* Over time, with the weights exp(scores - their largest) (NULL: all equal): the mean of each column, and the root of
 * the mean square of what differs from it (at least 1e-6; NULL: not wanted). Grid: (width / 32), 256 threads. */
typedef struct tmb_encode_statistics_arguments {
    TMB_GPU_PTR(const float) x; /* [rows, width] */
    TMB_GPU_PTR(const float) scores;
    TMB_GPU_PTR(float) mean; /* [width] */
    TMB_GPU_PTR(float) deviation;
    int32_t rows, width;
} tmb_encode_statistics_arguments;

/* out[row, c] = x[row, c] + y[row, c] * gate[c]. Grid: (rows). */
typedef struct tmb_encode_gate_arguments {
    TMB_GPU_PTR(const float) x;
    TMB_GPU_PTR(const float) y; /* [rows, width] */
    TMB_GPU_PTR(const float) gate;
    TMB_GPU_PTR(float) out;
    int32_t width, x_pitch, out_pitch, padding;
} tmb_encode_gate_arguments;

/* ---- The codec encoder's transformer, and its codebooks ---- */

/* out = layer norm of each row of x [rows, width]. Grid: (rows). */
typedef struct tmb_encode_norm_arguments {
    TMB_GPU_PTR(const float) x;
    TMB_GPU_PTR(const float) norm;
    TMB_GPU_PTR(const float) bias;
    TMB_GPU_PTR(float) out;
    int32_t width;
    float eps;
} tmb_encode_norm_arguments;

/* Turns queries and keys of qkv [rows, (heads + 2 * key_heads) * head_dim] by their rows' numbers. Grid: (rows). */
typedef struct tmb_encode_rotate_arguments {
    TMB_GPU_PTR(float) qkv;
    TMB_GPU_PTR(const float) frequencies; /* [head_dim / 2] */
    int32_t heads, key_heads, head_dim, padding;
} tmb_encode_rotate_arguments;

/* Each row sees those before it, and itself: out [rows, heads * head_dim]. Grid: (rows / 4, heads), 128 threads. */
typedef struct tmb_encode_attend_arguments {
    TMB_GPU_PTR(const float) qkv;
    TMB_GPU_PTR(float) out;
    int32_t rows, heads, key_heads, head_dim;
    float scale;
    int32_t padding;
} tmb_encode_attend_arguments;

/* The codes of frames: each book's nearest entry to what the books before it left, the first of equals. The semantic
 * books go over the first residuals, the others over the second. Grid: (frames / 4, 2), 256 threads. */
typedef struct tmb_encode_quantize_arguments {
    TMB_GPU_PTR(const float) residuals; /* [2][frames, width] */
    TMB_GPU_PTR(const float) entries;   /* [books][size / 32][width][32] */
    TMB_GPU_PTR(const float) lengths;   /* [books][size]: squares of the entries' */
    TMB_GPU_PTR(int16_t) codes;         /* [frames, books] */
    int32_t frames, books, semantic, size, width, padding;
} tmb_encode_quantize_arguments;

#endif
