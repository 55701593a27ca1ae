/* SHA-256, and SHA-1 as git names its objects. */
#ifndef TMB_WEIGHTS_DIGEST_H
#define TMB_WEIGHTS_DIGEST_H

#include "timbre/timbre.h"

#define TMB_DIGEST_HEX_MAX 65

typedef enum tmb_digest_kind {
    TMB_DIGEST_SHA256 = 0,
    TMB_DIGEST_GIT /* SHA-1 of "blob SIZE\0" and the contents */
} tmb_digest_kind;

/* Lower-case hex of `bytes` with a 0 behind it. */
void tmb_digest_memory(tmb_digest_kind kind, const void *data, size_t bytes, char out[TMB_DIGEST_HEX_MAX]);

/* The same of a whole file. */
tmb_status tmb_digest_file(tmb_digest_kind kind, const char *path, char out[TMB_DIGEST_HEX_MAX], tmb_error *error);

#endif
