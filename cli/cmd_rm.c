#include "commands.h"
#include "shared.h"

#include <stdlib.h>
#include <string.h>

typedef struct rm_options {
    cli_common common;
    bool system;
} rm_options;

static const cli_option options_of_rm[] = {
    {.name = "system",
     .kind = CLI_FLAG,
     .offset = offsetof(rm_options, system),
     .help = "what `timbre pull --system` brought, for all users of this machine"},
};

static const cli_group groups[] = {{"Options", options_of_rm, CLI_LENGTH(options_of_rm), 0}, CLI_COMMON_GROUP};

static int remove_one(const char *name, const rm_options *o) {
    tmb_error error = {0};
    tmb_removal removal = {0};
    char size[32];
    tmb_status status = tmb_remove_model(name, o->system, &removal, &error);
    if (status != TMB_OK) {
        cli_error("%s", error.message);
        if (o->common.json) {
            cli_print_json(json_pack("{s:s, s:b, s:o}", "name", name, "removed", 0, "error", cli_json_error(&error)));
        }
        return status == TMB_ERROR_MODEL || status == TMB_ERROR_ARGUMENT ? CLI_EXIT_MODEL : CLI_EXIT_FAILED;
    }
    if (o->common.json) {
        cli_print_json(json_pack("{s:s, s:b, s:I, s:I, s:I}", "name", name, "removed", 1, "bytes",
                                 (json_int_t)removal.bytes, "files", (json_int_t)removal.files, "kept",
                                 (json_int_t)removal.kept));
        return CLI_EXIT_OK;
    }
    cli_note("%s is removed: %zu files, %s", name, removal.files, cli_format_bytes(removal.bytes, size, sizeof size));
    if (removal.kept != 0) {
        cli_note("%zu files that timbre did not put there are kept", removal.kept);
    }
    return CLI_EXIT_OK;
}

static int run_rm(void *options, int count, char **arguments) {
    int worst = CLI_EXIT_OK;
    for (int i = 0; i < count && !cli_interrupted(); i++) {
        int code = remove_one(arguments[i], options);
        worst = code > worst ? code : worst;
    }
    return worst;
}

const cli_command cli_command_rm = {
    .name = "rm",
    .summary = "remove a downloaded model",
    .usage = "MODEL... [OPTION...]",
    .description =
        "Removes what `timbre pull` wrote of a model, and the packs that were made of it. A file in the Hugging Face "
        "cache that something else there leads to stays, and so does whatever other programs put into the model's "
        "folder. A folder that you made yourself is never touched. MODEL is a name as `timbre models` lists it, or a "
        "repository's name.",
    .examples = "timbre rm 1.7b\ntimbre rm --system qwen3-tts-0.6b",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(rm_options),
    .minimum_arguments = 1,
    .maximum_arguments = -1,
    .run = run_rm,
};
