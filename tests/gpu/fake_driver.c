#include "fake_driver.h"

#include "test.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

bool fake_driver_is_there(void) { return getenv("TIMBRE_CUDA_LIBRARY") != NULL; }

static void *find(const char *name) {
    static void *fake;
    fake = fake != NULL ? fake : dlopen(getenv("TIMBRE_CUDA_LIBRARY"), RTLD_NOW);
    void *address = fake != NULL ? dlsym(fake, name) : NULL;
    if (address == NULL) {
        (void)fprintf(stderr, "TIMBRE_CUDA_LIBRARY has no %s\n", name);
        abort();
    }
    return address;
}

tmb_fake_cuda_counts fake_counts(void) {
    tmb_fake_cuda_counts now = {0};
    if (fake_driver_is_there()) {
        void (*read)(tmb_fake_cuda_counts *);
        void *address = find("tmb_fake_cuda_read");
        memcpy(&read, &address, sizeof read);
        read(&now);
    }
    return now;
}

void fake_set(const char *name, int64_t value) {
    void (*change)(const char *, int64_t);
    void *address = find("tmb_fake_cuda_set");
    memcpy(&change, &address, sizeof change);
    change(name, value);
}

void in_process(void (*body)(void), const char *const *variables) {
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        for (size_t i = 0; variables != NULL && variables[i] != NULL; i++) {
            char name[64];
            const char *equals = strchr(variables[i], '=');
            (void)snprintf(name, sizeof name, "%.*s", (int)(equals - variables[i]), variables[i]);
            (void)setenv(name, equals + 1, 1);
        }
        body();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void expect_nothing_left(void) {
    const tmb_fake_cuda_counts left = fake_counts();
    EXPECT(left.allocated == 0 && left.pinned == 0 && left.contexts == 0 && left.streams == 0 && left.events == 0 &&
           left.graphs == 0 && left.modules == 0);
}
