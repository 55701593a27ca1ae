/* What systemd wants to know, and gives. Does nothing if libsystemd was not there at build. */
#ifndef TMB_SERVER_SERVICE_H
#define TMB_SERVER_SERVICE_H

#include <stdbool.h>

/* The listening socket that systemd passed, or -1; `*problem` if it passed what we cannot use. */
int tmb_service_socket(const char **problem);

void tmb_service_ready(const char *status);
void tmb_service_stopping(void);
/* "STATUS=...". */
void tmb_service_status(const char *status);
/* Seconds between two signs of life that systemd expects; 0 = none. */
double tmb_service_watchdog(void);
void tmb_service_alive(void);

#endif
