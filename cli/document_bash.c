/* Completion for bash. Words are compared by hand and file names read line by line, so that a space in a name is no
 * separator. */
#include "document.h"

#include <stdlib.h>
#include <string.h>

static void print_words(const char *const *words) {
    (void)fputs("_timbre_words", stdout);
    for (size_t i = 0; words[i] != NULL; i++) {
        (void)printf(" %s", words[i]);
    }
}

static void print_value(const cli_option *option) {
    if (option->choices != NULL) {
        print_words(option->choices);
        if (option->kind == CLI_FOLDER || option->kind == CLI_LIST) {
            (void)fputs("; _timbre_files -d", stdout);
        }
    } else if (option->kind == CLI_FILE || option->kind == CLI_FOLDER) {
        (void)printf("_timbre_files %s", option->kind == CLI_FILE ? "-f" : "-d");
    } else {
        (void)putchar(':');
    }
}

static void print_values(const cli_command *command) {
    for (size_t g = 0; g < command->group_count; g++) {
        for (size_t i = 0; i < command->groups[g].count; i++) {
            const cli_option *option = &command->groups[g].options[i];
            if (!cli_option_takes_value(option)) {
                continue;
            }
            (void)printf("                --%s", option->name);
            if (option->letter != 0) {
                (void)printf(" | -%c", option->letter);
            }
            (void)fputs(") ", stdout);
            print_value(option);
            (void)fputs("; return ;;\n", stdout);
        }
    }
}

/* What completes one command, once its words are there. */
static void print_command(const cli_command *command, const char *models) {
    (void)fputs("            case \"$previous\" in\n", stdout);
    print_values(command);
    (void)fputs("            esac\n            case \"$current\" in\n                -*) _timbre_words", stdout);
    for (size_t g = 0; g < command->group_count; g++) {
        for (size_t k = 0; k < command->groups[g].count; k++) {
            (void)printf(" --%s", command->groups[g].options[k].name);
        }
    }
    (void)fputs(" ;;\n                *) ", stdout);
    switch (command->completion) {
    case CLI_COMPLETES_MODELS: (void)printf("_timbre_words %s", models); break;
    case CLI_COMPLETES_VOICES: (void)fputs("_timbre_voices", stdout); break;
    case CLI_COMPLETES_FILES: (void)fputs("_timbre_files -f", stdout); break;
    }
    (void)fputs(" ;;\n            esac\n", stdout);
}

/* The commands that begin with one word: one, or several with a second word each. */
static void print_word(size_t index, const char *models) {
    const char *second;
    size_t length = cli_first_word(cli_commands[index], &second);
    const char *word = cli_commands[index]->name;
    (void)printf("        %.*s)\n", (int)length, word);
    if (second == NULL) {
        print_command(cli_commands[index], models);
    } else {
        (void)fputs("            if [ \"$COMP_CWORD\" -eq 2 ]; then _timbre_words", stdout);
        for (size_t i = index; i < cli_command_count; i++) {
            if (cli_first_word(cli_commands[i], &second) == length &&
                strncmp(cli_commands[i]->name, word, length) == 0) {
                (void)printf(" %s", second);
            }
        }
        (void)fputs("; return; fi\n", stdout);
        for (size_t i = index; i < cli_command_count; i++) {
            if (cli_first_word(cli_commands[i], &second) == length &&
                strncmp(cli_commands[i]->name, word, length) == 0) {
                (void)printf("            if [ \"${COMP_WORDS[2]}\" = %s ]; then\n", second);
                print_command(cli_commands[i], models);
                (void)fputs("            fi\n", stdout);
            }
        }
    }
    (void)fputs("            ;;\n", stdout);
}

static void print_commands(void) {
    const char *second;
    for (size_t i = 0; i < cli_command_count; i++) {
        if (cli_begins_word(i)) {
            (void)printf(" %.*s", (int)cli_first_word(cli_commands[i], &second), cli_commands[i]->name);
        }
    }
}

void cli_print_bash(void) {
    char *models = cli_model_names();
    (void)fputs(
        "# bash completion for timbre; made by the command itself\n"
        "_timbre_words() { # WORD...\n"
        "    local word\n"
        "    for word in \"$@\"; do\n"
        "        if [[ $word == \"$current\"* ]]; then COMPREPLY+=(\"$word\"); fi\n"
        "    done\n"
        "}\n"
        "_timbre_files() { # -f or -d\n"
        "    local word plain=\"${current#[\\\"\\']}\"\n"
        "    compopt -o filenames 2>/dev/null\n"
        "    while IFS= read -r word; do COMPREPLY+=(\"$word\"); done < <(compgen \"$1\" -- \"${plain//\\\\/}\")\n"
        "}\n"
        "_timbre_voices() {\n"
        "    local file\n"
        "    compopt -o filenames 2>/dev/null\n"
        "    for file in \"${XDG_DATA_HOME:-$HOME/.local/share}\"/timbre/voices/*; do\n"
        "        file=\"${file##*/}\"\n"
        "        case \"$file\" in \"$current\"*.txt) ;; \"$current\"*.*) COMPREPLY+=(\"${file%.*}\") ;; esac\n"
        "    done\n"
        "}\n"
        "_timbre() {\n"
        "    local current=\"${COMP_WORDS[COMP_CWORD]}\" previous=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
        "    COMPREPLY=()\n"
        "    # --name=value comes as three words.\n"
        "    if [ \"$current\" = = ]; then\n"
        "        current=''\n"
        "    elif [ \"$previous\" = = ] && [ \"$COMP_CWORD\" -gt 2 ]; then\n"
        "        previous=\"${COMP_WORDS[COMP_CWORD-2]}\"\n"
        "    fi\n"
        "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        _timbre_words",
        stdout);
    print_commands();
    (void)fputs(" help --help --version\n        return\n    fi\n    case \"${COMP_WORDS[1]}\" in\n", stdout);
    for (size_t i = 0; i < cli_command_count; i++) {
        if (cli_begins_word(i)) {
            print_word(i, models != NULL ? models : "");
        }
    }
    (void)fputs("        help)\n            _timbre_words", stdout);
    print_commands();
    (void)fputs("\n            ;;\n    esac\n}\ncomplete -o bashdefault -o default -F _timbre timbre\n", stdout);
    free(models);
}
