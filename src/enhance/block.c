#include "enhance/block.h"

#include "base/error.h"
#include "base/sizes.h"
#include "enhance/layers.h"

#include <stdlib.h>
#include <string.h>

static size_t padded(size_t count) { return (count + 15) & ~(size_t)15; }

static void take_gru(tmb_arena *arena, const tmb_dfn_gru_stack *stack, float **state) {
    for (size_t i = 0; i < stack->layers; i++) {
        state[i] = tmb_arena_take(arena, stack->layer[i].hidden);
    }
}

/* The widest sequence before or after a layer, and the widest gates. */
static void widest(const tmb_dfn_gru_stack *stack, size_t *sequence, size_t *gates) {
    for (size_t i = 0; i < stack->layers; i++) {
        *sequence = tmb_max_size(*sequence, tmb_max_size(stack->layer[i].inputs, stack->layer[i].hidden));
        *gates = tmb_max_size(*gates, 3 * stack->layer[i].hidden);
    }
}

static void take_state(tmb_dfn_block *block, const tmb_dfn_model *model, size_t capacity, tmb_arena *arena) {
    const tmb_dfn_config *config = &model->config;
    const tmb_dfn_input_conv *erb_conv = &model->encoder.erb_conv0;
    const tmb_dfn_input_conv *df_conv = &model->encoder.df_conv0;
    const tmb_dfn_df_decoder *df = &model->df_decoder;
    const size_t overlap = config->fft_size - config->hop;
    block->history = config->df_order - 1; /* the lookahead is within it */
    block->bin_stride = padded(config->bins);
    block->erb_stride = config->erb_bands + 2 * erb_conv->pad;
    block->df_stride = config->df_bins + 2 * df_conv->pad;
    block->samples = tmb_arena_take(arena, overlap + capacity * config->hop);
    block->overlap_add = tmb_arena_take(arena, overlap);
    block->erb_mean = tmb_arena_take(arena, config->erb_bands);
    block->df_mean = tmb_arena_take(arena, config->df_bins);
    block->gain = tmb_arena_take(arena, capacity);
    block->spectra = tmb_arena_take(arena, (block->history + capacity) * 2 * block->bin_stride);
    block->erb_feature = tmb_arena_take(arena, (erb_conv->frames - 1 + capacity) * block->erb_stride);
    block->df_feature = tmb_arena_take(arena, (df_conv->frames - 1 + capacity) * 2 * block->df_stride);
    take_gru(arena, &model->encoder.gru, block->encoder_gru);
    take_gru(arena, &model->erb_decoder.gru, block->erb_gru);
    take_gru(arena, &df->gru, block->df_gru);
    const size_t sums = config->df_bins * df->conv_groups * (df->conv_frames + 1) * df->conv_outputs;
    block->conv_sums[0] = tmb_arena_take(arena, sums);
    block->conv_sums[1] = tmb_arena_take(arena, sums);
}

/* Floats of the widest recurrent matrix that is packed in few bits. */
static size_t widest_unpacked(const tmb_dfn_gru_stack *stack, size_t least) {
    for (size_t i = 0; i < stack->layers; i++) {
        const size_t hidden = stack->layer[i].hidden;
        least = tmb_max_size(least, stack->layer[i].fixed ? tmb_gemm_f32_packed_floats(hidden, 3 * hidden) : 0);
    }
    return least;
}

static void take_work(tmb_dfn_block *block, const tmb_dfn_model *model, size_t capacity, tmb_arena *arena) {
    const tmb_dfn_config *config = &model->config;
    const size_t channels = model->channels;
    const size_t deep = model->erb_rows[3] * channels;
    size_t sequence = 0;
    size_t gates = model->df_decoder.has_skip ? model->df_decoder.skip.groups * model->df_decoder.skip.outputs : 0;
    widest(&model->encoder.gru, &sequence, &gates);
    widest(&model->erb_decoder.gru, &sequence, &gates);
    widest(&model->df_decoder.gru, &sequence, &gates);
    for (size_t i = 0; i < 4; i++) {
        block->e[i] = tmb_arena_take(arena, capacity * model->erb_rows[i] * channels);
    }
    block->c0 = tmb_arena_take(arena, capacity * config->df_bins * channels);
    block->embedding = tmb_arena_take(arena, capacity * model->embedding);
    block->sequence = tmb_arena_take(arena, capacity * sequence);
    block->gates = tmb_arena_take(arena, capacity * gates);
    block->recurrent = tmb_arena_take(arena, gates);
    size_t unpacked = widest_unpacked(&model->encoder.gru, 0);
    unpacked = widest_unpacked(&model->erb_decoder.gru, unpacked);
    unpacked = widest_unpacked(&model->df_decoder.gru, unpacked);
    block->unpacked = tmb_arena_take(arena, capacity < TMB_DFN_UNPACK_FRAMES ? 0 : unpacked);
    block->decoded = tmb_arena_take(arena, capacity * deep);
    block->mask = tmb_arena_take(arena, capacity * config->erb_bands);
    block->coefficients = tmb_arena_take(arena, capacity * config->df_bins * config->df_order * 2);
    block->local_snr = tmb_arena_take(arena, capacity);
    block->spectrum = tmb_arena_take(arena, 2 * block->bin_stride);
    block->frame = tmb_arena_take(arena, config->fft_size + 16);
    block->transform = tmb_arena_take(arena, tmb_fft_scratch_floats(model->fft));
    /* The widest of what encode.c, decode_erb.c and decode_df.c put there. */
    const size_t frames = capacity < TMB_DFN_CONV_FRAMES ? capacity : TMB_DFN_CONV_FRAMES;
    const size_t rows = tmb_max_size(tmb_max_size(model->erb_rows[0], model->erb_rows[1]), model->df_rows);
    const size_t beside = config->df_bins * config->df_order * 2;
    for (size_t i = 0; i < 3; i++) {
        block->scratch[i] = tmb_arena_take(arena, tmb_max_size(frames * rows * channels, beside));
    }
}

/* Lays the block out in an arena, or counts. */
static void lay_out(tmb_dfn_block *block, const tmb_dfn_model *model, size_t capacity, tmb_arena *arena) {
    take_state(block, model, capacity, arena);
    block->state_floats = arena->used;
    take_work(block, model, capacity, arena);
}

/* A block of more frames would be wrong arithmetic somewhere, not a wish. */
static const size_t max_capacity = 1 << 14;

size_t tmb_dfn_block_bytes(const tmb_dfn_model *model, size_t capacity) {
    tmb_dfn_block block;
    tmb_arena arena = {.base = NULL};
    if (capacity == 0 || capacity > max_capacity) {
        return 0;
    }
    lay_out(&block, model, capacity, &arena);
    return arena.overflow ? 0 : arena.used * sizeof(float);
}

tmb_status tmb_dfn_block_init(tmb_dfn_block *block, const tmb_dfn_model *model, size_t capacity, tmb_error *error) {
    *block = (tmb_dfn_block){.model = model, .capacity = capacity};
    const size_t bytes = tmb_dfn_block_bytes(model, capacity);
    if (bytes == 0) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "blocks of %zu frames are out of bounds (1 to %zu)", capacity,
                        max_capacity);
    }
    tmb_arena arena = {.base = tmb_alloc_aligned(bytes, 1)};
    if (arena.base == NULL) {
        return tmb_fail_memory(error, "an enhancer's block", bytes);
    }
    block->memory = arena.base;
    lay_out(block, model, capacity, &arena);
    tmb_dfn_block_reset(block);
    return TMB_OK;
}

void tmb_dfn_block_deinit(tmb_dfn_block *block) {
    free(block->memory);
    block->memory = NULL;
}

float *tmb_dfn_block_input(tmb_dfn_block *block) {
    return block->samples + block->model->config.fft_size - block->model->config.hop;
}

/* Runs the decoders over runs of frames that need the same: a decoder that is passed over does not move its state. */
static void decode(tmb_dfn_block *block, const tmb_dfn_rules *rules, size_t frames) {
    size_t end = 0;
    for (size_t start = 0; start < frames; start = end) {
        const tmb_dfn_stage stage = tmb_dfn_stage_of(rules, block->local_snr[start]);
        end = start + 1;
        while (end < frames && tmb_dfn_stage_of(rules, block->local_snr[end]) == stage) {
            end++;
        }
        if (stage == TMB_DFN_MASK_AND_FILTER) {
            tmb_dfn_decode_df(block, start, end - start);
            tmb_dfn_decode_erb(block, start, end - start, block->model->upper_band);
        } else if (stage == TMB_DFN_MASK) {
            tmb_dfn_decode_erb(block, start, end - start, 0);
        }
    }
}

/* Moves the last `keep` rows of [keep + frames, row] to the front. */
static void keep_history(float *rows, size_t keep, size_t frames, size_t row) {
    memmove(rows, rows + frames * row, keep * row * sizeof(float));
}

void tmb_dfn_block_run(tmb_dfn_block *block, const tmb_dfn_rules *rules, size_t frames, float *out) {
    const tmb_dfn_model *model = block->model;
    const tmb_dfn_config *config = &model->config;
    tmb_dfn_analyse(block, frames);
    tmb_dfn_encode(block, frames);
    decode(block, rules, frames);
    for (size_t t = 0; t < frames; t++) {
        tmb_dfn_synthesise(block, rules, t, tmb_dfn_stage_of(rules, block->local_snr[t]), out + t * config->hop);
    }
    memmove(block->samples, block->samples + frames * config->hop, (config->fft_size - config->hop) * sizeof(float));
    keep_history(block->spectra, block->history, frames, 2 * block->bin_stride);
    keep_history(block->erb_feature, model->encoder.erb_conv0.frames - 1, frames, block->erb_stride);
    keep_history(block->df_feature, model->encoder.df_conv0.frames - 1, frames, 2 * block->df_stride);
}
