/* What the driver takes of the device's memory for graphs: nothing when they are made, everything when they are first
 * launched, and no allocation of ours.
 */
#ifndef TMB_TTS_QWEN3_CUDA_CUDA_GRAPHS_H
#define TMB_TTS_QWEN3_CUDA_CUDA_GRAPHS_H

#include "gpu/gpu.h"

/* For a kernel in a graph, at most. Drivers of the series 470 take so much (measured by others:
 * forums.developer.nvidia.com/t/244901). */
#define TMB_CUDA_KERNEL_BYTES ((size_t)64 << 10)

/* Launches every graph once, of kernels that find nothing to do, and waits: none is launched for the first time while
 * something is spoken. NULL is skipped. *bytes: what the driver took, TMB_CUDA_KERNEL_BYTES for each kernel at most;
 * they are held (tmb_gpu_held) until tmb_cuda_graphs_forget. */
tmb_status tmb_cuda_graphs_settle(tmb_gpu *gpu, tmb_gpu_stream *stream, tmb_gpu_graph *const *graphs, size_t count,
                                  size_t *bytes, tmb_error *error);
/* The graphs are destroyed. */
void tmb_cuda_graphs_forget(tmb_gpu *gpu, size_t *bytes);

#endif
