#include "test.h"

#include "base/thread.h"
#include "pipeline/budget.h"

#include <string.h>

static void count_grant(void *user) { ++*(int *)user; }

static void test_fits_now_later_never(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_budget budget;
    tmb_budget_init(&budget, 100, NULL, NULL);
    int granted = 0;
    bool now = false;
    tmb_ticket first = {.granted = count_grant, .user = &granted};
    tmb_ticket second = first;
    tmb_ticket third = first;
    assert_ok(tmb_budget_request(&budget, &first, 70, 0, "a model", &now, &error), error);
    assert_true(now);
    assert_ok(tmb_budget_request(&budget, &second, 60, 0, "a sequence", &now, &error), error);
    assert_false(now);
    /* It would fit, but it came later. */
    assert_ok(tmb_budget_request(&budget, &third, 10, 0, "a sequence", &now, &error), error);
    assert_false(now);
    assert_int_equal(granted, 0);
    assert_int_equal(tmb_budget_request(&budget, &third, 101, 0, "a sequence", &now, &error), TMB_ERROR_MEMORY);
    assert_non_null(strstr(error.message, "101 bytes"));
    assert_non_null(strstr(error.message, "100 bytes"));
    tmb_budget_release(&budget, 70);
    assert_int_equal(granted, 2);
    uint64_t total = 0;
    uint64_t reserved = 0;
    tmb_budget_read(&budget, &total, &reserved);
    assert_int_equal(total, 100);
    assert_int_equal(reserved, 70);
    tmb_budget_deinit(&budget);
}

static void test_never_fits_beside_its_model(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_budget budget;
    tmb_ticket ticket = {0};
    bool now = false;
    tmb_budget_init(&budget, 3u << 30, NULL, NULL);
    assert_int_equal(tmb_budget_request(&budget, &ticket, 2u << 30, 2u << 30, "this item", &now, &error),
                     TMB_ERROR_MEMORY);
    assert_non_null(strstr(error.message, "2.0 GiB"));
    assert_non_null(strstr(error.message, "3.0 GiB"));
    assert_int_equal(tmb_budget_request(&budget, &ticket, UINT64_MAX, 2, "this item", &now, &error), TMB_ERROR_MEMORY);
    tmb_budget_deinit(&budget);
}

static void test_withdraw_lets_the_next_in(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_budget budget;
    int granted = 0;
    bool now = false;
    tmb_budget_init(&budget, 100, NULL, NULL);
    tmb_ticket tickets[4];
    for (int i = 0; i < 4; i++) {
        tickets[i] = (tmb_ticket){.granted = count_grant, .user = &granted};
    }
    assert_ok(tmb_budget_request(&budget, &tickets[0], 80, 0, "a", &now, &error), error);
    assert_ok(tmb_budget_request(&budget, &tickets[1], 90, 0, "b", &now, &error), error);
    assert_ok(tmb_budget_request(&budget, &tickets[2], 15, 0, "c", &now, &error), error);
    assert_ok(tmb_budget_request(&budget, &tickets[3], 30, 0, "d", &now, &error), error);
    assert_true(tmb_budget_withdraw(&budget, &tickets[1]));
    assert_int_equal(granted, 1);
    assert_false(tmb_budget_withdraw(&budget, &tickets[2])); /* it has its bytes */
    assert_true(tmb_budget_withdraw(&budget, &tickets[3]));  /* the last in the queue */
    bool later = true;
    assert_ok(tmb_budget_request(&budget, &tickets[3], 5, 0, "e", &later, &error), error);
    assert_true(later);
    tmb_budget_deinit(&budget);
}

static void test_grow_never_waits(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_budget budget;
    tmb_budget_init(&budget, 100, NULL, NULL);
    assert_ok(tmb_budget_reserve(&budget, 60, 0, "speech", NULL, &error), error);
    assert_ok(tmb_budget_grow(&budget, 40, "speech", &error), error);
    assert_int_equal(tmb_budget_grow(&budget, 1, "speech", &error), TMB_ERROR_MEMORY);
    assert_non_null(strstr(error.message, "speech"));
    tmb_budget_deinit(&budget);
}

typedef struct idle_model {
    tmb_budget *budget;
    uint64_t bytes;
} idle_model;

static void unload(void *user) {
    idle_model *model = user;
    uint64_t bytes = model->bytes;
    model->bytes = 0;
    tmb_budget_release(model->budget, bytes);
}

/* What is idle makes room for what is needed. */
static void test_reclaim(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_budget budget;
    idle_model model = {.budget = &budget, .bytes = 80};
    tmb_budget_init(&budget, 100, unload, &model);
    assert_ok(tmb_budget_reserve(&budget, 80, 0, "a model", NULL, &error), error);
    assert_ok(tmb_budget_reserve(&budget, 90, 0, "another model", NULL, &error), error);
    assert_int_equal(model.bytes, 0);
    model.bytes = 90;
    assert_ok(tmb_budget_grow(&budget, 20, "speech", &error), error);
    tmb_budget_deinit(&budget);
}

typedef struct blocked_caller {
    tmb_budget *budget;
    atomic_bool stop;
    tmb_status status;
} blocked_caller;

static void *reserve_and_wait(void *argument) {
    blocked_caller *caller = argument;
    caller->status = tmb_budget_reserve(caller->budget, 50, 0, "a model", &caller->stop, NULL);
    return NULL;
}

static void wait_for_waiter(tmb_budget *budget) {
    for (bool waiting = false; !waiting;) {
        (void)pthread_mutex_lock(&budget->lock);
        waiting = budget->first != NULL;
        (void)pthread_mutex_unlock(&budget->lock);
        (void)sched_yield();
    }
}

/* Whoever could make room hears of every ticket that waits, and of none that does not. */
static void test_tells_that_a_ticket_waits(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_budget budget;
    int told = 0;
    tmb_budget_init(&budget, 100, NULL, &told);
    tmb_budget_tell(&budget, count_grant);
    tmb_ticket first = {0};
    tmb_ticket second = {0};
    bool now = false;
    assert_ok(tmb_budget_request(&budget, &first, 70, 0, "a model", &now, &error), error);
    assert_int_equal(told, 0);
    assert_ok(tmb_budget_request(&budget, &second, 60, 0, "a sequence", &now, &error), error);
    assert_int_equal(told, 1);
    assert_true(tmb_budget_withdraw(&budget, &second));
    const atomic_bool stop = true;
    assert_int_equal(tmb_budget_reserve(&budget, 40, 0, "a model", &stop, &error), TMB_ERROR_CANCELLED);
    assert_int_equal(told, 2);
    tmb_budget_deinit(&budget);
}

static void test_blocking_reservation(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_budget budget;
    tmb_budget_init(&budget, 100, NULL, NULL);
    for (int round = 0; round < 2; round++) {
        assert_ok(tmb_budget_reserve(&budget, 80, 0, "a model", NULL, &error), error);
        blocked_caller caller = {.budget = &budget};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, reserve_and_wait, &caller), 0);
        wait_for_waiter(&budget);
        if (round == 0) {
            tmb_budget_release(&budget, 80);
        } else {
            atomic_store(&caller.stop, true);
            tmb_budget_wake(&budget);
        }
        (void)pthread_join(thread, NULL);
        assert_int_equal(caller.status, round == 0 ? TMB_OK : TMB_ERROR_CANCELLED);
        tmb_budget_release(&budget, round == 0 ? 50 : 80);
    }
    uint64_t total = 0;
    uint64_t reserved = 1;
    tmb_budget_read(&budget, &total, &reserved);
    assert_int_equal(reserved, 0);
    tmb_budget_deinit(&budget);
}

/* What waits for more than a pool has that shrinks is told so, and what is behind it comes next. */
static void test_shrinks_below_what_waits(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_budget budget;
    tmb_budget_init(&budget, 85, NULL, NULL);
    assert_ok(tmb_budget_reserve(&budget, 40, 0, "a model", NULL, &error), error);
    blocked_caller caller = {.budget = &budget};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, reserve_and_wait, &caller), 0);
    wait_for_waiter(&budget);
    int granted = 0;
    bool now = true;
    tmb_ticket behind = {.granted = count_grant, .user = &granted};
    assert_ok(tmb_budget_request(&budget, &behind, 5, 0, "a sequence", &now, &error), error);
    assert_false(now);
    tmb_budget_resize(&budget, 49);
    (void)pthread_join(thread, NULL);
    assert_int_equal(caller.status, TMB_ERROR_MEMORY);
    assert_int_equal(granted, 1);
    uint64_t total = 0, reserved = 0;
    tmb_budget_read(&budget, &total, &reserved);
    assert_int_equal(total, 49);
    assert_int_equal(reserved, 45);
    tmb_budget_deinit(&budget);
}

static void test_default(void **state) {
    (void)state;
    uint64_t bytes = tmb_budget_default();
    assert_true(bytes > 16u << 20);
    assert_true(bytes < (uint64_t)1 << 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fits_now_later_never),
        cmocka_unit_test(test_never_fits_beside_its_model),
        cmocka_unit_test(test_withdraw_lets_the_next_in),
        cmocka_unit_test(test_grow_never_waits),
        cmocka_unit_test(test_reclaim),
        cmocka_unit_test(test_tells_that_a_ticket_waits),
        cmocka_unit_test(test_blocking_reservation),
        cmocka_unit_test(test_shrinks_below_what_waits),
        cmocka_unit_test(test_default),
    };
    return cmocka_run_group_tests_name("budget", tests, NULL, NULL);
}
