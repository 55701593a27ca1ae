/* Requests on their way to libmicrohttpd. It reads heads and chunks in its own way, and answers what it cannot read
 * with a page of its own; and what it has taken from a socket nobody else can look at. So a connection with chunks, or
 * on which more than one request may come, reaches it through a pair of sockets, and what passes there has been read by
 * head_rules.c and chunk_rules.c. A request passes when the one before it is over. One with chunks is the last. */
#ifndef TMB_SERVER_RELAY_H
#define TMB_SERVER_RELAY_H

#include "server/connections.h"

typedef struct tmb_relays tmb_relays;
typedef struct tmb_relay tmb_relay; /* one connection's */

tmb_status tmb_relays_create(tmb_connections *connections, tmb_relays **out, tmb_error *error);
/* Gives what is still on its way to clients a second, and closes everything. */
void tmb_relays_destroy(tmb_relays **relays);

/* A relay for the client on `socket`, whose next request has the head that `rules` found; *end is the socket by which
 * libmicrohttpd gets it. NULL if there is no memory or descriptor for it, or few are left and the request can do
 * without; then `socket` is still the caller's. `serial` is that of its entry in the table. It begins with
 * tmb_relay_begin. */
tmb_relay *tmb_relay_create(int socket, uint64_t serial, const tmb_head_rules *rules, int *end);
void tmb_relay_begin(tmb_relays *relays, tmb_relay *relay);

/* The table's, which calls these under its lock as long as its entry has the relay: the request is over and another may
 * come; the entry is no more. */
void tmb_relay_next(tmb_relays *relays, tmb_relay *relay);
void tmb_relay_left(tmb_relays *relays, tmb_relay *relay);

#endif
