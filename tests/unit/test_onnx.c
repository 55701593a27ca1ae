#include "test.h"

#include "proto_writer.h"
#include "weights/onnx.h"

#include <stdlib.h>
#include <string.h>

static tmb_onnx_text text_of(const char *string) { return (tmb_onnx_text){string, strlen(string)}; }

static void test_example(void **state) {
    (void)state;
    const proto model = proto_example();
    tmb_onnx_graph graph;
    tmb_error error = {0};
    assert_ok(tmb_onnx_parse(model.bytes, model.size, &graph, &error), error);
    assert_int_equal(graph.node_count, 3);
    assert_int_equal(graph.tensor_count, 2);
    const tmb_onnx_tensor *w = tmb_onnx_find(&graph, text_of("w"));
    assert_non_null(w);
    assert_int_equal(w->rank, 1);
    assert_int_equal(w->elements, 3);
    float values[3];
    tmb_onnx_read_floats(w, values);
    assert_true(values[0] >= 1 && values[0] <= 1 && values[2] >= 3.5f && values[2] <= 3.5f);
    const tmb_onnx_tensor *same = tmb_onnx_find(&graph, text_of("same"));
    assert_ptr_equal(same, tmb_onnx_find(&graph, text_of("c")));
    assert_int_equal(same->elements, 2);
    assert_null(tmb_onnx_find(&graph, text_of("x")));
    assert_null(tmb_onnx_find(&graph, text_of("")));
    const tmb_onnx_node *node = &graph.nodes[2];
    assert_true(tmb_onnx_text_equals(node->op, "Conv"));
    assert_int_equal(node->input_count, 3);
    assert_int_equal(node->inputs[1].length, 0);
    int64_t ints[4] = {0};
    assert_int_equal(tmb_onnx_integers(node, "strides", ints, 4), 2);
    assert_int_equal(ints[1], 2);
    assert_int_equal(tmb_onnx_integers(node, "pads", ints, 2), 3); /* counted, not stored */
    assert_int_equal(ints[1], 4);
    assert_int_equal(tmb_onnx_integers(node, "group", ints, 4), 0);
    assert_true(tmb_onnx_text_equals(tmb_onnx_string(node, "equation"), "a,b->ab"));
    assert_int_equal(tmb_onnx_string(node, "strides").length, 0);
    tmb_onnx_free(&graph);
}

/* No cut and no flipped bit may do more than give an error or other values; the sanitizers watch. */
static void test_damage(void **state) {
    (void)state;
    const proto model = proto_example();
    for (size_t cut = 0; cut < model.size; cut++) {
        unsigned char *exact = malloc(cut + 1);
        memcpy(exact, model.bytes, cut);
        tmb_onnx_graph graph;
        tmb_error error = {0};
        assert_int_not_equal(tmb_onnx_parse(exact, cut, &graph, &error), TMB_OK);
        assert_null(graph.nodes);
        free(exact);
    }
    for (size_t bit = 0; bit < 8 * model.size; bit++) {
        proto damaged = model;
        damaged.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        tmb_onnx_graph graph;
        tmb_error error = {0};
        if (tmb_onnx_parse(damaged.bytes, damaged.size, &graph, &error) == TMB_OK) {
            (void)tmb_onnx_find(&graph, text_of("same"));
            tmb_onnx_free(&graph);
        }
    }
}

static void expect_tensor(const proto *tensor, tmb_status wanted, const char *says) {
    proto graph = {.size = 0};
    proto_message(&graph, 5, tensor);
    proto model = {.size = 0};
    proto_message(&model, 7, &graph);
    tmb_onnx_graph parsed;
    tmb_error error = {0};
    assert_int_equal(tmb_onnx_parse(model.bytes, model.size, &parsed, &error), wanted);
    if (strstr(error.message, says) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", says, error.message);
    }
}

static void test_tensors(void **state) {
    (void)state;
    proto t = {.size = 0};
    proto_number(&t, 1, 3);
    proto_number(&t, 2, 1);
    proto_text(&t, 8, "short");
    proto_bytes(&t, 9, "12345678", 8);
    expect_tensor(&t, TMB_ERROR_FORMAT, "do not agree in tensor short");
    t = (proto){.size = 0};
    proto_number(&t, 1, (uint64_t)1 << 40);
    proto_number(&t, 1, (uint64_t)1 << 40);
    proto_number(&t, 2, 1);
    expect_tensor(&t, TMB_ERROR_FORMAT, "absurd shape");
    t = (proto){.size = 0};
    proto_number(&t, 1, UINT64_MAX);
    expect_tensor(&t, TMB_ERROR_FORMAT, "absurd shape");
    t = (proto){.size = 0};
    for (size_t i = 0; i < 7; i++) {
        proto_number(&t, 1, 1);
    }
    expect_tensor(&t, TMB_ERROR_FORMAT, "absurd shape");
    t = (proto){.size = 0};
    proto_number(&t, 2, 1);
    proto_number(&t, 14, 1);
    expect_tensor(&t, TMB_ERROR_UNSUPPORTED, "other files");
    tmb_onnx_graph graph;
    tmb_error error = {0};
    assert_int_equal(tmb_onnx_parse("", 0, &graph, &error), TMB_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "no graph"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_tensors),
    };
    return cmocka_run_group_tests_name("onnx", tests, NULL, NULL);
}
