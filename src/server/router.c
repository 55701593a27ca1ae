#include "server/state.h"

#include <string.h>

/* Whether `path` fits `pattern`, in which one {parameter} stands for one non-empty segment. */
static bool match(const char *pattern, const char *path, char *value, size_t value_size) {
    const char *open = strchr(pattern, '{');
    if (open == NULL) {
        return strcmp(pattern, path) == 0;
    }
    size_t prefix = (size_t)(open - pattern);
    if (strncmp(pattern, path, prefix) != 0) {
        return false;
    }
    size_t length = strcspn(path + prefix, "/");
    const char *rest = strchr(open, '}') + 1;
    if (!length || length >= value_size || strcmp(rest, path + prefix + length) != 0) {
        return false;
    }
    memcpy(value, path + prefix, length);
    value[length] = 0;
    return true;
}

/* Whether the path is one of ours to the letter: then no {parameter} stands for its last part. */
static bool is_literal(const char *path) {
    for (const tmb_route *route = tmb_routes; route->handle != NULL; route++) {
        if (strcmp(route->path, path) == 0) {
            return true;
        }
    }
    return false;
}

const tmb_route *tmb_route_find(tmb_method method, const char *path, char *value, size_t value_size,
                                unsigned *allowed) {
    const tmb_route *found = NULL;
    bool literal = is_literal(path);
    *allowed = 0;
    for (const tmb_route *route = tmb_routes; route->handle != NULL; route++) {
        char candidate[4 * 64 + 64];
        candidate[0] = 0;
        if ((!literal || strchr(route->path, '{') == NULL) && match(route->path, path, candidate, sizeof candidate)) {
            *allowed |= 1u << route->method;
            if (route->method == method && found == NULL && strlen(candidate) < value_size) {
                found = route;
                memcpy(value, candidate, strlen(candidate) + 1);
            }
        }
    }
    return found;
}
