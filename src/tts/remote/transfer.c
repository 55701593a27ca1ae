#include "tts/remote/transfer.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define USER_AGENT "timbre/" TMB_VERSION

/* An empty Expect spares the second that curl waits for a server's leave to send a large body. */
static struct curl_slist *make_headers(const tmb_curl *library) {
    struct curl_slist *first = library->slist_append(NULL, "Content-Type: application/json");
    struct curl_slist *both = first != NULL ? library->slist_append(first, "Expect:") : NULL;
    if (both == NULL) {
        library->slist_free_all(first);
    }
    return both;
}

tmb_status tmb_remote_client_open(tmb_remote_client *client, const char *key, long connect_seconds, tmb_error *error) {
    *client = (tmb_remote_client){.connect_seconds = connect_seconds};
    tmb_status status = tmb_curl_load(&client->library, error);
    if (status != TMB_OK) {
        return status;
    }
    client->multi = client->library->multi_init();
    client->headers = make_headers(client->library);
    client->key = tmb_strdup(key);
    if (client->multi == NULL || client->headers == NULL || (key != NULL && client->key == NULL)) {
        tmb_remote_client_close(client);
        return tmb_fail_memory(error, "the speech servers' connections", 0);
    }
    return TMB_OK;
}

void tmb_remote_client_close(tmb_remote_client *client) {
    if (client->library == NULL) {
        return;
    }
    if (client->multi != NULL) {
        (void)client->library->multi_cleanup(client->multi);
    }
    client->library->slist_free_all(client->headers);
    free(client->key);
    *client = (tmb_remote_client){0};
}

/* ---- One request ---- */

/* Keeps what arrives until the next step hands it on; if there is no room the transfer pauses, and with it the
 * server. */
static size_t on_bytes(char *data, size_t size, size_t count, void *user) {
    tmb_transfer *transfer = user;
    size_t bytes = size * count;
    transfer->heard = tmb_now();
    if (transfer->bytes == NULL) {
        return bytes;
    }
    if (bytes > TMB_REMOTE_KEEP - transfer->kept) {
        if (tmb_transfer_code(transfer) != 200) {
            return bytes; /* the rest of an error's page says no more */
        }
        transfer->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    memcpy(transfer->bytes + transfer->kept, data, bytes);
    transfer->kept += bytes;
    return bytes;
}

static bool prepare(tmb_transfer *transfer, tmb_remote_client *client, const char *url) {
    transfer->client = client;
    const tmb_curl *library = client->library;
    CURL *curl = transfer->curl = library->easy_init();
    bool good = curl != NULL && library->easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
                library->easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
                library->easy_setopt(curl, CURLOPT_PRIVATE, transfer) == CURLE_OK &&
                library->easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes) == CURLE_OK &&
                library->easy_setopt(curl, CURLOPT_WRITEDATA, transfer) == CURLE_OK;
    if (good && client->key != NULL) {
        good = library->easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER) == CURLE_OK &&
               library->easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, client->key) == CURLE_OK;
    }
    if (good) {
        (void)library->easy_setopt(curl, CURLOPT_ERRORBUFFER, transfer->message);
        (void)library->easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        (void)library->easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, client->connect_seconds);
        (void)library->easy_setopt(curl, CURLOPT_USERAGENT, USER_AGENT);
    }
    return good;
}

/* Adds a prepared request to those that run. */
static tmb_status begin(tmb_transfer *transfer, bool good, tmb_error *error) {
    tmb_remote_client *client = transfer->client;
    if (good && client->library->multi_add_handle(client->multi, transfer->curl) == CURLM_OK) {
        transfer->began = transfer->heard = tmb_now();
        return TMB_OK;
    }
    if (transfer->curl != NULL) {
        client->library->easy_cleanup(transfer->curl);
    }
    free(transfer->bytes);
    *transfer = (tmb_transfer){0};
    return tmb_fail_memory(error, "a request to the speech server", TMB_REMOTE_KEEP);
}

tmb_status tmb_transfer_post(tmb_transfer *transfer, tmb_remote_client *client, const char *url, const char *body,
                             tmb_error *error) {
    const tmb_curl *library = client->library;
    *transfer = (tmb_transfer){.bytes = malloc(TMB_REMOTE_KEEP)};
    bool good =
        transfer->bytes != NULL && prepare(transfer, client, url) &&
        library->easy_setopt(transfer->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body)) == CURLE_OK &&
        library->easy_setopt(transfer->curl, CURLOPT_POSTFIELDS, body) == CURLE_OK &&
        library->easy_setopt(transfer->curl, CURLOPT_HTTPHEADER, client->headers) == CURLE_OK;
    return begin(transfer, good, error);
}

tmb_status tmb_transfer_get(tmb_transfer *transfer, tmb_remote_client *client, const char *url, long seconds,
                            tmb_error *error) {
    *transfer = (tmb_transfer){0};
    bool good = prepare(transfer, client, url) &&
                client->library->easy_setopt(transfer->curl, CURLOPT_TIMEOUT, seconds) == CURLE_OK;
    return begin(transfer, good, error);
}

void tmb_transfer_stop(tmb_transfer *transfer) {
    if (transfer->curl != NULL) {
        tmb_remote_client *client = transfer->client;
        (void)client->library->multi_remove_handle(client->multi, transfer->curl);
        client->library->easy_cleanup(transfer->curl);
    }
    free(transfer->bytes);
    *transfer = (tmb_transfer){0};
}

/* ---- All of them ---- */

static void note_what_ended(tmb_remote_client *client) {
    const CURLMsg *message;
    int left;
    while ((message = client->library->multi_info_read(client->multi, &left)) != NULL) {
        tmb_transfer *transfer = NULL;
        if (message->msg == CURLMSG_DONE &&
            client->library->easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer) == CURLE_OK) {
            transfer->done = true;
            transfer->result = message->data.result;
        }
    }
}

tmb_status tmb_remote_client_perform(tmb_remote_client *client, int wait, tmb_error *error) {
    const tmb_curl *library = client->library;
    int running;
    if (library->multi_perform(client->multi, &running) != CURLM_OK ||
        library->multi_poll(client->multi, NULL, 0, wait, NULL) != CURLM_OK ||
        library->multi_perform(client->multi, &running) != CURLM_OK) {
        return tmb_fail_memory(error, "the speech server's connections", 0);
    }
    note_what_ended(client);
    return TMB_OK;
}

/* ---- The answer ---- */

long tmb_transfer_code(const tmb_transfer *transfer) {
    long code = 0;
    (void)transfer->client->library->easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &code);
    return code;
}

double tmb_transfer_retry_after(const tmb_transfer *transfer) {
    curl_off_t asked = 0;
    (void)transfer->client->library->easy_getinfo(transfer->curl, CURLINFO_RETRY_AFTER, &asked);
    return asked > 0 ? (double)asked : 0;
}

tmb_status tmb_transfer_check_audio(const tmb_transfer *transfer, tmb_error *error) {
    char *type = NULL;
    (void)transfer->client->library->easy_getinfo(transfer->curl, CURLINFO_CONTENT_TYPE, &type);
    if (type == NULL || strncasecmp(type, "audio/", 6) != 0) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "the speech server answers with %.60s instead of audio",
                        type != NULL ? type : "something untyped");
    }
    const char *rate = strcasestr(type, "rate=");
    if (strncasecmp(type, "audio/pcm", 9) != 0 || (rate != NULL && atoi(rate + 5) != TMB_REMOTE_RATE)) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "the speech server answers with %.60s instead of PCM at %d Hz", type,
                        TMB_REMOTE_RATE);
    }
    return TMB_OK;
}

void tmb_transfer_go_on(tmb_transfer *transfer) {
    if (transfer->paused) {
        transfer->paused = false;
        (void)transfer->client->library->easy_pause(transfer->curl, CURLPAUSE_CONT);
    }
}
