/* What the store's parts share: the connection, its lock, statements. */
#ifndef TMB_QUEUE_DATABASE_H
#define TMB_QUEUE_DATABASE_H

#include "queue/store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>

struct tmb_store {
    pthread_mutex_t lock; /* of everything below */
    sqlite3 *database;
    uint64_t bytes; /* of files and voices, uploads under way included */
    tmb_store_options options;
    tmb_logger *logger;
    int lock_file; /* held with flock while the folder is ours */
    char folder[4096];
};

/* Opens the database, brings its schema up to date. */
tmb_status tmb_database_open(tmb_store *store, tmb_error *error);

/* A statement with its parameters bound from `types`: 's' const char * (NULL = null), 'i' int64_t, 'd'
 * double. NULL on failure, which is logged. */
sqlite3_stmt *tmb_database_prepare(tmb_store *store, const char *sql, const char *types, ...);

/* Runs a statement that gives no rows; frees it. */
tmb_store_status tmb_database_run(tmb_store *store, const char *sql, const char *types, ...);

/* The first column of the first row as a number, or `otherwise`. */
int64_t tmb_database_number(tmb_store *store, int64_t otherwise, const char *sql, const char *types, ...);

/* Logs what SQLite said and turns it into a status. */
tmb_store_status tmb_database_failure(tmb_store *store, int code);

tmb_store_status tmb_database_begin(tmb_store *store);
/* Commits where `status` is TMB_STORE_OK, else rolls back. Returns what came of it. */
tmb_store_status tmb_database_end(tmb_store *store, tmb_store_status status);

/* A column as text, never NULL. */
const char *tmb_column_text(sqlite3_stmt *statement, int column);
/* Copies a column into `out`, cut at a character's beginning where it does not fit. */
void tmb_column_copy(sqlite3_stmt *statement, int column, char *out, size_t size);

/* Seconds since 1970. */
double tmb_wall_clock(void);

/* ENOSPC and its relatives are TMB_STORE_NO_SPACE, the rest is TMB_STORE_FAILED and logged. */
tmb_store_status tmb_store_errno(tmb_store *store, const char *what);

/* "FOLDER/files/ID" and so on. */
void tmb_store_file_path(const tmb_store *store, const char *folder, const char *id, char path[TMB_STORE_PATH]);

/* Flushes a file's bytes to the disk; `bytes` (may be NULL) gets their number. */
tmb_store_status tmb_store_flush(tmb_store *store, const char *path, uint64_t *bytes);
/* tmb_store_file_adopt for callers that hold the lock: flush and move the file, give it an id, add its
 * row. A caller whose transaction fails later calls tmb_store_file_forget. */
tmb_store_status tmb_store_file_add(tmb_store *store, const char *path, tmb_file_info *info);
/* Unlinks a file, whose row was removed, and takes it off the books. */
void tmb_store_file_forget(tmb_store *store, const char *id, uint64_t bytes);

#endif
