/* The networks and the signal processing around them over a block of frames, layer by layer.
 *
 * Whatever the blocks are, every number comes out of the same operations in the same order: results do not depend on
 * how a stream is divided into blocks, bit for bit. */
#ifndef TMB_ENHANCE_BLOCK_H
#define TMB_ENHANCE_BLOCK_H

#include "enhance/model.h"

/* What becomes of the frames, out of tmb_enhance_settings. */
typedef struct tmb_dfn_rules {
    float min_db, max_db_erb, max_db_df;
    float post_filter_beta; /* 0: off */
    float mix;              /* share of the noisy spectrum in the output, 0: no limit on the attenuation */
} tmb_dfn_rules;

/* A stream's state between blocks and the room to work in. Arrays are frame by frame; [T] is `capacity`. */
typedef struct tmb_dfn_block {
    const tmb_dfn_model *model; /* borrowed */
    size_t capacity;            /* frames that a block may have */
    float *memory;              /* everything below, in one allocation */
    size_t state_floats;        /* its first part, which reset clears */

    /* State. If a buffer begins with history, the frames of the block follow it. */
    float *samples;     /* [fft_size - hop + T * hop]: the caller writes the block's samples behind the history */
    float *overlap_add; /* [fft_size - hop] */
    float *erb_mean;    /* [erb_bands] */
    float *df_mean;     /* [df_bins] */
    float *gain;        /* [T] what the features see the frames' spectra multiplied by; 1 after init and reset */
    float gain_before;  /* of the frame before, 0: there was none */
    float start_weight; /* share that the running means still have of what they began with */
    float *spectra;     /* [history + T, 2, bin_stride] */
    float *erb_feature; /* [erb_conv0.frames - 1 + T, erb_stride] with zeros on both sides of the frequencies */
    float *df_feature;  /* [df_conv0.frames - 1 + T, 2, df_stride] likewise */
    float *encoder_gru[TMB_DFN_MAX_GRU_LAYERS];
    float *erb_gru[TMB_DFN_MAX_GRU_LAYERS];
    float *df_gru[TMB_DFN_MAX_GRU_LAYERS];
    float *conv_sums[2];     /* of the convolution parallel to the deep filter: before and after a frame */
    size_t conv_sums_newest; /* which of them */

    /* Work. */
    float *e[4];         /* [T, erb_rows[i], channels] */
    float *c0;           /* [T, df_bins, channels] */
    float *embedding;    /* [T, embedding] */
    float *sequence;     /* [T, widest layer] between the layers of a GRU */
    float *gates;        /* [T, 3 hidden] */
    float *recurrent;    /* [3 hidden] */
    float *unpacked;     /* a recurrent matrix as floats, for TMB_DFN_UNPACK_FRAMES and more */
    float *decoded;      /* [T, erb_rows[3], channels] */
    float *scratch[3];   /* some frames of a convolution */
    float *mask;         /* [T, erb_bands] */
    float *coefficients; /* [T, df_bins, df_order, 2] */
    float *local_snr;    /* [T], dB */
    float *spectrum;     /* [2, bin_stride], what goes to synthesis */
    float *frame;        /* [fft_size] */
    float *transform;    /* of the FFT */
    size_t history, bin_stride, erb_stride, df_stride;
} tmb_dfn_block;

/* Bytes of `memory` for blocks of `capacity` frames; 0 if that does not fit. */
size_t tmb_dfn_block_bytes(const tmb_dfn_model *model, size_t capacity);

/* `block` is filled in, at the start of a stream. */
tmb_status tmb_dfn_block_init(tmb_dfn_block *block, const tmb_dfn_model *model, size_t capacity, tmb_error *error);
void tmb_dfn_block_deinit(tmb_dfn_block *block);

/* Back to the start of a stream. */
void tmb_dfn_block_reset(tmb_dfn_block *block);

/* Where the caller writes the samples of the next block. */
float *tmb_dfn_block_input(tmb_dfn_block *block);

/* Processes `frames` in [1, capacity] frames of input; `out` gets frames * hop samples, which belong to the input
 * tmb_dfn_config_delay earlier. */
void tmb_dfn_block_run(tmb_dfn_block *block, const tmb_dfn_rules *rules, size_t frames, float *out);

/* The parts of it, for the tests; each works on the block's buffers. */
void tmb_dfn_analyse(tmb_dfn_block *block, size_t frames);
void tmb_dfn_encode(tmb_dfn_block *block, size_t frames);
/* Frames [first, first + count); the mask is filled in from `first_band` up. */
void tmb_dfn_decode_erb(tmb_dfn_block *block, size_t first, size_t count, size_t first_band);
void tmb_dfn_decode_df(tmb_dfn_block *block, size_t first, size_t count);

/* Which parts of the networks a frame runs, from its local SNR. */
typedef enum tmb_dfn_stage { TMB_DFN_SILENCE, TMB_DFN_UNTOUCHED, TMB_DFN_MASK, TMB_DFN_MASK_AND_FILTER } tmb_dfn_stage;
tmb_dfn_stage tmb_dfn_stage_of(const tmb_dfn_rules *rules, float local_snr);

/* Spectrum to `out` [hop] of frame `t` of the block. */
void tmb_dfn_synthesise(tmb_dfn_block *block, const tmb_dfn_rules *rules, size_t t, tmb_dfn_stage stage, float *out);

#endif
