#include "claims.h"
#include "commands.h"
#include "shared.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 16384, MAXIMUM_CHANNELS = 8 };

typedef struct resample_options {
    cli_common common;
    cli_output output;
    cli_raw raw;
    const char *path;
    int rate, resampler;
    tmb_audio_limits limits;
} resample_options;

static const cli_option own_options[] = {
    {.name = "rate",
     .letter = 'r',
     .kind = CLI_RATE,
     .also = "output-rate sample-rate samplerate sr",
     .offset = offsetof(resample_options, rate),
     .argument = "HZ",
     .minimum = 4000,
     .maximum = 192000,
     .help = "rate of the output, as 16000, 16k or 44.1kHz (needed)"},
    {.name = "output",
     .letter = 'o',
     .kind = CLI_FILE,
     .offset = offsetof(resample_options, path),
     .argument = "FILE|DIR",
     .writes = true,
     .also = "out outfile out-file output-file output-dir",
     .help =
         "where it goes (needed): a file, - for standard output, or a folder (needed for several inputs), where the "
         "files keep their names"},
    {.name = "resampler",
     .kind = CLI_CHOICE,
     .offset = offsetof(resample_options, resampler),
     .argument = "KIND",
     .choices = cli_resamplers,
     .help = "soxr (very high quality), polyphase (as scipy.signal.resample_poly), sinc (as "
             "torchaudio.functional.resample), or auto, the default: the first of them that works"},
};
static const cli_option raw_rate_option[] = {
    {.name = "input-rate",
     .kind = CLI_RATE,
     .offset = offsetof(cli_raw, rate),
     .argument = "HZ",
     .minimum = 4000,
     .maximum = 192000,
     .help = "rate of raw input; needed with --raw"},
};
static const cli_group groups[] = {
    {"Resampling", own_options, CLI_LENGTH(own_options), 0},
    {"Resampling", cli_limit_options, CLI_LENGTH(cli_limit_options), offsetof(resample_options, limits)},
    {"Resampling", cli_reading_options, CLI_LENGTH(cli_reading_options), offsetof(resample_options, limits)},
    {"Output", cli_output_options, CLI_LENGTH(cli_output_options), offsetof(resample_options, output)},
    {"Raw input", cli_raw_options, CLI_LENGTH(cli_raw_options), offsetof(resample_options, raw)},
    {"Raw input", raw_rate_option, CLI_LENGTH(raw_rate_option), offsetof(resample_options, raw)},
    CLI_COMMON_GROUP,
};

typedef struct stream {
    tmb_audio_reader *reader;
    tmb_audio_writer *writer;
    tmb_audio_info info;
    tmb_resample_stream *channels[MAXIMUM_CHANNELS];
    float *interleaved; /* [CHUNK, channels] */
    float *one;         /* [CHUNK] */
    uint64_t read, written;
    uint64_t clipped;
} stream;

static int open_stream(const resample_options *o, const char *input, const char *output, tmb_context *context,
                       stream *s, tmb_error *error) {
    int status = cli_open_input(input, &o->raw, &o->output, &o->limits, &s->reader, &s->info, error);
    if (status != CLI_EXIT_OK) {
        return status;
    }
    for (int c = 0; c < s->info.channels && c < MAXIMUM_CHANNELS; c++) {
        if (tmb_resample_open(context, s->info.rate, o->rate, (tmb_resampler_kind)o->resampler, &s->channels[c],
                              error) != TMB_OK) {
            return cli_exit_of(error->status);
        }
    }
    s->interleaved = calloc((size_t)CHUNK * (size_t)s->info.channels, sizeof(float));
    s->one = calloc(CHUNK, sizeof(float));
    if (s->interleaved == NULL || s->one == NULL) {
        cli_set_error(error, TMB_ERROR_MEMORY, "no memory for the stream");
        return CLI_EXIT_FAILED;
    }
    return cli_create_output(s->reader, output, &o->raw, &o->output, o->rate, s->info.channels, &s->writer, error);
}

static void close_stream(stream *s) {
    tmb_audio_close(&s->reader);
    if (s->writer != NULL) {
        tmb_audio_abort(&s->writer);
    }
    for (int c = 0; c < MAXIMUM_CHANNELS; c++) {
        tmb_resample_close(&s->channels[c]);
    }
    free(s->interleaved);
    free(s->one);
}

/* Every channel was fed the same, so all have the same number of samples ready. */
static int write_ready(stream *s, tmb_error *error) {
    size_t channels = (size_t)s->info.channels;
    for (;;) {
        size_t count = tmb_resample_pull(s->channels[0], s->one, CHUNK);
        if (count == 0) {
            return CLI_EXIT_OK;
        }
        for (size_t c = 0; c < channels; c++) {
            if (c > 0) {
                (void)tmb_resample_pull(s->channels[c], s->one, count);
            }
            for (size_t i = 0; i < count; i++) {
                s->interleaved[i * channels + c] = s->one[i];
            }
        }
        if (tmb_audio_write(s->writer, s->interleaved, count, error) != TMB_OK) {
            return CLI_EXIT_FAILED;
        }
        s->written += count;
    }
}

static int copy_stream(const char *input, stream *s, tmb_error *error) {
    size_t channels = (size_t)s->info.channels;
    int status = CLI_EXIT_OK;
    for (size_t count = 1; count > 0 && status == CLI_EXIT_OK;) {
        if (cli_interrupted()) {
            return CLI_EXIT_INTERRUPTED;
        }
        if (tmb_audio_read(s->reader, s->interleaved, CHUNK, &count, error) != TMB_OK) {
            return cli_exit_of_input(error->status);
        }
        s->read += count;
        for (size_t c = 0; c < channels; c++) {
            for (size_t i = 0; i < count; i++) {
                s->one[i] = s->interleaved[i * channels + c];
            }
            tmb_status pushed = count > 0 ? tmb_resample_push(s->channels[c], s->one, count, error)
                                          : tmb_resample_flush(s->channels[c], error);
            if (pushed != TMB_OK) {
                return cli_exit_of(pushed);
            }
        }
        status = write_ready(s, error);
        cli_progress(s->info.length > 0 ? (double)s->read / (double)s->info.length : -1, "%s", input);
    }
    if (status == CLI_EXIT_OK && s->written == 0) {
        cli_set_error(error, TMB_ERROR_FORMAT,
                      s->read == 0 ? "it holds no audio" : "it is so short that nothing is left of it at this rate");
        return CLI_EXIT_INPUT;
    }
    return status;
}

static void print_result(const resample_options *o, const char *input, const char *output, const stream *s,
                         double seconds) {
    const char *name = tmb_resample_name(s->channels[0]);
    if (!o->common.json) {
        cli_tell_warnings(input, s->reader, NULL);
        cli_note("%s -> %s: %d to %d Hz by %s, %.2f s in %.2f s", input, output, s->info.rate, o->rate, name,
                 (double)s->written / o->rate, seconds);
        return;
    }
    json_t *object = json_pack("{s:o, s:o, s:i, s:i, s:i, s:I, s:s}", "input", cli_json_text(input), "audio",
                               cli_json_text(output), "input_rate", s->info.rate, "sample_rate", o->rate, "channels",
                               s->info.channels, "samples", (json_int_t)s->written, "resampler", name);
    (void)json_object_set_new(object, "duration", cli_json_number((double)s->written / o->rate, 6));
    (void)json_object_set_new(object, "seconds", cli_json_number(seconds, 4));
    cli_tell_warnings(input, s->reader, object);
    cli_json_clipped(object, s->clipped);
    cli_print_json(object);
}

static int resample_one(const resample_options *o, const char *input, const char *output, tmb_context *context) {
    tmb_error error = {0};
    stream s = {0};
    double start = cli_now();
    int status = open_stream(o, input, output, context, &s, &error);
    if (status == CLI_EXIT_OK) {
        status = copy_stream(input, &s, &error);
    }
    s.clipped = tmb_audio_clipped(s.writer);
    if (status == CLI_EXIT_OK && tmb_audio_finish(&s.writer, &error) != TMB_OK) {
        status = CLI_EXIT_FAILED;
    }
    cli_progress_clear();
    if (status == CLI_EXIT_OK) {
        print_result(o, input, output, &s, cli_now() - start);
        cli_warn_clipped(output, s.clipped);
    } else if (!cli_reader_left(output, &error)) {
        cli_report_failure(input, &error, o->common.json);
    }
    close_stream(&s);
    return status;
}

static bool check(const resample_options *o, int count, char **arguments) {
    int standard_inputs = 0;
    for (int i = 0; i < count; i++) {
        standard_inputs += cli_is_standard(arguments[i]);
    }
    if (o->rate == 0) {
        cli_error("to which rate? -r HZ");
    } else if (o->path == NULL) {
        cli_error("where to? -o FILE, -o DIR, or -o - for standard output");
    } else if (o->common.json && cli_is_standard(o->path)) {
        cli_error("--json and -o - both want standard output");
    } else if (count > 1 && cli_is_standard(o->path)) {
        cli_error("several inputs cannot share standard output; -o must be a folder");
    } else if (count > 1 && cli_is_audio_name(o->path) && !cli_is_folder(o->path)) {
        cli_error("%d inputs cannot become one file, %s; for several -o is a folder", count, o->path);
    } else if (standard_inputs > 1) {
        cli_error("\"-\" was given more than once");
    } else if (o->raw.raw && o->raw.rate == 0) {
        cli_error("--raw needs --input-rate: the input does not say it itself");
    } else if (!o->raw.raw && (o->raw.rate > 0 || o->raw.channels > 0 || o->raw.encoding > 0)) {
        cli_error("%s describes raw input and needs --raw", o->raw.rate > 0       ? "--input-rate"
                                                            : o->raw.channels > 0 ? "--channels"
                                                                                  : "--raw-encoding");
    } else {
        return cli_spares_terminal(o->path, &o->output);
    }
    return false;
}

/* The outputs of all inputs, allocated, in `outputs`; the exit status. */
static int name_outputs(const resample_options *o, int count, char **inputs, char **outputs) {
    bool folder = count > 1 || cli_is_folder(o->path);
    tmb_container container = (tmb_container)o->output.container;
    if (container == TMB_CONTAINER_AUTO && o->raw.raw) {
        container = TMB_CONTAINER_RAW;
    }
    cli_claims *claims = cli_claims_create();
    bool good = !folder || cli_make_folder(o->path);
    int status = good ? CLI_EXIT_OK : CLI_EXIT_FAILED;
    for (int i = 0; i < count && good; i++) {
        outputs[i] = folder ? cli_output_path(o->path, inputs[i], "", container) : strdup(o->path);
        if (outputs[i] == NULL) {
            cli_error("no memory");
            good = false;
            status = CLI_EXIT_FAILED;
        } else if (!cli_claim_all(claims, &(cli_claim){inputs[i], "this command", false}, 1)) {
            good = false;
            status = CLI_EXIT_USAGE;
        }
    }
    for (int i = 0; i < count && good; i++) {
        if (!cli_claim_all(claims, &(cli_claim){outputs[i], inputs[i], true}, 1)) {
            good = false;
            status = CLI_EXIT_USAGE;
        }
    }
    cli_claims_destroy(&claims);
    return status;
}

/* All files, one after the other; what cannot be opened is said first. The highest exit status. */
static int resample_all(const resample_options *o, int count, char **inputs, char **outputs, tmb_context *context) {
    int worst = CLI_EXIT_OK;
    for (int i = 0; i < count; i++) {
        tmb_error error = {0};
        if (!cli_is_readable(inputs[i], &error)) {
            cli_report_failure(inputs[i], &error, o->common.json);
            worst = CLI_EXIT_INPUT;
            free(outputs[i]);
            outputs[i] = NULL;
        }
    }
    for (int i = 0; i < count && !cli_interrupted(); i++) {
        int status = outputs[i] != NULL ? resample_one(o, inputs[i], outputs[i], context) : CLI_EXIT_OK;
        worst = status > worst ? status : worst;
    }
    return worst;
}

static int run_resample(void *options, int count, char **arguments) {
    const resample_options *o = options;
    const cli_runtime runtime = {0};
    tmb_context *context = NULL;
    if (!check(o, count, arguments)) {
        return CLI_EXIT_USAGE;
    }
    char **outputs = calloc((size_t)count, sizeof *outputs);
    if (outputs == NULL) {
        cli_error("no memory");
        return CLI_EXIT_FAILED;
    }
    int status = name_outputs(o, count, arguments, outputs);
    if (status == CLI_EXIT_OK) {
        status = cli_open(&runtime, NULL, NULL, &context);
    }
    if (status == CLI_EXIT_OK) {
        status = resample_all(o, count, arguments, outputs, context);
    }
    for (int i = 0; i < count; i++) {
        free(outputs[i]);
    }
    free(outputs);
    tmb_close(&context);
    return status;
}

const cli_command cli_command_resample = {
    .name = "resample",
    .summary = "change the rate of recordings",
    .usage = "IN... -r RATE -o OUT|DIR [OPTION...]",
    .description =
        "Resamples with soxr or one of two built-in methods. At equal rates the samples pass untouched, bit for "
        "bit. Files are streamed, channels are kept.",
    .examples = "timbre resample song.flac -r 16k -o song16.wav\n"
                "timbre resample *.wav -r 24000 -o at24k/\n"
                "timbre resample in.wav -r 48000 --resampler sinc --encoding float -o - | sox -t wav - -n stat",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(resample_options),
    .minimum_arguments = 1,
    .maximum_arguments = -1,
    .needs = "which recording? name it, or - for standard input",
    .run = run_resample,
};
