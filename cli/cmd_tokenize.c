#include "commands.h"
#include "shared.h"

#include <stdlib.h>
#include <string.h>

enum { MAXIMUM_TEXT = 64 * 1024 * 1024 };

typedef struct tokenize_options {
    cli_common common;
    const char *model;
    bool lines;
} tokenize_options;

static const cli_option own_options[] = {
    {.name = "model",
     .kind = CLI_FOLDER,
     .offset = offsetof(tokenize_options, model),
     .argument = "DIR",
     .environment = "TIMBRE_MODEL",
     .help = "folder of a Qwen3-TTS checkpoint (needed)"},
    {.name = "lines",
     .kind = CLI_FLAG,
     .offset = offsetof(tokenize_options, lines),
     .help = "each line of standard input is a text of its own"},
};
static const cli_group groups[] = {{"Tokenizing", own_options, CLI_LENGTH(own_options), 0}, CLI_COMMON_GROUP};

static int print_tokens(const char *model, const char *text, size_t size) {
    tmb_error error = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    if (tmb_tokenize(model, text, size, &ids, &count, &error) != TMB_OK) {
        (void)cli_fail(&error);
        return cli_exit_of_model(error.status);
    }
    (void)putchar('[');
    for (size_t i = 0; i < count; i++) {
        (void)printf("%s%d", i > 0 ? ", " : "", ids[i]);
    }
    (void)puts("]");
    tmb_free(ids);
    return CLI_EXIT_OK;
}

static int run_tokenize(void *options, int count, char **arguments) {
    const tokenize_options *o = options;
    int worst = CLI_EXIT_OK;
    if (o->model == NULL) {
        cli_error("whose tokenizer? --model DIR");
        return CLI_EXIT_USAGE;
    }
    for (int i = 0; i < count && !o->lines; i++) {
        int status = print_tokens(o->model, arguments[i], strlen(arguments[i]));
        worst = status > worst ? status : worst;
    }
    if (count > 0 && !o->lines) {
        return worst;
    }
    if (count > 0) {
        cli_error("--lines reads standard input and takes no text");
        return CLI_EXIT_USAGE;
    }
    size_t size;
    char *text = cli_read_text("-", MAXIMUM_TEXT, &size);
    if (text == NULL) {
        return CLI_EXIT_INPUT;
    }
    if (!o->lines) {
        worst = print_tokens(o->model, text, size);
    }
    for (size_t start = 0; o->lines && start < size && !cli_interrupted();) {
        const char *end = memchr(text + start, '\n', size - start);
        size_t length = end != NULL ? (size_t)(end - text) - start : size - start;
        int status = print_tokens(o->model, text + start, length);
        worst = status > worst ? status : worst;
        start += length + 1;
    }
    free(text);
    return worst;
}

const cli_command cli_command_tokenize = {
    .name = "tokenize",
    .summary = "show the token ids of a text",
    .usage = "--model DIR [TEXT...] [OPTION...]",
    .description =
        "Prints the ids that a checkpoint's tokenizer makes of each TEXT, as a JSON list a line. Without TEXT, "
        "standard input is one text, or with --lines one a line.",
    .examples =
        "timbre tokenize --model ./checkpoint \"Hello there.\"\ntimbre tokenize --model ./checkpoint --lines < texts",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(tokenize_options),
    .maximum_arguments = -1,
    .run = run_tokenize,
};
