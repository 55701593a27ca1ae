/* Names of built-in speakers, and what language tag a speaker means. */
#ifndef TMB_TTS_QWEN3_TEXT_SPEAKER_H
#define TMB_TTS_QWEN3_TEXT_SPEAKER_H

#include "tts/qwen3/config.h"

/* *out = the speaker of that name, compared without case on both sides (Unicode), in any normalization form; NULL for
 * NULL and "": nobody in particular. Spaces count, as in the official implementation. TMB_ERROR_ARGUMENT lists the
 * model's speakers. */
tmb_status tmb_qwen3_find_speaker(const tmb_qwen3_config *config, const char *name, const tmb_qwen3_speaker **out,
                                  tmb_error *error);

/* The speakers' names with commas between, whole names only, as many as fit; "" for none. */
void tmb_qwen3_list_speakers(const tmb_qwen3_config *config, char *out, size_t size);

/* Whether two names mean one speaker by these rules. */
bool tmb_qwen3_same_speaker(const char *a, const char *b);

/* Replaces the language tag `*language` (a codec token, or TMB_LANGUAGE_AUTO) by that of the speaker's dialect if the
 * language is auto or Chinese. TMB_ERROR_ARGUMENT if the model's files do not say which dialect that is. `speaker` may
 * be NULL. */
tmb_status tmb_qwen3_speaker_language(const tmb_qwen3_config *config, const tmb_qwen3_speaker *speaker,
                                      int32_t *language, tmb_error *error);

#endif
