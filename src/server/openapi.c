/* GET /openapi.json: OpenAPI 3.1, written from the table that validates requests. */
#include "server/state.h"

#include <string.h>

/* The shapes of answers. */
static const char schemas[] =
    "{\"Problem\":{\"type\":\"object\",\"required\":[\"detail\"],\"additionalProperties\":false,\"properties\":{"
    "\"detail\":{\"type\":\"string\"},\"request_id\":{\"type\":\"string\"}}},"
    "\"Timings\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"number\"},"
    "\"description\":\"Seconds in each stage, until the first audio, and in total\"},"
    "\"Segment\":{\"type\":\"object\",\"required\":[\"text\",\"start\",\"end\"],\"properties\":{\"text\":{\"type\":"
    "\"string\"},"
    "\"start\":{\"type\":\"number\"},\"end\":{\"type\":\"number\"}}},"
    "\"Reference\":{\"type\":[\"object\",\"null\"],\"description\":\"What was measured of the recording: seconds, and "
    "levels in dB "
    "of full scale; null what could not be "
    "measured\",\"properties\":{\"verdict\":{\"enum\":[\"good\",\"doubtful\",\"unusable\"]},"
    "\"duration\":{\"type\":\"number\"},\"speech\":{\"type\":\"number\"},\"level\":{\"type\":[\"number\",\"null\"]},"
    "\"peak\":{\"type\":[\"number\",\"null\"]},\"clipped\":{\"type\":\"integer\"},\"noise\":{\"type\":[\"number\","
    "\"null\"]},"
    "\"noise_clean\":{\"type\":[\"number\",\"null\"]},\"snr\":{\"type\":[\"number\",\"null\"]},\"snr_clean\":{\"type\":"
    "[\"number\",\"null\"]},"
    "\"warnings\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}}},"
    "\"Item\":{\"type\":\"object\",\"required\":[\"custom_id\"],\"properties\":{\"custom_id\":{\"type\":[\"string\","
    "\"null\"]},"
    "\"audio_base64\":{\"type\":[\"string\",\"null\"]},\"url\":{\"type\":\"string\"},\"sample_rate\":{\"type\":"
    "\"integer\"},"
    "\"duration\":{\"type\":\"number\"},\"engine\":{\"type\":\"string\"},\"is_clone\":{\"type\":\"boolean\"},"
    "\"finish_reason\":{\"enum\":[\"stop\",\"length\",\"runaway\"]},\"seed\":{\"type\":\"integer\"},"
    "\"warnings\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"clipped\":{\"type\":\"integer\"},"
    "\"reference\":{\"$ref\":\"#/components/schemas/Reference\"},"
    "\"timings\":{\"$ref\":\"#/components/schemas/Timings\"},\"segments\":{\"type\":\"array\",\"items\":"
    "{\"$ref\":\"#/components/schemas/Segment\"}},\"error\":{\"type\":\"string\"},"
    "\"state\":{\"enum\":[\"queued\",\"running\",\"done\",\"failed\"]}}},"
    "\"CloneResult\":{\"type\":\"object\",\"required\":[\"items\",\"performance\"],\"additionalProperties\":false,"
    "\"properties\":{"
    "\"items\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/"
    "Item\"}},\"performance\":{\"type\":\"number\","
    "\"description\":\"Seconds that the request took\"}}},"
    "\"File\":{\"type\":\"object\",\"required\":[\"id\",\"url\",\"name\",\"content_type\",\"bytes\",\"sample_rate\","
    "\"duration\","
    "\"created\",\"expires\"],\"additionalProperties\":false,\"properties\":{\"id\":{\"type\":\"string\"},\"url\":{"
    "\"type\":\"string\"},"
    "\"name\":{\"type\":\"string\"},\"content_type\":{\"type\":\"string\"},\"bytes\":{\"type\":\"integer\"},"
    "\"sample_rate\":{\"type\":\"integer\"},\"duration\":{\"type\":\"number\"},\"created\":{\"type\":\"number\"},"
    "\"expires\":{\"type\":\"number\"}}},"
    "\"Voice\":{\"type\":\"object\",\"required\":[\"name\",\"url\",\"ref_text\",\"language\",\"x_vector_only\",\"run_"
    "pre_processing\","
    "\"prepared\",\"duration\",\"created\"],\"additionalProperties\":false,\"properties\":{\"name\":{\"type\":"
    "\"string\"},"
    "\"warnings\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"reference\":{\"$ref\":\"#/components/schemas/"
    "Reference\"},"
    "\"url\":{\"type\":\"string\"},\"ref_text\":{\"type\":[\"string\",\"null\"]},\"language\":{\"type\":\"string\"},"
    "\"x_vector_only\":{\"type\":\"boolean\"},\"run_pre_processing\":{\"type\":\"boolean\"},\"prepared\":{\"type\":"
    "\"boolean\"},"
    "\"duration\":{\"type\":\"number\"},\"created\":{\"type\":\"number\"}}},"
    "\"Voices\":{\"type\":\"object\",\"required\":[\"voices\"],\"additionalProperties\":false,\"properties\":{"
    "\"voices\":"
    "{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/Voice\"}}}},"
    "\"Job\":{\"type\":\"object\",\"required\":[\"id\",\"label\",\"state\",\"total\",\"queued\",\"running\",\"done\","
    "\"failed\","
    "\"created\",\"finished\"],\"properties\":{\"id\":{\"type\":\"string\"},\"label\":{\"type\":\"string\"},"
    "\"state\":{\"enum\":[\"queued\",\"running\",\"finished\"]},\"total\":{\"type\":\"integer\"},\"queued\":{\"type\":"
    "\"integer\"},"
    "\"running\":{\"type\":\"integer\"},\"done\":{\"type\":\"integer\"},\"failed\":{\"type\":\"integer\"},"
    "\"created\":{\"type\":\"number\"},\"finished\":{\"type\":[\"number\",\"null\"]}}},"
    "\"Jobs\":{\"type\":\"object\",\"required\":[\"jobs\"],\"additionalProperties\":false,\"properties\":{\"jobs\":"
    "{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/Job\"}}}},"
    "\"JobResults\":{\"allOf\":[{\"$ref\":\"#/components/schemas/Job\"},{\"type\":\"object\",\"required\":[\"items\"],"
    "\"properties\":{\"items\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/Item\"}}}}]},"
    "\"Health\":{\"type\":\"object\",\"required\":[\"status\"],\"properties\":{\"status\":{\"enum\":[\"ok\",\"ready\"]}"
    "}},"
    "\"Anything\":{\"type\":\"object\"},"
    "\"OpenAIError\":{\"type\":\"object\",\"required\":[\"error\"],\"additionalProperties\":false,\"properties\":{"
    "\"error\":"
    "{\"type\":\"object\",\"required\":[\"message\",\"type\",\"param\",\"code\"],\"properties\":{\"message\":{\"type\":"
    "\"string\"},"
    "\"type\":{\"type\":\"string\"},\"param\":{\"type\":[\"string\",\"null\"]},\"code\":{\"type\":[\"string\",\"null\"]"
    "}}}}},"
    "\"OpenAIModels\":{\"type\":\"object\",\"required\":[\"object\",\"data\"],\"properties\":{\"object\":{\"const\":"
    "\"list\"},"
    "\"data\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"id\",\"object\",\"created\",\"owned_"
    "by\"]}}}},"
    "\"OpenAIVoice\":{\"type\":\"object\",\"required\":[\"id\",\"name\"],\"properties\":{\"id\":{\"type\":\"string\"},"
    "\"name\":{\"type\":\"string\"},\"object\":{\"type\":\"string\"}}},"
    "\"OpenAIVoices\":{\"type\":\"object\",\"required\":[\"voices\"],\"properties\":{\"voices\":{\"type\":\"array\","
    "\"items\":"
    "{\"$ref\":\"#/components/schemas/OpenAIVoice\"}}}}}";

static json_t *reference(const char *name) { return json_pack("{s:s+}", "$ref", "#/components/schemas/", name); }

static json_t *content_of(json_t *content, const char *type, json_t *schema) {
    (void)json_object_set_new(content, type, json_pack("{s:o}", "schema", schema));
    return content;
}

static json_t *request_body(const tmb_route *route, const tmb_server_config *config) {
    bool strict = !(route->flags & TMB_ROUTE_OPENAI);
    json_t *content = json_object();
    if (route->body == TMB_BODY_JSON || route->body == TMB_BODY_JSON_OR_FORM) {
        (void)content_of(content, "application/json", tmb_fields_schema(route->fields, config, strict, false));
    }
    if (route->body == TMB_BODY_FORM || route->body == TMB_BODY_FILE || route->body == TMB_BODY_JSON_OR_FORM) {
        json_t *form = tmb_fields_schema(route->fields, config, strict, true);
        if (route->body == TMB_BODY_JSON_OR_FORM) {
            /* In a form the reference may be the file itself. */
            json_t *audio = json_object_get(json_object_get(form, "properties"), "ref_audio");
            (void)json_object_set_new(audio, "format", json_string("binary"));
        }
        (void)content_of(content, "multipart/form-data", form);
    }
    if (route->body == TMB_BODY_FILE) {
        (void)content_of(content, "application/octet-stream",
                         json_pack("{s:s, s:s}", "type", "string", "format", "binary"));
        (void)content_of(content, "audio/wav", json_pack("{s:s, s:s}", "type", "string", "format", "binary"));
    }
    return json_pack("{s:b, s:o}", "required", 1, "content", content);
}

static json_t *parameters(const tmb_route *route, const tmb_server_config *config) {
    json_t *list = json_array();
    const char *open = strchr(route->path, '{');
    if (open) {
        size_t length = strcspn(open + 1, "}");
        bool is_name = strncmp(open + 1, "name", length) == 0;
        (void)json_array_append_new(list, json_pack("{s:s%, s:s, s:b, s:{s:s, s:s}}", "name", open + 1, length, "in",
                                                    "path", "required", 1, "schema", "type", "string", "pattern",
                                                    is_name ? "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$" : "^[0-9a-f]{32}$"));
    }
    for (const tmb_field *field = route->query; field && field->name; field++) {
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", field->name, "in", "query", "schema",
                                                    tmb_field_schema(field, config, true)));
    }
    return list;
}

static json_t *responses(const tmb_route *route) {
    json_t *all = json_object();
    for (const tmb_answer_doc *answer = route->answers; answer && answer->status; answer++) {
        char status[8];
        (void)snprintf(status, sizeof(status), "%u", answer->status);
        json_t *response = json_object_get(all, status);
        if (!response) {
            response = json_pack("{s:s}", "description", answer->summary);
            (void)json_object_set_new(all, status, response);
        }
        if (!answer->content_type) {
            continue;
        }
        json_t *content = json_object_get(response, "content");
        if (!content) {
            content = json_object();
            (void)json_object_set_new(response, "content", content);
        }
        (void)content_of(content, answer->content_type, answer->schema ? reference(answer->schema) : json_object());
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
    json_t *paths = json_object();
    for (const tmb_route *route = tmb_routes; route->handle; route++) {
        if (route->flags & TMB_ROUTE_HIDDEN) {
            continue;
        }
        json_t *path = json_object_get(paths, route->path);
        if (!path) {
            path = json_object();
            (void)json_object_set_new(paths, route->path, path);
        }
        (void)json_object_set_new(path, methods[route->method], operation(route, server));
    }
    json_t *security = server->keys ? json_pack("[{s:[]}, {s:[]}]", "key", "bearer") : json_array();
    return json_pack("{s:s, s:{s:s, s:s, s:s, s:{s:s}}, s:o, s:o, s:{s:o, s:{s:{s:s, s:s, s:s}, s:{s:s, s:s}}}}",
                     "openapi", "3.1.0", "info", "title", "timbre", "version", tmb_version(), "description",
                     "Voice cloning with studio-clean sound", "license", "name", "Apache-2.0", "paths", paths,
                     "security", security, "components", "schemas", json_loads(schemas, 0, NULL), "securitySchemes",
                     "key", "type", "apiKey", "in", "header", "name", "x-api-key", "bearer", "type", "http", "scheme",
                     "bearer");
}
