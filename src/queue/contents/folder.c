/* Contents in a folder that all processes see. A content is written under a temporary name, flushed and renamed. */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "queue/contents/contents.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What nobody has written to for so long is left by somebody who died. */
static const time_t stale_seconds = 3600;

typedef struct tmb_folder {
    tmb_contents base; /* first */
    char path[4096];
} tmb_folder;

static void path_of(const tmb_folder *folder, const char *sum, char path[TMB_STORE_PATH]) {
    (void)snprintf(path, TMB_STORE_PATH, "%s/%.2s/%s", folder->path, sum, sum);
}

/* What errno says, and whose folder it is. */
static tmb_store_status fail(const tmb_folder *folder, const char *path) {
    int code = errno;
    if (code == ENOSPC || code == EDQUOT || code == EFBIG) {
        tmb_log(folder->base.logger, TMB_LOG_ERROR, "--blobs %s: %s", folder->path, strerror(code));
    } else if (code == EACCES || code == EPERM || code == EROFS) {
        tmb_log(folder->base.logger, TMB_LOG_ERROR, "--blobs %s: every server and worker must be able to write there",
                folder->path);
    }
    errno = code;
    return tmb_contents_errno(folder->base.logger, path);
}

static bool copy_bytes(int from, int to) {
    char block[65536];
    for (;;) {
        ssize_t got = read(from, block, sizeof block);
        if (got == 0) {
            return fdatasync(to) == 0;
        }
        if (got < 0 ? errno != EINTR : !tmb_file_write_all(to, block, (size_t)got)) {
            return false;
        }
    }
}

/* The name is on the disk, too. */
static bool flush_folder(const char *path) {
    char folder[TMB_STORE_PATH];
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = descriptor >= 0 && (fsync(descriptor) == 0 || errno == EINVAL);
    (void)(descriptor >= 0 && close(descriptor));
    return good;
}

static tmb_store_status put(tmb_contents *contents, const char *path, const char *sum, uint64_t bytes) {
    tmb_folder *folder = (tmb_folder *)contents;
    char target[TMB_STORE_PATH];
    char temporary[TMB_STORE_PATH];
    char name[TMB_ID_LENGTH + 1];
    struct stat found;
    path_of(folder, sum, target);
    if (stat(target, &found) == 0 && (uint64_t)found.st_size == bytes) {
        return TMB_STORE_OK;
    }
    if (!tmb_random_id(name)) {
        return TMB_STORE_FAILED;
    }
    (void)snprintf(temporary, sizeof temporary, "%s/tmp/%s", folder->path, name);
    int from = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int to = from < 0 ? -1 : open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0660);
    bool good = to >= 0 && copy_bytes(from, to);
    tmb_store_status status = good ? TMB_STORE_OK : fail(folder, temporary);
    (void)(from >= 0 && close(from));
    if (to >= 0 && close(to) && good) {
        status = fail(folder, temporary);
    }
    if (status == TMB_STORE_OK) {
        char parent[TMB_STORE_PATH];
        (void)snprintf(parent, sizeof parent, "%s/%.2s", folder->path, sum);
        (void)mkdir(parent, 0770);
        if (rename(temporary, target) || !flush_folder(target)) {
            status = fail(folder, target);
        }
    }
    if (status != TMB_STORE_OK && to >= 0) {
        (void)unlink(temporary);
    }
    /* The folder itself went away: that may pass. */
    return status == TMB_STORE_NOT_FOUND && from >= 0 ? TMB_STORE_BUSY : status;
}

static tmb_store_status has(tmb_contents *contents, const char *sum) {
    char path[TMB_STORE_PATH];
    struct stat found;
    path_of((tmb_folder *)contents, sum, path);
    return stat(path, &found) == 0 ? TMB_STORE_OK : tmb_contents_errno(contents->logger, path);
}

static tmb_store_status open_content(tmb_contents *contents, const char *sum, const char *scratch, int *descriptor) {
    (void)scratch;
    char path[TMB_STORE_PATH];
    path_of((tmb_folder *)contents, sum, path);
    *descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    return *descriptor >= 0 ? TMB_STORE_OK : tmb_contents_errno(contents->logger, path);
}

static tmb_store_status remove_content(tmb_contents *contents, const char *sum) {
    char path[TMB_STORE_PATH];
    path_of((tmb_folder *)contents, sum, path);
    if (unlink(path) == 0 || errno == ENOENT) {
        return TMB_STORE_OK;
    }
    return fail((const tmb_folder *)contents, path);
}

static void sweep(tmb_contents *contents) {
    tmb_folder *folder = (tmb_folder *)contents;
    char path[TMB_STORE_PATH];
    (void)snprintf(path, sizeof path, "%s/tmp", folder->path);
    DIR *directory = opendir(path);
    for (struct dirent *entry = NULL; directory != NULL && (entry = readdir(directory)) != NULL;) {
        struct stat found;
        if (tmb_is_id(entry->d_name) && fstatat(dirfd(directory), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
            found.st_mtime + stale_seconds < time(NULL)) {
            (void)unlinkat(dirfd(directory), entry->d_name, 0);
        }
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
}

static void close_folder(tmb_contents *contents) { free(contents); }

tmb_status tmb_contents_folder(const char *path, tmb_logger *logger, tmb_contents **out, tmb_error *error) {
    *out = NULL;
    tmb_folder *folder = tmb_calloc(1, sizeof *folder);
    if (folder == NULL) {
        return tmb_fail_memory(error, "the folder of files", sizeof *folder);
    }
    folder->base = (tmb_contents){.put = put,
                                  .has = has,
                                  .open = open_content,
                                  .remove = remove_content,
                                  .sweep = sweep,
                                  .close = close_folder,
                                  .logger = logger};
    char temporary[TMB_STORE_PATH];
    (void)mkdir(path, 0770);
    if (realpath(path, folder->path) == NULL) {
        tmb_status status = tmb_fail_errno(error, TMB_ERROR_IO, errno, "--blobs %s", path);
        free(folder);
        return status;
    }
    (void)snprintf(temporary, sizeof temporary, "%s/tmp", folder->path);
    if ((mkdir(temporary, 0770) && errno != EEXIST) || access(temporary, W_OK)) {
        tmb_status status = tmb_fail_errno(error, TMB_ERROR_IO, errno, "--blobs %s", temporary);
        free(folder);
        return status;
    }
    *out = &folder->base;
    return TMB_OK;
}
