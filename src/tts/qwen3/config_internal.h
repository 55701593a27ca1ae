/* The parts of the configuration reader. `path` names the object in messages. */
#ifndef TMB_TTS_QWEN3_CONFIG_INTERNAL_H
#define TMB_TTS_QWEN3_CONFIG_INTERNAL_H

#include "tts/qwen3/config.h"
#include "weights/json_fields.h"

#define TMB_FIELD_COUNT(fields) (sizeof(fields) / sizeof(fields)[0])

tmb_status tmb_qwen3_config_talker(const char *path, const json_t *object, tmb_qwen3_talker_config *out,
                                   tmb_error *error);
/* Speakers of a custom_voice model; out->talker is read already. */
tmb_status tmb_qwen3_config_speakers(const char *path, const json_t *talker, tmb_qwen3_config *out, tmb_error *error);
tmb_status tmb_qwen3_config_predictor(const char *path, const json_t *object, tmb_qwen3_predictor_config *out,
                                      tmb_error *error);
/* `object` may be NULL: all defaults. */
tmb_status tmb_qwen3_config_generation(const char *path, const json_t *object, tmb_qwen3_generation_config *out,
                                       tmb_error *error);
tmb_status tmb_qwen3_config_speaker(const char *path, const json_t *object, tmb_qwen3_speaker_config *out,
                                    tmb_error *error);
tmb_status tmb_qwen3_config_codec(const char *path, const json_t *root, tmb_qwen3_codec_config *out, tmb_error *error);

/* Heads divide, head_dim is even. */
tmb_status tmb_qwen3_config_check_heads(const char *path, size_t heads, size_t key_value_heads, size_t head_dim,
                                        tmb_error *error);

/* `name`, if it is there, must be the string `wanted`; `name`, if it is there, must be false. */
tmb_status tmb_qwen3_config_expect(const char *path, const json_t *object, const char *name, const char *wanted,
                                   tmb_error *error);
tmb_status tmb_qwen3_config_refuse(const char *path, const json_t *object, const char *name, tmb_error *error);

#endif
