#include "server/relay.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "server/chunk_rules.h"
#include "server/connection_table.h"
#include "server/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Linux tells the end of what a client sends without reading; elsewhere it is noticed when somebody reads. */
#ifndef POLLRDHUP
#define POLLRDHUP 0
#endif

enum { block = 16384 };

/* Deadlines are looked at this often; they are seconds long. */
static const int sweep_milliseconds = 250;
/* What the pair of sockets and the relay may still hold when libmicrohttpd has closed its end. */
static const double most_bytes_left = 512 * 1024;

/* Bytes that one side has taken and the other has not. */
typedef struct relay_bytes {
    char data[block + TMB_CHUNK_SLACK];
    size_t begin, end;
} relay_bytes;

typedef enum relay_reading {
    RELAY_HEAD,   /* the next head, which stays in the socket until it is whole */
    RELAY_PLAIN,  /* bytes that pass as they are: a head, a body of known length */
    RELAY_CHUNKS, /* a body in chunks */
    RELAY_HELD,   /* nothing: a whole request has passed and is not over */
    RELAY_END,    /* nothing more: the client sends no more, or libmicrohttpd takes no more */
    RELAY_WRONG   /* nothing more: what came is no request, and the answer that says so waits for those before it */
} relay_reading;

struct tmb_relay {
    struct tmb_relay *next;
    int outer, inner; /* the client's socket; our end of the pair */
    uint64_t serial;
    relay_reading reading;
    uint64_t plain; /* bytes still to come in RELAY_PLAIN */
    bool chunked;   /* and then chunks */
    bool last;      /* no other request follows */
    tmb_chunks chunks;
    unsigned status; /* of the answer in RELAY_WRONG */
    const char *part, *problem;
    relay_bytes in, out;
    bool end_seen;     /* the client sends nothing more */
    bool end_told;     /* libmicrohttpd knows that */
    bool all_out;      /* libmicrohttpd sends no more */
    bool outer_closed; /* the client's side has ended */
    bool over;
    double taken;    /* when the client last took something, or there was nothing to take */
    double deadline; /* for the rest, when the entry in the table is no more; 0: it is still there */
    atomic_bool answered, left;
};

struct tmb_relays {
    tmb_connections *connections;
    pthread_mutex_t lock; /* of what follows */
    tmb_relay *added;     /* for the thread to take */
    bool stopping;
    int wake[2];
    pthread_t thread;
    tmb_relay *first; /* the thread's */
    struct pollfd *sockets;
    size_t capacity;
};

static bool again(void) { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

static bool is_empty(const relay_bytes *bytes) { return bytes->begin == bytes->end; }

/* ---- The end ---- */

/* From here on the table knows nothing of the relay. With the table's lock held. */
static const tmb_connection *forget(tmb_connections *connections, uint64_t serial) {
    for (tmb_connection *at = connections->first; at != NULL; at = at->next) {
        if (at->serial == serial) {
            at->outer = -1;
            at->relay = NULL;
            return at;
        }
    }
    return NULL;
}

/* Ends both sides: the client gets what was sent, and is read for a while if it still sends. */
static void end(tmb_relays *relays, tmb_relay *ending) {
    (void)pthread_mutex_lock(&relays->connections->lock);
    (void)forget(relays->connections, ending->serial);
    (void)pthread_mutex_unlock(&relays->connections->lock);
    (void)shutdown(ending->inner, SHUT_RDWR);
    (void)shutdown(ending->outer, SHUT_WR);
    if (ending->outer_closed || (ending->end_seen && tmb_peer_unread(ending->outer) == 0)) {
        (void)close(ending->outer);
    } else {
        tmb_connections_linger(relays->connections, ending->outer);
    }
    ending->over = true;
}

static void set_wrong(tmb_relay *at, unsigned status, const char *part, const char *problem) {
    at->reading = RELAY_WRONG;
    at->status = status;
    at->part = part;
    at->problem = problem;
}

/* Everything before has been answered and is on its way: this is the answer to what is wrong, unless libmicrohttpd is
 * about to answer the same request. Then what it says comes first, and it closes. */
static void refuse(tmb_relays *relays, tmb_relay *at) {
    tmb_connections *connections = relays->connections;
    char text[1024];
    (void)pthread_mutex_lock(&connections->lock);
    const tmb_connection *entry = connections->first;
    while (entry != NULL && entry->serial != at->serial) {
        entry = entry->next;
    }
    /* It is not even handed over, if all of it came at once. */
    const bool unanswered = entry != NULL && !entry->refused && !entry->shut && entry->state <= TMB_CONNECTION_BODY;
    if (unanswered) {
        (void)forget(connections, at->serial);
        size_t size =
            connections->limits.refuse(connections->limits.user, at->status, at->part, at->problem, text, sizeof text);
        (void)!send(at->outer, text, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    (void)pthread_mutex_unlock(&connections->lock);
    if (unanswered || entry == NULL) {
        end(relays, at);
    }
}

/* ---- From the client ---- */

static void expect(tmb_relay *at, const tmb_head_rules *rules) {
    at->chunked = rules->length == UINT64_MAX;
    at->last = at->chunked || rules->closes;
    at->plain = rules->head_bytes + (at->chunked ? 0 : rules->length);
    at->reading = RELAY_PLAIN;
    atomic_store(&at->answered, false);
}

static void read_head(tmb_relay *at, bool closed) {
    tmb_head_rules rules = {0};
    switch (tmb_gate_read(at->outer, closed, &rules)) {
    case TMB_HEAD_WHOLE: expect(at, &rules); break;
    case TMB_HEAD_WRONG: set_wrong(at, rules.status, "head", rules.problem); break;
    case TMB_HEAD_NONE:
        at->reading = RELAY_END;
        at->end_seen = true;
        break;
    case TMB_HEAD_HALF:
    default: break;
    }
}

/* The client's next bytes of a request whose head is known, if those before are gone. */
static void take_in(tmb_relay *at) {
    char bytes[block];
    const size_t room = at->reading == RELAY_PLAIN && at->plain < block ? (size_t)at->plain : block;
    ssize_t got = recv(at->outer, bytes, room, MSG_DONTWAIT);
    if (got < 0 && again()) {
        return;
    }
    if (got <= 0) {
        at->reading = RELAY_END;
        at->end_seen = true;
        at->outer_closed = at->outer_closed || got < 0;
        return;
    }
    at->in.begin = 0;
    at->in.end = (size_t)got;
    if (at->reading == RELAY_PLAIN) {
        memcpy(at->in.data, bytes, (size_t)got);
        at->plain -= (uint64_t)got;
        at->reading = at->plain > 0 ? RELAY_PLAIN : at->chunked ? RELAY_CHUNKS : RELAY_HELD;
    } else if (!tmb_chunks_read(&at->chunks, bytes, (size_t)got, at->in.data, &at->in.end)) {
        set_wrong(at, 400, "body", at->chunks.error);
    } else if (at->chunks.state == TMB_CHUNK_COMPLETE) {
        at->reading = RELAY_HELD;
    }
}

static bool send_some(int socket, relay_bytes *bytes) {
    while (!is_empty(bytes)) {
        ssize_t sent = send(socket, bytes->data + bytes->begin, bytes->end - bytes->begin, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0) {
            return again();
        }
        bytes->begin += (size_t)sent;
    }
    return true;
}

static void pass_in(tmb_relay *at, short events) {
    const bool closed = events & (POLLRDHUP | POLLHUP | POLLERR);
    if (at->reading == RELAY_HELD && !at->last && atomic_exchange(&at->answered, false)) {
        at->reading = RELAY_HEAD;
    }
    if (at->reading == RELAY_HEAD) {
        read_head(at, closed);
    }
    if ((at->reading == RELAY_PLAIN || at->reading == RELAY_CHUNKS) && is_empty(&at->in)) {
        take_in(at);
    }
    if (!send_some(at->inner, &at->in)) {
        at->in.begin = at->in.end = 0;
        at->reading = at->reading == RELAY_WRONG ? RELAY_WRONG : RELAY_END;
    }
    if (at->reading == RELAY_HELD && closed) {
        at->end_seen = true;
    }
    /* A client that waits for its answer may tell that it sends no more, and is watched from then on; one that has sent
     * another request already is not. */
    const bool tells = at->reading == RELAY_END ||
                       (at->reading == RELAY_HELD && at->end_seen && (at->last || tmb_peer_unread(at->outer) == 0));
    if (tells && !at->end_told && is_empty(&at->in)) {
        at->end_told = true;
        (void)shutdown(at->inner, SHUT_WR);
    }
}

/* ---- To the client ---- */

/* True: libmicrohttpd has nothing more to say at the moment. */
static bool take_out(tmb_relay *at) {
    ssize_t got = recv(at->inner, at->out.data, block, MSG_DONTWAIT);
    at->out.begin = 0;
    at->out.end = got > 0 ? (size_t)got : 0;
    if (got < 0 && again()) {
        return true;
    }
    at->all_out = got <= 0;
    return false;
}

/* True: all there is so far is on its way. */
static bool pass_out(tmb_relay *at) {
    bool quiet = false;
    for (int turn = 0; turn < 8 && !quiet; turn++) {
        const size_t waiting = at->out.end - at->out.begin;
        if (!send_some(at->outer, &at->out)) {
            at->outer_closed = true;
            return false;
        }
        if (waiting == 0 || at->out.end - at->out.begin < waiting) {
            at->taken = tmb_now();
        }
        if (!is_empty(&at->out) || at->all_out) {
            return false;
        }
        quiet = take_out(at);
    }
    return quiet;
}

static bool has_deadline(const tmb_relay *at) { return !is_empty(&at->out) || atomic_load(&at->left); }

static bool is_late(const tmb_relays *relays, tmb_relay *at) {
    const tmb_connection_limits *limits = &relays->connections->limits;
    if (!has_deadline(at)) {
        return false;
    }
    const double now = tmb_now();
    if (at->deadline <= 0 && atomic_load(&at->left)) {
        at->deadline = now + limits->idle_timeout + most_bytes_left / limits->bytes_per_second;
    }
    return (!is_empty(&at->out) && now > at->taken + limits->idle_timeout) || (at->deadline > 0 && now > at->deadline);
}

static void work(tmb_relays *relays, tmb_relay *at, short outer) {
    if (outer & (POLLERR | POLLHUP)) {
        at->outer_closed = true;
    }
    pass_in(at, outer);
    const bool quiet = pass_out(at);
    if (at->outer_closed || (at->all_out && is_empty(&at->out)) || is_late(relays, at)) {
        end(relays, at);
    } else if (at->reading == RELAY_WRONG && quiet) {
        refuse(relays, at);
    }
}

/* ---- The thread ---- */

static short wanted_of_outer(const tmb_relay *at) {
    const bool in =
        at->reading == RELAY_HEAD || ((at->reading == RELAY_PLAIN || at->reading == RELAY_CHUNKS) && is_empty(&at->in));
    const bool watched = at->reading == RELAY_HEAD || (at->reading == RELAY_HELD && !at->end_seen);
    return (short)((in ? POLLIN : 0) | (watched ? POLLRDHUP : 0) | (is_empty(&at->out) ? 0 : POLLOUT));
}

static short wanted_of_inner(const tmb_relay *at) {
    return (short)((is_empty(&at->out) && !at->all_out ? POLLIN : 0) | (is_empty(&at->in) ? 0 : POLLOUT));
}

/* What to wait for; those for which there is no memory are not waited for. *soon: some have deadlines. */
static size_t collect(tmb_relays *relays, bool *soon) {
    size_t count = 1;
    for (const tmb_relay *at = relays->first; at != NULL; at = at->next) {
        count += 2;
        *soon = *soon || has_deadline(at);
    }
    if (count > relays->capacity) {
        struct pollfd *sockets = tmb_realloc(relays->sockets, 2 * count, sizeof *sockets);
        if (sockets != NULL) {
            relays->sockets = sockets;
            relays->capacity = 2 * count;
        }
    }
    size_t used = 0;
    relays->sockets[used++] = (struct pollfd){.fd = relays->wake[0], .events = POLLIN};
    for (const tmb_relay *at = relays->first; at != NULL && used + 2 <= relays->capacity; at = at->next) {
        const short inner = wanted_of_inner(at);
        relays->sockets[used++] = (struct pollfd){.fd = at->outer, .events = wanted_of_outer(at)};
        /* The end of a pair would be told again and again, as long as nobody wants to know. */
        relays->sockets[used++] = (struct pollfd){.fd = inner ? at->inner : -1, .events = inner};
    }
    return used;
}

static void remove_ended(tmb_relays *relays) {
    for (tmb_relay **at = &relays->first; *at != NULL;) {
        tmb_relay *one = *at;
        if (!one->over) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        (void)close(one->inner);
        free(one);
    }
}

/* Whether there is something to do that no socket tells. */
static bool is_due(const tmb_relays *relays, tmb_relay *at) {
    return (at->reading == RELAY_HELD && atomic_load(&at->answered)) || is_late(relays, at);
}

static void *run(void *argument) {
    tmb_relays *relays = argument;
    (void)pthread_setname_np(pthread_self(), "tmb-relay");
    double until = 0; /* of the stop */
    for (;;) {
        (void)pthread_mutex_lock(&relays->lock);
        while (relays->added != NULL) {
            tmb_relay *one = relays->added;
            relays->added = one->next;
            one->next = relays->first;
            relays->first = one;
        }
        bool stopping = relays->stopping;
        (void)pthread_mutex_unlock(&relays->lock);
        until = stopping && until <= 0 ? tmb_now() + 1 : until;
        if (stopping && (relays->first == NULL || tmb_now() >= until)) {
            break;
        }
        bool soon = false;
        size_t used = collect(relays, &soon);
        (void)poll(relays->sockets, used, stopping ? 50 : soon ? sweep_milliseconds : -1);
        if (relays->sockets[0].revents) {
            char bytes[64];
            (void)!read(relays->wake[0], bytes, sizeof bytes);
        }
        size_t at = 1;
        for (tmb_relay *one = relays->first; one != NULL && at + 2 <= used; one = one->next, at += 2) {
            if (relays->sockets[at].revents || relays->sockets[at + 1].revents || is_due(relays, one)) {
                work(relays, one, relays->sockets[at].revents);
            }
        }
        remove_ended(relays);
    }
    for (tmb_relay *one = relays->first; one != NULL; one = one->next) {
        end(relays, one);
    }
    remove_ended(relays);
    return NULL;
}

static void wake(const tmb_relays *relays) { (void)!write(relays->wake[1], "", 1); }

/* The last quarter of the descriptors is for the work itself. The lowest that is free is given, so that its number
 * says how many there are. */
static bool is_scarce(int descriptor) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)descriptor >= limit.rlim_cur / 4 * 3;
}

tmb_relay *tmb_relay_create(int socket, uint64_t serial, const tmb_head_rules *rules, int *end_of_pair) {
    int pair[2];
    const int on = 1;
    tmb_relay *one = tmb_calloc(1, sizeof *one);
    if (one == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
        free(one);
        return NULL;
    }
    if (rules->length != UINT64_MAX && is_scarce(pair[1])) {
        (void)close(pair[0]);
        (void)close(pair[1]);
        free(one);
        return NULL;
    }
    /* What libmicrohttpd sends goes out at once, as it does on a socket of its own. */
    (void)setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    one->outer = socket;
    one->inner = pair[0];
    one->serial = serial;
    one->taken = tmb_now();
    expect(one, rules);
    *end_of_pair = pair[1];
    return one;
}

void tmb_relay_begin(tmb_relays *relays, tmb_relay *relay) {
    (void)pthread_mutex_lock(&relays->lock);
    relay->next = relays->added;
    relays->added = relay;
    (void)pthread_mutex_unlock(&relays->lock);
    wake(relays);
}

void tmb_relay_next(tmb_relays *relays, tmb_relay *relay) {
    atomic_store(&relay->answered, true);
    wake(relays);
}

void tmb_relay_left(tmb_relays *relays, tmb_relay *relay) {
    atomic_store(&relay->left, true);
    wake(relays);
}

tmb_status tmb_relays_create(tmb_connections *connections, tmb_relays **out, tmb_error *error) {
    tmb_relays *relays = tmb_calloc(1, sizeof *relays);
    struct pollfd *sockets = tmb_calloc(16, sizeof *sockets);
    if (relays == NULL || sockets == NULL || pipe2(relays->wake, O_CLOEXEC | O_NONBLOCK)) {
        int code = errno;
        free(relays);
        free(sockets);
        return tmb_fail_errno(error, TMB_ERROR_MEMORY, code, "cannot start the relay of requests");
    }
    relays->connections = connections;
    relays->sockets = sockets;
    relays->capacity = 16;
    (void)pthread_mutex_init(&relays->lock, NULL);
    int code = pthread_create(&relays->thread, NULL, run, relays);
    if (code) {
        (void)close(relays->wake[0]);
        (void)close(relays->wake[1]);
        (void)pthread_mutex_destroy(&relays->lock);
        free(sockets);
        free(relays);
        return tmb_fail_errno(error, TMB_ERROR_MEMORY, code, "cannot start the relay of requests");
    }
    *out = relays;
    return TMB_OK;
}

void tmb_relays_destroy(tmb_relays **relays) {
    tmb_relays *ending = *relays;
    *relays = NULL;
    if (ending == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&ending->lock);
    ending->stopping = true;
    (void)pthread_mutex_unlock(&ending->lock);
    (void)!write(ending->wake[1], "", 1);
    (void)pthread_join(ending->thread, NULL);
    (void)close(ending->wake[0]);
    (void)close(ending->wake[1]);
    (void)pthread_mutex_destroy(&ending->lock);
    free(ending->sockets);
    free(ending);
}
