/* One request to a speech server, and what comes back, without a decision about it. */
#ifndef TMB_TTS_REMOTE_TRANSFER_H
#define TMB_TTS_REMOTE_TRANSFER_H

#include "timbre/timbre.h"
#include "weights/curl_library.h"

/* Hz: what a speech server has to answer with. */
#define TMB_REMOTE_RATE 24000
/* Bytes that a request keeps between two steps: two thirds of a second, and four of curl's own blocks. */
#define TMB_REMOTE_KEEP 65536

/* What requests share. */
typedef struct tmb_remote_client {
    const tmb_curl *library;
    CURLM *multi;
    struct curl_slist *headers;
    char *key; /* or NULL */
    long connect_seconds;
} tmb_remote_client;

typedef struct tmb_transfer {
    tmb_remote_client *client;
    CURL *curl;      /* NULL: not begun; otherwise in the client's multi handle */
    bool done;       /* `result` is known */
    bool paused;     /* there is no room for more */
    CURLcode result; /* once done */
    double began;    /* tmb_now */
    double heard;    /* when the last byte came */
    size_t kept;     /* bytes of PCM, or of an error's page */
    char *bytes;     /* [TMB_REMOTE_KEEP]; NULL: what comes is dropped */
    char message[CURL_ERROR_SIZE];
} tmb_transfer;

/* TMB_ERROR_MEMORY. */
tmb_status tmb_remote_client_open(tmb_remote_client *client, const char *key, long connect_seconds, tmb_error *error);
void tmb_remote_client_close(tmb_remote_client *client);

/* POSTs `body`, which has to stay, to `url` and keeps what comes. TMB_ERROR_MEMORY: nothing was begun. */
tmb_status tmb_transfer_post(tmb_transfer *transfer, tmb_remote_client *client, const char *url, const char *body,
                             tmb_error *error);
/* GETs `url` within `seconds`; only the status code is of interest. TMB_ERROR_MEMORY. */
tmb_status tmb_transfer_get(tmb_transfer *transfer, tmb_remote_client *client, const char *url, long seconds,
                            tmb_error *error);
/* Ends it, whatever its state. */
void tmb_transfer_stop(tmb_transfer *transfer);

/* Lets all of them go on for at most `wait` milliseconds. TMB_ERROR_MEMORY. */
tmb_status tmb_remote_client_perform(tmb_remote_client *client, int wait, tmb_error *error);

/* The status code so far; 0 = none yet. */
long tmb_transfer_code(const tmb_transfer *transfer);
/* What Retry-After says, in seconds; 0 = nothing. */
double tmb_transfer_retry_after(const tmb_transfer *transfer);
/* Whether the answer is PCM as it should be. TMB_ERROR_FORMAT says what it is instead. */
tmb_status tmb_transfer_check_audio(const tmb_transfer *transfer, tmb_error *error);
/* There is room again. */
void tmb_transfer_go_on(tmb_transfer *transfer);

#endif
