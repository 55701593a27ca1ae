/* Opening the state database: its tables, whether it is whole, and what is repaired. */
#include "base/error.h"
#include "base/thread.h"
#include "queue/sqlite/database.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Times are seconds since 1970 as REAL. `owned` files go with their job. Version 2 added `pending` (the audio of an
 * item whose result is not stored yet), `delivery` and `lease` (of the monotonic clock), `body` (what an
 * Idempotency-Key came with) and `removed` (files that may be unlinked). */
static const char tables[] =
    "CREATE TABLE files("
    " id TEXT PRIMARY KEY, name TEXT NOT NULL, content_type TEXT NOT NULL, bytes INTEGER NOT NULL,"
    " sample_rate INTEGER NOT NULL, duration REAL NOT NULL, created REAL NOT NULL, expires REAL NOT NULL) WITHOUT "
    "ROWID;"
    "CREATE INDEX files_expires ON files(expires);"
    "CREATE TABLE voices("
    " name TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, content_type TEXT NOT NULL, language TEXT NOT NULL, ref_text "
    "TEXT,"
    " x_vector_only INTEGER NOT NULL, run_pre_processing INTEGER NOT NULL, bytes INTEGER NOT NULL, duration REAL NOT "
    "NULL,"
    " created REAL NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE jobs("
    " number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, label TEXT NOT NULL, repeat_key TEXT UNIQUE,"
    " created REAL NOT NULL, finished REAL NOT NULL);"
    "CREATE TABLE items("
    " job INTEGER NOT NULL REFERENCES jobs(number) ON DELETE CASCADE, position INTEGER NOT NULL, state INTEGER NOT "
    "NULL,"
    " request TEXT NOT NULL, result TEXT, file TEXT, PRIMARY KEY(job, position)) WITHOUT ROWID;"
    "CREATE INDEX items_state ON items(state, job, position) WHERE state < 2;"
    "CREATE TABLE job_files("
    " job INTEGER NOT NULL REFERENCES jobs(number) ON DELETE CASCADE, file TEXT NOT NULL, owned INTEGER NOT NULL,"
    " PRIMARY KEY(job, file)) WITHOUT ROWID;"
    "CREATE INDEX job_files_file ON job_files(file);"
    "PRAGMA user_version=1;";
static const char version_2[] = "ALTER TABLE files ADD COLUMN pending INTEGER NOT NULL DEFAULT 0;"
                                "ALTER TABLE items ADD COLUMN delivery INTEGER NOT NULL DEFAULT 0;"
                                "ALTER TABLE items ADD COLUMN lease REAL NOT NULL DEFAULT 0;"
                                "ALTER TABLE jobs ADD COLUMN body TEXT;"
                                "CREATE TABLE removed(id TEXT PRIMARY KEY) WITHOUT ROWID;"
                                "PRAGMA user_version=2;";
static const int64_t newest = 2;
/* Tables of each version. */
static const int64_t table_counts[] = {0, 5, 6};

/* What one cannot say about a value without reading its row: each is set to what the rest of the row says. Only values
 * that no timbre ever wrote are touched. ?1 is the time, ?2 a file's life, ?3 the last time that is believed. */
static const struct repair {
    const char *what, *sql;
} repairs[] = {
    {"files with impossible times",
     "UPDATE files SET created=?1, expires=?1+?2 WHERE typeof(expires) NOT IN ('real','integer') OR"
     " typeof(created) NOT IN ('real','integer') OR NOT (expires BETWEEN 0 AND ?3) OR NOT (created BETWEEN 0 AND ?3) OR"
     " expires < created-10"},
    {"jobs with impossible times",
     "UPDATE jobs SET created=?1 WHERE typeof(created) NOT IN ('real','integer') OR NOT (created BETWEEN 0 AND ?3) OR"
     " ?2 IS NULL"},
    {"items in no known state",
     "UPDATE items SET state=CASE WHEN result IS NULL THEN 0 WHEN file IS NULL THEN 3 ELSE 2 END"
     " WHERE typeof(state)<>'integer' OR NOT (state BETWEEN 0 AND 3) OR ?1+?2+?3 IS NULL"},
    {"items that are done without a result",
     "UPDATE items SET state=0, file=NULL WHERE state>=2 AND (result IS NULL OR ?1+?2+?3 IS NULL)"},
    {"jobs that end at another time than their last item",
     "UPDATE jobs SET finished=CASE WHEN EXISTS(SELECT 1 FROM items WHERE job=number AND state<2) THEN 0 ELSE ?1 END"
     " WHERE typeof(finished) NOT IN ('real','integer') OR NOT (finished BETWEEN 0 AND ?3) OR"
     " (finished=0) <> EXISTS(SELECT 1 FROM items WHERE job=number AND state<2) OR"
     " (finished>0 AND finished < created-10) OR ?2 IS NULL"},
};

static tmb_status damaged(const tmb_sqlite *store, const char *what, tmb_error *error) {
    return tmb_fail(error, TMB_ERROR_IO,
                    "%s/state.db is damaged (%s); nothing was changed, and the recordings in voices/ and files/ are as "
                    "they were. Copy the folder, then put back a backup of state.db (sqlite3 state.db \".backup "
                    "FILE\"), or repair it: sqlite3 state.db .recover | sqlite3 new.db, and put new.db in its place "
                    "without state.db-wal and state.db-shm",
                    store->folder, what);
}

static tmb_status failed(tmb_sqlite *store, int code, tmb_error *error) {
    int kind = code & 0xff;
    const char *message = store->writer.handle != NULL ? sqlite3_errmsg(store->writer.handle) : sqlite3_errstr(code);
    if (kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB || kind == SQLITE_ERROR) {
        char what[200];
        (void)snprintf(what, sizeof what, "%.190s", message);
        return damaged(store, what, error);
    }
    bool locked = kind == SQLITE_BUSY || kind == SQLITE_LOCKED;
    return tmb_fail(error, TMB_ERROR_IO, "%s/state.db: %s%s", store->folder, message,
                    locked ? " by another program: end that one first" : "");
}

static int open_connection(tmb_sqlite *store, tmb_database *database, const char *settings) {
    char path[TMB_STORE_PATH];
    (void)snprintf(path, sizeof path, "%s/state.db", store->folder);
    database->logger = store->logger;
    int code =
        sqlite3_open_v2(path, &database->handle,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);
    if (code == SQLITE_OK) {
        (void)sqlite3_extended_result_codes(database->handle, 0);
        (void)sqlite3_busy_timeout(database->handle, 3000);
        code = sqlite3_exec(database->handle, settings, NULL, NULL, NULL);
    }
    return code;
}

static int open_writer(tmb_sqlite *store) {
    /* WAL survives the death of the process by itself, FULL also that of the machine. */
    return open_connection(
        store, &store->writer,
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA cache_size=-128;"
        "PRAGMA journal_size_limit=4194304; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"
        "PRAGMA temp_store=MEMORY;");
}

static int count(tmb_sqlite *store, const char *sql, int64_t *out) {
    sqlite3_stmt *row = NULL;
    int code = sqlite3_prepare_v2(store->writer.handle, sql, -1, &row, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_step(row);
        *out = code == SQLITE_ROW ? sqlite3_column_int64(row, 0) : 0;
        code = code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
    }
    (void)sqlite3_finalize(row);
    return code;
}

/* The first thing that is wrong in `what`, "" if nothing is. */
static int check_pages(tmb_sqlite *store, char what[200]) {
    sqlite3_stmt *row = NULL;
    what[0] = 0;
    int code = sqlite3_prepare_v2(store->writer.handle, "PRAGMA integrity_check(1)", -1, &row, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_step(row);
    }
    if (code == SQLITE_ROW) {
        tmb_column_copy(row, 0, what, 200);
        what[strcmp(what, "ok") == 0 ? 0 : strlen(what)] = 0;
        code = SQLITE_OK;
    }
    (void)sqlite3_finalize(row);
    return code;
}

/* Copies every row into a new database, walking the tables and not their indexes. */
static int copy_tables(const char *from, sqlite3 *fresh, int64_t version) {
    static const char *const names[] = {"files", "voices", "jobs", "items", "job_files", "removed"};
    char sql[128];
    int code = sqlite3_exec(fresh, tables, NULL, NULL, NULL);
    if (code == SQLITE_OK && version >= 2) {
        code = sqlite3_exec(fresh, version_2, NULL, NULL, NULL);
    }
    char *attach = sqlite3_mprintf("ATTACH %Q AS old; BEGIN;", from);
    code = code == SQLITE_OK && attach != NULL ? sqlite3_exec(fresh, attach, NULL, NULL, NULL) : SQLITE_NOMEM;
    sqlite3_free(attach);
    for (int64_t i = 0; i < table_counts[version] && code == SQLITE_OK; i++) {
        /* The condition keeps SQLite from copying the pages of table and indexes as they are. */
        (void)snprintf(sql, sizeof sql, "INSERT INTO main.%s SELECT * FROM old.%s NOT INDEXED WHERE 1", names[i],
                       names[i]);
        code = sqlite3_exec(fresh, sql, NULL, NULL, NULL);
    }
    return code == SQLITE_OK ? sqlite3_exec(fresh, "COMMIT; DETACH old; PRAGMA journal_mode=DELETE", NULL, NULL, NULL)
                             : code;
}

/* Makes the database again from its tables; the old file goes to lost+found. Nothing is changed if that cannot be. */
static int rebuild(tmb_sqlite *store, int64_t version) {
    char path[TMB_STORE_PATH];
    char fresh_path[TMB_STORE_PATH];
    char old_path[TMB_STORE_PATH];
    char name[TMB_ID_LENGTH + 16] = "state.db.";
    sqlite3 *fresh = NULL;
    (void)snprintf(path, sizeof path, "%s/state.db", store->folder);
    (void)snprintf(fresh_path, sizeof fresh_path, "%s/tmp/state.db.new", store->folder);
    (void)unlink(fresh_path);
    int code =
        sqlite3_open_v2(fresh_path, &fresh, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK) {
        code = copy_tables(path, fresh, version);
    }
    (void)sqlite3_close(fresh);
    if (code == SQLITE_OK && tmb_random_id(name + strlen(name))) {
        tmb_sqlite_file_path(store, "lost+found", name, old_path);
        /* Closing it writes its log into it. */
        (void)sqlite3_close(store->writer.handle);
        store->writer.handle = NULL;
        code = rename(path, old_path) || rename(fresh_path, path) ? SQLITE_IOERR : open_writer(store);
    }
    (void)unlink(fresh_path);
    return code;
}

/* Every page is looked at. If only indexes disagree with their tables, or are damaged, all is made again. */
static tmb_status check(tmb_sqlite *store, int64_t version, tmb_error *error) {
    char what[200];
    char again[200] = "";
    int code = check_pages(store, what);
    if (code != SQLITE_OK) {
        return failed(store, code, error);
    }
    if (!what[0]) {
        return TMB_OK;
    }
    code = rebuild(store, version);
    if (code == SQLITE_OK) {
        code = check_pages(store, again);
    }
    if (code != SQLITE_OK || again[0]) {
        return damaged(store, what, error);
    }
    tmb_log(
        store->logger, TMB_LOG_WARNING,
        "%s/state.db was damaged (%s): its indexes were made again from its tables, which are whole. The old file is "
        "in lost+found",
        store->folder, what);
    return TMB_OK;
}

/* What ran when the last process died runs again, and values that cannot be are set right. */
static tmb_store_status repair(tmb_sqlite *store) {
    tmb_database *database = &store->writer;
    tmb_store_status status = tmb_database_begin(database);
    for (size_t i = 0; status == TMB_STORE_OK && i < sizeof repairs / sizeof repairs[0]; i++) {
        status = tmb_database_run(database, repairs[i].sql, "ddd", tmb_wall_clock(), store->options.file_seconds,
                                  TMB_TIME_MOST);
        int changed = status == TMB_STORE_OK ? sqlite3_changes(database->handle) : 0;
        if (changed) {
            tmb_log(store->logger, TMB_LOG_WARNING, "%s/state.db: %d %s were set right", store->folder, changed,
                    repairs[i].what);
        }
    }
    if (status == TMB_STORE_OK) {
        status = tmb_database_run(database, "UPDATE items SET state=0 WHERE state=1", "");
    }
    return tmb_database_end(database, status);
}

/* Makes the tables that are missing between the database's version and ours. */
static int bring_up_to_date(tmb_sqlite *store, int64_t version) {
    sqlite3 *handle = store->writer.handle;
    int code = version < newest ? sqlite3_exec(handle, "BEGIN IMMEDIATE", NULL, NULL, NULL) : SQLITE_OK;
    if (code == SQLITE_OK && version < 1) {
        code = sqlite3_exec(handle, tables, NULL, NULL, NULL);
    }
    if (code == SQLITE_OK && version < 2) {
        code = sqlite3_exec(handle, version_2, NULL, NULL, NULL);
    }
    if (version < newest) {
        int end = sqlite3_exec(handle, code == SQLITE_OK ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL);
        code = code == SQLITE_OK ? end : code;
    }
    return code;
}

/* SQLite opens what it cannot write for reading, without a word. */
static tmb_status check_writable(const tmb_sqlite *store, tmb_error *error) {
    char path[TMB_STORE_PATH];
    (void)snprintf(path, sizeof path, "%s/state.db", store->folder);
    if (sqlite3_db_readonly(store->writer.handle, "main") != 1) {
        return TMB_OK;
    }
    return access(path, W_OK) == 0 ? damaged(store, "its header is of an unknown format", error)
                                   : tmb_fail_errno(error, TMB_ERROR_IO, errno, "cannot write %s", path);
}

tmb_status tmb_database_open(tmb_sqlite *store, bool *is_new, tmb_error *error) {
    int64_t version = 0;
    int64_t found = 0;
    int code = open_writer(store);
    if (code == SQLITE_OK) {
        code = count(store, "PRAGMA user_version", &version);
    }
    if (code == SQLITE_OK) {
        code = count(store,
                     "SELECT count(*) FROM sqlite_schema WHERE type='table' AND name IN"
                     " ('files','voices','jobs','items','job_files','removed')",
                     &found);
    }
    if (code != SQLITE_OK) {
        return failed(store, code, error);
    }
    if (version > newest) {
        return tmb_fail(error, TMB_ERROR_IO,
                        "%s/state.db was made by a newer timbre (schema %lld): use that one or another --state-dir",
                        store->folder, (long long)version);
    }
    if (version < 0 || found != table_counts[version]) {
        return damaged(store, "tables are missing", error);
    }
    *is_new = version == 0;
    tmb_status status = check_writable(store, error);
    return status == TMB_OK && !*is_new ? check(store, version, error) : status;
}

tmb_status tmb_database_prepare_tables(tmb_sqlite *store, tmb_error *error) {
    int64_t version = 0;
    int code = count(store, "PRAGMA user_version", &version);
    if (code == SQLITE_OK) {
        code = bring_up_to_date(store, version);
    }
    if (code != SQLITE_OK) {
        return failed(store, code, error);
    }
    if (repair(store) != TMB_STORE_OK) {
        return failed(store, sqlite3_errcode(store->writer.handle), error);
    }
    code = open_connection(store, &store->reader,
                           "PRAGMA query_only=ON; PRAGMA cache_size=-128; PRAGMA trusted_schema=OFF;"
                           "PRAGMA cell_size_check=ON; PRAGMA temp_store=MEMORY;");
    return code == SQLITE_OK ? TMB_OK : failed(store, code, error);
}

void tmb_database_close(tmb_sqlite *store) {
    (void)sqlite3_close(store->reader.handle);
    (void)sqlite3_close(store->writer.handle);
    store->reader.handle = store->writer.handle = NULL;
}
