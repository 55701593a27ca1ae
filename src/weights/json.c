#include "weights/json.h"

#include "base/error.h"
#include "base/file.h"

#include <stdlib.h>

#define DEPTH_MAX 64

/* The parser's own limit is in the thousands and it recurses: look at the depth before. */
static bool nests_too_deep(const char *text, size_t bytes) {
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > DEPTH_MAX) {
                return true;
            }
        } else if ((c == '}' || c == ']') && depth != 0) {
            depth--;
        }
    }
    return false;
}

tmb_status tmb_json_parse(const char *name, const char *text, size_t bytes, json_t **out, tmb_error *error) {
    *out = NULL;
    if (nests_too_deep(text, bytes)) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, name, "JSON nested deeper than %d levels", DEPTH_MAX);
    }
    json_error_t problem;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &problem);
    if (root == NULL) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, name, "not valid JSON: line %d: %s", problem.line, problem.text);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return tmb_fail_named(error, TMB_ERROR_FORMAT, name, "the JSON is not an object");
    }
    *out = root;
    return TMB_OK;
}

tmb_status tmb_json_read(const char *path, size_t limit, json_t **out, tmb_error *error) {
    *out = NULL;
    char *text = NULL;
    size_t bytes = 0;
    tmb_status status = tmb_file_read(path, limit, &text, &bytes, error);
    if (status == TMB_OK) {
        status = tmb_json_parse(path, text, bytes, out, error);
    }
    free(text);
    return status;
}
