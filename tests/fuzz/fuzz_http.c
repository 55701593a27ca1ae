/* Any bytes as what a client sends over one connection, to a whole server with its handlers: the preview engine, a
 * state folder of its own, a loopback address. The first byte says into how many writes they are cut, and whether a
 * good request comes before them. */
#include "fuzz.h"

#include "server/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    tmb_server_config config;
    tmb_config_sources sources;
    pthread_t thread;
    FILE *said;
    int port;
    char folder[64];
} server;

static void *serve(void *unused) {
    (void)unused;
    tmb_error error = {0};
    if (tmb_server_run(&server.config, server.said, &error) != TMB_OK) {
        fprintf(stderr, "fuzz: %s\n", error.message);
        abort();
    }
    return NULL;
}

static void stop(void) {
    (void)pthread_kill(server.thread, SIGTERM); /* libFuzzer has a handler of its own for the process */
    (void)pthread_join(server.thread, NULL);
    (void)fclose(server.said);
    tmb_server_config_free(&server.config, &server.sources);
    pid_t child = fork();
    if (child == 0) {
        (void)execlp("rm", "rm", "-rf", "--", server.folder, (char *)NULL);
        _exit(127);
    }
    (void)waitpid(child, NULL, 0);
}

static void start(void) {
    static char state_option[] = "--state-dir", host_option[] = "--host", host[] = "127.0.0.1",
                port_option[] = "--port", port[] = "0", engine_option[] = "--engine", engine[] = "preview",
                level_option[] = "--log-level", level[] = "error", idle_option[] = "--idle-timeout", idle[] = "5",
                text_option[] = "--max-text", text[] = "200", seconds_option[] = "--max-speech-seconds",
                seconds[] = "2";
    (void)snprintf(server.folder, sizeof server.folder, "/tmp/timbre-fuzz-XXXXXX");
    fuzz_check(mkdtemp(server.folder) != NULL);
    char *arguments[] = {state_option, server.folder, host_option, host, port_option, port, engine_option,  engine,
                         level_option, level,         idle_option, idle, text_option, text, seconds_option, seconds};
    tmb_config_action action;
    tmb_error error;
    fuzz_check(tmb_server_config_load(&server.config, &server.sources, false, sizeof arguments / sizeof arguments[0],
                                      arguments, stderr, &action, &error) == TMB_OK);
    /* The signal that ends the server must find no thread that would die of it. */
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    int ends[2];
    fuzz_check(pipe(ends) == 0);
    server.said = fdopen(ends[1], "w");
    fuzz_check(server.said && pthread_create(&server.thread, NULL, serve, NULL) == 0);
    FILE *heard = fdopen(ends[0], "r");
    fuzz_check(heard && fscanf(heard, "listening on http://127.0.0.1:%d", &server.port) == 1);
    (void)fclose(heard);
    (void)atexit(stop);
}

static void send_all(int client, const uint8_t *data, size_t size, size_t writes) {
    size_t piece = size / writes + 1;
    for (size_t at = 0; at < size; at += piece) {
        size_t count = size - at < piece ? size - at : piece;
        if (send(client, data + at, count, 0) != (ssize_t)count) {
            return; /* it was refused */
        }
    }
}

/* Reads until the server closes; what it sends first must be an answer, and none that says it failed. */
static void check_answer(int client) {
    static char answer[1 << 12], rest[1 << 16];
    size_t size = 0;
    for (;;) {
        struct pollfd ready = {.fd = client, .events = POLLIN};
        int count = poll(&ready, 1, 120000);
        if (count < 0 && errno == EINTR) {
            continue; /* libFuzzer's alarm */
        }
        fuzz_check(count == 1);
        /* What the beginning has no room for is read and dropped. */
        size_t room = sizeof answer - 1 - size;
        ssize_t got = recv(client, room ? answer + size : rest, room ? room : sizeof rest, 0);
        if (got <= 0) {
            break;
        }
        size += room ? (size_t)got : 0;
    }
    answer[size] = 0;
    fuzz_check(size < 12 || strncmp(answer, "HTTP/1.1 ", 9) == 0);
    fuzz_check(strncmp(answer, "HTTP/1.1 500", 12) != 0);
    /* A body that begins so is a page of libmicrohttpd's own; within a message it was in the request. */
    fuzz_check(!strstr(answer, "\r\n\r\n<html><head><title>"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!server.port) {
        start();
    }
    size_t writes = size ? 1 + data[0] % 8 : 1;
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)server.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fuzz_check(client >= 0 && connect(client, (struct sockaddr *)&address, sizeof address) == 0);
    if (size && data[0] & 8) {
        static const char good[] = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
        send_all(client, (const uint8_t *)good, sizeof good - 1, 1);
    }
    if (size > 1) {
        send_all(client, data + 1, size - 1, writes);
    }
    (void)shutdown(client, SHUT_WR);
    check_answer(client);
    (void)close(client);
    return 0;
}

#define HOST " HTTP/1.1\r\nHost: localhost\r\n"
#define FORM(part)                                                                                                     \
    "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 90\r\n\r\n--b\r\nContent-Disposition: "          \
    "form-data; " part

void fuzz_seeds(fuzz_add_seed add) {
    static const char *const inputs[] = {
        "1GET /health/live" HOST "\r\n",
        "1GET /api/v1/voices?limit=3&a=b%20c" HOST "Cookie: a=b; c\r\nRange: bytes=0-\r\n\r\nGET /metrics" HOST "\r\n",
        "2GET http://localhost/openapi.json" HOST "If-None-Match: \"x\"\r\n\r\n",
        "3POST /api/v1/voice-clone" HOST
        "Content-Type: application/json\r\nContent-Length: 24\r\n\r\n{\"text\":\"a\",\"voice\":\"b\"}",
        "4POST /api/v1/voice-clone" HOST "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        "18\r\n{\"text\":\"a\",\"voice\":\"b\"}\r\n0\r\n\r\n",
        "5POST /v1/audio/speech" HOST
        "Content-Type: application/json\r\nContent-Length: 27\r\n\r\n{\"input\":\"a\",\"voice\":\"b\"}   ",
        "6POST /api/v1/queue/submit" HOST
        "Content-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: 37\r\n\r\n"
        "{\"items\":[{\"text\":\"a\",\"voice\":\"b\"}]}  ",
        "1POST /api/v1/files/upload" HOST FORM("name=file; filename=a.wav\r\n\r\nRIFF\r\n--b--\r\n"),
        "1POST /api/v1/voice-clone-file" HOST FORM("name=\"text\"\r\n\r\nHello\r\n--b--\r\n"),
        "1POST /api/v1/files/upload" HOST "Content-Type: audio/wav\r\nContent-Length: 4\r\n\r\nRIFF",
        "1POST /api/v1/voices" HOST "Content-Length : 5\r\nContent-Length: 5\r\n\r\nabcde",
        "1POST /api/v1/voices" HOST "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "1GET /health/live" HOST "X: y\r\n Transfer-Encoding: chunked\r\n\r\n",
        "1GET /health/live HTTP/1.1\nHost: localhost\n\n",
        "9GET /health/live HTTP/1.1\nHost: localhost\n\n",
        "9POST /api/v1/voice-clone" HOST
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\nx",
        "1DELETE /api/v1/files/0123456789abcdef0123456789abcdef" HOST "\r\n",
        "1OPTIONS /api/v1/voices" HOST "Origin: http://localhost\r\nAccess-Control-Request-Method: POST\r\n\r\n",
        "1POST /api/v1/voice-clone" HOST
        "Expect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n",
        "1POST /api/v1/voice-clone" HOST
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
    };
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        add(inputs[i], strlen(inputs[i]));
    }
    /* What costs more than its bytes. */
    static const struct {
        const char *before, *repeated, *after;
        size_t times;
    } large[] = {
        {"1GET /health/live?", "a&", HOST "\r\n", 28000},
        {"1GET /", "a", HOST "\r\n", 70000},
        {"1GET /health/live" HOST "Cookie: ", "a=b; ", "\r\n\r\n", 3000},
        {"1GET /health/live" HOST, "a:\r\n", "\r\n", 5000},
        {"1POST /api/v1/voice-clone" HOST "Content-Type: application/json\r\nContent-Length: 30015\r\n\r\n{\"text\":[",
         "{},", "{}]}", 10000},
        {"1POST /api/v1/voice-clone" HOST "Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n", "[", "",
         60000},
        {"1POST /api/v1/voice-clone" HOST "Transfer-Encoding: chunked\r\n\r\n1;", "x", "\r\n", 30000},
    };
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        size_t once = strlen(large[i].repeated);
        size_t size = strlen(large[i].before) + once * large[i].times + strlen(large[i].after);
        char *text = malloc(size + 1);
        fuzz_check(text != NULL);
        char *at = stpcpy(text, large[i].before);
        for (size_t k = 0; k < large[i].times; k++) {
            at = stpcpy(at, large[i].repeated);
        }
        (void)stpcpy(at, large[i].after);
        add(text, size);
        free(text);
    }
}
