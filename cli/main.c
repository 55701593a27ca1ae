#include "commands.h"
#include "shared.h"

#include <stdlib.h>
#include <string.h>

const cli_command *const cli_commands[] = {
    &cli_command_clone,  &cli_command_enhance, &cli_command_resample, &cli_command_info,   &cli_command_voice_create,
    &cli_command_models, &cli_command_pull,    &cli_command_tokenize, &cli_command_doctor, &cli_command_serve,
};
const size_t cli_command_count = CLI_LENGTH(cli_commands);

const char cli_description[] = "Clones a voice from a short recording and speaks any text with it, with studio-clean "
                               "sound: noise and reverberation "
                               "go out of the recording before it is cloned, and out of what was spoken.";
const char cli_environment_help[] =
    "Options marked [environment: NAME] can be given by that variable; the option on the command line wins. NO_COLOR "
    "turns colours off. TIMBRE_CPU=generic, avx2 or avx512 holds the kernels to that instruction set.";
const char cli_exit_help[] =
    "0 success; 1 processing or writing failed; 2 the command line is wrong; 3 an input cannot be read; 4 a model is "
    "missing; 130 interrupted. Of several inputs each is reported, and the highest status counts.";

static void print_overview(FILE *out) {
    const char *bold = cli_style(out, CLI_BOLD), *plain = cli_style(out, CLI_PLAIN);
    (void)fprintf(
        out,
        "timbre: voice cloning with studio-clean sound\n\n%sUsage:%s timbre COMMAND [OPTION...]\n\n%sCommands:%s\n",
        bold, plain, bold, plain);
    for (size_t i = 0; i < cli_command_count; i++)
        (void)fprintf(out, "  %-14s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    (void)fprintf(out,
                  "\n`timbre COMMAND --help` explains a command; `timbre --version` prints the version.\n"
                  "\"-\" is standard input or output wherever a file is named.\n\n%sExit status:%s %s\n",
                  bold, plain, cli_exit_help);
}

/* The command that argv begins with; *words is 1 or 2. */
static const cli_command *find_command(int argc, char **argv, int *words) {
    for (size_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i]->name, *space = strchr(name, ' ');
        size_t first = space != NULL ? (size_t)(space - name) : strlen(name);
        if (strncmp(argv[1], name, first) != 0 || argv[1][first] != '\0')
            continue;
        *words = space != NULL ? 2 : 1;
        if (space == NULL || (argc > 2 && strcmp(argv[2], space + 1) == 0))
            return cli_commands[i];
    }
    return NULL;
}

static int say_unknown(int argc, char **argv) {
    const char *names[64];
    size_t count = 0;
    for (size_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i]->name;
        size_t length = strlen(argv[1]);
        if (strncmp(name, argv[1], length) == 0 && name[length] == ' ') {
            /* The first of two words: only the second can be wrong. */
            if (argc > 2 && argv[2][0] != '-')
                cli_error("unknown command \"%s %s\"; did you mean \"%s\"?", argv[1], argv[2], name);
            else
                cli_print_help(cli_commands[i], stderr);
            return CLI_EXIT_USAGE;
        }
        names[count++] = name;
    }
    const char *nearest = cli_nearest(argv[1], names, count);
    if (nearest != NULL)
        cli_error("unknown command \"%s\"; did you mean \"%s\"?", argv[1], nearest);
    else
        cli_error("unknown command \"%s\"; `timbre --help` lists what there is", argv[1]);
    return CLI_EXIT_USAGE;
}

static bool wants_help(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static int run(const cli_command *command, int argc, char **argv) {
    int first = 0;
    if (wants_help(argc, argv)) {
        cli_print_help(command, stdout);
        return CLI_EXIT_OK;
    }
    void *options = calloc(1, command->options_size);
    if (options == NULL) {
        cli_error("no memory");
        return CLI_EXIT_FAILED;
    }
    if (command->defaults != NULL)
        command->defaults(options);
    int status = CLI_EXIT_USAGE;
    if (cli_parse(command, options, argc, argv, &first)) {
        const cli_common *common = options;
        cli_set_verbosity(common->quiet, common->verbose);
        status = command->run(options, argc - first, argv + first);
    }
    cli_progress_clear();
    free(options);
    return cli_interrupted() ? CLI_EXIT_INTERRUPTED : status;
}

int main(int argc, char **argv) {
    int words = 1, status = CLI_EXIT_OK;
    /* Before anything has started: the server keeps no thread or handler of ours. */
    if (argc > 1 && strcmp(argv[1], "serve") == 0)
        return cli_exec_serve(argv + 1);
    if (!cli_catch_signals()) {
        cli_error("the system refused to set up signal handling");
        return CLI_EXIT_FAILED;
    }
    if (argc < 2) {
        print_overview(stderr);
        return CLI_EXIT_USAGE;
    }
    const char *word = argv[1];
    const cli_command *command = find_command(argc, argv, &words);
    if (command != NULL) {
        argv[words] = argv[0];
        status = run(command, argc - words, argv + words);
    } else if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0 || strcmp(word, "version") == 0) {
        (void)printf("timbre %s\n", tmb_version());
    } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || (strcmp(word, "help") == 0 && argc == 2)) {
        print_overview(stdout);
    } else if (strcmp(word, "help") == 0 && strcmp(argv[2], "serve") == 0) {
        status = cli_exec_serve((char *[]){argv[0], (char[]){"--help"}, NULL});
    } else if (strcmp(word, "help") == 0) {
        command = find_command(argc - 1, argv + 1, &words);
        if (command != NULL)
            cli_print_help(command, stdout);
        else
            status = say_unknown(argc - 1, argv + 1);
    } else if (strcmp(word, "__document") == 0 && argc == 4) {
        status = cli_print_document(argv[2], argv[3]);
    } else {
        status = say_unknown(argc, argv);
    }
    if (!cli_flush_output() && status == CLI_EXIT_OK)
        status = CLI_EXIT_FAILED;
    return status;
}
