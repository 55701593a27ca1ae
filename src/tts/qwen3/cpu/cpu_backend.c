/* The CPU behind the table of backend.h. */
#include "base/error.h"
#include "base/memory.h"
#include "tts/qwen3/backend.h"
#include "tts/qwen3/cpu/cpu_audio.h"
#include "tts/qwen3/cpu/cpu_load.h"
#include "tts/qwen3/cpu/lm/lm.h"

#include <stdlib.h>

struct tmb_net {
    tmb_cpu_audio audio; /* first, as cpu_audio.h wants it */
    tmb_cpu_networks networks;
    tmb_team *team; /* of the language model, on the engine's thread */
    tmb_lm_context *context;
};

static tmb_lm_sequence *lm_sequence(tmb_net_sequence *sequence) { return (tmb_lm_sequence *)(void *)sequence; }
static const tmb_lm_sequence *lm_sequence_const(const tmb_net_sequence *sequence) {
    return (const tmb_lm_sequence *)(const void *)sequence;
}

static tmb_status available(int device, tmb_error *error) {
    return device == 0 ? TMB_OK : tmb_fail(error, TMB_ERROR_UNSUPPORTED, "there is one CPU backend");
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
    tmb_codec_job_destroy(&net->audio.job);
    tmb_lm_context_destroy(&net->context);
    tmb_cpu_encoders_close(&net->audio.encoders);
    tmb_cpu_networks_unload(&net->networks);
    tmb_team_destroy(&net->team);
    free(net);
}

static tmb_status load(const tmb_net_files *files, const tmb_net_options *options, tmb_net **out, tmb_error *error) {
    *out = NULL;
    tmb_net *net = tmb_calloc(1, sizeof *net);
    if (net == NULL) {
        return tmb_fail_memory(error, "the networks", sizeof *net);
    }
    /* The language model is what an utterance waits for, the codec works at the same time: on half of the processors,
     * which the language model shares, since it is bound by memory more than by them. */
    int codec_threads = options->threads / 2;
    tmb_status status = tmb_cpu_encoders_open(files, options, &net->audio.encoders, error);
    if (status != TMB_OK ||
        (status = tmb_cpu_networks_load(files, options, net->audio.encoders.team, &net->networks, error)) != TMB_OK ||
        (status = tmb_team_create(options->threads, &net->team, error)) != TMB_OK ||
        (status = tmb_lm_context_create(net->networks.lm, options->sequences, net->team, &net->context, error)) !=
            TMB_OK ||
        (status = tmb_codec_job_create(net->networks.codec_decoder, options->sequences, codec_threads, net->team,
                                       &net->audio.job, error)) != TMB_OK) {
        destroy(&net);
        return status;
    }
    net->audio.decoder = net->networks.codec_decoder;
    net->audio.encoders.speaker = net->networks.speaker;
    net->audio.encoders.codec_sizes = net->networks.codec_sizes;
    *out = net;
    return TMB_OK;
}

static tmb_net_bytes bytes(const tmb_net *net) {
    return (tmb_net_bytes){tmb_cpu_networks_bytes(&net->networks) + tmb_lm_context_bytes(net->context) +
                               tmb_codec_job_bytes(net->audio.job),
                           0};
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

const tmb_qwen3_backend tmb_qwen3_cpu_backend = {
    .name = "cpu",
    .available = available,
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
    .stream_bytes = tmb_cpu_stream_bytes,
    .stream_create = tmb_cpu_stream_create,
    .stream_destroy = tmb_cpu_stream_destroy,
    .stream_clone = tmb_cpu_stream_clone,
    .stream_copy = tmb_cpu_stream_copy,
    .decode_idle = tmb_cpu_decode_idle,
    .decode_add = tmb_cpu_decode_add,
    .decode_start = tmb_cpu_decode_start,
    .decode_done = tmb_cpu_decode_done,
    .decode_count = tmb_cpu_decode_count,
    .decode_result = tmb_cpu_decode_result,
    .decode_clear = tmb_cpu_decode_clear,
    .decode_seconds = tmb_cpu_decode_seconds,
    .embed_speaker = tmb_cpu_embed_speaker,
    .encode = tmb_cpu_encode,
    .encode_bytes = tmb_cpu_encode_bytes,
};
