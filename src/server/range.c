#include "server/range.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int tmb_range_parse(const char *text, uint64_t size, uint64_t *first, uint64_t *last) {
    if (text == NULL || strncmp(text, "bytes=", 6) != 0 || strchr(text, ',') != NULL) {
        return 0;
    }
    const char *at = text + 6;
    size_t digits = strspn(at, "0123456789");
    const char *dash = at + digits;
    size_t more = *dash == '-' ? strspn(dash + 1, "0123456789") : 0;
    if (*dash != '-' || dash[1 + more] || digits + more == 0 || digits > 18 || more > 18) {
        return 0;
    }
    if (!digits) {
        uint64_t suffix = strtoull(dash + 1, NULL, 10);
        *first = suffix < size ? size - suffix : 0;
        *last = size - 1;
        return suffix && size ? 1 : -1;
    }
    *first = strtoull(at, NULL, 10);
    *last = more ? strtoull(dash + 1, NULL, 10) : UINT64_MAX;
    if (*last < *first) {
        return 0;
    }
    *last = *last < size ? *last : size - 1;
    return *first < size ? 1 : -1;
}
