#include "loopback_server.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECES = 12, PIECE_BYTES = 4000, HEAD_MOST = 1 << 16 };

struct loopback_server {
    int listener;
    char url[64];
    pthread_t thread;
    atomic_bool stopping;
    atomic_int talking; /* threads that answer */
};

typedef struct talk {
    loopback_server *server;
    int socket;
} talk;

static bool send_all(int socket, const char *data, size_t size) {
    while (size > 0) {
        ssize_t sent = send(socket, data, size, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

/* Reads a head and its body; false at the connection's end. */
static bool read_request(int socket) {
    static const char name[] = "content-length:";
    char *head = calloc(1, HEAD_MOST);
    size_t size = 0;
    char *end = NULL;
    while (end == NULL && size < HEAD_MOST - 1) {
        ssize_t got = recv(socket, head + size, HEAD_MOST - 1 - size, 0);
        if (got <= 0) {
            free(head);
            return false;
        }
        size += (size_t)got;
        end = strstr(head, "\r\n\r\n");
    }
    size_t body = 0;
    for (char *at = head; end != NULL && at < end; at = strstr(at, "\r\n") + 2) {
        if (strncasecmp(at, name, sizeof name - 1) == 0) {
            body = strtoul(at + sizeof name - 1, NULL, 10);
        }
    }
    if (end != NULL && strcasestr(head, "expect: 100-continue") != NULL) {
        (void)send_all(socket, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    }
    size_t here = end == NULL ? 0 : size - (size_t)(end + 4 - head);
    bool whole = end != NULL;
    while (whole && here < body) {
        ssize_t got = recv(socket, head, HEAD_MOST, 0);
        whole = got > 0;
        here += whole ? (size_t)got : 0;
    }
    free(head);
    return whole;
}

static void *answer(void *argument) {
    talk *t = argument;
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: audio/pcm\r\nTransfer-Encoding: chunked\r\n\r\n";
    char piece[PIECE_BYTES + 16];
    while (read_request(t->socket)) {
        bool open = send_all(t->socket, head, sizeof head - 1);
        for (int i = 0; i < PIECES && open; i++) {
            int at = snprintf(piece, 8, "%x\r\n", PIECE_BYTES);
            for (int k = 0; k < PIECE_BYTES; k += 2) {
                int value = (k / 2 * 37 + i * 1000) % 8000;
                piece[at + k] = (char)(value & 0xff);
                piece[at + k + 1] = (char)(value >> 8);
            }
            memcpy(piece + at + PIECE_BYTES, "\r\n", 2);
            open = send_all(t->socket, piece, (size_t)at + PIECE_BYTES + 2);
        }
        if (!open || !send_all(t->socket, "0\r\n\r\n", 5)) {
            break;
        }
    }
    (void)close(t->socket);
    atomic_fetch_sub(&t->server->talking, 1);
    free(t);
    return NULL;
}

static void *accept_all(void *argument) {
    loopback_server *server = argument;
    for (;;) {
        int socket = accept(server->listener, NULL, NULL);
        if (socket < 0 || atomic_load(&server->stopping)) {
            if (socket >= 0) {
                (void)close(socket);
            }
            return NULL;
        }
        talk *t = malloc(sizeof *t);
        *t = (talk){server, socket};
        pthread_t thread;
        atomic_fetch_add(&server->talking, 1);
        if (pthread_create(&thread, NULL, answer, t) != 0) {
            abort();
        }
        (void)pthread_detach(thread);
    }
}

loopback_server *loopback_start(void) {
    loopback_server *server = calloc(1, sizeof *server);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server->listener < 0 || bind(server->listener, (struct sockaddr *)&address, length) != 0 ||
        listen(server->listener, 64) != 0 || getsockname(server->listener, (struct sockaddr *)&address, &length) != 0 ||
        pthread_create(&server->thread, NULL, accept_all, server) != 0) {
        abort();
    }
    (void)snprintf(server->url, sizeof server->url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    return server;
}

const char *loopback_url(const loopback_server *server) { return server->url; }

void loopback_stop(loopback_server *server) {
    atomic_store(&server->stopping, true);
    (void)shutdown(server->listener, SHUT_RDWR);
    (void)pthread_join(server->thread, NULL);
    (void)close(server->listener);
    while (atomic_load(&server->talking) > 0) {
        (void)usleep(1000); /* the engine has closed its connections: they are ending */
    }
    free(server);
}
