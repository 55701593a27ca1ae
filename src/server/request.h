/* One HTTP request from its head to the last byte of its answer, as the handlers see it.
 *
 * A request's body is complete when its handler is called, on a worker. The handler answers exactly once,
 * at once or later from any thread, by tmb_answer, tmb_refuse or tmb_stream_begin. Until then the
 * connection is suspended and its socket is watched. */
#ifndef TMB_SERVER_REQUEST_H
#define TMB_SERVER_REQUEST_H

#include "base/buffer.h"
#include "queue/blobs.h"
#include "server/connections.h"
#include "server/fields.h"

#include <pthread.h>

typedef struct tmb_server tmb_server;
typedef struct tmb_request tmb_request;
typedef struct tmb_route tmb_route;
typedef struct tmb_form tmb_form;
typedef struct tmb_chunk tmb_chunk;

typedef enum tmb_method { TMB_GET, TMB_POST, TMB_DELETE, TMB_OPTIONS, TMB_METHOD_UNKNOWN } tmb_method;

struct tmb_request {
    tmb_server *server;
    const tmb_route *route;
    _Atomic(int) references;
    char id[17]; /* in answers and in the log */
    tmb_method method;
    bool is_head;
    char *path;                   /* decoded, without the query */
    char *authority;              /* of a target that names one, or NULL */
    char *query_text;             /* as it came, or NULL */
    char path_value[4 * 64 + 64]; /* of the route's {parameter} */
    char *address;                /* the client's, as text; or NULL */
    char key_name[64];            /* of the API key; "" if none was needed */
    char origin[256];             /* allowed cross-origin caller, to be echoed; or "" */
    double started;               /* monotonic */

    /* Headers that handlers ask for; owned, NULL if absent. */
    char *content_type, *accept, *range, *if_none_match, *if_range, *idempotency_key;

    /* The body: JSON as it came, or a form. After the check `arguments` has what the route's table
     * describes, of body or form, and `query` that of the query string. */
    tmb_buffer body;
    tmb_form *form;
    json_t *arguments, *query;
    tmb_upload *raw_upload; /* a body that is a file itself */
    uint64_t body_bytes;
    uint64_t reserved_memory; /* of the bodies' budget, for this request's client */
    uint64_t booked_storage;  /* bytes of the store's quota, for a file that is being sent and has no name */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    struct MHD_Connection *connection; /* NULL once the request is over */
    tmb_connection *slot;
    bool dispatched, suspended, gone, counted;
    bool queued;       /* its answer is MHD's */
    bool answered_now; /* it was written past MHD */
    bool all_read;     /* MHD has taken all of a streamed answer */
    bool is_last;      /* of its connection */
    struct MHD_Response *response;
    char *refusal; /* the body of a refusal, as text */
    unsigned status;
    uint64_t answer_bytes; /* SIZE unknown: UINT64_MAX */
    struct {
        const char *name;
        char *value; /* owned */
    } headers[8];    /* that the handler adds to its answer */
    size_t header_count;
    void (*on_gone)(void *user);
    void (*on_free)(void *user);
    void *user;

    /* A streamed answer. */
    tmb_chunk *first_chunk, *last_chunk;
    double ahead; /* seconds of audio that wait to be sent */
    size_t ahead_bytes;
    bool streaming, stream_ended, stream_failed;
    struct MHD_Response *stream; /* borrowed: it reads the chunks */
    const char *trailer;         /* sent behind the body; NULL: none */
    char trailer_value[24];
};

void tmb_request_retain(tmb_request *request);
void tmb_request_release(tmb_request *request);

/* Gives the request something that is told when the client leaves (`gone`, once, perhaps before this call
 * returns, never after `release`) and released with the request. */
void tmb_request_attach(tmb_request *request, void *user, void (*gone)(void *user), void (*release)(void *user));
/* Whether the client has left. */
bool tmb_request_gone(tmb_request *request);

/* In the reader of an answer, which has nothing to give now: the connection sleeps until it is woken. False: the client
 * has left. */
bool tmb_request_sleep(tmb_request *request);
void tmb_request_wake(tmb_request *request);

/* ---- Answers ------------------------------------------------------------------------------- */

/* `bytes`: of the body, UINT64_MAX if that is not known. Takes the response. */
void tmb_answer(tmb_request *request, unsigned status, struct MHD_Response *response, uint64_t bytes);
/* Takes the reference. NULL answers 500. */
void tmb_answer_json(tmb_request *request, unsigned status, json_t *value);
void tmb_answer_text(tmb_request *request, unsigned status, const char *content_type, const char *text, size_t size);
void tmb_answer_empty(tmb_request *request, unsigned status);
struct tmb_rope;
/* A file's contents; it loses its name. */
void tmb_answer_and_remove(tmb_request *request, const char *path, const char *type);
/* Takes the rope. */
void tmb_answer_rope(tmb_request *request, unsigned status, const char *content_type, struct tmb_rope *rope);

/* An error in the shape of the route's API. `field` names the parameter (NULL = none). A 400 for a field
 * reads "Invalid Input: field: message"; a 503 asks to come back in a few seconds. */
void tmb_refuse(tmb_request *request, unsigned status, const char *field, const char *format, ...) TMB_PRINTF(4, 5);
/* Adds a header to the answer that will be given; `name` lives for ever. At most eight. */
void tmb_request_header(tmb_request *request, const char *name, const char *value);

/* Adds the header X-Timbre-Warnings with a list of sentences as printable ASCII, if there are any. */
void tmb_request_warn(tmb_request *request, const json_t *warnings);

/* Answers 503 or 429 with an explicit Retry-After. */
void tmb_refuse_for_now(tmb_request *request, unsigned status, double retry_seconds, const char *format, ...)
    TMB_PRINTF(4, 5);
/* 404, 409, 413, 507, 503, 500: what the store said, in words for clients. `what` as in "file". */
unsigned tmb_store_problem(tmb_store_status status, const char *what, char *message, size_t size);
void tmb_refuse_store(tmb_request *request, tmb_store_status status, const char *what);

/* ---- Streamed answers ------------------------------------------------------------------------ */

/* Answers 200 with a body that follows. */
void tmb_stream_begin(tmb_request *request, const char *content_type);
/* Adds bytes that stand for `seconds` of audio; waits while the reader is too far behind. False when
 * nobody reads any more. */
bool tmb_stream_write(tmb_request *request, const void *data, size_t size, double seconds);
/* Sends a header behind the body, if the client's HTTP has that; `name` lives for ever. One, before the end. */
void tmb_stream_trailer(tmb_request *request, const char *name, const char *value);
/* No more bytes. `good` false breaks the connection, so that the client sees that something is missing. */
void tmb_stream_end(tmb_request *request, bool good);

/* ---- For the listener ------------------------------------------------------------------------ */

/* `target` as in the first line, without its end. NULL if there is no memory. */
tmb_request *tmb_request_create(tmb_server *server, const char *target);
/* Whom limits of one client go by: the name of the key, or the address. */
const char *tmb_request_client(const tmb_request *request);
/* Gives back what was booked for the body. */
void tmb_request_free_memory(tmb_request *request);
/* Writes the refusal that was given to the client's socket, past MHD. */
void tmb_request_answer_now(tmb_request *request);
/* An answer 503 for when there is no memory to make one; NULL if there is none now. */
struct MHD_Response *tmb_response_out_of_memory(void);
/* Adds a header to the answer that is about to be given; ignored if there is no memory. */
void tmb_response_header(struct MHD_Response *response, const char *name, const char *value);
/* Marks the client as gone and tells whoever is attached. */
void tmb_request_leave(tmb_request *request);

#endif
