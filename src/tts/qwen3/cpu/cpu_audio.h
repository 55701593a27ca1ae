/* Codec decoder and encoders on the CPU as functions of the table in backend.h, for the CPU's backend and for those
 * whose device does not have them.
 *
 * A backend that uses these has a tmb_cpu_audio as the first member of its tmb_net.
 */
#ifndef TMB_TTS_QWEN3_CPU_CPU_AUDIO_H
#define TMB_TTS_QWEN3_CPU_CPU_AUDIO_H

#include "tts/qwen3/cpu/codec/decoder.h"
#include "tts/qwen3/cpu/codec_job.h"
#include "tts/qwen3/cpu/encoders.h"

typedef struct tmb_cpu_audio {
    tmb_cpu_encoders encoders;
    tmb_codec_decoder *decoder; /* the owner of the networks sets it, and the job */
    tmb_codec_job *job;
} tmb_cpu_audio;

tmb_net_bytes tmb_cpu_stream_bytes(const tmb_net *net);
tmb_status tmb_cpu_stream_create(tmb_net *net, tmb_net_stream **out, tmb_error *error);
void tmb_cpu_stream_destroy(tmb_net *net, tmb_net_stream **stream);
tmb_status tmb_cpu_stream_clone(tmb_net *net, const tmb_net_stream *stream, tmb_net_stream **out, tmb_error *error);
void tmb_cpu_stream_copy(tmb_net *net, tmb_net_stream *stream, const tmb_net_stream *from);

bool tmb_cpu_decode_idle(const tmb_net *net);
void tmb_cpu_decode_add(tmb_net *net, const tmb_decode_request *request);
void tmb_cpu_decode_start(tmb_net *net);
bool tmb_cpu_decode_done(tmb_net *net, double wait_seconds);
size_t tmb_cpu_decode_count(const tmb_net *net);
tmb_status tmb_cpu_decode_result(const tmb_net *net, size_t index, tmb_decode_result *result, tmb_error *error);
void tmb_cpu_decode_clear(tmb_net *net);
double tmb_cpu_decode_seconds(tmb_net *net, size_t *frames);

tmb_status tmb_cpu_embed_speaker(tmb_net *net, const float *samples, size_t count, float *embedding, tmb_error *error);
tmb_status tmb_cpu_encode(tmb_net *net, const float *samples, size_t count, int16_t **codes, size_t *frames,
                          tmb_error *error);
size_t tmb_cpu_encode_bytes(const tmb_net *net, size_t count, bool codes);

#endif
