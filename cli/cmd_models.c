#include "commands.h"
#include "shared.h"

#include <stdlib.h>
#include <string.h>

typedef struct models_options {
    cli_common common;
} models_options;

static const cli_group groups[] = {CLI_COMMON_GROUP};

static const char *const states[] = {"absent", "incomplete", "complete"};

static void print_model(void *user, const tmb_model_info *model) {
    const models_options *o = user;
    char size[32], line[4600];
    if (o->common.json) {
        json_t *object = json_pack("{s:s, s:s, s:s, s:b, s:I}", "name", model->name, "title", model->title, "license",
                                   model->license, "installed", model->installed, "bytes", (json_int_t)model->bytes);
        (void)json_object_set_new(object, "state", json_string(states[model->state]));
        (void)json_object_set_new(object, "reason", model->reason != NULL ? json_string(model->reason) : json_null());
        (void)json_object_set_new(object, "short_name",
                                  model->short_name != NULL ? json_string(model->short_name) : json_null());
        (void)json_object_set_new(object, "repository",
                                  model->repository != NULL ? json_string(model->repository) : json_null());
        (void)json_object_set_new(object, "path", cli_json_text(model->path));
        cli_print_json(object);
        return;
    }
    (void)cli_format_bytes(model->bytes, size, sizeof(size));
    (void)snprintf(line, sizeof(line), "%-16s %9s  %-18s  %s\n%*s%s", model->name, size, model->license, model->title,
                   28, "", model->installed ? model->path : model->reason);
    cli_print_line(line);
}

static int run_models(void *options, int count, char **arguments) {
    tmb_error error = {0};
    (void)count;
    (void)arguments;
    return tmb_models(print_model, options, &error) == TMB_OK ? CLI_EXIT_OK : cli_fail(&error);
}

const cli_command cli_command_models = {
    .name = "models",
    .summary = "which models there are, where and how big",
    .usage = "[OPTION...]",
    .description =
        "Lists the models that timbre knows, whether they are installed, their size and licence. Qwen3-TTS is "
        "looked for in the Hugging Face cache.",
    .examples = "timbre models\ntimbre models --json",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(models_options),
    .run = run_models,
};
