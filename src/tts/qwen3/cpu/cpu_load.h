/* The CPU's networks of a checkpoint, loaded by all threads that are free. */
#ifndef TMB_TTS_QWEN3_CPU_CPU_LOAD_H
#define TMB_TTS_QWEN3_CPU_CPU_LOAD_H

#include "base/team.h"
#include "tts/qwen3/backend.h"
#include "tts/qwen3/cpu/codec/decoder.h"
#include "tts/qwen3/cpu/codec/encoder.h"
#include "tts/qwen3/cpu/lm/lm.h"
#include "tts/qwen3/cpu/speaker/speaker.h"

/* Immutable, shared between threads. */
typedef struct tmb_cpu_networks {
    tmb_lm *lm;
    tmb_codec_decoder *codec_decoder;
    tmb_speaker_encoder *speaker;   /* NULL: the checkpoint does not clone */
    tmb_codec_encoder *codec_sizes; /* of the encoder, without weights; likewise */
} tmb_cpu_networks;

/* Bytes of weights that load will hold, with room for buffers. */
tmb_status tmb_cpu_networks_estimate(const tmb_net_files *files, const tmb_net_options *options, size_t *bytes,
                                     tmb_error *error);
/* `team` helps to pack weights. `out` is unloaded in any case. */
tmb_status tmb_cpu_networks_load(const tmb_net_files *files, const tmb_net_options *options, tmb_team *team,
                                 tmb_cpu_networks *out, tmb_error *error);
void tmb_cpu_networks_unload(tmb_cpu_networks *networks);
size_t tmb_cpu_networks_bytes(const tmb_cpu_networks *networks);

#endif
