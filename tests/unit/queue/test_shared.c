/* What only a shared store has, and what it does while its server says nothing or has no memory. */
#include "test.h"

#include "faults.h"
#include "queue/redis/shared.h"
#include "store_fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Nothing answers: a call ends by its deadline and says that it may work later. It does. */
static void test_silence(void **state) {
    fixture *at = *state;
    size_t queued = 0;
    size_t running = 0;
    hold_redis(true);
    assert_int_equal(tmb_store_item_counts(at->store, &queued, &running), TMB_STORE_BUSY);
    hold_redis(false);
    assert_int_equal(tmb_store_item_counts(at->store, &queued, &running), TMB_STORE_OK);
}

/* Without memory new work is refused for now; what runs can end. */
static void test_full_memory(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"request"};
    tmb_new_job wanted = {.label = "", .requests = requests, .count = 1};
    tmb_job_info job;
    tmb_job_info more;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    tmb_delivery item = take_one(at);
    redis_cli("config set maxmemory 1");
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &more), TMB_STORE_FULL);
    assert_int_equal(tmb_store_item_renew(at->store, &item, 100), TMB_STORE_OK);
    assert_int_equal(tmb_store_item_finish(at->store, &item, TMB_ITEM_FAILED, "failed", NULL), TMB_STORE_OK);
    redis_cli("config set maxmemory 0");
    assert_int_equal(tmb_store_job_get(at->store, job.id, &job), TMB_STORE_OK);
    assert_int_equal(job.items[TMB_ITEM_FAILED], 1);
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &more), TMB_STORE_OK);
    free(item.request);
}

/* An item that lost its worker is counted, buried, and put back by hand. */
static void test_dead_letters(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"request"};
    tmb_new_job wanted = {.label = "", .requests = requests, .count = 1};
    tmb_job_info job;
    tmb_dead_letter *letters = NULL;
    size_t count = 0;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    for (unsigned i = 0; i < 3; i++) {
        tmb_delivery item = take_one(at);
        assert_int_equal(item.attempts, i);
        assert_int_equal(tmb_store_item_renew(at->store, &item, -1), TMB_STORE_OK);
        free(item.request);
    }
    tmb_delivery item = take_one(at);
    /* To give it back says nothing against it. */
    assert_int_equal(tmb_store_item_give_back(at->store, &item, false), TMB_STORE_OK);
    free(item.request);
    item = take_one(at);
    assert_int_equal(item.attempts, 3);
    assert_int_equal(tmb_store_item_bury(at->store, &item, "{}", "it kills"), TMB_STORE_OK);
    assert_int_equal(tmb_store_item_bury(at->store, &item, "{}", "it kills"), TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_job_get(at->store, job.id, &job), TMB_STORE_OK);
    assert_int_equal(job.items[TMB_ITEM_FAILED], 1);
    assert_true(job.finished > 0);
    assert_int_equal(tmb_store_dead_list(at->store, 10, &letters, &count), TMB_STORE_OK);
    assert_int_equal(count, 1);
    assert_string_equal(letters[0].job, job.id);
    assert_string_equal(letters[0].reason, "it kills");
    assert_int_equal(letters[0].attempts, 3);
    assert_int_equal(tmb_store_dead_end(at->store, "nonsense", true), TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_dead_end(at->store, letters[0].id, true), TMB_STORE_OK);
    assert_int_equal(tmb_store_dead_end(at->store, letters[0].id, true), TMB_STORE_NOT_FOUND);
    free(letters);
    assert_int_equal(tmb_store_job_get(at->store, job.id, &job), TMB_STORE_OK);
    assert_true(job.finished <= 0 && job.items[TMB_ITEM_QUEUED] == 1);
    free(item.request);
    item = take_one(at);
    assert_int_equal(item.attempts, 0);
    assert_int_equal(tmb_store_item_finish(at->store, &item, TMB_ITEM_FAILED, "{}", NULL), TMB_STORE_OK);
    free(item.request);
}

/* Labels that an item needs: it is left to others, in whatever order they come. */
static void test_needs(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"for gpu", "for all", "for both"};
    static const char *const needs[] = {"gpu", "", "gpu,eu"};
    tmb_new_job wanted = {.label = "", .requests = requests, .needs = needs, .count = 3};
    tmb_job_info job;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    tmb_delivery item = take_one(at);
    assert_string_equal(item.request, "for all");
    free(item.request);
    tmb_taking how = {.lease_seconds = 100};
    assert_int_equal(tmb_store_item_take(at->store, &how, &item), TMB_STORE_NOT_FOUND);
    at->labels = "gpu";
    reopen(at);
    item = take_one(at);
    assert_string_equal(item.request, "for gpu");
    free(item.request);
    assert_int_equal(tmb_store_item_take(at->store, &how, &item), TMB_STORE_NOT_FOUND);
    at->labels = "eu, gpu";
    reopen(at);
    item = take_one(at);
    assert_string_equal(item.request, "for both");
    free(item.request);
}

static int64_t stream_length(fixture *at, const char *stream) {
    redisReply *reply = NULL;
    tmb_arguments arguments = {.count = 0};
    tmb_arguments_list(&arguments, "ss", "XLEN", stream);
    assert_int_equal(tmb_redis_command(tmb_shared_of(at->store)->redis, &arguments, &reply), TMB_STORE_OK);
    int64_t length = tmb_reply_integer(reply);
    freeReplyObject(reply);
    return length;
}

/* Whoever starts workers by a stream's lag sees what waits when the job goes that had the one entry there. */
static void test_removed_job_before_others(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"a", "b"};
    static const struct {
        const char *needs[2], *streams[2];
    } cases[] = {
        {{"", ""}, {TMB_REDIS_PREFIX "work:jobs", TMB_REDIS_PREFIX "work:jobs"}},
        {{"gpu", "?model=large"}, {TMB_REDIS_PREFIX "work:jobs:gpu", TMB_REDIS_PREFIX "work:jobs:model=Large"}}};
    at->labels = "model=Large";
    reopen(at);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tmb_new_job wanted = {.label = "", .requests = requests, .needs = cases[i].needs, .count = 2};
        tmb_job_info first;
        tmb_job_info second;
        assert_int_equal(tmb_store_job_add(at->store, &wanted, &first), TMB_STORE_OK);
        assert_int_equal(tmb_store_job_add(at->store, &wanted, &second), TMB_STORE_OK);
        assert_int_equal(tmb_store_job_remove(at->store, first.id), TMB_STORE_OK);
        for (size_t k = 0; k < 2; k++) {
            assert_true(stream_length(at, cases[i].streams[k]) >= 1);
        }
        assert_int_equal(tmb_store_job_remove(at->store, second.id), TMB_STORE_OK);
        for (size_t k = 0; k < 2; k++) {
            assert_int_equal(stream_length(at, cases[i].streams[k]), 0);
        }
    }
}

/* "?model=NAME" is a need if somebody has, or had today, that model, however it is spelled; otherwise any will do. */
static void test_models(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"for large", "for nobody's", "for large and eu"};
    static const char *const needs[] = {"?model=large", "?model=tts-1", "eu,?model=LARGE"};
    tmb_new_job wanted = {.label = "", .requests = requests, .needs = needs, .count = 3};
    tmb_job_info job;
    at->labels = "model=Large";
    reopen(at);
    at->labels = "model=small";
    reopen(at);
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    tmb_delivery item = take_one(at);
    assert_string_equal(item.request, "for nobody's");
    free(item.request);
    tmb_taking how = {.lease_seconds = 100};
    assert_int_equal(tmb_store_item_take(at->store, &how, &item), TMB_STORE_NOT_FOUND);
    at->labels = "model=Large,eu";
    reopen(at);
    for (int i = 0; i < 2; i++) {
        item = take_one(at);
        assert_string_not_equal(item.request, "for nobody's");
        free(item.request);
    }
}

/* An item that is too large for a worker goes to one that has more memory, if there is one. */
static void test_memory(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"large"};
    static const char *const needs[] = {"eu"};
    tmb_new_job wanted = {.label = "", .requests = requests, .needs = needs, .count = 1};
    tmb_job_info job;
    tmb_taking how = {.lease_seconds = 100};
    tmb_delivery item;
    at->labels = "memory=9000"; /* it lacks the other label */
    reopen(at);
    at->labels = "eu, memory=1000";
    reopen(at);
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    item = take_one(at);
    assert_int_equal(tmb_store_item_pass_on(at->store, &item, 1000), TMB_STORE_FULL);
    at->labels = "eu, memory=2000";
    reopen(at);
    assert_int_equal(tmb_store_item_pass_on(at->store, &item, 1000), TMB_STORE_OK);
    assert_int_equal(tmb_store_item_pass_on(at->store, &item, 1000), TMB_STORE_NOT_FOUND);
    free(item.request);
    at->labels = "eu, memory=1000";
    reopen(at);
    assert_int_equal(tmb_store_item_take(at->store, &how, &item), TMB_STORE_NOT_FOUND);
    at->labels = "eu, memory=2000";
    reopen(at);
    item = take_one(at);
    assert_string_equal(item.request, "large");
    assert_int_equal(item.attempts, 0);
    assert_int_equal(tmb_store_item_pass_on(at->store, &item, 2000), TMB_STORE_FULL);
    assert_int_equal(tmb_store_item_finish(at->store, &item, TMB_ITEM_FAILED, "{}", NULL), TMB_STORE_OK);
    free(item.request);
}

static tmb_store_status take_from(tmb_store *store, tmb_delivery *out) {
    tmb_taking how = {.lease_seconds = 100, .idle = true};
    return tmb_store_item_take(store, &how, out);
}

static void end(tmb_store *store, tmb_delivery *item) {
    assert_int_equal(tmb_store_item_finish(store, item, TMB_ITEM_FAILED, "{}", NULL), TMB_STORE_OK);
    free(item->request);
}

/* A worker that was unable to run an item leaves it to one that may be able to, and has it again if there is none. */
static void test_unable(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"one", "two"};
    tmb_new_job wanted = {.label = "", .requests = requests, .count = 2};
    tmb_job_info job;
    tmb_delivery item;
    at->labels = "eu";
    reopen(at);
    tmb_store *other = second_worker(at, 0);
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    assert_int_equal(take_from(at->store, &item), TMB_STORE_OK);
    assert_string_equal(item.request, "one");
    assert_int_equal(tmb_store_item_give_back(at->store, &item, true), TMB_STORE_OK);
    free(item.request);
    assert_int_equal(take_from(at->store, &item), TMB_STORE_OK);
    assert_string_equal(item.request, "two");
    end(at->store, &item);
    assert_int_equal(take_from(at->store, &item), TMB_STORE_NOT_FOUND);
    assert_true(item.again_seconds > 0);
    assert_int_equal(take_from(other, &item), TMB_STORE_OK);
    assert_string_equal(item.request, "one");
    assert_int_equal(item.returned, 1);
    assert_int_equal(item.attempts, 0);
    /* Both have been unable: either may try again. */
    assert_int_equal(tmb_store_item_give_back(other, &item, true), TMB_STORE_OK);
    free(item.request);
    assert_int_equal(take_from(at->store, &item), TMB_STORE_OK);
    assert_int_equal(item.returned, 2);
    end(at->store, &item);
    /* The other one ends. */
    wanted.count = 1;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    assert_int_equal(take_from(at->store, &item), TMB_STORE_OK);
    assert_int_equal(tmb_store_item_give_back(at->store, &item, true), TMB_STORE_OK);
    free(item.request);
    assert_int_equal(take_from(at->store, &item), TMB_STORE_NOT_FOUND);
    tmb_store_close(&other);
    assert_int_equal(take_from(at->store, &item), TMB_STORE_OK);
    end(at->store, &item);
}

static double oldest_seconds(fixture *at) {
    tmb_store_figures figures;
    assert_true(tmb_store_measure(at->store, &figures));
    return figures.oldest;
}

/* The age of the oldest job or call, wherever its items are, as long as one of them is not ended. */
static void test_age_of_the_oldest(void **state) {
    enum { most = 50, taken = 10 };
    fixture *at = *state;
    const char *requests[most];
    tmb_new_job wanted = {.label = "", .requests = requests, .count = most};
    tmb_job_info old;
    tmb_job_info job;
    tmb_job_info call;
    for (size_t i = 0; i < most; i++) {
        requests[i] = "request";
    }
    assert_true(oldest_seconds(at) <= 0);
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &old), TMB_STORE_OK);
    (void)nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    wanted.count = 1;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    wanted.call_seconds = 100;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &call), TMB_STORE_OK);
    for (int i = 0; i < taken; i++) {
        tmb_delivery item = take_one(at);
        end(at->store, &item);
    }
    assert_true(oldest_seconds(at) > 0.29);
    assert_int_equal(tmb_store_job_remove(at->store, old.id), TMB_STORE_OK);
    assert_true(oldest_seconds(at) <= 0);         /* the others have ended */
    redis_cli("zadd {timbre}:unfinished 1 gone"); /* an older version has removed it */
    assert_true(oldest_seconds(at) <= 0);
    /* An item that is queued again waits from then on. */
    wanted.call_seconds = 0;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    tmb_delivery item = take_one(at);
    assert_int_equal(tmb_store_item_bury(at->store, &item, "{}", "it kills"), TMB_STORE_OK);
    free(item.request);
    assert_true(oldest_seconds(at) <= 0);
    tmb_dead_letter *letters = NULL;
    size_t count = 0;
    assert_int_equal(tmb_store_dead_list(at->store, 1, &letters, &count), TMB_STORE_OK);
    assert_int_equal(tmb_store_dead_end(at->store, letters[0].id, true), TMB_STORE_OK);
    free(letters);
    assert_true(oldest_seconds(at) > 0);
}

/* A larger worker that has ended is not counted on, and what it had been left does not wait for it for ever. */
static void test_memory_that_left(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"large"};
    tmb_new_job wanted = {.label = "", .requests = requests, .count = 1};
    tmb_job_info job;
    tmb_taking how = {.lease_seconds = 100};
    tmb_delivery item;
    at->labels = "memory=1000";
    reopen(at);
    at->labels = "memory=2000";
    tmb_store *larger = second_worker(at, 0);
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    item = take_one(at);
    assert_int_equal(tmb_store_item_pass_on(at->store, &item, 1000), TMB_STORE_OK);
    free(item.request);
    assert_int_equal(tmb_store_item_take(at->store, &how, &item), TMB_STORE_NOT_FOUND);
    tmb_store_close(&larger);
    /* It may come back. */
    assert_int_equal(tmb_store_item_take(at->store, &how, &item), TMB_STORE_NOT_FOUND);
    redis_cli("zadd {timbre}:workers 1 memory=2000");
    item = take_one(at);
    assert_string_equal(item.request, "large");
    assert_int_equal(tmb_store_item_pass_on(at->store, &item, 1000), TMB_STORE_FULL);
    assert_int_equal(tmb_store_item_finish(at->store, &item, TMB_ITEM_FAILED, "{}", NULL), TMB_STORE_OK);
    free(item.request);
}

/* An item goes to the worker that knows its voice if that has nothing to do, and only once; otherwise to any. */
static void test_voices_that_are_known(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"a", "b"};
    static const char *const voices[] = {"voice:anna", "voice:anna"};
    tmb_new_job wanted = {.label = "", .requests = requests, .voices = voices, .count = 1};
    tmb_job_info job;
    tmb_delivery item;
    tmb_store *other = second_worker(at, 1000);
    add_voice(at, "anna", "voice");
    /* Nobody knows it yet, and the other one asks first. */
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    assert_int_equal(take_from(other, &item), TMB_STORE_OK);
    end(other, &item);
    /* It does something else, as far as anybody knows: the first one takes what comes. */
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    assert_int_equal(take_from(at->store, &item), TMB_STORE_OK);
    end(at->store, &item);
    /* Now the first one knows it, and both have nothing to do. */
    assert_int_equal(take_from(at->store, &item), TMB_STORE_NOT_FOUND);
    assert_int_equal(take_from(other, &item), TMB_STORE_NOT_FOUND);
    wanted.count = 2;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    assert_int_equal(take_from(other, &item), TMB_STORE_OK);
    assert_string_equal(item.request, "b");
    end(other, &item);
    assert_int_equal(take_from(other, &item), TMB_STORE_NOT_FOUND);
    assert_true(item.again_seconds > 900);
    assert_int_equal(take_from(at->store, &item), TMB_STORE_OK);
    assert_string_equal(item.request, "a");
    assert_int_equal(tmb_store_item_renew(at->store, &item, 100), TMB_STORE_OK);
    end(at->store, &item);
    tmb_store_close(&other);
}

/* What the worker that knows the voice may not have is not put aside for it. */
static void test_known_voice_and_another_need(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"a"};
    static const char *const voices[] = {"voice:anna"};
    static const char *const needs[] = {"gpu"};
    tmb_new_job wanted = {.label = "", .requests = requests, .voices = voices, .count = 1};
    tmb_job_info job;
    tmb_delivery item;
    at->labels = "gpu";
    tmb_store *other = second_worker(at, 1000);
    add_voice(at, "anna", "voice");
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    assert_int_equal(take_from(at->store, &item), TMB_STORE_OK);
    end(at->store, &item);
    assert_int_equal(take_from(at->store, &item), TMB_STORE_NOT_FOUND);
    wanted.needs = needs;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    assert_int_equal(take_from(other, &item), TMB_STORE_OK);
    end(other, &item);
    tmb_store_close(&other);
}

/* Two were put aside for a worker that cannot take them: the one that another took does not hide the second. */
static void test_voices_one_behind_the_other(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"a"};
    static const char *const voices[] = {"voice:anna"};
    static const char *const needs[] = {"gpu"};
    tmb_new_job wanted = {.label = "", .requests = requests, .voices = voices, .count = 1};
    tmb_job_info job;
    tmb_delivery items[2];
    at->labels = "gpu";
    reopen(at);
    tmb_store *other = second_worker(at, 0);
    add_voice(at, "anna", "voice");
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    assert_int_equal(take_from(at->store, &items[0]), TMB_STORE_OK);
    end(at->store, &items[0]);
    wanted.needs = needs;
    for (int i = 0; i < 2; i++) {
        /* It has nothing to do, and takes nothing: somebody stopped it there. */
        redis_cli("eval \"redis.call('zadd', '{timbre}:idle', redis.call('time')[1], "
                  "redis.call('get', redis.call('keys', '{timbre}:knows:*')[1]))\" 0");
        assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(take_from(other, &items[i]), TMB_STORE_OK);
    }
    for (int i = 0; i < 2; i++) {
        end(other, &items[i]);
    }
    tmb_store_close(&other);
}

/* One that does not come for it in time, or dies while it has it, loses it to others. */
static void test_voices_whose_worker_is_gone(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"a"};
    static const char *const voices[] = {"voice:anna"};
    tmb_new_job wanted = {.label = "", .requests = requests, .voices = voices, .count = 1};
    tmb_job_info job;
    tmb_delivery item;
    tmb_delivery again;
    tmb_store *other = second_worker(at, 0);
    add_voice(at, "anna", "voice");
    for (int round = 0; round < 3; round++) {
        assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
        assert_int_equal(take_from(at->store, &item), TMB_STORE_OK);
        end(at->store, &item);
        assert_int_equal(take_from(at->store, &item), TMB_STORE_NOT_FOUND);
        assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
        if (round == 0) { /* it does not come */
            assert_int_equal(take_from(other, &again), TMB_STORE_OK);
            assert_int_equal(again.attempts, 0);
            assert_int_equal(take_from(at->store, &item), TMB_STORE_NOT_FOUND);
            end(other, &again);
        } else if (round == 1) { /* it comes, and dies */
            tmb_taking brief = {.lease_seconds = -1};
            assert_int_equal(tmb_store_item_take(at->store, &brief, &item), TMB_STORE_OK);
            assert_int_equal(take_from(other, &again), TMB_STORE_OK);
            assert_int_equal(again.attempts, 1);
            assert_int_equal(tmb_store_item_renew(at->store, &item, 100), TMB_STORE_NOT_FOUND);
            end(other, &again);
            free(item.request);
        } else { /* the job is removed */
            assert_int_equal(tmb_store_job_remove(at->store, job.id), TMB_STORE_OK);
            assert_int_equal(take_from(other, &again), TMB_STORE_NOT_FOUND);
            assert_int_equal(take_from(at->store, &again), TMB_STORE_NOT_FOUND);
        }
    }
    size_t queued = 1;
    size_t running = 1;
    assert_int_equal(tmb_store_item_counts(at->store, &queued, &running), TMB_STORE_OK);
    assert_int_equal(queued + running, 0);
    tmb_store_close(&other);
}

/* What was put aside for a worker that ends is on the stream again, even if no other worker is there. */
static void test_voices_whose_worker_ends(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"a"};
    static const char *const voices[] = {"voice:anna"};
    static const char *const needs[] = {"gpu"};
    tmb_new_job wanted = {.label = "", .requests = requests, .voices = voices, .needs = needs, .count = 1};
    tmb_job_info job;
    tmb_delivery item;
    add_voice(at, "anna", "voice");
    at->labels = "gpu";
    tmb_store *other = second_worker(at, 1000);
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    assert_int_equal(take_from(other, &item), TMB_STORE_OK);
    end(other, &item);
    assert_int_equal(take_from(other, &item), TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    assert_int_equal(stream_length(at, TMB_REDIS_PREFIX "work:jobs:gpu"), 0);
    tmb_store_close(&other);
    assert_int_equal(stream_length(at, TMB_REDIS_PREFIX "work:jobs:gpu"), 1);
    /* Nobody else waits for the one that has ended to take it. */
    other = second_worker(at, 1000);
    assert_int_equal(take_from(other, &item), TMB_STORE_OK);
    assert_int_equal(item.attempts, 0);
    end(other, &item);
    tmb_store_close(&other);
}

enum { askers = 14 };

static void *ask(void *argument) {
    fixture *at = argument;
    size_t queued = 0;
    size_t running = 0;
    return tmb_store_item_counts(at->store, &queued, &running) == TMB_STORE_OK ? at : NULL;
}

/* A server that ends has broken every connection that is kept: the next command works all the same. */
static void test_restart_with_many_connections(void **state) {
    fixture *at = *state;
    pthread_t threads[askers];
    hold_redis(true); /* so that each has a connection of its own */
    for (int i = 0; i < askers; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask, at), 0);
    }
    (void)nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    hold_redis(false);
    for (int i = 0; i < askers; i++) {
        void *answer = NULL;
        assert_int_equal(pthread_join(threads[i], &answer), 0);
        assert_non_null(answer);
    }
    kill_redis();
    start_redis();
    assert_non_null(ask(at));
}

/* Items that were put aside for others and that this worker may not have do not hide one that it may. */
static void test_aside_behind_others(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"a"};
    static const char *const voices[] = {"voice:anna"};
    tmb_new_job wanted = {.label = "", .requests = requests, .voices = voices, .count = 1};
    tmb_job_info job;
    tmb_delivery item;
    tmb_store *other = second_worker(at, 0);
    add_voice(at, "anna", "voice");
    redis_cli("eval \"for i = 10, 19 do local own = 'gpu@' .. i .. string.rep('a', 30); "
              "redis.call('xadd', '{timbre}:work:jobs:' .. own, '*', 'job', 'x', 'item', '0'); "
              "redis.call('zadd', '{timbre}:aside', '1', 'jobs:' .. own) end\" 0");
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    assert_int_equal(take_from(at->store, &item), TMB_STORE_OK);
    end(at->store, &item);
    assert_int_equal(take_from(at->store, &item), TMB_STORE_NOT_FOUND);
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    assert_int_equal(take_from(other, &item), TMB_STORE_OK);
    end(other, &item);
    tmb_store_close(&other);
}

static const store_test tests[] = {
    STORE_TEST(test_dead_letters),
    STORE_TEST(test_memory_that_left),
    STORE_TEST(test_unable),
    STORE_TEST(test_known_voice_and_another_need),
    STORE_TEST(test_needs),
    STORE_TEST(test_removed_job_before_others),
    STORE_TEST(test_age_of_the_oldest),
    STORE_TEST(test_models),
    STORE_TEST(test_memory),
    STORE_TEST(test_voices_that_are_known),
    STORE_TEST(test_voices_one_behind_the_other),
    STORE_TEST(test_voices_whose_worker_is_gone),
    STORE_TEST(test_voices_whose_worker_ends),
    {.name = "test_restart_with_many_connections", .run = test_restart_with_many_connections, .alone = true},
    STORE_TEST(test_aside_behind_others),
    {.name = "test_silence", .run = test_silence, .alone = true},
    {.name = "test_full_memory", .run = test_full_memory, .alone = true},
};

int main(int argc, char **argv) {
    return run_store_tests(argc, argv, "redis-folder", tests, sizeof tests / sizeof tests[0]);
}
