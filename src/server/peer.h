/* What the kernel knows about the other end of a socket. */
#ifndef TMB_SERVER_PEER_H
#define TMB_SERVER_PEER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tmb_peer {
    unsigned char key[16]; /* what limits by address compare: an IPv4 address, or an IPv6 network of 64 bits */
    bool loopback;         /* or a Unix socket */
    char text[INET6_ADDRSTRLEN];
} tmb_peer;

void tmb_peer_read(int socket, tmb_peer *peer);

typedef enum tmb_peer_state {
    TMB_PEER_UNKNOWN, /* it is on another machine */
    TMB_PEER_OPEN,    /* some program has it open */
    TMB_PEER_CLOSED
} tmb_peer_state;

/* Whether the other end of a TCP connection, which has sent its last byte, is still open for reading. */
tmb_peer_state tmb_peer_look(int socket, const tmb_peer *peer);

/* Whether bytes came within the last `seconds`. */
bool tmb_peer_sent_within(int socket, double seconds);

/* Bytes that came and were not read yet. */
int tmb_peer_unread(int socket);

/* Asks the other end every few seconds whether it lives; for a client that sends nothing more. */
void tmb_peer_keep_asking(int socket);

#endif
