#include "base/error.h"

#include "base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The system's word for `code`; strerror_r, because strerror's buffer is shared. glibc's returns the text, POSIX's, as
 * musl has it, a status. */
static void append_system(char *message, size_t size, int code) {
    char buffer[128] = "unknown error";
    const size_t length = strlen(message);
#ifdef __GLIBC__
    const char *text = strerror_r(code, buffer, sizeof buffer);
#else
    (void)strerror_r(code, buffer, sizeof buffer);
    const char *text = buffer;
#endif
    (void)snprintf(message + length, size - length, ": %s", text);
}

static void set_message(tmb_error *error, tmb_status status, int code, const char *format, va_list arguments)
    __attribute__((format(printf, 4, 0)));
static void set_message(tmb_error *error, tmb_status status, int code, const char *format, va_list arguments) {
    /* An argument may be a part of the error that is overwritten. */
    char message[sizeof error->message];
    (void)vsnprintf(message, sizeof message, format, arguments);
    if (code != 0) {
        append_system(message, sizeof message, code);
    }
    tmb_utf8_one_line(message);
    *error = (tmb_error){.status = status, .system = code};
    memcpy(error->message, message, sizeof message);
}

tmb_status tmb_fail(tmb_error *error, tmb_status status, const char *format, ...) {
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        set_message(error, status, 0, format, arguments);
        va_end(arguments);
    }
    return status;
}

tmb_status tmb_fail_errno(tmb_error *error, tmb_status status, int code, const char *format, ...) {
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        set_message(error, status, code, format, arguments);
        va_end(arguments);
    }
    return status;
}

tmb_status tmb_fail_field(tmb_error *error, tmb_status status, const char *field, const char *format, ...) {
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        set_message(error, status, 0, format, arguments);
        va_end(arguments);
        error->field = field;
    }
    return status;
}

tmb_status tmb_fail_memory(tmb_error *error, const char *what, size_t bytes) {
    if (bytes == 0) {
        return tmb_fail(error, TMB_ERROR_MEMORY, "out of memory for %s", what);
    }
    return tmb_fail(error, TMB_ERROR_MEMORY, "out of memory for %s (%zu bytes)", what, bytes);
}

/* False when `prefix` would leave no room. */
static bool put_before(tmb_error *error, const char *prefix) {
    char message[sizeof error->message];
    const int length = snprintf(message, sizeof message, "%s: ", prefix);
    if (length < 0 || (size_t)length >= sizeof message - sizeof message / 8) {
        return false;
    }
    (void)snprintf(message + length, sizeof message - (size_t)length, "%s", error->message);
    tmb_utf8_one_line(message); /* the names of files may have anything */
    memcpy(error->message, message, sizeof message);
    return true;
}

void tmb_error_prefix(tmb_error *error, const char *format, ...) {
    if (error == NULL || error->status == TMB_OK) {
        return;
    }
    char prefix[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    if (put_before(error, prefix) && error->name_bytes > 0) {
        error->name_bytes += strlen(prefix) + 2;
    }
}

void tmb_error_name(tmb_error *error, const char *name) {
    if (error != NULL && error->status != TMB_OK && put_before(error, name)) {
        error->name_bytes += strlen(name) + 2;
    }
}

tmb_status tmb_fail_named(tmb_error *error, tmb_status status, const char *name, const char *format, ...) {
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        set_message(error, status, 0, format, arguments);
        va_end(arguments);
        tmb_error_name(error, name);
    }
    return status;
}

bool tmb_errno_is_exhausted(int code) { return code == EMFILE || code == ENFILE || code == ENOMEM || code == EAGAIN; }

bool tmb_error_is_exhausted(const tmb_error *error) {
    return error->status != TMB_OK && tmb_errno_is_exhausted(error->system);
}

bool tmb_error_is_of_server(const tmb_error *error) { return error->status != TMB_OK && error->system == EREMOTEIO; }

void tmb_error_set_of_server(tmb_error *error) { error->system = EREMOTEIO; }

bool tmb_error_is_full(const tmb_error *error) {
    return error->status != TMB_OK && (error->system == ENOSPC || error->system == EDQUOT || error->system == EFBIG);
}

bool tmb_error_never_fits(const tmb_error *error) {
    return error->status == TMB_ERROR_MEMORY && error->system == EOVERFLOW;
}

tmb_status tmb_error_set_never_fits(tmb_error *error) {
    if (error != NULL) {
        error->system = EOVERFLOW;
    }
    return TMB_ERROR_MEMORY;
}

const char *tmb_status_name(tmb_status status) {
    static const char *const names[] = {"ok",          "argument", "memory",    "io",      "format",  "model",
                                        "unsupported", "limit",    "cancelled", "timeout", "internal"};
    size_t index = (size_t)status;
    return index < sizeof names / sizeof names[0] ? names[index] : "unknown";
}

const char *tmb_version(void) { return TMB_VERSION; }
