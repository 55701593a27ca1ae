/* LD_PRELOAD: the time of day is wrong by SHIFTED_SECONDS; the clock that only goes forwards is not. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *out) {
    const char *shift = getenv("SHIFTED_SECONDS");
    int result = (int)syscall(SYS_clock_gettime, clock, out);
    out->tv_sec += clock == CLOCK_REALTIME && shift != NULL ? strtol(shift, NULL, 10) : 0;
    return result;
}
