/* Runs a fuzz target without libFuzzer: every seed, then a fixed count of mutations of them, the same
 * ones every time.
 *
 *   fuzz_NAME [--count=N] [--seed=N] [--one] [--write-seeds=DIR] [FILE or DIR]...
 *
 * --one runs the files alone, to see a crash again. --write-seeds writes the seeds as files, and
 * DIR/list with their names separated by commas, for libFuzzer's -seed_inputs=@DIR/list. An input that
 * crashes is left in the working folder as crash-NAME.
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_SEEDS = 4096, MAX_SEED_BYTES = 1 << 17 };

static struct {
    uint8_t *data;
    size_t size;
} seeds[MAX_SEEDS];
static size_t seed_count;

static uint64_t random_state = 1;
static const char *target_name;
static const uint8_t *current_data;
static size_t current_size;

/* From the sanitizers' runtime, if there is one. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void save_current(void) {
    char path[256];
    (void)snprintf(path, sizeof path, "crash-%s", target_name);
    FILE *file = current_data != NULL ? fopen(path, "wb") : NULL;
    if (file != NULL) {
        (void)fwrite(current_data, 1, current_size, file);
        (void)fclose(file);
        fprintf(stderr, "fuzz: the input is in %s (%zu bytes)\n", path, current_size);
    }
}

/* Not async-signal-safe, in a process that is lost anyway. */
static void crashed(int signal_number) {
    (void)signal(signal_number, SIG_DFL);
    save_current();
    (void)raise(signal_number);
}

static uint64_t random_bits(void) { /* splitmix64 */
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t random_below(size_t limit) { return limit == 0 ? 0 : (size_t)(random_bits() % limit); }

static void add_seed(const void *data, size_t size) {
    if (seed_count == MAX_SEEDS || size > MAX_SEED_BYTES) {
        fprintf(stderr, "fuzz: a seed of %zu bytes is too many or too long\n", size);
        exit(2);
    }
    uint8_t *copy = malloc(size + 1);
    if (copy == NULL) {
        exit(2);
    }
    if (size > 0) {
        memcpy(copy, data, size);
    }
    seeds[seed_count].data = copy;
    seeds[seed_count++].size = size;
}

static void add_path(const char *path) {
    struct stat status;
    if (stat(path, &status) != 0) {
        fprintf(stderr, "fuzz: %s: %s\n", path, strerror(errno));
        exit(2);
    }
    if (S_ISDIR(status.st_mode)) {
        struct dirent **entries = NULL;
        const int count = scandir(path, &entries, NULL, alphasort);
        for (int i = 0; i < count; i++) {
            if (entries[i]->d_name[0] != '.') {
                char child[4096];
                (void)snprintf(child, sizeof child, "%s/%s", path, entries[i]->d_name);
                add_path(child);
            }
            free(entries[i]);
        }
        free(entries);
        return;
    }
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(MAX_SEED_BYTES + 1);
    if (file == NULL || data == NULL) {
        fprintf(stderr, "fuzz: cannot read %s\n", path);
        exit(2);
    }
    const size_t size = fread(data, 1, MAX_SEED_BYTES + 1, file);
    (void)fclose(file);
    add_seed(data, size);
    free(data);
}

static void write_seeds(const char *folder) {
    char path[4096];
    (void)mkdir(folder, 0777);
    (void)snprintf(path, sizeof path, "%s/list", folder);
    FILE *list = fopen(path, "w");
    for (size_t i = 0; list != NULL && i < seed_count; i++) {
        (void)snprintf(path, sizeof path, "%s/%04zu", folder, i);
        FILE *file = fopen(path, "wb");
        if (file == NULL || fwrite(seeds[i].data, 1, seeds[i].size, file) != seeds[i].size || fclose(file) != 0) {
            fprintf(stderr, "fuzz: cannot write %s\n", path);
            exit(2);
        }
        fprintf(list, "%s%s", i > 0 ? "," : "", path);
    }
    if (list == NULL || fclose(list) != 0) {
        fprintf(stderr, "fuzz: cannot write into %s\n", folder);
        exit(2);
    }
}

/* A copy of exactly `size` bytes, so that a sanitizer sees every byte too many that is read. */
static void run_once(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    if (copy == NULL) {
        exit(2);
    }
    if (size > 0) {
        memcpy(copy, data, size);
    }
    current_data = copy;
    current_size = size;
    (void)LLVMFuzzerTestOneInput(size == 0 ? copy + 1 : copy, size);
    current_data = NULL;
    free(copy);
}

/* One change of `data` [MAX_SEED_BYTES]; returns the new size. */
static size_t mutate(uint8_t *data, size_t size) {
    static const uint64_t numbers[] = {0,
                                       1,
                                       2,
                                       0x7f,
                                       0x80,
                                       0xff,
                                       0x7fff,
                                       0x8000,
                                       0xffff,
                                       0x7fffffff,
                                       0x80000000,
                                       0xffffffff,
                                       0x7fffffffffffffff,
                                       0x8000000000000000,
                                       UINT64_MAX,
                                       0x7f800000,
                                       0x7fc00000,
                                       48000};
    const size_t at = random_below(size);
    const size_t length = 1 + random_below(random_below(4) == 0 ? 256 : 8);
    switch (random_below(9)) {
    case 0: /* one bit */
        if (size > 0) {
            data[at] ^= (uint8_t)(1u << random_below(8));
        }
        return size;
    case 1: /* random bytes */
        for (size_t i = at; i < size && i < at + length; i++) {
            data[i] = (uint8_t)random_bits();
        }
        return size;
    case 2: { /* a number, either byte order, 1 to 8 bytes */
        const uint64_t value = numbers[random_below(sizeof numbers / sizeof numbers[0])];
        const size_t bytes = (size_t)1 << random_below(4);
        const bool big_endian = random_below(2) == 0;
        for (size_t i = 0; i < bytes && at + i < size; i++) {
            data[at + i] = (uint8_t)(value >> (8 * (big_endian ? bytes - 1 - i : i)));
        }
        return size;
    }
    case 3: /* a small step */
        if (size > 0) {
            data[at] = (uint8_t)(data[at] + random_below(17) - 8);
        }
        return size;
    case 4: /* cut out */
        if (at + length <= size) {
            memmove(data + at, data + at + length, size - at - length);
            return size - length;
        }
        return size;
    case 5: /* insert */
        if (size + length <= MAX_SEED_BYTES) {
            memmove(data + at + length, data + at, size - at);
            const bool repeat = random_below(2) == 0;
            const uint8_t value = (uint8_t)random_bits();
            for (size_t i = 0; i < length; i++) {
                data[at + i] = repeat ? value : (uint8_t)random_bits();
            }
            return size + length;
        }
        return size;
    case 6: /* cut the end off */ return at;
    case 7: { /* copy a part to elsewhere */
        const size_t to = random_below(size);
        for (size_t i = 0; i < length && at + i < size && to + i < size; i++) {
            data[to + i] = data[at + i];
        }
        return size;
    }
    default: { /* the front of this, the rest of another seed */
        const size_t other = random_below(seed_count);
        const size_t from = random_below(seeds[other].size);
        size_t count = seeds[other].size - from;
        if (count > MAX_SEED_BYTES - at) {
            count = MAX_SEED_BYTES - at;
        }
        if (count > 0) {
            memcpy(data + at, seeds[other].data + from, count);
        }
        return at + count;
    }
    }
}

int main(int argc, char **argv) {
    const char *name = strrchr(argv[0], '/');
    target_name = name != NULL ? name + 1 : argv[0];
    const char *count_text = getenv("TIMBRE_FUZZ_COUNT");
    unsigned long count = count_text != NULL ? strtoul(count_text, NULL, 10) : 2000;
    const char *seed_folder = NULL;
    bool one = false;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--count=", 8) == 0) {
            count = strtoul(argv[i] + 8, NULL, 10);
        } else if (strncmp(argv[i], "--seed=", 7) == 0) {
            random_state = strtoull(argv[i] + 7, NULL, 0);
        } else if (strncmp(argv[i], "--write-seeds=", 14) == 0) {
            seed_folder = argv[i] + 14;
        } else if (strcmp(argv[i], "--one") == 0) {
            one = true;
        } else {
            add_path(argv[i]);
        }
    }
    if (!one && fuzz_seeds != NULL) {
        fuzz_seeds(add_seed);
    }
    if (seed_folder != NULL) {
        write_seeds(seed_folder);
        return 0;
    }
    if (seed_count == 0) {
        fprintf(stderr, "fuzz: no seeds\n");
        return 2;
    }
    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(save_current);
    } else {
        (void)signal(SIGSEGV, crashed);
        (void)signal(SIGBUS, crashed);
        (void)signal(SIGFPE, crashed);
    }
    (void)signal(SIGABRT, crashed);

    for (size_t i = 0; i < seed_count; i++) {
        run_once(seeds[i].data, seeds[i].size);
    }
    uint8_t *data = malloc(MAX_SEED_BYTES);
    if (data == NULL) {
        return 2;
    }
    for (unsigned long i = 0; i < count && !one; i++) {
        const size_t seed = random_below(seed_count);
        size_t size = seeds[seed].size;
        memcpy(data, seeds[seed].data, size);
        for (size_t steps = 1 + random_below(6); steps > 0; steps--) {
            size = mutate(data, size);
        }
        run_once(data, size);
    }
    free(data);
    printf("%s: %zu seeds, %lu mutations\n", target_name, seed_count, one ? 0 : count);
    for (size_t i = 0; i < seed_count; i++) {
        free(seeds[i].data);
    }
    return 0;
}
