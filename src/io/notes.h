/* What a reader says of a file in addition to its samples: warnings, and the one rule about what is missing.
 *
 * A file that holds less than it promises is an error that names both. With `salvage` it is read as far as it goes, and
 * the error becomes a warning. A file that holds more is read whole, or a warning says how much is left out. */
#ifndef TMB_IO_NOTES_H
#define TMB_IO_NOTES_H

#include "timbre/timbre.h"

/* More are dropped: the first say what happened. */
#define TMB_NOTES_MAX 8

/* Zero-initialise. Used by one thread at a time. */
typedef struct tmb_notes {
    bool salvage;
    size_t count;
    char text[TMB_NOTES_MAX][240];
} tmb_notes;

/* Adds a warning: one line of UTF-8 that goes on from the file's name ("is ...", "has ..."). */
void tmb_note(tmb_notes *notes, const char *format, ...) TMB_PRINTF(2, 3);

/* Something is missing: TMB_ERROR_FORMAT with this message, or, when salvaging, TMB_OK and a warning. */
tmb_status tmb_lost(tmb_notes *notes, tmb_error *error, const char *format, ...) TMB_PRINTF(3, 4);

#endif
