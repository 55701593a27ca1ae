/* The server's log on stderr. */
#ifndef TMB_SERVER_LOGGING_H
#define TMB_SERVER_LOGGING_H

#include "base/log.h"

/* Sets `logger` up for "text" or "json" lines. Under systemd's journal text lines carry their priority. */
void tmb_server_log_init(tmb_logger *logger, const char *level, const char *format);

#endif
