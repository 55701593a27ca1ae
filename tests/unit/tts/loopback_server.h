/* A speech server on 127.0.0.1: every POST is answered with 16-bit PCM at 24 kHz, a second of it, in pieces. */
#ifndef TMB_TESTS_LOOPBACK_SERVER_H
#define TMB_TESTS_LOOPBACK_SERVER_H

typedef struct loopback_server loopback_server;

loopback_server *loopback_start(void);
/* "http://127.0.0.1:PORT" */
const char *loopback_url(const loopback_server *server);
void loopback_stop(loopback_server *server);

#endif
