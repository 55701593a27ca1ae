/* The parameter tables as JSON schemas. */
#include "server/fields.h"

#include <math.h>
#include <string.h>

static json_t *number(double value) {
    return floor(value) == value && fabs(value) < 9.1e15 ? json_integer((json_int_t)value) : json_real(value);
}

static json_t *text_schema(const tmb_field *field, double maximum) {
    json_t *schema = json_pack("{s:s}", "type", "string");
    if (field->minimum > 0) {
        (void)json_object_set_new(schema, "minLength", number(field->minimum));
        /* As the check: something besides white space. */
        (void)json_object_set_new(schema, "pattern", json_string("[^ \\t\\r\\n\\v\\f]"));
    }
    if (!(field->flags & TMB_FIELD_REFERENCE)) {
        (void)json_object_set_new(schema, "maxLength", number(maximum));
    }
    return schema;
}

static json_t *choice_schema(const tmb_field *field) {
    json_t *choices = json_array();
    for (size_t i = 0; field->choices[i] != NULL; i++) {
        (void)json_array_append_new(choices, json_string(field->choices[i]));
    }
    return json_pack("{s:s, s:o}", "type", "string", "enum", choices);
}

/* What a name may not be is told by the refusal: control characters, slashes, blanks at its ends. */
static json_t *name_schema(void) {
    return json_pack("{s:s, s:i, s:i}", "type", "string", "minLength", 1, "maxLength", 64);
}

static json_t *language_schema(void) {
    return json_pack("{s:s, s:i, s:[s, s, s]}", "type", "string", "maxLength", TMB_LANGUAGE_LENGTH - 1, "examples",
                     "en", "zh-CN", "auto");
}

static json_t *value_schema(const tmb_field *field, const tmb_server_config *config) {
    double maximum = tmb_field_maximum(field, config);
    switch (field->kind) {
    case TMB_FIELD_TEXT: return text_schema(field, maximum);
    case TMB_FIELD_CHOICE: return choice_schema(field);
    case TMB_FIELD_LANGUAGE: return language_schema();
    case TMB_FIELD_BOOLEAN: return json_pack("{s:s}", "type", "boolean");
    case TMB_FIELD_NAME: return name_schema();
    case TMB_FIELD_FILE: return json_pack("{s:s, s:s}", "type", "string", "format", "binary");
    case TMB_FIELD_VOICE:
        return json_pack("{s:[{s:s}, {s:s, s:{s:{s:s}}, s:[s], s:b}]}", "anyOf", "type", "string", "type", "object",
                         "properties", "id", "type", "string", "required", "id", "additionalProperties", 0);
    case TMB_FIELD_ITEMS:
        return json_pack("{s:s, s:i, s:o, s:o}", "type", "array", "minItems", 1, "maxItems", number(maximum), "items",
                         tmb_fields_schema(field->fields, config, true, false));
    case TMB_FIELD_INTEGER:
    case TMB_FIELD_NUMBER:
    default: break;
    }
    return json_pack("{s:s, s:o, s:o}", "type", field->kind == TMB_FIELD_INTEGER ? "integer" : "number", "minimum",
                     number(field->minimum), "maximum", number(maximum));
}

/* The aliases behind the summary. */
static json_t *description(const tmb_field *field) {
    char text[640];
    size_t used = (size_t)snprintf(text, sizeof text, "%s", field->summary);
    bool first = true;
    for (size_t i = 0; i < TMB_FIELD_ALIASES && used < sizeof text; i++) {
        if (field->aliases[i] != NULL && strcmp(field->aliases[i], field->name) != 0) {
            used +=
                (size_t)snprintf(text + used, sizeof text - used, "%s%s", first ? " (also: " : ", ", field->aliases[i]);
            first = false;
        }
    }
    if (!first && used < sizeof text) {
        (void)snprintf(text + used, sizeof text - used, ")");
    }
    return json_string(text);
}

/* Makes null one of the values of a schema. */
static json_t *or_null(json_t *schema) {
    json_t *any = json_object_get(schema, "anyOf");
    json_t *type = json_object_get(schema, "type");
    if (any != NULL) {
        (void)json_array_append_new(any, json_pack("{s:s}", "type", "null"));
    } else if (type != NULL) {
        (void)json_object_set_new(schema, "type", json_pack("[O, s]", type, "null"));
    }
    json_t *choices = json_object_get(schema, "enum");
    if (choices != NULL) {
        (void)json_array_append_new(choices, json_null());
    }
    return schema;
}

json_t *tmb_field_schema(const tmb_field *field, const tmb_server_config *config, bool form) {
    json_t *schema = value_schema(field, config);
    bool nullable = !form && !(field->flags & TMB_FIELD_REQUIRED);
    if (!form && (field->flags & TMB_FIELD_LIST)) {
        json_t *element = json_deep_copy(schema);
        json_t *list =
            json_pack("{s:s, s:o, s:i, s:I}", "type", "array", "items", nullable ? or_null(element) : element,
                      "minItems", 1, "maxItems", (json_int_t)config->max_items);
        schema = json_pack("{s:[o, o]}", "anyOf", schema, list);
    }
    schema = nullable ? or_null(schema) : schema;
    if (field->fallback != NULL) {
        (void)json_object_set_new(schema, "default", json_loads(field->fallback, JSON_DECODE_ANY, NULL));
    }
    if (field->example != NULL) {
        json_t *example = json_loads(field->example, JSON_DECODE_ANY, NULL);
        (void)json_object_set_new(schema, "examples", json_pack("[o]", example));
    }
    (void)json_object_set_new(schema, "description", description(field));
    return schema;
}

json_t *tmb_fields_schema(const tmb_field *fields, const tmb_server_config *config, bool strict, bool form) {
    json_t *properties = json_object();
    json_t *required = json_array();
    for (const tmb_field *field = fields; field != NULL && field->name != NULL; field++) {
        (void)json_object_set_new(properties, field->name, tmb_field_schema(field, config, form));
        if (field->flags & TMB_FIELD_REQUIRED) {
            (void)json_array_append_new(required, json_string(field->name));
        }
    }
    json_t *schema = json_pack("{s:s, s:o}", "type", "object", "properties", properties);
    if (json_array_size(required)) {
        (void)json_object_set(schema, "required", required);
    }
    json_decref(required);
    if (strict) {
        (void)json_object_set_new(schema, "additionalProperties", json_false());
    }
    return schema;
}
