/* Text from the wire, answers made of pieces, addresses. */
#include "test.h"

#include "base/base64.h"
#include "base/buffer.h"
#include "base/text.h"
#include "server/fetch.h"
#include "server/rope.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_utf8(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t size, length;
    } cases[] = {
        {"", 0, 0},
        {"abc", 3, 3},
        {"gr\xc3\xbc\xc3\x9f", 6, 4},
        {"\xf0\x9f\x98\x80", 4, 1},
        {"a\0b", 3, SIZE_MAX},
        {"\xc0\x80", 2, SIZE_MAX},
        {"\xe0\x80\x80", 3, SIZE_MAX},
        {"\xed\xa0\x80", 3, SIZE_MAX},
        {"\xf4\x90\x80\x80", 4, SIZE_MAX},
        {"\xc3", 1, SIZE_MAX},
        {"\xff", 1, SIZE_MAX},
        {"\x80", 1, SIZE_MAX},
        {"\xf8\x88\x80\x80\x80", 5, SIZE_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(tmb_utf8_length(cases[i].text, cases[i].size), cases[i].length);
    }
}

/* The bytes of base64, or SIZE_MAX if it is none. */
static size_t decode(const char *text, void *out) {
    tmb_base64_reader reader = {.padding = 0};
    size_t size = tmb_base64_read(&reader, text, strlen(text), out);
    return tmb_base64_end(&reader) ? size : SIZE_MAX;
}

static void test_base64(void **state) {
    (void)state;
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xff\xfe\xfd", "//79"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char text[16] = "";
        char bytes[16] = "";
        size_t size = strlen(pairs[i][0]);
        tmb_base64_encode(pairs[i][0], size, text);
        assert_string_equal(text, pairs[i][1]);
        assert_int_equal(tmb_base64_encoded_size(size), strlen(text));
        assert_int_equal(decode(text, bytes), size);
        assert_memory_equal(bytes, pairs[i][0], size);
    }
    /* What is not as encoders write it: read if its meaning is clear. */
    static const struct {
        const char *text;
        size_t size;
    } others[] = {{"Z", SIZE_MAX},        {"Zg", 1},   {"Zg=", SIZE_MAX}, {"Zg===", SIZE_MAX}, {"=g==", SIZE_MAX},
                  {"Z===", SIZE_MAX},     {"Zh==", 1}, {"Zm9=", 2},       {"Zm 9", 2},         {"Zm9\n", 2},
                  {"Zg==Zg==", SIZE_MAX}, {"Zm-_", 3}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        char bytes[16];
        assert_int_equal(decode(others[i].text, bytes), others[i].size);
    }
}

static void test_names(void **state) {
    (void)state;
    assert_true(tmb_is_name("a") && tmb_is_name("Anna_2.x-y") && !tmb_is_name("") && !tmb_is_name(".a") &&
                !tmb_is_name("a/b"));
    assert_false(tmb_is_name("-a") || tmb_is_name("a b") || tmb_is_name("\xc3\xbc"));
    char id[TMB_ID_LENGTH + 1];
    assert_true(tmb_random_id(id) && tmb_is_id(id));
    assert_false(tmb_is_id("") || tmb_is_id("0123456789ABCDEF0123456789ABCDEF") ||
                 tmb_is_id("0123456789abcdef0123456789abcdef0"));
    uint8_t bytes[2];
    assert_true(tmb_hex_decode("0aFf", bytes, 2) && bytes[0] == 10 && bytes[1] == 255);
    assert_false(tmb_hex_decode("0aF", bytes, 2) || tmb_hex_decode("0aFg", bytes, 2) ||
                 tmb_hex_decode("0aFf0", bytes, 2));
}

static void test_units(void **state) {
    (void)state;
    uint64_t size = 0;
    double seconds = 0;
    assert_true(tmb_parse_bytes("1.5K", &size) && size == 1536);
    assert_true(tmb_parse_bytes("2MiB", &size) && size == 2 << 20);
    assert_false(tmb_parse_bytes("", &size) || tmb_parse_bytes("-1", &size) || tmb_parse_bytes("1Z", &size));
    assert_false(tmb_parse_bytes("1e30", &size) || tmb_parse_bytes("0x10", &size) || tmb_parse_bytes("nan", &size));
    assert_true(tmb_parse_seconds("1.5m", &seconds) && seconds == 90);
    assert_true(tmb_parse_seconds("250ms", &seconds) && seconds == 0.25);
    assert_false(tmb_parse_seconds("inf", &seconds) || tmb_parse_seconds("1 h", &seconds) ||
                 tmb_parse_seconds("1y", &seconds));
}

static void test_buffer(void **state) {
    (void)state;
    tmb_buffer buffer = {.maximum = 10};
    assert_true(tmb_buffer_append(&buffer, "12345", 5));
    assert_true(tmb_buffer_append(&buffer, "67890", 5));
    assert_int_equal(buffer.size, 10);
    assert_false(tmb_buffer_append(&buffer, "x", 1));
    assert_true(buffer.failed);
    assert_memory_equal(buffer.data, "1234567890", 10);
    tmb_buffer_free(&buffer);
}

/* However it is read, the bytes are the same. */
static void test_rope(void **state) {
    (void)state;
    char path[] = "/tmp/timbre-rope-XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    unsigned char bytes[10000];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(i * 7 + i / 256);
    }
    assert_int_equal(write(descriptor, bytes, sizeof bytes), sizeof bytes);
    for (size_t size = sizeof bytes - 3; size <= sizeof bytes; size++) {
        size_t encoded = tmb_base64_encoded_size(size);
        char *expected = malloc(encoded + 20);
        memcpy(expected, "head:", 5);
        tmb_base64_encode(bytes, size, expected + 5);
        memcpy(expected + 5 + encoded, ":tail", 5);
        static const size_t steps[] = {1, 3, 7, 100, 4096, 100000};
        for (size_t s = 0; s < sizeof steps / sizeof steps[0]; s++) {
            tmb_rope *rope = tmb_rope_create();
            assert_true(tmb_rope_text(rope, "head:", 5));
            assert_true(tmb_rope_base64_file(rope, fcntl(descriptor, F_DUPFD_CLOEXEC, 0), size));
            assert_true(tmb_rope_text(rope, ":tail", 5));
            assert_int_equal(tmb_rope_size(rope), encoded + 10);
            char *got = malloc(encoded + 20);
            size_t at = 0;
            for (ssize_t count = 1; count > 0; at += (size_t)count) {
                count = tmb_rope_read(rope, at, got + at, steps[s] < encoded + 20 - at ? steps[s] : encoded + 20 - at);
                assert_true(count >= 0);
            }
            assert_int_equal(at, encoded + 10);
            assert_memory_equal(got, expected, at);
            free(got);
            tmb_rope_destroy(rope);
        }
        free(expected);
    }
    /* A file that shrank meanwhile is an error, not silence. */
    tmb_rope *rope = tmb_rope_create();
    assert_true(tmb_rope_base64_file(rope, fcntl(descriptor, F_DUPFD_CLOEXEC, 0), sizeof bytes));
    assert_int_equal(ftruncate(descriptor, 100), 0);
    char out[256];
    assert_int_equal(tmb_rope_read(rope, 0, out, sizeof out), -1);
    tmb_rope_destroy(rope);
    (void)close(descriptor);
    (void)unlink(path);
}

static bool is_public(const char *text) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address;
    memset(&address, 0, sizeof(address));
    if (strchr(text, ':') != NULL) {
        address.v6.sin6_family = AF_INET6;
        assert_int_equal(inet_pton(AF_INET6, text, &address.v6.sin6_addr), 1);
    } else {
        address.v4.sin_family = AF_INET;
        assert_int_equal(inet_pton(AF_INET, text, &address.v4.sin_addr), 1);
    }
    return tmb_address_is_public(&address.any);
}

static void test_addresses(void **state) {
    (void)state;
    static const char *const open_ones[] = {"8.8.8.8",         "1.1.1.1",      "172.15.255.255",  "172.32.0.1",
                                            "100.63.255.255",  "100.128.0.1",  "192.167.255.255", "223.255.255.255",
                                            "2606:4700::1111", "2a00:1450::1", "2001:4860::8888"};
    static const char *const closed[] = {"0.0.0.0",
                                         "10.1.2.3",
                                         "100.64.0.1",
                                         "100.127.255.255",
                                         "127.0.0.1",
                                         "127.255.255.255",
                                         "169.254.169.254",
                                         "172.16.0.1",
                                         "172.31.255.255",
                                         "192.0.0.1",
                                         "192.0.2.1",
                                         "192.88.99.1",
                                         "192.168.1.1",
                                         "198.18.0.1",
                                         "198.19.255.255",
                                         "198.51.100.1",
                                         "203.0.113.1",
                                         "224.0.0.1",
                                         "239.1.1.1",
                                         "240.0.0.1",
                                         "255.255.255.255",
                                         "::",
                                         "::1",
                                         "::ffff:127.0.0.1",
                                         "::ffff:8.8.8.8",
                                         "64:ff9b::7f00:1",
                                         "fc00::1",
                                         "fd12::1",
                                         "fe80::1",
                                         "ff02::1",
                                         "2001::1",
                                         "2001:db8::1",
                                         "2002:7f00:1::",
                                         "3fff::1"};
    for (size_t i = 0; i < sizeof open_ones / sizeof open_ones[0]; i++) {
        assert_true(is_public(open_ones[i]));
    }
    for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++) {
        assert_false(is_public(closed[i]));
    }
    assert_true(tmb_host_is_listed("a.example, b.example", "B.example"));
    assert_false(tmb_host_is_listed("a.example,b.example", "example"));
    assert_false(tmb_host_is_listed("a.example", "a.example.evil"));
    assert_false(tmb_host_is_listed("", ""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8),      cmocka_unit_test(test_base64), cmocka_unit_test(test_names),
        cmocka_unit_test(test_units),     cmocka_unit_test(test_buffer), cmocka_unit_test(test_rope),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
