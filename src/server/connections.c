#include "server/connections.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct tmb_connection {
    struct tmb_connection *next, *previous;
    int socket;
    uint64_t serial;
    double deadline; /* of the monotonic clock; 0 = none */
    bool watched;    /* in the epoll set, until the peer closes */
    bool left;       /* it has */
    bool idle;
    void (*retain)(void *user);
    void (*gone)(void *user); /* or NULL: no request waits */
    void *user;
};

struct tmb_connections {
    pthread_mutex_t lock;
    tmb_connection *first;
    size_t open;
    uint64_t serial;
    double header_timeout;
    int epoll, wake;
    bool stopping;
    pthread_t thread;
};

/* Deadlines are looked at this often; they are seconds long. */
static const int sweep_milliseconds = 250;

static void sweep(tmb_connections *connections) {
    double now = tmb_now();
    (void)pthread_mutex_lock(&connections->lock);
    for (tmb_connection *at = connections->first; at; at = at->next) {
        if (at->deadline > 0 && now >= at->deadline) {
            /* The descriptor is open until MHD has told us otherwise, under this lock. MHD sees the end
             * of the stream and closes. */
            (void)shutdown(at->socket, SHUT_RDWR);
            at->deadline = 0;
        }
    }
    (void)pthread_mutex_unlock(&connections->lock);
}

/* What a peer that left has sent is read by now or never: MHD, whose polling is edge-triggered, misses an
 * end that came together with data, and would wait for the rest of the body until its time is over. */
static const double linger_seconds = 1;

/* With the lock held. */
static void set_deadline(tmb_connection *connection, double seconds) {
    if (connection->left && (seconds <= 0 || seconds > linger_seconds)) {
        seconds = linger_seconds;
    }
    connection->deadline = seconds > 0 ? tmb_now() + seconds : 0;
}

static void unwatch(tmb_connections *connections, tmb_connection *connection) {
    if (connection->watched) {
        connection->watched = false;
        (void)epoll_ctl(connections->epoll, EPOLL_CTL_DEL, connection->socket, NULL);
    }
}

/* The peer of the connection with this serial has closed. */
static void report_gone(tmb_connections *connections, uint64_t serial) {
    void (*gone)(void *) = NULL;
    void *user = NULL;
    (void)pthread_mutex_lock(&connections->lock);
    for (tmb_connection *at = connections->first; at; at = at->next) {
        if (at->serial == serial && at->watched) {
            unwatch(connections, at);
            at->left = true;
            gone = at->gone;
            user = at->user;
            at->gone = NULL;
            if (gone) {
                at->retain(user);
            } else {
                set_deadline(at, linger_seconds);
            }
            break;
        }
    }
    (void)pthread_mutex_unlock(&connections->lock);
    if (gone) {
        gone(user);
    }
}

static void *run(void *argument) {
    tmb_connections *connections = argument;
    (void)pthread_setname_np(pthread_self(), "tmb-watch");
    double next_sweep = 0;
    for (;;) {
        struct epoll_event events[32];
        int count =
            epoll_wait(connections->epoll, events, 32, tmb_connections_open(connections) ? sweep_milliseconds : -1);
        (void)pthread_mutex_lock(&connections->lock);
        bool stopping = connections->stopping;
        (void)pthread_mutex_unlock(&connections->lock);
        if (stopping) {
            return NULL;
        }
        for (int i = 0; i < count; i++) {
            if (events[i].data.u64 == 0) {
                uint64_t value = 0;
                (void)!read(connections->wake, &value, sizeof(value));
            } else {
                report_gone(connections, events[i].data.u64);
            }
        }
        if (tmb_now() >= next_sweep) {
            sweep(connections);
            next_sweep = tmb_now() + 1e-3 * sweep_milliseconds;
        }
    }
}

static void wake(tmb_connections *connections) {
    uint64_t one = 1;
    (void)!write(connections->wake, &one, sizeof(one));
}

tmb_status tmb_connections_create(double header_timeout, tmb_connections **out, tmb_error *error) {
    *out = NULL;
    tmb_connections *connections = tmb_calloc(1, sizeof(*connections));
    if (!connections) {
        return tmb_fail_memory(error, "the connection table", sizeof(*connections));
    }
    (void)pthread_mutex_init(&connections->lock, NULL);
    connections->header_timeout = header_timeout;
    connections->epoll = epoll_create1(EPOLL_CLOEXEC);
    connections->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN};
    if (connections->epoll < 0 || connections->wake < 0 ||
        epoll_ctl(connections->epoll, EPOLL_CTL_ADD, connections->wake, &event) ||
        pthread_create(&connections->thread, NULL, run, connections)) {
        int code = errno;
        (void)close(connections->epoll);
        (void)close(connections->wake);
        (void)pthread_mutex_destroy(&connections->lock);
        free(connections);
        return tmb_fail_errno(error, TMB_ERROR_MEMORY, code, "cannot start the connection watcher");
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
    (void)pthread_mutex_lock(&ending->lock);
    ending->stopping = true;
    (void)pthread_mutex_unlock(&ending->lock);
    wake(ending);
    (void)pthread_join(ending->thread, NULL);
    (void)close(ending->epoll);
    (void)close(ending->wake);
    while (ending->first) {
        tmb_connection *next = ending->first->next;
        free(ending->first);
        ending->first = next;
    }
    (void)pthread_mutex_destroy(&ending->lock);
    free(ending);
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
        connection->idle = true;
        connection->deadline = tmb_now() + connections->header_timeout;
        (void)pthread_mutex_lock(&connections->lock);
        connection->serial = ++connections->serial;
        struct epoll_event event = {.events = EPOLLRDHUP, .data = {.u64 = connection->serial}};
        connection->watched = epoll_ctl(connections->epoll, EPOLL_CTL_ADD, connection->socket, &event) == 0;
        connection->next = connections->first;
        if (connection->next) {
            connection->next->previous = connection;
        }
        connections->first = connection;
        bool first = connections->open++ == 0;
        (void)pthread_mutex_unlock(&connections->lock);
        if (first) {
            wake(connections);
        }
        return;
    }
    tmb_connection *connection = *socket_context;
    *socket_context = NULL;
    if (!connection) {
        return;
    }
    (void)pthread_mutex_lock(&connections->lock);
    unwatch(connections, connection);
    if (connection->previous) {
        connection->previous->next = connection->next;
    } else {
        connections->first = connection->next;
    }
    if (connection->next) {
        connection->next->previous = connection->previous;
    }
    connections->open--;
    (void)pthread_mutex_unlock(&connections->lock);
    free(connection);
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

void tmb_connection_deadline(tmb_connections *connections, tmb_connection *connection, double seconds) {
    (void)pthread_mutex_lock(&connections->lock);
    set_deadline(connection, seconds);
    (void)pthread_mutex_unlock(&connections->lock);
}

void tmb_connection_watch(tmb_connections *connections, tmb_connection *connection, void (*retain)(void *user),
                          void (*gone)(void *user), void *user) {
    (void)pthread_mutex_lock(&connections->lock);
    bool left = connection->left;
    connection->deadline = 0;
    connection->retain = retain;
    connection->gone = left ? NULL : gone;
    connection->user = user;
    (void)pthread_mutex_unlock(&connections->lock);
    if (left) {
        retain(user);
        gone(user);
    }
}

void tmb_connection_begin(tmb_connections *connections, tmb_connection *connection, double seconds) {
    (void)pthread_mutex_lock(&connections->lock);
    connection->idle = false;
    set_deadline(connection, seconds);
    (void)pthread_mutex_unlock(&connections->lock);
}

void tmb_connection_end(tmb_connections *connections, tmb_connection *connection, double seconds) {
    (void)pthread_mutex_lock(&connections->lock);
    connection->gone = NULL;
    connection->idle = true;
    set_deadline(connection, seconds);
    (void)pthread_mutex_unlock(&connections->lock);
}

void tmb_connections_shut(tmb_connections *connections, bool all) {
    (void)pthread_mutex_lock(&connections->lock);
    for (tmb_connection *at = connections->first; at; at = at->next) {
        if (all || at->idle) {
            (void)shutdown(at->socket, SHUT_RDWR);
        }
    }
    (void)pthread_mutex_unlock(&connections->lock);
}
