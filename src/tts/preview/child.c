#include "tts/preview/child.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* A file in memory that holds `input`, at its beginning; -1 on failure. */
static int memory_file(const void *input, size_t bytes) {
    int file = memfd_create("timbre", MFD_CLOEXEC);
    const char *next = input;
    while (file >= 0 && bytes != 0) {
        ssize_t written = write(file, next, bytes);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            (void)close(file);
            return -1;
        }
        next += written;
        bytes -= (size_t)written;
    }
    if (file >= 0) {
        (void)lseek(file, 0, SEEK_SET);
    }
    return file;
}

static int spawn(const char *program, const char *const *arguments, int input, int output, int complaints,
                 pid_t *process) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int failure = posix_spawn_file_actions_init(&actions);
    if (failure != 0) {
        return failure;
    }
    failure = posix_spawnattr_init(&attributes);
    if (failure != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return failure;
    }
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setpgroup(&attributes, 0);
    failure =
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    if (failure == 0) {
        failure = posix_spawn_file_actions_adddup2(&actions, input, 0);
    }
    if (failure == 0) {
        failure = posix_spawn_file_actions_adddup2(&actions, output, 1);
    }
    if (failure == 0) {
        failure = posix_spawn_file_actions_adddup2(&actions, complaints, 2);
    }
    if (failure == 0) {
        failure = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    }
    if (failure == 0) {
        failure = posix_spawn(process, program, &actions, &attributes, (char *const *)arguments, environ);
    }
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return failure;
}

tmb_status tmb_child_start(const char *program, const char *const *arguments, const void *input, size_t bytes,
                           tmb_child *child, tmb_error *error) {
    int ends[2] = {-1, -1};
    int source = memory_file(input, bytes);
    int complaints = memory_file(NULL, 0);
    int failure = 0;
    *child = (tmb_child){.output = -1, .complaints = -1};
    if (source < 0 || complaints < 0 || pipe2(ends, O_CLOEXEC) != 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
        failure = errno;
    } else {
        failure = spawn(program, arguments, source, ends[1], complaints, &child->process);
    }
    if (source >= 0) {
        (void)close(source);
    }
    if (ends[1] >= 0) {
        (void)close(ends[1]);
    }
    if (failure != 0) {
        child->process = 0;
        if (ends[0] >= 0) {
            (void)close(ends[0]);
        }
        if (complaints >= 0) {
            (void)close(complaints);
        }
        return tmb_fail_errno(error, TMB_ERROR_IO, failure, "%s could not be started", program);
    }
    child->output = ends[0];
    child->complaints = complaints;
    return TMB_OK;
}

bool tmb_child_ended(tmb_child *child, int *exit_code) {
    int status = 0;
    pid_t process = 0;
    *exit_code = 0;
    if (child->process == 0) {
        return true;
    }
    do {
        process = waitpid(child->process, &status, WNOHANG);
    } while (process < 0 && errno == EINTR);
    if (process == 0) {
        return false;
    }
    child->process = 0;
    /* A negative result: the program that uses the library has SIGCHLD ignored, and there is no code. */
    if (process > 0) {
        *exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    return true;
}

void tmb_child_complaint(const tmb_child *child, char line[160]) {
    ssize_t bytes = child->complaints < 0 ? 0 : pread(child->complaints, line, 159, 0);
    line[bytes < 0 ? 0 : bytes] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
}

void tmb_child_end(tmb_child *child) {
    if (child->process != 0) {
        (void)kill(child->process, SIGKILL);
        while (waitpid(child->process, NULL, 0) < 0 && errno == EINTR) {
        }
        child->process = 0;
    }
    if (child->output >= 0) {
        (void)close(child->output);
        child->output = -1;
    }
    if (child->complaints >= 0) {
        (void)close(child->complaints);
        child->complaints = -1;
    }
}

static bool is_program(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && S_ISREG(about.st_mode) && access(path, X_OK) == 0;
}

tmb_status tmb_child_find(const char *name, char **out, tmb_error *error) {
    *out = NULL;
    if (strchr(name, '/') != NULL) {
        if (!is_program(name)) {
            return TMB_OK;
        }
        *out = tmb_strdup(name);
        return *out != NULL ? TMB_OK : tmb_fail_memory(error, "a path", 0);
    }
    const char *folder = getenv("PATH");
    if (folder == NULL) {
        folder = "/usr/local/bin:/usr/bin:/bin";
    }
    while (*folder != '\0') {
        size_t length = strcspn(folder, ":");
        /* Only absolute folders: nothing is run out of the current one. */
        if (length != 0 && folder[0] == '/') {
            char *path = tmb_asprintf("%.*s/%s", (int)length, folder, name);
            if (path == NULL) {
                return tmb_fail_memory(error, "a path", 0);
            }
            if (is_program(path)) {
                *out = path;
                return TMB_OK;
            }
            free(path);
        }
        folder += length + (folder[length] == ':');
    }
    return TMB_OK;
}
