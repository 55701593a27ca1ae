#include "io/notes.h"

#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

static void add(tmb_notes *notes, const char *text) {
    if (notes->count < TMB_NOTES_MAX) {
        (void)snprintf(notes->text[notes->count], sizeof notes->text[0], "%s", text);
        notes->count++;
    }
}

void tmb_note(tmb_notes *notes, const char *format, ...) {
    char text[sizeof notes->text[0]];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    add(notes, text);
}

tmb_status tmb_lost(tmb_notes *notes, tmb_error *error, const char *format, ...) {
    char text[sizeof notes->text[0]];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (!notes->salvage) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "%s", text);
    }
    add(notes, text);
    return TMB_OK;
}
