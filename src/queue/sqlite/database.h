/* The store on one machine: everything is in one folder: state.db (SQLite in WAL mode), files/, voices/, tmp/,
 * lost+found/. A row is only written once its file is complete on disk, and a file without a row is moved to lost+found
 * at the next start. Only one process may have a folder open.
 *
 * Functions that write take turns, and say TMB_STORE_BUSY if another program keeps the database locked for seconds;
 * those that only read do not wait for them. This header has what the store's parts share: two connections, their
 * locks, statements.
 *
 * Status and value come apart everywhere: a query that failed never looks like a query that found nothing. */
#ifndef TMB_QUEUE_SQLITE_DATABASE_H
#define TMB_QUEUE_SQLITE_DATABASE_H

#include "queue/jobs.h"
#include "queue/sqlite/sqlite.h"
#include "queue/voices.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>

typedef struct tmb_database {
    sqlite3 *handle;
    tmb_logger *logger;
} tmb_database;

typedef struct tmb_sqlite {
    tmb_store base; /* first */
    /* For `writer`. A flag with a condition instead of a mutex, because taking it has a time limit: whoever holds it
     * may be waiting for a lock that another program has on the database. */
    pthread_mutex_t write_lock;
    pthread_cond_t write_free;
    bool writing;
    pthread_mutex_t read_lock; /* of `reader`; in WAL mode no writer holds it up */
    tmb_database writer, reader;
    _Atomic(uint64_t) bytes; /* on disk: files, voices with what was prepared, lost+found, and what is being written */
    pthread_mutex_t watch_lock;
    tmb_job_watch watch;
    void *watch_user;
    tmb_store_options options;
    tmb_logger *logger;
    int lock_file; /* held with flock while the folder is ours */
    char folder[4096];
} tmb_sqlite;

static inline tmb_sqlite *tmb_sqlite_of(tmb_store *base) { return (tmb_sqlite *)base; }

/* The operations that each file brings. */
extern const tmb_blob_operations tmb_sqlite_blobs;
extern const tmb_voice_operations tmb_sqlite_voices;
extern const tmb_job_operations tmb_sqlite_jobs;

/* Operations that are used by another file of the folder. */
void tmb_sqlite_watch(tmb_store *base, tmb_job_watch watch, void *user);
bool tmb_sqlite_book(tmb_store *base, uint64_t bytes);
void tmb_sqlite_unbook(tmb_store *base, uint64_t bytes);
tmb_store_status tmb_sqlite_item_list(tmb_store *base, const char *job, tmb_job_item **out, size_t *count);
tmb_store_status tmb_sqlite_item_take(tmb_store *base, const tmb_taking *how, tmb_delivery *out);
tmb_store_status tmb_sqlite_item_renew(tmb_store *base, const tmb_delivery *delivery, double lease_seconds);
tmb_store_status tmb_sqlite_item_give_back(tmb_store *base, const tmb_delivery *delivery, bool unable);
tmb_store_status tmb_sqlite_item_finish(tmb_store *base, const tmb_delivery *delivery, tmb_item_state state,
                                        const char *result, const char *audio);
tmb_store_status tmb_sqlite_item_counts(tmb_store *base, size_t *queued, size_t *running);

/* ---- Opening ------------------------------------------------------------------------------- */

/* Opens FOLDER/state.db and checks every page; damaged indexes are made again from their tables. Any other damage is
 * TMB_ERROR_IO with a message that says what to do. *is_new: it has no tables. */
tmb_status tmb_database_open(tmb_sqlite *store, bool *is_new, tmb_error *error);
/* Brings the schema up to date, sets values that cannot be to what the rest of their row says, opens `reader`. */
tmb_status tmb_database_prepare_tables(tmb_sqlite *store, tmb_error *error);
void tmb_database_close(tmb_sqlite *store);

/* Whether voices/ and files/ are empty. */
bool tmb_sqlite_is_empty(tmb_sqlite *store);
/* Compares the folders with the rows: files without a row are moved to lost+found, and a row is only deleted if the
 * system says that its file does not exist. Any other doubt ends the sweep and the start. Books the bytes. */
tmb_status tmb_sqlite_sweep(tmb_sqlite *store, tmb_error *error);

/* ---- Locks --------------------------------------------------------------------------------- */

/* The right to use `writer`. TMB_STORE_BUSY if it stays taken for seconds. */
tmb_store_status tmb_sqlite_write_begin(tmb_sqlite *store);
void tmb_sqlite_write_end(tmb_sqlite *store);
/* The right to use `reader`. */
tmb_database *tmb_sqlite_read_begin(tmb_sqlite *store);
void tmb_sqlite_read_end(tmb_sqlite *store);

/* ---- Statements ---------------------------------------------------------------------------- */

/* A statement with its parameters bound from `types`: 's' const char * (NULL = null), 'i' int64_t, 'd'
 * double. Failures are logged; *out is NULL then. */
tmb_store_status tmb_database_prepare(tmb_database *database, sqlite3_stmt **out, const char *sql, const char *types,
                                      ...);

tmb_store_status tmb_database_prepare_list(tmb_database *database, sqlite3_stmt **out, const char *sql,
                                           const char *types, va_list values);

/* TMB_STORE_OK: there is a row; TMB_STORE_NOT_FOUND: there is none, or no more; otherwise a failure, logged. */
tmb_store_status tmb_database_step(tmb_database *database, sqlite3_stmt *statement);

/* Runs a statement that gives no rows. */
tmb_store_status tmb_database_run(tmb_database *database, const char *sql, const char *types, ...);

/* The first column of the first row as a number in *out. TMB_STORE_NOT_FOUND: there is no row, or it is null. */
tmb_store_status tmb_database_number(tmb_database *database, int64_t *out, const char *sql, const char *types, ...);

/* Logs what SQLite said and turns it into a status. */
tmb_store_status tmb_database_failure(tmb_database *database, int code);

tmb_store_status tmb_database_begin(tmb_database *database);
/* Commits if `status` is TMB_STORE_OK, otherwise rolls back. Returns what came of it. */
tmb_store_status tmb_database_end(tmb_database *database, tmb_store_status status);

/* ---- Values, whatever is in the row --------------------------------------------------------- */

/* One line of text: valid UTF-8 without control characters, cut between characters if it does not fit. */
void tmb_column_copy(sqlite3_stmt *statement, int column, char *out, size_t size);
/* Any length, line breaks kept, valid UTF-8; to be freed. NULL if the column is null (then *good stays true) or out of
 * memory. */
char *tmb_column_text(sqlite3_stmt *statement, int column, bool *good);
/* Within [least, most], or `otherwise`. */
int64_t tmb_column_integer(sqlite3_stmt *statement, int column, int64_t least, int64_t most, int64_t otherwise);
double tmb_column_real(sqlite3_stmt *statement, int column, double least, double most, double otherwise);
/* Seconds since 1970 up to the year 5138, or 0. */
double tmb_column_time(sqlite3_stmt *statement, int column);
#define TMB_TIME_MOST 1e11
#define TMB_BYTES_MOST ((int64_t)1 << 50)

/* ---- Files --------------------------------------------------------------------------------- */

/* What errno says: no space, not found, busy, or failed, which is logged with `what`. */
tmb_store_status tmb_sqlite_errno(tmb_sqlite *store, const char *what);

/* "FOLDER/files/ID" and so on. */
void tmb_sqlite_file_path(const tmb_sqlite *store, const char *folder, const char *id, char path[TMB_STORE_PATH]);

/* Opens a regular file to read. `*bytes` is what it should have, 0 if nobody knows; then it gets what it has. */
tmb_store_status tmb_sqlite_open_file(tmb_sqlite *store, const char *path, uint64_t *bytes, int *descriptor);
/* Flushes a file's bytes to the disk; `bytes` (may be NULL) gets their number. */
tmb_store_status tmb_sqlite_flush(tmb_sqlite *store, const char *path, uint64_t *bytes);
/* After a write that must be possible on a full disk too: true if there was no space and there is some now, so that it
 * is worth trying again. */
bool tmb_sqlite_use_reserve(tmb_sqlite *store, tmb_store_status status);
/* Calls the watch, without any other lock held. */
void tmb_sqlite_tell(tmb_sqlite *store, tmb_job_event event, const char *job);

/* ---- Removing ------------------------------------------------------------------------------ */

typedef struct tmb_id_list {
    char (*ids)[TMB_STORE_ID];
    size_t count, capacity;
} tmb_id_list;

/* Ids that are none are left out. */
tmb_store_status tmb_id_list_query(tmb_database *database, tmb_id_list *list, const char *sql, const char *types, ...);
void tmb_id_list_free(tmb_id_list *list);

/* Unlink a file, or a voice with all that was prepared from it, and take what they had off the books. The row went
 * before, in a transaction that added the id to the table `removed`: if the process dies in between, the next start
 * does this. */
void tmb_sqlite_unlink_path(tmb_sqlite *store, const char *path);
void tmb_sqlite_unlink_file(tmb_sqlite *store, const char *id);
void tmb_sqlite_unlink_voice(tmb_sqlite *store, const char *id);
/* Unlinks everything that is listed in `removed` and empties it. */
tmb_store_status tmb_sqlite_purge(tmb_sqlite *store);

#endif
