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

/* Copies a file to `target`, as a whole or not at all. */
static tmb_store_status copy_to(const tmb_folder *folder, int from, const char *target) {
    char temporary[TMB_STORE_PATH];
    char name[TMB_ID_LENGTH + 1];
    if (!tmb_random_id(name)) {
        return TMB_STORE_FAILED;
    }
    (void)snprintf(temporary, sizeof temporary, "%s/tmp/%s", folder->path, name);
    int to = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0660);
    bool good = to >= 0 && copy_bytes(from, to);
    tmb_store_status status = good ? TMB_STORE_OK : fail(folder, temporary);
    if (to >= 0 && close(to) && good) {
        status = fail(folder, temporary);
    }
    if (status == TMB_STORE_OK) {
        char parent[TMB_STORE_PATH];
        (void)snprintf(parent, sizeof parent, "%.*s", (int)(strrchr(target, '/') - target), target);
        (void)mkdir(parent, 0770);
        if (rename(temporary, target) || !flush_folder(target)) {
            status = fail(folder, target);
        }
    }
    if (status != TMB_STORE_OK && to >= 0) {
        (void)unlink(temporary);
    }
    /* The folder itself went away: that may pass. */
    return status == TMB_STORE_NOT_FOUND ? TMB_STORE_BUSY : status;
}

static tmb_store_status put(tmb_contents *contents, const char *path, const char *sum, uint64_t bytes) {
    tmb_folder *folder = (tmb_folder *)contents;
    char target[TMB_STORE_PATH];
    struct stat found;
    path_of(folder, sum, target);
    if (stat(target, &found) == 0 && (uint64_t)found.st_size == bytes) {
        return TMB_STORE_OK;
    }
    int from = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (from < 0) {
        return fail(folder, path);
    }
    tmb_store_status status = copy_to(folder, from, target);
    (void)close(from);
    return status;
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

static tmb_status read_identity(tmb_folder *folder, tmb_error *error) {
    char path[TMB_STORE_PATH];
    (void)snprintf(path, sizeof path, "%s/" TMB_CONTENTS_IDENTITY, folder->path);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0) {
        return errno == ENOENT ? TMB_OK : tmb_fail_errno(error, TMB_ERROR_IO, errno, "--blobs %s", path);
    }
    bool good = tmb_contents_identity_read(descriptor, folder->base.identity);
    (void)close(descriptor);
    return good ? TMB_OK : tmb_fail(error, TMB_ERROR_IO, "--blobs %s is not what timbre wrote there", path);
}

static tmb_status write_identity(tmb_folder *folder, tmb_error *error) {
    char path[TMB_STORE_PATH];
    char identity[TMB_STORE_ID];
    (void)snprintf(path, sizeof path, "%s/" TMB_CONTENTS_IDENTITY, folder->path);
    int from = tmb_random_id(identity) ? tmb_contents_identity_file(identity) : -1;
    bool good = from >= 0 && copy_to(folder, from, path) == TMB_STORE_OK;
    tmb_status status =
        good ? TMB_OK : tmb_fail(error, TMB_ERROR_IO, "--blobs %s cannot be written (see the log)", path);
    (void)(from >= 0 && close(from));
    memcpy(folder->base.identity, good ? identity : "", good ? sizeof identity : 1);
    return status;
}

static tmb_status make_temporary(const tmb_folder *folder, tmb_error *error) {
    char temporary[TMB_STORE_PATH];
    (void)snprintf(temporary, sizeof temporary, "%s/tmp", folder->path);
    return (mkdir(temporary, 0770) && errno != EEXIST) || access(temporary, W_OK)
               ? tmb_fail_errno(error, TMB_ERROR_IO, errno, "--blobs %s", temporary)
               : TMB_OK;
}

/* Goes there, and leaves alone what has another identity than `known`. */
static tmb_status enter(tmb_folder *folder, const char *path, const char *known, tmb_error *error) {
    if (known[0] == 0) {
        (void)mkdir(path, 0770);
    }
    if (realpath(path, folder->path) == NULL) {
        /* What is not there has no identity. */
        return known[0] != 0 && errno == ENOENT ? TMB_OK
                                                : tmb_fail_errno(error, TMB_ERROR_IO, errno, "--blobs %s", path);
    }
    tmb_status status = read_identity(folder, error);
    if (status == TMB_OK && (known[0] == 0 || strcmp(folder->base.identity, known) == 0)) {
        status = make_temporary(folder, error);
    }
    if (status == TMB_OK && known[0] == 0 && folder->base.identity[0] == 0) {
        status = write_identity(folder, error);
    }
    return status;
}

tmb_status tmb_contents_folder(const char *path, const char *known, tmb_logger *logger, tmb_contents **out,
                               tmb_error *error) {
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
    tmb_status status = enter(folder, path, known, error);
    if (status != TMB_OK) {
        free(folder);
        return status;
    }
    *out = &folder->base;
    return TMB_OK;
}
