/* The listener: libmicrohttpd's callbacks, and a request's way through them to its handler. */
#include "base/error.h"
#include "base/memory.h"
#include "server/arguments.h"
#include "server/http_parts.h"
#include "server/state.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* Bytes a second: bodies must come, and answers must be taken, at least so fast. */
static const double slowest_client = 16 * 1024;

static tmb_method method_of(const char *name, bool *is_head) {
    *is_head = strcmp(name, "HEAD") == 0;
    return *is_head || strcmp(name, "GET") == 0 ? TMB_GET
           : strcmp(name, "POST") == 0          ? TMB_POST
           : strcmp(name, "DELETE") == 0        ? TMB_DELETE
           : strcmp(name, "OPTIONS") == 0       ? TMB_OPTIONS
                                                : TMB_METHOD_UNKNOWN;
}

/* Hands the answer to MHD. */
static enum MHD_Result queue_answer(tmb_request *request, struct MHD_Connection *connection) {
    (void)pthread_mutex_lock(&request->lock);
    struct MHD_Response *response = request->response;
    request->response = NULL;
    request->queued = true;
    (void)pthread_mutex_unlock(&request->lock);
    if (response == NULL) {
        return MHD_NO;
    }
    const tmb_server_config *config = request->server->config;
    tmb_connection_answer(request->server->connections, request->slot,
                          request->answer_bytes == UINT64_MAX
                              ? 0
                              : config->idle_timeout + (double)request->answer_bytes / slowest_client);
    enum MHD_Result result = MHD_queue_response(connection, request->status, response);
    MHD_destroy_response(response);
    return result;
}

static void abandon(void *user);

static enum MHD_Result begin(tmb_server *server, struct MHD_Connection *connection, const tmb_request_line *line,
                             void **context) {
    tmb_connection *slot = tmb_connection_of(connection);
    if (slot == NULL) {
        return MHD_NO; /* there was no memory for it */
    }
    tmb_request *request = tmb_request_create(server, tmb_connection_target(slot)->text);
    if (request == NULL) {
        return server->out_of_memory != NULL
                   ? MHD_queue_response(connection, MHD_HTTP_SERVICE_UNAVAILABLE, server->out_of_memory)
                   : MHD_NO;
    }
    *context = request;
    request->connection = connection;
    request->slot = slot;
    request->address = tmb_strdup(tmb_connection_address(slot));
    request->method = method_of(line->method, &request->is_head);
    request->is_last = tmb_connection_is_last(slot);
    tmb_connection_own(slot, request, abandon);
    tmb_connection_begin(server->connections, slot);
    uint64_t length = 0;
    if (tmb_admit(request, connection, line, &length)) {
        return MHD_YES;
    }
    /* Refused. The answer goes at once if a body was to come, and MHD closes the connection. Without one it goes when
     * MHD asks again, so that other requests may follow. */
    if (!length && tmb_http_header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH) == NULL && !request->is_last) {
        request->dispatched = true;
        return MHD_YES;
    }
    if (length || tmb_http_header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH) != NULL) {
        tmb_connection_refused(server->connections, slot);
    }
    request->is_last = true;
    if (request->response != NULL) {
        tmb_response_header(request->response, MHD_HTTP_HEADER_CONNECTION, "close");
    }
    return queue_answer(request, connection);
}

/* The next bytes of the body. MHD takes no answer before it has all of them, so a refusal is written past it; then the
 * connection is given up. */
static enum MHD_Result receive(tmb_request *request, const char *data, size_t size) {
    request->body_bytes += size;
    tmb_connection_progress(request->server->connections, request->slot, size);
    if (tmb_body_append(request, data, size)) {
        return MHD_YES;
    }
    tmb_body_drop(request);
    tmb_request_answer_now(request);
    return MHD_NO;
}

static void work(void *argument) {
    tmb_request *request = argument;
    bool slow = request->route->flags & TMB_ROUTE_SLOW;
    if (slow) {
        atomic_fetch_sub(&request->server->slow_waiting, 1);
    }
    if (slow && tmb_request_gone(request)) {
        tmb_refuse_for_now(request, 503, 5, "The client has left"); /* while its turn did not come */
    } else if (tmb_arguments_read(request)) {
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
    if (request->dispatched) {
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
    (void)url;
    tmb_request *request = *context;
    if (request == NULL) {
        return begin(argument, connection, &(tmb_request_line){.method = method, .version = version}, context);
    }
    if (*size) {
        enum MHD_Result result = receive(request, data, *size);
        *size = 0;
        return result;
    }
    return complete(request, connection);
}

/* The first line has come. Nothing is allocated here, as MHD may give the connection up from here on without a word
 * about the request. */
static void *on_target(void *argument, const char *target, struct MHD_Connection *connection) {
    (void)argument;
    tmb_connection *slot = tmb_connection_of(connection);
    if (slot == NULL || target == NULL) {
        return NULL;
    }
    tmb_target *kept = tmb_connection_target(slot);
    kept->raw = target;
    kept->length = strlen(target);
    (void)snprintf(kept->text, sizeof kept->text, "%s", target);
    /* MHD would keep a record for each argument of the query now, whatever there is room for, and give up without an
     * answer when there is none. It finds none if its copy of the query is empty; the query is read from ours. */
    char *query = strchr(target, '?');
    if (query != NULL) {
        query[1] = 0;
    }
    return NULL;
}

static void log_request(const tmb_request *request, bool whole) {
    double milliseconds = 1e3 * (tmb_now() - request->started);
    bool quiet = request->route != NULL && (request->route->flags & TMB_ROUTE_UNLIMITED) && request->status < 400;
    static const char *const names[] = {"GET", "POST", "DELETE", "OPTIONS", "?"};
    /* The path is the client's: nothing that could forge a line. */
    char path[160];
    (void)snprintf(path, sizeof path, "%s", request->path);
    for (char *at = path; *at; at++) {
        unsigned char c = (unsigned char)*at;
        *at = c < 0x21 || c > 0x7e || c == '"' || c == '\\' ? '?' : *at;
    }
    tmb_log((tmb_logger *)&request->server->logger, quiet ? TMB_LOG_DEBUG : TMB_LOG_INFO, "%s %s %u %.1fms %s%s%s%s",
            request->is_head ? "HEAD" : names[request->method], path, request->status, milliseconds, request->id,
            request->key_name[0] ? " key=" : "", request->key_name, whole ? "" : " (client left)");
}

/* The request is over; `sent`: all of its answer was handed to the kernel. */
static void finish(tmb_request *request, bool sent) {
    tmb_server *server = request->server;
    bool late = tmb_connection_end(server->connections, request->slot, sent && !request->is_last);
    (void)pthread_mutex_lock(&request->lock);
    request->connection = NULL;
    struct MHD_Response *response = request->response;
    request->response = NULL;
    bool whole = request->answered_now || (sent && (!request->gone || request->all_read));
    (void)pthread_mutex_unlock(&request->lock);
    tmb_request_leave(request);
    if (response != NULL) {
        /* Nobody will queue it, and a stream's response holds the request. */
        MHD_destroy_response(response);
    }
    if (!whole && late && !request->queued) {
        request->status = MHD_HTTP_REQUEST_TIMEOUT;
        whole = true;
    }
    size_t route = request->route != NULL ? (size_t)(request->route - tmb_routes) : SIZE_MAX;
    tmb_metrics_request(server->metrics, route, whole ? request->status : 499, tmb_now() - request->started);
    if (!whole) {
        tmb_metrics_aborted(server->metrics);
    }
    log_request(request, whole);
    if (request->counted) {
        atomic_fetch_sub(&server->in_flight, 1);
    }
    tmb_request_release(request);
}

static void abandon(void *user) { finish(user, false); }

static void on_completed(void *argument, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code) {
    (void)argument;
    (void)connection;
    tmb_request *request = *context;
    *context = NULL;
    if (request != NULL) {
        finish(request, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    }
}

static void on_log(void *argument, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));
static void on_log(void *argument, const char *format, va_list arguments) {
    tmb_server *server = argument;
    char line[512];
    (void)vsnprintf(line, sizeof line, format, arguments);
    line[strcspn(line, "\r\n")] = 0;
    tmb_log(&server->logger, TMB_LOG_DEBUG, "http: %s", line);
}

/* The answer to what never becomes a request. */
static size_t refuse_head(void *user, unsigned status, const char *part, const char *problem, char *out, size_t size) {
    tmb_server *server = user;
    unsigned char random[8] = {0};
    char id[17];
    char body[256];
    (void)tmb_random_bytes(random, sizeof random);
    tmb_hex_encode(random, sizeof random, id);
    bool named = status == 400;
    (void)snprintf(body, sizeof body, "{\"detail\":\"%s%s%s%s\"}", named ? "Invalid Input: " : "", named ? part : "",
                   named ? ": " : "", problem);
    (void)snprintf(out, size,
                   "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                   "Cache-Control: no-store\r\n%sX-Request-Id: %s\r\n\r\n%s",
                   status, MHD_get_reason_phrase_for(status), strlen(body), status == 503 ? "Retry-After: 5\r\n" : "",
                   id, body);
    tmb_metrics_request(server->metrics, SIZE_MAX, status, 0);
    tmb_log(&server->logger, TMB_LOG_INFO, "? ? %u %s %s", status, id, problem);
    return strlen(out);
}

tmb_connection_limits tmb_http_limits(tmb_server *server) {
    const tmb_server_config *config = server->config;
    return (tmb_connection_limits){.connections = (size_t)config->max_connections,
                                   .of_address = (size_t)config->max_connections_per_address,
                                   .header_timeout = config->header_timeout,
                                   .idle_timeout = config->idle_timeout,
                                   .bytes_per_second = slowest_client,
                                   .refuse = refuse_head,
                                   .user = server};
}

tmb_status tmb_http_start(tmb_server *server, int socket, tmb_error *error) {
    const tmb_server_config *config = server->config;
    /* The limit is shared out among the threads; none may be left without. Who may stay is the table's to say. */
    unsigned threads = (unsigned)config->http_threads;
    server->out_of_memory = tmb_response_out_of_memory();
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_NO_LISTEN_SOCKET, 0,
        NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, on_log, server, MHD_OPTION_THREAD_POOL_SIZE,
        threads > 1 ? threads : 0u, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)config->max_connections + 4 * TMB_SPARE_CONNECTIONS + threads, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(config->idle_timeout + 0.999), MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)64 * 1024,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, server, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,
        MHD_OPTION_NOTIFY_CONNECTION, tmb_connections_notify, server->connections, MHD_OPTION_STRICT_FOR_CLIENT, 0,
        MHD_OPTION_END);
    if (server->daemon == NULL) {
        (void)close(socket);
        return tmb_fail(error, TMB_ERROR_IO, "cannot start the HTTP server");
    }
    tmb_http_listen(server, socket);
    return TMB_OK;
}

void tmb_http_listen(tmb_server *server, int socket) {
    (void)fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
    tmb_connections_listen(server->connections, socket, server->daemon);
}

void tmb_http_stop(tmb_server *server) {
    if (server->connections != NULL) {
        tmb_connections_stop_listening(server->connections);
    }
    if (server->daemon != NULL) {
        MHD_stop_daemon(server->daemon);
        server->daemon = NULL;
    }
    if (server->out_of_memory != NULL) {
        MHD_destroy_response(server->out_of_memory);
        server->out_of_memory = NULL;
    }
}
