/* The kernels of a step, recorded once for each number of sequences. */
#include "tts/qwen3/cuda/cuda_graphs.h"
#include "tts/qwen3/cuda/cuda_lm.h"

#include "tts/qwen3/config.h"

#include <string.h>

size_t tmb_cuda_bucket(size_t count) {
    size_t bucket = 0;
    while (((size_t)1 << bucket) < count) {
        bucket++;
    }
    return bucket;
}

static void pick(const tmb_cuda_lm *lm, tmb_gpu_recorder *recorder, size_t sequences, size_t book) {
    size_t n = book == 0 ? lm->talker_config.vocab_size : lm->predictor_config.vocab_size;
    tmb_pick_arguments arguments = {.slots = lm->slots,
                                    .live = lm->live,
                                    .scores = lm->scores,
                                    .tables = lm->tables,
                                    .codes = lm->codes,
                                    .outcomes = lm->outcomes,
                                    .y = lm->projects ? lm->y : lm->z,
                                    .x = lm->x,
                                    .n = (int32_t)n,
                                    .scores_stride = (int32_t)lm->scores_stride,
                                    .book = (int32_t)book,
                                    .groups = (int32_t)lm->talker_config.code_groups,
                                    .width = (int32_t)lm->talker.config.hidden_size,
                                    .y_stride = (int32_t)lm->stride,
                                    .z_width = (int32_t)lm->predictor.config.hidden_size};
    if (lm->projected != 0 && book > 0 && book + 1 < lm->talker_config.code_groups) {
        arguments.z = lm->z;
        arguments.projected = lm->projected + (book - 1) * n * lm->predictor.config.hidden_size * sizeof(float);
    }
    tmb_gpu_kernel(recorder, TMB_KERNEL_tmb_pick, (tmb_gpu_grid){(unsigned)sequences, 1, 1, n < 2048 ? 64 : 256},
                   &arguments);
}

/* A frame's codes from the talker's output. */
static void record_frame(const tmb_cuda_lm *lm, tmb_gpu_recorder *recorder, size_t sequences) {
    const tmb_cuda_stack *predictor = &lm->predictor;
    tmb_cuda_columns one = {.count = sequences, .each = 1, .live = lm->live};
    tmb_cuda_multiply(
        lm, recorder,
        &(tmb_cuda_product){.matrix = &lm->codec_head, .out = lm->scores, .out_stride = lm->scores_stride}, one);
    pick(lm, recorder, sequences, 0);
    for (size_t book = 1; book < lm->talker_config.code_groups; book++) {
        /* The first pass takes the talker's output and the first code, later ones the code before. */
        size_t each = book == 1 ? 2 : 1;
        tmb_cuda_columns columns = {.count = each * sequences, .each = each, .live = lm->live};
        if (lm->projects && book == 1) { /* later codes' are projected already */
            tmb_cuda_multiply(lm, recorder,
                              &(tmb_cuda_product){.matrix = &lm->projection,
                                                  .x = lm->y,
                                                  .bias = lm->projection_bias,
                                                  .out = lm->z,
                                                  .x_stride = lm->stride,
                                                  .out_stride = lm->stride},
                              columns);
        }
        tmb_cuda_stack_forward(lm, recorder, predictor, lm->z, columns,
                               (tmb_cuda_place){.position = book == 1 ? 0 : book});
        tmb_cuda_multiply(lm, recorder,
                          &(tmb_cuda_product){.matrix = &lm->heads[book - 1],
                                              .x = lm->z + (each - 1) * lm->stride * sizeof(float),
                                              .norm = predictor->norm,
                                              .out = lm->scores,
                                              .x_stride = each * lm->stride,
                                              .out_stride = lm->scores_stride,
                                              .eps = predictor->config.rms_norm_eps},
                          one);
        pick(lm, recorder, sequences, book);
    }
}

/* The talker over what was said. */
static void record_talk(const tmb_cuda_lm *lm, tmb_gpu_recorder *recorder, size_t sequences) {
    tmb_cuda_columns columns = {.count = sequences, .each = 1, .live = lm->live};
    tmb_cuda_stack_forward(lm, recorder, &lm->talker, lm->x, columns, (tmb_cuda_place){.slots = lm->slots});
    tmb_cuda_store_hidden(lm, recorder, lm->x, lm->slots, sequences, lm->live);
}

/* Of either graph. */
static size_t frame_kernels(const tmb_cuda_lm *lm) {
    size_t kernels = 2 + (lm->projects ? 1 : 0);
    for (size_t book = 1; book < lm->talker_config.code_groups; book++) {
        kernels += 2 + lm->predictor.config.layers *
                           tmb_cuda_layer_kernels(&lm->predictor, (tmb_cuda_columns){.each = book == 1 ? 2 : 1},
                                                  (tmb_cuda_place){.position = book});
    }
    return kernels;
}

static size_t talk_kernels(const tmb_cuda_lm *lm) {
    return lm->talker.config.layers *
               tmb_cuda_layer_kernels(&lm->talker, (tmb_cuda_columns){.each = 1}, (tmb_cuda_place){.slots = 1}) +
           1;
}

size_t tmb_cuda_step_kernels(const tmb_cuda_lm *lm) {
    return (tmb_cuda_bucket(lm->sequences) + 1) * (frame_kernels(lm) + talk_kernels(lm));
}

/* With no sequence there is nothing to do for any kernel. */
static tmb_status settle(tmb_cuda_lm *lm, tmb_error *error) {
    tmb_gpu_graph *all[2 * TMB_CUDA_BUCKETS];
    memcpy(all, lm->frame, sizeof lm->frame);
    memcpy(all + TMB_CUDA_BUCKETS, lm->talk, sizeof lm->talk);
    tmb_status status = tmb_gpu_clear(lm->gpu, lm->stream, lm->live, sizeof(int32_t), error);
    if (status == TMB_OK) {
        status = tmb_cuda_graphs_settle(lm->gpu, lm->stream, all, 2 * TMB_CUDA_BUCKETS, &lm->graph_bytes, error);
    }
    lm->bytes += lm->graph_bytes;
    return status;
}

tmb_status tmb_cuda_record(tmb_cuda_lm *lm, tmb_error *error) {
    size_t last = tmb_cuda_bucket(lm->sequences);
    for (size_t bucket = 0; bucket <= last; bucket++) {
        size_t sequences = (size_t)1 << bucket;
        sequences = sequences < lm->sequences ? sequences : lm->sequences;
        tmb_gpu_recorder frame = tmb_gpu_recording(lm->gpu);
        record_frame(lm, &frame, sequences);
        tmb_status status = tmb_gpu_recorder_end(&frame, &lm->frame[bucket], error);
        if (status != TMB_OK) {
            return status;
        }
        tmb_gpu_recorder talk = tmb_gpu_recording(lm->gpu);
        record_talk(lm, &talk, sequences);
        status = tmb_gpu_recorder_end(&talk, &lm->talk[bucket], error);
        if (status != TMB_OK) {
            return status;
        }
    }
    return settle(lm, error);
}
