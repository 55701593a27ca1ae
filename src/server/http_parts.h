/* The parts of the listener: how the head is read (http_head.c), who may ask (http_access.c), what can be
 * said before the body (http_admission.c), and the body on its way in (http_body.c). A function that returns false has
 * answered the request. */
#ifndef TMB_SERVER_HTTP_PARTS_H
#define TMB_SERVER_HTTP_PARTS_H

#include "server/request.h"

/* The first header of this name, or NULL. */
const char *tmb_http_header(struct MHD_Connection *connection, const char *name);

/* The host that the request is for: that of a target with one, or the header Host; NULL if there is none. */
const char *tmb_http_host(tmb_request *request, struct MHD_Connection *connection);

/* Without keys: whether the request comes from this machine and no foreign page. Notes an allowed origin. */
bool tmb_access_origin(tmb_request *request, struct MHD_Connection *connection);
/* Whether the request presents a key, if its route needs one. */
bool tmb_access_key(tmb_request *request, struct MHD_Connection *connection);
/* Answers OPTIONS; `allowed` has bit 1 << method for every method of the path. */
void tmb_access_options(tmb_request *request, unsigned allowed);
/* Adds what the page of an allowed origin needs to read the answer. */
void tmb_access_headers(const tmb_request *request, struct MHD_Response *response);

/* A request's first line as MHD hands it out. */
typedef struct tmb_request_line {
    const char *method, *version;
} tmb_request_line;

/* Whether the head can be read in one way only. `length`: of the body as declared; UINT64_MAX: chunked. */
bool tmb_head_read(tmb_request *request, struct MHD_Connection *connection, const tmb_request_line *line,
                   uint64_t *length);
/* Everything that can be said before the body. */
bool tmb_admit(tmb_request *request, struct MHD_Connection *connection, const tmb_request_line *line, uint64_t *length);

/* Makes ready for the body that the route takes. */
bool tmb_body_prepare(tmb_request *request, uint64_t length);
/* Takes the next bytes; request->body_bytes counts them already. */
bool tmb_body_append(tmb_request *request, const char *data, size_t size);
/* Frees what was received. */
void tmb_body_drop(tmb_request *request);

#endif
