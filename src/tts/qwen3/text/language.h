/* Names of languages. */
#ifndef TMB_TTS_QWEN3_TEXT_LANGUAGE_H
#define TMB_TTS_QWEN3_TEXT_LANGUAGE_H

#include "tts/qwen3/config.h"

#define TMB_LANGUAGE_AUTO (-1)

/* *id = the codec token of a language, or TMB_LANGUAGE_AUTO for NULL, "" and "auto". `name` is a name that the model
 * lists ("English"), or a code ("en", "zh-CN", "pt_BR"), in any case. TMB_ERROR_ARGUMENT lists what the model knows. */
tmb_status tmb_qwen3_language_id(const tmb_qwen3_talker_config *config, const char *name, int32_t *id,
                                 tmb_error *error);

#endif
