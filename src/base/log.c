#include "base/log.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>

void tmb_logger_init(tmb_logger *logger, tmb_log_callback callback, void *user, tmb_log_level level) {
    logger->callback = callback;
    logger->user = user;
    logger->level = level;
    (void)pthread_mutex_init(&logger->lock, NULL);
}

void tmb_logger_deinit(tmb_logger *logger) { (void)pthread_mutex_destroy(&logger->lock); }

void tmb_log(tmb_logger *logger, tmb_log_level level, const char *format, ...) {
    if (logger == NULL || logger->callback == NULL || level > logger->level) {
        return;
    }
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    tmb_utf8_one_line(line);
    (void)pthread_mutex_lock(&logger->lock);
    logger->callback(logger->user, level, line);
    (void)pthread_mutex_unlock(&logger->lock);
}
