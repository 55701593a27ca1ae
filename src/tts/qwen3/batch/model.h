/* A checkpoint, loaded: its configuration, its tokenizer, and its networks behind the backend's table. */
#ifndef TMB_TTS_QWEN3_BATCH_MODEL_H
#define TMB_TTS_QWEN3_BATCH_MODEL_H

#include "tts/qwen3/backend.h"
#include "tts/qwen3/qwen3.h"
#include "tts/qwen3/text/template.h"
#include "tts/qwen3/voice/voice.h"

typedef struct tmb_qwen3_model {
    tmb_qwen3_config config;
    tmb_qwen3_precisions precisions;
    tmb_safetensors *weights, *codec_weights;
    tmb_tokenizer *tokenizer;
    const tmb_qwen3_backend *backend;
    tmb_net *net;
    tmb_net_options settings;          /* of the networks, without a cache of packs */
    size_t losses;                     /* of the device, with everything on it */
    char family[TMB_VOICE_FAMILY_MAX]; /* voices of one family can be used with each other's models */
} tmb_qwen3_model;

/* For at most `sequences` utterances at once. `out` must not move while it is loaded (the networks point into it). */
tmb_status tmb_qwen3_model_load(const tmb_qwen3_options *options, size_t sequences, tmb_qwen3_model *out,
                                tmb_error *error);
/* Loads the networks again after their device was lost: once on the same device, then, or if that fails, on the CPU.
 * Nothing of the lost ones may be in use. Without networks the model can only be unloaded. */
tmb_status tmb_qwen3_model_reload(tmb_qwen3_model *model, tmb_error *error);
void tmb_qwen3_model_unload(tmb_qwen3_model *model);

#endif
