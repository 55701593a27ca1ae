/* timbre: voice cloning with studio-clean sound.
 *
 * The only header that a user of libtimbre needs. Conventions:
 *   - samples are 32-bit floats, full scale [-1, 1]; rates are in Hz, lengths in samples per channel
 *     ("frames" of audio are never meant by `frames` unless said so), times in seconds;
 *   - every function that can fail returns a tmb_status and, where `error` is not NULL, fills it with
 *     a message that names what was wrong and what to do;
 *   - `x_create` / `x_open` hand ownership to the caller, `x_destroy` / `x_close` take the address of
 *     the handle, free it and set it to NULL; calling them on NULL is allowed;
 *   - pointers to const are borrowed for the call only, unless the comment says longer;
 *   - option structs are filled by their `_default` function first; then the caller changes fields.
 */
#ifndef TIMBRE_TIMBRE_H
#define TIMBRE_TIMBRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TMB_API __attribute__((visibility("default")))
#define TMB_PRINTF(format_index, first_index) __attribute__((format(printf, format_index, first_index)))
#else
#define TMB_API
#define TMB_PRINTF(format_index, first_index)
#endif

/* What a call came to. The numbers are stable. */
typedef enum tmb_status {
    TMB_OK = 0,
    TMB_ERROR_ARGUMENT = 1,    /* the caller passed something that no call of this kind accepts */
    TMB_ERROR_MEMORY = 2,      /* the system or the memory budget has no room */
    TMB_ERROR_IO = 3,          /* a file or pipe could not be read or written */
    TMB_ERROR_FORMAT = 4,      /* the bytes are not what they should be (audio, model, JSON) */
    TMB_ERROR_MODEL = 5,       /* a model is missing or does not fit */
    TMB_ERROR_UNSUPPORTED = 6, /* legal, but this build or machine cannot do it */
    TMB_ERROR_LIMIT = 7,       /* over a limit: length, size, count, queue */
    TMB_ERROR_CANCELLED = 8,   /* the caller cancelled */
    TMB_ERROR_TIMEOUT = 9,     /* a time limit passed */
    TMB_ERROR_INTERNAL = 10    /* a bug in timbre */
} tmb_status;

/* Why a call failed. A zeroed one means success. */
typedef struct tmb_error {
    tmb_status status;
    char message[504]; /* UTF-8, one line, never empty on failure */
} tmb_error;

/* A status as a short English word, never NULL ("ok", "argument", ...). */
TMB_API const char *tmb_status_name(tmb_status status);

/* The library's version, "MAJOR.MINOR.PATCH". */
TMB_API const char *tmb_version(void);

typedef enum tmb_log_level { TMB_LOG_ERROR = 0, TMB_LOG_WARNING = 1, TMB_LOG_INFO = 2, TMB_LOG_DEBUG = 3 } tmb_log_level;

/* Called with one line without line break. May be called from any thread, never concurrently with
 * itself for one context. `user` is the pointer given with the callback. */
typedef void (*tmb_log_callback)(void *user, tmb_log_level level, const char *line);

#ifdef __cplusplus
}
#endif
#endif
