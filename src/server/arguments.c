#include "server/arguments.h"

#include "base/text.h"
#include "server/form.h"
#include "server/json_scan.h"
#include "server/state.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool tmb_percent_decode(char *text, bool plus) {
    char *out = text;
    for (const char *in = text; *in; in++) {
        if (*in == '%') {
            char digits[3] = {in[1], in[1] ? in[2] : 0, 0};
            unsigned char byte = 0;
            if (!tmb_hex_decode(digits, &byte, 1) || byte == 0) {
                return false;
            }
            *out++ = (char)byte;
            in += 2;
        } else {
            *out++ = plus && *in == '+' ? ' ' : *in;
        }
    }
    *out = 0;
    return true;
}

void tmb_percent_encode(const char *text, char *out, size_t size) {
    size_t used = 0;
    for (const unsigned char *at = (const unsigned char *)text; *at && used + 4 <= size; at++) {
        bool plain = *at < 0x80 && (isalnum(*at) || strchr("-._~", *at) != NULL);
        int added = snprintf(out + used, size - used, plain ? "%c" : "%%%02X", *at);
        used += added > 0 ? (size_t)added : 0;
    }
    out[used] = 0;
}

bool tmb_content_type_is(const char *content_type, const char *type) {
    size_t length = strlen(type);
    return content_type != NULL && strncasecmp(content_type, type, length) == 0 &&
           strchr(" \t;", content_type[length]) != NULL;
}

/* "a=b&c=d" as an object; NULL if it cannot be one (answered). */
static json_t *read_query(tmb_request *request) {
    json_t *object = json_object();
    char *save = NULL;
    for (char *pair = request->query_text != NULL ? strtok_r(request->query_text, "&", &save) : NULL; pair != NULL;
         pair = strtok_r(NULL, "&", &save)) {
        char *value = strchr(pair, '=');
        if (value != NULL) {
            *value++ = 0;
        }
        tmb_problem problem = {.field = "query"};
        if (!tmb_percent_decode(pair, true) || (value != NULL && !tmb_percent_decode(value, true))) {
            tmb_refuse(request, 400, "query", "has a broken escape");
        } else {
            const tmb_field *field = tmb_field_find(request->route->query, pair);
            if (field == NULL) {
                /* Unknown query parameters are ignored, as everywhere on the web. */
                continue;
            }
            json_t *parsed =
                tmb_field_parse(field, value != NULL ? value : "", value != NULL ? strlen(value) : 0, &problem);
            if (parsed != NULL && json_object_get(object, field->name) == NULL) {
                (void)json_object_set_new(object, field->name, parsed);
                continue;
            }
            json_decref(parsed);
            tmb_refuse(request, 400, field->name, "%s", parsed != NULL ? "comes twice" : problem.message);
        }
        json_decref(object);
        return NULL;
    }
    return object;
}

/* The most values that these fields can use. */
static size_t count_values(const tmb_field *fields, const tmb_server_config *config) {
    double count = 1;
    for (const tmb_field *field = fields; field != NULL && field->name != NULL; field++) {
        double each = 1;
        if (field->kind == TMB_FIELD_ITEMS) {
            each = 1 + tmb_field_maximum(field, config) * (double)count_values(field->fields, config);
        } else if (field->kind == TMB_FIELD_VOICE) {
            each = 2;
        }
        if (field->flags & TMB_FIELD_LIST) {
            each = 1 + each * (double)config->max_items;
        }
        count += each;
    }
    return count < 1e9 ? (size_t)count : (size_t)1e9;
}

static bool scan_json(tmb_request *request, const char *text, size_t size) {
    /* A few more than fit are told by their field's name, and some routes ignore fields that they do not know. */
    tmb_json_limits limits = {.values = 4096 + 2 * count_values(request->route->fields, request->server->config),
                              .depth = 64};
    switch (tmb_json_scan(text, size, &limits)) {
    case TMB_JSON_TOO_MANY: tmb_refuse(request, 400, "body", "has more than %zu values", limits.values); return false;
    case TMB_JSON_TOO_DEEP:
        tmb_refuse(request, 400, "body", "is nested deeper than %zu levels", limits.depth);
        return false;
    case TMB_JSON_WITHIN:
    default: return true;
    }
}

static void refuse_json(tmb_request *request, const json_error_t *error) {
    if (json_error_code(error) == json_error_out_of_memory) {
        tmb_refuse_for_now(request, 503, 5, "The server is out of memory");
        return;
    }
    /* jansson quotes the input near the error; say where it is, not what it is. */
    size_t length = strcspn(error->text, "'");
    while (length && strchr(" ,:", error->text[length - 1]) != NULL) {
        length--;
    }
    tmb_refuse(request, 400, "body", "is not valid JSON: %.*s (line %d, column %d)", (int)length, error->text,
               error->line, error->column);
}

static json_t *read_json(tmb_request *request) {
    const char *text = request->body.data != NULL ? request->body.data : "";
    size_t size = request->body.size;
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        /* A byte order mark, as some editors write it. */
        text += 3;
        size -= 3;
    }
    if (!scan_json(request, text, size)) {
        tmb_buffer_free(&request->body);
        return NULL;
    }
    json_error_t error = {.line = -1};
    json_t *value = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    tmb_buffer_free(&request->body);
    if (value == NULL) {
        refuse_json(request, &error);
        return NULL;
    }
    if (!json_is_object(value)) {
        json_decref(value);
        tmb_refuse(request, 400, "body", "must be a JSON object");
        return NULL;
    }
    return value;
}

static json_t *read_form(tmb_request *request) {
    json_t *object = tmb_form_finish(request->form);
    if (object == NULL) {
        const tmb_problem *problem = tmb_form_problem(request->form);
        if (problem->status) {
            tmb_refuse(request, problem->status, problem->field, "%s", problem->message);
        } else {
            tmb_refuse_for_now(request, 503, 5, "The server is out of memory");
        }
    }
    return object;
}

/* Files are required in their own way: they are not in the object. */
static bool check_form(tmb_request *request, tmb_problem *problem) {
    for (const tmb_field *field = request->route->fields; field != NULL && field->name != NULL; field++) {
        bool has_file = request->form != NULL && tmb_form_has_file(request->form, field->name);
        if (has_file && field->kind != TMB_FIELD_FILE && json_object_get(request->arguments, field->name) != NULL) {
            return tmb_problem_set(problem, field->name, 400, "comes twice");
        }
        if (has_file) {
            /* Stands for the file until the handler takes it; the check below wants something there. */
            (void)json_object_set_new(request->arguments, field->name, json_string("@"));
        }
    }
    return true;
}

static bool check_arguments(tmb_request *request, tmb_problem *problem) {
    const tmb_route *route = request->route;
    bool strict = !(route->flags & TMB_ROUTE_OPENAI);
    if (request->form == NULL) {
        return tmb_fields_check(route->fields, request->server->config, request->arguments, strict, problem);
    }
    /* FILE fields are checked here; the rest by the table, without them. */
    json_t *texts = json_object();
    bool good = check_form(request, problem);
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(request->arguments, name, value) {
        const tmb_field *field = tmb_field_find(route->fields, name);
        if (field != NULL && field->kind != TMB_FIELD_FILE) {
            (void)json_object_set(texts, name, value);
        }
    }
    tmb_field without_files[64];
    size_t count = 0;
    for (const tmb_field *field = route->fields; field != NULL && field->name != NULL && count + 1 < 64; field++) {
        if (field->kind != TMB_FIELD_FILE) {
            without_files[count++] = *field;
        } else if (good && (field->flags & TMB_FIELD_REQUIRED) && !tmb_form_has_file(request->form, field->name)) {
            good = tmb_problem_set(problem, field->name, 400, "is missing (a file part of the form)");
        }
    }
    without_files[count] = (tmb_field){.name = NULL};
    good = good && tmb_fields_check(without_files, request->server->config, texts, strict, problem);
    json_decref(texts);
    return good;
}

bool tmb_arguments_read(tmb_request *request) {
    const tmb_route *route = request->route;
    tmb_problem problem = {.field = "", .message = ""};
    request->query = read_query(request);
    if (request->query == NULL) {
        return false;
    }
    if (!tmb_fields_check(route->query, request->server->config, request->query, true, &problem)) {
        tmb_refuse(request, 400, problem.field, "%s", problem.message);
        return false;
    }
    if (route->body == TMB_BODY_NONE || request->raw_upload != NULL) {
        return true;
    }
    request->arguments = request->form != NULL ? read_form(request) : read_json(request);
    if (request->arguments == NULL) {
        return false;
    }
    if (!tmb_fields_settle(route->fields, request->arguments, &problem) || !check_arguments(request, &problem)) {
        tmb_refuse(request, 400, problem.field, "%s", problem.message);
        return false;
    }
    return true;
}
