/* What kernels and the code that launches them agree on: names, arguments, what lies in device memory.
 *
 * Read three times: by the host (addresses are numbers), by the compiler for the GPU, and by the CPU's for the tests
 * (addresses are pointers). Every member is aligned to its size, so that all three lay it out alike.
 */
#ifndef TMB_GPU_KERNELS_ARGUMENTS_H
#define TMB_GPU_KERNELS_ARGUMENTS_H

#include <stdint.h>

#ifndef TMB_GPU_PTR
#define TMB_GPU_PTR(type) uint64_t
#endif

/* Every kernel; NAME takes one struct NAME_arguments. */
#define TMB_GPU_KERNELS(X)                                                                                             \
    X(tmb_linear)                                                                                                      \
    X(tmb_linear_mma)                                                                                                  \
    X(tmb_wide_rows)                                                                                                   \
    X(tmb_linear_wide)                                                                                                 \
    X(tmb_linear_wide_mma)                                                                                             \
    X(tmb_attend_linear)                                                                                               \
    X(tmb_attend_linear_mma)                                                                                           \
    X(tmb_store_keys)                                                                                                  \
    X(tmb_attend)                                                                                                      \
    X(tmb_attend_rows)                                                                                                 \
    X(tmb_norm_rows)                                                                                                   \
    X(tmb_add_codec)                                                                                                   \
    X(tmb_pick)                                                                                                        \
    X(tmb_convolve)                                                                                                    \
    X(tmb_codec_codes)                                                                                                 \
    X(tmb_codec_attend)                                                                                                \
    X(tmb_depthwise_norm)                                                                                              \
    X(tmb_keep_history)                                                                                                \
    X(tmb_encode_convolve)                                                                                             \
    X(tmb_encode_statistics)                                                                                           \
    X(tmb_encode_gate)                                                                                                 \
    X(tmb_encode_norm)                                                                                                 \
    X(tmb_encode_rotate)                                                                                               \
    X(tmb_encode_attend)                                                                                               \
    X(tmb_encode_quantize)

/* Columns (vectors) and rows that a block of tmb_linear takes. */
#define TMB_LINEAR_COLUMNS 8
#define TMB_LINEAR_ROWS 32
/* Those that a block of tmb_linear_wide takes. */
#define TMB_WIDE_COLUMNS 32
#define TMB_WIDE_ROWS 64
/* Most of a group's queries times the size of a head, and most queries, that tmb_attend takes. */
#define TMB_ATTEND_GROUP_FLOATS 2048
#define TMB_ATTEND_GROUP 32
#define TMB_ATTEND_HEAD 256
/* Most queries of several rows together that tmb_attend_rows takes; of one row it takes as many as tmb_attend. */
#define TMB_ATTEND_ROWS_QUERIES 16
/* Most positions in a page. */
#define TMB_ATTEND_PAGE 64
/* Most heads, values of one, positions and new rows of a sequence that tmb_attend_linear takes, and threads of a block.
 */
#define TMB_FEW_HEADS 32
#define TMB_FEW_HEAD 128
#define TMB_FEW_THREADS 512
#define TMB_FEW_POSITIONS 17
#define TMB_FEW_ROWS 2

/* How weights lie in a panel of 16 rows, as kernels/matmul.h of the CPU says: the numbers are tmb_weight_type's. */
enum { TMB_GPU_F32 = 0, TMB_GPU_BF16 = 1, TMB_GPU_Q8 = 2, TMB_GPU_Q4 = 3 };

/* How codes of one sequence are picked, and what is remembered; rules/rules.h says what it means. */
typedef struct tmb_gpu_picker {
    uint64_t random[4];
    double temperature[2], top_p[2]; /* of the first code; of the others */
    uint32_t greedy[2], top_k[2];
    float penalty;
    uint32_t generated, max_new_tokens, end;
    uint32_t suppressed; /* ids from the end of the vocabulary */
    uint32_t padding;
} tmb_gpu_picker;

/* One sequence in a step. */
typedef struct tmb_gpu_slot {
    TMB_GPU_PTR(float) hidden; /* [D] the talker's output */
    TMB_GPU_PTR(float) next;   /* [D] what goes into the talker next */
    TMB_GPU_PTR(tmb_gpu_picker) picker;
    TMB_GPU_PTR(uint64_t) seen;              /* first codes that were picked */
    TMB_GPU_PTR(const float) text;           /* [D] is added to `next` */
    TMB_GPU_PTR(TMB_GPU_PTR(uint8_t)) pages; /* of keys and values */
    int32_t position;                        /* where `next` goes in */
    int32_t talks;                           /* whether the talker goes over `next` behind this frame */
} tmb_gpu_slot;

/* A table of embeddings. */
typedef struct tmb_gpu_table {
    TMB_GPU_PTR(const void) rows;
    int32_t bf16, padding;
} tmb_gpu_table;

/* What becomes of a product. */
enum {
    TMB_LINEAR_STORE = 0, /* out = product + bias */
    TMB_LINEAR_ADD,       /* out += product */
    TMB_LINEAR_SILU,      /* out = silu(product + bias) */
    TMB_LINEAR_GATE       /* out = silu(gate) * up: rows are 16 of gate, 16 of up, and so on */
};

/* out[c, r] = sum_k W[r, k] x[c, k] for every column c. Grid: (rows / 32, columns / 8). */
typedef struct tmb_linear_arguments {
    TMB_GPU_PTR(const uint8_t) weights; /* panels */
    TMB_GPU_PTR(const float) x;         /* [columns, x_stride]; NULL: the slots' `hidden` */
    TMB_GPU_PTR(const tmb_gpu_slot) slots;
    TMB_GPU_PTR(const float) norm;   /* [k] x goes through RMS norm first; NULL: as it is */
    TMB_GPU_PTR(const float) bias;   /* [rows], or NULL */
    TMB_GPU_PTR(float) out;          /* [columns, out_stride] */
    TMB_GPU_PTR(const int32_t) live; /* columns = live * columns_each; NULL: `columns` */
    int32_t type, rows, k, panel_bytes;
    int32_t columns, columns_each, x_stride, out_stride;
    int32_t mode, wanted; /* wanted: rows of `out` that there are (GATE), otherwise = rows */
    float eps;
    int32_t warps; /* that share the sum over k; the block's others only make ready what they multiply. 0: all */
} tmb_linear_arguments;
typedef tmb_linear_arguments tmb_linear_mma_arguments; /* by tensor cores: the vectors are rounded */

/* Vectors as the wide products take them, behind their norm. Grid: (columns). As F32 rows of 32 * blocks floats. In
 * bf16 or 8 bits by 8 columns and 32 values in the order of mma's fragments, 128 or 64 words each; behind those of 8
 * bits come the scales and totals, [columns / 8][blocks][8][2]. */
typedef struct tmb_wide_rows_arguments {
    TMB_GPU_PTR(const float) x;    /* [columns, x_stride] */
    TMB_GPU_PTR(const float) norm; /* [k], or NULL */
    TMB_GPU_PTR(float) out;
    int32_t type; /* F32, BF16 or Q8 */
    int32_t k, columns, x_stride;
    float eps;
    int32_t padding;
} tmb_wide_rows_arguments;

/* The same products for many columns, all in use; `x` is what tmb_wide_rows made, `norm`, slots and `live` count for
 * nothing. Grid: (rows / 64, columns / 32). */
typedef tmb_linear_arguments tmb_linear_wide_arguments; /* x may also be rows as they are */
typedef tmb_linear_arguments tmb_linear_wide_mma_arguments;

/* Keys and values of one layer. A page is [layers][keys, values][heads]: keys [head_dim][page], values
 * [page][head_dim], f32 or f16. */
typedef struct tmb_gpu_cache {
    TMB_GPU_PTR(const tmb_gpu_slot) slots; /* sequence s has slots[s].pages from slots[s].position on; or NULL: */
    TMB_GPU_PTR(uint8_t) page;             /* one page each, `page_bytes` apart, from `position` on */
    int64_t page_bytes;                    /* of a page */
    int64_t layer_offset;                  /* bytes from a page's beginning */
    int32_t page_positions, half;
    int32_t position, padding;
} tmb_gpu_cache;

typedef struct tmb_attend_arguments {
    tmb_gpu_cache cache;
    TMB_GPU_PTR(const float) qkv;        /* [columns, qkv_stride]: heads, key heads, value heads */
    TMB_GPU_PTR(float) out;              /* [columns, out_stride] */
    TMB_GPU_PTR(const float) query_norm; /* [head_dim] */
    TMB_GPU_PTR(const float) key_norm;
    TMB_GPU_PTR(const float) cosines; /* [positions, head_dim / 2] */
    TMB_GPU_PTR(const float) sines;
    TMB_GPU_PTR(const int32_t) live; /* sequences; NULL: as the grid says */
    int32_t qkv_stride, out_stride;
    int32_t heads, key_heads, head_dim;
    int32_t rows_each; /* columns of one sequence */
    int32_t rows_tile; /* of which tmb_attend_rows takes so many in a block */
    float eps, scale;
    int32_t padding;
} tmb_attend_arguments;
typedef tmb_attend_arguments tmb_store_keys_arguments;
typedef tmb_attend_arguments tmb_attend_rows_arguments; /* a prompt's rows, whose keys and values are stored */

/* The product of what attention makes of `attend.qkv`, over one page; `linear.x`, norm and slots count for nothing. */
typedef struct tmb_attend_linear_arguments {
    tmb_linear_arguments linear;
    tmb_attend_arguments attend;
} tmb_attend_linear_arguments;
typedef tmb_attend_linear_arguments tmb_attend_linear_mma_arguments;

/* slots[c].hidden = RMS norm of x[c]. Grid: (columns). */
typedef struct tmb_norm_rows_arguments {
    TMB_GPU_PTR(const tmb_gpu_slot) slots;
    TMB_GPU_PTR(const float) x;
    TMB_GPU_PTR(const float) norm;
    TMB_GPU_PTR(const int32_t) live; /* or NULL: as the grid says */
    int32_t width, x_stride;
    float eps;
    int32_t always; /* whether slots[c].talks counts for nothing */
} tmb_norm_rows_arguments;

/* x[c] += the codec side of prompt row c. Grid: (rows). */
typedef struct tmb_add_codec_arguments {
    TMB_GPU_PTR(float) x;
    TMB_GPU_PTR(const tmb_gpu_table) tables; /* [groups] */
    TMB_GPU_PTR(const int32_t) rows;         /* [rows][2]: codec token, frame; as in prompt.h */
    TMB_GPU_PTR(const int16_t) frames;       /* [frames, groups] */
    TMB_GPU_PTR(const float) vector;
    int32_t width, x_stride, groups, padding;
} tmb_add_codec_arguments;

/* Picks a code for each sequence from scores [n], which are overwritten, and looks its embedding up. Grid: (columns).
 */
typedef struct tmb_pick_arguments {
    TMB_GPU_PTR(const tmb_gpu_slot) slots;
    TMB_GPU_PTR(const int32_t) live;
    TMB_GPU_PTR(float) scores; /* [columns, scores_stride] */
    TMB_GPU_PTR(const tmb_gpu_table) tables;
    TMB_GPU_PTR(int16_t) codes;         /* [columns, groups] */
    TMB_GPU_PTR(int32_t) outcomes;      /* [columns] */
    TMB_GPU_PTR(float) y;               /* [columns or twice as many, y_stride] what the predictor takes next */
    TMB_GPU_PTR(float) x;               /* [columns, y_stride] what the talker takes next: after the last book */
    TMB_GPU_PTR(const float) projected; /* [n, z_width] of this book: goes into z instead of y; or NULL */
    TMB_GPU_PTR(float) z;               /* [columns, y_stride] */
    int32_t n, scores_stride, book, groups;
    int32_t width, y_stride, z_width, padding;
} tmb_pick_arguments;

#include "codec_arguments.h"
#include "encode_arguments.h"

#endif
