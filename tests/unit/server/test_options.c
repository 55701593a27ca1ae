/* The table of the server's options: no row leaves out what the others say, none is another's. */
#include "test.h"

#include "base/text.h"
#include "server/config.h"

#include <string.h>

static void check_range(const tmb_server_option *option) {
    uint64_t bytes = 0;
    double value = -1;
    if (option->kind == TMB_OPTION_SECONDS) {
        assert_true(tmb_parse_seconds(option->fallback, &value));
    } else {
        assert_true(tmb_parse_bytes(option->fallback, &bytes));
        value = (double)bytes;
    }
    if (!(option->minimum < option->maximum && value >= option->minimum && value <= option->maximum)) {
        fail_msg("--%s: its default %s is not from %g to %g", option->name, option->fallback, option->minimum,
                 option->maximum);
    }
}

static void test_rows_are_whole(void **state) {
    (void)state;
    for (size_t i = 0; i < tmb_server_option_count; i++) {
        const tmb_server_option *option = &tmb_server_option_table[i];
        const bool is_switch = option->kind == TMB_OPTION_SWITCH;
        assert_true(option->name != NULL && option->name[0]);
        if (option->help == NULL || !option->help[0] || option->fallback == NULL ||
            (option->argument == NULL) != is_switch) {
            fail_msg("--%s: help, default or argument is missing", option->name);
        }
        if (is_switch) {
            assert_string_equal(option->fallback, "no");
        } else if (option->kind != TMB_OPTION_TEXT) {
            check_range(option);
        }
        /* A separator is of a list, and choices of a text. */
        assert_true(option->repeats || option->separator == 0);
        assert_true(option->choices == NULL || option->kind == TMB_OPTION_TEXT);
        assert_true(option->choices == NULL || strstr(option->choices, option->fallback) != NULL);
    }
}

static void test_rows_are_different(void **state) {
    (void)state;
    for (size_t i = 0; i < tmb_server_option_count; i++) {
        const tmb_server_option *option = &tmb_server_option_table[i];
        for (size_t k = 0; k < i; k++) {
            const tmb_server_option *other = &tmb_server_option_table[k];
            if (strcmp(option->name, other->name) == 0 || option->offset == other->offset) {
                fail_msg("--%s and --%s have one name or one place", option->name, other->name);
            }
        }
    }
}

/* A worker takes no requests, and a server has every option. */
static void test_whose_they_are(void **state) {
    (void)state;
    static const char *const servers[] = {"keys-file", "max-json-bytes", "need", "cors-origin", "voices", "work"};
    static const char *const both[] = {"host", "port", "queue", "label", "model", "max-batch"};
    size_t found = 0;
    for (size_t i = 0; i < tmb_server_option_count; i++) {
        const tmb_server_option *option = &tmb_server_option_table[i];
        assert_true(tmb_server_option_is_of(option, false));
        for (size_t k = 0; k < sizeof servers / sizeof servers[0]; k++) {
            if (strcmp(option->name, servers[k]) == 0) {
                assert_false(tmb_server_option_is_of(option, true));
                found++;
            } else if (strcmp(option->name, both[k]) == 0) {
                assert_true(tmb_server_option_is_of(option, true));
                found++;
            }
        }
    }
    assert_int_equal(found, sizeof servers / sizeof servers[0] + sizeof both / sizeof both[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_whole),
        cmocka_unit_test(test_rows_are_different),
        cmocka_unit_test(test_whose_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
