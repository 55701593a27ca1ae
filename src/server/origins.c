#include "server/origins.h"

#include "base/error.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The next entry of the list, blanks off; *length 0 at the end. */
static const char *next_entry(const char **at, size_t *length) {
    *at += strspn(*at, ", \t");
    const char *entry = *at;
    *length = strcspn(entry, ",");
    *at += *length;
    while (*length && isspace((unsigned char)entry[*length - 1])) {
        (*length)--;
    }
    return entry;
}

static bool is_port(const char *text, size_t length) {
    return length > 0 && length <= 5 && strspn(text, "0123456789") >= length && strtoul(text, NULL, 10) <= 65535;
}

/* "name.example", "192.0.2.1" or "[2001:db8::1]", and perhaps a port. */
static bool is_authority(const char *text, size_t length) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t host = 0;
    if (text[0] == '[') {
        host = 1;
        while (host < length && (isxdigit((unsigned char)text[host]) || strchr(":.", text[host]) != NULL)) {
            host++;
        }
        if (host < 3 || host == length || text[host] != ']') {
            return false;
        }
        host++;
    } else {
        while (host < length && (strchr(letters, text[host]) != NULL || strchr("-._", text[host]) != NULL)) {
            host++;
        }
        if (host == 0 || strchr("-.", text[0]) != NULL) {
            return false;
        }
    }
    return host == length || (text[host] == ':' && is_port(text + host + 1, length - host - 1));
}

/* NULL, or what is wrong with the entry. */
static const char *check_entry(const char *entry, size_t length, bool has_keys) {
    if (length == 1 && entry[0] == '*') {
        return has_keys ? NULL
                        : "lets every web page use a server without keys: set --keys-file, or name the pages' origins";
    }
    size_t scheme = 0;
    while (scheme < length && (isalnum((unsigned char)entry[scheme]) || strchr("+-.", entry[scheme]) != NULL)) {
        scheme++;
    }
    if (scheme == 0 || !isalpha((unsigned char)entry[0]) || scheme + 3 > length ||
        strncmp(entry + scheme, "://", 3) != 0) {
        return "is no origin: write SCHEME://HOST or SCHEME://HOST:PORT, as in https://app.example, or *";
    }
    if (memchr(entry + scheme + 3, '/', length - scheme - 3) != NULL) {
        return "is no origin: leave out what follows the host and port, the last slash too";
    }
    return is_authority(entry + scheme + 3, length - scheme - 3) ? NULL
                                                                 : "is no origin: its host or port cannot be one";
}

tmb_status tmb_origins_check(const char *list, bool has_keys, tmb_error *error) {
    size_t length = 0;
    if (list[0] != '\0' && list[strspn(list, ", \t")] == '\0') {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "--cors-origin: names no origin: write SCHEME://HOST or *");
    }
    for (const char *entry = next_entry(&list, &length); length; entry = next_entry(&list, &length)) {
        const char *problem = check_entry(entry, length, has_keys);
        if (problem != NULL) {
            return tmb_fail(error, TMB_ERROR_ARGUMENT, "--cors-origin: \"%.*s\" %s", length > 100 ? 100 : (int)length,
                            entry, problem);
        }
    }
    return TMB_OK;
}

/* "https://app.example:443" is what browsers call "https://app.example". */
static size_t without_default_port(const char *origin, size_t length) {
    static const char *const endings[][2] = {{"https://", ":443"}, {"http://", ":80"}};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t scheme = strlen(endings[i][0]);
        size_t port = strlen(endings[i][1]);
        if (length > scheme + port && strncasecmp(origin, endings[i][0], scheme) == 0 &&
            strncmp(origin + length - port, endings[i][1], port) == 0) {
            return length - port;
        }
    }
    return length;
}

bool tmb_origin_is_listed(const char *list, const char *origin) {
    size_t size = without_default_port(origin, strlen(origin));
    size_t length = 0;
    for (const char *entry = next_entry(&list, &length); length; entry = next_entry(&list, &length)) {
        if (length == 1 && entry[0] == '*' && strcmp(origin, "null") != 0) {
            return true;
        }
        if (without_default_port(entry, length) == size && strncasecmp(entry, origin, size) == 0) {
            return true;
        }
    }
    return false;
}
