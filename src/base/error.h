/* Filling in a tmb_error. */
#ifndef TMB_BASE_ERROR_H
#define TMB_BASE_ERROR_H

#include "timbre/timbre.h"

/* Writes status and message into `error` (which may be NULL) and returns `status`, so that a failing
 * function can end with `return tmb_fail(error, TMB_ERROR_FORMAT, "...")`. */
tmb_status tmb_fail(tmb_error *error, tmb_status status, const char *format, ...) TMB_PRINTF(3, 4);

/* The common case of an allocation that failed; `what` says for what, `bytes` how much (0: not known). */
tmb_status tmb_fail_memory(tmb_error *error, const char *what, size_t bytes);

/* Puts "prefix: " before the message of an error that is passed on (the file's name, say). */
void tmb_error_prefix(tmb_error *error, const char *format, ...) TMB_PRINTF(2, 3);

#endif
