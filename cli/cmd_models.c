#include "commands.h"
#include "model_details.h"
#include "shared.h"

#include <stdlib.h>
#include <string.h>

typedef struct models_options {
    cli_common common;
    bool packs, prune;
} models_options;

static const cli_option options_of_models[] = {
    {.name = "packs",
     .kind = CLI_FLAG,
     .offset = offsetof(models_options, packs),
     .help = "the packs instead: weights as quantizing made them, kept so that later starts are quick"},
    {.name = "prune",
     .kind = CLI_FLAG,
     .offset = offsetof(models_options, prune),
     .help = "remove the packs that nothing uses any more"},
};

static const cli_group groups[] = {{"Options", options_of_models, CLI_LENGTH(options_of_models), 0}, CLI_COMMON_GROUP};

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
        (void)json_object_set_new(object, "kind", model->kind != NULL ? json_string(model->kind) : json_null());
        (void)json_object_set_new(object, "repository",
                                  model->repository != NULL ? json_string(model->repository) : json_null());
        (void)json_object_set_new(object, "path", cli_json_text(model->path));
        cli_print_json(object);
        return;
    }
    (void)cli_format_bytes(model->bytes, size, sizeof size);
    (void)snprintf(line, sizeof line, "%-26s %9s  %-18s  %s", model->name, size, model->license, model->title);
    cli_print_line(line);
    (void)snprintf(line, sizeof line, "%38s%s", "", model->installed ? model->path : model->reason);
    cli_print_line(line);
}

/* All packs together. */
typedef struct pack_total {
    const models_options *options;
    size_t count, stale;
    uint64_t bytes, stale_bytes;
} pack_total;

static void count_pack(void *user, const tmb_pack_info *pack) {
    pack_total *total = user;
    total->count++;
    total->bytes += pack->bytes;
    total->stale += pack->stale ? 1 : 0;
    total->stale_bytes += pack->stale ? pack->bytes : 0;
}

static void print_pack(void *user, const tmb_pack_info *pack) {
    const pack_total *total = user;
    char size[32], line[6000];
    count_pack(user, pack);
    if (total->options->common.json) {
        json_t *object = json_pack("{s:I, s:b}", "bytes", (json_int_t)pack->bytes, "stale", pack->stale);
        (void)json_object_set_new(object, "pack", cli_json_text(pack->path));
        (void)json_object_set_new(object, "model", cli_json_text(pack->model));
        (void)json_object_set_new(object, "reason", cli_json_text(pack->reason));
        cli_print_json(object);
        return;
    }
    (void)snprintf(line, sizeof line, "%9s  %s", cli_format_bytes(pack->bytes, size, sizeof size), pack->path);
    cli_print_line(line);
    (void)snprintf(line, sizeof line, "%11sof %s%s%s", "", pack->model != NULL ? pack->model : "an unknown model",
                   pack->stale ? "; nothing uses it: " : "", pack->stale ? pack->reason : "");
    cli_print_line(line);
}

/* One line about all packs: what they take, and what could go. */
static void print_total(const pack_total *total) {
    char size[32], stale[32], line[200];
    if (total->options->common.json || total->count == 0) {
        return;
    }
    int used = snprintf(line, sizeof line, "%zu pack%s, %s", total->count, total->count == 1 ? "" : "s",
                        cli_format_bytes(total->bytes, size, sizeof size));
    if (total->stale > 0 && used > 0) {
        (void)snprintf(line + used, sizeof line - (size_t)used, "; nothing uses %s of it: timbre models --prune",
                       cli_format_bytes(total->stale_bytes, stale, sizeof stale));
    }
    cli_print_line(line);
}

static int prune(const models_options *o) {
    tmb_error error = {0};
    tmb_removal removal = {0};
    char size[32], line[100];
    if (tmb_packs_prune_stale(&removal, &error) != TMB_OK) {
        return cli_fail(&error);
    }
    if (o->common.json) {
        cli_print_json(
            json_pack("{s:I, s:I}", "pruned", (json_int_t)removal.files, "bytes", (json_int_t)removal.bytes));
        return CLI_EXIT_OK;
    }
    (void)snprintf(line, sizeof line, "%zu pack%s removed, %s", removal.files, removal.files == 1 ? "" : "s",
                   cli_format_bytes(removal.bytes, size, sizeof size));
    cli_print_line(line);
    return CLI_EXIT_OK;
}

static int run_models(void *options, int count, char **arguments) {
    const models_options *o = options;
    pack_total total = {.options = o};
    tmb_error error = {0};
    if (count > 0 && (o->prune || o->packs)) {
        cli_error("--packs and --prune take no model");
        return CLI_EXIT_USAGE;
    }
    if (count > 0) {
        int worst = CLI_EXIT_OK;
        for (int i = 0; i < count; i++) {
            if (i > 0 && !o->common.json) {
                cli_print_line("");
            }
            int status = cli_print_model_details(arguments[i], o->common.json);
            worst = status > worst ? status : worst;
        }
        return worst;
    }
    if (o->prune) {
        return prune(o);
    }
    tmb_status status = o->packs ? TMB_OK : tmb_models(print_model, options, &error);
    if (status == TMB_OK) {
        status = tmb_packs(o->packs ? print_pack : count_pack, &total, &error);
    }
    if (status != TMB_OK) {
        return cli_fail(&error);
    }
    print_total(&total);
    return CLI_EXIT_OK;
}

const cli_command cli_command_models = {
    .name = "models",
    .summary = "which models there are, where and how big",
    .usage = "[MODEL...] [OPTION...]",
    .description =
        "Lists the models that timbre knows, whether they are installed, their size and licence. Qwen3-TTS is "
        "looked for in the Hugging Face cache. With MODEL (a checkpoint's folder, or a name of the list) it says what "
        "that checkpoint is and can do: its kind, speakers, languages and dialects, and its memory by "
        "precision.\n\nWeights that are quantized at the first start are kept as packs in "
        "$XDG_CACHE_HOME/timbre/packs (~/.cache/timbre/packs), 0.7 GB for the 0.6B model and 1.8 GB for the 1.7B model "
        "at the default precision. They go with their model (`timbre rm`) and can always be removed: the next start "
        "makes what it needs.",
    .examples = "timbre models\ntimbre models ./my-voice 0.6b-customvoice\ntimbre models --json\ntimbre models "
                "--packs\ntimbre models --prune",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(models_options),
    .maximum_arguments = -1,
    .completion = CLI_COMPLETES_MODELS,
    .run = run_models,
};
