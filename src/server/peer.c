#include "server/peer.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* An IPv4 address as IPv6 writes it. */
static void map_v4(const struct in_addr *v4, unsigned char out[16]) {
    memset(out, 0, 10);
    memset(out + 10, 0xff, 2);
    memcpy(out + 12, v4, 4);
}

/* The address as 16 bytes and its port; false if it has none. */
static bool split_address(const struct sockaddr_storage *address, unsigned char out[16], unsigned *port) {
    if (address->ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        map_v4(&v4.sin_addr, out);
        *port = ntohs(v4.sin_port);
        return true;
    }
    if (address->ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof v6);
        memcpy(out, &v6.sin6_addr, 16);
        *port = ntohs(v6.sin6_port);
        return true;
    }
    return false;
}

static bool is_mapped(const unsigned char address[16]) {
    struct in6_addr v6;
    memcpy(&v6, address, 16);
    return IN6_IS_ADDR_V4MAPPED(&v6);
}

static bool is_loopback(const unsigned char address[16]) {
    struct in6_addr v6;
    memcpy(&v6, address, 16);
    return is_mapped(address) ? address[12] == 127 : IN6_IS_ADDR_LOOPBACK(&v6);
}

void tmb_peer_read(int socket, tmb_peer *peer) {
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    unsigned port = 0;
    memset(peer, 0, sizeof *peer);
    if (getpeername(socket, (struct sockaddr *)&address, &size) || !split_address(&address, peer->key, &port)) {
        peer->loopback = true;
        return;
    }
    peer->loopback = is_loopback(peer->key);
    if (is_mapped(peer->key)) {
        (void)inet_ntop(AF_INET, peer->key + 12, peer->text, sizeof peer->text);
    } else {
        (void)inet_ntop(AF_INET6, peer->key, peer->text, sizeof peer->text);
        if (!peer->loopback) {
            memset(peer->key + 8, 0, 8);
        }
    }
}

/* "ADDRESS:PORT" as /proc/net/tcp and tcp6 write it: 32-bit words of this machine's byte order. */
static void write_end(const unsigned char address[16], unsigned port, bool v4, char out[40]) {
    char *at = out;
    for (int word = v4 ? 3 : 0; word < 4; word++) {
        uint32_t bits = 0;
        memcpy(&bits, address + 4 * word, 4);
        at += snprintf(at, 9, "%08X", bits);
    }
    (void)snprintf(at, 6, ":%04X", port);
}

/* Looks for the peer's own socket among those of this machine. */
static tmb_peer_state look_in(const char *path, const char *local, const char *remote, bool *readable) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return TMB_PEER_UNKNOWN;
    }
    *readable = true;
    tmb_peer_state state = TMB_PEER_UNKNOWN;
    char line[256];
    while (state == TMB_PEER_UNKNOWN && fgets(line, sizeof line, file) != NULL) {
        char from[40];
        char to[40];
        unsigned long inode = 0;
        if (sscanf(line, " %*u: %39s %39s %*x %*x:%*x %*x:%*x %*x %*u %*u %lu", from, to, &inode) == 3 &&
            strcmp(from, local) == 0 && strcmp(to, remote) == 0) {
            /* A closed socket lives on in the kernel for a while; no file stands for it any more. */
            state = inode ? TMB_PEER_OPEN : TMB_PEER_CLOSED;
        }
    }
    (void)fclose(file);
    return state;
}

tmb_peer_state tmb_peer_look(int socket, const tmb_peer *peer) {
    struct sockaddr_storage ours = {0};
    struct sockaddr_storage theirs = {0};
    socklen_t our_size = sizeof ours;
    socklen_t their_size = sizeof theirs;
    unsigned char our_address[16];
    unsigned char their_address[16];
    unsigned our_port = 0;
    unsigned their_port = 0;
    if (getsockname(socket, (struct sockaddr *)&ours, &our_size) ||
        getpeername(socket, (struct sockaddr *)&theirs, &their_size) || !split_address(&ours, our_address, &our_port) ||
        !split_address(&theirs, their_address, &their_port)) {
        return TMB_PEER_UNKNOWN;
    }
    char local[40];
    char remote[40];
    bool readable = false;
    tmb_peer_state state = TMB_PEER_UNKNOWN;
    if (is_mapped(their_address)) {
        write_end(their_address, their_port, true, local);
        write_end(our_address, our_port, true, remote);
        state = look_in("/proc/self/net/tcp", local, remote, &readable);
    }
    if (state == TMB_PEER_UNKNOWN) {
        write_end(their_address, their_port, false, local);
        write_end(our_address, our_port, false, remote);
        state = look_in("/proc/self/net/tcp6", local, remote, &readable);
    }
    return state == TMB_PEER_UNKNOWN && readable && peer->loopback ? TMB_PEER_CLOSED : state;
}

bool tmb_peer_sent_within(int socket, double seconds) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    return getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_last_data_recv < seconds * 1e3;
}

int tmb_peer_unread(int socket) {
    int unread = 0;
    return ioctl(socket, FIONREAD, &unread) == 0 ? unread : 0;
}

void tmb_peer_keep_asking(int socket) {
    int on = 1;
    int seconds = 10;
    int probes = 3;
    (void)setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
    (void)setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof seconds);
    (void)setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}
