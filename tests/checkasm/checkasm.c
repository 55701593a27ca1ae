/* The harness: see checkasm.h.
 *
 *   checkasm [--bench] [--seed=N] [--only=TEXT]     TEXT: kernels whose name contains it
 *   checkasm --break=NAME                           the kernels of one name of --list-broken, spoilt: must fail
 */
#include "checkasm.h"

#include "base/thread.h"
#include "cpu/cpu.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

static const struct {
    const char *name;
    void (*check)(void);
} families[] = {
    {"activation", checkasm_activation}, {"conv", checkasm_conv},     {"dfn", checkasm_dfn}, {"fir", checkasm_fir},
    {"matmul", checkasm_matmul},         {"vector", checkasm_vector},
};

/* After all others with --break. */
static const char broken_level[] = "broken";

enum { MAX_VARIANTS = 2048, MAX_BUFFERS = 256, GUARD = 64 };

typedef struct variant {
    char name[96];
    const char *level;
    checkasm_any function;
    bool failed;
    double nanoseconds, cycles; /* a call; 0 = not measured */
} variant;

typedef struct buffer {
    unsigned char *mapping, *data;
    size_t mapped;
} buffer;

checkasm_any checkasm_current_reference, checkasm_current_new;

static variant variants[MAX_VARIANTS];
static size_t variant_count;
static variant *current;
static buffer buffers[MAX_BUFFERS];
static size_t buffer_count;
static const char *level_name;
static unsigned level_flags;
static uint64_t seed = 1, random_state;
static bool bench;
static const char *only;
static const char *breaking; /* NAME of --break */

unsigned checkasm_cpu_flags(void) { return level_flags; }

/* ---- random values: splitmix64 ---- */

uint64_t checkasm_random(void) {
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

size_t checkasm_random_below(size_t limit) { return limit == 0 ? 0 : (size_t)(checkasm_random() % limit); }

void checkasm_random_bytes(void *out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        ((unsigned char *)out)[i] = (unsigned char)checkasm_random();
    }
}

void checkasm_random_f32(float *out, size_t count, float low, float high) {
    for (size_t i = 0; i < count; i++) {
        out[i] = low + (high - low) * ((float)(checkasm_random() >> 40) * 0x1p-24f);
    }
}

/* ---- buffers ---- */

void *checkasm_alloc(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t body = (bytes + GUARD + page - 1) / page * page;
    if (buffer_count == MAX_BUFFERS) {
        fprintf(stderr, "checkasm: more than %d buffers without checkasm_release\n", MAX_BUFFERS);
        exit(2);
    }
    buffer *b = &buffers[buffer_count++];
    b->mapped = body + page;
    b->mapping = mmap(NULL, b->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b->mapping == MAP_FAILED || mprotect(b->mapping + body, page, PROT_NONE) != 0) {
        perror("checkasm: mmap");
        exit(2);
    }
    memset(b->mapping, 0xa5, body);
    b->data = b->mapping + body - bytes;
    return b->data;
}

void checkasm_release(void) {
    for (size_t i = 0; i < buffer_count; i++) {
        for (const unsigned char *p = buffers[i].mapping; p < buffers[i].data; p++) {
            if (*p != 0xa5) {
                checkasm_fail("wrote %td bytes before the start of a buffer", buffers[i].data - p);
                break;
            }
        }
        (void)munmap(buffers[i].mapping, buffers[i].mapped);
    }
    buffer_count = 0;
}

/* ---- variants ---- */

static variant *find_variant(const char *name, checkasm_any function) {
    for (size_t i = 0; i < variant_count; i++) {
        if (strcmp(variants[i].name, name) == 0 && (function == NULL || variants[i].function == function)) {
            return &variants[i];
        }
    }
    return NULL;
}

bool checkasm_begin(checkasm_any function, const char *format, ...) {
    char name[sizeof variants[0].name];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    checkasm_release();
    current = NULL;
    if (breaking != NULL) {
        /* Portable C first, and then the spoilt one in its place. */
        const checkasm_any spoilt = checkasm_broken(breaking, name);
        function = spoilt != NULL && level_name != broken_level ? function : spoilt;
    }
    if (function == NULL || (only != NULL && strstr(name, only) == NULL) || find_variant(name, function) != NULL) {
        return false;
    }
    const variant *reference = find_variant(name, NULL);
    if (variant_count == MAX_VARIANTS) {
        fprintf(stderr, "checkasm: more than %d variants\n", MAX_VARIANTS);
        exit(2);
    }
    current = &variants[variant_count++];
    (void)snprintf(current->name, sizeof current->name, "%s", name);
    current->level = level_name;
    current->function = function;
    checkasm_current_new = function;
    checkasm_current_reference = reference != NULL ? reference->function : function;
    return true;
}

void checkasm_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "FAILED %s (%s): ", current != NULL ? current->name : "?", level_name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    if (current != NULL) {
        current->failed = true;
    }
}

/* Only what a signal handler may call. */
static void report_crash(int signal_number) {
    const char *parts[] = {"checkasm: signal ",
                           signal_number == SIGSEGV  ? "SEGV"
                           : signal_number == SIGILL ? "ILL"
                                                     : "BUS or FPE",
                           " in ",
                           current != NULL ? current->name : "?",
                           " (",
                           level_name,
                           ")\n"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (write(STDERR_FILENO, parts[i], strlen(parts[i])) < 0) {
            break;
        }
    }
    _exit(1);
}

/* ---- comparison ---- */

bool checkasm_compare_f32(const float *reference, const float *new_values, size_t count, float absolute, float relative,
                          const char *shape, ...) {
    for (size_t i = 0; i < count; i++) {
        const float a = reference[i];
        const float b = new_values[i];
        if (memcmp(&a, &b, sizeof a) == 0 || a == b || (isnan(a) && isnan(b)) ||
            fabsf(a - b) <= absolute + relative * fabsf(a)) {
            continue;
        }
        char text[160];
        va_list arguments;
        va_start(arguments, shape);
        (void)vsnprintf(text, sizeof text, shape, arguments);
        va_end(arguments);
        checkasm_fail("%s: [%zu] of %zu: reference %.9g, new %.9g", text, i, count, (double)a, (double)b);
        return false;
    }
    return true;
}

bool checkasm_compare_bytes(const void *reference, const void *new_bytes, size_t count, const char *shape, ...) {
    const unsigned char *a = reference;
    const unsigned char *b = new_bytes;
    for (size_t i = 0; i < count; i++) {
        if (a[i] != b[i]) {
            char text[160];
            va_list arguments;
            va_start(arguments, shape);
            (void)vsnprintf(text, sizeof text, shape, arguments);
            va_end(arguments);
            checkasm_fail("%s: byte %zu of %zu: reference 0x%02x, new 0x%02x", text, i, count, a[i], b[i]);
            return false;
        }
    }
    return true;
}

/* ---- time ---- */

static struct {
    unsigned inner, done; /* passes of four calls a run, and done in this one */
    unsigned runs;
    double best_seconds, start_seconds, total_seconds;
    uint64_t best_ticks, start_ticks;
} timing;

static uint64_t ticks(void) {
#if defined(__x86_64__)
    return __rdtsc();
#else
    return 0;
#endif
}

bool checkasm_bench_start(void) {
    if (!bench || current == NULL || current->failed) {
        return false;
    }
    memset(&timing, 0, sizeof timing);
    timing.inner = 1;
    timing.best_seconds = 1e9;
    timing.best_ticks = UINT64_MAX;
    timing.start_seconds = tmb_now();
    timing.start_ticks = ticks();
    return true;
}

/* Doubles the calls of a run until it takes 50 microseconds, then keeps the best of 200 runs (or of
 * what fits into 0.3 s). */
bool checkasm_bench_next(void) {
    if (timing.done < timing.inner) {
        timing.done++;
        return true;
    }
    const uint64_t elapsed_ticks = ticks() - timing.start_ticks;
    const double seconds = tmb_now() - timing.start_seconds;
    timing.total_seconds += seconds;
    if (seconds < 50e-6 && timing.runs == 0) {
        timing.inner *= 2;
    } else {
        timing.runs++;
        timing.best_seconds = seconds < timing.best_seconds ? seconds : timing.best_seconds;
        timing.best_ticks = elapsed_ticks < timing.best_ticks ? elapsed_ticks : timing.best_ticks;
        if (timing.runs == 200 || timing.total_seconds > 0.3) {
            const double calls = 4.0 * (double)timing.inner;
            current->nanoseconds = timing.best_seconds * 1e9 / calls;
            current->cycles = (double)timing.best_ticks / calls;
            return false;
        }
    }
    timing.done = 1;
    timing.start_seconds = tmb_now();
    timing.start_ticks = ticks();
    return true;
}

static void print_times(void) {
    printf("%-40s %-12s %12s %12s %8s\n", "kernel", "level", "ns", "TSC cycles", "speed");
    for (size_t i = 0; i < variant_count; i++) {
        const variant *v = &variants[i];
        if (v->nanoseconds > 0) {
            const variant *reference = find_variant(v->name, NULL);
            printf("%-40s %-12s %12.1f %12.0f %7.2fx\n", v->name, v->level, v->nanoseconds, v->cycles,
                   reference->nanoseconds / v->nanoseconds);
        }
    }
}

static void check_level(const char *name, unsigned flags) {
    level_name = name;
    level_flags = flags;
    tmb_cpu_mask(flags);
    for (size_t family = 0; family < sizeof families / sizeof families[0]; family++) {
        random_state = seed + family; /* the same shapes and values for every level */
        const size_t before = variant_count;
        families[family].check();
        checkasm_release();
        size_t failed = 0;
        for (size_t i = before; i < variant_count; i++) {
            failed += variants[i].failed ? 1 : 0;
        }
        if (variant_count > before) {
            printf("%-12s %-16s %zu of %zu\n", level_name, families[family].name, variant_count - before - failed,
                   variant_count - before);
        }
    }
}

static bool is_broken_name(const char *name) {
    const char *known = "", *kernel;
    for (size_t i = 0; known != NULL && strcmp(known, name) != 0; i++) {
        known = checkasm_broken_name(i, &kernel);
    }
    return known != NULL;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0) {
            bench = true;
        } else if (strncmp(argv[i], "--seed=", 7) == 0) {
            seed = strtoull(argv[i] + 7, NULL, 0);
        } else if (strncmp(argv[i], "--only=", 7) == 0) {
            only = argv[i] + 7;
        } else if (strncmp(argv[i], "--break=", 8) == 0 && is_broken_name(argv[i] + 8)) {
            breaking = argv[i] + 8;
        } else if (strcmp(argv[i], "--list-broken") == 0) {
            const char *name, *kernel;
            for (size_t j = 0; (name = checkasm_broken_name(j, &kernel)) != NULL; j++) {
                printf("%s %s\n", name, kernel);
            }
            return 0;
        } else {
            fprintf(stderr, "usage: checkasm [--bench] [--seed=N] [--only=TEXT] [--break=NAME] [--list-broken]\n");
            return 2;
        }
    }
    struct sigaction action = {.sa_handler = report_crash};
    (void)sigaction(SIGSEGV, &action, NULL);
    (void)sigaction(SIGBUS, &action, NULL);
    (void)sigaction(SIGILL, &action, NULL);
    (void)sigaction(SIGFPE, &action, NULL);

    printf("checkasm: CPU %s, seed %llu\n", tmb_cpu_name(), (unsigned long long)seed);
    const unsigned available = tmb_cpu_flags();
    size_t level_count = 0;
    const tmb_cpu_set *levels = tmb_cpu_sets(&level_count);
    for (size_t level = 0; level < level_count; level++) {
        if ((levels[level].flags & ~available) == 0 && (breaking == NULL || levels[level].flags == 0)) {
            check_level(levels[level].name, levels[level].flags);
        }
    }
    if (breaking != NULL) {
        check_level(broken_level, 0);
    }
    size_t failed = 0;
    for (size_t i = 0; i < variant_count; i++) {
        failed += variants[i].failed ? 1 : 0;
    }
    if (bench) {
        print_times();
    }
    printf("checkasm: %zu variants, %zu failed\n", variant_count, failed);
    return failed == 0 && variant_count > 0 ? 0 : 1;
}
