/* The command line of one command, and the environment that stands in for options. Written by hand instead of
 * getopt_long, because an abbreviation must never reach an option that writes a file. */
#include "options.h"

#include "ui.h"

#include <stdlib.h>
#include <string.h>

enum { MAXIMUM_OPTIONS = 128 };

/* All options of a command in one row. */
typedef struct flat_table {
    const cli_option *options[MAXIMUM_OPTIONS];
    size_t bases[MAXIMUM_OPTIONS];
    size_t count;
} flat_table;

typedef struct parsing {
    const cli_command *command;
    flat_table table;
    void *options;
    int argc, next; /* `next`: the word to be read */
    char **argv;
} parsing;

static void flatten(const cli_command *command, flat_table *table) {
    memset(table, 0, sizeof *table);
    for (size_t g = 0; g < command->group_count; g++) {
        const cli_group *group = &command->groups[g];
        for (size_t i = 0; i < group->count && table->count < MAXIMUM_OPTIONS; i++) {
            table->options[table->count] = &group->options[i];
            table->bases[table->count] = group->base;
            table->count++;
        }
    }
}

static bool store(const parsing *p, const cli_option *option, const char *text, const char *source) {
    size_t index = 0;
    while (p->table.options[index] != option) {
        index++;
    }
    char reason[320];
    void *field = (char *)p->options + p->table.bases[index] + option->offset;
    if (option->kind == CLI_LIST) {
        cli_list *list = field;
        list->count = list->from_environment ? 0 : list->count;
        list->from_environment = source != NULL;
    }
    if (cli_parse_value(option, field, text, reason, sizeof reason)) {
        return true;
    }
    if (source != NULL) {
        cli_error("%s (from the environment): %s", source, reason);
    } else {
        cli_error("--%s: %s", option->name, reason);
    }
    return false;
}

/* `instead` is suggested if no other option is nearer than `refused`; both may be NULL. */
static void say_unknown(const parsing *p, const char *name, const cli_option *refused, const cli_option *instead) {
    const cli_option *nearest = cli_nearest_option(name, p->table.options, p->table.count);
    if (nearest == refused) {
        nearest = instead;
    }
    if (nearest != NULL) {
        cli_error("unknown option --%s; did you mean --%s?", name, nearest->name);
    } else {
        cli_error("unknown option --%s; `timbre %s --help` lists what there is", name, p->command->name);
    }
}

/* Says which options an abbreviation may stand for. */
static void say_ambiguous(const parsing *p, const char *name) {
    char list[400] = "";
    size_t used = 0, length = strlen(name);
    for (size_t i = 0; i < p->table.count && used < sizeof list; i++) {
        const cli_option *option = p->table.options[i];
        if (!option->writes && strncmp(option->name, name, length) == 0) {
            used += (size_t)snprintf(list + used, sizeof list - used, "%s--%s", used > 0 ? ", " : "", option->name);
        }
    }
    cli_error("--%s may be %s", name, list);
}

/* Whether one of the other names that people try for an option begins so. */
static bool is_known_as(const cli_option *option, const char *name, size_t length) {
    for (const char *also = option->also; also != NULL && *also != '\0';) {
        if (strncmp(also, name, length) == 0) {
            return true;
        }
        also += strcspn(also, " ");
        also += strspn(also, " ");
    }
    return false;
}

/* An option other than `found` that this abbreviation of it may mean as well; NULL: none. */
static const cli_option *find_rival(const parsing *p, const cli_option *found, const char *name) {
    const size_t length = strlen(name);
    for (size_t i = 0; i < p->table.count; i++) {
        const cli_option *option = p->table.options[i];
        if (option != found &&
            ((option->writes && strncmp(option->name, name, length) == 0) || is_known_as(option, name, length))) {
            return option;
        }
    }
    return NULL;
}

/* The option of this name, or of the only one that begins so, if that is of nothing that is written and nobody means
 * another by it; NULL: said. */
static const cli_option *find_option(const parsing *p, const char *name) {
    const cli_option *found = NULL;
    size_t matches = 0, length = strlen(name);
    for (size_t i = 0; i < p->table.count; i++) {
        const cli_option *option = p->table.options[i];
        if (strcmp(option->name, name) == 0) {
            return option;
        }
        if (length > 0 && !option->writes && strncmp(option->name, name, length) == 0) {
            found = option;
            matches++;
        }
    }
    if (matches > 1) {
        say_ambiguous(p, name);
        return NULL;
    }
    const cli_option *rival = matches == 1 ? find_rival(p, found, name) : NULL;
    if (found == NULL || rival != NULL) {
        say_unknown(p, name, found, rival);
        return NULL;
    }
    return found;
}

static const cli_option *find_letter(const parsing *p, char letter) {
    for (size_t i = 0; i < p->table.count; i++) {
        if (p->table.options[i]->letter == letter) {
            return p->table.options[i];
        }
    }
    return NULL;
}

/* Stores a value that may be the next word. */
static bool take_value(parsing *p, const cli_option *option, const char *value) {
    if (value == NULL && p->next >= p->argc) {
        cli_error("--%s needs a value: %s", option->name, option->argument);
        return false;
    }
    return store(p, option, value != NULL ? value : p->argv[p->next++], NULL);
}

static bool parse_long(parsing *p, char *word) {
    char *equals = strchr(word, '=');
    char name[64];
    (void)snprintf(name, sizeof name, "%.*s", (int)(equals != NULL ? equals - word : (long)strlen(word)), word);
    const cli_option *option = find_option(p, name);
    if (option == NULL) {
        return false;
    }
    if (cli_option_takes_value(option)) {
        return take_value(p, option, equals != NULL ? equals + 1 : NULL);
    }
    if (equals != NULL) {
        cli_error("--%s takes no value", option->name);
        return false;
    }
    return store(p, option, "1", NULL);
}

/* Letters that follow one dash: "-qv", "-o out.wav", "-oout.wav". */
static bool parse_letters(parsing *p, const char *letters) {
    for (; *letters != '\0'; letters++) {
        const cli_option *option = find_letter(p, *letters);
        if (option == NULL) {
            cli_error("unknown option -%c; `timbre %s --help` lists what there is", *letters, p->command->name);
            return false;
        }
        if (cli_option_takes_value(option)) {
            return take_value(p, option, letters[1] != '\0' ? letters + 1 : NULL);
        }
        if (!store(p, option, "1", NULL)) {
            return false;
        }
    }
    return true;
}

static bool parse_environment(const parsing *p) {
    for (size_t i = 0; i < p->table.count; i++) {
        const char *name = p->table.options[i]->environment;
        const char *text = name != NULL ? getenv(name) : NULL;
        if (text != NULL && *text != '\0' && !store(p, p->table.options[i], text, name)) {
            return false;
        }
    }
    return true;
}

/* Options out of argv; the other words are gathered in `arguments`. */
static bool parse_words(parsing *p, char **arguments, int *count) {
    bool only_arguments = false;
    while (p->next < p->argc) {
        char *word = p->argv[p->next++];
        if (only_arguments || word[0] != '-' || word[1] == '\0') {
            arguments[(*count)++] = word;
        } else if (strcmp(word, "--") == 0) {
            only_arguments = true;
        } else if (!(word[1] == '-' ? parse_long(p, word + 2) : parse_letters(p, word + 1))) {
            return false;
        }
    }
    return true;
}

static bool check_count(const cli_command *command, int count, char **arguments) {
    if (command->maximum_arguments >= 0 && count > command->maximum_arguments) {
        cli_error("unexpected argument \"%s\"; usage: timbre %s %s", arguments[command->maximum_arguments],
                  command->name, command->usage);
        return false;
    }
    if (count < command->minimum_arguments) {
        cli_error("%s; usage: timbre %s %s", command->needs != NULL ? command->needs : "an argument is missing",
                  command->name, command->usage);
        return false;
    }
    return true;
}

bool cli_parse(const cli_command *command, void *options, int argc, char **argv, int *first_argument) {
    parsing p = {.command = command, .options = options, .argc = argc, .argv = argv, .next = 1};
    flatten(command, &p.table);
    char **arguments = calloc((size_t)argc + 1, sizeof *arguments);
    if (arguments == NULL) {
        cli_error("no memory");
        return false;
    }
    int count = 0;
    bool good = parse_environment(&p) && parse_words(&p, arguments, &count) && check_count(command, count, arguments);
    *first_argument = argc - count;
    if (good) {
        memcpy(argv + *first_argument, arguments, (size_t)count * sizeof *argv);
    }
    free(arguments);
    return good;
}
