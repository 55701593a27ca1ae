#include "base/thread.h"

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

/* The whole CPUs that a cgroup (version 2) quota allows, or 0 if there is none. */
static int cgroup_cpus(void) {
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (file == NULL) {
        return 0;
    }
    long quota = 0;
    long period = 0;
    int fields = fscanf(file, "%ld %ld", &quota, &period);
    (void)fclose(file);
    if (fields != 2 || quota <= 0 || period <= 0) {
        return 0;
    }
    long cpus = (quota + period - 1) / period;
    return cpus < 4096 ? (int)cpus : 4096;
}

int tmb_cpu_count(void) {
    cpu_set_t set;
    int count = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        count = CPU_COUNT(&set);
    }
    int quota = cgroup_cpus();
    if (quota > 0 && quota < count) {
        count = quota;
    }
    return count < 1 ? 1 : count;
}

double tmb_now(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double tmb_wall_clock(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void tmb_condition_init(pthread_cond_t *condition) {
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(condition, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

struct timespec tmb_deadline(double seconds) {
    struct timespec end;
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    if (seconds > 0) {
        end.tv_sec += (time_t)seconds;
        end.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
        end.tv_sec += end.tv_nsec / 1000000000L;
        end.tv_nsec %= 1000000000L;
    }
    return end;
}

/* Both words hold the rounding mode and the exceptions too: only the bits that flush are set. */
unsigned tmb_denormals_flush(void) {
#if defined(__x86_64__)
    unsigned state = _mm_getcsr();
    _mm_setcsr(state | 0x8040u); /* FTZ is bit 15, DAZ bit 6 */
    return state;
#elif defined(__aarch64__)
    uint64_t state = 0;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state));
    __asm__ volatile("msr fpcr, %0" : : "r"(state | (1u << 24))); /* FZ: operands and results */
    return (unsigned)state;                                       /* the upper half is reserved */
#else
    return 0;
#endif
}

void tmb_denormals_restore(unsigned state) {
#if defined(__x86_64__)
    _mm_setcsr(state);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)state));
#else
    (void)state;
#endif
}
