/* A request's body on its way in: into memory, a form or the store. */
#include "server/arguments.h"
#include "server/form.h"
#include "server/http_parts.h"
#include "server/state.h"

#include <strings.h>

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

bool tmb_body_append(tmb_request *request, const char *data, size_t size) {
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

void tmb_body_drop(tmb_request *request) {
    tmb_form_destroy(request->form);
    request->form = NULL;
    tmb_upload_abort(&request->raw_upload);
    tmb_buffer_free(&request->body);
}
