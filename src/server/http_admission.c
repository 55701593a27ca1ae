/* What can be said of a request by its head alone. */
#include "base/memory.h"
#include "server/arguments.h"
#include "server/http_parts.h"
#include "server/state.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { url_limit = 2048, header_limit = 16 * 1024 };

const char *tmb_http_header(struct MHD_Connection *connection, const char *name) {
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static bool find_route(tmb_request *request) {
    if (!tmb_percent_decode(request->path, false)) {
        tmb_refuse(request, 400, "path", "has a broken escape");
        return false;
    }
    unsigned allowed = 0;
    request->route =
        tmb_route_find(request->method, request->path, request->path_value, sizeof(request->path_value), &allowed);
    if (request->route) {
        return true;
    }
    if (!allowed) {
        tmb_refuse(request, 404, NULL, "Not Found");
    } else if (request->method == TMB_OPTIONS) {
        tmb_access_options(request, allowed);
    } else {
        tmb_refuse(request, 405, NULL, "Method Not Allowed");
        char methods[64];
        (void)snprintf(methods, sizeof(methods), "OPTIONS%s%s%s", allowed & 1u << TMB_GET ? ", GET, HEAD" : "",
                       allowed & 1u << TMB_POST ? ", POST" : "", allowed & 1u << TMB_DELETE ? ", DELETE" : "");
        if (request->response) {
            tmb_response_header(request->response, MHD_HTTP_HEADER_ALLOW, methods);
        }
    }
    return false;
}

/* Two programs that read a body's length differently are how requests get smuggled. */
bool tmb_admit_transfer(tmb_request *request, struct MHD_Connection *connection) {
    const char *encoding = tmb_http_header(connection, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    if (encoding && strcasecmp(encoding, "chunked") != 0) {
        tmb_refuse(request, 501, NULL, "The only transfer encoding that is possible is chunked");
        return false;
    }
    if (encoding && tmb_http_header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH)) {
        tmb_refuse(request, 400, "head", "has both Content-Length and Transfer-Encoding");
        return false;
    }
    return true;
}

static bool copy_header(struct MHD_Connection *connection, const char *name, char **out) {
    const char *value = tmb_http_header(connection, name);
    *out = tmb_strdup(value);
    return !value || *out;
}

/* Everything that can be said before the body. */
bool tmb_admit(tmb_request *request, struct MHD_Connection *connection, uint64_t length) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (strlen(request->path) + (request->query_text ? strlen(request->query_text) + 1 : 0) > url_limit) {
        tmb_refuse(request, 414, NULL, "The URL is longer than %d bytes", url_limit);
        return false;
    }
    if (info && info->header_size > header_limit) {
        tmb_refuse(request, 431, NULL, "The head is larger than %d bytes", header_limit);
        return false;
    }
    if (!copy_header(connection, MHD_HTTP_HEADER_CONTENT_TYPE, &request->content_type) ||
        !copy_header(connection, MHD_HTTP_HEADER_RANGE, &request->range) ||
        !copy_header(connection, MHD_HTTP_HEADER_IF_NONE_MATCH, &request->if_none_match) ||
        !copy_header(connection, MHD_HTTP_HEADER_IF_RANGE, &request->if_range) ||
        !copy_header(connection, "Idempotency-Key", &request->idempotency_key)) {
        tmb_refuse(request, 500, NULL, "Internal Error");
        return false;
    }
    if (!tmb_access_origin(request, connection) || !find_route(request) || !tmb_access_key(request, connection)) {
        return false;
    }
    if ((request->route->flags & TMB_ROUTE_WORK) && atomic_load(&request->server->draining)) {
        tmb_refuse_for_now(request, 503, 10, "The server is shutting down");
        return false;
    }
    return tmb_body_prepare(request, length);
}
