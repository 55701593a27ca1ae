#include "queue/sqlite/sqlite.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/thread.h"
#include "queue/sqlite/database.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const folders[] = {"files", "voices", "tmp", "lost+found"};

void tmb_sqlite_file_path(const tmb_sqlite *store, const char *folder, const char *id, char path[TMB_STORE_PATH]) {
    (void)snprintf(path, TMB_STORE_PATH, "%s/%s/%s", store->folder, folder, id);
}

/* Room on the disk for what must be written when there is none: results that say so, and removals. */
static const off_t reserve_bytes = 256 << 10;

static void make_reserve(tmb_sqlite *store) {
    char path[TMB_STORE_PATH];
    (void)snprintf(path, sizeof path, "%s/reserve", store->folder);
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file >= 0 && posix_fallocate(file, 0, reserve_bytes)) {
        (void)unlink(path);
    }
    (void)(file >= 0 && close(file));
}

bool tmb_sqlite_use_reserve(tmb_sqlite *store, tmb_store_status status) {
    char path[TMB_STORE_PATH];
    (void)snprintf(path, sizeof path, "%s/reserve", store->folder);
    return status == TMB_STORE_NO_SPACE && unlink(path) == 0;
}

static const tmb_store_operations operations;

static tmb_status open_state(tmb_sqlite *store, tmb_error *error) {
    bool is_new = false;
    tmb_status status = tmb_database_open(store, &is_new, error);
    if (status == TMB_OK && is_new && !tmb_sqlite_is_empty(store)) {
        status =
            tmb_fail(error, TMB_ERROR_IO,
                     "%s/state.db is missing or empty, but voices/ or files/ have recordings, and only state.db "
                     "knows what they are: put back a backup of it, or move the recordings elsewhere to begin anew",
                     store->folder);
    }
    if (status == TMB_OK) {
        status = tmb_database_prepare_tables(store, error);
    }
    status = status == TMB_OK ? tmb_sqlite_sweep(store, error) : status;
    if (status == TMB_OK) {
        make_reserve(store);
    }
    return status;
}

static void close_store(tmb_store *base) {
    tmb_sqlite *closing = tmb_sqlite_of(base);
    tmb_database_close(closing);
    if (closing->lock_file >= 0) {
        (void)close(closing->lock_file);
    }
    (void)pthread_mutex_destroy(&closing->write_lock);
    (void)pthread_mutex_destroy(&closing->read_lock);
    (void)pthread_mutex_destroy(&closing->watch_lock);
    (void)pthread_cond_destroy(&closing->write_free);
    free(closing);
}

tmb_status tmb_sqlite_open(const char *folder, const tmb_store_options *options, tmb_logger *logger, tmb_store **out,
                           tmb_error *error) {
    *out = NULL;
    tmb_sqlite *store = tmb_calloc(1, sizeof *store);
    if (store == NULL) {
        return tmb_fail_memory(error, "the store", sizeof *store);
    }
    store->base = (tmb_store){.operations = &operations,
                              .blobs = &tmb_sqlite_blobs,
                              .voices = &tmb_sqlite_voices,
                              .jobs = &tmb_sqlite_jobs,
                              .logger = logger};
    store->options = *options;
    store->logger = logger;
    store->lock_file = -1;
    (void)pthread_mutex_init(&store->write_lock, NULL);
    (void)pthread_mutex_init(&store->read_lock, NULL);
    (void)pthread_mutex_init(&store->watch_lock, NULL);
    tmb_condition_init(&store->write_free);
    tmb_status status = TMB_OK;
    char path[TMB_STORE_PATH];
    if (!tmb_make_folders(folder, 0700) || realpath(folder, store->folder) == NULL) {
        status = tmb_fail_errno(error, TMB_ERROR_IO, errno, "state folder %s", folder);
        goto failed;
    }
    (void)snprintf(path, sizeof path, "%s/lock", store->folder);
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
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        tmb_sqlite_file_path(store, folders[i], "", path);
        if (mkdir(path, 0700) && errno != EEXIST) {
            status = tmb_fail_errno(error, TMB_ERROR_IO, errno, "%s", path);
            goto failed;
        }
    }
    status = open_state(store, error);
    if (status != TMB_OK) {
        goto failed;
    }
    *out = &store->base;
    return TMB_OK;
failed:
    close_store(&store->base);
    return status;
}

static uint64_t bytes_of(tmb_store *base) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    return atomic_load(&store->bytes);
}

static bool temporary_path(tmb_store *base, char path[TMB_STORE_PATH]) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    char name[TMB_ID_LENGTH + 1];
    if (!tmb_random_id(name)) {
        return false;
    }
    tmb_sqlite_file_path(store, "tmp", name, path);
    return true;
}

/* Jobs are removed one by one, so that nobody waits for long. */
static void expire_jobs(tmb_sqlite *store, double now) {
    tmb_id_list jobs = {.count = 0};
    tmb_database *reader = tmb_sqlite_read_begin(store);
    tmb_store_status status =
        tmb_id_list_query(reader, &jobs, "SELECT id FROM jobs WHERE finished > 0 AND finished < ?", "d",
                          now - store->options.job_seconds);
    tmb_sqlite_read_end(store);
    for (size_t i = 0; status == TMB_STORE_OK && i < jobs.count; i++) {
        status = tmb_store_job_remove(&store->base, jobs.ids[i]);
        status = status == TMB_STORE_NOT_FOUND ? TMB_STORE_OK : status;
    }
    tmb_id_list_free(&jobs);
}

static tmb_store_status expire_file(tmb_sqlite *store, const char *id, double now) {
    tmb_store_status status = tmb_sqlite_write_begin(store);
    if (status != TMB_STORE_OK) {
        return status;
    }
    tmb_database *writer = &store->writer;
    bool gone = false;
    status = tmb_database_begin(writer);
    if (status == TMB_STORE_OK) {
        status = tmb_database_run(writer, "INSERT OR IGNORE INTO removed VALUES(?)", "s", id);
        if (status == TMB_STORE_OK) {
            status = tmb_database_run(writer,
                                      "DELETE FROM files WHERE id=? AND expires < ? AND id NOT IN"
                                      " (SELECT file FROM job_files)",
                                      "sd", id, now);
            gone = status == TMB_STORE_OK && sqlite3_changes(writer->handle) > 0;
        }
        status = tmb_database_end(writer, gone || status != TMB_STORE_OK ? status : TMB_STORE_NOT_FOUND);
    }
    if (status == TMB_STORE_OK) {
        tmb_sqlite_unlink_file(store, id);
    }
    tmb_sqlite_write_end(store);
    return status == TMB_STORE_NOT_FOUND ? TMB_STORE_OK : status;
}

static void expire_files(tmb_sqlite *store, double now) {
    tmb_id_list files = {.count = 0};
    tmb_database *reader = tmb_sqlite_read_begin(store);
    tmb_store_status status = tmb_id_list_query(
        reader, &files, "SELECT id FROM files WHERE expires < ? AND id NOT IN (SELECT file FROM job_files)", "d", now);
    tmb_sqlite_read_end(store);
    for (size_t i = 0; status == TMB_STORE_OK && i < files.count; i++) {
        status = expire_file(store, files.ids[i], now);
    }
    tmb_id_list_free(&files);
}

static bool expire(tmb_store *base) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    double now = tmb_wall_clock();
    expire_jobs(store, now);
    expire_files(store, now);
    make_reserve(store);
    if (tmb_sqlite_write_begin(store) == TMB_STORE_OK) {
        (void)tmb_sqlite_purge(store);
        tmb_sqlite_write_end(store);
    }
    return false;
}

void tmb_sqlite_watch(tmb_store *base, tmb_job_watch watch, void *user) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    (void)pthread_mutex_lock(&store->watch_lock);
    store->watch = watch;
    store->watch_user = user;
    (void)pthread_mutex_unlock(&store->watch_lock);
}

void tmb_sqlite_tell(tmb_sqlite *store, tmb_job_event event, const char *job) {
    (void)pthread_mutex_lock(&store->watch_lock);
    if (store->watch != NULL) {
        store->watch(store->watch_user, event, job);
    }
    (void)pthread_mutex_unlock(&store->watch_lock);
}

static const tmb_store_operations operations = {
    .close = close_store,
    .expire = expire,
    .bytes = bytes_of,
    .temporary_path = temporary_path,
    .book = tmb_sqlite_book,
    .unbook = tmb_sqlite_unbook,
};
