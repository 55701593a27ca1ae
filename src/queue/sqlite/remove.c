/* Lists of ids, and the removal of what they stand for. */
#include "base/memory.h"
#include "queue/sqlite/database.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool tmb_sqlite_book(tmb_store *base, uint64_t bytes) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    uint64_t limit = store->options.max_bytes;
    uint64_t booked = atomic_load(&store->bytes);
    do {
        if (limit && (bytes > limit || booked > limit - bytes)) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&store->bytes, &booked, booked + bytes));
    return true;
}

void tmb_sqlite_unbook(tmb_store *base, uint64_t bytes) {
    tmb_sqlite *store = tmb_sqlite_of(base);
    uint64_t booked = atomic_load(&store->bytes);
    while (!atomic_compare_exchange_weak(&store->bytes, &booked, booked > bytes ? booked - bytes : 0)) {
    }
}

static bool add_id(tmb_id_list *list, const char *id) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        void *ids = tmb_realloc(list->ids, capacity, sizeof *list->ids);
        if (ids == NULL) {
            return false;
        }
        list->ids = ids;
        list->capacity = capacity;
    }
    memcpy(list->ids[list->count++], id, TMB_STORE_ID);
    return true;
}

tmb_store_status tmb_id_list_query(tmb_database *database, tmb_id_list *list, const char *sql, const char *types, ...) {
    sqlite3_stmt *row = NULL;
    va_list values;
    va_start(values, types);
    tmb_store_status status = tmb_database_prepare_list(database, &row, sql, types, values);
    va_end(values);
    while (status == TMB_STORE_OK && (status = tmb_database_step(database, row)) == TMB_STORE_OK) {
        char id[TMB_STORE_ID];
        tmb_column_copy(row, 0, id, sizeof id);
        if (tmb_is_id(id) && sqlite3_column_bytes(row, 0) == TMB_ID_LENGTH && !add_id(list, id)) {
            status = TMB_STORE_BUSY;
        }
    }
    (void)sqlite3_finalize(row);
    return status == TMB_STORE_NOT_FOUND ? TMB_STORE_OK : status;
}

void tmb_id_list_free(tmb_id_list *list) {
    free(list->ids);
    *list = (tmb_id_list){.count = 0};
}

static void unlink_entry(tmb_sqlite *store, int folder, const char *name) {
    struct stat status;
    bool counted = fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode);
    if (unlinkat(folder, name, 0) == 0) {
        tmb_store_unbook(&store->base, counted ? (uint64_t)status.st_size : 0);
    } else if (errno != ENOENT) {
        (void)tmb_sqlite_errno(store, "cannot remove a file");
    }
}

void tmb_sqlite_unlink_path(tmb_sqlite *store, const char *path) { unlink_entry(store, AT_FDCWD, path); }

void tmb_sqlite_unlink_voice(tmb_sqlite *store, const char *id) {
    char path[TMB_STORE_PATH];
    tmb_sqlite_file_path(store, "voices", "", path);
    DIR *directory = opendir(path);
    for (struct dirent *entry = NULL; directory != NULL && (entry = readdir(directory)) != NULL;) {
        if (strncmp(entry->d_name, id, TMB_ID_LENGTH) == 0 && entry->d_name[TMB_ID_LENGTH]) {
            unlink_entry(store, dirfd(directory), entry->d_name);
        }
    }
    if (directory != NULL) {
        unlink_entry(store, dirfd(directory), id);
        (void)closedir(directory);
    }
}

void tmb_sqlite_unlink_file(tmb_sqlite *store, const char *id) {
    char path[TMB_STORE_PATH];
    tmb_sqlite_file_path(store, "files", id, path);
    tmb_sqlite_unlink_path(store, path);
}

/* Derived files go first, so as long as there is something to remove the recording is there too. */
static bool is_voice(tmb_sqlite *store, const char *id) {
    char path[TMB_STORE_PATH];
    struct stat status;
    tmb_sqlite_file_path(store, "voices", id, path);
    return lstat(path, &status) == 0;
}

tmb_store_status tmb_sqlite_purge(tmb_sqlite *store) {
    tmb_id_list list = {.count = 0};
    tmb_store_status status = tmb_id_list_query(&store->writer, &list,
                                                "SELECT id FROM removed WHERE id NOT IN (SELECT id FROM files) AND"
                                                " id NOT IN (SELECT id FROM voices)",
                                                "");
    for (size_t i = 0; status == TMB_STORE_OK && i < list.count; i++) {
        tmb_sqlite_unlink_file(store, list.ids[i]);
        if (is_voice(store, list.ids[i])) {
            tmb_sqlite_unlink_voice(store, list.ids[i]);
        }
    }
    if (status == TMB_STORE_OK && list.count) {
        status = tmb_database_run(&store->writer, "DELETE FROM removed", "");
    }
    tmb_id_list_free(&list);
    return status;
}
