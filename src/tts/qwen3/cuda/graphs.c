#include "tts/qwen3/cuda/cuda_graphs.h"

static tmb_status launch_all(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_gpu_graph *const *graphs, size_t count,
                             size_t *kernels, tmb_error *error) {
    tmb_status status = TMB_OK;
    for (size_t i = 0; i < count && status == TMB_OK; i++) {
        if (graphs[i] != NULL) {
            *kernels += tmb_gpu_graph_kernels(graphs[i]);
            status = tmb_gpu_graph_launch(gpu, graphs[i], stream, error);
        }
    }
    tmb_status done = tmb_gpu_synchronize(gpu, stream, status == TMB_OK ? error : NULL);
    return status == TMB_OK ? done : status;
}

tmb_status tmb_cuda_graphs_settle(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_gpu_graph *const *graphs, size_t count,
                                  size_t *bytes, tmb_error *error) {
    *bytes = 0;
    uint64_t before = 0, after = 0;
    size_t kernels = 0;
    tmb_status status = tmb_gpu_room(gpu, &before, error);
    if (status != TMB_OK || (status = launch_all(gpu, stream, graphs, count, &kernels, error)) != TMB_OK ||
        (status = tmb_gpu_room(gpu, &after, error)) != TMB_OK) {
        return status;
    }
    /* What another program took or gave back meanwhile is in the difference, too. */
    size_t most = kernels * TMB_CUDA_KERNEL_BYTES;
    *bytes = after <= before && before - after < most ? (size_t)(before - after) : most;
    tmb_gpu_also_holds(gpu, (int64_t)*bytes);
    return TMB_OK;
}

void tmb_cuda_graphs_forget(tmb_gpu *gpu, size_t *bytes) {
    tmb_gpu_also_holds(gpu, -(int64_t)*bytes);
    *bytes = 0;
}
