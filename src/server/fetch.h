/* Fetching a reference from a URL, for hosts that the operator named. */
#ifndef TMB_SERVER_FETCH_H
#define TMB_SERVER_FETCH_H

#include "queue/blobs.h"
#include "server/config.h"

#include <sys/socket.h>

/* Fetches `url` into `into`: only from a host of --allow-ref-url, by https (http too if private
 * addresses are allowed), without following redirects, without a proxy, never from a private, loopback or
 * otherwise special address (looked at when the connection is made, so that a name cannot change its
 * mind), within 30 s and the upload's limit. Returns 0, or the status to answer with and why. */
unsigned tmb_fetch(const tmb_server_config *config, const char *url, tmb_upload *into, bool (*cancelled)(void *user),
                   void *user, char *message, size_t message_size);

/* Whether an address is one of the public internet. */
bool tmb_address_is_public(const struct sockaddr *address);

/* Whether the list "a.example,b.example" names the host. */
bool tmb_host_is_listed(const char *list, const char *host);

#endif
