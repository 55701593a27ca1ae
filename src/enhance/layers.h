/* Evaluation of single layers. */
#ifndef TMB_ENHANCE_LAYERS_H
#define TMB_ENHANCE_LAYERS_H

#include "enhance/block.h"

/* Frames that go through the convolutions together: what lies between two of them stays in the cache. */
enum { TMB_DFN_CONV_FRAMES = 8 };

/* From so many frames on, a block unpacks recurrent matrices that are packed in few bits. */
enum { TMB_DFN_UNPACK_FRAMES = 8 };

/* out [frames, outputs] of in [frames, inputs]. */
void tmb_dfn_linear_run(const tmb_dfn_model *model, const tmb_dfn_linear *layer, const float *in, size_t frames,
                        bool relu, float *out);

/* sequence [frames, inputs] becomes [frames, hidden]; state[layer] [hidden]. */
void tmb_dfn_gru_run(tmb_dfn_block *block, const tmb_dfn_gru_stack *stack, float *const *state, size_t frames);

/* out [frequencies, channels] of the frame whose features, and those before, are at in [frames, inputs, stride]. */
void tmb_dfn_input_conv_run(const tmb_dfn_model *model, const tmb_dfn_input_conv *layer, const float *in, size_t stride,
                            size_t frequencies, float *out);

/* Rows [first_out, rows_out) of `frames` frames: in [frames, rows_in - first_in, channels] begins with row first_in,
 * out [frames, rows_out - first_out, channels] with row first_out. `depthwise` is room for as much as `out`. */
typedef struct tmb_dfn_rows {
    size_t first_in, rows_in, first_out, rows_out;
} tmb_dfn_rows;
void tmb_dfn_separable_run(const tmb_dfn_model *model, const tmb_dfn_separable_conv *layer, tmb_dfn_rows rows,
                           const float *in, size_t frames, float *depthwise, float *out);

/* The first row of the input that rows from first_out on need. */
size_t tmb_dfn_separable_first_in(const tmb_dfn_separable_conv *layer, size_t first_out);

#endif
