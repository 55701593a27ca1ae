/* What can be said of a request by its head alone. */
#include "base/memory.h"
#include "server/arguments.h"
#include "server/http_parts.h"
#include "server/state.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A worker says how it is, and takes no requests. */
static bool is_of_worker(const char *path) { return strncmp(path, "/health", 7) == 0 || strcmp(path, "/metrics") == 0; }

static bool find_route(tmb_request *request) {
    if (!tmb_percent_decode(request->path, false)) {
        tmb_refuse(request, 400, "path", "has a broken escape");
        return false;
    }
    unsigned allowed = 0;
    if (!request->server->config->is_worker || is_of_worker(request->path)) {
        request->route =
            tmb_route_find(request->method, request->path, request->path_value, sizeof request->path_value, &allowed);
    }
    if (request->route != NULL) {
        return true;
    }
    if (!allowed) {
        tmb_refuse(request, 404, NULL, "Not Found");
    } else if (request->method == TMB_OPTIONS) {
        tmb_access_options(request, allowed);
    } else {
        tmb_refuse(request, 405, NULL, "Method Not Allowed");
        char methods[64];
        (void)snprintf(methods, sizeof methods, "OPTIONS%s%s%s", allowed & 1u << TMB_GET ? ", GET, HEAD" : "",
                       allowed & 1u << TMB_POST ? ", POST" : "", allowed & 1u << TMB_DELETE ? ", DELETE" : "");
        if (request->response != NULL) {
            tmb_response_header(request->response, MHD_HTTP_HEADER_ALLOW, methods);
        }
    }
    return false;
}

static bool copy_header(struct MHD_Connection *connection, const char *name, char **out) {
    const char *value = tmb_http_header(connection, name);
    *out = tmb_strdup(value);
    return value == NULL || *out != NULL;
}

/* A connection beyond the limit is there for those who must get through. */
static bool check_spare(tmb_request *request) {
    if (!tmb_connection_is_spare(request->slot) || request->key_name[0] ||
        (request->route->flags & TMB_ROUTE_UNLIMITED)) {
        return true;
    }
    tmb_refuse_for_now(request, 503, 5, "Too many connections are open: see --max-connections");
    return false;
}

static bool check_sizes(tmb_request *request, struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (tmb_connection_target(request->slot)->length > TMB_TARGET_LIMIT) {
        tmb_refuse(request, 414, NULL, "The URL is longer than %d bytes", TMB_TARGET_LIMIT);
        return false;
    }
    if (info != NULL && info->header_size > TMB_HEAD_LIMIT) {
        tmb_refuse(request, 431, NULL, "The head is larger than %d bytes", TMB_HEAD_LIMIT);
        return false;
    }
    return true;
}

bool tmb_admit(tmb_request *request, struct MHD_Connection *connection, const tmb_request_line *line,
               uint64_t *length) {
    if (!check_sizes(request, connection) || !tmb_head_read(request, connection, line, length)) {
        return false;
    }
    request->is_last = request->is_last || *length == UINT64_MAX;
    if (!copy_header(connection, MHD_HTTP_HEADER_CONTENT_TYPE, &request->content_type) ||
        !copy_header(connection, MHD_HTTP_HEADER_ACCEPT, &request->accept) ||
        !copy_header(connection, MHD_HTTP_HEADER_RANGE, &request->range) ||
        !copy_header(connection, MHD_HTTP_HEADER_IF_NONE_MATCH, &request->if_none_match) ||
        !copy_header(connection, MHD_HTTP_HEADER_IF_RANGE, &request->if_range) ||
        !copy_header(connection, "Idempotency-Key", &request->idempotency_key)) {
        tmb_refuse_for_now(request, 503, 5, "The server is out of memory");
        return false;
    }
    if (!tmb_access_origin(request, connection) || !find_route(request) || !tmb_access_key(request, connection) ||
        !check_spare(request)) {
        return false;
    }
    if (request->server->keys == NULL || request->key_name[0]) {
        tmb_connection_trust(request->server->connections, request->slot);
    }
    if ((request->route->flags & TMB_ROUTE_WORK) && atomic_load(&request->server->draining)) {
        tmb_refuse_for_now(request, 503, 10, "The server is shutting down");
        return false;
    }
    const char *coding = tmb_http_header(connection, MHD_HTTP_HEADER_CONTENT_ENCODING);
    if (*length && coding != NULL && strcasecmp(coding, "identity") != 0) {
        tmb_refuse(request, 415, NULL, "The body must come as it is, without a Content-Encoding");
        return false;
    }
    return tmb_body_prepare(request, *length);
}
