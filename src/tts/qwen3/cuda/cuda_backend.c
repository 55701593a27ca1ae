/* NVIDIA GPUs behind the table of backend.h: all networks on the device, codec decoder and encoders on the CPU if that
 * is asked for. */
#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "tts/qwen3/cpu/cpu_audio.h"
#include "tts/qwen3/cuda/cuda_codec.h"
#include "tts/qwen3/cuda/cuda_encoders.h"
#include "tts/qwen3/cuda/cuda_lm.h"

#include <stdlib.h>

struct tmb_net {
    tmb_cpu_audio audio; /* first, as cpu_audio.h wants it; the decoder and its job only if `codec` is NULL */
    tmb_gpu *gpu;
    tmb_cuda_lm *lm;
    tmb_cuda_codec *codec;
    tmb_cuda_codec_job *job;
    tmb_cuda_encoders *encoders; /* NULL: the CPU's */
    tmb_logger *logger;
    tmb_speaker_encoder *speaker;
    tmb_codec_encoder *codec_sizes;
    tmb_error step_error; /* of the last step */
    bool told;            /* that it failed, as the ones before it may have */
};

static tmb_status available(int device, tmb_error *error) { return tmb_gpu_check(device, NULL, error); }

static bool lost(const tmb_net *net, tmb_error *error) { return tmb_gpu_lost(net->gpu, error); }

/* ---- Loading ---------------------------------------------------------------------------------- */

static tmb_status estimate_codec(const tmb_net_files *files, const tmb_net_options *options, tmb_net_bytes *bytes,
                                 tmb_error *error) {
    size_t stream = 0;
    if (!options->codec_on_host) {
        return tmb_cuda_codec_estimate(&files->config->codec, options, bytes, &stream, error);
    }
    *bytes = (tmb_net_bytes){tmb_codec_decoder_estimate(&files->config->codec, options->precisions.codec), 0};
    return TMB_OK;
}

/* Of the streams that there are. */
static size_t pinned_bytes(bool codec, bool encoders) {
    return (size_t)(1 + (codec ? 1 : 0) + (encoders ? 1 : 0)) * TMB_GPU_STREAM_BYTES;
}

static bool add_parts(size_t *sum, const size_t *parts, size_t count) {
    bool fits = true;
    for (size_t i = 0; i < count && fits; i++) {
        fits = tmb_add_size(*sum, parts[i], sum);
    }
    return fits;
}

static tmb_status estimate(const tmb_net_files *files, const tmb_net_options *options, tmb_net_bytes *bytes,
                           tmb_error *error) {
    tmb_net_bytes codec = {0, 0};
    tmb_status status = tmb_cuda_lm_estimate(files, options, bytes, error);
    if (status == TMB_OK) {
        status = estimate_codec(files, options, &codec, error);
    }
    bool clones = tmb_qwen3_clones(files->config);
    size_t encoders = 0;
    if (status == TMB_OK && clones && !options->encoders_on_host) {
        status = tmb_cuda_encoders_estimate(files->config, &encoders, error);
    }
    const size_t host[] = {clones ? tmb_speaker_encoder_estimate(files->weights) : 0,
                           clones ? tmb_codec_encoder_estimate(&files->config->codec) : 0, codec.host,
                           pinned_bytes(!options->codec_on_host, clones && !options->encoders_on_host)};
    const size_t device[] = {codec.device, encoders, tmb_cuda_lm_units(files, options).slab};
    if (status == TMB_OK && (!add_parts(&bytes->host, host, sizeof host / sizeof host[0]) ||
                             !add_parts(&bytes->device, device, sizeof device / sizeof device[0]))) {
        status = tmb_fail(error, TMB_ERROR_MODEL, "the model's sizes are absurd");
    }
    return status;
}

static tmb_status estimate_utterance(const tmb_net_files *files, const tmb_net_options *options, size_t positions,
                                     tmb_net_bytes *bytes, tmb_error *error) {
    tmb_net_bytes codec = {0, 0};
    size_t stream = 0;
    const tmb_gpu_units units = tmb_cuda_lm_units(files, options);
    *bytes = (tmb_net_bytes){0, tmb_cuda_sequence_estimate(files, options, positions)};
    tmb_status status = options->codec_on_host
                            ? TMB_OK
                            : tmb_cuda_codec_estimate(&files->config->codec, options, &codec, &stream, error);
    bytes->device += options->codec_on_host ? 0 : tmb_slabs_counted(&units, stream);
    return status;
}

static tmb_status room(tmb_net *net, uint64_t *bytes, tmb_error *error) {
    tmb_status status = tmb_gpu_enter(net->gpu, error);
    status = status == TMB_OK ? tmb_gpu_room(net->gpu, bytes, error) : status;
    tmb_gpu_leave(net->gpu);
    return status;
}

static void destroy(tmb_net **net_address) {
    tmb_net *net = *net_address;
    *net_address = NULL;
    if (net == NULL) {
        return;
    }
    if (net->gpu != NULL) {
        (void)tmb_gpu_enter(net->gpu, NULL);
    }
    tmb_cuda_encoders_destroy(&net->encoders);
    tmb_cuda_codec_job_destroy(&net->job);
    tmb_cuda_codec_destroy(&net->codec);
    tmb_codec_job_destroy(&net->audio.job);
    tmb_cpu_encoders_close(&net->audio.encoders);
    tmb_codec_decoder_destroy(&net->audio.decoder);
    tmb_codec_encoder_destroy(&net->codec_sizes);
    tmb_speaker_encoder_destroy(&net->speaker);
    tmb_cuda_lm_destroy(&net->lm);
    if (net->gpu != NULL) {
        tmb_gpu_leave(net->gpu);
    }
    tmb_gpu_close(&net->gpu);
    free(net);
}

static tmb_status load_encoders(tmb_net *net, const tmb_net_files *files, const tmb_net_options *options,
                                tmb_error *error) {
    const tmb_qwen3_config *config = files->config;
    if (!tmb_qwen3_clones(config)) {
        return TMB_OK;
    }
    tmb_status status = tmb_speaker_encoder_load(&config->speaker, files->weights, &net->speaker, error);
    if (status == TMB_OK) {
        status = tmb_codec_encoder_check(&config->codec, files->codec_weights, &net->codec_sizes, error);
    }
    net->audio.encoders.speaker = net->speaker;
    net->audio.encoders.codec_sizes = net->codec_sizes;
    if (status == TMB_OK && !options->encoders_on_host) {
        status = tmb_cuda_encoders_load(net->gpu, config, &net->audio.encoders, &net->encoders, error);
    }
    return status;
}

static tmb_status load_codec(tmb_net *net, const tmb_net_files *files, const tmb_net_options *options,
                             tmb_error *error) {
    if (!options->codec_on_host) {
        tmb_status status = tmb_cuda_codec_load(net->gpu, files, options, &net->codec, error);
        return status == TMB_OK ? tmb_cuda_codec_job_create(net->codec, options->sequences, &net->job, error) : status;
    }
    int threads = options->threads > 1 ? options->threads / 2 : 1;
    tmb_status status = tmb_codec_decoder_load(&files->config->codec, files->codec_weights, options->precisions.codec,
                                               &net->audio.decoder, error);
    return status == TMB_OK ? tmb_codec_job_create(net->audio.decoder, options->sequences, threads,
                                                   net->audio.encoders.team, &net->audio.job, error)
                            : status;
}

/* With the device current on this thread. */
static tmb_status load_networks(tmb_net *net, const tmb_net_files *files, const tmb_net_options *options,
                                tmb_error *error) {
    const tmb_gpu_units units = tmb_cuda_lm_units(files, options);
    tmb_gpu_use_units(net->gpu, &units);
    tmb_status status = tmb_cpu_encoders_open(files, options, &net->audio.encoders, error);
    if (status != TMB_OK ||
        (status = tmb_cuda_lm_load(net->gpu, files, options, net->audio.encoders.team, &net->lm, error)) != TMB_OK ||
        (status = load_encoders(net, files, options, error)) != TMB_OK) {
        return status;
    }
    return load_codec(net, files, options, error);
}

/* *is_lost: whether the device was lost meanwhile, for whatever reason. */
static tmb_status load_once(const tmb_net_files *files, const tmb_net_options *options, tmb_net **out, bool *is_lost,
                            tmb_error *error) {
    *out = NULL;
    *is_lost = false;
    tmb_net *net = tmb_calloc(1, sizeof *net);
    if (net == NULL) {
        return tmb_fail_memory(error, "the networks", sizeof *net);
    }
    net->logger = options->logger;
    tmb_status status = tmb_gpu_open(options->device, &net->gpu, error);
    if (status == TMB_OK) {
        status = tmb_gpu_enter(net->gpu, error);
        status = status == TMB_OK ? load_networks(net, files, options, error) : status;
        tmb_gpu_leave(net->gpu);
    }
    if (status != TMB_OK) {
        *is_lost = net->gpu != NULL && lost(net, NULL);
        destroy(&net);
        return status;
    }
    *out = net;
    return TMB_OK;
}

/* Another model may lose the context in which this one is loaded: then it is loaded in a new one. */
static tmb_status load(const tmb_net_files *files, const tmb_net_options *options, tmb_net **out, tmb_error *error) {
    bool is_lost = false;
    tmb_status status = load_once(files, options, out, &is_lost, error);
    if (status != TMB_OK && is_lost) {
        tmb_log(options->logger, TMB_LOG_WARNING, "the GPU was lost while a model was loaded: it is loaded once more");
        status = load_once(files, options, out, &is_lost, error);
    }
    return status;
}

static tmb_net_bytes bytes(const tmb_net *net) {
    size_t encoders = (net->speaker == NULL ? 0 : tmb_speaker_encoder_bytes(net->speaker)) +
                      (net->codec_sizes == NULL ? 0 : tmb_codec_encoder_bytes(net->codec_sizes));
    tmb_net_bytes held = {encoders + pinned_bytes(net->codec != NULL, net->encoders != NULL),
                          tmb_cuda_lm_bytes(net->lm) + tmb_gpu_slack(net->gpu)};
    if (net->codec != NULL) {
        held.host += tmb_cuda_codec_job_bytes(net->job);
        held.device += tmb_cuda_codec_bytes(net->codec);
    } else {
        held.host += tmb_codec_decoder_bytes(net->audio.decoder) + tmb_codec_job_bytes(net->audio.job);
    }
    held.device += net->encoders != NULL ? tmb_cuda_encoders_bytes(net->encoders) : 0;
    return held;
}

/* ---- The language model ----------------------------------------------------------------------- */

static tmb_net_bytes sequence_bytes(const tmb_net *net, size_t positions) {
    return (tmb_net_bytes){tmb_cuda_sequence_host_bytes(net->lm), tmb_cuda_sequence_device_bytes(net->lm, positions)};
}

static tmb_status sequence_create(tmb_net *net, size_t positions, tmb_net_sequence **out, tmb_error *error) {
    *out = NULL;
    tmb_status status = tmb_gpu_enter(net->gpu, error);
    status = status == TMB_OK ? tmb_cuda_sequence_create(net->lm, positions, out, error) : status;
    tmb_gpu_leave(net->gpu);
    return status;
}

static void sequence_destroy(tmb_net *net, tmb_net_sequence **sequence) {
    if (*sequence != NULL) {
        (void)tmb_gpu_enter(net->gpu, NULL);
        tmb_cuda_sequence_destroy(net->lm, sequence);
        tmb_gpu_leave(net->gpu);
    }
}

static tmb_status sequence_fork(tmb_net *net, tmb_net_sequence *sequence, const tmb_net_sequence *from, size_t count,
                                tmb_error *error) {
    tmb_status status = tmb_gpu_enter(net->gpu, error);
    status = status == TMB_OK ? tmb_cuda_sequence_fork(net->lm, sequence, from, count, error) : status;
    tmb_gpu_leave(net->gpu);
    return status;
}

static tmb_status prefill(tmb_net *net, tmb_net_sequence *sequence, const tmb_prompt *prompt, size_t first,
                          size_t count, tmb_error *error) {
    tmb_status status = tmb_gpu_enter(net->gpu, error);
    status = status == TMB_OK ? tmb_cuda_prefill(net->lm, sequence, prompt, first, count, error) : status;
    tmb_gpu_leave(net->gpu);
    return status;
}

static tmb_status begin(tmb_net *net, tmb_net_sequence *sequence, const tmb_lm_sampling *sampling,
                        const tmb_prompt *prompt, tmb_error *error) {
    tmb_status status = tmb_gpu_enter(net->gpu, error);
    status = status == TMB_OK ? tmb_cuda_begin(net->lm, sequence, sampling, prompt, error) : status;
    tmb_gpu_leave(net->gpu);
    return status;
}

static size_t sequence_needs(const tmb_net *net, const tmb_net_sequence *sequence) {
    return tmb_cuda_sequence_needs(net->lm, sequence);
}

static tmb_status sequence_grow(tmb_net *net, tmb_net_sequence *sequence, tmb_error *error) {
    tmb_status status = tmb_gpu_enter(net->gpu, error);
    status = status == TMB_OK ? tmb_cuda_sequence_grow(net->lm, sequence, error) : status;
    tmb_gpu_leave(net->gpu);
    return status;
}

static void step(tmb_net *net, tmb_net_sequence *const *sequences, size_t count, int16_t *codes,
                 tmb_lm_outcome *outcomes) {
    (void)tmb_gpu_enter(net->gpu, NULL);
    net->step_error = (tmb_error){0};
    bool failed = tmb_cuda_step(net->lm, sequences, count, codes, outcomes, &net->step_error) != TMB_OK;
    if (failed && !net->told) {
        tmb_log(net->logger, TMB_LOG_ERROR, "%s", net->step_error.message);
    }
    net->told = failed;
    tmb_gpu_leave(net->gpu);
}

static bool step_failed(const tmb_net *net, tmb_error *error) {
    bool failed = net->step_error.status != TMB_OK;
    if (failed) {
        *error = net->step_error;
    }
    return failed;
}

/* ---- The codec decoder: on the device, or on the CPU ------------------------------------------ */

static tmb_net_bytes stream_bytes(const tmb_net *net) {
    return net->codec != NULL ? tmb_cuda_stream_bytes(net->codec) : tmb_cpu_stream_bytes(net);
}

static tmb_status stream_create(tmb_net *net, tmb_net_stream **out, tmb_error *error) {
    if (net->codec == NULL) {
        return tmb_cpu_stream_create(net, out, error);
    }
    *out = NULL;
    tmb_status status = tmb_gpu_enter(net->gpu, error);
    status = status == TMB_OK ? tmb_cuda_stream_create(net->codec, out, error) : status;
    tmb_gpu_leave(net->gpu);
    return status;
}

static void stream_destroy(tmb_net *net, tmb_net_stream **stream) {
    if (net->codec == NULL) {
        tmb_cpu_stream_destroy(net, stream);
        return;
    }
    (void)tmb_gpu_enter(net->gpu, NULL);
    tmb_cuda_stream_destroy(net->codec, stream);
    tmb_gpu_leave(net->gpu);
}

static tmb_status stream_clone(tmb_net *net, const tmb_net_stream *stream, tmb_net_stream **out, tmb_error *error) {
    if (net->codec == NULL) {
        return tmb_cpu_stream_clone(net, stream, out, error);
    }
    *out = NULL;
    tmb_status status = tmb_gpu_enter(net->gpu, error);
    status = status == TMB_OK ? tmb_cuda_stream_clone(net->codec, stream, out, error) : status;
    tmb_gpu_leave(net->gpu);
    return status;
}

static void stream_copy(tmb_net *net, tmb_net_stream *stream, const tmb_net_stream *from) {
    if (net->codec == NULL) {
        tmb_cpu_stream_copy(net, stream, from);
        return;
    }
    (void)tmb_gpu_enter(net->gpu, NULL);
    tmb_cuda_stream_copy(net->codec, stream, from);
    tmb_gpu_leave(net->gpu);
}

static bool decode_idle(const tmb_net *net) {
    return net->codec != NULL ? tmb_cuda_decode_idle(net->job) : tmb_cpu_decode_idle(net);
}

static void decode_add(tmb_net *net, const tmb_decode_request *request) {
    if (net->codec != NULL) {
        tmb_cuda_decode_add(net->job, request);
    } else {
        tmb_cpu_decode_add(net, request);
    }
}

static void decode_start(tmb_net *net) {
    if (net->codec == NULL) {
        tmb_cpu_decode_start(net);
        return;
    }
    (void)tmb_gpu_enter(net->gpu, NULL);
    tmb_cuda_decode_start(net->job);
    tmb_gpu_leave(net->gpu);
}

static bool decode_done(tmb_net *net, double wait_seconds) {
    if (net->codec == NULL) {
        return tmb_cpu_decode_done(net, wait_seconds);
    }
    (void)tmb_gpu_enter(net->gpu, NULL);
    bool done = tmb_cuda_decode_done(net->job, wait_seconds);
    tmb_gpu_leave(net->gpu);
    return done;
}

static size_t decode_count(const tmb_net *net) {
    return net->codec != NULL ? tmb_cuda_decode_count(net->job) : tmb_cpu_decode_count(net);
}

static tmb_status decode_result(const tmb_net *net, size_t index, tmb_decode_result *result, tmb_error *error) {
    return net->codec != NULL ? tmb_cuda_decode_result(net->job, index, result, error)
                              : tmb_cpu_decode_result(net, index, result, error);
}

static void decode_clear(tmb_net *net) {
    if (net->codec != NULL) {
        tmb_cuda_decode_clear(net->job);
    } else {
        tmb_cpu_decode_clear(net);
    }
}

static double decode_seconds(tmb_net *net, size_t *frames) {
    return net->codec != NULL ? tmb_cuda_decode_seconds(net->job, frames) : tmb_cpu_decode_seconds(net, frames);
}

/* ---- The encoders: on the device, or on the CPU ----------------------------------------------- */

static tmb_status embed_speaker(tmb_net *net, const float *samples, size_t count, float *embedding, tmb_error *error) {
    return net->encoders != NULL ? tmb_cuda_embed_speaker(net->encoders, samples, count, embedding, error)
                                 : tmb_cpu_embed_speaker(net, samples, count, embedding, error);
}

static tmb_status encode(tmb_net *net, const float *samples, size_t count, int16_t **codes, size_t *frames,
                         tmb_error *error) {
    return net->encoders != NULL ? tmb_cuda_encode(net->encoders, samples, count, codes, frames, error)
                                 : tmb_cpu_encode(net, samples, count, codes, frames, error);
}

static size_t encode_bytes(const tmb_net *net, size_t count, bool codes) {
    return net->encoders != NULL ? tmb_cuda_encode_bytes(net->encoders, count, codes)
                                 : tmb_cpu_encode_bytes(net, count, codes);
}

const tmb_qwen3_backend tmb_qwen3_cuda_backend = {
    .name = "cuda",
    .available = available,
    .lost = lost,
    .estimate = estimate,
    .estimate_utterance = estimate_utterance,
    .room = room,
    .load = load,
    .destroy = destroy,
    .bytes = bytes,
    .sequence_bytes = sequence_bytes,
    .sequence_create = sequence_create,
    .sequence_destroy = sequence_destroy,
    .sequence_positions = tmb_cuda_sequence_positions,
    .sequence_fork = sequence_fork,
    .prefill = prefill,
    .begin = begin,
    .sequence_needs = sequence_needs,
    .sequence_grow = sequence_grow,
    .step = step,
    .step_failed = step_failed,
    .stream_bytes = stream_bytes,
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .stream_clone = stream_clone,
    .stream_copy = stream_copy,
    .decode_idle = decode_idle,
    .decode_add = decode_add,
    .decode_start = decode_start,
    .decode_done = decode_done,
    .decode_count = decode_count,
    .decode_result = decode_result,
    .decode_clear = decode_clear,
    .decode_seconds = decode_seconds,
    .embed_speaker = embed_speaker,
    .encode = encode,
    .encode_bytes = encode_bytes,
};
