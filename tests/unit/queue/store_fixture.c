#include "store_fixture.h"

#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const tmb_store_options roomy = {.file_seconds = 1000, .job_seconds = 1000};

void open_store(fixture *at, const tmb_store_options *options) {
    tmb_error error;
    assert_ok(tmb_store_open(at->folder, options, &at->logger, &at->store, &error), error);
}

int setup(void **state) {
    fixture *at = calloc(1, sizeof(*at));
    /* In memory, if there is such a folder: the tests wait for many flushes. */
    (void)snprintf(at->folder, sizeof(at->folder), "%s/timbre-store-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(at->folder));
    tmb_logger_init(&at->logger, NULL, NULL, TMB_LOG_ERROR);
    open_store(at, &roomy);
    *state = at;
    return 0;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *where) {
    (void)status;
    (void)kind;
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

void reopen(fixture *at) {
    tmb_store_close(&at->store);
    open_store(at, &roomy);
}

void add_voice(fixture *at, const char *name, const char *bytes) {
    tmb_upload *upload = NULL;
    tmb_voice_info info = {.language = "en", .ref_text = (char *)(uintptr_t) "it says"};
    (void)snprintf(info.name, sizeof(info.name), "%s", name);
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
    (void)snprintf(path, sizeof(path), "%s/%s", at->folder, folder);
    DIR *directory = opendir(path);
    assert_non_null(directory);
    for (struct dirent *entry = NULL; (entry = readdir(directory));) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    (void)closedir(directory);
    return count;
}
