/* What becomes of bytes in a shared store when nobody needs them, or somebody needs them again. */
#include "test.h"

#include "faults.h"
#include "queue/redis/shared.h"
#include "store_fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Bytes of two files that nobody needs any more are removed, one after the other. While the first goes, all claims end
 * and somebody stores the second one's bytes: they stay. */
static struct {
    fixture *at;
    tmb_store_status (*remove)(tmb_contents *contents, const char *sum);
    tmb_store *other;
    char sums[2][TMB_SUM_SIZE], kept[TMB_STORE_ID];
    int removed;
} slowly;

static void keep(fixture *at, tmb_store *store, const char *bytes, char id[TMB_STORE_ID]) {
    char path[TMB_STORE_PATH];
    tmb_file_info info = {.name = "speech", .content_type = "audio/wav"};
    write_temporary(at, bytes, path);
    assert_int_equal(tmb_store_result_adopt(store, path, &info), TMB_STORE_OK);
    (void)snprintf(id, TMB_STORE_ID, "%s", info.id);
}

static tmb_store_status remove_slowly(tmb_contents *contents, const char *sum) {
    static const char *const bytes[] = {"one", "two"};
    if (slowly.removed++ == 0) {
        int other = strcmp(sum, slowly.sums[0]) == 0;
        redis_cli(
            "eval \"for _, key in ipairs(redis.call('keys', '{timbre}:claim:*')) do redis.call('del', key) end\" 0");
        keep(slowly.at, slowly.other, bytes[other], slowly.kept);
    }
    return slowly.remove(contents, sum);
}

static void test_claims_that_end(void **state) {
    fixture *at = *state;
    static const char *const requests[] = {"a", "b"};
    static const char *const bytes[] = {"one", "two"};
    tmb_new_job wanted = {.label = "", .requests = requests, .count = 2};
    tmb_job_info job;
    tmb_file_info info;
    char path[TMB_STORE_PATH];
    char id[TMB_STORE_ID];
    uint64_t size = 0;
    int descriptor = -1;
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    for (int i = 0; i < 2; i++) {
        tmb_delivery item = take_one(at);
        write_temporary(at, bytes[i], path);
        assert_int_equal(tmb_contents_sum(&at->logger, path, slowly.sums[i], &size), TMB_STORE_OK);
        keep(at, at->store, bytes[i], id);
        assert_int_equal(tmb_store_item_finish(at->store, &item, TMB_ITEM_DONE, "{}", id), TMB_STORE_OK);
        free(item.request);
    }
    slowly.at = at;
    slowly.other = second_worker(at, 1000);
    tmb_contents *contents = tmb_shared_of(at->store)->contents;
    slowly.remove = contents->remove;
    contents->remove = remove_slowly;
    assert_int_equal(tmb_store_job_remove(at->store, job.id), TMB_STORE_OK);
    assert_int_equal(slowly.removed, 1);
    assert_int_equal(tmb_store_file_open(slowly.other, slowly.kept, &descriptor, &info), TMB_STORE_OK);
    (void)close(descriptor);
    assert_int_equal(count_contents(at), 1);
    tmb_store_close(&slowly.other);
}

/* A deletion that runs out of time leaves the rest to the sweep, and to whoever stores the same bytes meanwhile. */
static void test_deletion_out_of_time(void **state) {
    fixture *at = *state;
    tmb_shared *store = tmb_shared_of(at->store);
    char id[TMB_STORE_ID];
    redisReply *reply = NULL;
    keep(at, at->store, "bytes", id);
    assert_int_equal(tmb_redis_run(store->redis, TMB_SCRIPT_FILE_REMOVE, &reply, "s", id), TMB_STORE_OK);
    assert_true(tmb_shared_delete(store, reply, 1, 0));
    assert_int_equal(count_contents(at), 1);
    keep(at, at->store, "bytes", id);
    assert_true(tmb_shared_delete(store, reply, 1, INFINITY));
    assert_int_equal(count_contents(at), 1);
    freeReplyObject(reply);
    assert_int_equal(tmb_store_file_remove(at->store, id), TMB_STORE_OK);
    assert_int_equal(count_contents(at), 0);
}

static int64_t time_to_live(tmb_shared *store) {
    redisReply *reply = NULL;
    tmb_arguments arguments = {.count = 0};
    tmb_arguments_list(&arguments, "ss", "TTL", TMB_REDIS_PREFIX "bytes:abc");
    assert_int_equal(tmb_redis_command(store->redis, &arguments, &reply), TMB_STORE_OK);
    int64_t seconds = tmb_reply_integer(reply);
    freeReplyObject(reply);
    return seconds;
}

/* With the script that names a voice its bytes in Redis stay for ever, whatever becomes of who asked for it. */
static void test_bytes_of_voices_stay(void **state) {
    tmb_shared *store = tmb_shared_of(((fixture *)*state)->store);
    static const struct {
        tmb_redis_script script;
        const char *arguments[12];
    } kept[] = {{TMB_SCRIPT_VOICE_ADD, {"anna", "id", "audio/wav", "en", "", "0", "0", "0", "3", "1", "abc", "0"}},
                {TMB_SCRIPT_PREPARED_KEEP, {"anna", "id", "model", "abc", "3", "0"}}};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        tmb_arguments arguments = {.count = 0};
        redisReply *reply = NULL;
        redis_cli("set {timbre}:bytes:abc abc ex 1000");
        assert_true(time_to_live(store) > 0);
        for (size_t k = 0; k < 12 && kept[i].arguments[k] != NULL; k++) {
            tmb_arguments_text(&arguments, kept[i].arguments[k]);
        }
        assert_int_equal(tmb_redis_eval(store->redis, kept[i].script, &arguments, &reply), TMB_STORE_OK);
        assert_int_equal(tmb_reply_status(reply), TMB_STORE_OK);
        freeReplyObject(reply);
        assert_int_equal(time_to_live(store), -1);
    }
}

static const store_test tests[] = {
    STORE_TEST(test_deletion_out_of_time),
    STORE_TEST(test_bytes_of_voices_stay),
    {.name = "test_claims_that_end", .run = test_claims_that_end, .alone = true},
};

int main(int argc, char **argv) {
    return run_store_tests(argc, argv, "redis-folder", tests, sizeof tests / sizeof tests[0]);
}
