#include "commands.h"
#include "official.h"
#include "shared.h"

#include <stdlib.h>
#include <string.h>

typedef struct verify_options {
    cli_common common;
    bool official;
    cli_official comparison;
} verify_options;

static const cli_option options_of_verify[] = {
    {.name = "official",
     .kind = CLI_FLAG,
     .offset = offsetof(verify_options, official),
     .help = "also compare with the official Python package (qwen-tts, which --python must have): greedy codes and "
             "waves in f32, the codec's and the language model's precisions against f32. Needs --ref"},
    {.name = "ref",
     .kind = CLI_FILE,
     .offset = offsetof(verify_options, comparison.reference),
     .argument = "FILE",
     .help = "a recording to compare with, 3 to 30 s"},
    {.name = "ref-text",
     .kind = CLI_TEXT,
     .offset = offsetof(verify_options, comparison.reference_text),
     .argument = "TEXT",
     .help = "its transcript: in-context cloning is compared too"},
    {.name = "python",
     .kind = CLI_FILE,
     .offset = offsetof(verify_options, comparison.python),
     .argument = "PROGRAM",
     .help = "the Python that has qwen-tts (python3)"},
    {.name = "official-script",
     .kind = CLI_FILE,
     .offset = offsetof(verify_options, comparison.script),
     .argument = "FILE",
     .help = "verify_real.py, if it is not where timbre was installed"},
    {.name = "frames",
     .kind = CLI_INTEGER,
     .offset = offsetof(verify_options, comparison.frames),
     .argument = "N",
     .minimum = 2,
     .maximum = 1000,
     .help = "frames of 80 ms that each comparison speaks (25)"},
};

static const cli_group groups[] = {{"Options", options_of_verify, CLI_LENGTH(options_of_verify), 0}, CLI_COMMON_GROUP};

static void set_defaults(void *options) {
    verify_options *o = options;
    o->comparison.python = "python3";
    o->comparison.frames = 25;
}

static const char *const verdicts[] = {"ok", "note", "fault"};

typedef struct report {
    bool json;
    json_t *checks;
    size_t counts[3]; /* by verdict */
} report;

static void add(report *r, const char *name, tmb_verify_verdict verdict, const char *detail) {
    static const cli_style_kind styles[] = {CLI_BOLD, CLI_YELLOW, CLI_RED};
    char line[1600];
    r->counts[verdict]++;
    if (r->json) {
        json_t *object = json_pack("{s:s}", "verdict", verdicts[verdict]);
        (void)json_object_set_new(object, "name", cli_json_text(name));
        (void)json_object_set_new(object, "detail", cli_json_text(detail));
        (void)json_array_append_new(r->checks, object);
        return;
    }
    cli_progress_clear();
    (void)snprintf(line, sizeof line, "%s%-5s%s  %-36s %s", cli_style(stdout, styles[verdict]), verdicts[verdict],
                   cli_style(stdout, CLI_PLAIN), name, detail);
    cli_print_line(line);
}

static bool take_check(void *user, const tmb_verify_check *check) {
    add(user, check->name, check->verdict, check->detail);
    return !cli_interrupted();
}

static void take_official(void *user, const json_t *check) {
    const char *verdict = json_string_value(json_object_get(check, "verdict"));
    const char *detail = json_string_value(json_object_get(check, "detail"));
    tmb_verify_verdict found = TMB_VERIFY_FAULT;
    for (int i = 0; i < 3; i++) {
        found = verdict != NULL && strcmp(verdict, verdicts[i]) == 0 ? (tmb_verify_verdict)i : found;
    }
    add(user, json_string_value(json_object_get(check, "name")), found, detail != NULL ? detail : "");
}

static bool show_progress(void *user, uint64_t done, uint64_t total) {
    char have[32], all[32];
    (void)user;
    cli_progress(total > 0 ? (double)done / (double)total : -1, "%s of %s", cli_format_bytes(done, have, sizeof have),
                 cli_format_bytes(total, all, sizeof all));
    return !cli_interrupted();
}

/* The comparison with the official package; CLI_EXIT_FAILED when it could not be made. */
static int compare(const verify_options *o, const char *model, report *r) {
    cli_official comparison = o->comparison;
    tmb_error error = {0};
    char *folder = NULL;
    if (tmb_find_model(model, NULL, &folder, &error) != TMB_OK) {
        return cli_fail(&error);
    }
    comparison.model = folder;
    bool ran = cli_run_official(&comparison, take_official, r);
    tmb_free(folder);
    return ran ? CLI_EXIT_OK : CLI_EXIT_FAILED;
}

static int run_verify(void *options, int count, char **arguments) {
    const verify_options *o = options;
    report r = {.json = o->common.json, .checks = json_array()};
    const tmb_verify_request request = {.struct_size = sizeof request,
                                        .model = count > 0 ? arguments[0] : NULL,
                                        .each = take_check,
                                        .progress = show_progress,
                                        .user = &r};
    tmb_error error = {0};
    char line[120];
    if (o->official && o->comparison.reference == NULL) {
        cli_error("--official needs a recording: --ref FILE");
        json_decref(r.checks);
        return CLI_EXIT_USAGE;
    }
    tmb_status status = tmb_verify_model(&request, NULL, &error);
    cli_progress_clear();
    int code = CLI_EXIT_OK;
    if (status != TMB_OK) {
        code = cli_exit_of_model(status);
        if (!cli_interrupted()) {
            cli_error("%s", error.message);
        }
    } else if (o->official) {
        code = compare(o, request.model, &r);
    }
    size_t faults = r.counts[TMB_VERIFY_FAULT];
    if (o->common.json) {
        json_t *object = json_pack("{s:b, s:I, s:O}", "ok", code == CLI_EXIT_OK && faults == 0, "faults",
                                   (json_int_t)faults, "checks", r.checks);
        if (status != TMB_OK) {
            (void)json_object_set_new(object, "error", cli_json_error(&error));
        }
        cli_print_json(object);
    } else if (status == TMB_OK) {
        (void)snprintf(line, sizeof line, "%zu checks: %zu in order, %zu notes, %zu faults",
                       r.counts[0] + r.counts[1] + r.counts[2], r.counts[0], r.counts[1], faults);
        cli_print_line(line);
    }
    json_decref(r.checks);
    return code == CLI_EXIT_OK && faults > 0 ? CLI_EXIT_MODEL : code;
}

const cli_command cli_command_verify = {
    .name = "verify",
    .summary = "check that a model is what it should be",
    .usage = "[MODEL] [OPTION...]",
    .description =
        "Examines a model file by file: sizes and SHA-256 of the released checkpoints, names, shapes and types of all "
        "tensors, NaN and infinity, the tokenizer on known texts, the values of the configuration. MODEL is a name, a "
        "repository's name or a folder (also a damaged one); \"dfn3\" or an archive is the denoiser; without it, the "
        "smallest Qwen3-TTS model that is installed. A checkpoint that was not released is examined too, but for "
        "checksums.\n\n"
        "The exit status is 0 when nothing is wrong, 4 when something is or the model is not there, 1 when the "
        "comparison that --official asks for could not be made.",
    .examples =
        "timbre verify 0.6b\ntimbre verify ./checkpoint --json\n"
        "timbre verify 0.6b --official --python ./venv/bin/python --ref me.wav --ref-text \"What I say in it.\"",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(verify_options),
    .defaults = set_defaults,
    .minimum_arguments = 0,
    .maximum_arguments = 1,
    .run = run_verify,
};
