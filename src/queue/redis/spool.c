/* What this process is writing: uploads, and audio until it is stored. A folder of its own, locked while it lives;
 * those of processes that died are removed by whoever comes next. */
#include "base/error.h"
#include "base/file.h"
#include "queue/redis/shared.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static void remove_folder(const char *path) {
    DIR *directory = opendir(path);
    for (struct dirent *entry = NULL; directory != NULL && (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] != '.') {
            (void)unlinkat(dirfd(directory), entry->d_name, 0);
        }
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
    (void)rmdir(path);
}

static int lock_folder(const char *path) {
    char name[4352];
    (void)snprintf(name, sizeof name, "%s/.lock", path);
    int descriptor = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor >= 0 && flock(descriptor, LOCK_EX | LOCK_NB)) {
        (void)close(descriptor);
        descriptor = -1;
    }
    return descriptor;
}

/* Folders whose lock nobody holds. */
static void remove_orphans(const char *folder) {
    DIR *directory = opendir(folder);
    for (struct dirent *entry = NULL; directory != NULL && (entry = readdir(directory)) != NULL;) {
        char path[4352];
        if (!tmb_is_id(entry->d_name)) {
            continue;
        }
        (void)snprintf(path, sizeof path, "%s/%.32s", folder, entry->d_name);
        int lock = lock_folder(path);
        if (lock >= 0) {
            char name[4400];
            (void)snprintf(name, sizeof name, "%s/.lock", path);
            (void)unlink(name);
            remove_folder(path);
            (void)close(lock);
        }
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
}

tmb_status tmb_shared_spool_open(tmb_shared *store, const char *folder, tmb_error *error) {
    char path[4096];
    char real[4096];
    store->spool_lock = -1;
    int length = snprintf(path, sizeof path, "%s/spool", folder);
    if (length < 0 || (size_t)length >= sizeof path || !tmb_make_folders(path, 0700) || realpath(path, real) == NULL ||
        strlen(real) + TMB_STORE_ID + 1 >= sizeof store->spool) {
        return tmb_fail_errno(error, TMB_ERROR_IO, errno, "state folder %s", folder);
    }
    remove_orphans(real);
    (void)snprintf(store->spool, sizeof store->spool, "%.4000s/%s", real, store->consumer);
    if (mkdir(store->spool, 0700) || (store->spool_lock = lock_folder(store->spool)) < 0) {
        return tmb_fail_errno(error, TMB_ERROR_IO, errno, "%s", store->spool);
    }
    return TMB_OK;
}

void tmb_shared_spool_close(tmb_shared *store) {
    if (store->spool_lock >= 0) {
        char name[4352];
        (void)snprintf(name, sizeof name, "%s/.lock", store->spool);
        (void)unlink(name);
        remove_folder(store->spool);
        (void)close(store->spool_lock);
    }
}

bool tmb_shared_temporary_path(tmb_store *base, char path[TMB_STORE_PATH]) {
    char name[TMB_ID_LENGTH + 1];
    if (!tmb_random_id(name)) {
        return false;
    }
    (void)snprintf(path, TMB_STORE_PATH, "%s/%s", tmb_shared_of(base)->spool, name);
    return true;
}

bool tmb_shared_book(tmb_store *base, uint64_t bytes) {
    tmb_shared *store = tmb_shared_of(base);
    uint64_t booked = atomic_load(&store->spooled);
    do {
        if (store->max_bytes && (bytes > store->max_bytes || booked > store->max_bytes - bytes)) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&store->spooled, &booked, booked + bytes));
    return true;
}

void tmb_shared_unbook(tmb_store *base, uint64_t bytes) {
    tmb_shared *store = tmb_shared_of(base);
    uint64_t booked = atomic_load(&store->spooled);
    while (!atomic_compare_exchange_weak(&store->spooled, &booked, booked > bytes ? booked - bytes : 0)) {
    }
}
