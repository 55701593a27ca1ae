#include "golden.h"
#include "test.h"

#include "base/utf8.h"
#include "tts/qwen3/text/normalize.h"
#include "tts/qwen3/text/tokenizer.h"
#include "weights/json_pull.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tmb_tokenizer *tokenizer;

static int load(void **state) {
    (void)state;
    tmb_error error = {0};
    assert_ok(tmb_tokenizer_load(golden_path("qwen/sample-c/model"), TMB_TEXT_PATTERN_QWEN2, &tokenizer, &error),
              error);
    return 0;
}

static int unload(void **state) {
    (void)state;
    tmb_tokenizer_destroy(&tokenizer);
    return 0;
}

static void check_ids(const tmb_tokenizer *with, json_t *text, json_t *ids) {
    tmb_error error = {0};
    int32_t *actual = NULL;
    size_t count = 0;
    assert_ok(tmb_tokenizer_encode(with, json_string_value(text), json_string_length(text), &actual, &count, &error),
              error);
    bool equal = count == json_array_size(ids);
    for (size_t i = 0; i < count && equal; i++) {
        equal = actual[i] == json_integer_value(json_array_get(ids, i));
    }
    if (!equal) {
        fail_msg("\"%s\": other ids than the official tokenizer", json_string_value(text));
    }
    free(actual);
}

static json_t *load_json(const char *name) {
    size_t bytes = 0;
    char *text = golden_text(&bytes, "%s", name);
    json_t *root = json_loadb(text, bytes, JSON_ALLOW_NUL, NULL);
    assert_non_null(root);
    free(text);
    return root;
}

static void test_strings(void **state) {
    (void)state;
    json_t *root = load_json("qwen/tokenizer/strings.json");
    assert_int_equal(json_array_size(root), 67);
    for (size_t i = 0; i < json_array_size(root); i++) {
        json_t *pair = json_array_get(root, i);
        check_ids(tokenizer, json_array_get(pair, 0), json_array_get(pair, 1));
    }
    json_decref(root);
}

static void test_both_patterns(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_tokenizer *other = NULL;
    assert_ok(tmb_tokenizer_load(golden_path("qwen/sample-d/model"), TMB_TEXT_PATTERN_MISTRAL, &other, &error), error);
    json_t *root = load_json("qwen/tokenizer/strings_both_patterns.json");
    size_t different = 0;
    for (size_t i = 0; i < json_array_size(root); i++) {
        json_t *entry = json_array_get(root, i);
        json_t *local = json_object_get(entry, "ids_local_folder");
        json_t *ids = json_object_get(entry, "ids");
        check_ids(tokenizer, json_object_get(entry, "text"), ids);
        check_ids(other, json_object_get(entry, "text"), local == NULL ? ids : local);
        different += local != NULL;
    }
    assert_true(different > 0);
    json_decref(root);
    tmb_tokenizer_destroy(&other);
}

static void test_generated_lines(void **state) {
    (void)state;
    size_t bytes = 0;
    char *text = golden_text(&bytes, "qwen/tokenizer/lines.jsonl");
    size_t lines = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        json_t *entry = json_loads(line, JSON_ALLOW_NUL, NULL);
        assert_non_null(entry);
        check_ids(tokenizer, json_object_get(entry, "text"), json_object_get(entry, "ids"));
        json_decref(entry);
        lines++;
    }
    assert_int_equal(lines, 3000);
    free(text);
}

static void expect_count(const char *text, size_t bytes, size_t expected) {
    tmb_error error = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    assert_ok(tmb_tokenizer_encode(tokenizer, text, bytes, &ids, &count, &error), error);
    assert_int_equal(count, expected);
    free(ids);
}

/* Megabytes that would take minutes if anything is quadratic. Their numbers of tokens are the official ones. */
static void test_megabytes(void **state) {
    (void)state;
    enum { SIZE = 1000000 };
    char *text = malloc(SIZE);
    assert_non_null(text);
    memset(text, 'a', SIZE);
    expect_count(text, SIZE, 125000);
    memset(text, '<', SIZE);
    expect_count(text, SIZE, 125000);
    for (size_t i = 0; i < SIZE; i += 4) {
        memcpy(text + i, "\xcc\x81\xcc\xa3", 4);
    }
    tmb_error error = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    assert_ok(tmb_tokenizer_encode(tokenizer, text, SIZE, &ids, &count, &error), error);
    assert_true(count > 0);
    free(ids);
    free(text);
}

static void test_invalid_text(void **state) {
    (void)state;
    static const char *const bad[] = {
        "\xff", "a\x80", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\xf8\x88\x80\x80\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        tmb_error error = {0};
        int32_t *ids = NULL;
        size_t count = 0;
        assert_int_equal(tmb_tokenizer_encode(tokenizer, bad[i], strlen(bad[i]), &ids, &count, &error),
                         TMB_ERROR_ARGUMENT);
        assert_null(ids);
        assert_non_null(strstr(error.message, "not valid UTF-8: byte 0x"));
    }
    expect_count("", 0, 0);
    expect_count("a\0b", 3, 3);
}

static void test_utf8(void **state) {
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code++) {
        char out[4];
        uint32_t back = 0;
        size_t length = tmb_utf8_encode(code, out);
        bool surrogate = code >= 0xd800 && code < 0xe000;
        assert_int_equal(tmb_utf8_decode(out, length, &back), surrogate ? 0 : length);
        assert_true(surrogate || back == code);
        assert_int_equal(tmb_utf8_decode(out, length - 1, &back), 0);
    }
}

static void test_normalization(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"abc", "abc"},
        {"e\xcc\x81", "\xc3\xa9"},
        {"a\xcc\x81\xcc\xa3", "\xe1\xba\xa1\xcc\x81"},
        {"\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81"},
        {"\xea\xb0\x80\xe1\x86\xa7", "\xea\xb0\x80\xe1\x86\xa7"}, /* U+11A7 is no consonant */
        {"\xe2\x84\xab", "\xc3\x85"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        tmb_error error = {0};
        const char *out = NULL;
        size_t bytes = 0;
        char *owned = NULL;
        assert_ok(tmb_normalize_nfc(pairs[i][0], strlen(pairs[i][0]), &out, &bytes, &owned, &error), error);
        assert_int_equal(bytes, strlen(pairs[i][1]));
        assert_memory_equal(out, pairs[i][1], bytes);
        free(owned);
    }
}

/* ---- Files ---- */

/* All 256 byte tokens, then `more`, as vocab.json; static. */
static const char *small_vocabulary(const char *more) {
    static char text[8192];
    size_t used = (size_t)snprintf(text, sizeof text, "{");
    uint32_t other = 0x100;
    for (uint32_t byte = 0; byte < 256; byte++) {
        bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s\"\\u%04x\":%u", byte == 0 ? "" : ",",
                                 printable ? byte : other++, byte);
    }
    (void)snprintf(text + used, sizeof text - used, "%s}", more);
    return text;
}

static tmb_status parse(const char *vocab, const char *merges, const char *tokenizer_json, const char *added,
                        const char *tokenizer_config, tmb_tokenizer **out, tmb_error *error) {
#define BYTES(text) ((text) == NULL ? 0 : strlen(text))
    tmb_tokenizer_texts texts = {
        vocab,        merges,        tokenizer_json,        tokenizer_config,        added,
        BYTES(vocab), BYTES(merges), BYTES(tokenizer_json), BYTES(tokenizer_config), BYTES(added)};
    return tmb_tokenizer_parse(&texts, TMB_TEXT_PATTERN_QWEN2, out, error);
}

static void expect_small(const tmb_tokenizer *with, const char *text, size_t expected_count, const int32_t *expected) {
    tmb_error error = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    assert_ok(tmb_tokenizer_encode(with, text, strlen(text), &ids, &count, &error), error);
    assert_int_equal(count, expected_count);
    assert_memory_equal(ids, expected, count * sizeof *ids);
    free(ids);
}

static const char merges_text[] = "#version: 0.2\n# #\n## #\na b\r\nab c\n";
static const char more_tokens[] = ",\"##\":300,\"###\":301,\"ab\":302,\"abc\":303";

static void test_merges(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_tokenizer *small = NULL;
    assert_ok(
        parse(small_vocabulary(more_tokens), merges_text, NULL, "{\"<x>\": 310, \"<x>y\": 311}", NULL, &small, &error),
        error);
    /* The lowest rank first, leftmost: "##", "##" and not "###", "#". */
    expect_small(small, "####", 2, (const int32_t[]){300, 300});
    expect_small(small, "###", 1, (const int32_t[]){301});
    expect_small(small, "xabcab", 3, (const int32_t[]){'x', 303, 302});
    expect_small(small, "ab<x>yc<x>", 4, (const int32_t[]){302, 311, 'c', 310});
    assert_int_equal(tmb_tokenizer_id_limit(small), 312);
    assert_int_equal(tmb_tokenizer_added_token(small, "<x>"), 310);
    assert_int_equal(tmb_tokenizer_added_token(small, "<z>"), -1);
    tmb_tokenizer_destroy(&small);
    tmb_tokenizer_destroy(&small);
}

/* The same tokenizer as one file, merges in both forms, before and after the vocabulary. */
static void test_tokenizer_json(void **state) {
    (void)state;
    static const char *const lists[] = {"[\"# #\", \"## #\", \"a b\", \"ab c\"]",
                                        "[[\"#\",\"#\"],[\"##\",\"#\"],[\"a\",\"b\"],[\"ab\",\"c\"]]"};
    static const char rest[] =
        "\"added_tokens\":[{\"id\":310,\"content\":\"<x>\",\"special\":true,\"normalized\":false}],"
        "\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
        "\"Split\","
        "\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "
        "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}}]}";
    char *text = malloc(20000);
    assert_non_null(text);
    for (int i = 0; i < 4; i++) {
        const char *vocabulary = small_vocabulary(more_tokens);
        if ((i & 2) == 0) {
            (void)snprintf(text, 20000, "{%s,\"model\":{\"vocab\":%s,\"merges\":%s}}", rest, vocabulary, lists[i & 1]);
        } else {
            (void)snprintf(text, 20000, "{\"model\":{\"merges\":%s,\"byte_fallback\":false,\"vocab\":%s},%s}",
                           lists[i & 1], vocabulary, rest);
        }
        tmb_error error = {0};
        tmb_tokenizer *small = NULL;
        assert_ok(parse(NULL, NULL, text, NULL, NULL, &small, &error), error);
        expect_small(small, "####<x>abc", 4, (const int32_t[]){300, 300, 310, 303});
        tmb_tokenizer_destroy(&small);
    }
    static const char *const bad[][2] = {
        {"{}", "model.vocab is missing"},
        {"{\"model\":{\"vocab\":{}}}", "model.merges is missing"},
        {"{\"model\":{\"vocab\":{},\"merges\":[]}}", "its normalizer is not NFC"},
        {"{\"normalizer\":{\"type\":\"NFC\"},\"model\":{\"vocab\":{},\"merges\":[]}}", "another pattern"},
        {"{\"model\":{\"byte_fallback\":true}}", "byte_fallback is set"},
        {"{\"model\":7}", "an object was expected"},
        {"{\"model\":{\"vocab\":{\"a\":1,\"a\":2}}}", "\"a\" is there twice"},
        {"{\"added_tokens\":[{\"content\":\"x\"}]}", "the id -1"},
        {"{\"added_tokens\":[{\"content\":\"x\",\"id\":1,\"lstrip\":true}]}", "lstrip"},
        {"{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "nested too deeply"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        tmb_error error = {0};
        tmb_tokenizer *small = NULL;
        tmb_status status = parse(NULL, NULL, bad[i][0], NULL, NULL, &small, &error);
        if (status == TMB_OK || strstr(error.message, bad[i][1]) == NULL) {
            fail_msg("%s: \"%s\"", bad[i][0], error.message);
        }
    }
    free(text);
}

static void test_damaged_files(void **state) {
    (void)state;
    static const struct {
        const char *vocab, *merges, *added, *tokenizer_config, *message;
    } cases[] = {
        {NULL, NULL, NULL, NULL, "neither vocab.json nor tokenizer.json"},
        {"{", "", NULL, NULL, "vocab.json: line 1, byte 1: a string was expected"},
        {"[]", "", NULL, NULL, "an object was expected"},
        {"{\"a\":1.5}", "", NULL, NULL, "a whole number was expected"},
        {"{\"a\":-1}", "", NULL, NULL, "the id -1"},
        {"{\"a\":16777216}", "", NULL, NULL, "the id 16777216"},
        {"{\"a\":99999999999999999999}", "", NULL, NULL, "number too large"},
        {"{\"\":1}", "", NULL, NULL, "a token is empty"},
        {"{\"a\":1,\"a\":2}", "", NULL, NULL, "\"a\" is there twice"},
        {"{\"\xff\":1}", "", NULL, NULL, "invalid UTF-8"},
        {"{\"\\ud800\":1}", "", NULL, NULL, "surrogate"},
        {"{\"\\x\":1}", "", NULL, NULL, "unknown escape"},
        {"{\"a\":1}", NULL, NULL, NULL, "merges.txt is missing"},
        {"{\"a\":1}", "", NULL, NULL, "merges.txt is empty"},
        {"{\"a\":1}", "\n", NULL, NULL, "no token for the byte 0x00"},
        {"+", "x", NULL, NULL, "merges.txt: line 1 is not two tokens"},
        {"+", "\na b c\n", NULL, NULL, "line 2 is not two tokens"},
        {"+", "a b\na zz\n", NULL, NULL, "line 2: merge of \"a\" and \"zz\": the second is no token"},
        {"+", "a c\n", NULL, NULL, "joined they are no token"},
        {"+", "\n", "[]", NULL, "added_tokens.json"},
        {"+", "\n", "{\"x\":-5}", NULL, "the id -5"},
        {"+", "\n", NULL, "{\"added_tokens_decoder\":{\"x\":{}}}", "is not a token's id"},
        {"+", "\n", NULL, "{\"added_tokens_decoder\":{\"5\":{\"content\":\"x\",\"rstrip\":true}}}", "not supported"},
        {"+", "\n", NULL, "{\"added_tokens_decoder\":{\"5\":{\"content\":7}}}", "a string was expected"},
        {"+", "\n", NULL, "{\"a\":1", "tokenizer_config.json"},
        {"+", "\n", NULL, "{} x", "text after the end"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tmb_error error = {0};
        tmb_tokenizer *small = NULL;
        const char *vocab = cases[i].vocab;
        if (vocab != NULL && strcmp(vocab, "+") == 0) {
            vocab = small_vocabulary(more_tokens);
        }
        tmb_status status =
            parse(vocab, cases[i].merges, NULL, cases[i].added, cases[i].tokenizer_config, &small, &error);
        if ((status != TMB_ERROR_MODEL && status != TMB_ERROR_UNSUPPORTED) ||
            strstr(error.message, cases[i].message) == NULL) {
            fail_msg("case %zu (%s): status %d, \"%s\"", i, cases[i].message, status, error.message);
        }
        assert_null(small);
    }
    tmb_error error = {0};
    tmb_tokenizer *none = NULL;
    assert_int_equal(tmb_tokenizer_load(golden_path("qwen"), TMB_TEXT_PATTERN_QWEN2, &none, &error), TMB_ERROR_MODEL);
}

static void test_json_pull(void **state) {
    (void)state;
    static const char text[] =
        " {\"a\" : [1, -20,{\"b\":null}], \"\\u00e9\\n\\ud83d\\ude42\":true,\"c\":\"\",\"d\":[ ],\"e\":{}} ";
    tmb_json_pull json;
    const char *string;
    size_t length;
    int64_t number;
    bool truth;
    tmb_error error = {0};
    tmb_json_pull_init(&json, "x", text, strlen(text));
    assert_true(tmb_json_pull_object(&json));
    assert_true(tmb_json_pull_key(&json, &string, &length));
    assert_true(tmb_json_pull_array(&json));
    assert_true(tmb_json_pull_element(&json) && tmb_json_pull_integer(&json, &number) && number == 1);
    assert_true(tmb_json_pull_element(&json) && tmb_json_pull_integer(&json, &number) && number == -20);
    assert_true(tmb_json_pull_element(&json) && tmb_json_pull_skip(&json));
    assert_false(tmb_json_pull_element(&json));
    assert_true(tmb_json_pull_key(&json, &string, &length));
    assert_int_equal(length, 7);
    assert_memory_equal(string, "\xc3\xa9\n\xf0\x9f\x99\x82", 7);
    assert_true(tmb_json_pull_boolean(&json, &truth) && truth);
    while (tmb_json_pull_key(&json, &string, &length)) {
        assert_true(tmb_json_pull_skip(&json));
    }
    assert_ok(tmb_json_pull_finish(&json, &error), error);

    static const char *const bad[] = {"",      "{",     "[1,]",     "{\"a\":1,}", "{\"a\" 1}",   "[1 2]",
                                      "[tru]", "[+1]",  "\"a",      "\"\\",       "[\"\\u12\"]", "[1]]",
                                      "nul",   "{1:2}", "[\"\n\"]", "[]x",        "[}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        tmb_json_pull_init(&json, "x", bad[i], strlen(bad[i]));
        (void)tmb_json_pull_skip(&json);
        if (tmb_json_pull_finish(&json, &error) != TMB_ERROR_FORMAT) {
            fail_msg("%s was accepted", bad[i]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings),         cmocka_unit_test(test_both_patterns),
        cmocka_unit_test(test_generated_lines), cmocka_unit_test(test_megabytes),
        cmocka_unit_test(test_invalid_text),    cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_normalization),   cmocka_unit_test(test_merges),
        cmocka_unit_test(test_tokenizer_json),  cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_json_pull),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, load, unload);
}
