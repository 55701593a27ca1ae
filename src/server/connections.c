#include "server/connection_table.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

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
    tmb_connections *connections = tmb_calloc(1, sizeof(*connections));
    if (!connections) {
        return tmb_fail_memory(error, "the connection table", sizeof(*connections));
    }
    (void)pthread_mutex_init(&connections->lock, NULL);
    connections->limits = *limits;
    tmb_status status = tmb_watcher_start(connections, error);
    if (status != TMB_OK) {
        (void)pthread_mutex_destroy(&connections->lock);
        free(connections);
        return status;
    }
    *out = connections;
    return TMB_OK;
}

void tmb_connections_destroy(tmb_connections **connections) {
    tmb_connections *ending = *connections;
    *connections = NULL;
    if (!ending) {
        return;
    }
    tmb_watcher_stop(ending);
    while (ending->first) {
        tmb_connection *next = ending->first->next;
        free(ending->first);
        ending->first = next;
    }
    (void)pthread_mutex_destroy(&ending->lock);
    free(ending);
}

/* ---- Who may stay --------------------------------------------------------------------------- */

static bool same_address(const tmb_connection *a, const tmb_connection *b) {
    return a->peer.loopback == b->peer.loopback && memcmp(a->peer.key, b->peer.key, sizeof(a->peer.key)) == 0;
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
    for (const tmb_connection *at = connections->first; at && count < limit; at = at->next) {
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
        for (tmb_connection *at = connections->first; at; at = at->next) {
            unsigned hash = 5381;
            for (size_t i = 0; i < sizeof(at->peer.key); i++) {
                hash = hash * 33 + at->peer.key[i];
            }
            if (pass == 0) {
                counts[hash % buckets]++;
                continue;
            }
            bool may_go = !at->shut && (!at->trusted || at->state == TMB_CONNECTION_HEAD);
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
    for (const tmb_connection *at = connections->first; at; at = at->next) {
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
        added->spare = !victim || victim->spare;
        if (victim) {
            tmb_connection_shut(victim);
        }
    }
}

/* ---- MHD's side ----------------------------------------------------------------------------- */

static void add_connection(tmb_connections *connections, tmb_connection *connection) {
    (void)pthread_mutex_lock(&connections->lock);
    connection->serial = ++connections->serial;
    set_state(connection, TMB_CONNECTION_HEAD, connections->limits.header_timeout);
    make_room(connections, connection);
    connection->next = connections->first;
    if (connection->next) {
        connection->next->previous = connection;
    }
    connections->first = connection;
    bool first = connections->open++ == 0;
    (void)pthread_mutex_unlock(&connections->lock);
    if (first) {
        tmb_connections_wake(connections);
    }
}

/* Keeps the TCP connection beyond MHD's close, if the client may still be sending; with the lock held. */
static void linger(tmb_connections *connections, tmb_connection *connection) {
    bool more = connection->refused || tmb_peer_unread(connection->socket) > 0;
    if (!more || connection->shut || connection->half_closed || connection->left ||
        connections->lingering_count >= lingering_limit) {
        return;
    }
    tmb_lingering *lingering = tmb_calloc(1, sizeof(*lingering));
    int copy = lingering ? fcntl(connection->socket, F_DUPFD_CLOEXEC, 0) : -1;
    if (copy < 0) {
        free(lingering);
        return;
    }
    *lingering =
        (tmb_lingering){.next = connections->lingering, .socket = copy, .deadline = tmb_now() + linger_seconds};
    connections->lingering = lingering;
    connections->lingering_count++;
    tmb_connections_wake(connections);
}

static void remove_connection(tmb_connections *connections, tmb_connection *connection) {
    if (connection->abandon) {
        connection->abandon(connection->owned);
    }
    (void)pthread_mutex_lock(&connections->lock);
    if (connection->previous) {
        connection->previous->next = connection->next;
    } else {
        connections->first = connection->next;
    }
    if (connection->next) {
        connection->next->previous = connection->previous;
    }
    connections->open--;
    linger(connections, connection);
    (void)pthread_mutex_unlock(&connections->lock);
    free(connection);
}

void tmb_connections_notify(void *argument, struct MHD_Connection *mhd, void **socket_context,
                            enum MHD_ConnectionNotificationCode code) {
    tmb_connections *connections = argument;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        tmb_connection *connection = tmb_calloc(1, sizeof(*connection));
        *socket_context = connection;
        if (!connection || !info) {
            free(connection);
            *socket_context = NULL;
            return;
        }
        connection->socket = info->connect_fd;
        tmb_peer_read(connection->socket, &connection->peer);
        add_connection(connections, connection);
        return;
    }
    tmb_connection *connection = *socket_context;
    *socket_context = NULL;
    if (connection) {
        remove_connection(connections, connection);
    }
}

tmb_connection *tmb_connection_of(struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
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

uint64_t tmb_connection_sent(const tmb_connection *connection) { return tmb_peer_sent_to(connection->socket); }

void tmb_connection_given_up(tmb_connections *connections, tmb_connection *connection) {
    static const char text[] = "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/json\r\n"
                               "Content-Length: 32\r\nConnection: close\r\n\r\n{\"detail\":\"The head is too large\"}";
    /* The kernel counts what was sent. */
    if (connection && connection->target.raw &&
        tmb_peer_sent_to(connection->socket) == connection->target.sent_before) {
        tmb_connection_answer_now(connections, connection, text, sizeof(text) - 1);
    }
}

void tmb_connection_refused(tmb_connections *connections, tmb_connection *connection) {
    (void)pthread_mutex_lock(&connections->lock);
    connection->refused = true;
    (void)pthread_mutex_unlock(&connections->lock);
}

bool tmb_connection_end(tmb_connections *connections, tmb_connection *connection) {
    connection->abandon = NULL;
    connection->owned = NULL;
    connection->target.raw = NULL;
    (void)pthread_mutex_lock(&connections->lock);
    bool late = connection->late;
    connection->gone = NULL;
    connection->late = false;
    set_state(connection, TMB_CONNECTION_HEAD, connections->limits.idle_timeout);
    (void)pthread_mutex_unlock(&connections->lock);
    return late;
}

void tmb_connections_shut(tmb_connections *connections, bool all) {
    (void)pthread_mutex_lock(&connections->lock);
    for (tmb_connection *at = connections->first; at; at = at->next) {
        if (all || at->state == TMB_CONNECTION_HEAD) {
            tmb_connection_shut(at);
        }
    }
    (void)pthread_mutex_unlock(&connections->lock);
}
