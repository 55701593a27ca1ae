#include "commands.h"
#include "model_details.h"
#include "shared.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct doctor_options {
    cli_common common;
    cli_runtime runtime;
    cli_engine engine;
} doctor_options;

static const cli_group groups[] = {
    {"Running", cli_runtime_options, CLI_LENGTH(cli_runtime_options), offsetof(doctor_options, runtime)},
    {"Engine", cli_engine_options, CLI_LENGTH(cli_engine_options), offsetof(doctor_options, engine)},
    CLI_COMMON_GROUP,
};

typedef struct report {
    const doctor_options *options;
    json_t *checks; /* [{name, ok, needed, detail}] */
    json_t *models; /* what those of --model are and can do */
    int status;
    bool clones, previews, slow; /* for the verdict */
} report;

/* One line. What is needed and not `ok` decides the exit status; what is not needed is only reported. */
static void add(report *r, const char *name, bool ok, bool needed, int status, const char *detail) {
    const char *mark = ok ? "ok" : needed ? "FAIL" : "none";
    char line[2200];
    if (!ok && needed && status > r->status) {
        r->status = status;
    }
    if (r->options->common.json) {
        (void)json_array_append_new(r->checks, json_pack("{s:s, s:b, s:b, s:o}", "name", name, "ok", ok, "needed",
                                                         needed, "detail", cli_json_text(detail)));
        return;
    }
    (void)snprintf(line, sizeof line, "%s%-4s%s  %-18s %s",
                   cli_style(stdout, ok       ? CLI_BOLD
                                     : needed ? CLI_RED
                                              : CLI_DIM),
                   mark, cli_style(stdout, CLI_PLAIN), name, detail);
    cli_print_line(line);
}

static void add_model(void *user, const tmb_model_info *model) {
    char size[32], detail[1024];
    report *r = user;
    r->clones = r->clones || (model->installed && model->kind != NULL && strcmp(model->kind, "base") == 0);
    (void)cli_format_bytes(model->bytes, size, sizeof size);
    if (model->installed) {
        (void)snprintf(detail, sizeof detail, "%s, %s", size, model->path != NULL ? model->path : "");
    } else {
        (void)snprintf(detail, sizeof detail, "%s; licence %s", model->reason, model->license);
    }
    add(user, model->name, model->installed, false, CLI_EXIT_MODEL, detail);
}

/* The checkpoints that --model names: what they are and can do. */
static void check_models(report *r, const cli_list *models) {
    for (size_t i = 0; i < models->count; i++) {
        const char *model = cli_model_path(models->items[i]);
        tmb_error error = {0};
        char detail[2000], name[40] = "model";
        if (models->count > 1) {
            (void)snprintf(name, sizeof name, "model %zu", i + 1);
        }
        bool ok = cli_describe_model(model, detail, sizeof detail, &error);
        add(r, name, ok, true, cli_exit_of_model(error.status), ok ? detail : error.message);
        if (ok && r->options->common.json) {
            (void)json_array_append_new(r->models, cli_model_json(model, &error));
        }
    }
}

static void check_denoiser(report *r, tmb_context *context) {
    tmb_enhance_options options;
    tmb_enhance_stream *stream = NULL;
    tmb_error error = {0};
    tmb_enhance_options_default(&options);
    bool ok = tmb_enhance_open(context, &options, &stream, &error) == TMB_OK;
    add(r, "denoiser", ok, true, cli_exit_of_model(error.status), ok ? "DeepFilterNet3 loads" : error.message);
    tmb_enhance_close(&stream);
}

static void check_resamplers(report *r, tmb_context *context) {
    for (int kind = TMB_RESAMPLER_SOXR; kind <= TMB_RESAMPLER_SINC; kind++) {
        tmb_resample_stream *stream = NULL;
        tmb_error error = {0};
        char name[40];
        bool ok = tmb_resample_open(context, 44100, 48000, (tmb_resampler_kind)kind, &stream, &error) == TMB_OK;
        (void)snprintf(name, sizeof name, "resampler %s", cli_resamplers[kind]);
        add(r, name, ok, false, CLI_EXIT_FAILED, ok ? "works" : error.message);
        tmb_resample_close(&stream);
    }
}

static bool write_and_read(const char *path, tmb_container container, tmb_error *error) {
    static const float silence[4800];
    tmb_audio_writer *writer = NULL;
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    float samples[512];
    size_t count = 0;
    bool ok = tmb_audio_create(path, container, TMB_ENCODING_S16, 48000, 1, &writer, error) == TMB_OK;
    ok = ok && tmb_audio_write(writer, silence, CLI_LENGTH(silence), error) == TMB_OK;
    if (ok) {
        ok = tmb_audio_finish(&writer, error) == TMB_OK;
    } else if (writer != NULL) {
        tmb_audio_abort(&writer);
    }
    ok = ok && tmb_audio_open(path, NULL, NULL, &reader, &info, error) == TMB_OK &&
         tmb_audio_read(reader, samples, CLI_LENGTH(samples), &count, error) == TMB_OK && count > 0;
    tmb_audio_close(&reader);
    (void)unlink(path);
    return ok;
}

static void check_formats(report *r) {
    const char *temporary = getenv("TMPDIR");
    char folder[512], path[600], name[40];
    (void)snprintf(folder, sizeof folder, "%s/timbre-doctor-XXXXXX",
                   temporary != NULL && *temporary != '\0' ? temporary : "/tmp");
    if (mkdtemp(folder) == NULL) {
        add(r, "temporary files", false, true, CLI_EXIT_FAILED, strerror(errno));
        return;
    }
    for (int container = TMB_CONTAINER_WAV; container <= TMB_CONTAINER_MP3; container++) {
        tmb_error error = {0};
        const char *ending = cli_container_ending((tmb_container)container);
        (void)snprintf(path, sizeof path, "%s/check.%s", folder, ending);
        bool ok = write_and_read(path, (tmb_container)container, &error);
        (void)snprintf(name, sizeof name, "format %s", ending);
        add(r, name, ok, container == TMB_CONTAINER_WAV, CLI_EXIT_FAILED, ok ? "written and read back" : error.message);
    }
    (void)rmdir(folder);
}

/* The program's path in PATH, or false. */
static bool find_program(const char *program, char *out, size_t size) {
    const char *path = getenv("PATH");
    while (path != NULL && *path != '\0') {
        size_t length = strcspn(path, ":");
        (void)snprintf(out, size, "%.*s/%s", (int)length, path, program);
        if (length > 0 && access(out, X_OK) == 0) {
            return true;
        }
        path += length + (path[length] == ':');
    }
    return false;
}

/* What works here, in one line, and what to do about the rest. */
static void describe_verdict(const report *r, const doctor_options *o, char *out, size_t size) {
    bool named = o->engine.models.count > 0 || (o->engine.engine != NULL && strcmp(o->engine.engine, "remote") == 0);
    const char *what;
    if (r->status != CLI_EXIT_OK) {
        what = r->status == CLI_EXIT_MODEL ? "timbre does not work yet: a model is missing; run `timbre pull dfn3`"
                                           : "timbre does not work yet: see what is marked FAIL";
    } else if (r->clones || named) {
        what = "all is there: recordings are cleaned and voices cloned";
    } else if (r->previews) {
        what =
            "recordings are cleaned, but no voice is cloned: a preview voice speaks until you run `timbre pull 0.6b`";
    } else {
        what = "recordings are cleaned, but nothing speaks: run `timbre pull 0.6b`";
    }
    (void)snprintf(out, size, "Verdict: %s%s", what,
                   r->slow ? "; slowly, since this processor (or TIMBRE_CPU) has no AVX2" : "");
}

static int run_doctor(void *options, int count, char **arguments) {
    const doctor_options *o = options;
    report r = {.options = o, .checks = json_array(), .models = json_array()};
    tmb_context *context = NULL;
    tmb_error error = {0};
    char detail[600];
    (void)count;
    (void)arguments;
    add(&r, "version", true, true, 0, tmb_version());
    (void)snprintf(detail, sizeof detail, "%s, %d processors for this process", tmb_cpu_level(), tmb_cpu_threads());
    r.slow = strcmp(tmb_cpu_level(), "generic") == 0;
    if (r.slow) {
        (void)snprintf(detail + strlen(detail), sizeof detail - strlen(detail),
                       "; portable kernels: several times slower than with AVX2");
    }
    add(&r, "cpu", !r.slow, false, 0, detail);
    bool gpu = tmb_describe_gpu(0, detail, sizeof detail, &error) == TMB_OK;
    add(&r, "gpu", gpu, false, 0, gpu ? detail : error.message);
    int opened = cli_open(&o->runtime, &o->engine, NULL, &context);
    if (opened == CLI_EXIT_OK) {
        tmb_statistics statistics;
        tmb_get_statistics(context, &statistics);
        (void)cli_format_bytes(statistics.memory_budget, detail, sizeof detail);
        add(&r, "memory budget", true, true, 0, detail);
        add(&r, "engine", true, true, 0, statistics.engine != NULL ? statistics.engine : "chosen at first use");
        check_denoiser(&r, context);
        check_resamplers(&r, context);
    } else {
        add(&r, "library", false, true, opened, "cannot be opened with these options");
    }
    tmb_close(&context);
    check_models(&r, &o->engine.models);
    if (tmb_models(add_model, &r, &error) != TMB_OK) {
        add(&r, "models", false, true, CLI_EXIT_FAILED, error.message);
    }
    bool espeak = find_program("espeak-ng", detail, sizeof detail);
    add(&r, "preview voice", espeak, false, 0,
        espeak ? detail : "espeak-ng is not installed; the package of this name has it");
    r.previews = espeak;
    check_formats(&r);
    char verdict[400];
    describe_verdict(&r, o, verdict, sizeof verdict);
    if (!o->common.json) {
        cli_print_line(verdict);
    }
    if (o->common.json) {
        cli_print_json(json_pack("{s:b, s:s, s:O, s:O}", "ok", r.status == CLI_EXIT_OK, "verdict", verdict, "checks",
                                 r.checks, "models", r.models));
    }
    json_decref(r.checks);
    json_decref(r.models);
    return r.status;
}

const cli_command cli_command_doctor = {
    .name = "doctor",
    .summary = "check this installation",
    .usage = "[OPTION...]",
    .description =
        "Checks what timbre needs: processor, memory, denoiser, resamplers, models, preview voice, audio formats "
        "(each is written and read back). \"none\" marks what is missing and optional. With --model it also says what "
        "that checkpoint is and can do: its kind, speakers, languages and dialects, and its memory by precision.",
    .examples = "timbre doctor\ntimbre doctor --json\ntimbre doctor --model ./my-voice",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(doctor_options),
    .run = run_doctor,
};
