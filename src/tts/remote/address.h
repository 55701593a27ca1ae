/* Where speech servers are: a list of URLs, each with what is said about it alone. */
#ifndef TMB_TTS_REMOTE_ADDRESS_H
#define TMB_TTS_REMOTE_ADDRESS_H

#include "timbre/timbre.h"

/* Requests at once to a server for which no limit is given. */
#define TMB_REMOTE_SEQUENCES 16

typedef struct tmb_remote_address {
    char *endpoint; /* of speech */
    char *health;   /* asked before a server that was down is trusted again */
    char *shown;    /* the URL as it was given, without user, password and limit */
    size_t limit;   /* requests at once; 0 = not given */
} tmb_remote_address;

typedef struct tmb_remote_addresses {
    tmb_remote_address *list; /* [count] */
    size_t count;
} tmb_remote_addresses;

/* One or more URLs with commas or white space between them, "http://a:8091#limit=8, https://b/v1". TMB_ERROR_ARGUMENT
 * for one that is no HTTP URL, for one that comes twice, for more than TMB_REMOTE_SERVERS; TMB_ERROR_MEMORY. */
tmb_status tmb_remote_addresses_parse(const char *urls, tmb_remote_addresses *out, tmb_error *error);
void tmb_remote_addresses_free(tmb_remote_addresses *addresses);

/* Requests at once to all of them: what the limits add up to, TMB_REMOTE_SEQUENCES for each without. */
size_t tmb_remote_addresses_room(const tmb_remote_addresses *addresses);

/* The URL of a server's speech endpoint, allocated; TMB_ERROR_ARGUMENT if the base is no HTTP URL. */
tmb_status tmb_remote_endpoint(const char *url, char **out, tmb_error *error);

#endif
