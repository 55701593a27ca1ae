/* What the files of the codec decoder share. */
#ifndef TMB_TTS_QWEN3_CPU_CODEC_DECODER_INTERNAL_H
#define TMB_TTS_QWEN3_CPU_CODEC_DECODER_INTERNAL_H

#include "kernels/activation.h"
#include "kernels/conv.h"
#include "tts/qwen3/config.h"
#include "tts/qwen3/cpu/codec/decoder.h"
#include "tts/qwen3/cpu/codec/history.h"
#include "tts/qwen3/cpu/codec/transformer.h"

enum {
    TMB_CODEC_UNITS = 3,         /* residual units in a block, with dilations 1, 3, 9 */
    TMB_CODEC_PRE_TAPS = 3,      /* taps of pre_conv */
    TMB_CODEC_WIDE_TAPS = 7,     /* of every other convolution that is not pointwise */
    TMB_CODEC_STREAM_FRAMES = 32 /* of one stream that go through at once, at most */
};

/* Snake by channel, repeated for each time step of a transposed convolution's output row. */
typedef struct tmb_codec_snake {
    float *frequency, *gain;
} tmb_codec_snake;

/* Transposed convolution, then ConvNeXt. */
typedef struct tmb_codec_upsample {
    size_t ratio;
    tmb_conv transposed;
    float *depthwise;      /* [7, latent] */
    float *depthwise_bias; /* [latent], like the rest */
    float *norm, *norm_bias, *gamma;
    tmb_conv expand, contract;
    tmb_codec_history history; /* of the depthwise convolution */
} tmb_codec_upsample;

typedef struct tmb_codec_unit {
    tmb_codec_snake before, between; /* the wide convolution; the two */
    tmb_conv wide, pointwise;
    tmb_codec_history history;
} tmb_codec_unit;

typedef struct tmb_codec_block {
    size_t in, out, rate;
    tmb_codec_snake before;
    tmb_conv transposed;
    tmb_codec_history history;
    tmb_codec_unit units[TMB_CODEC_UNITS];
} tmb_codec_block;

struct tmb_codec_decoder {
    tmb_qwen3_codec_decoder_config config;
    size_t samples_per_frame;
    tmb_conv_type type; /* of all weights but codebooks, their projections and the last convolution */
    tmb_activation_kernels activation;

    float *entries; /* [books, codebook size, codebook_dim / 2] */
    tmb_conv first_projection, rest_projection;
    tmb_conv pre_conv;
    tmb_codec_history pre_history;
    tmb_conv transformer_in, transformer_out;
    tmb_codec_transformer_config transformer_config;
    tmb_codec_transformer *transformer;
    float *transformer_norm;
    tmb_codec_upsample upsample[TMB_QWEN3_STAGES_MAX];
    tmb_conv wide_in; /* decoder.0 */
    tmb_codec_history wide_history;
    tmb_codec_block blocks[TMB_QWEN3_STAGES_MAX];
    tmb_codec_snake last_snake;
    tmb_conv last;
    tmb_codec_history last_history;

    /* Blocks from here on have little weights and many rows: they take a few frames at a time, so that
     * their rows stay in the cache. */
    size_t tail;
    size_t history_floats; /* of all layers */
    size_t cache_rows;     /* of keys and values that a stream keeps */
    size_t lookback;       /* frames that everything behind the transformer remembers */
    size_t bytes;
    size_t scratch_bytes; /* for each thread, of all convolutions */
};

struct tmb_codec_state {
    const tmb_codec_decoder *decoder;
    float *histories;  /* [history_floats] */
    float *cache;      /* of the transformer */
    size_t filled;     /* rows in it */
    uint64_t position; /* frames decoded so far */
};

/* Buffers that a stretch of layers works in. */
typedef struct tmb_codec_slots {
    float *in, *mid;  /* inputs of convolutions, with history */
    float *raw, *out; /* residual branch; fresh output */
} tmb_codec_slots;

/* One stream's share of what is computed now. */
typedef struct tmb_codec_share {
    tmb_codec_state *state;
    const int16_t *codes;
    float *samples; /* NULL: not wanted */
    size_t frames;
    size_t before; /* frames of the shares before it */
} tmb_codec_share;

struct tmb_codec_workspace {
    const tmb_codec_decoder *decoder;
    tmb_team *team;
    size_t frames;       /* that the layers before the tail take at once */
    size_t slice_frames; /* that the tail takes at once */
    size_t bytes;
    tmb_codec_slots front, tail;
    float *hidden;   /* [frames, hidden] of the transformer */
    float *boundary; /* input plane of the tail's first block */
    void *scratch;   /* [threads][scratch_bytes] */
    tmb_codec_transformer_buffers *transformer;
    tmb_codec_share *shares; /* [frames] */
    tmb_codec_rows *streams; /* [frames] */
    tmb_conv_run *runs;      /* [frames] */
};

#endif
