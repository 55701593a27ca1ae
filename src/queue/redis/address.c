/* What a URL of a Redis server says. */
#include "base/error.h"
#include "base/file.h"
#include "queue/redis/wire.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static tmb_status bad(tmb_error *error, const char *what) {
    return tmb_fail(error, TMB_ERROR_ARGUMENT,
                    "--queue %s: it is redis://[user:password@]host[:port][/db], rediss://..., or unix:PATH[?db=N]",
                    what);
}

/* "/3" or "3"; "" is 0. */
static bool read_database(const char *text, unsigned *out) {
    char *end = NULL;
    text += *text == '/';
    if (strspn(text, "0123456789") != strlen(text) || strlen(text) > 5) {
        return false;
    }
    *out = (unsigned)strtoul(text, &end, 10);
    return true;
}

static tmb_status read_password(const char *path, tmb_redis_address *out, tmb_error *error) {
    char *text = NULL;
    size_t bytes = 0;
    tmb_status status = tmb_file_read(path, 4096, &text, &bytes, error);
    if (status != TMB_OK) {
        return status;
    }
    size_t length = strcspn(text, "\r\n");
    if (length == 0 || length >= sizeof out->password) {
        status = tmb_fail(error, TMB_ERROR_ARGUMENT, "%s: its first line is not a password", path);
    } else {
        memcpy(out->password, text, length);
        out->password[length] = 0;
    }
    explicit_bzero(text, bytes);
    free(text);
    return status;
}

/* A percent-encoded part of the URL; false: it is too long, or has a 0 or something else that is no text in it. */
static bool take_part(const char *text, size_t length, char *out, size_t size) {
    int decoded = 0;
    /* libcurl takes 0 for "up to the end". */
    char *part = length > 0 ? curl_easy_unescape(NULL, text, (int)length, &decoded) : NULL;
    bool good = length == 0 || (part != NULL && (size_t)decoded < size && strlen(part) == (size_t)decoded);
    if (good) {
        (void)snprintf(out, size, "%s", part != NULL ? part : "");
    }
    curl_free(part);
    return good;
}

/* "user:password@" before `at`, still percent-encoded. */
static bool take_credentials(const char *text, size_t length, tmb_redis_address *out) {
    const char *colon = memchr(text, ':', length);
    size_t user = colon != NULL ? (size_t)(colon - text) : length;
    return take_part(text, user, out->user, sizeof out->user) &&
           (colon == NULL || take_part(colon + 1, length - user - 1, out->password, sizeof out->password));
}

static tmb_status parse_socket(const char *rest, tmb_redis_address *out, tmb_error *error) {
    rest += strncmp(rest, "//", 2) == 0 ? 2 : 0;
    const char *at = rest[0] == '/' ? NULL : strchr(rest, '@');
    if (at != NULL && !take_credentials(rest, (size_t)(at - rest), out)) {
        return bad(error, "has a user or password that cannot be");
    }
    const char *path = at != NULL ? at + 1 : rest;
    size_t length = strcspn(path, "?");
    if (length == 0 || length >= sizeof out->socket || length >= 108) {
        return bad(error, "names no socket, or one with too long a path");
    }
    (void)snprintf(out->socket, sizeof out->socket, "%.*s", (int)length, path);
    const char *query = path + length;
    if (*query && (strncmp(query, "?db=", 4) != 0 || !read_database(query + 4, &out->database))) {
        return bad(error, "has something after the socket's path that is not ?db=N");
    }
    (void)snprintf(out->connect_url, sizeof out->connect_url, "http://localhost");
    (void)snprintf(out->name, sizeof out->name, "unix:%s", out->socket);
    return TMB_OK;
}

static tmb_status parse_network(const char *rest, bool secure, tmb_redis_address *out, tmb_error *error) {
    size_t length = strcspn(rest, "/?#");
    const char *at = memrchr(rest, '@', length);
    if (at != NULL && !take_credentials(rest, (size_t)(at - rest), out)) {
        return bad(error, "has a user or password that cannot be");
    }
    const char *host = at != NULL ? at + 1 : rest;
    size_t host_length = length - (size_t)(host - rest);
    if (host_length == 0 || host[0] == ':' || host_length > 255 || memchr(host, ' ', host_length) != NULL ||
        (host[0] == '[') != (memchr(host, ']', host_length) != NULL) || !read_database(rest + length, &out->database)) {
        return bad(error, "names no host, or no database");
    }
    char place[256];
    (void)snprintf(place, sizeof place, "%.*s", (int)host_length, host);
    const char *colon = strrchr(place, ':');
    const char *bracket = strrchr(place, ']');
    bool has_port = colon != NULL && (bracket == NULL || colon > bracket);
    unsigned long port = has_port ? strtoul(colon + 1, NULL, 10) : 6379;
    if (port < 1 || port > 65535 || (has_port && strspn(colon + 1, "0123456789") != strlen(colon + 1))) {
        return bad(error, "has a port that is none");
    }
    (void)snprintf(out->connect_url, sizeof out->connect_url, "%s://%s%s", secure ? "https" : "http", place,
                   has_port ? "" : ":6379");
    (void)snprintf(out->name, sizeof out->name, "%s://%s%s", secure ? "rediss" : "redis", place,
                   has_port ? "" : ":6379");
    return TMB_OK;
}

tmb_status tmb_redis_address_parse(const char *url, const char *password_file, tmb_redis_address *out,
                                   tmb_error *error) {
    memset(out, 0, sizeof *out);
    tmb_status status = strncasecmp(url, "unix:", 5) == 0       ? parse_socket(url + 5, out, error)
                        : strncasecmp(url, "redis://", 8) == 0  ? parse_network(url + 8, false, out, error)
                        : strncasecmp(url, "rediss://", 9) == 0 ? parse_network(url + 9, true, out, error)
                                                                : bad(error, "is none of the kinds of URL");
    if (status == TMB_OK && password_file != NULL && password_file[0]) {
        status = read_password(password_file, out, error);
    }
    return status;
}
