/* A request's body on its way in: into memory, a form or the store. */
#include "server/arguments.h"
#include "server/form.h"
#include "server/http_parts.h"
#include "server/state.h"

#include <strings.h>

/* Text, parsed text and decoded audio are in memory together for a moment. */
static const uint64_t memory_per_byte = 3;

/* Books memory for the body as it comes, in steps: what a head promises costs nothing yet. */
static bool reserve_memory(tmb_request *request, uint64_t body_bytes) {
    static const uint64_t step = 16 * 1024;
    uint64_t wanted = memory_per_byte * ((body_bytes + step - 1) / step * step);
    if (wanted <= request->reserved_memory) {
        return true;
    }
    switch (tmb_body_budget_take(request->server->body_memory, tmb_request_client(request),
                                 wanted - request->reserved_memory)) {
    case TMB_BODY_BUDGET_GRANTED: request->reserved_memory = wanted; return true;
    case TMB_BODY_BUDGET_SHARE:
        tmb_refuse_for_now(request, 503, 5, "Too much is being received from you at the moment");
        return false;
    case TMB_BODY_BUDGET_FULL:
    default: tmb_refuse_for_now(request, 503, 5, "Too much is being received at the moment"); return false;
    }
}

static bool check_length(tmb_request *request, uint64_t length, uint64_t limit, const char *what) {
    if (length != UINT64_MAX && length > limit) {
        tmb_refuse(request, 413, NULL, "The %s is larger than %llu bytes", what, (unsigned long long)limit);
        return false;
    }
    return true;
}

/* A form's parts carry heads of their own. */
static uint64_t form_limit(const tmb_server_config *config) { return config->max_upload_bytes + (1 << 20); }

static bool refuse_memory(tmb_request *request) {
    tmb_refuse_for_now(request, 503, 5, "The server is out of memory");
    return false;
}

/* Whether the form is well so far. */
static bool check_form(tmb_request *request) {
    const tmb_problem *problem = tmb_form_problem(request->form);
    if (problem->status) {
        tmb_refuse(request, problem->status, problem->field, "%s", problem->message);
    }
    return !problem->status;
}

bool tmb_body_prepare(tmb_request *request, uint64_t length) {
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
        return request->form != NULL ? check_form(request) : refuse_memory(request);
    }
    if (route->body == TMB_BODY_FILE && type != NULL &&
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
        return check_length(request, length, config->max_json_bytes, "body") && reserve_memory(request, 1);
    }
    tmb_refuse(request, 415, NULL, "Content-Type must be %s",
               route->body == TMB_BODY_JSON   ? "application/json"
               : route->body == TMB_BODY_FORM ? "multipart/form-data"
               : route->body == TMB_BODY_FILE ? "multipart/form-data, audio/* or application/octet-stream"
                                              : "application/json or multipart/form-data");
    return false;
}

bool tmb_body_append(tmb_request *request, const char *data, size_t size) {
    const tmb_server_config *config = request->server->config;
    if (request->form != NULL) {
        if (request->body_bytes > form_limit(config)) {
            tmb_refuse(request, 413, NULL, "The form is larger than %llu bytes",
                       (unsigned long long)form_limit(config));
            return false;
        }
        return (tmb_form_write(request->form, data, size) || check_form(request)) &&
               reserve_memory(request, tmb_form_text_bytes(request->form));
    }
    if (request->raw_upload != NULL) {
        tmb_store_status status = tmb_upload_write(request->raw_upload, data, size);
        if (status != TMB_STORE_OK) {
            tmb_refuse_store(request, status, "file");
        }
        return status == TMB_STORE_OK;
    }
    if (request->route->body == TMB_BODY_NONE) {
        return check_length(request, request->body_bytes, 64 * 1024, "body");
    }
    if (!reserve_memory(request, request->body_bytes)) {
        return false;
    }
    bool fits = request->body_bytes <= config->max_json_bytes;
    if (!tmb_buffer_append(&request->body, data, size) && fits) {
        return refuse_memory(request);
    }
    if (!fits) {
        tmb_refuse(request, 413, NULL, "The body is larger than %llu bytes",
                   (unsigned long long)config->max_json_bytes);
        return false;
    }
    return true;
}

void tmb_body_drop(tmb_request *request) {
    tmb_form_destroy(request->form);
    request->form = NULL;
    tmb_upload_abort(&request->raw_upload);
    tmb_buffer_free(&request->body);
    tmb_request_free_memory(request);
}
