/* Completion for zsh. */
#include "document.h"

#include <stdlib.h>
#include <string.h>

/* Inside '...' of an _arguments specification. */
static void print_text(const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            (void)fputs("'\\''", stdout);
        } else if (*text == '\n') {
            (void)putchar(' ');
        } else {
            if (strchr("[]:\\", *text) != NULL) {
                (void)putchar('\\');
            }
            (void)putchar(*text);
        }
    }
}

static void print_choices(const cli_option *option) {
    (void)putchar('(');
    for (size_t i = 0; option->choices[i] != NULL; i++) {
        (void)printf("%s%s", i > 0 ? " " : "", option->choices[i]);
    }
    (void)putchar(')');
}

static void print_option(const cli_option *option) {
    bool repeats = option->kind == CLI_LIST || option->kind == CLI_COUNT;
    (void)fputs("                ", stdout);
    if (option->letter != 0) {
        (void)printf("'%s'{-%c,--%s}'", repeats ? "*" : "", option->letter, option->name);
    } else {
        (void)printf("'%s--%s", repeats ? "*" : "", option->name);
    }
    (void)putchar('[');
    /* The first clause is what fits a line. */
    char text[80];
    (void)snprintf(text, sizeof text, "%.*s", (int)strcspn(option->help, ";\n"), option->help);
    print_text(text);
    (void)putchar(']');
    if (cli_option_takes_value(option)) {
        (void)putchar(':');
        print_text(option->argument);
        (void)putchar(':');
        if (option->choices != NULL && (option->kind == CLI_FOLDER || option->kind == CLI_LIST)) {
            (void)fputs("{ compadd -- ", stdout);
            for (size_t i = 0; option->choices[i] != NULL; i++) {
                (void)printf("%s ", option->choices[i]);
            }
            (void)fputs("; _files -/ }", stdout);
        } else if (option->choices != NULL) {
            print_choices(option);
        } else if (option->kind == CLI_FILE) {
            (void)fputs("_files", stdout);
        } else if (option->kind == CLI_FOLDER) {
            (void)fputs("_files -/", stdout);
        }
    }
    (void)fputs("' \\\n", stdout);
}

static void print_command(const cli_command *command, const char *models) {
    (void)fputs("            _arguments -s \\\n", stdout);
    for (size_t g = 0; g < command->group_count; g++) {
        for (size_t k = 0; k < command->groups[g].count; k++) {
            print_option(&command->groups[g].options[k]);
        }
    }
    switch (command->completion) {
    case CLI_COMPLETES_MODELS: (void)printf("                '*:model:(%s)'\n", models); break;
    case CLI_COMPLETES_VOICES:
        (void)fputs(
            "                '*:voice:{ local -a voices=(${XDG_DATA_HOME:-$HOME/.local/share}/timbre/voices/*(N:t:r)); "
            "compadd -a voices }'\n",
            stdout);
        break;
    case CLI_COMPLETES_FILES: (void)fputs("                '*:file:_files'\n", stdout); break;
    }
}

static void print_word(size_t index, const char *models) {
    const char *second;
    const char *word = cli_commands[index]->name;
    size_t length = cli_first_word(cli_commands[index], &second);
    (void)printf("        %.*s)\n", (int)length, word);
    if (second == NULL) {
        print_command(cli_commands[index], models);
        (void)fputs("            ;;\n", stdout);
        return;
    }
    (void)fputs("            if (( CURRENT == 2 )); then\n                compadd --", stdout);
    for (size_t i = index; i < cli_command_count; i++) {
        if (cli_first_word(cli_commands[i], &second) == length && strncmp(cli_commands[i]->name, word, length) == 0) {
            (void)printf(" %s", second);
        }
    }
    (void)fputs(
        "\n                return\n            fi\n            local second=$words[2]\n            shift words\n"
        "            (( CURRENT-- ))\n",
        stdout);
    for (size_t i = index; i < cli_command_count; i++) {
        if (cli_first_word(cli_commands[i], &second) == length && strncmp(cli_commands[i]->name, word, length) == 0) {
            (void)printf("            if [[ $second == %s ]]; then\n", second);
            print_command(cli_commands[i], models);
            (void)fputs("            fi\n", stdout);
        }
    }
    (void)fputs("            ;;\n", stdout);
}

/* What the overview says of a command, or of those that share its first word. */
static void print_summary(size_t index) {
    const char *second;
    (void)printf("            '%.*s:", (int)cli_first_word(cli_commands[index], &second), cli_commands[index]->name);
    print_text(cli_commands[index]->summary);
    (void)fputs("'\n", stdout);
}

void cli_print_zsh(void) {
    char *models = cli_model_names();
    (void)fputs("#compdef timbre\n# zsh completion for timbre; made by the command itself\n_timbre() {\n"
                "    if (( CURRENT == 2 )); then\n        local -a commands=(\n",
                stdout);
    for (size_t i = 0; i < cli_command_count; i++) {
        if (cli_begins_word(i)) {
            print_summary(i);
        }
    }
    (void)fputs("        )\n        _describe command commands\n        return\n    fi\n    local command=$words[2]\n"
                "    shift words\n    (( CURRENT-- ))\n    case $command in\n",
                stdout);
    for (size_t i = 0; i < cli_command_count; i++) {
        if (cli_begins_word(i)) {
            print_word(i, models != NULL ? models : "");
        }
    }
    (void)fputs("    esac\n}\n"
                "if [[ ${funcstack[1]} == _timbre ]]; then _timbre \"$@\"; else compdef _timbre timbre; fi\n",
                stdout);
    free(models);
}
