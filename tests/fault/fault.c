#include "fault.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is allocated: open addressing, a power of two of places ---- */

#define PLACES ((size_t)1 << 20)
static void *live[PLACES];
static char removed; /* its address marks a place that was used */
static size_t live_count, used_places;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t allocation_count; /* since the run began */
static size_t fail_at;          /* 0 = never */
static bool fail_all_later;
static bool fault_happened;
static atomic_int paused; /* for all threads: what is paused may have its own */

static size_t place_of(const void *pointer) {
    return (size_t)(((uintptr_t)pointer >> 4) * 0x9e3779b97f4a7c15u >> 32) & (PLACES - 1);
}

static void add_live(void *pointer) {
    if (pointer == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&lock);
    size_t place = place_of(pointer);
    while (live[place] != NULL && live[place] != (void *)&removed) {
        place = (place + 1) & (PLACES - 1);
    }
    used_places += live[place] == NULL ? 1 : 0;
    if (used_places > PLACES / 4 * 3) {
        fprintf(stderr, "fault: too many allocations for the table\n");
        abort();
    }
    live[place] = pointer;
    live_count++;
    (void)pthread_mutex_unlock(&lock);
}

/* Unknown pointers came from libraries. */
static void remove_live(const void *pointer) {
    if (pointer == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&lock);
    for (size_t place = place_of(pointer); live[place] != NULL; place = (place + 1) & (PLACES - 1)) {
        if (live[place] == pointer) {
            live[place] = &removed;
            live_count--;
            break;
        }
    }
    (void)pthread_mutex_unlock(&lock);
}

/* Counts an allocation; true if it must fail. */
static bool must_fail(void) {
    if (paused > 0) {
        return false;
    }
    (void)pthread_mutex_lock(&lock);
    allocation_count++;
    const bool fails = fail_at != 0 && (allocation_count == fail_at || (fail_all_later && allocation_count > fail_at));
    fault_happened = fault_happened || fails;
    (void)pthread_mutex_unlock(&lock);
    if (fails) {
        errno = ENOMEM;
    }
    return fails;
}

void fault_pause(void) { paused++; }
void fault_resume(void) { paused--; }

/* ---- the calls, as --wrap names them ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *pointer, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_posix_memalign(void **out, size_t alignment, size_t size);
char *__real_strdup(const char *text);
void __real_free(void *pointer);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *pointer, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
void __wrap_free(void *pointer);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);

void *__wrap_malloc(size_t size) {
    void *pointer = must_fail() ? NULL : __real_malloc(size);
    add_live(pointer);
    return pointer;
}

void *__wrap_calloc(size_t count, size_t size) {
    void *pointer = must_fail() ? NULL : __real_calloc(count, size);
    add_live(pointer);
    return pointer;
}

void *__wrap_realloc(void *pointer, size_t size) {
    if (must_fail()) {
        return NULL;
    }
    /* Out of the table first: another thread may get the old address as soon as it is free. */
    remove_live(pointer);
    void *moved = __real_realloc(pointer, size);
    add_live(moved != NULL ? moved : pointer);
    return moved;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    void *pointer = must_fail() ? NULL : __real_aligned_alloc(alignment, size);
    add_live(pointer);
    return pointer;
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t size) {
    if (must_fail()) {
        return ENOMEM;
    }
    const int result = __real_posix_memalign(out, alignment, size);
    if (result == 0) {
        add_live(*out);
    }
    return result;
}

char *__wrap_strdup(const char *text) {
    char *copy = must_fail() ? NULL : __real_strdup(text);
    add_live(copy);
    return copy;
}

void __wrap_free(void *pointer) {
    remove_live(pointer);
    __real_free(pointer);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    return must_fail() ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
}

/* ---- the runs ---- */

static tmb_status run(fault_scenario scenario, void *user, size_t failing, bool all_later, tmb_error *error) {
    memset(error, 0, sizeof *error);
    allocation_count = 0;
    fault_happened = false;
    fail_all_later = all_later;
    fail_at = failing;
    const tmb_status status = scenario(user, error);
    fail_at = 0;
    return status;
}

void fault_check(fault_scenario scenario, void *user, bool may_survive) {
    tmb_error error;
    /* Twice: what is made once and kept for the process is there after the first. */
    for (int i = 0; i < 2; i++) {
        const size_t before = live_count;
        if (run(scenario, user, 0, false, &error) != TMB_OK) {
            fail_msg("without a fault: %s", error.message);
        }
        if (i == 1 && live_count != before) {
            fail_msg("without a fault: %zu allocations are left", live_count - before);
        }
    }
    const size_t allocations = allocation_count;
    assert_true(allocations > 0);
    const size_t before = live_count;
    for (int all_later = 0; all_later <= 1; all_later++) {
        /* What failing once more on the way out can break shows at any n: of many, a share will do. */
        for (size_t n = 1;; n += all_later != 0 ? 1 + n / 50 : 1) {
            const tmb_status status = run(scenario, user, n, all_later != 0, &error);
            const char *mode = all_later != 0 ? "from allocation" : "allocation";
            if (!fault_happened) {
                if (status != TMB_OK) {
                    fail_msg("%s %zu, never reached: %s", mode, n, error.message);
                }
                break;
            }
            if (status == TMB_OK ? !may_survive : status != TMB_ERROR_MEMORY) {
                fail_msg("%s %zu of %zu fails: %s, \"%s\"", mode, n, allocations, tmb_status_name(status),
                         error.message);
            }
            if (status != TMB_OK && (error.status != status || error.message[0] == '\0')) {
                fail_msg("%s %zu of %zu fails: no message", mode, n, allocations);
            }
            if (live_count != before) {
                fail_msg("%s %zu of %zu fails: %zu allocations are left", mode, n, allocations, live_count - before);
            }
            assert_true(n < 1000000);
        }
    }
    print_message("             %zu allocations failed, one by one, and all from one on\n", allocations);
}
