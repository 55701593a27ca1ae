/* The layers that talker and code predictor share: pre-norm decoder with grouped-query attention, RMS norm of queries
 * and keys, RoPE, SwiGLU.
 *
 * Rows of any sequences go through together; what a row becomes does not depend on the others with it, nor
 * on the number of threads.
 */
#ifndef TMB_TTS_QWEN3_CPU_LM_STACK_H
#define TMB_TTS_QWEN3_CPU_LM_STACK_H

#include "base/team.h"
#include "kernels/activation.h"
#include "kernels/matmul.h"
#include "kernels/vector.h"
#include "tts/qwen3/config.h"
#include "tts/qwen3/cpu/lm/kv.h"

typedef struct tmb_lm_layer {
    tmb_matrix qkv; /* [query rows, key rows, value rows] */
    tmb_matrix output;
    tmb_matrix gate_up; /* 16 rows of gate, 16 of up, and so on */
    tmb_matrix down;
    const float *attention_norm, *mlp_norm; /* [hidden] */
    const float *query_norm, *key_norm;     /* [head_dim] */
} tmb_lm_layer;

/* Weights; immutable. */
typedef struct tmb_lm_stack {
    tmb_qwen3_transformer_config config;
    tmb_lm_layer *layers;
    const float *norm;  /* [hidden]: after the last layer, for whoever wants it */
    float *frequencies; /* [head_dim / 2] of RoPE */
    tmb_vector_kernels vector;
    tmb_activation_kernels activation;
    bool bf16_dot;
} tmb_lm_stack;

/* Rows that follow each other in one sequence: positions first .. first + count - 1. Everything before is in `kv`,
 * which has room for them. */
typedef struct tmb_lm_run {
    tmb_kv *kv;
    size_t first, count;
} tmb_lm_run;

/* Buffers for at most `rows` rows at once. */
typedef struct tmb_lm_workspace tmb_lm_workspace;
tmb_status tmb_lm_workspace_create(const tmb_lm_stack *const *stacks, size_t stack_count, size_t rows, tmb_team *team,
                                   tmb_lm_workspace **out, tmb_error *error);
void tmb_lm_workspace_destroy(tmb_lm_workspace **workspace);
size_t tmb_lm_workspace_bytes(const tmb_lm_workspace *workspace);

/* Sends x [rows, stride] through all layers, in place; the rows of the runs one after the other, as many as the
 * workspace allows. Positions stay below the configuration's max_positions. Does not allocate. */
void tmb_lm_stack_forward(const tmb_lm_stack *stack, tmb_lm_workspace *workspace, const tmb_lm_run *runs,
                          size_t run_count, float *x, size_t stride);

/* out[i, :] = W . x[i, :] + bias (NULL: none); count rows, out rows of whole panels, out_stride apart. */
void tmb_lm_multiply(tmb_lm_workspace *workspace, const tmb_matrix *weights, bool bf16_dot, const float *bias,
                     const float *x, size_t x_stride, size_t count, float *out, size_t out_stride);

#endif
