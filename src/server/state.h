/* The server's parts, and the routes. */
#ifndef TMB_SERVER_STATE_H
#define TMB_SERVER_STATE_H

#include "base/log.h"
#include "base/thread.h"
#include "queue/jobs.h"
#include "queue/voices.h"
#include "server/auth.h"
#include "server/body_budget.h"
#include "server/config.h"
#include "server/connections.h"
#include "server/metrics.h"
#include "server/models.h"
#include "server/request.h"
#include "server/voices.h"

#include <stdatomic.h>

typedef struct tmb_worker tmb_worker;           /* runs queued jobs */
typedef struct tmb_voice_maker tmb_voice_maker; /* prepares voices again */
typedef struct tmb_puller tmb_puller;           /* downloads a model */
typedef struct tmb_calls tmb_calls;             /* speech that workers elsewhere are asked for */

struct tmb_server {
    const tmb_server_config *config;
    tmb_logger logger;
    tmb_context *timbre;
    tmb_store *store;
    tmb_keys *keys; /* NULL: no keys, loopback only */
    tmb_metrics *metrics;
    tmb_connections *connections;
    tmb_worker *worker; /* NULL: others run what is queued */
    tmb_calls *calls;   /* NULL: requests are spoken here */
    tmb_voice_maker *voice_maker;
    tmb_puller *puller; /* NULL: --allow-pull was not given */
    tmb_pool *workers;  /* short work: checks, database, small files */
    tmb_pool *slow;     /* enhancing, preparing voices */
    tmb_pool *opening;  /* files of answers, which may be on other machines */
    tmb_pool *sweeper;  /* what has expired, which may be there too */
    struct MHD_Daemon *daemon;
    struct MHD_Response *out_of_memory; /* an answer that needs none */
    json_t *openapi;
    char *openapi_text;
    atomic_bool draining;
    tmb_work sweep;
    atomic_bool sweeping, sweeps_again; /* a sweep is under way; the last one left something */
    atomic_size_t in_flight;            /* requests whose handler was called and that are not over */
    atomic_size_t works_begun;          /* requests that reached a worker and items of jobs, ever */
    atomic_size_t slow_waiting;
    tmb_body_budget *body_memory; /* for bodies */
    _Atomic(uint64_t) group;      /* the last group number given to a request */
    tmb_voices voices;
    tmb_server_models models;
    const char *model_name; /* of the first: "qwen3-tts-0.6b" */
    int audio_root;         /* open folder, or -1 */
    bool loopback;
    char listen_host[128];
};

typedef enum tmb_body_kind {
    TMB_BODY_NONE,
    TMB_BODY_JSON,
    TMB_BODY_FORM, /* multipart/form-data */
    TMB_BODY_FILE, /* a form with a file, or the file itself with query parameters */
    TMB_BODY_JSON_OR_FORM
} tmb_body_kind;

enum {
    TMB_ROUTE_OPEN = 1,       /* no key needed */
    TMB_ROUTE_INLINE = 2,     /* the handler does not wait for anything and runs on the listener's thread */
    TMB_ROUTE_WORK = 4,       /* refused while draining */
    TMB_ROUTE_SLOW = 8,       /* runs on the slow workers */
    TMB_ROUTE_OPENAI = 16,    /* errors in OpenAI's shape; unknown fields are ignored */
    TMB_ROUTE_HIDDEN = 32,    /* not in the description */
    TMB_ROUTE_UNLIMITED = 64, /* not counted by the rate limit */
    TMB_ROUTE_LISTING = 128   /* no key needed with --open-listing */
};

/* A documented answer that is no problem. */
typedef struct tmb_answer_doc {
    unsigned status;          /* 0 ends the table */
    const char *content_type; /* NULL: no body */
    const char *schema;       /* name in the components; NULL: bytes */
    const char *summary;
} tmb_answer_doc;

/* Problems that a route may answer with, beyond those of every route. */
enum {
    TMB_MAY_NEED_KEY = 1,     /* 401, 429 */
    TMB_MAY_BREAK = 2,        /* 500 */
    TMB_MAY_BE_MISSING = 4,   /* 404 */
    TMB_MAY_CLASH = 8,        /* 409 */
    TMB_MAY_REFUSE_BODY = 16, /* 413, 415 */
    TMB_MAY_BE_BUSY = 32,     /* 503 */
    TMB_MAY_BE_LATE = 64,     /* 504 */
    TMB_MAY_BE_FULL = 128,    /* 507 */
    TMB_MAY_NOT_ACCEPT = 256  /* 406 */
};

struct tmb_route {
    tmb_method method;
    const char *path; /* with at most one {parameter} */
    const char *tag, *operation, *summary;
    tmb_body_kind body;
    const tmb_field *fields; /* of the body */
    const char *example;     /* of the body, as JSON; files by their names */
    const tmb_field *query;
    unsigned flags;
    void (*handle)(tmb_request *request);
    const tmb_answer_doc *answers;
    unsigned problems; /* TMB_MAY_... */
};

/* Every route; `handle` NULL ends the table. */
extern const tmb_route tmb_routes[];

/* The route of a path, or NULL. `allowed` (bit 1 << method) gets what the path allows. `value` gets the
 * parameter. */
const tmb_route *tmb_route_find(tmb_method method, const char *path, char *value, size_t value_size, unsigned *allowed);

/* The description of all routes; NULL out of memory. */
json_t *tmb_openapi_create(const tmb_server *server);

/* Starts and stops the HTTP side. `socket` is listening. */
tmb_status tmb_http_start(tmb_server *server, int socket, tmb_error *error);
/* Another socket to listen on. */
void tmb_http_listen(tmb_server *server, int socket);
/* What the connection table needs to know. */
tmb_connection_limits tmb_http_limits(tmb_server *server);
void tmb_http_stop(tmb_server *server);

#endif
