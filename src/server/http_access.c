/* Who may use the server: API keys, the machine itself, and web pages of other origins. */
#include "server/http_parts.h"
#include "server/origins.h"
#include "server/state.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* What a page may read of an answer's head. */
static const char exposed[] =
    "X-Request-Id, X-Seed, X-Engine, X-Is-Clone, X-Ignored, Retry-After, Allow, "
    "X-Clipped, X-Timbre-Warnings, Content-Disposition, Content-Length, Content-Range, Accept-Ranges, ETag";

/* What follows the scheme and the blanks behind it; NULL if `authorization` begins with another scheme. */
static const char *after_scheme(const char *authorization, const char *scheme) {
    size_t length = strlen(scheme);
    if (strncasecmp(authorization, scheme, length) != 0 || !authorization[length] ||
        strchr(" \t", authorization[length]) == NULL) {
        return NULL;
    }
    return authorization + length + strspn(authorization + length, " \t");
}

/* The key that a request presents, or NULL. */
static const char *presented_key(struct MHD_Connection *connection) {
    static const char *const headers[] = {"x-api-key", "xi-api-key"};
    static const char *const schemes[] = {"Bearer", "Token"};
    const char *key = NULL;
    for (size_t i = 0; key == NULL && i < sizeof headers / sizeof headers[0]; i++) {
        key = tmb_http_header(connection, headers[i]);
    }
    const char *authorization = key != NULL ? NULL : tmb_http_header(connection, MHD_HTTP_HEADER_AUTHORIZATION);
    for (size_t i = 0; authorization != NULL && key == NULL && i < sizeof schemes / sizeof schemes[0]; i++) {
        key = after_scheme(authorization, schemes[i]);
    }
    return key;
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
    if (origin != NULL && tmb_origin_is_listed(server->config->cors_origin, origin)) {
        (void)snprintf(request->origin, sizeof request->origin, "%s", origin);
        origin = NULL;
    }
    if (server->keys != NULL) {
        return true;
    }
    if (host != NULL && !is_local_name(host, server->listen_host)) {
        tmb_refuse(request, 403, NULL,
                   "Without API keys this server answers only to its own address, not to \"%.100s\"", host);
        return false;
    }
    const char *authority = origin != NULL ? strstr(origin, "://") : NULL;
    if (origin != NULL && (authority == NULL || host == NULL || strcmp(authority + 3, host) != 0)) {
        tmb_refuse(request, 403, NULL, "Pages of another origin may not use this server: see --cors-origin");
        return false;
    }
    return true;
}

bool tmb_access_key(tmb_request *request, struct MHD_Connection *connection) {
    tmb_server *server = request->server;
    bool listing = (request->route->flags & TMB_ROUTE_LISTING) && server->config->open_listing;
    if (server->keys == NULL || listing || (request->route->flags & TMB_ROUTE_OPEN)) {
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
    tmb_refuse(request, 401, NULL,
               "A valid API key is needed: send it as x-api-key, xi-api-key or as Authorization: Bearer");
    return false;
}

/* A preflight: the page asks for what the next request will carry. Its headers are echoed: which of them mean something
 * is this server's business, and none of them is trusted. */
static void allow_preflight(const tmb_request *request, struct MHD_Response *response, const char *methods) {
    const char *asked = tmb_http_header(request->connection, "Access-Control-Request-Headers");
    const char *private_network = tmb_http_header(request->connection, "Access-Control-Request-Private-Network");
    tmb_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_METHODS, methods);
    tmb_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_HEADERS,
                        asked != NULL && *asked ? asked : "Authorization, Content-Type, Idempotency-Key, X-Api-Key");
    tmb_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_MAX_AGE, "600");
    if (private_network != NULL && strcasecmp(private_network, "true") == 0) {
        tmb_response_header(response, "Access-Control-Allow-Private-Network", "true");
    }
}

void tmb_access_options(tmb_request *request, unsigned allowed) {
    char methods[64];
    (void)snprintf(methods, sizeof methods, "OPTIONS%s%s%s", allowed & 1u << TMB_GET ? ", GET, HEAD" : "",
                   allowed & 1u << TMB_POST ? ", POST" : "", allowed & 1u << TMB_DELETE ? ", DELETE" : "");
    struct MHD_Response *response = MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    if (response != NULL) {
        tmb_response_header(response, MHD_HTTP_HEADER_ALLOW, methods);
        if (request->origin[0]) {
            allow_preflight(request, response, methods);
        }
    }
    tmb_answer(request, MHD_HTTP_NO_CONTENT, response, 0);
}

void tmb_access_headers(const tmb_request *request, struct MHD_Response *response) {
    /* A cache must not hand one origin's answer to another. */
    if (request->server->config->cors_origin[0]) {
        tmb_response_header(response, MHD_HTTP_HEADER_VARY, "Origin");
    }
    if (request->origin[0]) {
        tmb_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN, request->origin);
        tmb_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}
