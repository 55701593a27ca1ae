/* What a checkpoint can do, from its configuration. */
#ifndef TMB_TTS_QWEN3_DESCRIBE_H
#define TMB_TTS_QWEN3_DESCRIBE_H

#include "timbre/timbre.h"

/* Reads the checkpoint's configuration; *out is one block, to be freed with free(). TMB_ERROR_MODEL,
 * TMB_ERROR_UNSUPPORTED. */
tmb_status tmb_qwen3_describe(const char *folder, const char *name, tmb_model_description **out, tmb_error *error);

/* By the rules of tmb_qwen3_find_speaker. */
bool tmb_qwen3_has_speaker(const tmb_model_description *description, const char *speaker);

/* The name under which clients see a checkpoint: that of the list of models if the folder is one of them, otherwise the
 * size's for a Base model and the folder's own for others. */
void tmb_qwen3_model_label(const char *folder, char *out, size_t size);

#endif
