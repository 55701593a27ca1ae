/* Contents in a bucket: S3 and what speaks its language (MinIO, Ceph ...), with the bucket in the path. Requests are
 * signed by libcurl (Signature Version 4). What goes wrong in between is tried again for a while. */
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "base/url.h"
#include "queue/contents/contents.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const double retry_seconds = 8;
/* A server that is slower than that for so long is one that does not answer. */
static const long slowest_bytes_a_second = 32 * 1024;
static const long slowest_seconds = 10;
static const char nothing_sum[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

typedef struct tmb_bucket {
    tmb_contents base;     /* first */
    char place[768];       /* "https://host/bucket/prefix" without a slash at its end */
    char credentials[400]; /* "id:secret" */
    char token[2100];      /* a header, or "" */
    char signature[128];   /* "aws:amz:region:s3" */
} tmb_bucket;

typedef enum tmb_verb { GET, HEAD, PUT, DELETE } tmb_verb;

typedef struct tmb_object {
    const char *name;
    const char *sum; /* PUT: of its bytes */
    uint64_t bytes;  /* PUT */
} tmb_object;

/* What comes back: a content, or the reason why there is none. */
typedef struct tmb_answer_body {
    CURL *curl;
    int descriptor; /* of the content, or -1 */
    char reason[1024];
    size_t reason_size;
} tmb_answer_body;

static size_t write_bytes(char *data, size_t size, size_t count, void *user) {
    tmb_answer_body *body = user;
    size_t left = size * count;
    long status = 0;
    (void)curl_easy_getinfo(body->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 300) {
        size_t room = sizeof body->reason - 1 - body->reason_size;
        memcpy(body->reason + body->reason_size, data, left < room ? left : room);
        body->reason_size += left < room ? left : room;
        return size * count;
    }
    while (left) {
        ssize_t written = body->descriptor < 0 ? (ssize_t)left : write(body->descriptor, data, left);
        if (written < 0 && errno != EINTR) {
            return 0;
        }
        data += written > 0 ? written : 0;
        left -= written > 0 ? (size_t)written : 0;
    }
    return size * count;
}

static size_t read_bytes(char *data, size_t size, size_t count, void *user) {
    const int *descriptor = user;
    ssize_t got = 0;
    do {
        got = read(*descriptor, data, size * count);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? CURL_READFUNC_ABORT : (size_t)got;
}

static void set_verb(CURL *curl, tmb_verb verb, uint64_t bytes, int *descriptor) {
    if (verb == PUT) {
        (void)curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        (void)curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)bytes);
        (void)curl_easy_setopt(curl, CURLOPT_READFUNCTION, read_bytes);
        (void)curl_easy_setopt(curl, CURLOPT_READDATA, descriptor);
    } else if (verb == HEAD) {
        (void)curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    } else if (verb == DELETE) {
        (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, "DELETE");
    }
}

/* What the server calls it: "AccessDenied". For people, and only if it is a word. */
static void describe(long status, const tmb_answer_body *body, char problem[200]) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char mark[] = "<Code>";
    const char *code = strstr(body->reason, mark);
    int length = code != NULL ? (int)strspn(code + sizeof mark - 1, letters) : 0;
    const char *advice = status == 401 || status == 403 ? ": see to AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the "
                                                          "clock; get, put, delete and list must be allowed"
                         : status == 404                ? ": is there such a bucket?"
                                                        : "";
    (void)snprintf(problem, 200, "HTTP status %ld%s%.*s%s%s", status, length > 0 ? " (" : "", length < 40 ? length : 40,
                   length > 0 ? code + sizeof mark - 1 : "", length > 0 ? ")" : "", advice);
}

/* The HTTP status, or 0 if there was no answer (`problem` says why). */
static long ask(const tmb_bucket *bucket, tmb_verb verb, const tmb_object *object, int *descriptor, char problem[200]) {
    char url[900];
    char hash[128];
    long status = 0;
    CURL *curl = curl_easy_init();
    tmb_answer_body body = {.curl = curl, .descriptor = verb == GET ? *descriptor : -1};
    (void)snprintf(url, sizeof url, "%s/%s", bucket->place, object->name);
    (void)snprintf(hash, sizeof hash, "x-amz-content-sha256: %s", verb == PUT ? object->sum : nothing_sum);
    struct curl_slist *headers = curl_slist_append(NULL, hash);
    headers = headers != NULL ? curl_slist_append(headers, "Expect:") : NULL;
    headers = headers != NULL && bucket->token[0] ? curl_slist_append(headers, bucket->token) : headers;
    if (curl == NULL || headers == NULL) {
        (void)snprintf(problem, 200, "not enough memory");
        curl_slist_free_all(headers);
        curl_easy_cleanup(curl);
        return 0;
    }
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, bucket->signature);
    (void)curl_easy_setopt(curl, CURLOPT_USERPWD, bucket->credentials);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, slowest_bytes_a_second);
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, slowest_seconds);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, write_bytes);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
    set_verb(curl, verb, object->bytes, descriptor);
    CURLcode code = curl_easy_perform(curl);
    if (code == CURLE_OK) {
        (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        describe(status, &body, problem);
    } else {
        (void)snprintf(problem, 200, "%s", curl_easy_strerror(code));
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return status;
}

/* Tries for a while; a removal only once, because the sweep comes again. The descriptor is read, or written, from its
 * beginning each time. */
static tmb_store_status request(tmb_contents *contents, tmb_verb verb, const tmb_object *object, int *descriptor) {
    double end = tmb_now() + (verb == DELETE ? 0 : retry_seconds);
    long wait = 50;
    for (;;) {
        char problem[200] = "";
        if (descriptor != NULL && (lseek(*descriptor, 0, SEEK_SET) || (verb == GET && ftruncate(*descriptor, 0)))) {
            return tmb_contents_errno(contents->logger, "a temporary file");
        }
        long status = ask((const tmb_bucket *)contents, verb, object, descriptor, problem);
        if (status >= 200 && status < 300) {
            return TMB_STORE_OK;
        }
        if (status == 404 && verb != PUT) {
            return TMB_STORE_NOT_FOUND;
        }
        bool passing = status == 0 || status == 408 || status == 429 || status >= 500;
        if (!passing || tmb_now() + 0.001 * (double)wait > end) {
            tmb_log(contents->logger, TMB_LOG_ERROR, "--blobs %s: %s", ((const tmb_bucket *)contents)->place, problem);
            return status == 507 ? TMB_STORE_NO_SPACE : passing ? TMB_STORE_BUSY : TMB_STORE_FAILED;
        }
        (void)nanosleep(&(struct timespec){.tv_sec = wait / 1000, .tv_nsec = wait % 1000 * 1000000L}, NULL);
        wait = wait < 1000 ? 2 * wait : wait;
    }
}

static tmb_store_status has(tmb_contents *contents, const char *sum) {
    return request(contents, HEAD, &(tmb_object){.name = sum}, NULL);
}

static tmb_store_status put(tmb_contents *contents, const char *path, const char *sum, uint64_t bytes) {
    tmb_store_status status = has(contents, sum);
    if (status != TMB_STORE_NOT_FOUND) {
        return status;
    }
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (descriptor < 0) {
        return tmb_contents_errno(contents->logger, path);
    }
    status = request(contents, PUT, &(tmb_object){.name = sum, .sum = sum, .bytes = bytes}, &descriptor);
    (void)close(descriptor);
    return status;
}

static tmb_store_status open_content(tmb_contents *contents, const char *sum, const char *scratch, int *descriptor) {
    *descriptor = tmb_contents_scratch(scratch);
    if (*descriptor < 0) {
        return tmb_contents_errno(contents->logger, scratch);
    }
    tmb_store_status status = request(contents, GET, &(tmb_object){.name = sum}, descriptor);
    if (status == TMB_STORE_OK && lseek(*descriptor, 0, SEEK_SET)) {
        status = tmb_contents_errno(contents->logger, scratch);
    }
    if (status != TMB_STORE_OK) {
        (void)close(*descriptor);
        *descriptor = -1;
    }
    return status;
}

static tmb_store_status remove_content(tmb_contents *contents, const char *sum) {
    tmb_store_status status = request(contents, DELETE, &(tmb_object){.name = sum}, NULL);
    return status == TMB_STORE_NOT_FOUND ? TMB_STORE_OK : status;
}

static void close_bucket(tmb_contents *contents) {
    tmb_bucket *bucket = (tmb_bucket *)contents;
    explicit_bzero(bucket->credentials, sizeof bucket->credentials);
    explicit_bzero(bucket->token, sizeof bucket->token);
    free(bucket);
}

static const char *setting(const char *name, const char *other, const char *otherwise) {
    const char *value = getenv(name);
    value = value != NULL && value[0] ? value : other != NULL ? getenv(other) : NULL;
    return value != NULL && value[0] ? value : otherwise;
}

static bool is_clean(const char *text) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./";
    return strspn(text, allowed) == strlen(text) && strstr(text, "..") == NULL && strstr(text, "//") == NULL;
}

static tmb_status fill(tmb_bucket *bucket, const char *url, tmb_error *error) {
    const char *rest = url + strlen("s3://");
    const char *id = setting("AWS_ACCESS_KEY_ID", NULL, NULL);
    const char *secret = setting("AWS_SECRET_ACCESS_KEY", NULL, NULL);
    const char *region = setting("AWS_REGION", "AWS_DEFAULT_REGION", "us-east-1");
    const char *token = setting("AWS_SESSION_TOKEN", NULL, "");
    char standard[128];
    (void)snprintf(standard, sizeof standard, "https://s3.%.60s.amazonaws.com", region);
    const char *endpoint = setting("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", standard);
    size_t length = strlen(rest);
    length -= length && rest[length - 1] == '/';
    if (!length || !is_clean(rest) || rest[0] == '/') {
        char shown[201];
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "--blobs %s: it is s3://BUCKET/PREFIX of letters, digits and - _ . /",
                        tmb_url_show(url, strlen(url), shown, sizeof shown));
    }
    if (id == NULL || secret == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "--blobs %.200s: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment", url);
    }
    if (strchr(endpoint, '@') != NULL) { /* the text is not shown: it may be a password */
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "--blobs %.200s: AWS_ENDPOINT_URL is SCHEME://HOST[:PORT] without a user and a password: the "
                        "keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                        url);
    }
    size_t end = strlen(endpoint);
    end -= endpoint[end - 1] == '/';
    int place = snprintf(bucket->place, sizeof bucket->place, "%.*s/%.*s", (int)end, endpoint, (int)length, rest);
    int credentials = snprintf(bucket->credentials, sizeof bucket->credentials, "%s:%s", id, secret);
    int header = token[0] ? snprintf(bucket->token, sizeof bucket->token, "x-amz-security-token: %s", token) : 0;
    int signature = snprintf(bucket->signature, sizeof bucket->signature, "aws:amz:%s:s3", region);
    bool fits = (size_t)place < sizeof bucket->place && (size_t)credentials < sizeof bucket->credentials &&
                (size_t)header < sizeof bucket->token && (size_t)signature < sizeof bucket->signature;
    return fits ? TMB_OK : tmb_fail(error, TMB_ERROR_ARGUMENT, "--blobs %.200s: it or its keys are too long", url);
}

/* Whether it may be asked, too. */
static tmb_status read_identity(tmb_bucket *bucket, const char *url, tmb_error *error) {
    int descriptor = tmb_contents_identity_file("");
    if (descriptor < 0) {
        return tmb_fail_errno(error, TMB_ERROR_IO, errno, "--blobs %.200s", url);
    }
    tmb_store_status found = request(&bucket->base, GET, &(tmb_object){.name = TMB_CONTENTS_IDENTITY}, &descriptor);
    tmb_status status = TMB_OK;
    if (found != TMB_STORE_OK && found != TMB_STORE_NOT_FOUND) {
        status =
            tmb_fail(error, TMB_ERROR_IO, "--blobs %.200s: %.250s cannot be asked (see the log)", url, bucket->place);
    } else if (found == TMB_STORE_OK && !tmb_contents_identity_read(descriptor, bucket->base.identity)) {
        status = tmb_fail(error, TMB_ERROR_IO,
                          "--blobs %.200s: %.250s/" TMB_CONTENTS_IDENTITY " is not what timbre wrote there", url,
                          bucket->place);
    }
    (void)close(descriptor);
    return status;
}

static tmb_status write_identity(tmb_bucket *bucket, const char *url, tmb_error *error) {
    struct sha256_ctx hash;
    uint8_t digest[SHA256_DIGEST_SIZE];
    char sum[TMB_SUM_SIZE];
    char identity[TMB_STORE_ID];
    int descriptor = tmb_random_id(identity) ? tmb_contents_identity_file(identity) : -1;
    if (descriptor < 0) {
        return tmb_fail_errno(error, TMB_ERROR_IO, errno, "--blobs %.200s", url);
    }
    sha256_init(&hash);
    sha256_update(&hash, TMB_ID_LENGTH, (const uint8_t *)identity);
    sha256_digest(&hash, sizeof digest, digest);
    tmb_hex_encode(digest, sizeof digest, sum);
    const tmb_object object = {.name = TMB_CONTENTS_IDENTITY, .sum = sum, .bytes = TMB_ID_LENGTH};
    bool good = request(&bucket->base, PUT, &object, &descriptor) == TMB_STORE_OK;
    (void)close(descriptor);
    if (!good) {
        return tmb_fail(error, TMB_ERROR_IO, "--blobs %.200s: nothing can be put into %.250s (see the log)", url,
                        bucket->place);
    }
    memcpy(bucket->base.identity, identity, sizeof identity);
    return TMB_OK;
}

tmb_status tmb_contents_s3(const char *url, const char *known, tmb_logger *logger, tmb_contents **out,
                           tmb_error *error) {
    *out = NULL;
    tmb_bucket *bucket = tmb_calloc(1, sizeof *bucket);
    if (bucket == NULL) {
        return tmb_fail_memory(error, "the bucket", sizeof *bucket);
    }
    bucket->base = (tmb_contents){.put = put,
                                  .has = has,
                                  .open = open_content,
                                  .remove = remove_content,
                                  .close = close_bucket,
                                  .logger = logger};
    tmb_status status = fill(bucket, url, error);
    if (status == TMB_OK) {
        status = read_identity(bucket, url, error);
    }
    if (status == TMB_OK && known[0] == 0 && bucket->base.identity[0] == 0) {
        status = write_identity(bucket, url, error);
    }
    if (status != TMB_OK) {
        close_bucket(&bucket->base);
        return status;
    }
    *out = &bucket->base;
    return TMB_OK;
}
