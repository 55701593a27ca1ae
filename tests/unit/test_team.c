/* A team does every part exactly once, whatever the number of threads, parts and CPUs. */
#include "test.h"

#include "base/memory.h"
#include "base/team.h"
#include "base/thread.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct tally {
    unsigned char *done; /* [parts], written by one thread each */
    int parts;
    atomic_int calls;
    atomic_bool wrong_parts;
} tally;

static void mark(void *argument, int part, int parts) {
    tally *counts = argument;
    if (parts != counts->parts || part < 0 || part >= parts) {
        atomic_store(&counts->wrong_parts, true);
        return;
    }
    counts->done[part]++;
    (void)atomic_fetch_add_explicit(&counts->calls, 1, memory_order_relaxed);
}

static void run_and_check(tmb_team *team, int parts) {
    tally counts = {.done = tmb_calloc((size_t)parts, 1), .parts = parts};
    assert_non_null(counts.done);
    if (parts == tmb_team_threads(team)) {
        tmb_team_run(team, mark, &counts);
    } else {
        tmb_team_run_parts(team, parts, mark, &counts);
    }
    assert_false(atomic_load(&counts.wrong_parts));
    assert_int_equal(atomic_load(&counts.calls), parts);
    for (int part = 0; part < parts; part++) {
        assert_int_equal(counts.done[part], 1);
    }
    free(counts.done);
}

static void test_every_part_once(void **state) {
    (void)state;
    static const int threads[] = {1, 2, 3, 9};
    for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
        tmb_team *team = NULL;
        tmb_error error = {0};
        assert_ok(tmb_team_create(threads[t], &team, &error), error);
        assert_int_equal(tmb_team_threads(team), threads[t]);
        for (int run = 0; run < 500; run++) {
            run_and_check(team, threads[t]);
            run_and_check(team, 1 + run % 40);
        }
        run_and_check(team, TMB_TEAM_PARTS_MAX);
        tmb_team_destroy(&team);
        assert_null(team);
    }
    run_and_check(NULL, 1);
    run_and_check(NULL, 5);
}

/* The workers have gone to sleep between the runs, and the caller sleeps at the end of one. */
static void sleep_in_last_part(void *argument, int part, int parts) {
    atomic_int *calls = argument;
    if (part == parts - 1) {
        struct timespec pause = {.tv_nsec = 3000000};
        (void)nanosleep(&pause, NULL);
    }
    (void)atomic_fetch_add(calls, 1);
}

static void test_sleepers_wake(void **state) {
    (void)state;
    tmb_team *team = NULL;
    tmb_error error = {0};
    assert_ok(tmb_team_create(3, &team, &error), error);
    for (int run = 0; run < 20; run++) {
        atomic_int calls = 0;
        tmb_team_run(team, sleep_in_last_part, &calls);
        assert_int_equal(atomic_load(&calls), 3);
        struct timespec pause = {.tv_nsec = 1000000};
        (void)nanosleep(&pause, NULL);
    }
    tmb_team_destroy(&team);
}

static void test_bad_sizes(void **state) {
    (void)state;
    static const int wrong[] = {-1, 0, 257};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tmb_team *team = NULL;
        tmb_error error = {0};
        assert_int_equal(tmb_team_create(wrong[i], &team, &error), TMB_ERROR_ARGUMENT);
        assert_null(team);
        assert_non_null(strstr(error.message, "1 to 256"));
    }
    tmb_team *none = NULL;
    tmb_team_destroy(&none);
}

static void test_shares(void **state) {
    (void)state;
    for (size_t count = 0; count < 70; count++) {
        for (size_t unit = 1; unit <= 16; unit *= 4) {
            for (int parts = 1; parts < 6; parts++) {
                assert_int_equal(tmb_team_begin(count, unit, 0, parts), 0);
                assert_int_equal(tmb_team_begin(count, unit, parts, parts), count);
                for (int part = 0; part < parts; part++) {
                    size_t begin = tmb_team_begin(count, unit, part, parts);
                    size_t end = tmb_team_begin(count, unit, part + 1, parts);
                    assert_true(begin <= end);
                    assert_true(begin % unit == 0 || begin == count);
                    assert_true(end - begin <= (count / unit / (size_t)parts + 2) * unit);
                }
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_part_once),
        cmocka_unit_test(test_sleepers_wake),
        cmocka_unit_test(test_bad_sizes),
        cmocka_unit_test(test_shares),
    };
    return cmocka_run_group_tests_name("team", tests, NULL, NULL);
}
