/* Chunked bodies: what is passed on, and what is no body, however the bytes are cut. */
#include "test.h"

#include "server/chunk_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads `text` in pieces of `piece` bytes; what comes out is appended to `out`. */
static tmb_chunks read_in_pieces(const char *text, size_t size, size_t piece, char *out, size_t *written) {
    tmb_chunks chunks = {0};
    *written = 0;
    for (size_t at = 0; at < size; at += piece) {
        const size_t here = size - at < piece ? size - at : piece;
        char *copy = malloc(here); /* as long as it is, so that a sanitizer sees a read past it */
        char *room = malloc(here + TMB_CHUNK_SLACK);
        size_t count = 0;
        assert_non_null(copy);
        assert_non_null(room);
        memcpy(copy, text + at, here);
        const bool good = tmb_chunks_read(&chunks, copy, here, room, &count);
        assert_true(good == (chunks.error == NULL));
        assert_true(count <= here + TMB_CHUNK_SLACK);
        memcpy(out + *written, room, count);
        *written += count;
        free(copy);
        free(room);
    }
    return chunks;
}

static void test_good_bodies(void **state) {
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"0\r\n\r\n", "0\r\n\r\n"},
        {"5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"},
        {"5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"},
        {"0000a\r\n0123456789\r\nB\r\n0123456789a\r\n00\r\n\r\n", "a\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n"},
        {"2\r\n\r\n\r\n0\r\nX: y\r\nZ:\r\n\r\n", "2\r\n\r\n\r\n0\r\n\r\n"},
        {"1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", "1\r\na\r\n0\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t piece = 1; piece <= strlen(cases[i].text); piece++) {
            char out[256];
            size_t written = 0;
            tmb_chunks chunks = read_in_pieces(cases[i].text, strlen(cases[i].text), piece, out, &written);
            assert_null(chunks.error);
            assert_int_equal(chunks.state, TMB_CHUNK_COMPLETE);
            assert_int_equal(written, strlen(cases[i].expected));
            assert_memory_equal(out, cases[i].expected, written);
        }
    }
}

static void test_what_is_no_body(void **state) {
    (void)state;
    static const char *const cases[] = {
        "\r\n",
        "zz\r\n",
        "-5\r\n",
        "0x5\r\n",
        " 5\r\n",
        "5 \r\n",
        "5\n",
        "5\rx",
        ";\r\n",
        "5;a\nhello",
        "5;\x01\r\n",
        "5;a\rb\r\n",
        "5\r\nhelloX",
        "5\r\nhello\n",
        "5\r\nhello\rX",
        "fffffffffffffffff\r\n",
        "1000000000001\r\n",
        "0\r\nX y\r\n",
        "0\r\n: y\r\n",
        "0\r\n X: y\r\n",
        "0\r\nX: y\n",
        "0\r\nX: \x7f\r\n",
        "0\r\n\rX",
        "+5\r\n",
        "5,5\r\n",
        "\xef\xbc\x95\r\n",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t piece = 1; piece <= strlen(cases[i]); piece++) {
            char out[256];
            size_t written = 0;
            if (read_in_pieces(cases[i], strlen(cases[i]), piece, out, &written).error == NULL) {
                fail_msg("\"%s\" in pieces of %zu is taken for a body", cases[i], piece);
            }
        }
    }
}

static void test_lengths(void **state) {
    (void)state;
    enum { SIZE = 20000 };
    char *text = malloc(SIZE), *out = malloc(SIZE + TMB_CHUNK_SLACK);
    size_t written = 0;
    assert_non_null(text);
    assert_non_null(out);
    for (int kind = 0; kind < 3; kind++) { /* leading zeros, an extension, trailers */
        static const char *const beginnings[] = {"", "5;", "0\r\nX: "};
        const size_t limit = kind < 2 ? TMB_CHUNK_LINE : TMB_CHUNK_TRAILERS;
        memset(text, kind == 0 ? '0' : 'a', SIZE);
        memcpy(text, beginnings[kind], strlen(beginnings[kind]));
        assert_null(read_in_pieces(text, limit, 7, out, &written).error);
        assert_non_null(read_in_pieces(text, limit + 10, 7, out, &written).error);
        assert_non_null(read_in_pieces(text, SIZE, SIZE, out, &written).error);
    }
    free(text);
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_bodies),
        cmocka_unit_test(test_what_is_no_body),
        cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
