#include "weights/onnx.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Far more than any export of the networks that are read here. */
enum { MAX_NODES = 1 << 14, MAX_TENSORS = 1 << 14, MAX_IDENTITIES = 8 };

/* Field numbers of onnx.proto. */
enum { MODEL_GRAPH = 7 };
enum { GRAPH_NODE = 1, GRAPH_INITIALIZER = 5 };
enum { NODE_INPUT = 1, NODE_OUTPUT = 2, NODE_OP_TYPE = 4, NODE_ATTRIBUTE = 5 };
enum { ATTRIBUTE_NAME = 1, ATTRIBUTE_I = 3, ATTRIBUTE_S = 4, ATTRIBUTE_T = 5, ATTRIBUTE_INTS = 8 };
enum {
    TENSOR_DIMS = 1,
    TENSOR_DATA_TYPE = 2,
    TENSOR_FLOAT_DATA = 4,
    TENSOR_NAME = 8,
    TENSOR_RAW_DATA = 9,
    TENSOR_LOCATION = 14
};
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* A protobuf message that is being read. */
typedef struct message {
    const unsigned char *at, *end;
    bool damaged;
} message;

typedef struct field {
    uint64_t number;
    unsigned wire;
    uint64_t value;      /* of a varint */
    tmb_onnx_text bytes; /* of WIRE_BYTES */
} field;

static message message_of(tmb_onnx_text text) {
    const unsigned char *bytes = (const unsigned char *)text.bytes;
    return (message){bytes, text.length > 0 ? bytes + text.length : bytes, false};
}

static bool read_varint(message *from, uint64_t *value) {
    *value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (from->at == from->end) {
            break;
        }
        const unsigned char byte = *from->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            return true;
        }
    }
    from->damaged = true;
    return false;
}

/* The next field; false at the end, and with `damaged` set if the message is malformed. */
static bool read_field(message *from, field *out) {
    uint64_t key = 0;
    if (from->at == from->end || !read_varint(from, &key)) {
        return false;
    }
    *out = (field){.number = key >> 3, .wire = (unsigned)(key & 7)};
    size_t length = 0;
    switch (out->wire) {
    case WIRE_VARINT: return read_varint(from, &out->value);
    case WIRE_64: length = 8; break;
    case WIRE_32: length = 4; break;
    case WIRE_BYTES: {
        uint64_t count = 0;
        if (!read_varint(from, &count)) {
            return false;
        }
        if (count > (uint64_t)(from->end - from->at)) {
            from->damaged = true;
            return false;
        }
        length = (size_t)count;
        break;
    }
    default: from->damaged = true; return false;
    }
    if (length > (size_t)(from->end - from->at)) {
        from->damaged = true;
        return false;
    }
    out->bytes = (tmb_onnx_text){(const char *)from->at, length};
    from->at += length;
    return true;
}

bool tmb_onnx_text_equals(tmb_onnx_text text, const char *string) {
    return text.length == strlen(string) && (text.length == 0 || memcmp(text.bytes, string, text.length) == 0);
}

static bool texts_equal(tmb_onnx_text a, tmb_onnx_text b) {
    return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

static tmb_status damaged(tmb_error *error, const char *what, tmb_onnx_text name) {
    const int length = name.length < 80 ? (int)name.length : 80;
    return tmb_fail(error, TMB_ERROR_FORMAT, "not an ONNX model, or a damaged one (%s%s%.*s)", what,
                    length > 0 ? " " : "", length, length > 0 ? name.bytes : "");
}

static bool add_dimension(tmb_onnx_tensor *tensor, uint64_t dimension) {
    if (tensor->rank == TMB_ONNX_MAX_RANK || dimension > SIZE_MAX / 8) {
        return false;
    }
    tensor->dims[tensor->rank++] = (size_t)dimension;
    return true;
}

static tmb_status parse_tensor(tmb_onnx_text text, tmb_onnx_tensor *tensor, tmb_error *error) {
    *tensor = (tmb_onnx_tensor){.name = {"", 0}};
    message from = message_of(text);
    field f;
    tmb_onnx_text data = {NULL, 0};
    bool dims_fit = true;
    while (read_field(&from, &f)) {
        if (f.number == TENSOR_DIMS && f.wire == WIRE_VARINT) {
            dims_fit &= add_dimension(tensor, f.value);
        } else if (f.number == TENSOR_DIMS && f.wire == WIRE_BYTES) {
            message packed = message_of(f.bytes);
            uint64_t value = 0;
            while (packed.at != packed.end && read_varint(&packed, &value)) {
                dims_fit &= add_dimension(tensor, value);
            }
            from.damaged |= packed.damaged;
        } else if (f.number == TENSOR_DATA_TYPE && f.wire == WIRE_VARINT) {
            tensor->data_type = f.value < 1000 ? (int)f.value : 0;
        } else if (f.number == TENSOR_NAME && f.wire == WIRE_BYTES) {
            tensor->name = f.bytes;
        } else if ((f.number == TENSOR_RAW_DATA || f.number == TENSOR_FLOAT_DATA) && f.wire == WIRE_BYTES &&
                   f.bytes.length > 0) {
            data = f.bytes;
        } else if (f.number == TENSOR_LOCATION && f.wire == WIRE_VARINT && f.value != 0) {
            return tmb_fail(error, TMB_ERROR_UNSUPPORTED,
                            "the ONNX model keeps weights in other files; export it as one");
        }
    }
    if (from.damaged) {
        return damaged(error, "tensor", tensor->name);
    }
    tensor->elements = 1;
    for (size_t i = 0; i < tensor->rank && dims_fit; i++) {
        dims_fit = tmb_mul_size(tensor->elements, tensor->dims[i], &tensor->elements);
    }
    if (!dims_fit) {
        return damaged(error, "absurd shape of tensor", tensor->name);
    }
    if (tensor->data_type == TMB_ONNX_FLOAT) {
        if (data.length % 4 != 0 || data.length / 4 != tensor->elements) {
            return damaged(error, "shape and bytes do not agree in tensor", tensor->name);
        }
        tensor->floats = (const unsigned char *)data.bytes;
    }
    return TMB_OK;
}

/* The attribute of that name. */
static bool find_attribute(const tmb_onnx_node *node, const char *name, tmb_onnx_text *attribute) {
    message from = message_of(node->message);
    field f;
    while (read_field(&from, &f)) {
        if (f.number != NODE_ATTRIBUTE || f.wire != WIRE_BYTES) {
            continue;
        }
        message inner = message_of(f.bytes);
        field g;
        while (read_field(&inner, &g)) {
            if (g.number == ATTRIBUTE_NAME && g.wire == WIRE_BYTES && tmb_onnx_text_equals(g.bytes, name)) {
                *attribute = f.bytes;
                return true;
            }
        }
    }
    return false;
}

size_t tmb_onnx_integers(const tmb_onnx_node *node, const char *attribute, int64_t *out, size_t capacity) {
    tmb_onnx_text found;
    if (!find_attribute(node, attribute, &found)) {
        return 0;
    }
    size_t count = 0;
    message from = message_of(found);
    field f;
    while (read_field(&from, &f)) {
        if (f.number != ATTRIBUTE_I && f.number != ATTRIBUTE_INTS) {
            continue;
        }
        if (f.wire == WIRE_VARINT) {
            if (count < capacity) {
                out[count] = (int64_t)f.value;
            }
            count++;
        } else if (f.wire == WIRE_BYTES) {
            message packed = message_of(f.bytes);
            uint64_t value = 0;
            while (packed.at != packed.end && read_varint(&packed, &value)) {
                if (count < capacity) {
                    out[count] = (int64_t)value;
                }
                count++;
            }
        }
    }
    return count;
}

tmb_onnx_text tmb_onnx_string(const tmb_onnx_node *node, const char *attribute) {
    tmb_onnx_text found;
    if (find_attribute(node, attribute, &found)) {
        message from = message_of(found);
        field f;
        while (read_field(&from, &f)) {
            if (f.number == ATTRIBUTE_S && f.wire == WIRE_BYTES) {
                return f.bytes;
            }
        }
    }
    return (tmb_onnx_text){"", 0};
}

static tmb_status parse_node(tmb_onnx_text text, tmb_onnx_node *node, tmb_error *error) {
    *node = (tmb_onnx_node){.op = {"", 0}, .output = {"", 0}, .message = text};
    message from = message_of(text);
    field f;
    bool has_output = false;
    while (read_field(&from, &f)) {
        if (f.wire != WIRE_BYTES) {
            continue;
        }
        if (f.number == NODE_OP_TYPE) {
            node->op = f.bytes;
        } else if (f.number == NODE_INPUT) {
            if (node->input_count < TMB_ONNX_MAX_INPUTS) {
                node->inputs[node->input_count] = f.bytes;
            }
            node->input_count++;
        } else if (f.number == NODE_OUTPUT && !has_output) {
            node->output = f.bytes;
            has_output = true;
        }
    }
    return from.damaged ? damaged(error, "node", node->op) : TMB_OK;
}

/* The value of a Constant node, if it is a tensor. */
static tmb_status parse_constant(const tmb_onnx_node *node, tmb_onnx_graph *graph, tmb_error *error) {
    tmb_onnx_text found;
    if (!find_attribute(node, "value", &found)) {
        return TMB_OK;
    }
    message from = message_of(found);
    field f;
    while (read_field(&from, &f)) {
        if (f.number == ATTRIBUTE_T && f.wire == WIRE_BYTES) {
            tmb_onnx_tensor *tensor = &graph->tensors[graph->tensor_count];
            tmb_status status = parse_tensor(f.bytes, tensor, error);
            tensor->name = node->output;
            graph->tensor_count += status == TMB_OK;
            return status;
        }
    }
    return TMB_OK;
}

static tmb_status parse_graph(tmb_onnx_text text, tmb_onnx_graph *graph, tmb_error *error) {
    message counting = message_of(text);
    field f;
    size_t nodes = 0;
    size_t initializers = 0;
    while (read_field(&counting, &f)) {
        nodes += f.number == GRAPH_NODE && f.wire == WIRE_BYTES;
        initializers += f.number == GRAPH_INITIALIZER && f.wire == WIRE_BYTES;
    }
    if (counting.damaged) {
        return damaged(error, "graph", (tmb_onnx_text){"", 0});
    }
    if (nodes > MAX_NODES || initializers > MAX_TENSORS) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "the ONNX model has %zu nodes and %zu tensors; %d and %d are the limit",
                        nodes, initializers, MAX_NODES, MAX_TENSORS);
    }
    graph->nodes = tmb_calloc(nodes, sizeof *graph->nodes);
    graph->tensors = tmb_calloc(nodes + initializers, sizeof *graph->tensors);
    if (graph->nodes == NULL || graph->tensors == NULL) {
        return tmb_fail_memory(error, "an ONNX model's graph", 0);
    }
    message from = message_of(text);
    while (read_field(&from, &f)) {
        tmb_status status = TMB_OK;
        if (f.number == GRAPH_INITIALIZER && f.wire == WIRE_BYTES) {
            status = parse_tensor(f.bytes, &graph->tensors[graph->tensor_count], error);
            graph->tensor_count += status == TMB_OK;
        } else if (f.number == GRAPH_NODE && f.wire == WIRE_BYTES) {
            tmb_onnx_node *node = &graph->nodes[graph->node_count];
            status = parse_node(f.bytes, node, error);
            graph->node_count += status == TMB_OK;
            if (status == TMB_OK && tmb_onnx_text_equals(node->op, "Constant")) {
                status = parse_constant(node, graph, error);
            }
        }
        if (status != TMB_OK) {
            return status;
        }
    }
    return TMB_OK;
}

tmb_status tmb_onnx_parse(const void *bytes, size_t size, tmb_onnx_graph *graph, tmb_error *error) {
    *graph = (tmb_onnx_graph){.nodes = NULL};
    message from = message_of((tmb_onnx_text){bytes, size});
    field f;
    tmb_onnx_text found = {NULL, 0};
    while (read_field(&from, &f)) {
        if (f.number == MODEL_GRAPH && f.wire == WIRE_BYTES) {
            found = f.bytes;
        }
    }
    if (from.damaged || found.bytes == NULL) {
        return damaged(error, from.damaged ? "its frame" : "it has no graph", (tmb_onnx_text){"", 0});
    }
    tmb_status status = parse_graph(found, graph, error);
    if (status != TMB_OK) {
        tmb_onnx_free(graph);
    }
    return status;
}

void tmb_onnx_free(tmb_onnx_graph *graph) {
    free(graph->nodes);
    free(graph->tensors);
    *graph = (tmb_onnx_graph){.nodes = NULL};
}

const tmb_onnx_tensor *tmb_onnx_find(const tmb_onnx_graph *graph, tmb_onnx_text name) {
    for (int step = 0; step < MAX_IDENTITIES && name.length > 0; step++) {
        for (size_t i = 0; i < graph->tensor_count; i++) {
            if (texts_equal(graph->tensors[i].name, name)) {
                return &graph->tensors[i];
            }
        }
        bool followed = false;
        for (size_t i = 0; i < graph->node_count && !followed; i++) {
            const tmb_onnx_node *node = &graph->nodes[i];
            if (tmb_onnx_text_equals(node->op, "Identity") && texts_equal(node->output, name) &&
                node->input_count == 1) {
                name = node->inputs[0];
                followed = true;
            }
        }
        if (!followed) {
            return NULL;
        }
    }
    return NULL;
}

void tmb_onnx_read_floats(const tmb_onnx_tensor *tensor, float *out) {
    for (size_t i = 0; i < tensor->elements; i++) {
        const unsigned char *b = tensor->floats + 4 * i;
        const uint32_t bits = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        memcpy(&out[i], &bits, sizeof bits);
    }
}
