/* Whatever becomes of the state folder on disk: no recording is lost, nothing crashes, and the start says what it
 * found. A recording may be moved to lost+found; it is never gone, and never changed. */
#include "test.h"

#include "store_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VOICES = 4, FILES = 6, ITEMS = 24, RECORDINGS = VOICES + FILES + 2, PAGE = 4096 };

typedef struct recording {
    char folder[8], id[TMB_STORE_ID], bytes[32];
} recording;

typedef struct damage {
    fixture at;
    recording recordings[RECORDINGS];
    size_t count;
    char job[TMB_STORE_ID];
    char *database; /* state.db as it was [size] */
    size_t size;
    size_t lines;    /* of the log */
    tmb_error error; /* of the last start */
} damage;

static void count_line(void *user, tmb_log_level level, const char *line) {
    (void)line;
    ((damage *)user)->lines += level <= TMB_LOG_WARNING;
}

static void path_of(const damage *to, const char *folder, const char *name, char path[256]) {
    (void)snprintf(path, 256, "%s/%s%s%s", to->at.folder, folder, folder[0] && name[0] ? "/" : "", name);
}

static char *read_all(const char *path, size_t *size) {
    struct stat status;
    int file = open(path, O_RDONLY);
    assert_true(file >= 0 && fstat(file, &status) == 0);
    char *data = malloc((size_t)status.st_size + 1);
    assert_int_equal(read(file, data, (size_t)status.st_size), status.st_size);
    data[status.st_size] = 0;
    (void)close(file);
    *size = (size_t)status.st_size;
    return data;
}

static void write_all(const char *path, const void *data, size_t size) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(file >= 0);
    assert_int_equal(write(file, data, size), size);
    (void)close(file);
}

static void remember(damage *to, const char *folder, const char *id, const char *bytes) {
    recording *added = &to->recordings[to->count++];
    (void)snprintf(added->folder, sizeof added->folder, "%s", folder);
    (void)snprintf(added->id, sizeof added->id, "%s", id);
    (void)snprintf(added->bytes, sizeof added->bytes, "%s", bytes);
}

static void add_recording(damage *to, size_t i) {
    char bytes[32];
    (void)snprintf(bytes, sizeof bytes, "recording %zu", i);
    if (i < VOICES) {
        char name[32];
        tmb_voice_info info;
        (void)snprintf(name, sizeof name, "voice-%zu", i);
        add_voice(&to->at, name, bytes);
        assert_int_equal(tmb_store_voice_get(to->at.store, name, NULL, &info), TMB_STORE_OK);
        remember(to, "voices", info.id, bytes);
        tmb_voice_info_free(&info);
    } else {
        char path[TMB_STORE_PATH];
        tmb_file_info info = {.name = "upload", .content_type = "audio/wav", .sample_rate = 8000, .duration = 1};
        write_temporary(&to->at, bytes, path);
        assert_int_equal(tmb_store_file_adopt(to->at.store, path, &info), TMB_STORE_OK);
        remember(to, "files", info.id, bytes);
    }
}

/* A job of long requests that takes several pages; two of its items are done. */
static void add_job(damage *to) {
    char text[400];
    const char *requests[ITEMS];
    tmb_job_info job;
    tmb_job_file file = {.owned = false};
    (void)snprintf(file.id, sizeof file.id, "%s", to->recordings[VOICES].id);
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    for (size_t i = 0; i < ITEMS; i++) {
        requests[i] = text;
    }
    tmb_new_job wanted = {.label = "label",
                          .repeat_key = "key",
                          .body = "body",
                          .requests = requests,
                          .count = ITEMS,
                          .files = &file,
                          .file_count = 1};
    assert_int_equal(tmb_store_job_add(to->at.store, &wanted, &job), TMB_STORE_OK);
    memcpy(to->job, job.id, sizeof to->job);
    for (size_t i = 0; i < 2; i++) {
        char path[TMB_STORE_PATH];
        tmb_delivery item;
        tmb_file_info info = {.name = "speech", .content_type = "audio/wav"};
        assert_int_equal(tmb_store_item_take(to->at.store, &(tmb_taking){.lease_seconds = 100}, &item), TMB_STORE_OK);
        write_temporary(&to->at, "speech", path);
        assert_int_equal(tmb_store_result_adopt(to->at.store, path, &info), TMB_STORE_OK);
        assert_int_equal(tmb_store_item_finish(to->at.store, &item, TMB_ITEM_DONE, "{}", info.id), TMB_STORE_OK);
        remember(to, "files", info.id, "speech");
        free(item.request);
    }
}

static int begin(void **state) {
    void *made = NULL;
    damage *to = calloc(1, sizeof *to);
    assert_int_equal(setup(&made), 0);
    to->at = *(fixture *)made;
    free(made);
    /* The store keeps the address of the logger that it was opened with. */
    tmb_store_close(&to->at.store);
    tmb_logger_init(&to->at.logger, count_line, to, TMB_LOG_WARNING);
    open_store(&to->at, &roomy);
    for (size_t i = 0; i < VOICES + FILES; i++) {
        add_recording(to, i);
    }
    add_job(to);
    tmb_store_close(&to->at.store);
    char path[256];
    path_of(to, "", "state.db", path);
    to->database = read_all(path, &to->size);
    *state = to;
    return 0;
}

static int end(void **state) {
    damage *to = *state;
    fixture *at = malloc(sizeof *at);
    *at = to->at;
    void *as_state = at;
    free(to->database);
    free(to);
    return teardown(&as_state);
}

/* What a repair put aside. */
static void remove_old_databases(damage *to) {
    char path[256];
    path_of(to, "lost+found", "", path);
    DIR *folder = opendir(path);
    for (struct dirent *entry = NULL; (entry = readdir(folder)) != NULL;) {
        if (strncmp(entry->d_name, "state.db.", 9) == 0) {
            assert_int_equal(unlinkat(dirfd(folder), entry->d_name, 0), 0);
        }
    }
    (void)closedir(folder);
}

/* Everything as it was, whatever the last start made of it. */
static void restore(damage *to) {
    char path[256];
    static const char *const extra[] = {"state.db-wal", "state.db-shm"};
    path_of(to, "", "state.db", path);
    (void)rmdir(path);
    write_all(path, to->database, to->size);
    for (size_t i = 0; i < 2; i++) {
        path_of(to, "", extra[i], path);
        (void)unlink(path);
    }
    for (size_t i = 0; i < to->count; i++) {
        path_of(to, "lost+found", to->recordings[i].id, path);
        (void)unlink(path);
        path_of(to, to->recordings[i].folder, to->recordings[i].id, path);
        (void)rmdir(path);
        write_all(path, to->recordings[i].bytes, strlen(to->recordings[i].bytes));
    }
    remove_old_databases(to);
    assert_int_equal(count_entries(&to->at, "lost+found"), 0);
    to->lines = 0;
}

/* Where a recording is now: in its place, set aside, or nowhere. */
typedef enum place { IN_PLACE, ASIDE, NOWHERE } place;

static place find(const damage *to, const recording *wanted) {
    char path[256];
    const char *folders[] = {wanted->folder, "lost+found"};
    for (size_t i = 0; i < 2; i++) {
        size_t size = 0;
        path_of(to, folders[i], wanted->id, path);
        struct stat status;
        if (lstat(path, &status) == 0 && S_ISREG(status.st_mode)) {
            char *bytes = read_all(path, &size);
            bool same = strcmp(bytes, wanted->bytes) == 0;
            free(bytes);
            return same ? (place)i : NOWHERE;
        }
    }
    return NOWHERE;
}

/* Everything that reads, and what runs by itself. */
static void use(damage *to) {
    tmb_store *store = to->at.store;
    tmb_voice_info *voices = NULL;
    tmb_job_info *jobs = NULL;
    size_t count = 0;
    size_t job_count = 0;
    if (tmb_store_voice_list(store, &voices, &count) == TMB_STORE_OK) {
        for (size_t i = 0; i < count; i++) {
            int descriptor = -1;
            tmb_voice_info info;
            assert_true(tmb_utf8_length(voices[i].name, strlen(voices[i].name)) != SIZE_MAX);
            if (tmb_store_voice_get(store, voices[i].name, &descriptor, &info) == TMB_STORE_OK) {
                (void)close(descriptor);
                tmb_voice_info_free(&info);
            }
        }
        tmb_voice_list_free(voices, count);
    }
    if (tmb_store_job_list(store, 100, &jobs, &job_count) == TMB_STORE_OK) {
        for (size_t i = 0; i < job_count; i++) {
            tmb_job_item *items = NULL;
            assert_true(jobs[i].created >= 0 && jobs[i].created <= 1e11);
            if (tmb_store_item_list(store, jobs[i].id, &items, &count) == TMB_STORE_OK) {
                for (size_t j = 0; j < count; j++) {
                    assert_in_range(items[j].state, 0, TMB_ITEM_STATES - 1);
                }
                tmb_item_list_free(items, count);
            }
        }
        free(jobs);
    }
    for (size_t i = 0; i < to->count; i++) {
        int descriptor = -1;
        tmb_file_info info;
        if (tmb_store_file_open(store, to->recordings[i].id, &descriptor, &info) == TMB_STORE_OK) {
            assert_true(info.bytes < 100 && info.duration >= 0);
            (void)close(descriptor);
        }
    }
    tmb_delivery item;
    if (tmb_store_item_take(store, &(tmb_taking){.lease_seconds = 100}, &item) == TMB_STORE_OK) {
        (void)tmb_store_item_give_back(store, &item, false);
        free(item.request);
    }
    (void)tmb_store_expire(store);
}

/* Starts on what is there. `spared` is the recording that was damaged itself, or NULL. True: it started. */
static bool start(damage *to, const recording *spared, const char *what, size_t number) {
    bool started = tmb_store_open(to->at.folder, &roomy, &to->at.logger, &to->at.store, &to->error) == TMB_OK;
    if (started) {
        use(to);
        tmb_store_close(&to->at.store);
    } else {
        assert_int_equal(to->error.status, TMB_ERROR_IO);
        assert_non_null(strstr(to->error.message, to->at.folder));
    }
    bool all_in_place = true;
    for (size_t i = 0; i < to->count; i++) {
        place at = find(to, &to->recordings[i]);
        if (at == NOWHERE && &to->recordings[i] != spared) {
            fail_msg("%s %zu: recording %zu is lost", what, number, i);
        }
        all_in_place = all_in_place && at == IN_PLACE;
    }
    if (!started) {
        assert_true(all_in_place || spared != NULL); /* it touched nothing */
    } else if (!all_in_place && to->lines == 0) {
        fail_msg("%s %zu: something was found, and nothing said", what, number);
    }
    return started;
}

static void spoil(unsigned char *page, int kind) {
    unsigned seed = 12345;
    for (size_t i = 0; i < PAGE; i++) {
        seed = seed * 1103515245 + 12345;
        if (kind == 0) {
            page[i] = 0;
        } else if (kind == 1) {
            page[i] = (unsigned char)(seed >> 16);
        }
    }
    for (size_t i = 0; kind == 2 && i < PAGE / 2; i++) { /* its halves change places */
        unsigned char kept = page[i];
        page[i] = page[PAGE / 2 + i];
        page[PAGE / 2 + i] = kept;
    }
    for (size_t i = 0; kind == 3 && i < 64; i++) { /* a little of its contents */
        page[PAGE - 200 + i] ^= 0x55;
    }
}

static void test_every_page(void **state) {
    damage *to = *state;
    size_t pages = to->size / PAGE;
    size_t served = 0;
    size_t refused = 0;
    assert_true(pages >= 15);
    for (size_t page = 0; page < pages; page++) {
        for (int kind = 0; kind < 4; kind++) {
            char path[256];
            restore(to);
            char *spoilt = malloc(to->size);
            memcpy(spoilt, to->database, to->size);
            spoil((unsigned char *)spoilt + page * PAGE, kind);
            path_of(to, "", "state.db", path);
            write_all(path, spoilt, to->size);
            free(spoilt);
            bool started = start(to, NULL, "page", 10 * page + (size_t)kind);
            served += started;
            refused += !started;
            if (!started) {
                assert_non_null(strstr(to->error.message, ".recover"));
            }
        }
    }
    /* Indexes are made again, tables are not guessed. */
    assert_true(served > 0 && refused > 0);
}

/* The indexes of voices and files are made again, and everything is served. */
static void test_damaged_index(void **state) {
    damage *to = *state;
    sqlite3 *database = NULL;
    char path[256];
    path_of(to, "", "state.db", path);
    static const char *const indexes[] = {"sqlite_autoindex_voices_2", "files_expires", "items_state",
                                          "job_files_file"};
    for (size_t i = 0; i < sizeof indexes / sizeof indexes[0]; i++) {
        sqlite3_stmt *row = NULL;
        restore(to);
        assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
        assert_int_equal(
            sqlite3_prepare_v2(database, "SELECT rootpage FROM sqlite_schema WHERE name=?", -1, &row, NULL), SQLITE_OK);
        (void)sqlite3_bind_text(row, 1, indexes[i], -1, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(row), SQLITE_ROW);
        size_t page = (size_t)sqlite3_column_int64(row, 0);
        (void)sqlite3_finalize(row);
        (void)sqlite3_close(database);
        char *spoilt = malloc(to->size);
        memcpy(spoilt, to->database, to->size);
        for (size_t b = PAGE - 64; b < PAGE; b++) { /* nothing of it makes sense */
            spoilt[(page - 1) * PAGE + b] = (char)(b * 167 + 13 * i);
        }
        write_all(path, spoilt, to->size);
        free(spoilt);
        if (!start(to, NULL, indexes[i], i)) {
            fail_msg("%s: %s", indexes[i], to->error.message);
        }
        assert_true(to->lines > 0);
        for (size_t r = 0; r < to->count; r++) {
            assert_int_equal(find(to, &to->recordings[r]), IN_PLACE);
        }
    }
}

static const char *const values[] = {"-1",
                                     "99",
                                     "9223372036854775807",
                                     "-9223372036854775808",
                                     "1e300",
                                     "-1e300",
                                     "9e999",
                                     "''",
                                     "'text'",
                                     "x'ff00fe'",
                                     "CAST(x'41ff42c3' AS TEXT)",
                                     "CAST(x'2e2e2f73746174652e6462' AS TEXT)",
                                     "hex(zeroblob(50000))",
                                     "NULL"};

static size_t try_column(damage *to, const char *path, const char *table, const char *column) {
    size_t tried = 0;
    for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
        char sql[256];
        sqlite3 *database = NULL;
        restore(to);
        assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
        (void)snprintf(sql, sizeof sql, "UPDATE %s SET %s=%s WHERE %s=(SELECT max(%s) FROM %s)", table, column,
                       values[v], column, column, table);
        int code = sqlite3_exec(database, sql, NULL, NULL, NULL);
        (void)sqlite3_close(database);
        if (code == SQLITE_OK) { /* a NOT NULL or UNIQUE column does not take every value */
            (void)snprintf(sql, sizeof sql, "%s.%s = %s", table, column, values[v]);
            if (!start(to, NULL, sql, v)) {
                fail_msg("%s: %s", sql, to->error.message);
            }
            tried++;
        }
    }
    return tried;
}

static void test_every_value(void **state) {
    damage *to = *state;
    static const char *const tables[] = {"files", "voices", "jobs", "items", "job_files", "removed"};
    char path[256];
    char columns[64][2][32];
    size_t count = 0;
    path_of(to, "", "state.db", path);
    restore(to);
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        sqlite3_stmt *row = NULL;
        char sql[64];
        (void)snprintf(sql, sizeof sql, "PRAGMA table_info(%s)", tables[i]);
        assert_int_equal(sqlite3_prepare_v2(database, sql, -1, &row, NULL), SQLITE_OK);
        while (sqlite3_step(row) == SQLITE_ROW) {
            (void)snprintf(columns[count][0], 32, "%s", tables[i]);
            (void)snprintf(columns[count][1], 32, "%s", (const char *)sqlite3_column_text(row, 1));
            count++;
        }
        (void)sqlite3_finalize(row);
    }
    (void)sqlite3_close(database);
    assert_true(count >= 36);
    size_t tried = 0;
    for (size_t i = 0; i < count; i++) {
        tried += try_column(to, path, columns[i][0], columns[i][1]);
    }
    assert_true(tried > 300);
}

typedef enum file_damage { EMPTY, HALF, GONE, A_FOLDER, FILE_DAMAGES } file_damage;

static void spoil_file(const char *path, file_damage kind) {
    size_t size = 0;
    if (kind == EMPTY || kind == HALF) {
        char *bytes = read_all(path, &size);
        write_all(path, bytes, kind == HALF ? size / 2 : 0);
        free(bytes);
    } else {
        assert_int_equal(unlink(path), 0);
        assert_int_equal(kind == A_FOLDER ? mkdir(path, 0700) : 0, 0);
    }
}

static void test_every_file(void **state) {
    damage *to = *state;
    for (size_t i = 0; i < to->count + 1; i++) {
        for (file_damage kind = EMPTY; kind < FILE_DAMAGES; kind++) {
            char path[256];
            const recording *spared = i < to->count ? &to->recordings[i] : NULL;
            restore(to);
            path_of(to, spared != NULL ? spared->folder : "", spared != NULL ? spared->id : "state.db", path);
            spoil_file(path, kind);
            bool started = start(to, spared, path, (size_t)kind);
            if (spared != NULL) {
                assert_true(started);
                path_of(to, "lost+found", spared->id, path);
                (void)rmdir(path);
            } else {
                assert_false(started); /* without state.db nobody knows what the recordings are */
            }
        }
    }
}

/* A log of the database that ends early or is not one: what it had is lost, the recordings are not. */
static void test_write_ahead_log(void **state) {
    damage *to = *state;
    char path[256];
    char wal_path[256];
    size_t size = 0;
    size_t wal_size = 0;
    restore(to);
    path_of(to, "", "state.db", path);
    path_of(to, "", "state.db-wal", wal_path);
    open_store(&to->at, &roomy);
    for (size_t i = 0; i < 2; i++) { /* one more voice, one more file, in the log only */
        size_t number = i ? VOICES + 1 : 0;
        char name[32];
        (void)snprintf(name, sizeof name, "in the log %zu", number);
        if (number == 0) {
            add_voice(&to->at, name, "recording");
        }
    }
    char *database = read_all(path, &size);
    char *wal = read_all(wal_path, &wal_size);
    tmb_store_close(&to->at.store);
    assert_true(wal_size > PAGE);
    for (size_t i = 0; i < 12; i++) {
        restore(to);
        write_all(path, database, size);
        char *spoilt = malloc(wal_size);
        memcpy(spoilt, wal, wal_size);
        for (size_t b = 0; b < 40; b++) {
            spoilt[i % 6 * (wal_size / 6 - 40) + b] ^= 0x77;
        }
        write_all(wal_path, spoilt, i < 6 ? wal_size : wal_size / 7 * (i - 6));
        free(spoilt);
        (void)start(to, NULL, "log", i);
        /* The voice that was added for this test is somewhere too. */
        assert_int_equal(count_entries(&to->at, "voices") + count_entries(&to->at, "lost+found"), VOICES + 1);
        fixture *at = &to->at;
        if (count_entries(at, "lost+found")) { /* back to where the next round expects it */
            char command[600];
            (void)snprintf(command, sizeof command, "mv %s/lost+found/* %s/voices/", at->folder, at->folder);
            assert_int_equal(system(command), 0);
        }
    }
    free(database);
    free(wal);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_page, begin, end),
        cmocka_unit_test_setup_teardown(test_damaged_index, begin, end),
        cmocka_unit_test_setup_teardown(test_every_value, begin, end),
        cmocka_unit_test_setup_teardown(test_every_file, begin, end),
        cmocka_unit_test_setup_teardown(test_write_ahead_log, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
