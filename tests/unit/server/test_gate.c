/* The gate, the relay and the watching thread under many clients at once: each connection is answered, refused or
 * ended, whichever thread comes first, and none is left. Run with ThreadSanitizer too. */
#include "test.h"

#include "server/connections.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 6, ROUNDS = 60 };

typedef struct door {
    tmb_connections *connections;
    struct MHD_Daemon *daemon;
    uint16_t port;
    atomic_int requests, refusals, gone;
} door;

/* ---- A server that answers "yes" ---- */

typedef struct visit {
    door *door;
    tmb_connection *slot;
    bool much; /* is wanted */
} visit;

static char yes[] = "yes";
static char much[4 << 20];

static void retain(void *user) { (void)user; }

static void on_gone(void *user) { atomic_fetch_add(&((visit *)user)->door->gone, 1); }

static enum MHD_Result on_request(void *argument, struct MHD_Connection *mhd, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **context) {
    (void)method;
    (void)version;
    (void)data;
    door *at = argument;
    tmb_connection *slot = tmb_connection_of(mhd);
    if (*context == NULL) {
        visit *one = malloc(sizeof *one);
        assert_non_null(one);
        *one = (visit){.door = at, .slot = slot, .much = strcmp(url, "/much") == 0};
        *context = one;
        tmb_connection_begin(at->connections, slot);
        return MHD_YES;
    }
    if (*size != 0) {
        tmb_connection_progress(at->connections, slot, *size);
        *size = 0;
        return MHD_YES;
    }
    atomic_fetch_add(&at->requests, 1);
    tmb_connection_trust(at->connections, slot);
    tmb_connection_watch(at->connections, slot, retain, on_gone, *context);
    const visit *one = *context;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(one->much ? sizeof much : 3, one->much ? much : yes, MHD_RESPMEM_PERSISTENT);
    if (tmb_connection_is_last(slot)) {
        (void)MHD_add_response_header(response, "Connection", "close");
    }
    tmb_connection_answer(at->connections, slot, 5);
    enum MHD_Result result = MHD_queue_response(mhd, 200, response);
    MHD_destroy_response(response);
    return result;
}

static void on_completed(void *argument, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode code) {
    (void)mhd;
    visit *one = *context;
    if (one != NULL) {
        (void)tmb_connection_end(((door *)argument)->connections, one->slot,
                                 code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
        free(one);
    }
    *context = NULL;
}

static size_t refuse(void *user, unsigned status, const char *part, const char *problem, char *out, size_t size) {
    (void)part;
    atomic_fetch_add(&((door *)user)->refusals, 1);
    return (size_t)snprintf(out, size, "HTTP/1.1 %u No\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", status,
                            strlen(problem), problem);
}

static void open_door(door *at) {
    tmb_error error = {0};
    const tmb_connection_limits limits = {.connections = 12,
                                          .header_timeout = 0.3,
                                          .idle_timeout = 1,
                                          .bytes_per_second = 1 << 20,
                                          .refuse = refuse,
                                          .user = at};
    assert_ok(tmb_connections_create(&limits, &at->connections, &error), error);
    at->daemon =
        MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET, 0, NULL,
                         NULL, on_request, at, MHD_OPTION_THREAD_POOL_SIZE, 2u, MHD_OPTION_CONNECTION_LIMIT, 100u,
                         MHD_OPTION_CONNECTION_TIMEOUT, 2u, MHD_OPTION_NOTIFY_COMPLETED, on_completed, at,
                         MHD_OPTION_NOTIFY_CONNECTION, tmb_connections_notify, at->connections, MHD_OPTION_END);
    assert_non_null(at->daemon);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 64), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    at->port = ntohs(address.sin_port);
    tmb_connections_listen(at->connections, listener, at->daemon);
}

static void close_door(door *at) {
    tmb_connections_stop_listening(at->connections);
    MHD_stop_daemon(at->daemon);
    tmb_connections_destroy(&at->connections);
}

/* ---- Clients ---- */

static const char good[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
static const char last[] = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
static const char *const bad[] = {
    "GET / HTTP/1.1\nHost: localhost\n\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n",
    "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
};

#define CHUNKED "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
static const char chunked[] = CHUNKED "5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n";
static const char *const bad_chunks[] = {CHUNKED "x\r\n", CHUNKED "5\r\nhello!\r\n", CHUNKED "0\r\nX\r\n\r\n"};

typedef struct client {
    const door *door;
    unsigned seed;
    int answers, refusals; /* that it saw */
    const char *problem;   /* what should not have come back */
} client;

static int enter(const door *at) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(at->port)};
    int socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval patience = {.tv_sec = 60};
    (void)setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(socket_, (struct sockaddr *)&address, sizeof address) != 0) {
        (void)close(socket_);
        return -1;
    }
    return socket_;
}

static void say(int socket_, const char *text, size_t size, size_t piece) {
    for (size_t at = 0; at < size; at += piece) {
        (void)!send(socket_, text + at, size - at < piece ? size - at : piece, MSG_NOSIGNAL);
    }
}

/* How many answers of 200 come until the other side closes, and how many others. */
static bool hear(int socket_, int *answers, int *refusals) {
    char text[4096];
    size_t used = 0;
    ssize_t got = 0;
    while (used + 1 < sizeof text && (got = recv(socket_, text + used, sizeof text - 1 - used, 0)) > 0) {
        used += (size_t)got;
    }
    text[used] = '\0';
    for (const char *at = text; (at = strstr(at, "HTTP/1.1 ")) != NULL; at += 9) {
        *answers += strncmp(at + 9, "200", 3) == 0;
        *refusals += strncmp(at + 9, "4", 1) == 0;
    }
    return got == 0 || errno == ECONNRESET;
}

static void visit_once(client *c) {
    const int socket_ = enter(c->door);
    const unsigned kind = (unsigned)rand_r(&c->seed) % 12;
    int answers = 0, refusals = 0;
    if (socket_ < 0) {
        return;
    }
    bool ended = true;
    switch (kind) {
    case 0: /* keeps its connection for two requests more */
        say(socket_, good, sizeof good - 1, 1000);
        say(socket_, good, sizeof good - 1, 1000);
        say(socket_, last, sizeof last - 1, 1000);
        ended = hear(socket_, &answers, &refusals);
        break;
    case 1: /* in pieces */
        say(socket_, last, sizeof last - 1, 1 + (size_t)rand_r(&c->seed) % 9);
        ended = hear(socket_, &answers, &refusals);
        break;
    case 2: {
        const char *text = bad[(unsigned)rand_r(&c->seed) % (sizeof bad / sizeof bad[0])];
        say(socket_, text, strlen(text), 1000);
        ended = hear(socket_, &answers, &refusals);
        c->problem = answers != 0 ? "a bad head was answered" : c->problem;
        break;
    }
    case 3: /* half a head, and no more of it */
        say(socket_, good, (unsigned)rand_r(&c->seed) % (sizeof good - 1), 1000);
        ended = hear(socket_, &answers, &refusals);
        break;
    case 4: /* and away */ say(socket_, good, (unsigned)rand_r(&c->seed) % sizeof good, 1000); break;
    case 5: /* with a reset */
        say(socket_, good, (unsigned)rand_r(&c->seed) % sizeof good, 1000);
        (void)setsockopt(socket_, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
        break;
    case 6: /* chunks, in pieces */
        say(socket_, chunked, sizeof chunked - 1, 1 + (size_t)rand_r(&c->seed) % 50);
        ended = hear(socket_, &answers, &refusals);
        break;
    case 7: { /* a request, and then what is none */
        const char *text = (unsigned)rand_r(&c->seed) % 2 ? bad[0] : bad_chunks[(unsigned)rand_r(&c->seed) % 3];
        say(socket_, good, sizeof good - 1, 1000);
        say(socket_, text, strlen(text), 1 + (size_t)rand_r(&c->seed) % 50);
        ended = hear(socket_, &answers, &refusals);
        c->problem = answers > 1 ? "what is no request was answered as one" : c->problem;
        break;
    }
    case 8: /* a request, and then chunks that nobody waits for */
        say(socket_, good, sizeof good - 1, 1000);
        say(socket_, chunked, (unsigned)rand_r(&c->seed) % sizeof chunked, 20);
        break;
    case 9: { /* reads a part of much, and goes */
        static const char wanted[] = "GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n";
        char part[1000];
        say(socket_, wanted, sizeof wanted - 1, 1000);
        (void)recv(socket_, part, sizeof part, 0);
        break;
    }
    case 10: /* several at once, and sends no more */
        say(socket_, good, sizeof good - 1, 1000);
        say(socket_, chunked, sizeof chunked - 1, 1000);
        (void)shutdown(socket_, SHUT_WR);
        ended = hear(socket_, &answers, &refusals);
        break;
    default: /* sends no more, and listens */
        say(socket_, good, sizeof good - 1, 1000);
        (void)shutdown(socket_, SHUT_WR);
        ended = hear(socket_, &answers, &refusals);
    }
    (void)close(socket_);
    c->problem = ended ? c->problem : "a connection was never ended";
    c->answers += answers;
    c->refusals += refusals;
}

static void *run_client(void *argument) {
    client *c = argument;
    for (int i = 0; i < ROUNDS; i++) {
        visit_once(c);
    }
    return NULL;
}

static void test_many_clients(void **state) {
    (void)state;
    door at = {0};
    client clients[CLIENTS];
    pthread_t threads[CLIENTS];
    int answers = 0, refusals = 0;
    open_door(&at);
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = (client){.door = &at, .seed = i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, run_client, &clients[i]), 0);
    }
    for (int i = 0; i < 20; i++) { /* what the server does meanwhile, from its own threads */
        assert_true(tmb_connections_open(at.connections) <= 12 + TMB_SPARE_CONNECTIONS);
        if (i % 5 == 0) {
            tmb_connections_shut(at.connections, false);
        }
        (void)poll(NULL, 0, 20);
    }
    for (int i = 0; i < CLIENTS; i++) {
        (void)pthread_join(threads[i], NULL);
        if (clients[i].problem != NULL) {
            fail_msg("client %d: %s", i, clients[i].problem);
        }
        answers += clients[i].answers;
        refusals += clients[i].refusals;
    }
    assert_true(answers > CLIENTS && refusals > CLIENTS);
    assert_true(atomic_load(&at.requests) >= answers && atomic_load(&at.refusals) >= refusals);
    /* All are gone within the time that they had. */
    for (int i = 0; i < 6000 && tmb_connections_open(at.connections) > 0; i++) {
        (void)poll(NULL, 0, 10);
    }
    assert_int_equal(tmb_connections_open(at.connections), 0);
    close_door(&at);
}

/* What comes in order, over one connection. */
static void test_one_after_the_other(void **state) {
    (void)state;
    door at = {0};
    open_door(&at);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0] + sizeof bad_chunks / sizeof bad_chunks[0]; i++) {
        const size_t heads = sizeof bad / sizeof bad[0];
        const char *text = i < heads ? bad[i] : bad_chunks[i - heads];
        for (int before = 0; before < 3; before++) {
            int answers = 0, refusals = 0;
            const int socket_ = enter(&at);
            for (int k = 0; k < before; k++) {
                say(socket_, good, sizeof good - 1, 1000);
            }
            say(socket_, text, strlen(text), 1000);
            say(socket_, last, sizeof last - 1, 1000);
            assert_true(hear(socket_, &answers, &refusals));
            assert_int_equal(answers, before);
            assert_int_equal(refusals, 1);
            (void)close(socket_);
        }
    }
    close_door(&at);
}

static int count_descriptors(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL) {
        count++;
    }
    (void)closedir(folder);
    return count;
}

/* Clients that ask for much and read nothing do not stay, though they never leave. */
static void test_who_does_not_read(void **state) {
    (void)state;
    static const char *const wanted[] = {
        "GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /much HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /much HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\n",
    };
    enum { COUNT = sizeof wanted / sizeof wanted[0] };
    door at = {0};
    int sockets[COUNT];
    open_door(&at);
    const int before = count_descriptors();
    for (int i = 0; i < COUNT; i++) {
        const int little = 4096;
        sockets[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        (void)setsockopt(sockets[i], SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
        struct sockaddr_in address = {
            .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(at.port)};
        assert_int_equal(connect(sockets[i], (struct sockaddr *)&address, sizeof address), 0);
        say(sockets[i], wanted[i], strlen(wanted[i]), 1000);
    }
    for (int i = 0; i < 6000 && atomic_load(&at.requests) < COUNT; i++) {
        (void)poll(NULL, 0, 10);
    }
    assert_true(atomic_load(&at.requests) >= COUNT);
    for (int i = 0; i < 6000 && count_descriptors() > before + COUNT; i++) {
        (void)poll(NULL, 0, 10);
    }
    assert_int_equal(count_descriptors(), before + COUNT);
    assert_int_equal(tmb_connections_open(at.connections), 0);
    for (int i = 0; i < COUNT; i++) {
        (void)close(sockets[i]);
    }
    close_door(&at);
}

/* The end, with clients in the gate, on their way to MHD and in it. */
static void test_the_end_comes_in_between(void **state) {
    (void)state;
    for (int round = 0; round < 20; round++) {
        door at = {0};
        int sockets[8];
        open_door(&at);
        for (int i = 0; i < 8; i++) {
            sockets[i] = enter(&at);
            assert_true(sockets[i] >= 0);
            say(sockets[i], i % 2 ? good : "GET / HT", i % 2 ? sizeof good - 1 : 8, 1000);
        }
        (void)poll(NULL, 0, round % 7);
        tmb_connections_stop_listening(at.connections);
        tmb_connections_shut(at.connections, true);
        MHD_stop_daemon(at.daemon);
        tmb_connections_destroy(&at.connections);
        for (int i = 0; i < 8; i++) {
            int answers = 0, refusals = 0;
            assert_true(hear(sockets[i], &answers, &refusals));
            assert_true(answers <= i % 2);
            (void)close(sockets[i]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_clients),
        cmocka_unit_test(test_one_after_the_other),
        cmocka_unit_test(test_who_does_not_read),
        cmocka_unit_test(test_the_end_comes_in_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
