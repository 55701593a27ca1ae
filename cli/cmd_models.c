#include "commands.h"
#include "shared.h"

#include <stdlib.h>
#include <string.h>

enum { MAXIMUM_MODELS = 32 };

typedef struct models_options {
    cli_common common;
} models_options;

static const cli_group groups[] = {CLI_COMMON_GROUP};

static void print_model(void *user, const tmb_model_info *model) {
    const models_options *o = user;
    char size[32], line[4600];
    if (o->common.json) {
        json_t *object = json_pack("{s:s, s:s, s:s, s:b, s:I}", "name", model->name, "title", model->title, "license",
                                   model->license, "installed", model->installed, "bytes", (json_int_t)model->bytes);
        (void)json_object_set_new(object, "path", model->path != NULL ? json_string(model->path) : json_null());
        cli_print_json(object);
        return;
    }
    (void)cli_format_bytes(model->bytes, size, sizeof(size));
    if (model->installed)
        (void)snprintf(line, sizeof(line), "%-16s %8s  %-10s  %s\n%*s%s", model->name, size, model->license,
                       model->title, 40, "", model->path != NULL ? model->path : "");
    else
        (void)snprintf(line, sizeof(line), "%-16s %8s  %-10s  %s\n%*snot installed: timbre pull %s", model->name, size,
                       model->license, model->title, 40, "", model->name);
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

typedef struct names {
    const char *names[MAXIMUM_MODELS];
    size_t count;
} names;

static void add_name(void *user, const tmb_model_info *model) {
    names *list = user;
    if (list->count < MAXIMUM_MODELS)
        list->names[list->count++] = model->name;
}

/* Where the running download was when its speed was last looked at. */
typedef struct download {
    double since;
    uint64_t at_start;
    char file[256];
} download;

static bool show_download(void *user, const char *file, uint64_t done, uint64_t total) {
    download *d = user;
    char have[32], all[32], speed[32];
    double now = cli_now();
    const char *name = strrchr(file, '/');
    name = name != NULL ? name + 1 : file;
    if (strcmp(d->file, name) != 0) {
        (void)snprintf(d->file, sizeof(d->file), "%s", name);
        d->since = now;
        d->at_start = done;
    }
    double elapsed = now - d->since;
    uint64_t per_second = elapsed > 0.2 && done > d->at_start ? (uint64_t)((double)(done - d->at_start) / elapsed) : 0;
    cli_progress(total > 0 ? (double)done / (double)total : -1, "%s of %s, %s/s  %s",
                 cli_format_bytes(done, have, sizeof(have)),
                 total > 0 ? cli_format_bytes(total, all, sizeof(all)) : "?",
                 cli_format_bytes(per_second, speed, sizeof(speed)), name);
    return !cli_interrupted();
}

static int run_pull(void *options, int count, char **arguments) {
    const models_options *o = options;
    int worst = CLI_EXIT_OK;
    for (int i = 0; i < count && !cli_interrupted(); i++) {
        tmb_error error = {0};
        names known = {0};
        download d = {0};
        bool found = false;
        (void)tmb_models(add_name, &known, NULL);
        for (size_t k = 0; k < known.count; k++)
            found = found || strcmp(known.names[k], arguments[i]) == 0;
        if (!found && known.count > 0) {
            const char *nearest = cli_nearest(arguments[i], known.names, known.count);
            cli_error("no such model: %s; %s%s%s", arguments[i], nearest != NULL ? "did you mean " : "",
                      nearest != NULL ? nearest : "`timbre models` lists what there is", nearest != NULL ? "?" : "");
            worst = worst > CLI_EXIT_MODEL ? worst : CLI_EXIT_MODEL;
            continue;
        }
        tmb_status status = tmb_pull(arguments[i], show_download, &d, &error);
        cli_progress_clear();
        if (status == TMB_OK) {
            if (o->common.json)
                cli_print_json(json_pack("{s:s, s:b}", "name", arguments[i], "installed", 1));
            else
                cli_note("%s is installed", arguments[i]);
            continue;
        }
        if (!cli_interrupted())
            cli_error("%s", error.message);
        if (o->common.json)
            cli_print_json(json_pack("{s:s, s:o}", "name", arguments[i], "error", cli_json_error(&error)));
        /* A download that fails is no unreadable input. */
        int code = status == TMB_ERROR_MODEL      ? CLI_EXIT_MODEL
                   : status == TMB_ERROR_ARGUMENT ? CLI_EXIT_USAGE
                                                  : CLI_EXIT_FAILED;
        worst = code > worst ? code : worst;
    }
    return worst;
}

const cli_command cli_command_pull = {
    .name = "pull",
    .summary = "download a model",
    .usage = "MODEL... [OPTION...]",
    .description =
        "Downloads a model into the Hugging Face cache, where other programs find it too. A download that was "
        "interrupted goes on where it stopped. `timbre models` lists the names.",
    .examples = "timbre pull qwen3-tts-0.6b",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(models_options),
    .minimum_arguments = 1,
    .maximum_arguments = -1,
    .run = run_pull,
};
