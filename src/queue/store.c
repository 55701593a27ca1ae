#include "queue/store.h"

#include "base/error.h"
#include "base/memory.h"
#include "queue/database.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const folders[] = {"files", "voices", "tmp"};

/* Every folder of `path`, as mkdir -p. */
static bool make_folders(const char *path) {
    char partial[4096];
    size_t length = strlen(path);
    if (length >= sizeof(partial)) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(partial, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (partial[i] == '/' || partial[i] == 0) {
            char mark = partial[i];
            partial[i] = 0;
            if (mkdir(partial, 0700) && errno != EEXIST) {
                return false;
            }
            partial[i] = mark;
        }
    }
    return true;
}

void tmb_store_file_path(const tmb_store *store, const char *folder, const char *id, char path[TMB_STORE_PATH]) {
    (void)snprintf(path, TMB_STORE_PATH, "%s/%s/%s", store->folder, folder, id);
}

/* Removes from a folder what `sql` (SELECT 1 ... WHERE id = ?) does not know; NULL: everything. */
static void sweep_folder(tmb_store *store, const char *folder, const char *sql) {
    char path[TMB_STORE_PATH];
    tmb_store_file_path(store, folder, "", path);
    DIR *directory = opendir(path);
    if (!directory) {
        return;
    }
    for (struct dirent *entry = NULL; (entry = readdir(directory));) {
        if (entry->d_name[0] == '.' && (!entry->d_name[1] || (entry->d_name[1] == '.' && !entry->d_name[2]))) {
            continue;
        }
        char id[TMB_STORE_ID] = "";
        (void)snprintf(id, sizeof(id), "%s", entry->d_name);
        if (!sql || !tmb_database_number(store, 0, sql, "s", id)) {
            (void)unlinkat(dirfd(directory), entry->d_name, 0);
        }
    }
    (void)closedir(directory);
}

/* Rows whose file is not on disk (a power cut between the two, or somebody's rm). */
static void sweep_rows(tmb_store *store) {
    for (;;) {
        sqlite3_stmt *rows = tmb_database_prepare(store, "SELECT id FROM files", "");
        char lost[TMB_STORE_ID] = "";
        while (rows && !lost[0] && sqlite3_step(rows) == SQLITE_ROW) {
            char path[TMB_STORE_PATH];
            tmb_store_file_path(store, "files", tmb_column_text(rows, 0), path);
            if (access(path, F_OK)) {
                tmb_column_copy(rows, 0, lost, sizeof(lost));
            }
        }
        (void)sqlite3_finalize(rows);
        if (!lost[0] || tmb_database_run(store, "DELETE FROM files WHERE id=?", "s", lost) != TMB_STORE_OK) {
            return;
        }
        tmb_log(store->logger, TMB_LOG_WARNING, "file %s is not in %s/files any more", lost, store->folder);
    }
}

tmb_status tmb_store_open(const char *folder, const tmb_store_options *options, tmb_logger *logger, tmb_store **out,
                          tmb_error *error) {
    *out = NULL;
    tmb_store *store = tmb_calloc(1, sizeof(*store));
    if (!store) {
        return tmb_fail_memory(error, "the store", sizeof(*store));
    }
    store->options = *options;
    store->logger = logger;
    store->lock_file = -1;
    (void)pthread_mutex_init(&store->lock, NULL);
    tmb_status status = TMB_OK;
    char path[TMB_STORE_PATH];
    if (!make_folders(folder) || !realpath(folder, store->folder)) {
        status = tmb_fail_errno(error, TMB_ERROR_IO, errno, "state folder %s", folder);
        goto failed;
    }
    (void)snprintf(path, sizeof(path), "%s/lock", store->folder);
    store->lock_file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (store->lock_file < 0) {
        status = tmb_fail_errno(error, TMB_ERROR_IO, errno, "%s", path);
        goto failed;
    }
    if (flock(store->lock_file, LOCK_EX | LOCK_NB)) {
        status =
            tmb_fail(error, TMB_ERROR_IO,
                     "state folder %s is in use by another server: give this one its own --state-dir", store->folder);
        goto failed;
    }
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        tmb_store_file_path(store, folders[i], "", path);
        if (mkdir(path, 0700) && errno != EEXIST) {
            status = tmb_fail_errno(error, TMB_ERROR_IO, errno, "%s", path);
            goto failed;
        }
    }
    status = tmb_database_open(store, error);
    if (status != TMB_OK) {
        goto failed;
    }
    sweep_folder(store, "tmp", NULL);
    sweep_folder(store, "files", "SELECT 1 FROM files WHERE id=?");
    sweep_folder(store, "voices", "SELECT 1 FROM voices WHERE id=?");
    sweep_rows(store);
    store->bytes = (uint64_t)tmb_database_number(store, 0,
                                                 "SELECT (SELECT coalesce(sum(bytes),0) FROM files) +"
                                                 " (SELECT coalesce(sum(bytes),0) FROM voices)",
                                                 "");
    *out = store;
    return TMB_OK;
failed:
    tmb_store_close(&store);
    return status;
}

void tmb_store_close(tmb_store **store) {
    tmb_store *closing = *store;
    *store = NULL;
    if (!closing) {
        return;
    }
    if (closing->database) {
        (void)sqlite3_close(closing->database);
    }
    if (closing->lock_file >= 0) {
        (void)close(closing->lock_file);
    }
    (void)pthread_mutex_destroy(&closing->lock);
    free(closing);
}

uint64_t tmb_store_bytes(tmb_store *store) {
    (void)pthread_mutex_lock(&store->lock);
    uint64_t bytes = store->bytes;
    (void)pthread_mutex_unlock(&store->lock);
    return bytes;
}

bool tmb_store_temporary_path(tmb_store *store, char path[TMB_STORE_PATH]) {
    char name[TMB_ID_LENGTH + 1];
    if (!tmb_random_id(name)) {
        return false;
    }
    tmb_store_file_path(store, "tmp", name, path);
    return true;
}

/* One expired file that no job needs; its id and size, or false. */
static bool next_expired_file(tmb_store *store, double now, char id[TMB_STORE_ID], uint64_t *bytes) {
    sqlite3_stmt *row = tmb_database_prepare(
        store, "SELECT id, bytes FROM files WHERE expires < ? AND id NOT IN (SELECT file FROM job_files) LIMIT 1", "d",
        now);
    bool found = row && sqlite3_step(row) == SQLITE_ROW;
    if (found) {
        tmb_column_copy(row, 0, id, TMB_STORE_ID);
        *bytes = (uint64_t)sqlite3_column_int64(row, 1);
    }
    (void)sqlite3_finalize(row);
    return found;
}

void tmb_store_expire(tmb_store *store) {
    double now = tmb_wall_clock();
    for (;;) {
        char job[TMB_STORE_ID] = "";
        (void)pthread_mutex_lock(&store->lock);
        sqlite3_stmt *row =
            tmb_database_prepare(store, "SELECT id FROM jobs WHERE finished > 0 AND finished < ? LIMIT 1", "d",
                                 now - store->options.job_seconds);
        if (row && sqlite3_step(row) == SQLITE_ROW) {
            tmb_column_copy(row, 0, job, sizeof(job));
        }
        (void)sqlite3_finalize(row);
        (void)pthread_mutex_unlock(&store->lock);
        if (!job[0] || tmb_store_job_remove(store, job) != TMB_STORE_OK) {
            break;
        }
    }
    for (bool more = true; more;) {
        char id[TMB_STORE_ID];
        uint64_t bytes = 0;
        (void)pthread_mutex_lock(&store->lock);
        more = next_expired_file(store, now, id, &bytes) &&
               tmb_database_run(store, "DELETE FROM files WHERE id=?", "s", id) == TMB_STORE_OK;
        if (more) {
            tmb_store_file_forget(store, id, bytes);
        }
        (void)pthread_mutex_unlock(&store->lock);
    }
}
