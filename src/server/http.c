/* The listener: libmicrohttpd's callbacks, and a request's way through them to its handler. */
#include "base/error.h"
#include "server/arguments.h"
#include "server/http_parts.h"
#include "server/state.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    /* A refused request's body is read and dropped up to here, so that the client gets to its answer;
     * beyond it the connection is closed. */
    discard_limit = 64 << 20,
    slowest_client = 16 * 1024 /* bytes a second: bodies and answers must move at least so fast in the mean */
};

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
    if (tmb_http_header(connection, MHD_HTTP_HEADER_TRANSFER_ENCODING)) {
        return UINT64_MAX;
    }
    const char *length = tmb_http_header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return length ? strtoull(length, NULL, 10) : 0;
}

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
    bool clear = tmb_admit_transfer(request, connection);
    if (clear && tmb_admit(request, connection, length)) {
        return MHD_YES;
    }
    /* Refused. Without a body to wait for, or where it is not on its way yet, the answer goes at once. */
    const char *expect = tmb_http_header(connection, MHD_HTTP_HEADER_EXPECT);
    bool answer_now = !clear || length == 0 || (expect && strcasecmp(expect, "100-continue") == 0) ||
                      (length != UINT64_MAX && length > discard_limit);
    request->discarding = true;
    return answer_now ? queue_answer(request, connection) : MHD_YES;
}

static enum MHD_Result receive(tmb_request *request, const char *data, size_t size) {
    request->body_bytes += size;
    if (request->discarding) {
        return request->body_bytes > discard_limit ? MHD_NO : MHD_YES;
    }
    if (!tmb_body_append(request, data, size)) {
        /* What was received is not needed any more; the rest is dropped as it comes. */
        request->discarding = true;
        tmb_body_drop(request);
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
