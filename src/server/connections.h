/* The open connections: who may stay, deadlines against slow clients, and a thread that notices clients that left.
 *
 * libmicrohttpd does not look at a suspended connection, so a request that waits for speech would not learn that
 * nobody listens any more. This thread watches the sockets itself.
 *
 * A client that has sent all it wants may close its sending side and still wait for the answer, so the end of what it
 * sends is not its leaving. It has left when the connection was reset, or when the kernel of this machine says that
 * its socket is gone. TCP does not tell it of a client on another machine: if that closes its sending side more than a
 * second after its request, it counts as gone; before that, as waiting, until a write or a keepalive probe fails. */
#ifndef TMB_SERVER_CONNECTIONS_H
#define TMB_SERVER_CONNECTIONS_H

#include "server/head_rules.h"
#include "timbre/timbre.h"

#include <microhttpd.h>

typedef struct tmb_connections tmb_connections;
typedef struct tmb_connection tmb_connection; /* one open connection */

typedef struct tmb_connection_limits {
    size_t connections;                  /* beyond it new ones are served only as far as tmb_connection_is_spare says */
    size_t of_address;                   /* 0: a quarter of `connections`, and no limit for loopback addresses */
    double header_timeout, idle_timeout; /* seconds */
    double bytes_per_second;             /* bodies must come at least so fast */
    /* Writes the answer to what never becomes a request; `part` of it is wrong, "head" or "body". Returns its bytes. */
    size_t (*refuse)(void *user, unsigned status, const char *part, const char *problem, char *out, size_t size);
    void *user;
} tmb_connection_limits;

/* Connections that MHD must accept beyond limits.connections, so that a stranger in the way can be found and sent
 * away, and health checks get through. */
enum { TMB_SPARE_CONNECTIONS = 16 };

tmb_status tmb_connections_create(const tmb_connection_limits *limits, tmb_connections **out, tmb_error *error);
void tmb_connections_destroy(tmb_connections **connections);

/* Accepts connections of a listening socket, which becomes the table's, and hands them to `daemon`, which listens to
 * nothing itself, once their first head is whole. At most two sockets. */
void tmb_connections_listen(tmb_connections *connections, int listener, struct MHD_Daemon *daemon);
/* Accepts no more; call it before the daemon is stopped. */
void tmb_connections_stop_listening(tmb_connections *connections);

/* For MHD_OPTION_NOTIFY_CONNECTION, with the tmb_connections as its argument. */
void tmb_connections_notify(void *connections, struct MHD_Connection *mhd, void **socket_context,
                            enum MHD_ConnectionNotificationCode code);
tmb_connection *tmb_connection_of(struct MHD_Connection *mhd);

size_t tmb_connections_open(tmb_connections *connections);

/* Room for a request's target that lives and ends with its connection: MHD tells it at a time when it does not
 * promise to tell the request's end. */
typedef struct tmb_target {
    const char *raw;                 /* where MHD keeps it */
    size_t length;                   /* of raw */
    char text[TMB_TARGET_LIMIT + 1]; /* as it came; cut if `length` is larger */
} tmb_target;
tmb_target *tmb_connection_target(tmb_connection *connection);

/* What belongs to the connection until tmb_connection_end: `abandon` is called if the connection ends before. */
void tmb_connection_own(tmb_connection *connection, void *user, void (*abandon)(void *user));

/* The client's address as text, "" if there is none. */
const char *tmb_connection_address(const tmb_connection *connection);
/* The client has shown who it is: it is not sent away to make room. */
void tmb_connection_trust(tmb_connections *connections, tmb_connection *connection);
/* Came when all connections were taken: only health checks and clients with a key are served. */
bool tmb_connection_is_spare(const tmb_connection *connection);
/* The first request is its only one: what came behind it would be read by nobody but MHD. */
bool tmb_connection_is_last(const tmb_connection *connection);

/* A request's head is complete and a body may follow. Its time is idle_timeout, and each byte extends it again. */
void tmb_connection_begin(tmb_connections *connections, tmb_connection *connection);
void tmb_connection_progress(tmb_connections *connections, tmb_connection *connection, size_t bytes);

/* The request is complete and has no deadline from here on. Calls `gone` (once; from the watching thread, or at once)
 * when the client leaves. `retain` is called under a lock that makes `user` safe, before `gone`; `gone` must release
 * what it took. After tmb_connection_end `retain` is not called any more. */
void tmb_connection_watch(tmb_connections *connections, tmb_connection *connection, void (*retain)(void *user),
                          void (*gone)(void *user), void *user);
/* The answer begins; `seconds` for all of it, 0 = no deadline, and then the client stays watched. */
void tmb_connection_answer(tmb_connections *connections, tmb_connection *connection, double seconds);
/* Writes the answer itself, at once, and marks the end of what is sent: for a request whose body MHD still reads. */
void tmb_connection_answer_now(tmb_connections *connections, tmb_connection *connection, const char *text, size_t size);
/* The rest of the body is not wanted: what still comes is read and dropped for a few seconds after the answer, so that
 * the client gets to read it. */
void tmb_connection_refused(tmb_connections *connections, tmb_connection *connection);
/* The request is over: no watching, and a deadline for the next head, if `more` than this may come. Returns whether it
 * ran out of time. */
bool tmb_connection_end(tmb_connections *connections, tmb_connection *connection, bool more);

/* Shuts down every connection that has no request under way (`all`: every connection). */
void tmb_connections_shut(tmb_connections *connections, bool all);

#endif
