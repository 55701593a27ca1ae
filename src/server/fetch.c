#include "server/fetch.h"

#include "server/request.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { fetches_at_once = 4, fetch_seconds = 30 };

bool tmb_host_is_listed(const char *list, const char *host) {
    size_t length = strlen(host);
    for (const char *at = list; *at;) {
        at += strspn(at, ", ");
        size_t entry = strcspn(at, ", ");
        if (entry == length && length && strncasecmp(at, host, length) == 0) {
            return true;
        }
        at += entry;
    }
    return false;
}

/* IPv4 blocks that are not the public internet (RFC 6890 and what came later). */
static bool is_public_v4(uint32_t address) {
    static const struct {
        uint32_t network;
        int bits;
    } special[] = {
        {0x00000000, 8},  {0x0A000000, 8},  {0x64400000, 10}, {0x7F000000, 8},  {0xA9FE0000, 16},
        {0xAC100000, 12}, {0xC0000000, 24}, {0xC0000200, 24}, {0xC0586300, 24}, {0xC0A80000, 16},
        {0xC6120000, 15}, {0xC6336400, 24}, {0xCB007100, 24}, {0xE0000000, 4},  {0xF0000000, 4},
    };
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
        if (address >> (32 - special[i].bits) == special[i].network >> (32 - special[i].bits)) {
            return false;
        }
    }
    return true;
}

bool tmb_address_is_public(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        return is_public_v4(ntohl(v4.sin_addr.s_addr));
    }
    if (address->sa_family != AF_INET6) {
        return false;
    }
    struct sockaddr_in6 v6;
    memcpy(&v6, address, sizeof v6);
    const unsigned char *bytes = v6.sin6_addr.s6_addr;
    /* Only global unicast, 2000::/3, and of it not what embeds or documents other addresses: Teredo and the
     * rest of 2001::/23, 2001:db8::/32, 6to4 (2002::/16), 3fff::/20. */
    bool global = (bytes[0] & 0xE0) == 0x20;
    bool special = (bytes[0] == 0x20 && bytes[1] == 0x01 && bytes[2] < 0x02) ||
                   (bytes[0] == 0x20 && bytes[1] == 0x01 && bytes[2] == 0x0d && bytes[3] == 0xb8) ||
                   (bytes[0] == 0x20 && bytes[1] == 0x02) || (bytes[0] == 0x3f && bytes[1] == 0xff && bytes[2] < 0x10);
    return global && !special;
}

typedef struct transfer {
    const tmb_server_config *config;
    tmb_upload *into;
    tmb_store_status status;
    bool (*cancelled)(void *user);
    void *user;
    bool refused_address;
} transfer;

static curl_socket_t open_socket(void *argument, curlsocktype purpose, struct curl_sockaddr *address) {
    transfer *state = argument;
    (void)purpose;
    if (!state->config->allow_private_ref_url && !tmb_address_is_public(&address->addr)) {
        state->refused_address = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t receive(char *data, size_t size, size_t count, void *argument) {
    transfer *state = argument;
    state->status = tmb_upload_write(state->into, data, size * count);
    return state->status == TMB_STORE_OK ? size * count : 0;
}

static int progress(void *argument, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now) {
    transfer *state = argument;
    (void)total;
    (void)now;
    (void)up_total;
    (void)up_now;
    return state->cancelled != NULL && state->cancelled(state->user);
}

static unsigned fail(char *message, size_t size, unsigned status, const char *text) {
    (void)snprintf(message, size, "%s", text);
    return status;
}

/* The host and scheme are looked at in what libcurl itself makes of the URL. */
static unsigned check_url(const tmb_server_config *config, CURLU *parts, const char *url, char *message, size_t size) {
    char *host = NULL;
    char *scheme = NULL;
    char *login = NULL;
    unsigned status = 0;
    if (curl_url_set(parts, CURLUPART_URL, url, 0) || curl_url_get(parts, CURLUPART_HOST, &host, 0) ||
        curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0)) {
        status = fail(message, size, 400, "is not a valid URL");
    } else if (!tmb_host_is_listed(config->allow_ref_url, host)) {
        status = fail(message, size, 400, "URLs of this host are not allowed (--allow-ref-url)");
    } else if (strcmp(scheme, "https") != 0 && !(config->allow_private_ref_url && strcmp(scheme, "http") == 0)) {
        status = fail(message, size, 400, "only https URLs are allowed");
    } else if (curl_url_get(parts, CURLUPART_USER, &login, 0) == CURLUE_OK) {
        status = fail(message, size, 400, "a URL with a user name is not allowed");
    }
    curl_free(host);
    curl_free(scheme);
    curl_free(login);
    return status;
}

static unsigned judge(CURLcode code, CURL *curl, const transfer *state, char *message, size_t size) {
    long answer = 0;
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer);
    if (state->refused_address) {
        return fail(message, size, 400, "the URL's host has a private address");
    }
    if (state->status == TMB_STORE_TOO_LARGE || code == CURLE_FILESIZE_EXCEEDED) {
        return fail(message, size, 413, "the file behind the URL is too large");
    }
    if (state->status != TMB_STORE_OK) {
        return tmb_store_problem(state->status, "file", message, size);
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
        return fail(message, size, 400, "the URL did not answer in time");
    }
    if (code == CURLE_OK && answer >= 300 && answer < 400) {
        return fail(message, size, 400, "the URL redirects, which is not followed");
    }
    return code == CURLE_OK && answer == 200 ? 0 : fail(message, size, 400, "the URL could not be fetched");
}

unsigned tmb_fetch(const tmb_server_config *config, const char *url, tmb_upload *into, bool (*cancelled)(void *user),
                   void *user, char *message, size_t message_size) {
    static atomic_int running;
    if (!config->allow_ref_url[0]) {
        return fail(message, message_size, 400, "URLs are not allowed (--allow-ref-url)");
    }
    if (atomic_fetch_add(&running, 1) >= fetches_at_once) {
        atomic_fetch_sub(&running, 1);
        return fail(message, message_size, 503, "too many URLs are being fetched");
    }
    transfer state = {.config = config, .into = into, .cancelled = cancelled, .user = user};
    CURLU *parts = curl_url();
    CURL *curl = curl_easy_init();
    unsigned status = parts != NULL && curl != NULL ? check_url(config, parts, url, message, message_size)
                                                    : fail(message, message_size, 503, "not enough memory");
    if (!status) {
        (void)curl_easy_setopt(curl, CURLOPT_CURLU, parts);
        (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, config->allow_private_ref_url ? "https,http" : "https");
        (void)curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
        (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
        (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 5L);
        (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)fetch_seconds);
        (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "timbre/" TMB_VERSION);
        (void)curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)config->max_upload_bytes);
        (void)curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
        (void)curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, &state);
        (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
        (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &state);
        (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, progress);
        (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &state);
        (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        CURLcode code = curl_easy_perform(curl);
        status = judge(code, curl, &state, message, message_size);
    }
    curl_easy_cleanup(curl);
    curl_url_cleanup(parts);
    atomic_fetch_sub(&running, 1);
    return status;
}
