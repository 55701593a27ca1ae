#include "weights/download.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "base/url.h"
#include "weights/answer.h"
#include "weights/curl_library.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ATTEMPTS 5
#define REDIRECTS_MAX 8L
#define CONNECT_SECONDS 20L
#define UNKNOWN_BYTES_MAX (UINT64_C(1) << 40)
#define STALL_SECONDS 60L /* without a byte */

/* One request. */
typedef struct request {
    const char *url;
    char shown[512]; /* for messages, which hold no more of it */
    const tmb_download_options *options;
    const tmb_curl *library;
    CURL *curl;
    struct curl_slist *headers;
    char curl_message[CURL_ERROR_SIZE];
    long http_status;
    tmb_answer answer;
    /* Into memory ... */
    char *text;
    size_t text_bytes, text_limit;
    /* ... or into a file. */
    int file;
    uint64_t wanted, written; /* bytes of the file; in it now */
    bool started;
    bool stop_after_head; /* the body is not wanted */
    bool misplaced;       /* the answer is another part of the file than was asked for */
    tmb_status failure;   /* from a callback, its message in `error` */
    tmb_error *error;
} request;

static size_t on_header(char *line, size_t size, size_t count, void *user) {
    request *r = user;
    tmb_answer_line(&r->answer, line, size * count);
    return size * count;
}

static size_t fail_write(request *r, tmb_status status) {
    r->failure = status;
    return 0; /* curl ends the transfer */
}

static size_t append_text(request *r, const char *data, size_t bytes) {
    if (bytes > r->text_limit - r->text_bytes) {
        return fail_write(r, tmb_fail(r->error, TMB_ERROR_LIMIT, "%s: more than %zu bytes", r->shown, r->text_limit));
    }
    char *text = tmb_realloc(r->text, r->text_bytes + bytes + 1, 1);
    if (text == NULL) {
        return fail_write(r, tmb_fail_memory(r->error, r->shown, 0));
    }
    memcpy(text + r->text_bytes, data, bytes);
    r->text = text;
    r->text_bytes += bytes;
    text[r->text_bytes] = '\0';
    return bytes;
}

/* With the first bytes of an answer: where do they belong? */
static bool place_answer(request *r) {
    r->started = true;
    bool partial = r->http_status == 206;
    bool continues = partial && r->answer.has_range && r->answer.range_begin == r->written;
    if (r->written != 0 && !continues) {
        /* All of it again, or another part than was asked for: begin anew. */
        r->written = 0;
        if (ftruncate(r->file, 0) != 0) {
            r->failure = tmb_fail_errno(r->error, TMB_ERROR_IO, errno, "%s", r->shown);
            return false;
        }
    }
    if (partial && !continues) {
        r->misplaced = true;
        return false;
    }
    if (lseek(r->file, (off_t)r->written, SEEK_SET) < 0) {
        r->failure = tmb_fail_errno(r->error, TMB_ERROR_IO, errno, "%s", r->shown);
        return false;
    }
    return true;
}

static size_t append_file(request *r, const char *data, size_t bytes) {
    if (!r->started && !place_answer(r)) {
        return 0;
    }
    uint64_t limit = r->wanted == TMB_DOWNLOAD_BYTES_UNKNOWN ? UNKNOWN_BYTES_MAX : r->wanted;
    if (bytes > limit - r->written) {
        r->written = 0;
        if (ftruncate(r->file, 0) != 0) {
            return fail_write(r, tmb_fail_errno(r->error, TMB_ERROR_IO, errno, "%s", r->shown));
        }
        return fail_write(r, tmb_fail(r->error, TMB_ERROR_FORMAT,
                                      "%s: the server sends more than the %llu bytes that it "
                                      "promised",
                                      r->shown, (unsigned long long)limit));
    }
    for (size_t done = 0; done < bytes;) {
        ssize_t more = write(r->file, data + done, bytes - done);
        if (more < 0 && errno != EINTR) {
            return fail_write(r, tmb_fail_errno(r->error, TMB_ERROR_IO, errno, "%s: cannot be stored", r->shown));
        }
        done += more > 0 ? (size_t)more : 0;
        r->written += more > 0 ? (size_t)more : 0;
    }
    return bytes;
}

static size_t on_body(char *data, size_t size, size_t count, void *user) {
    request *r = user;
    size_t bytes = size * count;
    (void)r->library->easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &r->http_status);
    if (r->http_status >= 300) {
        return bytes; /* an error's page */
    }
    if (r->stop_after_head) {
        return 0; /* curl ends the transfer */
    }
    return r->file >= 0 ? append_file(r, data, bytes) : append_text(r, data, bytes);
}

/* For progress: 0 is not known. */
static uint64_t total_of(const request *r) { return r->wanted == TMB_DOWNLOAD_BYTES_UNKNOWN ? 0 : r->wanted; }

static int on_progress(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    request *r = user;
    uint64_t done = r->file >= 0 ? r->written : r->text_bytes;
    if (r->options->progress != NULL && !r->options->progress(r->options->user, done, total_of(r))) {
        r->failure = tmb_fail(r->error, TMB_ERROR_CANCELLED, "cancelled");
        return 1;
    }
    return 0;
}

static bool add_header(request *r, const char *name, const char *value) {
    char header[256];
    int length = snprintf(header, sizeof header, "%s: %s", name, value);
    struct curl_slist *longer =
        length > 0 && (size_t)length < sizeof header ? r->library->slist_append(r->headers, header) : NULL;
    r->headers = longer != NULL ? longer : r->headers;
    return longer != NULL;
}

static bool prepare(request *r) {
    r->curl = r->library->easy_init();
    if (r->curl == NULL) {
        return false;
    }
    CURL *curl = r->curl;
    const char *protocols = strncasecmp(r->url, "http://", 7) == 0 ? "http,https" : "https";
    bool good = r->library->easy_setopt(curl, CURLOPT_URL, r->url) == CURLE_OK &&
                r->library->easy_setopt(curl, CURLOPT_PROTOCOLS_STR, protocols) == CURLE_OK &&
                r->library->easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, protocols) == CURLE_OK &&
                r->library->easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
                r->library->easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
                r->library->easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK;
    (void)r->library->easy_setopt(curl, CURLOPT_HEADERDATA, r);
    (void)r->library->easy_setopt(curl, CURLOPT_WRITEDATA, r);
    (void)r->library->easy_setopt(curl, CURLOPT_XFERINFODATA, r);
    (void)r->library->easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    (void)r->library->easy_setopt(curl, CURLOPT_ERRORBUFFER, r->curl_message);
    (void)r->library->easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)r->library->easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    (void)r->library->easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)r->library->easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, STALL_SECONDS);
    (void)r->library->easy_setopt(curl, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    (void)r->library->easy_setopt(curl, CURLOPT_USERAGENT, "timbre/" TMB_VERSION);
    /* A server that compresses tells no length, and ranges would be of other bytes. */
    good = good && add_header(r, "Accept-Encoding", "identity") &&
           (r->options->accept == NULL || add_header(r, "Accept", r->options->accept)) &&
           r->library->easy_setopt(curl, CURLOPT_HTTPHEADER, r->headers) == CURLE_OK;
    if (r->options->token != NULL && r->options->token[0] != '\0') {
        /* curl drops it at a redirect to another host. */
        good = good && r->library->easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER) == CURLE_OK &&
               r->library->easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, r->options->token) == CURLE_OK;
    }
    return good;
}

static void finish(request *r) {
    if (r->curl != NULL) {
        r->library->easy_cleanup(r->curl);
        r->curl = NULL;
    }
    if (r->headers != NULL) {
        r->library->slist_free_all(r->headers);
        r->headers = NULL;
    }
}

/* The host and port of a URL: what stands between "://", or a user and a password behind it, and the next '/'. */
static const char *authority(const char *url, size_t *length) {
    const char *colon = strstr(url, "://");
    const char *begin = colon != NULL ? colon + 3 : url;
    const size_t whole = strcspn(begin, "/?#");
    const char *at = memrchr(begin, '@', whole);
    const char *host = at != NULL ? at + 1 : begin;
    *length = whole - (size_t)(host - begin);
    return host;
}

static bool same_host(const char *a, const char *b) {
    size_t a_length, b_length;
    const char *a_host = authority(a, &a_length);
    const char *b_host = authority(b, &b_length);
    return a_length == b_length && strncasecmp(a_host, b_host, a_length) == 0;
}

/* Where the last answer came from. */
static const char *answered_by(const request *r) {
    char *url = NULL;
    (void)r->library->easy_getinfo(r->curl, CURLINFO_EFFECTIVE_URL, &url);
    return url != NULL ? url : r->url;
}

/* An HTTP status that is an error. */
static tmb_status judge_http(request *r, bool *again) {
    long code = r->http_status;
    const char *answered = answered_by(r);
    *again = code == 408 || code == 429 || code >= 500;
    if (code < 429 && code != 408 && !same_host(r->url, answered)) {
        /* The storage behind the hub: its addresses are signed and expire, and the hub gives a new one when asked. */
        size_t length;
        const char *host = authority(answered, &length);
        *again = true;
        return tmb_fail(r->error, TMB_ERROR_IO,
                        "%s: the storage that this leads to, %.*s, refuses (HTTP %ld), also when it was asked again: "
                        "its address has expired, or something between here and there blocks it; try later, or set "
                        "HF_ENDPOINT to a mirror",
                        r->shown, (int)(length < 200 ? length : 200), host, code);
    }
    const char *variable = r->options->token_variable;
    if (code == 429) {
        bool advise = variable != NULL && r->options->token == NULL;
        return tmb_fail(r->error, TMB_ERROR_IO, "%s: too many requests from this address (HTTP 429)%s%s%s", r->shown,
                        advise ? ": the variable " : "", advise ? variable : "",
                        advise ? " with a token of your (free) account raises the limit" : "");
    }
    if (code == 401 || code == 403) {
        return tmb_fail(r->error, TMB_ERROR_MODEL, "%s: access denied (HTTP %ld)%s%s%s", r->shown, code,
                        variable != NULL ? ": the variable " : "", variable != NULL ? variable : "",
                        variable != NULL ? " must hold a token that may read it" : "");
    }
    if (code == 404 || code == 410) {
        return tmb_fail(r->error, TMB_ERROR_MODEL, "%s: not there (HTTP %ld)", r->shown, code);
    }
    return tmb_fail(r->error, TMB_ERROR_IO, "%s: the server answers HTTP %ld", r->shown, code);
}

/* What an HTTP status or curl's result means; *again: it may pass. */
static tmb_status judge(request *r, CURLcode result, bool *again) {
    *again = false;
    if (r->failure != TMB_OK) {
        return r->failure;
    }
    if (result == CURLE_OK) {
        return r->http_status >= 200 && r->http_status < 400 ? TMB_OK : judge_http(r, again);
    }
    *again = result != CURLE_UNSUPPORTED_PROTOCOL && result != CURLE_URL_MALFORMAT &&
             result != CURLE_PEER_FAILED_VERIFICATION && result != CURLE_TOO_MANY_REDIRECTS &&
             result != CURLE_OUT_OF_MEMORY;
    return tmb_fail(r->error, result == CURLE_OUT_OF_MEMORY ? TMB_ERROR_MEMORY : TMB_ERROR_IO, "%s: %s", r->shown,
                    r->curl_message[0] != '\0' ? r->curl_message : r->library->easy_strerror(result));
}

static void sleep_for(double seconds) {
    struct timespec time = {.tv_sec = (time_t)seconds};
    time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
    (void)nanosleep(&time, NULL);
}

/* False when the caller cancels. */
static bool wait_for(const request *r, double seconds) {
    const tmb_download_options *options = r->options;
    if (options->wait != NULL) {
        return options->wait(options->user, seconds);
    }
    double end = tmb_now() + seconds;
    for (double left = seconds; left > 0; left = end - tmb_now()) {
        sleep_for(left < 0.2 ? left : 0.2);
        if (options->progress != NULL && !options->progress(options->user, r->written, total_of(r))) {
            return false;
        }
    }
    return true;
}

/* Seconds before the next attempt: doubled each time, or longer if the server asks for it. */
static double delay_before(const request *r, int attempt) {
    double seconds = r->options->retry_delay > 0 ? r->options->retry_delay : 1;
    for (int i = 1; i < attempt; i++) {
        seconds *= 2;
    }
    double asked = r->http_status == 429 || r->http_status == 503 ? tmb_answer_wait(&r->answer, time(NULL)) : -1;
    return asked > seconds ? asked : seconds;
}

/* Waits before another attempt; not TMB_OK: the caller gives up. */
static tmb_status pause_before(request *r, int attempt, tmb_status status) {
    double seconds = delay_before(r, attempt);
    if (seconds > TMB_DOWNLOAD_WAIT_MAX) {
        char reason[sizeof r->error->message];
        (void)snprintf(reason, sizeof reason, "%s", r->error->message);
        return tmb_fail(r->error, status, "%.400s; it asks to wait %.0f minutes", reason, seconds / 60);
    }
    if (r->options->retry != NULL) {
        r->options->retry(r->options->user, r->error->message, seconds);
    }
    return wait_for(r, seconds) ? TMB_OK : tmb_fail(r->error, TMB_ERROR_CANCELLED, "cancelled");
}

typedef tmb_status (*attempt_function)(request *r, bool *again);

static void begin_attempt(request *r) {
    r->failure = TMB_OK;
    r->http_status = 0;
    r->started = false;
    r->misplaced = false;
    tmb_answer_begin(&r->answer);
    r->curl_message[0] = '\0';
}

/* Any progress makes a new start for the count: a slow connection that moves on is not a failure. */
static tmb_status try_all_attempts(request *r, attempt_function attempt) {
    int limit = r->options->attempts > 0 ? r->options->attempts : ATTEMPTS;
    uint64_t furthest = r->written;
    tmb_status status = TMB_OK;
    for (int i = 1; i <= limit; i++) {
        bool again = false;
        begin_attempt(r);
        status = prepare(r) ? attempt(r, &again)
                            : tmb_fail(r->error, TMB_ERROR_ARGUMENT, "%s: not a URL that can be fetched", r->shown);
        finish(r);
        if (status == TMB_OK || !again) {
            break;
        }
        if (r->written > furthest) {
            furthest = r->written;
            i = 1;
        }
        if (i < limit) {
            tmb_status paused = pause_before(r, i, status);
            if (paused != TMB_OK) {
                return paused;
            }
        }
    }
    return status;
}

static tmb_status try_often(request *r, attempt_function attempt) {
    static const tmb_download_options none = {0};
    tmb_error *callers = r->error;
    tmb_error mine = {0};
    (void)tmb_url_show(r->url, strlen(r->url), r->shown, sizeof r->shown);
    r->options = r->options == NULL ? &none : r->options;
    r->error = &mine; /* callers may want no message, but retries tell their reason */
    tmb_status status = tmb_curl_load(&r->library, r->error);
    if (status == TMB_OK) {
        status = try_all_attempts(r, attempt);
    }
    if (status != TMB_OK && callers != NULL) {
        *callers = mine;
    }
    r->error = callers;
    return status;
}

static tmb_status attempt_text(request *r, bool *again) {
    r->text_bytes = 0;
    (void)r->library->easy_setopt(r->curl, CURLOPT_FOLLOWLOCATION, 1L);
    CURLcode result = r->library->easy_perform(r->curl);
    (void)r->library->easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &r->http_status);
    return judge(r, result, again);
}

tmb_status tmb_download_resolve(const char *base, const char *reference, char *out, tmb_error *error) {
    const tmb_curl *library = NULL;
    tmb_status status = tmb_curl_load(&library, error);
    if (status != TMB_OK) {
        return status;
    }
    CURLU *url = library->url();
    char *whole = NULL;
    if (url == NULL) {
        return tmb_fail_memory(error, "a URL", 0);
    }
    if (library->url_set(url, CURLUPART_URL, base, 0) != CURLUE_OK ||
        library->url_set(url, CURLUPART_URL, reference, 0) != CURLUE_OK ||
        library->url_get(url, CURLUPART_URL, &whole, 0) != CURLUE_OK || strlen(whole) >= TMB_URL_MAX) {
        char shown[512];
        status = tmb_fail(error, TMB_ERROR_FORMAT, "%s: names \"%.200s\", which is no address",
                          tmb_url_show(base, strlen(base), shown, sizeof shown), reference);
    } else {
        strcpy(out, whole);
    }
    library->free(whole);
    library->url_cleanup(url);
    return status;
}

tmb_status tmb_download_text(const char *url, const tmb_download_options *options, size_t limit, char **out,
                             size_t *bytes, tmb_error *error) {
    request r = {.url = url, .options = options, .text_limit = limit, .file = -1, .error = error};
    *out = NULL;
    *bytes = 0;
    tmb_status status = try_often(&r, attempt_text);
    if (status == TMB_OK && r.text == NULL) {
        r.text = tmb_calloc(1, 1);
        status = r.text == NULL ? tmb_fail_memory(error, r.shown, 0) : TMB_OK;
    }
    if (status != TMB_OK) {
        free(r.text);
        return status;
    }
    *out = r.text;
    *bytes = r.text_bytes;
    return TMB_OK;
}

/* Follows redirects only as long as they say nothing about the file: the storage behind the last one has other tags. */
static tmb_status attempt_head(request *r, bool *again) {
    char *next = NULL;
    for (long i = 0; i < REDIRECTS_MAX; i++) {
        CURLcode result = r->library->easy_perform(r->curl);
        (void)r->library->easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &r->http_status);
        if (r->stop_after_head && r->http_status >= 200 && result == CURLE_WRITE_ERROR && r->failure == TMB_OK) {
            result = CURLE_OK; /* the body of an answer to a request for one byte is not needed */
        }
        tmb_status status = judge(r, result, again);
        if (status != TMB_OK || r->http_status < 300 || r->answer.has_linked_etag) {
            return status;
        }
        r->answer.has_bytes = false;
        (void)r->library->easy_getinfo(r->curl, CURLINFO_REDIRECT_URL, &next);
        if (next == NULL) {
            break;
        }
        if (!same_host(answered_by(r), next)) {
            (void)r->library->easy_setopt(r->curl, CURLOPT_XOAUTH2_BEARER, NULL);
            (void)r->library->easy_setopt(r->curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
        }
        if (r->library->easy_setopt(r->curl, CURLOPT_URL, next) != CURLE_OK) {
            break;
        }
    }
    return tmb_fail(r->error, TMB_ERROR_IO, "%s: too many redirects", r->shown);
}

static tmb_status attempt_head_only(request *r, bool *again) {
    (void)r->library->easy_setopt(r->curl, CURLOPT_NOBODY, 1L);
    return attempt_head(r, again);
}

/* Asks for the first byte: "Content-Range: bytes 0-0/300000" tells the size if nothing else does. */
static tmb_status attempt_first_byte(request *r, bool *again) {
    (void)r->library->easy_setopt(r->curl, CURLOPT_RANGE, "0-0");
    (void)r->library->easy_setopt(r->curl, CURLOPT_FOLLOWLOCATION, 1L);
    return attempt_head(r, again);
}

tmb_status tmb_download_head(const char *url, const tmb_download_options *options, tmb_download_about *out,
                             tmb_error *error) {
    request r = {.url = url, .options = options, .file = -1, .error = error};
    tmb_status status = try_often(&r, attempt_head_only);
    memcpy(out->etag, r.answer.etag, sizeof out->etag);
    out->bytes = r.answer.bytes;
    out->has_bytes = r.answer.has_bytes;
    if (status == TMB_OK && !out->has_bytes) {
        request byte = {.url = url, .options = options, .file = -1, .stop_after_head = true, .error = NULL};
        if (try_often(&byte, attempt_first_byte) == TMB_OK) {
            bool partial = byte.http_status == 206;
            out->has_bytes = partial ? byte.answer.has_range_total : byte.answer.has_bytes;
            out->bytes = partial ? byte.answer.range_total : byte.answer.bytes;
        }
    }
    return status;
}

static tmb_status attempt_file(request *r, bool *again) {
    char range[32];
    if (r->written != 0) {
        (void)snprintf(range, sizeof range, "%llu-", (unsigned long long)r->written);
        (void)r->library->easy_setopt(r->curl, CURLOPT_RANGE, range);
    }
    (void)r->library->easy_setopt(r->curl, CURLOPT_FOLLOWLOCATION, 1L);
    CURLcode result = r->library->easy_perform(r->curl);
    (void)r->library->easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &r->http_status);
    if (r->misplaced) {
        *again = true;
        return tmb_fail(r->error, TMB_ERROR_IO, "%s: the server sends another part than was asked for", r->shown);
    }
    if (result == CURLE_OK && r->http_status == 416) {
        /* The rest that was asked for is not there: begin again. */
        *again = ftruncate(r->file, 0) == 0;
        r->written = 0;
        return tmb_fail(r->error, TMB_ERROR_IO, "%s: the server cannot go on with a file", r->shown);
    }
    tmb_status status = judge(r, result, again);
    if (status == TMB_OK && r->wanted != TMB_DOWNLOAD_BYTES_UNKNOWN && r->written != r->wanted) {
        *again = true;
        status = tmb_fail(r->error, TMB_ERROR_IO, "%s: the server sent %llu bytes of %llu", r->shown,
                          (unsigned long long)r->written, (unsigned long long)r->wanted);
    }
    return status;
}

tmb_status tmb_download_file(const char *url, const tmb_download_options *options, const char *path, uint64_t bytes,
                             tmb_error *error) {
    request r = {.url = url, .options = options, .wanted = bytes, .error = error};
    r.file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    struct stat about;
    if (r.file < 0 || fstat(r.file, &about) != 0 || !S_ISREG(about.st_mode)) {
        tmb_status status = tmb_fail(error, TMB_ERROR_IO, "%s: %s", path, r.file < 0 ? strerror(errno) : "not a file");
        if (r.file >= 0) {
            (void)close(r.file);
        }
        return status;
    }
    r.written = (uint64_t)about.st_size;
    tmb_status status = TMB_OK;
    if (r.written > bytes) {
        r.written = 0;
        if (ftruncate(r.file, 0) != 0) {
            status = tmb_fail_errno(error, TMB_ERROR_IO, errno, "%s", path);
        }
    }
    if (status == TMB_OK && r.written != bytes) {
        status = try_often(&r, attempt_file);
    }
    if (status == TMB_OK && fsync(r.file) != 0) {
        status = tmb_fail_errno(error, TMB_ERROR_IO, errno, "%s", path);
    }
    if (close(r.file) != 0 && status == TMB_OK) {
        status = tmb_fail_errno(error, TMB_ERROR_IO, errno, "%s", path);
    }
    return status;
}
