/* GET /openapi.json: OpenAPI 3.1, written from the table that validates requests. */
#include "server/body_fields.h"
#include "server/state.h"
#include "server/web/assets.h"

#include <string.h>

/* The shapes of answers, from schemas.json. */
static json_t *answer_schemas(void) {
    for (const tmb_asset *asset = tmb_assets; asset->path != NULL; asset++) {
        if (strcmp(asset->path, "schemas.json") == 0) {
            return json_loadb((const char *)asset->data, asset->size, JSON_REJECT_DUPLICATES, NULL);
        }
    }
    return NULL;
}

static json_t *reference(const char *name) { return json_pack("{s:s+}", "$ref", "#/components/schemas/", name); }

static json_t *content_of(json_t *content, const char *type, json_t *schema) {
    (void)json_object_set_new(content, type, json_pack("{s:o}", "schema", schema));
    return content;
}

/* The body in one of its types, with the route's example. */
static void describe_body(json_t *content, const tmb_route *route, const tmb_server_config *config, bool form) {
    bool strict = !(route->flags & TMB_ROUTE_OPENAI);
    json_t *schema = tmb_fields_schema(route->fields, config, strict, form);
    if (form && route->body == TMB_BODY_JSON_OR_FORM) {
        /* In a form the reference may be the file itself. */
        json_t *audio = json_object_get(json_object_get(schema, "properties"), "ref_audio");
        (void)json_object_set_new(audio, "format", json_string("binary"));
    }
    const char *type = form ? "multipart/form-data" : "application/json";
    (void)content_of(content, type, schema);
    json_t *example = route->example != NULL ? json_loads(route->example, 0, NULL) : NULL;
    if (example != NULL) {
        (void)json_object_set_new(json_object_get(content, type), "example", example);
    }
}

static json_t *request_body(const tmb_route *route, const tmb_server_config *config) {
    json_t *content = json_object();
    if (route->body == TMB_BODY_JSON || route->body == TMB_BODY_JSON_OR_FORM) {
        describe_body(content, route, config, false);
    }
    if (route->body == TMB_BODY_FORM || route->body == TMB_BODY_FILE || route->body == TMB_BODY_JSON_OR_FORM) {
        describe_body(content, route, config, true);
    }
    if (route->body == TMB_BODY_FILE) {
        (void)content_of(content, "application/octet-stream",
                         json_pack("{s:s, s:s}", "type", "string", "format", "binary"));
        (void)content_of(content, "audio/wav", json_pack("{s:s, s:s}", "type", "string", "format", "binary"));
    }
    return json_pack("{s:b, s:o}", "required", 1, "content", content);
}

/* What stands for a part of the path. */
static json_t *path_schema(const char *name, size_t length) {
    if (strncmp(name, "id", length) == 0) {
        return json_pack("{s:s, s:s}", "type", "string", "pattern", "^[0-9a-f]{32}$");
    }
    return json_pack("{s:s, s:i, s:i}", "type", "string", "minLength", 1, "maxLength", TMB_NAME_LENGTH);
}

static json_t *parameters(const tmb_route *route, const tmb_server_config *config) {
    json_t *list = json_array();
    const char *open = strchr(route->path, '{');
    if (open != NULL) {
        size_t length = strcspn(open + 1, "}");
        (void)json_array_append_new(list, json_pack("{s:s%, s:s, s:b, s:o}", "name", open + 1, length, "in", "path",
                                                    "required", 1, "schema", path_schema(open + 1, length)));
    }
    for (const tmb_field *field = route->query; field != NULL && field->name != NULL; field++) {
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", field->name, "in", "query", "schema",
                                                    tmb_field_schema(field, config, true)));
    }
    return list;
}

/* Problems by status: what makes one possible, and in which words either API tells it. */
static const struct {
    unsigned flag; /* TMB_MAY_...; 0: any route */
    unsigned status;
    const char *summary;
} problems[] = {
    {.status = 400, .summary = "Invalid input: the message names the field"},
    {.flag = TMB_MAY_NEED_KEY, .status = 401, .summary = "A key is needed"},
    {.status = 403, .summary = "A page of another origin, or a foreign address"},
    {.flag = TMB_MAY_BE_MISSING, .status = 404, .summary = "There is no such thing"},
    {.flag = TMB_MAY_NOT_ACCEPT, .status = 406, .summary = "Accept asks for a format that is not written"},
    {.flag = TMB_MAY_CLASH,
     .status = 409,
     .summary = "The name is taken, a job still needs it, the voice was deleted "
                "meanwhile, or the Idempotency-Key came with another body"},
    {.flag = TMB_MAY_REFUSE_BODY, .status = 413, .summary = "The body is over its limit"},
    {.flag = TMB_MAY_REFUSE_BODY, .status = 415, .summary = "Another Content-Type is needed"},
    {.flag = TMB_MAY_NEED_KEY, .status = 429, .summary = "Too many requests with this key: see Retry-After"},
    {.flag = TMB_MAY_BREAK, .status = 500, .summary = "Internal error, with a request id"},
    {.flag = TMB_MAY_BE_BUSY,
     .status = 503,
     .summary = "The queue is full or the model is not available: try again after Retry-After"},
    {.flag = TMB_MAY_BE_LATE, .status = 504, .summary = "The deadline passed"},
    {.flag = TMB_MAY_BE_FULL, .status = 507, .summary = "The disk is full"},
};

/* Adds a content of an answer; `schema` NULL: bytes. */
static void add_answer(json_t *all, const tmb_answer_doc *answer) {
    char status[8];
    (void)snprintf(status, sizeof status, "%u", answer->status);
    json_t *response = json_object_get(all, status);
    if (response == NULL) {
        response = json_pack("{s:s}", "description", answer->summary);
        (void)json_object_set_new(all, status, response);
    }
    if (answer->content_type == NULL) {
        return;
    }
    json_t *content = json_object_get(response, "content");
    if (content == NULL) {
        content = json_object();
        (void)json_object_set_new(response, "content", content);
    }
    bool is_text = strncmp(answer->content_type, "text/", 5) == 0;
    (void)content_of(content, answer->content_type,
                     answer->schema != NULL ? reference(answer->schema)
                     : is_text              ? json_pack("{s:s}", "type", "string")
                                            : json_pack("{s:s, s:s}", "type", "string", "format", "binary"));
}

static json_t *responses(const tmb_route *route) {
    json_t *all = json_object();
    for (const tmb_answer_doc *answer = route->answers; answer != NULL && answer->status; answer++) {
        add_answer(all, answer);
    }
    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; i++) {
        if (!problems[i].flag || (route->problems & problems[i].flag)) {
            const tmb_answer_doc problem = {.status = problems[i].status,
                                            .content_type = "application/json",
                                            .schema = route->flags & TMB_ROUTE_OPENAI ? "OpenAIError" : "Problem",
                                            .summary = problems[i].summary};
            add_answer(all, &problem);
        }
    }
    return all;
}

static json_t *operation(const tmb_route *route, const tmb_server *server) {
    json_t *described = json_pack("{s:s, s:s, s:[s], s:o}", "operationId", route->operation, "summary", route->summary,
                                  "tags", route->tag, "responses", responses(route));
    json_t *list = parameters(route, server->config);
    if (json_array_size(list)) {
        (void)json_object_set(described, "parameters", list);
    }
    json_decref(list);
    if (route->body != TMB_BODY_NONE) {
        (void)json_object_set_new(described, "requestBody", request_body(route, server->config));
    }
    if (route->flags & TMB_ROUTE_OPEN) {
        (void)json_object_set_new(described, "security", json_array());
    }
    return described;
}

json_t *tmb_openapi_create(const tmb_server *server) {
    static const char *const methods[] = {"get", "post", "delete"};
    tmb_body_fields_init();
    json_t *paths = json_object();
    for (const tmb_route *route = tmb_routes; route->handle != NULL; route++) {
        if (route->flags & TMB_ROUTE_HIDDEN) {
            continue;
        }
        json_t *path = json_object_get(paths, route->path);
        if (path == NULL) {
            path = json_object();
            (void)json_object_set_new(paths, route->path, path);
        }
        (void)json_object_set_new(path, methods[route->method], operation(route, server));
    }
    json_t *security = server->keys != NULL ? json_pack("[{s:[]}, {s:[]}]", "key", "bearer") : json_array();
    return json_pack("{s:s, s:{s:s, s:s, s:s, s:{s:s}}, s:o, s:o, s:{s:o, s:{s:{s:s, s:s, s:s}, s:{s:s, s:s}}}}",
                     "openapi", "3.1.0", "info", "title", "timbre", "version", tmb_version(), "description",
                     "Voice cloning with studio-clean sound", "license", "name", "Apache-2.0", "paths", paths,
                     "security", security, "components", "schemas", answer_schemas(), "securitySchemes", "key", "type",
                     "apiKey", "in", "header", "name", "x-api-key", "bearer", "type", "http", "scheme", "bearer");
}
