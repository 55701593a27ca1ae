#include "server/connection_table.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "server/relay.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long a refused client may go on sending, and how many may at once. */
static const double linger_seconds = 5;
enum { lingering_limit = 128 };

void tmb_connection_shut(tmb_connection *connection) {
    connection->shut = true;
    connection->deadline = 0;
    /* The descriptor is open until MHD has told us otherwise, under the table's lock. */
    (void)shutdown(connection->socket, SHUT_RDWR);
}

/* With the lock held, as every `set_`. */
static void set_state(tmb_connection *connection, tmb_connection_state state, double seconds) {
    bool receiving = state == TMB_CONNECTION_HEAD || state == TMB_CONNECTION_BODY;
    if (receiving && connection->half_closed && (seconds <= 0 || seconds > TMB_DRAINED_SECONDS)) {
        seconds = TMB_DRAINED_SECONDS;
    }
    connection->state = state;
    connection->since = tmb_now();
    connection->deadline = seconds > 0 ? connection->since + seconds : 0;
}

tmb_status tmb_connections_create(const tmb_connection_limits *limits, tmb_connections **out, tmb_error *error) {
    *out = NULL;
    tmb_connections *connections = tmb_calloc(1, sizeof *connections);
    if (connections == NULL) {
        return tmb_fail_memory(error, "the connection table", sizeof *connections);
    }
    (void)pthread_mutex_init(&connections->lock, NULL);
    (void)pthread_mutex_init(&connections->handing, NULL);
    connections->limits = *limits;
    connections->listeners[0] = connections->listeners[1] = -1;
    tmb_status status = tmb_relays_create(connections, &connections->relays, error);
    if (status == TMB_OK) {
        status = tmb_watcher_start(connections, error);
    }
    if (status != TMB_OK) {
        tmb_relays_destroy(&connections->relays);
        (void)pthread_mutex_destroy(&connections->lock);
        (void)pthread_mutex_destroy(&connections->handing);
        free(connections);
        return status;
    }
    *out = connections;
    return TMB_OK;
}

void tmb_connections_destroy(tmb_connections **connections) {
    tmb_connections *ending = *connections;
    *connections = NULL;
    if (ending == NULL) {
        return;
    }
    /* The watching thread hands connections to the relays, and they leave it the sockets that they end. */
    tmb_watcher_stop(ending);
    tmb_relays_destroy(&ending->relays);
    tmb_watcher_close(ending);
    tmb_connections_stop_listening(ending);
    while (ending->first != NULL) {
        tmb_connection *next = ending->first->next;
        if (ending->first->state == TMB_CONNECTION_GATE) {
            (void)close(ending->first->socket);
        }
        free(ending->first);
        ending->first = next;
    }
    (void)pthread_mutex_destroy(&ending->lock);
    (void)pthread_mutex_destroy(&ending->handing);
    free(ending);
}

/* ---- Who may stay --------------------------------------------------------------------------- */

static bool same_address(const tmb_connection *a, const tmb_connection *b) {
    return a->peer.loopback == b->peer.loopback && memcmp(a->peer.key, b->peer.key, sizeof a->peer.key) == 0;
}

/* Whether this address has its share already, with the lock held and before `added` is in the table. */
static bool has_too_many(const tmb_connections *connections, const tmb_connection *added) {
    size_t limit = connections->limits.of_address;
    if (limit == 0 && added->peer.loopback) {
        return false;
    }
    if (limit == 0) {
        limit = connections->limits.connections / 4 > 1 ? connections->limits.connections / 4 : 1;
    }
    size_t count = 0;
    for (const tmb_connection *at = connections->first; at != NULL && count < limit; at = at->next) {
        count += !at->shut && same_address(at, added);
    }
    return count >= limit;
}

/* Which of the connections may be sent away first: strangers of the address that has most of them, the oldest of
 * those; then clients that we know, between two requests. */
static tmb_connection *find_victim(const tmb_connections *connections) {
    enum { buckets = 1024 };
    unsigned counts[buckets] = {0};
    tmb_connection *victim = NULL;
    unsigned long best = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (tmb_connection *at = connections->first; at != NULL; at = at->next) {
            unsigned hash = 5381;
            for (size_t i = 0; i < sizeof at->peer.key; i++) {
                hash = hash * 33 + at->peer.key[i];
            }
            if (pass == 0) {
                counts[hash % buckets]++;
                continue;
            }
            bool may_go =
                !at->shut && at->state != TMB_CONNECTION_HANDED && (!at->trusted || at->state == TMB_CONNECTION_HEAD);
            unsigned long weight = counts[hash % buckets] + (at->trusted ? 0 : 1ul << 31);
            /* New ones are put in front, so that the last of equals is the oldest. */
            if (may_go && weight >= best) {
                best = weight;
                victim = at;
            }
        }
    }
    return victim;
}

static size_t count_open(const tmb_connections *connections) {
    size_t count = 0;
    for (const tmb_connection *at = connections->first; at != NULL; at = at->next) {
        count += !at->shut;
    }
    return count;
}

/* With the lock held, before `added` is in the table. */
static void make_room(tmb_connections *connections, tmb_connection *added) {
    if (has_too_many(connections, added)) {
        tmb_connection_shut(added);
    } else if (connections->open >= connections->limits.connections &&
               count_open(connections) >= connections->limits.connections) {
        tmb_connection *victim = find_victim(connections);
        added->spare = victim == NULL || victim->spare;
        if (victim != NULL) {
            tmb_connection_shut(victim);
        }
    }
}

/* ---- Coming in ------------------------------------------------------------------------------ */

void tmb_connections_listen(tmb_connections *connections, int listener, struct MHD_Daemon *daemon) {
    (void)pthread_mutex_lock(&connections->handing);
    connections->daemon = daemon;
    (void)pthread_mutex_unlock(&connections->handing);
    (void)pthread_mutex_lock(&connections->lock);
    connections->listeners[connections->listeners[0] >= 0] = listener;
    (void)pthread_mutex_unlock(&connections->lock);
    tmb_connections_wake(connections);
}

void tmb_connections_stop_listening(tmb_connections *connections) {
    (void)pthread_mutex_lock(&connections->lock);
    for (int i = 0; i < 2; i++) {
        if (connections->listeners[i] >= 0) {
            (void)close(connections->listeners[i]);
            connections->listeners[i] = -1;
        }
    }
    (void)pthread_mutex_unlock(&connections->lock);
    (void)pthread_mutex_lock(&connections->handing);
    connections->daemon = NULL;
    (void)pthread_mutex_unlock(&connections->handing);
}

bool tmb_connections_have_room(tmb_connections *connections) {
    return tmb_connections_open(connections) < connections->limits.connections + TMB_SPARE_CONNECTIONS;
}

/* With the lock held. */
static void take_out(tmb_connections *connections, tmb_connection *connection) {
    if (connection->previous != NULL) {
        connection->previous->next = connection->next;
    } else {
        connections->first = connection->next;
    }
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
    connections->open--;
    if (connection->relay != NULL) {
        tmb_relay_left(connections->relays, connection->relay);
        connection->relay = NULL;
    }
}

void tmb_connections_drop(tmb_connections *connections, uint64_t serial) {
    (void)pthread_mutex_lock(&connections->lock);
    tmb_connection *at = connections->first;
    while (at != NULL && at->serial != serial) {
        at = at->next;
    }
    if (at != NULL) {
        take_out(connections, at);
    }
    (void)pthread_mutex_unlock(&connections->lock);
    free(at);
}

/* A connection that MHD closed before it said that it had it leaves its descriptor to another; with the lock held. */
static void drop_lost(tmb_connections *connections, int socket) {
    for (tmb_connection *at = connections->first; at != NULL; at = at->next) {
        if (at->state == TMB_CONNECTION_HANDED && at->socket == socket) {
            take_out(connections, at);
            free(at);
            return;
        }
    }
}

bool tmb_connections_add(tmb_connections *connections, int socket) {
    tmb_connection *connection = tmb_calloc(1, sizeof *connection);
    if (connection == NULL) {
        return false;
    }
    connection->socket = socket;
    connection->outer = -1;
    tmb_peer_read(socket, &connection->peer);
    (void)pthread_mutex_lock(&connections->lock);
    drop_lost(connections, socket);
    connection->serial = ++connections->serial;
    set_state(connection, TMB_CONNECTION_GATE, connections->limits.header_timeout);
    make_room(connections, connection);
    connection->next = connections->first;
    if (connection->next != NULL) {
        connection->next->previous = connection;
    }
    connections->first = connection;
    connections->open++;
    (void)pthread_mutex_unlock(&connections->lock);
    return true;
}

/* With the lock held. */
static bool add_lingering(tmb_connections *connections, int socket) {
    tmb_lingering *lingering = connections->lingering_count < lingering_limit ? tmb_calloc(1, sizeof *lingering) : NULL;
    if (lingering == NULL) {
        return false;
    }
    *lingering =
        (tmb_lingering){.next = connections->lingering, .socket = socket, .deadline = tmb_now() + linger_seconds};
    connections->lingering = lingering;
    connections->lingering_count++;
    return true;
}

void tmb_connections_linger(tmb_connections *connections, int socket) {
    (void)pthread_mutex_lock(&connections->lock);
    bool added = add_lingering(connections, socket);
    (void)pthread_mutex_unlock(&connections->lock);
    if (added) {
        tmb_connections_wake(connections);
    } else {
        (void)close(socket);
    }
}

/* ---- MHD's side ----------------------------------------------------------------------------- */

/* MHD has the connection that the gate handed it. */
static tmb_connection *find_handed(tmb_connections *connections, int socket) {
    (void)pthread_mutex_lock(&connections->lock);
    tmb_connection *at = connections->first;
    while (at != NULL && !(at->state == TMB_CONNECTION_HANDED && at->socket == socket)) {
        at = at->next;
    }
    if (at != NULL) {
        set_state(at, TMB_CONNECTION_HEAD, connections->limits.header_timeout);
    }
    (void)pthread_mutex_unlock(&connections->lock);
    return at;
}

/* Keeps the TCP connection beyond MHD's close, if the client may still be sending; with the lock held. A relay does
 * that for its own. */
static void linger(tmb_connections *connections, tmb_connection *connection) {
    bool more = connection->refused || tmb_peer_unread(connection->socket) > 0;
    if (!more || connection->relayed || connection->shut || connection->half_closed || connection->left) {
        return;
    }
    int copy = fcntl(connection->socket, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0 && !add_lingering(connections, copy)) {
        (void)close(copy);
    }
    tmb_connections_wake(connections);
}

static void remove_connection(tmb_connections *connections, tmb_connection *connection) {
    if (connection->abandon != NULL) {
        connection->abandon(connection->owned);
    }
    (void)pthread_mutex_lock(&connections->lock);
    take_out(connections, connection);
    linger(connections, connection);
    (void)pthread_mutex_unlock(&connections->lock);
    free(connection);
}

void tmb_connections_notify(void *argument, struct MHD_Connection *mhd, void **socket_context,
                            enum MHD_ConnectionNotificationCode code) {
    tmb_connections *connections = argument;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        *socket_context = info != NULL ? find_handed(connections, info->connect_fd) : NULL;
        return;
    }
    tmb_connection *connection = *socket_context;
    *socket_context = NULL;
    if (connection != NULL) {
        remove_connection(connections, connection);
    }
}

tmb_connection *tmb_connection_of(struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

size_t tmb_connections_open(tmb_connections *connections) {
    (void)pthread_mutex_lock(&connections->lock);
    size_t open = connections->open;
    (void)pthread_mutex_unlock(&connections->lock);
    return open;
}

tmb_target *tmb_connection_target(tmb_connection *connection) { return &connection->target; }

void tmb_connection_own(tmb_connection *connection, void *user, void (*abandon)(void *user)) {
    connection->owned = user;
    connection->abandon = abandon;
}

const char *tmb_connection_address(const tmb_connection *connection) { return connection->peer.text; }

bool tmb_connection_is_spare(const tmb_connection *connection) { return connection->spare; }

bool tmb_connection_is_last(const tmb_connection *connection) { return connection->last; }

/* ---- A request's way ------------------------------------------------------------------------ */

void tmb_connection_trust(tmb_connections *connections, tmb_connection *connection) {
    (void)pthread_mutex_lock(&connections->lock);
    connection->trusted = true;
    (void)pthread_mutex_unlock(&connections->lock);
}

void tmb_connection_begin(tmb_connections *connections, tmb_connection *connection) {
    (void)pthread_mutex_lock(&connections->lock);
    set_state(connection, TMB_CONNECTION_BODY, connections->limits.idle_timeout);
    (void)pthread_mutex_unlock(&connections->lock);
}

void tmb_connection_progress(tmb_connections *connections, tmb_connection *connection, size_t bytes) {
    (void)pthread_mutex_lock(&connections->lock);
    if (connection->deadline > 0) {
        double latest = tmb_now() + connections->limits.idle_timeout;
        double earned = connection->deadline + (double)bytes / connections->limits.bytes_per_second;
        connection->deadline = earned < latest ? earned : latest;
    }
    (void)pthread_mutex_unlock(&connections->lock);
}

void tmb_connection_watch(tmb_connections *connections, tmb_connection *connection, void (*retain)(void *user),
                          void (*gone)(void *user), void *user) {
    (void)pthread_mutex_lock(&connections->lock);
    set_state(connection, TMB_CONNECTION_WAITING, 0);
    connection->retain = retain;
    bool left = connection->left;
    connection->gone = left ? NULL : gone;
    connection->user = user;
    if (left) {
        retain(user);
    }
    (void)pthread_mutex_unlock(&connections->lock);
    if (left) {
        gone(user);
    }
}

void tmb_connection_answer(tmb_connections *connections, tmb_connection *connection, double seconds) {
    (void)pthread_mutex_lock(&connections->lock);
    if (seconds > 0) {
        connection->gone = NULL;
    }
    set_state(connection, TMB_CONNECTION_ANSWERING, seconds);
    (void)pthread_mutex_unlock(&connections->lock);
}

void tmb_connection_answer_now(tmb_connections *connections, tmb_connection *connection, const char *text,
                               size_t size) {
    (void)pthread_mutex_lock(&connections->lock);
    connection->refused = true;
    set_state(connection, TMB_CONNECTION_ANSWERING, linger_seconds);
    if (!connection->shut) {
        /* It is the first that this request sends, and short: it fits into the socket's buffer. */
        (void)!send(connection->socket, text, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)shutdown(connection->socket, SHUT_WR);
    }
    (void)pthread_mutex_unlock(&connections->lock);
}

void tmb_connection_refused(tmb_connections *connections, tmb_connection *connection) {
    (void)pthread_mutex_lock(&connections->lock);
    connection->refused = true;
    (void)pthread_mutex_unlock(&connections->lock);
}

bool tmb_connection_end(tmb_connections *connections, tmb_connection *connection, bool more) {
    connection->abandon = NULL;
    connection->owned = NULL;
    connection->target.raw = NULL;
    (void)pthread_mutex_lock(&connections->lock);
    bool late = connection->late;
    connection->gone = NULL;
    connection->late = false;
    set_state(connection, TMB_CONNECTION_HEAD, connections->limits.idle_timeout);
    if (more && connection->relay != NULL) {
        tmb_relay_next(connections->relays, connection->relay);
    }
    (void)pthread_mutex_unlock(&connections->lock);
    return late;
}

void tmb_connections_shut(tmb_connections *connections, bool all) {
    (void)pthread_mutex_lock(&connections->lock);
    for (tmb_connection *at = connections->first; at != NULL; at = at->next) {
        if (at->state != TMB_CONNECTION_HANDED &&
            (all || at->state == TMB_CONNECTION_HEAD || at->state == TMB_CONNECTION_GATE)) {
            tmb_connection_shut(at);
        }
    }
    (void)pthread_mutex_unlock(&connections->lock);
}
