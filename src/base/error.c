#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

tmb_status tmb_fail(tmb_error *error, tmb_status status, const char *format, ...) {
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        error->status = status;
        (void)vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        for (char *c = error->message; *c != '\0'; c++) {
            if (*c == '\n' || *c == '\r') {
                *c = ' ';
            }
        }
    }
    return status;
}

tmb_status tmb_fail_memory(tmb_error *error, const char *what, size_t bytes) {
    if (bytes == 0) {
        return tmb_fail(error, TMB_ERROR_MEMORY, "out of memory for %s", what);
    }
    return tmb_fail(error, TMB_ERROR_MEMORY, "out of memory for %s (%zu bytes)", what, bytes);
}

void tmb_error_prefix(tmb_error *error, const char *format, ...) {
    if (error == NULL || error->status == TMB_OK) {
        return;
    }
    char message[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof message) {
        return;
    }
    (void)snprintf(message + length, sizeof message - (size_t)length, ": %s", error->message);
    memcpy(error->message, message, sizeof message);
}

const char *tmb_status_name(tmb_status status) {
    static const char *const names[] = {"ok",          "argument", "memory",    "io",      "format",  "model",
                                        "unsupported", "limit",    "cancelled", "timeout", "internal"};
    size_t index = (size_t)status;
    return index < sizeof names / sizeof names[0] ? names[index] : "unknown";
}

const char *tmb_version(void) { return TMB_VERSION; }
