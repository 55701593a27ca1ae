#include "weights/json_fields.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

/* Stores a number that was checked, or a fallback. */
static void store(const tmb_json_field *field, double value, void *out) {
    char *target = (char *)out + field->offset;
    switch (field->kind) {
    case TMB_JSON_SIZE: *(size_t *)(void *)target = (size_t)value; break;
    case TMB_JSON_INT: *(int *)(void *)target = (int)value; break;
    case TMB_JSON_ID: *(int32_t *)(void *)target = (int32_t)value; break;
    case TMB_JSON_DOUBLE: *(double *)(void *)target = value; break;
    case TMB_JSON_BOOL: *(bool *)(void *)target = value != 0; break;
    }
}

static tmb_status read_field(const char *path, const json_t *value, const tmb_json_field *field, void *out,
                             tmb_error *error) {
    if (value == NULL || json_is_null(value)) {
        if (!field->optional) {
            return tmb_fail(error, TMB_ERROR_MODEL, "%s: %s is missing", path, field->name);
        }
        store(field, field->fallback, out);
        return TMB_OK;
    }
    if (field->kind == TMB_JSON_BOOL) {
        if (!json_is_boolean(value)) {
            return tmb_fail(error, TMB_ERROR_MODEL, "%s: %s is neither true nor false", path, field->name);
        }
        store(field, json_is_true(value), out);
        return TMB_OK;
    }
    bool whole = field->kind != TMB_JSON_DOUBLE;
    double number = json_number_value(value);
    if (!json_is_number(value) || (whole && !json_is_integer(value))) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: %s is not a %snumber", path, field->name, whole ? "whole " : "");
    }
    if (!isfinite(number) || number < field->minimum || number > field->maximum) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: %s is %.10g, outside %.10g to %.10g", path, field->name, number,
                        field->minimum, field->maximum);
    }
    store(field, number, out);
    return TMB_OK;
}

tmb_status tmb_json_read_fields(const char *path, const json_t *object, const tmb_json_field *fields, size_t count,
                                void *out, tmb_error *error) {
    tmb_status status = TMB_OK;
    for (size_t i = 0; i < count && status == TMB_OK; i++) {
        status = read_field(path, json_object_get(object, fields[i].name), &fields[i], out, error);
    }
    return status;
}

tmb_status tmb_json_read_sizes(const char *path, const json_t *object, const char *name, size_t minimum_count,
                               size_t capacity, double minimum, double maximum, size_t *out, size_t *count,
                               tmb_error *error) {
    const json_t *array = json_object_get(object, name);
    if (!json_is_array(array)) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: %s is missing or not a list", path, name);
    }
    *count = json_array_size(array);
    if (*count < minimum_count || *count > capacity) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: %s has %zu entries, outside %zu to %zu", path, name, *count,
                        minimum_count, capacity);
    }
    for (size_t i = 0; i < *count; i++) {
        const json_t *value = json_array_get(array, i);
        double number = json_number_value(value);
        if (!json_is_integer(value) || number < minimum || number > maximum) {
            return tmb_fail(error, TMB_ERROR_MODEL, "%s: %s[%zu] is not a whole number from %.10g to %.10g", path, name,
                            i, minimum, maximum);
        }
        out[i] = (size_t)number;
    }
    return TMB_OK;
}
