/* Writes protobuf messages, for hand-made ONNX models. */
#ifndef TMB_TESTS_PROTO_WRITER_H
#define TMB_TESTS_PROTO_WRITER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct proto {
    unsigned char bytes[4096];
    size_t size;
} proto;

static inline void proto_varint(proto *p, uint64_t value) {
    do {
        p->bytes[p->size++] = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        value >>= 7;
    } while (value != 0);
}

static inline void proto_number(proto *p, unsigned field, uint64_t value) {
    proto_varint(p, field << 3);
    proto_varint(p, value);
}

static inline void proto_bytes(proto *p, unsigned field, const void *bytes, size_t size) {
    proto_varint(p, field << 3 | 2);
    proto_varint(p, size);
    memcpy(p->bytes + p->size, bytes, size);
    p->size += size;
}

static inline void proto_text(proto *p, unsigned field, const char *text) { proto_bytes(p, field, text, strlen(text)); }

static inline void proto_message(proto *p, unsigned field, const proto *inner) {
    proto_bytes(p, field, inner->bytes, inner->size);
}

/* A TensorProto of floats [count]. */
static inline proto proto_tensor(const char *name, const float *values, size_t count) {
    proto t = {.size = 0};
    proto_number(&t, 1, count);
    proto_number(&t, 2, 1);
    proto_text(&t, 8, name);
    proto_bytes(&t, 9, values, count * sizeof(float));
    return t;
}

/* A small model: an initializer "w", a Constant "c", an Identity of it, and a node with attributes. */
static inline proto proto_example(void) {
    static const float values[] = {1, -2, 3.5f};
    const proto w = proto_tensor("w", values, 3);
    const proto c = proto_tensor("", values + 1, 2);
    proto attribute = {.size = 0};
    proto_text(&attribute, 1, "value");
    proto_message(&attribute, 5, &c);
    proto constant = {.size = 0};
    proto_text(&constant, 2, "c");
    proto_text(&constant, 4, "Constant");
    proto_message(&constant, 5, &attribute);
    proto identity = {.size = 0};
    proto_text(&identity, 1, "c");
    proto_text(&identity, 2, "same");
    proto_text(&identity, 4, "Identity");
    proto ints = {.size = 0};
    proto_text(&ints, 1, "strides");
    proto_number(&ints, 8, 1);
    proto_number(&ints, 8, 2);
    proto packed = {.size = 0};
    proto_text(&packed, 1, "pads");
    proto_bytes(&packed, 8, "\3\4\5", 3);
    proto text = {.size = 0};
    proto_text(&text, 1, "equation");
    proto_text(&text, 4, "a,b->ab");
    proto node = {.size = 0};
    proto_text(&node, 1, "x");
    proto_text(&node, 1, "");
    proto_text(&node, 1, "w");
    proto_text(&node, 2, "y");
    proto_text(&node, 4, "Conv");
    proto_message(&node, 5, &ints);
    proto_message(&node, 5, &packed);
    proto_message(&node, 5, &text);
    proto graph = {.size = 0};
    proto_message(&graph, 1, &constant);
    proto_message(&graph, 1, &identity);
    proto_message(&graph, 1, &node);
    proto_text(&graph, 2, "example");
    proto_message(&graph, 5, &w);
    proto model = {.size = 0};
    proto_number(&model, 1, 7);
    proto_message(&model, 7, &graph);
    return model;
}

#endif
