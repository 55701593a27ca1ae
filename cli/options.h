/* One table of options a command: it is parsed, printed as --help, and turned into the man page and the
 * completions, so that these never differ. */
#ifndef TIMBRE_CLI_OPTIONS_H
#define TIMBRE_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What an option takes, and the type of the field that `offset` names. */
typedef enum cli_kind {
    CLI_FLAG,     /* bool, set to true */
    CLI_UNFLAG,   /* bool, set to false */
    CLI_COUNT,    /* int, one more each time */
    CLI_TEXT,     /* const char * */
    CLI_FILE,     /* const char *, completed as a file */
    CLI_FOLDER,   /* const char *, completed as a folder */
    CLI_INTEGER,  /* int, minimum to maximum */
    CLI_RATE,     /* int, minimum to maximum; "44100", "44.1k", "48kHz" */
    CLI_NUMBER,   /* double, minimum to maximum */
    CLI_BYTES,    /* uint64_t: a number with K, M, G or none */
    CLI_UNSIGNED, /* cli_unsigned: any 64-bit number, and whether it was given */
    CLI_CHOICE,   /* int: the index in `choices` */
    CLI_LIST      /* cli_list: may be repeated */
} cli_kind;

typedef struct cli_unsigned {
    bool given;
    uint64_t value;
} cli_unsigned;

typedef struct cli_list {
    const char *items[64];
    size_t count;
    bool from_environment; /* what the command line says takes its place */
} cli_list;

typedef struct cli_option {
    const char *name; /* without the dashes */
    char letter;      /* short form, or 0 */
    cli_kind kind;
    size_t offset;           /* of the field, within its group's struct */
    const char *argument;    /* what --help calls the value */
    const char *help;        /* says the default too */
    const char *environment; /* variable that stands in for the option, or NULL */
    double minimum, maximum; /* INTEGER and NUMBER */
    const char *item_field;  /* of tmb_clone_fields: the range is that field's; or NULL */
    const char *const
        *choices;     /* NULL-terminated. CHOICE: every legal value; TEXT and FOLDER: what completion offers */
    bool writes;      /* the value names what is written: an abbreviation never reaches this option */
    const char *also; /* names that people try for it, separated by spaces, for "did you mean"; or NULL */
} cli_option;

/* Options that appear under one title. A group may serve several commands: `base` is where its struct
 * lies in the command's own. */
typedef struct cli_group {
    const char *title;
    const cli_option *options;
    size_t count;
    size_t base;
} cli_group;

/* The elements of an array, for cli_group.count and the like. */
#define CLI_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* What completion offers for a command's arguments. */
typedef enum cli_completion { CLI_COMPLETES_FILES, CLI_COMPLETES_MODELS, CLI_COMPLETES_VOICES } cli_completion;

typedef struct cli_command {
    const char *name;        /* one word or two ("voice create") */
    const char *summary;     /* one line, for the list of commands */
    const char *usage;       /* what follows the name */
    const char *description; /* paragraphs, separated by empty lines */
    const char *examples;    /* lines of shell, indented nowhere */
    const cli_group *groups;
    size_t group_count;
    size_t options_size; /* of the struct that the options fill; born zeroed, then `defaults` */
    void (*defaults)(void *options);
    int minimum_arguments, maximum_arguments;               /* in addition to options; maximum < 0: any number */
    const char *needs;                                      /* what is said when there are too few arguments */
    cli_completion completion;                              /* of the arguments */
    int (*run)(void *options, int count, char **arguments); /* the exit status */
} cli_command;

/* Fills `options` from the environment and argv[1..]; moves the other arguments to the end and gives
 * their position. Returns false after printing the problem; the exit status is 2. --help is not handled here. */
bool cli_parse(const cli_command *command, void *options, int argc, char **argv, int *first_argument);

/* The value of one option from text; false and a reason (of `size` bytes) if it is not legal. */
bool cli_parse_value(const cli_option *option, void *field, const char *text, char *reason, size_t size);

/* Is this "-", standard input or output? `path` may be NULL. */
bool cli_is_standard(const char *path);

/* Whether a text begins with the mark of UTF-16, which editors on Windows call "Unicode". */
bool cli_is_utf16(const char *text, size_t size);

/* "--name VALUE", with the letter in front if there is one. */
void cli_option_usage(const cli_option *option, char *out, size_t size);
bool cli_option_takes_value(const cli_option *option);

void cli_print_help(const cli_command *command, FILE *out);

/* The word of `words` [count] nearest to `word`, or NULL if none is near. */
const char *cli_nearest(const char *word, const char *const *words, size_t count);
/* The option that somebody who wrote --`word` may have meant: by its name, by one of its other names. NULL if none. */
const cli_option *cli_nearest_option(const char *word, const cli_option *const *options, size_t count);

#endif
