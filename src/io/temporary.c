/* The list of temporary files is read by signal handlers: entries are never freed but used again, a
 * path is complete before its entry is marked, and nothing in the handler's path takes a lock. */
#include "io/temporary.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Names that are tried until one is free. */
#define ATTEMPTS 16

typedef enum entry_state { ENTRY_FREE, ENTRY_TAKEN, ENTRY_LISTED } entry_state;

typedef struct entry {
    atomic_int state;
    struct entry *next; /* never changes once the entry is in the list */
    char path[PATH_MAX];
} entry;

struct tmb_temporary {
    entry *listed;
    char *target;
};

static _Atomic(entry *) entries;

static entry *take_entry(void) {
    for (entry *e = atomic_load(&entries); e != NULL; e = e->next) {
        int free_state = ENTRY_FREE;
        if (atomic_compare_exchange_strong(&e->state, &free_state, ENTRY_TAKEN)) {
            return e;
        }
    }
    entry *e = tmb_calloc(1, sizeof *e);
    if (e != NULL) {
        atomic_store(&e->state, ENTRY_TAKEN);
        e->next = atomic_load(&entries);
        while (!atomic_compare_exchange_weak(&entries, &e->next, e)) {
        }
    }
    return e;
}

void tmb_audio_remove_temporary_files(void) {
    const int saved = errno;
    for (entry *e = atomic_load(&entries); e != NULL; e = e->next) {
        if (atomic_load(&e->state) == ENTRY_LISTED) {
            (void)unlink(e->path);
        }
    }
    errno = saved;
}

static void free_temporary(tmb_temporary **temporary) {
    if ((*temporary)->listed != NULL) {
        atomic_store(&(*temporary)->listed->state, ENTRY_FREE);
    }
    free((*temporary)->target);
    free(*temporary);
    *temporary = NULL;
}

/* The path that a rename must replace: the end of a chain of links, not the link. */
static char *resolve(const char *path) {
    struct stat status;
    if (lstat(path, &status) == 0 && S_ISLNK(status.st_mode)) {
        return realpath(path, NULL); /* NULL too for a link to nothing */
    }
    return tmb_strdup(path);
}

/* "folder/.name.0123456789abcdef.tmp" of "folder/name"; false if that is too long for a path. */
static bool temporary_name(const char *target, char *out, size_t size) {
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) {
        random = (uint64_t)getpid() << 32 ^ (uint64_t)(uintptr_t)out;
    }
    const char *slash = strrchr(target, '/');
    const int folder = slash != NULL ? (int)(slash + 1 - target) : 0;
    /* A name may have 255 bytes: a long one is cut. */
    const int length =
        snprintf(out, size, "%.*s.%.200s.%016llx.tmp", folder, target, target + folder, (unsigned long long)random);
    return length > 0 && (size_t)length < size;
}

tmb_status tmb_temporary_create(const char *path, tmb_temporary **out, int *fd, tmb_error *error) {
    *out = NULL;
    *fd = -1;
    tmb_temporary *temporary = tmb_calloc(1, sizeof *temporary);
    if (temporary == NULL) {
        return tmb_fail_memory(error, "a temporary file", sizeof *temporary);
    }
    temporary->target = resolve(path);
    temporary->listed = temporary->target != NULL ? take_entry() : NULL;
    if (temporary->listed == NULL) {
        const bool dangling = temporary->target == NULL && errno == ENOENT;
        free_temporary(&temporary);
        return dangling ? tmb_fail(error, TMB_ERROR_IO, "is a link to a file that does not exist")
                        : tmb_fail_memory(error, "a temporary file", sizeof(entry));
    }
    entry *listed = temporary->listed;
    for (int attempt = 0; attempt < ATTEMPTS && *fd < 0; attempt++) {
        if (!temporary_name(temporary->target, listed->path, sizeof listed->path)) {
            errno = ENAMETOOLONG;
            break;
        }
        atomic_store(&listed->state, ENTRY_LISTED);
        *fd = open(listed->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (*fd < 0) {
            const int reason = errno;
            atomic_store(&listed->state, ENTRY_TAKEN);
            errno = reason;
            if (errno != EEXIST) {
                break;
            }
        }
    }
    if (*fd < 0) {
        const int reason = errno;
        free_temporary(&temporary);
        return tmb_fail_errno(error, TMB_ERROR_IO, reason, "cannot be created");
    }
    struct stat status;
    if (stat(temporary->target, &status) == 0) {
        (void)fchmod(*fd, status.st_mode & 0777); /* keeps what it can */
    }
    *out = temporary;
    return TMB_OK;
}

tmb_status tmb_temporary_commit(tmb_temporary **temporary, tmb_error *error) {
    tmb_status status = TMB_OK;
    if (rename((*temporary)->listed->path, (*temporary)->target) != 0) {
        status = tmb_fail_errno(error, TMB_ERROR_IO, errno, "cannot be given its name");
        (void)unlink((*temporary)->listed->path);
    }
    free_temporary(temporary);
    return status;
}

void tmb_temporary_discard(tmb_temporary **temporary) {
    if (*temporary != NULL) {
        (void)unlink((*temporary)->listed->path);
        free_temporary(temporary);
    }
}
