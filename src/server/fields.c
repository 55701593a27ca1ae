#include "server/fields.h"

#include "base/name.h"
#include "base/text.h"
#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_alias(const tmb_field *field, const char *name) {
    for (size_t i = 0; i < TMB_FIELD_ALIASES; i++) {
        if (field->aliases[i] != NULL && strcmp(field->aliases[i], name) == 0) {
            return true;
        }
    }
    return false;
}

const tmb_field *tmb_field_find(const tmb_field *fields, const char *name) {
    const tmb_field *by_alias = NULL;
    for (const tmb_field *field = fields; field != NULL && field->name != NULL; field++) {
        if (strcmp(field->name, name) == 0) {
            return field;
        }
        if (by_alias == NULL && is_alias(field, name)) {
            by_alias = field;
        }
    }
    return by_alias;
}

void tmb_field_unknown(const tmb_field *fields, const char *name, const char *body, char *message, size_t size) {
    enum { MOST = 64 };
    const char *names[MOST] = {0};
    size_t count = 0;
    for (const tmb_field *field = fields; field != NULL && field->name != NULL && count < MOST; field++) {
        names[count++] = field->name;
    }
    const char *nearest = tmb_text_nearest(name, names, count);
    if (nearest != NULL || count == 0) {
        (void)snprintf(message, size, "is not a field of this %s%s%s%s", body,
                       nearest != NULL ? "; did you mean \"" : "", nearest != NULL ? nearest : "",
                       nearest != NULL ? "\"?" : "");
        return;
    }
    /* Nothing is like it: those that there are, as far as they have room. */
    int used = snprintf(message, size, "is not a field of this %s: its fields are %s", body, names[0]);
    for (size_t i = 1; i < count && used > 0 && (size_t)used < size; i++) {
        const bool has_room = (size_t)used + strlen(names[i]) + sizeof ", , …" < size;
        used += snprintf(message + used, size - (size_t)used, ", %s", has_room ? names[i] : "…");
        if (!has_room) {
            return;
        }
    }
}

double tmb_field_maximum(const tmb_field *field, const tmb_server_config *config) {
    if (!field->maximum_setting) {
        return field->maximum;
    }
    const char *setting = (const char *)config + field->maximum_setting;
    return field->kind == TMB_FIELD_NUMBER ? *(const double *)setting : (double)*(const uint64_t *)setting;
}

static void list_choices(const tmb_field *field, char *out, size_t size) {
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; field->choices[i] != NULL && used + 1 < size; i++) {
        int added = snprintf(out + used, size - used, "%s%s", i ? ", " : "", field->choices[i]);
        used += added < 0 ? 0 : (size_t)added;
    }
}

static bool check_choice(const tmb_field *field, const json_t *value, tmb_problem *problem) {
    for (size_t i = 0; json_is_string(value) && field->choices[i] != NULL; i++) {
        if (strcmp(field->choices[i], json_string_value(value)) == 0) {
            return true;
        }
    }
    char choices[200];
    list_choices(field, choices, sizeof choices);
    return tmb_problem_say(problem, 400, "must be one of %s", choices);
}

static bool check_text(const tmb_field *field, double maximum, const json_t *value, tmb_problem *problem) {
    if (!json_is_string(value)) {
        return tmb_problem_say(problem, 400, "must be a text");
    }
    size_t length = tmb_utf8_length(json_string_value(value), json_string_length(value));
    if (length == SIZE_MAX) {
        return tmb_problem_say(problem, 400, "must be UTF-8 without NUL");
    }
    if ((double)length < field->minimum) {
        return field->minimum <= 1
                   ? tmb_problem_say(problem, 400, "must not be empty")
                   : tmb_problem_say(problem, 400, "must have at least %.0f characters", field->minimum);
    }
    if (!(field->flags & TMB_FIELD_REFERENCE) && (double)length > maximum) {
        return tmb_problem_say(problem, 400, "has %zu characters, the limit is %.0f", length, maximum);
    }
    /* Nothing but white space is nothing to say. */
    const char *text = json_string_value(value);
    if (field->minimum >= 1 && strspn(text, " \t\r\n\v\f") == json_string_length(value)) {
        return tmb_problem_say(problem, 400, "must not be empty");
    }
    return true;
}

static bool check_language(const json_t *value, tmb_problem *problem) {
    if (!json_is_string(value)) {
        return tmb_problem_say(problem, 400, "must be a text");
    }
    size_t length = json_string_length(value);
    return (length < TMB_LANGUAGE_LENGTH && tmb_utf8_length(json_string_value(value), length) != SIZE_MAX) ||
           tmb_problem_say(problem, 400, "is no name or tag of a language");
}

static bool check_name(const json_t *value, tmb_problem *problem) {
    if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value)) {
        return tmb_problem_say(problem, 400, "must be a text");
    }
    const char *what = NULL;
    char name[TMB_NAME_SIZE];
    return tmb_name_normalise(json_string_value(value), name, &what) || tmb_problem_say(problem, 400, "%s", what);
}

static bool check_items(const tmb_field *field, const tmb_server_config *config, const json_t *value,
                        tmb_problem *problem) {
    double maximum = tmb_field_maximum(field, config);
    if (!json_is_array(value)) {
        return tmb_problem_say(problem, 400, "must be a list of objects");
    }
    if (json_array_size(value) == 0) {
        return tmb_problem_say(problem, 400, "must not be empty");
    }
    if ((double)json_array_size(value) > maximum) {
        return tmb_problem_say(problem, 400, "has %zu items, the limit is %.0f", json_array_size(value), maximum);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        if (!json_is_object(item)) {
            (void)snprintf(problem->field, sizeof problem->field, "%s[%zu]", field->name, i);
            return tmb_problem_say(problem, 400, "must be an object");
        }
        if (!tmb_fields_check(field->fields, config, item, true, problem)) {
            return tmb_problem_within(problem, field->name, i);
        }
    }
    return true;
}

/* One value; `problem->field` is set by the caller unless it is inside. */
static bool check_value(const tmb_field *field, const tmb_server_config *config, const json_t *value,
                        tmb_problem *problem) {
    double maximum = tmb_field_maximum(field, config);
    switch (field->kind) {
    case TMB_FIELD_TEXT: return check_text(field, maximum, value, problem);
    case TMB_FIELD_CHOICE: return check_choice(field, value, problem);
    case TMB_FIELD_ITEMS: return check_items(field, config, value, problem);
    case TMB_FIELD_BOOLEAN: return json_is_boolean(value) || tmb_problem_say(problem, 400, "must be true or false");
    case TMB_FIELD_FILE: return tmb_problem_say(problem, 400, "must be a file");
    case TMB_FIELD_LANGUAGE: return check_language(value, problem);
    case TMB_FIELD_NAME: return check_name(value, problem);
    case TMB_FIELD_VOICE:
        if (json_is_object(value) && json_object_size(value) == 1) {
            value = json_object_get(value, "id");
        }
        return json_is_string(value) ||
               tmb_problem_say(problem, 400, "must be a text, or an object with a text as its id");
    case TMB_FIELD_INTEGER:
    case TMB_FIELD_NUMBER:
    default: break;
    }
    bool integral =
        json_is_integer(value) || (json_is_real(value) && floor(json_real_value(value)) == json_real_value(value));
    if (!json_is_number(value) || (field->kind == TMB_FIELD_INTEGER && !integral)) {
        return tmb_problem_say(problem, 400, "must be %s",
                               field->kind == TMB_FIELD_INTEGER ? "an integer" : "a number");
    }
    double number = json_number_value(value);
    if (!(number >= field->minimum && number <= maximum)) {
        return tmb_problem_say(problem, 400, "must be from %.16g to %.16g", field->minimum, maximum);
    }
    return true;
}

static bool check_field(const tmb_field *field, const tmb_server_config *config, const json_t *value,
                        tmb_problem *problem) {
    (void)tmb_problem_name(problem, field->name);
    if (!(field->flags & TMB_FIELD_LIST) || !json_is_array(value)) {
        return check_value(field, config, value, problem);
    }
    if (json_array_size(value) == 0) {
        return tmb_problem_say(problem, 400, "must not be an empty list");
    }
    if (json_array_size(value) > config->max_items) {
        return tmb_problem_say(problem, 400, "has %zu items, the limit is %llu", json_array_size(value),
                               (unsigned long long)config->max_items);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *element = json_array_get(value, i);
        if (json_is_null(element) && !(field->flags & TMB_FIELD_REQUIRED)) {
            continue;
        }
        (void)snprintf(problem->field, sizeof problem->field, "%s[%zu]", field->name, i);
        if (!check_value(field, config, element, problem)) {
            return false;
        }
    }
    return true;
}

bool tmb_fields_check(const tmb_field *fields, const tmb_server_config *config, const json_t *object, bool strict,
                      tmb_problem *problem) {
    const char *name = NULL;
    json_t *value = NULL;
    json_t *members = (json_t *)(uintptr_t)object;
    json_object_foreach(members, name, value) {
        const tmb_field *field = tmb_field_find(fields, name);
        if (field == NULL) {
            if (strict) {
                (void)tmb_utf8_clean(name, strlen(name), problem->field, 65);
                problem->status = 400;
                tmb_field_unknown(fields, name, "request", problem->message, sizeof problem->message);
                return false;
            }
            continue;
        }
        if (!check_field(field, config, value, problem)) {
            return false;
        }
    }
    for (const tmb_field *field = fields; field != NULL && field->name != NULL; field++) {
        if ((field->flags & TMB_FIELD_REQUIRED) && json_object_get(object, field->name) == NULL) {
            return tmb_problem_set(problem, field->name, 400, "is missing");
        }
    }
    return true;
}

/* ---- Settling ---- */

/* The value as the checks expect it: a new reference, NULL if it means that there is none. */
static json_t *settle_value(const tmb_field *field, json_t *value) {
    bool empty = json_is_string(value) && json_string_length(value) == 0;
    if (json_is_null(value) || (empty && (field->flags & TMB_FIELD_EMPTY_IS_NONE))) {
        return NULL;
    }
    const char *what = NULL;
    char name[TMB_NAME_SIZE];
    if (field->kind == TMB_FIELD_NAME && json_is_string(value) &&
        strlen(json_string_value(value)) == json_string_length(value) &&
        tmb_name_normalise(json_string_value(value), name, &what)) {
        return json_string(name);
    }
    return json_incref(value);
}

static json_t *settle_list(const tmb_field *field, const json_t *list) {
    json_t *settled = json_array();
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *element = settle_value(field, json_array_get(list, i));
        (void)json_array_append_new(settled, element != NULL ? element : json_null());
    }
    return settled;
}

static bool settle_items(const tmb_field *field, json_t *list, tmb_problem *problem) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *item = json_array_get(list, i);
        if (json_is_object(item) && !tmb_fields_settle(field->fields, item, problem)) {
            return tmb_problem_within(problem, field->name, i);
        }
    }
    return true;
}

bool tmb_fields_settle(const tmb_field *fields, json_t *object, tmb_problem *problem) {
    const char *name = NULL;
    json_t *value = NULL;
    void *next = NULL;
    json_t *settled = json_object();
    json_object_foreach_safe(object, next, name, value) {
        const tmb_field *field = tmb_field_find(fields, name);
        if (field == NULL) {
            continue;
        }
        json_t *now = json_is_array(value) && (field->flags & TMB_FIELD_LIST) ? settle_list(field, value)
                                                                              : settle_value(field, value);
        bool twice = now != NULL && json_object_get(settled, field->name) != NULL;
        if (twice) {
            (void)tmb_problem_set(problem, field->name, 400, "comes twice, under another name too");
        } else if (now != NULL) {
            (void)json_object_set(settled, field->name, now);
        }
        json_decref(now);
        if (twice || (field->kind == TMB_FIELD_ITEMS && !settle_items(field, value, problem))) {
            json_decref(settled);
            return false;
        }
        (void)json_object_del(object, name);
    }
    (void)json_object_update(object, settled);
    json_decref(settled);
    return true;
}

json_t *tmb_field_parse(const tmb_field *field, const char *text, size_t size, tmb_problem *problem) {
    (void)tmb_problem_name(problem, field->name);
    if (tmb_utf8_length(text, size) == SIZE_MAX) {
        (void)tmb_problem_say(problem, 400, "must be UTF-8 without NUL");
        return NULL;
    }
    json_t *value = NULL;
    if (field->kind == TMB_FIELD_BOOLEAN) {
        bool yes = (size == 4 && memcmp(text, "true", 4) == 0) || (size == 1 && text[0] == '1');
        bool no = (size == 5 && memcmp(text, "false", 5) == 0) || (size == 1 && text[0] == '0');
        value = yes ? json_true() : no ? json_false() : NULL;
        if (value == NULL) {
            (void)tmb_problem_say(problem, 400, "must be true or false");
        }
        return value;
    }
    if (field->kind == TMB_FIELD_NUMBER || field->kind == TMB_FIELD_INTEGER) {
        /* JSON's own idea of a number: no "0x", no "nan", no blanks. */
        json_error_t error;
        value = size && text[0] != ' ' ? json_loadb(text, size, JSON_DECODE_ANY, &error) : NULL;
        if (!json_is_number(value)) {
            json_decref(value);
            (void)tmb_problem_say(problem, 400, "must be %s",
                                  field->kind == TMB_FIELD_INTEGER ? "an integer" : "a number");
            return NULL;
        }
        return value;
    }
    value = json_stringn(text, size);
    if (value == NULL) {
        (void)tmb_problem_say(problem, 400, "out of memory");
    }
    return value;
}

const json_t *tmb_value_at(const json_t *object, const char *name, size_t index) {
    const json_t *value = json_object_get(object, name);
    if (json_is_array(value)) {
        value = json_array_get(value, json_array_size(value) == 1 ? 0 : index);
    }
    return json_is_null(value) ? NULL : value;
}

const char *tmb_text_at(const json_t *object, const char *name, size_t index, const char *otherwise) {
    const json_t *value = tmb_value_at(object, name, index);
    return json_is_string(value) ? json_string_value(value) : otherwise;
}

double tmb_number_at(const json_t *object, const char *name, double otherwise) {
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

bool tmb_boolean_at(const json_t *object, const char *name, bool otherwise) {
    const json_t *value = json_object_get(object, name);
    return json_is_boolean(value) ? json_boolean_value(value) : otherwise;
}
