/* How much memory this process can have. */
#include "pipeline/budget.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* A number in a one-line file of a cgroup; UINT64_MAX for "max" or if there is none. */
static uint64_t read_limit(const char *path) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return UINT64_MAX;
    }
    uint64_t bytes = 0;
    if (fscanf(file, "%" SCNu64, &bytes) != 1) {
        bytes = UINT64_MAX;
    }
    (void)fclose(file);
    return bytes;
}

/* The least memory.max from this process's cgroup (version 2) up to the root; of version 1, the limit
 * that is mounted. */
static uint64_t cgroup_limit(void) {
    uint64_t limit =
        least(read_limit("/sys/fs/cgroup/memory.max"), read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL) {
        return limit;
    }
    char line[1024];
    char group[1024] = "";
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "0::", 3) == 0) {
            line[strcspn(line, "\n")] = '\0';
            (void)snprintf(group, sizeof group, "%s", line + 3);
        }
    }
    (void)fclose(file);
    while (group[0] == '/' && group[1] != '\0') {
        char path[1100];
        (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
        limit = least(limit, read_limit(path));
        *strrchr(group, '/') = '\0';
    }
    return limit;
}

uint64_t tmb_budget_default(void) {
    uint64_t bytes = UINT64_MAX;
    long pages = sysconf(_SC_PHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0) {
        bytes = (uint64_t)pages * (uint64_t)page;
    }
    bytes = least(bytes, cgroup_limit());
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        bytes = least(bytes, (uint64_t)limit.rlim_cur);
    }
    return bytes / 4 * 3;
}
