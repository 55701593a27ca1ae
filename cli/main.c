#include "commands.h"
#include "shared.h"
#include "standard.h"

#include <stdlib.h>
#include <string.h>

const cli_command *const cli_commands[] = {
    &cli_command_clone,      &cli_command_speak,        &cli_command_enhance,      &cli_command_resample,
    &cli_command_info,       &cli_command_voice_create, &cli_command_voice_design, &cli_command_voice_list,
    &cli_command_voice_show, &cli_command_voice_rm,     &cli_command_models,       &cli_command_pull,
    &cli_command_rm,         &cli_command_verify,       &cli_command_tokenize,     &cli_command_doctor,
    &cli_command_serve,      &cli_command_worker,       &cli_command_queue,
};
const size_t cli_command_count = CLI_LENGTH(cli_commands);

const char cli_description[] = "Clones a voice from a short recording and speaks any text with it, with studio-clean "
                               "sound: noise and reverberation "
                               "go out of the recording before it is cloned, and out of what was spoken.";
const char cli_environment_help[] =
    "An option whose help names a variable can be given by it; the option on the command line wins. NO_COLOR turns "
    "colours off. TIMBRE_CPU=generic, avx2, avx512 or amx holds the kernels to that instruction set; another value is "
    "refused. TIMBRE_REMOTE_KEY is the key for --remote-url, TIMBRE_TRANSCRIBE_KEY that for --transcribe-url.";
const cli_exit_meaning cli_exit_help[] = {
    {"0", "success"},
    {"1", "processing or writing failed"},
    {"2", "the command line is wrong"},
    {"3", "an input, or the speech server of --engine remote, cannot be read or is not what it should be"},
    {"4", "a model is missing or does not fit"},
    {"130", "interrupted"},
};
const size_t cli_exit_count = CLI_LENGTH(cli_exit_help);

static void print_overview(FILE *out) {
    const char *bold = cli_style(out, CLI_BOLD), *plain = cli_style(out, CLI_PLAIN);
    (void)fprintf(
        out,
        "timbre: voice cloning with studio-clean sound\n\n%sUsage:%s timbre COMMAND [OPTION...]\n\n%sCommands:%s\n",
        bold, plain, bold, plain);
    for (size_t i = 0; i < cli_command_count; i++) {
        (void)fprintf(out, "  %-14s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    }
    (void)fprintf(out,
                  "\n`timbre COMMAND --help` explains a command; `timbre --version` prints the version.\n"
                  "\"-\" is standard input or output wherever a file is named.\n\n%sExit status:%s\n",
                  bold, plain);
    for (size_t i = 0; i < cli_exit_count; i++) {
        (void)fprintf(out, "  %-4s %s\n", cli_exit_help[i].status, cli_exit_help[i].meaning);
    }
    (void)fputs("Of several inputs each is reported, and the highest status counts.\n", out);
}

/* Commands that are the server's program, which reads their options itself. */
static bool is_server_command(const char *word) {
    return strcmp(word, "serve") == 0 || strcmp(word, "worker") == 0 || strcmp(word, "queue") == 0;
}

/* The command that argv begins with; *words is 1 or 2. */
static const cli_command *find_command(int argc, char **argv, int *words) {
    for (size_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i]->name, *space = strchr(name, ' ');
        size_t first = space != NULL ? (size_t)(space - name) : strlen(name);
        if (strncmp(argv[1], name, first) != 0 || argv[1][first] != '\0') {
            continue;
        }
        *words = space != NULL ? 2 : 1;
        if (space == NULL || (argc > 2 && strcmp(argv[2], space + 1) == 0)) {
            return cli_commands[i];
        }
    }
    return NULL;
}

/* The commands that begin with the word argv[1] and have a second: prints them; their number. */
static size_t print_family(int argc, char **argv, FILE *out) {
    size_t found = 0, length = strlen(argv[1]);
    (void)argc;
    for (size_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i]->name;
        if (strncmp(name, argv[1], length) != 0 || name[length] != ' ') {
            continue;
        }
        if (found++ == 0) {
            (void)fprintf(out, "%sUsage:%s timbre %s COMMAND [OPTION...]\n\n", cli_style(out, CLI_BOLD),
                          cli_style(out, CLI_PLAIN), argv[1]);
        }
        (void)fprintf(out, "  %-14s %s\n", name, cli_commands[i]->summary);
    }
    if (found > 0) {
        (void)fprintf(out, "\n`timbre %s COMMAND --help` explains a command.\n", argv[1]);
    }
    return found;
}

static bool is_family(const char *word) {
    size_t length = strlen(word);
    for (size_t i = 0; i < cli_command_count; i++) {
        if (strncmp(cli_commands[i]->name, word, length) == 0 && cli_commands[i]->name[length] == ' ') {
            return true;
        }
    }
    return false;
}

/* "timbre voice", "timbre voice --help", "timbre voice craete". */
static int handle_family(int argc, char **argv) {
    const char *names[64];
    size_t count = 0, length = strlen(argv[1]);
    if (argc < 3) {
        (void)print_family(argc, argv, stderr);
        return CLI_EXIT_USAGE;
    }
    if (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0 || strcmp(argv[2], "help") == 0) {
        (void)print_family(argc, argv, stdout);
        return CLI_EXIT_OK;
    }
    for (size_t i = 0; i < cli_command_count && count < CLI_LENGTH(names); i++) {
        if (strncmp(cli_commands[i]->name, argv[1], length) == 0 && cli_commands[i]->name[length] == ' ') {
            names[count++] = cli_commands[i]->name + length + 1;
        }
    }
    const char *nearest = cli_nearest(argv[2], names, count);
    if (argv[2][0] == '-') {
        cli_error("unknown option %s: name a command first; `timbre %s --help` lists them", argv[2], argv[1]);
    } else if (nearest != NULL) {
        cli_error("unknown command \"%s %s\"; did you mean \"%s %s\"?", argv[1], argv[2], argv[1], nearest);
    } else {
        cli_error("unknown command \"%s %s\"; `timbre %s --help` lists what there is", argv[1], argv[2], argv[1]);
    }
    return CLI_EXIT_USAGE;
}

static int say_unknown(char **argv) {
    const char *names[64];
    size_t count = 0;
    if (argv[1][0] == '-') {
        cli_error("unknown option %s: `timbre COMMAND %s`? `timbre --help` lists the commands", argv[1], argv[1]);
        return CLI_EXIT_USAGE;
    }
    for (size_t i = 0; i < cli_command_count && count < CLI_LENGTH(names); i++) {
        names[count++] = cli_commands[i]->name;
    }
    const char *nearest = cli_nearest(argv[1], names, count);
    if (nearest != NULL) {
        cli_error("unknown command \"%s\"; did you mean \"%s\"?", argv[1], nearest);
    } else {
        cli_error("unknown command \"%s\"; `timbre --help` lists what there is", argv[1]);
    }
    return CLI_EXIT_USAGE;
}

static bool wants_help(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
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
    if (command->defaults != NULL) {
        command->defaults(options);
    }
    int status = CLI_EXIT_USAGE;
    if (cli_parse(command, options, argc, argv, &first)) {
        const cli_common *common = options;
        cli_set_verbosity(common->quiet, common->verbose);
        status = command->run(options, argc - first, argv + first);
    }
    cli_progress_clear();
    free(options);
    cli_say_interruption();
    return cli_interrupted() ? CLI_EXIT_INTERRUPTED : status;
}

int main(int argc, char **argv) {
    int words = 1, status = CLI_EXIT_OK;
    cli_hold_standard_descriptors();
    /* Before anything has started: the server keeps no thread or handler of ours. */
    if (argc > 1 && is_server_command(argv[1])) {
        return cli_exec_serve(argv[1], argv + 2);
    }
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
    } else if (strcmp(word, "help") == 0 && is_server_command(argv[2])) {
        status = cli_exec_serve(argv[2], (char *[]){(char[]){"--help"}, NULL});
    } else if (strcmp(word, "help") == 0) {
        command = find_command(argc - 1, argv + 1, &words);
        if (command != NULL) {
            cli_print_help(command, stdout);
        } else if (is_family(argv[2]) && argc == 3) {
            (void)print_family(argc - 1, argv + 1, stdout);
        } else {
            status = is_family(argv[2]) ? handle_family(argc - 1, argv + 1) : say_unknown(argv + 1);
        }
    } else if (strcmp(word, "__document") == 0 && argc == 4) {
        status = cli_print_document(argv[2], argv[3]);
    } else if (is_family(word)) {
        status = handle_family(argc, argv);
    } else {
        status = say_unknown(argv);
    }
    if (!cli_flush_output() && status == CLI_EXIT_OK) {
        status = CLI_EXIT_FAILED;
    }
    return status;
}
