#include "options.h"
#include "ui.h"

#include <string.h>

enum { WIDTH = 100, INDENT = 2, COLUMN = 30 };

void cli_option_usage(const cli_option *option, char *out, size_t size) {
    char letter[8] = "";
    if (option->letter != 0) {
        (void)snprintf(letter, sizeof letter, "-%c, ", option->letter);
    }
    bool takes_value = cli_option_takes_value(option);
    (void)snprintf(out, size, "%s--%s%s%s", letter, option->name, takes_value ? " " : "",
                   takes_value ? option->argument : "");
}

/* Prints `text` in lines that end before WIDTH; the first begins at `column`, the others at `indent`. */
static void print_wrapped(FILE *out, const char *text, size_t column, size_t indent) {
    while (*text != '\0') {
        size_t length = strcspn(text, " \n");
        if (column > indent && column + 1 + length > WIDTH) {
            (void)fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            (void)fputc(' ', out);
            column++;
        }
        (void)fwrite(text, 1, length, out);
        column += length;
        text += length;
        if (text[0] == '\n' && text[1] == '\n') {
            (void)fprintf(out, "\n\n%*s", (int)indent, "");
            column = indent;
        }
        text += strspn(text, " \n");
    }
    (void)fputc('\n', out);
}

static void print_option(FILE *out, const cli_option *option) {
    char usage[96];
    cli_option_usage(option, usage, sizeof usage);
    /* Long names stand in one column, whether they have a letter or not. */
    int used = fprintf(out, "%*s%s", INDENT + (option->letter == 0 ? 4 : 0), "", usage);
    size_t column = used > 0 ? (size_t)used : 0;
    if (column + 2 > COLUMN) {
        (void)fputc('\n', out);
        column = 0;
    }
    (void)fprintf(out, "%*s", (int)(COLUMN - column), "");
    print_wrapped(out, option->help, COLUMN, COLUMN);
    if (option->environment != NULL) {
        (void)fprintf(out, "%*s[environment: %s]\n", COLUMN, "", option->environment);
    }
}

void cli_print_help(const cli_command *command, FILE *out) {
    const char *bold = cli_style(out, CLI_BOLD), *plain = cli_style(out, CLI_PLAIN);
    (void)fprintf(out, "%sUsage:%s timbre %s %s\n\n", bold, plain, command->name, command->usage);
    print_wrapped(out, command->description, 0, 0);
    for (size_t g = 0; g < command->group_count; g++) {
        /* Groups of one title that follow each other are one to the reader. */
        if (g == 0 || strcmp(command->groups[g - 1].title, command->groups[g].title) != 0) {
            (void)fprintf(out, "\n%s%s:%s\n", bold, command->groups[g].title, plain);
        }
        for (size_t i = 0; i < command->groups[g].count; i++) {
            print_option(out, &command->groups[g].options[i]);
        }
    }
    if (command->examples == NULL) {
        return;
    }
    (void)fprintf(out, "\n%sExamples:%s\n", bold, plain);
    for (const char *line = command->examples; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        (void)fprintf(out, "%*s%.*s\n", INDENT, "", (int)length, line);
        line += length + (line[length] == '\n');
    }
}
