/* The codec decoder on a GPU: weights, buffers, streams, and the kernels that some frames consist of.
 *
 * A launch takes columns: frames of several streams (see gpu/kernels/codec_arguments.h). Its kernels are recorded once
 * for each number of columns. What a stream remembers is one stretch of device memory: the last inputs of each layer,
 * keys and values.
 */
#ifndef TMB_TTS_QWEN3_CUDA_CUDA_CODEC_H
#define TMB_TTS_QWEN3_CUDA_CUDA_CODEC_H

#include "gpu/gpu.h"
#include "tts/qwen3/backend.h"
#include "tts/qwen3/cpu/codec/decoder_internal.h"

enum {
    TMB_CUDA_COLUMNS = 32,       /* of a launch, at most */
    TMB_CUDA_COLUMN_BUCKETS = 6, /* 1, 2, 4 ... 32 */
    TMB_CUDA_STREAM_FRAMES = 16, /* of one stream in a launch, at most */
    TMB_CUDA_PLANES_MAX = 1 + TMB_QWEN3_STAGES_MAX * (TMB_CODEC_UNITS + 2) + 2
};

typedef struct tmb_cuda_conv {
    size_t taps, in, out, dilation;
    size_t panel_outputs;
    bool gate, half;               /* GATE of tmb_convolve; weights are f16 */
    tmb_gpu_address weights, bias; /* bias 0: none */
} tmb_cuda_conv;

typedef struct tmb_cuda_snake {
    tmb_gpu_address frequency, gain;
    size_t channels;
} tmb_cuda_snake;

typedef struct tmb_cuda_codec_layer {
    tmb_cuda_conv qkv, output, gate_up, down;
    tmb_gpu_address attention_norm, mlp_norm, attention_scale, mlp_scale;
    size_t keys, values; /* floats from the beginning of a state */
} tmb_cuda_codec_layer;

typedef struct tmb_cuda_upsample {
    tmb_cuda_conv transposed, expand, contract;
    tmb_gpu_address depthwise, depthwise_bias, norm, norm_bias, gamma;
    tmb_gpu_plane wide; /* into the depthwise convolution */
} tmb_cuda_upsample;

typedef struct tmb_cuda_unit {
    tmb_cuda_conv wide, pointwise;
    tmb_cuda_snake before, between;
    tmb_gpu_plane in;
} tmb_cuda_unit;

typedef struct tmb_cuda_block {
    size_t rate; /* rows that come out for each that goes in */
    tmb_cuda_conv transposed;
    tmb_cuda_snake before;
    tmb_gpu_plane in;
    tmb_cuda_unit units[TMB_CODEC_UNITS];
} tmb_cuda_block;

typedef struct tmb_cuda_codec {
    tmb_gpu *gpu;
    tmb_gpu_stream *stream;
    tmb_qwen3_codec_decoder_config config;
    size_t samples_per_frame, lookback;
    bool half; /* weights are f16 */
    size_t columns;
    size_t ring; /* rows of keys and values in a state */

    tmb_gpu_address arena;   /* weights */
    tmb_gpu_address scratch; /* buffers and planes */
    size_t arena_bytes, scratch_bytes, state_floats;
    size_t graph_bytes; /* of the device */

    tmb_gpu_address entries, frequencies, norm;
    tmb_cuda_conv projection, pre, in, transformer_out, wide_in, last;
    tmb_cuda_codec_layer *layers;
    tmb_cuda_upsample upsample[TMB_QWEN3_STAGES_MAX];
    tmb_cuda_block blocks[TMB_QWEN3_STAGES_MAX];
    tmb_cuda_snake last_snake;

    tmb_gpu_address frames, live, codes, sums, angles; /* [columns, ...] */
    tmb_gpu_address latent, hidden, qkv, attended, mlp, normed, expanded, upsampled, middle, residual, samples;
    tmb_gpu_plane quantized, wide_plane, last_plane;
    tmb_gpu_plane planes[TMB_CUDA_PLANES_MAX]; /* that are remembered, the transformer's first */
    size_t plane_count;
    tmb_gpu_address plane_table;

    /* By the number of columns: everything; what the transformer remembers alone. */
    tmb_gpu_graph *whole[TMB_CUDA_COLUMN_BUCKETS], *heard[TMB_CUDA_COLUMN_BUCKETS];
} tmb_cuda_codec;

/* Host bytes for a moment while it loads, and device bytes; *stream: bytes of a stream's piece on the device.
 * TMB_ERROR_UNSUPPORTED for a shape that the kernels do not take. */
tmb_status tmb_cuda_codec_estimate(const tmb_qwen3_codec_config *config, const tmb_net_options *options,
                                   tmb_net_bytes *bytes, size_t *stream, tmb_error *error);
tmb_status tmb_cuda_codec_load(tmb_gpu *gpu, const tmb_net_files *files, const tmb_net_options *options,
                               tmb_cuda_codec **out, tmb_error *error);
void tmb_cuda_codec_destroy(tmb_cuda_codec **codec);
/* Device bytes of weights, buffers and graphs. */
size_t tmb_cuda_codec_bytes(const tmb_cuda_codec *codec);

/* ---- codec_layout.c ---- */

/* Everything that follows from the configuration, with addresses from codec->arena and codec->scratch on; `layers` has
 * room for the configuration's. TMB_ERROR_MODEL if the sizes are absurd. */
tmb_status tmb_cuda_codec_lay_out(tmb_cuda_codec *codec, tmb_error *error);

/* ---- codec_record.c ---- */

/* Kernels in all graphs. */
size_t tmb_cuda_codec_kernels(const tmb_cuda_codec *codec);
/* The graphs of every number of columns, ready to be launched while others speak. */
tmb_status tmb_cuda_codec_record(tmb_cuda_codec *codec, tmb_error *error);

/* ---- codec_job.c: what backend.h says of streams and jobs ---- */

typedef struct tmb_cuda_codec_job tmb_cuda_codec_job;

/* For `pieces` streams at once. */
tmb_status tmb_cuda_codec_job_create(tmb_cuda_codec *codec, size_t pieces, tmb_cuda_codec_job **out, tmb_error *error);
void tmb_cuda_codec_job_destroy(tmb_cuda_codec_job **job);
size_t tmb_cuda_codec_job_bytes(const tmb_cuda_codec_job *job); /* on the host */

tmb_net_bytes tmb_cuda_stream_bytes(const tmb_cuda_codec *codec);
tmb_status tmb_cuda_stream_create(tmb_cuda_codec *codec, tmb_net_stream **out, tmb_error *error);
void tmb_cuda_stream_destroy(tmb_cuda_codec *codec, tmb_net_stream **stream);
tmb_status tmb_cuda_stream_clone(tmb_cuda_codec *codec, const tmb_net_stream *stream, tmb_net_stream **out,
                                 tmb_error *error);
void tmb_cuda_stream_copy(tmb_cuda_codec *codec, tmb_net_stream *stream, const tmb_net_stream *from);

bool tmb_cuda_decode_idle(const tmb_cuda_codec_job *job);
void tmb_cuda_decode_add(tmb_cuda_codec_job *job, const tmb_decode_request *request);
void tmb_cuda_decode_start(tmb_cuda_codec_job *job);
bool tmb_cuda_decode_done(tmb_cuda_codec_job *job, double wait_seconds);
size_t tmb_cuda_decode_count(const tmb_cuda_codec_job *job);
tmb_status tmb_cuda_decode_result(const tmb_cuda_codec_job *job, size_t index, tmb_decode_result *result,
                                  tmb_error *error);
void tmb_cuda_decode_clear(tmb_cuda_codec_job *job);
double tmb_cuda_decode_seconds(tmb_cuda_codec_job *job, size_t *frames);

#endif
