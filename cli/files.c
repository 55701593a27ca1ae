#include "shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Endings of files that can be written, each with its container. */
static const struct {
    const char *ending;
    tmb_container container;
} endings[] = {
    {"wav", TMB_CONTAINER_WAV}, {"flac", TMB_CONTAINER_FLAC}, {"ogg", TMB_CONTAINER_OGG}, {"opus", TMB_CONTAINER_OPUS},
    {"mp3", TMB_CONTAINER_MP3}, {"raw", TMB_CONTAINER_RAW},   {"aac", TMB_CONTAINER_AAC}, {"pcm", TMB_CONTAINER_RAW},
};

const char *cli_container_ending(tmb_container container) {
    for (size_t i = 0; i < CLI_LENGTH(endings); i++) {
        if (endings[i].container == container) {
            return endings[i].ending;
        }
    }
    return "wav";
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

char *cli_output_path(const char *folder, const char *input, const char *suffix, tmb_container container) {
    const char *name = cli_is_standard(input) ? "stdin" : base_name(input);
    const char *dot = strrchr(name, '.');
    size_t stem = dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name);
    const char *ending = cli_container_ending(container);
    if (container == TMB_CONTAINER_AUTO && dot != NULL) {
        for (size_t i = 0; i < CLI_LENGTH(endings); i++) {
            if (strcasecmp(dot + 1, endings[i].ending) == 0) {
                ending = endings[i].ending;
            }
        }
    }
    size_t size = strlen(folder) + 1 + stem + strlen(suffix) + 1 + strlen(ending) + 1;
    char *path = malloc(size);
    if (path != NULL) {
        (void)snprintf(path, size, "%s%s%.*s%s.%s", folder, folder[strlen(folder) - 1] == '/' ? "" : "/", (int)stem,
                       name, suffix, ending);
    }
    return path;
}

bool cli_is_folder(const char *path) {
    struct stat status;
    size_t length = strlen(path);
    return (length > 0 && path[length - 1] == '/') || (stat(path, &status) == 0 && S_ISDIR(status.st_mode));
}

bool cli_make_folder(const char *path) {
    char *copy = strdup(path);
    bool made = copy != NULL;
    for (char *end = copy; made && end != NULL;) {
        end = strchr(end + 1, '/');
        if (end != NULL) {
            *end = '\0';
        }
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) {
            made = false;
        }
        if (end != NULL) {
            *end = '/';
        }
    }
    free(copy);
    struct stat status;
    if (made && stat(path, &status) == 0 && !S_ISDIR(status.st_mode)) {
        errno = ENOTDIR;
        made = false;
    }
    if (!made) {
        cli_error("cannot make the folder %s: %s", path, strerror(errno));
    }
    return made;
}

bool cli_is_regular(const char *path) {
    struct stat info;
    return !cli_is_standard(path) && stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool cli_has_ending(const char *path, const char *ending) {
    size_t length = strlen(path), tail = strlen(ending);
    return length > tail && strcasecmp(path + length - tail, ending) == 0;
}

bool cli_is_audio_name(const char *path) {
    const char *dot = strrchr(base_name(path), '.');
    for (size_t i = 0; dot != NULL && i < CLI_LENGTH(endings); i++) {
        if (strcasecmp(dot + 1, endings[i].ending) == 0) {
            return true;
        }
    }
    return false;
}

bool cli_can_be_audio(const char *path, tmb_container container) {
    struct stat status;
    if (path == NULL || container != TMB_CONTAINER_AUTO || cli_is_standard(path) || cli_is_audio_name(path) ||
        (stat(path, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)))) {
        return true;
    }
    cli_error("%s: the ending of the name says no audio format: use .wav, .flac, .ogg, .opus, .mp3, .aac or .raw",
              path);
    return false;
}

bool cli_is_readable(const char *path, tmb_error *error) {
    struct stat status;
    if (cli_is_standard(path) || (stat(path, &status) == 0 && !S_ISDIR(status.st_mode) && access(path, R_OK) == 0)) {
        return true;
    }
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        errno = EISDIR;
    }
    *error = (tmb_error){.status = TMB_ERROR_IO, .system = errno};
    (void)snprintf(error->message, sizeof error->message, "cannot be read: %s", strerror(errno));
    return false;
}

char *cli_read_text(const char *path, size_t limit, size_t *size) {
    FILE *file = cli_is_standard(path) ? stdin : fopen(path, "rb");
    char *data = NULL;
    size_t used = 0, capacity = 0;
    const char *problem = file == NULL ? strerror(errno) : NULL;
    while (problem == NULL) {
        if (used + 1 >= capacity) {
            size_t larger = capacity == 0 ? 4096 : 2 * capacity;
            char *grown = realloc(data, larger);
            if (grown == NULL) {
                problem = "no memory";
                break;
            }
            data = grown;
            capacity = larger;
        }
        size_t count = fread(data + used, 1, capacity - 1 - used, file);
        used += count;
        if (used > limit) {
            problem = "too long";
        } else if (count == 0) {
            if (ferror(file)) {
                problem = strerror(errno);
            }
            break;
        }
    }
    if (file != NULL && file != stdin) {
        (void)fclose(file);
    }
    if (problem != NULL) {
        cli_error("cannot read %s: %s", cli_is_standard(path) ? "standard input" : path, problem);
        free(data);
        return NULL;
    }
    data[used] = '\0';
    /* Editors on Windows begin a file with a byte order mark, which is no part of the text. */
    if (used >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
        used -= 3;
        memmove(data, data + 3, used + 1);
    }
    *size = used;
    return data;
}

static bool write_all(int file, const char *data, size_t size) {
    while (size > 0) {
        ssize_t count = write(file, data, size);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return false;
        }
        data += count;
        size -= (size_t)count;
    }
    return true;
}

/* Whether a file may be written there as `cli_write_file` does; *status is what is there, of no kind if nothing is.
 * Otherwise errno says why. */
static bool may_write(const char *path, struct stat *status) {
    if (stat(path, status) != 0) {
        status->st_mode = 0;
        return errno == ENOENT;
    }
    if (S_ISDIR(status->st_mode)) {
        errno = EISDIR;
        return false;
    }
    return access(path, W_OK) == 0; /* a rename would not ask for this permission */
}

/* A new file beside `target`, which is to take its place; the descriptor, or -1 with errno. */
static int open_beside(const char *target, char *path, size_t size) {
    enum { ATTEMPTS = 16 };
    const char *name = base_name(target);
    int file = -1;
    for (int i = 0; i < ATTEMPTS && file < 0 && (i == 0 || errno == EEXIST); i++) {
        unsigned long long number = 0;
        if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number) {
            return -1;
        }
        (void)snprintf(path, size, "%.*s.%.200s.%016llx.tmp", (int)(name - target), target, name, number);
        file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    }
    return file;
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

/* false: errno says why. */
static bool replace(const char *target, mode_t mode, const void *data, size_t size) {
    size_t room = strlen(target) + 32;
    char *temporary = malloc(room);
    int file = temporary != NULL ? open_beside(target, temporary, room) : -1;
    if (file < 0) {
        free(temporary);
        return false;
    }
    cli_temporary_add(temporary);
    if (mode != 0) {
        (void)fchmod(file, mode & 0777); /* keeps what it can */
    }
    bool written = close_written(file, write_all(file, data, size)) && rename(temporary, target) == 0;
    int reason = errno;
    if (!written) {
        (void)unlink(temporary);
    }
    cli_temporary_drop(temporary);
    free(temporary);
    errno = reason;
    return written;
}

static bool write_in_place(const char *path, const void *data, size_t size) {
    int file = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    return file >= 0 && close_written(file, write_all(file, data, size));
}

bool cli_write_file(const char *path, const void *data, size_t size, tmb_error *error) {
    struct stat status;
    bool written = false;
    if (cli_is_standard(path)) {
        path = "standard output";
        written = write_all(STDOUT_FILENO, data, size);
    } else if (may_write(path, &status)) {
        const bool exists = status.st_mode != 0;
        if (exists && !S_ISREG(status.st_mode)) {
            written = write_in_place(path, data, size);
        } else if (exists || lstat(path, &status) != 0) {
            /* A link is followed: its target is replaced, as by the library's writers. */
            char *target = exists ? realpath(path, NULL) : strdup(path);
            written = target != NULL && replace(target, exists ? status.st_mode : 0, data, size);
            free(target);
        } else {
            errno = ENOENT; /* a link to nothing */
        }
    }
    if (!written) {
        *error = (tmb_error){.status = TMB_ERROR_IO, .system = errno};
        (void)snprintf(error->message, sizeof error->message, "%.380s: cannot be written: %s", path, strerror(errno));
        error->name_bytes = strnlen(path, 380) + 2;
    }
    return written;
}
