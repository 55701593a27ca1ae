#include "test.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/fifo.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_error_message_is_one_line(void **state) {
    (void)state;
    tmb_error error = {0};
    assert_int_equal(tmb_fail(&error, TMB_ERROR_FORMAT, "bad\nfile %d", 7), TMB_ERROR_FORMAT);
    assert_string_equal(error.message, "bad file 7");
    tmb_error_prefix(&error, "%s", "a.wav");
    assert_string_equal(error.message, "a.wav: bad file 7");
    /* What steers a terminal is shown as question marks, in names of files too, whose length stays. */
    assert_int_equal(tmb_fail(&error, TMB_ERROR_FORMAT, "a\033[31m\tb\x7f \xc2\x9b é"), TMB_ERROR_FORMAT);
    assert_string_equal(error.message, "a?[31m?b? ?? é");
    tmb_error_name(&error, "\033c\n");
    assert_string_equal(error.message, "?c : a?[31m?b? ?? é");
    assert_int_equal(error.name_bytes, 5);
    assert_int_equal(tmb_fail(NULL, TMB_ERROR_IO, "no one listens"), TMB_ERROR_IO);
    assert_string_equal(tmb_status_name(TMB_ERROR_TIMEOUT), "timeout");
    assert_string_equal(tmb_status_name((tmb_status)99), "unknown");
}

static void test_error_parts(void **state) {
    (void)state;
    tmb_error error = {0};
    assert_int_equal(tmb_fail_errno(&error, TMB_ERROR_IO, ENOENT, "cannot be %s", "opened"), TMB_ERROR_IO);
    assert_string_equal(error.message, "cannot be opened: No such file or directory");
    assert_int_equal(error.system, ENOENT);
    assert_int_equal(error.name_bytes, 0);
    tmb_error_name(&error, "a: b.wav");
    assert_string_equal(error.message, "a: b.wav: cannot be opened: No such file or directory");
    assert_string_equal(error.message + error.name_bytes, "cannot be opened: No such file or directory");
    tmb_error_prefix(&error, "line %d", 3);
    assert_string_equal(error.message, "line 3: a: b.wav: cannot be opened: No such file or directory");
    assert_string_equal(error.message + error.name_bytes, "cannot be opened: No such file or directory");
    assert_int_equal(error.system, ENOENT);

    assert_int_equal(tmb_fail_field(&error, TMB_ERROR_ARGUMENT, "top_p", "top_p is %d", 7), TMB_ERROR_ARGUMENT);
    assert_string_equal(error.field, "top_p");
    assert_int_equal(error.system, 0);
    assert_int_equal(error.name_bytes, 0);
    assert_int_equal(tmb_fail_named(&error, TMB_ERROR_FORMAT, "a.json", "line %d", 7), TMB_ERROR_FORMAT);
    assert_string_equal(error.message, "a.json: line 7");
    assert_string_equal(error.message + error.name_bytes, "line 7");
    assert_null(error.field);

    /* A name that leaves no room is left out, and then it is not counted either. */
    char name[sizeof error.message];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    (void)tmb_fail_named(&error, TMB_ERROR_FORMAT, name, "is damaged");
    assert_string_equal(error.message, "is damaged");
    assert_int_equal(error.name_bytes, 0);
    int file = -1;
    uint64_t bytes = 0;
    assert_int_equal(tmb_file_open("/no/such/file", &file, &bytes, &error), TMB_ERROR_IO);
    assert_string_equal(error.message + error.name_bytes, "No such file or directory");
    assert_int_equal(tmb_file_open(name, &file, &bytes, &error), TMB_ERROR_IO);
    assert_true(error.name_bytes <= strlen(error.message));
}

static void test_checked_arithmetic(void **state) {
    (void)state;
    size_t result = 0;
    assert_true(tmb_mul_size(3, 5, &result));
    assert_int_equal(result, 15);
    assert_false(tmb_mul_size(SIZE_MAX / 2, 3, &result));
    assert_false(tmb_add_size(SIZE_MAX, 1, &result));
    assert_true(tmb_pad_size(65, 64, &result));
    assert_int_equal(result, 128);
    assert_false(tmb_pad_size(SIZE_MAX - 3, 64, &result));
    assert_null(tmb_alloc_aligned(SIZE_MAX / 2, 4));
    assert_null(tmb_calloc(SIZE_MAX / 2, 4));
    assert_null(tmb_realloc(NULL, SIZE_MAX / 2, 4));
}

static void test_fifo(void **state) {
    (void)state;
    tmb_fifo fifo = {.maximum = 5000};
    float in[700];
    float out[700];
    for (int i = 0; i < 700; i++) {
        in[i] = (float)i;
    }
    size_t written = 0;
    size_t read = 0;
    unsigned seed = 1;
    for (int round = 0; round < 2000; round++) {
        seed = seed * 1664525u + 1013904223u;
        size_t count = (seed >> 8) % 700;
        for (size_t i = 0; i < count; i++) {
            in[i] = (float)((written + i) % 9973);
        }
        if (tmb_fifo_write(&fifo, in, count)) {
            written += count;
        } else {
            assert_true(fifo.count + count > 5000);
        }
        seed = seed * 1664525u + 1013904223u;
        size_t got = tmb_fifo_read(&fifo, out, (seed >> 8) % 700);
        for (size_t i = 0; i < got; i++) {
            assert_true(out[i] == (float)((read + i) % 9973));
        }
        read += got;
        assert_int_equal(written - read, fifo.count);
    }
    tmb_fifo_free(&fifo);
    assert_int_equal(fifo.count, 0);
}

static void count_task(void *argument) { (void)atomic_fetch_add((atomic_int *)argument, 1); }

static void test_pool_runs_everything(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_pool *pool = NULL;
    atomic_int counter = 0;
    assert_ok(tmb_pool_create("test", 3, 4, &pool, &error), error);
    for (int i = 0; i < 1000; i++) {
        assert_ok(tmb_pool_submit(pool, count_task, &counter, &error), error);
    }
    while (atomic_load(&counter) < 1000) {
        (void)sched_yield();
    }
    assert_int_equal(atomic_load(&counter), 1000);
    for (int i = 0; i < 100; i++) {
        assert_ok(tmb_pool_submit(pool, count_task, &counter, &error), error);
    }
    tmb_pool_destroy(&pool);
    assert_null(pool);
    assert_int_equal(atomic_load(&counter), 1100);
    assert_int_equal(tmb_pool_create("test", 0, 0, &pool, &error), TMB_ERROR_ARGUMENT);
}

typedef struct test_gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int inside;
    bool open;
} test_gate;

typedef struct gate_work {
    tmb_work work;
    test_gate *gate;
} gate_work;

static void wait_at_gate(void *argument) {
    test_gate *gate = ((gate_work *)argument)->gate;
    (void)pthread_mutex_lock(&gate->lock);
    gate->inside++;
    (void)pthread_cond_broadcast(&gate->changed);
    while (!gate->open) {
        (void)pthread_cond_wait(&gate->changed, &gate->lock);
    }
    (void)pthread_mutex_unlock(&gate->lock);
}

/* Tasks that block get a thread each, up to the most; the rest waits its turn. */
static void test_elastic_pool(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_pool *pool = NULL;
    test_gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    gate_work works[12] = {0};
    assert_ok(tmb_pool_create_elastic("elastic", 1, 8, &pool, &error), error);
    for (int i = 0; i < 12; i++) {
        works[i].gate = &gate;
        tmb_pool_post(pool, &works[i].work, wait_at_gate, &works[i]);
    }
    (void)pthread_mutex_lock(&gate.lock);
    while (gate.inside < 8) {
        (void)pthread_cond_wait(&gate.changed, &gate.lock);
    }
    assert_int_equal(gate.inside, 8);
    gate.open = true;
    (void)pthread_cond_broadcast(&gate.changed);
    (void)pthread_mutex_unlock(&gate.lock);
    tmb_pool_destroy(&pool);
    assert_int_equal(gate.inside, 12);
    assert_int_equal(tmb_pool_create_elastic("elastic", 3, 2, &pool, &error), TMB_ERROR_ARGUMENT);
}

typedef struct test_chain {
    tmb_work work;
    tmb_pool *pool;
    int left;
} test_chain;

static void follow_chain(void *argument) {
    test_chain *chain = argument;
    if (--chain->left > 0) {
        tmb_pool_post(chain->pool, &chain->work, follow_chain, chain);
    }
}

/* Work may post itself again, also while the pool is being destroyed. */
static void test_pool_chain(void **state) {
    (void)state;
    tmb_error error = {0};
    test_chain chain = {.left = 1000};
    tmb_pool *pool = NULL;
    assert_ok(tmb_pool_create("chain", 2, 0, &pool, &error), error);
    chain.pool = pool;
    tmb_pool_post(pool, &chain.work, follow_chain, &chain);
    tmb_pool_destroy(&pool);
    assert_int_equal(chain.left, 0);
}

static void remember(void *user, tmb_log_level level, const char *line) {
    (void)level;
    (void)strncpy(user, line, 63);
}

static void test_log_levels(void **state) {
    (void)state;
    char line[64] = "";
    tmb_logger logger;
    tmb_logger_init(&logger, remember, line, TMB_LOG_WARNING);
    tmb_log(&logger, TMB_LOG_INFO, "dropped");
    assert_string_equal(line, "");
    tmb_log(&logger, TMB_LOG_ERROR, "kept\n%d", 3);
    assert_string_equal(line, "kept 3");
    tmb_log(NULL, TMB_LOG_ERROR, "silent");
    tmb_logger_deinit(&logger);
}

static void test_strings(void **state) {
    (void)state;
    char *text = tmb_asprintf("%s-%d", "a", 5);
    assert_string_equal(text, "a-5");
    char *copy = tmb_strdup(text);
    assert_string_equal(copy, text);
    free(copy);
    free(text);
    assert_null(tmb_strdup(NULL));
    assert_true(tmb_cpu_count() >= 1);
}

static void test_folders(void **state) {
    (void)state;
    char folder[] = "/tmp/timbre-folders-XXXXXX";
    char path[64];
    struct stat about;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/a/b/", folder);
    assert_true(tmb_make_folders(path, 0700));
    assert_true(tmb_make_folders(path, 0777)); /* it is there, and stays as it is */
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0700);
    (void)snprintf(path, sizeof path, "%s/a/file", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    errno = 0;
    assert_false(tmb_make_folders(path, 0700));
    assert_int_equal(errno, ENOTDIR);
    (void)snprintf(path, sizeof path, "%s/a/file/c", folder);
    errno = 0;
    assert_false(tmb_make_folders(path, 0700));
    assert_int_equal(errno, ENOTDIR);
    errno = 0;
    assert_false(tmb_make_folders("", 0700));
    assert_int_equal(errno, ENOENT);

    static const char *const made[] = {"a/file", "a/b", "a", ""};
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, made[i]);
        assert_int_equal(remove(path), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_message_is_one_line),
        cmocka_unit_test(test_error_parts),
        cmocka_unit_test(test_checked_arithmetic),
        cmocka_unit_test(test_fifo),
        cmocka_unit_test(test_pool_runs_everything),
        cmocka_unit_test(test_log_levels),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_elastic_pool),
        cmocka_unit_test(test_pool_chain),
        cmocka_unit_test(test_folders),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
