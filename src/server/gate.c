/* Where connections come in. A connection stays here until its first head is whole, and is handed to libmicrohttpd if
 * nothing is wrong with it: slow heads take none of its places, and what it would read in its own way, or answer with a
 * damaged answer, never gets there. The head is looked at without being taken from the socket. */
#include "server/connection_table.h"

#include "base/thread.h"
#include "server/head_rules.h"

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
    (void)setsockopt(socket, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof(least));
}

static void hand_over(tmb_connections *connections, tmb_connection *connection) {
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    int socket = connection->socket;
    uint64_t serial = connection->serial;
    wait_for_more_than(socket, 0);
    if (getpeername(socket, (struct sockaddr *)&address, &size)) {
        tmb_connections_drop(connections, serial);
        (void)close(socket);
        return;
    }
    (void)pthread_mutex_lock(&connections->lock);
    connection->state = TMB_CONNECTION_HANDED;
    (void)pthread_mutex_unlock(&connections->lock);
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

static void refuse(tmb_connections *connections, tmb_connection *connection, const tmb_head_rules *rules) {
    char text[1024];
    int socket = connection->socket;
    size_t size =
        connections->limits.refuse(connections->limits.user, rules->status, rules->problem, text, sizeof(text));
    (void)!send(socket, text, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(socket, SHUT_WR);
    tmb_connections_drop(connections, connection->serial);
    tmb_connections_linger(connections, socket);
}

void tmb_gate_look(tmb_connections *connections, tmb_connection *connection, bool closed) {
    char bytes[TMB_HEAD_LIMIT + 1];
    int socket = connection->socket;
    if (!connection->peer.text[0]) {
        hand_over(connections, connection); /* no network: the one who connects is on this machine */
        return;
    }
    ssize_t got = recv(socket, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) && !closed) {
        return;
    }
    tmb_head_rules rules = {0};
    bool known = got > 0 && tmb_head_look(&rules, bytes, (size_t)got);
    if (known && rules.status) {
        refuse(connections, connection, &rules);
    } else if (known) {
        hand_over(connections, connection);
    } else if (got <= 0 || closed) {
        /* The client is gone, or sends no more of half a head. */
        tmb_connections_drop(connections, connection->serial);
        (void)close(socket);
    } else {
        wait_for_more_than(socket, (size_t)got);
    }
}
