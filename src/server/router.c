#include "server/state.h"

#include <string.h>

/* Whether `path` fits `pattern`, in which one {parameter} stands for one non-empty segment. */
static bool match(const char *pattern, const char *path, char *value, size_t value_size) {
    const char *open = strchr(pattern, '{');
    if (!open) {
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

const tmb_route *tmb_route_find(tmb_method method, const char *path, char *value, size_t value_size, unsigned *allowed) {
    const tmb_route *found = NULL;
    *allowed = 0;
    for (const tmb_route *route = tmb_routes; route->handle; route++) {
        char candidate[128];
        candidate[0] = 0;
        if (match(route->path, path, candidate, sizeof(candidate))) {
            *allowed |= 1u << route->method;
            if (route->method == method && !found && strlen(candidate) < value_size) {
                found = route;
                memcpy(value, candidate, strlen(candidate) + 1);
            }
        }
    }
    return found;
}
