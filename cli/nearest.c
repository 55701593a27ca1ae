/* "Did you mean": the nearest word by letters, and options by other names that people know them by. */
#include "options.h"

#include <string.h>

/* Edits (insert, delete, replace, swap neighbours) between two short words. */
static size_t distance(const char *a, const char *b) {
    enum { LONGEST = 40 };
    size_t n = strlen(a), m = strlen(b), rows[3][LONGEST + 1];
    if (n > LONGEST || m > LONGEST) {
        return LONGEST;
    }
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++) {
        above[j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best) {
                best = above[j] + 1;
            }
            if (row[j - 1] + 1 < best) {
                best = row[j - 1] + 1;
            }
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best) {
                best = before[j - 2] + 1;
            }
            row[j] = best;
        }
        size_t *free_row = before;
        before = above;
        above = row;
        row = free_row;
    }
    return above[m];
}

/* How many edits a word of this length may be wrong by, plus one: at most a third of it. */
static size_t limit_of(size_t length) { return length < 4 ? 2 : length / 3 + 2; }

const char *cli_nearest(const char *word, const char *const *words, size_t count) {
    const char *nearest = NULL;
    size_t length = strlen(word), best = limit_of(length);
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(word, words[i]);
        /* "--out" for "--output-dir": the beginning of a word is near as well. */
        if (length >= 3 && strncmp(word, words[i], length) == 0) {
            d = 1;
        }
        if (d < best) {
            best = d;
            nearest = words[i];
        }
    }
    return nearest;
}

/* The distance to the nearest of an option's other names. */
static size_t distance_to_others(const char *word, const char *also) {
    size_t best = SIZE_MAX;
    while (also != NULL && *also != '\0') {
        char name[48];
        size_t length = strcspn(also, " ");
        (void)snprintf(name, sizeof name, "%.*s", (int)length, also);
        size_t d = distance(word, name);
        best = d < best ? d : best;
        also += length;
        also += strspn(also, " ");
    }
    return best;
}

const cli_option *cli_nearest_option(const char *word, const cli_option *const *options, size_t count) {
    const cli_option *nearest = NULL;
    size_t length = strlen(word), best = limit_of(length);
    for (size_t i = 0; i < count; i++) {
        /* Another name that is (nearly) right says more than the letters of a name that is not. */
        size_t other = distance_to_others(word, options[i]->also);
        size_t d = other <= 1 ? 0 : distance(word, options[i]->name);
        if (other < d) {
            d = other;
        }
        /* The beginning of a name is near, unless the name is of something that is written. */
        if (d > 1 && length >= 3 && !options[i]->writes && strncmp(word, options[i]->name, length) == 0) {
            d = 1;
        }
        if (d < best) {
            best = d;
            nearest = options[i];
        }
    }
    return nearest;
}
