#include "queue/redis/wire.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Elements of a list in a reply: the longest that is asked for has a job's items. hiredis takes memory for as many as
 * it is told of, before one has come. */
enum { most_elements = 1 << 22 };

#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

static redisReplyObjectFunctions usual, bounded;

static void *create_list(const redisReadTask *task, element_count elements) {
    return elements > most_elements ? NULL : usual.createArray(task, elements);
}

static void bound_replies(void) {
    redisReader *reader = redisReaderCreate();
    if (reader != NULL) {
        usual = bounded = *reader->fn;
        bounded.createArray = create_list;
        redisReaderFree(reader);
    }
}

static redisReader *create_reader(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, bound_replies);
    return bounded.createArray != NULL ? redisReaderCreateWithFunctions(&bounded) : NULL;
}

struct tmb_redis_wire {
    CURL *curl;
    curl_socket_t socket;
    redisReader *reader;
    bool begun; /* some bytes of a reply were read that is not complete */
    char name[320];
};

void tmb_redis_wire_close(tmb_redis_wire **wire) {
    tmb_redis_wire *closing = *wire;
    *wire = NULL;
    if (closing != NULL) {
        if (closing->reader != NULL) {
            redisReaderFree(closing->reader);
        }
        curl_easy_cleanup(closing->curl);
        free(closing);
    }
}

static tmb_status fail(const tmb_redis_wire *wire, tmb_error *error, const char *what) {
    return tmb_fail(error, TMB_ERROR_IO, "%s: %s", wire->name, what);
}

/* True: there is something to do on the socket. False: the time is over, or the wait failed. */
static bool wait_until(const tmb_redis_wire *wire, short events, double end) {
    for (;;) {
        double left = end - tmb_now();
        struct pollfd socket = {.fd = wire->socket, .events = events};
        int ready = poll(&socket, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
        if (ready > 0) {
            return true;
        }
        if (ready == 0 || errno != EINTR) {
            return false;
        }
    }
}

static tmb_status send_bytes(tmb_redis_wire *wire, const char *data, size_t size, double end, tmb_error *error) {
    while (size) {
        size_t sent = 0;
        CURLcode code = curl_easy_send(wire->curl, data, size, &sent);
        if (code == CURLE_AGAIN) {
            if (!wait_until(wire, POLLOUT, end)) {
                return fail(wire, error, "it takes no bytes");
            }
            continue;
        }
        if (code != CURLE_OK) {
            return fail(wire, error, curl_easy_strerror(code));
        }
        data += sent;
        size -= sent;
    }
    return TMB_OK;
}

tmb_status tmb_redis_wire_send(tmb_redis_wire *wire, int count, const char **values, const size_t *sizes,
                               double seconds, tmb_error *error) {
    char *text = NULL;
    long long size = redisFormatCommandArgv(&text, count, values, sizes);
    if (size < 0) {
        return tmb_fail_memory(error, "a command", 0);
    }
    tmb_status status = send_bytes(wire, text, (size_t)size, tmb_now() + seconds, error);
    free(text);
    return status;
}

tmb_status tmb_redis_wire_receive(tmb_redis_wire *wire, double seconds, redisReply **out, tmb_error *error) {
    double end = tmb_now() + seconds;
    *out = NULL;
    for (;;) {
        void *reply = NULL;
        if (redisReaderGetReply(wire->reader, &reply) != REDIS_OK) {
            return fail(wire, error, wire->reader->errstr);
        }
        if (reply != NULL) {
            wire->begun = false;
            *out = reply;
            return TMB_OK;
        }
        char bytes[16384];
        size_t got = 0;
        CURLcode code = curl_easy_recv(wire->curl, bytes, sizeof bytes, &got);
        if (code == CURLE_AGAIN) {
            if (!wait_until(wire, POLLIN, end)) {
                return wire->begun ? fail(wire, error, "a reply stopped in its middle")
                                   : tmb_fail(error, TMB_ERROR_TIMEOUT, "%s: no reply in time", wire->name);
            }
            continue;
        }
        if (code != CURLE_OK || got == 0) {
            return fail(wire, error, code == CURLE_OK ? "it closed the connection" : curl_easy_strerror(code));
        }
        wire->begun = true;
        if (redisReaderFeed(wire->reader, bytes, got) != REDIS_OK) {
            return fail(wire, error, wire->reader->errstr);
        }
    }
}

/* A command that must be answered by anything but an error. */
static tmb_status ask(tmb_redis_wire *wire, int count, const char **values, double end, tmb_error *error) {
    redisReply *reply = NULL;
    size_t sizes[4];
    for (int i = 0; i < count; i++) {
        sizes[i] = strlen(values[i]);
    }
    tmb_status status = tmb_redis_wire_send(wire, count, values, sizes, end - tmb_now(), error);
    if (status == TMB_OK) {
        status = tmb_redis_wire_receive(wire, end - tmb_now(), &reply, error);
    }
    if (status == TMB_OK && reply->type == REDIS_REPLY_ERROR) {
        bool passing = strncmp(reply->str, "LOADING", 7) == 0 || strncmp(reply->str, "MASTERDOWN", 10) == 0;
        status = tmb_fail(error, passing ? TMB_ERROR_IO : TMB_ERROR_ARGUMENT, "%s: %.200s", wire->name, reply->str);
    }
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return status;
}

static tmb_status introduce(tmb_redis_wire *wire, const tmb_redis_address *address, double end, tmb_error *error) {
    tmb_status status = TMB_OK;
    if (address->password[0]) {
        const char *with_user[] = {"AUTH", address->user, address->password};
        const char *without[] = {"AUTH", address->password};
        status = address->user[0] ? ask(wire, 3, with_user, end, error) : ask(wire, 2, without, end, error);
    }
    if (status == TMB_OK && address->database) {
        char number[16];
        (void)snprintf(number, sizeof number, "%u", address->database);
        const char *choice[] = {"SELECT", number};
        status = ask(wire, 2, choice, end, error);
    }
    if (status == TMB_OK) {
        const char *ping[] = {"PING"};
        status = ask(wire, 1, ping, end, error);
    }
    return status;
}

static void set_options(CURL *curl, const tmb_redis_address *address, double seconds) {
    (void)curl_easy_setopt(curl, CURLOPT_URL, address->connect_url);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_SSL_ENABLE_ALPN, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, seconds > 0.001 ? (long)(seconds * 1000) : 1L);
    const char *authorities = getenv("SSL_CERT_FILE");
    if (authorities != NULL && authorities[0]) {
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, authorities);
    }
    if (address->socket[0]) {
        (void)curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, address->socket);
    }
}

tmb_status tmb_redis_wire_open(const tmb_redis_address *address, double seconds, tmb_redis_wire **out,
                               tmb_error *error) {
    double end = tmb_now() + seconds;
    *out = NULL;
    tmb_redis_wire *wire = tmb_calloc(1, sizeof *wire);
    if (wire == NULL || (wire->curl = curl_easy_init()) == NULL || (wire->reader = create_reader()) == NULL) {
        if (wire != NULL) {
            tmb_redis_wire_close(&wire);
        }
        return tmb_fail_memory(error, "a connection to Redis", sizeof *wire);
    }
    (void)snprintf(wire->name, sizeof wire->name, "%s", address->name);
    set_options(wire->curl, address, seconds);
    CURLcode code = curl_easy_perform(wire->curl);
    if (code == CURLE_OK) {
        code = curl_easy_getinfo(wire->curl, CURLINFO_ACTIVESOCKET, &wire->socket);
    }
    tmb_status status =
        code == CURLE_OK ? introduce(wire, address, end, error) : fail(wire, error, curl_easy_strerror(code));
    if (status != TMB_OK) {
        tmb_redis_wire_close(&wire);
        return status;
    }
    *out = wire;
    return TMB_OK;
}
