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
     .kind = CLI_INTEGER,
     .offset = offsetof(resample_options, rate),
     .argument = "HZ",
     .minimum = 4000,
     .maximum = 192000,
     .help = "rate of the output (needed)"},
    {.name = "output",
     .letter = 'o',
     .kind = CLI_FILE,
     .offset = offsetof(resample_options, path),
     .argument = "FILE",
     .help = "where it goes (needed); - is standard output"},
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
     .kind = CLI_INTEGER,
     .offset = offsetof(cli_raw, rate),
     .argument = "HZ",
     .minimum = 4000,
     .maximum = 192000,
     .help = "rate of raw input; needed with --raw"},
};
static const cli_group groups[] = {
    {"Resampling", own_options, CLI_LENGTH(own_options), 0},
    {"Resampling", cli_limit_options, CLI_LENGTH(cli_limit_options), offsetof(resample_options, limits)},
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
} stream;

static int open_stream(const resample_options *o, const char *input, tmb_context *context, stream *s,
                       tmb_error *error) {
    if (o->raw.raw && o->raw.rate == 0) {
        cli_error("--raw needs --input-rate: the input does not say it itself");
        return CLI_EXIT_USAGE;
    }
    int status = cli_open_input(input, &o->raw, &o->output, &o->limits, &s->reader, &s->info, error);
    if (status != CLI_EXIT_OK)
        return status;
    for (int c = 0; c < s->info.channels && c < MAXIMUM_CHANNELS; c++)
        if (tmb_resample_open(context, s->info.rate, o->rate, (tmb_resampler_kind)o->resampler, &s->channels[c],
                              error) != TMB_OK)
            return cli_exit_of(error->status);
    s->interleaved = calloc((size_t)CHUNK * (size_t)s->info.channels, sizeof(float));
    s->one = calloc(CHUNK, sizeof(float));
    if (s->interleaved == NULL || s->one == NULL) {
        cli_set_error(error, TMB_ERROR_MEMORY, "no memory for the stream");
        return CLI_EXIT_FAILED;
    }
    return cli_create_output(o->path, &o->raw, &o->output, o->rate, s->info.channels, &s->writer, error);
}

static void close_stream(stream *s) {
    tmb_audio_close(&s->reader);
    if (s->writer != NULL)
        tmb_audio_abort(&s->writer);
    for (int c = 0; c < MAXIMUM_CHANNELS; c++)
        tmb_resample_close(&s->channels[c]);
    free(s->interleaved);
    free(s->one);
}

/* Every channel was fed the same, so all have the same number of samples ready. */
static int write_ready(stream *s, tmb_error *error) {
    size_t channels = (size_t)s->info.channels;
    for (;;) {
        size_t count = tmb_resample_pull(s->channels[0], s->one, CHUNK);
        if (count == 0)
            return CLI_EXIT_OK;
        for (size_t c = 0; c < channels; c++) {
            if (c > 0)
                (void)tmb_resample_pull(s->channels[c], s->one, count);
            for (size_t i = 0; i < count; i++)
                s->interleaved[i * channels + c] = s->one[i];
        }
        if (tmb_audio_write(s->writer, s->interleaved, count, error) != TMB_OK)
            return CLI_EXIT_FAILED;
        s->written += count;
    }
}

static int copy_stream(const char *input, stream *s, tmb_error *error) {
    size_t channels = (size_t)s->info.channels;
    int status = CLI_EXIT_OK;
    for (size_t count = 1; count > 0 && status == CLI_EXIT_OK;) {
        if (cli_interrupted())
            return CLI_EXIT_INTERRUPTED;
        if (tmb_audio_read(s->reader, s->interleaved, CHUNK, &count, error) != TMB_OK)
            return cli_exit_of_input(error->status);
        s->read += count;
        for (size_t c = 0; c < channels; c++) {
            for (size_t i = 0; i < count; i++)
                s->one[i] = s->interleaved[i * channels + c];
            tmb_status pushed = count > 0 ? tmb_resample_push(s->channels[c], s->one, count, error)
                                          : tmb_resample_flush(s->channels[c], error);
            if (pushed != TMB_OK)
                return cli_exit_of(pushed);
        }
        status = write_ready(s, error);
        cli_progress(s->info.length > 0 ? (double)s->read / (double)s->info.length : -1, "%s", input);
    }
    if (status == CLI_EXIT_OK && s->read == 0) {
        cli_set_error(error, TMB_ERROR_FORMAT, "it holds no audio");
        return CLI_EXIT_INPUT;
    }
    return status;
}

static void print_result(const resample_options *o, const char *input, const stream *s, double seconds) {
    const char *name = tmb_resample_name(s->channels[0]);
    if (!o->common.json) {
        cli_note("%s -> %s: %d to %d Hz by %s, %.2f s in %.2f s", input, o->path, s->info.rate, o->rate, name,
                 (double)s->written / o->rate, seconds);
        return;
    }
    json_t *object = json_pack("{s:s, s:s, s:i, s:i, s:i, s:I, s:s}", "input", input, "audio", o->path, "input_rate",
                               s->info.rate, "sample_rate", o->rate, "channels", s->info.channels, "samples",
                               (json_int_t)s->written, "resampler", name);
    (void)json_object_set_new(object, "duration", cli_json_number((double)s->written / o->rate, 6));
    (void)json_object_set_new(object, "seconds", cli_json_number(seconds, 4));
    cli_print_json(object);
}

static int run_resample(void *options, int count, char **arguments) {
    const resample_options *o = options;
    const char *input = arguments[0];
    const cli_runtime runtime = {0};
    tmb_context *context = NULL;
    tmb_error error = {0};
    stream s = {0};
    (void)count;
    if (o->rate == 0 || o->path == NULL) {
        cli_error("%s", o->rate == 0 ? "to which rate? -r HZ" : "where to? -o FILE, or -o - for standard output");
        return CLI_EXIT_USAGE;
    }
    if (o->common.json && cli_is_standard(o->path)) {
        cli_error("--json and -o - both want standard output");
        return CLI_EXIT_USAGE;
    }
    if (!cli_spares_input(input, o->path))
        return CLI_EXIT_USAGE;
    double start = cli_now();
    int status = cli_open(&runtime, NULL, NULL, &context);
    if (status == CLI_EXIT_OK)
        status = open_stream(o, input, context, &s, &error);
    if (status == CLI_EXIT_OK)
        status = copy_stream(input, &s, &error);
    if (status == CLI_EXIT_OK && tmb_audio_finish(&s.writer, &error) != TMB_OK)
        status = CLI_EXIT_FAILED;
    if (status == CLI_EXIT_OK)
        print_result(o, input, &s, cli_now() - start);
    else
        cli_report_failure(input, &error, o->common.json);
    close_stream(&s);
    tmb_close(&context);
    return status;
}

const cli_command cli_command_resample = {
    .name = "resample",
    .summary = "change the rate of a recording",
    .usage = "IN -r RATE -o OUT [OPTION...]",
    .description =
        "Resamples with soxr or one of two built-in methods. At equal rates the samples pass untouched, bit for "
        "bit. Files are streamed, channels are kept.",
    .examples = "timbre resample song.flac -r 16000 -o song16.wav\n"
                "timbre resample in.wav -r 48000 --resampler sinc --encoding float -o - | sox -t wav - -n stat",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(resample_options),
    .minimum_arguments = 1,
    .maximum_arguments = 1,
    .run = run_resample,
};
