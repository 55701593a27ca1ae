#include "claims.h"
#include "commands.h"
#include "loudness.h"
#include "shared.h"
#include "speech.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct info_options {
    cli_common common;
    bool measure, speech;
    const char *ref_text;
    cli_runtime runtime;
    tmb_audio_limits limits;
} info_options;

static const cli_option own_options[] = {
    {.name = "measure",
     .letter = 'm',
     .kind = CLI_FLAG,
     .offset = offsetof(info_options, measure),
     .help = "decode the whole file: exact length, peak, level and loudness"},
    {.name = "speech",
     .letter = 's',
     .kind = CLI_FLAG,
     .offset = offsetof(info_options, speech),
     .help =
         "judge it as a recording to clone: how much speech, its level, noise before and after cleaning, clipping, and "
         "what to do about them; the exit status is 3 if there is no speech in it"},
    {.name = "ref-text",
     .kind = CLI_TEXT,
     .offset = offsetof(info_options, ref_text),
     .argument = "TEXT",
     .help = "with --speech: whether this transcript can be what is said"},
};
static const cli_group groups[] = {
    {"Information", own_options, CLI_LENGTH(own_options), 0},
    {"Information", cli_reading_options, CLI_LENGTH(cli_reading_options), offsetof(info_options, limits)},
    {"Running", cli_runtime_options, CLI_LENGTH(cli_runtime_options), offsetof(info_options, runtime)},
    CLI_COMMON_GROUP,
};

static tmb_status measure(tmb_audio_reader *reader, const tmb_audio_info *info, cli_loudness *loudness,
                          tmb_error *error) {
    enum { CHUNK = 8192 };
    float *samples = calloc((size_t)CHUNK * (size_t)info->channels, sizeof(float));
    tmb_status status = samples != NULL ? TMB_OK : TMB_ERROR_MEMORY;
    for (size_t count = 1; status == TMB_OK && count > 0 && !cli_interrupted();) {
        status = tmb_audio_read(reader, samples, CHUNK, &count, error);
        if (status == TMB_OK) {
            cli_loudness_push(loudness, samples, count);
        }
    }
    free(samples);
    return status;
}

static void print_json(const char *path, const tmb_audio_reader *reader, const tmb_audio_info *info,
                       const cli_loudness *loudness) {
    uint64_t length = loudness != NULL ? cli_loudness_length(loudness) : info->length;
    json_t *object = json_pack("{s:o, s:s, s:i, s:i, s:I}", "input", cli_json_text(path), "format", info->format,
                               "sample_rate", info->rate, "channels", info->channels, "samples", (json_int_t)length);
    (void)json_object_set_new(object, "duration", cli_json_number((double)length / info->rate, 6));
    if (loudness != NULL) {
        (void)json_object_set_new(object, "peak", cli_json_number(cli_loudness_peak(loudness), 2));
        (void)json_object_set_new(object, "level", cli_json_number(cli_loudness_rms(loudness), 2));
        (void)json_object_set_new(object, "loudness", cli_json_number(cli_loudness_integrated(loudness), 2));
    }
    cli_tell_warnings(path, reader, object);
    cli_print_json(object);
}

static void print_text(const char *path, const tmb_audio_reader *reader, const tmb_audio_info *info,
                       const cli_loudness *loudness) {
    uint64_t length = loudness != NULL ? cli_loudness_length(loudness) : info->length;
    char line[512], time[32];
    int used = snprintf(line, sizeof line, "%s: %s, %d Hz, %d channel%s", path, info->format, info->rate,
                        info->channels, info->channels == 1 ? "" : "s");
    double seconds = (double)length / info->rate;
    if (length > 0 && used > 0 && (size_t)used < sizeof line) {
        used += snprintf(line + used, sizeof line - (size_t)used, ", %.3f s (%s)", seconds,
                         cli_format_time(seconds, time, sizeof time));
    }
    if (loudness != NULL && used > 0 && (size_t)used < sizeof line) {
        (void)snprintf(line + used, sizeof line - (size_t)used, ", peak %.1f dB, level %.1f dB, loudness %.1f LUFS",
                       cli_loudness_peak(loudness), cli_loudness_rms(loudness), cli_loudness_integrated(loudness));
    }
    cli_tell_warnings(path, reader, NULL);
    cli_print_line(line);
}

static int show(const info_options *o, const char *path) {
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    tmb_error error = {0};
    cli_loudness *loudness = NULL;
    if (cli_has_ending(path, ".tmbvoice")) {
        return cli_show_voice(path, path, o->common.json);
    }
    tmb_status status = tmb_audio_open(path, NULL, &o->limits, &reader, &info, &error);
    if (status == TMB_OK && o->measure) {
        loudness = cli_loudness_create(info.rate, info.channels);
        status = loudness != NULL ? measure(reader, &info, loudness, &error) : TMB_ERROR_MEMORY;
    }
    if (status == TMB_ERROR_MEMORY && error.status == TMB_OK) {
        cli_set_error(&error, TMB_ERROR_MEMORY, "no memory");
    }
    if (status != TMB_OK) {
        cli_report_failure(path, &error, o->common.json);
    } else if (cli_interrupted()) { /* only a part was measured */
        status = TMB_ERROR_CANCELLED;
    } else if (o->common.json) {
        print_json(path, reader, &info, loudness);
    } else {
        print_text(path, reader, &info, loudness);
    }
    cli_loudness_destroy(&loudness);
    tmb_audio_close(&reader);
    return cli_exit_of_input(status);
}

/* ---- As a reference ---- */

static void print_level(const char *name, double level, double clean, const char *unit) {
    char line[160];
    int used = snprintf(line, sizeof line, "  %-8s %.0f %s", name, level, unit);
    if (!isfinite(level)) {
        used = snprintf(line, sizeof line, "  %-8s none", name);
    }
    if (isfinite(clean) && used > 0 && (size_t)used < sizeof line) {
        (void)snprintf(line + used, sizeof line - (size_t)used, ", %.0f %s after cleaning", clean, unit);
    }
    cli_print_line(line);
}

static void print_speech(const char *path, const tmb_reference_info *info, const tmb_error *error) {
    char line[700];
    const char *verdict = !info->usable ? "unusable" : info->warning_count > 0 ? "usable, but" : "good";
    (void)snprintf(line, sizeof line, "%s: %s", path, verdict);
    cli_print_line(line);
    if (!info->usable) {
        (void)snprintf(line, sizeof line, "  - %s", error->message);
        cli_print_line(line);
    }
    for (size_t i = 0; i < info->warning_count; i++) {
        (void)snprintf(line, sizeof line, "  - %s", info->warnings[i]);
        cli_print_line(line);
    }
    (void)snprintf(line, sizeof line, "  %-8s %.1f s of %.1f s", "speech", info->speech, info->duration);
    cli_print_line(line);
    print_level("level", info->level, (double)NAN, "dB of full scale");
    print_level("peak", info->peak, (double)NAN, "dB of full scale");
    print_level("noise", info->noise, info->noise_clean, "dB of full scale");
    (void)snprintf(line, sizeof line, "  %-8s %llu samples", "clipped", (unsigned long long)info->clipped);
    cli_print_line(line);
}

static int judge(const info_options *o, tmb_context *context, const char *path) {
    tmb_reference_info info;
    tmb_error error = {0};
    tmb_status status = tmb_reference_measure(context, path, o->ref_text, &info, &error);
    if (status != TMB_OK && info.duration == 0) {
        cli_report_failure(path, &error, o->common.json);
        return status == TMB_ERROR_MODEL ? cli_exit_of_model(status) : cli_exit_of_input(status);
    }
    if (o->common.json) {
        json_t *object = json_pack("{s:o}", "input", cli_json_text(path));
        cli_json_reference(object, &info);
        if (status != TMB_OK) {
            (void)json_object_set_new(object, "error", cli_json_error(&error));
        }
        cli_print_json(object);
    } else {
        print_speech(path, &info, &error);
    }
    return cli_exit_of_input(status);
}

static int judge_all(const info_options *o, int count, char **arguments) {
    tmb_context *context = NULL;
    int worst = cli_open(&o->runtime, NULL, NULL, &context);
    for (int i = 0; worst != CLI_EXIT_FAILED && context != NULL && i < count && !cli_interrupted(); i++) {
        int status = judge(o, context, arguments[i]);
        worst = status > worst ? status : worst;
    }
    tmb_close(&context);
    return worst;
}

static int run_info(void *options, int count, char **arguments) {
    const info_options *o = options;
    if (o->ref_text != NULL && !o->speech) {
        cli_error("--ref-text goes with --speech");
        return CLI_EXIT_USAGE;
    }
    if (o->speech) {
        return judge_all(o, count, arguments);
    }
    int worst = CLI_EXIT_OK;
    /* `timbre info x >> x` */
    for (int i = 0; i < count; i++) {
        if (!cli_claims_agree(&(cli_claim){arguments[i], "this command", false}, 1)) {
            return CLI_EXIT_USAGE;
        }
    }
    for (int i = 0; i < count && !cli_interrupted(); i++) {
        int status = show(options, arguments[i]);
        worst = status > worst ? status : worst;
    }
    return worst;
}

const cli_command cli_command_info = {
    .name = "info",
    .summary = "what is in an audio file or a saved voice",
    .usage = "FILE... [OPTION...]",
    .description =
        "Prints format, rate, channels and length of audio files; with --measure peak, level (dB of full scale) "
        "and integrated loudness (ITU-R BS.1770) as well; with --speech what it is worth as a recording to clone.",
    .examples = "timbre info *.wav\ntimbre info --measure --json voice.flac\ntimbre info --speech me.wav",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(info_options),
    .minimum_arguments = 1,
    .maximum_arguments = -1,
    .needs = "which files? name them, or - for standard input",
    .run = run_info,
};
