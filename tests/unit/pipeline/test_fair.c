#include "test.h"

#include "pipeline/fair.h"

#include <string.h>

typedef struct test_entry {
    tmb_fair_entry entry; /* first */
    int number;
} test_entry;

typedef struct test_desk {
    tmb_fair_group *groups;
    tmb_fair_queue queue;
    test_entry entries[256];
    int count;
} test_desk;

static int arrive(test_desk *desk, uint64_t group, int priority) {
    test_entry *entry = &desk->entries[desk->count];
    entry->number = desk->count;
    entry->entry.group = tmb_fair_join(&desk->groups, group);
    assert_non_null(entry->entry.group);
    entry->entry.priority = priority;
    tmb_fair_push(&desk->queue, &entry->entry);
    return desk->count++;
}

static int serve(test_desk *desk) {
    tmb_fair_entry *entry = tmb_fair_take(&desk->queue, NULL, NULL);
    if (entry == NULL) {
        return -1;
    }
    int number = ((test_entry *)entry)->number;
    tmb_fair_leave(&desk->groups, entry->group);
    return number;
}

static void test_groups_take_turns(void **state) {
    (void)state;
    test_desk desk;
    memset(&desk, 0, sizeof desk);
    for (int i = 0; i < 100; i++) {
        (void)arrive(&desk, 1, 0); /* 0 to 99 */
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(serve(&desk), i);
    }
    /* One alone comes late: it waits for one of the hundred at most. */
    int alone = arrive(&desk, 2, 0);
    int first = serve(&desk);
    int second = serve(&desk);
    assert_true(first == alone || second == alone);
    assert_true(first == 3 || second == 3);
    for (int i = 4; i < 100; i++) {
        assert_int_equal(serve(&desk), i);
    }
    assert_int_equal(serve(&desk), -1);
    assert_null(desk.groups);
}

/* Ever newer groups of one do not starve the group of many: `arrivals` of them for every two turns. */
static int serve_among_newcomers(int arrivals) {
    test_desk desk;
    memset(&desk, 0, sizeof desk);
    for (int i = 0; i < 50; i++) {
        (void)arrive(&desk, 1, 0);
    }
    int of_many = 0;
    uint64_t newcomer = 100;
    for (int i = 0; i < 60; i++) {
        for (int k = 0; k < arrivals; k++) {
            (void)arrive(&desk, newcomer++, 0);
        }
        for (int k = 0; k < 2; k++) {
            int served = serve(&desk);
            of_many += served >= 0 && served < 50;
        }
    }
    while (serve(&desk) >= 0) {
    }
    assert_null(desk.groups);
    return of_many;
}

static void test_newcomers_do_not_starve(void **state) {
    (void)state;
    assert_int_equal(serve_among_newcomers(1), 50); /* half of the turns are left for it */
    assert_true(serve_among_newcomers(2) >= 10);    /* more comes than can be served */
}

static void test_priority_first(void **state) {
    (void)state;
    test_desk desk;
    memset(&desk, 0, sizeof desk);
    (void)arrive(&desk, 1, 0);
    (void)arrive(&desk, 1, 5);
    (void)arrive(&desk, 2, -1);
    (void)arrive(&desk, 2, 5);
    (void)arrive(&desk, 1, 5);
    assert_int_equal(serve(&desk), 1);
    assert_int_equal(serve(&desk), 3);
    assert_int_equal(serve(&desk), 4);
    assert_int_equal(serve(&desk), 0);
    assert_int_equal(serve(&desk), 2);
}

static bool is_odd(tmb_fair_entry *entry, void *user) {
    (void)user;
    return ((test_entry *)entry)->number % 2 == 1;
}

/* What is given back is served as if its turn had not come yet. */
static void test_return(void **state) {
    (void)state;
    test_desk desk;
    memset(&desk, 0, sizeof desk);
    for (int i = 0; i < 6; i++) {
        (void)arrive(&desk, 1 + (uint64_t)i % 2, 0); /* 0, 2, 4 and 1, 3, 5 */
    }
    for (int times = 0; times < 3; times++) {
        tmb_fair_entry *entry = tmb_fair_take(&desk.queue, NULL, NULL);
        assert_int_equal(((test_entry *)entry)->number, 0);
        tmb_fair_return(&desk.queue, entry);
    }
    for (int i = 0; i < 5; i++) {
        assert_int_equal(serve(&desk), i);
    }
    tmb_fair_entry *last = tmb_fair_take(&desk.queue, NULL, NULL);
    tmb_fair_return(&desk.queue, last); /* into an empty queue */
    assert_int_equal(desk.queue.count, 1);
    assert_int_equal(serve(&desk), 5);
    assert_int_equal(serve(&desk), -1);
    assert_null(desk.groups);
}

static void test_eligible_and_remove(void **state) {
    (void)state;
    test_desk desk;
    memset(&desk, 0, sizeof desk);
    for (int i = 0; i < 5; i++) {
        (void)arrive(&desk, (uint64_t)i, 0);
    }
    tmb_fair_remove(&desk.queue, &desk.entries[1].entry);
    tmb_fair_leave(&desk.groups, desk.entries[1].entry.group);
    tmb_fair_entry *entry = tmb_fair_take(&desk.queue, is_odd, NULL);
    assert_int_equal(((test_entry *)entry)->number, 3);
    tmb_fair_leave(&desk.groups, entry->group);
    assert_null(tmb_fair_take(&desk.queue, is_odd, NULL));
    assert_int_equal(desk.queue.count, 3);
    assert_int_equal(serve(&desk), 0);
    assert_int_equal(serve(&desk), 2);
    assert_int_equal(serve(&desk), 4);
    assert_null(desk.groups);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups_take_turns),   cmocka_unit_test(test_newcomers_do_not_starve),
        cmocka_unit_test(test_priority_first),      cmocka_unit_test(test_return),
        cmocka_unit_test(test_eligible_and_remove),
    };
    return cmocka_run_group_tests_name("fair", tests, NULL, NULL);
}
