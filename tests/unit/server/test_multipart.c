/* Forms as they come over the wire, in pieces of every size; header values; JSON before it is parsed; budgets. */
#include "test.h"

#include "base/buffer.h"
#include "base/utf8.h"
#include "server/body_budget.h"
#include "server/header_value.h"
#include "server/json_scan.h"
#include "server/multipart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a form was taken apart into, as text: "name|file name or -|type|bytes\n" for each part. */
typedef struct heard {
    tmb_buffer text;
    bool open;
} heard;

static bool on_begin(void *user, const tmb_form_part *part) {
    heard *all = user;
    assert_false(all->open);
    all->open = true;
    return tmb_buffer_printf(&all->text, "%s|%s|%s|", part->name, part->has_file_name ? part->file_name : "-",
                             part->content_type);
}

static bool on_data(void *user, const char *data, size_t size) {
    heard *all = user;
    assert_true(all->open && size > 0);
    return tmb_buffer_append(&all->text, data, size);
}

static bool on_end(void *user) {
    heard *all = user;
    assert_true(all->open);
    all->open = false;
    return tmb_buffer_append(&all->text, "\n", 1);
}

static const tmb_part_reader reader = {.begin = on_begin, .data = on_data, .end = on_end};

/* Reads `body` in pieces of `piece` bytes. Returns the problem, or NULL; `out` gets what was heard. */
static const char *read_in_pieces(const char *type, const char *body, size_t size, size_t piece, char **out) {
    heard all = {.text = {.maximum = 1 << 20}};
    const char *problem = NULL;
    *out = NULL;
    tmb_multipart *multipart = tmb_multipart_create(type, &reader, &all, &problem);
    if (multipart == NULL) {
        return problem != NULL ? problem : "no memory";
    }
    bool good = true;
    for (size_t at = 0; good && at < size; at += piece) {
        /* A copy of exactly these bytes, so that a sanitizer sees a read past them. */
        size_t count = size - at < piece ? size - at : piece;
        char *copy = malloc(count);
        assert_non_null(copy);
        memcpy(copy, body + at, count);
        good = tmb_multipart_write(multipart, copy, count);
        free(copy);
    }
    good = good && tmb_multipart_finish(multipart);
    problem = tmb_multipart_problem(multipart);
    assert_true(good == (problem == NULL));
    assert_true(!good || !all.open);
    tmb_multipart_destroy(multipart);
    assert_true(tmb_buffer_append(&all.text, "", 1));
    *out = all.text.data;
    return problem;
}

typedef struct form_case {
    const char *type, *body;
    const char *heard;   /* NULL: it is malformed, and then: */
    const char *problem; /* a part of what it says */
} form_case;

#define PLAIN "multipart/form-data; boundary=b"
#define NAME(name) "Content-Disposition: form-data; name=" name "\r\n\r\n"
#define ONE(head) "--b\r\n" head "\r\n\r\nx\r\n--b--\r\n"

static const form_case cases[] = {
    {PLAIN, "--b\r\n" NAME("\"a\"") "x\r\n--b--\r\n", "a|-||x\n", NULL},
    {PLAIN, "--b\r\n" NAME("\"a\"") "x\r\n--b--", "a|-||x\n", NULL},
    {PLAIN, "--b\r\n" NAME("\"a\"") "\r\n--b--", "a|-||\n", NULL},
    {PLAIN, "--b\r\n" NAME("\"a\"") "--b--", "a|-||\n", NULL},
    {PLAIN, "--b\r\n" NAME("a") "x\r\n--b\r\n" NAME("\"b\"") "y\r\n--b--", "a|-||x\nb|-||y\n", NULL},
    {PLAIN, "--b--\r\n", "", NULL},
    /* What .NET sends. */
    {PLAIN,
     ONE("Content-Type: audio/wav\r\nContent-Disposition: form-data; name=audio; filename=a.wav; "
         "filename*=utf-8''a.wav"),
     "audio|a.wav|audio/wav|x\n", NULL},
    /* Names of headers and parameters in any case, blanks in all places, folded lines. */
    {"Multipart/Form-Data; Boundary=b", ONE("CONTENT-DISPOSITION:FORM-DATA;NAME=a"), "a|-||x\n", NULL},
    {"multipart/form-data; charset=utf-8; boundary=b; x=y", ONE("content-disposition : form-data ; name = \"a\" ;"),
     "a|-||x\n", NULL},
    {"multipart/form-data; boundary=\"b\"; charset=utf-8",
     ONE("Content-Disposition: form-data;\r\n\tname=\"a\";\r\n filename=\"f\""), "a|f||x\n", NULL},
    {"multipart/form-data;boundary=b", "--b  \t\r\n" NAME("a") "x\r\n--b \r\n" NAME("c") "y\r\n--b-- \r\n",
     "a|-||x\nc|-||y\n", NULL},
    /* Quoted strings. */
    {PLAIN, ONE("Content-Disposition: form-data; name=\"a\\\"b\\\\c\"; filename=\"C:\\dir\\f;g.wav\""),
     "a\"b\\c|C:\\dir\\f;g.wav||x\n", NULL},
    {PLAIN, ONE("Content-Disposition: form-data; filename=\"name=no\"; name=yes"), "yes|name=no||x\n", NULL},
    {PLAIN, ONE("Content-Disposition: form-data; name=a; filename=\"\""), "a|||x\n", NULL},
    {PLAIN, ONE("Content-Disposition: form-data; name=a; filename=two words.wav"), "a|two words.wav||x\n", NULL},
    /* RFC 5987; another charset leaves the plain name. */
    {PLAIN, ONE("Content-Disposition: form-data; name=a; filename*=UTF-8''%c3%a4%20b.wav"), "a|\xc3\xa4 b.wav||x\n",
     NULL},
    {PLAIN, ONE("Content-Disposition: form-data; name=a; filename=p; filename*=utf-8'en'%41"), "a|A||x\n", NULL},
    {PLAIN, ONE("Content-Disposition: form-data; name=a; filename=p; filename*=koi8-r''%41"), "a|p||x\n", NULL},
    {PLAIN, ONE("Content-Disposition: form-data; name=a; filename=p; filename*=UTF-8''%ff"), "a|p||x\n", NULL},
    {PLAIN, ONE("Content-Disposition: form-data; name=a; filename=p; filename*=UTF-8''%0"), "a|p||x\n", NULL},
    /* Preamble, epilogue, and text that looks like a boundary. */
    {PLAIN, "some text\r\n--\r\n--bb\r\n--b\r\n" NAME("a") "x\r\n--b--\r\nand --b\r\n more", "a|-||x\n", NULL},
    {PLAIN, "--b\r\n" NAME("a") "\r\n--bb\r\n--\r\r\n--b-x\r\n--b x\r\n-b\r\n--b--",
     "a|-||\r\n--bb\r\n--\r\r\n--b-x\r\n--b x\r\n-b\n", NULL},
    {PLAIN, "--b\r\n" NAME("a") "\r\r\n\r\n--b--", "a|-||\r\r\n\n", NULL},
    {PLAIN, "--b\r\n" NAME("a") "x\n--b\r\n--b--", "a|-||x\n--b\n", NULL},
    {PLAIN, "--b\r\n" NAME("a") "x\r\n--b \r \r\n--b--", "a|-||x\r\n--b \r \n", NULL},
    {PLAIN, "--b\r\n" NAME("a") "--bc\r\n--b--", "a|-||--bc\n", NULL},
    {"multipart/form-data; boundary=\"a b'()+_,-./:=?\"", "--a b'()+_,-./:=?\r\n" NAME("a") "x\r\n--a b'()+_,-./:=?--",
     "a|-||x\n", NULL},
    {"multipart/form-data; boundary=---", "-----\r\n" NAME("a") "x\r\n----\r\n-----\r\n" NAME("c") "y\r\n-------",
     "a|-||x\r\n----\nc|-||y\n", NULL},
    {"multipart/form-data; boundary=1234567890123456789012345678901234567890123456789012345678901234567890",
     "--1234567890123456789012345678901234567890123456789012345678901234567890\r\n" NAME(
         "a") "x\r\n"
              "--1234567890123456789012345678901234567890123456789012345678901234567890--",
     "a|-||x\n", NULL},
    {PLAIN, "--b\r\nX-Other: y\r\nContent-Transfer-Encoding: binary\r\n" NAME("a") "x\r\n--b--", "a|-||x\n", NULL},
    /* Malformed. */
    {PLAIN, ONE("Content-Disposition: form-data"), NULL, "has no name"},
    {PLAIN, ONE("Content-Disposition: form-data; filename=a.wav"), NULL, "has no name"},
    {PLAIN, ONE("Content-Disposition: form-data; name=\"\""), NULL, "has no name"},
    {PLAIN, ONE("Content-Disposition: form-data; name"), NULL, "has no name"},
    {PLAIN, ONE("Content-Disposition: form-data; name*=UTF-8''a"), NULL, "has no name"},
    {PLAIN, ONE("Content-Disposition: attachment; name=a"), NULL, "not form-data"},
    {PLAIN, ONE("Content-Disposition: form-data; name=a; name=b"), NULL, "malformed"},
    {PLAIN, ONE("Content-Disposition: form-data; name=\"a"), NULL, "malformed"},
    {PLAIN, ONE("Content-Disposition: form-data; name=\"a\"b"), NULL, "malformed"},
    {PLAIN, ONE("Content-Disposition: form-data; name=\"a\\"), NULL, "malformed"},
    {PLAIN, ONE("Content-Disposition: form-data; name=a; filename=\"b"), NULL, "malformed"},
    {PLAIN, ONE("Content-Disposition: form-data; name=a; x=\"b"), NULL, "malformed"},
    {PLAIN, ONE("Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b"), NULL,
     "two Content-Dispositions"},
    {PLAIN, ONE("Content-Type: text/plain"), NULL, "no Content-Disposition"},
    {PLAIN, "--b\r\n\r\nx\r\n--b--", NULL, "no Content-Disposition"},
    {PLAIN, ONE("Content-Disposition"), NULL, "is no header"},
    {PLAIN, ONE(": a"), NULL, "is no header"},
    {PLAIN, ONE("Content-Disposition: form-data; name=\x01"), NULL, "control characters"},
    {PLAIN, "--b\r\nContent-Disposition: form-data; name=a\n\nx\r\n--b--", NULL, "CR and LF"},
    {PLAIN, ONE("Content-Type: multipart/mixed; boundary=c\r\nContent-Disposition: form-data; name=a"), NULL,
     "is a multipart itself"},
    {PLAIN, ONE("Content-Transfer-Encoding: base64\r\nContent-Disposition: form-data; name=a"), NULL,
     "Content-Transfer-Encoding"},
    {PLAIN, "--b\r\n" NAME("a") "x\r\n--b", NULL, "closing boundary"},
    {PLAIN, "--b\r\n" NAME("a") "x", NULL, "closing boundary"},
    {PLAIN, "--b\r\nContent-Dis", NULL, "closing boundary"},
    {PLAIN, "--b-", NULL, "closing boundary"},
    {PLAIN, "", NULL, "has no part"},
    {PLAIN, "--c\r\n" NAME("a") "x\r\n--c--", NULL, "has no part"},
    {"multipart/form-data", "", NULL, "no boundary"},
    {"multipart/form-data; boundary=", "", NULL, "no boundary"},
    {"multipart/form-data; boundary=\"\"", "", NULL, "no boundary"},
    {"multipart/form-data; xboundary=b", "", NULL, "no boundary"},
    {"multipart/form-data; boundary=\"b", "", NULL, "no boundary of 1 to 70"},
    {"multipart/form-data; boundary=b; boundary=c", "", NULL, "no boundary of 1 to 70"},
    {"multipart/form-data; boundary=12345678901234567890123456789012345678901234567890123456789012345678901", "", NULL,
     "1 to 70"},
    {"multipart/form-data; boundary=\"b \"", "", NULL, "no boundary may have"},
    {"multipart/form-data; boundary=\"b\x01\"", "", NULL, "no boundary may have"},
};

static void test_forms_in_pieces(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t size = strlen(cases[i].body);
        for (size_t piece = 1; piece <= size + 1; piece++) {
            char *text = NULL;
            const char *problem = read_in_pieces(cases[i].type, cases[i].body, size, piece, &text);
            if (cases[i].heard != NULL ? problem != NULL || strcmp(text, cases[i].heard) != 0
                                       : problem == NULL || strstr(problem, cases[i].problem) == NULL) {
                fail_msg("%s\n%s\nin pieces of %zu: %s; %s", cases[i].type, cases[i].body, piece,
                         problem ? problem : "well-formed", text ? text : "");
            }
            free(text);
        }
    }
}

static void test_form_limits(void **state) {
    (void)state;
    static char body[1 << 17];
    size_t size = 0;
    for (int i = 0; i < TMB_PART_LIMIT; i++) {
        size += (size_t)snprintf(body + size, sizeof body - size, "--b\r\n" NAME("a%d") "x\r\n", i);
    }
    char *text = NULL;
    size_t most = size;
    most += (size_t)snprintf(body + most, sizeof body - most, "--b--");
    assert_null(read_in_pieces(PLAIN, body, most, 1000, &text));
    free(text);
    size += (size_t)snprintf(body + size, sizeof body - size, "--b\r\n" NAME("a") "x\r\n--b--");
    assert_non_null(strstr(read_in_pieces(PLAIN, body, size, 1000, &text), "too many parts"));
    free(text);
    for (int length = 255; length <= 256; length++) {
        size = (size_t)snprintf(body, sizeof body, "--b\r\n" NAME("\"%0*d\"") "x\r\n--b--", length, 0);
        const char *problem = read_in_pieces(PLAIN, body, size, 7, &text);
        assert_true(length == 255 ? problem == NULL : strstr(problem, "255 bytes") != NULL);
        free(text);
    }
    size = (size_t)snprintf(body, sizeof body, "--b\r\nX: %0*d\r\n" NAME("a") "x\r\n--b--", TMB_PART_HEAD_LIMIT, 0);
    assert_non_null(strstr(read_in_pieces(PLAIN, body, size, 7, &text), "larger than 8192 bytes"));
    free(text);
    size = (size_t)snprintf(body, sizeof body, "--b\r\n" NAME("a") "x\r\n--b%*s\r\n--b--", 65, "");
    assert_null(read_in_pieces(PLAIN, body, size, 7, &text));
    assert_int_equal(strlen(text), strlen("a|-||x\r\n--b\n") + 65);
    free(text);
}

/* A reader that has heard enough stops the form, with no problem of its own. */
static bool refuse_part(void *user, const tmb_form_part *part) {
    (void)user;
    (void)part;
    return false;
}

static void test_reader_stops(void **state) {
    (void)state;
    static const tmb_part_reader refusing = {.begin = refuse_part, .data = on_data, .end = on_end};
    const char *problem = NULL;
    tmb_multipart *multipart = tmb_multipart_create(PLAIN, &refusing, NULL, &problem);
    assert_non_null(multipart);
    static const char body[] = "--b\r\n" NAME("a") "x\r\n--b--";
    assert_false(tmb_multipart_write(multipart, body, sizeof body - 1));
    assert_false(tmb_multipart_write(multipart, body, sizeof body - 1));
    assert_null(tmb_multipart_problem(multipart));
    tmb_multipart_destroy(multipart);
}

static void test_json_scan(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t values, depth;
    } texts[] = {
        {"", 0, 0},
        {"1", 1, 0},
        {"{}", 1, 1},
        {"[]", 1, 1},
        {"{\"a\":1}", 2, 1},
        {"{\"a\" : \"b\", \"c\"\n:[1,2,{\"d\":null}]}", 7, 3},
        {"[\"\\\"\",\"\\\\\",\"[[[\"]", 4, 1},
        {"[1,1,1,1]", 5, 1},
        {"[[[[]]]]", 4, 4},
        {"[{},{},{}]", 4, 2},
        {"\"", 1, 0},
        {"\"\\", 1, 0},
        {"[tru\"e\"fal[", 5, 2},
        {"]]}}[", 1, 1},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t size = strlen(texts[i].text);
        char *copy = malloc(size ? size : 1);
        assert_non_null(copy);
        memcpy(copy, texts[i].text, size);
        tmb_json_limits limits = {.values = texts[i].values, .depth = texts[i].depth};
        assert_int_equal(tmb_json_scan(copy, size, &limits), TMB_JSON_WITHIN);
        if (limits.values) {
            limits.values--;
            assert_int_equal(tmb_json_scan(copy, size, &limits), TMB_JSON_TOO_MANY);
            limits.values++;
        }
        if (limits.depth) {
            limits.depth--;
            assert_int_equal(tmb_json_scan(copy, size, &limits), TMB_JSON_TOO_DEEP);
        }
        free(copy);
    }
    static const char with_nul[] = "[\0\0,1\0]";
    tmb_json_limits limits = {.values = 100, .depth = 100};
    assert_int_equal(tmb_json_scan(with_nul, sizeof with_nul, &limits), TMB_JSON_WITHIN);
}

static void test_budget(void **state) {
    (void)state;
    tmb_body_budget *budget = tmb_body_budget_create(1000);
    assert_non_null(budget);
    assert_int_equal(tmb_body_budget_take(budget, "a", 751), TMB_BODY_BUDGET_SHARE);
    assert_int_equal(tmb_body_budget_take(budget, "a", 700), TMB_BODY_BUDGET_GRANTED);
    assert_int_equal(tmb_body_budget_take(budget, "a", 51), TMB_BODY_BUDGET_SHARE);
    assert_int_equal(tmb_body_budget_take(budget, "a", 50), TMB_BODY_BUDGET_GRANTED);
    assert_int_equal(tmb_body_budget_take(budget, "b", 251), TMB_BODY_BUDGET_FULL);
    assert_int_equal(tmb_body_budget_take(budget, "b", 250), TMB_BODY_BUDGET_GRANTED);
    assert_int_equal(tmb_body_budget_take(budget, "b", UINT64_MAX), TMB_BODY_BUDGET_FULL);
    assert_int_equal(tmb_body_budget_used(budget), 1000);
    tmb_body_budget_give_back(budget, "a", 750);
    assert_int_equal(tmb_body_budget_used(budget), 250);
    assert_int_equal(tmb_body_budget_take(budget, "c", 100), TMB_BODY_BUDGET_GRANTED);
    tmb_body_budget_give_back(budget, "b", 250);
    tmb_body_budget_give_back(budget, "c", 100);
    assert_int_equal(tmb_body_budget_used(budget), 0);
    tmb_body_budget_destroy(&budget);
}

static void test_clean_utf8(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t bytes, room;
        const char *clean;
    } texts[] = {
        {"", 0, 8, ""},
        {"abc", 3, 8, "abc"},
        {"caf\xc3\xa9", 5, 8, "caf\xc3\xa9"},
        {"caf\xe9", 4, 8, "caf\xef\xbf\xbd"},
        {"\xff\xfe", 2, 8, "\xef\xbf\xbd\xef\xbf\xbd"},
        {"a\0b", 3, 8,
         "a\xef\xbf\xbd"
         "b"},
        {"ab\xc3", 3, 8, "ab\xef\xbf\xbd"},
        /* Cut where a letter ends. */
        {"caf\xc3\xa9", 5, 5, "caf"},
        {"caf\xc3\xa9", 5, 6, "caf\xc3\xa9"},
        {"ab\xff", 3, 5, "ab"},
        {"abc", 3, 1, ""},
        {"\xed\xa0\x80", 3, 16, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char out[16];
        size_t size = tmb_utf8_clean(texts[i].text, texts[i].bytes, out, texts[i].room);
        assert_string_equal(out, texts[i].clean);
        assert_int_equal(size, strlen(out));
        assert_true(size < texts[i].room);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms_in_pieces), cmocka_unit_test(test_form_limits), cmocka_unit_test(test_reader_stops),
        cmocka_unit_test(test_json_scan),       cmocka_unit_test(test_budget),      cmocka_unit_test(test_clean_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
