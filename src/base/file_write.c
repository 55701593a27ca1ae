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

tmb_status tmb_file_write(const char *path, const void *data, size_t bytes, tmb_error *error) {
    char *temporary = tmb_asprintf("%s.XXXXXX", path);
    if (temporary == NULL) {
        return tmb_fail_memory(error, "a path", 0);
    }
    int file = mkostemp(temporary, O_CLOEXEC);
    if (file < 0) {
        free(temporary);
        return tmb_fail_errno(error, TMB_ERROR_IO, errno, "%s: cannot be written", path);
    }
    bool written = tmb_file_write_all(file, data, bytes) && fchmod(file, 0644) == 0 && fsync(file) == 0;
    int reason = errno;
    if (close(file) != 0 && written) {
        written = false;
        reason = errno;
    }
    if (written && rename(temporary, path) != 0) {
        written = false;
        reason = errno;
    }
    if (!written) {
        (void)unlink(temporary);
    }
    free(temporary);
    return written ? TMB_OK : tmb_fail_errno(error, TMB_ERROR_IO, reason, "%s: cannot be written", path);
}
