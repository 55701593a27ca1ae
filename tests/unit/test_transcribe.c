/* Where a transcription service is asked, what its answers mean, and that a wait for it ends. How a whole command goes
 * on with good and bad answers is in tests/cli. */
#include "base/error.h"
#include "test.h"
#include "tts/transcribe/transcribe.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void endpoints(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"http://host:8080", "http://host:8080/v1/audio/transcriptions"},
        {"https://host/", "https://host/v1/audio/transcriptions"},
        {"https://host/v1", "https://host/v1/audio/transcriptions"},
        {"https://host/openai/v1//", "https://host/openai/v1/audio/transcriptions"},
        {"http://host/v1/audio", "http://host/v1/audio/transcriptions"},
        {"http://host/v1/audio/transcriptions", "http://host/v1/audio/transcriptions"},
        {"http://host/asr/audio/transcriptions/", "http://host/asr/audio/transcriptions"},
        {"http://host:8080/inference", "http://host:8080/inference"},
        {"HTTP://host/v2", "HTTP://host/v2/v1/audio/transcriptions"},
        {"host:8080", NULL},
        {"file:///etc/passwd", NULL},
        {"http://", NULL},
        {"https://", NULL},
        {"http://host/?q=1", NULL},
        {"http://host/#a", NULL},
        {"http://ho st", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *out = NULL;
        tmb_error error;
        tmb_status status = tmb_transcribe_endpoint(cases[i][0], &out, &error);
        if (cases[i][1] != NULL) {
            assert_int_equal(status, TMB_OK);
            assert_string_equal(out, cases[i][1]);
        } else {
            assert_int_equal(status, TMB_ERROR_ARGUMENT);
            assert_null(out);
        }
        free(out);
    }
}

static void answers(void **state) {
    (void)state;
    static const struct {
        const char *body, *text;
        tmb_status status;
    } cases[] = {
        {"{\"text\": \"What I say.\"}", "What I say.", TMB_OK},
        {"{\"text\": \"  one\\n\\ttwo\\r\\n \", \"language\": \"en\", \"segments\": []}", "one two", TMB_OK},
        {"{\"text\": \"\\u200bGr\\u00fc\\u00dfe\\u2028aus\\u00a0K\\u00f6ln\\u0007\"}", "Gr\u00fc\u00dfe aus K\u00f6ln",
         TMB_OK},
        {"{\"text\": \"[MUSIC] Good morning. (laughs)\"}", "[MUSIC] Good morning. (laughs)", TMB_OK},
        {"{\"text\": \"\\u4f60\\u597d\"}", "\u4f60\u597d", TMB_OK},
        {"{\"text\": \"7\"}", "7", TMB_OK},
        {"{\"text\": \"\"}", NULL, TMB_ERROR_FORMAT},
        {"{\"text\": \" \\n \\u200b\"}", NULL, TMB_ERROR_FORMAT},
        {"{\"text\": \"...\"}", NULL, TMB_ERROR_FORMAT},
        {"{\"text\": \"[BLANK_AUDIO]\"}", NULL, TMB_ERROR_FORMAT},
        {"{\"text\": \"(wind) [a [b] c]\"}", NULL, TMB_ERROR_FORMAT},
        {"{\"text\": null}", NULL, TMB_ERROR_FORMAT},
        {"{\"text\": [\"a\"]}", NULL, TMB_ERROR_FORMAT},
        {"{\"error\": \"x\"}", NULL, TMB_ERROR_FORMAT},
        {"[]", NULL, TMB_ERROR_FORMAT},
        {"\"text\"", NULL, TMB_ERROR_FORMAT},
        {"{\"text\": \"a\"} trailing", NULL, TMB_ERROR_FORMAT},
        {"{\"text\": \"\xff\"}", NULL, TMB_ERROR_FORMAT},
        {"{\"text\": \"a\\u0000b\"}", NULL, TMB_ERROR_FORMAT},
        {"plain text", NULL, TMB_ERROR_FORMAT},
        {"", NULL, TMB_ERROR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = NULL;
        tmb_error error = {0};
        assert_int_equal(tmb_transcript_read(cases[i].body, strlen(cases[i].body), &text, &error), cases[i].status);
        if (cases[i].text != NULL) {
            assert_string_equal(text, cases[i].text);
        } else {
            assert_null(text);
            assert_true(error.message[0] != '\0');
        }
        free(text);
    }
}

/* The longest transcript that a reference's description holds, and one byte more. */
static void lengths(void **state) {
    (void)state;
    const size_t most = sizeof((tmb_reference_info *)0)->transcript - 1;
    for (size_t more = 0; more < 2; more++) {
        char body[4096] = "{\"text\": \"";
        const size_t begin = strlen(body);
        memset(body + begin, 'x', most + more);
        strcpy(body + begin + most + more, "\"}");
        char *text = NULL;
        tmb_error error;
        tmb_status status = tmb_transcript_read(body, strlen(body), &text, &error);
        assert_int_equal(status, more == 0 ? TMB_OK : TMB_ERROR_LIMIT);
        assert_true((text != NULL && strlen(text) == most) == (more == 0));
        free(text);
    }
}

/* Takes connections into its backlog and never answers. */
static int silent_service(char url[64]) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    (void)snprintf(url, 64, "http://127.0.0.1:%d", ntohs(address.sin_port));
    return listener;
}

static const float samples[1600];

static void too_late(void **state) {
    (void)state;
    char url[64];
    int listener = silent_service(url);
    const tmb_transcriber transcriber = {.url = url, .seconds = 0.2};
    char *text = NULL;
    tmb_error error;
    assert_int_equal(tmb_transcribe_samples(&transcriber, samples, 1600, NULL, &text, &error), TMB_ERROR_TIMEOUT);
    assert_null(text);
    (void)close(listener);
}

static void *stop_soon(void *argument) {
    const int listener = *(int *)((void **)argument)[0];
    /* The question is under way once its connection is there. */
    const int connection = accept(listener, NULL, NULL);
    atomic_store((atomic_bool *)((void **)argument)[1], true);
    return (void *)(intptr_t)connection;
}

static void stopped(void **state) {
    (void)state;
    char url[64];
    int listener = silent_service(url);
    atomic_bool stop = false;
    void *argument[2] = {&listener, &stop};
    void *connection = NULL;
    pthread_t thread;
    const tmb_transcriber transcriber = {.url = url};
    char *text = NULL;
    tmb_error error;
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, argument), 0);
    assert_int_equal(tmb_transcribe_samples(&transcriber, samples, 1600, &stop, &text, &error), TMB_ERROR_CANCELLED);
    assert_null(text);
    assert_int_equal(pthread_join(thread, &connection), 0);
    (void)close((int)(intptr_t)connection);
    (void)close(listener);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints), cmocka_unit_test(answers), cmocka_unit_test(lengths),
        cmocka_unit_test(too_late),  cmocka_unit_test(stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
