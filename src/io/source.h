/* Where the bytes of an audio file come from: a file, a pipe, memory. */
#ifndef TMB_IO_SOURCE_H
#define TMB_IO_SOURCE_H

#include "timbre/timbre.h"

/* Zero-initialise. Used by one thread at a time. */
typedef struct tmb_source {
    int fd; /* -1: memory */
    bool owns_fd;
    bool sequential;       /* a pipe that was not spooled: no size, no seeking */
    const uint8_t *memory; /* if fd is -1 */
    uint8_t *spool;        /* memory that is owned, or NULL */
    uint64_t base;         /* where the source begins in the file */
    uint64_t size;
    uint64_t position;
    int error_number;  /* errno of the first read that failed */
    uint8_t patch[8];  /* what is read at `patch_place` instead of what is there */
    size_t patch_size; /* 0: nothing */
    uint64_t patch_place;
} tmb_source;

/* Opens a path, or standard input for "-". A regular file is read in place; pipes and devices come out
 * sequential. TMB_ERROR_IO names the reason. */
tmb_status tmb_source_open(const char *path, tmb_source *source, tmb_error *error);
void tmb_source_open_memory(const void *data, size_t size, tmb_source *source);
void tmb_source_close(tmb_source *source);

/* A part of a source that is not sequential, borrowed: not to be closed, gone with its source. */
tmb_source tmb_source_part(const tmb_source *source, uint64_t start, uint64_t end);

/* Says whether what begins like this is worth reading on. */
typedef tmb_status (*tmb_source_check)(void *user, const uint8_t *data, size_t size, tmb_error *error);

/* Makes a sequential source seekable by reading it to its end: into memory up to 16 MiB, beyond that
 * into an unlinked temporary file ($TMPDIR or /tmp) up to 4 GiB (TMB_ERROR_LIMIT). `check` sees the
 * first bytes before the rest is waited for. Others are left as they are. */
tmb_status tmb_source_spool(tmb_source *source, tmb_source_check check, void *user, tmb_error *error);

/* A descriptor with nothing but the source's bytes in it, at their beginning, for a program of its own: the source's,
 * or a copy without a name; *owned says that it is to be closed. Not for sequential sources. */
tmb_status tmb_source_descriptor(tmb_source *source, int *descriptor, bool *owned, tmb_error *error);

/* Reads at `position` and moves on; less than `count` at the end, or if error_number is set. */
size_t tmb_source_read(tmb_source *source, void *out, size_t count);
/* The same at a place of its own; not for sequential sources. */
size_t tmb_source_read_at(tmb_source *source, uint64_t place, void *out, size_t count);

#endif
