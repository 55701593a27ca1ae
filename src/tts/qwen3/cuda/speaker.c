/* ECAPA-TDNN on a GPU, as cpu/speaker/speaker.c has it: rows [time, channels] of the whole recording. The mel
 * spectrogram is made on the host. */
#include "tts/qwen3/cuda/cuda_encoders.h"

/* ---- Where everything lies ---- */

/* A convolution over its input reflected at both ends; the configuration's of that stage. */
static tmb_cuda_filter reflecting(tmb_cuda_stretch *weights, const tmb_qwen3_speaker_config *config, size_t stage,
                                  size_t in, size_t out) {
    tmb_cuda_filter filter = tmb_cuda_take_filter(weights, config->kernels[stage], in, out, true);
    filter.dilation = config->dilations[stage];
    return filter;
}

static void lay_out_block(tmb_cuda_speaker_block *block, const tmb_qwen3_speaker_config *config, size_t stage,
                          tmb_cuda_stretch *weights) {
    size_t channels = config->channels[stage], group = channels / config->res2net_scale;
    block->before = tmb_cuda_take_filter(weights, 1, config->channels[stage - 1], channels, true);
    for (size_t i = 0; i + 1 < config->res2net_scale; i++) {
        block->groups[i] = reflecting(weights, config, stage, group, group);
    }
    block->after = tmb_cuda_take_filter(weights, 1, channels, channels, true);
    block->squeeze = tmb_cuda_take_filter(weights, 1, channels, config->se_channels, true);
    block->excite = tmb_cuda_take_filter(weights, 1, config->se_channels, channels, true);
}

static void lay_out_buffers(tmb_cuda_speaker *speaker, size_t channels, size_t width, tmb_cuda_stretch *scratch) {
    const tmb_qwen3_speaker_config *config = &speaker->config;
    size_t rows = speaker->rows;
    speaker->mel = tmb_cuda_take(scratch, rows, config->mel_bands);
    speaker->input = tmb_cuda_take(scratch, rows, channels);
    speaker->x = tmb_cuda_take(scratch, rows, channels);
    speaker->y = tmb_cuda_take(scratch, rows, channels);
    speaker->all = tmb_cuda_take(scratch, rows, width);
    speaker->features = tmb_cuda_take(scratch, rows, width);
    speaker->hidden = tmb_cuda_take(scratch, rows, config->attention_channels);
    speaker->scores = speaker->all; /* which nobody reads any more then */
    speaker->statistics = tmb_cuda_take(scratch, 2, width);
    speaker->squeezed = tmb_cuda_take(scratch, config->se_channels, 1);
    speaker->gate = tmb_cuda_take(scratch, channels, 1);
    speaker->constant = tmb_cuda_take(scratch, config->attention_channels, 1);
    speaker->embedding = tmb_cuda_take(scratch, config->embedding_size, 1);
}

void tmb_cuda_speaker_lay_out(tmb_cuda_speaker *speaker, const tmb_qwen3_speaker_config *config,
                              tmb_cuda_stretch *weights, tmb_cuda_stretch *scratch) {
    size_t last = config->stages - 1, width = config->channels[last], attention = config->attention_channels;
    speaker->config = *config;
    speaker->rows = tmb_mel_frames(TMB_CUDA_REFERENCE_SECONDS * (size_t)config->sample_rate);
    speaker->block_count = config->stages - 2;
    speaker->first = reflecting(weights, config, 0, config->mel_bands, config->channels[0]);
    for (size_t i = 0; i < speaker->block_count; i++) {
        lay_out_block(&speaker->blocks[i], config, i + 1, weights);
    }
    speaker->aggregate = reflecting(weights, config, last, width, width);
    speaker->attention_rows = tmb_cuda_take_filter(weights, 1, width, attention, true);
    speaker->attention_statistics = tmb_cuda_take_filter(weights, 1, 2 * width, attention, false);
    speaker->attention = tmb_cuda_take_filter(weights, 1, attention, width, true);
    speaker->last = tmb_cuda_take_filter(weights, 1, 2 * width, config->embedding_size, true);
    lay_out_buffers(speaker, config->channels[0], width, scratch);
}

void tmb_cuda_speaker_fill(const tmb_cuda_speaker *speaker, tmb_cuda_filling *filling,
                           const tmb_speaker_encoder *from) {
    tmb_cuda_fill_filter(filling, &speaker->first, &from->first.conv);
    for (size_t i = 0; i < speaker->block_count; i++) {
        const tmb_cuda_speaker_block *to = &speaker->blocks[i];
        const tmb_speaker_block *block = &from->blocks[i];
        tmb_cuda_fill_filter(filling, &to->before, &block->before.conv);
        for (size_t k = 0; k + 1 < speaker->config.res2net_scale; k++) {
            tmb_cuda_fill_filter(filling, &to->groups[k], &block->groups[k].conv);
        }
        tmb_cuda_fill_filter(filling, &to->after, &block->after.conv);
        tmb_cuda_fill_filter(filling, &to->squeeze, &block->squeeze);
        tmb_cuda_fill_filter(filling, &to->excite, &block->excite);
    }
    tmb_cuda_fill_filter(filling, &speaker->aggregate, &from->aggregate.conv);
    tmb_cuda_fill_filter(filling, &speaker->attention_rows, &from->attention_rows);
    tmb_cuda_fill_filter(filling, &speaker->attention_statistics, &from->attention_statistics);
    tmb_cuda_fill_filter(filling, &speaker->attention, &from->attention);
    tmb_cuda_fill_filter(filling, &speaker->last, &from->last);
}

/* ---- The kernels ---- */

typedef struct pass {
    const tmb_cuda_speaker *speaker;
    tmb_gpu_recorder *recorder;
    int32_t rows;
    size_t channels, width; /* of a block, of all blocks together */
} pass;

/* The filter over rows that are reflected at both ends, then ReLU. */
static void reflect(const pass *p, const tmb_cuda_filter *filter, tmb_encode_convolve_arguments run) {
    run.rows = p->rows;
    run.before = (int32_t)((filter->taps - 1) / 2 * filter->dilation);
    run.edge = TMB_ENCODE_REFLECT;
    run.becomes = TMB_ENCODE_RELU;
    tmb_cuda_filter_run(p->recorder, filter, &run);
}

/* A linear layer of one vector. */
static void apply_once(const pass *p, const tmb_cuda_filter *filter, tmb_gpu_address x, tmb_gpu_address out,
                       int becomes) {
    tmb_cuda_filter_run(p->recorder, filter,
                        &(tmb_encode_convolve_arguments){.x = x, .out = out, .rows = 1, .becomes = becomes});
}

static void take_statistics(const pass *p, const tmb_encode_statistics_arguments *a) {
    tmb_gpu_kernel(p->recorder, TMB_KERNEL_tmb_encode_statistics,
                   (tmb_gpu_grid){((unsigned)a->width + 31) / 32, 1, 1, 256}, a);
}

/* Res2Net: channel groups one after the other, each convolved with the result of the one before. x to y, whose first
 * group is there. */
static void run_groups(const pass *p, const tmb_cuda_speaker_block *block) {
    const tmb_cuda_speaker *speaker = p->speaker;
    size_t width = p->channels / speaker->config.res2net_scale;
    for (size_t i = 1; i < speaker->config.res2net_scale; i++) {
        size_t at = i * width * sizeof(float), before = at - width * sizeof(float);
        reflect(p, &block->groups[i - 1],
                (tmb_encode_convolve_arguments){.x = speaker->x + at,
                                                .plus = i > 1 ? speaker->y + before : 0,
                                                .out = speaker->y + at,
                                                .x_pitch = (int32_t)p->channels,
                                                .out_pitch = (int32_t)p->channels});
    }
}

/* `in` (rows `in_pitch` apart) to its columns of `all`. */
static void run_block(const pass *p, size_t index, tmb_gpu_address in, size_t in_pitch) {
    const tmb_cuda_speaker *speaker = p->speaker;
    const tmb_cuda_speaker_block *block = &speaker->blocks[index];
    tmb_encode_convolve_arguments before = {.x = in, .out = speaker->x, .x_pitch = (int32_t)in_pitch};
    reflect(p, &block->before, before);
    /* The first group goes on as it is. */
    before.out = speaker->y;
    before.outputs = (int32_t)(p->channels / speaker->config.res2net_scale);
    reflect(p, &block->before, before);
    run_groups(p, block);
    reflect(p, &block->after, (tmb_encode_convolve_arguments){.x = speaker->y, .out = speaker->x});
    take_statistics(p,
                    &(tmb_encode_statistics_arguments){
                        .x = speaker->x, .mean = speaker->statistics, .rows = p->rows, .width = (int32_t)p->channels});
    apply_once(p, &block->squeeze, speaker->statistics, speaker->squeezed, TMB_ENCODE_RELU);
    apply_once(p, &block->excite, speaker->squeezed, speaker->gate, TMB_ENCODE_SIGMOID);
    const tmb_encode_gate_arguments gate = {.x = in,
                                            .y = speaker->x,
                                            .gate = speaker->gate,
                                            .out = speaker->all + index * p->channels * sizeof(float),
                                            .width = (int32_t)p->channels,
                                            .x_pitch = (int32_t)in_pitch,
                                            .out_pitch = (int32_t)p->width};
    tmb_gpu_kernel(p->recorder, TMB_KERNEL_tmb_encode_gate, (tmb_gpu_grid){(unsigned)p->rows, 1, 1, 128}, &gate);
}

/* Mean and deviation of the features over time, with weights of which each sees the row and, the same for all rows,
 * plain mean and deviation. */
static void pool(const pass *p) {
    const tmb_cuda_speaker *speaker = p->speaker;
    tmb_encode_statistics_arguments statistics = {.x = speaker->features,
                                                  .mean = speaker->statistics,
                                                  .deviation = speaker->statistics + p->width * sizeof(float),
                                                  .rows = p->rows,
                                                  .width = (int32_t)p->width};
    take_statistics(p, &statistics);
    apply_once(p, &speaker->attention_statistics, speaker->statistics, speaker->constant, TMB_ENCODE_PLAIN);
    tmb_cuda_filter_run(p->recorder, &speaker->attention_rows,
                        &(tmb_encode_convolve_arguments){.x = speaker->features,
                                                         .add = speaker->constant,
                                                         .out = speaker->hidden,
                                                         .rows = p->rows,
                                                         .becomes = TMB_ENCODE_RELU_TANH});
    tmb_cuda_filter_run(
        p->recorder, &speaker->attention,
        &(tmb_encode_convolve_arguments){.x = speaker->hidden, .out = speaker->scores, .rows = p->rows});
    statistics.scores = speaker->scores;
    take_statistics(p, &statistics);
}

void tmb_cuda_speaker_run(const tmb_cuda_speaker *speaker, tmb_gpu_recorder *recorder, size_t rows) {
    const pass p = {.speaker = speaker,
                    .recorder = recorder,
                    .rows = (int32_t)rows,
                    .channels = speaker->config.channels[0],
                    .width = speaker->aggregate.out};
    reflect(&p, &speaker->first, (tmb_encode_convolve_arguments){.x = speaker->mel, .out = speaker->input});
    for (size_t i = 0; i < speaker->block_count; i++) {
        run_block(&p, i, i == 0 ? speaker->input : speaker->all + (i - 1) * p.channels * sizeof(float),
                  i == 0 ? p.channels : p.width);
    }
    reflect(&p, &speaker->aggregate, (tmb_encode_convolve_arguments){.x = speaker->all, .out = speaker->features});
    pool(&p);
    apply_once(&p, &speaker->last, speaker->statistics, speaker->embedding, TMB_ENCODE_PLAIN);
}
