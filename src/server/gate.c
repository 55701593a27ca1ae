/* Where connections come in. A connection stays here until its first head is whole, and is handed to libmicrohttpd if
 * nothing is wrong with it: slow heads take none of its places, and what it would read in its own way, or answer with a
 * damaged answer, never gets there. The head is looked at without being taken from the socket. A relay does the same
 * for the requests that follow on the connection. */
#include "server/connection_table.h"

#include "base/thread.h"
#include "server/head_rules.h"
#include "server/relay.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections accepted in one turn, and the rest after an accept that failed. */
enum { accept_turns = 64 };
static const double accept_rest = 0.1;

void tmb_gate_accept(tmb_connections *connections, int listener) {
    for (int i = 0; i < accept_turns && tmb_connections_have_room(connections); i++) {
        int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (socket < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK && errno != ECONNABORTED && errno != EINTR) {
                connections->accept_after = tmb_now() + accept_rest; /* out of descriptors or memory */
            }
            return;
        }
        if (!tmb_connections_add(connections, socket)) {
            (void)close(socket);
        }
    }
}

static void wait_for_more_than(int socket, size_t bytes) {
    int least = bytes < TMB_HEAD_LIMIT ? (int)bytes + 1 : TMB_HEAD_LIMIT;
    (void)setsockopt(socket, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least);
}

/* The socket for MHD; -1 if nobody can read this request. Without a descriptor for a relay the request is the
 * connection's last, or, with a body in chunks, is refused. */
static int choose_socket(tmb_connections *connections, tmb_connection *connection, const tmb_head_rules *rules) {
    int end = connection->socket;
    const bool chunked = rules->length == UINT64_MAX;
    tmb_relay *relay =
        chunked || !rules->closes ? tmb_relay_create(connection->socket, connection->serial, rules, &end) : NULL;
    if (relay == NULL && chunked) {
        return -1;
    }
    (void)pthread_mutex_lock(&connections->lock);
    connection->last = relay == NULL;
    if (relay != NULL) {
        connection->outer = connection->socket;
        connection->socket = end;
        connection->relayed = true;
        connection->relay = relay;
    }
    (void)pthread_mutex_unlock(&connections->lock);
    if (relay != NULL) {
        tmb_relay_begin(connections->relays, relay);
    }
    return end;
}

static void hand_over(tmb_connections *connections, tmb_connection *connection, int socket) {
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    uint64_t serial = connection->serial;
    (void)pthread_mutex_lock(&connections->lock);
    const int client = tmb_connection_client(connection);
    connection->state = TMB_CONNECTION_HANDED;
    (void)pthread_mutex_unlock(&connections->lock);
    (void)getpeername(client, (struct sockaddr *)&address, &size); /* for its log only */
    /* From here on the connection may end at any time, in one of MHD's threads. */
    (void)pthread_mutex_lock(&connections->handing);
    bool stopped = connections->daemon == NULL;
    bool taken =
        !stopped && MHD_add_connection(connections->daemon, socket, (struct sockaddr *)&address, size) == MHD_YES;
    (void)pthread_mutex_unlock(&connections->handing);
    if (!taken) {
        tmb_connections_drop(connections, serial);
    }
    if (stopped) {
        (void)close(socket); /* otherwise MHD has closed it */
    }
}

static void refuse(tmb_connections *connections, tmb_connection *connection, unsigned status, const char *problem) {
    char text[1024];
    int socket = connection->socket;
    size_t size = connections->limits.refuse(connections->limits.user, status, "head", problem, text, sizeof text);
    (void)!send(socket, text, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(socket, SHUT_WR);
    tmb_connections_drop(connections, connection->serial);
    tmb_connections_linger(connections, socket);
}

tmb_head_state tmb_gate_read(int socket, bool closed, tmb_head_rules *rules) {
    char bytes[TMB_HEAD_LIMIT + 1];
    ssize_t got = recv(socket, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) && !closed) {
        return TMB_HEAD_HALF;
    }
    if (got > 0 && tmb_head_look(rules, bytes, (size_t)got)) {
        wait_for_more_than(socket, 0);
        return rules->status ? TMB_HEAD_WRONG : TMB_HEAD_WHOLE;
    }
    if (got <= 0 || closed) {
        return TMB_HEAD_NONE; /* the client is gone, or sends no more of half a head */
    }
    wait_for_more_than(socket, (size_t)got);
    return TMB_HEAD_HALF;
}

void tmb_gate_look(tmb_connections *connections, tmb_connection *connection, bool closed) {
    tmb_head_rules rules = {0};
    int socket = connection->socket;
    if (!connection->peer.text[0]) {
        hand_over(connections, connection, socket); /* no network: the one who connects is on this machine */
        return;
    }
    switch (tmb_gate_read(socket, closed, &rules)) {
    case TMB_HEAD_WHOLE:
        if ((socket = choose_socket(connections, connection, &rules)) >= 0) {
            hand_over(connections, connection, socket);
        } else {
            refuse(connections, connection, 503, "The server has too many files open");
        }
        break;
    case TMB_HEAD_WRONG: refuse(connections, connection, rules.status, rules.problem); break;
    case TMB_HEAD_NONE:
        tmb_connections_drop(connections, connection->serial);
        (void)close(socket);
        break;
    case TMB_HEAD_HALF:
    default: break;
    }
}
