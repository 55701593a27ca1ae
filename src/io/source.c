#include "io/source.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPOOL_MEMORY ((size_t)16 << 20)
#define SPOOL_MAXIMUM ((uint64_t)4 << 30)
/* What a check is shown of a pipe, and the least that is read at a time. */
#define SPOOL_BLOCK ((size_t)64 << 10)

tmb_status tmb_source_open(const char *path, tmb_source *source, tmb_error *error) {
    *source = (tmb_source){.fd = -1};
    if (strcmp(path, "-") == 0) {
        source->fd = STDIN_FILENO;
    } else {
        source->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        source->owns_fd = true;
    }
    struct stat status;
    if (source->fd < 0 || fstat(source->fd, &status) != 0) {
        const int reason = errno;
        tmb_source_close(source);
        return tmb_fail_errno(error, TMB_ERROR_IO, reason, "cannot be opened");
    }
    if (S_ISDIR(status.st_mode)) {
        tmb_source_close(source);
        return tmb_fail(error, TMB_ERROR_IO, "is a folder, not an audio file");
    }
    if (S_ISREG(status.st_mode)) {
        /* Standard input may be a file whose front someone has read already. */
        const off_t place = lseek(source->fd, 0, SEEK_CUR);
        source->base = place > 0 ? (uint64_t)place : 0;
        source->size = (uint64_t)status.st_size > source->base ? (uint64_t)status.st_size - source->base : 0;
    } else {
        source->sequential = true;
    }
    return TMB_OK;
}

void tmb_source_open_memory(const void *data, size_t size, tmb_source *source) {
    *source = (tmb_source){.fd = -1, .memory = data, .size = size};
}

void tmb_source_close(tmb_source *source) {
    if (source->owns_fd && source->fd >= 0) {
        (void)close(source->fd);
    }
    free(source->spool);
    *source = (tmb_source){.fd = -1};
}

/* Where a descriptor that cannot seek is. */
#define HERE (-1)

/* Reads from `place` until `count` bytes, the end or an error. */
static size_t read_fully(tmb_source *source, off_t place, uint8_t *out, size_t count) {
    size_t done = 0;
    while (done < count) {
        const ssize_t got = place == HERE ? read(source->fd, out + done, count - done)
                                          : pread(source->fd, out + done, count - done, place + (off_t)done);
        if (got == 0) {
            break;
        }
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            source->error_number = errno;
            break;
        }
        done += (size_t)got;
    }
    return done;
}

tmb_source tmb_source_part(const tmb_source *source, uint64_t start, uint64_t end) {
    tmb_source part = *source;
    part.spool = NULL;
    part.owns_fd = false;
    part.base += start;
    part.memory = source->memory != NULL ? source->memory + start : NULL;
    part.size = end - start;
    part.position = 0;
    part.patch_size = source->patch_place >= start ? source->patch_size : 0;
    part.patch_place = source->patch_place - start;
    return part;
}

static void patch(const tmb_source *source, uint64_t place, uint8_t *data, size_t count) {
    for (size_t i = 0; i < source->patch_size; i++) {
        const uint64_t at = source->patch_place + i;
        if (at >= place && at - place < count) {
            data[at - place] = source->patch[i];
        }
    }
}

static size_t read_at(tmb_source *source, uint64_t place, void *out, size_t count) {
    if (place >= source->size) {
        return 0;
    }
    if (count > source->size - place) {
        count = (size_t)(source->size - place);
    }
    if (source->fd < 0) {
        memcpy(out, source->memory + place, count);
        return count;
    }
    return read_fully(source, (off_t)(source->base + place), out, count);
}

size_t tmb_source_read_at(tmb_source *source, uint64_t place, void *out, size_t count) {
    const size_t done = read_at(source, place, out, count);
    patch(source, place, out, done);
    return done;
}

size_t tmb_source_read(tmb_source *source, void *out, size_t count) {
    const size_t done = source->sequential ? read_fully(source, HERE, out, count)
                                           : tmb_source_read_at(source, source->position, out, count);
    source->position += done;
    return done;
}

/* A file without a name, for what does not fit into memory. */
static int open_unlinked(void) {
    const char *folder = getenv("TMPDIR");
    if (folder == NULL || folder[0] == '\0') {
        folder = "/tmp";
    }
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) { /* a file system without O_TMPFILE */
        char *name = tmb_asprintf("%s/timbre-XXXXXX", folder);
        if (name == NULL) {
            errno = ENOMEM;
            return -1;
        }
        fd = mkostemp(name, O_CLOEXEC);
        if (fd >= 0) {
            (void)unlink(name);
        }
        free(name);
    }
    return fd;
}

/* Moves what is in memory, and all that still comes, to a file. */
static tmb_status spool_to_file(tmb_source *source, size_t held, tmb_error *error) {
    const int fd = open_unlinked();
    if (fd < 0) {
        return tmb_fail_errno(error, TMB_ERROR_IO, errno,
                              "no temporary file (set TMPDIR) for a long input from a pipe");
    }
    uint64_t total = 0;
    while (held > 0) {
        if (!tmb_file_write_all(fd, source->spool, held)) {
            const int reason = errno;
            (void)close(fd);
            return tmb_fail_errno(error, TMB_ERROR_IO, reason,
                                  "the temporary file (set TMPDIR) of a long input from a pipe");
        }
        total += held;
        if (total > SPOOL_MAXIMUM) {
            (void)close(fd);
            return tmb_fail(error, TMB_ERROR_LIMIT,
                            "more than %llu bytes come from the pipe; write them to a file first",
                            (unsigned long long)SPOOL_MAXIMUM);
        }
        held = read_fully(source, HERE, source->spool, SPOOL_MEMORY);
    }
    if (source->error_number != 0) {
        (void)close(fd);
        return TMB_OK; /* reported by the caller */
    }
    if (source->owns_fd) {
        (void)close(source->fd);
    }
    free(source->spool);
    source->spool = NULL;
    source->fd = fd;
    source->owns_fd = true;
    source->size = total;
    return TMB_OK;
}

tmb_status tmb_source_spool(tmb_source *source, tmb_source_check check, void *user, tmb_error *error) {
    if (!source->sequential) {
        return TMB_OK;
    }
    size_t held = 0;
    size_t capacity = 0;
    bool ended = false;
    while (!ended && held < SPOOL_MEMORY) {
        capacity = capacity == 0 ? SPOOL_BLOCK : capacity * 2;
        uint8_t *grown = tmb_realloc(source->spool, capacity, 1);
        if (grown == NULL) {
            return tmb_fail_memory(error, "an input from a pipe", capacity);
        }
        source->spool = grown;
        const bool first = held == 0;
        const size_t got = read_fully(source, HERE, source->spool + held, capacity - held);
        ended = got < capacity - held;
        held += got;
        if (first && source->error_number == 0) {
            tmb_status status = check(user, source->spool, held, error);
            if (status != TMB_OK) {
                return status;
            }
        }
    }
    if (!ended) {
        tmb_status status = spool_to_file(source, held, error);
        if (status != TMB_OK) {
            return status;
        }
    }
    if (source->error_number != 0) {
        return tmb_fail_errno(error, TMB_ERROR_IO, source->error_number, "cannot be read");
    }
    source->sequential = false;
    if (ended) {
        if (source->owns_fd) {
            (void)close(source->fd);
        }
        source->fd = -1;
        source->owns_fd = false;
        source->memory = source->spool;
        source->size = held;
    }
    return TMB_OK;
}

tmb_status tmb_source_descriptor(tmb_source *source, int *descriptor, bool *owned, tmb_error *error) {
    *descriptor = source->fd;
    *owned = false;
    struct stat file;
    if (source->fd >= 0 && source->base == 0 && source->patch_size == 0 && fstat(source->fd, &file) == 0 &&
        (uint64_t)file.st_size == source->size) {
        return TMB_OK;
    }
    const size_t block = (size_t)64 << 10;
    uint8_t *bytes = tmb_calloc(block, 1);
    if (bytes == NULL) {
        return tmb_fail_memory(error, "a copy of the audio file", block);
    }
    int reason = 0;
    *descriptor = open_unlinked();
    reason = *descriptor < 0 ? errno : 0;
    for (uint64_t place = 0; reason == 0 && place < source->size;) {
        const size_t got = tmb_source_read_at(source, place, bytes, block);
        if (got == 0 || !tmb_file_write_all(*descriptor, bytes, got)) {
            reason = got == 0 ? (source->error_number != 0 ? source->error_number : EIO) : errno;
        }
        place += got;
    }
    free(bytes);
    if (reason != 0) {
        if (*descriptor >= 0) {
            (void)close(*descriptor);
        }
        return tmb_fail_errno(error, TMB_ERROR_IO, reason, "the temporary file (set TMPDIR) for ffmpeg");
    }
    *owned = true;
    return TMB_OK;
}
