/* What a speech server is asked and what its answers mean; the engine itself is tested against servers by tests/cli. */
#include "base/base64.h"
#include "test.h"
#include "tts/remote/body.h"
#include "tts/remote/remote.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void endpoints(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"http://host:8091", "http://host:8091/v1/audio/speech"},
        {"https://host/", "https://host/v1/audio/speech"},
        {"https://host/v1", "https://host/v1/audio/speech"},
        {"https://host/tts/v1//", "https://host/tts/v1/audio/speech"},
        {"HTTP://host/v2", "HTTP://host/v2/v1/audio/speech"},
        {"host:8091", NULL},
        {"ftp://host", NULL},
        {"http://", NULL},
        {"https://", NULL},
        {"http://host/?q=1", NULL},
        {"http://ho st", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *out = NULL;
        tmb_error error;
        tmb_status status = tmb_remote_endpoint(cases[i][0], &out, &error);
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

static void references(void **state) {
    (void)state;
    const float samples[] = {0, 0.5f, -0.5f, 1, -1, 2, -2};
    static const int16_t expected[] = {0, 16384, -16384, 32767, -32768, 32767, -32768};
    tmb_reference reference = {.samples = samples, .count = 7, .rate = 48000};
    char *uri = NULL;
    tmb_error error;
    assert_int_equal(tmb_remote_reference(&reference, &uri, &error), TMB_OK);
    static const char prefix[] = "data:audio/wav;base64,";
    assert_memory_equal(uri, prefix, sizeof prefix - 1);
    char *base64 = uri + sizeof prefix - 1;
    tmb_base64_reader reader = {.padding = 0};
    size_t bytes = tmb_base64_read(&reader, base64, strlen(base64), base64);
    assert_true(tmb_base64_end(&reader));
    assert_int_equal(bytes, 44 + 14);
    const unsigned char *wav = (const unsigned char *)base64;
    assert_memory_equal(wav, "RIFF\x32\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\xBB\0\0\0\x77\1\0\2\0\x10\0data\x0e\0\0\0",
                        44);
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal((int16_t)(wav[44 + 2 * i] | wav[45 + 2 * i] << 8), expected[i]);
    }
    free(uri);
    reference.count = (size_t)48000 * TMB_REMOTE_REFERENCE_SECONDS + 1;
    assert_int_equal(tmb_remote_reference(&reference, &uri, &error), TMB_ERROR_LIMIT);
    assert_null(uri);
}

static json_t *body_of(const tmb_speak_request *request, const char *ref_text, const char *model) {
    char *text = NULL;
    tmb_error error;
    assert_int_equal(tmb_remote_body(request, "data:x", ref_text, model, &text, &error), TMB_OK);
    json_t *body = json_loads(text, 0, NULL);
    assert_non_null(body);
    free(text);
    return body;
}

static void bodies(void **state) {
    (void)state;
    tmb_speak_request request;
    tmb_speak_request_default(&request);
    request.text = "\"Quotes\" and\nlines, 你好";
    request.language = "zh";
    request.seed = 0xFFFFFFFF00000007u;
    json_t *body = body_of(&request, "What I say.", NULL);
    assert_string_equal(json_string_value(json_object_get(body, "input")), request.text);
    assert_string_equal(json_string_value(json_object_get(body, "language")), "Chinese");
    assert_string_equal(json_string_value(json_object_get(body, "ref_audio")), "data:x");
    assert_string_equal(json_string_value(json_object_get(body, "ref_text")), "What I say.");
    assert_string_equal(json_string_value(json_object_get(body, "response_format")), "pcm");
    assert_int_equal(json_integer_value(json_object_get(body, "seed")), 7);
    /* Nothing that the request left to the server. */
    static const char *const absent[] = {"temperature", "top_k",          "top_p",
                                         "model",       "max_new_tokens", "x_vector_only_mode"};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        assert_null(json_object_get(body, absent[i]));
    }
    json_decref(body);

    request.greedy = true;
    request.x_vector_only = true;
    request.max_frames = 40;
    body = body_of(&request, "What I say.", "base");
    assert_null(json_object_get(body, "ref_text"));
    assert_true(json_is_true(json_object_get(body, "x_vector_only_mode")));
    assert_int_equal(json_integer_value(json_object_get(body, "top_k")), 1);
    assert_int_equal(json_integer_value(json_object_get(body, "max_new_tokens")), 40);
    assert_string_equal(json_string_value(json_object_get(body, "model")), "base");
    json_decref(body);

    char *text = NULL;
    tmb_error error;
    request.language = "klingon";
    assert_int_equal(tmb_remote_body(&request, "data:x", NULL, NULL, &text, &error), TMB_ERROR_ARGUMENT);
    assert_null(text);
}

static void complaints(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{\"error\": {\"message\": \"no such model\", \"code\": 404}}", "no such model"},
        {"{\"error\": \"short\"}", "short"},
        {"{\"detail\": \"Invalid Input: text\"}", "Invalid Input: text"},
        {"{\"detail\": [1]}", "{\"detail\": [1]}"},
        {"<html>\n<body>", "<html>"},
        {"", "it says no more"},
        {"\n", "it says no more"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[40];
        tmb_remote_complaint(cases[i][0], strlen(cases[i][0]), out, sizeof out);
        assert_string_equal(out, cases[i][1]);
    }
    char small[8];
    tmb_remote_complaint("abcdefghijkl", 12, small, sizeof small);
    assert_string_equal(small, "abcdefg");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints),
        cmocka_unit_test(references),
        cmocka_unit_test(bodies),
        cmocka_unit_test(complaints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
