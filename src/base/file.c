#include "base/file.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* "PATH: No such file or directory" */
static tmb_status fail_errno(tmb_error *error, int code, const char *path) {
    (void)tmb_fail_errno(error, TMB_ERROR_IO, code, "%s", path);
    const size_t name = strlen(path) + 2;
    if (error != NULL && name < strlen(error->message)) { /* a longer path was cut, and nothing stands behind it */
        error->name_bytes = name;
    }
    return TMB_ERROR_IO;
}

tmb_status tmb_file_open(const char *path, int *file, uint64_t *bytes, tmb_error *error) {
    *file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*file < 0) {
        return fail_errno(error, errno, path);
    }
    struct stat status;
    if (fstat(*file, &status) != 0 || !S_ISREG(status.st_mode)) {
        (void)close(*file);
        *file = -1;
        return tmb_fail_named(error, TMB_ERROR_IO, path, "not a regular file");
    }
    *bytes = (uint64_t)status.st_size;
    return TMB_OK;
}

tmb_status tmb_file_read_at(int file, uint64_t offset, void *out, size_t bytes, const char *name, tmb_error *error) {
    char *position = out;
    while (bytes != 0) {
        ssize_t got = pread(file, position, bytes, (off_t)offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return fail_errno(error, errno, name);
        }
        if (got == 0) {
            return tmb_fail_named(error, TMB_ERROR_IO, name, "the file became shorter while it was read");
        }
        position += got;
        offset += (uint64_t)got;
        bytes -= (size_t)got;
    }
    return TMB_OK;
}

tmb_status tmb_file_read(const char *path, size_t limit, char **data, size_t *bytes, tmb_error *error) {
    *data = NULL;
    int file = -1;
    uint64_t size = 0;
    tmb_status status = tmb_file_open(path, &file, &size, error);
    if (status != TMB_OK) {
        return status;
    }
    if (size > limit) {
        (void)close(file);
        status = tmb_fail(error, TMB_ERROR_LIMIT, "%llu bytes, but %zu are the limit for such a file",
                          (unsigned long long)size, limit);
        tmb_error_name(error, path);
        return status;
    }
    char *buffer = tmb_calloc((size_t)size + 1, 1);
    if (buffer == NULL) {
        status = tmb_fail_memory(error, path, (size_t)size);
    } else {
        status = tmb_file_read_at(file, 0, buffer, (size_t)size, path, error);
    }
    (void)close(file);
    if (status != TMB_OK) {
        free(buffer);
        return status;
    }
    *data = buffer;
    *bytes = (size_t)size;
    return TMB_OK;
}
