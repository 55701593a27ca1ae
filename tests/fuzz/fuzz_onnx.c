/* Any bytes as an ONNX model, and its graph as each of the denoiser's networks. */
#include "fuzz.h"

#include "../unit/proto_writer.h"
#include "enhance/networks.h"
#include "weights/onnx.h"

static void look_around(const tmb_onnx_graph *graph) {
    for (size_t i = 0; i < graph->node_count && i < 50; i++) {
        const tmb_onnx_node *node = &graph->nodes[i];
        int64_t integers[4];
        (void)tmb_onnx_integers(node, "strides", integers, 4);
        (void)tmb_onnx_string(node, "equation");
        for (size_t j = 0; j < node->input_count && j < TMB_ONNX_MAX_INPUTS; j++) {
            const tmb_onnx_tensor *tensor = tmb_onnx_find(graph, node->inputs[j]);
            if (tensor != NULL && tensor->floats != NULL) {
                float *values = malloc(tensor->elements * sizeof(float) + 1);
                tmb_onnx_read_floats(tensor, values);
                free(values);
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tmb_onnx_graph graph;
    tmb_error error = {0};
    if (tmb_onnx_parse(data, size, &graph, &error) != TMB_OK) {
        fuzz_check(error.status != TMB_OK && error.message[0] != '\0' && graph.nodes == NULL);
        return 0;
    }
    look_around(&graph);
    tmb_arena arena = {.base = NULL};
    tmb_dfn_encoder encoder = {.lsnr_bias = 0};
    tmb_dfn_erb_decoder erb = {.out_bias = 0};
    tmb_dfn_df_decoder df = {.has_skip = false};
    (void)tmb_dfn_encoder_read(&graph, "fuzz", &arena, &encoder, &error);
    (void)tmb_dfn_erb_decoder_read(&graph, "fuzz", &arena, &erb, &error);
    (void)tmb_dfn_df_decoder_read(&graph, "fuzz", &arena, &df, &error);
    tmb_onnx_free(&graph);
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    const proto example = proto_example();
    add(example.bytes, example.size);
}
