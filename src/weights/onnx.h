/* Reads an ONNX model's graph: its nodes in order and its constant tensors, out of the protobuf message as it lies in
 * memory. It evaluates nothing. The bytes are taken for hostile. */
#ifndef TMB_WEIGHTS_ONNX_H
#define TMB_WEIGHTS_ONNX_H

#include "timbre/timbre.h"

enum { TMB_ONNX_MAX_RANK = 6, TMB_ONNX_MAX_INPUTS = 8 };
/* TensorProto.DataType, those that are read here. */
enum { TMB_ONNX_FLOAT = 1, TMB_ONNX_INT64 = 7 };

/* Bytes of the message that was parsed, without a final NUL. */
typedef struct tmb_onnx_text {
    const char *bytes;
    size_t length;
} tmb_onnx_text;

typedef struct tmb_onnx_tensor {
    tmb_onnx_text name; /* of a Constant node: of its output */
    int data_type;
    size_t rank;
    size_t dims[TMB_ONNX_MAX_RANK];
    size_t elements;             /* the dims' product, bounded by the bytes if the type is float */
    const unsigned char *floats; /* little-endian, 4 * elements bytes, unaligned; NULL for other types */
} tmb_onnx_tensor;

typedef struct tmb_onnx_node {
    tmb_onnx_text op;
    tmb_onnx_text inputs[TMB_ONNX_MAX_INPUTS]; /* an omitted input is empty */
    size_t input_count;                        /* may exceed TMB_ONNX_MAX_INPUTS */
    tmb_onnx_text output;                      /* the first */
    tmb_onnx_text message;                     /* the whole NodeProto, for its attributes */
} tmb_onnx_node;

typedef struct tmb_onnx_graph {
    tmb_onnx_node *nodes;
    size_t node_count;
    tmb_onnx_tensor *tensors; /* initializers and the values of Constant nodes */
    size_t tensor_count;
} tmb_onnx_graph;

/* `bytes` is borrowed as long as the graph is used. TMB_ERROR_FORMAT says what is malformed. */
tmb_status tmb_onnx_parse(const void *bytes, size_t size, tmb_onnx_graph *graph, tmb_error *error);
void tmb_onnx_free(tmb_onnx_graph *graph);

bool tmb_onnx_text_equals(tmb_onnx_text text, const char *string);

/* The constant of that name (also through Identity nodes), or NULL. */
const tmb_onnx_tensor *tmb_onnx_find(const tmb_onnx_graph *graph, tmb_onnx_text name);

/* Copies a float tensor's elements. */
void tmb_onnx_read_floats(const tmb_onnx_tensor *tensor, float *out);

/* The integers of an attribute (one, or a list) into `out`; how many there are, 0 if there is no such attribute or
 * it is no integer. Those beyond `capacity` are counted, not stored. */
size_t tmb_onnx_integers(const tmb_onnx_node *node, const char *attribute, int64_t *out, size_t capacity);

/* The string of an attribute; empty if there is none. */
tmb_onnx_text tmb_onnx_string(const tmb_onnx_node *node, const char *attribute);

#endif
