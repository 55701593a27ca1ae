#include "base/memory.h"
#include "queue/database.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tmb_upload {
    tmb_store *store;
    int descriptor;
    uint64_t bytes, max_bytes;
    char path[TMB_STORE_PATH];
};

/* Books `bytes` more; false where the quota has no room. */
static bool reserve_bytes(tmb_store *store, uint64_t bytes) {
    (void)pthread_mutex_lock(&store->lock);
    uint64_t limit = store->options.max_bytes;
    bool fits = !limit || (bytes <= limit && store->bytes <= limit - bytes);
    store->bytes += fits ? bytes : 0;
    (void)pthread_mutex_unlock(&store->lock);
    return fits;
}

static void release_bytes(tmb_store *store, uint64_t bytes) {
    (void)pthread_mutex_lock(&store->lock);
    store->bytes -= bytes;
    (void)pthread_mutex_unlock(&store->lock);
}

tmb_store_status tmb_upload_begin(tmb_store *store, uint64_t max_bytes, tmb_upload **out) {
    *out = NULL;
    tmb_upload *upload = tmb_calloc(1, sizeof(*upload));
    if (!upload) {
        return TMB_STORE_BUSY;
    }
    upload->store = store;
    upload->max_bytes = max_bytes;
    if (!tmb_store_temporary_path(store, upload->path)) {
        free(upload);
        return TMB_STORE_FAILED;
    }
    upload->descriptor = open(upload->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (upload->descriptor < 0) {
        tmb_store_status status = tmb_store_errno(store, "cannot create a file");
        free(upload);
        return status == TMB_STORE_NOT_FOUND ? TMB_STORE_FAILED : status;
    }
    *out = upload;
    return TMB_STORE_OK;
}

tmb_store_status tmb_upload_write(tmb_upload *upload, const void *data, size_t size) {
    if (size > upload->max_bytes || upload->bytes > upload->max_bytes - size) {
        return TMB_STORE_TOO_LARGE;
    }
    if (!reserve_bytes(upload->store, size)) {
        return TMB_STORE_NO_SPACE;
    }
    upload->bytes += size;
    const char *at = data;
    while (size) {
        ssize_t written = write(upload->descriptor, at, size);
        if (written < 0 && errno != EINTR) {
            return tmb_store_errno(upload->store, "cannot write a file");
        }
        if (written > 0) {
            at += written;
            size -= (size_t)written;
        }
    }
    return TMB_STORE_OK;
}

uint64_t tmb_upload_bytes(const tmb_upload *upload) { return upload->bytes; }

const char *tmb_upload_path(tmb_upload *upload) { return upload->path; }

/* Closes and frees; the file stays or goes, the booked bytes are given back. */
static void free_upload(tmb_upload **upload, bool remove_file) {
    tmb_upload *freed = *upload;
    *upload = NULL;
    if (!freed) {
        return;
    }
    (void)close(freed->descriptor);
    if (remove_file) {
        (void)unlink(freed->path);
    }
    release_bytes(freed->store, freed->bytes);
    free(freed);
}

void tmb_upload_abort(tmb_upload **upload) { free_upload(upload, true); }

tmb_store_status tmb_store_flush(tmb_store *store, const char *path, uint64_t *bytes) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat status;
    if (descriptor < 0) {
        return tmb_store_errno(store, "cannot open a finished file");
    }
    bool good = fdatasync(descriptor) == 0 && fstat(descriptor, &status) == 0;
    tmb_store_status result = good ? TMB_STORE_OK : tmb_store_errno(store, "cannot flush a file");
    if (bytes) {
        *bytes = good ? (uint64_t)status.st_size : 0;
    }
    (void)close(descriptor);
    return result;
}

tmb_store_status tmb_store_file_add(tmb_store *store, const char *path, tmb_file_info *info) {
    tmb_store_status status = tmb_store_flush(store, path, &info->bytes);
    if (status != TMB_STORE_OK) {
        return status;
    }
    uint64_t limit = store->options.max_bytes;
    if (limit && (info->bytes > limit || store->bytes > limit - info->bytes)) {
        return TMB_STORE_NO_SPACE;
    }
    char target[TMB_STORE_PATH];
    if (!tmb_random_id(info->id)) {
        return TMB_STORE_FAILED;
    }
    tmb_store_file_path(store, "files", info->id, target);
    if (rename(path, target)) {
        return tmb_store_errno(store, "cannot move a finished file");
    }
    info->created = tmb_wall_clock();
    info->expires = info->created + store->options.file_seconds;
    status = tmb_database_run(store, "INSERT INTO files VALUES(?,?,?,?,?,?,?,?)", "sssiiddd", info->id, info->name,
                              info->content_type, (int64_t)info->bytes, (int64_t)info->sample_rate, info->duration,
                              info->created, info->expires);
    if (status != TMB_STORE_OK) {
        (void)unlink(target);
        return status;
    }
    store->bytes += info->bytes;
    return TMB_STORE_OK;
}

void tmb_store_file_forget(tmb_store *store, const char *id, uint64_t bytes) {
    char path[TMB_STORE_PATH];
    tmb_store_file_path(store, "files", id, path);
    (void)unlink(path);
    store->bytes -= bytes;
}

tmb_store_status tmb_store_file_adopt(tmb_store *store, const char *path, tmb_file_info *info) {
    (void)pthread_mutex_lock(&store->lock);
    tmb_store_status status = tmb_store_file_add(store, path, info);
    (void)pthread_mutex_unlock(&store->lock);
    if (status != TMB_STORE_OK) {
        (void)unlink(path);
    }
    return status;
}

tmb_store_status tmb_upload_keep(tmb_upload **upload, tmb_file_info *info) {
    tmb_store *store = (*upload)->store;
    char path[TMB_STORE_PATH];
    (void)snprintf(path, sizeof(path), "%s", (*upload)->path);
    /* Its bytes are booked again by the file that it becomes. */
    free_upload(upload, false);
    return tmb_store_file_adopt(store, path, info);
}

static void read_file_row(sqlite3_stmt *row, tmb_file_info *info) {
    tmb_column_copy(row, 0, info->id, sizeof(info->id));
    tmb_column_copy(row, 1, info->name, sizeof(info->name));
    tmb_column_copy(row, 2, info->content_type, sizeof(info->content_type));
    info->bytes = (uint64_t)sqlite3_column_int64(row, 3);
    info->sample_rate = sqlite3_column_int(row, 4);
    info->duration = sqlite3_column_double(row, 5);
    info->created = sqlite3_column_double(row, 6);
    info->expires = sqlite3_column_double(row, 7);
}

tmb_store_status tmb_store_file_open(tmb_store *store, const char *id, int *descriptor, tmb_file_info *info) {
    *descriptor = -1;
    if (!tmb_is_id(id)) {
        return TMB_STORE_NOT_FOUND;
    }
    (void)pthread_mutex_lock(&store->lock);
    sqlite3_stmt *row = tmb_database_prepare(store,
                                             "SELECT * FROM files WHERE id=? AND (expires >= ? OR id IN"
                                             " (SELECT file FROM job_files))",
                                             "sd", id, tmb_wall_clock());
    tmb_store_status status = row ? TMB_STORE_OK : TMB_STORE_FAILED;
    if (row) {
        int code = sqlite3_step(row);
        status = code == SQLITE_ROW    ? TMB_STORE_OK
                 : code == SQLITE_DONE ? TMB_STORE_NOT_FOUND
                                       : tmb_database_failure(store, code);
    }
    if (status == TMB_STORE_OK) {
        read_file_row(row, info);
        char path[TMB_STORE_PATH];
        tmb_store_file_path(store, "files", id, path);
        *descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        status = *descriptor < 0 ? tmb_store_errno(store, "cannot open a file") : TMB_STORE_OK;
    }
    (void)sqlite3_finalize(row);
    (void)pthread_mutex_unlock(&store->lock);
    return status;
}

tmb_store_status tmb_store_file_remove(tmb_store *store, const char *id) {
    if (!tmb_is_id(id)) {
        return TMB_STORE_NOT_FOUND;
    }
    (void)pthread_mutex_lock(&store->lock);
    int64_t bytes = tmb_database_number(store, -1, "SELECT bytes FROM files WHERE id=?", "s", id);
    tmb_store_status status = TMB_STORE_NOT_FOUND;
    if (bytes >= 0) {
        status = tmb_database_number(store, 0, "SELECT 1 FROM job_files WHERE file=?", "s", id)
                     ? TMB_STORE_IN_USE
                     : tmb_database_run(store, "DELETE FROM files WHERE id=?", "s", id);
    }
    if (status == TMB_STORE_OK) {
        tmb_store_file_forget(store, id, (uint64_t)bytes);
    }
    (void)pthread_mutex_unlock(&store->lock);
    return status;
}
