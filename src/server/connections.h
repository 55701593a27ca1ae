/* The open connections: deadlines against slow clients, and a thread that notices clients that left.
 *
 * libmicrohttpd does not look at a suspended connection, so a request that waits for speech would not
 * learn that nobody listens any more; nor does it always see that the sender of half a body left. This
 * thread watches the sockets itself. */
#ifndef TMB_SERVER_CONNECTIONS_H
#define TMB_SERVER_CONNECTIONS_H

#include "timbre/timbre.h"

#include <microhttpd.h>

typedef struct tmb_connections tmb_connections;
typedef struct tmb_connection tmb_connection; /* one open connection */

/* `header_timeout`: from the connection's opening to the end of the first request's head. */
tmb_status tmb_connections_create(double header_timeout, tmb_connections **out, tmb_error *error);
void tmb_connections_destroy(tmb_connections **connections);

/* For MHD_OPTION_NOTIFY_CONNECTION, with the tmb_connections as its argument. */
void tmb_connections_notify(void *connections, struct MHD_Connection *mhd, void **socket_context,
                            enum MHD_ConnectionNotificationCode code);
tmb_connection *tmb_connection_of(struct MHD_Connection *mhd);

size_t tmb_connections_open(tmb_connections *connections);

/* Shuts the connection's socket down `seconds` from now unless the deadline is moved before; 0 = no
 * deadline. Where the peer has closed, it is a second at most. */
void tmb_connection_deadline(tmb_connections *connections, tmb_connection *connection, double seconds);

/* A request's head is complete: the connection is no longer idle. */
void tmb_connection_begin(tmb_connections *connections, tmb_connection *connection, double seconds);
/* The request is over: no watching, idle again, with a deadline for the next head. */
void tmb_connection_end(tmb_connections *connections, tmb_connection *connection, double seconds);

/* The request is complete and has no deadline from here on. Calls `gone` (once; from the watching thread, or at
 * once where it has happened already) when the peer closes. `retain` is called under a lock that makes
 * `user` safe, before `gone`; `gone` must release what it took. After tmb_connection_end `retain` is not
 * called any more. */
void tmb_connection_watch(tmb_connections *connections, tmb_connection *connection, void (*retain)(void *user),
                          void (*gone)(void *user), void *user);
/* Shuts down every connection that has no request under way (`all`: every connection). */
void tmb_connections_shut(tmb_connections *connections, bool all);

#endif
