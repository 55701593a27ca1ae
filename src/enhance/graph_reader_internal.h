/* What the files that read a graph share. */
#ifndef TMB_ENHANCE_GRAPH_READER_INTERNAL_H
#define TMB_ENHANCE_GRAPH_READER_INTERNAL_H

#include "enhance/graph_reader.h"

/* Sizes of real networks are far below; products of a few of them stay far below SIZE_MAX. */
enum { TMB_GRAPH_MAX_DIMENSION = 1 << 16, TMB_GRAPH_MAX_CHANNELS = 1024, TMB_GRAPH_MAX_KERNEL = 16 };

static inline bool tmb_graph_failed(const tmb_graph_reader *reader) { return reader->status != TMB_OK; }

/* Fails with the node's names and what is wrong with it. */
void tmb_graph_fail_shape(tmb_graph_reader *reader, const tmb_onnx_node *node, const char *what);

/* A node's constant input as floats, free() it. Returns NULL and sets the error if it is no constant, has another rank,
 * is too large or not finite. While the arena counts the values are zeros. */
float *tmb_graph_constant(tmb_graph_reader *reader, const tmb_onnx_node *node, size_t input, size_t rank,
                          const tmb_onnx_tensor **tensor);

/* An attribute of `count` numbers in [0, TMB_GRAPH_MAX_DIMENSION], or the default. Returns false and sets the error if
 * the node has another one. */
bool tmb_graph_attribute(tmb_graph_reader *reader, const tmb_onnx_node *node, const char *name, size_t count,
                         size_t standard, size_t *out);

/* Copies into the arena; NULL while that counts. */
const float *tmb_graph_keep(tmb_graph_reader *reader, const float *values, size_t count);

/* Packs for kernels/gemm_f32.h in the arena; NULL while that counts. */
const float *tmb_graph_pack(tmb_graph_reader *reader, size_t k, size_t n, const float *b, size_t row_stride,
                            size_t column_stride, const float *bias);

#endif
