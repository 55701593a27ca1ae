/* The listening socket. */
#ifndef TMB_SERVER_LISTEN_H
#define TMB_SERVER_LISTEN_H

#include "timbre/timbre.h"

/* Binds and listens. `port` 0: any. TMB_ERROR_IO. */
tmb_status tmb_listen(const char *host, uint16_t port, int *socket, tmb_error *error);
/* Looks at a listening socket: its address as "127.0.0.1" or "[::1]", its port, whether it is on a
 * loopback address (a Unix socket counts as one). */
void tmb_listen_describe(int socket, char host[128], int *port, bool *loopback);

#endif
