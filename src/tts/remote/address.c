#include "tts/remote/address.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/url.h"
#include "tts/remote/pool.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SEPARATORS ", \t\r\n"
#define SPEECH_PATH "/audio/speech"
/* Requests at once to one server, at most. */
#define LIMIT_MOST 1024

static bool is_http(const char *url) {
    return (strncasecmp(url, "http://", 7) == 0 && url[7] != '\0') ||
           (strncasecmp(url, "https://", 8) == 0 && url[8] != '\0');
}

static tmb_status refuse(const char *url, tmb_error *error) {
    char shown[101];
    return tmb_fail(error, TMB_ERROR_ARGUMENT,
                    "the speech server's address \"%s\" is not like http://host:8091 or https://host/v1",
                    tmb_url_show(url, strlen(url), shown, sizeof shown));
}

/* The base's length without slashes at its end; *versioned: it ends in /v1. */
static size_t base_length(const char *url, bool *versioned) {
    size_t length = strlen(url);
    while (length > 8 && url[length - 1] == '/') {
        length--;
    }
    *versioned = length >= 3 && strncmp(url + length - 3, "/v1", 3) == 0;
    return length;
}

tmb_status tmb_remote_endpoint(const char *url, char **out, tmb_error *error) {
    *out = NULL;
    if (!is_http(url) || strpbrk(url, " \t\r\n?#") != NULL) {
        return refuse(url, error);
    }
    bool versioned = false;
    size_t length = base_length(url, &versioned);
    if (length > INT_MAX / 2) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "the speech server's address is too long");
    }
    *out = tmb_asprintf("%.*s%s" SPEECH_PATH, (int)length, url, versioned ? "" : "/v1");
    return *out != NULL ? TMB_OK : tmb_fail_memory(error, "a URL", length);
}

/* Beside the speech, not below its version: there vLLM-Omni has it, and timbre. */
static char *health_of(const char *url) {
    bool versioned = false;
    size_t length = base_length(url, &versioned);
    length -= versioned ? 3 : 0;
    while (length > 8 && url[length - 1] == '/') {
        length--;
    }
    return tmb_asprintf("%.*s/health", (int)length, url);
}

static char *shown_of(const char *url) {
    const size_t size = strlen(url) + sizeof "***";
    char *shown = tmb_calloc(size, 1);
    if (shown != NULL) {
        (void)tmb_url_show(url, strlen(url), shown, size);
    }
    return shown;
}

/* "limit=8" behind the '#'. */
static tmb_status read_fragment(const char *fragment, const char *url, size_t *limit, tmb_error *error) {
    size_t length = strlen(fragment);
    bool good = strncmp(fragment, "limit=", 6) == 0 && length > 6 && length <= 10 &&
                strspn(fragment + 6, "0123456789") == length - 6;
    unsigned long value = good ? strtoul(fragment + 6, NULL, 10) : 0;
    if (value < 1 || value > LIMIT_MOST) {
        char shown[101];
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "the speech server's address %s may end in #limit=N, N from 1 to %d: not in #%.40s",
                        tmb_url_show(url, strlen(url), shown, sizeof shown), LIMIT_MOST, fragment);
    }
    *limit = (size_t)value;
    return TMB_OK;
}

/* `url` is changed. */
static tmb_status parse_one(char *url, tmb_remote_address *out, tmb_error *error) {
    char *hash = strchr(url, '#');
    if (hash != NULL) {
        *hash = '\0';
    }
    tmb_status status = tmb_remote_endpoint(url, &out->endpoint, error);
    if (status == TMB_OK && hash != NULL) {
        status = read_fragment(hash + 1, url, &out->limit, error);
    }
    if (status != TMB_OK) {
        return status;
    }
    out->health = health_of(url);
    out->shown = shown_of(url);
    return out->health != NULL && out->shown != NULL ? TMB_OK : tmb_fail_memory(error, "a URL", strlen(url));
}

static tmb_status add(tmb_remote_addresses *addresses, char *url, tmb_error *error) {
    if (addresses->count == TMB_REMOTE_SERVERS) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "there may be %d speech servers at most", TMB_REMOTE_SERVERS);
    }
    tmb_remote_address *address = &addresses->list[addresses->count++];
    tmb_status status = parse_one(url, address, error);
    for (size_t i = 0; status == TMB_OK && i + 1 < addresses->count; i++) {
        if (strcmp(addresses->list[i].endpoint, address->endpoint) == 0) {
            status = tmb_fail(error, TMB_ERROR_ARGUMENT, "the speech server's address %.100s is given twice",
                              address->shown);
        }
    }
    return status;
}

tmb_status tmb_remote_addresses_parse(const char *urls, tmb_remote_addresses *out, tmb_error *error) {
    *out = (tmb_remote_addresses){0};
    char *copy = tmb_strdup(urls);
    out->list = tmb_calloc(TMB_REMOTE_SERVERS, sizeof *out->list);
    if (copy == NULL || out->list == NULL) {
        free(copy);
        tmb_remote_addresses_free(out);
        return tmb_fail_memory(error, "the speech servers' addresses", strlen(urls));
    }
    tmb_status status = TMB_OK;
    char *rest = NULL;
    for (char *url = strtok_r(copy, SEPARATORS, &rest); status == TMB_OK && url != NULL;
         url = strtok_r(NULL, SEPARATORS, &rest)) {
        status = add(out, url, error);
    }
    free(copy);
    if (status == TMB_OK && out->count == 0) {
        status = refuse(urls, error);
    }
    if (status != TMB_OK) {
        tmb_remote_addresses_free(out);
    }
    return status;
}

void tmb_remote_addresses_free(tmb_remote_addresses *addresses) {
    for (size_t i = 0; i < addresses->count; i++) {
        free(addresses->list[i].endpoint);
        free(addresses->list[i].health);
        free(addresses->list[i].shown);
    }
    free(addresses->list);
    *addresses = (tmb_remote_addresses){0};
}

size_t tmb_remote_addresses_room(const tmb_remote_addresses *addresses) {
    size_t room = 0;
    for (size_t i = 0; i < addresses->count; i++) {
        room += addresses->list[i].limit != 0 ? addresses->list[i].limit : TMB_REMOTE_SEQUENCES;
    }
    return room;
}
