#include "base/url.h"

#include <stdio.h>
#include <string.h>

const char *tmb_url_show(const char *url, size_t bytes, char *out, size_t size) {
    const char *end = url + bytes;
    const char *colon = memchr(url, ':', bytes);
    /* What comes before a user: "https://", "unix:", or nothing. */
    const char *first = colon != NULL && (end - colon >= 3 && colon[1] == '/' && colon[2] == '/') ? colon + 3
                        : colon != NULL && colon - url == 4 && strncmp(url, "unix", 4) == 0       ? colon + 1
                                                                                                  : url;
    const char *host_end = first;
    while (host_end < end && strchr("/?#", *host_end) == NULL) {
        host_end++;
    }
    const char *at = memrchr(first, '@', (size_t)(host_end - first));
    /* A password with an unescaped "/" in it: "user:a/b@host". */
    if (at == NULL && memchr(first, ':', (size_t)(host_end - first)) != NULL) {
        at = memrchr(first, '@', (size_t)(end - first));
    }
    if (at == NULL) {
        (void)snprintf(out, size, "%.*s", (int)bytes, url);
    } else {
        (void)snprintf(out, size, "%.*s***%.*s", (int)(first - url), url, (int)(end - at), at);
    }
    return out;
}
