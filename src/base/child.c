#include "base/child.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#ifdef __GLIBC__
typedef __rlimit_resource_t resource_kind;
#else
typedef int resource_kind;
#endif

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

/* The child has no descriptors but the three standard ones. */
static int close_others(posix_spawn_file_actions_t *actions) {
    int failure = 0;
#ifdef __GLIBC__
    failure = posix_spawn_file_actions_addclosefrom_np(actions, 3);
#else
    for (int fd = 3, end = (int)sysconf(_SC_OPEN_MAX); fd < end && failure == 0; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            failure = posix_spawn_file_actions_addclose(actions, fd);
        }
    }
#endif
    return failure;
}

static int spawn(const char *program, const char *const *arguments, int input, int output, int complaints,
                 char *const *environment, pid_t *process) {
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
        failure = close_others(&actions);
    }
    if (failure == 0) {
        failure = posix_spawn(process, program, &actions, &attributes, (char *const *)arguments, environment);
    }
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return failure;
}

/* The limits come a moment after the start: before they are there, a program has done nothing but load itself. */
static void limit(pid_t process, const tmb_child_setup *setup) {
    const struct {
        resource_kind resource;
        uint64_t value;
    } limits[] = {
        {RLIMIT_CPU, setup->processor_seconds}, {RLIMIT_AS, setup->address_bytes}, {RLIMIT_FSIZE, setup->file_bytes}};
    const struct rlimit none = {0, 0};
    bool any = false;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        const struct rlimit value = {limits[i].value, limits[i].value};
        if (limits[i].value != 0) {
            (void)prlimit(process, limits[i].resource, &value, NULL);
            any = true;
        }
    }
    if (any) {
        (void)prlimit(process, RLIMIT_CORE, &none, NULL);
    }
}

static void close_end(int *end) {
    if (*end >= 0) {
        (void)close(*end);
        *end = -1;
    }
}

tmb_status tmb_child_start_with(const char *program, const char *const *arguments, const tmb_child_setup *setup,
                                tmb_child *child, tmb_error *error) {
    int ends[2] = {-1, -1};
    int inputs[2] = {-1, -1}; /* a pair of sockets: writing to them can be kept from raising SIGPIPE */
    int complaints = memory_file(NULL, 0);
    int failure = 0;
    bool ready = complaints >= 0;
    *child = (tmb_child){.output = -1, .input = -1, .complaints = -1};
    if (ready && setup->kind == TMB_CHILD_MEMORY) {
        inputs[0] = memory_file(setup->input, setup->bytes);
        ready = inputs[0] >= 0;
    } else if (ready && setup->kind == TMB_CHILD_FILE) {
        inputs[0] = fcntl(setup->file, F_DUPFD_CLOEXEC, 3);
        ready = inputs[0] >= 0;
    } else if (ready) {
        ready = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, inputs) == 0 &&
                fcntl(inputs[1], F_SETFL, O_NONBLOCK) == 0;
    }
    if (!ready || pipe2(ends, O_CLOEXEC) != 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
        failure = errno;
    } else {
        failure = spawn(program, arguments, inputs[0], ends[1], complaints,
                        setup->environment != NULL ? (char *const *)setup->environment : environ, &child->process);
    }
    close_end(&inputs[0]);
    close_end(&ends[1]);
    if (failure != 0) {
        child->process = 0;
        close_end(&inputs[1]);
        close_end(&ends[0]);
        close_end(&complaints);
        return tmb_fail_errno(error, TMB_ERROR_IO, failure, "%s could not be started", program);
    }
    limit(child->process, setup);
    child->output = ends[0];
    child->input = inputs[1];
    child->complaints = complaints;
    return TMB_OK;
}

tmb_status tmb_child_start(const char *program, const char *const *arguments, const void *input, size_t bytes,
                           tmb_child *child, tmb_error *error) {
    const tmb_child_setup setup = {.kind = TMB_CHILD_MEMORY, .input = input, .bytes = bytes};
    return tmb_child_start_with(program, arguments, &setup, child, error);
}

bool tmb_child_write(const tmb_child *child, const void *data, size_t bytes, size_t *written) {
    ssize_t done = 0;
    do {
        done = send(child->input, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (done < 0 && errno == EINTR);
    *written = done > 0 ? (size_t)done : 0;
    return done >= 0 || errno == EAGAIN || errno == EWOULDBLOCK;
}

void tmb_child_close_input(tmb_child *child) { close_end(&child->input); }

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
    close_end(&child->input);
    close_end(&child->output);
    close_end(&child->complaints);
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
