#include "base/thread.h"
#include "queue/sqlite/database.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

tmb_store_status tmb_sqlite_flush(tmb_sqlite *store, const char *path, uint64_t *bytes) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat status;
    if (descriptor < 0) {
        return tmb_sqlite_errno(store, "cannot open a finished file");
    }
    bool good = fdatasync(descriptor) == 0 && fstat(descriptor, &status) == 0;
    tmb_store_status result = good ? TMB_STORE_OK : tmb_sqlite_errno(store, "cannot flush a file");
    if (bytes != NULL) {
        *bytes = good ? (uint64_t)status.st_size : 0;
    }
    (void)close(descriptor);
    return result;
}

/* Moves a complete file of `info->bytes`, which are booked, into files/ and adds its row. The writer is the caller's.
 */
static tmb_store_status add(tmb_sqlite *store, const char *path, bool pending, tmb_file_info *info) {
    char target[TMB_STORE_PATH];
    tmb_sqlite_file_path(store, "files", info->id, target);
    if (rename(path, target)) {
        return tmb_sqlite_errno(store, "cannot move a finished file");
    }
    info->created = tmb_wall_clock();
    info->expires = info->created + store->options.file_seconds;
    tmb_store_status status =
        tmb_database_run(&store->writer,
                         "INSERT INTO files(id,name,content_type,bytes,sample_rate,duration,created,expires,pending)"
                         " VALUES(?,?,?,?,?,?,?,?,?)",
                         "sssiidddi", info->id, info->name, info->content_type, (int64_t)info->bytes,
                         (int64_t)info->sample_rate, info->duration, info->created, info->expires, (int64_t)pending);
    if (status != TMB_STORE_OK && rename(target, path)) {
        (void)tmb_sqlite_errno(store, "cannot move a file back");
    }
    return status;
}

static tmb_store_status adopt(tmb_store *base, const char *path, bool pending, uint64_t booked, tmb_file_info *info) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    tmb_store_status status = tmb_random_id(info->id) ? TMB_STORE_OK : TMB_STORE_FAILED;
    if (status == TMB_STORE_OK) {
        status = tmb_sqlite_flush(store, path, &info->bytes);
    }
    uint64_t more = info->bytes > booked ? info->bytes - booked : 0;
    if (status == TMB_STORE_OK && !tmb_sqlite_book(base, more)) {
        status = TMB_STORE_NO_SPACE;
    }
    if (status != TMB_STORE_OK) {
        tmb_sqlite_unbook(base, booked);
        return status;
    }
    status = tmb_sqlite_write_begin(store);
    if (status == TMB_STORE_OK) {
        status = add(store, path, pending, info);
        tmb_sqlite_write_end(store);
    }
    if (status != TMB_STORE_OK) {
        tmb_sqlite_unbook(base, booked + more);
    }
    return status;
}

static void read_file_row(sqlite3_stmt *row, tmb_file_info *info) {
    tmb_column_copy(row, 0, info->id, sizeof info->id);
    tmb_column_copy(row, 1, info->name, sizeof info->name);
    tmb_column_copy(row, 2, info->content_type, sizeof info->content_type);
    info->bytes = (uint64_t)tmb_column_integer(row, 3, 0, TMB_BYTES_MOST, 0);
    info->sample_rate = (int)tmb_column_integer(row, 4, 0, 1000000, 0);
    info->duration = tmb_column_real(row, 5, 0, 1e9, 0);
    info->created = tmb_column_time(row, 6);
    info->expires = tmb_column_time(row, 7);
}

static tmb_store_status get(tmb_store *base, const char *id, tmb_file_info *info) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    if (!tmb_is_id(id)) {
        return TMB_STORE_NOT_FOUND;
    }
    sqlite3_stmt *row = NULL;
    tmb_database *reader = tmb_sqlite_read_begin(store);
    tmb_store_status status =
        tmb_database_prepare(reader, &row,
                             "SELECT id, name, content_type, bytes, sample_rate, duration, created, expires FROM files"
                             " WHERE id=? AND (expires >= ? OR id IN (SELECT file FROM job_files))",
                             "sd", id, tmb_wall_clock());
    if (status == TMB_STORE_OK) {
        status = tmb_database_step(reader, row);
    }
    if (status == TMB_STORE_OK) {
        read_file_row(row, info);
    }
    (void)sqlite3_finalize(row);
    tmb_sqlite_read_end(store);
    return status;
}

tmb_store_status tmb_sqlite_open_file(tmb_sqlite *store, const char *path, uint64_t *bytes, int *descriptor) {
    struct stat found;
    *descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (*descriptor < 0) {
        return tmb_sqlite_errno(store, "cannot open a file");
    }
    bool good = fstat(*descriptor, &found) == 0 && S_ISREG(found.st_mode);
    if (good && *bytes == 0) {
        *bytes = (uint64_t)found.st_size; /* the row's number was none */
    }
    if (good && (uint64_t)found.st_size == *bytes) {
        return TMB_STORE_OK;
    }
    tmb_log(store->logger, TMB_LOG_ERROR, "%s has %lld bytes, it was stored with %llu", path,
            good ? (long long)found.st_size : 0LL, (unsigned long long)*bytes);
    (void)close(*descriptor);
    *descriptor = -1;
    return TMB_STORE_DAMAGED;
}

static tmb_store_status open_blob(tmb_store *base, const char *id, int *descriptor, tmb_file_info *info) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    char path[TMB_STORE_PATH];
    *descriptor = -1;
    tmb_store_status status = get(base, id, info);
    if (status == TMB_STORE_OK) {
        tmb_sqlite_file_path(store, "files", id, path);
        status = tmb_sqlite_open_file(store, path, &info->bytes, descriptor);
    }
    return status;
}

/* In the caller's transaction. */
static tmb_store_status remove_row(tmb_sqlite *store, const char *id) {
    tmb_database *writer = &store->writer;
    int64_t one = 0;
    tmb_store_status status = tmb_database_number(writer, &one, "SELECT 1 FROM files WHERE id=?", "s", id);
    if (status == TMB_STORE_OK) {
        status = tmb_database_number(writer, &one, "SELECT 1 FROM job_files WHERE file=?", "s", id);
        status = status == TMB_STORE_OK ? TMB_STORE_IN_USE : status == TMB_STORE_NOT_FOUND ? TMB_STORE_OK : status;
    }
    if (status == TMB_STORE_OK) {
        status = tmb_database_run(writer, "INSERT OR IGNORE INTO removed VALUES(?)", "s", id);
    }
    return status == TMB_STORE_OK ? tmb_database_run(writer, "DELETE FROM files WHERE id=?", "s", id) : status;
}

static tmb_store_status remove_blob(tmb_store *base, const char *id) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    if (!tmb_is_id(id)) {
        return TMB_STORE_NOT_FOUND;
    }
    tmb_store_status status = tmb_sqlite_write_begin(store);
    if (status != TMB_STORE_OK) {
        return status;
    }
    do {
        status = tmb_database_begin(&store->writer);
        if (status == TMB_STORE_OK) {
            status = tmb_database_end(&store->writer, remove_row(store, id));
        }
    } while (tmb_sqlite_use_reserve(store, status));
    if (status == TMB_STORE_OK) {
        tmb_sqlite_unlink_file(store, id);
    }
    tmb_sqlite_write_end(store);
    return status;
}

const tmb_blob_operations tmb_sqlite_blobs = {.adopt = adopt, .open = open_blob, .remove = remove_blob};
