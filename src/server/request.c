#include "server/request.h"

#include "base/memory.h"
#include "server/form.h"
#include "server/http_parts.h"
#include "server/state.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct tmb_chunk {
    struct tmb_chunk *next;
    size_t size, taken;
    double seconds;
    char data[];
};

/* "http://host/path" asks for "/path", whatever the authority. */
static const char *skip_authority(const char *target) {
    if (strncasecmp(target, "http://", 7) != 0 && strncasecmp(target, "https://", 8) != 0) {
        return target;
    }
    const char *authority = strstr(target, "://") + 3;
    return authority + strcspn(authority, "/?");
}

tmb_request *tmb_request_create(tmb_server *server, const char *target) {
    tmb_request *request = tmb_calloc(1, sizeof *request);
    if (request == NULL) {
        return NULL;
    }
    const char *uri = skip_authority(target);
    size_t path_length = strcspn(uri, "?");
    request->path = tmb_calloc(path_length + 2, 1);
    const char *authority = uri == target ? NULL : strstr(target, "://") + 3;
    request->authority = authority != NULL ? strndup(authority, (size_t)(uri - authority)) : NULL;
    request->query_text = uri[path_length] ? tmb_strdup(uri + path_length + 1) : NULL;
    unsigned char random[8] = {0};
    if (request->path == NULL || (authority != NULL && request->authority == NULL) ||
        (uri[path_length] && request->query_text == NULL) || !tmb_random_bytes(random, sizeof random)) {
        free(request->path);
        free(request->authority);
        free(request->query_text);
        free(request);
        return NULL;
    }
    memcpy(request->path, uri, path_length);
    if (uri != target && path_length == 0) {
        request->path[0] = '/';
    }
    tmb_hex_encode(random, sizeof random, request->id);
    request->server = server;
    request->references = 1;
    request->started = tmb_now();
    request->body.maximum = (size_t)server->config->max_json_bytes;
    (void)pthread_mutex_init(&request->lock, NULL);
    (void)pthread_cond_init(&request->changed, NULL);
    return request;
}

const char *tmb_request_client(const tmb_request *request) {
    return request->key_name[0] ? request->key_name : request->address != NULL ? request->address : "";
}

void tmb_request_free_memory(tmb_request *request) {
    tmb_body_budget_give_back(request->server->body_memory, tmb_request_client(request), request->reserved_memory);
    request->reserved_memory = 0;
}

void tmb_request_retain(tmb_request *request) { atomic_fetch_add(&request->references, 1); }

void tmb_request_release(tmb_request *request) {
    if (atomic_fetch_sub(&request->references, 1) > 1) {
        return;
    }
    if (request->on_free != NULL) {
        request->on_free(request->user);
    }
    while (request->first_chunk != NULL) {
        tmb_chunk *next = request->first_chunk->next;
        free(request->first_chunk);
        request->first_chunk = next;
    }
    if (request->response != NULL) {
        MHD_destroy_response(request->response);
    }
    tmb_form_destroy(request->form);
    tmb_upload_abort(&request->raw_upload);
    json_decref(request->arguments);
    json_decref(request->query);
    tmb_buffer_free(&request->body);
    tmb_request_free_memory(request);
    if (request->booked_storage) {
        tmb_store_unbook(request->server->store, request->booked_storage);
    }
    for (size_t i = 0; i < request->header_count; i++) {
        free(request->headers[i].value);
    }
    free(request->refusal);
    free(request->address);
    free(request->path);
    free(request->authority);
    free(request->query_text);
    free(request->content_type);
    free(request->accept);
    free(request->range);
    free(request->if_none_match);
    free(request->if_range);
    free(request->idempotency_key);
    (void)pthread_mutex_destroy(&request->lock);
    (void)pthread_cond_destroy(&request->changed);
    free(request);
}

void tmb_request_attach(tmb_request *request, void *user, void (*gone)(void *user), void (*release)(void *user)) {
    (void)pthread_mutex_lock(&request->lock);
    request->user = user;
    request->on_free = release;
    bool is_gone = request->gone;
    request->on_gone = is_gone ? NULL : gone;
    (void)pthread_mutex_unlock(&request->lock);
    if (is_gone) {
        gone(user);
    }
}

bool tmb_request_gone(tmb_request *request) {
    (void)pthread_mutex_lock(&request->lock);
    bool gone = request->gone;
    (void)pthread_mutex_unlock(&request->lock);
    return gone;
}

/* With the lock held. */
static void resume(tmb_request *request) {
    if (request->suspended && request->connection != NULL) {
        request->suspended = false;
        MHD_resume_connection(request->connection);
    }
}

bool tmb_request_sleep(tmb_request *request) {
    (void)pthread_mutex_lock(&request->lock);
    bool sleeps = request->connection != NULL && !request->suspended;
    if (sleeps) {
        request->suspended = true;
        MHD_suspend_connection(request->connection);
    }
    (void)pthread_mutex_unlock(&request->lock);
    return sleeps;
}

void tmb_request_wake(tmb_request *request) {
    (void)pthread_mutex_lock(&request->lock);
    resume(request);
    (void)pthread_mutex_unlock(&request->lock);
}

void tmb_request_leave(tmb_request *request) {
    (void)pthread_mutex_lock(&request->lock);
    request->gone = true;
    void (*gone)(void *) = request->on_gone;
    void *user = request->user;
    request->on_gone = NULL;
    (void)pthread_cond_broadcast(&request->changed);
    /* A stream's reader looks again and ends. A request that waits for its answer gets it, as what it
     * waits for is being cancelled. */
    if (request->streaming) {
        resume(request);
    }
    (void)pthread_mutex_unlock(&request->lock);
    if (gone != NULL) {
        gone(user);
    }
}

void tmb_response_header(struct MHD_Response *response, const char *name, const char *value) {
    (void)MHD_add_response_header(response, name, value);
}

void tmb_request_header(tmb_request *request, const char *name, const char *value) {
    if (request->header_count < sizeof request->headers / sizeof request->headers[0]) {
        char *copy = tmb_strdup(value);
        if (copy != NULL) {
            request->headers[request->header_count].name = name;
            request->headers[request->header_count++].value = copy;
        }
    }
}

void tmb_request_warn(tmb_request *request, const json_t *warnings) {
    char line[2048]; /* all that a reference may have */
    size_t used = 0;
    for (size_t i = 0; i < json_array_size(warnings); i++) {
        const char *text = json_string_value(json_array_get(warnings, i));
        if (text != NULL && used + strlen(text) + 3 <= sizeof line) {
            used += (size_t)snprintf(line + used, sizeof line - used, "%s%s", used > 0 ? "; " : "", text);
        }
    }
    for (size_t i = 0; i < used; i++) {
        line[i] = line[i] < 0x20 || line[i] > 0x7e ? '?' : line[i];
    }
    if (used > 0) {
        tmb_request_header(request, "X-Timbre-Warnings", line);
    }
}

/* What every answer carries. */
static void add_common_headers(tmb_request *request, struct MHD_Response *response) {
    tmb_response_header(response, "X-Request-Id", request->id);
    tmb_response_header(response, "X-Content-Type-Options", "nosniff");
    if (MHD_get_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL) == NULL) {
        tmb_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    }
    for (size_t i = 0; i < request->header_count; i++) {
        tmb_response_header(response, request->headers[i].name, request->headers[i].value);
    }
    tmb_access_headers(request, response);
    request->is_last = request->is_last || atomic_load(&request->server->draining);
    if (request->is_last) {
        tmb_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    }
}

void tmb_answer(tmb_request *request, unsigned status, struct MHD_Response *response, uint64_t bytes) {
    if (response != NULL) {
        add_common_headers(request, response);
    } else {
        response = tmb_response_out_of_memory();
        status = MHD_HTTP_SERVICE_UNAVAILABLE;
        bytes = 0;
    }
    (void)pthread_mutex_lock(&request->lock);
    struct MHD_Response *unwanted = request->response;
    if (request->connection == NULL || request->queued) {
        /* Nobody will send it. It must not stay with the request, which a stream's response holds in turn. */
        unwanted = response;
    } else {
        request->response = response;
        request->status = response != NULL ? status : 500;
        request->answer_bytes = bytes;
        resume(request);
    }
    (void)pthread_mutex_unlock(&request->lock);
    if (unwanted != NULL) {
        MHD_destroy_response(unwanted);
    }
}

static enum MHD_Result write_header(void *argument, enum MHD_ValueKind kind, const char *name, const char *value) {
    (void)kind;
    tmb_buffer *head = argument;
    if (strcasecmp(name, MHD_HTTP_HEADER_CONNECTION) != 0) {
        (void)tmb_buffer_printf(head, "%s: %s\r\n", name, value);
    }
    return MHD_YES;
}

void tmb_request_answer_now(tmb_request *request) {
    (void)pthread_mutex_lock(&request->lock);
    struct MHD_Response *response = request->response;
    request->response = NULL;
    request->queued = true;
    request->answered_now = response != NULL && request->refusal != NULL;
    (void)pthread_mutex_unlock(&request->lock);
    if (request->answered_now) {
        tmb_buffer head = {.maximum = 16 * 1024};
        (void)tmb_buffer_printf(&head, "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Length: %zu\r\n",
                                request->status, MHD_get_reason_phrase_for(request->status), strlen(request->refusal));
        (void)MHD_get_response_headers(response, write_header, &head);
        (void)tmb_buffer_printf(&head, "\r\n%s", request->refusal);
        tmb_connection_answer_now(request->server->connections, request->slot, head.data != NULL ? head.data : "",
                                  head.failed ? 0 : head.size);
        tmb_buffer_free(&head);
    }
    if (response != NULL) {
        MHD_destroy_response(response);
    }
}

struct MHD_Response *tmb_response_out_of_memory(void) {
    static const char text[] = "{\"detail\":\"The server is out of memory\"}";
    struct MHD_Response *response =
        MHD_create_response_from_buffer(sizeof text - 1, (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
    if (response != NULL) {
        tmb_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
        tmb_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "5");
        tmb_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    }
    return response;
}

static ssize_t read_stream(void *argument, uint64_t position, char *out, size_t capacity) {
    (void)position;
    tmb_request *request = argument;
    ssize_t result = 0;
    (void)pthread_mutex_lock(&request->lock);
    tmb_chunk *chunk = request->first_chunk;
    if (request->gone) {
        result = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (chunk != NULL) {
        size_t take = chunk->size - chunk->taken;
        take = take < capacity ? take : capacity;
        memcpy(out, chunk->data + chunk->taken, take);
        chunk->taken += take;
        request->ahead_bytes -= take;
        if (chunk->taken == chunk->size) {
            request->ahead -= chunk->seconds;
            request->first_chunk = chunk->next;
            request->last_chunk = chunk->next != NULL ? request->last_chunk : NULL;
            free(chunk);
            (void)pthread_cond_broadcast(&request->changed);
        }
        result = (ssize_t)take;
    } else if (request->stream_ended) {
        request->all_read = !request->stream_failed;
        if (request->trailer != NULL && request->all_read) {
            (void)MHD_add_response_footer(request->stream, request->trailer, request->trailer_value);
            request->trailer = NULL;
        }
        result = request->stream_failed ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
    } else if (request->connection != NULL) {
        request->suspended = true;
        MHD_suspend_connection(request->connection);
    }
    (void)pthread_mutex_unlock(&request->lock);
    return result;
}

static void release_stream(void *argument) { tmb_request_release(argument); }

void tmb_stream_begin(tmb_request *request, const char *content_type) {
    tmb_request_retain(request);
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16 * 1024, read_stream, request, release_stream);
    if (response != NULL) {
        tmb_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
        /* A reverse proxy must pass audio on as it comes. */
        tmb_response_header(response, "X-Accel-Buffering", "no");
    } else {
        tmb_request_release(request);
    }
    (void)pthread_mutex_lock(&request->lock);
    request->streaming = response != NULL;
    request->stream = response;
    (void)pthread_mutex_unlock(&request->lock);
    tmb_answer(request, MHD_HTTP_OK, response, UINT64_MAX);
}

/* Bytes that may wait whatever they stand for: a chunk's own size and events without audio. */
static const size_t ahead_bytes_limit = 4 << 20;

bool tmb_stream_write(tmb_request *request, const void *data, size_t size, double seconds) {
    if (!size) {
        return !tmb_request_gone(request);
    }
    tmb_chunk *chunk = malloc(sizeof *chunk + size);
    if (chunk == NULL) {
        return false;
    }
    *chunk = (tmb_chunk){.size = size, .seconds = seconds};
    memcpy(chunk->data, data, size);
    double limit = request->server->config->stream_ahead;
    (void)pthread_mutex_lock(&request->lock);
    while (!request->gone && request->first_chunk != NULL &&
           (request->ahead + seconds > limit || request->ahead_bytes + size > ahead_bytes_limit)) {
        (void)pthread_cond_wait(&request->changed, &request->lock);
    }
    bool good = !request->gone && !request->stream_ended && request->streaming;
    if (good) {
        if (request->last_chunk != NULL) {
            request->last_chunk->next = chunk;
        } else {
            request->first_chunk = chunk;
        }
        request->last_chunk = chunk;
        request->ahead += seconds;
        request->ahead_bytes += size;
        resume(request);
    }
    (void)pthread_mutex_unlock(&request->lock);
    if (!good) {
        free(chunk);
    }
    return good;
}

void tmb_stream_trailer(tmb_request *request, const char *name, const char *value) {
    (void)pthread_mutex_lock(&request->lock);
    (void)snprintf(request->trailer_value, sizeof request->trailer_value, "%s", value);
    request->trailer = name;
    (void)pthread_mutex_unlock(&request->lock);
}

void tmb_stream_end(tmb_request *request, bool good) {
    (void)pthread_mutex_lock(&request->lock);
    request->stream_ended = true;
    request->stream_failed = !good;
    resume(request);
    (void)pthread_mutex_unlock(&request->lock);
}
