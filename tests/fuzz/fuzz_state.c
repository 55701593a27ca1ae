/* The server's state after somebody wrote into its database: values of any type and content in any column of any row.
 * Whatever is in there, every read ends, with a status. The input is one change after the other: which table, which
 * column, a value. */
#include "fuzz.h"

#include "queue/blobs.h"
#include "queue/jobs.h"
#include "queue/voices.h"

#include <ftw.h>
#include <sqlite3.h>
#include <unistd.h>

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *at) {
    (void)status;
    (void)kind;
    (void)at;
    return remove(path);
}

/* A file, a voice, and a job of two items, one of which was taken. */
static void fill(tmb_store *store, char job[TMB_STORE_ID]) {
    tmb_upload *upload = NULL;
    tmb_file_info file = {0};
    fuzz_check(tmb_upload_begin(store, 1000, &upload) == TMB_STORE_OK);
    fuzz_check(tmb_upload_write(upload, "audio", 5) == TMB_STORE_OK);
    fuzz_check(tmb_upload_keep(&upload, &file) == TMB_STORE_OK);
    tmb_voice_info voice = {.name = "anna", .language = "en", .ref_text = (char *)(uintptr_t) "it says"};
    fuzz_check(tmb_upload_begin(store, 1000, &upload) == TMB_STORE_OK);
    fuzz_check(tmb_upload_write(upload, "voice", 5) == TMB_STORE_OK);
    fuzz_check(tmb_store_voice_add(store, &upload, &voice) == TMB_STORE_OK);
    static const char *const requests[] = {"{\"text\":\"a\"}", "{\"text\":\"b\"}"};
    tmb_job_file used = {.owned = true};
    memcpy(used.id, file.id, sizeof used.id);
    tmb_new_job new_job = {.label = "label",
                           .repeat_key = "key",
                           .body = "body",
                           .requests = requests,
                           .count = 2,
                           .files = &used,
                           .file_count = 1};
    tmb_job_info info;
    fuzz_check(tmb_store_job_add(store, &new_job, &info) == TMB_STORE_OK);
    memcpy(job, info.id, TMB_STORE_ID);
    tmb_delivery delivery = {0};
    fuzz_check(tmb_store_item_take(store, &(tmb_taking){.lease_seconds = 60}, &delivery) == TMB_STORE_OK);
    free(delivery.request);
}

static void bind(sqlite3_stmt *statement, fuzz_input *input) {
    switch (fuzz_take(input, 1) % 6) {
    case 0: (void)sqlite3_bind_null(statement, 1); break;
    case 1: (void)sqlite3_bind_int64(statement, 1, (int64_t)fuzz_take(input, 8)); break;
    case 2: {
        double value;
        uint64_t bits = fuzz_take(input, 8);
        memcpy(&value, &bits, sizeof value);
        (void)sqlite3_bind_double(statement, 1, value);
        break;
    }
    case 3: (void)sqlite3_bind_int64(statement, 1, (int8_t)fuzz_take(input, 1)); break;
    default: {
        bool is_text = fuzz_take(input, 1) & 1;
        size_t size = (size_t)fuzz_take(input, 1);
        size = size < input->size ? size : input->size;
        if (is_text) {
            (void)sqlite3_bind_text(statement, 1, (const char *)input->data, (int)size, SQLITE_TRANSIENT);
        } else {
            (void)sqlite3_bind_blob(statement, 1, input->data, (int)size, SQLITE_TRANSIENT);
        }
        input->data += size;
        input->size -= size;
    }
    }
}

/* Column number `column` of table number `table`, counted round, gets the next value; what a constraint forbids is left
 * as it is. */
static void change(sqlite3 *database, size_t table, size_t column, fuzz_input *input) {
    char names[64][2][64];
    size_t count = 0;
    sqlite3_stmt *statement = NULL;
    const char *text = "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' "
                       "AND m.name NOT LIKE 'sqlite_%'";
    fuzz_check(sqlite3_prepare_v2(database, text, -1, &statement, NULL) == SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW && count < 64) {
        (void)snprintf(names[count][0], 64, "%s", (const char *)sqlite3_column_text(statement, 0));
        (void)snprintf(names[count][1], 64, "%s", (const char *)sqlite3_column_text(statement, 1));
        count++;
    }
    (void)sqlite3_finalize(statement);
    fuzz_check(count > 0);
    size_t at = (table * 256 + column) % count;
    char update[256];
    (void)snprintf(update, sizeof update, "UPDATE \"%s\" SET \"%s\" = ?1", names[at][0], names[at][1]);
    fuzz_check(sqlite3_prepare_v2(database, update, -1, &statement, NULL) == SQLITE_OK);
    bind(statement, input);
    (void)sqlite3_step(statement);
    (void)sqlite3_finalize(statement);
}

static void damage(const char *folder, fuzz_input *input) {
    char path[128];
    sqlite3 *database = NULL;
    (void)snprintf(path, sizeof path, "%s/state.db", folder);
    fuzz_check(sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK);
    (void)sqlite3_exec(database, "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON", NULL, NULL, NULL);
    for (int i = 0; i < 8 && input->size > 0; i++) {
        size_t table = (size_t)fuzz_take(input, 1);
        change(database, table, (size_t)fuzz_take(input, 1), input);
    }
    (void)sqlite3_close(database);
}

static void read_jobs(tmb_store *store, const char *job) {
    tmb_job_info info;
    if (tmb_store_job_get(store, job, &info) == TMB_STORE_OK) {
        fuzz_check(strlen(info.id) < sizeof info.id && strlen(info.label) < sizeof info.label);
    }
    tmb_job_info *jobs = NULL;
    size_t count = 0;
    if (tmb_store_job_list(store, 10, &jobs, &count) == TMB_STORE_OK) {
        fuzz_check(count <= 10);
        free(jobs);
    }
    tmb_job_item *items = NULL;
    if (tmb_store_item_list(store, job, &items, &count) == TMB_STORE_OK) {
        for (size_t i = 0; i < count; i++) {
            fuzz_check(items[i].request != NULL && items[i].state < TMB_ITEM_STATES);
        }
        tmb_item_list_free(items, count);
    }
    for (int i = 0; i < 3; i++) {
        tmb_delivery delivery = {0};
        tmb_taking how = {.after_job = i, .lease_seconds = 60};
        if (tmb_store_item_take(store, &how, &delivery) == TMB_STORE_OK) {
            fuzz_check(delivery.request != NULL);
            (void)tmb_store_item_renew(store, &delivery, 60);
            (void)tmb_store_item_finish(store, &delivery, TMB_ITEM_DONE, "{}", NULL);
            free(delivery.request);
        }
    }
    size_t queued = 0;
    size_t running = 0;
    (void)tmb_store_item_counts(store, &queued, &running);
    (void)tmb_store_job_remove(store, job);
}

static void read_all(tmb_store *store, const char *job) {
    tmb_voice_info *voices = NULL;
    tmb_voice_info voice = {0};
    size_t count = 0;
    if (tmb_store_voice_get(store, "anna", NULL, &voice) == TMB_STORE_OK) {
        tmb_voice_info_free(&voice);
    }
    if (tmb_store_voice_list(store, &voices, &count) == TMB_STORE_OK) {
        tmb_voice_list_free(voices, count);
    }
    read_jobs(store, job);
    (void)tmb_store_expire(store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const tmb_store_options options = {.file_seconds = 1000, .job_seconds = 1000};
    fuzz_input input = {data, size};
    tmb_logger logger;
    tmb_store *store = NULL;
    tmb_error error = {0};
    char job[TMB_STORE_ID];
    char folder[64];
    (void)snprintf(folder, sizeof folder, "%s/timbre-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    fuzz_check(mkdtemp(folder) != NULL);
    tmb_logger_init(&logger, NULL, NULL, TMB_LOG_ERROR);
    fuzz_check(tmb_store_open(folder, &options, &logger, &store, &error) == TMB_OK);
    fill(store, job);
    tmb_store_close(&store);
    damage(folder, &input);
    tmb_status status = tmb_store_open(folder, &options, &logger, &store, &error);
    if (status == TMB_OK) {
        read_all(store, job);
    } else {
        fuzz_check(store == NULL && error.message[0] != '\0');
    }
    tmb_store_close(&store);
    tmb_logger_deinit(&logger);
    fuzz_check(nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS) == 0);
    return 0;
}

/* One for each of the first columns, with a value of each kind. */
void fuzz_seeds(fuzz_add_seed add) {
    for (unsigned i = 0; i < 48; i++) {
        const uint8_t input[] = {0, (uint8_t)i, (uint8_t)(i % 6), 9, 1, 'a', '\0', 0xff, 'b', 0x80, 0x7f, 1, 2, 3};
        add(input, sizeof input);
    }
}
