/* The CPU behind the table of backend.h. */
#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "tts/qwen3/backend.h"
#include "tts/qwen3/cpu/codec/decoder.h"
#include "tts/qwen3/cpu/codec/encoder.h"
#include "tts/qwen3/cpu/codec_job.h"
#include "tts/qwen3/cpu/cpu_load.h"
#include "tts/qwen3/cpu/lm/lm.h"
#include "tts/qwen3/cpu/speaker/speaker.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct tmb_net {
    tmb_cpu_networks networks;
    const tmb_qwen3_config *config;
    const tmb_safetensors *codec_weights;
    tmb_logger *logger;
    tmb_team *team;        /* of the language model, on the engine's thread */
    tmb_team *encode_team; /* of the encoders, under encode_lock */
    tmb_lm_context *context;
    tmb_codec_job *job;
    pthread_mutex_t encode_lock;
    tmb_codec_encoder *codec_encoder; /* NULL: nothing was encoded yet */
};

static tmb_lm_sequence *lm_sequence(tmb_net_sequence *sequence) { return (tmb_lm_sequence *)(void *)sequence; }
static const tmb_lm_sequence *lm_sequence_const(const tmb_net_sequence *sequence) {
    return (const tmb_lm_sequence *)(const void *)sequence;
}
static tmb_codec_state *codec_state(tmb_net_stream *stream) { return (tmb_codec_state *)(void *)stream; }
static const tmb_codec_state *codec_state_const(const tmb_net_stream *stream) {
    return (const tmb_codec_state *)(const void *)stream;
}

/* ---- Loading ---------------------------------------------------------------------------------- */

static tmb_status estimate(const tmb_net_files *files, const tmb_net_options *options, tmb_net_bytes *bytes,
                           tmb_error *error) {
    *bytes = (tmb_net_bytes){0, 0};
    return tmb_cpu_networks_estimate(files, options, &bytes->host, error);
}

static void destroy(tmb_net **net_address) {
    tmb_net *net = *net_address;
    *net_address = NULL;
    if (net == NULL) {
        return;
    }
    tmb_codec_job_destroy(&net->job);
    tmb_lm_context_destroy(&net->context);
    tmb_codec_encoder_destroy(&net->codec_encoder);
    tmb_cpu_networks_unload(&net->networks);
    tmb_team_destroy(&net->encode_team);
    tmb_team_destroy(&net->team);
    (void)pthread_mutex_destroy(&net->encode_lock);
    free(net);
}

static tmb_status load(const tmb_net_files *files, const tmb_net_options *options, tmb_net **out, tmb_error *error) {
    *out = NULL;
    tmb_net *net = tmb_calloc(1, sizeof *net);
    if (net == NULL) {
        return tmb_fail_memory(error, "the networks", sizeof *net);
    }
    (void)pthread_mutex_init(&net->encode_lock, NULL);
    net->config = files->config;
    net->codec_weights = files->codec_weights;
    net->logger = options->logger;
    /* The language model is what an utterance waits for, the codec works beside it: on half of the processors, which
     * the language model shares, since it is bound by memory more than by them. */
    int codec_threads = options->threads / 2;
    tmb_status status = tmb_team_create(options->threads, &net->encode_team, error);
    if (status != TMB_OK ||
        (status = tmb_cpu_networks_load(files, options, net->encode_team, &net->networks, error)) != TMB_OK ||
        (status = tmb_team_create(options->threads, &net->team, error)) != TMB_OK ||
        (status = tmb_lm_context_create(net->networks.lm, options->sequences, net->team, &net->context, error)) !=
            TMB_OK ||
        (status = tmb_codec_job_create(net->networks.codec_decoder, options->sequences, codec_threads, net->team,
                                       &net->job, error)) != TMB_OK) {
        destroy(&net);
        return status;
    }
    *out = net;
    return TMB_OK;
}

static tmb_net_bytes bytes(const tmb_net *net) {
    return (tmb_net_bytes){
        tmb_cpu_networks_bytes(&net->networks) + tmb_lm_context_bytes(net->context) + tmb_codec_job_bytes(net->job), 0};
}

/* ---- The language model ----------------------------------------------------------------------- */

static tmb_net_bytes sequence_bytes(const tmb_net *net, size_t positions) {
    return (tmb_net_bytes){tmb_lm_sequence_bytes(net->networks.lm, positions), 0};
}

static tmb_status sequence_create(tmb_net *net, size_t positions, tmb_net_sequence **out, tmb_error *error) {
    tmb_lm_sequence *sequence = NULL;
    tmb_status status = tmb_lm_sequence_create(net->networks.lm, positions, &sequence, error);
    *out = (tmb_net_sequence *)(void *)sequence;
    return status;
}

static void sequence_destroy(tmb_net *net, tmb_net_sequence **sequence) {
    (void)net;
    tmb_lm_sequence *own = lm_sequence(*sequence);
    *sequence = NULL;
    tmb_lm_sequence_destroy(&own);
}

static size_t sequence_positions(const tmb_net_sequence *sequence) {
    return tmb_lm_sequence_positions(lm_sequence_const(sequence));
}

static tmb_status sequence_fork(tmb_net *net, tmb_net_sequence *sequence, const tmb_net_sequence *from, size_t count,
                                tmb_error *error) {
    (void)net;
    return tmb_lm_sequence_fork(lm_sequence(sequence), lm_sequence_const(from), count, error);
}

static tmb_status prefill(tmb_net *net, tmb_net_sequence *sequence, const tmb_prompt *prompt, size_t first,
                          size_t count, tmb_error *error) {
    const tmb_lm *lm = net->networks.lm;
    float *rows = tmb_calloc(count, tmb_lm_hidden_size(lm) * sizeof *rows);
    if (rows == NULL) {
        return tmb_fail_memory(error, "a prompt", count * tmb_lm_hidden_size(lm) * sizeof *rows);
    }
    tmb_status status = tmb_lm_embed_rows(lm, net->team, prompt, first, count, rows, error);
    if (status == TMB_OK) {
        status = tmb_lm_prefill(net->context, lm_sequence(sequence), rows, count, error);
    }
    free(rows);
    return status;
}

static tmb_status begin(tmb_net *net, tmb_net_sequence *sequence, const tmb_lm_sampling *sampling,
                        const tmb_prompt *prompt, tmb_error *error) {
    const tmb_lm *lm = net->networks.lm;
    size_t hidden = tmb_lm_hidden_size(lm);
    float *rows = tmb_calloc(prompt->later_count + 1, hidden * sizeof *rows);
    if (rows == NULL) {
        return tmb_fail_memory(error, "a sequence's text", (prompt->later_count + 1) * hidden * sizeof *rows);
    }
    float *pad = rows + prompt->later_count * hidden;
    tmb_status status = tmb_lm_embed_text(lm, net->team, prompt->later, prompt->later_count, rows, error);
    if (status == TMB_OK) {
        status = tmb_lm_embed_text(lm, net->team, &prompt->pad, 1, pad, error);
    }
    if (status == TMB_OK) {
        status = tmb_lm_sequence_begin(lm_sequence(sequence), sampling, rows, prompt->later_count, pad, error);
    }
    free(rows);
    return status;
}

static void step(tmb_net *net, tmb_net_sequence *const *sequences, size_t count, int16_t *codes,
                 tmb_lm_outcome *outcomes) {
    tmb_lm_step(net->context, (tmb_lm_sequence *const *)(const void *)sequences, count, codes, outcomes);
}

/* ---- The codec decoder ------------------------------------------------------------------------ */

static tmb_net_bytes stream_bytes(const tmb_net *net) {
    return (tmb_net_bytes){tmb_codec_state_bytes(net->networks.codec_decoder), 0};
}

static tmb_status stream_create(tmb_net *net, tmb_net_stream **out, tmb_error *error) {
    tmb_codec_state *state = NULL;
    tmb_status status = tmb_codec_state_create(net->networks.codec_decoder, &state, error);
    *out = (tmb_net_stream *)(void *)state;
    return status;
}

static void stream_destroy(tmb_net *net, tmb_net_stream **stream) {
    (void)net;
    tmb_codec_state *own = codec_state(*stream);
    *stream = NULL;
    tmb_codec_state_destroy(&own);
}

static tmb_status stream_clone(tmb_net *net, const tmb_net_stream *stream, tmb_net_stream **out, tmb_error *error) {
    (void)net;
    tmb_codec_state *copy = NULL;
    tmb_status status = tmb_codec_state_clone(codec_state_const(stream), &copy, error);
    *out = (tmb_net_stream *)(void *)copy;
    return status;
}

static void stream_copy(tmb_net *net, tmb_net_stream *stream, const tmb_net_stream *from) {
    (void)net;
    tmb_codec_state_copy(codec_state(stream), codec_state_const(from));
}

static bool decode_idle(const tmb_net *net) { return tmb_codec_job_idle(net->job); }

static void decode_add(tmb_net *net, const tmb_decode_request *request) {
    tmb_codec_job_add(net->job, request, codec_state(request->stream));
}

static void decode_start(tmb_net *net) { tmb_codec_job_start(net->job); }
static bool decode_done(tmb_net *net, double wait_seconds) { return tmb_codec_job_done(net->job, wait_seconds); }
static size_t decode_count(const tmb_net *net) { return tmb_codec_job_count(net->job); }

static tmb_status decode_result(const tmb_net *net, size_t index, tmb_decode_result *result, tmb_error *error) {
    return tmb_codec_job_result(net->job, index, result, error);
}

static void decode_clear(tmb_net *net) { tmb_codec_job_clear(net->job); }

static double decode_seconds(tmb_net *net, size_t *frames) { return tmb_codec_job_seconds(net->job, frames); }

/* ---- Encoders --------------------------------------------------------------------------------- */

static tmb_status embed_speaker(tmb_net *net, const float *samples, size_t count, float *embedding, tmb_error *error) {
    if (net->networks.speaker == NULL) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "this model has no speaker encoder");
    }
    (void)pthread_mutex_lock(&net->encode_lock);
    tmb_status status = tmb_speaker_embed(net->networks.speaker, net->encode_team, samples, count, embedding, error);
    (void)pthread_mutex_unlock(&net->encode_lock);
    return status;
}

/* Under encode_lock. */
static tmb_status load_codec_encoder(tmb_net *net, tmb_error *error) {
    if (net->codec_encoder != NULL) {
        return TMB_OK;
    }
    double started = tmb_now();
    tmb_status status = tmb_codec_encoder_load(&net->config->codec, net->codec_weights, &net->codec_encoder, error);
    if (status == TMB_OK) {
        tmb_log(net->logger, TMB_LOG_DEBUG, "codec encoder loaded in %.2f s", tmb_now() - started);
    }
    return status;
}

static tmb_status encode(tmb_net *net, const float *samples, size_t count, int16_t **codes, size_t *frames,
                         tmb_error *error) {
    (void)pthread_mutex_lock(&net->encode_lock);
    tmb_status status = load_codec_encoder(net, error);
    if (status == TMB_OK) {
        status = tmb_codec_encode(net->codec_encoder, net->encode_team, samples, count, codes, frames, error);
    }
    (void)pthread_mutex_unlock(&net->encode_lock);
    return status;
}

/* Of the speaker encoder: its activations for each frame of the mel spectrogram, some of all layers at once. */
#define SPEAKER_BYTES_PER_FRAME (48u << 10)
#define MEL_HOP 256

static size_t encode_bytes(const tmb_net *net, size_t count, bool codes) {
    size_t speaker = 0;
    if (!tmb_mul_size(count / MEL_HOP + 1, SPEAKER_BYTES_PER_FRAME, &speaker)) {
        return SIZE_MAX / 2;
    }
    size_t codec =
        codes && net->networks.codec_sizes != NULL ? tmb_codec_encode_bytes(net->networks.codec_sizes, count) : 0;
    /* One after the other. */
    return speaker > codec ? speaker : codec;
}

const tmb_qwen3_backend tmb_qwen3_cpu_backend = {
    .name = "cpu",
    .estimate = estimate,
    .load = load,
    .destroy = destroy,
    .bytes = bytes,
    .sequence_bytes = sequence_bytes,
    .sequence_create = sequence_create,
    .sequence_destroy = sequence_destroy,
    .sequence_positions = sequence_positions,
    .sequence_fork = sequence_fork,
    .prefill = prefill,
    .begin = begin,
    .step = step,
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
