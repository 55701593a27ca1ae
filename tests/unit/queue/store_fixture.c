#include "store_fixture.h"

#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const tmb_store_options roomy = {.file_seconds = 1000, .job_seconds = 1000};

static const char *kind = "sqlite";
static char redis_folder[64];
static pid_t redis_process;

/* In memory, if there is such a folder: the tests wait for many flushes. */
static const char *quick_folder(void) { return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; }

bool is_shared(void) { return strcmp(kind, "sqlite") != 0; }

const char *redis_socket(void) {
    static _Thread_local char path[128]; /* the proxy's thread asks, too */
    (void)snprintf(path, sizeof path, "%s/redis.sock", redis_folder);
    return path;
}

void redis_cli(const char *arguments) {
    char line[512];
    /* -e: an error is one, too. A Redis that is reading its file again answers that it is. */
    (void)snprintf(line, sizeof line, "redis-cli -e -s %s %s >/dev/null 2>&1", redis_socket(), arguments);
    int result = system(line);
    for (int i = 0; i < 500 && result != 0; i++) { /* it may be just starting again */
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        result = system(line);
    }
    assert_int_equal(result, 0);
}

void start_redis(void) {
    redis_process = fork();
    if (redis_process == 0) {
        int nothing = open("/dev/null", O_RDWR);
        (void)dup2(nothing, 1);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", redis_socket(), "--dir",
                     redis_folder, "--appendonly", "yes", "--appendfsync", "always", "--save", "",
                     "--enable-debug-command", "yes", (char *)NULL);
        _exit(127);
    }
    char line[300];
    (void)snprintf(line, sizeof line, "redis-cli -s %s ping 2>/dev/null | grep -q PONG", redis_socket());
    for (int i = 0; i < 3000 && system(line) != 0; i++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}

void hold_redis(bool hold) { (void)kill(redis_process, hold ? SIGSTOP : SIGCONT); }

void kill_redis(void) {
    (void)kill(redis_process, SIGKILL);
    (void)waitpid(redis_process, NULL, 0);
    redis_process = 0;
}

int choose_store(const char *name) {
    kind = name;
    if (!is_shared()) {
        return 0;
    }
    if (!tmb_store_can_share() || system("command -v redis-server redis-cli >/dev/null") != 0) {
        return 77;
    }
    (void)snprintf(redis_folder, sizeof redis_folder, "%s/timbre-redis-XXXXXX", quick_folder());
    if (mkdtemp(redis_folder) == NULL) {
        return 1;
    }
    start_redis();
    return 0;
}

void open_store(fixture *at, const tmb_store_options *options) {
    char blobs[128];
    tmb_error error;
    tmb_store_options all = *options;
    if (is_shared()) {
        (void)snprintf(blobs, sizeof blobs, "%s/blobs", at->folder);
        all.queue = at->queue;
        all.blobs = strcmp(kind, "redis-folder") == 0 ? blobs : NULL;
        all.labels = at->labels;
        all.lease_seconds = 60;
    }
    assert_ok(tmb_store_open(at->folder, &all, &at->logger, &at->store, &error), error);
}

int setup_at(void **state, int port) {
    fixture *at = calloc(1, sizeof *at);
    (void)snprintf(at->folder, sizeof at->folder, "%s/timbre-store-XXXXXX", quick_folder());
    assert_non_null(mkdtemp(at->folder));
    tmb_logger_init(&at->logger, NULL, NULL, TMB_LOG_ERROR);
    if (is_shared()) {
        if (port) {
            (void)snprintf(at->queue, sizeof at->queue, "redis://127.0.0.1:%d", port);
        } else {
            (void)snprintf(at->queue, sizeof at->queue, "unix:%s", redis_socket());
        }
        redis_cli("flushall");
    }
    open_store(at, &roomy);
    *state = at;
    return 0;
}

int setup(void **state) { return setup_at(state, 0); }

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where) {
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

int teardown(void **state) {
    fixture *at = *state;
    tmb_store_close(&at->store);
    tmb_logger_deinit(&at->logger);
    int result = nftw(at->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(at);
    return result;
}

int stop_redis(void **state) {
    (void)state;
    if (redis_process) {
        kill_redis();
    }
    return redis_folder[0] ? nftw(redis_folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS) : 0;
}

void reopen(fixture *at) {
    tmb_store_close(&at->store);
    open_store(at, &roomy);
}

tmb_store *second_worker(fixture *at, double patience) {
    tmb_store *first = at->store;
    tmb_store_options options = roomy;
    options.patience_seconds = patience;
    open_store(at, &options);
    tmb_store *second = at->store;
    at->store = first;
    return second;
}

tmb_delivery take_one(fixture *at) {
    tmb_delivery item;
    tmb_taking how = {.lease_seconds = 100};
    assert_int_equal(tmb_store_item_take(at->store, &how, &item), TMB_STORE_OK);
    return item;
}

void add_voice(fixture *at, const char *name, const char *bytes) {
    tmb_upload *upload = NULL;
    tmb_voice_info info = {.language = "en", .ref_text = (char *)(uintptr_t) "it says"};
    (void)snprintf(info.name, sizeof info.name, "%s", name);
    assert_int_equal(tmb_upload_begin(at->store, 1000, &upload), TMB_STORE_OK);
    assert_int_equal(tmb_upload_write(upload, bytes, strlen(bytes)), TMB_STORE_OK);
    assert_int_equal(tmb_store_voice_add(at->store, &upload, &info), TMB_STORE_OK);
}

void write_temporary(fixture *at, const char *bytes, char path[TMB_STORE_PATH]) {
    assert_true(tmb_store_temporary_path(at->store, path));
    int descriptor = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(descriptor, bytes, strlen(bytes)), strlen(bytes));
    (void)close(descriptor);
}

size_t count_entries(fixture *at, const char *folder) {
    char path[128];
    size_t count = 0;
    (void)snprintf(path, sizeof path, "%s/%s", at->folder, folder);
    DIR *directory = opendir(path);
    assert_non_null(directory);
    for (struct dirent *entry = NULL; (entry = readdir(directory)) != NULL;) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    (void)closedir(directory);
    return count;
}

size_t count_contents(fixture *at) {
    if (!is_shared()) {
        return count_entries(at, "files") + count_entries(at, "voices");
    }
    char line[256];
    (void)snprintf(line, sizeof line, "find %s/blobs -type f ! -name identity 2>/dev/null | wc -l", at->folder);
    if (strcmp(kind, "redis-folder") != 0) {
        (void)snprintf(line, sizeof line, "redis-cli -s %s --scan --pattern '*bytes:*' | wc -l", redis_socket());
    }
    size_t count = 0;
    FILE *output = popen(line, "r");
    assert_non_null(output);
    assert_int_equal(fscanf(output, "%zu", &count), 1);
    (void)pclose(output);
    return count;
}
