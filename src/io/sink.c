#include "io/sink.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

tmb_status tmb_sink_open(const char *path, tmb_sink *sink, tmb_error *error) {
    *sink = (tmb_sink){.fd = -1};
    struct stat status;
    if (strcmp(path, "-") == 0) {
        sink->fd = STDOUT_FILENO;
        const int flags = fcntl(sink->fd, F_GETFL);
        const off_t place = lseek(sink->fd, 0, SEEK_CUR);
        if (fstat(sink->fd, &status) == 0 && S_ISREG(status.st_mode) && flags >= 0 && (flags & O_APPEND) == 0 &&
            place >= 0) {
            sink->seekable = true;
            sink->readable = (flags & O_ACCMODE) == O_RDWR;
            sink->base = (uint64_t)place;
        }
        return TMB_OK;
    }
    if (stat(path, &status) != 0) {
        status.st_mode = S_IFREG; /* to be created */
    } else if (S_ISDIR(status.st_mode)) {
        return tmb_fail(error, TMB_ERROR_IO, "is a folder");
    } else if (access(path, W_OK) != 0) {
        /* A rename would not ask for this permission. */
        return tmb_fail_errno(error, TMB_ERROR_IO, errno, "cannot be written");
    }
    if (S_ISREG(status.st_mode)) {
        sink->owns_fd = true;
        sink->seekable = true;
        sink->readable = true;
        return tmb_temporary_create(path, &sink->temporary, &sink->fd, error);
    }
    sink->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    sink->owns_fd = true;
    return sink->fd >= 0 ? TMB_OK : tmb_fail_errno(error, TMB_ERROR_IO, errno, "cannot be opened");
}

void tmb_sink_open_memory(size_t maximum, tmb_sink *sink) {
    *sink = (tmb_sink){.fd = -1, .maximum = maximum, .seekable = true, .readable = true};
}

void tmb_sink_open_callback(tmb_audio_write_callback callback, void *user, tmb_sink *sink) {
    *sink = (tmb_sink){.fd = -1, .callback = callback, .user = user};
}

static bool write_descriptor(tmb_sink *sink, const uint8_t *data, size_t count) {
    uint64_t place = sink->base + sink->position;
    while (count > 0) {
        const ssize_t done =
            sink->seekable ? pwrite(sink->fd, data, count, (off_t)place) : write(sink->fd, data, count);
        if (done < 0) {
            if (errno == EINTR) {
                continue;
            }
            (void)tmb_fail_errno(&sink->failure, TMB_ERROR_IO, errno, "cannot be written");
            return false;
        }
        data += done;
        place += (uint64_t)done;
        count -= (size_t)done;
    }
    return true;
}

static bool write_memory(tmb_sink *sink, const uint8_t *data, size_t count) {
    size_t end = 0;
    if (!tmb_add_size((size_t)sink->position, count, &end) || end > sink->maximum) {
        (void)tmb_fail(&sink->failure, TMB_ERROR_LIMIT, "the encoded audio is larger than its limit of %zu bytes",
                       sink->maximum);
        return false;
    }
    if (end > sink->capacity) {
        size_t capacity = sink->capacity < 4096 ? 4096 : sink->capacity;
        while (capacity < end) {
            capacity = capacity <= SIZE_MAX / 2 ? capacity * 2 : end;
        }
        capacity = capacity < sink->maximum ? capacity : sink->maximum;
        uint8_t *grown = tmb_realloc(sink->memory, capacity, 1);
        if (grown == NULL) {
            (void)tmb_fail_memory(&sink->failure, "encoded audio", capacity);
            return false;
        }
        /* A write behind the end leaves a gap, which reads as zeros in a file too. */
        memset(grown + sink->capacity, 0, capacity - sink->capacity);
        sink->memory = grown;
        sink->capacity = capacity;
    }
    memcpy(sink->memory + sink->position, data, count);
    return true;
}

bool tmb_sink_write(tmb_sink *sink, const void *data, size_t count) {
    const uint8_t *bytes = data;
    if (sink->failure.status != TMB_OK) {
        return false;
    }
    if (!sink->seekable && sink->position < sink->size) {
        const uint64_t gone = sink->size - sink->position < count ? sink->size - sink->position : count;
        bytes += gone;
        count -= (size_t)gone;
        sink->position += gone;
    }
    if (count == 0) {
        return true;
    }
    bool written = false;
    if (sink->fd >= 0) {
        written = write_descriptor(sink, bytes, count);
    } else if (sink->callback != NULL) {
        tmb_status status = sink->callback(sink->user, bytes, count, &sink->failure);
        written = status == TMB_OK;
        if (!written && sink->failure.status == TMB_OK) {
            (void)tmb_fail(&sink->failure, status, "the audio's receiver failed (%s)", tmb_status_name(status));
        }
    } else {
        written = write_memory(sink, bytes, count);
    }
    if (written) {
        sink->position += count;
        sink->size = sink->position > sink->size ? sink->position : sink->size;
    }
    return written;
}

static bool read_back(tmb_sink *sink, uint64_t place, uint8_t *out, size_t count) {
    for (size_t done = 0; done < count;) {
        const ssize_t got = pread(sink->fd, out + done, count - done, (off_t)(sink->base + place + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            (void)tmb_fail_errno(&sink->failure, TMB_ERROR_IO, got < 0 ? errno : EIO, "cannot be read back");
            return false;
        }
        done += (size_t)got;
    }
    return true;
}

bool tmb_sink_insert(tmb_sink *sink, uint64_t place, size_t count) {
    const size_t block = (size_t)1 << 20;
    uint8_t *bytes = tmb_calloc(block, 1);
    if (bytes == NULL) {
        (void)tmb_fail_memory(&sink->failure, "encoded audio", block);
        return false;
    }
    const uint64_t end = sink->size;
    bool moved = sink->failure.status == TMB_OK;
    for (uint64_t at = end;
         moved && at > place;) { /* from the end, so that nothing is overwritten before it is moved */
        const size_t part = at - place < block ? (size_t)(at - place) : block;
        at -= part;
        if (sink->fd >= 0) {
            moved = read_back(sink, at, bytes, part);
        } else {
            memcpy(bytes, sink->memory + at, part);
        }
        sink->position = at + count;
        moved = moved && tmb_sink_write(sink, bytes, part);
    }
    sink->position = end + count;
    free(bytes);
    return moved;
}

/* close(2) reports what a network file system could not write. */
static int close_descriptor(tmb_sink *sink) {
    const int result = sink->owns_fd && sink->fd >= 0 ? close(sink->fd) : 0;
    sink->fd = -1;
    return result;
}

tmb_status tmb_sink_failure(const tmb_sink *sink, tmb_error *error) {
    if (error != NULL) {
        *error = sink->failure;
    }
    return sink->failure.status;
}

tmb_status tmb_sink_finish(tmb_sink *sink, tmb_error *error) {
    if (sink->failure.status != TMB_OK) {
        const tmb_status status = tmb_sink_failure(sink, error);
        tmb_sink_abort(sink);
        return status;
    }
    if (sink->fd >= 0 && !sink->owns_fd && sink->seekable) {
        (void)lseek(sink->fd, (off_t)(sink->base + sink->size), SEEK_SET); /* who writes next goes on behind it */
    }
    if (close_descriptor(sink) != 0) {
        tmb_status status = tmb_fail_errno(error, TMB_ERROR_IO, errno, "cannot be written");
        tmb_sink_abort(sink);
        return status;
    }
    free(sink->memory);
    sink->memory = NULL;
    return sink->temporary != NULL ? tmb_temporary_commit(&sink->temporary, error) : TMB_OK;
}

void tmb_sink_abort(tmb_sink *sink) {
    (void)close_descriptor(sink);
    tmb_temporary_discard(&sink->temporary);
    free(sink->memory);
    sink->memory = NULL;
}
