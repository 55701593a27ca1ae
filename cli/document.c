/* The man page and the completions, from the same tables as --help. */
#include "commands.h"
#include "shared.h"

#include <string.h>

/* ---- man ---- */

/* Text for roff: "-" and "\" escaped, `words` between backquotes bold, no line that begins like a request. */
static void print_roff(const char *text) {
    bool bold = false, line_start = true;
    for (; *text != '\0'; text++) {
        if (text[0] == '\n' && text[1] == '\n') {
            (void)fputs("\n.PP\n", stdout);
            text++;
            line_start = true;
            continue;
        }
        if (line_start && (*text == '.' || *text == '\''))
            (void)fputs("\\&", stdout);
        line_start = *text == '\n';
        if (*text == '-')
            (void)fputs("\\-", stdout);
        else if (*text == '\\')
            (void)fputs("\\e", stdout);
        else if (*text == '`')
            (void)fputs((bold = !bold) ? "\\fB" : "\\fR", stdout);
        else
            (void)putchar(*text);
    }
    (void)putchar('\n');
}

static void print_man_option(const cli_option *option) {
    (void)fputs(".TP\n", stdout);
    if (option->letter != 0)
        (void)printf("\\fB\\-%c\\fR, ", option->letter);
    (void)fputs("\\fB\\-\\-", stdout);
    for (const char *c = option->name; *c != '\0'; c++)
        (void)fputs(*c == '-' ? "\\-" : (char[]){*c, '\0'}, stdout);
    (void)printf("\\fR%s%s%s\n", cli_option_takes_value(option) ? " \\fI" : "",
                 cli_option_takes_value(option) ? option->argument : "", cli_option_takes_value(option) ? "\\fR" : "");
    print_roff(option->help);
    if (option->environment != NULL)
        (void)printf("Environment: \\fB%s\\fR.\n", option->environment);
}

static void print_man_command(const cli_command *command) {
    (void)printf(".SS timbre %s ", command->name);
    print_roff(command->usage);
    print_roff(command->description);
    for (size_t g = 0; g < command->group_count; g++) {
        if (command->groups[g].options == cli_common_options)
            continue; /* in a section of their own */
        for (size_t i = 0; i < command->groups[g].count; i++)
            print_man_option(&command->groups[g].options[i]);
    }
    if (command->examples != NULL) {
        (void)fputs(".PP\n.nf\n.RS 4\n", stdout);
        print_roff(command->examples);
        (void)fputs(".RE\n.fi\n", stdout);
    }
}

static void print_man(void) {
    (void)printf(
        ".TH TIMBRE 1 \"\" \"timbre %s\" \"User Commands\"\n.SH NAME\ntimbre \\- voice cloning with studio\\-clean "
        "sound\n.SH SYNOPSIS\n.B timbre\n.I COMMAND\n[\\fIOPTION\\fR...]\n.SH DESCRIPTION\n",
        tmb_version());
    print_roff(cli_description);
    (void)fputs(".PP\n\"\\-\" is standard input or output wherever a file is named.\n.SH COMMANDS\n", stdout);
    for (size_t i = 0; i < cli_command_count; i++)
        print_man_command(cli_commands[i]);
    (void)fputs(".SH COMMON OPTIONS\n", stdout);
    for (size_t i = 0; i < CLI_LENGTH(cli_common_options); i++)
        print_man_option(&cli_common_options[i]);
    (void)fputs(".SH ENVIRONMENT\n", stdout);
    print_roff(cli_environment_help);
    (void)fputs(".SH EXIT STATUS\n", stdout);
    print_roff(cli_exit_help);
}

/* ---- bash ---- */

/* The first word of a command's name; *second is the other one, or NULL. */
static size_t first_word(const cli_command *command, const char **second) {
    const char *space = strchr(command->name, ' ');
    *second = space != NULL ? space + 1 : NULL;
    return space != NULL ? (size_t)(space - command->name) : strlen(command->name);
}

/* Words that complete the value of an option; false: it is no choice. */
static bool print_choices(const cli_option *option, const char *separator) {
    if (option->kind != CLI_CHOICE)
        return false;
    for (size_t i = 0; option->choices[i] != NULL; i++)
        (void)printf("%s%s", i > 0 ? separator : "", option->choices[i]);
    return true;
}

static void print_bash_values(const cli_command *command) {
    for (size_t g = 0; g < command->group_count; g++)
        for (size_t i = 0; i < command->groups[g].count; i++) {
            const cli_option *option = &command->groups[g].options[i];
            if (!cli_option_takes_value(option))
                continue;
            (void)printf("                --%s", option->name);
            if (option->letter != 0)
                (void)printf(" | -%c", option->letter);
            (void)fputs(") ", stdout);
            if (option->kind == CLI_CHOICE) {
                (void)fputs("COMPREPLY=($(compgen -W '", stdout);
                (void)print_choices(option, " ");
                (void)fputs("' -- \"$current\"))", stdout);
            } else if (option->kind == CLI_FILE) {
                (void)fputs("COMPREPLY=($(compgen -f -- \"$current\"))", stdout);
            } else if (option->kind == CLI_FOLDER) {
                (void)fputs("COMPREPLY=($(compgen -d -- \"$current\"))", stdout);
            } else {
                (void)fputs("COMPREPLY=()", stdout);
            }
            (void)fputs("; return ;;\n", stdout);
        }
}

static void print_bash(void) {
    const char *second;
    (void)fputs("# bash completion for timbre; made by the command itself\n_timbre() {\n"
                "    local current=\"${COMP_WORDS[COMP_CWORD]}\" previous=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
                "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W '",
                stdout);
    for (size_t i = 0; i < cli_command_count; i++)
        (void)printf("%.*s ", (int)first_word(cli_commands[i], &second), cli_commands[i]->name);
    (void)fputs("help --help --version' -- \"$current\"))\n        return\n    fi\n    case \"${COMP_WORDS[1]}\" in\n",
                stdout);
    for (size_t i = 0; i < cli_command_count; i++) {
        const cli_command *command = cli_commands[i];
        (void)printf("        %.*s)\n", (int)first_word(command, &second), command->name);
        if (second != NULL)
            (void)printf("            [ \"$COMP_CWORD\" -eq 2 ] && { COMPREPLY=($(compgen -W '%s' -- \"$current\")); "
                         "return; }\n",
                         second);
        (void)fputs("            case \"$previous\" in\n", stdout);
        print_bash_values(command);
        (void)fputs("            esac\n            case \"$current\" in\n                -*) COMPREPLY=($(compgen -W '",
                    stdout);
        for (size_t g = 0; g < command->group_count; g++)
            for (size_t k = 0; k < command->groups[g].count; k++)
                (void)printf("--%s ", command->groups[g].options[k].name);
        (void)fputs("' -- \"$current\")) ;;\n                *) COMPREPLY=($(compgen -f -- \"$current\")) ;;\n"
                    "            esac\n            ;;\n",
                    stdout);
    }
    (void)fputs("        help)\n            COMPREPLY=($(compgen -W '", stdout);
    for (size_t i = 0; i < cli_command_count; i++)
        (void)printf("%.*s ", (int)first_word(cli_commands[i], &second), cli_commands[i]->name);
    (void)fputs(
        "' -- \"$current\"))\n            ;;\n    esac\n}\ncomplete -o filenames -o bashdefault -F _timbre timbre\n",
        stdout);
}

/* ---- zsh ---- */

/* Inside '...' of an _arguments specification. */
static void print_zsh_text(const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            (void)fputs("'\\''", stdout);
        else if (*text == '\n')
            (void)putchar(' ');
        else {
            if (strchr("[]:\\", *text) != NULL)
                (void)putchar('\\');
            (void)putchar(*text);
        }
    }
}

static void print_zsh_option(const cli_option *option) {
    bool value = cli_option_takes_value(option);
    bool repeats = option->kind == CLI_LIST || option->kind == CLI_COUNT;
    (void)fputs("                ", stdout);
    if (option->letter != 0)
        (void)printf("'%s'{-%c,--%s}'", repeats ? "*" : "", option->letter, option->name);
    else
        (void)printf("'%s--%s", repeats ? "*" : "", option->name);
    (void)putchar('[');
    /* The first clause is what fits a line. */
    char text[80];
    (void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(option->help, ";\n"), option->help);
    print_zsh_text(text);
    (void)putchar(']');
    if (value) {
        (void)putchar(':');
        print_zsh_text(option->argument);
        (void)putchar(':');
        if (option->kind == CLI_CHOICE) {
            (void)putchar('(');
            (void)print_choices(option, " ");
            (void)putchar(')');
        } else if (option->kind == CLI_FILE) {
            (void)fputs("_files", stdout);
        } else if (option->kind == CLI_FOLDER) {
            (void)fputs("_files -/", stdout);
        }
    }
    (void)fputs("' \\\n", stdout);
}

static void print_zsh(void) {
    const char *second;
    (void)fputs("#compdef timbre\n# zsh completion for timbre; made by the command itself\n_timbre() {\n"
                "    if (( CURRENT == 2 )); then\n        local -a commands=(\n",
                stdout);
    for (size_t i = 0; i < cli_command_count; i++) {
        (void)printf("            '%.*s:", (int)first_word(cli_commands[i], &second), cli_commands[i]->name);
        print_zsh_text(cli_commands[i]->summary);
        (void)fputs("'\n", stdout);
    }
    (void)fputs("        )\n        _describe command commands\n        return\n    fi\n    local command=$words[2]\n"
                "    shift words\n    (( CURRENT-- ))\n    case $command in\n",
                stdout);
    for (size_t i = 0; i < cli_command_count; i++) {
        const cli_command *command = cli_commands[i];
        (void)printf("        %.*s)\n            _arguments -s \\\n", (int)first_word(command, &second), command->name);
        for (size_t g = 0; g < command->group_count; g++)
            for (size_t k = 0; k < command->groups[g].count; k++)
                print_zsh_option(&command->groups[g].options[k]);
        if (second != NULL)
            (void)printf("                '1:command:(%s)' \\\n", second);
        (void)fputs("                '*:file:_files'\n            ;;\n", stdout);
    }
    (void)fputs("    esac\n}\n_timbre \"$@\"\n", stdout);
}

int cli_print_document(const char *kind, const char *serve_options) {
    if (!cli_load_serve_options(serve_options)) {
        cli_error("%s is no table of options", serve_options);
        return CLI_EXIT_INPUT;
    }
    if (strcmp(kind, "man") == 0)
        print_man();
    else if (strcmp(kind, "bash") == 0)
        print_bash();
    else if (strcmp(kind, "zsh") == 0)
        print_zsh();
    else
        return CLI_EXIT_USAGE;
    return CLI_EXIT_OK;
}
