/* Talker and code predictor on a GPU: weights, buffers, and the kernels that a step consists of.
 *
 * A step picks a frame's codes from what the talker said last (tmb_cuda_frame), and lets the talker go over that frame
 * at once (tmb_cuda_talk): while the host does something with the codes, the device is at the next ones.
 */
#ifndef TMB_TTS_QWEN3_CUDA_CUDA_LM_H
#define TMB_TTS_QWEN3_CUDA_CUDA_LM_H

#include "gpu/gpu.h"
#include "tts/qwen3/backend.h"
#include "tts/qwen3/plan/lm_plan.h"

enum {
    TMB_CUDA_PAGE_POSITIONS = 64,
    TMB_CUDA_PREFILL_ROWS = 128, /* prompt rows that go through the talker together */
    TMB_CUDA_BUCKETS = 9,        /* 1, 2, 4 ... 256 sequences */
};

typedef struct tmb_cuda_matrix {
    tmb_gpu_address data;
    int type, rows, columns, panel_bytes;
    bool rounded; /* vectors are rounded, and tensor cores multiply */
    int wanted;   /* rows that come out: of a gated one, those of either half */
} tmb_cuda_matrix;

typedef struct tmb_cuda_layer {
    tmb_cuda_matrix qkv, output, gate_up, down;
    tmb_gpu_address attention_norm, mlp_norm, query_norm, key_norm;
} tmb_cuda_layer;

typedef struct tmb_cuda_stack {
    tmb_qwen3_transformer_config config;
    tmb_cuda_layer *layers;
    tmb_gpu_address norm;
    tmb_gpu_address cosines, sines; /* [positions, head_dim / 2] */
    size_t positions;
    size_t page_positions, page_bytes;
    bool half; /* keys and values are f16 */
    bool bf16; /* vectors are rounded to bf16 if the weights are */
} tmb_cuda_stack;

typedef struct tmb_cuda_lm {
    tmb_gpu *gpu;
    tmb_gpu_stream *stream;
    tmb_qwen3_talker_config talker_config;
    tmb_qwen3_predictor_config predictor_config;
    const tmb_tensor *text_embedding;
    bool projects;
    tmb_gpu_address arena;
    tmb_cuda_stack talker, predictor;
    tmb_cuda_matrix codec_head, text1, text2, projection;
    tmb_cuda_matrix heads[TMB_QWEN3_CODE_GROUPS_MAX];
    tmb_gpu_address text1_bias, text2_bias, projection_bias;
    tmb_gpu_address tables; /* [groups] of tmb_gpu_table */
    /* [groups - 2, codes, predictor's width]: the embeddings of books between the first and the last as the predictor
     * takes them, projected once; 0 if it takes them as they are. */
    tmb_gpu_address projected;

    tmb_gpu_units units;
    tmb_gpu_address buffers; /* everything from here to the outcomes, and the tables */
    size_t sequences;        /* that are stepped at once, at most */
    size_t rows;             /* of the buffers */
    size_t stride;           /* floats in a row of x, y and z */
    size_t scores_stride, qkv_stride, attended_stride, hidden_stride, text_stride;
    tmb_gpu_address x, y, z;               /* [rows, stride]: the talker's; what is picked; the predictor's */
    tmb_gpu_address qkv, attended, hidden; /* [rows, ...] of a layer */
    tmb_gpu_address text, text_hidden;     /* [rows, text_stride] */
    tmb_gpu_address wide;                  /* what a product of many vectors takes, behind norm and rounding */
    tmb_gpu_address scores;                /* [sequences, scores_stride] */
    tmb_gpu_address predictor_pages;       /* [sequences, page_bytes] */
    tmb_gpu_address slots, live;           /* [sequences]; one number */
    tmb_gpu_address prompt_slot, prompt_rows, prompt_frames, prompt_vector;
    tmb_gpu_address codes, outcomes; /* [sequences, groups]; [sequences] */

    tmb_gpu_graph *frame[TMB_CUDA_BUCKETS], *talk[TMB_CUDA_BUCKETS];
    tmb_gpu_event *picked;
    size_t bytes, graph_bytes; /* of the device: all; what the graphs take of them */
    void *pinned;              /* what goes up and down in a step */
} tmb_cuda_lm;

/* Host bytes for a moment while it loads, and device bytes. */
tmb_status tmb_cuda_lm_estimate(const tmb_net_files *files, const tmb_net_options *options, tmb_net_bytes *bytes,
                                tmb_error *error);
/* What sequences and streams are given out in: pages of keys and values. */
tmb_gpu_units tmb_cuda_lm_units(const tmb_net_files *files, const tmb_net_options *options);
/* Device bytes of a sequence. */
size_t tmb_cuda_sequence_estimate(const tmb_net_files *files, const tmb_net_options *options, size_t positions);
/* TMB_ERROR_UNSUPPORTED for a shape or precision that the kernels do not take. */
tmb_status tmb_cuda_lm_load(tmb_gpu *gpu, const tmb_net_files *files, const tmb_net_options *options, tmb_team *team,
                            tmb_cuda_lm **out, tmb_error *error);
void tmb_cuda_lm_destroy(tmb_cuda_lm **lm);
/* Device bytes of weights, buffers and graphs. */
size_t tmb_cuda_lm_bytes(const tmb_cuda_lm *lm);

/* ---- layers.c: kernels, one after the other ---- */

/* Columns of a product: so many in the grid, `live` * `each` of them in use (live 0: all). */
typedef struct tmb_cuda_columns {
    size_t count, each;
    tmb_gpu_address live;
} tmb_cuda_columns;

typedef struct tmb_cuda_product {
    const tmb_cuda_matrix *matrix;
    tmb_gpu_address x, norm, bias, out; /* x 0: the slots' hidden */
    size_t x_stride, out_stride;
    double eps;
    int mode;
} tmb_cuda_product;

void tmb_cuda_multiply(const tmb_cuda_lm *lm, tmb_gpu_recorder *recorder, const tmb_cuda_product *product,
                       tmb_cuda_columns columns);

/* Where the columns' keys and values are. */
typedef struct tmb_cuda_place {
    tmb_gpu_address slots; /* 0: the predictor's pages, from `position` on */
    size_t position;
    bool prompt; /* the columns are a prompt's rows: many of one sequence */
} tmb_cuda_place;

/* Kernels of one of its layers in a step. */
size_t tmb_cuda_layer_kernels(const tmb_cuda_stack *stack, tmb_cuda_columns columns, tmb_cuda_place place);
/* All layers over x [columns, stride], in place. */
void tmb_cuda_stack_forward(const tmb_cuda_lm *lm, tmb_gpu_recorder *recorder, const tmb_cuda_stack *stack,
                            tmb_gpu_address x, tmb_cuda_columns columns, tmb_cuda_place place);
/* slots[c].hidden = the talker's norm of x[c]. */
void tmb_cuda_store_hidden(const tmb_cuda_lm *lm, tmb_gpu_recorder *recorder, tmb_gpu_address x, tmb_gpu_address slots,
                           size_t columns, tmb_gpu_address live);
/* out [rows, out_stride] = the projection of text rows in lm->text. */
void tmb_cuda_project_text(const tmb_cuda_lm *lm, tmb_gpu_recorder *recorder, size_t rows, tmb_gpu_address out,
                           size_t out_stride);

/* ---- frame.c ---- */

/* Kernels in the graphs of all buckets: what follows from sizes, and lm->projects. */
size_t tmb_cuda_step_kernels(const tmb_cuda_lm *lm);
/* The graphs of every bucket, ready to be launched while others speak. */
tmb_status tmb_cuda_record(tmb_cuda_lm *lm, tmb_error *error);
/* The bucket of so many sequences. */
size_t tmb_cuda_bucket(size_t count);

/* ---- sequence.c ---- */

size_t tmb_cuda_sequence_device_bytes(const tmb_cuda_lm *lm, size_t positions);
size_t tmb_cuda_sequence_host_bytes(const tmb_cuda_lm *lm);
tmb_status tmb_cuda_sequence_create(tmb_cuda_lm *lm, size_t positions, tmb_net_sequence **out, tmb_error *error);
void tmb_cuda_sequence_destroy(tmb_cuda_lm *lm, tmb_net_sequence **sequence);
size_t tmb_cuda_sequence_positions(const tmb_net_sequence *sequence);
tmb_status tmb_cuda_sequence_fork(tmb_cuda_lm *lm, tmb_net_sequence *sequence, const tmb_net_sequence *from,
                                  size_t count, tmb_error *error);
tmb_status tmb_cuda_prefill(tmb_cuda_lm *lm, tmb_net_sequence *sequence, const tmb_prompt *prompt, size_t first,
                            size_t count, tmb_error *error);
tmb_status tmb_cuda_begin(tmb_cuda_lm *lm, tmb_net_sequence *sequence, const tmb_lm_sampling *sampling,
                          const tmb_prompt *prompt, tmb_error *error);
/* Bytes of the next positions' page if the next step needs one; 0: it does not. */
size_t tmb_cuda_sequence_needs(const tmb_cuda_lm *lm, const tmb_net_sequence *sequence);
tmb_status tmb_cuda_sequence_grow(tmb_cuda_lm *lm, tmb_net_sequence *sequence, tmb_error *error);
/* Fails as a whole only if the device does. */
tmb_status tmb_cuda_step(tmb_cuda_lm *lm, tmb_net_sequence *const *sequences, size_t count, int16_t *codes,
                         tmb_lm_outcome *outcomes, tmb_error *error);

/* Rows of text embeddings into lm->text. TMB_ERROR_ARGUMENT for an id that the model does not have. */
tmb_status tmb_cuda_upload_texts(tmb_cuda_lm *lm, const int32_t *ids, size_t count, tmb_error *error);

struct tmb_net_sequence {
    tmb_gpu_address memory; /* what follows, and `text_rows` rows of text */
    tmb_gpu_address hidden, next, picker, seen, table;
    size_t text_rows;
    tmb_gpu_address *pages; /* [page_count] as in the table */
    size_t page_count;
    tmb_gpu_address *pieces; /* [piece_count] that the pages lie in: one each, or several */
    size_t piece_count;
    tmb_gpu_address longer;   /* a piece for more rows of text than `text_rows`, or 0 */
    tmb_gpu_address trailing; /* [trailing_count + 1, D] */
    size_t trailing_count;
    size_t positions, frames;
    bool has_hidden;
    tmb_lm_outcome next_outcome; /* FRAME, or why there can be no other frame */
};

#endif
