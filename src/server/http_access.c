/* Who may use the server: API keys, the machine itself, and web pages of other origins. */
#include "server/http_parts.h"
#include "server/state.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The key that a request presents, or NULL. */
static const char *presented_key(struct MHD_Connection *connection) {
    const char *key = tmb_http_header(connection, "x-api-key");
    if (key) {
        return key;
    }
    const char *authorization = tmb_http_header(connection, MHD_HTTP_HEADER_AUTHORIZATION);
    if (!authorization || strncasecmp(authorization, "Bearer", 6) != 0 || !strchr(" \t", authorization[6])) {
        return NULL;
    }
    return authorization + 6 + strspn(authorization + 6, " \t");
}

/* "[::1]:80" → "[::1]". */
static size_t host_length(const char *host) {
    return host[0] == '[' ? strcspn(host, "]") + (strchr(host, ']') ? 1 : 0) : strcspn(host, ":");
}

static bool is_local_name(const char *host, const char *own) {
    size_t length = host_length(host);
    return (length == 9 && strncasecmp(host, "localhost", 9) == 0) || (length == 5 && strncmp(host, "[::1]", 5) == 0) ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == length) ||
           (length == strlen(own) && strncasecmp(host, own, length) == 0);
}

/* Without keys only the machine itself may ask, and web pages of other sites may not ask through it:
 * neither by a name that they point at 127.0.0.1 (Host) nor by a form (Origin). */
bool tmb_access_origin(tmb_request *request, struct MHD_Connection *connection) {
    const char *host = tmb_http_host(request, connection);
    const char *origin = tmb_http_header(connection, MHD_HTTP_HEADER_ORIGIN);
    const tmb_server *server = request->server;
    if (origin && server->config->cors_origin[0] && strcmp(origin, server->config->cors_origin) == 0) {
        (void)snprintf(request->origin, sizeof(request->origin), "%s", origin);
        origin = NULL;
    }
    if (server->keys) {
        return true;
    }
    if (host && !is_local_name(host, server->listen_host)) {
        tmb_refuse(request, 403, NULL,
                   "Without API keys this server answers only to its own address, not to \"%.100s\"", host);
        return false;
    }
    const char *authority = origin ? strstr(origin, "://") : NULL;
    if (origin && (!authority || !host || strcmp(authority + 3, host) != 0)) {
        tmb_refuse(request, 403, NULL, "Pages of another origin may not use this server: see --cors-origin");
        return false;
    }
    return true;
}

bool tmb_access_key(tmb_request *request, struct MHD_Connection *connection) {
    tmb_server *server = request->server;
    if (!server->keys || (request->route->flags & TMB_ROUTE_OPEN)) {
        return true;
    }
    double wait = 0;
    switch (tmb_keys_check(server->keys, presented_key(connection), !(request->route->flags & TMB_ROUTE_UNLIMITED),
                           request->key_name, &wait)) {
    case TMB_KEY_GOOD: return true;
    case TMB_KEY_TOO_OFTEN: tmb_refuse_for_now(request, 429, wait, "Too many requests with this key"); return false;
    case TMB_KEY_UNKNOWN:
    default: break;
    }
    tmb_refuse(request, 401, NULL, "A valid API key is needed: send it as x-api-key or as Authorization: Bearer");
    return false;
}

void tmb_access_options(tmb_request *request, unsigned allowed) {
    char methods[64];
    (void)snprintf(methods, sizeof(methods), "OPTIONS%s%s%s", allowed & 1u << TMB_GET ? ", GET, HEAD" : "",
                   allowed & 1u << TMB_POST ? ", POST" : "", allowed & 1u << TMB_DELETE ? ", DELETE" : "");
    struct MHD_Response *response = MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    if (response) {
        tmb_response_header(response, MHD_HTTP_HEADER_ALLOW, methods);
        if (request->origin[0]) {
            tmb_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_METHODS, methods);
            tmb_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_HEADERS,
                                "Authorization, Content-Type, Idempotency-Key, X-Api-Key");
            tmb_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_MAX_AGE, "600");
        }
    }
    tmb_answer(request, MHD_HTTP_NO_CONTENT, response, 0);
}

void tmb_access_headers(const tmb_request *request, struct MHD_Response *response) {
    if (request->origin[0]) {
        tmb_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN, request->origin);
        tmb_response_header(response, MHD_HTTP_HEADER_VARY, "Origin");
        tmb_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_EXPOSE_HEADERS,
                            "X-Request-Id, X-Seed, Retry-After, Content-Range, ETag");
    }
}
