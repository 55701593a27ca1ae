#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "base/utf8.h"
#include "server/request.h"
#include "server/rope.h"
#include "server/state.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void tmb_answer_text(tmb_request *request, unsigned status, const char *content_type, const char *text, size_t size) {
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    if (response != NULL) {
        tmb_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    }
    tmb_answer(request, status, response, size);
}

void tmb_answer_json(tmb_request *request, unsigned status, json_t *value) {
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(value);
    struct MHD_Response *response = NULL;
    size_t size = text != NULL ? strlen(text) : 0;
    if (text != NULL) {
        response = MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE);
        if (response == NULL) {
            free(text);
        }
    }
    if (response != NULL) {
        tmb_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    }
    tmb_answer(request, status, response, size);
}

void tmb_answer_empty(tmb_request *request, unsigned status) {
    tmb_answer(request, status, MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT), 0);
}

/* A rope on its way out. Its files may come from other machines: they are opened by a pool while the connection sleeps,
 * since a thread of libmicrohttpd has other clients. */
typedef struct rope_answer {
    tmb_rope *rope;
    tmb_request *request; /* not held: the answer is the request's */
    tmb_work opening;
    bool failed;
} rope_answer;

/* On the pool. */
static void open_next(void *argument) {
    rope_answer *answer = argument;
    tmb_request *request = answer->request;
    answer->failed = tmb_request_gone(request) || !tmb_rope_go_on(answer->rope);
    tmb_request_wake(request);
    tmb_request_release(request);
}

static ssize_t read_rope(void *argument, uint64_t position, char *out, size_t capacity) {
    rope_answer *answer = argument;
    tmb_request *request = answer->request;
    const ssize_t got = answer->failed ? -1 : tmb_rope_read(answer->rope, position, out, capacity);
    if (got == 0 && tmb_rope_waits(answer->rope)) {
        tmb_request_retain(request);
        if (tmb_request_sleep(request)) {
            tmb_pool_post(request->server->opening, &answer->opening, open_next, answer);
            return 0;
        }
        tmb_request_release(request);
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    return got < 0 ? MHD_CONTENT_READER_END_WITH_ERROR : got == 0 ? MHD_CONTENT_READER_END_OF_STREAM : got;
}

static void free_rope(void *argument) {
    rope_answer *answer = argument;
    tmb_rope_destroy(answer->rope);
    free(answer);
}

void tmb_answer_rope(tmb_request *request, unsigned status, const char *content_type, tmb_rope *rope) {
    uint64_t size = tmb_rope_size(rope);
    struct MHD_Response *response = NULL;
    rope_answer *answer = tmb_calloc(1, sizeof *answer);
    if (answer != NULL) {
        *answer = (rope_answer){.rope = rope, .request = request};
        response = MHD_create_response_from_callback(size, 32 * 1024, read_rope, answer, free_rope);
    }
    if (response != NULL) {
        tmb_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    } else {
        tmb_rope_destroy(rope);
        free(answer);
    }
    tmb_answer(request, status, response, size);
}

/* OpenAI's word for a status. */
static const char *error_type(unsigned status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

static json_t *error_body(const tmb_request *request, unsigned status, const char *field, const char *message) {
    char raw[2400];
    char detail[1024];
    char name[128];
    if (status == 400 && field != NULL) {
        (void)snprintf(raw, sizeof raw, "Invalid Input: %s: %s", field, message);
    } else if (status == 400) {
        (void)snprintf(raw, sizeof raw, "Invalid Input: %s", message);
    } else {
        (void)snprintf(raw, sizeof raw, "%s", message);
    }
    /* A message may quote what is no text. */
    (void)tmb_utf8_clean(raw, strlen(raw), detail, sizeof detail);
    if (field != NULL) {
        (void)tmb_utf8_clean(field, strlen(field), name, sizeof name);
        field = name;
    }
    bool openai = request->route != NULL ? (request->route->flags & TMB_ROUTE_OPENAI) != 0
                                         : strncmp(request->path, "/v1/", 4) == 0;
    if (openai) {
        return json_pack("{s:{s:s, s:s, s:s?, s:s?}}", "error", "message", detail, "type", error_type(status), "param",
                         status < 500 ? field : NULL, "code",
                         status == 401                    ? "invalid_api_key"
                         : status == 429                  ? "rate_limit_exceeded"
                         : status == 400 && field != NULL ? "invalid_value"
                                                          : NULL);
    }
    return status >= 500 ? json_pack("{s:s, s:s}", "detail", detail, "request_id", request->id)
                         : json_pack("{s:s}", "detail", detail);
}

static void refuse(tmb_request *request, unsigned status, double retry_seconds, const char *field,
                   const char *message) {
    json_t *body = error_body(request, status, field, message);
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(body);
    size_t size = text != NULL ? strlen(text) : 0;
    struct MHD_Response *response = text != NULL ? MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_COPY)
                                                 : tmb_response_out_of_memory();
    if (text == NULL || response == NULL) {
        free(text);
        tmb_answer(request, MHD_HTTP_SERVICE_UNAVAILABLE, response, 0);
        return;
    }
    free(request->refusal);
    request->refusal = text;
    tmb_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    if (status == 503 && retry_seconds <= 0) {
        retry_seconds = 5;
    }
    if (retry_seconds > 0) {
        char seconds[32];
        (void)snprintf(seconds, sizeof seconds, "%.0f", ceil(retry_seconds));
        tmb_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
    }
    if (status == 401) {
        tmb_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer realm=\"timbre\"");
    }
    tmb_answer(request, status, response, size);
}

void tmb_refuse(tmb_request *request, unsigned status, const char *field, const char *format, ...) {
    char message[2048];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    refuse(request, status, 0, field, message);
}

void tmb_refuse_for_now(tmb_request *request, unsigned status, double retry_seconds, const char *format, ...) {
    char message[2048];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    refuse(request, status, retry_seconds < 1 ? 1 : retry_seconds, NULL, message);
}

unsigned tmb_store_problem(tmb_store_status status, const char *what, char *message, size_t size) {
    static const struct {
        tmb_store_status status;
        unsigned code;
        const char *before, *after; /* what it is about stands between them; NULL: nothing does */
    } problems[] = {
        {TMB_STORE_NOT_FOUND, 404, "No such ", ""},
        {TMB_STORE_EXISTS, 409, "The ", " exists already"},
        {TMB_STORE_IN_USE, 409, "The ", " is needed by a job"},
        {TMB_STORE_NO_SPACE, 507, "There is no room left for the ", ""},
        {TMB_STORE_TOO_LARGE, 413, "The ", " is too large"},
        {TMB_STORE_DAMAGED, 500, "The ", " is damaged on the server's disk"},
        {TMB_STORE_BUSY, 503, "The ", " cannot be stored or read at the moment"},
        {TMB_STORE_FAILED, 500, "The ", " cannot be stored or read: the server's log says why"},
        {TMB_STORE_FULL, 503, "The queue is full", NULL},
    };
    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; i++) {
        if (problems[i].status == status) {
            const char *after = problems[i].after;
            (void)snprintf(message, size, "%s%s%s", problems[i].before, after != NULL ? what : "",
                           after != NULL ? after : "");
            return problems[i].code;
        }
    }
    (void)snprintf(message, size, "Internal Error");
    return 500;
}

void tmb_refuse_store(tmb_request *request, tmb_store_status status, const char *what) {
    char message[160];
    unsigned code = tmb_store_problem(status, what, message, sizeof message);
    tmb_refuse(request, code, NULL, "%s", message);
}

void tmb_answer_and_remove(tmb_request *request, const char *path, const char *type) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int code = errno;
    (void)unlink(path);
    off_t size = descriptor < 0 ? -1 : lseek(descriptor, 0, SEEK_END);
    struct MHD_Response *response = size < 0 ? NULL : MHD_create_response_from_fd64((uint64_t)size, descriptor);
    if (response == NULL) {
        bool busy = descriptor >= 0 || tmb_errno_is_exhausted(code);
        (void)(descriptor >= 0 ? close(descriptor) : 0);
        tmb_refuse(request, busy ? 503 : 500, NULL, "%s", busy ? "The server is busy" : "Internal Error");
        return;
    }
    tmb_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    tmb_answer(request, MHD_HTTP_OK, response, (uint64_t)size);
}
