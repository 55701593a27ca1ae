#include "base/file.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool tmb_file_write_all(int file, const void *data, size_t bytes) {
    const char *from = data;
    while (bytes != 0) {
        ssize_t written = write(file, from, bytes);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return false;
        }
        from += written;
        bytes -= (size_t)written;
    }
    return true;
}

/* Closes what was written, and keeps errno of what failed first. */
static bool close_written(int file, bool written) {
    int reason = errno;
    if (close(file) != 0 && written) {
        return false;
    }
    errno = reason;
    return written;
}

/* Beside `target`, which it replaces; false: errno says why. */
static bool replace(const char *target, mode_t mode, const void *data, size_t bytes) {
    char *temporary = tmb_asprintf("%s.XXXXXX", target);
    int file = temporary != NULL ? mkostemp(temporary, O_CLOEXEC) : -1;
    if (file < 0) {
        free(temporary);
        return false;
    }
    bool complete = tmb_file_write_all(file, data, bytes) && fchmod(file, mode & 0777) == 0 && fsync(file) == 0;
    bool written = close_written(file, complete) && rename(temporary, target) == 0;
    int reason = errno;
    if (!written) {
        (void)unlink(temporary);
    }
    free(temporary);
    errno = reason;
    return written;
}

static bool write_in_place(const char *path, const void *data, size_t bytes) {
    int file = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    return file >= 0 && close_written(file, tmb_file_write_all(file, data, bytes));
}

tmb_status tmb_file_write(const char *path, const void *data, size_t bytes, tmb_error *error) {
    struct stat status = {0}, link;
    const bool exists = stat(path, &status) == 0;
    bool written = false;
    if (exists && S_ISDIR(status.st_mode)) {
        errno = EISDIR;
    } else if (exists && access(path, W_OK) != 0) { /* a rename would not ask for this permission */
        written = false;
    } else if (exists && !S_ISREG(status.st_mode)) {
        written = write_in_place(path, data, bytes);
    } else if (!exists && lstat(path, &link) == 0) {
        errno = ENOENT; /* a link to nothing */
    } else {
        char *target = exists ? realpath(path, NULL) : tmb_strdup(path);
        written = target != NULL && replace(target, exists ? status.st_mode : 0644, data, bytes);
        free(target);
    }
    return written ? TMB_OK : tmb_fail_errno(error, TMB_ERROR_IO, errno, "%s: cannot be written", path);
}
