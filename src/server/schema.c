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
    for (size_t i = 0; field->choices[i]; i++) {
        (void)json_array_append_new(choices, json_string(field->choices[i]));
    }
    return json_pack("{s:s, s:o}", "type", "string", "enum", choices);
}

static json_t *name_schema(void) {
    return json_pack("{s:s, s:s}", "type", "string", "pattern", "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$");
}

static json_t *value_schema(const tmb_field *field, const tmb_server_config *config) {
    double maximum = tmb_field_maximum(field, config);
    switch (field->kind) {
    case TMB_FIELD_TEXT: return text_schema(field, maximum);
    case TMB_FIELD_CHOICE: return choice_schema(field);
    case TMB_FIELD_BOOLEAN: return json_pack("{s:s}", "type", "boolean");
    case TMB_FIELD_NAME: return name_schema();
    case TMB_FIELD_FILE: return json_pack("{s:s, s:s}", "type", "string", "format", "binary");
    case TMB_FIELD_VOICE:
        return json_pack("{s:[o, {s:s, s:{s:o}, s:[s], s:b}]}", "anyOf", name_schema(), "type", "object", "properties",
                         "id", name_schema(), "required", "id", "additionalProperties", 0);
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

static json_t *or_null(json_t *schema) { return json_pack("{s:[o, {s:s}]}", "anyOf", schema, "type", "null"); }

json_t *tmb_field_schema(const tmb_field *field, const tmb_server_config *config, bool form) {
    json_t *schema = value_schema(field, config);
    if (!form && (field->flags & TMB_FIELD_LIST)) {
        json_t *element = json_deep_copy(schema);
        if (field->flags & TMB_FIELD_NULL_IN_LIST) {
            element = or_null(element);
        }
        json_t *list = json_pack("{s:s, s:o, s:i, s:I}", "type", "array", "items", element, "minItems", 1, "maxItems",
                                 (json_int_t)config->max_items);
        schema = field->flags & TMB_FIELD_NULLABLE
                     ? json_pack("{s:[o, o, {s:s}]}", "anyOf", schema, list, "type", "null")
                     : json_pack("{s:[o, o]}", "anyOf", schema, list);
    } else if (!form && (field->flags & TMB_FIELD_NULLABLE)) {
        schema = or_null(schema);
    }
    if (field->fallback) {
        (void)json_object_set_new(schema, "default", json_loads(field->fallback, JSON_DECODE_ANY, NULL));
    }
    if (field->example) {
        json_t *example = json_loads(field->example, JSON_DECODE_ANY, NULL);
        (void)json_object_set_new(schema, "examples", json_pack("[o]", example));
    }
    (void)json_object_set_new(schema, "description", json_string(field->summary));
    return schema;
}

json_t *tmb_fields_schema(const tmb_field *fields, const tmb_server_config *config, bool strict, bool form) {
    json_t *properties = json_object();
    json_t *required = json_array();
    for (const tmb_field *field = fields; field && field->name; field++) {
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
