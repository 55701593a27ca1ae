/* Layers of the audio networks, read from a checkpoint.
 *
 * Tensor names are made with printf from what follows `name`. Every function returns TMB_ERROR_MODEL if a tensor
 * is missing or has another shape (the message names it), TMB_ERROR_IO or TMB_ERROR_MEMORY, and leaves its output
 * empty then.
 */
#ifndef TMB_TTS_QWEN3_CPU_LAYERS_H
#define TMB_TTS_QWEN3_CPU_LAYERS_H

#include "kernels/conv.h"
#include "timbre/timbre.h"
#include "weights/safetensors.h"

/* The longest name of a tensor, with its 0. */
#define TMB_LAYER_NAME_MAX 192

/* A tensor [size] as floats; free() it. */
tmb_status tmb_layer_vector(const tmb_safetensors *weights, size_t size, float **out, tmb_error *error,
                            const char *name, ...) TMB_PRINTF(5, 6);

/* A tensor of any rank <= 3 as floats; unused dims are 0. */
tmb_status tmb_layer_tensor(const tmb_safetensors *weights, size_t dim0, size_t dim1, size_t dim2, float **out,
                            tmb_error *error, const char *name, ...) TMB_PRINTF(7, 8);

/* Only looks whether there is such a tensor, of numbers that the others can read. */
tmb_status tmb_layer_require(const tmb_safetensors *weights, size_t dim0, size_t dim1, size_t dim2, tmb_error *error,
                             const char *name, ...) TMB_PRINTF(6, 7);

typedef struct tmb_conv_shape {
    size_t taps, in, out;
    size_t stride, dilation; /* 0 is taken for 1 */
    bool bias;
    tmb_conv_type type;
} tmb_conv_shape;

/* A convolution: NAME.weight [out, in, taps] and, with bias, NAME.bias [out]. */
tmb_status tmb_layer_conv(tmb_conv *conv, const tmb_safetensors *weights, const tmb_conv_shape *shape, tmb_error *error,
                          const char *name, ...) TMB_PRINTF(5, 6);

/* A linear layer: NAME.weight [out, in]. */
tmb_status tmb_layer_linear(tmb_conv *conv, const tmb_safetensors *weights, tmb_conv_type type, size_t in, size_t out,
                            bool bias, tmb_error *error, const char *name, ...) TMB_PRINTF(8, 9);

/* A causal transposed convolution: NAME.weight [in, out, taps], taps a multiple of the stride, as a plain one of taps /
 * stride taps whose output row is `stride` time steps, [stride, out]: what the official implementation keeps
 * after it cuts the surplus on the right. Its first taps / stride - 1 input rows are history. */
tmb_status tmb_layer_transposed(tmb_conv *conv, const tmb_safetensors *weights, tmb_conv_type type, size_t taps,
                                size_t stride, size_t in, size_t out, tmb_error *error, const char *name, ...)
    TMB_PRINTF(9, 10);

/* Linear layers of the same input as one, without bias: the tensors PREFIX + names[i] + ".weight" [outs[i], in],
 * outputs one after the other. */
tmb_status tmb_layer_joined(tmb_conv *conv, const tmb_safetensors *weights, tmb_conv_type type, const char *prefix,
                            const char *const *names, const size_t *outs, size_t count, size_t in, tmb_error *error);

#endif
