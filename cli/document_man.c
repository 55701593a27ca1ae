/* The man page. */
#include "document.h"

#include <string.h>

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
        if (line_start && (*text == '.' || *text == '\'')) {
            (void)fputs("\\&", stdout);
        }
        line_start = *text == '\n';
        if (*text == '-') {
            (void)fputs("\\-", stdout);
        } else if (*text == '\\') {
            (void)fputs("\\e", stdout);
        } else if (*text == '`') {
            (void)fputs((bold = !bold) ? "\\fB" : "\\fR", stdout);
        } else {
            (void)putchar(*text);
        }
    }
    (void)putchar('\n');
}

static void print_option(const cli_option *option) {
    (void)fputs(".TP\n", stdout);
    if (option->letter != 0) {
        (void)printf("\\fB\\-%c\\fR, ", option->letter);
    }
    (void)fputs("\\fB\\-\\-", stdout);
    for (const char *c = option->name; *c != '\0'; c++) {
        (void)fputs(*c == '-' ? "\\-" : (char[]){*c, '\0'}, stdout);
    }
    bool value = cli_option_takes_value(option);
    (void)printf("\\fR%s%s%s\n", value ? " \\fI" : "", value ? option->argument : "", value ? "\\fR" : "");
    print_roff(option->help);
    if (option->environment != NULL) {
        (void)printf("Environment: \\fB%s\\fR.\n", option->environment);
    }
}

static void print_command(const cli_command *command) {
    (void)printf(".SS timbre %s ", command->name);
    print_roff(command->usage);
    print_roff(command->description);
    for (size_t g = 0; g < command->group_count; g++) {
        if (command->groups[g].options == cli_common_options) {
            continue; /* in a section of their own */
        }
        /* Groups of one title that follow each other are one to the reader. */
        if (g == 0 || strcmp(command->groups[g - 1].title, command->groups[g].title) != 0) {
            (void)printf(".PP\n\\fI%s:\\fR\n", command->groups[g].title);
        }
        for (size_t i = 0; i < command->groups[g].count; i++) {
            print_option(&command->groups[g].options[i]);
        }
    }
    if (command->examples != NULL) {
        (void)fputs(".PP\n\\fIExamples:\\fR\n.PP\n.nf\n.RS 4\n", stdout);
        print_roff(command->examples);
        (void)fputs(".RE\n.fi\n", stdout);
    }
}

static void print_files(void) {
    static const char *const files[][2] = {
        {"~/.cache/huggingface/hub", "Qwen3-TTS as `timbre pull` and other programs store it; `HF_HOME` moves it."},
        {"~/.local/share/timbre/models", "The denoiser; `XDG_DATA_HOME` moves it."},
        {"~/.local/share/timbre/voices", "Voices that `--voice NAME` finds: a voice file, or a recording with its "
                                         "transcript beside it as NAME.txt."},
        {"~/.cache/timbre", "Weights that were packed for this processor: they can be deleted and are made again."},
        {"/var/lib/timbre-models", "Models for every user and the service (`timbre pull --system`); "
                                   "`TIMBRE_SYSTEM_MODELS` moves it."},
        {"/usr/share/timbre", "Models and voices of a package."},
        {"~/.config/timbre/serve.conf, /etc/timbre/serve.conf", "Options of `timbre serve`."},
        {"~/.local/state/timbre", "What the server keeps: jobs, files, voices."},
    };
    (void)fputs(".SH FILES\n", stdout);
    for (size_t i = 0; i < CLI_LENGTH(files); i++) {
        (void)fputs(".TP\n\\fI", stdout);
        for (const char *c = files[i][0]; *c != '\0'; c++) {
            (void)fputs(*c == '-' ? "\\-" : (char[]){*c, '\0'}, stdout);
        }
        (void)fputs("\\fR\n", stdout);
        print_roff(files[i][1]);
    }
}

void cli_print_man(void) {
    (void)printf(".TH TIMBRE 1 \"\" \"timbre %s\" \"User Commands\"\n.SH NAME\ntimbre, timbre\\-serve \\- voice "
                 "cloning with studio\\-clean sound\n.SH SYNOPSIS\n.B timbre\n.I COMMAND\n[\\fIOPTION\\fR...]\n.SH "
                 "DESCRIPTION\n",
                 tmb_version());
    print_roff(cli_description);
    (void)fputs(".PP\n\"\\-\" is standard input or output wherever a file is named.\n.PP\n.B timbre\\-serve\nis the "
                "program that\n.B timbre serve\nbecomes, and takes the same options.\n.SH COMMANDS\n",
                stdout);
    for (size_t i = 0; i < cli_command_count; i++) {
        print_command(cli_commands[i]);
    }
    (void)fputs(".SH COMMON OPTIONS\n", stdout);
    for (size_t i = 0; i < CLI_LENGTH(cli_common_options); i++) {
        print_option(&cli_common_options[i]);
    }
    (void)fputs(".SH ENVIRONMENT\n", stdout);
    print_roff(cli_environment_help);
    (void)fputs(".SH EXIT STATUS\n", stdout);
    for (size_t i = 0; i < cli_exit_count; i++) {
        (void)printf(".TP\n\\fB%s\\fR\n", cli_exit_help[i].status);
        print_roff(cli_exit_help[i].meaning);
    }
    (void)fputs(".PP\nOf several inputs each is reported, and the highest status counts.\n", stdout);
    print_files();
    (void)fputs(".SH SEE ALSO\n.BR sox (1),\n.BR ffmpeg (1),\n.BR aplay (1),\n.BR espeak\\-ng (1),\n"
                ".BR systemd.service (5)\n",
                stdout);
}
