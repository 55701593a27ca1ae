/* What the codec decoder's kernels and the code that launches them agree on; a part of arguments.h.
 *
 * A launch takes columns: frames of several streams, those of one stream one after the other. A plane holds what a
 * layer takes in, `rate` rows for each column. What a layer remembers of earlier launches, its history, lies in the
 * stream's state.
 */
#ifndef TMB_GPU_KERNELS_CODEC_ARGUMENTS_H
#define TMB_GPU_KERNELS_CODEC_ARGUMENTS_H

/* Rows that a lane of tmb_convolve has. A panel has 1, 8, 16 or 32 outputs: lanes that have no output of their own take
 * other rows. */
#define TMB_CONVOLVE_ROWS 8
/* Most panels of a block. */
#define TMB_CONVOLVE_ACROSS 4
/* Most rows that a row of tmb_codec_attend sees, and the most of a head. */
#define TMB_CODEC_WINDOW 512
#define TMB_CODEC_HEAD 128

/* One column. */
typedef struct tmb_gpu_frame {
    TMB_GPU_PTR(float) state; /* of its stream */
    int64_t position;         /* in the stream, of the first of its frames in this launch */
    int32_t first;            /* the column of that frame */
    int32_t within, frames;   /* this one's number among them; how many there are */
    int32_t padding;
} tmb_gpu_frame;

/* The columns of a launch. */
typedef struct tmb_gpu_frames {
    TMB_GPU_PTR(const tmb_gpu_frame) frames;
    TMB_GPU_PTR(const int32_t) live; /* columns in use */
} tmb_gpu_frames;

/* A plane with what came before it. */
typedef struct tmb_gpu_plane {
    TMB_GPU_PTR(float) rows; /* [columns * rate, width] */
    int64_t history;         /* floats from the beginning of a state: [history_rows, width] */
    int32_t width, rate, history_rows, padding;
} tmb_gpu_plane;

enum { TMB_CONVOLVE_PLAIN = 0, TMB_CONVOLVE_SNAKE, TMB_CONVOLVE_GELU, TMB_CONVOLVE_GATE, TMB_CONVOLVE_CLAMP };

/* v[row, o] = bias[o] + sum_{p < taps, i < in} x[row - (taps - 1 - p) * dilation, i] w[p, i, o]; times scale[o]; plus
 * add[row, o]; that is kept in `sum`; what becomes of it then, in `out`. Each of these may be left out.
 * Grid: (panels / across, rows / rows of a block). */
typedef struct tmb_convolve_arguments {
    tmb_gpu_frames columns;
    tmb_gpu_plane from;
    TMB_GPU_PTR(const void) weights; /* [panels][taps * in][panel_outputs], f32, or f16 if `half` */
    TMB_GPU_PTR(const float) norm;   /* [in]: rows go through RMS norm first; of one tap */
    TMB_GPU_PTR(const float) bias;
    TMB_GPU_PTR(const float) scale;
    TMB_GPU_PTR(const float) add;
    TMB_GPU_PTR(float) sum;
    TMB_GPU_PTR(float) out;
    TMB_GPU_PTR(const float) frequency; /* [channels] of Snake; output o is of channel o % channels */
    TMB_GPU_PTR(const float) gain;
    int32_t taps, dilation, outputs, panel_outputs, across, half;
    int32_t becomes, channels; /* GATE: panels of 32 are 16 of gate and 16 of up, `outputs` come out */
    float eps;
    int32_t padding;
} tmb_convolve_arguments;

/* Sums of the codebooks' entries, and each column's angles. Grid: (columns). */
typedef struct tmb_codec_codes_arguments {
    tmb_gpu_frames columns;
    TMB_GPU_PTR(const int16_t) codes;     /* [columns, books] */
    TMB_GPU_PTR(const float) entries;     /* [books, size, width] */
    TMB_GPU_PTR(const float) frequencies; /* [half] */
    TMB_GPU_PTR(float) sums;              /* [columns, 2 * width]: of the semantic books, of the others */
    TMB_GPU_PTR(float) angles;            /* [columns, 2 * half]: cosines, sines */
    int32_t books, semantic, size, width, half, padding;
} tmb_codec_codes_arguments;

/* Rotates queries and keys, puts keys and values into the state, and lets each row see those before it.
 * Grid: (key heads, columns). */
typedef struct tmb_codec_attend_arguments {
    tmb_gpu_frames columns;
    TMB_GPU_PTR(const float) qkv;    /* [columns, (heads + 2 * key_heads) * head_dim] */
    TMB_GPU_PTR(const float) angles; /* [columns, head_dim] */
    TMB_GPU_PTR(float) out;          /* [columns, heads * head_dim] */
    int64_t keys, values;            /* of the layer, floats from the beginning of a state: a head has
                                        [head_dim][ring] keys and [ring][head_dim] values; position p is at p % ring */
    int32_t heads, key_heads, head_dim, window, ring;
    float scale;
} tmb_codec_attend_arguments;

/* Depthwise convolution, then layer norm. Grid: (rows). */
typedef struct tmb_depthwise_norm_arguments {
    tmb_gpu_frames columns;
    tmb_gpu_plane from;
    TMB_GPU_PTR(const float) weights; /* [taps, width] */
    TMB_GPU_PTR(const float) bias;
    TMB_GPU_PTR(const float) norm;
    TMB_GPU_PTR(const float) norm_bias;
    TMB_GPU_PTR(float) out; /* [rows, width] */
    int32_t taps;
    float eps;
} tmb_depthwise_norm_arguments;

/* The last rows of each plane become its history. Grid: (planes, columns). */
typedef struct tmb_keep_history_arguments {
    tmb_gpu_frames columns;
    TMB_GPU_PTR(const tmb_gpu_plane) planes;
} tmb_keep_history_arguments;

#endif
