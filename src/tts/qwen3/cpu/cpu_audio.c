#include "tts/qwen3/cpu/cpu_audio.h"

static tmb_cpu_audio *audio(tmb_net *net) { return (tmb_cpu_audio *)(void *)net; }
static const tmb_cpu_audio *audio_const(const tmb_net *net) { return (const tmb_cpu_audio *)(const void *)net; }
static tmb_codec_state *codec_state(tmb_net_stream *stream) { return (tmb_codec_state *)(void *)stream; }
static const tmb_codec_state *codec_state_const(const tmb_net_stream *stream) {
    return (const tmb_codec_state *)(const void *)stream;
}

/* ---- The codec decoder ------------------------------------------------------------------------ */

tmb_net_bytes tmb_cpu_stream_bytes(const tmb_net *net) {
    return (tmb_net_bytes){tmb_codec_state_bytes(audio_const(net)->decoder), 0};
}

tmb_status tmb_cpu_stream_create(tmb_net *net, tmb_net_stream **out, tmb_error *error) {
    tmb_codec_state *state = NULL;
    tmb_status status = tmb_codec_state_create(audio(net)->decoder, &state, error);
    *out = (tmb_net_stream *)(void *)state;
    return status;
}

void tmb_cpu_stream_destroy(tmb_net *net, tmb_net_stream **stream) {
    (void)net;
    tmb_codec_state *own = codec_state(*stream);
    *stream = NULL;
    tmb_codec_state_destroy(&own);
}

tmb_status tmb_cpu_stream_clone(tmb_net *net, const tmb_net_stream *stream, tmb_net_stream **out, tmb_error *error) {
    (void)net;
    tmb_codec_state *copy = NULL;
    tmb_status status = tmb_codec_state_clone(codec_state_const(stream), &copy, error);
    *out = (tmb_net_stream *)(void *)copy;
    return status;
}

void tmb_cpu_stream_copy(tmb_net *net, tmb_net_stream *stream, const tmb_net_stream *from) {
    (void)net;
    tmb_codec_state_copy(codec_state(stream), codec_state_const(from));
}

bool tmb_cpu_decode_idle(const tmb_net *net) { return tmb_codec_job_idle(audio_const(net)->job); }

void tmb_cpu_decode_add(tmb_net *net, const tmb_decode_request *request) {
    tmb_codec_job_add(audio(net)->job, request, codec_state(request->stream));
}

void tmb_cpu_decode_start(tmb_net *net) { tmb_codec_job_start(audio(net)->job); }
bool tmb_cpu_decode_done(tmb_net *net, double wait_seconds) {
    return tmb_codec_job_done(audio(net)->job, wait_seconds);
}
size_t tmb_cpu_decode_count(const tmb_net *net) { return tmb_codec_job_count(audio_const(net)->job); }

tmb_status tmb_cpu_decode_result(const tmb_net *net, size_t index, tmb_decode_result *result, tmb_error *error) {
    return tmb_codec_job_result(audio_const(net)->job, index, result, error);
}

void tmb_cpu_decode_clear(tmb_net *net) { tmb_codec_job_clear(audio(net)->job); }

double tmb_cpu_decode_seconds(tmb_net *net, size_t *frames) { return tmb_codec_job_seconds(audio(net)->job, frames); }

/* ---- Encoders --------------------------------------------------------------------------------- */

tmb_status tmb_cpu_embed_speaker(tmb_net *net, const float *samples, size_t count, float *embedding, tmb_error *error) {
    return tmb_encoders_embed_speaker(&audio(net)->encoders, samples, count, embedding, error);
}

tmb_status tmb_cpu_encode(tmb_net *net, const float *samples, size_t count, int16_t **codes, size_t *frames,
                          tmb_error *error) {
    return tmb_encoders_encode(&audio(net)->encoders, samples, count, codes, frames, error);
}

size_t tmb_cpu_encode_bytes(const tmb_net *net, size_t count, bool codes) {
    return tmb_encoders_encode_bytes(&audio_const(net)->encoders, count, codes);
}
