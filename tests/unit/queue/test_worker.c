/* The worker with a trade that does what the test says: everything ends, once, whatever runs out meanwhile. */
#include "test.h"

#include "base/thread.h"
#include "queue/sqlite/database.h"
#include "store_fixture.h"
#include "worker/worker_internal.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Patience for what comes by itself: never reached by what works. */
static const double patience = 120;

/* The time of day as this program reads it jumps by so many seconds; the kernel's own waits know nothing of it. */
static _Atomic(long) jump;
int clock_gettime(clockid_t clock, struct timespec *out) {
    int result = (int)syscall(SYS_clock_gettime, clock, out);
    out->tv_sec += clock == CLOCK_REALTIME ? atomic_load(&jump) : 0;
    return result;
}

/* A store whose audio goes elsewhere, where nobody answers for a while. */
static struct {
    const tmb_blob_operations *blobs;
    const tmb_job_operations *jobs;
    atomic_bool silent, slow, stuck;
    atomic_int refused, renewed, in_vain;
} elsewhere;

static void nap(void) { (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL); }

/* Bytes move for as long as it takes to renew so many leases. */
static void move_slowly(void) {
    int renewed = atomic_load(&elsewhere.renewed);
    for (double end = tmb_now() + patience; atomic_load(&elsewhere.renewed) < renewed + 12; nap()) {
        if (tmb_now() >= end) {
            atomic_fetch_add(&elsewhere.in_vain, 1);
            return;
        }
    }
}

/* What an item does. */
typedef enum deed { SPEAK, FAIL, LATER_TWICE, UNTIL_CANCELLED, WHEN_TOLD, FULL, SHORT, SHORT_ONCE, FETCH } deed;

typedef struct workshop {
    fixture *at;
    tmb_worker *worker;
    atomic_int deed; /* a `deed` */
    atomic_int started, spoken, cancelled, released, later;
    atomic_int tried[8], together;    /* by position; those that began next to another for the second time */
    tmb_worker_run *_Atomic asked[8]; /* to end */
    struct work_state *waiting[4];    /* of WHEN_TOLD */
} workshop;

typedef struct work_state {
    workshop *shop;
    tmb_worker_run *run;
    size_t position;
    char path[TMB_STORE_PATH];
} work_state;

static void speak_now(work_state *item) {
    write_temporary(item->shop->at, "audio", item->path);
    atomic_fetch_add(&item->shop->spoken, 1);
    tmb_worker_ended(item->run, TMB_WORK_DONE);
}

/* The first time there is no memory; the second time nobody else may have begun. */
static void speak_the_second_time(work_state *item) {
    if (atomic_fetch_add(&item->shop->tried[item->position], 1) == 0) {
        tmb_worker_ended(item->run, TMB_WORK_NO_MEMORY);
        return;
    }
    if (atomic_load(&item->shop->started) - atomic_load(&item->shop->released) != 1) {
        atomic_fetch_add(&item->shop->together, 1);
    }
    speak_now(item);
}

static void start(void *user, tmb_worker_run *run, const tmb_delivery *delivery, void **state) {
    workshop *shop = user;
    work_state *item = calloc(1, sizeof *item);
    *state = item;
    item->shop = shop;
    item->run = run;
    item->position = delivery->position;
    if (shop->deed != WHEN_TOLD) {
        atomic_fetch_add(&shop->started, 1);
    }
    switch ((deed)atomic_load(&shop->deed)) {
    case SPEAK: speak_now(item); break;
    case SHORT: tmb_worker_ended(run, TMB_WORK_NO_MEMORY); break;
    case SHORT_ONCE: speak_the_second_time(item); break;
    case WHEN_TOLD: shop->waiting[atomic_fetch_add(&shop->started, 1)] = item; break;
    case FAIL: tmb_worker_ended(run, TMB_WORK_FAILED); break;
    case LATER_TWICE:
        if (atomic_fetch_add(&shop->later, 1) < 2) {
            tmb_worker_ended(run, TMB_WORK_LATER);
            break;
        }
        tmb_worker_ended(run, TMB_WORK_FAILED);
        break;
    case FULL: tmb_worker_ended(run, TMB_WORK_NO_ROOM); break;
    case FETCH:
        move_slowly();
        speak_now(item);
        break;
    default: break;
    }
}

static void cancel(void *user, void *state) {
    workshop *shop = user;
    work_state *item = state;
    int place = atomic_fetch_add(&shop->cancelled, 1);
    assert_true(place < 8);
    atomic_store(&shop->asked[place], item->run);
}

static const char *audio(void *user, void *state, tmb_file_info *info) {
    (void)user;
    work_state *item = state;
    memset(info, 0, sizeof *info);
    (void)snprintf(info->name, sizeof info->name, "speech");
    (void)snprintf(info->content_type, sizeof info->content_type, "audio/wav");
    return item->path;
}

static char *describe(void *user, void *state, const tmb_file_info *info, const char *problem) {
    (void)user;
    (void)state;
    return strdup(info != NULL ? "spoken" : problem != NULL ? problem : "failed");
}

static char *describe_dead(void *user, const tmb_delivery *delivery, const char *problem) {
    (void)user;
    (void)delivery;
    return strdup(problem);
}

static void release(void *user, void *state) {
    workshop *shop = user;
    work_state *item = state;
    if (item->path[0]) {
        (void)unlink(item->path);
    }
    free(item);
    atomic_fetch_add(&shop->released, 1);
}

static void begin_work_for(workshop *shop, double full_seconds, double lease_seconds) {
    tmb_error error;
    tmb_worker_trade trade = {.user = shop,
                              .start = start,
                              .cancel = cancel,
                              .audio = audio,
                              .describe = describe,
                              .describe_dead = describe_dead,
                              .release = release};
    tmb_worker_options options = {.capacity = 4,
                                  .rest_seconds = 0.02,
                                  .full_seconds = full_seconds,
                                  .lease_seconds = lease_seconds,
                                  .logger = &shop->at->logger};
    assert_ok(tmb_worker_start(shop->at->store, &trade, &options, &shop->worker, &error), error);
}

static void begin_work(workshop *shop, double full_seconds) { begin_work_for(shop, full_seconds, 60); }

static tmb_job_info add_job(fixture *at, size_t count) {
    tmb_job_info job;
    const char **requests = calloc(count, sizeof *requests);
    for (size_t i = 0; i < count; i++) {
        requests[i] = "request";
    }
    tmb_new_job wanted = {.label = "", .requests = requests, .count = count};
    assert_int_equal(tmb_store_job_add(at->store, &wanted, &job), TMB_STORE_OK);
    free(requests);
    return job;
}

static tmb_job_info wait_job(fixture *at, const char *id) {
    tmb_job_info job;
    for (double end = tmb_now() + patience; tmb_now() < end; nap()) {
        assert_int_equal(tmb_store_job_get(at->store, id, &job), TMB_STORE_OK);
        if (job.finished > 0) {
            return job;
        }
    }
    fail_msg("not finished: %zu queued, %zu running", job.items[TMB_ITEM_QUEUED], job.items[TMB_ITEM_RUNNING]);
    return job;
}

static void wait_count(atomic_int *counter, int least) {
    for (double end = tmb_now() + patience; tmb_now() < end && atomic_load(counter) < least; nap()) {
    }
    assert_true(atomic_load(counter) >= least);
}

static void test_all_end_once(void **state) {
    workshop shop = {.at = *state};
    tmb_job_info job = add_job(shop.at, 20);
    begin_work(&shop, 10);
    tmb_job_info second = add_job(shop.at, 20);
    assert_int_equal(wait_job(shop.at, job.id).items[TMB_ITEM_DONE], 20);
    assert_int_equal(wait_job(shop.at, second.id).items[TMB_ITEM_DONE], 20);
    tmb_worker_stop(&shop.worker);
    assert_int_equal(atomic_load(&shop.spoken), 40);
    assert_int_equal(atomic_load(&shop.released), 40);
    assert_int_equal(count_entries(shop.at, "files"), 40);
    assert_int_equal(count_entries(shop.at, "tmp"), 0);
}

static void test_failures_and_rests(void **state) {
    workshop shop = {.at = *state, .deed = LATER_TWICE};
    tmb_job_info job = add_job(shop.at, 3);
    begin_work(&shop, 10);
    assert_int_equal(wait_job(shop.at, job.id).items[TMB_ITEM_FAILED], 3);
    tmb_worker_stop(&shop.worker);
    assert_int_equal(atomic_load(&shop.started), 5);
}

/* The worker's hands are full of items that wait for this. The others speak at once. */
static void speak(workshop *shop) {
    shop->deed = SPEAK;
    for (int i = 0; i < 4; i++) {
        work_state *item = shop->waiting[i];
        write_temporary(shop->at, "audio", item->path);
        atomic_fetch_add(&shop->spoken, 1);
        tmb_worker_ended(item->run, TMB_WORK_DONE);
    }
}

/* Another program has the database locked while items end: nothing is lost, nothing is done twice, and readers do not
 * wait. */
static void test_locked_database(void **state) {
    workshop shop = {.at = *state, .deed = WHEN_TOLD};
    char path[128];
    sqlite3 *other = NULL;
    tmb_job_info job = add_job(shop.at, 30);
    (void)snprintf(path, sizeof path, "%s/state.db", shop.at->folder);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    begin_work(&shop, 10);
    wait_count(&shop.started, 4);
    (void)sqlite3_busy_timeout(other, (int)(patience * 1000));
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    /* Longer than a writer waits for it, so that takes, results and leases fail. */
    const char *seconds = getenv("TIMBRE_FULL_TESTS") != NULL ? "60" : "5";
    double end = tmb_now() + strtod(seconds, NULL);
    speak(&shop);
    while (tmb_now() < end) {
        tmb_job_info now;
        assert_int_equal(tmb_store_job_get(shop.at->store, job.id, &now), TMB_STORE_OK);
        assert_true(now.items[TMB_ITEM_DONE] == 0);
        nap();
    }
    assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(other);
    assert_int_equal(wait_job(shop.at, job.id).items[TMB_ITEM_DONE], 30);
    tmb_worker_stop(&shop.worker);
    assert_int_equal(atomic_load(&shop.spoken), 30);
    assert_int_equal(count_entries(shop.at, "files"), 30);
}

/* 0: as many as it likes. */
static void limit_pages(fixture *at, int64_t pages) {
    tmb_sqlite *store = tmb_sqlite_of(at->store);
    assert_int_equal(tmb_sqlite_write_begin(store), TMB_STORE_OK);
    int64_t now = 0;
    char sql[64];
    (void)snprintf(sql, sizeof sql, "PRAGMA max_page_count=%lld", (long long)(pages ? pages : 1 << 30));
    assert_int_equal(tmb_database_number(&store->writer, &now, sql, ""), TMB_STORE_OK);
    tmb_sqlite_write_end(store);
}

/* The database cannot grow while items end. Later it can. */
static void test_full_database(void **state) {
    workshop shop = {.at = *state, .deed = WHEN_TOLD};
    tmb_job_info job = add_job(shop.at, 200);
    begin_work(&shop, patience);
    wait_count(&shop.started, 4);
    limit_pages(shop.at, 1);
    speak(&shop);
    tmb_job_info now;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(tmb_store_job_get(shop.at->store, job.id, &now), TMB_STORE_OK);
        nap();
    }
    assert_true(now.finished == 0);
    limit_pages(shop.at, 0);
    assert_int_equal(wait_job(shop.at, job.id).items[TMB_ITEM_DONE], 200);
    tmb_worker_stop(&shop.worker);
    assert_int_equal(atomic_load(&shop.spoken), 200);
    assert_int_equal(count_entries(shop.at, "files"), 200);
}

/* A disk that stays full is waited for, but not for ever. */
static void test_disk_that_stays_full(void **state) {
    workshop shop = {.at = *state, .deed = FULL};
    tmb_job_info job = add_job(shop.at, 5);
    begin_work(&shop, 0.2);
    assert_int_equal(wait_job(shop.at, job.id).items[TMB_ITEM_FAILED], 5);
    tmb_worker_stop(&shop.worker);
    assert_true(atomic_load(&shop.started) > 5);
}

static void test_cancel(void **state) {
    workshop shop = {.at = *state, .deed = UNTIL_CANCELLED};
    tmb_job_info job = add_job(shop.at, 4);
    begin_work(&shop, 10);
    wait_count(&shop.started, 4);
    assert_int_equal(tmb_store_job_remove(shop.at->store, job.id), TMB_STORE_OK);
    wait_count(&shop.cancelled, 4);
    assert_int_equal(tmb_worker_running(shop.worker), 4); /* they were asked to, they have not ended yet */
    for (int i = 0; i < 4; i++) {
        tmb_worker_run *run = NULL;
        while ((run = atomic_load(&shop.asked[i])) == NULL) {
            nap();
        }
        tmb_worker_ended(run, TMB_WORK_CANCELLED);
    }
    wait_count(&shop.released, 4);
    tmb_worker_stop(&shop.worker);
}

/* Too little memory at the moment: an item is tried again when nothing else runs. */
static void test_short_of_memory(void **state) {
    workshop shop = {.at = *state, .deed = SHORT_ONCE};
    begin_work(&shop, 10);
    tmb_job_info job = add_job(shop.at, 6);
    assert_int_equal(wait_job(shop.at, job.id).items[TMB_ITEM_DONE], 6);
    assert_int_equal(atomic_load(&shop.started), 12);
    assert_int_equal(atomic_load(&shop.together), 0);
    /* It is still too little then. */
    atomic_store(&shop.deed, SHORT);
    atomic_store(&shop.started, 0);
    job = add_job(shop.at, 2);
    assert_int_equal(wait_job(shop.at, job.id).items[TMB_ITEM_FAILED], 2);
    assert_int_equal(atomic_load(&shop.started), 4);
    tmb_worker_stop(&shop.worker);
    assert_int_equal(atomic_load(&shop.released), 16);
}

static tmb_store_status adopt_elsewhere(tmb_store *store, const char *path, bool pending, uint64_t booked,
                                        tmb_file_info *info) {
    if (atomic_load(&elsewhere.silent)) {
        atomic_fetch_add(&elsewhere.refused, 1);
        return TMB_STORE_BUSY;
    }
    if (atomic_load(&elsewhere.slow)) {
        move_slowly();
    }
    return elsewhere.blobs->adopt(store, path, pending, booked, info);
}

static tmb_store_status count_renewal(tmb_store *store, const tmb_delivery *delivery, double lease_seconds) {
    atomic_fetch_add(&elsewhere.renewed, 1);
    while (atomic_load(&elsewhere.stuck)) {
        nap();
    }
    return elsewhere.jobs->renew(store, delivery, lease_seconds);
}

typedef struct detour {
    tmb_blob_operations blobs;
    tmb_job_operations jobs;
} detour;

static void take_detour(tmb_store *store, detour *way) {
    elsewhere.blobs = store->blobs;
    elsewhere.jobs = store->jobs;
    *way = (detour){.blobs = *store->blobs, .jobs = *store->jobs};
    way->blobs.adopt = adopt_elsewhere;
    way->jobs.renew = count_renewal;
    store->blobs = &way->blobs;
    store->jobs = &way->jobs;
}

/* While some results wait for their audio, what needs no audio ends, and every lease is renewed. */
static void test_audio_that_waits(void **state) {
    workshop shop = {.at = *state, .deed = WHEN_TOLD};
    tmb_store *store = shop.at->store;
    detour way;
    take_detour(store, &way);
    atomic_store(&elsewhere.silent, true);
    tmb_job_info job = add_job(shop.at, 4);
    begin_work_for(&shop, 10, 0.06);
    wait_count(&shop.started, 4);
    for (int i = 3; i > 0; i--) {
        speak_now(shop.waiting[i]);
    }
    wait_count(&elsewhere.refused, 3);
    int renewed = atomic_load(&elsewhere.renewed);
    wait_count(&elsewhere.renewed, renewed + 12);
    tmb_worker_ended(shop.waiting[0]->run, TMB_WORK_FAILED);
    wait_count(&shop.released, 1);
    assert_int_equal(tmb_store_job_get(store, job.id, &job), TMB_STORE_OK);
    assert_int_equal(job.items[TMB_ITEM_FAILED], 1);
    assert_int_equal(job.items[TMB_ITEM_RUNNING], 3);
    atomic_store(&elsewhere.silent, false);
    assert_int_equal(wait_job(shop.at, job.id).items[TMB_ITEM_DONE], 3);
    tmb_worker_stop(&shop.worker);
    assert_int_equal(atomic_load(&shop.spoken), 3);
}

/* Leases are renewed while the worker's thread fetches what an item needs, and while it stores what was spoken. */
static void test_leases_while_bytes_move(void **state) {
    workshop shop = {.at = *state, .deed = WHEN_TOLD};
    detour way;
    take_detour(shop.at->store, &way);
    tmb_job_info job = add_job(shop.at, 3);
    begin_work_for(&shop, 10, 0.06);
    wait_count(&shop.started, 3);
    atomic_store(&shop.deed, FETCH);
    tmb_job_info other = add_job(shop.at, 1);
    assert_int_equal(wait_job(shop.at, other.id).items[TMB_ITEM_DONE], 1);
    assert_int_equal(atomic_load(&elsewhere.in_vain), 0);
    atomic_store(&elsewhere.slow, true);
    speak_now(shop.waiting[0]);
    wait_count(&shop.released, 2);
    assert_int_equal(atomic_load(&elsewhere.in_vain), 0);
    atomic_store(&elsewhere.slow, false);
    speak_now(shop.waiting[1]);
    speak_now(shop.waiting[2]);
    assert_int_equal(wait_job(shop.at, job.id).items[TMB_ITEM_DONE], 3);
    tmb_worker_stop(&shop.worker);
}

/* As after a pause of the machine: its leases are over, and the worker does not take its own item again before they are
 * renewed. */
static void test_leases_that_are_overdue(void **state) {
    workshop shop = {.at = *state, .deed = WHEN_TOLD};
    detour way;
    take_detour(shop.at->store, &way);
    tmb_job_info job = add_job(shop.at, 1);
    begin_work_for(&shop, 10, 0.06);
    wait_count(&shop.started, 1);
    atomic_store(&elsewhere.stuck, true);
    wait_count(&elsewhere.renewed, atomic_load(&elsewhere.renewed) + 1);
    for (double end = tmb_now() + 0.2; tmb_now() < end; nap()) {
    }
    tmb_job_info other = add_job(shop.at, 1); /* there is news */
    bool waits = false;
    for (double end = tmb_now() + patience; tmb_now() < end && !waits && atomic_load(&shop.started) == 1; nap()) {
        (void)pthread_mutex_lock(&shop.worker->lock);
        waits = shop.worker->overdue;
        (void)pthread_mutex_unlock(&shop.worker->lock);
    }
    assert_true(waits);
    assert_int_equal(atomic_load(&shop.started), 1);
    atomic_store(&elsewhere.stuck, false);
    wait_count(&shop.started, 2);
    speak_now(shop.waiting[0]);
    speak_now(shop.waiting[1]);
    assert_int_equal(wait_job(shop.at, job.id).items[TMB_ITEM_DONE], 1);
    assert_int_equal(wait_job(shop.at, other.id).items[TMB_ITEM_DONE], 1);
    assert_int_equal(atomic_load(&shop.spoken), 2);
    tmb_worker_stop(&shop.worker);
}

/* The clock on the wall is set back by an hour while the worker rests. */
static void test_clock_that_jumps(void **state) {
    workshop shop = {.at = *state, .deed = LATER_TWICE};
    tmb_job_info job = add_job(shop.at, 1);
    atomic_store(&jump, 3600);
    begin_work(&shop, 10);
    assert_int_equal(wait_job(shop.at, job.id).items[TMB_ITEM_FAILED], 1);
    atomic_store(&jump, -3600);
    atomic_store(&shop.later, 0);
    job = add_job(shop.at, 1);
    assert_int_equal(wait_job(shop.at, job.id).items[TMB_ITEM_FAILED], 1);
    tmb_worker_stop(&shop.worker);
    atomic_store(&jump, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_end_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures_and_rests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_locked_database, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_database, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk_that_stays_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_short_of_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_audio_that_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leases_while_bytes_move, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leases_that_are_overdue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clock_that_jumps, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
