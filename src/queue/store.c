#include "queue/store.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
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

static const char *const folders[] = {"files", "voices", "tmp", "lost+found"};

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

/* Room on the disk for what must be written when there is none: results that say so, and removals. */
static const off_t reserve_bytes = 256 << 10;

static void make_reserve(tmb_store *store) {
    char path[TMB_STORE_PATH];
    (void)snprintf(path, sizeof(path), "%s/reserve", store->folder);
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file >= 0 && posix_fallocate(file, 0, reserve_bytes)) {
        (void)unlink(path);
    }
    (void)(file >= 0 && close(file));
}

bool tmb_store_use_reserve(tmb_store *store, tmb_store_status status) {
    char path[TMB_STORE_PATH];
    (void)snprintf(path, sizeof(path), "%s/reserve", store->folder);
    return status == TMB_STORE_NO_SPACE && unlink(path) == 0;
}

static tmb_status open_state(tmb_store *store, tmb_error *error) {
    bool is_new = false;
    tmb_status status = tmb_database_open(store, &is_new, error);
    if (status == TMB_OK && is_new && !tmb_store_is_empty(store)) {
        status =
            tmb_fail(error, TMB_ERROR_IO,
                     "%s/state.db is missing or empty, but voices/ or files/ have recordings, and only state.db "
                     "knows what they are: put back a backup of it, or move the recordings elsewhere to begin anew",
                     store->folder);
    }
    if (status == TMB_OK) {
        status = tmb_database_prepare_tables(store, error);
    }
    status = status == TMB_OK ? tmb_store_sweep(store, error) : status;
    if (status == TMB_OK) {
        make_reserve(store);
    }
    return status;
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
    (void)pthread_mutex_init(&store->write_lock, NULL);
    (void)pthread_mutex_init(&store->read_lock, NULL);
    (void)pthread_mutex_init(&store->watch_lock, NULL);
    tmb_condition_init(&store->write_free);
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
    status = open_state(store, error);
    if (status != TMB_OK) {
        goto failed;
    }
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

uint64_t tmb_store_bytes(tmb_store *store) { return atomic_load(&store->bytes); }

bool tmb_store_temporary_path(tmb_store *store, char path[TMB_STORE_PATH]) {
    char name[TMB_ID_LENGTH + 1];
    if (!tmb_random_id(name)) {
        return false;
    }
    tmb_store_file_path(store, "tmp", name, path);
    return true;
}

/* Jobs are removed one by one, so that nobody waits for long. */
static void expire_jobs(tmb_store *store, double now) {
    tmb_id_list jobs = {.count = 0};
    tmb_database *reader = tmb_store_read_begin(store);
    tmb_store_status status =
        tmb_id_list_query(reader, &jobs, "SELECT id FROM jobs WHERE finished > 0 AND finished < ?", "d",
                          now - store->options.job_seconds);
    tmb_store_read_end(store);
    for (size_t i = 0; status == TMB_STORE_OK && i < jobs.count; i++) {
        status = tmb_store_job_remove(store, jobs.ids[i]);
        status = status == TMB_STORE_NOT_FOUND ? TMB_STORE_OK : status;
    }
    tmb_id_list_free(&jobs);
}

static tmb_store_status expire_file(tmb_store *store, const char *id, double now) {
    tmb_store_status status = tmb_store_write_begin(store);
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
        tmb_store_unlink_file(store, id);
    }
    tmb_store_write_end(store);
    return status == TMB_STORE_NOT_FOUND ? TMB_STORE_OK : status;
}

static void expire_files(tmb_store *store, double now) {
    tmb_id_list files = {.count = 0};
    tmb_database *reader = tmb_store_read_begin(store);
    tmb_store_status status = tmb_id_list_query(
        reader, &files, "SELECT id FROM files WHERE expires < ? AND id NOT IN (SELECT file FROM job_files)", "d", now);
    tmb_store_read_end(store);
    for (size_t i = 0; status == TMB_STORE_OK && i < files.count; i++) {
        status = expire_file(store, files.ids[i], now);
    }
    tmb_id_list_free(&files);
}

void tmb_store_expire(tmb_store *store) {
    double now = tmb_wall_clock();
    expire_jobs(store, now);
    expire_files(store, now);
    make_reserve(store);
    if (tmb_store_write_begin(store) == TMB_STORE_OK) {
        (void)tmb_store_purge(store);
        tmb_store_write_end(store);
    }
}

void tmb_store_watch(tmb_store *store, void (*watch)(void *user, tmb_job_event event, const char *job), void *user) {
    (void)pthread_mutex_lock(&store->watch_lock);
    store->watch = watch;
    store->watch_user = user;
    (void)pthread_mutex_unlock(&store->watch_lock);
}

void tmb_store_tell(tmb_store *store, tmb_job_event event, const char *job) {
    (void)pthread_mutex_lock(&store->watch_lock);
    if (store->watch) {
        store->watch(store->watch_user, event, job);
    }
    (void)pthread_mutex_unlock(&store->watch_lock);
}
