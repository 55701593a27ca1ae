/* Speaker encoder and codec encoder on the CPU, for any thread: a backend whose device has none of its own has these.
 */
#ifndef TMB_TTS_QWEN3_CPU_ENCODERS_H
#define TMB_TTS_QWEN3_CPU_ENCODERS_H

#include "base/team.h"
#include "tts/qwen3/backend.h"
#include "tts/qwen3/cpu/codec/encoder.h"
#include "tts/qwen3/cpu/speaker/speaker.h"

#include <pthread.h>

typedef struct tmb_cpu_encoders {
    const tmb_qwen3_config *config;
    const tmb_safetensors *codec_weights;
    tmb_logger *logger;
    tmb_team *team; /* under the lock */
    pthread_mutex_t lock;
    tmb_speaker_encoder *speaker;   /* NULL: the model has none; the owner of the networks sets both */
    tmb_codec_encoder *codec_sizes; /* checked, not loaded */
    tmb_codec_encoder *codec;       /* NULL: nothing was encoded yet */
} tmb_cpu_encoders;

/* Without networks. A zeroed one may be closed. TMB_ERROR_MEMORY. */
tmb_status tmb_cpu_encoders_open(const tmb_net_files *files, const tmb_net_options *options, tmb_cpu_encoders *out,
                                 tmb_error *error);
void tmb_cpu_encoders_close(tmb_cpu_encoders *encoders);

/* As backend.h says of embed_speaker, encode and encode_bytes. */
tmb_status tmb_encoders_embed_speaker(tmb_cpu_encoders *encoders, const float *samples, size_t count, float *embedding,
                                      tmb_error *error);
tmb_status tmb_encoders_encode(tmb_cpu_encoders *encoders, const float *samples, size_t count, int16_t **codes,
                               size_t *frames, tmb_error *error);
/* For a speaker encoder elsewhere: *mel [*rows, bands], free() it. Errors as tmb_encoders_embed_speaker. */
tmb_status tmb_encoders_mel(tmb_cpu_encoders *encoders, const float *samples, size_t count, float **mel, size_t *rows,
                            tmb_error *error);
size_t tmb_encoders_encode_bytes(const tmb_cpu_encoders *encoders, size_t count, bool codes);

#endif
