/* Starting the server, and its queue, with every allocation failing in turn. */
#include "fault.h"

#include "base/error.h"
#include "queue/blobs.h"
#include "queue/jobs.h"
#include "server/server.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char folder[64];

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *at) {
    (void)status;
    (void)kind;
    (void)at;
    return remove(path);
}

static int set_up(void **state) {
    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/timbre-fault-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return mkdtemp(folder) == NULL;
}

static int tear_down(void **state) {
    (void)state;
    return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* What a store says as a status; all that can fail here is memory. */
static tmb_status of_store(tmb_store_status status, tmb_error *error) {
    return status == TMB_STORE_OK     ? TMB_OK
           : status == TMB_STORE_BUSY ? tmb_fail(error, TMB_ERROR_MEMORY, "busy")
                                      : tmb_fail(error, TMB_ERROR_INTERNAL, "store status %d", (int)status);
}

static tmb_store_status run_job(tmb_store *store) {
    static const char *const requests[] = {"{\"text\":\"a\"}", "{\"text\":\"b\"}"};
    tmb_new_job new_job = {.label = "label", .requests = requests, .count = 2};
    tmb_job_info info;
    tmb_job_item *items = NULL;
    size_t count = 0;
    tmb_delivery delivery = {0};
    tmb_store_status status = tmb_store_job_add(store, &new_job, &info);
    if (status != TMB_STORE_OK) {
        return status;
    }
    status = tmb_store_item_take(store, &(tmb_taking){.lease_seconds = 60}, &delivery);
    if (status == TMB_STORE_OK) {
        status = tmb_store_item_finish(store, &delivery, TMB_ITEM_DONE, "{}", NULL);
        free(delivery.request);
    }
    if (status == TMB_STORE_OK) {
        status = tmb_store_item_list(store, info.id, &items, &count);
    }
    if (status == TMB_STORE_OK) {
        assert_int_equal(count, 2);
        tmb_item_list_free(items, count);
    }
    fault_pause(); /* the next run finds the queue empty */
    assert_int_equal(tmb_store_job_remove(store, info.id), TMB_STORE_OK);
    fault_resume();
    return status;
}

static tmb_status use_queue(void *user, tmb_error *error) {
    static const tmb_store_options options = {.file_seconds = 1000, .job_seconds = 1000};
    (void)user;
    tmb_logger logger;
    tmb_store *store = NULL;
    tmb_logger_init(&logger, NULL, NULL, TMB_LOG_ERROR);
    tmb_status status = tmb_store_open(folder, &options, &logger, &store, error);
    assert_true((store != NULL) == (status == TMB_OK));
    if (status == TMB_OK) {
        status = of_store(run_job(store), error);
    }
    tmb_store_close(&store);
    tmb_logger_deinit(&logger);
    return status;
}

/* From its arguments until it listens, and down again: SIGTERM waits for it. */
static tmb_status serve(void *user, tmb_error *error) {
    static char state_option[] = "--state-dir", host_option[] = "--host", host[] = "127.0.0.1",
                port_option[] = "--port", port[] = "0", engine_option[] = "--engine", engine[] = "preview",
                level_option[] = "--log-level", level[] = "error";
    char *arguments[] = {state_option, folder,        host_option, host,         port_option,
                         port,         engine_option, engine,      level_option, level};
    (void)user;
    tmb_server_config config;
    tmb_config_sources sources;
    tmb_config_action action;
    FILE *nowhere = fopen("/dev/null", "w");
    assert_non_null(nowhere);
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)raise(SIGTERM);
    tmb_status status = tmb_server_config_load(&config, &sources, false, sizeof arguments / sizeof arguments[0],
                                               arguments, nowhere, &action, error);
    if (status == TMB_OK) {
        status = tmb_server_run(&config, nowhere, error);
    }
    tmb_server_config_free(&config, &sources);
    (void)sigtimedwait(&signals, NULL, &(struct timespec){0}); /* if it did not come to that */
    (void)fclose(nowhere);
    return status;
}

static void test_queue(void **state) {
    (void)state;
    fault_check(use_queue, NULL, true); /* what is only kept for speed may be missing */
}

static void test_start(void **state) {
    (void)state;
    fault_check(serve, NULL, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_queue, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_start, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("fault: server", tests, NULL, NULL);
}
