/* Filling in a tmb_error. */
#ifndef TMB_BASE_ERROR_H
#define TMB_BASE_ERROR_H

#include "timbre/timbre.h"

/* Writes status and message into `error` (which may be NULL) and returns `status`, so that a failing
 * function can end with `return tmb_fail(error, TMB_ERROR_FORMAT, "...")`. */
tmb_status tmb_fail(tmb_error *error, tmb_status status, const char *format, ...) TMB_PRINTF(3, 4);

/* The same for a system call that failed with `code` (an errno): ": " and the system's word for it follow the message,
 * and error->system is the code. */
tmb_status tmb_fail_errno(tmb_error *error, tmb_status status, int code, const char *format, ...) TMB_PRINTF(4, 5);

/* The same for a field of a request; `field` is in static storage. The message names it too. */
tmb_status tmb_fail_field(tmb_error *error, tmb_status status, const char *field, const char *format, ...)
    TMB_PRINTF(4, 5);

/* The common case of an allocation that failed; `what` says for what, `bytes` how much (0: not known). */
tmb_status tmb_fail_memory(tmb_error *error, const char *what, size_t bytes);

/* Puts "prefix: " before the message of an error that is passed on. */
void tmb_error_prefix(tmb_error *error, const char *format, ...) TMB_PRINTF(2, 3);

/* The same for the name of the file that the error is about, which error->name_bytes then counts. A name so long that
 * nothing of the message would be left is not put there. */
void tmb_error_name(tmb_error *error, const char *name);

/* tmb_fail and tmb_error_name in one. */
tmb_status tmb_fail_named(tmb_error *error, tmb_status status, const char *name, const char *format, ...)
    TMB_PRINTF(4, 5);

/* What tells causes apart by error->system: no room on the disk, in the quota or in the largest file; no descriptors,
 * memory or processes at the moment. */
bool tmb_error_is_full(const tmb_error *error);
/* More than the whole memory budget: it never fits here. Every other lack of memory may pass. */
bool tmb_error_never_fits(const tmb_error *error);
tmb_status tmb_error_set_never_fits(tmb_error *error);
bool tmb_error_is_exhausted(const tmb_error *error);
bool tmb_errno_is_exhausted(int code);
/* A server that computes for us failed at what it was asked: another may well do it. */
bool tmb_error_is_of_server(const tmb_error *error);
void tmb_error_set_of_server(tmb_error *error);

#endif
