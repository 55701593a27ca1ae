#include "options.h"

#include "ui.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAXIMUM_OPTIONS = 96 };

bool cli_option_takes_value(const cli_option *option) {
    return option->kind != CLI_FLAG && option->kind != CLI_UNFLAG && option->kind != CLI_COUNT;
}

bool cli_is_standard(const char *path) { return path != NULL && strcmp(path, "-") == 0; }

static bool parse_number(const cli_option *option, const char *text, double *out, char *reason, size_t size) {
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || errno == ERANGE || !isfinite(value)) {
        (void)snprintf(reason, size, "\"%s\" is not a number", text);
        return false;
    }
    if (value < option->minimum || value > option->maximum) {
        (void)snprintf(reason, size, "%s is not within %.10g to %.10g", text, option->minimum, option->maximum);
        return false;
    }
    *out = value;
    return true;
}

static bool parse_unsigned(const char *text, uint64_t *out, char **end) {
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *out = strtoull(text, end, 10);
    return errno == 0;
}

static bool parse_bytes(const char *text, uint64_t *out, char *reason, size_t size) {
    char *end = NULL;
    int shift = -1;
    if (parse_unsigned(text, out, &end)) {
        static const char units[] = "KMGT";
        const char *unit = *end == '\0' ? NULL : strchr(units, *end & ~0x20);
        if (*end == '\0')
            shift = 0;
        else if (unit != NULL && *unit != '\0' && end[1] == '\0')
            shift = 10 * (int)(unit - units + 1);
    }
    if (shift < 0 || *out > UINT64_MAX >> shift) {
        (void)snprintf(reason, size, "\"%s\" is not a number of bytes such as 512M or 4G", text);
        return false;
    }
    *out <<= shift;
    return true;
}

static bool parse_choice(const cli_option *option, const char *text, int *out, char *reason, size_t size) {
    size_t length = 0;
    char list[256] = "";
    for (int i = 0; option->choices[i] != NULL; i++) {
        if (strcmp(option->choices[i], text) == 0) {
            *out = i;
            return true;
        }
        if (length < sizeof(list))
            length +=
                (size_t)snprintf(list + length, sizeof(list) - length, "%s%s", i > 0 ? ", " : "", option->choices[i]);
    }
    (void)snprintf(reason, size, "\"%s\" is not one of %s", text, list);
    return false;
}

bool cli_parse_value(const cli_option *option, void *field, const char *text, char *reason, size_t size) {
    double number;
    switch (option->kind) {
    case CLI_FLAG:
    case CLI_UNFLAG:
        /* Only from the environment: "0" and the like mean that the variable is as good as unset. */
        if (strcmp(text, "0") != 0 && strcmp(text, "false") != 0 && strcmp(text, "no") != 0)
            *(bool *)field = option->kind == CLI_FLAG;
        return true;
    case CLI_COUNT: ++*(int *)field; return true;
    case CLI_TEXT:
    case CLI_FILE:
    case CLI_FOLDER:
        if (option->kind != CLI_TEXT && *text == '\0') {
            (void)snprintf(reason, size, "the name is empty");
            return false;
        }
        *(const char **)field = text;
        return true;
    case CLI_INTEGER:
        if (!parse_number(option, text, &number, reason, size))
            return false;
        if (number != floor(number)) {
            (void)snprintf(reason, size, "%s is not a whole number", text);
            return false;
        }
        *(int *)field = (int)number;
        return true;
    case CLI_NUMBER: return parse_number(option, text, (double *)field, reason, size);
    case CLI_BYTES: return parse_bytes(text, (uint64_t *)field, reason, size);
    case CLI_UNSIGNED: {
        cli_unsigned *out = field;
        char *end = NULL;
        out->given = parse_unsigned(text, &out->value, &end) && *end == '\0';
        if (!out->given)
            (void)snprintf(reason, size, "\"%s\" is not a whole number from 0 to 18446744073709551615", text);
        return out->given;
    }
    case CLI_CHOICE: return parse_choice(option, text, (int *)field, reason, size);
    case CLI_LIST: {
        cli_list *list = field;
        if (list->count == CLI_LENGTH(list->items)) {
            (void)snprintf(reason, size, "given more than %zu times", CLI_LENGTH(list->items));
            return false;
        }
        list->items[list->count++] = text;
        return true;
    }
    }
    return false;
}

/* All options of a command in one row: getopt's table has an entry for each, `val` is its index here. */
typedef struct flat_table {
    const cli_option *options[MAXIMUM_OPTIONS];
    size_t bases[MAXIMUM_OPTIONS];
    struct option longs[MAXIMUM_OPTIONS + 1];
    char shorts[2 * MAXIMUM_OPTIONS + 2];
    size_t count;
} flat_table;

enum { FIRST_LONG = 1000 };

static void flatten(const cli_command *command, flat_table *table) {
    size_t letters = 0;
    memset(table, 0, sizeof(*table));
    table->shorts[letters++] = ':';
    for (size_t g = 0; g < command->group_count; g++) {
        const cli_group *group = &command->groups[g];
        for (size_t i = 0; i < group->count && table->count < MAXIMUM_OPTIONS; i++) {
            const cli_option *option = &group->options[i];
            bool takes_value = cli_option_takes_value(option);
            table->options[table->count] = option;
            table->bases[table->count] = group->base;
            table->longs[table->count] = (struct option){.name = option->name,
                                                         .has_arg = takes_value ? required_argument : no_argument,
                                                         .val = FIRST_LONG + (int)table->count};
            if (option->letter != 0) {
                table->shorts[letters++] = option->letter;
                if (takes_value)
                    table->shorts[letters++] = ':';
            }
            table->count++;
        }
    }
}

static int find_letter(const flat_table *table, int letter) {
    for (size_t i = 0; i < table->count; i++)
        if (table->options[i]->letter == letter && letter != 0)
            return (int)i;
    return -1;
}

static bool store(const flat_table *table, size_t index, void *options, const char *text, const char *source) {
    const cli_option *option = table->options[index];
    void *field = (char *)options + table->bases[index] + option->offset;
    char reason[320];
    if (cli_parse_value(option, field, text, reason, sizeof(reason)))
        return true;
    if (source != NULL)
        cli_error("%s (from the environment): %s", source, reason);
    else
        cli_error("--%s: %s", option->name, reason);
    return false;
}

static void say_unknown(const cli_command *command, const flat_table *table, const char *word, int letter) {
    if (letter != 0) {
        cli_error("unknown option -%c; `timbre %s --help` lists what there is", letter, command->name);
        return;
    }
    const char *names[MAXIMUM_OPTIONS];
    char name[64];
    (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
    for (size_t i = 0; i < table->count; i++)
        names[i] = table->options[i]->name;
    const char *nearest = cli_nearest(name, names, table->count);
    if (nearest != NULL)
        cli_error("unknown option --%s; did you mean --%s?", name, nearest);
    else
        cli_error("unknown option --%s; `timbre %s --help` lists what there is", name, command->name);
}

bool cli_parse(const cli_command *command, void *options, int argc, char **argv, int *first_argument) {
    flat_table table;
    flatten(command, &table);
    for (size_t i = 0; i < table.count; i++) {
        const char *name = table.options[i]->environment;
        const char *text = name != NULL ? getenv(name) : NULL;
        if (text != NULL && *text != '\0' && !store(&table, i, options, text, name))
            return false;
    }
    opterr = 0;
    optind = 1;
    for (;;) {
        int word = optind;
        int found = getopt_long(argc, argv, table.shorts, table.longs, NULL);
        if (found == -1)
            break;
        if (found == '?') {
            /* optopt is the letter, the entry's value (a flag that was given a value), or 0. */
            if (optopt >= FIRST_LONG)
                cli_error("--%s takes no value", table.options[optopt - FIRST_LONG]->name);
            else
                say_unknown(command, &table, optopt == 0 ? argv[optind - 1] : argv[word], optopt);
            return false;
        }
        if (found == ':') {
            int index = optopt >= FIRST_LONG ? optopt - FIRST_LONG : find_letter(&table, optopt);
            cli_error("--%s needs a value: %s", table.options[index]->name, table.options[index]->argument);
            return false;
        }
        int index = found >= FIRST_LONG ? found - FIRST_LONG : find_letter(&table, found);
        if (!store(&table, (size_t)index, options, optarg != NULL ? optarg : "1", NULL))
            return false;
    }
    int rest = argc - optind;
    if (rest < command->minimum_arguments || (command->maximum_arguments >= 0 && rest > command->maximum_arguments)) {
        if (rest > command->maximum_arguments && command->maximum_arguments >= 0)
            cli_error("what is \"%s\" for? usage: timbre %s %s", argv[optind + command->maximum_arguments],
                      command->name, command->usage);
        else
            cli_error("something is missing; usage: timbre %s %s", command->name, command->usage);
        return false;
    }
    *first_argument = optind;
    return true;
}

/* Edits (insert, delete, replace, swap neighbours) between two short words. */
static size_t distance(const char *a, const char *b) {
    enum { LONGEST = 40 };
    size_t n = strlen(a), m = strlen(b), rows[3][LONGEST + 1];
    if (n > LONGEST || m > LONGEST)
        return LONGEST;
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++)
        above[j] = j;
    for (size_t i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        size_t *free_row = before;
        before = above;
        above = row;
        row = free_row;
    }
    return above[m];
}

const char *cli_nearest(const char *word, const char *const *words, size_t count) {
    const char *nearest = NULL;
    size_t length = strlen(word), best = length < 4 ? 2 : length / 3 + 2; /* at most a third wrong */
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(word, words[i]);
        /* "--out" for "--output-dir": the beginning of a word is near as well. */
        if (length >= 3 && strncmp(word, words[i], length) == 0)
            d = 1;
        if (d < best) {
            best = d;
            nearest = words[i];
        }
    }
    return nearest;
}
