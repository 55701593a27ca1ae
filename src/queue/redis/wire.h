/* One connection to a Redis server: over TCP, TLS or a unix socket, with a deadline for whatever is done on it.
 *
 * libcurl makes the connection (names, TLS with its certificates, unix sockets), hiredis writes commands and reads
 * replies. A connection that failed once is of no use any more. One thread at a time. */
#ifndef TMB_QUEUE_REDIS_WIRE_H
#define TMB_QUEUE_REDIS_WIRE_H

#include "timbre/timbre.h"

#include <hiredis/hiredis.h>

/* Where the server is and who we are there. */
typedef struct tmb_redis_address {
    char connect_url[320]; /* "http://host:port" or "https://..." for libcurl */
    char socket[256];      /* path of a unix socket, or "" */
    char name[320];        /* for messages: without the password */
    char user[128], password[512];
    unsigned database;
} tmb_redis_address;

/* redis://[user:password@]host[:port][/db], rediss://..., unix:PATH[?db=N], unix://[user:password@]PATH[?db=N].
 * `password_file` (NULL or "": none) replaces the password by the file's first line. */
tmb_status tmb_redis_address_parse(const char *url, const char *password_file, tmb_redis_address *out,
                                   tmb_error *error);

typedef struct tmb_redis_wire tmb_redis_wire;

/* Connects, authenticates and selects the database within `seconds`. TMB_ERROR_ARGUMENT: the server refused who we are
 * or the database; TMB_ERROR_IO: anything else. */
tmb_status tmb_redis_wire_open(const tmb_redis_address *address, double seconds, tmb_redis_wire **out,
                               tmb_error *error);
void tmb_redis_wire_close(tmb_redis_wire **wire);

/* Sends a command of `count` arguments. */
tmb_status tmb_redis_wire_send(tmb_redis_wire *wire, int count, const char **values, const size_t *sizes,
                               double seconds, tmb_error *error);
/* The next reply, freed by freeReplyObject. TMB_ERROR_TIMEOUT: nothing came within `seconds`; the connection is still
 * good if not a byte of a reply did. */
tmb_status tmb_redis_wire_receive(tmb_redis_wire *wire, double seconds, redisReply **out, tmb_error *error);

#endif
