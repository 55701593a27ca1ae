/* What the head of an HTTP answer says about a file and about when to ask again. */
#ifndef TMB_WEIGHTS_ANSWER_H
#define TMB_WEIGHTS_ANSWER_H

#include "timbre/timbre.h"

/* Filled line by line over all answers of one request, those of redirects included. */
typedef struct tmb_answer {
    int status;     /* of the answer whose lines come now */
    char etag[136]; /* X-Linked-Etag or ETag without quotes; "" if there is none */
    uint64_t bytes; /* X-Linked-Size, or the Content-Length of an answer that is no redirect */
    bool has_bytes;
    bool has_linked_etag, has_linked_bytes;
    uint64_t range_begin, range_total; /* of Content-Range */
    bool has_range, has_range_total;
    double retry_after;           /* seconds that Retry-After asks for; < 0: it is not there */
    double window;                /* seconds until the rate limit's window ends; < 0: not told */
    int64_t retry_at, server_now; /* Retry-After as a date, and Date, in seconds since 1970; 0 = not told */
} tmb_answer;

/* An answer of which nothing is known yet. */
void tmb_answer_begin(tmb_answer *answer);

/* Takes one line of a head, the status line included. Any bytes are taken; what is not understood is ignored. */
void tmb_answer_line(tmb_answer *answer, const char *line, size_t bytes);

/* Seconds that the server asks to wait before the next request, or < 0: it does not say. `now` is the time of day,
 * which counts when the server does not tell its own. */
double tmb_answer_wait(const tmb_answer *answer, int64_t now);

#endif
