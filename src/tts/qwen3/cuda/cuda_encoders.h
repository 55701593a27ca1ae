/* The encoders of a recording on a GPU.
 *
 * Their buffers are as large as the longest recording that goes through them wants, and are allocated with the model:
 * nothing is allocated while anything is spoken. One recording at a time is encoded, on a stream behind which every
 * other goes first. A longer recording is the CPU's, and so is one that comes after the device was lost.
 */
#ifndef TMB_TTS_QWEN3_CUDA_CUDA_ENCODERS_H
#define TMB_TTS_QWEN3_CUDA_CUDA_ENCODERS_H

#include "gpu/gpu.h"
#include "tts/qwen3/backend.h"
#include "tts/qwen3/cpu/codec/encoder_internal.h"
#include "tts/qwen3/cpu/encoders.h"
#include "tts/qwen3/cpu/speaker/speaker_internal.h"

/* Most groups of channels of a block in the speaker encoder, as the configuration may have it. */
#define TMB_CUDA_GROUPS_MAX 64
/* The longest recording. */
#define TMB_CUDA_REFERENCE_SECONDS 30

/* ---- What both are made of ---- */

/* Addresses are given out from the beginning of a stretch; sizes that overflow are remembered. */
typedef struct tmb_cuda_stretch {
    tmb_gpu_address from;
    size_t used; /* bytes */
    bool absurd;
} tmb_cuda_stretch;

/* For [a, b] floats. */
tmb_gpu_address tmb_cuda_take(tmb_cuda_stretch *stretch, size_t a, size_t b);

typedef struct tmb_cuda_filter {
    size_t taps, in, out, stride, dilation;
    tmb_gpu_address weights, bias; /* bias 0: none */
} tmb_cuda_filter;

/* A filter of stride and dilation 1. */
tmb_cuda_filter tmb_cuda_take_filter(tmb_cuda_stretch *stretch, size_t taps, size_t in, size_t out, bool bias);

/* The filter with its weights, and what of `run` is 0 otherwise: pitches, strides, outputs. */
void tmb_cuda_filter_run(tmb_gpu_recorder *recorder, const tmb_cuda_filter *filter,
                         const tmb_encode_convolve_arguments *run);

/* Weights that go up, and the first failure. */
typedef struct tmb_cuda_filling {
    tmb_gpu *gpu;
    tmb_gpu_stream *stream;
    tmb_status status;
    tmb_error *error;
} tmb_cuda_filling;

void tmb_cuda_fill_floats(tmb_cuda_filling *filling, tmb_gpu_address to, const float *from, size_t count);
void tmb_cuda_fill_filter(tmb_cuda_filling *filling, const tmb_cuda_filter *filter, const tmb_conv *from);

/* ---- The speaker encoder: speaker.c ---- */

typedef struct tmb_cuda_speaker_block {
    tmb_cuda_filter before, after, squeeze, excite;
    tmb_cuda_filter groups[TMB_CUDA_GROUPS_MAX];
} tmb_cuda_speaker_block;

typedef struct tmb_cuda_speaker {
    tmb_qwen3_speaker_config config;
    size_t rows; /* of the mel spectrogram, at most */
    size_t block_count;
    tmb_cuda_filter first, aggregate, attention_rows, attention_statistics, attention, last;
    tmb_cuda_speaker_block blocks[TMB_QWEN3_STAGES_MAX];
    /* [rows, ...]; `scores` lies where `all` was */
    tmb_gpu_address mel, input, x, y, all, features, hidden, scores;
    tmb_gpu_address statistics, squeezed, gate, constant, embedding;
} tmb_cuda_speaker;

/* Everything that follows from the configuration; addresses from both stretches. */
void tmb_cuda_speaker_lay_out(tmb_cuda_speaker *speaker, const tmb_qwen3_speaker_config *config,
                              tmb_cuda_stretch *weights, tmb_cuda_stretch *scratch);
void tmb_cuda_speaker_fill(const tmb_cuda_speaker *speaker, tmb_cuda_filling *filling, const tmb_speaker_encoder *from);
/* The x-vector of a mel spectrogram [rows, bands] that lies in `mel`, into `embedding`. */
void tmb_cuda_speaker_run(const tmb_cuda_speaker *speaker, tmb_gpu_recorder *recorder, size_t rows);

/* ---- The codec encoder: codec_encoder.c ---- */

/* Rows of the transformer's input (25 a second) that are made at a time: the pieces that a recording goes through the
 * convolutions in. */
#define TMB_CUDA_SLICE_ROWS 24

/* What goes into a convolution: `history` rows of the slice before, then the slice's. */
typedef struct tmb_cuda_history {
    tmb_gpu_address data;
    size_t history, width;
} tmb_cuda_history;

typedef struct tmb_cuda_encoder_stage {
    size_t ratio, residuals;
    struct {
        tmb_cuda_filter wide, pointwise;
        tmb_cuda_history in;
    } residual[TMB_CODEC_RESIDUALS_MAX];
    tmb_cuda_filter down;
    tmb_cuda_history in; /* of `down` */
} tmb_cuda_encoder_stage;

typedef struct tmb_cuda_encoder_layer {
    tmb_cuda_filter query_key_value, output, mlp_in, mlp_out;
    tmb_gpu_address attention_norm, attention_norm_bias, mlp_norm, mlp_norm_bias, attention_scale, mlp_scale;
} tmb_cuda_encoder_layer;

typedef struct tmb_cuda_codec_encoder {
    tmb_qwen3_codec_encoder_config config;
    size_t books, hop;
    size_t samples, rows; /* at most: of a recording, of the transformer's input */
    tmb_cuda_filter first, last, downsample, semantic, acoustic;
    tmb_cuda_encoder_stage stages[TMB_QWEN3_STAGES_MAX];
    tmb_cuda_history last_in;
    tmb_cuda_encoder_layer *layers; /* [layers]; the owner allocates and frees it */
    tmb_gpu_address frequencies, entries, lengths;
    /* a slice's; the whole recording's */
    tmb_gpu_address raw, middle;
    tmb_gpu_address signal, x, normed, projected, attended, mlp, latent, residuals, codes;
} tmb_cuda_codec_encoder;

/* TMB_ERROR_UNSUPPORTED for a shape that the kernels do not take. */
tmb_status tmb_cuda_codec_encoder_check(const tmb_qwen3_codec_config *config, tmb_error *error);
/* Everything that follows from the configuration; addresses from both stretches. */
void tmb_cuda_codec_encoder_lay_out(tmb_cuda_codec_encoder *encoder, const tmb_qwen3_codec_config *config,
                                    tmb_cuda_stretch *weights, tmb_cuda_stretch *scratch);
void tmb_cuda_codec_encoder_fill(const tmb_cuda_codec_encoder *encoder, tmb_cuda_filling *filling,
                                 const tmb_codec_encoder *from);
/* Frames of so many samples. */
size_t tmb_cuda_codec_encoder_frames(const tmb_cuda_codec_encoder *encoder, size_t count);
/* The codes [frames, books] of samples that lie in `signal`, into `codes`. It waits for each slice, so that little is
 * on the stream at a time. */
tmb_status tmb_cuda_codec_encoder_run(const tmb_cuda_codec_encoder *encoder, tmb_gpu *gpu, tmb_gpu_stream *stream,
                                      size_t count, tmb_error *error);

/* ---- Both: encoders.c ---- */

typedef struct tmb_cuda_encoders tmb_cuda_encoders;

/* Device bytes. TMB_ERROR_MODEL if the sizes are absurd, TMB_ERROR_UNSUPPORTED for a shape that the kernels do not
 * take.
 */
tmb_status tmb_cuda_encoders_estimate(const tmb_qwen3_config *config, size_t *bytes, tmb_error *error);
/* `on_host` are the CPU's, with the speaker encoder's weights; they must outlive these. The codec encoder's weights go
 * up when it is first used. */
tmb_status tmb_cuda_encoders_load(tmb_gpu *gpu, const tmb_qwen3_config *config, tmb_cpu_encoders *on_host,
                                  tmb_cuda_encoders **out, tmb_error *error);
void tmb_cuda_encoders_destroy(tmb_cuda_encoders **encoders);
size_t tmb_cuda_encoders_bytes(const tmb_cuda_encoders *encoders);

/* As backend.h says. */
tmb_status tmb_cuda_embed_speaker(tmb_cuda_encoders *encoders, const float *samples, size_t count, float *embedding,
                                  tmb_error *error);
tmb_status tmb_cuda_encode(tmb_cuda_encoders *encoders, const float *samples, size_t count, int16_t **codes,
                           size_t *frames, tmb_error *error);
size_t tmb_cuda_encode_bytes(const tmb_cuda_encoders *encoders, size_t count, bool codes);

#endif
