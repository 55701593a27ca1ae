#include "server/listen.h"

#include "base/error.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

tmb_status tmb_listen(const char *host, uint16_t port, int *out, tmb_error *error) {
    char service[8];
    (void)snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;
    int code = getaddrinfo(host[0] ? host : NULL, service, &hints, &addresses);
    if (code) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "host %s: %s", host, gai_strerror(code));
    }
    int failure = EADDRNOTAVAIL;
    *out = -1;
    for (const struct addrinfo *at = addresses; at != NULL && *out < 0; at = at->ai_next) {
        int one = 1;
        int candidate = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol);
        if (candidate < 0) {
            failure = errno;
            continue;
        }
        (void)setsockopt(candidate, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (at->ai_family == AF_INET6 && host[0] && strcmp(host, "::") != 0) {
            (void)setsockopt(candidate, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
        }
        if (bind(candidate, at->ai_addr, at->ai_addrlen) || listen(candidate, SOMAXCONN)) {
            failure = errno;
            (void)close(candidate);
            continue;
        }
        *out = candidate;
    }
    freeaddrinfo(addresses);
    return *out >= 0 ? TMB_OK : tmb_fail_errno(error, TMB_ERROR_IO, failure, "cannot listen on %s port %u", host, port);
}

void tmb_listen_describe(int socket, char host[128], int *port, bool *loopback) {
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    *port = 0;
    *loopback = false;
    (void)snprintf(host, 128, "?");
    if (getsockname(socket, (struct sockaddr *)&address, &size)) {
        return;
    }
    char text[INET6_ADDRSTRLEN];
    if (address.ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, &address, sizeof v4);
        (void)snprintf(host, 128, "%s", inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text));
        *port = ntohs(v4.sin_port);
        *loopback = ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    } else if (address.ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, &address, sizeof v6);
        (void)snprintf(host, 128, "[%s]", inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text));
        *port = ntohs(v6.sin6_port);
        *loopback = IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
    } else if (address.ss_family == AF_UNIX) {
        (void)snprintf(host, 128, "unix");
        *loopback = true;
    }
}
