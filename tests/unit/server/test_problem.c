/* Why a request is refused: paths of fields come back whole, from whichever check they are. */
#include "test.h"

#include "server/fields.h"
#include "server/item.h"

#include <string.h>

#define LONG_NAME "a_field_of_an_item_whose_name_by_itself_has_sixty_characters"

static const tmb_field inner[] = {{.name = LONG_NAME, .kind = TMB_FIELD_INTEGER, .minimum = 0, .maximum = 9},
                                  {.name = NULL}};
static const tmb_field outer[] = {{.name = "items", .kind = TMB_FIELD_ITEMS, .maximum = 1000, .fields = inner},
                                  {.name = NULL}};

/* A body with `count` items, of which the last one is `last`. */
static json_t *body_with(size_t count, json_t *last) {
    json_t *items = json_array();
    for (size_t i = 0; i + 1 < count; i++) {
        assert_int_equal(json_array_append_new(items, json_object()), 0);
    }
    assert_int_equal(json_array_append_new(items, last), 0);
    return json_pack("{s:o}", "items", items);
}

static void test_nested_field(void **state) {
    (void)state;
    const tmb_server_config config = {.max_items = 1000};
    tmb_problem problem = {.status = 0};
    json_t *body = body_with(124, json_pack("{s:s}", LONG_NAME, "x"));
    assert_true(strlen("items[123]." LONG_NAME) > 47);
    assert_true(tmb_fields_settle(outer, body, &problem));
    assert_false(tmb_fields_check(outer, &config, body, true, &problem));
    assert_int_equal(problem.status, 400);
    assert_string_equal(problem.field, "items[123]." LONG_NAME);
    assert_string_equal(problem.message, "must be an integer");
    json_decref(body);
}

/* The longest name that is told of a field that there is not. */
static void test_unknown_nested_field(void **state) {
    (void)state;
    const tmb_server_config config = {.max_items = 1000};
    tmb_problem problem = {.status = 0};
    json_t *body = body_with(1000, json_pack("{s:i}", LONG_NAME "four", 1));
    assert_false(tmb_fields_check(outer, &config, body, true, &problem));
    assert_string_equal(problem.field, "items[999]." LONG_NAME "four");
    assert_int_equal(problem.status, 400);
    json_decref(body);
}

/* What an item's own checks find reaches the client under a path of the same length. */
static void test_item_of_a_job(void **state) {
    (void)state;
    tmb_problem problem = {.status = 0};
    assert_false(tmb_problem_set(&problem, LONG_NAME, 503, "has %d of %s", 3, "them"));
    assert_string_equal(problem.field, LONG_NAME);
    assert_false(tmb_problem_within(&problem, "items", 12345));
    assert_string_equal(problem.field, "items[12345]." LONG_NAME);
    assert_string_equal(problem.message, "has 3 of them");
    assert_int_equal(problem.status, 503);
    assert_false(tmb_problem_say(&problem, 400, "is not there"));
    assert_string_equal(problem.field, "items[12345]." LONG_NAME);
    assert_int_equal(problem.status, 400);
    assert_false(tmb_problem_set(&problem, NULL, 400, "is empty"));
    assert_string_equal(problem.field, "");
}

/* The lists of a request disagree: the count's check names the list in the same struct. */
static void test_count(void **state) {
    (void)state;
    tmb_problem problem = {.status = 0};
    json_t *body = json_pack("{s:[s,s,s], s:[s,s]}", "text", "a", "b", "c", "ref_text", "d", "e");
    assert_int_equal(tmb_item_count(body, &problem), 0);
    assert_int_equal(problem.status, 400);
    assert_string_equal(problem.field, "ref_text");
    assert_string_equal(problem.message, "has 2 elements but text has 3");
    json_decref(body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nested_field),
        cmocka_unit_test(test_unknown_nested_field),
        cmocka_unit_test(test_item_of_a_job),
        cmocka_unit_test(test_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
