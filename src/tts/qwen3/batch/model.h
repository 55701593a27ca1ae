/* A checkpoint, loaded: all networks and the tokenizer. Immutable and shared between threads, but for the codec
 * encoder, which is loaded when a recording is encoded. */
#ifndef TMB_TTS_QWEN3_BATCH_MODEL_H
#define TMB_TTS_QWEN3_BATCH_MODEL_H

#include "tts/qwen3/cpu/codec/decoder.h"
#include "tts/qwen3/cpu/codec/encoder.h"
#include "tts/qwen3/cpu/speaker/speaker.h"
#include "tts/qwen3/precision.h"
#include "tts/qwen3/qwen3.h"
#include "tts/qwen3/text/prompt.h"
#include "tts/qwen3/voice/voice.h"

typedef struct tmb_qwen3_model {
    tmb_qwen3_config config;
    tmb_qwen3_precisions precisions;
    tmb_safetensors *weights;
    tmb_tokenizer *tokenizer;
    tmb_lm *lm;
    tmb_speaker_encoder *speaker;
    tmb_codec_encoder *codec_sizes;   /* of the encoder, without weights */
    tmb_codec_encoder *codec_encoder; /* NULL: nothing was encoded yet; see tmb_qwen3_model_codec_encoder */
    tmb_safetensors *codec_weights;   /* open until then */
    tmb_codec_decoder *codec_decoder;
    char family[TMB_VOICE_FAMILY_MAX]; /* voices of one family can be used with each other's models */
} tmb_qwen3_model;

/* `team` helps to pack weights. */
tmb_status tmb_qwen3_model_load(const tmb_qwen3_options *options, tmb_team *team, tmb_qwen3_model *out,
                                tmb_error *error);
/* The codec encoder, loaded by the first call. A saved voice does without. One call at a time. */
tmb_status tmb_qwen3_model_codec_encoder(tmb_qwen3_model *model, tmb_logger *logger, const tmb_codec_encoder **out,
                                         tmb_error *error);
void tmb_qwen3_model_unload(tmb_qwen3_model *model);
size_t tmb_qwen3_model_size(const tmb_qwen3_model *model);

#endif
