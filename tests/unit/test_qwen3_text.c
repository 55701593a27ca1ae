/* Prompts, languages, sentences. */
#include "golden.h"
#include "test.h"

#include "tts/qwen3/text/language.h"
#include "tts/qwen3/text/sentences.h"
#include "tts/qwen3/text/template.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tmb_tokenizer *tokenizer;
static tmb_qwen3_config config;

static int load(void **state) {
    (void)state;
    tmb_error error = {0};
    assert_ok(tmb_tokenizer_load(golden_path("qwen/sample-c/model"), TMB_TEXT_PATTERN_QWEN2, &tokenizer, &error),
              error);
    assert_ok(tmb_qwen3_config_read(golden_path("qwen/sample-c/model"), &config, &error), error);
    return 0;
}

static int unload(void **state) {
    (void)state;
    tmb_tokenizer_destroy(&tokenizer);
    return 0;
}

/* The templated ids of every case of sample-c, from texts and transcripts as the caller gave them. */
static void test_prompts_of_cases(void **state) {
    (void)state;
    static const char *const cases[] = {"batch2_xvec",      "batch3", "icl_en",    "icl_long_ref_text",
                                        "icl_nonstreaming", "icl_zh", "xvec_auto", "xvec_short"};
    static const char head[] = "<|im_start|>assistant\n";
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t bytes = 0;
        char *text = golden_text(&bytes, "qwen/sample-c/cases/%s/case.json", cases[i]);
        json_t *root = json_loads(text, 0, NULL);
        json_t *list = json_object_get(root, "ids");
        assert_true(json_array_size(list) > 0);
        for (size_t k = 0; k < json_array_size(list); k++) {
            const char *templated = json_string_value(json_array_get(json_array_get(list, k), 0));
            json_t *ids = json_array_get(json_array_get(list, k), 1);
            const char *body = templated + strlen(head);
            size_t body_bytes = (size_t)(strstr(body, "<|im_end|>") - body);
            bool target = strstr(body, "<|im_start|>") != NULL;
            tmb_template_ids prompt;
            tmb_error error = {0};
            assert_ok(
                (target ? tmb_template_target : tmb_template_reference)(tokenizer, body, body_bytes, &prompt, &error),
                error);
            assert_int_equal(prompt.count, json_array_size(ids));
            for (size_t n = 0; n < prompt.count; n++) {
                assert_int_equal(prompt.ids[n], json_integer_value(json_array_get(ids, n)));
            }
            assert_int_equal(prompt.text_count, prompt.count - (target ? 8 : 5));
            assert_ptr_equal(prompt.text, prompt.ids + 3);
            tmb_template_ids_free(&prompt);
        }
        json_decref(root);
        free(text);
    }
}

static void test_prompt_edges(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_template_ids prompt;
    assert_ok(tmb_template_check(tokenizer, &config, &error), error);
    assert_ok(tmb_template_target(tokenizer, "", 0, &prompt, &error), error);
    assert_int_equal(prompt.text_count, 0);
    tmb_template_ids_free(&prompt);
    /* Line breaks before the text would change the role's third token. */
    static const char *const starts[] = {"Hi", "\nHi", " \n\r\n \n\nHi"};
    for (size_t i = 0; i < 3; i++) {
        assert_ok(tmb_template_target(tokenizer, starts[i], strlen(starts[i]), &prompt, &error), error);
        assert_int_equal(prompt.role[2], 198);
        assert_int_equal(prompt.text_count, 1);
        assert_int_equal(prompt.text[0], 13048);
        tmb_template_ids_free(&prompt);
    }
    assert_int_equal(tmb_template_target(tokenizer, "a\xff", 2, &prompt, &error), TMB_ERROR_ARGUMENT);
    tmb_qwen3_config other = config;
    other.im_end_id = 7;
    assert_int_equal(tmb_template_check(tokenizer, &other, &error), TMB_ERROR_MODEL);
    assert_non_null(strstr(error.message, "<|im_end|> has the id 7 in config.json, but 151645"));
    other = config;
    other.talker.text_vocab_size = 151675;
    assert_int_equal(tmb_template_check(tokenizer, &other, &error), TMB_ERROR_MODEL);
    other = config;
    other.assistant_id = 5;
    assert_int_equal(tmb_template_check(tokenizer, &other, &error), TMB_ERROR_MODEL);
}

static void test_languages(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int32_t id;
    } names[] = {{NULL, -1},        {"", -1},         {"Auto", -1},       {"en", 1051},    {"EN-us", 1051},
                 {"English", 1051}, {"zh_CN", 1050},  {"JAPANESE", 1056}, {"ko", 1057},    {"fr", 1058},
                 {"de", 1052},      {"es", 1055},     {"ru", 1059},       {"pt-BR", 1054}, {"italian", 1053},
                 {"eng", 1051},     {"jpn-JP", 1056}, {"und", -1}};
    tmb_error error = {0};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int32_t id = 99;
        assert_ok(tmb_qwen3_language_id(&config.talker, names[i].name, &id, &error), error);
        assert_int_equal(id, names[i].id);
    }
    int32_t id = 0;
    assert_int_equal(tmb_qwen3_language_id(&config.talker, "klingon", &id, &error), TMB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "\"klingon\"; it knows auto, zh, en, de"));
    assert_int_equal(tmb_qwen3_language_id(&config.talker, "engl", &id, &error), TMB_ERROR_ARGUMENT);
}

/* What the checkpoint itself lists counts, by its own name and by the language's code; the list in a message ends
 * between words. */
static void test_languages_of_the_model(void **state) {
    (void)state;
    static const char *const names[] = {"thai", "Thai", "TH", "th-TH", "th_TH.UTF-8"};
    tmb_qwen3_talker_config own = config.talker;
    tmb_error error = {0};
    int32_t id = 0;
    assert_int_equal(tmb_qwen3_language_id(&own, "thai", &id, &error), TMB_ERROR_ARGUMENT);
    (void)snprintf(own.languages[0].name, sizeof own.languages[0].name, "thai");
    own.languages[0].id = 1999;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_ok(tmb_qwen3_language_id(&own, names[i], &id, &error), error);
        assert_int_equal(id, 1999);
    }
    for (own.language_count = 1; own.language_count < TMB_QWEN3_LANGUAGES_MAX; own.language_count++) {
        tmb_qwen3_language *language = &own.languages[own.language_count];
        (void)snprintf(language->name, sizeof language->name, "tongue-%02zu", own.language_count);
    }
    assert_int_equal(tmb_qwen3_language_id(&own, "klingon", &id, &error), TMB_ERROR_ARGUMENT);
    const char *end = strrchr(error.message, ',');
    assert_non_null(end);
    assert_string_equal(end, ", ...");
    assert_int_equal(end[-3], '-');
}

/* Splits and checks what always holds; the contents joined by "|" must be `expected`, if it is not NULL. */
static void check_split(const char *text, size_t max_length, bool pauses, const char *expected) {
    tmb_split_options options;
    tmb_split_options_default(&options);
    options.max_length = max_length;
    options.pauses = pauses;
    tmb_text_piece *pieces = NULL;
    size_t count = 0;
    tmb_error error = {0};
    size_t bytes = strlen(text);
    assert_ok(tmb_text_split(text, bytes, &options, &pieces, &count, &error), error);
    char joined[4096] = "";
    size_t used = 0;
    size_t position = 0;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(pieces[i].begin, position);
        assert_true(pieces[i].end > position);
        assert_true(pieces[i].content_begin >= pieces[i].begin && pieces[i].content_end <= pieces[i].end);
        assert_true(pieces[i].content_begin <= pieces[i].content_end);
        assert_true(pieces[i].end == bytes || ((unsigned char)text[pieces[i].end] & 0xc0) != 0x80);
        position = pieces[i].end;
        if (expected != NULL) {
            used += (size_t)snprintf(joined + used, sizeof joined - used, "%s%.*s", i == 0 ? "" : "|",
                                     (int)(pieces[i].content_end - pieces[i].content_begin),
                                     text + pieces[i].content_begin);
            if (pieces[i].pause_after != 0) {
                used += (size_t)snprintf(joined + used, sizeof joined - used, "<%g>", pieces[i].pause_after);
            }
            assert_true(used < sizeof joined);
        }
    }
    assert_int_equal(position, bytes);
    free(pieces);
    if (expected != NULL) {
        assert_string_equal(joined, expected);
    }
}

static void test_sentences(void **state) {
    (void)state;
    check_split("", 20, false, "");
    check_split("  ", 20, false, "");
    check_split("One. Two! Three?", 400, false, "One. Two! Three?");
    check_split("First one here. Second one here! Third one?", 20, false,
                "First one here.|Second one here!|Third one?");
    check_split("Mr. and Mrs. Smith paid 3.14 dollars. They left.", 38, false,
                "Mr. and Mrs. Smith paid 3.14 dollars.|They left.");
    check_split("By J. R. R. Tolkien, e.g. this one. And that one.", 36, false,
                "By J. R. R. Tolkien, e.g. this one.|And that one.");
    check_split("He said: \"Stop now!\" Then he went on his way.", 30, false,
                "He said: \"Stop now!\"|Then he went on his way.");
    check_split("It goes on... and on it goes. Then it ends.", 32, false,
                "It goes on... and on it goes.|Then it ends.");
    check_split("1. The first item is here. 2 more are there.", 30, false,
                "1. The first item is here.|2 more are there.");
    check_split("Title of it\n\nA paragraph without end that goes on", 40, false,
                "Title of it|A paragraph without end that goes on");
    check_split("你好世界。今天天气很好!我们去公园吧?好。", 30, false, "你好世界。|今天天气很好!|我们去公园吧?好。");
    check_split("你好世界。今天天气很好！我们去公园吧？好。", 30, false,
                "你好世界。|今天天气很好！|我们去公园吧？好。");
    check_split("「そうですか。」と言った。次の文です。", 39, false, "「そうですか。」と言った。|次の文です。");
    check_split("¿Qué tal? ¡Muy bien! ¿Y tú?", 12, false, "¿Qué tal?|¡Muy bien!|¿Y tú?");
    check_split("نعم؟ لا شيء هنا الآن.", 18, false, "نعم؟|لا شيء هنا الآن.");
}

static void test_long_sentences(void **state) {
    (void)state;
    check_split("one two three four, five six seven eight nine", 24, false,
                "one two three four,|five six seven eight|nine");
    check_split("a, bbbbb ccccc ddddd eeeee fffff", 20, false, "a, bbbbb ccccc ddddd|eeeee fffff");
    check_split("abcdefghijklmnopqrstuvwxyz", 10, false, "abcdefghij|klmnopqrst|uvwxyz");
    check_split("一二三四五六七八九十", 9, false, "一二三|四五六|七八九|十");
    /* Marks stay with their letter, as far as the limit allows. */
    check_split("aaaaaaae\xcc\x81\xcc\xa3zzz", 9, false, "aaaaaaa|e\xcc\x81\xcc\xa3zzz");
    char many[3 * 1000 + 1];
    for (size_t i = 0; i < 1000; i++) {
        memcpy(many + 2 * i, "\xcc\x81", 2);
    }
    many[2000] = '\0';
    check_split(many, 10, false, NULL);
}

static void test_pauses(void **state) {
    (void)state;
    check_split("Hi.[pause:1.5s] You.", 400, false, "Hi.[pause:1.5s] You.");
    check_split("Hi.[pause:1.5s] You.", 400, true, "Hi.<1.5>|You.");
    check_split("[pause:500ms]Hi [pause:2] [pause:1s]", 400, true, "<0.5>|Hi<3>");
    check_split("A [pause:30] B", 400, true, "A<30>|B");
    check_split("[pause:1s]", 400, true, "<1>");
    check_split(" \n[pause:1s] [pause:500ms]\n", 400, true, "<1.5>");
    check_split("... [pause:1s] \u201d", 400, true, "<1>");
    check_split("Hi. [pause:1s] --- [pause:1s] You.", 400, true, "Hi.<1>|<1>|You.");
    check_split("Hi.[PAUSE:1S]You.[pause: 1,5 s ]They.[Pause:\t250 MS]", 400, true, "Hi.<1>|You.<1.5>|They.<0.25>");
    /* More than the limit is refused, also in parts: nobody gets another pause than they asked for. */
    static const char *const too_long[] = {"A [pause:999999] B",     "[pause:30.1s]",
                                           "[pause:16] [pause:15s]", "[pause:30001ms]",
                                           "[pause:12345678901]",    "[pause:99999999999999999999999999 s]"};
    for (size_t i = 0; i < sizeof too_long / sizeof too_long[0]; i++) {
        tmb_split_options options = {.max_length = 400, .pauses = true};
        tmb_text_piece *pieces = NULL;
        size_t count = 0;
        tmb_error error = {0};
        assert_int_equal(tmb_text_split(too_long[i], strlen(too_long[i]), &options, &pieces, &count, &error),
                         TMB_ERROR_ARGUMENT);
        assert_non_null(strstr(error.message, "30 s is the most"));
    }
    check_split("[pause:] [pause:x] [pause:1m] [pause:1.2.3s] [pause:1s", 400, true,
                "[pause:] [pause:x] [pause:1m] [pause:1.2.3s] [pause:1s");
    check_split("First part is here. Second part is here.[pause:1s]Third", 20, true,
                "First part is here.|Second part is here.<1>|Third");
}

/* A piece has something to say: no mark is left over, whatever the length cuts. */
static void test_wordless_pieces(void **state) {
    (void)state;
    check_split("A first line of text.\n\n---\n\nA second line of text.", 24, false,
                "A first line of text.|A second line of text.");
    check_split("* * *\n\nA first line of text.\n\n* * *", 24, false, "A first line of text.");
    check_split("今天天气很好我们去公园吧。然后回家吃饭了今天。", 36, false,
                "今天天气很好我们去公园吧。|然后回家吃饭了今天。");
    check_split("Ten letters... And then more. ", 11, false, "Ten letters...|And then|more.");
    check_split("He said: \u201cTen letters\u201d and left.", 21, false, "He said:|\u201cTen letters\u201d and|left.");
    check_split("Er sagt: \u201eZehn davon.\u201c Dann geht er.", 21, false,
                "Er sagt: \u201eZehn davon.\u201c|Dann geht er.");
    check_split("Il dit : \u00ab dix lettres ! \u00bb Puis il part.", 25, false,
                "Il dit : \u00ab dix lettres ! \u00bb|Puis il part.");
    check_split("\u300cten letters here.\u300d\u300d and on it goes", 20, false,
                "\u300cten letters here.\u300d\u300d|and on it goes");
    check_split("(ten letters.) [Ten letters.] Done now.", 13, false, "(ten letters.)|[Ten letters.]|Done now.");
    check_split("One \"two three\" four", 8, false, "One \"two|three\"|four");
    check_split("--------------------", 8, false, "--------|--------|----");
    check_split("????", 400, false, "????");
}

/* Headings are pieces of their own once a text is cut; a text that fits is left alone. */
static void test_chapters(void **state) {
    (void)state;
    check_split("# One\n\nShort text.", 400, false, "# One\n\nShort text.");
    check_split("# The title\nA first line of text.\n## Part two\nA second line of text.\n", 24, false,
                "The title|A first line of text.|Part two|A second line of text.");
    check_split("Chapter 1\n\nA first line of text here.\n\nCHAPTER II: Home\n\nA second line.", 30, false,
                "Chapter 1|A first line of text here.|CHAPTER II: Home|A second line.");
    check_split("A chapter of it.\nChapter 3 is a long line of text.\nAnd on.", 34, false,
                "A chapter of it.|Chapter 3 is a long line of text.|And on.");
    check_split("\u7b2c\u4e00\u7ae0 "
                "\u5bb6\n\n\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002\u6211\u4eec\u56de\u5bb6\u3002\n\n\u7b2c\u5341"
                "\u4e8c\u7ae0\n\n\u597d\u3002",
                24, false,
                "\u7b2c\u4e00\u7ae0 "
                "\u5bb6|\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002|\u6211\u4eec\u56de\u5bb6\u3002|"
                "\u7b2c\u5341\u4e8c\u7ae0|\u597d\u3002");
    check_split("#hashtag is no heading at all. ####### nor this", 34, false,
                "#hashtag is no heading at all.|####### nor this");
    check_split("# A heading at the very end of it\nshort\n# End", 20, true,
                "A heading at the|very end of it|short|End");
}

static void test_random_texts(void **state) {
    (void)state;
    static const char *const parts[] = {"a",
                                        "b ",
                                        ". ",
                                        "! ",
                                        "\n",
                                        "。",
                                        "你",
                                        "é",
                                        "e\xcc\x81",
                                        "\xf0\x9f\x99\x82",
                                        "\xe2\x80\x8d",
                                        ", ",
                                        "\n# ",
                                        "\n\nChapter 2\n\n",
                                        "[pause:1s]",
                                        "[pause:",
                                        "]",
                                        "\"",
                                        "”",
                                        "Mr.",
                                        "3.1",
                                        "  ",
                                        "\xcc\x81",
                                        "\xc2\xa0"};
    uint32_t seed = 12345;
    for (int round = 0; round < 3000; round++) {
        char text[1024] = "";
        size_t used = 0;
        seed = seed * 1664525u + 1013904223u;
        size_t count = (seed >> 16) % 80;
        for (size_t i = 0; i < count; i++) {
            seed = seed * 1664525u + 1013904223u;
            const char *part = parts[(seed >> 16) % (sizeof parts / sizeof parts[0])];
            memcpy(text + used, part, strlen(part) + 1);
            used += strlen(part);
        }
        check_split(text, 8 + (seed >> 8) % 60, (seed & 0x10000) != 0, NULL);
    }
    tmb_split_options options = {.max_length = 7};
    tmb_text_piece *pieces = NULL;
    size_t count = 0;
    tmb_error error = {0};
    assert_int_equal(tmb_text_split("a", 1, &options, &pieces, &count, &error), TMB_ERROR_ARGUMENT);
    options.max_length = 50;
    assert_int_equal(tmb_text_split("a\xc3", 2, &options, &pieces, &count, &error), TMB_ERROR_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompts_of_cases), cmocka_unit_test(test_prompt_edges),
        cmocka_unit_test(test_languages),        cmocka_unit_test(test_languages_of_the_model),
        cmocka_unit_test(test_sentences),        cmocka_unit_test(test_long_sentences),
        cmocka_unit_test(test_pauses),           cmocka_unit_test(test_wordless_pieces),
        cmocka_unit_test(test_chapters),         cmocka_unit_test(test_random_texts),
    };
    return cmocka_run_group_tests_name("qwen3-text", tests, load, unload);
}
