/* Fetching files over HTTP. */
#ifndef TMB_WEIGHTS_DOWNLOAD_H
#define TMB_WEIGHTS_DOWNLOAD_H

#include "timbre/timbre.h"

#define TMB_URL_MAX 2048
#define TMB_DOWNLOAD_WAIT_MAX 900.0
#define TMB_DOWNLOAD_BYTES_UNKNOWN UINT64_MAX

/* How requests are made; everything is borrowed. Only http and https are spoken, and http only if the first URL is
 * http itself: nobody is redirected from https to it. A server that asks to wait (429 or 503 with Retry-After or
 * RateLimit) is waited for, up to TMB_DOWNLOAD_WAIT_MAX seconds a time. */
typedef struct tmb_download_options {
    const char *token;          /* bearer token for the host of the URL, not sent on to another; NULL = none */
    const char *token_variable; /* where users set it, for messages; NULL = tokens are not used there */
    const char *accept;         /* the media types that are wanted; NULL = any */
    int attempts;               /* for what may pass: lost connections, busy servers; 0 = 5 */
    double retry_delay;         /* seconds before the second attempt, doubled each time; 0 = 1 */
    bool (*progress)(void *user, uint64_t done, uint64_t total); /* false cancels; NULL = none */
    /* Why a request is made again, and in how many seconds; NULL = nobody is told. */
    void (*retry)(void *user, const char *reason, double seconds);
    /* Waits so long; false cancels. NULL: a wait that asks `progress` five times a second. */
    bool (*wait)(void *user, double seconds);
    void *user;
} tmb_download_options;

/* What a HEAD request says of a file. */
typedef struct tmb_download_about {
    char etag[136]; /* X-Linked-Etag or ETag without quotes; "" if there is none */
    uint64_t bytes; /* X-Linked-Size or Content-Length; if neither is told, what a request for one byte says */
    bool has_bytes;
} tmb_download_about;

/* Where `reference` in the document at `base` leads, an absolute URL, into out[TMB_URL_MAX]. */
tmb_status tmb_download_resolve(const char *base, const char *reference, char *out, tmb_error *error);

tmb_status tmb_download_head(const char *url, const tmb_download_options *options, tmb_download_about *out,
                             tmb_error *error);

/* A small document into memory, 0-terminated (free()). More than `limit` bytes: TMB_ERROR_LIMIT. */
tmb_status tmb_download_text(const char *url, const tmb_download_options *options, size_t limit, char **out,
                             size_t *bytes, tmb_error *error);

/* A file of `bytes` bytes to `path`; with TMB_DOWNLOAD_BYTES_UNKNOWN what the server sends is taken, up to a terabyte,
 * and only its checksum can tell whether it is whole. What `path` holds already is gone on from if the server can do
 * that, also in a later call after a failure; it stays there then. More bytes than promised: TMB_ERROR_FORMAT, and the
 * file is emptied. Other errors: TMB_ERROR_IO (network or disk), TMB_ERROR_MODEL (not there, or not allowed),
 * TMB_ERROR_CANCELLED. */
tmb_status tmb_download_file(const char *url, const tmb_download_options *options, const char *path, uint64_t bytes,
                             tmb_error *error);

#endif
