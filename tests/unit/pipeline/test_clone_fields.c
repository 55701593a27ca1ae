/* The table of a request's fields, and names of languages. */
#include "test.h"

#include "pipeline/request.h"
#include "tts/language.h"

#include <string.h>

static void test_table(void **state) {
    (void)state;
    size_t count = 0;
    const tmb_clone_field *fields = tmb_clone_fields(&count);
    assert_true(count > 20);
    for (size_t i = 0; i < count; i++) {
        const tmb_clone_field *f = &fields[i];
        assert_ptr_equal(tmb_clone_field_find(f->name), f);
        assert_true(strlen(f->summary) > 8);
        for (size_t k = 0; k < sizeof f->aliases / sizeof f->aliases[0] && f->aliases[k] != NULL; k++) {
            assert_ptr_equal(tmb_clone_field_find(f->aliases[k]), f);
        }
        if (f->type == TMB_CLONE_FORMAT) {
            continue;
        }
        assert_true(f->offset >= sizeof(size_t) && f->offset < sizeof(tmb_clone_request));
        for (size_t k = 0; k < i; k++) {
            assert_true(strcmp(fields[k].name, f->name) != 0);
            assert_true(fields[k].type == TMB_CLONE_FORMAT || fields[k].offset != f->offset);
        }
        /* A server narrows a range and never widens it. */
        if (f->server_minimum != 0 || f->server_maximum != 0) {
            assert_true(f->server_minimum >= f->minimum && f->server_maximum <= f->maximum);
            assert_true(f->server_minimum < f->server_maximum);
        }
    }
    assert_string_equal(tmb_clone_field_find("x_vector_only_mode")->name, "x_vector_only");
    assert_string_equal(tmb_clone_field_find("max_new_tokens")->name, "max_frames");
    assert_null(tmb_clone_field_find("nonsense"));
    assert_null(tmb_clone_field_find(""));
}

/* The table's defaults are those of tmb_clone_request_default. */
static void test_defaults(void **state) {
    (void)state;
    size_t count = 0;
    const tmb_clone_field *fields = tmb_clone_fields(&count);
    tmb_clone_request request;
    tmb_clone_request_default(&request);
    for (size_t i = 0; i < count; i++) {
        const void *place = (const char *)&request + fields[i].offset;
        const char *fallback = fields[i].fallback;
        switch (fields[i].type) {
        case TMB_CLONE_BOOLEAN:
            assert_non_null(fallback);
            assert_int_equal(*(const bool *)place, strcmp(fallback, "true") == 0);
            break;
        case TMB_CLONE_INTEGER: assert_int_equal(*(const int *)place, fallback != NULL ? 0 : -1); break;
        case TMB_CLONE_LENGTH: assert_int_equal(*(const size_t *)place, 0); break;
        case TMB_CLONE_NUMBER:
            if (fallback != NULL) {
                assert_true(*(const double *)place == 0);
            } else if (strcmp(fields[i].name, "max_seconds") != 0) {
                assert_true(*(const double *)place < 0);
            }
            break;
        case TMB_CLONE_LEVEL:
            assert_int_equal(*(const tmb_level_mode *)place, TMB_LEVEL_AUTO);
            assert_int_equal(request.post.level, TMB_LEVEL_AUTO);
            assert_string_equal(fields[i].choices[TMB_LEVEL_OFF], "off");
            assert_null(fields[i].choices[TMB_LEVEL_OFF + 1]);
            break;
        case TMB_CLONE_TEXT:
        case TMB_CLONE_LANGUAGE:
        case TMB_CLONE_SEED:
        case TMB_CLONE_FORMAT:
        default: break;
        }
    }
}

static void test_language_tags(void **state) {
    (void)state;
    static const struct {
        const char *name, *code; /* NULL: not known */
    } cases[] = {
        {NULL, "auto"},        {"", "auto"},          {"auto", "auto"}, {"AUTO", "auto"},      {"Auto", "auto"},
        {"en", "en"},          {"EN", "en"},          {"en-US", "en"},  {"en_US", "en"},       {"en-us", "en"},
        {"en_GB.UTF-8", "en"}, {"de_DE@euro", "de"},  {"zh-CN", "zh"},  {"zh-Hans-CN", "zh"},  {"ZH_hant_TW", "zh"},
        {"cmn-Hans", "zh"},    {"pt-BR", "pt"},       {"pt_br", "pt"},  {"fr-CA-x-own", "fr"}, {"English", "en"},
        {"GERMAN", "de"},      {"ja-JP", "ja"},       {"ko", "ko"},     {"it-IT", "it"},       {"klingon", NULL},
        {"xx", NULL},          {"en-", NULL},         {"-en", NULL},    {"en US", NULL},       {"e", NULL},
        {"eng", "en"},         {"ENG-US", "en"},      {"deu", "de"},    {"ger", "de"},         {"zho", "zh"},
        {"chi", "zh"},         {"fre", "fr"},         {"fra", "fr"},    {"und", "auto"},       {"engl", NULL},
        {"nld", NULL},         {"por_BR", "pt"},      {"jp", NULL},     {"yue", NULL},         {"zh-yue", "zh"},
        {"english-US", NULL},  {"en-\xc3\xa9", NULL}, {"nl", NULL},     {"th", NULL},          {" ", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const tmb_language *found = tmb_language_find(cases[i].name);
        if ((found == NULL) != (cases[i].code == NULL) || (found != NULL && strcmp(found->code, cases[i].code) != 0)) {
            fail_msg("\"%s\" is %s", cases[i].name, found != NULL ? found->code : "not known");
        }
    }
    assert_string_equal(tmb_language_by_tag("th-TH")->name, "Thai");
    assert_string_equal(tmb_language_by_tag("nl")->name, "Dutch");
    assert_string_equal(tmb_language_by_tag("dut")->name, "Dutch");
    /* The list in messages is the table's. */
    char list[128] = "";
    const tmb_language *language;
    for (size_t i = 0; (language = tmb_language_at(i)) != NULL; i++) {
        if (language->common) {
            (void)strncat(list, list[0] != '\0' ? ", " : "", sizeof list - strlen(list) - 1);
            (void)strncat(list, language->code, sizeof list - strlen(list) - 1);
        }
    }
    assert_string_equal(list, TMB_LANGUAGES);
}

/* The official package's two switches: each takes the likeliest of one network, whatever the temperature says. */
static void test_switches_of_drawing(void **state) {
    (void)state;
    for (int k = 0; k < 4; k++) {
        tmb_clone_request public;
        tmb_item_request request;
        tmb_speak_request speak;
        tmb_error error = {0};
        tmb_clone_request_default(&public);
        assert_true(public.do_sample && public.subtalker_dosample);
        public.text = "Hi.";
        public.ref_audio = "a.wav";
        public.temperature = 0.7;
        public.do_sample = (k & 1) == 0;
        public.subtalker_dosample = (k & 2) == 0;
        assert_ok(tmb_item_request_copy(&public, true, &request, &error), error);
        tmb_item_request_speak(&request, &speak);
        assert_false(speak.greedy);
        assert_true(speak.temperature == ((k & 1) == 0 ? 0.7 : 0));
        assert_true((k & 2) == 0 ? speak.subtalker_temperature < 0 : speak.subtalker_temperature == 0);
        tmb_item_request_free(&request);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_language_tags),
        cmocka_unit_test(test_switches_of_drawing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
