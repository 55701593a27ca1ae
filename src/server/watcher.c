/* The thread that watches the sockets of all connections: who left, whose time is over, and whom to let finish. */
#include "server/connection_table.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Linux tells the end of what a client sends without reading; elsewhere it is noticed when somebody reads. */
#ifndef POLLRDHUP
#define POLLRDHUP 0
#endif

/* Deadlines are looked at this often; they are seconds long. */
static const int sweep_milliseconds = 250;
/* And so soon after a client has closed its sending side, which mostly ends something. */
static const int soon_milliseconds = 50;
/* A client on another machine that closes its sending side later than so many seconds after its request has left. */
static const double half_close_seconds = 1;
static const uint64_t linger_bytes = 64 << 20;

/* The sockets of one call of poll. */
typedef struct watch_set {
    struct pollfd *sockets;
    uint64_t *serials; /* of their connections; 0: `wake` or one that lingers */
    size_t count, capacity;
} watch_set;

static const uint64_t listener_serial = UINT64_MAX;

static bool add_socket(watch_set *set, int socket, short wanted, uint64_t serial) {
    if (set->count == set->capacity) {
        size_t capacity = set->capacity ? 2 * set->capacity : 64;
        struct pollfd *sockets = tmb_realloc(set->sockets, capacity, sizeof *sockets);
        if (sockets != NULL) {
            set->sockets = sockets;
        }
        uint64_t *serials = tmb_realloc(set->serials, capacity, sizeof *serials);
        if (serials != NULL) {
            set->serials = serials;
        }
        if (sockets == NULL || serials == NULL) {
            return false;
        }
        set->capacity = capacity;
    }
    set->sockets[set->count] = (struct pollfd){.fd = socket, .events = wanted};
    set->serials[set->count++] = serial;
    return true;
}

/* Collects what to watch; false if nothing has a deadline, so that the wait needs no end. What finds no memory is
 * looked for again after a wait that has one: without `wake`, which is the first, nobody could end it. */
static bool collect(tmb_connections *connections, watch_set *set) {
    set->count = 0;
    if (!add_socket(set, connections->wake[0], POLLIN, 0)) {
        return true;
    }
    bool all = true;
    bool room = tmb_connections_have_room(connections) && tmb_now() >= connections->accept_after;
    (void)pthread_mutex_lock(&connections->lock);
    for (int i = 0; i < 2 && room; i++) {
        if (connections->listeners[i] >= 0) {
            all = add_socket(set, connections->listeners[i], POLLIN, listener_serial) && all;
        }
    }
    for (const tmb_connection *at = connections->first; at != NULL; at = at->next) {
        if (at->state == TMB_CONNECTION_GATE) {
            all = add_socket(set, at->socket, POLLIN | POLLRDHUP, at->serial) && all;
        } else if (!at->left && at->state != TMB_CONNECTION_HANDED) {
            /* A reset is told in any case, and our own shutting down too. */
            all = add_socket(set, at->socket, at->half_closed ? 0 : POLLRDHUP, at->serial) && all;
        }
    }
    for (const tmb_lingering *at = connections->lingering; at != NULL; at = at->next) {
        all = add_socket(set, at->socket, POLLIN, 0) && all;
    }
    bool busy = connections->open > 0 || connections->lingering_count > 0 || !room || !all;
    (void)pthread_mutex_unlock(&connections->lock);
    return busy;
}

static const char too_slow[] = "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
                               "Content-Length: 48\r\nConnection: close\r\n\r\n"
                               "{\"detail\":\"The body of the request is too slow\"}";

/* With the lock held. */
static void pass_deadline(tmb_connection *connection) {
    connection->late = true;
    if (connection->state == TMB_CONNECTION_BODY) {
        /* Nothing of an answer is on its way yet. */
        (void)!send(connection->socket, too_slow, sizeof too_slow - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    tmb_connection_shut(connection);
}

/* Marks the client as gone; returns whom to tell, retained. With the lock held. */
static bool leave(tmb_connection *connection, void (**gone)(void *user), void **user) {
    connection->left = true;
    if (connection->gone == NULL) {
        return false;
    }
    *gone = connection->gone;
    *user = connection->user;
    connection->gone = NULL;
    connection->retain(*user);
    return true;
}

/* A question to the kernel about a client, which reads the table of all sockets: without the lock. */
typedef struct question {
    int socket; /* a duplicate; -1 = nothing is asked */
    uint64_t serial;
    tmb_peer peer;
} question;

/* With the lock held. */
static void prepare(question *out, const tmb_connection *at) {
    out->socket = fcntl(tmb_connection_client(at), F_DUPFD_CLOEXEC, 0);
    out->serial = at->serial;
    out->peer = at->peer;
}

static tmb_peer_state ask(const question *about) {
    const tmb_peer_state state = about->socket >= 0 ? tmb_peer_look(about->socket, &about->peer) : TMB_PEER_OPEN;
    if (about->socket >= 0) {
        (void)close(about->socket);
    }
    return state;
}

/* The connection that libmicrohttpd has, not what may still be in the table of its way there. NULL: it has ended
 * meanwhile. With the lock held. */
static tmb_connection *find(tmb_connections *connections, uint64_t serial) {
    tmb_connection *at = connections->first;
    while (at != NULL &&
           (at->serial != serial || at->state == TMB_CONNECTION_GATE || at->state == TMB_CONNECTION_HANDED)) {
        at = at->next;
    }
    return at;
}

/* Looks at one connection; true if the kernel is to be asked whether its client left. With the lock held. */
static bool look(tmb_connections *connections, tmb_connection *at, double now) {
    if (at->state == TMB_CONNECTION_HEAD && at->since + 0.5 < now && !at->shut && at->deadline > 0 &&
        at->deadline - now > connections->limits.header_timeout &&
        tmb_peer_sent_within(tmb_connection_client(at), 0.3)) {
        /* The next head has begun to come. */
        at->deadline = now + connections->limits.header_timeout;
    }
    if (at->half_closed && (at->state == TMB_CONNECTION_HEAD || at->state == TMB_CONNECTION_BODY) && !at->shut &&
        now > at->since_half + 0.25 && tmb_peer_unread(at->socket) == 0) {
        /* MHD has read all there will ever be, and it is no whole request. */
        tmb_connection_shut(at);
    }
    if (at->deadline > 0 && now >= at->deadline) {
        pass_deadline(at);
    }
    if (at->gone == NULL || !at->half_closed || at->left || at->remote || now < at->next_look) {
        return false;
    }
    /* The table of all sockets is long: the longer a client stays, the more rarely it is looked for. */
    at->next_look = now + (now - at->since < 5 ? 0.2 : 2);
    return true;
}

static void sweep(tmb_connections *connections) {
    uint64_t after = UINT64_MAX; /* the table is in falling order of serials */
    for (;;) {
        void (*gone)(void *) = NULL;
        void *user = NULL;
        double now = tmb_now();
        question about = {.socket = -1};
        bool asks = false;
        (void)pthread_mutex_lock(&connections->lock);
        for (tmb_connection *at = connections->first; at != NULL && !asks; at = at->next) {
            if (at->serial < after) {
                after = at->serial;
                asks = look(connections, at, now);
                if (asks) {
                    prepare(&about, at);
                }
            }
        }
        (void)pthread_mutex_unlock(&connections->lock);
        if (!asks) {
            return;
        }
        const tmb_peer_state peer = ask(&about);
        (void)pthread_mutex_lock(&connections->lock);
        tmb_connection *at = find(connections, about.serial);
        if (at != NULL) {
            at->remote = peer == TMB_PEER_UNKNOWN;
            (void)(peer == TMB_PEER_CLOSED && leave(at, &gone, &user));
        }
        (void)pthread_mutex_unlock(&connections->lock);
        if (gone != NULL) {
            gone(user);
        }
    }
}

/* The client of the connection with this serial has closed its sending side, or all. */
static void report(tmb_connections *connections, uint64_t serial, short events) {
    void (*gone)(void *) = NULL;
    void *user = NULL;
    question about = {.socket = -1};
    bool asks = false;
    (void)pthread_mutex_lock(&connections->lock);
    tmb_connection *at = find(connections, serial);
    if (at != NULL) {
        bool first = !at->half_closed;
        at->half_closed = true;
        if (first) {
            at->since_half = tmb_now();
        }
        if (first && (at->state == TMB_CONNECTION_HEAD || at->state == TMB_CONNECTION_BODY)) {
            /* What it sent is read by then; no more comes. */
            double end = tmb_now() + TMB_DRAINED_SECONDS;
            at->deadline = at->deadline > 0 && at->deadline < end ? at->deadline : end;
        }
        if (events & (POLLERR | POLLHUP)) {
            (void)leave(at, &gone, &user);
        } else if (first && at->gone != NULL) {
            tmb_peer_keep_asking(tmb_connection_client(at));
            prepare(&about, at);
            asks = true;
        }
    }
    (void)pthread_mutex_unlock(&connections->lock);
    if (asks) {
        const tmb_peer_state peer = ask(&about);
        (void)pthread_mutex_lock(&connections->lock);
        at = find(connections, serial);
        if (at != NULL &&
            (peer == TMB_PEER_CLOSED || (peer == TMB_PEER_UNKNOWN && tmb_now() > at->since + half_close_seconds))) {
            (void)leave(at, &gone, &user);
        }
        (void)pthread_mutex_unlock(&connections->lock);
    }
    if (gone != NULL) {
        gone(user);
    }
}

/* Reads and drops; false once it may be closed. */
static bool drain(tmb_lingering *lingering, double now) {
    char bytes[16384];
    for (int turn = 0; turn < 16; turn++) {
        ssize_t got = recv(lingering->socket, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got < 0) {
            return (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) && now < lingering->deadline;
        }
        lingering->bytes += (uint64_t)got;
        if (got == 0 || lingering->bytes > linger_bytes) {
            return false;
        }
    }
    return now < lingering->deadline;
}

static void drain_all(tmb_connections *connections) {
    double now = tmb_now();
    (void)pthread_mutex_lock(&connections->lock);
    for (tmb_lingering **at = &connections->lingering; *at != NULL;) {
        tmb_lingering *lingering = *at;
        if (drain(lingering, now)) {
            at = &lingering->next;
            continue;
        }
        *at = lingering->next;
        connections->lingering_count--;
        (void)close(lingering->socket);
        free(lingering);
    }
    (void)pthread_mutex_unlock(&connections->lock);
}

/* Deals with what happened to a listening socket or to a connection in the gate; false if it is neither. */
static bool come_in(tmb_connections *connections, uint64_t serial, const struct pollfd *happened) {
    if (serial == listener_serial) {
        tmb_gate_accept(connections, happened->fd);
        return true;
    }
    (void)pthread_mutex_lock(&connections->lock);
    tmb_connection *at = connections->first;
    while (at != NULL && at->serial != serial) {
        at = at->next;
    }
    bool in_gate = at != NULL && at->state == TMB_CONNECTION_GATE;
    (void)pthread_mutex_unlock(&connections->lock);
    if (in_gate) {
        /* Only this thread takes a connection out of the gate. */
        tmb_gate_look(connections, at, happened->revents & (POLLRDHUP | POLLERR | POLLHUP));
    }
    return in_gate;
}

static void *run(void *argument) {
    tmb_connections *connections = argument;
    (void)pthread_setname_np(pthread_self(), "tmb-watch");
    watch_set set = {0};
    double next_sweep = 0;
    int soon = 0; /* sweeps that come soon */
    for (;;) {
        bool busy = collect(connections, &set);
        int wait = soon ? soon_milliseconds : sweep_milliseconds;
        int count = poll(set.sockets, set.count, busy || !set.count ? wait : -1);
        (void)pthread_mutex_lock(&connections->lock);
        bool stopping = connections->stopping;
        (void)pthread_mutex_unlock(&connections->lock);
        if (stopping) {
            break;
        }
        if (count > 0 && set.sockets[0].revents) {
            char bytes[64];
            (void)!read(connections->wake[0], bytes, sizeof bytes);
        }
        for (size_t i = 1; count > 0 && i < set.count; i++) {
            if (set.sockets[i].revents && come_in(connections, set.serials[i], &set.sockets[i])) {
                continue;
            }
            /* A descriptor that was closed meanwhile, or is another's now, has another serial. */
            if (set.serials[i] && set.sockets[i].revents & (POLLRDHUP | POLLERR | POLLHUP)) {
                report(connections, set.serials[i], set.sockets[i].revents);
                next_sweep = soon ? next_sweep : tmb_now() + 1e-3 * soon_milliseconds;
                soon = 4;
            }
        }
        drain_all(connections);
        if (tmb_now() >= next_sweep) {
            sweep(connections);
            soon -= soon > 0;
            next_sweep = tmb_now() + 1e-3 * (soon ? soon_milliseconds : sweep_milliseconds);
        }
    }
    free(set.sockets);
    free(set.serials);
    return NULL;
}

void tmb_connections_wake(tmb_connections *connections) { (void)!write(connections->wake[1], "", 1); }

tmb_status tmb_watcher_start(tmb_connections *connections, tmb_error *error) {
    if (pipe2(connections->wake, O_CLOEXEC | O_NONBLOCK)) {
        return tmb_fail_errno(error, TMB_ERROR_MEMORY, errno, "cannot start the connection watcher");
    }
    int code = pthread_create(&connections->thread, NULL, run, connections);
    if (code) {
        (void)close(connections->wake[0]);
        (void)close(connections->wake[1]);
        return tmb_fail_errno(error, TMB_ERROR_MEMORY, code, "cannot start the connection watcher");
    }
    return TMB_OK;
}

void tmb_watcher_stop(tmb_connections *connections) {
    (void)pthread_mutex_lock(&connections->lock);
    connections->stopping = true;
    (void)pthread_mutex_unlock(&connections->lock);
    tmb_connections_wake(connections);
    (void)pthread_join(connections->thread, NULL);
}

void tmb_watcher_close(tmb_connections *connections) {
    (void)close(connections->wake[0]);
    (void)close(connections->wake[1]);
    while (connections->lingering != NULL) {
        tmb_lingering *next = connections->lingering->next;
        (void)close(connections->lingering->socket);
        free(connections->lingering);
        connections->lingering = next;
    }
}
