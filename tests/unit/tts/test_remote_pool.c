/* The policy of the pool of speech servers, with a clock in hand; and from several threads. */
#include "test.h"
#include "tts/remote/address.h"
#include "tts/remote/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tmb_remote_pool pool;

static void make(size_t count) {
    static const size_t none[TMB_REMOTE_SERVERS];
    tmb_remote_pool_init(&pool, none, count, 1);
}

/* Who is asked at `now`; -1: nobody, -2: full, -3: busy. */
static int pick_but(double now, uint64_t tried) {
    size_t index = 99;
    double at = -1;
    switch (tmb_remote_pool_pick(&pool, now, tried, &index, &at)) {
    case TMB_REMOTE_NOW: return (int)index;
    case TMB_REMOTE_FULL: return -2;
    case TMB_REMOTE_BUSY: assert_true(at > now); return -3;
    default: return -1;
    }
}

static int pick(double now) { return pick_but(now, 0); }

/* A whole request. */
static void speak(size_t index) {
    tmb_remote_pool_speaks(&pool, index);
    tmb_remote_pool_works(&pool, index);
    tmb_remote_pool_ended(&pool, index);
}

static void lose(size_t index, double now) {
    tmb_remote_pool_failed(&pool, index, now);
    tmb_remote_pool_ended(&pool, index);
}

static tmb_remote_state state_of(size_t index) { return tmb_remote_pool_read(&pool, index).state; }

static void least_outstanding_first(void **state) {
    (void)state;
    make(3);
    assert_int_equal(pick(0), 0);
    assert_int_equal(pick(0), 1);
    assert_int_equal(pick(0), 2);
    assert_int_equal(pick(0), 0);
    speak(1);
    assert_int_equal(pick(0), 1); /* the only one with none */
    speak(2);
    assert_int_equal(pick(0), 2);
    speak(0);
    /* All have one: whoever was asked longest ago. */
    assert_int_equal(pick(0), 0);
    assert_int_equal(pick(0), 1);
    assert_int_equal(pick_but(0, 1u << 2), 0);
    assert_int_equal(pick_but(0, 7), -1);
    tmb_remote_pool_deinit(&pool);
}

static void limits(void **state) {
    (void)state;
    const size_t given[] = {1, 2};
    tmb_remote_pool_init(&pool, given, 2, 1);
    assert_int_equal(pick(0), 0);
    assert_int_equal(pick(0), 1);
    assert_int_equal(pick(0), 1);
    assert_int_equal(pick(0), -2);
    assert_int_equal(pick_but(0, 2), -2);
    speak(0);
    assert_int_equal(pick(0), 0);
    assert_int_equal(pick(0), -2);
    tmb_remote_pool_deinit(&pool);
}

static void circuit_opens_and_half_opens(void **state) {
    (void)state;
    size_t due = 99;
    make(2);
    for (int i = 0; i < TMB_REMOTE_FAILURES; i++) {
        assert_int_equal(state_of(0), TMB_REMOTE_UNTRIED);
        assert_int_equal(pick_but(10, 2), 0);
        lose(0, 10);
    }
    assert_int_equal(state_of(0), TMB_REMOTE_DOWN);
    assert_int_equal(pick_but(10, 2), -1);
    assert_int_equal(pick(10), 1);
    assert_int_equal(pick(11.9), 1);
    assert_false(tmb_remote_pool_due(&pool, 11.9, &due));
    /* Due: nobody is sent before the check, but it is worth waiting for. */
    assert_int_equal(pick_but(12, 2), -2);
    assert_true(tmb_remote_pool_due(&pool, 12, &due));
    assert_int_equal(due, 0);
    assert_false(tmb_remote_pool_due(&pool, 12, &due)); /* once */
    assert_int_equal(pick(12), 1);
    tmb_remote_pool_checked(&pool, 0, 12, false);
    assert_int_equal(pick_but(15.9, 2), -1); /* twice as long */
    assert_true(tmb_remote_pool_due(&pool, 16, &due));
    tmb_remote_pool_checked(&pool, 0, 16, true);
    assert_int_equal(state_of(0), TMB_REMOTE_TRIAL);
    assert_int_equal(pick_but(16, 2), 0);
    assert_int_equal(pick_but(16, 2), -2); /* one at a time */
    lose(0, 16);
    assert_int_equal(state_of(0), TMB_REMOTE_DOWN);
    assert_false(tmb_remote_pool_due(&pool, 23.9, &due));
    assert_true(tmb_remote_pool_due(&pool, 24, &due));
    tmb_remote_pool_checked(&pool, 0, 24, true);
    assert_int_equal(pick_but(24, 2), 0);
    tmb_remote_pool_speaks(&pool, 0);
    assert_int_equal(state_of(0), TMB_REMOTE_UP);
    assert_int_equal(pick_but(24, 2), 0);
    /* It breaks off: back to where it was. */
    lose(0, 25);
    assert_int_equal(state_of(0), TMB_REMOTE_DOWN);
    tmb_remote_pool_ended(&pool, 0);
    assert_true(tmb_remote_pool_due(&pool, 41, &due));
    tmb_remote_pool_checked(&pool, 0, 41, true);
    assert_int_equal(pick_but(41, 2), 0);
    speak(0);
    /* After a whole request everything is forgiven: three failures again, and two seconds. */
    for (int i = 0; i < TMB_REMOTE_FAILURES; i++) {
        assert_int_equal(pick_but(50, 2), 0);
        lose(0, 50);
    }
    assert_int_equal(state_of(0), TMB_REMOTE_DOWN);
    assert_true(tmb_remote_pool_due(&pool, 52, &due));
    assert_int_equal(tmb_remote_pool_read(&pool, 0).opened, 5);
    tmb_remote_pool_deinit(&pool);
}

static void waits_have_an_end(void **state) {
    (void)state;
    size_t due = 0;
    double now = 0;
    make(1);
    for (int i = 0; i < TMB_REMOTE_FAILURES; i++) {
        assert_int_equal(pick(now), 0);
        lose(0, now);
    }
    for (int i = 0; i < 20; i++) {
        now += TMB_REMOTE_OPEN_MOST;
        assert_true(tmb_remote_pool_due(&pool, now, &due));
        tmb_remote_pool_checked(&pool, 0, now, false);
    }
    for (int i = 0; i < 20; i++) {
        tmb_remote_pool_is_busy(&pool, 0, now, 0);
        now += TMB_REMOTE_BUSY_MOST;
        assert_true(tmb_remote_pool_read(&pool, 0).busy_until <= now);
    }
    tmb_remote_pool_deinit(&pool);
}

static void success_between_failures(void **state) {
    (void)state;
    make(1);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(pick(0), 0);
        lose(0, 0);
        assert_int_equal(pick(0), 0);
        lose(0, 0);
        assert_int_equal(pick(0), 0);
        speak(0);
    }
    assert_int_equal(state_of(0), TMB_REMOTE_UP);
    assert_int_equal(tmb_remote_pool_read(&pool, 0).failed, 20);
    tmb_remote_pool_deinit(&pool);
}

/* A text on which two servers fail is to blame, and takes neither of them down. */
static void forgiven(void **state) {
    (void)state;
    make(2);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(pick_but(0, 2), 0);
        lose(0, 0);
        tmb_remote_pool_forgive(&pool, 0);
    }
    assert_int_equal(state_of(0), TMB_REMOTE_UNTRIED);
    tmb_remote_pool_forgive(&pool, 1);
    assert_int_equal(tmb_remote_pool_read(&pool, 1).failures, 0);
    tmb_remote_pool_deinit(&pool);
}

static void busy_servers(void **state) {
    (void)state;
    size_t index = 0;
    double at = 0;
    make(2);
    assert_int_equal(pick(0), 0);
    tmb_remote_pool_is_busy(&pool, 0, 0, 5);
    tmb_remote_pool_ended(&pool, 0);
    assert_int_equal(pick(4), 1);
    assert_int_equal(pick(4), 1);
    tmb_remote_pool_is_busy(&pool, 1, 4, 0); /* does not say for how long: one second */
    tmb_remote_pool_is_busy(&pool, 1, 4, 0); /* together with the first: counts once */
    assert_int_equal(tmb_remote_pool_pick(&pool, 4, 0, &index, &at), TMB_REMOTE_BUSY);
    assert_true(at == 5);
    assert_int_equal(tmb_remote_pool_pick(&pool, 4, 2, &index, &at), TMB_REMOTE_BUSY);
    assert_true(at == 5);
    assert_int_equal(pick(5), 0);
    tmb_remote_pool_is_busy(&pool, 1, 5, 0);
    assert_true(tmb_remote_pool_read(&pool, 1).busy_until == 7); /* twice as long */
    speak(0);
    assert_int_equal(pick(6.9), 0);
    tmb_remote_pool_is_busy(&pool, 0, 7, 1e9);
    assert_true(tmb_remote_pool_read(&pool, 0).busy_until == 7 + TMB_REMOTE_BUSY_MOST);
    assert_int_equal(state_of(0), TMB_REMOTE_UP);
    tmb_remote_pool_deinit(&pool);
}

/* A trial whose client leaves tells nothing: the next check is due at once. */
static void trial_without_an_end(void **state) {
    (void)state;
    size_t due = 0;
    make(1);
    for (int i = 0; i < TMB_REMOTE_FAILURES; i++) {
        assert_int_equal(pick(0), 0);
        lose(0, 0);
    }
    assert_true(tmb_remote_pool_due(&pool, 2, &due));
    tmb_remote_pool_unchecked(&pool, 0, 2);
    assert_true(tmb_remote_pool_due(&pool, 2, &due));
    tmb_remote_pool_checked(&pool, 0, 2, true);
    assert_int_equal(pick(2), 0);
    tmb_remote_pool_abandoned(&pool, 0, 3);
    tmb_remote_pool_ended(&pool, 0);
    assert_true(tmb_remote_pool_due(&pool, 3, &due));
    tmb_remote_pool_checked(&pool, 0, 3, true);
    assert_int_equal(pick(3), 0);
    tmb_remote_pool_is_busy(&pool, 0, 3, 1); /* it answers: it lives */
    tmb_remote_pool_ended(&pool, 0);
    assert_int_equal(pick(3), -3);
    assert_int_equal(pick(4), 0);
    tmb_remote_pool_deinit(&pool);
}

static void second_request(void **state) {
    (void)state;
    size_t index = 99;
    const size_t given[] = {0, 1, 1};
    tmb_remote_pool_init(&pool, given, 3, 1);
    assert_int_equal(pick(0), 0);
    assert_true(tmb_remote_pool_pick_second(&pool, 0, 1, &index));
    assert_int_equal(index, 1);
    tmb_remote_pool_is_busy(&pool, 2, 0, 5);
    assert_false(tmb_remote_pool_pick_second(&pool, 0, 1, &index)); /* full, busy */
    assert_true(tmb_remote_pool_pick_second(&pool, 5, 1, &index));
    assert_int_equal(index, 2);
    tmb_remote_pool_deinit(&pool);
}

/* ---- Threads ---- */

static atomic_int under_way[2];
static atomic_int worst[2];

static void *client(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument;
    for (int i = 0; i < 2000; i++) {
        int index = pick(i * 0.001);
        if (index < 0) {
            continue;
        }
        int now = atomic_fetch_add(&under_way[index], 1) + 1;
        int before = atomic_load(&worst[index]);
        while (now > before && !atomic_compare_exchange_weak(&worst[index], &before, now)) {
        }
        seed = seed * 1103515245 + 12345;
        if (seed >> 16 & 1) {
            tmb_remote_pool_speaks(&pool, (size_t)index);
            tmb_remote_pool_works(&pool, (size_t)index);
        }
        (void)tmb_remote_pool_read(&pool, (size_t)index);
        atomic_fetch_sub(&under_way[index], 1);
        tmb_remote_pool_ended(&pool, (size_t)index);
    }
    return NULL;
}

static void several_clients(void **state) {
    (void)state;
    const size_t given[] = {1, 3};
    pthread_t threads[8];
    tmb_remote_pool_init(&pool, given, 2, 1);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, client, (void *)(uintptr_t)(i + 1)), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_true(atomic_load(&worst[i]) <= (int)given[i]);
        assert_int_equal(tmb_remote_pool_read(&pool, i).outstanding, 0);
        assert_true(tmb_remote_pool_read(&pool, i).requests > 0);
    }
    tmb_remote_pool_deinit(&pool);
}

/* ---- Addresses ---- */

static void addresses(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_remote_addresses list;
    assert_int_equal(
        tmb_remote_addresses_parse(" http://a:1#limit=8,https://me:secret@b/v1/ \n http://c/x", &list, &error), TMB_OK);
    assert_int_equal(list.count, 3);
    assert_int_equal(list.list[0].limit, 8);
    assert_string_equal(list.list[0].endpoint, "http://a:1/v1/audio/speech");
    assert_string_equal(list.list[0].health, "http://a:1/health");
    assert_string_equal(list.list[0].shown, "http://a:1");
    assert_int_equal(list.list[1].limit, 0);
    assert_string_equal(list.list[1].endpoint, "https://me:secret@b/v1/audio/speech");
    assert_string_equal(list.list[1].health, "https://me:secret@b/health");
    assert_string_equal(list.list[1].shown, "https://***@b/v1/");
    assert_string_equal(list.list[2].health, "http://c/x/health");
    assert_int_equal(tmb_remote_addresses_room(&list), 8 + 2 * TMB_REMOTE_SEQUENCES);
    tmb_remote_addresses_free(&list);

    static const char *const wrong[] = {"",
                                        " , ",
                                        "http://a,ftp://b",
                                        "http://a#limit=0",
                                        "http://a#limit=",
                                        "http://a#x",
                                        "http://a#limit=8x",
                                        "http://a#limit=99999999999",
                                        "http://a#limit=1025",
                                        "http://a,http://a/",
                                        "http://a#limit=2 http://a/v1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(tmb_remote_addresses_parse(wrong[i], &list, &error), TMB_ERROR_ARGUMENT);
        assert_int_equal(list.count, 0);
        assert_true(error.message[0] != 0);
    }
    char many[4096] = "";
    for (int i = 0; i <= TMB_REMOTE_SERVERS; i++) {
        (void)snprintf(many + strlen(many), sizeof many - strlen(many), "http://h%d ", i);
    }
    assert_int_equal(tmb_remote_addresses_parse(many, &list, &error), TMB_ERROR_ARGUMENT);
    *strrchr(many, 'h') = '\0';
    *strrchr(many, 'h') = '\0';
    assert_int_equal(tmb_remote_addresses_parse(many, &list, &error), TMB_OK);
    assert_int_equal(list.count, TMB_REMOTE_SERVERS);
    tmb_remote_addresses_free(&list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(least_outstanding_first),
        cmocka_unit_test(limits),
        cmocka_unit_test(circuit_opens_and_half_opens),
        cmocka_unit_test(waits_have_an_end),
        cmocka_unit_test(success_between_failures),
        cmocka_unit_test(forgiven),
        cmocka_unit_test(busy_servers),
        cmocka_unit_test(trial_without_an_end),
        cmocka_unit_test(second_request),
        cmocka_unit_test(several_clients),
        cmocka_unit_test(addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
