/* The folders and the rows compared, when a store is opened.
 *
 * An error is not an absence: nothing is unlinked because a query failed, and nothing that may be a recording is
 * unlinked at all. It is moved to lost+found, where it is counted and kept for a month. */
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "queue/sqlite/database.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const double lost_seconds = 30 * 86400.0;

typedef struct sweep {
    tmb_sqlite *store;
    uint64_t bytes;
    size_t moved, stuck, lost;
    uint64_t lost_bytes;
    double oldest; /* what came to lost+found before is removed */
} tmb_sweep;

typedef enum tmb_verdict { KEEP, SET_ASIDE, REMOVE } tmb_verdict;

/* What to do with an entry of a folder. Anything but TMB_STORE_OK ends the sweep. */
typedef tmb_store_status (*tmb_judge)(tmb_sweep *sweep, const char *name, const struct stat *status, tmb_verdict *out);

static bool is_dot(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

/* Moves an entry to lost+found, under another name if its own is taken there. */
static void set_aside(tmb_sweep *sweep, int folder, const char *name, uint64_t bytes) {
    char path[TMB_STORE_PATH];
    char other[512];
    struct stat status;
    tmb_sqlite_file_path(sweep->store, "lost+found", name, path);
    if (lstat(path, &status) == 0) {
        char id[TMB_ID_LENGTH + 1] = "again";
        (void)tmb_random_id(id);
        (void)snprintf(other, sizeof other, "%.255s.%s", name, id);
        tmb_sqlite_file_path(sweep->store, "lost+found", other, path);
    }
    sweep->bytes += bytes;
    if (renameat(folder, name, AT_FDCWD, path)) {
        sweep->stuck++;
        tmb_log(sweep->store->logger, TMB_LOG_ERROR, "cannot move %s to %s: %s", name, path, strerror(errno));
    } else {
        sweep->moved++;
    }
}

static tmb_store_status sweep_entry(tmb_sweep *sweep, int folder, const char *name, tmb_judge judge) {
    struct stat status;
    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW)) {
        return errno == ENOENT ? TMB_STORE_OK : tmb_sqlite_errno(sweep->store, name);
    }
    uint64_t bytes = S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
    tmb_verdict verdict = KEEP;
    tmb_store_status result = judge(sweep, name, &status, &verdict);
    if (result != TMB_STORE_OK) {
        return result;
    }
    if (verdict == SET_ASIDE) {
        set_aside(sweep, folder, name, bytes);
    } else if (verdict == KEEP || unlinkat(folder, name, 0)) {
        sweep->bytes += bytes;
    }
    return TMB_STORE_OK;
}

static tmb_store_status sweep_folder(tmb_sweep *sweep, const char *folder, tmb_judge judge) {
    char path[TMB_STORE_PATH];
    tmb_sqlite_file_path(sweep->store, folder, "", path);
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return tmb_sqlite_errno(sweep->store, folder);
    }
    tmb_store_status status = TMB_STORE_OK;
    struct dirent *entry = NULL;
    for (errno = 0; status == TMB_STORE_OK && (entry = readdir(directory)) != NULL; errno = 0) {
        if (!is_dot(entry->d_name)) {
            status = sweep_entry(sweep, dirfd(directory), entry->d_name, judge);
        }
    }
    if (status == TMB_STORE_OK && errno) {
        status = tmb_sqlite_errno(sweep->store, folder);
    }
    (void)closedir(directory);
    return status;
}

/* Whether a table knows the id that `name` begins with. */
static tmb_store_status is_known(tmb_sweep *sweep, const char *sql, const char *name, bool *out) {
    char id[TMB_STORE_ID];
    int64_t one = 0;
    size_t length = strnlen(name, TMB_ID_LENGTH);
    memcpy(id, name, length);
    id[length] = 0;
    *out = false;
    if (!tmb_is_id(id)) {
        return TMB_STORE_OK;
    }
    tmb_store_status status = tmb_database_number(&sweep->store->writer, &one, sql, "s", id);
    *out = status == TMB_STORE_OK;
    return status == TMB_STORE_NOT_FOUND ? TMB_STORE_OK : status;
}

static tmb_store_status judge_temporary(tmb_sweep *sweep, const char *name, const struct stat *status,
                                        tmb_verdict *out) {
    (void)sweep;
    (void)name;
    (void)status;
    *out = REMOVE;
    return TMB_STORE_OK;
}

static tmb_store_status judge_file(tmb_sweep *sweep, const char *name, const struct stat *status, tmb_verdict *out) {
    (void)status;
    bool known = false;
    tmb_store_status result = is_known(sweep, "SELECT 1 FROM files WHERE id=?", name, &known);
    *out = known && !name[TMB_ID_LENGTH] ? KEEP : SET_ASIDE;
    return result;
}

/* "ID" is a recording, "ID.16 hexadecimal digits" was prepared from it and can be made again, "ID.anything else" was
 * being prepared. */
static tmb_store_status judge_voice(tmb_sweep *sweep, const char *name, const struct stat *status, tmb_verdict *out) {
    (void)status;
    bool known = false;
    tmb_store_status result = is_known(sweep, "SELECT 1 FROM voices WHERE id=?", name, &known);
    bool is_derived = strlen(name) > TMB_ID_LENGTH && name[TMB_ID_LENGTH] == '.';
    const char *ending = is_derived ? name + TMB_ID_LENGTH + 1 : "";
    bool is_prepared = strlen(ending) == 16 && strspn(ending, "0123456789abcdef") == 16;
    char id[TMB_STORE_ID];
    (void)snprintf(id, sizeof id, "%.*s", TMB_ID_LENGTH, name);
    *out = known && (is_prepared || !name[TMB_ID_LENGTH]) ? KEEP : is_derived && tmb_is_id(id) ? REMOVE : SET_ASIDE;
    return result;
}

static tmb_store_status judge_lost(tmb_sweep *sweep, const char *name, const struct stat *status, tmb_verdict *out) {
    (void)name;
    /* A rename sets the time of change: it is when the file came here. */
    *out = (double)status->st_ctim.tv_sec < sweep->oldest ? REMOVE : KEEP;
    if (*out == KEEP) {
        sweep->lost++;
        sweep->lost_bytes += (uint64_t)status->st_size;
    }
    return TMB_STORE_OK;
}

/* Rows whose file the system says does not exist (a power cut between the two, or somebody's rm). */
static tmb_store_status sweep_rows(tmb_sweep *sweep, const char *folder, const char *list, const char *remove) {
    tmb_sqlite *store = sweep->store;
    tmb_id_list ids = {.count = 0};
    tmb_store_status status = tmb_id_list_query(&store->writer, &ids, list, "");
    for (size_t i = 0; status == TMB_STORE_OK && i < ids.count; i++) {
        char path[TMB_STORE_PATH];
        struct stat found;
        tmb_sqlite_file_path(store, folder, ids.ids[i], path);
        if (lstat(path, &found) == 0) {
            continue;
        }
        if (errno != ENOENT) {
            tmb_log(store->logger, TMB_LOG_WARNING, "%s: %s", path, strerror(errno));
            continue;
        }
        status = tmb_database_run(&store->writer, remove, "s", ids.ids[i]);
        tmb_log(store->logger, TMB_LOG_WARNING, "%s does not exist any more: it was taken off the list", path);
    }
    tmb_id_list_free(&ids);
    return status;
}

bool tmb_sqlite_is_empty(tmb_sqlite *store) {
    static const char *const folders[] = {"files", "voices"};
    bool empty = true;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        char path[TMB_STORE_PATH];
        tmb_sqlite_file_path(store, folders[i], "", path);
        DIR *directory = opendir(path);
        for (struct dirent *entry = NULL; directory != NULL && (entry = readdir(directory)) != NULL;) {
            empty = empty && is_dot(entry->d_name);
        }
        if (directory != NULL) {
            (void)closedir(directory);
        }
    }
    return empty;
}

tmb_status tmb_sqlite_sweep(tmb_sqlite *store, tmb_error *error) {
    tmb_sweep sweep = {.store = store, .oldest = tmb_wall_clock() - lost_seconds};
    /* Audio whose item has no result yet: the item runs again. Its row goes, and so it is found below. */
    tmb_store_status status = tmb_database_run(&store->writer,
                                               "DELETE FROM files WHERE pending=1 AND id NOT IN"
                                               " (SELECT file FROM job_files)",
                                               "");
    if (status == TMB_STORE_OK) {
        status = tmb_sqlite_purge(store);
    }
    if (status == TMB_STORE_OK) {
        status = sweep_folder(&sweep, "tmp", judge_temporary);
    }
    if (status == TMB_STORE_OK) {
        status = sweep_folder(&sweep, "lost+found", judge_lost);
    }
    if (status == TMB_STORE_OK) {
        status = sweep_folder(&sweep, "files", judge_file);
    }
    if (status == TMB_STORE_OK) {
        status = sweep_folder(&sweep, "voices", judge_voice);
    }
    if (status == TMB_STORE_OK) {
        status = sweep_rows(&sweep, "files", "SELECT id FROM files", "DELETE FROM files WHERE id=?");
    }
    if (status == TMB_STORE_OK) {
        status = sweep_rows(&sweep, "voices", "SELECT id FROM voices", "DELETE FROM voices WHERE id=?");
    }
    if (status != TMB_STORE_OK) {
        return tmb_fail(error, TMB_ERROR_IO,
                        "state folder %s cannot be compared with its state.db (see the log); no recording was removed",
                        store->folder);
    }
    if (sweep.moved + sweep.stuck) {
        tmb_log(store->logger, TMB_LOG_WARNING,
                "%zu files in %s that state.db does not know were moved to lost+found, where they stay for %g days",
                sweep.moved, store->folder, lost_seconds / 86400);
    }
    if (sweep.lost) {
        tmb_log(store->logger, TMB_LOG_INFO, "%s/lost+found has %zu files of %llu bytes from earlier", store->folder,
                sweep.lost, (unsigned long long)sweep.lost_bytes);
    }
    atomic_store(&store->bytes, sweep.bytes);
    return TMB_OK;
}
