/* The handler only wakes a watcher thread: it gives the command a chance to end by itself, because
 * that is what removes everything, child processes included; when it does not, the watcher ends it. */
#include "ui.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { MAXIMUM_TEMPORARIES = 64, PATH_SIZE = 4096 };
/* What the command gets to end by itself: long if it has something to cancel, short if it may
 * hang in a read. */
enum { GRACE_MILLISECONDS = 3000, SHORT_GRACE_MILLISECONDS = 500 };

static atomic_bool interrupted, out_of_time;
static int wake[2] = {-1, -1};
/* Two locks: the callback may end in writing a file, which registers a temporary one. */
static pthread_mutex_t cancel_lock = PTHREAD_MUTEX_INITIALIZER, lock = PTHREAD_MUTEX_INITIALIZER;
static void (*cancel_callback)(void *user);
static void *cancel_user;
static char temporaries[MAXIMUM_TEMPORARIES][PATH_SIZE];

bool cli_interrupted(void) { return atomic_load(&interrupted); }

void cli_on_interrupt(void (*cancel)(void *user), void *user) {
    (void)pthread_mutex_lock(&cancel_lock);
    cancel_callback = cancel;
    cancel_user = user;
    if (cancel != NULL && cli_interrupted()) {
        cancel(user);
    }
    (void)pthread_mutex_unlock(&cancel_lock);
}

void cli_temporary_add(const char *path) {
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < MAXIMUM_TEMPORARIES && strlen(path) < PATH_SIZE; i++) {
        if (temporaries[i][0] == '\0') {
            (void)strcpy(temporaries[i], path);
            break;
        }
    }
    (void)pthread_mutex_unlock(&lock);
}

void cli_temporary_drop(const char *path) {
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < MAXIMUM_TEMPORARIES; i++) {
        if (strcmp(temporaries[i], path) == 0) {
            temporaries[i][0] = '\0';
        }
    }
    (void)pthread_mutex_unlock(&lock);
}

void cli_say_interruption(void) {
    if (atomic_exchange(&out_of_time, false)) {
        cli_error("the limit of CPU time (ulimit -St) is reached");
    }
}

static void end_now(void) {
    tmb_audio_remove_temporary_files();
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < MAXIMUM_TEMPORARIES; i++) {
        if (temporaries[i][0] != '\0') {
            (void)unlink(temporaries[i]);
        }
    }
    cli_say_interruption();
    _exit(CLI_EXIT_INTERRUPTED);
}

static void on_signal(int number) {
    int saved = errno;
    if (number == SIGXCPU && !cli_interrupted()) {
        atomic_store(&out_of_time, true);
    }
    atomic_store(&interrupted, true);
    (void)!write(wake[1], "", 1);
    errno = saved;
}

static void *watch(void *unused) {
    (void)unused;
    char byte;
    while (read(wake[0], &byte, 1) < 0 && errno == EINTR) {
    }
    (void)pthread_mutex_lock(&cancel_lock);
    int grace = cancel_callback != NULL ? GRACE_MILLISECONDS : SHORT_GRACE_MILLISECONDS;
    if (cancel_callback != NULL) {
        cancel_callback(cancel_user);
    }
    (void)pthread_mutex_unlock(&cancel_lock);
    /* A second signal, or the end of the grace. */
    struct pollfd second = {.fd = wake[0], .events = POLLIN};
    (void)poll(&second, 1, grace);
    end_now();
    return NULL;
}

bool cli_catch_signals(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (pipe2(wake, O_CLOEXEC) != 0) {
        return false;
    }
    if (pthread_attr_init(&attributes) != 0) {
        return false;
    }
    (void)pthread_attr_setstacksize(&attributes, 64 * 1024);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    bool started = pthread_create(&thread, &attributes, watch, NULL) == 0;
    (void)pthread_attr_destroy(&attributes);
    /* Whoever started us with one of these ignored (nohup, a shell's background job) wants it so. SIGHUP comes when the
     * terminal is closed, SIGXCPU at the limit of CPU time and then every second. */
    static const int ignorable[] = {SIGINT, SIGHUP, SIGXCPU};
    for (size_t i = 0; i < sizeof ignorable / sizeof ignorable[0] && started; i++) {
        struct sigaction before;
        if (sigaction(ignorable[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            started = sigaction(ignorable[i], &action, NULL) == 0;
        }
    }
    /* A reader that went away and a file at its limit are errors of writing, not the end of the process. */
    return started && sigaction(SIGTERM, &action, NULL) == 0 && sigaction(SIGPIPE, &ignore, NULL) == 0 &&
           sigaction(SIGXFSZ, &ignore, NULL) == 0;
}
