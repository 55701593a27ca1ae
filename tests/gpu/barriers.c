/* Every barrier of the kernels, left out once: ThreadSanitizer must name the race that it kept away.
 *
 * Each try is a process of its own, which ends at the first race; threads of a block are fibers, which nothing orders
 * but barriers and exchanges.
 */
#include "barriers.h"

#include "emulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RACE = 66, MOST_REPORT = 1 << 16 };

const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "halt_on_error=1:exitcode=66:report_bugs=1"; }

/* Runs `check` without barrier `dropped` in a child; returns its exit status, and what it said. */
static int try_without(int dropped, void (*check)(void), char *report) {
    int ends[2];
    size_t length = 0;
    (void)fflush(NULL);
    if (pipe(ends) != 0) {
        abort();
    }
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        tmb_emulated_drop_barrier(dropped);
        check();
        _exit(0);
    }
    (void)close(ends[1]);
    for (ssize_t got = 1; got > 0 && length + 1 < MOST_REPORT; length += got > 0 ? (size_t)got : 0) {
        got = read(ends[0], report + length, MOST_REPORT - 1 - length);
    }
    report[length] = 0;
    (void)close(ends[0]);
    int status = 0;
    (void)waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int tmb_check_barriers(void (*check)(void)) {
    static char report[MOST_REPORT];
    int failures = 0, count = 0;
    check(); /* so that every barrier is known; a race ends the test here */
    for (const tmb_emulated_site *site; (site = tmb_emulated_barrier_at(count)) != NULL; count++) {
        const char *file = strrchr(site->file, '/') == NULL ? site->file : strrchr(site->file, '/') + 1;
        int status = try_without(count, check, report);
        if (status != RACE || strstr(report, "data race") == NULL || strstr(report, file) == NULL) {
            (void)printf("without the barrier at %s:%d: status %d\n%.800s\n", file, site->line, status, report);
            failures++;
        }
    }
    (void)printf("%d barriers, %d of them not missed\n", count, failures);
    return count > 0 && failures == 0 ? 0 : 1;
}
