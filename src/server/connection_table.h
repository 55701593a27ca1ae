/* What connections.c (the listener's side) and watcher.c (the watching thread) share. */
#ifndef TMB_SERVER_CONNECTION_TABLE_H
#define TMB_SERVER_CONNECTION_TABLE_H

#include "server/connections.h"
#include "server/peer.h"

#include <pthread.h>
#include <stdatomic.h>

typedef enum tmb_connection_state {
    TMB_CONNECTION_GATE,   /* its first head is not whole */
    TMB_CONNECTION_HANDED, /* to MHD, which has not said yet that it has it */
    TMB_CONNECTION_HEAD,   /* no request, or an incomplete head */
    TMB_CONNECTION_BODY,
    TMB_CONNECTION_WAITING, /* for its handler's answer */
    TMB_CONNECTION_ANSWERING
} tmb_connection_state;

/* If a client sends nothing more, everything has been read after so long: MHD, whose polling is edge-triggered,
 * misses an end that came together with data, and would wait for the rest until its time is over. */
#define TMB_DRAINED_SECONDS 1.0

struct tmb_connection {
    struct tmb_connection *next, *previous;
    int socket;
    int outer;    /* the client's socket, if `socket` is the end of a relay; otherwise, and once it is gone, -1 */
    bool relayed; /* set before MHD has it */
    bool last;    /* there is none, so that its request must be the only one; set before MHD has it */
    struct tmb_relay *relay; /* or NULL; under the table's lock */
    uint64_t serial;         /* rising with age */
    tmb_peer peer;
    tmb_target target;
    void *owned;
    void (*abandon)(void *owned);

    /* Under the table's lock. */
    tmb_connection_state state;
    double deadline; /* of the monotonic clock; 0 = none */
    double since;    /* when this state began */
    bool trusted, spare;
    bool half_closed;   /* the client sends nothing any more */
    bool remote;        /* and is on another machine, as far as we know */
    double since_half;  /* since when */
    double next_look;   /* when to look for it again */
    bool left, late;    /* it is gone; its deadline has passed */
    bool shut, refused; /* by us; with more to come that nobody wants */
    void (*retain)(void *user);
    void (*gone)(void *user); /* or NULL: nobody wants to know */
    void *user;
};

/* A connection that MHD has closed, whose client is still sending: it is read and dropped until the client has had the
 * time to read the answer, which a reset would destroy. */
typedef struct tmb_lingering {
    struct tmb_lingering *next;
    int socket;
    double deadline;
    uint64_t bytes;
} tmb_lingering;

struct tmb_connections {
    pthread_mutex_t lock; /* taken before a request's lock, never after it */
    tmb_connection_limits limits;
    tmb_connection *first;
    size_t open;
    uint64_t serial;
    tmb_lingering *lingering;
    size_t lingering_count;
    int wake[2];
    int listeners[2];        /* -1: none */
    pthread_mutex_t handing; /* held while MHD is given a connection; taken before `lock` */
    struct tmb_relays *relays;
    struct MHD_Daemon *daemon; /* under it; NULL: accept no more */
    double accept_after;       /* of the watching thread: when to accept again */
    bool stopping;
    pthread_t thread;
};

/* The socket that the client is on; with the lock held. */
static inline int tmb_connection_client(const tmb_connection *connection) {
    return connection->outer >= 0 ? connection->outer : connection->socket;
}

/* Shuts the socket down; with the lock held. MHD sees the end of the stream and closes. */
void tmb_connection_shut(tmb_connection *connection);
void tmb_connections_wake(tmb_connections *connections);

/* Whether another connection may be accepted now. */
bool tmb_connections_have_room(tmb_connections *connections);
/* Takes an accepted socket into the table; false if there is no memory. */
bool tmb_connections_add(tmb_connections *connections, int socket);
/* Takes the connection with this serial out of the table; its socket stays. */
void tmb_connections_drop(tmb_connections *connections, uint64_t serial);
/* Reads and drops what still comes, for a while, and closes the socket. */
void tmb_connections_linger(tmb_connections *connections, int socket);

typedef enum tmb_head_state { TMB_HEAD_HALF, TMB_HEAD_WHOLE, TMB_HEAD_WRONG, TMB_HEAD_NONE } tmb_head_state;
/* Looks at the head that a client sends, without taking it. While it is half, the socket is ready only when there is
 * more of it. NONE: there will be no head; `closed`: the client sends no more than there is. */
tmb_head_state tmb_gate_read(int socket, bool closed, tmb_head_rules *rules);

/* The watching thread's: accepts, and looks at a connection in TMB_CONNECTION_GATE, which it may take out of the table.
 * `closed`: the client sends no more. */
void tmb_gate_accept(tmb_connections *connections, int listener);
void tmb_gate_look(tmb_connections *connections, tmb_connection *connection, bool closed);

tmb_status tmb_watcher_start(tmb_connections *connections, tmb_error *error);
/* Ends the thread; what belongs to it is closed when nobody else adds to it any more. */
void tmb_watcher_stop(tmb_connections *connections);
void tmb_watcher_close(tmb_connections *connections);

#endif
