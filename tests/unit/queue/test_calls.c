/* Calls on a shared store: what a worker says to a server that waits, and whether that listens. */
#include "test.h"

#include "faults.h"
#include "store_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const tmb_taking any = {.lease_seconds = 100};

static void end(fixture *at, tmb_delivery *item) {
    assert_int_equal(tmb_store_item_finish(at->store, item, TMB_ITEM_FAILED, "{}", NULL), TMB_STORE_OK);
    free(item->request);
}

/* What a call says comes once and in order; calls go before jobs, and are in no list. */
static void test_calls(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"request"};
    tmb_new_job wanted = {.label = "", .requests = requests, .count = 1};
    tmb_job_info job;
    tmb_job_info call;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    wanted.call_seconds = 100;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &call), TMB_STORE_OK);
    assert_int_equal(tmb_store_job_get(at->store, call.id, &job), TMB_STORE_NOT_FOUND);
    tmb_delivery item;
    tmb_taking how = {.lease_seconds = 100, .calls_only = true};
    assert_int_equal(tmb_store_item_take(at->store, &how, &item), TMB_STORE_OK);
    assert_string_equal(item.job, call.id);
    assert_true(item.is_call);
    tmb_delivery other;
    assert_int_equal(tmb_store_item_take(at->store, &how, &other), TMB_STORE_NOT_FOUND);
    tmb_call_audience audience;
    tmb_call_words first = {.number = 1, .kind = "audio", .data = "a\0b", .size = 3};
    tmb_call_words second = {.number = 2, .kind = "audio", .data = "c", .size = 1};
    assert_int_equal(tmb_store_call_send(at->store, &item, &first, &audience), TMB_STORE_OK);
    assert_int_equal(tmb_store_call_send(at->store, &item, &second, &audience), TMB_STORE_OK);
    /* What was sent already is not there twice. */
    assert_int_equal(tmb_store_call_send(at->store, &item, &second, &audience), TMB_STORE_OK);
    assert_int_equal(audience.waiting, 2);
    assert_int_equal(tmb_store_item_finish(at->store, &item, TMB_ITEM_DONE, "result", NULL), TMB_STORE_OK);
    static const struct {
        const char *kind, *data;
        size_t size;
    } expected[] = {{"audio", "a\0b", 3}, {"audio", "c", 1}, {"done", "result", 6}};
    tmb_call_place place = {.kept = 0};
    tmb_call_piece piece;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(tmb_store_call_receive(at->store, call.id, &place, 1, &piece), TMB_STORE_OK);
        assert_string_equal(piece.kind, expected[i].kind);
        assert_int_equal(piece.number, i < 2 ? i + 1 : 0);
        assert_int_equal(piece.size, expected[i].size);
        assert_memory_equal(piece.data, expected[i].data, expected[i].size);
        free(piece.data);
    }
    assert_int_equal(tmb_store_call_receive(at->store, call.id, &place, 0.01, &piece), TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_job_remove(at->store, call.id), TMB_STORE_OK);
    tmb_call_words late = {.number = 3, .kind = "audio", .data = "late", .size = 4};
    assert_int_equal(tmb_store_call_send(at->store, &item, &late, &audience), TMB_STORE_NOT_FOUND);
    free(item.request);
}

/* What hurries is not on the disk: a server that dies before it is read has lost it, and the numbers say so. */
static void test_calls_that_hurry(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"request"};
    tmb_new_job wanted = {.label = "", .requests = requests, .count = 1, .call_seconds = 100};
    tmb_job_info call;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &call), TMB_STORE_OK);
    tmb_delivery item;
    assert_int_equal(tmb_store_item_take(at->store, &any, &item), TMB_STORE_OK);
    tmb_call_place place = {.kept = 0};
    tmb_call_piece piece;
    tmb_call_audience audience;
    for (uint64_t number = 1; number <= 4; number++) {
        tmb_call_words words = {.number = number, .kind = "audio", .data = "a", .size = 1, .hurries = number <= 2};
        assert_int_equal(tmb_store_call_send(at->store, &item, &words, &audience), TMB_STORE_OK);
    }
    kill_redis();
    start_redis();
    uint64_t heard = 0;
    while (tmb_store_call_receive(at->store, call.id, &place, 0.01, &piece) == TMB_STORE_OK) {
        assert_true(piece.number == heard + 1 || (heard == 0 && piece.number == 3));
        heard = piece.number;
        free(piece.data);
    }
    assert_int_equal(heard, 4);
    assert_int_equal(tmb_store_job_remove(at->store, call.id), TMB_STORE_OK);
    free(item.request);
}

static void forget_listener(const tmb_job_info *call) {
    char command[100];
    (void)snprintf(command, sizeof command, "del {timbre}:heard:%s", call->id);
    redis_cli(command);
}

/* A call that nobody listens to is not taken, whatever waits before it; one that is taken says so. */
static void test_listening(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"request"};
    tmb_new_job wanted = {.label = "", .requests = requests, .count = 1, .call_seconds = 100};
    tmb_job_info calls[7];
    tmb_delivery item;
    tmb_call_audience audience;
    const tmb_call_words words = {.number = 1, .kind = "audio", .data = "a", .size = 1};
    for (size_t i = 0; i < 7; i++) { /* more than are on the stream at a time */
        assert_int_equal(tmb_store_job_add(at->store, &wanted, &calls[i]), TMB_STORE_OK);
    }
    for (size_t i = 0; i < 6; i++) {
        forget_listener(&calls[i]);
    }
    assert_int_equal(tmb_store_item_take(at->store, &any, &item), TMB_STORE_OK);
    assert_string_equal(item.job, calls[6].id);
    assert_true(item.seconds_left > 0 && item.seconds_left <= 101);
    end(at, &item);
    assert_int_equal(tmb_store_item_take(at->store, &any, &item), TMB_STORE_NOT_FOUND);
    assert_true(item.again_seconds > 0);
    assert_int_equal(tmb_store_calls_listening(at->store, (const char(*)[TMB_STORE_ID])(const void *)calls[3].id, 1),
                     TMB_STORE_OK);
    assert_int_equal(tmb_store_item_take(at->store, &any, &item), TMB_STORE_OK);
    assert_string_equal(item.job, calls[3].id);
    assert_int_equal(tmb_store_call_send(at->store, &item, &words, &audience), TMB_STORE_OK);
    assert_true(audience.listens);
    forget_listener(&calls[3]);
    assert_int_equal(tmb_store_call_send(at->store, &item, &words, &audience), TMB_STORE_OK);
    assert_false(audience.listens);
    end(at, &item);
}

static const store_test tests[] = {
    STORE_TEST(test_calls),
    {.name = "test_calls_that_hurry", .run = test_calls_that_hurry, .alone = true},
    {.name = "test_listening", .run = test_listening, .alone = true},
};

int main(int argc, char **argv) {
    return run_store_tests(argc, argv, "redis-folder", tests, sizeof tests / sizeof tests[0]);
}
