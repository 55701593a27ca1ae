#include "weights/download.h"

#include "base/error.h"
#include "base/memory.h"
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
#define STALL_SECONDS 60L /* without a byte */

/* One request. */
typedef struct request {
    const char *url;
    const tmb_download_options *options;
    const tmb_curl *library;
    CURL *curl;
    struct curl_slist *headers;
    char curl_message[CURL_ERROR_SIZE];
    long http_status;
    tmb_download_about about;
    bool has_linked_bytes, has_linked_etag;
    uint64_t range_begin; /* of the answer's Content-Range */
    bool has_range;
    /* Into memory ... */
    char *text;
    size_t text_bytes, text_limit;
    /* ... or into a file. */
    int file;
    uint64_t wanted, written; /* bytes of the file; in it now */
    bool started;
    bool misplaced;     /* the answer is another part of the file than was asked for */
    tmb_status failure; /* from a callback, its message in `error` */
    tmb_error *error;
} request;

/* "Name: value\r\n" → whether it is this name; *value [*length] without blanks around it. */
static bool header_is(const char *line, size_t bytes, const char *name, const char **value, size_t *length) {
    size_t name_bytes = strlen(name);
    if (bytes <= name_bytes || line[name_bytes] != ':' || strncasecmp(line, name, name_bytes) != 0) {
        return false;
    }
    const char *begin = line + name_bytes + 1;
    const char *end = line + bytes;
    while (begin < end && (*begin == ' ' || *begin == '\t')) {
        begin++;
    }
    while (end > begin && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r' || end[-1] == '\n')) {
        end--;
    }
    *value = begin;
    *length = (size_t)(end - begin);
    return true;
}

static bool parse_number(const char *text, size_t length, uint64_t *number) {
    *number = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(*number, 10u, number) ||
            __builtin_add_overflow(*number, (uint64_t)(text[i] - '0'), number)) {
            return false;
        }
    }
    return length != 0;
}

/* W/"abc" → abc */
static void copy_etag(char out[136], const char *value, size_t length) {
    if (length >= 2 && memcmp(value, "W/", 2) == 0) {
        value += 2;
        length -= 2;
    }
    if (length >= 2 && value[0] == '"' && value[length - 1] == '"') {
        value++;
        length -= 2;
    }
    if (length < 136) {
        memcpy(out, value, length);
        out[length] = '\0';
    }
}

static size_t on_header(char *line, size_t size, size_t count, void *user) {
    request *r = user;
    size_t bytes = size * count;
    const char *value;
    size_t length;
    if (bytes >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        r->has_range = false;
    } else if (header_is(line, bytes, "x-linked-etag", &value, &length)) {
        copy_etag(r->about.etag, value, length);
        r->has_linked_etag = true;
    } else if (header_is(line, bytes, "etag", &value, &length) && !r->has_linked_etag) {
        copy_etag(r->about.etag, value, length);
    } else if (header_is(line, bytes, "x-linked-size", &value, &length)) {
        r->has_linked_bytes = parse_number(value, length, &r->about.bytes);
        r->about.has_bytes = r->has_linked_bytes;
    } else if (header_is(line, bytes, "content-length", &value, &length) && !r->has_linked_bytes) {
        r->about.has_bytes = parse_number(value, length, &r->about.bytes);
    } else if (header_is(line, bytes, "content-range", &value, &length) && length > 6 &&
               strncasecmp(value, "bytes ", 6) == 0) {
        const char *dash = memchr(value, '-', length);
        r->has_range = dash != NULL && parse_number(value + 6, (size_t)(dash - value - 6), &r->range_begin);
    }
    return bytes;
}

static size_t fail_write(request *r, tmb_status status) {
    r->failure = status;
    return 0; /* curl ends the transfer */
}

static size_t append_text(request *r, const char *data, size_t bytes) {
    if (bytes > r->text_limit - r->text_bytes) {
        return fail_write(r, tmb_fail(r->error, TMB_ERROR_LIMIT, "%s: more than %zu bytes", r->url, r->text_limit));
    }
    char *text = tmb_realloc(r->text, r->text_bytes + bytes + 1, 1);
    if (text == NULL) {
        return fail_write(r, tmb_fail_memory(r->error, r->url, 0));
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
    bool continues = partial && r->has_range && r->range_begin == r->written;
    if (r->written != 0 && !continues) {
        /* All of it again, or another part than was asked for: begin anew. */
        r->written = 0;
        if (ftruncate(r->file, 0) != 0) {
            r->failure = tmb_fail_errno(r->error, TMB_ERROR_IO, errno, "%s", r->url);
            return false;
        }
    }
    if (partial && !continues) {
        r->misplaced = true;
        return false;
    }
    if (lseek(r->file, (off_t)r->written, SEEK_SET) < 0) {
        r->failure = tmb_fail_errno(r->error, TMB_ERROR_IO, errno, "%s", r->url);
        return false;
    }
    return true;
}

static size_t append_file(request *r, const char *data, size_t bytes) {
    if (!r->started && !place_answer(r)) {
        return 0;
    }
    if (bytes > r->wanted - r->written) {
        r->written = 0;
        if (ftruncate(r->file, 0) != 0) {
            return fail_write(r, tmb_fail_errno(r->error, TMB_ERROR_IO, errno, "%s", r->url));
        }
        return fail_write(r, tmb_fail(r->error, TMB_ERROR_FORMAT,
                                      "%s: the server sends more than the %llu bytes that it "
                                      "promised",
                                      r->url, (unsigned long long)r->wanted));
    }
    for (size_t done = 0; done < bytes;) {
        ssize_t more = write(r->file, data + done, bytes - done);
        if (more < 0 && errno != EINTR) {
            return fail_write(r, tmb_fail_errno(r->error, TMB_ERROR_IO, errno, "%s: cannot be stored", r->url));
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
    return r->file >= 0 ? append_file(r, data, bytes) : append_text(r, data, bytes);
}

static int on_progress(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    request *r = user;
    uint64_t done = r->file >= 0 ? r->written : r->text_bytes;
    if (r->options->progress != NULL && !r->options->progress(r->options->user, done, r->wanted)) {
        r->failure = tmb_fail(r->error, TMB_ERROR_CANCELLED, "cancelled");
        return 1;
    }
    return 0;
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
    if (r->options->accept != NULL) {
        char header[256];
        int length = snprintf(header, sizeof header, "Accept: %s", r->options->accept);
        if (length > 0 && (size_t)length < sizeof header) {
            r->headers = r->library->slist_append(NULL, header);
        }
        good = good && r->headers != NULL && r->library->easy_setopt(curl, CURLOPT_HTTPHEADER, r->headers) == CURLE_OK;
    }
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

/* What an HTTP status or curl's result means; *again: it may pass. */
static tmb_status judge(request *r, CURLcode result, bool *again) {
    *again = false;
    if (r->failure != TMB_OK) {
        return r->failure;
    }
    long code = r->http_status;
    if (result == CURLE_OK && code >= 200 && code < 400) {
        return TMB_OK;
    }
    if (result == CURLE_OK) {
        *again = code == 408 || code == 429 || code >= 500;
        if (code == 401 || code == 403) {
            return tmb_fail(r->error, TMB_ERROR_MODEL,
                            "%s: access denied (HTTP %ld): the variable HF_TOKEN must hold a token that may read it",
                            r->url, code);
        }
        if (code == 404 || code == 410) {
            return tmb_fail(r->error, TMB_ERROR_MODEL, "%s: not there (HTTP %ld)", r->url, code);
        }
        return tmb_fail(r->error, TMB_ERROR_IO, "%s: the server answers HTTP %ld", r->url, code);
    }
    *again = result != CURLE_UNSUPPORTED_PROTOCOL && result != CURLE_URL_MALFORMAT &&
             result != CURLE_PEER_FAILED_VERIFICATION && result != CURLE_TOO_MANY_REDIRECTS &&
             result != CURLE_OUT_OF_MEMORY;
    return tmb_fail(r->error, result == CURLE_OUT_OF_MEMORY ? TMB_ERROR_MEMORY : TMB_ERROR_IO, "%s: %s", r->url,
                    r->curl_message[0] != '\0' ? r->curl_message : r->library->easy_strerror(result));
}

static void wait_before(const tmb_download_options *options, int attempt) {
    double seconds = options->retry_delay > 0 ? options->retry_delay : 1;
    for (int i = 1; i < attempt; i++) {
        seconds *= 2;
    }
    struct timespec time = {.tv_sec = (time_t)seconds};
    time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
    (void)nanosleep(&time, NULL);
}

typedef tmb_status (*attempt_function)(request *r, bool *again);

/* Bytes beyond all before make a new start for the count: a bad line that moves is no failure. */
static tmb_status try_often(request *r, attempt_function attempt) {
    static const tmb_download_options none = {0};
    r->options = r->options == NULL ? &none : r->options;
    int limit = r->options->attempts > 0 ? r->options->attempts : ATTEMPTS;
    uint64_t furthest = r->written;
    tmb_status status = tmb_curl_load(&r->library, r->error);
    if (status != TMB_OK) {
        return status;
    }
    for (int i = 1; i <= limit; i++) {
        bool again = false;
        r->failure = TMB_OK;
        r->http_status = 0;
        r->started = false;
        r->misplaced = false;
        r->has_range = false;
        r->has_linked_bytes = false;
        r->has_linked_etag = false;
        memset(&r->about, 0, sizeof r->about);
        r->curl_message[0] = '\0';
        status =
            prepare(r) ? attempt(r, &again) : tmb_fail(r->error, TMB_ERROR_ARGUMENT, "%s: no URL to fetch", r->url);
        finish(r);
        if (status == TMB_OK || !again) {
            break;
        }
        if (r->written > furthest) {
            furthest = r->written;
            i = 1;
        }
        if (i < limit) {
            wait_before(r->options, i);
        }
    }
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
        status = tmb_fail(error, TMB_ERROR_FORMAT, "%s: names \"%.200s\", which leads nowhere", base, reference);
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
        status = r.text == NULL ? tmb_fail_memory(error, url, 0) : TMB_OK;
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
    (void)r->library->easy_setopt(r->curl, CURLOPT_NOBODY, 1L);
    char *next = NULL;
    for (long i = 0; i < REDIRECTS_MAX; i++) {
        CURLcode result = r->library->easy_perform(r->curl);
        (void)r->library->easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &r->http_status);
        tmb_status status = judge(r, result, again);
        if (status != TMB_OK || r->http_status < 300 || r->has_linked_etag) {
            return status;
        }
        r->about.has_bytes = false;
        (void)r->library->easy_getinfo(r->curl, CURLINFO_REDIRECT_URL, &next);
        if (next == NULL || r->library->easy_setopt(r->curl, CURLOPT_URL, next) != CURLE_OK) {
            break;
        }
        /* The new host may be another one. */
        (void)r->library->easy_setopt(r->curl, CURLOPT_XOAUTH2_BEARER, NULL);
        (void)r->library->easy_setopt(r->curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    }
    return tmb_fail(r->error, TMB_ERROR_IO, "%s: too many redirects", r->url);
}

tmb_status tmb_download_head(const char *url, const tmb_download_options *options, tmb_download_about *out,
                             tmb_error *error) {
    request r = {.url = url, .options = options, .file = -1, .error = error};
    tmb_status status = try_often(&r, attempt_head);
    *out = r.about;
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
        return tmb_fail(r->error, TMB_ERROR_IO, "%s: the server sends another part than was asked for", r->url);
    }
    if (result == CURLE_OK && r->http_status == 416) {
        /* The rest that was asked for is not there: begin again. */
        *again = ftruncate(r->file, 0) == 0;
        r->written = 0;
        return tmb_fail(r->error, TMB_ERROR_IO, "%s: the server cannot go on with a file", r->url);
    }
    tmb_status status = judge(r, result, again);
    if (status == TMB_OK && r->written != r->wanted) {
        *again = true;
        status = tmb_fail(r->error, TMB_ERROR_IO, "%s: the server sent %llu bytes of %llu", r->url,
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
