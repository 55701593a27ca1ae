/* A checkpoint of the test set with its networks on the device of the tests, and utterances for them. */
#ifndef TMB_TESTS_GPU_GPU_NET_H
#define TMB_TESTS_GPU_GPU_NET_H

#include "tts/qwen3/backend.h"

typedef struct gpu_net {
    tmb_qwen3_config config;
    tmb_safetensors *weights, *codec_weights;
    tmb_qwen3_precisions precisions;
    tmb_net *net;
    float *vector; /* a speaker */
} gpu_net;

static const tmb_qwen3_backend *const gpu_backend = &tmb_qwen3_cuda_backend;

void gpu_net_open(gpu_net *f, const char *model, const char *precision, size_t sequences);
/* In a pool of so many bytes of the device. */
void gpu_net_open_within(gpu_net *f, const char *model, const char *precision, size_t sequences, uint64_t pool);
void gpu_net_close(gpu_net *f);

/* Prompt number n, each of another length; every other with the whole text first. */
void gpu_net_prompt(const gpu_net *f, size_t n, tmb_prompt *prompt);

/* A sequence behind that prompt, with room for `frames` more. */
tmb_net_sequence *gpu_net_start(const gpu_net *f, const tmb_prompt *prompt, const tmb_lm_sampling *sampling,
                                size_t frames);

#endif
