#include "queue/database.h"

#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Version 1. Times are seconds since 1970 as REAL. `owned` files go with their job. */
static const char schema[] =
    "CREATE TABLE IF NOT EXISTS files("
    " id TEXT PRIMARY KEY, name TEXT NOT NULL, content_type TEXT NOT NULL, bytes INTEGER NOT NULL,"
    " sample_rate INTEGER NOT NULL, duration REAL NOT NULL, created REAL NOT NULL, expires REAL NOT NULL) WITHOUT "
    "ROWID;"
    "CREATE INDEX IF NOT EXISTS files_expires ON files(expires);"
    "CREATE TABLE IF NOT EXISTS voices("
    " name TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, content_type TEXT NOT NULL, language TEXT NOT NULL, ref_text "
    "TEXT,"
    " x_vector_only INTEGER NOT NULL, run_pre_processing INTEGER NOT NULL, bytes INTEGER NOT NULL, duration REAL NOT "
    "NULL,"
    " created REAL NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS jobs("
    " number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, label TEXT NOT NULL, repeat_key TEXT UNIQUE,"
    " created REAL NOT NULL, finished REAL NOT NULL);"
    "CREATE TABLE IF NOT EXISTS items("
    " job INTEGER NOT NULL REFERENCES jobs(number) ON DELETE CASCADE, position INTEGER NOT NULL, state INTEGER NOT "
    "NULL,"
    " request TEXT NOT NULL, result TEXT, file TEXT, PRIMARY KEY(job, position)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS items_state ON items(state, job, position) WHERE state < 2;"
    "CREATE TABLE IF NOT EXISTS job_files("
    " job INTEGER NOT NULL REFERENCES jobs(number) ON DELETE CASCADE, file TEXT NOT NULL, owned INTEGER NOT NULL,"
    " PRIMARY KEY(job, file)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS job_files_file ON job_files(file);"
    "PRAGMA user_version=1;";

double tmb_wall_clock(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

tmb_store_status tmb_store_errno(tmb_store *store, const char *what) {
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) {
        return TMB_STORE_NO_SPACE;
    }
    if (errno == ENOENT) {
        return TMB_STORE_NOT_FOUND;
    }
    int code = errno;
    tmb_log(store->logger, TMB_LOG_ERROR, "%s in %s: %s", what, store->folder, strerror(code));
    return code == EMFILE || code == ENFILE || code == ENOMEM ? TMB_STORE_BUSY : TMB_STORE_FAILED;
}

tmb_store_status tmb_database_failure(tmb_store *store, int code) {
    if (code == SQLITE_FULL || code == SQLITE_IOERR) {
        int system_code = sqlite3_system_errno(store->database);
        if (code == SQLITE_FULL || system_code == ENOSPC || system_code == EDQUOT || system_code == EFBIG) {
            return TMB_STORE_NO_SPACE;
        }
    }
    tmb_log(store->logger, TMB_LOG_ERROR, "state database: %s (%d)", sqlite3_errmsg(store->database),
            sqlite3_extended_errcode(store->database));
    return code == SQLITE_NOMEM ? TMB_STORE_BUSY : TMB_STORE_FAILED;
}

static sqlite3_stmt *prepare(tmb_store *store, const char *sql, const char *types, va_list values) {
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL);
    for (int i = 0; code == SQLITE_OK && types[i]; i++) {
        if (types[i] == 's') {
            code = sqlite3_bind_text(statement, i + 1, va_arg(values, const char *), -1, SQLITE_TRANSIENT);
        } else if (types[i] == 'd') {
            code = sqlite3_bind_double(statement, i + 1, va_arg(values, double));
        } else {
            code = sqlite3_bind_int64(statement, i + 1, va_arg(values, int64_t));
        }
    }
    if (code != SQLITE_OK) {
        (void)tmb_database_failure(store, code & 0xff);
        (void)sqlite3_finalize(statement);
        return NULL;
    }
    return statement;
}

sqlite3_stmt *tmb_database_prepare(tmb_store *store, const char *sql, const char *types, ...) {
    va_list values;
    va_start(values, types);
    sqlite3_stmt *statement = prepare(store, sql, types, values);
    va_end(values);
    return statement;
}

tmb_store_status tmb_database_run(tmb_store *store, const char *sql, const char *types, ...) {
    va_list values;
    va_start(values, types);
    sqlite3_stmt *statement = prepare(store, sql, types, values);
    va_end(values);
    if (!statement) {
        return TMB_STORE_FAILED;
    }
    int code = sqlite3_step(statement);
    tmb_store_status status =
        code == SQLITE_DONE || code == SQLITE_ROW ? TMB_STORE_OK : tmb_database_failure(store, code & 0xff);
    (void)sqlite3_finalize(statement);
    return status;
}

int64_t tmb_database_number(tmb_store *store, int64_t otherwise, const char *sql, const char *types, ...) {
    va_list values;
    va_start(values, types);
    sqlite3_stmt *statement = prepare(store, sql, types, values);
    va_end(values);
    int64_t number = otherwise;
    if (statement && sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_type(statement, 0) != SQLITE_NULL) {
        number = sqlite3_column_int64(statement, 0);
    }
    (void)sqlite3_finalize(statement);
    return number;
}

tmb_store_status tmb_database_begin(tmb_store *store) { return tmb_database_run(store, "BEGIN IMMEDIATE", ""); }

tmb_store_status tmb_database_end(tmb_store *store, tmb_store_status status) {
    if (status == TMB_STORE_OK) {
        status = tmb_database_run(store, "COMMIT", "");
    }
    if (status != TMB_STORE_OK && !sqlite3_get_autocommit(store->database)) {
        (void)tmb_database_run(store, "ROLLBACK", "");
    }
    return status;
}

const char *tmb_column_text(sqlite3_stmt *statement, int column) {
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text ? text : "";
}

void tmb_column_copy(sqlite3_stmt *statement, int column, char *out, size_t size) {
    const char *text = tmb_column_text(statement, column);
    size_t length = strlen(text);
    if (length >= size) {
        length = size - 1;
        while (length && ((unsigned char)text[length] & 0xC0) == 0x80) {
            length--;
        }
    }
    memcpy(out, text, length);
    out[length] = 0;
}

tmb_status tmb_database_open(tmb_store *store, tmb_error *error) {
    char path[TMB_STORE_PATH];
    (void)snprintf(path, sizeof(path), "%s/state.db", store->folder);
    int code =
        sqlite3_open_v2(path, &store->database,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);
    if (code == SQLITE_OK) {
        (void)sqlite3_extended_result_codes(store->database, 0);
        (void)sqlite3_busy_timeout(store->database, 5000);
        /* WAL survives the death of the process by itself, FULL also that of the machine. */
        code = sqlite3_exec(
            store->database,
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA cache_size=-128;"
            "PRAGMA journal_size_limit=4194304; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"
            "PRAGMA temp_store=MEMORY;",
            NULL, NULL, NULL);
    }
    int64_t version = code == SQLITE_OK ? tmb_database_number(store, -1, "PRAGMA user_version", "") : -1;
    if (code == SQLITE_OK && version > 1) {
        return tmb_fail(error, TMB_ERROR_IO,
                        "%s was made by a newer timbre (schema %lld): use that one or another --state-dir", path,
                        (long long)version);
    }
    if (code == SQLITE_OK) {
        code = sqlite3_exec(store->database, schema, NULL, NULL, NULL);
    }
    if (code == SQLITE_OK) {
        /* What ran when the last process died runs again. */
        code = sqlite3_exec(store->database, "UPDATE items SET state=0 WHERE state=1", NULL, NULL, NULL);
    }
    if (code != SQLITE_OK) {
        return tmb_fail(error, TMB_ERROR_IO, "%s: %s", path,
                        store->database ? sqlite3_errmsg(store->database) : sqlite3_errstr(code));
    }
    return TMB_OK;
}
