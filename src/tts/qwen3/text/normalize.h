/* Unicode normalization form C. */
#ifndef TMB_TTS_QWEN3_TEXT_NORMALIZE_H
#define TMB_TTS_QWEN3_TEXT_NORMALIZE_H

#include "timbre/timbre.h"

/* `text` (valid UTF-8) in NFC. If it is plain ASCII nothing is copied: *out = text and *owned = NULL. Otherwise *out
 * = *owned, which the caller frees. Takes linear time whatever the text (long runs of combining marks too). */
tmb_status tmb_normalize_nfc(const char *text, size_t bytes, const char **out, size_t *out_bytes, char **owned,
                             tmb_error *error);

#endif
