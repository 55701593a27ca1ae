/* Leveled logging through the callback of the library's user. */
#ifndef TMB_BASE_LOG_H
#define TMB_BASE_LOG_H

#include "timbre/timbre.h"

#include <pthread.h>

/* Where lines go. Shared by every part of a context and outlives them; safe from any thread. A NULL
 * logger is silent. */
typedef struct tmb_logger {
    tmb_log_callback callback; /* NULL: silent */
    void *user;
    tmb_log_level level; /* lines above it are dropped before they are formatted */
    pthread_mutex_t lock;
} tmb_logger;

void tmb_logger_init(tmb_logger *logger, tmb_log_callback callback, void *user, tmb_log_level level);
void tmb_logger_deinit(tmb_logger *logger);

void tmb_log(tmb_logger *logger, tmb_log_level level, const char *format, ...) TMB_PRINTF(3, 4);

#endif
