/* The listener: libmicrohttpd's callbacks turned into requests. */
#include "base/error.h"
#include "base/memory.h"
#include "server/arguments.h"
#include "server/form.h"
#include "server/state.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    url_limit = 2048,
    header_limit = 16 * 1024,
    /* A refused request's body is read and dropped up to here, so that the client gets to its answer;
     * beyond it the connection is closed. */
    discard_limit = 64 << 20,
    slowest_client = 16 * 1024 /* bytes a second: bodies and answers must move at least so fast in the mean */
};

/* ---- Asking a request ------------------------------------------------------------------------ */

static const char *header(struct MHD_Connection *connection, const char *name) {
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static tmb_method method_of(const char *name, bool *is_head) {
    *is_head = strcmp(name, "HEAD") == 0;
    return *is_head || strcmp(name, "GET") == 0 ? TMB_GET
           : strcmp(name, "POST") == 0          ? TMB_POST
           : strcmp(name, "DELETE") == 0        ? TMB_DELETE
           : strcmp(name, "OPTIONS") == 0       ? TMB_OPTIONS
                                                : TMB_METHOD_UNKNOWN;
}

/* The declared length; UINT64_MAX: chunked; 0: no body. */
static uint64_t declared_length(struct MHD_Connection *connection) {
    if (header(connection, MHD_HTTP_HEADER_TRANSFER_ENCODING)) {
        return UINT64_MAX;
    }
    const char *length = header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return length ? strtoull(length, NULL, 10) : 0;
}

/* The key that a request presents, or NULL. */
static const char *presented_key(struct MHD_Connection *connection) {
    const char *key = header(connection, "x-api-key");
    if (key) {
        return key;
    }
    const char *authorization = header(connection, MHD_HTTP_HEADER_AUTHORIZATION);
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

/* ---- Refusing at the head --------------------------------------------------------------------- */

/* Without keys only the machine itself may ask, and web pages of other sites may not ask through it:
 * neither by a name that they point at 127.0.0.1 (Host) nor by a form (Origin). */
static bool check_origin(tmb_request *request, struct MHD_Connection *connection) {
    const char *host = header(connection, MHD_HTTP_HEADER_HOST);
    const char *origin = header(connection, MHD_HTTP_HEADER_ORIGIN);
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

static bool check_key(tmb_request *request, struct MHD_Connection *connection) {
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

static void answer_options(tmb_request *request, unsigned allowed) {
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
        answer_options(request, allowed);
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

static bool reserve_memory(tmb_request *request, uint64_t bytes) {
    tmb_server *server = request->server;
    if (bytes <= request->reserved_memory) {
        return true;
    }
    uint64_t more = bytes - request->reserved_memory;
    uint64_t before = atomic_fetch_add(&server->body_memory, more);
    if (before + more > server->config->max_body_memory) {
        atomic_fetch_sub(&server->body_memory, more);
        tmb_refuse_for_now(request, 503, 5, "Too much is being received at the moment");
        return false;
    }
    request->reserved_memory = bytes;
    return true;
}

/* Text, parsed text and decoded audio are in memory together for a moment. */
static const uint64_t memory_per_byte = 3;

static bool check_length(tmb_request *request, uint64_t length, uint64_t limit, const char *what) {
    if (length != UINT64_MAX && length > limit) {
        tmb_refuse(request, 413, NULL, "The %s is larger than %llu bytes", what, (unsigned long long)limit);
        return false;
    }
    return true;
}

/* A form's parts carry heads of their own. */
static uint64_t form_limit(const tmb_server_config *config) { return config->max_upload_bytes + (1 << 20); }

static bool prepare_body(tmb_request *request, uint64_t length) {
    const tmb_route *route = request->route;
    const tmb_server_config *config = request->server->config;
    const char *type = request->content_type;
    bool is_form = tmb_content_type_is(type, "multipart/form-data");
    if (route->body == TMB_BODY_NONE) {
        return length == 0 || check_length(request, length, 64 * 1024, "body");
    }
    if (is_form && route->body != TMB_BODY_JSON) {
        if (!check_length(request, length, form_limit(config), "form")) {
            return false;
        }
        request->form = tmb_form_create(request, route->fields);
        if (!request->form) {
            tmb_refuse(request, 400, "form", "its content type has no boundary");
        }
        return request->form != NULL;
    }
    if (route->body == TMB_BODY_FILE && type &&
        (strncasecmp(type, "audio/", 6) == 0 || tmb_content_type_is(type, "application/octet-stream"))) {
        if (!check_length(request, length, config->max_upload_bytes, "file")) {
            return false;
        }
        tmb_store_status status =
            tmb_upload_begin(request->server->store, config->max_upload_bytes, &request->raw_upload);
        if (status != TMB_STORE_OK) {
            tmb_refuse_store(request, status, "file");
        }
        return status == TMB_STORE_OK;
    }
    if (tmb_content_type_is(type, "application/json") && route->body != TMB_BODY_FORM && route->body != TMB_BODY_FILE) {
        return check_length(request, length, config->max_json_bytes, "body") &&
               reserve_memory(request, memory_per_byte * (length == UINT64_MAX ? 4096 : length));
    }
    tmb_refuse(request, 415, NULL, "Content-Type must be %s",
               route->body == TMB_BODY_JSON   ? "application/json"
               : route->body == TMB_BODY_FORM ? "multipart/form-data"
               : route->body == TMB_BODY_FILE ? "multipart/form-data, audio/* or application/octet-stream"
                                              : "application/json or multipart/form-data");
    return false;
}

/* Two programs that read a body's length differently are how requests get smuggled. */
static bool check_transfer(tmb_request *request, struct MHD_Connection *connection) {
    const char *encoding = header(connection, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    if (encoding && strcasecmp(encoding, "chunked") != 0) {
        tmb_refuse(request, 501, NULL, "The only transfer encoding that is possible is chunked");
        return false;
    }
    if (encoding && header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH)) {
        tmb_refuse(request, 400, "head", "has both Content-Length and Transfer-Encoding");
        return false;
    }
    return true;
}

static bool copy_header(struct MHD_Connection *connection, const char *name, char **out) {
    const char *value = header(connection, name);
    *out = tmb_strdup(value);
    return !value || *out;
}

/* Everything that can be said before the body. */
static bool check_head(tmb_request *request, struct MHD_Connection *connection, uint64_t length) {
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
    if (!check_origin(request, connection) || !find_route(request) || !check_key(request, connection)) {
        return false;
    }
    if ((request->route->flags & TMB_ROUTE_WORK) && atomic_load(&request->server->draining)) {
        tmb_refuse_for_now(request, 503, 10, "The server is shutting down");
        return false;
    }
    return prepare_body(request, length);
}

/* ---- The life of a request --------------------------------------------------------------------- */

static enum MHD_Result queue_answer(tmb_request *request, struct MHD_Connection *connection) {
    (void)pthread_mutex_lock(&request->lock);
    struct MHD_Response *response = request->response;
    request->response = NULL;
    (void)pthread_mutex_unlock(&request->lock);
    if (!response) {
        return MHD_NO;
    }
    const tmb_server_config *config = request->server->config;
    tmb_connection_deadline(request->server->connections, request->slot,
                            request->answer_bytes == UINT64_MAX
                                ? 0
                                : config->idle_timeout + (double)request->answer_bytes / slowest_client);
    enum MHD_Result result = MHD_queue_response(connection, request->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result begin(tmb_request *request, struct MHD_Connection *connection, const char *method) {
    request->begun = true;
    request->connection = connection;
    request->slot = tmb_connection_of(connection);
    if (!request->slot) {
        return MHD_NO;
    }
    request->method = method_of(method, &request->is_head);
    const tmb_server_config *config = request->server->config;
    uint64_t length = declared_length(connection);
    double seconds = config->idle_timeout +
                     (length == UINT64_MAX ? (double)config->max_json_bytes : (double)length) / slowest_client;
    tmb_connection_begin(request->server->connections, request->slot, seconds);
    bool clear = check_transfer(request, connection);
    if (clear && check_head(request, connection, length)) {
        return MHD_YES;
    }
    /* Refused. Without a body to wait for, or where it is not on its way yet, the answer goes at once. */
    const char *expect = header(connection, MHD_HTTP_HEADER_EXPECT);
    bool answer_now = !clear || length == 0 || (expect && strcasecmp(expect, "100-continue") == 0) ||
                      (length != UINT64_MAX && length > discard_limit);
    request->discarding = true;
    return answer_now ? queue_answer(request, connection) : MHD_YES;
}

static bool append_body(tmb_request *request, const char *data, size_t size) {
    const tmb_server_config *config = request->server->config;
    if (request->form) {
        if (request->body_bytes > form_limit(config)) {
            tmb_refuse(request, 413, NULL, "The form is larger than %llu bytes",
                       (unsigned long long)form_limit(config));
            return false;
        }
        if (!tmb_form_write(request->form, data, size)) {
            const char *field = NULL;
            const char *message = NULL;
            unsigned status = tmb_form_problem(request->form, &field, &message);
            tmb_refuse(request, status, field, "%s", message);
            return false;
        }
        return true;
    }
    if (request->raw_upload) {
        tmb_store_status status = tmb_upload_write(request->raw_upload, data, size);
        if (status != TMB_STORE_OK) {
            tmb_refuse_store(request, status, "file");
        }
        return status == TMB_STORE_OK;
    }
    if (request->route->body == TMB_BODY_NONE) {
        return check_length(request, request->body_bytes, 64 * 1024, "body");
    }
    if (!reserve_memory(request, memory_per_byte * request->body_bytes)) {
        return false;
    }
    if (!tmb_buffer_append(&request->body, data, size)) {
        tmb_refuse(request, 413, NULL, "The body is larger than %llu bytes",
                   (unsigned long long)config->max_json_bytes);
        return false;
    }
    return true;
}

static enum MHD_Result receive(tmb_request *request, const char *data, size_t size) {
    request->body_bytes += size;
    if (request->discarding) {
        return request->body_bytes > discard_limit ? MHD_NO : MHD_YES;
    }
    if (!append_body(request, data, size)) {
        /* What was received is not needed any more; the rest is dropped as it comes. */
        request->discarding = true;
        tmb_form_destroy(request->form);
        request->form = NULL;
        tmb_upload_abort(&request->raw_upload);
        tmb_buffer_free(&request->body);
    }
    return MHD_YES;
}

static void work(void *argument) {
    tmb_request *request = argument;
    if (request->route->flags & TMB_ROUTE_SLOW) {
        atomic_fetch_sub(&request->server->slow_waiting, 1);
    }
    if (tmb_arguments_read(request)) {
        request->route->handle(request);
    }
    tmb_request_release(request);
}

static void retain_request(void *user) { tmb_request_retain(user); }

static void client_left(void *user) {
    tmb_request_leave(user);
    tmb_request_release(user);
}

/* Hands a complete request to a worker and suspends its connection, or refuses it. */
static enum MHD_Result dispatch(tmb_request *request, struct MHD_Connection *connection) {
    tmb_server *server = request->server;
    bool slow = request->route->flags & TMB_ROUTE_SLOW;
    atomic_fetch_add(&server->works_begun, 1);
    if (slow && atomic_fetch_add(&server->slow_waiting, 1) >= server->config->max_enhancing) {
        atomic_fetch_sub(&server->slow_waiting, 1);
        tmb_refuse_for_now(request, 503, 10, "Too many files wait to be worked on");
        return queue_answer(request, connection);
    }
    tmb_connection_watch(server->connections, request->slot, retain_request, client_left, request);
    (void)pthread_mutex_lock(&request->lock);
    request->suspended = true;
    MHD_suspend_connection(connection);
    (void)pthread_mutex_unlock(&request->lock);
    tmb_request_retain(request);
    tmb_error error;
    if (tmb_pool_submit(slow ? server->slow : server->workers, work, request, &error) != TMB_OK) {
        tmb_refuse_for_now(request, 503, 5, "The server is busy");
        tmb_request_release(request);
    }
    /* When the answer is there, the connection is resumed and MHD asks again. */
    return MHD_YES;
}

static enum MHD_Result complete(tmb_request *request, struct MHD_Connection *connection) {
    if (request->discarding || request->dispatched) {
        return queue_answer(request, connection);
    }
    request->dispatched = true;
    request->counted = true;
    atomic_fetch_add(&request->server->in_flight, 1);
    if ((request->route->flags & TMB_ROUTE_WORK) && atomic_load(&request->server->draining)) {
        tmb_refuse_for_now(request, 503, 10, "The server is shutting down");
        return queue_answer(request, connection);
    }
    if (!(request->route->flags & TMB_ROUTE_INLINE)) {
        return dispatch(request, connection);
    }
    if (tmb_arguments_read(request)) {
        request->route->handle(request);
    }
    return queue_answer(request, connection);
}

static enum MHD_Result on_request(void *argument, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data, size_t *size,
                                  void **context) {
    (void)argument;
    (void)url;
    (void)version;
    tmb_request *request = *context;
    if (!request) {
        return MHD_NO;
    }
    if (!request->begun) {
        return begin(request, connection, method);
    }
    if (*size) {
        enum MHD_Result result = receive(request, data, *size);
        *size = 0;
        return result;
    }
    return complete(request, connection);
}

static void *on_uri(void *argument, const char *uri, struct MHD_Connection *connection) {
    (void)connection;
    return tmb_request_create(argument, uri);
}

static void log_request(const tmb_request *request, bool whole) {
    double milliseconds = 1e3 * (tmb_now() - request->started);
    bool quiet = request->route && (request->route->flags & TMB_ROUTE_UNLIMITED) && request->status < 400;
    static const char *const names[] = {"GET", "POST", "DELETE", "OPTIONS", "?"};
    /* The path is the client's: nothing that could forge a line. */
    char path[160];
    (void)snprintf(path, sizeof(path), "%s", request->path);
    for (char *at = path; *at; at++) {
        unsigned char c = (unsigned char)*at;
        *at = c < 0x21 || c > 0x7e || c == '"' || c == '\\' ? '?' : *at;
    }
    tmb_log((tmb_logger *)&request->server->logger, quiet ? TMB_LOG_DEBUG : TMB_LOG_INFO, "%s %s %u %.1fms %s%s%s%s",
            request->is_head ? "HEAD" : names[request->method], path, request->status, milliseconds, request->id,
            request->key_name[0] ? " key=" : "", request->key_name, whole ? "" : " (client left)");
}

static void on_completed(void *argument, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code) {
    (void)connection;
    tmb_server *server = argument;
    tmb_request *request = *context;
    *context = NULL;
    if (!request) {
        return;
    }
    bool whole = code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    if (request->slot) {
        tmb_connection_end(server->connections, request->slot, server->config->idle_timeout);
    }
    (void)pthread_mutex_lock(&request->lock);
    request->connection = NULL;
    /* Small answers go into the void without an error. */
    whole = whole && !request->gone;
    (void)pthread_mutex_unlock(&request->lock);
    tmb_request_leave(request);
    if (request->begun) {
        size_t route = request->route ? (size_t)(request->route - tmb_routes) : SIZE_MAX;
        tmb_metrics_request(server->metrics, route, whole ? request->status : 499, tmb_now() - request->started);
        if (!whole) {
            tmb_metrics_aborted(server->metrics);
        }
        log_request(request, whole);
    }
    if (request->counted) {
        atomic_fetch_sub(&server->in_flight, 1);
    }
    tmb_request_release(request);
}

static void on_log(void *argument, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));
static void on_log(void *argument, const char *format, va_list arguments) {
    tmb_server *server = argument;
    char line[512];
    (void)vsnprintf(line, sizeof(line), format, arguments);
    line[strcspn(line, "\r\n")] = 0;
    tmb_log(&server->logger, TMB_LOG_DEBUG, "http: %s", line);
}

tmb_status tmb_http_start(tmb_server *server, int socket, tmb_error *error) {
    const tmb_server_config *config = server->config;
    /* The limit is shared out among the threads; none may be left without. */
    unsigned threads = (unsigned)config->http_threads;
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, server,
        MHD_OPTION_EXTERNAL_LOGGER, on_log, server, MHD_OPTION_LISTEN_SOCKET, socket, MHD_OPTION_THREAD_POOL_SIZE,
        threads > 1 ? threads : 0u, MHD_OPTION_CONNECTION_LIMIT, (unsigned)config->max_connections,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)config->max_connections_per_address,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(config->idle_timeout + 0.999), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)64 * 1024, MHD_OPTION_URI_LOG_CALLBACK, on_uri, server, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        server, MHD_OPTION_NOTIFY_CONNECTION, tmb_connections_notify, server->connections, MHD_OPTION_STRICT_FOR_CLIENT,
        1, MHD_OPTION_END);
    return server->daemon ? TMB_OK : tmb_fail(error, TMB_ERROR_IO, "cannot start the HTTP server");
}

void tmb_http_stop(tmb_server *server) {
    if (server->daemon) {
        MHD_stop_daemon(server->daemon);
        server->daemon = NULL;
    }
}
