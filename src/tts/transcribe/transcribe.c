#include "tts/transcribe/transcribe.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/url.h"
#include "tts/remote/body.h"
#include "tts/wav_bytes.h"
#include "weights/curl_library.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_MODEL "whisper-1"
#define DEFAULT_SECONDS 120.0
#define CONNECT_SECONDS 10L
/* The largest answer: a transcript with all its times takes a few kilobytes a minute. */
#define ANSWER_MOST ((size_t)1 << 20)

/* One question and what has come of its answer. */
typedef struct question {
    const tmb_curl *library;
    const tmb_transcriber *transcriber;
    const atomic_bool *stop; /* or NULL */
    char *endpoint;
    unsigned char *wav;
    size_t wav_bytes;
    CURL *curl;
    curl_mime *form;
    struct curl_slist *headers;
    char *bytes; /* the answer [count] */
    size_t count, capacity;
    bool too_large, no_memory;
} question;

static bool ends_with(const char *text, size_t length, const char *end) {
    return length >= strlen(end) && strncasecmp(text + length - strlen(end), end, strlen(end)) == 0;
}

tmb_status tmb_transcribe_endpoint(const char *url, char **out, tmb_error *error) {
    *out = NULL;
    const bool http = strncasecmp(url, "http://", 7) == 0 && url[7] != '\0';
    const bool https = strncasecmp(url, "https://", 8) == 0 && url[8] != '\0';
    size_t length = strlen(url);
    if ((!http && !https) || strpbrk(url, " \t\r\n?#") != NULL || length > INT_MAX / 2) {
        char shown[101];
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "the transcription service's address \"%s\" is not like http://host:8080 or "
                        "https://host/v1",
                        tmb_url_show(url, length, shown, sizeof shown));
    }
    while (length > 8 && url[length - 1] == '/') {
        length--;
    }
    const bool whole = ends_with(url, length, "/audio/transcriptions") || ends_with(url, length, "/inference");
    *out = tmb_asprintf("%.*s%s", (int)length, url,
                        whole                              ? ""
                        : ends_with(url, length, "/v1")    ? "/audio/transcriptions"
                        : ends_with(url, length, "/audio") ? "/transcriptions"
                                                           : "/v1/audio/transcriptions");
    return *out != NULL ? TMB_OK : tmb_fail_memory(error, "a URL", length);
}

/* Less than `bytes` ends the transfer. */
static size_t on_bytes(char *data, size_t size, size_t count, void *user) {
    question *q = user;
    const size_t bytes = size * count;
    if (bytes > ANSWER_MOST - q->count) {
        q->too_large = true;
        return 0;
    }
    if (bytes > q->capacity - q->count) {
        const size_t capacity = (q->count + bytes) * 2;
        char *grown = realloc(q->bytes, capacity);
        if (grown == NULL) {
            q->no_memory = true;
            return 0;
        }
        q->bytes = grown;
        q->capacity = capacity;
    }
    memcpy(q->bytes + q->count, data, bytes);
    q->count += bytes;
    return bytes;
}

/* Other than 0 ends the transfer; curl asks at least once a second. */
static int on_progress(void *user, curl_off_t total, curl_off_t done, curl_off_t up_total, curl_off_t up_done) {
    const question *q = user;
    (void)total;
    (void)done;
    (void)up_total;
    (void)up_done;
    const tmb_transcriber *who = q->transcriber;
    return (q->stop != NULL && atomic_load(q->stop)) || (who->cancelled != NULL && who->cancelled(who->user));
}

static bool add_text(const question *q, const char *name, const char *value) {
    curl_mimepart *part = q->library->mime_addpart(q->form);
    return part != NULL && q->library->mime_name(part, name) == CURLE_OK &&
           q->library->mime_data(part, value, CURL_ZERO_TERMINATED) == CURLE_OK;
}

static bool fill_form(const question *q) {
    const tmb_curl *library = q->library;
    curl_mimepart *part = library->mime_addpart(q->form);
    return part != NULL && library->mime_name(part, "file") == CURLE_OK &&
           library->mime_data(part, (const char *)q->wav, q->wav_bytes) == CURLE_OK &&
           library->mime_filename(part, "reference.wav") == CURLE_OK &&
           library->mime_type(part, "audio/wav") == CURLE_OK &&
           add_text(q, "model", q->transcriber->model != NULL ? q->transcriber->model : DEFAULT_MODEL) &&
           add_text(q, "response_format", "json");
}

static bool set_options(question *q) {
    const tmb_curl *library = q->library;
    const double seconds = q->transcriber->seconds > 0 ? q->transcriber->seconds : DEFAULT_SECONDS;
    bool good = library->easy_setopt(q->curl, CURLOPT_URL, q->endpoint) == CURLE_OK &&
                library->easy_setopt(q->curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
                library->easy_setopt(q->curl, CURLOPT_MIMEPOST, q->form) == CURLE_OK &&
                library->easy_setopt(q->curl, CURLOPT_HTTPHEADER, q->headers) == CURLE_OK &&
                library->easy_setopt(q->curl, CURLOPT_WRITEFUNCTION, on_bytes) == CURLE_OK &&
                library->easy_setopt(q->curl, CURLOPT_WRITEDATA, q) == CURLE_OK &&
                library->easy_setopt(q->curl, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK &&
                library->easy_setopt(q->curl, CURLOPT_XFERINFODATA, q) == CURLE_OK &&
                library->easy_setopt(q->curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
                library->easy_setopt(q->curl, CURLOPT_TIMEOUT_MS, (long)(seconds * 1000)) == CURLE_OK;
    if (good && q->transcriber->key != NULL) {
        good = library->easy_setopt(q->curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER) == CURLE_OK &&
               library->easy_setopt(q->curl, CURLOPT_XOAUTH2_BEARER, q->transcriber->key) == CURLE_OK;
    }
    (void)library->easy_setopt(q->curl, CURLOPT_NOSIGNAL, 1L);
    (void)library->easy_setopt(q->curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    (void)library->easy_setopt(q->curl, CURLOPT_USERAGENT, "timbre/" TMB_VERSION);
    return good;
}

static bool prepare(question *q) {
    q->curl = q->library->easy_init();
    q->form = q->curl != NULL ? q->library->mime_init(q->curl) : NULL;
    /* An empty Expect spares the second that curl waits for a service's leave to send a large body. */
    q->headers = q->library->slist_append(NULL, "Expect:");
    return q->form != NULL && q->headers != NULL && fill_form(q) && set_options(q);
}

static tmb_status fail_transfer(const question *q, CURLcode code, tmb_error *error) {
    if (code == CURLE_ABORTED_BY_CALLBACK) {
        return tmb_fail(error, TMB_ERROR_CANCELLED, "cancelled");
    }
    if (q->too_large) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "the transcription service's answer is larger than %zu bytes",
                        ANSWER_MOST);
    }
    if (q->no_memory || code == CURLE_OUT_OF_MEMORY) {
        return tmb_fail_memory(error, "a transcript", q->count);
    }
    /* Not curl's longer words: they name the service's host, and this text goes to whoever sent the recording. */
    return tmb_fail(error, code == CURLE_OPERATION_TIMEDOUT ? TMB_ERROR_TIMEOUT : TMB_ERROR_IO,
                    "the transcription service failed: %s", q->library->easy_strerror(code));
}

static tmb_status refuse(const question *q, long code, tmb_error *error) {
    char complaint[200];
    const tmb_status status = code == 429 || code == 503  ? TMB_ERROR_LIMIT
                              : code >= 400 && code < 500 ? TMB_ERROR_ARGUMENT
                                                          : TMB_ERROR_IO;
    tmb_remote_complaint(q->bytes != NULL ? q->bytes : "", q->count, complaint, sizeof complaint);
    return tmb_fail(error, status, "the transcription service answers HTTP %ld: %s%s", code, complaint,
                    code != 401 && code != 403    ? ""
                    : q->transcriber->key == NULL ? " (no key is set)"
                                                  : " (is the key right?)");
}

static tmb_status ask(question *q, char **text, tmb_error *error) {
    long code = 0;
    if (!prepare(q)) {
        return tmb_fail_memory(error, "a request to the transcription service", 0);
    }
    const CURLcode result = q->library->easy_perform(q->curl);
    if (result != CURLE_OK) {
        return fail_transfer(q, result, error);
    }
    (void)q->library->easy_getinfo(q->curl, CURLINFO_RESPONSE_CODE, &code);
    return code == 200 ? tmb_transcript_read(q->bytes != NULL ? q->bytes : "", q->count, text, error)
                       : refuse(q, code, error);
}

static void end(question *q) {
    if (q->library != NULL) {
        q->library->mime_free(q->form);
        q->library->slist_free_all(q->headers);
        if (q->curl != NULL) {
            q->library->easy_cleanup(q->curl);
        }
    }
    free(q->endpoint);
    free(q->wav);
    free(q->bytes);
}

tmb_status tmb_transcribe_samples(const tmb_transcriber *transcriber, const float *samples, size_t count,
                                  const atomic_bool *stop, char **text, tmb_error *error) {
    question q = {.transcriber = transcriber, .stop = stop};
    *text = NULL;
    tmb_status status = tmb_transcribe_endpoint(transcriber->url, &q.endpoint, error);
    if (status == TMB_OK) {
        status = tmb_wav_bytes(samples, count, TMB_TRANSCRIBE_RATE, &q.wav, &q.wav_bytes, error);
    }
    if (status == TMB_OK) {
        status = tmb_curl_load(&q.library, error);
    }
    if (status == TMB_OK) {
        status = ask(&q, text, error);
    } else {
        q.library = NULL;
    }
    end(&q);
    return status;
}
