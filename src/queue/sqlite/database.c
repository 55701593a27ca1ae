/* Statements and values of the state database. */
#include "queue/sqlite/database.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long a request waits for the right to write, and (at the database) for another program's lock. Work that must
 * not be lost tries again; a request is told to come back. */
static const double write_wait_seconds = 3;

tmb_store_status tmb_sqlite_errno(tmb_sqlite *store, const char *what) {
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

/* ---- Locks ---- */

tmb_store_status tmb_sqlite_write_begin(tmb_sqlite *store) {
    struct timespec end = tmb_deadline(write_wait_seconds);
    int code = 0;
    (void)pthread_mutex_lock(&store->write_lock);
    while (store->writing && code != ETIMEDOUT) {
        code = pthread_cond_timedwait(&store->write_free, &store->write_lock, &end);
    }
    bool mine = !store->writing;
    store->writing = true;
    (void)pthread_mutex_unlock(&store->write_lock);
    return mine ? TMB_STORE_OK : TMB_STORE_BUSY;
}

void tmb_sqlite_write_end(tmb_sqlite *store) {
    (void)pthread_mutex_lock(&store->write_lock);
    store->writing = false;
    (void)pthread_cond_signal(&store->write_free);
    (void)pthread_mutex_unlock(&store->write_lock);
}

tmb_database *tmb_sqlite_read_begin(tmb_sqlite *store) {
    (void)pthread_mutex_lock(&store->read_lock);
    return &store->reader;
}

void tmb_sqlite_read_end(tmb_sqlite *store) { (void)pthread_mutex_unlock(&store->read_lock); }

/* ---- Statements ---- */

tmb_store_status tmb_database_failure(tmb_database *database, int code) {
    int kind = code & 0xff;
    if (kind == SQLITE_FULL || kind == SQLITE_IOERR) {
        int system_code = sqlite3_system_errno(database->handle);
        if (kind == SQLITE_FULL || system_code == ENOSPC || system_code == EDQUOT || system_code == EFBIG) {
            return TMB_STORE_NO_SPACE;
        }
    }
    tmb_log(database->logger, TMB_LOG_ERROR, "state database: %s (%d)", sqlite3_errmsg(database->handle),
            sqlite3_extended_errcode(database->handle));
    return kind == SQLITE_NOMEM || kind == SQLITE_BUSY || kind == SQLITE_LOCKED ? TMB_STORE_BUSY : TMB_STORE_FAILED;
}

tmb_store_status tmb_database_prepare_list(tmb_database *database, sqlite3_stmt **out, const char *sql,
                                           const char *types, va_list values) {
    *out = NULL;
    int code = sqlite3_prepare_v2(database->handle, sql, -1, out, NULL);
    for (int i = 0; code == SQLITE_OK && types[i]; i++) {
        if (types[i] == 's') {
            code = sqlite3_bind_text(*out, i + 1, va_arg(values, const char *), -1, SQLITE_TRANSIENT);
        } else if (types[i] == 'd') {
            code = sqlite3_bind_double(*out, i + 1, va_arg(values, double));
        } else {
            code = sqlite3_bind_int64(*out, i + 1, va_arg(values, int64_t));
        }
    }
    if (code == SQLITE_OK) {
        return TMB_STORE_OK;
    }
    tmb_store_status status = tmb_database_failure(database, code);
    (void)sqlite3_finalize(*out);
    *out = NULL;
    return status;
}

tmb_store_status tmb_database_prepare(tmb_database *database, sqlite3_stmt **out, const char *sql, const char *types,
                                      ...) {
    va_list values;
    va_start(values, types);
    tmb_store_status status = tmb_database_prepare_list(database, out, sql, types, values);
    va_end(values);
    return status;
}

tmb_store_status tmb_database_step(tmb_database *database, sqlite3_stmt *statement) {
    int code = sqlite3_step(statement);
    return code == SQLITE_ROW    ? TMB_STORE_OK
           : code == SQLITE_DONE ? TMB_STORE_NOT_FOUND
                                 : tmb_database_failure(database, code);
}

tmb_store_status tmb_database_run(tmb_database *database, const char *sql, const char *types, ...) {
    sqlite3_stmt *statement = NULL;
    va_list values;
    va_start(values, types);
    tmb_store_status status = tmb_database_prepare_list(database, &statement, sql, types, values);
    va_end(values);
    if (status == TMB_STORE_OK) {
        status = tmb_database_step(database, statement);
        status = status == TMB_STORE_NOT_FOUND ? TMB_STORE_OK : status;
    }
    (void)sqlite3_finalize(statement);
    return status;
}

tmb_store_status tmb_database_number(tmb_database *database, int64_t *out, const char *sql, const char *types, ...) {
    sqlite3_stmt *statement = NULL;
    va_list values;
    va_start(values, types);
    tmb_store_status status = tmb_database_prepare_list(database, &statement, sql, types, values);
    va_end(values);
    if (status == TMB_STORE_OK) {
        status = tmb_database_step(database, statement);
    }
    if (status == TMB_STORE_OK) {
        *out = sqlite3_column_int64(statement, 0);
        status = sqlite3_column_type(statement, 0) == SQLITE_NULL ? TMB_STORE_NOT_FOUND : TMB_STORE_OK;
    }
    (void)sqlite3_finalize(statement);
    return status;
}

tmb_store_status tmb_database_begin(tmb_database *database) {
    return tmb_database_run(database, "BEGIN IMMEDIATE", "");
}

tmb_store_status tmb_database_end(tmb_database *database, tmb_store_status status) {
    if (status == TMB_STORE_OK) {
        status = tmb_database_run(database, "COMMIT", "");
    }
    if (status != TMB_STORE_OK && !sqlite3_get_autocommit(database->handle)) {
        (void)tmb_database_run(database, "ROLLBACK", "");
    }
    return status;
}

/* ---- Values ---- */

/* Copies valid UTF-8; whatever is none becomes a question mark, and so do control characters, line breaks excepted if
 * `lines`. Returns the bytes written, without the NUL. */
static size_t copy_text(const char *text, size_t length, bool lines, char *out, size_t size) {
    size_t used = 0;
    for (size_t at = 0; at < length;) {
        uint32_t code = 0;
        size_t bytes = tmb_utf8_decode(text + at, length - at, &code);
        bool control = code < 0x20 || code == 0x7f;
        bool good = bytes && (!control || (lines && code != 0));
        size_t wanted = good ? bytes : 1;
        if (used + wanted >= size) {
            break;
        }
        if (good) {
            memcpy(out + used, text + at, bytes);
        } else {
            out[used] = '?';
        }
        used += wanted;
        at += bytes ? bytes : 1;
    }
    out[used] = 0;
    return used;
}

void tmb_column_copy(sqlite3_stmt *statement, int column, char *out, size_t size) {
    const char *text = (const char *)sqlite3_column_text(statement, column);
    (void)copy_text(text != NULL ? text : "", text != NULL ? (size_t)sqlite3_column_bytes(statement, column) : 0, false,
                    out, size);
}

char *tmb_column_text(sqlite3_stmt *statement, int column, bool *good) {
    if (sqlite3_column_type(statement, column) == SQLITE_NULL) {
        return NULL;
    }
    const char *text = (const char *)sqlite3_column_text(statement, column);
    size_t length = text != NULL ? (size_t)sqlite3_column_bytes(statement, column) : 0;
    char *copy = text != NULL ? tmb_calloc(length + 1, 1) : NULL;
    *good = *good && copy != NULL;
    if (copy != NULL) {
        (void)copy_text(text, length, true, copy, length + 1);
    }
    return copy;
}

int64_t tmb_column_integer(sqlite3_stmt *statement, int column, int64_t least, int64_t most, int64_t otherwise) {
    if (sqlite3_column_type(statement, column) != SQLITE_INTEGER) {
        return otherwise;
    }
    int64_t value = sqlite3_column_int64(statement, column);
    return value >= least && value <= most ? value : otherwise;
}

double tmb_column_real(sqlite3_stmt *statement, int column, double least, double most, double otherwise) {
    int type = sqlite3_column_type(statement, column);
    double value = sqlite3_column_double(statement, column);
    return (type == SQLITE_FLOAT || type == SQLITE_INTEGER) && value >= least && value <= most ? value : otherwise;
}

double tmb_column_time(sqlite3_stmt *statement, int column) {
    return tmb_column_real(statement, column, 0, TMB_TIME_MOST, 0);
}
